"""A picture's file, or its content, opened for a decoder: what it may read, and how it may fail."""

import contextlib
import io
import os
import stat
import threading
import traceback
from collections.abc import Iterator
from os import PathLike
from typing import cast

from PIL import Image, ImageFile

from segzoo.base.home import expanded
from segzoo.errors import PictureError, PictureTooLargeError, UnsafeFormatError, printable
from segzoo.pictures.limits import ALLOW_MORE, MAX_CHUNKS, SCAN, judge_chunks, judge_scans

__all__ = [
    "COUNT_BYTES",
    "HEADER_BYTES",
    "PictureStream",
    "one_error",
    "open_stream",
    "pillow",
    "stream_of",
]

HEADER_BYTES = 64 << 20  # read before the first pixel; a header can point at the same bytes often
COUNT_BYTES = 4 << 20  # read to count frames

_PILLOW = threading.Lock()


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


class PictureStream(io.BufferedReader):
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
            judge_scans(super().read().count(SCAN))
        elif start == b"\x89PNG\r\n\x1a\n":
            judge_chunks(self._chunks())
        self.seek(0)

    def _chunks(self) -> int:
        """How many chunks a PNG has, as far as there may be."""
        self.seek(8)
        for number in range(MAX_CHUNKS + 1):
            head = super().read(8)
            if len(head) < 8 or head[4:] == b"IEND":
                return number + 1
            self.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return MAX_CHUNKS + 1


def stream_of(file: str | PathLike[str]) -> PictureStream:
    """A file to read parts of, to be closed. PictureError when there is none."""
    return PictureStream(_open_file(expanded(file)))


@contextlib.contextmanager
def open_stream(source: str | PathLike[str] | bytes) -> Iterator[PictureStream]:
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
    with one_error(file), PictureStream(raw) as stream:
        stream.refuse_endless()
        yield stream


@contextlib.contextmanager
def one_error(file: str) -> Iterator[None]:
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
        traceback.clear_frames(error.__traceback__)  # who keeps the error keeps no half a picture
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
