"""The members of a tar and the samples that they make, as the headers tell. Nothing is kept.

The formats are those of POSIX.1-2017 (pax, "ustar Interchange Format") and of GNU tar's long names.
`tarfile` parses a header; it is not asked to walk the archive, since it keeps a kilobyte of every
member that it has met.
"""

import re
import tarfile
from collections.abc import Callable, Container, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from segzoo.errors import DatasetError, UnsafeArchiveError, UnsafeFormatError, printable

__all__ = ["Keyed", "Member", "Seekable", "groups", "members", "split_name"]

T = TypeVar("T")

BLOCK = tarfile.BLOCKSIZE
ZEROS = bytes(BLOCK)
MAX_EXTENDED = 1 << 16  # bytes of a long name, or of pax records
MAX_SIZE = 1 << 60  # bytes of a member; a place behind it still fits 64 bits
END_CHUNK = 1 << 16
PICKLED = {"pyd", "pkl", "pickle", "pt", "pth", "joblib", "dill"}
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENSIONS = (*PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
UNSAFE_NAME = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)|.*\0", re.DOTALL)
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
SPECIAL = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Member(NamedTuple):
    """A file in a tar: its name there, and where its bytes lie."""

    name: str
    offset: int
    size: int


class Keyed(NamedTuple, Generic[T]):
    """Members that stand side by side under one key.

    parts: extension -> what was taken of a member. extensions: of all members. fault: why they
    cannot be a sample, or empty.
    """

    key: str
    parts: dict[str, T]
    extensions: list[str]
    fault: str


class Seekable(Protocol):
    """What `members` needs of a file; it seeks forwards alone."""

    def seek(self, position: int, /) -> object: ...
    def read(self, size: int, /) -> bytes: ...


def members(file: Seekable, *, shard: str) -> Iterator[Member]:
    """The files of a tar in their order; folders are passed over.

    shard: what errors call it. Between two members the caller may read the first one's bytes.
    DatasetError for a tar that is cut short, damaged, compressed, or goes on behind its end;
    UnsafeArchiveError for links and devices, and for names that lead out of a folder.
    """
    position, after, extended = 0, "", dict[str, str]()
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise _cut(shard, after)
        position += BLOCK
        if block == ZEROS:
            _ended(file, shard)
            return
        info = _header(block, shard, after)
        kind = info.type
        if kind in EXTENSIONS:
            if info.size > MAX_EXTENDED:
                raise _damaged(shard, after, f"a header of {info.size} bytes")
            text = file.read(info.size)
            if len(text) < info.size:
                raise _cut(shard, after)
            if kind == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = _text(text.rstrip(b"\0"))
            elif kind in PAX:
                extended |= _records(text, shard, after)
            elif kind == tarfile.XGLTYPE and {"path", "size"} & _records(text, shard, after).keys():
                raise _damaged(shard, after, "one name or size for all members")
            position += _padded(info.size)
            continue
        name = extended.pop("path", info.name)
        size = _size(extended.pop("size", None), info.size, shard, after)
        sparse = any(key.startswith("GNU.sparse.") for key in extended)
        extended.clear()
        if UNSAFE_NAME.match(name):
            raise _refused(shard, name, "a name that leads out of its folder")
        if kind == tarfile.DIRTYPE:
            continue
        if sparse or kind not in PLAIN:
            kind = tarfile.GNUTYPE_SPARSE if sparse else kind
            raise _refused(shard, name, SPECIAL.get(kind, "neither file nor folder"))
        after = name.removeprefix("./")
        yield Member(after, position, size)
        position += _padded(size)


def groups(
    file: Seekable, *, shard: str, wanted: Container[str], take: Callable[[Member], T]
) -> Iterator[Keyed[T]]:
    """What a tar holds, by key. take: called for members of a wanted extension, in their order.

    UnsafeFormatError for a pickle, wherever it stands; else as `members` raises.
    """
    group: Keyed[T] | None = None
    seen = set[str]()
    for member in members(file, shard=shard):
        key, extension = split_name(member.name)
        if not PICKLED.isdisjoint(extension.split(".")):
            raise UnsafeFormatError(
                f"its member {printable(member.name)!r} is a pickle, which runs code when read",
                file=shard,
                next_step="Store pictures as .png, .jpg or .webp, and arrays as .npy",
            )
        if not key:
            continue
        if group is None or key != group.key:
            if group is not None:
                yield group
            group = Keyed(key, {}, [], "its key occurs twice" if key in seen else "")
            seen.add(key)
        if extension in group.extensions:
            group = group._replace(fault=f"it has two members .{printable(extension)}")
        group.extensions.append(extension)
        if extension in wanted:
            group.parts[extension] = take(member)
    if group is not None:
        yield group


def split_name(name: str) -> tuple[str, str]:
    """A member's name as (key, extension): the key ends at the first dot of the last part.

    "a/b.left.PNG" is ("a/b", "left.png"), the rule of the webdataset format. Both are empty for
    hidden files and for names without a dot, which belong to no sample.
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    return (folder + slash + stem, extension.lower()) if stem and dot else ("", "")


def _header(block: bytes, shard: str, after: str) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        if not after and block.startswith(COMPRESSED):
            raise DatasetError(
                "is compressed, and samples cannot be found in it without reading all of it",
                file=shard,
                next_step="Unpack it to a plain .tar",
            ) from None
        raise _damaged(shard, after, str(error)) from None
    if not 0 <= info.size < MAX_SIZE:
        raise _damaged(shard, after, f"a size of {info.size}")
    return info


def _records(data: bytes, shard: str, after: str) -> dict[str, str]:
    """The pax records "LENGTH KEY=VALUE\\n" of one member."""
    found = {}
    while data:
        length, space, _ = data[:20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 < int(length) <= len(data):
            raise _damaged(shard, after, "pax records of a wrong length")
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals or data[int(length) - 1 : int(length)] != b"\n":
            raise _damaged(shard, after, "a pax record that is none")
        found[_text(key)] = _text(value)
        data = data[int(length) :]
    return found


def _size(stated: str | None, size: int, shard: str, after: str) -> int:
    """The size that a pax record states, else the header's."""
    if stated is None:
        return size
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 18):
        raise _damaged(shard, after, f"a size of {printable(stated)[:40]!r}")
    return int(stated)


def _ended(file: Seekable, shard: str) -> None:
    """The mark of the end is followed by zeros alone."""
    while chunk := file.read(END_CHUNK):
        if any(chunk):
            raise DatasetError(
                "goes on behind the mark of its end: tars that were joined cannot be read",
                file=shard,
                next_step="Make one tar of the files, or give the tars one by one",
            )


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _cut(shard: str, after: str) -> DatasetError:
    return DatasetError("is cut short", file=shard, found=_place(after, "its end"))


def _damaged(shard: str, after: str, what: str) -> DatasetError:
    return DatasetError("is damaged, or not a tar", file=shard, found=_place(after, what))


def _refused(shard: str, name: str, what: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"its member {printable(name)[:200]!r} is refused", file=shard, found=what
    )


def _place(after: str, what: str) -> str:
    return f"{what} after {printable(after)!r}" if after else f"{what} before any member"
