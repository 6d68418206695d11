"""Text for a person: a line is one line, whoever wrote what stands in it.

Names of classes, licences, file names and much else come from strangers. What would move the
cursor, change colours, begin a new line or turn the direction of writing is shown as an escape.
"""

import contextlib
import sys
import warnings

from segzoo.errors import printable

__all__ = ["to_stderr", "warn"]


def to_stderr(*lines: str) -> None:
    """Lines on standard error. Where that takes none, the work they are about goes on."""
    with contextlib.suppress(OSError):
        for line in lines:
            print(printable(line), file=sys.stderr, flush=True)


def warn(message: str, kind: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """A warning of the caller's, or of who called that (stacklevel=2), and so on."""
    warnings.warn(printable(message), kind, stacklevel=stacklevel + 1)
