"""PNG files, written fast: one filter for all rows, and the quickest deflate that is installed.

Pillow tries five filters for each row. Of photographs with noise, of cut-outs and of masks the
difference to the row above alone was as small or smaller (bench/png.py), and is one subtraction.
isal, Intel's deflate, is several times as fast (`pip install 'segzoo-core[fast]'`). Both give
the same pixels. The format: ISO/IEC 15948, W3C PNG specification, third edition.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["png_of"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, PALETTE, COLOURS = 0, 3, {3: 2, 4: 6}  # as IHDR says them; of so many channels
ABOVE = 2  # the filter: each byte less the one above it
LEVEL = 1  # of deflate: the higher ones of zlib take twice the time for a few percent
BLOCK = 1 << 20  # bytes of rows that are filtered at once
EXIF_PREFIX = b"Exif\0\0"  # of a JPEG's; a PNG has none
METRE = 1 / 0.0254  # inches


def png_of(
    image: NDArray[Any],
    palette: Sequence[tuple[int, int, int]] = (),
    *,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    exif: bytes | None = None,
) -> bytes:
    """A PNG of (H, W) uint8 or uint16, with a palette of indices, or of (H, W, 3) or (H, W, 4).

    What the arguments may be is judged by `codec.encode`.
    """
    height, width = image.shape[:2]
    colours = COLOURS[image.shape[2]] if image.ndim == 3 else PALETTE if palette else GRAY
    head = struct.pack(">IIBBBBB", width, height, 8 * image.itemsize, colours, 0, 0, 0)
    parts = [SIGNATURE, *_chunk(b"IHDR", head)]
    if icc_profile is not None:
        parts += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile))
    if palette:
        parts += _chunk(b"PLTE", bytes(value for colour in palette for value in colour))
    if dpi is not None:
        parts += _chunk(b"pHYs", struct.pack(">IIB", *(int(d * METRE + 0.5) for d in dpi), 1))
    if exif is not None:
        parts += _chunk(b"eXIf", exif.removeprefix(EXIF_PREFIX))
    for part in _deflated(_filtered(image)):
        parts += _chunk(b"IDAT", part)
    parts += _chunk(b"IEND")
    return b"".join(parts)


def _chunk(kind: bytes, content: bytes = b"") -> list[bytes]:
    """The parts of a chunk: its length, its kind, its content and their checksum."""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return [struct.pack(">I4s", len(content), kind), content, struct.pack(">I", checksum)]


def _filtered(image: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    """The rows as they are compressed, some at a time: each begins with its filter."""
    height = len(image)
    width = image[0].nbytes
    step = max(1, BLOCK // width)
    above = np.zeros((1, width), np.uint8)
    for start in range(0, height, step):
        values = np.ascontiguousarray(image[start : start + step])
        if values.itemsize == 2:
            values = values.astype(">u2")
        rows = values.view(np.uint8).reshape(len(values), width)
        filtered = np.empty((len(rows), width + 1), np.uint8)
        filtered[:, 0] = ABOVE
        np.subtract(rows[:1], above, out=filtered[:1, 1:])
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
        above = rows[-1:]
        yield filtered


def _deflated(blocks: Iterator[NDArray[np.uint8]]) -> Iterator[bytes]:
    """The parts of one compressed stream, none of them empty."""
    compressor: Any
    try:
        from isal import isal_zlib
    except ImportError:
        compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1)
    else:
        compressor = isal_zlib.compressobj(LEVEL)
    for block in blocks:
        if part := compressor.compress(block.data):
            yield part
    yield compressor.flush()
