"""MATLAB's .mat files: of version 7.3, which are HDF5, and older ones.

HDF5 lists the dimensions of an array in the reverse of MATLAB's order: images of H x W x 3 x N are
(N, 3, W, H) here (https://www.mathworks.com/help/matlab/import_export/mat-file-versions.html).
"""

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import DatasetError, DependencyMissingError, printable

__all__ = ["MatFile", "load_mat"]

MAX_PIECE = 256 << 20  # bytes of an array that are read at once
UNREADABLE = (OSError, KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError)
MAX_BYTES = 1 << 30  # of an older file, which is read whole


class MatFile:
    """The arrays of a file of version 7.3, read a piece at a time.

    Each process opens the file when it first reads from it: an object of this kind can be pickled,
    and a worker does not share the place in a file with the process that it was forked from.
    DatasetError for a file that is missing, damaged or of another version; DependencyMissingError.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = os.fsdecode(file)
        self._opened: tuple[int, Any] | None = None
        self._content()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, in the order of HDF5. `name`: group/array."""
        return tuple(self._array(name).shape)

    def read(self, name: str, *index: int) -> NDArray[Any]:
        """An array, or what of it stands at `index`."""
        array = self._array(name)
        self._judge(array, name, array.shape[len(index) :])
        try:
            return np.asarray(array[index])
        except UNREADABLE as error:
            raise self._fault(f"{name}{[*index]} cannot be read", str(error)) from error

    def cell(self, name: str, number: int) -> NDArray[Any]:
        """The array that a cell, or one field of an array of structs, refers to, by its number."""
        import h5py

        reference = self.read(name, *map(int, np.unravel_index(number, self.shape(name)))).item()
        if not isinstance(reference, h5py.Reference):
            raise self._fault(f"{name} does not hold references", str(type(reference).__name__))
        try:
            array = self._content()[reference]
            self._judge(array, name, array.shape)
            return np.asarray(array[()])
        except UNREADABLE as error:
            raise self._fault(f"{name} leads nowhere at {number}", str(error)) from error

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts that the cells refer to. MATLAB stores a character in 16 bits."""
        cells = (self.cell(name, number) for number in range(math.prod(self.shape(name))))
        return tuple("".join(map(chr, cell.ravel().tolist())) for cell in cells)

    def _array(self, name: str) -> Any:
        found = self._content().get(name)
        if not hasattr(found, "shape"):
            have = ", ".join(sorted(self._content().keys()))
            raise self._fault(f"it has no array {name!r}", have or "nothing")
        return found

    def _judge(self, array: Any, name: str, shape: tuple[int, ...]) -> None:
        size = math.prod(shape) * array.dtype.itemsize
        if size > MAX_PIECE:
            raise self._fault(f"{name} is too large to be read", f"{size:,} bytes")

    def _content(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                import h5py
            except ImportError as error:
                raise DependencyMissingError(
                    "this file of MATLAB is read with h5py, which is not installed",
                    next_step="Run: pip install 'segzoo-core[data]'",
                ) from error
            try:
                self._opened = os.getpid(), h5py.File(self.file, "r")
            except OSError as error:
                missing = not os.path.exists(self.file)
                raise self._fault(
                    "there is no such file" if missing else "this is no .mat file of version 7.3",
                    "" if missing else str(error),
                ) from error
        return self._opened[1]

    def _fault(self, problem: str, found: str) -> DatasetError:
        return DatasetError(problem, file=self.file, found=printable(found)[:200])


def load_mat(file: str | os.PathLike[str], *names: str) -> list[Any]:
    """Arrays of an older file by their names, structs and cells as scipy gives them, squeezed.

    DatasetError for a file that is missing, damaged, of version 7.3 or without one of the names;
    DependencyMissingError.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DependencyMissingError(
            "this file of MATLAB is read with scipy, which is not installed",
            next_step="Run: pip install 'segzoo-core[train]'",
        ) from error
    try:
        size = os.path.getsize(file)
        if size > MAX_BYTES:
            raise DatasetError("the file is too large", file=file, found=f"{size:,} bytes")
        found = loadmat(os.fsdecode(file), variable_names=names, squeeze_me=True)
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", file=file) from error
    except DatasetError:
        raise
    except Exception as error:  # scipy raises what it meets: ValueError, TypeError, zlib.error ...
        text = printable(" ".join(str(error).split()))[:200] or type(error).__name__
        raise DatasetError(
            "this is no .mat file that can be read", file=file, found=text
        ) from error
    if missing := [name for name in names if name not in found]:
        raise DatasetError(f"it has no variable {', '.join(missing)}", file=file)
    return [found[name] for name in names]
