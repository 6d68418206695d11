"""Pictures in and out: one decoder with limits, one encoder, files that are whole or not there.

Pillow decodes. This module decides which formats it may try, how many pixels and how long a header
it may meet, and how each mode of stored values becomes 8-bit RGB (docs/pictures.md has the table).
A decoder may fail in any way; a caller sees `PictureError`, for one too large its subclass
`PictureTooLargeError`. What a mask stores is read by `segzoo.stored`.
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
from importlib import util
from os import PathLike
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin as _avif  # noqa: F401  these three register themselves;
from PIL import ExifTags, Image, ImageFile
from PIL import TiffImagePlugin as _tiff  # noqa: F401  Image.preinit() has the other five
from PIL import WebPImagePlugin as _webp  # noqa: F401

from segzoo.base.home import expanded
from segzoo.errors import (
    PictureError,
    PictureTooLargeError,
    UnsafeFormatError,
    UsageError,
    printable,
)
from segzoo.pictures import npy, tiff

__all__ = [
    "HEIC",
    "MAX_PIXELS",
    "Picture",
    "Raw",
    "black_and_white",
    "encode",
    "flatten",
    "opened",
    "pillow",
    "raw_of",
    "read",
    "turned",
    "visible",
]

Bytes: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]  # red, green, blue in 0..255

MAX_PIXELS = 89_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")
HEIC = "HEIC"  # read where pillow-heif is installed
# What kinds of pictures begin with that people have and that are not read: to be named.
UNREAD = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
}
PILLOWS_BANDS = 6
SAY_PEAK = "peak={0} (predict: --peak {0})"
SAY_BANDS = (
    "Keep those that are colours; or, for a network of as many, say bands={} in a data set's words"
)
BRANDS = tuple(b"ftyp" + n.encode() for n in "heic heix heim heis hevc hevx mif1 msf1".split())
HEADER_BYTES = 64 << 20  # read before the first pixel; a header can point at the same bytes often
COUNT_BYTES = 4 << 20  # read to count frames
ALLOW_MORE = "Allow more with --max-pixels (max_pixels= in Python)"
ICC_BYTES = 1 << 20  # what Pillow accepts of a profile inside a PNG
EXIF_BYTES = 64 << 10  # what a JPEG can hold
ABOUT_THE_FILE = (
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,  # its offsets are those of the file
)
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
BYTES_PER_PIXEL = 8  # of the most pixels: what samples of any number and depth may take
# What Pillow multiplies gray values of fewer than 8 bits by.
FACTORS = {"L;2": 85, "L;4": 17}
LOSSY = ("JPEG", "MPO", "AVIF", "HEIF")  # formats; WebP and TIFF are asked
SPARE = 16  # a picture whose values use less than one part of so many of their range is said
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
        from the picture's ICC profile. Where bands were asked for: (H, W, C), all that there are.
    alpha: (H, W) uint8, 255 opaque, or None when there is none.
    icc_profile: of those colours, when it describes RGB. dpi: horizontal and vertical.
    exif: what a camera or an author said of it, without its turning, its size and small copies.
    notes: a line for each thing that was not straightforward.
    turned: the EXIF orientation that was undone; 1 for none. lossy: whether it was compressed so
        that values are not exact.
    """

    image: Bytes
    alpha: Bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    turned: int = 1
    lossy: bool = False
    exif: bytes | None = None


def read(
    source: str | PathLike[str] | bytes | Image.Image | NDArray[Any],
    *,
    max_pixels: int = MAX_PIXELS,
    peak: float | None = None,
    bands: bool = False,
) -> Picture:
    """Decode a picture.

    source: a file, a file's content, a PIL image (its current frame), or an array (H, W),
    (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, bool, uint16, or float in 0..1; an array of uint8
    RGB is not copied. A file may be a .npy of such an array.
    max_pixels: judged from the header, before a pixel is decoded; not applied to arrays.
    peak: the largest value that numbers of more than 8 bits have: it becomes 255. Without it that
        is the largest of their type, and 1 for floating point.
    bands: read every band as it is stored, as no colour and no alpha: (H, W, C) of any C.
    PictureTooLargeError above the limit; PictureError for a file that is missing, cut short,
    damaged, or of a kind that segzoo does not read; for bands that are neither colours nor alpha,
    unless bands are asked for. TypeError for another type of source.
    """
    wish = Wish(peak, bands)
    if isinstance(source, np.ndarray):
        return _of_array(source, wish)
    if isinstance(source, Image.Image):
        with _one_error(""):
            return _decode(source, max_pixels, wish)
    with opened(source) as stream:
        return _decode(stream, max_pixels, wish)


def visible(picture: Picture) -> Bytes:
    """(H, W, 3) colours: the picture's own, or of bands the first three, or the first as gray."""
    bands = picture.image.shape[2]
    if bands == 3:
        return picture.image
    return (
        np.ascontiguousarray(picture.image[..., :3]) if bands > 3 else _gray(picture.image[..., 0])
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


def black_and_white(condition: NDArray[np.bool_]) -> Bytes:
    """True becomes 255, False 0."""
    return condition.astype(np.uint8) * np.uint8(255)


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
    if exif is not None:
        options["exif"] = exif
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


MAX_SCANS, MAX_CHUNKS = 100, 100_000  # of a JPEG, of a PNG


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

    def refuse_endless(self) -> None:
        """PictureError for a JPEG or PNG of so many parts that decoding would take minutes."""
        start = super().read(8)
        self.seek(0)
        if start.startswith(b"\xff\xd8\xff"):
            scans = super().read().count(b"\xff\xda")  # in pixels 0xff is followed by 0
            what, count, most = "scans", scans, MAX_SCANS
        elif start == b"\x89PNG\r\n\x1a\n":
            what, count, most = "chunks", self._chunks(), MAX_CHUNKS
        else:
            return
        self.seek(0)
        if count > most:
            raise PictureError(
                f"the picture has too many {what}",
                found=f"more than {most:,}" if what == "chunks" else f"{count:,}",
                expected=f"at most {most:,}",
            )

    def _chunks(self) -> int:
        """How many chunks a PNG has, as far as there may be."""
        self.seek(8)
        for number in range(MAX_CHUNKS + 1):
            head = super().read(8)
            if len(head) < 8 or head[4:] == b"IEND":
                return number + 1
            self.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return MAX_CHUNKS + 1


@contextlib.contextmanager
def opened(source: str | PathLike[str] | bytes) -> Iterator[_Stream]:
    """A file, or its content, to decode; what goes wrong is a PictureError about it."""
    if isinstance(source, bytes):
        file, raw = "", cast(io.RawIOBase, io.BytesIO(source))
    elif isinstance(source, str | PathLike):
        file = expanded(source)
        raw = _open_file(file)
    else:
        raise TypeError(
            f"a picture is a path, bytes, a PIL image or a numpy array, not {type(source).__name__}"
        )
    with _one_error(file), _Stream(raw) as stream:
        stream.refuse_endless()
        yield stream


@contextlib.contextmanager
def _one_error(file: str) -> Iterator[None]:
    """Whatever a decoder raises, as a PictureError about `file`."""
    try:
        yield
    except (PictureError, UnsafeFormatError) as error:
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
def pillow(max_pixels: int) -> Iterator[None]:
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


class Wish(NamedTuple):
    """What a caller says of the values; see `read`."""

    peak: float | None = None
    bands: bool = False


class Raw(NamedTuple):
    """A file's first picture as Pillow gives it, with its pixels.

    rawmode: how the file stores them, in Pillow's words; empty for a picture without a file.
    factor: what Pillow multiplied the stored values by. inverted: 0 is white in the file; gray of
    8 and fewer bits is turned over already, that of 16 and of floating point is not.
    lossy: it was compressed so that values are not exact. stored: how a TIFF lies.
    """

    im: Image.Image
    rawmode: str
    factor: float
    inverted: bool
    lossy: bool
    stored: int


def _decode(source: "_Stream | Image.Image", max_pixels: int, wish: Wish) -> Picture:
    stream = source if isinstance(source, _Stream) else None
    notes: list[str] = []
    if stream is not None:
        found = array_in(stream, max_pixels, exact=wish.bands or wish.peak is not None)
        if found is not None:
            return _of_file(found, wish)
    with pillow(max_pixels):
        raw = raw_of(source, max_pixels, notes)
        low = _low_bytes(raw, stream, wish)
    if wish.bands:
        image, alpha = _bands(raw, low, wish, notes), None
    else:
        image, alpha = _pixels(raw, low, wish, notes)
    orientation = orientation_of(raw.im, notes)  # 1 of a TIFF: it turned itself when it was loaded
    image = turned(image, orientation)
    alpha = alpha if alpha is None else turned(alpha, orientation)
    icc_profile = _icc_profile(raw.im, notes)
    dpi = _dpi(raw.im, max(raw.stored, orientation))
    exif = _exif(raw.im, notes)
    if stream is not None:
        note_frames(raw.im, stream, notes)
    upright = max(raw.stored, orientation)
    if raw.im.format == "TIFF" and alpha is not None and alpha.min() < 255:
        notes.append("its last band is taken as alpha, as the file says")
    return Picture(
        image,
        alpha,
        icc_profile,
        dpi,
        tuple(dict.fromkeys(notes)),
        upright if upright in UPRIGHT else 1,
        raw.lossy,
        exif,
    )


def raw_of(source: "_Stream | Image.Image", max_pixels: int, notes: list[str]) -> Raw:
    """A file's picture, decoded by Pillow; or what a PIL image says of itself."""
    im = _identify(source) if isinstance(source, _Stream) else source
    _judge_size(*im.size[::-1], max_pixels)
    rawmode, maximum = _stored_as(im)
    stored = orientation_of(im, notes) if im.format == "TIFF" else 1
    lossy = im.format in LOSSY or im.info.get("compression") in ("jpeg", "webp")
    factor: float = FACTORS.get(rawmode.rstrip("RI"), 1)
    if maximum:
        factor = (65535 if im.mode == "I" else 255) / maximum
    if isinstance(source, _Stream):
        lossy = lossy or (im.format == "WEBP" and _is_lossy_webp(source))
        source.allowance = sys.maxsize
        if im.format == "PNG":
            _check_png(source)
    inverted = False
    if im.format == "TIFF":
        tags = getattr(im, "tag_v2", {})
        inverted = tags.get(tiff.PHOTOMETRIC, tiff.INVERTED) == tiff.INVERTED
    elif im.format == "PPM":
        inverted = im.mode == "1"
    im.load()
    return Raw(im, rawmode, factor, inverted, lossy, stored)


def _judge_size(height: int, width: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"height {height} and width {width}",
            expected=f"at most {max_pixels} pixels",
            next_step=ALLOW_MORE,
        )
    if width * height == 0:
        raise PictureError("the picture has no pixels", found=f"{height} rows of {width}")


def _identify(stream: "_Stream") -> Image.Image:
    """The picture with its header read.

    What `Image.open` does, for the formats named here alone, and without a warning or an error
    about the size, which is judged next.
    """
    stream.seek(0)
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
    if head[4:12] in BRANDS:
        return _heic(stream)
    if stream.allowance < 0:
        raise PictureError("its header is too long", expected=f"at most {HEADER_BYTES >> 20} MiB")
    kind = next((name for magic, name in UNREAD.items() if head.startswith(magic)), "")
    raise PictureError(
        "not a picture that segzoo reads, or its header is damaged",
        found=f"a {kind} file" if kind else f"a file that begins with {head[:8]!r}",
        expected=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
        next_step="Save it as PNG" if kind else "",
    )


def _heic(stream: "_Stream") -> Image.Image:
    """The picture of a camera's HEIC, by pillow-heif, which is not made known to Pillow."""
    if util.find_spec("pillow_heif") is None:
        raise PictureError(
            f"a {HEIC} picture needs pillow-heif, which is not installed",
            next_step="Run: pip install 'segzoo-core[heic]'; or save it as JPEG or PNG",
        )
    from pillow_heif.as_plugin import HeifImageFile

    stream.seek(0)
    factory: Any = HeifImageFile
    im: Image.Image = factory(stream, "")
    return im


def _stored_as(im: Image.Image) -> tuple[str, int]:
    """How the file stores its pixels, in Pillow's words; and the maximum that a PPM declares."""
    for tile in getattr(im, "tile", ()):
        args = tile[3]
        maximum = 0
        if isinstance(args, tuple) and args:
            if tile[0].startswith("ppm") and len(args) == 2:
                maximum = args[1]
            args = args[0]
        if isinstance(args, str):
            return args, maximum
    return "", 0


def _is_lossy_webp(stream: "_Stream") -> bool:
    """Whether the first picture of a WebP is compressed with loss: a chunk VP8, not VP8L."""
    place, ends = 12, stream.tell()
    kind = b""
    while kind not in (b"VP8 ", b"VP8L"):
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            break
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        place += 8 + (16 if kind == b"ANMF" else length + length % 2)
    stream.seek(ends)
    return kind == b"VP8 "


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
        gray = _eight_bits(values, notes, peak=wish.peak, full=full)
        return _gray(255 - gray if raw.inverted else gray), alpha
    if ";16" in raw.rawmode and low is None:
        notes.append("16-bit colours cut to their high byte")
        most = 256 * int(np.asarray(im)[..., :3].max()) + 255
        if most < 65536 // SPARE:
            notes.append(_spare(f"values up to {most} at most", 65535))
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
        alpha = np.ascontiguousarray(rgba[..., 3])
        return _deepened(np.ascontiguousarray(rgba[..., :3]), low, wish, notes), alpha
    if im.mode in OPAQUE_MODES:
        return _deepened(np.asarray(im.convert("RGB")), low, wish, notes), None
    raise PictureError(f"pictures of mode {im.mode} are not supported", next_step="Convert to RGB")


def _bands(raw: Raw, low: Bytes | None, wish: Wish, notes: list[str]) -> Bytes:
    """(H, W, C) of a picture of Pillow's: its gray, its colours, and its alpha as it is stored."""
    im = raw.im
    if im.mode in ("I", "F") or im.mode.startswith("I;16"):
        gray = _eight_bits(_wide(raw, wish), notes, peak=wish.peak)
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
    values = np.asarray(im)
    return _deepened(values if values.ndim == 3 else values[..., None], low, wish, notes)


def _wide(raw: Raw, wish: Wish) -> NDArray[Any]:
    """Gray values of more than 8 bits: as they are stored where a peak is said of these."""
    values = np.asarray(raw.im)
    if raw.im.mode != "I":
        return values
    if wish.peak is None:
        return _sixteen_bits(values)
    return values if raw.factor == 1 else np.rint(values / raw.factor).astype(np.int32)


def _low_bytes(raw: Raw, stream: "_Stream | None", wish: Wish) -> Bytes | None:
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
    im = cast(ImageFile.ImageFile, _identify(stream))
    im.tile = [tile._replace(args=raw.rawmode[:-1] + "L") for tile in im.tile]
    im.load()
    return np.asarray(im)


def _deepened(high: Bytes, low: Bytes | None, wish: Wish, notes: list[str]) -> Bytes:
    """Colours of 16 bits from their high and low bytes, as 8 bits; `high` without low ones."""
    if low is None:
        return high
    values = high.astype(np.uint16) << 8 | low[..., : high.shape[2]]
    return _eight_bits(values, notes, peak=wish.peak)


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
    image = np.ascontiguousarray(_eight_bits(colours, notes, peak=wish.peak))
    alpha = None
    if colours is not array:
        alpha = np.ascontiguousarray(_eight_bits(array[..., 3], []))
    if channels == 1 and not wish.bands:
        image = _gray(image[..., 0])
    return Picture(image, alpha, notes=tuple(notes))


# --- files that Pillow does not read -------------------------------------------------------------


class InFile(NamedTuple):
    """The array of a .npy or of a TIFF; layout: the latter's. pages: how many a TIFF has."""

    values: NDArray[Any]
    layout: tiff.Layout | None = None
    pages: int = 1


def array_in(stream: "_Stream", max_pixels: int, *, exact: bool = False) -> InFile | None:
    """What numpy or `segzoo.tiff` reads of a file, None for what Pillow does.

    exact: read a TIFF so whose bands or depth Pillow would reduce. PictureError for a TIFF that
    neither reads, with its layout; for bands that no colour is, unless it is to be exact.
    """
    head = stream.read(8)
    stream.seek(0)
    if head.startswith(npy.MAGIC):
        header = _header(stream)
        _judge_bytes(header.shape[:2], header.nbytes, max_pixels)
        stream.allowance = sys.maxsize
        return InFile(_array(stream, header))
    if head[:4] not in tiff.MAGIC or (layout := tiff.layout_of(stream)) is None:
        return None
    if layout.unnamed and not exact:
        raise PictureError(
            f"the picture has {layout.bands} bands, and not all of them are colours or alpha",
            found=str(layout),
            expected="gray, RGB or a palette, with or without alpha",
            next_step=SAY_BANDS.format(layout.bands),
        )
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
    _judge_bytes((layout.height, layout.width), layout.nbytes, max_pixels)
    stream.allowance = COUNT_BYTES
    pages = tiff.pages(stream)
    stream.allowance = sys.maxsize
    with pillow(layout.nbytes):  # it is shown the bytes as pixels
        return InFile(tiff.samples(stream, layout), layout, pages)


def _header(stream: "_Stream") -> npy.Header:
    try:
        return npy.header_of(stream)
    except ValueError as error:
        raise PictureError("the .npy is damaged", found=printable(str(error))[:200]) from None


def _array(stream: "_Stream", header: npy.Header) -> NDArray[Any]:
    try:
        return npy.array_of(stream, header)
    except ValueError as error:
        raise PictureError("the .npy is cut short", found=str(error)) from None


def _is_pillows(stream: "_Stream", layout: tiff.Layout) -> bool:
    """Whether Pillow has a mode for a TIFF."""
    if layout.bands > PILLOWS_BANDS:  # it would write a line to its log
        return False
    stream.seek(0)
    try:
        Image.OPEN["TIFF"][0](stream, "")
    except (SyntaxError, IndexError, TypeError, struct.error):
        return stream.allowance < 0  # for `_identify` to say
    return True


def _judge_bytes(shape: tuple[int, ...], nbytes: int, max_pixels: int) -> None:
    """PictureTooLargeError for more pixels or more bytes than a picture may have."""
    if len(shape) == 2:
        _judge_size(*shape, max_pixels)
    if nbytes > BYTES_PER_PIXEL * max_pixels:
        raise PictureTooLargeError(
            "the picture is too large",
            found=f"{nbytes} bytes of samples",
            expected=f"at most {BYTES_PER_PIXEL * max_pixels}",
            next_step=ALLOW_MORE,
        )


def _of_file(found: InFile, wish: Wish) -> Picture:
    """The picture of an array in a file: its bands, or its colours and alpha."""
    values, layout = found.values, found.layout
    if layout is None:
        return _of_array(values, wish)
    notes = [f"the first of {found.pages} frames"] * (found.pages > 1)
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


# --- values --------------------------------------------------------------------------------------


def _sixteen_bits(values: NDArray[Any]) -> NDArray[np.uint16]:
    low, high = int(values.min()), int(values.max())
    if not 0 <= low <= high <= 65535:
        raise PictureError(
            "it is not known how bright these 32-bit values are",
            found=f"{low} to {high}",
            expected="values in 0..65535",
            next_step="Save it with 8 or 16 bits" + _or_say(low, high),
        )
    return values.astype(np.uint16)


def _eight_bits(
    values: NDArray[Any], notes: list[str], *, peak: float | None = None, full: int = 65535
) -> Bytes:
    """Values of any depth as 0..255, rounded; PictureError where it is not known how.

    peak: the largest value that there can be of more than 8 bits; it becomes 255, and so does what
    is above it. full: that of 16-bit integers of which nothing is said.
    """
    kind = values.dtype
    if kind == np.uint8:
        return cast(Bytes, values)
    if kind == np.bool_:
        return black_and_white(values)
    if peak is not None and kind.kind in "iuf":
        return _up_to(values, peak, notes)
    if kind.kind == "u" and kind.itemsize == 2:
        notes.append(f"{full.bit_length()}-bit values divided by {full / 255:.5g}")
        if 0 < (high := int(values.max())) < (full + 1) // SPARE:
            notes.append(_spare(f"{values.min()} to {high}", full))
        return ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    if kind.kind == "f":
        low, bright = float(values.min()), float(values.max())  # NaN makes both NaN
        if not 0 <= low <= bright <= 1:
            raise PictureError(
                "it is not known how bright these floating-point values are",
                found=f"{low:g} to {bright:g}",
                expected="finite values in 0..1",
                next_step="Divide by the largest value that there can be" + _or_say(low, bright),
            )
        notes.append("floating-point values multiplied by 255")
        if 0 < bright < 1 / SPARE:
            notes.append(_spare(f"{low:g} to {bright:g}", 1))
        return np.rint(values * 255.0).astype(np.uint8)
    raise PictureError(
        "this array is not a picture",
        found=f"values of type {kind}",
        expected="uint8, bool, uint16, or float in 0..1",
        next_step="Values in 0..255: array.astype(numpy.uint8)",
    )


def _up_to(values: NDArray[Any], peak: float, notes: list[str]) -> Bytes:
    """Values of 0..peak as 0..255, rounded; those above `peak` become 255, with a note."""
    low, high = float(values.min()), float(values.max())  # NaN makes both NaN
    if not (low >= 0 and high < float("inf")):
        raise PictureError(
            "the picture holds values that are no brightness",
            found=f"{low:g} to {high:g}",
            expected=f"finite values from 0 to {peak:g}",
        )
    notes.append(f"values divided by {peak / 255:.5g}, as {peak:g} is said to be the largest")
    if high > peak:
        notes.append(f"values above {peak:g} became 255; found up to {high:g}")
    elif 0 < high < peak / SPARE:
        notes.append(_spare(f"{low:g} to {high:g}", peak))
    scaled: NDArray[np.float64] = np.minimum(values.astype(np.float64), peak) * (255 / peak)
    return np.rint(scaled).astype(np.uint8)


def _spare(found: str, full: float) -> str:
    """The note of a picture that is nearly black because its range is not what its type says."""
    return (
        f"its values use less than a sixteenth of their range; found {found}, of {full:g}. "
        f"Say the largest that there can be, such as {SAY_PEAK.format(4095)}"
    )


def _or_say(low: float, high: float) -> str:
    """The other way out: to say the range, where values can be a brightness."""
    can = 0 <= low <= high < float("inf")
    return f", or say it: {SAY_PEAK.format(_power(high))}" if can else ""


def _power(high: float) -> str:
    """The largest value of as many bits as a number needs; of a fraction that number."""
    if not 1 < high < 1e18:
        return f"{high:.2g}"
    return str((1 << int(high).bit_length()) - 1)


def _gray(values: Bytes) -> Bytes:
    return np.repeat(values[..., None], 3, axis=2)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(H, W, ...) upright, with an EXIF orientation undone; contiguous."""
    if orientation not in UPRIGHT:
        return np.ascontiguousarray(array)
    exchanged, upside_down, mirrored = UPRIGHT[orientation]
    array = array.swapaxes(0, 1) if exchanged else array
    array = array[::-1] if upside_down else array
    return np.ascontiguousarray(array[:, ::-1] if mirrored else array)


def orientation_of(im: Image.Image, notes: list[str]) -> int:
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


def _exif(im: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF data of an upright copy: without what is about the file that they are from.

    The small copy that cameras add shows what was there before; Pillow leaves it out.
    """
    if not im.info.get("exif"):
        return None
    exif = Image.Exif()  # not the picture's own, which may be its owner's
    try:
        exif.load(im.info["exif"])
        exif.pop(ExifTags.Base.Orientation, None)
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        for tag in ABOUT_THE_FILE:
            inner.pop(tag, None)
        found = exif.tobytes() if len(exif) else b""
    except Exception:  # as above
        notes.append("its broken EXIF data is ignored")
        return None
    if len(found) > EXIF_BYTES:
        notes.append(f"its EXIF data are dropped: they are larger than {EXIF_BYTES >> 10} KiB")
    return found if 0 < len(found) <= EXIF_BYTES else None


def _dpi(im: Image.Image, orientation: int) -> tuple[float, float] | None:
    """Horizontal and vertical dots per inch of the upright picture, when they make sense."""
    try:
        x, y = map(float, im.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not (1 <= x <= 100_000 and 1 <= y <= 100_000):
        return None
    return (y, x) if orientation in UPRIGHT and UPRIGHT[orientation][0] else (x, y)


def note_frames(im: Image.Image, stream: _Stream, notes: list[str]) -> None:
    """That there are further frames or pages. An MPO's are previews and depth maps of a photo."""
    stream.allowance = COUNT_BYTES
    try:
        if im.format != "MPO" and getattr(im, "is_animated", False):
            notes.append(f"the first of {getattr(im, 'n_frames', 'several')} frames")
    except Exception:  # damaged or endless behind the first one, which is here
        notes.append("the first of several frames")
