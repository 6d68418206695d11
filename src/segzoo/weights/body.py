"""The tensors of a safetensors file, whose bytes are read once into memory of our own.

They are hashed as they are read. The safetensors library makes the tensors, behind a header that
says again what the file's was judged to say. Two ways give the same.

On Linux the bytes are put into a file in memory, which is sealed, and which the library maps, so
that it copies nothing: loading U²-Net meets 8,000 page faults instead of 64,000. Whoever writes to
a tensor gets a copy of the page, and the file's stays as long as one of its tensors: who trains on
the CPU has the weights in memory twice, beside gradients and moments.

Elsewhere, and where such a file cannot be made, the library is given some megabytes at a time, and
copies them: tensors that lie behind each other.
"""

import contextlib
import hashlib
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BufferedReader, BufferedWriter
from itertools import cycle
from os import PathLike
from typing import Any, TypeAlias

import safetensors.torch
from torch import Tensor

from segzoo.base.strictjson import short
from segzoo.errors import WeightsFormatError
from segzoo.weights.header import BYTES_PER_VALUE, Header, TensorInfo

if sys.platform == "linux":
    import fcntl

__all__ = ["OpenFile", "head", "tensors_and_hash"]

AnyPath: TypeAlias = str | PathLike[str]
Group: TypeAlias = list[tuple[str, TensorInfo]]
Room: TypeAlias = memoryview | bytearray
Take: TypeAlias = Callable[[Room], None]

ROOM = 2**21  # bytes read, then written to the file in memory and hashed in another thread
CHUNK = 2**23  # bytes of a group of tensors


@dataclass(frozen=True)
class OpenFile:
    """A file of weights. status: before anything of it was read; began: when that was."""

    path: AnyPath
    file: BufferedReader
    header: Header
    status: os.stat_result
    began: float


def tensors_and_hash(part: OpenFile, known: str | None) -> tuple[dict[str, Tensor], str]:
    """What a file holds, and its sha256 in hex, which is not computed when it is `known`.

    Each byte is read once; another thread computes the hash of what came before. The tensors can be
    written to, and nothing that happens to the file reaches them. WeightsFormatError when it cannot
    be read, became shorter, or needs more memory than there is.
    """
    header = part.header
    digest = hashlib.sha256(header.raw)
    _refuse_more_than_memory(header.file_size - header.data_start, part.path)
    part.file.seek(header.data_start)
    with ThreadPoolExecutor(1) as beside:
        hashed: list[Future[None]] = []

        def take(piece: Room) -> None:
            """Hash it from now on. Pieces before it are hashed, and their memory is free again."""
            while hashed:
                hashed.pop().result()
            if known is None:
                hashed.append(beside.submit(digest.update, piece))

        memory = _file_in_memory(header)
        if memory is None:
            tensors = _read_in_groups(part, take)
        else:
            with memory:
                tensors = _read_mapped(part, take, memory)
    return {name: tensors[name] for name in header.tensors}, known or digest.hexdigest()


def head(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None = None) -> bytes:
    """The first bytes of a safetensors file that holds these tensors, in this order."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in tensors.items():
        place = [info.begin, info.end]
        header[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that tensors lie aligned in the file
    return len(text).to_bytes(8, "little") + text


def _file_in_memory(header: Header) -> BufferedWriter | None:
    """An empty file of no folder, which can be sealed; None where the library cannot map one."""
    if sys.platform != "linux":
        return None
    # Tensors are mapped as they lie, and the library aligns none.
    if any(info.begin % BYTES_PER_VALUE[info.dtype] for info in header.tensors.values()):
        return None
    try:
        memory = open(os.memfd_create("weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb")
    except OSError:
        return None
    try:
        memory.truncate(header.file_size)  # `ulimit -f` holds for it
        os.stat(_place(memory))  # a container may have no /proc
        mmap.mmap(-1, 2 * header.file_size).close()  # the library maps it twice for a moment
    except OSError:
        memory.close()
        return None
    return memory


def _place(memory: BufferedWriter) -> str:
    return f"/proc/self/fd/{memory.fileno()}"


def _read_mapped(part: OpenFile, take: Take, memory: BufferedWriter) -> dict[str, Tensor]:
    """The tensors as views of a private mapping of `memory`, which the file's bytes fill."""
    size = part.header.file_size - part.header.data_start
    rooms = cycle(memoryview(bytearray(min(ROOM, size))) for _ in range(2))
    pieces = (next(rooms)[: size - at] for at in range(0, size, ROOM))
    try:
        memory.write(head(part.header.tensors))
        for piece in pieces:
            _fill(piece, part)
            take(piece)
            memory.write(piece)
        memory.truncate()
    except OSError as error:
        raise WeightsFormatError(
            f"its tensors cannot be put into memory: {error.strerror}", file=part.path
        ) from None
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    with _library(part.path):
        return safetensors.torch.load_file(_place(memory))


def _read_in_groups(part: OpenFile, take: Take) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for group in _groups(part.header.tensors):
        room = bytearray(group[-1][1].end - group[0][1].begin)
        _fill(memoryview(room), part)
        take(room)
        tensors |= _parsed(group, room, part.path)
    return tensors


def _groups(tensors: Mapping[str, TensorInfo]) -> Iterator[Group]:
    """All tensors as they lie in the file, in groups of a chunk's size; a larger one is alone."""
    group: Group = []
    for item in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if group and item[1].end - group[0][1].begin > CHUNK:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _parsed(group: Group, body: bytearray, path: AnyPath) -> dict[str, Tensor]:
    """The tensors of a group, each in memory of its own, so that saving one does not save all."""
    start = group[0][1].begin
    moved = {n: replace(i, begin=i.begin - start, end=i.end - start) for n, i in group}
    with _library(path):
        return safetensors.torch.load(head(moved) + body)


@contextlib.contextmanager
def _library(path: AnyPath) -> Iterator[None]:
    """What fails in it is WeightsFormatError; torch says RuntimeError when it can map no more."""
    try:
        yield
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise WeightsFormatError(
            f"the safetensors library cannot read it: {short(str(error))}", file=path
        ) from None


def _refuse_more_than_memory(size: int, path: AnyPath) -> None:
    """Ask for that much memory and give it back: the library ends Python when it gets none."""
    try:
        mmap.mmap(-1, max(size, 1)).close()
    except (OSError, MemoryError, OverflowError):
        raise WeightsFormatError(
            f"its tensors need {size / 2**30:.1f} GiB, more memory than there is", file=path
        ) from None


def _fill(room: memoryview, part: OpenFile) -> None:
    """Put the next bytes of the file there."""
    try:
        count = part.file.readinto(room)
    except OSError as error:
        raise WeightsFormatError(f"cannot be read: {error.strerror}", file=part.path) from None
    if count < len(room):
        raise WeightsFormatError(
            "the file became shorter while it was read",
            file=part.path,
            expected=f"{part.header.file_size:,} bytes",
            next_step="Load it when it is complete",
        )
