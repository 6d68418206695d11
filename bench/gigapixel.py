"""Pictures larger than memory: time and memory of 10 to 1,074 megapixels, beside a naive loop.

    python bench/gigapixel.py [--megapixels 10 100 1074] [--naive-up-to 100]
        [--network conv|unet] [--tile 512]

The pictures are TIFFs in tiles of 512x512, deflated, drawn by the script: blocks of 8x8 pixels of
random colours. A picture repeats 64 tiles, which are in its file once; each time they are decoded.
The network is cheap, so that reading, windows and writing show beside it: two convolutions of 3x3
with 4 channels between them, or `unet` with 2 channels in its first stage; its values are random.
Each way runs in a process of its own, on one thread.

segzoo: what `segzoo predict` does for such a picture, once the model is loaded and has seen a small
one. It runs under a limit of memory (RLIMIT_DATA): what it has then, and 1 GiB. naive: the picture
as one array, read by tifffile; windows of it that abut, one after the other; one array of
probabilities, and one mask, written by tifffile. That is less work: no window overlaps another.

Prints seconds for a megapixel, and how far the memory rose above that of the loaded model. Writes
bench/results/gigapixel.json, or gigapixel_unet.json, after each size.
"""

import argparse
import json
import math
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import machine
import numpy as np

DIFFERENT = 64  # tiles
LIMIT = 1 << 30  # bytes beyond the loaded model
BLOCK, SIDE = 8, 512  # pixels


def draw(file: Path, side: int) -> None:
    """A square picture."""
    chance, place, places, tiles = np.random.default_rng(0), 8, [], []
    for _ in range(DIFFERENT):
        small = chance.integers(0, 256, (SIDE // BLOCK, SIDE // BLOCK, 3), np.uint8)
        tiles.append(zlib.compress(small.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1).data, 1))
        places.append((place, len(tiles[-1])))
        place += len(tiles[-1])
    many = (-(-side // SIDE)) ** 2
    chosen = [places[n] for n in chance.integers(0, DIFFERENT, many)]
    arrays = [struct.pack(f"<{many}I", *column) for column in zip(*chosen, strict=True)]
    lines = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        (258, 3, 3, place),
        (259, 3, 1, 8),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, 3, 1, SIDE),
        (323, 3, 1, SIDE),
        (324, 4, many, place + 6),
        (325, 4, many, place + 6 + 4 * many),
    ]
    directory = struct.pack("<H", len(lines)) + b"".join(struct.pack("<HHII", *x) for x in lines)
    body = b"".join([*tiles, struct.pack("<3H", 8, 8, 8), *arrays])
    file.write_bytes(struct.pack("<4sI", b"II*\0", 8 + len(body)) + body + directory + bytes(4))


def memory(name: str) -> int:
    """Bytes of a line of /proc/self/status: VmRSS, VmHWM, VmData."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def loaded(network: str) -> Any:
    """The predictor, which has seen a small picture."""
    import torch
    from torch import nn

    import segzoo
    from segzoo.predict.predictor import Predictor
    from segzoo.predict.runtimes.torch import TorchRuntime
    from segzoo.spec import Postprocess, Preprocess

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if network == "unet":
        model = segzoo.load("unet", seed=0, width=2, num_classes=1)
        predictor = model.predictor(batch_size=1)
    else:
        layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)
        predictor = Predictor(
            TorchRuntime(nn.Sequential(*layers).eval()),
            preprocess=Preprocess(),
            postprocess=Postprocess(),
            in_channels=3,
            num_classes=1,
            batch_size=1,
        )
    predictor.predict(np.zeros((600, 600, 3), np.uint8))
    return predictor


def by_segzoo(file: Path, out: Path, network: str, tile: int) -> None:
    import dataclasses

    from segzoo.cli.jobs import Job, Layout
    from segzoo.cli.writing import Writer

    predictor = dataclasses.replace(loaded(network), tile=tile)
    writer = Writer(
        layout=Layout(str(out), ("mask",)),
        predictor=predictor,
        background=None,
        edges="clean",
        crop=False,
    )
    most = memory("VmData") + LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    writer.in_parts(Job(str(file), file.stem, in_parts=True), None)


def naive(file: Path, out: Path, network: str, tile: int) -> None:
    import tifffile

    predictor = loaded(network)
    image = tifffile.imread(file)
    height, across = image.shape[:2]
    probability = np.empty((height, across), np.float32)
    for top in range(0, height, tile):
        for left in range(0, across, tile):
            part = (slice(top, top + tile), slice(left, left + tile))
            probability[part] = predictor.predict(image[part]).probability
    mask = np.where(probability > 0.5, np.uint8(255), np.uint8(0))
    out.mkdir(exist_ok=True)
    tifffile.imwrite(out / file.name, mask, tile=(512, 512), compression="zlib")


WAYS = {"segzoo": by_segzoo, "naive": naive}


def child(way: str, file: Path, out: Path, network: str, tile: int) -> None:
    """One way, once; prints what it took. What comes before the picture does not count."""
    real, before = loaded, dict[str, float]()

    def noted(network: str) -> Any:
        predictor = real(network)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        before["memory"], before["time"] = memory("VmRSS"), time.perf_counter()
        before["processor"] = time.process_time()
        return predictor

    globals()["loaded"] = noted
    WAYS[way](file, out, network, tile)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - before["time"],
                "processor_seconds": time.process_time() - before["processor"],
                "above_the_model_mib": (memory("VmHWM") - before["memory"]) / 2**20,
                "model_mib": before["memory"] / 2**20,
            }
        )
    )


def measured(way: str, file: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", way, str(file), str(folder / way)]
    more = ["--network", args.network, "--tile", str(args.tile)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *more], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return {key: round(value, 2) for key, value in json.loads(done.stdout).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[10, 100, 1074])
    parser.add_argument("--naive-up-to", type=float, default=100)
    parser.add_argument("--network", choices=["conv", "unet"], default="conv")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--child", nargs=3, metavar=("WAY", "FILE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        way, file, out = args.child
        child(way, Path(file), Path(out), args.network, args.tile)
        return
    here, rows = machine.describe(), []
    for megapixels in args.megapixels:
        side = math.isqrt(round(megapixels * 1e6))
        with tempfile.TemporaryDirectory() as name:
            file = Path(name, "picture.tif")
            draw(file, side)
            for way in WAYS:
                if way == "naive" and megapixels > args.naive_up_to:
                    print(f"naive is left out at {megapixels:g} megapixels: --naive-up-to")
                    continue
                load = os.getloadavg()[0]
                row: dict[str, Any] = {"way": way, "megapixels": round(side * side / 1e6, 2)}
                row |= measured(way, file, Path(name), args)
                row["seconds_for_a_megapixel"] = round(row["seconds"] / row["megapixels"], 4)
                row["processor_seconds_for_a_megapixel"] = round(
                    row["processor_seconds"] / row["megapixels"], 4
                )
                row["load_average_before"] = round(load, 2)
                rows.append(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        result = {"network": args.network, "tile": args.tile, "rows": rows}
        name = "gigapixel" if args.network == "conv" else f"gigapixel_{args.network}"
        path = machine.save(name, result, machine=here)
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
