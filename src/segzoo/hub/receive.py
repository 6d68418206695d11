"""The bytes of one file from an answer into a file; what was cut is taken up where it ended."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from segzoo.base import files, transfer
from segzoo.errors import ResourceError
from segzoo.hub.session import (
    TRIES,
    Peer,
    Response,
    RetryableError,
    Watchdog,
    backoff,
    flow,
)

__all__ = ["Opened", "one_at_a_time", "receive", "refuse_full"]

# What asks for a file with these headers more.
Opened: TypeAlias = Callable[[Mapping[str, str]], AbstractContextManager[tuple[Response, Watchdog]]]

MAX_TRIES = 40  # of one file, however it goes on
LOCK_SECONDS = 600.0
CHUNK = 2**22


def receive(
    opened: Opened,
    new: Path,
    *,
    name: str,
    peer: Peer,
    size_of: Callable[[Response], int],
    hasher: Callable[[], "hashlib._Hash"],
    size: int = 0,
) -> str:
    """Fetch a file's bytes into `new` and give their digest in hex.

    name: for whoever watches. size_of: the file's bytes, by an answer that begins with its first;
    it may refuse. hasher: makes what is fed with them. size: the same, where `new` holds the first
    of them already, fewer than that; else it is not there yet. HubError in the words of `peer`;
    OSError.
    """
    digest, have, idle = hasher(), 0, 0
    with open(new, "r+b" if size else "xb") as file:
        files.hold(file)
        while size and (block := file.read(CHUNK)):
            digest.update(block)
            have += len(block)
        for _ in range(MAX_TRIES):
            before = have
            headers = {"Range": f"bytes={have}-"} if have else {}
            try:
                with opened(headers) as (response, watchdog):
                    if have and response.status_code != 206:  # it sends all of it again
                        file.seek(0)
                        file.truncate()
                        digest, have = hasher(), 0
                    size = size if have else size_of(response)
                    for block in flow(response, watchdog):
                        have += len(block)
                        if have > size:
                            raise peer.strange()
                        digest.update(block)
                        file.write(block)
                        transfer.tell(name, have, size)
                if have == size:
                    file.flush()
                    os.fsync(file.fileno())
                    return digest.hexdigest()
                failed = RetryableError(peer.cut(f"it ended after {have:,} of {size:,} bytes"))
            except RetryableError as caught:
                failed = caught
            idle = idle + 1 if have <= before else 0
            if idle >= TRIES or (failed.is_final and not have) or failed.is_too_long:
                break
            backoff(idle, failed)
    raise failed.error


def refuse_full(place: Path, total: int, what: str, *, remedy: str) -> None:
    """ResourceError where a disk has no room for so many bytes; `place` need not be there yet."""
    there = next(p for p in (place, *place.parents) if p.exists())
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(there).free
        if total > free:
            raise ResourceError(
                f"there is no room for {what}",
                file=there,
                found=f"{free:,} bytes free",
                expected=f"{total:,}",
                next_step=remedy,
            )


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """One process at a time for what the lock's file stands for.

    It spares work and keeps nothing safe: a process that cannot have it goes on without.
    """
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Timeout, NotImplementedError):  # no locks on this file system
            stack.enter_context(FileLock(lock, timeout=LOCK_SECONDS, mode=0o664))
        yield
