"""TIFF files in tiles, written row by row: a picture larger than memory has no other moment.

    with replacing(path) as file, TiledTiff(file, (height, width), like=rows) as tiff:
        for rows in bands: tiff.add(rows)

Tiles are compressed by deflate as they become full; the directory, which names them, comes last.
So a file that was not finished is no TIFF. (TIFF 6.0, Adobe 1992, sections 8 and 15; Adobe's
deflate, technical note 3 of 2002; the BigTIFF design, AWare Systems.)
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "TiledTiff"]

SIDE = 512  # pixels of a tile
LEVEL = 1  # of deflate
CLASSIC_BYTES = (1 << 32) - (1 << 28)  # of what a file with offsets of 32 bits surely holds
SHORT, LONG, BIG = 3, 4, 16  # types of a directory's values
LETTERS = {2: "s", SHORT: "H", LONG: "I", BIG: "Q"}
DEFLATE, DIFFERENCES = 8, 2
MAGIC, BIG_MAGIC = b"II*\0", b"II+\0\x08\0\0\0"  # the latter says that an offset has 8 bytes
SOFTWARE = 305


class _Entry(NamedTuple):
    """A line of the directory."""

    tag: int
    kind: int
    values: Sequence[int] | bytes


class TiledTiff:
    """A picture that is written from the top down.

    like: rows of it, (h, W) or (h, W, C) of uint8 or uint16, whatever their values. palette: of
    (h, W) uint8 that are indices. software: which program writes it.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        *,
        like: NDArray[Any],
        palette: Sequence[tuple[int, int, int]] = (),
        software: bytes,
    ) -> None:
        self.size, self.palette = size, palette
        self.shape, self.dtype = like.shape[1:], like.dtype
        self._file = file
        self._waiting: list[NDArray[Any]] = []  # rows of tiles that are not yet full
        self._places: list[tuple[int, int]] = []  # of each tile, and its length
        nbytes = size[0] * like[:1].nbytes
        self._big = nbytes > CLASSIC_BYTES
        head = BIG_MAGIC if self._big else MAGIC
        self._software = software + b"\0"
        file.write(head + bytes(8 if self._big else 4))  # where the directory lies
        self._software_at = file.tell()
        file.write(self._software + bytes(len(self._software) % 2))
        self._end = file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()

    def add(self, rows: NDArray[Any]) -> None:
        """The next rows."""
        assert rows.shape[1:] == self.shape and rows.dtype == self.dtype
        while len(rows):
            part = rows[: SIDE - sum(map(len, self._waiting))]
            rows = rows[len(part) :]
            self._waiting.append(part)
            if sum(map(len, self._waiting)) == SIDE:
                self._write_tiles()

    def _write_tiles(self) -> None:
        """One row of tiles; what reaches over the picture's edges is 0."""
        band = np.concatenate(self._waiting)
        self._waiting = []
        for left in range(0, band.shape[1], SIDE):
            tile = np.zeros((SIDE, SIDE, *self.shape[1:]), self.dtype)
            part = band[:, left : left + SIDE]
            tile[: len(part), : part.shape[1]] = part
            if self.dtype.itemsize > 1:
                tile[:, 1:] -= tile[:, :-1].copy()
            packed = zlib.compress(tile.astype(self.dtype.newbyteorder("<")).data, LEVEL)
            self._write(packed)
            self._places.append((self._end - len(packed), len(packed)))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._end += len(content)

    def _finish(self) -> None:
        """The last tiles, and the directory."""
        if self._waiting:
            self._write_tiles()
        assert len(self._places) == -(-self.size[0] // SIDE) * -(-self.size[1] // SIDE)
        self._write(bytes(-self._end % 8))
        place = "<Q" if self._big else "<I"
        room, lines = struct.calcsize(place), []
        for tag, kind, values in self._entries():
            inside = values
            if not isinstance(inside, bytes):
                inside = struct.pack(f"<{len(values)}{LETTERS[kind]}", *values)
            if len(inside) > room:
                where = self._software_at if tag == SOFTWARE else self._end
                if tag != SOFTWARE:
                    self._write(inside + bytes(-len(inside) % 8))
                inside = struct.pack(place, where)
            head = struct.pack(f"<HH{place[1]}", tag, kind, len(values))
            lines.append(head + inside.ljust(room, b"\0"))
        directory = self._end
        self._write(struct.pack("<Q" if self._big else "<H", len(lines)))
        self._write(b"".join(lines) + bytes(room))
        self._file.seek(len(BIG_MAGIC if self._big else MAGIC))
        self._file.write(struct.pack(place, directory))

    def _entries(self) -> Iterator[_Entry]:
        """The directory, in the order of its tags."""
        bands = self.shape[1] if len(self.shape) == 2 else 1
        number = BIG if self._big else LONG
        colours = 3 if self.palette else 2 if bands > 1 else 1
        yield _Entry(256, LONG, [self.size[1]])
        yield _Entry(257, LONG, [self.size[0]])
        yield _Entry(258, SHORT, [8 * self.dtype.itemsize] * bands)
        yield _Entry(259, SHORT, [DEFLATE])
        yield _Entry(262, SHORT, [colours])
        yield _Entry(277, SHORT, [bands])
        yield _Entry(SOFTWARE, 2, self._software)
        if self.dtype.itemsize > 1:
            yield _Entry(317, SHORT, [DIFFERENCES])
        if self.palette:
            table = np.zeros((256, 3), np.uint16)
            table[: len(self.palette)] = np.array(self.palette, np.uint16) * 257
            yield _Entry(320, SHORT, [int(value) for value in table.T.ravel()])
        yield _Entry(322, SHORT, [SIDE])
        yield _Entry(323, SHORT, [SIDE])
        yield _Entry(324, number, [place for place, _ in self._places])
        yield _Entry(325, LONG, [length for _, length in self._places])
