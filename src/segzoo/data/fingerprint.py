"""What tells one data set from another: a hash of its samples' names and of its files' contents.

The bytes are read once. Afterwards a stamp stands for them, of every file's place on its disk, size
and times, as long as none of these changes (`segzoo.base.cache`).
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeAlias

from segzoo.base import cache
from segzoo.data.sample import Dataset
from segzoo.data.source import common_files, files_at, id_of
from segzoo.errors import DatasetError

__all__ = ["Fingerprint", "fingerprint", "hash_of_names"]

Of: TypeAlias = Literal["contents", "sizes and times", "names", "nothing"]

MOST_BYTES = 64 << 30  # of contents; more are not read for this: an hour of a disk
THREADS = 4  # a hash does not hold the interpreter
AHEAD = 256  # files on their way
KIND = "fingerprints"  # the folder of stamps


class Fingerprint(NamedTuple):
    """of: what was hashed. sha256: in hex; empty where a data set tells neither names nor files.

    "contents": names of samples and contents of files. "sizes and times": names, and of files these
    alone, because there are more than 64 GiB. "names": of a data set that does not say which files
    it reads.
    """

    of: Of
    sha256: str


def fingerprint(dataset: Dataset) -> Fingerprint:
    """The fingerprint of a data set's samples, in their order, wherever its files lie.

    DatasetError for a file that cannot be read.
    """
    names = hash_of_names(dataset)
    files = [*common_files(dataset), *_own_files(dataset)]
    if not files:
        return Fingerprint("names" if names else "nothing", names)
    began = time.time()
    states = [_stat(file) for file in files]
    if sum(state.st_size for state in states) > MOST_BYTES:
        times = (f"{state.st_size} {state.st_mtime_ns}" for state in states)
        return Fingerprint("sizes and times", _digest(names, times))
    key = _digest(names, (f"{s.st_dev} {s.st_ino} {_size_and_times(s)}" for s in states))
    sha256 = cache.kept(KIND, key)
    if sha256 is None:
        sha256 = _digest(names, _contents(files))
        latest = max(max(state.st_mtime, state.st_ctime) for state in states)
        same = [_size_and_times(_stat(file)) for file in files]
        if same == [_size_and_times(state) for state in states]:
            cache.keep(KIND, key, sha256, settled=began - latest)
    return Fingerprint("contents", sha256)


def hash_of_names(dataset: Dataset) -> str:
    """sha256, in hex, of the samples' names in their order; "" where only reading tells them."""
    if not hasattr(dataset, "id_of") and not hasattr(dataset, "pairs"):
        return ""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(id_of(dataset, index).encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _own_files(dataset: Dataset) -> Iterator[str]:
    for index in range(len(dataset)):
        yield from files_at(dataset, index)


def _stat(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except (OSError, ValueError) as error:
        why = isinstance(error, OSError) and error.strerror
        raise DatasetError(f"cannot be read: {why or error}", file=file) from error


def _size_and_times(state: os.stat_result) -> str:
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"


def _contents(files: Sequence[str]) -> Iterator[str]:
    """sha256, in hex, of each file, in their order."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(files), AHEAD):
            yield from pool.map(_sha256, files[start : start + AHEAD])


def _sha256(file: str) -> str:
    try:
        with open(file, "rb", buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        why = isinstance(error, OSError) and error.strerror
        raise DatasetError(f"cannot be read: {why or error}", file=file) from error


def _digest(names: str, parts: Iterable[str]) -> str:
    digest = hashlib.sha256(names.encode())
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()
