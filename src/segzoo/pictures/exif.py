"""Whether EXIF data may be given to Pillow: what their directories point at, added up beforehand.

An entry says where its value lies and how long it is, and nothing keeps a thousand of them from
naming the same megabyte. Pillow before 13 reads them all, and any Pillow makes a number of its own
of each fraction and copies what it has written once for each entry. The directories are walked
here as Pillow walks them, and none of the values is read. (TIFF 6.0, Adobe 1992; Exif 2.32, CIPA.)
"""

import io
import os
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from PIL import ExifTags, Image

from segzoo.errors import PictureError
from segzoo.pictures.tiff import BIG, CLASSIC, TYPES, Rule

__all__ = ["block_of", "is_cheap", "judge"]

PREFIX = b"Exif\0\0"  # of a JPEG's; a PNG has none
IN_TEXT = "Raw profile type exif"  # of a PNG: as hexadecimal text, as ImageMagick writes it
FRACTIONS = (5, 10)  # of 8 bytes each
SIZES = {2: 1, 7: 1, 11: 4, 12: 8, **dict.fromkeys(FRACTIONS, 8)} | {
    kind: struct.calcsize(f"={letter}") for kind, letter in TYPES.items() if kind <= 16
}
POINTERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop)
MOST_ENTRIES = 1000  # a camera writes a hundred
MOST_FRACTIONS = 1000  # 10 us each
MOST_TIMES = 2  # what entries and values take, of what there is: two may share one value


class Value(NamedTuple):
    """What an entry points at. kind: of a TIFF's types. size: in bytes."""

    kind: int
    size: int


def block_of(im: Image.Image) -> bytes | None:
    """The EXIF data that a picture of any format but TIFF came with, where there are some."""
    block = im.info.get("exif")
    if block is None and isinstance(text := im.info.get(IN_TEXT), str):
        try:
            return bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            return b"no hexadecimal digits"
    return block if isinstance(block, bytes) and block else None


def judge(source: bytes | IO[bytes]) -> None:
    """PictureError for EXIF data, or a TIFF, that Pillow had better not read."""
    if not is_cheap(source):
        raise PictureError(
            "the picture's tags point at the same bytes too often",
            expected=f"at most {MOST_ENTRIES} tags, and no more bytes than there are",
            next_step="Save it anew without EXIF data",
        )


def is_cheap(source: bytes | IO[bytes]) -> bool:
    """Whether Pillow may read EXIF data, with the prefix or without; an MPO's index, or a TIFF.

    What cannot be read at all is cheap. A stream is left at its beginning.
    """
    if isinstance(source, bytes):
        while source.startswith(PREFIX):
            source = source[len(PREFIX) :]
        source = io.BytesIO(source)
    cheap = _is_cheap(source)
    source.seek(0)
    return cheap


def _is_cheap(stream: IO[bytes]) -> bool:
    length = stream.seek(0, os.SEEK_END)
    entries = taken = fractions = 0
    for value in _values(stream, length):
        entries += 1
        taken += CLASSIC.head_size + CLASSIC.inline + value.size
        fractions += value.size // SIZES[value.kind] if value.kind in FRACTIONS else 0
        if entries > MOST_ENTRIES or fractions > MOST_FRACTIONS or taken > MOST_TIMES * length:
            return False
    return True


def _values(stream: IO[bytes], length: int) -> Iterator[Value]:
    """Each value that Pillow would read: as far as a directory is whole, and those it leads to."""
    stream.seek(0)
    head = stream.read(16)
    order, rule = ("<" if head[:2] == b"II" else ">"), (BIG if head[2:3] == b"+" else CLASSIC)
    first = head[rule.inline :][: rule.inline]
    if len(first) < rule.inline:
        return
    places = list(struct.unpack(order + rule.place, first))
    for place in places:  # which grows
        for tag, kind, count, raw in _entries(stream, place, order, rule):
            size = count * SIZES[kind]
            if size > rule.inline:
                (at,) = struct.unpack(order + rule.place, raw)
                if at + size > length:
                    break
                if tag in POINTERS:
                    stream.seek(at)
                    raw = stream.read(SIZES[kind])
            yield Value(kind, size)
            if tag in POINTERS and kind in TYPES and count:
                (deeper,) = struct.unpack(order + TYPES[kind], raw[: SIZES[kind]])
                if 0 <= deeper < length and deeper not in places:
                    places.append(deeper)


def _entries(
    stream: IO[bytes], place: int, order: str, rule: Rule
) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, count and the bytes of a place or a value, of the entries of a known type."""
    if place >= 1 << 63:
        return
    stream.seek(place)
    number = stream.read(rule.number_size)
    if len(number) < rule.number_size:
        return
    (many,) = struct.unpack(order + rule.number, number)
    form = struct.Struct(f"{order}{rule.head}{rule.inline}s")
    rows = stream.read(form.size * min(many, MOST_ENTRIES + 1))
    for entry in form.iter_unpack(rows[: len(rows) // form.size * form.size]):
        if entry[1] in SIZES:
            yield entry
