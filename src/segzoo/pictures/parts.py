"""A picture that is read some rows at a time, because it is larger than memory.

    with on_disk("scan.tif") as picture:
        part = picture.rows(0, 512)  # a Picture of these rows

A TIFF in tiles or strips: of these, those are read that the rows need. What their samples become is
what `codec.read` makes of the whole.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.errors import PictureError, PictureTooLargeError
from segzoo.pictures import codec, tiff
from segzoo.pictures.arrays import InFile, refuse_unnamed
from segzoo.pictures.codec import Picture
from segzoo.pictures.streams import COUNT_BYTES, PictureStream, one_error, pillow, stream_of

__all__ = ["ENDINGS", "MOST_PIXELS", "OnDisk", "is_larger", "on_disk"]

Values: TypeAlias = NDArray[Any]  # (rows, W, bands) as they are stored

ENDINGS = (".tif", ".tiff")  # of the names of such pictures
MOST_PIXELS = 100_000_000_000
AT_ONCE = 1 << 24  # bytes of samples that are decoded together, where chunks are smaller
MOST_AT_ONCE = 1 << 28  # and of a row of chunks, which is decoded as a whole
MOST_HELD = 1 << 30  # and of the rows that are held
FINER = 1 << 20  # bytes of the strips that one without compression is cut into
PACKED = 2  # times what a chunk's samples take: what they may take compressed
SPARE = 1 << 16  # bytes that it may be more
HIGH_BYTE = "16-bit colours cut to their high byte"  # what Pillow does with whole pictures


@dataclass(frozen=True, eq=False)
class _Source:
    """Where values come from.

    nbytes: of a row of chunks. read: the rows of chunks from one to before another. pages: how many
    pictures there are in the file.
    """

    layout: tiff.Layout
    nbytes: int
    read: Callable[[int, int], Values]
    pages: int


class OnDisk:
    """A picture of which some rows are in memory.

    size: (H, W).
    """

    def __init__(self, source: _Source, file: str, *, peak: float | None, bands: bool) -> None:
        self.size = source.layout.height, source.layout.width
        pages = source.pages
        self._told = dict.fromkeys([f"the first of {count_of(pages, 'frame')}"] * (pages > 1))
        self._of_all: tuple[str, ...] | None = None  # notes of every part: others are of a part
        self._source, self._file = source, file
        self._peak, self._bands = peak, bands
        self._held: Values | None = None
        self._top = 0  # of what is held

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each thing that was not straightforward in what was read."""
        return (*(self._of_all or ()), *self._told)

    def rows(self, top: int, bottom: int) -> Picture:
        """The rows from `top` to before `bottom`; quickest when asked for from the top down.

        What `codec.read` raises for pictures that are damaged or whose values are no brightness.
        """
        with one_error(self._file):
            layout = self._source.layout
            _judge_rows(bottom - top, layout)
            values = self._values(top, bottom)
            exact = self._bands or self._peak is not None
            if not exact and layout.photometric == tiff.RGB and values.dtype == np.uint16:
                values = (values >> 8).astype(np.uint8)
                self._told[HIGH_BYTE] = None
            picture = codec.of_file(InFile(values, layout), peak=self._peak, bands=self._bands)
        if picture.alpha is not None and picture.alpha.min() < 255:
            self._told[codec.ALPHA] = None
        known = picture.notes if self._of_all is None else self._of_all
        self._of_all = tuple(note for note in known if note in picture.notes)
        return picture

    def _values(self, top: int, bottom: int) -> Values:
        """As they are stored. Those that are held are not read again."""
        source, high = self._source, self._source.layout.tile[0]
        held, start = self._held, self._top
        if held is None or not start <= top <= start + len(held):
            start = top // high * high
            held = None
        kept = [] if held is None else [held[top - start :]]
        end = start + (0 if held is None else len(held))
        step = max(1, AT_ONCE // source.nbytes)
        last = -(-bottom // high)
        for first in range(-(-end // high), last, step):
            kept.append(source.read(first, min(first + step, last)))
        values = kept[0] if len(kept) == 1 else np.concatenate(kept)
        if held is None:
            values = values[top - start :]
        self._held, self._top = values, top
        return values[: bottom - top]


def is_larger(file: str, max_pixels: int) -> bool:
    """Whether a file is a TIFF of more pixels, by its header; no error is raised here."""
    if os.path.splitext(file)[1].lower() not in ENDINGS:
        return False
    with contextlib.suppress(PictureError, OSError), stream_of(file) as stream:
        height, width = tiff.extent_of(stream)
        return height * width > max_pixels
    return False


@contextlib.contextmanager
def on_disk(
    file: str | os.PathLike[str], *, peak: float | None = None, bands: bool = False
) -> Iterator[OnDisk]:
    """A picture to be read in parts. peak, bands: as for `codec.read`.

    PictureError for what is no TIFF, or none that can be read so; PictureTooLargeError for one of
    more than MOST_PIXELS.
    """
    name = os.fsdecode(file)
    with stream_of(file) as stream:
        with one_error(name):
            source = _of_tiff(stream, exact=bands or peak is not None)
        yield OnDisk(source, name, peak=peak, bands=bands)


# --- a TIFF --------------------------------------------------------------------------------------


def _of_tiff(stream: PictureStream, *, exact: bool) -> _Source:
    head = stream.read(4)
    layout = tiff.layout_of(stream) if head in tiff.MAGIC else None
    if layout is None:
        raise PictureError(
            "not a TIFF, or its directory is damaged", expected="a TIFF in tiles or strips"
        )
    _judge(layout, exact=exact)
    stream.allowance = COUNT_BYTES
    pages = tiff.pages(stream)
    stream.allowance = sys.maxsize
    layout = _finer(layout)
    size = stream.seek(0, os.SEEK_END)
    _judge_chunks(layout, size)
    nbytes = tiff.chunks_of(layout, 0, 1).nbytes

    def read(first: int, last: int) -> Values:
        with pillow(max(nbytes, AT_ONCE)):  # it is shown the bytes as pixels
            return tiff.samples(stream, tiff.chunks_of(layout, first, last))

    return _Source(layout, nbytes, read, pages)


def _judge(layout: tiff.Layout, *, exact: bool) -> None:
    """Whether it can be read in parts, by its directory."""
    if layout.height * layout.width > MOST_PIXELS:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"height {layout.height} and width {layout.width}",
            expected=f"at most {MOST_PIXELS:,} pixels",
        )
    refuse_unnamed(layout, exact=exact)
    if layout.fault:
        raise PictureError(
            "this kind of TIFF is not read in parts",
            found=f"{layout}: {layout.fault}",
            expected="gray or RGB of 8 or 16 bits",
            next_step="Save it so; or read it whole: --max-pixels (max_pixels= in Python)",
        )
    if layout.orientation != 1:
        raise PictureError(
            "its file says that it is turned, and what is read in parts is not",
            found=f"orientation {layout.orientation}",
            expected="1",
            next_step="Turn its pixels, and save it anew",
        )


def _judge_rows(rows: int, layout: tiff.Layout) -> None:
    """Whether so many rows are few enough to be held."""
    nbytes = layout.nbytes // layout.height * rows
    if nbytes > MOST_HELD:
        raise PictureTooLargeError(
            f"{rows:,} rows of it are too large to be held",
            found=f"{nbytes:,} bytes",
            expected=f"at most {MOST_HELD:,}",
            next_step="Give a smaller --tile, or cut the picture",
        )


def _judge_chunks(layout: tiff.Layout, size: int) -> None:
    """Whether its tiles or strips lie in the file, and are of a size that can be held."""
    across, _ = layout.grid
    row = tiff.chunks_of(layout, 0, 1).nbytes
    if row > MOST_AT_ONCE:
        raise PictureTooLargeError(
            "its tiles or strips are too large to be read in parts",
            found=f"{row:,} bytes side by side",
            expected=f"at most {MOST_AT_ONCE:,}",
            next_step="Save it in tiles of 512 pixels a side",
        )
    many = layout.bands if layout.planar else 1
    most = PACKED * row // (across * many) + SPARE
    end = max(chunk.offset + chunk.length for chunk in layout.chunks)
    if end > size:
        raise PictureError(
            "the picture is cut short",
            found=f"{size:,} bytes",
            expected=f"at least {end:,}",
            next_step="Fetch it again",
        )
    largest = max(chunk.length for chunk in layout.chunks)
    if largest > most:
        raise PictureError(
            "a tile or strip is far larger than what is in it",
            found=f"{largest:,} bytes",
            expected=f"at most {most:,}",
        )


def _finer(layout: tiff.Layout) -> tiff.Layout:
    """The same picture in more strips, where one without compression holds it all."""
    across, down = layout.grid
    if layout.compression != 1 or (across, down) != (1, 1) or layout.tile[1] != layout.width:
        return layout
    row = layout.nbytes // layout.height // (layout.bands if layout.planar else 1)
    high = min(layout.height, max(1, FINER // row))
    chunks = []
    for whole in layout.chunks:
        for top in range(0, layout.height, high):
            rest = max(0, whole.length - top * row)
            chunks.append(tiff.Chunk(whole.offset + top * row, min(rest, high * row)))
    return dataclasses.replace(layout, tile=(high, layout.width), chunks=tuple(chunks))
