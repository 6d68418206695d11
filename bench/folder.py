"""A folder of photographs to masks and to cut-outs, beside `rembg p` with the same weights.

    python bench/folder.py --weights u2netp.onnx [--rembg PATH/TO/rembg] [--rounds 5]
        [--pictures 12] [--runtimes onnxruntime openvino]

The photographs are those of bench/predict.py: 12 megapixels, with noise, JPEG of quality 92. The
weights are the authors' of U²-Netp, in the file that rembg takes from U2NET_HOME; segzoo's are
converted from it, and made ready (`segzoo convert`, `segzoo warm`) before anything is timed. Each
way is a command in a process of its own, start included, with two threads; the ways in turn within
each round. Cut-outs have plain alpha on both sides (`--edges raw`). Without rembg it is left out.

Prints medians of the seconds and of the processor's, the largest memory, the bytes written, and
ratios to rembg within each round; how far masks are from those of `--decode full`, and how far both
are from those of the same photographs without noise. Writes bench/results/folder.json.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import machine
import numpy as np
import predict
from PIL import Image

THREADS = 2
LIGHT = "lite0"  # beside, as it comes: other weights than rembg's
KINDS = ("mask", "cutout")
SEGZOO = [sys.executable, "-P", "-m", "segzoo.cli.main"]


class Taken(NamedTuple):
    seconds: float
    processor_seconds: float
    peak_mib: float
    output_bytes: int


class Way(NamedTuple):
    """A command whose last two arguments are the photographs and the folder of the outputs."""

    name: str
    kind: str
    command: tuple[str, ...]


def ours(model: str, runtime: str, kind: str, *more: str) -> Way:
    command = (*SEGZOO, "predict", model, "--as", kind, "--runtime", runtime)
    plain = ("--edges", "raw") if kind == "cutout" else ()
    name = f"segzoo {model} {runtime}" if model == LIGHT else f"segzoo {runtime}"
    return Way(name, kind, (*command, *plain, *more, "--quiet"))


def theirs(rembg: str, kind: str) -> Way:
    return Way("rembg", kind, (rembg, "p", "-m", "u2netp", *(["-om"] if kind == "mask" else [])))


def run(way: Way, photos: Path, out: Path, environment: dict[str, str]) -> Taken:
    """Once, into a folder that is left there."""
    shutil.rmtree(out, ignore_errors=True)
    last = [str(photos), "-o", str(out)] if way.name != "rembg" else [str(photos), str(out)]
    start = time.perf_counter()
    child = subprocess.Popen(
        [*way.command, *last], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    made = sorted(out.glob("*.png"))
    assert child.returncode == 0 and len(made) == len([*photos.iterdir()]), (way, status)
    return Taken(
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / (1 << 10 if sys.platform != "darwin" else 1 << 20),
        sum(file.stat().st_size for file in made),
    )


def difference(one: Path, other: Path) -> float:
    """The mean absolute difference of all masks, from 0 to 1."""
    found = []
    for file in sorted(one.glob("*.png")):
        with Image.open(file) as a, Image.open(other / file.name) as b:
            pair = [np.asarray(im.convert("L"), np.float32) for im in (a, b)]
        found.append(float(np.abs(pair[0] - pair[1]).mean()) / 255)
    return statistics.mean(found)


def distances(
    model: str, runtime: str, folder: Path, environment: dict[str, str]
) -> dict[str, float]:
    """How far masks are from those of pictures that are decoded whole, and, either way, from those
    of the same photographs without noise."""
    made = {}
    for name, photos, more in (
        ("reduced", "photos", ()), ("whole", "photos", ("--decode", "full")),
        ("quiet", "quiet", ("--decode", "full")),
    ):  # fmt: skip
        made[name] = folder / f"masks-{name}"
        run(ours(model, runtime, "mask", *more), folder / photos, made[name], environment)
    return {
        "from_whole": round(difference(made["reduced"], made["whole"]), 5),
        "from_quiet": round(difference(made["reduced"], made["quiet"]), 5),
        "whole_from_quiet": round(difference(made["whole"], made["quiet"]), 5),
    }


def ready(weights: Path, runtimes: list[str], folder: Path, environment: dict[str, str]) -> str:
    """The weights as a model of segzoo, made ready for each runtime; the light model too."""
    model = folder / "model"
    convert = [*SEGZOO, "convert", str(weights), "--to", "u2netp", "-o", str(model)]
    subprocess.run(convert, check=True, env=environment, capture_output=True)
    for ref in (str(model), LIGHT):
        for runtime in runtimes:
            warm = [*SEGZOO, "warm", ref, "--runtime", runtime]
            subprocess.run(warm, check=True, env=environment, capture_output=True)
    return str(model)


def row_of(way: Way, done: list[Taken], beside: list[Taken] | None) -> dict[str, object]:
    row: dict[str, object] = {
        "to": way.kind,
        "way": way.name,
        "median_seconds": round(statistics.median(t.seconds for t in done), 2),
        "median_processor_seconds": round(statistics.median(t.processor_seconds for t in done), 2),
        "peak_mib": round(max(t.peak_mib for t in done)),
        "output_bytes": done[0].output_bytes,
    }
    if beside is not None and beside is not done:
        pairs = [*zip(done, beside, strict=True)]
        row["times_as_many_a_second"] = round(
            statistics.median(b.seconds / a.seconds for a, b in pairs), 2
        )
        row["times_as_many_a_processor_second"] = round(
            statistics.median(b.processor_seconds / a.processor_seconds for a, b in pairs), 2
        )
        row["share_of_memory"] = round(
            statistics.median(a.peak_mib / b.peak_mib for a, b in pairs), 2
        )
        row["share_of_bytes"] = round(done[0].output_bytes / beside[0].output_bytes, 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--rembg", default=shutil.which("rembg") or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    args = parser.parse_args()
    here = machine.describe()
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "u2net").mkdir()
        shutil.copy(args.weights, folder / "u2net" / "u2netp.onnx")
        environment = {**os.environ, **threads, "U2NET_HOME": str(folder / "u2net")}
        photos, out, quiet = folder / "photos", folder / "out", folder / "quiet"
        predict.photographs(photos, args.pictures)
        predict.photographs(quiet, args.pictures, noise=0)
        model = ready(args.weights, args.runtimes, folder, environment)
        if not args.rembg:
            print("rembg is not installed and left out: pip install 'rembg[cpu,cli]'; --rembg PATH")
        ways = [way for kind in KINDS for way in _ways(model, args.rembg, args.runtimes, kind)]
        taken: dict[Way, list[Taken]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, done in taken.items():
                done.append(run(way, photos, out, environment))
        far = {ref: distances(ref, args.runtimes[0], folder, environment) for ref in (model, LIGHT)}
    beside = {way.kind: done for way, done in taken.items() if way.name == "rembg"}
    rows = [row_of(way, done, beside.get(way.kind)) for way, done in taken.items()]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    for ref, found in far.items():
        print(f"masks of {'the same weights' if ref == model else ref}: {found}")
    result = {
        "rounds": args.rounds,
        "pictures": args.pictures,
        "threads": THREADS,
        "masks": [{"of": "u2netp" if r == model else r, **found} for r, found in far.items()],
        "load_average_afterwards": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    print(f"\nwritten to {machine.save('folder', result, machine=here)}")


def _ways(model: str, rembg: str, runtimes: list[str], kind: str) -> list[Way]:
    found = [theirs(rembg, kind)] if rembg else []
    return [*found, *(ours(ref, runtime, kind) for ref in (model, LIGHT) for runtime in runtimes)]


if __name__ == "__main__":
    main()
