"""The JPEGs that a TIFF's strips or tiles are, judged before one of them is decoded.

libtiff refuses one that is larger than its tile, but for a last strip that is too high: of a
progressive one it decodes all rows, as many as it says it has, for the few of the picture.
"""

import os
import re
import struct
from typing import IO

from segzoo.errors import PictureError
from segzoo.pictures import tiff
from segzoo.pictures.limits import SCAN, judge_scans

__all__ = ["judge_jpegs"]

MARKER = re.compile(rb"\xff+([^\0\xff])", re.DOTALL)
# Markers of a JPEG (ITU-T T.81, table B.1): a frame begins; the pixels begin or end; those that
# have no length behind them.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PIXELS, ALONE = {0xD9, 0xDA}, {0x01, *range(0xD0, 0xD9)}
MOST_MARKERS = 1000  # before the pixels
SPARE = 1 << 20  # pixels that any JPEG may have more than its tile


def judge_jpegs(stream: IO[bytes], layout: tiff.Layout) -> None:
    """PictureError where decoding a strip or a tile would take far more than its pixels do."""
    ends = stream.seek(0, os.SEEK_END)
    chunks = {*layout.chunks}
    if sum(max(0, min(chunk.length, ends - chunk.offset)) for chunk in chunks) > ends:
        raise PictureError("the TIFF is damaged: its strips or tiles lie upon each other")
    most = tiff.MOST_SPARE * layout.tile[0] * layout.tile[1] + SPARE
    for chunk in sorted(chunks):
        stream.seek(chunk.offset)
        content = stream.read(min(chunk.length, ends))
        judge_scans(content.count(SCAN))
        height, width = _frame(content)
        if height * width > most:
            raise PictureError(
                "the TIFF is damaged: a JPEG in it is far larger than its strip or tile",
                found=f"height {height} and width {width}",
                expected="height {} and width {}".format(*layout.tile),
            )


def _frame(content: bytes) -> tuple[int, int]:
    """The height and width that a JPEG says it has; zeros where it has not come to that."""
    place = 2
    for _ in range(MOST_MARKERS):
        marker = MARKER.search(content, place)
        if marker is None or marker[1][0] in PIXELS:
            return 0, 0
        place = marker.end()
        if marker[1][0] in FRAMES:
            size: tuple[int, int] = struct.unpack(
                ">HH", content[place + 3 : place + 7].ljust(4, b"\0")
            )
            return size
        if marker[1][0] not in ALONE:
            place += int.from_bytes(content[place : place + 2])
    raise PictureError(
        "the TIFF is damaged: a JPEG in it has too many parts", expected=f"at most {MOST_MARKERS:,}"
    )
