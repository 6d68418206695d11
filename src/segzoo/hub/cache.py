"""The Hub's cache on this machine: where huggingface_hub keeps files, and whether they are whole.

    models--user--name/refs/<branch or tag>          the commit that it was when it was looked up
                      /blobs/<id>                    a file by what is in it
                      /snapshots/<commit>/<name>     a link to its blob

An id is the sha256 of a file that the Hub keeps by LFS, and git's own id (of 40 digits) of a small
one; so a blob can be checked at any time. Which blob is which file of a commit is said by the ids
of the commit's files, which are kept in segzoo's own folder: others may write into the Hub's cache,
and put other links there. Where links cannot be made, as on Windows without the right to, snapshots
hold the files themselves. Settings are those of huggingface_hub, read when used.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segzoo.base import cache, files
from segzoo.base.cache import Stamp
from segzoo.errors import IntegrityError, SegzooError, UnsafeFormatError

__all__ = [
    "COMMIT",
    "CORRUPT",
    "INCOMPLETE",
    "Cached",
    "Id",
    "Snapshot",
    "blob_of",
    "cached",
    "commit_of",
    "hasher",
    "home",
    "ids_of",
    "is_blob",
    "is_offline",
    "is_own",
    "is_whole",
    "keep_ids",
    "keep_ref",
    "leftovers",
    "place",
    "refs_of",
    "refuse_links",
    "remove",
    "root",
    "set_aside",
    "take_away",
]

COMMIT = re.compile(r"[0-9a-f]{40}")
ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PREFIX = "models--"
CORRUPT, INCOMPLETE = ".corrupt", ".incomplete"
CONFIG_NAME = "config.json"
TRUE = ("1", "ON", "YES", "TRUE")
MAX_IDS = 2**22  # bytes
CHUNK = 2**22


@dataclass(frozen=True)
class Id:
    """What a file of a commit is: its id and its size in bytes."""

    value: str
    size: int


@dataclass(frozen=True)
class Snapshot:
    """One commit of a repository `user/name`. Its files may be in the cache, or not yet."""

    repo: str
    commit: str

    @property
    def store(self) -> Path:
        """The repository's folder in the cache."""
        return root() / (PREFIX + self.repo.replace("/", "--"))

    @property
    def folder(self) -> Path:
        """Where the files of this commit are, under their names."""
        return self.store / "snapshots" / self.commit

    def __str__(self) -> str:
        return f"hf-hub:{self.repo}@{self.commit}"


def root() -> Path:
    """The folder of the cache: $HF_HUB_CACHE, $HF_HOME/hub, or below ~/.cache/huggingface."""
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _absolute(own) if own else home() / "hub"


def home() -> Path:
    """The folder of all that huggingface_hub keeps: $HF_HOME, or below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return _absolute(os.environ.get("HF_HOME") or os.path.join(base, "huggingface"))


def _absolute(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path))).absolute()


def is_offline() -> bool:
    """Whether the environment forbids connections to the Hub."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in TRUE


def commit_of(repo: str, revision: str) -> str | None:
    """The commit that a branch or tag was when it was last looked up; None when it never was."""
    try:
        text = (Snapshot(repo, "").store / "refs" / revision).read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if COMMIT.fullmatch(text) else None


def keep_ref(repo: str, revision: str, commit: str) -> None:
    """Remember what a branch or tag is. OutputError or ResourceError when that cannot be."""
    place = Snapshot(repo, commit).store / "refs" / revision
    refuse_links(place)
    files.make_folder(place.parent)
    files.write(place, commit.encode())


def refs_of(repo: str) -> dict[str, str]:
    """The branches and tags of a repository that are known here, and their commits."""
    folder = Snapshot(repo, "").store / "refs"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    found = {name: commit_of(repo, name) for name in names}
    return {name: commit for name, commit in found.items() if commit}


def is_own(path: Path, base: Path) -> bool:
    """Whether the folder of `path`, below `base`, is where it says: no folder on the way is a link.

    `base` itself may be reached by one: a cache may lie on another disk.
    """
    below = path.parent.relative_to(base)
    said = os.path.normpath(os.path.join(os.path.realpath(base), below))
    return os.path.realpath(path.parent) == said


def refuse_links(*paths: Path) -> None:
    """UnsafeFormatError unless the folder of each of these is its repository's own.

    The cache may be shared with other users and programs. Whatever is written, renamed or deleted
    in it passes here before, as a link in a folder's place would lead to files of someone else.
    """
    for path in paths:
        store = root() / path.relative_to(root()).parts[0]
        if not is_own(path, store):
            raise _led_out(path)


def _led_out(path: Path) -> UnsafeFormatError:
    return UnsafeFormatError(
        "a link leads out of the model's folder in the Hub's cache",
        file=path,
        found=os.path.realpath(path),
        expected="a file in its blobs",
        next_step="Nothing was touched. Remove the link, if nobody means it",
    )


def blob_of(snapshot: Snapshot, name: str) -> str | None:
    """The name of the blob that a cached file is a link to; None for a file itself, or no file.

    UnsafeFormatError for a link to anywhere but the repository's own blobs.
    """
    path = snapshot.folder / name
    refuse_links(path)
    try:
        blob = Path(os.path.normpath(path.parent / os.readlink(path)))
    except (OSError, ValueError):
        return None
    blobs = os.path.join(os.path.realpath(snapshot.store), "blobs")
    own = os.path.realpath(blob.parent) == blobs and ID.fullmatch(blob.name)
    if not own or not is_blob(blob):
        raise _led_out(path)
    return blob.name


def is_blob(path: Path) -> bool:
    """Whether a blob is a file, or a link into the store that huggingface_hub's models share."""
    if not path.is_symlink():
        return True
    real, shared = Path(os.path.realpath(path)), os.path.join(os.path.realpath(root()), "blobs")
    return os.fspath(real.parent.parent) == shared and ID.fullmatch(real.name) is not None


def keep_ids(snapshot: Snapshot, ids: Mapping[str, Id]) -> None:
    """Remember all files of a commit, as far as that can be; they never change."""
    text = json.dumps({name: [item.value, item.size] for name, item in sorted(ids.items())})
    with contextlib.suppress(OSError, SegzooError):
        files.write(cache.folder("hub") / _ids_name(snapshot), text.encode())


def ids_of(snapshot: Snapshot) -> dict[str, Id]:
    """What `keep_ids` remembers of a commit; nothing when that is damaged or never was."""
    try:
        with open(cache.home() / "hub" / _ids_name(snapshot), "rb") as file:
            kept = json.loads(file.read(MAX_IDS))
        found = {name: Id(value, size) for name, (value, size) in kept.items()}
        if all(ID.fullmatch(i.value) and type(i.size) is int for i in found.values()):
            return found
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, SegzooError):
        pass
    return {}


def _ids_name(snapshot: Snapshot) -> str:
    return f"{snapshot.store.name}@{snapshot.commit}.json"


def hasher(value: str, size: int) -> "hashlib._Hash":
    """What gives a file's id, of the kind that `value` is, when fed with the file's bytes."""
    if len(value) == 64:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def is_whole(path: Path, value: str, *, verify: bool = False) -> bool:
    """Whether the file's bytes are those of its id. A stamp spares reading a large one again.

    verify: read it all the same. OSError when it cannot be read.
    """
    began = time.time()
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return False
        of_lfs = len(value) == 64
        if of_lfs and not verify and (stamp := cache.read_stamp(path, status)):
            return stamp.sha256 == value
        found = _digest(file, value, status.st_size)
    if of_lfs:
        cache.write_stamp(path, status, Stamp(found, finite=False), began=began)
    return found == value


def _digest(file: BinaryIO, value: str, size: int) -> str:
    digest = hasher(value, size)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe there does not block


def set_aside(path: Path) -> IntegrityError:
    """Take a file whose bytes are wrong out of use: rename it, its blob, to *.corrupt.

    UnsafeFormatError, and nothing is touched, when it is not a file of the repository's own.
    """
    blob = path
    with contextlib.suppress(OSError, ValueError):
        blob = path.parent / os.readlink(path)
    blob = Path(os.path.normpath(blob))
    refuse_links(path)
    if not blob.is_relative_to(root()):
        raise _led_out(path)
    refuse_links(blob)
    kept = blob.with_name(blob.name + CORRUPT)
    try:
        os.replace(blob, kept)
        if blob != path:
            path.unlink()
        done = f"It is set aside as {kept}; the next try fetches it anew"
    except OSError as error:
        done = f"It cannot be set aside ({error.strerror}): remove it"
    return IntegrityError(
        "its bytes are not those that the Hub has for this commit",
        file=path,
        next_step=done,
    )


def take_away(path: Path) -> IntegrityError:
    """Remove a link to a blob that is another file's than the commit's. The blob stays."""
    found = os.path.basename(os.readlink(path))
    try:
        path.unlink()
        done = "The link is removed; the next try puts the right file there"
    except OSError as error:
        done = f"The link cannot be removed ({error.strerror}): remove it"
    return IntegrityError(
        "it is a link to another file than the one that the Hub has for this commit",
        file=path,
        found=found,
        next_step=done,
    )


def place(snapshot: Snapshot, name: str, value: str, new: Path) -> None:
    """Put a checked file into the cache under its name, whole at once.

    new: the file, in the folder of the blobs; it may be the blob itself. OSError when it fails,
    UnsafeFormatError as in `refuse_links`.
    """
    pointer = snapshot.folder / name
    blob = snapshot.store / "blobs" / value
    refuse_links(pointer, blob, new)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    link = pointer.with_name(f".{secrets.token_hex(8)}{INCOMPLETE}")
    linked = False
    if os.environ.get("HF_HUB_DISABLE_SYMLINKS", "").upper() not in TRUE:
        with contextlib.suppress(OSError, NotImplementedError):
            os.symlink(os.path.relpath(blob, pointer.parent), link)
            linked = True
    if not linked:
        if new == blob:  # another snapshot may be a link to it
            shutil.copyfile(blob, link)
            new = link
        os.replace(new, pointer)
        return
    if new != blob:
        os.replace(new, blob)
    os.replace(link, pointer)


@dataclass(frozen=True)
class Cached:
    """One model of segzoo in the cache: a commit, with the branches and tags it is known by.

    blobs: the files on the disk, with their sizes in bytes. Other commits may have some too.
    """

    snapshot: Snapshot
    refs: tuple[str, ...]
    blobs: Mapping[Path, int]


def cached() -> Iterator[Cached]:
    """The models of segzoo in the cache, by name. Models of others are left out."""
    for store in sorted(root().glob(f"{PREFIX}*--*")):
        repo = store.name.removeprefix(PREFIX).replace("--", "/", 1)
        known = refs_of(repo)
        for folder in sorted((store / "snapshots").glob("*")):
            if COMMIT.fullmatch(folder.name) and _is_ours(folder):
                names = tuple(n for n, commit in known.items() if commit == folder.name)
                yield Cached(Snapshot(repo, folder.name), names, _blobs(folder))


def _is_ours(folder: Path) -> bool:
    """Whether a snapshot's config says that segzoo wrote it."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with open(folder / CONFIG_NAME, "rb", opener=_open_at_once) as file:
            found = json.loads(file.read(2**20))
        return isinstance(found, dict) and found.get("library") == "segzoo"
    return False


def _blobs(folder: Path) -> dict[Path, int]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                found[path.resolve()] = path.stat().st_size
    return found


def leftovers() -> Iterator[tuple[Path, float]]:
    """What was set aside, and what downloads that were killed have left; with its age in s."""
    now = time.time()
    for store in sorted(root().glob(f"{PREFIX}*--*")):
        for path in sorted((store / "blobs").glob("*")):
            if is_own(path, store) and path.suffix in (CORRUPT, INCOMPLETE):
                with contextlib.suppress(OSError):
                    yield path, now - path.lstat().st_mtime


def remove(snapshot: Snapshot) -> None:
    """Take one commit out of the cache, and the blobs that no other commit links to.

    OSError when it fails, UnsafeFormatError as in `refuse_links`.
    """
    store = snapshot.store
    names = refs_of(snapshot.repo)
    refuse_links(
        snapshot.folder / "*", store / "blobs" / "*", *(store / "refs" / name for name in names)
    )
    for name, commit in names.items():
        if commit == snapshot.commit:
            (store / "refs" / name).unlink(missing_ok=True)
    shutil.rmtree(snapshot.folder)
    rest = [p for p in (store / "snapshots").rglob("*") if not p.is_dir()]
    if not rest:
        shutil.rmtree(store)
        return
    used = {os.path.basename(os.readlink(p)) for p in rest if p.is_symlink()}
    for blob in (store / "blobs").glob("*"):
        if ID.fullmatch(blob.name) and blob.name not in used:
            blob.unlink()
