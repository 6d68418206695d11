"""Arrays in .npy files (numpy.lib.format), judged by their headers; nothing is ever unpickled."""

import math
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from segzoo.errors import UnsafeFormatError

__all__ = ["MAGIC", "Header", "array_of", "header_of"]

MAGIC = npy.MAGIC_PREFIX
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """What a .npy says of its array. offset: of the first value in the file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def header_of(stream: IO[bytes]) -> Header:
    """The header at the beginning of a stream, which then stands at the first value.

    ValueError for what is no .npy; UnsafeFormatError for Python objects.
    """
    version = npy.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version}, which is not known")
    shape, fortran, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise UnsafeFormatError(
            "the array holds Python objects, which run code when they are read",
            expected="numbers",
            next_step="Store it as numbers: numpy.save(file, array.astype('uint8'))",
        )
    return Header(shape, dtype, fortran, stream.tell())


def array_of(stream: IO[bytes], header: Header) -> NDArray[Any]:
    """The array behind a header, a copy in C order. ValueError when it is cut short."""
    data = stream.read(header.nbytes)
    if len(data) < header.nbytes:
        raise ValueError(f"{len(data)} bytes where its header says {header.nbytes}")
    values: NDArray[Any] = np.frombuffer(data, header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C").copy("C")
