"""Memory that is free within this process is given back to the system."""

import contextlib
import ctypes
import sys

__all__ = ["give_back"]


def give_back() -> None:
    """Once something large was let go. Where the C library is not glibc, nothing is done.

    Of what a parser or an optimiser of graphs has freed, glibc keeps tens of MiB for later.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
