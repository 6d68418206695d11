"""Pictures and masks as two arrays of numpy: a .npz, or two .npy in a folder.

    arrays:m2nist/train.npz                                    keys images and masks
    arrays:m2nist?images=combined.npy&masks=segmented.npy      two files of the folder m2nist
    arrays:cells.npz?images=x&masks=y&values=0,255

Pictures are (N, H, W) gray or (N, H, W, C) of 1, 3 or 4 channels, or of as many as bands= says:
whole numbers in 0..255, or with peak= any numbers from 0 to that. Masks are told apart by their
shape:
    (N, H, W), (N, H, W, 1)   values, as a mask file holds them; floats where they are whole
    (N, H, W, 3) + palette=   colours
    (N, H, W, K)              one map of 0 and 1 for each class, and each pixel in one of them;
                              with overlap=yes in none, one or several
A .npy is read in place, a picture at a time; a .npz is unpacked into memory when it is opened. One
that has texts under the key `classes` names its classes so, unless options say what masks hold.
Arrays of Python objects are refused: to read one is to run code.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Literal, TypeAlias, Unpack

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.data.declared import OPTIONS, Declared, Said, declared
from segzoo.data.paired import part_of_dataset
from segzoo.data.sample import Sample
from segzoo.errors import DatasetError, ResourceError, UnsafeFormatError, UsageError, printable
from segzoo.pictures import codec, labels, npy
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "Arrays", "open_arrays"]

Array: TypeAlias = NDArray[Any]

SPEC = ReaderSpec(
    summary="pictures and masks as arrays: a .npz, or two .npy in a folder",
    open="segzoo.data.readers.arrays:open_arrays",
    options={
        "images": Option(default="images", help="the key, or the file in the folder, of pictures"),
        "masks": Option(default="masks", help="the key, or the file in the folder, of masks"),
        "overlap": Option(default=False, help="a pixel may be in several of the classes' maps"),
        **OPTIONS,
    },
    url="https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html",
)

DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
SHOWN = 20  # names that an error lists
NAMES = "classes"  # a key of a .npz
MOST_NAMES = 1 << 16  # bytes of them
MEANINGS = ("values", "classes", "palette", "threshold")  # options beside which names do not count


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

    def __init__(
        self, images: Stored, masks: Stored, *, meaning: Declared, overlap: bool = False
    ) -> None:
        self.images = images
        self.masks = masks
        self.answer = _layers if overlap else _indices
        self.files = [*dict.fromkeys((images.file, masks.file))]
        self.meaning = meaning
        self.info = meaning.info

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, index: int) -> Sample:
        name = self.id_of(index)
        with _about(name):
            image, notes = self._picture(self.images[index])
            target = self.answer(self.masks[index], self.meaning)
        sample = Sample(image=image, target=target, id=name)
        if notes:
            sample["notes"] = notes
        return sample

    def _picture(self, values: Array) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """The picture as a sample holds it, with its notes."""
        if self.info.peak is None:
            values = _bytes(values)
        with part_of_dataset():
            picture = codec.read(values, peak=self.info.peak, bands=True)
        image = picture.image
        if self.meaning.with_alpha and image.shape[2] == 3:
            alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
            image = np.concatenate([image, alpha], axis=2)
        return image, picture.notes

    def id_of(self, index: int) -> str:
        number = range(len(self))[index]
        return f"{os.path.basename(self.images.file)}[{number}]"


def open_arrays(
    path: str | os.PathLike[str],
    *,
    images: str = "images",
    masks: str = "masks",
    overlap: bool = False,
    **said: Unpack[Said],
) -> Arrays:
    """The data set in a .npz or a folder; the module says which shapes are what.

    DatasetError for arrays that are not there, damaged or of other shapes; UnsafeFormatError for
    Python objects; UsageError for options that cannot be used; ResourceError for a .npz that does
    not fit into memory.
    """
    meaning = declared(**said)
    if meaning.channel:
        raise UsageError("channel= is of files of pictures, and these are arrays")
    path = os.fsdecode(path)
    if not any(said.get(option) for option in MEANINGS) and (names := _names_in(path)):
        said["classes"] = names
        meaning = declared(**said)
    read = _of_folder if os.path.isdir(path) else _of_npz
    found, answers = read(path, images, masks)
    _check_shapes(path, found, answers, meaning, overlap=overlap)
    return Arrays(found, answers, meaning=meaning, overlap=overlap)


def _check_shapes(
    path: str, images: Stored, masks: Stored, meaning: Declared, *, overlap: bool
) -> None:
    i, m, bands = images.shape, masks.shape, meaning.info.bands
    problem, next_step = "", "Say which is which: images=NAME&masks=NAME"
    first = [name for name, shape in (("images", i), ("masks", m)) if _is_first(shape, i, m)]
    if first:
        problem = "channels lie before height and width"
        next_step = f"Store them last: {' and '.join(first)} as array.transpose(0, 2, 3, 1)"
    elif len(i) == 4 and bands is None and i[3] not in (1, 3, 4):
        problem = f"the pictures have {count_of(i[3], 'channel')}"
        next_step = f"If each is a measurement, say so: bands={i[3]}"
    elif len(i) not in (3, 4):
        problem = "the pictures have a wrong shape"
    elif bands is not None and (1, *i[3:])[-1] != bands:
        problem = f"the pictures have not bands={bands}"
    elif len(m) not in (3, 4) or (meaning.in_colours and m[3:] not in ((), (1,), (3,))):
        problem = "the masks have a wrong shape"
    elif overlap and len(m) != 4:
        problem = "classes that overlap need a map for each: (N, H, W, classes)"
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
            next_step=next_step,
        )


def _is_first(shape: tuple[int, ...], images: tuple[int, ...], masks: tuple[int, ...]) -> bool:
    """Whether an array has its channels before height and width, as the other's size shows."""
    other = masks if shape is images else images
    sizes = {other[1:3], other[2:4]} if len(other) in (3, 4) else set()
    return len(shape) == 4 and shape[1:3] not in sizes and shape[2:] in sizes


# --- a mask --------------------------------------------------------------------------------------


def _indices(mask: Array, meaning: Declared) -> Array:
    """(H, W) indices of a mask in one of the shapes that the module lists."""
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim == 2 or meaning.in_colours:
        return meaning(mask if meaning.threshold is not None else labels.whole(mask))
    mask = labels.whole(mask)
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
            next_step="If classes overlap, say overlap=yes"
            if more
            else "Pixels of no class are ignored with ignore_index=255",
        )
    target: Array = chosen.argmax(axis=2)
    if ignored is not None:
        target = np.where(counts == 0, np.int64(ignored), target)
    return target


def _layers(mask: Array, meaning: Declared) -> NDArray[np.uint8]:
    """(H, W, K) -> (K, H, W) of 0 and 1, what `meaning` makes of each class's map."""
    return np.stack([labels.layer(meaning(mask[..., k])) for k in range(mask.shape[2])])


def _bytes(values: Array) -> NDArray[np.uint8]:
    """Whole numbers of any type as uint8. DatasetError for fractions, and outside 0..255."""
    if values.dtype.kind == "f" and (strange := int((~np.isfinite(values)).sum())):
        raise DatasetError(
            "the picture holds values that are not finite",
            found=f"{strange:,} of {values.size:,}",
            next_step="Leave it out, or replace them where it is made",
        )
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    if not whole or (values.size and not 0 <= values.min() <= values.max() <= 255):
        raise DatasetError(
            "the picture is not of 8 bits" if whole else "the picture holds fractions",
            found=f"values {values.min():g} to {values.max():g}",
            expected="whole numbers from 0 to 255",
            next_step="Say the largest value that there can be: peak=4095, or peak=1 of fractions",
        )
    return values.astype(np.uint8, copy=False)


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


def _names_in(path: str) -> str:
    """The names of classes that a .npz brings along, with commas between; empty where it has none.

    DatasetError for a name that holds a comma, as that parts them.
    """
    if not os.path.isfile(path) or path.endswith(".npy"):
        return ""
    with _about(path), zipfile.ZipFile(path) as archive:
        if f"{NAMES}.npy" not in archive.namelist():
            return ""
        with archive.open(f"{NAMES}.npy") as stream:
            header = npy.header_of(stream)
            if header.dtype.kind != "U" or len(header.shape) != 1 or header.nbytes > MOST_NAMES:
                return ""
            names: list[str] = npy.array_of(stream, header).tolist()
    if strange := [name for name in names if "," in name or not name.strip()]:
        raise DatasetError(
            f"{NAMES} has a name that cannot be one",
            file=path,
            found=printable(repr(strange[0])),
            expected="letters, and no comma",
            next_step="Name them yourself: classes=NAME,NAME",
        )
    return ",".join(names)


def _header(stream: IO[bytes], file: str) -> Stored:
    """What a .npy says of its array. UnsafeFormatError for Python objects."""
    header = npy.header_of(stream)
    return Stored(file, header.shape, header.dtype, header.fortran, header.offset)


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
