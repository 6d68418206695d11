"""Plain text for a terminal: lines, tables and JSON."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import typer

from segzoo.base.records import Json
from segzoo.base.terminal import to_stderr
from segzoo.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = [
    "amount",
    "columns",
    "fitted",
    "print_json",
    "progress_bar",
    "say",
    "size_of",
    "spinner",
    "table",
    "tell",
    "wrapped_lines",
]

CUT = "..."
LEAST = 24  # characters of a column that is cut
NARROWEST = 40  # a terminal that says less is taken for as wide


def say(*lines: str) -> None:
    """Lines on standard output; what is not to be printed is shown as an escape."""
    typer.echo("\n".join(map(printable, lines)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> list[str]:
    """The lines of left-aligned columns two spaces apart, no wider than the terminal.

    Where that is too narrow, the longest texts go on below themselves. Words are never broken: a
    hash, a path or an address can be copied. `right` marks right-aligned columns by a ">".
    """
    return _aligned(_folded(_cells(header, rows), columns()), right)


def _cells(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    return [tuple(header), *(tuple(map(printable, row)) for row in rows)]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _aligned(lines: Sequence[Sequence[str]], right: str) -> list[str]:
    widths = _widths(lines)
    aligned = [str.rjust if mark == ">" else str.ljust for mark in right.ljust(len(widths))]
    return [
        "  ".join(
            align(text, width) for align, text, width in zip(aligned, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _folded(lines: Sequence[Sequence[str]], width: int | None) -> list[tuple[str, ...]]:
    """Lines of cells that fit in a width; a row whose texts are too long takes several."""
    widths = _widths(lines)
    for number in sorted(range(len(widths)), key=lambda n: -widths[n]):
        over = 0 if width is None else sum(widths) + 2 * (len(widths) - 1) - width
        words = [word for line in lines for word in line[number].split()]
        least = max(LEAST, *map(len, words), 0)
        widths[number] = min(widths[number], max(least, widths[number] - max(over, 0)))
    return [
        cells for line in lines for cells in zip_longest(*map(_wrapped, line, widths), fillvalue="")
    ]


def _wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 1),  # of a column without a word
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def columns() -> int | None:
    """How wide the terminal is; None where standard output is none, and nothing is to be cut."""
    return max(shutil.get_terminal_size().columns, NARROWEST) if sys.stdout.isatty() else None


def fitted(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    width: int | None,
    *,
    right: str = "",
    leave: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """The lines of a table that is no wider than a terminal, and which columns it leaves out.

    width: None for all of it. leave: the headers of columns that may be left out, the first of them
    first. The last column of all is cut where it is longer than what is left for it.
    """
    lines = _cells(header, rows)
    lengths = dict(zip(header, _widths(lines), strict=True))
    last, gone = header[-1], []
    least = lengths | {last: min(lengths[last], LEAST)}
    for name in leave:
        if width is None or sum(least.values()) + 2 * (len(least) - 1) <= width:
            break
        del least[name]
        gone.append(name)
    if width is not None and last in least:
        room = max(LEAST, width - sum(least[h] + 2 for h in least if h != last))
        lines = [(*line[:-1], _cut(line[-1], room)) for line in lines]
    kept = [n for n, name in enumerate(header) if name in least]
    marks = "".join(right.ljust(len(header))[n] for n in kept)
    return _aligned([[line[n] for n in kept] for line in lines], marks), gone


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - len(CUT)].rstrip() + CUT


def wrapped_lines(lines: Iterable[str], width: int | None, *, indent: int) -> list[str]:
    """Lines as a terminal of this width shows them, what follows of one under its text.

    width: None for whole lines. Words are never broken: a hash or an address can be copied.
    """
    if width is None:
        return [*lines]
    return [part for line in lines for part in _wrapped(printable(line), width, indent=indent)]


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


def spinner(text: str) -> "Progress":
    """A line on stderr that says what is done, and for how long; it goes when it is stopped."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    found = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    found.add_task(printable(text), total=None)
    return found


def tell(text: str) -> None:
    """A line beside the output: on stderr, from segzoo."""
    to_stderr(f"segzoo: {text}")
