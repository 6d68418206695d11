"""Files that are whole or not there."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from segzoo.errors import OutputError, ResourceError

__all__ = ["FULL", "make_folder", "replacing", "sweep", "unwritable", "write"]

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
    for path in Path(folder).glob(".segzoo-*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def make_folder(path: str | PathLike[str]) -> None:
    """Make a folder and those above it, unless it is there. Raises what `unwritable` gives."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


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
