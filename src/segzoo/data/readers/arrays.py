"""Pictures and masks as two arrays of numpy: a .npz, or two .npy in a folder.

    arrays:m2nist/train.npz                                    keys images and masks
    arrays:m2nist?images=combined.npy&masks=segmented.npy      two files of the folder m2nist
    arrays:cells.npz?images=x&masks=y&values=0,255

Pictures are (N, H, W) gray or (N, H, W, C) of 1, 3 or 4 channels, whole numbers in 0..255. Masks
are told apart by their shape:
    (N, H, W), (N, H, W, 1)   values, as a mask file holds them; floats where they are whole
    (N, H, W, 3) + palette=   colours
    (N, H, W, K)              one map of 0 and 1 for each class, and each pixel in one of them
A .npy is read in place, a picture at a time; a .npz is unpacked into memory when it is opened.
Arrays of Python objects are refused: to read one is to run code.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from segzoo.data.declared import OPTIONS, Declared, declared
from segzoo.data.sample import Sample
from segzoo.errors import DatasetError, ResourceError, UnsafeFormatError, printable
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "Arrays", "open_arrays"]

Array: TypeAlias = NDArray[Any]

SPEC = ReaderSpec(
    summary="pictures and masks as arrays: a .npz, or two .npy in a folder",
    open="segzoo.data.readers.arrays:open_arrays",
    options={
        "images": Option(default="images", help="the key, or the file in the folder, of pictures"),
        "masks": Option(default="masks", help="the key, or the file in the folder, of masks"),
        **OPTIONS,
    },
    url="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
)

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
SHOWN = 20  # names that an error lists


@dataclass(frozen=True, eq=False)
class Stored:
    """Where an array of N pictures or masks is: in a .npy, whose header is read, or in memory."""

    file: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool = False
    offset: int = 0
    values: Array | None = None

    def __getitem__(self, index: int) -> Array:
        """The picture or mask of this number."""
        if self.values is not None:
            return np.array(self.values[index])
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        try:
            mapped = np.memmap(self.file, self.dtype, "r", self.offset, self.shape, order)
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot be read: {error}", file=self.file) from error
        return np.array(mapped[index])


class Arrays:
    """Samples of two arrays; their ids are "FILE[17]"."""

    def __init__(self, images: Stored, masks: Stored, *, meaning: Declared) -> None:
        self.images = images
        self.masks = masks
        self.meaning = meaning
        self.info = meaning.info

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, index: int) -> Sample:
        name = self.id_of(index)
        with _about(name):
            image = _whole(self.images[index])
            if image.size and not 0 <= image.min() <= image.max() <= 255:
                raise DatasetError(
                    "the picture is not of 8 bits",
                    found=f"values {image.min()} to {image.max()}",
                    expected="0 to 255",
                )
            target = _indices(self.masks[index], self.meaning)
        pixels = image.astype(np.uint8, copy=False)
        return Sample(
            image=pixels[..., None] if pixels.ndim == 2 else pixels, target=target, id=name
        )

    def id_of(self, index: int) -> str:
        number = range(len(self))[index]
        return f"{os.path.basename(self.images.file)}[{number}]"


def open_arrays(
    path: str | os.PathLike[str],
    *,
    images: str = "images",
    masks: str = "masks",
    values: str = "",
    classes: str = "",
    palette: str = "",
    ignore_index: int | str | None = None,
) -> Arrays:
    """The data set in a .npz or a folder; the module says which shapes are what.

    DatasetError for arrays that are not there, damaged or of other shapes; UnsafeFormatError for
    Python objects; UsageError for options that cannot be used; ResourceError for a .npz that does
    not fit into memory.
    """
    meaning = declared(values=values, classes=classes, palette=palette, ignore_index=ignore_index)
    path = os.fsdecode(path)
    read = _of_folder if os.path.isdir(path) else _of_npz
    pictures, answers = read(path, images, masks)
    _check_shapes(path, pictures, answers, meaning)
    return Arrays(pictures, answers, meaning=meaning)


def _check_shapes(path: str, images: Stored, masks: Stored, meaning: Declared) -> None:
    i, m = images.shape, masks.shape
    problem = ""
    if len(i) not in (3, 4) or (len(i) == 4 and i[3] not in (1, 3, 4)):
        problem = "the pictures have a wrong shape"
    elif len(m) not in (3, 4) or (meaning.in_colours and m[3:] not in ((), (1,), (3,))):
        problem = "the masks have a wrong shape"
    elif m[0] != i[0]:
        problem = "there are not as many masks as pictures"
    elif m[1:3] != i[1:3]:
        swapped = m[1:3] == (i[2], i[1])
        problem = "masks are not as large as pictures"
        problem += ": height and width are exchanged" * swapped
    elif min(i + m) < 1:
        problem = "the arrays are empty"
    elif images.dtype.kind not in "buif" or masks.dtype.kind not in "buif":
        problem = f"the arrays hold no numbers: {images.dtype} and {masks.dtype}"
    if problem:
        raise DatasetError(
            problem,
            file=path,
            found=f"pictures {i} and masks {m}",
            expected="(N, H, W) or (N, H, W, channels), and (N, H, W) or (N, H, W, classes)",
            next_step="Say which is which: images=NAME&masks=NAME",
        )


# --- a mask --------------------------------------------------------------------------------------


def _indices(mask: Array, meaning: Declared) -> Array:
    """(H, W) indices of a mask in one of the shapes that the module lists."""
    mask = _whole(mask)
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim == 2 or meaning.in_colours:
        return meaning(mask)
    chosen = mask != 0
    counts = chosen.sum(axis=2)
    ignored = meaning.info.ignore_index
    if ((mask != 0) & (mask != 1)).any():
        raise DatasetError(
            "the maps of the classes hold other values than 0 and 1",
            found=f"{mask.min()} to {mask.max()}",
            next_step="If the last axis holds colours, say palette=",
        )
    if (counts > 1).any() or (ignored is None and (counts == 0).any()):
        none, more = int((counts == 0).sum()), int((counts > 1).sum())
        raise DatasetError(
            "pixels are not in one class each",
            found=f"{none} in none and {more} in several",
            expected="one map with a 1 at each pixel",
            next_step="Pixels of no class are ignored with ignore_index=255",
        )
    target: Array = chosen.argmax(axis=2)
    if ignored is not None:
        target = np.where(counts == 0, np.int64(ignored), target)
    return target


def _whole(values: Array) -> Array:
    """The values as integers, exactly. DatasetError for fractions."""
    if values.dtype.kind in "ui":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    odd = ~np.isfinite(values) | (values != np.rint(values))
    if odd.any():
        examples = ", ".join(f"{v:.4g}" for v in np.unique(values[odd])[:8])
        raise DatasetError(
            "the array holds fractions, not whole numbers",
            found=f"{examples} and so on in {int(odd.sum())} places",
            expected="0 to 255 in pictures, values of classes in masks",
            next_step="Scale or threshold it before it is stored",
        )
    return values.astype(np.int64)


# --- files ---------------------------------------------------------------------------------------


def _of_folder(path: str, *names: str) -> list[Stored]:
    """The .npy files of these names in a folder, whose pixels stay where they are."""
    there = sorted(name for name in os.listdir(path) if name.endswith(".npy"))
    found = []
    for name in names:
        name = name if name.endswith(".npy") else f"{name}.npy"
        if not os.path.isfile(os.path.join(path, name)):
            raise _missing(path, name, there)
        file = os.path.join(path, name)
        with _about(file), open(file, "rb") as stream:
            array = _header(stream, file)
            _check_length(array, os.fstat(stream.fileno()).st_size)
        found.append(array)
    return found


def _of_npz(path: str, *names: str) -> list[Stored]:
    """The arrays of these keys in a .npz, in memory."""
    if not os.path.isfile(path):
        raise DatasetError(
            "there is no such file", file=path, expected="a .npz, or a folder of .npy"
        )
    if path.endswith(".npy"):
        folder, name = os.path.split(path)
        raise DatasetError(
            "is one array, and a data set is two",
            file=path,
            next_step=f"Name both: arrays:{folder or '.'}?images={name}&masks=FILE.npy",
        )
    found = []
    with _about(path), zipfile.ZipFile(path) as archive:
        there = sorted(name.removesuffix(".npy") for name in archive.namelist())
        for name in names:
            if name not in there:
                raise _missing(path, name, there)
            with archive.open(f"{name}.npy") as stream:
                array = _header(stream, path)
                _check_length(array, archive.getinfo(f"{name}.npy").file_size)
                found.append(replace(array, values=_unpacked(stream, array)))
    return found


def _header(stream: IO[bytes], file: str) -> Stored:
    """What a .npy says of its array. UnsafeFormatError for Python objects."""
    version = npy.read_magic(stream)
    if version not in HEADERS:
        raise DatasetError("is of a version of .npy that is not known", found=str(version))
    shape, fortran, dtype = HEADERS[version](stream)
    if dtype.hasobject:
        raise UnsafeFormatError(
            "the array holds Python objects, which run code when they are read",
            expected="numbers",
            next_step="Store it as numbers: numpy.save(file, array.astype('uint8'))",
        )
    return Stored(file, shape, dtype, fortran, stream.tell())


def _check_length(array: Stored, length: int) -> None:
    needed = array.offset + math.prod(array.shape) * array.dtype.itemsize
    if length < needed:
        raise DatasetError("is cut short", found=f"{length} bytes", expected=f"{needed}")


def _unpacked(stream: IO[bytes], array: Stored) -> Array:
    count = math.prod(array.shape)
    try:
        values = np.frombuffer(stream.read(count * array.dtype.itemsize), array.dtype, count)
    except MemoryError as error:
        raise ResourceError(
            "the array does not fit into memory",
            found=f"{count * array.dtype.itemsize >> 20} MiB",
            next_step="Store both as .npy in a folder: those are read in place",
        ) from error
    return values.reshape(array.shape, order="F" if array.fortran else "C")


def _missing(path: str, name: str, there: list[str]) -> DatasetError:
    shown = ", ".join(map(printable, there[:SHOWN])) + " and more" * (len(there) > SHOWN)
    return DatasetError(
        f"there is no array {printable(name)!r}",
        file=path,
        found=shown or "none",
        next_step="Say which is which: images=NAME&masks=NAME",
    )


@contextmanager
def _about(file: str) -> Iterator[None]:
    """What goes wrong with a file or a sample, as an error that names it."""
    try:
        yield
    except (DatasetError, UnsafeFormatError, ResourceError) as error:
        error.file = error.file or printable(file)
        raise
    except DAMAGED as error:
        raise DatasetError(
            "the file is damaged, or is not what its name says",
            file=file,
            found=" ".join(str(error).split())[:200] or type(error).__name__,
        ) from error
