"""Standard output for one writer: what libraries and plugins print goes to standard error.

And standard streams that are there, whatever a shell has closed.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

__all__ = ["kept_for_us", "reopen_closed"]

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}  # in the order of their descriptors


def reopen_closed() -> None:
    """Where a stream was closed, as by a shell's `>&-`, nothing comes, and what goes is lost."""
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


@contextlib.contextmanager
def kept_for_us() -> Iterator[None]:
    """Within the block, sys.stdout alone reaches standard output; descriptor 1 is standard error.

    So that JSON stays JSON whatever a library in C or a process that is started writes. Nothing
    happens where sys.stdout is not descriptor 1.
    """
    ours = sys.stdout
    try:
        is_one = ours.fileno() == 1
    except (AttributeError, OSError, ValueError):  # a program has put something else there
        is_one = False
    if not is_one:
        yield
        return
    ours.flush()
    kept = os.dup(1)
    os.set_inheritable(kept, False)
    os.dup2(2, 1)
    wrapper = sys.stdout = io.TextIOWrapper(os.fdopen(kept, "wb"), ours.encoding, ours.errors)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # nobody reads it any more
            wrapper.flush()
        os.dup2(kept, 1)
        sys.stdout = ours
        with contextlib.suppress(OSError):
            wrapper.close()
