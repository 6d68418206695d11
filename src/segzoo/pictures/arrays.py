"""Files whose values numpy or `segzoo.pictures.tiff` reads, because Pillow has no mode for them."""

import struct
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PictureError, printable
from segzoo.pictures import npy, tiff
from segzoo.pictures.inner import judge_jpegs
from segzoo.pictures.kinds import open_tiff
from segzoo.pictures.limits import judge_bytes, judge_size
from segzoo.pictures.streams import COUNT_BYTES, PictureStream, pillow

__all__ = ["SAY_BANDS", "InFile", "array_in", "refuse_unnamed"]

PILLOWS_BANDS = 6
SAY_BANDS = (
    "Keep those that are colours; or, for a network of as many, say bands={} in a data set's words"
)


class InFile(NamedTuple):
    """The array of a .npy or of a TIFF; layout: the latter's. pages: how many a TIFF has."""

    values: NDArray[Any]
    layout: tiff.Layout | None = None
    pages: int = 1


def array_in(stream: PictureStream, max_pixels: int, *, exact: bool = False) -> InFile | None:
    """What numpy or `segzoo.tiff` reads of a file, None for what Pillow does.

    exact: read a TIFF so whose bands or depth Pillow would reduce. PictureError for a TIFF that
    neither reads, with its layout; for bands that no colour is, unless it is to be exact.
    """
    head = stream.read(8)
    stream.seek(0)
    if head.startswith(npy.MAGIC):
        header = _header(stream)
        judge_bytes(header.shape[:2], header.nbytes, max_pixels)
        stream.allowance = sys.maxsize
        return InFile(_array(stream, header))
    if head[:4] not in tiff.MAGIC:
        return None
    if (layout := tiff.layout_of(stream)) is None:
        _refuse_unjudged(stream)
        return None
    if layout.compression in (tiff.OLD_JPEG, tiff.JPEG):
        judge_size(layout.height, layout.width, max_pixels)  # before all of it is read
        allowance, stream.allowance = stream.allowance, sys.maxsize
        judge_jpegs(stream, layout)
        stream.allowance = allowance
    refuse_unnamed(layout, exact=exact)
    reduced = layout.bands > 1 or (layout.dtype or np.dtype("u1")).itemsize > 1
    backwards = layout.fill == 2 and layout.photometric != 3  # a mode that Pillow does not have
    ours = not layout.fault and (backwards or (exact and reduced))
    if not ours and _is_pillows(stream, layout):
        return None
    if layout.fault:
        raise PictureError(
            "this kind of TIFF is not read",
            found=f"{layout}: {layout.fault}",
            expected="gray or RGB of 8 or 16 bits",
            next_step="Save it so, or as .npy",
        )
    judge_bytes((layout.height, layout.width), layout.nbytes, max_pixels)
    stream.allowance = COUNT_BYTES
    pages = tiff.pages(stream)
    stream.allowance = sys.maxsize
    with pillow(layout.nbytes):  # it is shown the bytes as pixels
        return InFile(tiff.samples(stream, layout), layout, pages)


def _refuse_unjudged(stream: PictureStream) -> None:
    """PictureError for a TIFF of JPEGs that libtiff would find, and `judge_jpegs` cannot."""
    if tiff.compression_of(stream) == tiff.JPEG:
        raise PictureError(
            "the TIFF is damaged: it does not say where the JPEGs lie that it is made of",
            next_step="Open it in a viewer and save it anew",
        )


def refuse_unnamed(layout: tiff.Layout, *, exact: bool) -> None:
    """PictureError for bands that are not said to be anything, unless each is wanted as it is."""
    if layout.unnamed and not exact:
        raise PictureError(
            f"the picture has {layout.bands} bands, and not all of them are colours or alpha",
            found=str(layout),
            expected="colours or gray, with or without alpha",
            next_step=SAY_BANDS.format(layout.bands),
        )


def _header(stream: PictureStream) -> npy.Header:
    try:
        return npy.header_of(stream)
    except ValueError as error:
        raise PictureError("the .npy is damaged", found=printable(str(error))[:200]) from None


def _array(stream: PictureStream, header: npy.Header) -> NDArray[Any]:
    try:
        return npy.array_of(stream, header)
    except ValueError as error:
        raise PictureError("the .npy is cut short", found=str(error)) from None


def _is_pillows(stream: PictureStream, layout: tiff.Layout) -> bool:
    """Whether Pillow has a mode for a TIFF."""
    if layout.bands > PILLOWS_BANDS:  # it would write a line to its log
        return False
    stream.seek(0)
    try:
        open_tiff(stream)
    except (SyntaxError, IndexError, TypeError, struct.error):
        return stream.allowance < 0  # for `identify` to say
    return True
