"""One run at a time in a folder.

The lock is the kernel's (flock), on the file `run.lock`: it ends with the process that holds it,
however that ends. Where the file system or the platform has none (some network file systems,
Windows), the file `run.lock.owner` stands for it: made by one process only, it names its owner, and
is taken over when the owner is a process of this host that no longer runs. What was left there by a
killed process of another host, a person has to delete; the message says so.
"""

import contextlib
import errno
import os
import re
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from segzoo.base.strictjson import short
from segzoo.errors import OutputError, RunError

__all__ = ["locked"]

LOCK = "run.lock"
OWNER = "run.lock.owner"
MAX_OWNER = 1000  # bytes
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # of a file system


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run's folder, which is there, for as long as the block lasts.

    RunError when another run, of this process too, holds it: it names the process, the host and
    since when. OutputError when the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(folder / LOCK, "a+b", buffering=0))
            if _lock(file, folder):
                stack.callback(file.truncate, 0)
                file.truncate(0)
                file.write(_ourselves().encode())
            else:
                _claim(folder)
                stack.callback((folder / OWNER).unlink, missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be locked: {error.strerror}", file=folder) from None
        yield


def _lock(file: BinaryIO, folder: Path) -> bool:
    """Take the kernel's lock; False where there is none. RunError when another run has it."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refusal(folder, _read(folder / LOCK), "Wait for it to end") from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    # A forked child, such as a loader's worker, would hold it on when this process is killed.
    os.register_at_fork(after_in_child=file.close)
    return True


def _claim(folder: Path) -> None:
    """Make the owner's file. RunError when another run that may still be there has made it."""
    owner = folder / OWNER
    with contextlib.suppress(FileExistsError):
        return _create(owner, _ourselves())
    found = _read(owner)
    delete = f"Wait for it to end; if it has, delete {owner}"
    if _may_run(found):
        raise _refusal(folder, found, delete)
    # Of those who see the dead owner, the one that makes this file may take the place. It is
    # deleted after, so that who comes late finds a new owner.
    right = folder / f"{OWNER}.taken"
    try:
        _create(right, _ourselves())
    except FileExistsError:
        raise _refusal(folder, _read(right), f"{delete} and {right}") from None
    try:
        if _read(owner) != found:
            raise _refusal(folder, _read(owner), delete)
        ours = folder / f"{OWNER}-{uuid.uuid4().hex}"
        _create(ours, _ourselves())
        ours.replace(owner)
    finally:
        right.unlink()


def _create(path: Path, text: str) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(text.encode())


def _read(path: Path) -> str:
    """Who holds the lock, in words; "" when it has just been given back."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return short(file.read(MAX_OWNER).decode("utf-8", "replace"))
    return ""


def _ourselves() -> str:
    now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}"


def _may_run(owner: str) -> bool:
    """Whether the owner may still run: only of a process of this host is more known."""
    match = re.match(r"process (\d{1,9}) on (\S+), since ", owner)
    if match is None or match[2] != socket.gethostname() or os.name == "nt":
        return True  # on Windows os.kill(pid, 0) would not ask but end it
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # of another user
    return True


def _refusal(folder: Path, owner: str, next_step: str) -> RunError:
    return RunError(
        "another run uses this folder",
        file=folder,
        found=owner,
        next_step=f"{next_step}, or give another folder with -o",
    )
