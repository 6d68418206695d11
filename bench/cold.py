"""How long one cut-out takes in a process of its own, beside `rembg i`.

    python bench/cold.py [--rounds 15] [--rembg VENV/bin/rembg --u2net-home FOLDER]

The photo is one of demo/photos, at its own 512x512 pixels. Each way is a command, start included,
the ways in turn within each round, so that a busy moment meets all of them; the first round, which
fills the caches of disk and bytecode, does not count. "segzoo" names no model; "first ever" has an
empty SEGZOO_HOME; u2netp was made ready by `segzoo warm`. rembg runs u2netp; FOLDER holds
u2netp.onnx. Without it there is nothing to be compared with.

Prints medians of the seconds on the clock and of the processor's, the largest memory, and the
median of the ratios of each round. Writes bench/results/cold.json.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import machine

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "demo" / "photos" / "cat.jpg"
SEGZOO = str(Path(sys.executable).with_name("segzoo"))
LIGHT, HEAVY = "lite0.fine", "u2netp.tuned"
AIMS = {LIGHT: {"seconds": 0.15, "mib": 150}, HEAVY: {"seconds": 0.4}}  # beside rembg's u2netp


class Run(NamedTuple):
    """One process. seconds: on the clock; cpu: of the processor."""

    seconds: float
    cpu: float
    peak_mib: float


class Way(NamedTuple):
    """A command; {out} is where its PNG goes. first: with an empty SEGZOO_HOME each time."""

    command: list[str]
    environment: Mapping[str, str]
    first: bool = False


def ways_of(rembg: Path | None, u2net_home: Path | None, home: Path) -> dict[str, Way]:
    cutout = [SEGZOO, "cutout", str(PHOTO), "-o", "{out}", "--overwrite", "--quiet"]
    own = {"SEGZOO_HOME": str(home)}
    subprocess.run([SEGZOO, "warm", HEAVY], env={**os.environ, **own}, check=True)
    ways = {
        "segzoo": Way(cutout, own),
        "segzoo, first ever": Way(cutout, {"SEGZOO_HOME": f"{home}-first"}, first=True),
        f"segzoo, {LIGHT}": Way([*cutout, "--model", LIGHT], own),
        f"segzoo, {HEAVY}": Way([*cutout, "--model", HEAVY], own),
        "segzoo in torch": Way([*cutout, "--runtime", "torch"], own),
    }
    if rembg is None or u2net_home is None:
        print("rembg is not given, so it is not compared: --rembg VENV/bin/rembg --u2net-home DIR")
    else:
        line = [str(rembg), "i", "-m", "u2netp", str(PHOTO), "{out}"]
        ways["rembg u2netp"] = Way(line, {"U2NET_HOME": str(u2net_home)})
    return ways


def run(way: Way, folder: Path) -> Run:
    out = folder / "out.png"
    if way.first:
        shutil.rmtree(way.environment["SEGZOO_HOME"], ignore_errors=True)
    command = [part.format(out=out) for part in way.command]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    child = subprocess.Popen(command, env={**environment, **way.environment})
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{command} ended with {child.returncode}"
    assert out.read_bytes()[:4] == b"\x89PNG"
    out.unlink()
    kib = usage.ru_maxrss if sys.platform != "darwin" else usage.ru_maxrss / 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, kib / 1024)


def ratio(done: list[Run], others: list[Run], what: str) -> float:
    """The median over the rounds."""
    pairs = zip(done, others, strict=True)
    ratios: list[float] = [getattr(a, what) / getattr(b, what) for a, b in pairs]
    return round(statistics.median(ratios), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rembg", type=Path)
    parser.add_argument("--u2net-home", type=Path)
    args = parser.parse_args()
    here = machine.describe()
    print(f"{args.rounds} rounds, load average {here['load_average']}\n")
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(args.rembg, args.u2net_home, Path(folder, "home"))
        for number in range(args.rounds + 1):
            for name, way in ways.items():
                once = run(way, Path(folder))
                if number:
                    runs.setdefault(name, []).append(once)
    yardstick = runs[next(reversed(ways))]
    rows = []
    for name, done in runs.items():
        ratios = {f"{what}_ratio": ratio(done, yardstick, what) for what in ("seconds", "cpu")}
        row = {
            "way": name,
            "median_seconds": round(statistics.median(d.seconds for d in done), 3),
            "median_cpu_seconds": round(statistics.median(d.cpu for d in done), 3),
            "peak_mib": round(max(d.peak_mib for d in done)),
            **ratios,
        }
        rows.append(row)
        print(
            f"{name:20} {row['median_seconds']:7.2f} s  {row['median_cpu_seconds']:6.2f} s of CPU  "
            f"{row['peak_mib']:5} MiB  {ratios['seconds_ratio']:5.2f} and "
            f"{ratios['cpu_ratio']:5.2f} of {next(reversed(ways))}"
        )
    result = {
        "rounds": args.rounds,
        "photo": PHOTO.name,
        "beside": next(reversed(ways)),
        "aims": AIMS,
        "load_average_afterwards": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    print(f"\nwritten to {machine.save('cold', result, machine=here)}")


if __name__ == "__main__":
    main()
