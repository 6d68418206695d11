"""segzoo compare: two models on the same pictures, and how sure it is which is better."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.options import AsJson, BatchSize, Device, Workers
from segzoo.cli.progress import counting
from segzoo.cli.text import print_json, say, table, tell
from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.runs.comparing import Compared

NAME = "A model's name, name.tag, or a saved folder."


def compare(
    model: Annotated[str, typer.Argument(help=NAME, metavar="A")],
    other: Annotated[str, typer.Argument(help=NAME, metavar="B")],
    data: Annotated[
        str | None,
        typer.Option(
            help="What to measure both on, required: reader:path?option=value.", metavar="WORDS"
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="The page.", metavar="FILE.html")
    ] = "compare.html",
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Measure this too, beside those of the task: boundary, saliency ..."),
    ] = None,
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Do not measure speed.")] = False,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    workers: Workers = 2,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
) -> None:
    """Compare two models on a data set.

    Both see the same pictures. The interval of a difference is from bootstrap samples of the
    pictures, the same for both; where it holds zero, neither is better on such pictures.

    The page shows which picture goes to whom, and those with the largest leads. Speed is measured
    with both in turn, so that what else the machine does meets both.
    """
    if data is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    from segzoo.runs.comparing import CompareRequest, compared
    from segzoo.runs.evaluation import Machine

    with warnings.catch_warnings(record=True) as heard, counting(quiet) as progress:
        warnings.simplefilter("always", UserWarning)
        found = compared(
            CompareRequest(
                models=(model, other),
                data=data,
                metrics=metric or (),
                machine=Machine(device, batch_size, workers),
                speed=not no_speed,
                out=Path(out),
                progress=progress,
            )
        )
    for text in dict.fromkeys(str(w.message) for w in heard) if not quiet else ():
        tell(text)
    if as_json:
        print_json(found.as_json())
    else:
        say(*_lines(found), "", f"to look at: {out}")


def _lines(found: "Compared") -> Iterator[str]:
    a, b = found.names
    yield f"A is {a}"
    yield f"B is {b}"
    yield ""
    rows = []
    for name, (first, second) in found.values.items():
        difference = found.differences.get(name)
        between = ""
        if difference is not None and not math.isnan(difference.low):
            between = f"{difference.low:+.4f} to {difference.high:+.4f}"
        better = found.winner(name) or "-"
        rows.append(
            (name, f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}", between, better)
        )
    header = ("METRIC", "A", "B", "B - A", "95 IN 100", "BETTER")
    yield from table(header, rows, right=" >>>>")
    yield ""
    wins = found.wins
    yield f"pictures by {found.main}: A {wins[0]:,}, B {wins[1]:,}, equal {wins[2]:,}"
    speed = found.speed
    if speed is not None:
        yield (
            f"a picture takes A {1000 * speed.first:.1f} ms, B {1000 * speed.second:.1f} ms: "
            f"B {speed.ratio:.2f} times A ({speed.low:.2f} to {speed.high:.2f}), on {speed.device}"
        )
