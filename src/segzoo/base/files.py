"""Files that are whole or not there."""

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from segzoo.errors import OutputError, ResourceError

__all__ = [
    "FULL",
    "LEFT_SECONDS",
    "folder_for",
    "hold",
    "make_folder",
    "replacing",
    "sweep",
    "sweep_old",
    "sweep_unheld",
    "unwritable",
    "write",
]

TEMPORARY = ".segzoo-*.tmp"
LEFT_SECONDS = 86_400.0  # what nothing was added to for a day is nobody's any more
EMPTY_SECONDS = 60.0  # a new file is held long before
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # errors of a disk without room


@contextlib.contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block has ended well.

    Until then, and when the block raises, `path` is what it was. Raises what `unwritable` gives;
    OutputError when `path` is a folder or a device.
    """
    file = os.fsdecode(path)
    temporary = os.path.join(os.path.dirname(file), f".segzoo-{secrets.token_hex(8)}.tmp")
    try:
        if os.path.exists(file) and not os.path.isfile(file):
            kind = "a folder" if os.path.isdir(file) else "not a regular file"
            raise OutputError(f"cannot be written: it is {kind}", file=file)
        with open(temporary, "xb") as stream:
            hold(stream)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except (OSError, ValueError) as error:
        raise unwritable(file, error) from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(temporary)


def write(path: str | PathLike[str], data: bytes) -> None:
    """Write a file: `path` is then the whole new content, or what it was before."""
    with replacing(path) as stream:
        stream.write(data)


def sweep(folder: str | PathLike[str]) -> None:
    """Remove what killed processes left in a folder that nobody else writes into now."""
    for path in Path(folder).glob(TEMPORARY):
        with contextlib.suppress(OSError):
            path.unlink()


def hold(file: BinaryIO) -> bool:
    """Lock a file for as long as it is open, where there are locks; False when it is held."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def sweep_old(folder: str | PathLike[str], pattern: str = TEMPORARY) -> None:
    """Remove what killed processes left in a folder that others may write into.

    That is what nothing was added to for a day, and no living process holds.
    """
    for path in Path(folder).glob(pattern):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > LEFT_SECONDS:
                with open(path, "rb") as file:
                    if hold(file):
                        path.unlink()


def sweep_unheld(folder: str | PathLike[str]) -> None:
    """Remove what killed processes left in a folder, at once.

    For a file system where locks are known to work. What is still empty may not be held yet.
    """
    for path in Path(folder).glob(TEMPORARY):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and (
                status.st_size or time.time() - status.st_mtime > EMPTY_SECONDS
            ):
                with open(path, "rb") as file:
                    if hold(file):
                        path.unlink()


def make_folder(path: str | PathLike[str]) -> None:
    """Make a folder and those above it, unless it is there. Raises what `unwritable` gives."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


@contextlib.contextmanager
def folder_for(path: str | PathLike[str]) -> Iterator[None]:
    """`make_folder` for what the block writes: where it fails, no empty folder is left of it."""
    was_there = os.path.isdir(path)
    make_folder(path)
    try:
        yield
    except BaseException:
        if not was_there:
            with contextlib.suppress(OSError):  # something is in it
                os.rmdir(path)
        raise


def unwritable(
    path: str | PathLike[str], error: OSError | ValueError, *, remedy: str = "Free some space"
) -> OutputError | ResourceError:
    """What to raise when a file or folder could not be written.

    ResourceError for a full disk, with `remedy` as its next step; else OutputError.
    """
    reason = isinstance(error, OSError) and error.strerror
    problem = f"cannot be written: {reason or error}"
    if isinstance(error, OSError) and error.errno in FULL:
        return ResourceError(problem, file=os.fsdecode(path), next_step=remedy)
    return OutputError(problem, file=os.fsdecode(path))
