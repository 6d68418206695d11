"""The values that a mask's file stores, and what a person should be told of them.

    stored = read_labels("mask.png")
    indices = meaning(stored.values)

A label is a number in a file, and not what a viewer makes of it: of a palette its indices, of a
file in which 0 is white the numbers that are written there. One bit is 0 or 255.
"""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.errors import DatasetError, PictureError, printable
from segzoo.pictures import codec, tiff
from segzoo.pictures.arrays import InFile, array_in
from segzoo.pictures.depth import black_and_white
from segzoo.pictures.metadata import UPRIGHT, note_frames, orientation_of, turned
from segzoo.pictures.pixels import pixels_of
from segzoo.pictures.raw import Raw, raw_of
from segzoo.pictures.streams import open_stream, pillow

__all__ = ["CHANNELS", "LOSSY", "Stored", "read_colours", "read_labels"]

Labels: TypeAlias = NDArray[Any]

CHANNELS = ("red", "green", "blue", "alpha")
EXPECTED = "gray values, palette indices or opaque RGB colours"
SHOWN = 4  # colours of a palette that are told
INVERTED = (
    "0 is white in its file, and labels are as they are stored: 255 is what a viewer shows black"
)
LOSSY = "it was compressed with loss, so its values are not exact"
THRESHOLD = (
    "Its file was compressed with loss: say threshold=128 if it is black and white, or get masks "
    "as they were drawn, as PNG"
)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What a file stores, upright.

    values: (H, W) of any type of numbers, or (H, W, 3) uint8 of colours. told: a sentence of what
    the numbers are, where that is not plain. lossy: they are not exact. notes: a line for each
    thing that was not straightforward. turned: the EXIF orientation that was undone.
    """

    values: Labels
    told: str = ""
    lossy: bool = False
    notes: tuple[str, ...] = ()
    turned: int = 1

    def advised(self, error: DatasetError) -> DatasetError:
        """The error that `values` led to, with what is known of the file as its next step."""
        if self.lossy:
            error.next_step = THRESHOLD
        elif self.told:
            error.next_step = f"{self.told}. {error.next_step}".removesuffix(". ")
        return error


def read_labels(
    source: str | PathLike[str] | bytes,
    *,
    channel: str = "",
    max_pixels: int = codec.MAX_PIXELS,
) -> Stored:
    """The values that a file stores: a picture of any format that `codec.read` knows, or a .npy.

    Gray values, also of 16 and 32 bits and of floating point; indices of a palette; 0 and 255 of
    one bit; or RGB colours. channel: which of "red", "green", "blue" and "alpha" to take alone.
    Raises as `codec.read` does, and PictureError where it is not known what is a label:
    transparent pixels, 16-bit colours, which would lose their low byte, and more bands.
    """
    with open_stream(source) as stream:
        found = array_in(stream, max_pixels)
        if found is not None:
            return _of_array(found, channel)
        notes: list[str] = []
        with pillow(max_pixels):
            raw = raw_of(stream, max_pixels, notes)
        values, told = _values(raw, channel, notes)
        orientation = orientation_of(raw.im, notes)
        note_frames(raw.im, stream, notes)
    upright = max(raw.stored, orientation)
    return Stored(
        turned(values, orientation),
        told,
        raw.lossy,
        tuple(dict.fromkeys(notes)),
        upright if upright in UPRIGHT else 1,
    )


def read_colours(
    source: str | PathLike[str] | bytes, *, max_pixels: int = codec.MAX_PIXELS
) -> Stored:
    """The colours that a mask shows, (H, W, 3) uint8, whatever way they are stored.

    Raises as `codec.read` does, and PictureError for transparent pixels.
    """
    picture = codec.read(source, max_pixels=max_pixels)
    if picture.alpha is not None and picture.alpha.min() < 255:
        raise PictureError("the mask is transparent in parts", expected="opaque colours")
    return Stored(picture.image, "", picture.lossy, picture.notes, picture.turned)


def _of_array(found: InFile, channel: str) -> Stored:
    """Of a .npy (H, W), (H, W, 1) or (H, W, 3), and of a TIFF that Pillow has no mode for."""
    values, layout = found.values, found.layout
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    colours = values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8
    if values.size == 0 or values.dtype.kind not in "buif" or not (values.ndim == 2 or colours):
        raise PictureError(
            "this array is not a mask",
            found=f"{values.dtype} of shape {values.shape}",
            expected="numbers (H, W), or colours (H, W, 3) of uint8",
        )
    if channel:
        values = _one_of(values, None, channel)
    notes = []
    if layout is not None:
        values = turned(values, layout.orientation)
        if layout.photometric == tiff.INVERTED and layout.bands == 1:
            notes.append(INVERTED)
    if found.pages > 1:
        notes.append(f"the first of {count_of(found.pages, 'frame')}")
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    return Stored(values, notes=tuple(notes), turned=1 if layout is None else layout.orientation)


def _values(raw: Raw, channel: str, notes: list[str]) -> tuple[Labels, str]:
    """The values of a picture as its file stores them; and what they are, to be told."""
    im = raw.im
    values, told = pixels_of(im), ""
    wide = im.mode in ("I", "F") or im.mode.startswith("I;16")
    if raw.inverted and (im.mode in ("1", "L") or wide):
        notes.append(INVERTED)
    if im.mode == "1":
        values = black_and_white(~values if raw.inverted else values)
        told = "They are single bits, read as 0 and 255"
    elif im.mode == "L":
        values = 255 - values if raw.inverted else values
        if raw.factor != 1:
            values = np.rint(values / raw.factor).astype(np.uint8)
    elif im.mode == "P":
        told = _palette(im, values)
    elif im.mode == "I":
        values = _narrow(values if raw.factor == 1 else np.rint(values / raw.factor).astype(int))
    elif wide:
        values = values.astype(values.dtype.newbyteorder("="))
    else:
        values = _colours(raw, channel, notes)
        channel = ""
    if channel:
        alpha = None
        if channel == "alpha" and im.has_transparency_data:
            alpha = pixels_of(im, "RGBA")[..., 3]
        values = _one_of(values, alpha, channel)
    return values, told


def _colours(raw: Raw, channel: str, notes: list[str]) -> Labels:
    """(H, W, 3) uint8 colours, or (H, W) of one channel. PictureError where they hold no labels."""
    im = raw.im
    if ";16" in raw.rawmode or raw.factor < 1:
        raise PictureError(
            "16-bit colours would lose their low byte, so they are no labels",
            found=f"a picture of mode {im.mode} and 16 bits",
            expected="16 bits of gray, or colours of 8",
            next_step="Save it as gray",
        )
    if im.mode == "CMYK":
        notes.append("CMYK converted to RGB without a profile")
        im = im.convert("RGB")
    if im.mode in ("La", "PA"):
        im = im.convert("LA" if im.mode == "La" else "RGBA")
    if im.mode not in ("RGB", "RGBX", "RGBA", "LA"):
        raise _no_labels(raw, "Save it as a PNG of gray values")
    values = pixels_of(im, "RGBA" if im.mode in ("RGBA", "LA") else "RGB")
    alpha = values[..., 3] if values.shape[2] == 4 else None
    if channel:
        return _one_of(values[..., :3], alpha, channel)
    if alpha is not None and alpha.min() < 255:
        flat = (values[..., :3] == values[:1, :1, :3]).all()
        hint = "Its colours are the same everywhere, so the mask is its alpha: say channel=alpha"
        other = "Say which channel the mask is: channel=alpha, or channel=red of a gray one"
        raise _no_labels(raw, hint if flat else other)
    return np.ascontiguousarray(values[..., :3])


def _no_labels(raw: Raw, next_step: str) -> PictureError:
    return PictureError(
        f"a picture of mode {raw.im.mode} does not hold labels",
        expected=EXPECTED,
        next_step=next_step,
    )


def _one_of(values: Labels, alpha: Labels | None, channel: str) -> Labels:
    """(H, W) of a channel. PictureError where there is none."""
    chosen = alpha
    if channel in CHANNELS[:3] and values.ndim == 3:
        chosen = values[..., CHANNELS.index(channel)]
    if chosen is None:
        raise PictureError(
            f"the mask has no channel {printable(channel)}",
            found="gray" if values.ndim == 2 else "colours without alpha",
            next_step="Leave channel= out",
        )
    return np.ascontiguousarray(chosen)


def _palette(im: Any, values: Labels) -> str:
    """What the indices that a picture uses stand for."""
    colours = np.array(im.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = [int(n) for n in np.unique(values)]
    shown = [f"{n} is #{bytes(colours[n]).hex()}" for n in used[:SHOWN] if n < len(colours)]
    more = " and so on" if len(used) > SHOWN else ""
    return f"They are indices of a palette: {', '.join(shown)}{more}"


def _narrow(values: Labels) -> Labels:
    """32-bit values in 16 bits where these hold them."""
    kind: Literal["u2", "i4"] = "u2" if 0 <= values.min() <= values.max() <= 65535 else "i4"
    return values.astype(kind)
