"""Memory that this process has let go: given back to the system, or kept for what comes next.

By glibc's own functions, mallopt(3) and malloc_trim(3); with another C library nothing is done.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["give_back", "keeping_memory"]

# The parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER = -1
# What glibc comes to by itself once 32 MiB were let go; its default number of mappings.
LARGE, MAPPINGS = 32 << 20, 65_536


def give_back() -> None:
    """Once something large was let go.

    Of what a parser or an optimiser of graphs has freed, glibc keeps tens of MiB for later.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """For work that takes and lets go the same gigabytes again and again; at the end they go back.

    glibc gives what is over 32 MiB, or lies at the end of its heap, back to the system at once: in
    each step of a training the system would find and clear all pages of its activations anew.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, MAPPINGS)
        libc.mallopt(MMAP_THRESHOLD, LARGE)  # glibc has ceased to set it by itself
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGE)
        libc.malloc_trim(0)


def _glibc() -> Any:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):  # musl has neither
            return libc
    return None
