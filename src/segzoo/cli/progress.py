"""How far a verb is, where a person watches."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from segzoo.cli.text import progress_bar, spinner

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["PATIENCE", "counting", "working"]

PATIENCE = 2.0  # seconds without a word


@contextlib.contextmanager
def counting(quiet: bool = False) -> Iterator[Callable[[int, int], object] | None]:
    """Draws a bar on stderr when called with (done, total); None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with progress_bar() as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Says on stderr what takes so long, once it does; nothing may be written within the block."""
    if not sys.stderr.isatty():
        yield
        return
    lines: list[Progress] = []

    def begin() -> None:
        line = spinner(text)
        lines.append(line)
        line.start()

    timer = threading.Timer(PATIENCE, begin)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for line in lines:
            line.stop()
