"""Unpacking archives that somebody else made: the only place in segzoo that does.

    safe_extract("VOCtrainval.tar", "data/voc")

An archive is refused as a whole at the first thing in it that is not a plain file or a folder, or
whose name would not make the same tree on every system. Nothing is linked, and no modes, owners or
times are taken over.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import re
import secrets
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from os import PathLike
from typing import IO, NamedTuple, cast

from segzoo.base.counts import count_of
from segzoo.base.files import make_folder, unwritable
from segzoo.errors import (
    DatasetError,
    OutputError,
    ResourceError,
    SegzooError,
    UnsafeArchiveError,
    printable,
)

__all__ = ["safe_extract"]

MAX_BYTES = 64 << 30  # well above the archives of COCO, ADE20K and Cityscapes
MAX_MEMBERS = 500_000  # the largest archive of COCO has a quarter
MAX_RATIO = 200  # unpacked to packed. A few black masks reach it, so it is asked from here on:
RATIO_BYTES = 64 << 20
CHUNK = 1 << 20  # bytes read at once, and so the longest header of a tar

# Windows gives these names to devices, in every folder and with every ending.
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?", re.IGNORECASE)
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # and what is not UTF-8


class Packed(NamedTuple):
    """One entry of an archive. fault: why it cannot be taken, whatever its name."""

    name: str
    size: int
    is_folder: bool
    fault: str
    open: Callable[[], IO[bytes]]


def safe_extract(
    archive: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
) -> None:
    """Unpack a zip, or a tar (plain, gzip, bzip2 or xz), into a new folder.

    The folder appears when everything is in it; after an error it is not there. max_bytes: of all
    files, unpacked. UnsafeArchiveError for links, devices, names that leave the folder or collide,
    and bombs; DatasetError for an archive that is missing or damaged; OutputError when the folder
    exists or cannot be written.
    """
    archive, folder = os.fsdecode(archive), os.path.abspath(os.fsdecode(folder))
    if os.path.lexists(folder):
        raise OutputError("is already there", file=folder, next_step="Choose a new folder")
    try:
        stream = open(archive, "rb")
    except (OSError, ValueError) as error:
        cause = isinstance(error, OSError) and error.strerror
        raise DatasetError(f"cannot be read: {cause or error}", file=archive) from error
    temporary = os.path.join(os.path.dirname(folder), f".segzoo-{secrets.token_hex(8)}.tmp")
    try:
        with stream:
            make_folder(os.path.dirname(folder))
            with _writing():
                os.mkdir(temporary)
            _unpack(stream, temporary, max_bytes, max_members)
        with _writing():
            os.rename(temporary, folder)
    except SegzooError as error:
        unwritten = isinstance(error, OutputError | ResourceError)
        error.file = printable(folder if unwritten else archive)
        raise
    except Exception as error:  # the libraries that read it may raise anything
        raise _damaged(archive, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _damaged(archive: str, error: Exception) -> DatasetError:
    return DatasetError(
        "the archive is damaged, cut short or of an unknown kind",
        file=archive,
        found=" ".join(str(error).split())[:200] or type(error).__name__,
        expected="a zip, or a tar, which gzip, bzip2 or xz may have compressed",
        next_step="Fetch it again",
    )


def _unpack(stream: IO[bytes], folder: str, max_bytes: int, max_members: int) -> None:
    packed = os.fstat(stream.fileno()).st_size
    limit = min(max_bytes, max(MAX_RATIO * packed, RATIO_BYTES))
    tree: dict[str, tuple[str, bool]] = {}
    total = 0
    for number, member in enumerate(_members(stream, limit)):
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        total += member.size
        if fault := member.fault or _fault_of_name(member.name, parts, member.is_folder):
            raise _unsafe(fault, member)
        if number >= max_members:
            raise _unsafe(f"has more than {count_of(max_members, 'member')}", member)
        if member.size < 0 or total > limit:
            raise _unsafe(f"unpacks to more than {limit} bytes, from {packed}", member)
        if other := _taken(tree, parts, member.is_folder):
            raise _unsafe(f"has two members of one name, {other!r} and another", member)
        path = os.path.join(folder, *parts)
        with _writing():
            os.makedirs(path if member.is_folder else os.path.dirname(path), exist_ok=True)
        if not member.is_folder:
            _copy(member, path)


def _copy(member: Packed, path: str) -> None:
    left = member.size
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(member.open())
        with _writing():
            target = stack.enter_context(open(path, "xb", buffering=0))
        while data := source.read(CHUNK):
            left -= len(data)
            with _writing():
                while data:
                    data = data[target.write(data) :]
    if left:
        raise EOFError(f"{member.name!r} is not as long as it says")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """What the disk refuses, as an error of its own among those of reading."""
    try:
        yield
    except OSError as error:
        raise unwritable("", error) from error


def _unsafe(fault: str, member: Packed) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"the archive {fault}",
        found=ascii(member.name[:200]),
        expected="plain files and folders below one folder",
        next_step="Nothing was unpacked; do not trust where it came from",
    )


def _fault_of_name(name: str, parts: list[str], is_folder: bool) -> str:
    """What an archive does by a member of this name, as words that follow "the archive"."""
    if name.startswith("/"):
        return "has an absolute path"
    if ".." in parts:
        return "would write outside its folder"
    if "\\" in name or any(map(DRIVE.match, parts)):
        return "has a path of Windows"
    if CONTROL.search(name):
        return "has a name that is not plain text"
    if any(DEVICES.fullmatch(part) or part.endswith((".", " ")) for part in parts):
        return "has a name that Windows takes for another"
    if not parts and not is_folder:
        return "has a file without a name"
    return ""


def _taken(tree: dict[str, tuple[str, bool]], parts: list[str], is_folder: bool) -> str:
    """Which member already has this name, or one that differs in case alone; else notes it."""
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        new = (name, is_folder or depth < len(parts))
        known = tree.setdefault(unicodedata.normalize("NFC", name).casefold(), new)
        if known is not new and (known != new or not new[1]):
            return known[0]
    return ""


# --- the two kinds -------------------------------------------------------------------------------


def _members(stream: IO[bytes], limit: int) -> Iterator[Packed]:
    """What an archive holds, in its order; each is to be read before the next is asked for."""
    magic = stream.read(6)
    stream.seek(0)
    if magic.startswith(b"PK"):
        yield from _zip_members(stream)
        return
    with contextlib.ExitStack() as stack:
        if magic.startswith(b"\x1f\x8b"):
            stream = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stream)))
        elif magic.startswith(b"BZh"):
            stream = stack.enter_context(bz2.BZ2File(stream))
        elif magic.startswith(b"\xfd7zXZ\0"):
            stream = stack.enter_context(lzma.LZMAFile(stream))
        yield from _tar_members(_Measured(stream, 2 * limit + RATIO_BYTES))


def _zip_members(stream: IO[bytes]) -> Iterator[Packed]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            name = info.orig_filename  # zipfile itself cuts a name at a NUL
            is_folder = name.endswith("/")
            kind = stat.S_IFMT(info.external_attr >> 16)
            fault = ""
            if kind not in (0, stat.S_IFDIR if is_folder else stat.S_IFREG):
                fault = "has a link or a device"
            elif info.flag_bits & 1:
                fault = "is encrypted"
            yield Packed(name, info.file_size, is_folder, fault, partial(archive.open, info))


def _tar_members(stream: "_Measured") -> Iterator[Packed]:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
        for info in archive:
            fault = "" if info.isreg() or info.isdir() else "has a link or a device"
            opened = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
            yield Packed(info.name, info.size, info.isdir(), fault, opened)
        # tarfile takes a header that it cannot read for the end.
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("there is no end mark")
        while stream.read(CHUNK):  # to the checksum of what compressed it
            pass


class _Measured:
    """The bytes of a tar, of which not too many are read at once, nor in all.

    Headers may be as long as they say, and compression makes nothing of that length.
    """

    def __init__(self, stream: IO[bytes], allowance: int) -> None:
        self.stream = stream
        self.allowance = allowance

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise UnsafeArchiveError("the archive has a header that is too long", found=f"{size}")
        data = self.stream.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise UnsafeArchiveError("the archive unpacks to far more than it names")
        return data

    def seek(self, position: int) -> int:
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()
