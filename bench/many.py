"""Many small pictures by two processes: by hand, as two shards, and on Ray with two workers.

    python bench/many.py [--pictures 10000] [--side 128] [--rounds 3] [--model FOLDER]

The pictures are drawn by the script; the model is `unet` with 4 channels in its first stage and
random values, unless another is named. Each way gives each of two processes one thread:

by hand: the pictures lie in two folders, and `segzoo predict` runs on each at once. shards: they
lie in one, with `--shard 1/2` and `--shard 2/2` at once. ray: one `--on ray --workers 2`, which
starts Ray and ends it. Without Ray that way is left out. All write the same masks, which is
checked.

Prints the medians of seconds, the start included, and the ratios to `by hand` within each round;
beside them the same from the first mask that was written to the last, which leaves the starts out.
Writes bench/results/many.json.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from PIL import Image

SEGZOO = [sys.executable, "-P", "-m", "segzoo.cli.main"]
PARTS = 2


class Taken(NamedTuple):
    seconds: float
    first_to_last: float
    masks: str  # a digest of all


def draw(folder: Path, count: int, side: int) -> None:
    """The pictures, all of them in `all` and by turns in `1` and `2`."""
    chance = np.random.default_rng(0)
    for name in ("all", "1", "2"):
        (folder / name).mkdir()
    for n in range(count):
        small = chance.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        file = folder / "all" / f"{n:06}.png"
        Image.fromarray(small).resize((side, side)).save(file, compress_level=1)
        os.link(file, folder / f"{n % PARTS + 1}" / file.name)


def lines_of(way: str, pictures: Path, model: Path, out: Path) -> list[list[str]]:
    """What is run at once."""
    predict = [*SEGZOO, "predict", str(model)]
    last = ["-o", str(out), "--quiet"]
    if way == "by hand":
        return [[*predict, str(pictures / f"{n + 1}"), *last] for n in range(PARTS)]
    whole = [*predict, str(pictures / "all"), *last]
    if way == "shards":
        return [[*whole, "--shard", f"{n + 1}/{PARTS}"] for n in range(PARTS)]
    return [[*whole, "--on", "ray", "--workers", str(PARTS)]]


def run(way: str, pictures: Path, model: Path, out: Path, count: int) -> Taken:
    shutil.rmtree(out, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    start = time.perf_counter()
    running = [
        subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL)
        for line in lines_of(way, pictures, model, out)
    ]
    codes = [each.wait() for each in running]
    seconds = time.perf_counter() - start
    masks = sorted(out.glob("*.png"))
    assert not any(codes) and len(masks) == count, (way, codes, len(masks))
    times = [mask.stat().st_mtime for mask in masks]
    digest = hashlib.sha256(b"".join(mask.read_bytes() for mask in masks)).hexdigest()
    return Taken(seconds, max(times) - min(times), digest)


def row_of(way: str, done: list[Taken], beside: list[Taken]) -> dict[str, Any]:
    pairs = [*zip(done, beside, strict=True)]
    return {
        "way": way,
        "median_seconds": round(statistics.median(t.seconds for t in done), 2),
        "median_from_first_to_last": round(statistics.median(t.first_to_last for t in done), 2),
        "ratio": round(statistics.median(a.seconds / b.seconds for a, b in pairs), 3),
        "ratio_from_first_to_last": round(
            statistics.median(a.first_to_last / b.first_to_last for a, b in pairs), 3
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    here = machine.describe()
    ways = ["by hand", "shards", "ray"]
    if find_spec("ray") is None:
        ways.remove("ray")
        print("Ray is not installed and left out: pip install 'segzoo-core[ray]'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, args.pictures, args.side)
        model = args.model or folder / "model"
        if args.model is None:
            import segzoo

            segzoo.load("unet", seed=0, width=4, num_classes=1).save_pretrained(model)
        taken: dict[str, list[Taken]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, done in taken.items():
                done.append(run(way, folder, model, folder / "out", args.pictures))
                print(f"{way}: {done[-1].seconds:.1f} s", flush=True)
    assert len({each.masks for done in taken.values() for each in done}) == 1, "masks differ"
    rows = [row_of(way, done, taken["by hand"]) for way, done in taken.items()]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    result = {
        "pictures": args.pictures,
        "side": args.side,
        "rounds": args.rounds,
        "model": str(args.model.name) if args.model else "unet, width=4",
        "load_average_afterwards": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    print(f"\nwritten to {machine.save('many', result, machine=here)}")


if __name__ == "__main__":
    main()
