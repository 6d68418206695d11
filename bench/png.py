"""How long PNG files of 12 megapixels take, and how large they are: each filter, each deflate.

    python bench/png.py [--rounds 3]

The pictures: one of the photographs of bench/predict.py, with noise; the same cut out by a soft
disc; and that disc as a mask. Pillow tries its five filters on each row. "above" and "left" are one
filter for all rows, as `segzoo.pictures.png` does it, through zlib, isal and zlib-ng as far as they
are installed. Processor seconds of one thread, the least of the rounds. Writes
bench/results/png.json.
"""

import argparse
import importlib
import io
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import machine
import numpy as np
import predict
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
DEFLATES = (("zlib", 1), ("zlib", 6), ("isal.isal_zlib", 1), ("zlib_ng.zlib_ng", 2))


def pictures() -> dict[str, Bytes]:
    with tempfile.TemporaryDirectory() as name:
        predict.photographs(Path(name), 1)
        with Image.open(next(Path(name).iterdir())) as im:
            photo = np.asarray(im.convert("RGB"))
    height, width = photo.shape[:2]
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    alpha = (255 * np.clip((height / 3 - distance) / 60, 0, 1)).astype(np.uint8)
    cut = np.dstack([photo, alpha])
    cut[alpha == 0] = 0
    return {"photo": photo, "cutout": cut, "mask": np.where(alpha > 127, 255, 0).astype(np.uint8)}


def filtered(image: Bytes, by: str) -> Bytes:
    rows = image.reshape(len(image), -1)
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    result[:, 0], values = (2 if by == "above" else 1), result[:, 1:]
    values[:] = rows
    if by == "above":
        values[1:] -= rows[:-1]
    else:
        values[:, channels:] -= rows[:, :-channels]
    return result


def by_pillow(image: Bytes, level: int) -> int:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=level)
    return len(content.getvalue())


def ways(image: Bytes) -> Iterator[tuple[str, Callable[[], int]]]:
    for level in (1, 3, 6):
        yield f"Pillow {level}", partial(by_pillow, image, level)
    for name, level in DEFLATES:
        try:
            library = importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed and left out")
            continue
        for by in ("above", "left"):

            def deflated(library: object = library, level: int = level, by: str = by) -> int:
                compressor = getattr(library, "compressobj")(level)  # noqa: B009
                data = filtered(image, by).data
                return len(compressor.compress(data)) + len(compressor.flush())

            yield f"{by}, {name.partition('.')[0]} {level}", deflated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    here, rows = machine.describe(), []
    for name, image in pictures().items():
        for way, make in ways(image):
            size, least = 0, float("inf")
            for _ in range(args.rounds):
                start = time.thread_time()
                size = make()
                least = min(least, time.thread_time() - start)
            rows.append({"picture": name, "way": way, "seconds": round(least, 3), "bytes": size})
            print(f"{name:8} {way:18} {least * 1000:8.1f} ms {size / 1e6:8.3f} MB", flush=True)
    result = {"rounds": args.rounds, "zlib": zlib.ZLIB_RUNTIME_VERSION, "rows": rows}
    print(f"\nwritten to {machine.save('png', result, machine=here)}")


if __name__ == "__main__":
    main()
