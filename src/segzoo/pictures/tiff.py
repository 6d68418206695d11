"""What a TIFF says of its samples, and their values, where Pillow has no mode for them.

    layout = tiff.layout_of(stream)       how the samples lie, without reading one
    values = tiff.samples(stream, layout)  (H, W, bands), of the type that is stored

Pillow's decoder undoes the compression. It is given the file's own strips or tiles as a TIFF of
8-bit gray in which a row of samples is a row of bytes; what the bytes mean is said here. So any
number of bands is read, of any depth that numpy has, by the code that reads every other TIFF.
(TIFF 6.0, Adobe 1992; the BigTIFF design, AWare Systems; Adobe's TIFF technical note 3 for
floating-point differences.)
"""

import contextlib
import dataclasses
import io
import struct
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from segzoo.base.counts import count_of

__all__ = [
    "BIG",
    "CLASSIC",
    "INVERTED",
    "JPEG",
    "MAGIC",
    "MOST_SPARE",
    "MULTIPLIED",
    "OLD_JPEG",
    "PHOTOMETRIC",
    "RGB",
    "TYPES",
    "Layout",
    "Rule",
    "chunks_of",
    "compression_of",
    "extent_of",
    "layout_of",
    "pages",
    "samples",
]

Entries: TypeAlias = dict[int, tuple[int, ...]]

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
INVERTED = 0  # the photometric interpretation in which 0 is white; also of files that say none
RGB = 2
# The colours that a photometric interpretation is about, and how many samples they take.
COLOURS = {
    0: ("gray, 0 is white", 1),
    1: ("gray", 1),
    2: ("RGB", 3),
    3: ("palette", 1),
    4: ("a mask of transparency", 1),
    5: ("CMYK", 4),
    6: ("YCbCr", 3),
    8: ("LAB", 3),
    32803: ("a colour filter array", 1),
    34892: ("linear raw", 3),
}
KINDS = {1: "u", 2: "i", 3: "f"}  # sample format -> numpy's letter
NAMES = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
MULTIPLIED = 1  # an extra sample that is alpha, and that the colours are multiplied by
ALPHA = (MULTIPLIED, 2)
BYTEWISE = {  # compressions that do not ask what the bytes mean
    1: "none",
    5: "LZW",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    34925: "LZMA",
    50000: "zstd",
}
OLD_JPEG, JPEG = 6, 7  # compressions: as TIFF 6.0 has it, and as Adobe's technical note 2
BACKWARDS = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))  # of a fill order of 2
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL = 256, 257, 258, 259, 262, 266
STRIPS, TURN, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR = 273, 274, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT = 322, 323, 324, 325, 338, 339
LISTS = (STRIPS, STRIP_BYTES, TILES, TILE_BYTES, BITS, FORMAT, EXTRA)
SINGLE = (WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL, TURN, SAMPLES, ROWS, PLANAR, PREDICTOR)
WANTED = frozenset((*LISTS, *SINGLE, TILE_WIDTH, TILE_HEIGHT))
MOST_BANDS = MOST_ENTRIES = 65535  # of a classic TIFF
MOST_PAGES = 100_000
MOST_SPARE = 4  # what tiles may take, of what the picture in them takes


class Chunk(NamedTuple):
    """A strip or a tile: where its bytes lie in the file."""

    offset: int
    length: int


@dataclass(frozen=True)
class Layout:
    """How the first picture of a TIFF stores its samples.

    bits, formats: of each band. extra: what the bands beyond the colours are; 1 and 2 are alpha.
    planar: whether each band lies by itself. tile: (height, width) of the chunks, strips too.
    order: of bytes, as numpy writes it. orientation: as of EXIF.
    """

    height: int
    width: int
    bands: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    photometric: int
    extra: tuple[int, ...]
    compression: int
    predictor: int
    fill: int
    planar: bool
    tile: tuple[int, int]
    chunks: tuple[Chunk, ...]
    order: str
    orientation: int

    @property
    def nbytes(self) -> int:
        """What `samples` takes: whole strips and tiles, also where they reach over the edge."""
        across, down = self.grid
        high, wide = self.tile
        size = self.bands * (1 if self.dtype is None else self.dtype.itemsize)
        return max(self.height, down * high) * max(self.width, across * wide) * size

    @property
    def colours(self) -> int:
        """How many of the bands are colours, or gray, or a palette's indices."""
        return min(COLOURS.get(self.photometric, ("", self.bands))[1], self.bands)

    @property
    def has_alpha(self) -> bool:
        return self.bands > self.colours and any(kind in ALPHA for kind in self.extra)

    @property
    def unnamed(self) -> int:
        """Bands of which the file does not say what they are: neither colours nor alpha."""
        return self.bands - self.colours - self.has_alpha

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of every sample; None where numpy has none, or bands differ."""
        bits, kind = self.bits[0], KINDS.get(self.formats[0], "")
        alike = {*self.bits} == {bits} and len({*self.formats}) == 1
        if not alike or not kind or bits not in ((16, 32, 64) if kind == "f" else (8, 16, 32, 64)):
            return None
        return np.dtype(f"{self.order}{kind}{bits // 8}")

    def __str__(self) -> str:
        """In words: "4 bands of 16 bits, unsigned (RGB), LZW"."""
        bits = "/".join(map(str, dict.fromkeys(self.bits)))
        kind = NAMES.get(self.formats[0], f"sample format {self.formats[0]}")
        name = COLOURS.get(self.photometric, (f"photometric {self.photometric}", 0))[0]
        packed = BYTEWISE.get(self.compression, f"compression {self.compression}")
        packed = "" if packed == "none" else f", {packed}"
        many = count_of(self.bands, "band")
        return f"{many} of {bits} bits, {kind} ({name}){packed}"

    @property
    def fault(self) -> str:
        """Why `samples` cannot read it; empty when it can."""
        if self.photometric not in (0, 1, 2):
            return "its colours are of another kind"
        if self.compression not in BYTEWISE:
            return "its compression is about colours"
        if self.dtype is None:
            return "its samples are of a type that numpy has not"
        if self.predictor not in (1, 2, 3) or (self.predictor == 3 and self.dtype.kind != "f"):
            return f"its predictor is {self.predictor}"
        across, down = self.grid
        size = self.height * self.width * self.bands * self.dtype.itemsize
        if self.nbytes > MOST_SPARE * size + (1 << 20):
            return "its tiles are far larger than it is"
        if len(self.chunks) != across * down * (self.bands if self.planar else 1):
            return "its strips or tiles do not cover it"
        return ""

    @property
    def grid(self) -> tuple[int, int]:
        """Chunks across and down, of one band where they lie apart."""
        high, wide = self.tile
        return -(-self.width // wide), -(-self.height // high)


def layout_of(stream: IO[bytes]) -> Layout | None:
    """The layout of a file's first picture, read from its directory; None where it has none."""
    stream.seek(0)
    try:
        entries, order = _directory(stream)
        return _layout(entries, order)
    except (struct.error, KeyError, IndexError, ValueError):
        return None


def extent_of(stream: IO[bytes]) -> tuple[int, int]:
    """The height and width of a file's first picture, by little of its directory; else zeros."""
    entries = _some(stream, WIDTH, HEIGHT)
    return entries.get(HEIGHT, (0,))[0], entries.get(WIDTH, (0,))[0]


def compression_of(stream: IO[bytes]) -> int:
    """How a file's first picture is compressed, by little of its directory; else zero."""
    return _some(stream, COMPRESSION).get(COMPRESSION, (0,))[0]


def _some(stream: IO[bytes], *tags: int) -> Entries:
    """These entries of a file's first directory, as far as they are there; each has a value."""
    stream.seek(0)
    with contextlib.suppress(struct.error, ValueError):
        if stream.read(4) in MAGIC:
            stream.seek(0)
            entries, _ = _directory(stream, frozenset(tags))
            return {tag: values for tag, values in entries.items() if values}
    return {}


def pages(stream: IO[bytes]) -> int:
    """How many pictures a file says it has; those before the first directory that is damaged."""
    seen: set[int] = set()
    stream.seek(0)
    try:
        order, place, rule = _beginning(stream)
        while place and place not in seen and len(seen) < MOST_PAGES:
            seen.add(place)
            stream.seek(place)
            (number,) = struct.unpack(order + rule.number, stream.read(rule.number_size))
            stream.seek(place + rule.number_size + number * (rule.head_size + rule.inline))
            (place,) = struct.unpack(order + rule.place, stream.read(rule.inline))
    except (struct.error, ValueError, OSError):
        pass
    return len(seen)


def chunks_of(layout: Layout, first: int, last: int) -> Layout:
    """Some rows of its chunks, from the one to before the other, as a picture of their own."""
    across, _ = layout.grid
    many = layout.bands if layout.planar else 1
    each, high = len(layout.chunks) // many, layout.tile[0]
    chunks = (
        layout.chunks[n * each + first * across : n * each + last * across] for n in range(many)
    )
    height = min(last * high, layout.height) - first * high
    return dataclasses.replace(layout, height=height, chunks=tuple(chain.from_iterable(chunks)))


def samples(stream: IO[bytes], layout: Layout) -> NDArray[Any]:
    """(H, W, bands) as they are stored; `layout.fault` is empty. OSError for damaged chunks."""
    assert layout.dtype is not None
    many = layout.bands if layout.planar else 1
    each = len(layout.chunks) // many
    planes = [
        _plane(stream, layout, layout.chunks[number * each : (number + 1) * each])
        for number in range(many)
    ]
    values = planes[0] if many == 1 else np.concatenate(planes, axis=2)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


# --- the directory --------------------------------------------------------------------------------


class Rule(NamedTuple):
    """How a directory is written. number, head, place: for struct. inline: bytes of a value."""

    number: str
    head: str
    place: str
    inline: int

    @property
    def number_size(self) -> int:
        return struct.calcsize(f"={self.number}")

    @property
    def head_size(self) -> int:
        return struct.calcsize(f"={self.head}")


CLASSIC, BIG = Rule("H", "HHI", "I", 4), Rule("Q", "HHQ", "Q", 8)


def _beginning(stream: IO[bytes]) -> tuple[str, int, Rule]:
    """The order of bytes, where the first directory lies, and how it is written."""
    magic = stream.read(4)
    order = "<" if magic[:2] == b"II" else ">"
    rule = BIG if magic[2:] in (b"+\0", b"\0+") else CLASSIC
    if rule is BIG and struct.unpack(f"{order}HH", stream.read(4)) != (rule.inline, 0):
        raise ValueError("no BigTIFF")
    (first,) = struct.unpack(order + rule.place, stream.read(rule.inline))
    return order, first, rule


def _directory(stream: IO[bytes], wanted: frozenset[int] = WANTED) -> tuple[Entries, str]:
    """The entries of the first directory that matter, and the order of bytes."""
    order, first, rule = _beginning(stream)
    stream.seek(first)
    (number,) = struct.unpack(order + rule.number, stream.read(rule.number_size))
    if number > MOST_ENTRIES:
        raise ValueError("no directory")
    found = []
    for _ in range(number):
        row = stream.read(rule.head_size + rule.inline)
        head = struct.unpack(order + rule.head, row[: rule.head_size])
        found.append((*head, row[rule.head_size :]))
    values: Entries = {}
    for tag, kind, length, raw in found:
        if tag in wanted and kind in TYPES and tag not in values:
            size = struct.calcsize(f"={TYPES[kind]}") * length
            if size > rule.inline:
                stream.seek(struct.unpack(order + rule.place, raw)[0])
                raw = stream.read(size)
            values[tag] = struct.unpack(f"{order}{length}{TYPES[kind]}", raw[:size])
    return values, order


def _layout(entries: Entries, order: str) -> Layout:
    height, width = entries[HEIGHT][0], entries[WIDTH][0]
    bands = entries.get(SAMPLES, (1,))[0]
    if min(height, width) < 1 or not 1 <= bands <= MOST_BANDS:
        raise ValueError("no pixels")
    if TILES in entries:
        tile = (entries[TILE_HEIGHT][0], entries[TILE_WIDTH][0])
        places = zip(entries[TILES], entries[TILE_BYTES], strict=True)
    else:
        tile = (min(height, entries.get(ROWS, (height,))[0]), width)
        places = zip(entries[STRIPS], entries[STRIP_BYTES], strict=True)
    if min(tile) < 1:
        raise ValueError("no rows")

    def each(tag: int) -> tuple[int, ...]:
        given = entries.get(tag, (1,))
        return given[:bands] if len(given) >= bands else given[:1] * bands

    return Layout(
        height=height,
        width=width,
        bands=bands,
        bits=each(BITS),
        formats=each(FORMAT),
        photometric=entries.get(PHOTOMETRIC, (INVERTED,))[0],
        extra=entries.get(EXTRA, ()),
        compression=entries.get(COMPRESSION, (1,))[0],
        predictor=entries.get(PREDICTOR, (1,))[0],
        fill=entries.get(FILL, (1,))[0],
        planar=entries.get(PLANAR, (1,))[0] == 2 and bands > 1,
        tile=tile,
        chunks=tuple(Chunk(offset, length) for offset, length in places),
        order=order,
        orientation=entries.get(TURN, (1,))[0],
    )


# --- the samples ----------------------------------------------------------------------------------


def _plane(stream: IO[bytes], layout: Layout, chunks: tuple[Chunk, ...]) -> NDArray[Any]:
    """(H, W, bands) of chunks that hold all bands, or (H, W, 1) of one's."""
    assert layout.dtype is not None
    bands = 1 if layout.planar else layout.bands
    across, down = layout.grid
    high, wide = layout.tile
    row = wide * bands * layout.dtype.itemsize  # bytes of a chunk's row
    rows = layout.height if across == 1 and wide == layout.width else down * high
    raw = _unpacked(stream, chunks, size=(rows, across * row), chunk=(high, row), layout=layout)
    rows_of_chunks = raw.reshape(rows, across, row)
    values = _undone(rows_of_chunks, layout.dtype, bands, layout.predictor)
    return values.reshape(rows, across * wide, bands)[: layout.height, : layout.width]


def _unpacked(
    stream: IO[bytes],
    chunks: tuple[Chunk, ...],
    *,
    size: tuple[int, int],
    chunk: tuple[int, int],
    layout: Layout,
) -> NDArray[np.uint8]:
    """The bytes of chunks side by side, (rows, bytes of a row), uncompressed."""
    data = []
    for place in chunks:
        stream.seek(place.offset)
        part = stream.read(place.length)
        if len(part) < place.length:
            raise OSError("a strip or a tile is cut short")
        data.append(part.translate(BACKWARDS) if layout.fill == 2 else part)
    file = _wrapped(data, size=size, chunk=chunk, layout=layout)
    return np.asarray(TiffImageFile(io.BytesIO(file), ""))


def _wrapped(
    data: list[bytes], *, size: tuple[int, int], chunk: tuple[int, int], layout: Layout
) -> bytes:
    """These chunks as a TIFF of 8-bit gray."""
    offsets, at = [], 8
    for part in data:
        offsets.append(at)
        at += len(part)
    arrays, count = at + at % 2, len(data)
    tiled = chunk[1] != size[1]
    place, lengths = (TILES, TILE_BYTES) if tiled else (STRIPS, STRIP_BYTES)
    entries = {
        WIDTH: (size[1],),
        HEIGHT: (size[0],),
        BITS: (8,),
        COMPRESSION: (layout.compression,),
        PHOTOMETRIC: (1,),
        SAMPLES: (1,),
        place: tuple(offsets),
        lengths: tuple(map(len, data)),
        **({TILE_WIDTH: (chunk[1],), TILE_HEIGHT: (chunk[0],)} if tiled else {ROWS: (chunk[0],)}),
    }
    body, rows = b"", []
    for tag, values in sorted(entries.items()):
        value = values[0]
        if count > 1 and tag in (place, lengths):
            value = arrays + len(body)
            body += struct.pack(f"<{count}I", *values)
        rows.append(struct.pack("<HHII", tag, 4, len(values), value))
    head = struct.pack("<4sI", b"II*\0", arrays + len(body))
    directory = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return b"".join(chain([head], data, [bytes(arrays - at), body, directory]))


def _undone(
    raw: NDArray[np.uint8], dtype: np.dtype[Any], bands: int, predictor: int
) -> NDArray[Any]:
    """(rows, chunks across, bytes) -> (rows, chunks across, samples), without differences.

    2: a sample is stored as the difference from the same band of the pixel to its left. 3: the
    bytes of a row, the highest of every sample first, are stored as such differences.
    """
    rows, across, length = raw.shape
    wide = length // dtype.itemsize // bands
    if predictor == 3:
        steps = raw.reshape(rows, across, length // bands, bands)
        whole = np.add.accumulate(steps, axis=2, dtype=np.uint8)
        planes = whole.reshape(rows, across, dtype.itemsize, wide * bands)
        lying = np.ascontiguousarray(planes.swapaxes(2, 3))
        return lying.view(dtype.newbyteorder(">"))[..., 0]
    values = np.ascontiguousarray(raw).view(dtype)
    if predictor == 2:
        # as unsigned numbers, whose sums wrap, floats too
        bits = values.view(dtype.str[0] + f"u{dtype.itemsize}")
        native = bits.astype(bits.dtype.newbyteorder("=")).reshape(rows, across, wide, bands)
        whole = np.add.accumulate(native, axis=2, dtype=native.dtype)
        return whole.reshape(rows, across, wide * bands).view(dtype.newbyteorder("="))
    return values
