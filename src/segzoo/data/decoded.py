"""A data set decoded and resized once, in a file that later runs map into their memory.

The file's name is a sha256 of what its samples depend on: the size and the rule of resizing; the
names of the samples; path, size and time of change of every file that the data set says it reads;
what its labels mean; the caller's own `key`; and eight of its samples, as they come out, which
tells apart what no name does: a map of labels, another version of a decoder. So a data set whose
files change gets another file.

The layout is: samples one after the other (picture, target, weight, id and notes), their index, a
footer.
"""

import contextlib
import hashlib
import io
import json
import math
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from segzoo.base import cache, files
from segzoo.base.terminal import warn
from segzoo.data.fingerprint import hash_of_names
from segzoo.data.resizing import resize_sample
from segzoo.data.sample import Dataset, Sample, checked, info_of
from segzoo.data.source import Over, Subset, common_files, files_at
from segzoo.errors import DatasetError, OutputError, ResourceError, UsageError
from segzoo.pictures.resample import Size
from segzoo.spec import Preprocess

__all__ = ["Decoded"]

FORMAT = 2
PROBES = 8  # samples whose content is part of the key
ROW = np.dtype(
    [(name, "<i8") for name in "offset height width channels maps kind weighed told crc".split()]
)  # maps: K of a target (K, H, W), 0 of (H, W). kind: in KINDS. told: bytes of id and notes
KINDS = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8")  # of targets
FOOTER = struct.Struct("<8sqq32s")  # magic, samples, where the index begins, sha256 of the index
MAGIC = b"segzoo\0\1"


class Decoded(Over):
    """The samples of `dataset` at one size, as `resize_sample` makes them.

    size: (H, W), or None to keep each picture's. folder: of the files; segzoo's own cache by
    default. key: what else the samples depend on; needed, and to be changed with the content, for a
    data set that does not say which files it reads (`files`, a list of paths).

    The file is made where there is none, by one process while others wait for it. ResourceError
    when the disk is too small; OutputError when the folder cannot be written; UsageError without
    the key that is needed; and what the data set raises.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        size: Size | None,
        preprocess: Preprocess,
        folder: str | PathLike[str] | None = None,
        key: str = "",
    ) -> None:
        super().__init__(dataset)
        self.size = size
        self.preprocess = preprocess
        name = _identity(dataset, size, preprocess, key)
        self.file = os.path.join(_place(folder), f"{name}.decoded")
        self._map: mmap.mmap | None = None
        try:
            self.rows = read_rows(self.file)
        except (OSError, ValueError):
            self.rows = self._built()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index]
        try:
            data = self._mapped()[row["offset"] :][: _size(row)]
        except OSError:  # another process found damage, and removed it
            return self._sample(index)
        if zlib.crc32(data) == row["crc"]:
            return _unpacked(row, data)
        warn(
            f"{self.file}: sample {index} is damaged; it is decoded again, and the next run makes"
            " the file anew",
            RuntimeWarning,
            stacklevel=2,
        )
        with contextlib.suppress(OSError):
            os.unlink(self.file)
        return self._sample(index)

    def _mapped(self) -> memoryview:
        if self._map is None:
            with open(self.file, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(self._map)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None}  # each process maps the file itself

    def _sample(self, index: int) -> Sample:
        return resize_sample(checked(self.dataset[index]), self.size, self.preprocess)

    def _built(self) -> NDArray[np.void]:
        """The index of the file, which another process may have made while this one waited."""
        with _alone(self.file + ".lock"):
            try:
                return read_rows(self.file)
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                warn(
                    f"{self.file}: cannot be used, and is made anew: {error}",
                    RuntimeWarning,
                    stacklevel=4,
                )
            with files.replacing(self.file) as stream:
                self._write(stream)
            return read_rows(self.file)

    def _write(self, stream: BinaryIO) -> None:
        rows = np.zeros(len(self.dataset), ROW)
        offset = needed = 0
        try:
            for index in range(len(rows)):
                rows[index], data = _packed(self._sample(index), offset)
                offset += len(data)
                # the whole file, if the other samples are like those so far
                needed = offset * len(rows) // (index + 1) + rows.nbytes + FOOTER.size
                if index == 0 and self.size is not None:
                    free = shutil.disk_usage(os.path.dirname(self.file)).free
                    if free < needed:
                        raise _full(self.file, needed, free)
                stream.write(data)
            stream.write(rows.tobytes())
            digest = hashlib.sha256(rows.tobytes()).digest()
            stream.write(FOOTER.pack(MAGIC, len(rows), offset, digest))
            stream.flush()
        except OSError as error:
            if error.errno not in files.FULL:
                raise
            cast(io.BufferedWriter, stream).raw.close()  # or it would try to write the rest
            raise _full(self.file, needed, None) from None


def read_rows(file: str) -> NDArray[np.void]:
    """The index of a file, its samples unread. OSError; ValueError says what is damaged."""
    with open(file, "rb") as stream:
        length = stream.seek(0, os.SEEK_END)
        if length < FOOTER.size:
            raise ValueError("it is cut short")
        stream.seek(length - FOOTER.size)
        magic, count, start, digest = FOOTER.unpack(stream.read(FOOTER.size))
        size = length - start - FOOTER.size
        if magic != MAGIC or start < 0 or size < 0 or size != count * ROW.itemsize:
            raise ValueError("it is cut short, or another kind of file")
        stream.seek(start)
        index = stream.read(size)
    if hashlib.sha256(index).digest() != digest:
        raise ValueError("its index is damaged")
    return np.frombuffer(index, ROW)


# --- samples as bytes -----------------------------------------------------------------------------


def _packed(sample: Sample, offset: int) -> tuple[tuple[int, ...], bytes]:
    image, target, weight = sample["image"], sample["target"], sample.get("weight")
    kind = target.dtype.newbyteorder("<").str
    parts = [
        image.tobytes(),
        target.astype(kind, copy=False).tobytes(),
        b"" if weight is None else weight.astype("<f4", copy=False).tobytes(),
        json.dumps([sample["id"], *sample.get("notes", ())]).encode(),
    ]
    data = b"".join(parts)
    maps = len(target) if target.ndim == 3 else 0
    weighed = int(weight is not None)
    code = KINDS.index(kind)
    return (offset, *image.shape, maps, code, weighed, len(parts[3]), zlib.crc32(data)), data


def _unpacked(row: np.void, data: memoryview) -> Sample:
    h, w = int(row["height"]), int(row["width"])
    maps = int(row["maps"])
    place = 0

    def array(dtype: str, *shape: int) -> NDArray[Any]:
        nonlocal place
        values = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape).copy()
        place += values.nbytes
        return values

    image = array("|u1", h, w, int(row["channels"]))
    target = array(KINDS[row["kind"]], *((maps, h, w) if maps else (h, w)))
    weight = array("<f4", h, w) if row["weighed"] else None
    name, *notes = json.loads(bytes(data[place:]))
    sample = Sample(image=image, target=target, id=name)
    if notes:
        sample["notes"] = tuple(notes)
    if weight is not None:
        sample["weight"] = weight
    return sample


def _size(row: np.void) -> int:
    """The bytes of a sample."""
    pixels, maps = int(row["height"] * row["width"]), max(1, int(row["maps"]))
    target = maps * np.dtype(KINDS[row["kind"]]).itemsize
    return pixels * int(row["channels"] + target + 4 * row["weighed"]) + int(row["told"])


# --- which file, and who makes it -----------------------------------------------------------------


def _identity(dataset: Dataset, size: Size | None, preprocess: Preprocess, key: str) -> str:
    """sha256, in hex, of what the samples depend on; the module says what that is."""
    base, indices = dataset, []
    while isinstance(base, Subset):
        indices.append(list(base.indices))
        base = base.dataset
    states = []
    for path in _files_of(base, key):
        try:
            status = os.stat(path)
        except OSError as error:
            raise DatasetError(f"cannot be read: {error.strerror}", file=path) from error
        states.append((os.path.abspath(path), status.st_size, status.st_mtime_ns))
    said = (
        FORMAT,
        key,
        size,
        (preprocess.interpolation, preprocess.antialias, preprocess.border),
        repr(info_of(dataset)),
        hash_of_names(base),
        indices,
        len(dataset),
        states,
    )
    digest = hashlib.sha256(json.dumps(said).encode("utf-8", "surrogateescape"))
    last = len(dataset) - 1
    for index in sorted({last * n // (PROBES - 1) for n in range(PROBES)} if last >= 0 else ()):
        sample = resize_sample(checked(dataset[index]), size, preprocess)
        row, data = _packed(sample, 0)
        digest.update(repr(row).encode() + data)
    return digest.hexdigest()


def _files_of(dataset: Dataset, key: str) -> Iterator[str]:
    """The files that a data set reads; none where the caller's key stands for its content."""
    own = [file for index in range(len(dataset)) for file in files_at(dataset, index)]
    paths = [*common_files(dataset), *own]
    if not paths and not hasattr(dataset, "files") and not key:
        raise UsageError(
            f"a {type(dataset).__name__} does not say which files it reads, so that a cache of it"
            " could not notice a change",
            next_step="Give it files=[paths], or give key= and another one for other content",
        )
    yield from paths


def _place(folder: str | PathLike[str] | None) -> str:
    if folder is not None:
        files.make_folder(folder)
        return os.path.abspath(os.fsdecode(folder))
    try:
        return str(cache.folder("decoded"))
    except OSError as error:
        raise OutputError(
            f"the cache cannot be made: {error.strerror}",
            file=cache.home(),
            next_step="Give a folder of your own",
        ) from error


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """One process at a time; the lock ends with the process that holds it.

    Where a file system has no locks, everyone goes on: several then make the same file, and the
    last one's takes the place of the others'.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = open(path, "ab")
    except OSError as error:
        raise files.unwritable(path, error) from error
    with file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _full(file: str, needed: int, free: int | None) -> ResourceError:
    return ResourceError(
        "the disk is too small for the decoded samples",
        file=os.path.dirname(file),
        found="no more room" if free is None else f"{free} bytes free",
        expected=f"{needed} bytes",
        next_step="Give a folder on a larger disk, or train without the cache",
    )
