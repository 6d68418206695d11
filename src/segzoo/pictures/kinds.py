"""Which kinds of pictures are read, and which of them a file is."""

import contextlib
import struct
from importlib import util
from typing import Any

from PIL import AvifImagePlugin as _avif  # noqa: F401  these three register themselves;
from PIL import Image
from PIL import TiffImagePlugin as _tiff  # noqa: F401  Image.preinit() has the other five
from PIL import WebPImagePlugin as _webp  # noqa: F401

from segzoo.errors import PictureError
from segzoo.pictures.streams import HEADER_BYTES, PictureStream

__all__ = ["FORMATS", "HEIC", "identify"]

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
