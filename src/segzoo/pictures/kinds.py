"""Which kinds of pictures are read, and which of them a file is."""

import contextlib
import struct
from importlib import util
from typing import Any

import PIL
from PIL import AvifImagePlugin, Image
from PIL import WebPImagePlugin as _webp  # noqa: F401  registers itself, as AVIF and TIFF do;
from PIL.JpegImagePlugin import JpegImageFile  # Image.preinit() has the other five
from PIL.TiffImagePlugin import TiffImageFile

from segzoo.errors import PictureError
from segzoo.pictures.exif import block_of, is_cheap, judge
from segzoo.pictures.streams import HEADER_BYTES, PictureStream

__all__ = ["FORMATS", "HEIC", "identify", "open_tiff"]

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
BRANDS = tuple(b"ftyp" + n.encode() for n in "heic heix heim heis hevc hevx mif1 msf1".split())


class Jpeg(JpegImageFile):
    """A JPEG whose EXIF data Pillow reads where it may: it asks them for dots per inch at once."""

    def getexif(self) -> Image.Exif:
        block = block_of(self)
        return Image.Exif() if block and not is_cheap(block) else super().getexif()


def _jpeg(stream: PictureStream) -> Image.Image:
    im = Jpeg(stream, "")
    indexes = [block for key in ("exif", "mp") if (block := im.info.get(key))]
    if "mp" not in im.info or not all(map(is_cheap, indexes)):
        return im
    stream.seek(0)
    return Image.OPEN["JPEG"][0](stream, "")  # as an MPO, if it is one


def open_tiff(stream: PictureStream) -> TiffImageFile:
    """As Pillow opens it, once its directories are judged."""
    judge(stream)
    return TiffImageFile(stream, "")


def _avif(stream: PictureStream) -> Image.Image:
    """As Pillow opens it; its decoder is asked for EXIF data before, which are read at once."""
    if int(PIL.__version__.partition(".")[0]) <= 13:  # of which it is known what it answers
        library: Any = AvifImagePlugin
        decoder = library._avif.AvifDecoder(stream.read(), library.DECODE_CODEC_CHOICE, 1)
        judge(decoder.get_info()[4] or b"")
        stream.seek(0)
    return AvifImagePlugin.AvifImageFile(stream, "")


OPENERS = {"JPEG": _jpeg, "TIFF": open_tiff, "AVIF": _avif}


def identify(stream: PictureStream) -> Image.Image:
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
                return OPENERS[name](stream) if name in OPENERS else factory(stream, "")
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


def _heic(stream: PictureStream) -> Image.Image:
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
