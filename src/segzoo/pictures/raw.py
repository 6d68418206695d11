"""A picture as Pillow decodes it, and how its file stores it."""

import struct
import sys
import zlib
from typing import NamedTuple, cast

from PIL import Image

from segzoo.errors import PictureError
from segzoo.pictures import tiff
from segzoo.pictures.kinds import identify
from segzoo.pictures.limits import judge_size
from segzoo.pictures.metadata import is_on_its_side, orientation_of
from segzoo.pictures.streams import PictureStream

__all__ = ["Raw", "raw_of"]

# What Pillow multiplies gray values of fewer than 8 bits by.
FACTORS = {"L;2": 85, "L;4": 17}
LOSSY = ("JPEG", "MPO", "AVIF", "HEIF")  # formats; WebP and TIFF are asked


class Raw(NamedTuple):
    """A file's first picture as Pillow gives it, with its pixels.

    rawmode: how the file stores them, in Pillow's words; empty for a picture without a file.
    factor: what Pillow multiplied the stored values by. inverted: 0 is white in the file; gray of
    8 and fewer bits is turned over already, that of 16 and of floating point is not.
    lossy: it was compressed so that values are not exact. stored: how a TIFF lies. full: the size
    (H, W) in the file where it was decoded smaller.
    """

    im: Image.Image
    rawmode: str
    factor: float
    inverted: bool
    lossy: bool
    stored: int
    full: tuple[int, int] | None = None


def raw_of(
    source: PictureStream | Image.Image,
    max_pixels: int,
    notes: list[str],
    *,
    enough: tuple[int, int] | None = None,
) -> Raw:
    """A file's picture, decoded by Pillow; or what a PIL image says of itself.

    enough: as for `codec.read`.
    """
    im = identify(source) if isinstance(source, PictureStream) else source
    judge_size(*im.size[::-1], max_pixels)
    rawmode, maximum = _stored_as(im)
    stored = orientation_of(im, notes) if im.format == "TIFF" else 1
    lossy = im.format in LOSSY or im.info.get("compression") in ("jpeg", "webp")
    factor: float = FACTORS.get(rawmode.rstrip("RI"), 1)
    if maximum:
        factor = (65535 if im.mode == "I" else 255) / maximum
    if isinstance(source, PictureStream):
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
    full = None
    if enough is not None and isinstance(source, PictureStream):
        full = _reduced(im, enough)
    im.load()
    return Raw(im, rawmode, factor, inverted, lossy, stored, full)


def _reduced(im: Image.Image, enough: tuple[int, int]) -> tuple[int, int] | None:
    """Have a JPEG decoded smaller; its own size (H, W), or None where it is left as it is."""
    if im.format not in ("JPEG", "MPO"):
        return None
    width, height = im.size
    least = enough if is_on_its_side(orientation_of(im, [])) else enough[::-1]
    if least[0] > width or least[1] > height:
        return None
    im.draft(None, least)
    return None if im.size == (width, height) else (height, width)


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


def _is_lossy_webp(stream: PictureStream) -> bool:
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


def _check_png(stream: PictureStream) -> None:
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
