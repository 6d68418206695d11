"""The codec: a picture's file becomes an array of 8-bit colours, and such an array a file.

Pillow decodes. Which formats it may try, how many pixels and how long a header it may meet, and how
each mode of stored values becomes 8-bit RGB is said here and in the files beside this one
(docs/pictures.md has the table). A decoder may fail in any way; a caller sees `PictureError`, for
one too large its subclass `PictureTooLargeError`. What a mask stores is read by
`segzoo.pictures.stored`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from segzoo.base.counts import count_of
from segzoo.errors import PictureError, UsageError
from segzoo.pictures import png, tiff
from segzoo.pictures.arrays import SAY_BANDS, InFile, array_in
from segzoo.pictures.depth import (
    SPARE,
    Bytes,
    black_and_white,
    eight_bits,
    nearly_black,
    repeated,
    sixteen_bits,
)
from segzoo.pictures.kinds import identify
from segzoo.pictures.metadata import (
    UPRIGHT,
    dpi_of,
    exif_of,
    icc_profile_of,
    is_on_its_side,
    note_frames,
    orientation_of,
    turned,
)
from segzoo.pictures.pixels import pixels_of
from segzoo.pictures.raw import Raw, raw_of
from segzoo.pictures.streams import PictureStream, one_error, open_stream, pillow

__all__ = ["ALPHA", "MAX_PIXELS", "Picture", "encode", "flatten", "of_file", "read", "visible"]

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue in 0..255

MAX_PIXELS = 89_000_000
ALPHA = "its last band is taken as alpha, as the file says"
WHITE: Colour = (255, 255, 255)

OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},  # exact: colours stay where alpha is 0
}
SAVE_MODES = {
    "JPEG": {"L", "RGB"},
    "WEBP": {"RGB", "RGBA"},
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright: EXIF orientation is applied.

    image: (H, W, 3) uint8 RGB, the colours as stored, under transparent pixels too; not converted
        from the picture's ICC profile. Where bands were asked for: (H, W, C), all that there are.
    alpha: (H, W) uint8, 255 opaque, or None when there is none.
    icc_profile: of those colours, when it describes RGB. dpi: horizontal and vertical.
    exif: what a camera or an author said of it, without its turning, its size and small copies.
    notes: a line for each thing that was not straightforward.
    turned: the EXIF orientation that was undone; 1 for none. lossy: whether it was compressed so
        that values are not exact. reduced_from: its size (H, W) where it was decoded smaller.
    """

    image: Bytes
    alpha: Bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    turned: int = 1
    lossy: bool = False
    exif: bytes | None = None
    reduced_from: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright picture, also where `image` is a smaller one."""
        return self.reduced_from or (self.image.shape[0], self.image.shape[1])


def read(
    source: str | PathLike[str] | bytes | Image.Image | NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
    peak: float | None = None,
    bands: bool = False,
    enough: tuple[int, int] | None = None,
) -> Picture:
    """Decode a picture.

    source: a file, a file's content, a PIL image (its current frame), or an array (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, bool, uint16, or float in 0..1; an array of uint8
    RGB is not copied. A file may be a .npy of such an array.
    max_pixels: judged from the header, before a pixel is decoded; not applied to arrays.
    peak: the largest value that numbers of more than 8 bits have: it becomes 255. Without it that
        is the largest of their type, and 1 for floating point.
    bands: read every band as it is stored, as no colour and no alpha: (H, W, C) of any C.
    enough: a size (H, W) that is as good as the whole. A JPEG, whose decoder can leave the finest
    detail out, is decoded at a half, quarter or eighth of its size that is no smaller than this.
    PictureTooLargeError above the limit; PictureError for a file that is missing, cut short,
    damaged, or of a kind that segzoo does not read; for bands that are neither colours nor alpha,
    unless bands are asked for. TypeError for another type of source.
    """
    wish = Wish(peak, bands, enough)
    if isinstance(source, np.ndarray):
        return _of_array(source, wish)
    if isinstance(source, Image.Image):
        with one_error(""):
            return _decode(source, max_pixels, wish)
    with open_stream(source) as stream:
        return _decode(stream, max_pixels, wish)


def visible(picture: Picture) -> Bytes:
    """(H, W, 3) colours: the picture's own, or of bands the first three, or the first as gray."""
    bands = picture.image.shape[2]
    if bands == 3:
        return picture.image
    return (
        np.ascontiguousarray(picture.image[..., :3])
        if bands > 3
        else repeated(picture.image[..., 0])
    )


def flatten(picture: Picture, colour: Colour = WHITE) -> Bytes:
    """The picture laid over one colour: (H, W, 3) uint8; `picture.image` itself when opaque.

    Of bands it is what `visible` gives.
    """
    if picture.alpha is None or picture.alpha.min() == 255:
        return visible(picture)
    alpha = picture.alpha[..., None].astype(np.uint16)
    below = (255 - alpha) * np.array(colour, np.uint16)
    return ((picture.image * alpha + below + 127) // 255).astype(np.uint8)


def encode(
    image: NDArray[Any],
    *,
    palette: Sequence[Colour] | None = None,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    exif: bytes | None = None,
    format: Literal["PNG", "JPEG", "WEBP"] = "PNG",
) -> bytes:
    """A picture as a file's content. Lossless but for JPEG, which is written at quality 95.

    image: (H, W) uint8 gray or, with `palette`, class indices; (H, W) uint16 gray;
    (H, W, 3) or (H, W, 4) uint8. icc_profile: written with colours alone. WebP keeps no dpi.
    UsageError for another array, an index beyond the palette, or what the format cannot hold.
    """
    if image.size == 0 or not (
        (image.ndim == 2 and image.dtype in (np.uint8, np.uint16))
        or (image.ndim == 3 and image.shape[2] in (3, 4) and image.dtype == np.uint8)
    ):
        raise UsageError(
            "this array is not a picture",
            found=f"{image.dtype} of shape {image.shape}",
            expected="(H, W) uint8 or uint16, or (H, W, 3) or (H, W, 4) uint8",
        )
    if palette is not None:
        wrong = image.ndim != 2 or image.dtype != np.uint8 or len(palette) > 256
        if wrong or int(image.max()) >= len(palette):
            raise UsageError(
                "the palette does not fit the picture",
                found=f"{count_of(len(palette), 'colour')}, "
                f"{image.dtype} values up to {image.max()}",
                expected="(H, W) uint8 and a colour for each value",
            )
    if format == "PNG":
        icc_profile = icc_profile if image.ndim == 3 else None
        return png.png_of(image, palette or (), icc_profile=icc_profile, dpi=dpi, exif=exif)
    im = Image.fromarray(np.ascontiguousarray(image))
    if palette is not None:
        im.putpalette([value for colour in palette for value in colour])
    if im.mode not in SAVE_MODES.get(format, ()):
        raise UsageError(f"{format} cannot hold this picture", found=im.mode, next_step="Use PNG")
    options = dict(SAVE_OPTIONS[format])
    if icc_profile is not None and image.ndim == 3:
        options["icc_profile"] = icc_profile
    if dpi is not None:
        options["dpi"] = dpi
    if exif is not None:
        options["exif"] = exif
    content = io.BytesIO()
    im.save(content, format, **options)
    return content.getvalue()


# --- decoding ------------------------------------------------------------------------------------


class Wish(NamedTuple):
    """What a caller says of the values; see `read`."""

    peak: float | None = None
    bands: bool = False
    enough: tuple[int, int] | None = None


def _decode(source: PictureStream | Image.Image, max_pixels: int, wish: Wish) -> Picture:
    stream = source if isinstance(source, PictureStream) else None
    notes: list[str] = []
    if stream is not None:
        found = array_in(stream, max_pixels, exact=wish.bands or wish.peak is not None)
        if found is not None:
            return of_file(found, peak=wish.peak, bands=wish.bands)
    with pillow(max_pixels):
        raw = raw_of(source, max_pixels, notes, enough=wish.enough)
        low = _low_bytes(raw, stream, wish)
    if wish.bands:
        image, alpha = _bands(raw, low, wish, notes), None
    else:
        image, alpha = _pixels(raw, low, wish, notes)
    orientation = orientation_of(raw.im, notes)  # 1 of a TIFF: it turned itself when it was loaded
    image = turned(image, orientation)
    alpha = alpha if alpha is None else turned(alpha, orientation)
    icc_profile = icc_profile_of(raw.im, notes)
    dpi = dpi_of(raw.im, max(raw.stored, orientation))
    exif = exif_of(raw.im, notes)
    if stream is not None:
        note_frames(raw.im, stream, notes)
    upright = max(raw.stored, orientation)
    if raw.im.format == "TIFF" and alpha is not None and alpha.min() < 255:
        notes.append(ALPHA)
    full = raw.full
    if full is not None and is_on_its_side(upright):
        full = full[::-1]
    return Picture(
        image,
        alpha,
        icc_profile,
        dpi,
        tuple(dict.fromkeys(notes)),
        upright if upright in UPRIGHT else 1,
        raw.lossy,
        exif,
        full,
    )


def _pixels(
    raw: Raw, low: Bytes | None, wish: Wish, notes: list[str]
) -> tuple[Bytes, Bytes | None]:
    """The rule of each mode: (H, W, 3) RGB, and (H, W) alpha or None."""
    im = raw.im
    if im.mode in ("I", "F") or im.mode.startswith("I;16"):
        values = _wide(raw, wish)
        key = im.info.get("transparency")
        alpha = black_and_white(values != key) if isinstance(key, int) else None
        full = 4095 if raw.rawmode == "I;12" else 65535
        gray = eight_bits(values, notes, peak=wish.peak, full=full)
        return repeated(255 - gray if raw.inverted else gray), alpha
    if ";16" in raw.rawmode and low is None:
        notes.append("16-bit colours cut to their high byte")
        most = 256 * int(np.asarray(im)[..., :3].max()) + 255
        if most < 65536 // SPARE:
            notes.append(nearly_black(f"values up to {most} at most", 65535))
        if im.mode == "RGB" and im.info.get("transparency") is not None:
            notes.append("the transparent colour of a 16-bit picture is ignored")
            im = im.copy()
            del im.info["transparency"]
    if im.mode == "CMYK":
        notes.append("CMYK converted to RGB without a profile")
    elif im.mode == "LAB":
        notes.append("LAB converted to sRGB")
    if im.mode in ALPHA_MODES or (im.mode in OPAQUE_MODES and im.has_transparency_data):
        rgba = pixels_of(im.convert("LA") if im.mode == "La" else im, "RGBA")
        alpha = np.ascontiguousarray(rgba[..., 3])
        return _deepened(np.ascontiguousarray(rgba[..., :3]), low, wish, notes), alpha
    if im.mode in OPAQUE_MODES:
        return _deepened(pixels_of(im, "RGB"), low, wish, notes), None
    raise PictureError(f"pictures of mode {im.mode} are not supported", next_step="Convert to RGB")


def _bands(raw: Raw, low: Bytes | None, wish: Wish, notes: list[str]) -> Bytes:
    """(H, W, C) of a picture of Pillow's: its gray, its colours, and its alpha as it is stored."""
    im = raw.im
    if im.mode in ("I", "F") or im.mode.startswith("I;16"):
        gray = eight_bits(_wide(raw, wish), notes, peak=wish.peak)
        return (255 - gray if raw.inverted else gray)[..., None]
    if im.mode == "P":
        im = im.convert("RGB")
    if im.mode == "1":
        im = im.convert("L")
    if im.mode not in ("L", "LA", "RGB", "RGBA") or (low is None and ";16" in raw.rawmode):
        raise PictureError(
            f"it is not known which bands a picture of mode {im.mode} has",
            found=f"{im.format or 'a PIL image'} of {raw.rawmode or im.mode}",
            next_step="Save them as TIFF or .npy",
        )
    values = pixels_of(im)
    return _deepened(values if values.ndim == 3 else values[..., None], low, wish, notes)


def _wide(raw: Raw, wish: Wish) -> NDArray[Any]:
    """Gray values of more than 8 bits: as they are stored where a peak is said of these."""
    values = pixels_of(raw.im)
    if raw.im.mode != "I":
        return values
    if wish.peak is None:
        return sixteen_bits(values)
    return values if raw.factor == 1 else np.rint(values / raw.factor).astype(np.int32)


def _low_bytes(raw: Raw, stream: PictureStream | None, wish: Wish) -> Bytes | None:
    """The low bytes of a PNG's 16-bit colours, of which Pillow gives the high ones alone.

    They are what it gives when it is told that the file's numbers begin with their low byte. None
    where nothing asks for them; PictureError where they cannot be had.
    """
    if ";16" not in raw.rawmode or not (wish.bands or wish.peak is not None):
        return None
    if raw.im.mode in ("I", "F") or raw.im.mode.startswith("I;16"):
        return None
    if stream is None or raw.rawmode not in ("RGB;16B", "RGBA;16B"):
        raise PictureError(
            "its 16-bit values cannot be read in full",
            found=f"{raw.im.format or 'a PIL image'} of {raw.rawmode}",
            next_step="Save it as TIFF, or as a PNG of gray or RGB",
        )
    stream.seek(0)
    im = cast(ImageFile.ImageFile, identify(stream))
    im.tile = [tile._replace(args=raw.rawmode[:-1] + "L") for tile in im.tile]
    im.load()
    return pixels_of(im)


def _deepened(high: Bytes, low: Bytes | None, wish: Wish, notes: list[str]) -> Bytes:
    """Colours of 16 bits from their high and low bytes, as 8 bits; `high` without low ones."""
    if low is None:
        return high
    values = high.astype(np.uint16) << 8 | low[..., : high.shape[2]]
    return eight_bits(values, notes, peak=wish.peak)


def _of_array(array: NDArray[Any], wish: Wish) -> Picture:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if not (channels if wish.bands else channels in (1, 3, 4)) or array.size == 0:
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        bands = array.ndim == 3 and array.size and not first
        raise PictureError(
            "this array is not a picture",
            found=f"shape {array.shape}",
            expected="(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            next_step="Move its channels to the end: array.transpose(1, 2, 0)"
            if first
            else SAY_BANDS.format(channels)
            if bands
            else "",
        )
    notes: list[str] = []
    array = array[..., None] if array.ndim == 2 else array
    colours = array if wish.bands or channels < 4 else array[..., :3]
    image = np.ascontiguousarray(eight_bits(colours, notes, peak=wish.peak))
    alpha = None
    if colours is not array:
        alpha = np.ascontiguousarray(eight_bits(array[..., 3], []))
    if channels == 1 and not wish.bands:
        image = repeated(image[..., 0])
    return Picture(image, alpha, notes=tuple(notes))


def of_file(found: InFile, *, peak: float | None = None, bands: bool = False) -> Picture:
    """The picture of an array in a file: its bands, or its colours and alpha; see `read`."""
    wish = Wish(peak, bands)
    values, layout = found.values, found.layout
    if layout is None:
        return _of_array(values, wish)
    notes = [f"the first of {count_of(found.pages, 'frame')}"] * (found.pages > 1)
    if wish.bands:
        picture = _of_array(values, wish)
    else:
        gray = layout.colours == 1
        parts = [values[..., :1]] * 3 if gray else [values[..., :3]]
        if layout.has_alpha:
            parts.append(values[..., layout.colours :])
        picture = _of_array(np.concatenate(parts, axis=2), wish)
    image, alpha = picture.image, picture.alpha
    if layout.photometric == tiff.INVERTED and layout.bands == 1:
        image = 255 - image
    if alpha is not None:
        if layout.extra[0] == tiff.MULTIPLIED:
            whole = image.astype(np.uint16) * 255 // np.maximum(alpha, 1)[..., None]
            image = np.where(alpha[..., None], np.minimum(whole, 255), image).astype(np.uint8)
        alpha = turned(alpha, layout.orientation)
    image = turned(image, layout.orientation)
    upright = layout.orientation if layout.orientation in UPRIGHT else 1
    return Picture(image, alpha, notes=(*picture.notes, *notes), turned=upright)
