"""A bar for each file that comes from the Hub, where a person watches."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from segzoo.base import transfer
from segzoo.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN = 100_000  # bytes: what is smaller is here before it is read


@contextlib.contextmanager
def shown(arguments: Sequence[str]) -> Iterator[None]:
    """Show transfers on stderr, unless the command line wants to be quiet or nobody watches."""
    if not sys.stderr.isatty() or {"-q", "--quiet"}.intersection(arguments):
        yield
        return
    with contextlib.ExitStack() as stack:
        bars = _Bars(stack)
        stack.enter_context(transfer.heard(bars.tell))
        yield


class _Bars:
    """Made when the first file comes, so that a command that fetches nothing imports nothing."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def tell(self, name: str, done: int, total: int) -> None:
        if total < SHOWN:
            return
        if self.progress is None:
            self.progress = self.stack.enter_context(_progress())
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(printable(name), total=total)
        self.progress.update(self.tasks[name], completed=done)
        if done == total:  # what follows has the terminal to itself
            self.progress.remove_task(self.tasks.pop(name))


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
