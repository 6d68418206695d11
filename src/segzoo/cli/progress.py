"""How far a verb is, where a person watches."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from segzoo.cli.text import progress_bar

__all__ = ["counting"]


@contextlib.contextmanager
def counting(quiet: bool = False) -> Iterator[Callable[[int, int], object] | None]:
    """Draws a bar on stderr when called with (done, total); None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with progress_bar() as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
