"""How long twelve photographs of 12 megapixels take from files to masks, and to cut-outs.

    python bench/predict.py [--rounds 5] [--pictures 12] [--beside CHECKOUT ...]

The photographs are those of demo/photos, enlarged, with noise as of a sensor, saved as JPEG of
quality 92. Each way is the command `segzoo predict u2netp` in a process of its own, start included,
with two threads; the ways in turn within each round, so that a busy moment meets all of them.
CHECKOUT is the folder of another commit (`git worktree add`), whose segzoo and plugins run beside
this one.

Prints the median of the seconds, the largest memory and the bytes written of each way, with ratios
to the first CHECKOUT, and whether the outputs are the same byte for byte. Writes
bench/results/predict.json.
"""

import argparse
import hashlib
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
from PIL import Image

ROOT = Path(__file__).parents[1]
KINDS = ("mask", "cutout")
MODEL, THREADS = "u2netp", 2
SIZE = (4000, 3000)  # width and height: 12 megapixels
NOISE = 4.0  # of 255, standard deviation


class Run(NamedTuple):
    seconds: float
    peak_mib: float
    output_bytes: int
    sha256: str  # of all outputs


def photographs(folder: Path, count: int, noise: float = NOISE) -> None:
    """Write so many photographs into a new folder, each with noise of its own."""
    folder.mkdir(exist_ok=True)
    originals = sorted((ROOT / "demo" / "photos").glob("*.jpg"))
    rng = np.random.default_rng(0)
    for n in range(count):
        with Image.open(originals[n % len(originals)]) as im:
            values = np.asarray(im.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
        added = noise * rng.standard_normal(values.shape, np.float32)
        noisy = np.clip(np.rint(values + added), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{n:02}.jpg", quality=92)


def run(sources: str, kind: str, photos: Path) -> Run:
    """Predict once with the code on the path `sources`, into a folder that is then removed."""
    out = photos.with_name("out")
    command = [sys.executable, "-P", "-m", "segzoo.cli.main", "predict", MODEL, str(photos)]
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = os.environ | threads | {"PYTHONPATH": sources}
    start = time.perf_counter()
    child = subprocess.Popen([*command, "-o", str(out), "--as", kind, "--quiet"], env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, f"{command} ended with {child.returncode}"
    contents = [file.read_bytes() for file in sorted(out.glob("*.png"))]
    assert len(contents) == len(list(photos.iterdir()))
    shutil.rmtree(out)
    return Run(
        seconds,
        usage.ru_maxrss / (1 << 10 if sys.platform != "darwin" else 1 << 20),
        sum(map(len, contents)),
        hashlib.sha256(b"".join(contents)).hexdigest(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--beside", metavar="CHECKOUT", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    sources = {_name(path): machine.sources(path) for path in [*args.beside, ROOT]}
    here = machine.describe()
    print(f"{args.rounds} rounds, load average {here['load_average']}\n")

    runs: dict[tuple[str, str], list[Run]] = {(k, s): [] for k in KINDS for s in sources}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photographs(photos, args.pictures)
        input_bytes = sum(file.stat().st_size for file in photos.iterdir())
        for _ in range(args.rounds):
            for (kind, source), done in runs.items():
                done.append(run(sources[source], kind, photos))

    rows = []
    for (kind, source), done in runs.items():
        first = runs[kind, next(iter(sources))]
        seconds = statistics.median(r.seconds for r in done)
        ratio = statistics.median(r.seconds / f.seconds for r, f in zip(done, first, strict=True))
        row = {
            "to": kind,
            "segzoo": source,
            "median_seconds": round(seconds, 3),
            "least_seconds": round(min(r.seconds for r in done), 3),
            "ratio": round(ratio, 3),
            "peak_mib": round(max(r.peak_mib for r in done)),
            "output_bytes": done[0].output_bytes,
            "same_outputs": {r.sha256 for r in (*done, *first)} == {first[0].sha256},
        }
        rows.append(row)
        print(
            f"{kind:8} {source:10} {seconds:7.2f} s  {ratio:5.2f} of the first  "
            f"{row['peak_mib']:5} MiB  {done[0].output_bytes / 1e6:6.1f} MB  "
            f"{'the same outputs' if row['same_outputs'] else 'OTHER OUTPUTS'}"
        )
    result = {
        "rounds": args.rounds,
        "pictures": args.pictures,
        "input_bytes": input_bytes,
        "threads": THREADS,
        "load_average_afterwards": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    print(f"\nwritten to {machine.save('predict', result, machine=here)}")


def _name(source: Path) -> str:
    """The commit of a checkout, or "now" for this tree."""
    if source.resolve() == ROOT:
        return "now"
    command = ["git", "-C", str(source), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
