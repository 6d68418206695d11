"""Files that are whole or not there."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from segzoo.errors import OutputError

__all__ = ["make_folder", "replacing", "sweep", "write"]


@contextlib.contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block has ended well.

    Until then, and when the block raises, `path` is what it was. OutputError when it cannot be
    written, or when `path` is a folder or a device.
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
        raise _unwritable(file, error) from None
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
    """Make a folder and those above it, unless it is there. OutputError when it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(os.fsdecode(path), error) from None


def _unwritable(file: str, error: OSError | ValueError) -> OutputError:
    cause = isinstance(error, OSError) and error.strerror
    return OutputError(f"cannot be written: {cause or error}", file=file)
