"""The one place for everything that is kept between runs, and the stamps of checked files.

A stamp remembers that a file of weights was hashed and its values checked, so that the next load
need not. It holds for the file as it was: device, inode, size and both times. A stamp that is
missing, damaged, or another user's is no stamp; nothing here ever makes a load fail.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

from segzoo.errors import UsageError

__all__ = [
    "Stamp",
    "first_time",
    "folder",
    "home",
    "keep",
    "kept",
    "read_stamp",
    "trusted",
    "write_stamp",
]

SETTLED_SECONDS = 2.0
MAX_STAMP = 4096  # bytes
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Stamp:
    """What was found when a file was last read in full.

    sha256: in hex. finite: whether every value was found finite and no variance negative; False
    when that was not looked for.
    """

    sha256: str
    finite: bool


def home() -> Path:
    """The folder of everything kept: $SEGZOO_HOME, $XDG_CACHE_HOME/segzoo or ~/.cache/segzoo.

    It need not exist. UsageError when every user may write into it, as another could then say of a
    file that it is checked; or when no home folder is known.
    """
    own = os.environ.get("SEGZOO_HOME")
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        path = Path(own or "~/.cache/segzoo").expanduser().absolute()
    except RuntimeError:
        next_step = "Set SEGZOO_HOME to a folder of your own"
        raise UsageError("no home folder is known", next_step=next_step) from None
    if not own and os.path.isabs(base):  # its standard says to ignore a relative one
        path = Path(base) / "segzoo"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return path
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise UsageError(
            "every user of this machine can write into segzoo's folder",
            file=path,
            next_step=f"Run: chmod o-w '{path}', or set SEGZOO_HOME to a folder of your own",
        )
    return path


def folder(name: str) -> Path:
    """The folder `name` under `home()`, made when it is missing, closed to other users.

    OSError when it cannot be made.
    """
    path = home()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    (path / name).mkdir(mode=0o700, exist_ok=True)
    return path / name


def read_stamp(path: str | PathLike[str], status: os.stat_result) -> Stamp | None:
    """The stamp of the file at `path`, whose state is `status`; None when there is none for it."""
    try:
        text = trusted(home() / "stamps" / _name(path), most=MAX_STAMP)
        found = json.loads("null" if text is None else text.decode())
        stamp = Stamp(found["sha256"], found["finite"])
        if not SHA256.fullmatch(stamp.sha256) or type(stamp.finite) is not bool:
            return None
        return stamp if found == {**_state(status), **asdict(stamp)} else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError, UsageError):
        return None


def write_stamp(
    path: str | PathLike[str], status: os.stat_result, stamp: Stamp, *, began: float
) -> bool:
    """Remember `stamp` for the file at `path` in the state `status`. Whether it could be kept.

    status: of the open file, from before it was read. began: time.time() at that moment. A file
    that had been changed in the two seconds before is not stamped: clocks of file systems are
    coarse, and another change in the same tick would leave its size and times as they are.
    """
    if began - max(status.st_mtime, status.st_ctime) < SETTLED_SECONDS:
        return False
    try:
        place = folder("stamps") / _name(path)
        return _replace(place, json.dumps({**_state(status), **asdict(stamp)}))
    except (OSError, ValueError, UsageError):
        return False


def first_time(what: str) -> bool:
    """Whether this is asked for the first time on this machine; never where that cannot be kept."""
    try:
        (folder("told") / what).touch(mode=0o600, exist_ok=False)
    except (OSError, ValueError, UsageError):
        return False
    return True


def trusted(path: Path, *, most: int) -> bytes | None:
    """What a file of ours holds, so many bytes at most; None for what another user made.

    OSError when it is not there.
    """
    trusted = {0, os.geteuid()} if hasattr(os, "geteuid") else {0}  # root; this user
    with open(path, "rb", opener=_open_at_once) as file:
        own = os.fstat(file.fileno())
        if not stat.S_ISREG(own.st_mode) or own.st_uid not in trusted:
            return None
        return file.read(most)


def _replace(path: Path, text: str) -> bool:
    """Write a file whole. Not forced to the disk: a stamp that a power cut damaged is no stamp."""
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            temporary = file.name
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    return True


def kept(kind: str, key: str) -> str | None:
    """The sha256 that `keep` kept under a key; None when there is none that can be trusted."""
    try:
        found = trusted(home() / kind / key[:2] / key, most=MAX_STAMP)
        text = "" if found is None else found.decode()
        return text if SHA256.fullmatch(text) else None
    except (OSError, ValueError, UsageError):
        return None


def keep(kind: str, key: str, sha256: str, *, settled: float) -> bool:
    """Keep a sha256 under a key that changes with the files it is of. Whether it could be kept.

    settled: seconds for which the files had not changed when the work on them began; see
    `write_stamp`.
    """
    if settled < SETTLED_SECONDS:
        return False
    try:
        place = folder(kind) / key[:2]
        place.mkdir(mode=0o700, exist_ok=True)
        return _replace(place / key, sha256)
    except (OSError, ValueError, UsageError):
        return False


def _name(path: str | PathLike[str]) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest() + ".json"


def _state(status: os.stat_result) -> dict[str, int]:
    """What changes when a file does. The last, of the inode, cannot be set back like the first."""
    return {
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe there does not block
