"""Plain text for a terminal: lines, tables and JSON."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from segzoo.base.records import Json
from segzoo.base.terminal import to_stderr
from segzoo.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["amount", "print_json", "progress_bar", "say", "size_of", "table", "tell"]


def say(*lines: str) -> None:
    """Lines on standard output; what is not to be printed is shown as an escape."""
    typer.echo("\n".join(map(printable, lines)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> list[str]:
    """The lines of left-aligned columns two spaces apart.

    `right` marks right-aligned ones by a ">".
    """
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [str.rjust if mark == ">" else str.ljust for mark in right.ljust(len(widths))]
    return [
        "  ".join(
            align(text, width) for align, text, width in zip(aligned, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def amount(number: int) -> str:
    """1131181 -> "1.13 M"."""
    for factor, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= factor:
            return f"{number / factor:.2f}{unit}"
    return str(number)


def size_of(bytes_: int) -> str:
    """14545731 -> "14.55 MB"; 427 -> "427 B"."""
    return f"{amount(bytes_)}B" if bytes_ >= 1000 else f"{bytes_} B"


def print_json(data: Json) -> None:
    """JSON on stdout, in ASCII, so that any terminal and any locale can take it."""
    typer.echo(json.dumps(data, indent=2, sort_keys=False))


def progress_bar() -> "Progress":
    """A bar with counts and the remaining time on stderr, still without a task."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    return Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    )


def tell(text: str) -> None:
    """A line beside the output: on stderr, from segzoo."""
    to_stderr(f"segzoo: {text}")
