"""Pictures in and out: one decoder with limits, one encoder, files that are whole or not there.

Pillow decodes. This module decides which formats it may try, how many pixels and how long a header
it may meet, and how each mode of stored values becomes 8-bit RGB (docs/pictures.md has the table).
A decoder may fail in any way; a caller sees `PictureError`, for one too large its subclass
`PictureTooLargeError`.
"""

import contextlib
import io
import os
import stat
import struct
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL import TiffImagePlugin as _tiff  # noqa: F401  these two register themselves;
from PIL import WebPImagePlugin as _webp  # noqa: F401  Image.preinit() has the other five

from segzoo.errors import PictureError, PictureTooLargeError, UsageError, printable

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "black_and_white",
    "encode",
    "flatten",
    "read",
    "read_values",
]

Bytes: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]  # red, green, blue in 0..255

MAX_PIXELS = 89_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
HEADER_BYTES = 64 << 20  # read before the first pixel; a header can point at the same bytes often
COUNT_BYTES = 4 << 20  # read to count frames
ALLOW_MORE = "Allow more with --max-pixels (max_pixels= in Python)"
ICC_BYTES = 1 << 20  # what Pillow accepts of a profile inside a PNG
PROFILE_SPACE = slice(16, 20)  # of an ICC profile: the colours it is about (ICC.1, table 17)
WHITE: Colour = (255, 255, 255)

OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"}
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
# EXIF orientation -> rows and columns exchanged, then upside down, then mirrored
UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},  # of 9; a third of the default's time for a tenth more bytes
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},  # exact: colours stay where alpha is 0
}
SAVE_MODES = {
    "PNG": {"L", "P", "I;16", "RGB", "RGBA"},
    "JPEG": {"L", "RGB"},
    "WEBP": {"RGB", "RGBA"},
}

_PILLOW = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright: EXIF orientation is applied.

    image: (H, W, 3) uint8 RGB, the colours as stored, under transparent pixels too; not converted
        from the picture's ICC profile. alpha: (H, W) uint8, 255 opaque, or None when there is none.
    icc_profile: of those colours, when it describes RGB. dpi: horizontal and vertical.
    notes: a line for each thing that was not straightforward.
    """

    image: Bytes
    alpha: Bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


def read(
    source: str | PathLike[str] | bytes | Image.Image | NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Decode a picture.

    source: a file, a file's content, a PIL image (its current frame), or an array (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, bool, uint16, or float in 0..1; an array of uint8
    RGB is not copied. max_pixels: judged from the header, before a pixel is decoded; not applied to
    arrays. PictureTooLargeError above it; PictureError for a file that is missing, cut short,
    damaged, or of a kind that segzoo does not read. TypeError for another type of source.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Image.Image):
        with _one_error(""):
            return _decode(source, max_pixels)
    with _opened(source) as stream:
        return _decode(stream, max_pixels)


def read_values(
    source: str | PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The values that a picture stores, as files of labels are read.

    Gives (H, W) uint8 of gray values or of the palette's indices, or of 0 and 255 for one bit;
    (H, W) uint16 for sixteen bits; or (H, W, 3) uint8 of RGB colours. Upright, as `read`. Raises
    as `read` does, and PictureError for transparent pixels and other modes, where it is not known
    what is a label.
    """
    with _opened(source) as stream, _pillow(max_pixels):
        im, _, _ = _loaded(stream, max_pixels, [])
        if im.mode == "RGBA" and np.asarray(im)[..., 3].min() == 255:
            im = im.convert("RGB")
        values = np.asarray(im)
        if im.mode == "1":
            values = black_and_white(values)
        elif im.mode == "I":
            values = _sixteen_bits(values)
        elif im.mode.startswith("I;16"):
            values = values.astype(np.uint16)
        elif im.mode not in ("L", "P", "RGB"):
            raise PictureError(
                f"a picture of mode {im.mode} does not hold labels",
                expected="gray values, palette indices or opaque RGB colours",
            )
        turn = _orientation(im, [])
        return np.ascontiguousarray(_turned(values, turn) if turn in UPRIGHT else values)


def flatten(picture: Picture, colour: Colour = WHITE) -> Bytes:
    """The picture laid over one colour: (H, W, 3) uint8; `picture.image` itself when opaque."""
    if picture.alpha is None or picture.alpha.min() == 255:
        return picture.image
    alpha = picture.alpha[..., None].astype(np.uint16)
    below = (255 - alpha) * np.array(colour, np.uint16)
    return ((picture.image * alpha + below + 127) // 255).astype(np.uint8)


def black_and_white(condition: NDArray[np.bool_]) -> Bytes:
    """True becomes 255, False 0."""
    return condition.astype(np.uint8) * np.uint8(255)


def encode(
    image: NDArray[Any],
    *,
    palette: Sequence[Colour] | None = None,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
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
    im = Image.fromarray(np.ascontiguousarray(image))
    if palette is not None:
        if im.mode != "L" or len(palette) > 256 or int(image.max()) >= len(palette):
            raise UsageError(
                "the palette does not fit the picture",
                found=f"{len(palette)} colours, {image.dtype} values up to {image.max()}",
                expected="(H, W) uint8 and a colour for each value",
            )
        im.putpalette([value for colour in palette for value in colour])
    if im.mode not in SAVE_MODES.get(format, ()):
        raise UsageError(f"{format} cannot hold this picture", found=im.mode, next_step="Use PNG")
    options = dict(SAVE_OPTIONS[format])
    if icc_profile is not None and image.ndim == 3:
        options["icc_profile"] = icc_profile
    if dpi is not None:
        options["dpi"] = dpi
    content = io.BytesIO()
    im.save(content, format, **options)
    return content.getvalue()


# --- files and failures --------------------------------------------------------------------------


def _open_file(file: str) -> io.RawIOBase:
    next_step = ""
    try:
        kind = os.stat(file).st_mode
        if stat.S_ISREG(kind):
            return open(file, "rb", buffering=0)
        problem = "is a folder, not a picture" if stat.S_ISDIR(kind) else "is not a regular file"
    except FileNotFoundError:
        problem = "there is no such file"
        if "://" in file:
            next_step = "segzoo reads files; download it first"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = f"cannot be read: {(isinstance(error, OSError) and error.strerror) or error}"
    raise PictureError(problem, file=file, next_step=next_step)


class _Stream(io.BufferedReader):
    """A file whose sized reads are added up, so that a small one cannot fill the memory.

    A TIFF can point ten thousand tags at the same megabytes, a PNG can have text without end.
    allowance: bytes that may still be read. A read of the whole rest is not counted.
    """

    allowance = HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return super().read()
        data = super().read(min(size, self.allowance + 1))
        self.allowance -= len(data)
        if self.allowance < 0:
            raise OSError("its header is too long")
        return data


@contextlib.contextmanager
def _opened(source: str | PathLike[str] | bytes) -> Iterator[_Stream]:
    """A file, or its content, to decode; what goes wrong is a PictureError about it."""
    if isinstance(source, bytes):
        file, raw = "", cast(io.RawIOBase, io.BytesIO(source))
    elif isinstance(source, str | PathLike):
        file = os.fsdecode(source)
        raw = _open_file(file)
    else:
        raise TypeError(
            f"a picture is a path, bytes, a PIL image or a numpy array, not {type(source).__name__}"
        )
    with _one_error(file), _Stream(raw) as stream:
        yield stream


@contextlib.contextmanager
def _one_error(file: str) -> Iterator[None]:
    """Whatever a decoder raises, as a PictureError about `file`."""
    try:
        yield
    except PictureError as error:
        error.file = printable(file)
        raise
    except Image.DecompressionBombError as error:  # a WebP's canvas, a TIFF's tiles
        raise PictureTooLargeError(
            "the picture is too large for its decoder",
            file=file,
            found=str(error).partition(",")[0],
            next_step=ALLOW_MORE,
        ) from error
    except MemoryError as error:
        raise PictureTooLargeError(
            "memory ran out while it was decoded", file=file, next_step="Make the picture smaller"
        ) from error
    except Exception as error:
        text = printable(" ".join(str(error).split())) or type(error).__name__
        raise PictureError(
            "the picture is damaged, cut short or not supported",
            file=file,
            found=text[:200],
            next_step="Open it in a viewer and save it anew, or fetch it again",
        ) from error


@contextlib.contextmanager
def _pillow(max_pixels: int) -> Iterator[None]:
    """Pillow's two process-wide switches as decoding needs them, and afterwards as they were.

    A program may have told it to accept files that are cut short, and some of its decoders ask its
    own limit of pixels. Where neither is in the way, nothing is touched and threads decode side by
    side; else one at a time.
    """
    with _PILLOW:
        limit, lenient = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    if not lenient and (limit is None or limit >= max_pixels):
        yield
        return
    with _PILLOW:
        Image.MAX_IMAGE_PIXELS = limit and max(limit, max_pixels)
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient


# --- decoding ------------------------------------------------------------------------------------


def _decode(source: _Stream | Image.Image, max_pixels: int) -> Picture:
    stream = source if isinstance(source, _Stream) else None
    notes: list[str] = []
    with _pillow(max_pixels):
        im, rawmode, stored = _loaded(source, max_pixels, notes)
    image, alpha = _pixels(im, rawmode, notes)
    orientation = _orientation(im, notes)  # 1 of a TIFF: it turned itself when it was loaded
    if orientation in UPRIGHT:
        image = _turned(image, orientation)
        alpha = alpha if alpha is None else _turned(alpha, orientation)
    icc_profile = _icc_profile(im, notes)
    dpi = _dpi(im, max(stored, orientation))
    if stream is not None:
        _note_frames(im, stream, notes)
    return Picture(image, alpha, icc_profile, dpi, tuple(dict.fromkeys(notes)))


def _loaded(
    source: _Stream | Image.Image, max_pixels: int, notes: list[str]
) -> tuple[Image.Image, str, int]:
    """The picture with its pixels; how the file stores them (`_rawmode`), and how a TIFF lies."""
    im = _identify(source) if isinstance(source, _Stream) else source
    width, height = im.size
    if width * height > max_pixels:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"height {height} and width {width}",
            expected=f"at most {max_pixels} pixels",
            next_step=ALLOW_MORE,
        )
    if width * height == 0:
        raise PictureError("the picture has no pixels", found=f"{height} rows of {width}")
    rawmode = _rawmode(im)
    stored = _orientation(im, notes) if im.format == "TIFF" else 1
    if isinstance(source, _Stream):
        source.allowance = sys.maxsize
        if im.format == "PNG":
            _check_png(source)
    im.load()
    return im, rawmode, stored


def _identify(stream: _Stream) -> Image.Image:
    """The picture with its header read.

    What `Image.open` does, for the formats named here alone, and without a warning or an error
    about the size, which is judged next.
    """
    head = stream.read(16)
    if not head:
        raise PictureError("the file is empty")
    Image.preinit()
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
            if accept is None or accept(head) is True:  # or why it cannot, in words
                stream.seek(0)
                return factory(stream, "")
    if stream.allowance < 0:
        raise PictureError("its header is too long", expected=f"at most {HEADER_BYTES >> 20} MiB")
    raise PictureError(
        "not a picture that segzoo reads, or its header is damaged",
        found=f"a file that begins with {head[:8]!r}",
        expected=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
    )


def _rawmode(im: Image.Image) -> str:
    """How the file stores its pixels, in Pillow's words; empty for a picture without a file."""
    for tile in getattr(im, "tile", ()):
        args = tile[3]
        if isinstance(args, tuple) and args:
            args = args[0]
        if isinstance(args, str):
            return args
    return ""


def _check_png(stream: _Stream) -> None:
    """Every chunk is there and has its checksum: Pillow skips those of the pixels."""
    position = stream.tell()
    stream.seek(8)
    kind = b""
    while kind != b"IEND":
        head = stream.read(8)
        if len(head) < 8:
            raise PictureError("the PNG is cut short", found="no end", expected="a chunk IEND")
        length, kind = cast("tuple[int, bytes]", struct.unpack(">I4s", head))
        checksum = zlib.crc32(kind)
        while length and (block := stream.read(min(length, 1 << 20))):
            checksum = zlib.crc32(block, checksum)
            length -= len(block)
        if length or stream.read(4) != checksum.to_bytes(4, "big"):
            cause = "it is cut short" if length else "its checksum is wrong"
            raise PictureError(f"the PNG is damaged in its chunk {kind!r}: {cause}")
    stream.seek(position)


def _pixels(im: Image.Image, rawmode: str, notes: list[str]) -> tuple[Bytes, Bytes | None]:
    """The rule of each mode: (H, W, 3) RGB, and (H, W) alpha or None."""
    if im.mode in ("I", "F") or im.mode.startswith("I;16"):
        values = np.asarray(im)
        if im.mode == "I":
            values = _sixteen_bits(values)
        key = im.info.get("transparency")
        alpha = black_and_white(values != key) if isinstance(key, int) else None
        return _gray(_eight_bits(values, notes, peak=4095 if rawmode == "I;12" else 65535)), alpha
    if ";16" in rawmode:
        notes.append("16-bit colours cut to their high byte")
        if im.mode == "RGB" and im.info.get("transparency") is not None:
            notes.append("the transparent colour of a 16-bit picture is ignored")
            im = im.copy()
            del im.info["transparency"]
    if im.mode == "CMYK":
        notes.append("CMYK converted to RGB without a profile")
    elif im.mode == "LAB":
        notes.append("LAB converted to sRGB")
    if im.mode in ALPHA_MODES or (im.mode in OPAQUE_MODES and im.has_transparency_data):
        rgba = np.asarray((im.convert("LA") if im.mode == "La" else im).convert("RGBA"))
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
    if im.mode in OPAQUE_MODES:
        return np.asarray(im.convert("RGB")), None
    raise PictureError(f"pictures of mode {im.mode} are not supported", next_step="Convert to RGB")


def _of_array(array: NDArray[Any]) -> Picture:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4) or array.size == 0:
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise PictureError(
            "this array is not a picture",
            found=f"shape {array.shape}",
            expected="(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            next_step="Move its channels to the end: array.transpose(1, 2, 0)" if first else "",
        )
    notes: list[str] = []
    values = np.ascontiguousarray(_eight_bits(array, notes))
    if channels == 1:
        return Picture(_gray(values.reshape(array.shape[:2])), notes=tuple(notes))
    image = np.ascontiguousarray(values[..., :3])
    alpha = np.ascontiguousarray(values[..., 3]) if channels == 4 else None
    return Picture(image, alpha, notes=tuple(notes))


def _sixteen_bits(values: NDArray[np.int32]) -> NDArray[np.uint16]:
    low, high = int(values.min()), int(values.max())
    if not 0 <= low <= high <= 65535:
        raise PictureError(
            "it is not known how bright these 32-bit values are",
            found=f"{low} to {high}",
            expected="values in 0..65535",
            next_step="Save it with 8 or 16 bits",
        )
    return values.astype(np.uint16)


def _eight_bits(values: NDArray[Any], notes: list[str], *, peak: int = 65535) -> Bytes:
    """Values of any depth as 0..255, rounded; PictureError where it is not known how.

    peak: the largest value that 16-bit integers may have; it becomes 255.
    """
    kind = values.dtype
    if kind == np.uint8:
        return values
    if kind == np.bool_:
        return black_and_white(values)
    if kind.kind == "u" and kind.itemsize == 2:
        notes.append(f"{peak.bit_length()}-bit values divided by {peak / 255:.5g}")
        return ((values.astype(np.uint32) * 255 + peak // 2) // peak).astype(np.uint8)
    if kind.kind == "f":
        low, high = float(values.min()), float(values.max())  # NaN makes both NaN
        if not 0 <= low <= high <= 1:
            raise PictureError(
                "it is not known how bright these floating-point values are",
                found=f"{low:g} to {high:g}",
                expected="finite values in 0..1",
                next_step="Divide by the largest value that there can be",
            )
        notes.append("floating-point values multiplied by 255")
        return np.rint(values * 255.0).astype(np.uint8)
    raise PictureError(
        "this array is not a picture",
        found=f"values of type {kind}",
        expected="uint8, bool, uint16, or float in 0..1",
        next_step="Values in 0..255: array.astype(numpy.uint8)",
    )


def _gray(values: Bytes) -> Bytes:
    return np.repeat(values[..., None], 3, axis=2)


def _turned(array: Bytes, orientation: int) -> Bytes:
    exchanged, upside_down, mirrored = UPRIGHT[orientation]
    array = array.swapaxes(0, 1) if exchanged else array
    array = array[::-1] if upside_down else array
    return np.ascontiguousarray(array[:, ::-1] if mirrored else array)


def _orientation(im: Image.Image, notes: list[str]) -> int:
    """The EXIF orientation that the pixels do not have yet."""
    try:
        exif = im.getexif()
        broken = not exif and bool(im.info.get("exif"))
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # written by any camera or editor: it may fail in any way
        broken, orientation = True, 1
    if broken:
        notes.append("its broken EXIF data is ignored")
    return orientation if isinstance(orientation, int) else 1


def _icc_profile(im: Image.Image, notes: list[str]) -> bytes | None:
    """The profile when it can stand in a PNG of these RGB values."""
    profile = im.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    if profile[PROFILE_SPACE] != b"RGB ":
        space = printable(profile[PROFILE_SPACE].decode("latin-1").strip())
        notes.append(f"its ICC profile is dropped: it is about {space or 'nothing'}, not RGB")
    elif len(profile) > ICC_BYTES:
        notes.append(f"its ICC profile is dropped: it is larger than {ICC_BYTES >> 20} MiB")
    else:
        return profile
    return None


def _dpi(im: Image.Image, orientation: int) -> tuple[float, float] | None:
    """Horizontal and vertical dots per inch of the upright picture, when they make sense."""
    try:
        x, y = map(float, im.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not (1 <= x <= 100_000 and 1 <= y <= 100_000):
        return None
    return (y, x) if orientation in UPRIGHT and UPRIGHT[orientation][0] else (x, y)


def _note_frames(im: Image.Image, stream: _Stream, notes: list[str]) -> None:
    """That there are further frames or pages. An MPO's are previews and depth maps of a photo."""
    stream.allowance = COUNT_BYTES
    try:
        if im.format != "MPO" and getattr(im, "is_animated", False):
            notes.append(f"the first of {getattr(im, 'n_frames', 'several')} frames")
    except Exception:  # damaged or endless behind the first one, which is here
        notes.append("the first of several frames")
