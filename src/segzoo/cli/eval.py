"""segzoo eval: any model on any data set, with intervals and pictures of what went wrong."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.options import (
    AsJson,
    BatchSize,
    Device,
    ModelName,
    Options,
    WeightsFile,
    Workers,
    options_of,
    spelled_out,
)
from segzoo.cli.progress import counting
from segzoo.cli.text import columns, print_json, say, table, tell, wrapped_lines
from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.runs.evaluation import Evaluated


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What is measured, and where the numbers go."""

    model: ModelName
    data: Annotated[
        str | None,
        typer.Option(
            help="What to measure on, required: reader:path?option=value. Of words that part their "
            "set (val=0.2) it is the held-out part.",
            metavar="WORDS",
        ),
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder for report.html, metrics.json, rows.csv, panels.png, worst.png and "
            "confusion.png.",
            metavar="FOLDER",
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Measure this too, beside those of the task: boundary, saliency ..."),
    ] = None
    weights: WeightsFile = None
    option: Options = None


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """How each picture is looked at."""

    flip: Annotated[bool, typer.Option("--flip", help="Look at mirrored pictures too.")] = False
    scale: Annotated[
        list[float] | None,
        typer.Option(help="Look at pictures of this size too: 0.75, 1.25 ...", metavar="FACTOR"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """How the machine is used."""

    batch_size: BatchSize = 8
    device: Device = "auto"
    workers: Workers = 2


@spelled_out
def evaluate(
    measured: _Measured,
    looks: _Looks,
    machine: _Machine,
    worst: Annotated[int, typer.Option(help="Pictures on worst.png.", min=0)] = 16,
    no_bootstrap: Annotated[
        bool, typer.Option("--no-bootstrap", help="Leave the intervals out.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
) -> None:
    """Measure a model on a data set.

    Each picture is measured at its own size.

    The interval of a number holds 95 in 100 bootstrap samples of the pictures. A class that neither
    truth nor prediction holds is absent, and in no mean.
    """
    if measured.data is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    from segzoo.engine.evaluate import Looks
    from segzoo.engine.launch import rank_of_this_process
    from segzoo.report.page import REPORT
    from segzoo.runs.evaluation import EvaluateRequest, Machine, evaluated

    with warnings.catch_warnings(record=True) as heard, counting(quiet) as progress:
        warnings.simplefilter("always", UserWarning)
        request = EvaluateRequest(
            model=measured.model,
            weights=measured.weights,
            options=options_of(measured.option),
            data=measured.data,
            metrics=measured.metric or (),
            views=Looks(looks.flip, tuple(looks.scale or ())),
            machine=Machine(machine.device, machine.batch_size, machine.workers),
            bootstrap=0 if no_bootstrap else 1000,
            out=None if measured.out is None else Path(measured.out),
            num_worst=worst,
            progress=progress,
        )
        found = evaluated(request)
    if rank_of_this_process() > 0:
        return  # the first of several processes speaks for all
    for warning in () if quiet else heard:
        tell(str(warning.message))
    if as_json:
        print_json(found.as_json())
    else:
        say(*wrapped_lines(_lines(found), columns(), indent=4))
        if measured.out is not None:
            say("", f"to look at: {Path(measured.out) / REPORT}")


def _lines(found: "Evaluated") -> Iterator[str]:
    model, data = found.protocol["model"], found.protocol["data"]
    part = " (held-out part)" if data["part"] else ""
    name = model["weights"] or model["name"]
    yield f"{name} on {data['words']}{part}: {count_of(data['samples'], 'picture')}"
    yield ""
    cells = [
        (name, _number(value), _interval(found.intervals.get(name)))
        for name, value in found.values.items()
        if isinstance(value, float)
    ]
    shown = 3 if found.intervals else 2
    header = ("METRIC", "VALUE", "95 IN 100")[:shown]
    yield from table(header, [row[:shown] for row in cells], right=" >")
    lists = {name: value for name, value in found.values.items() if isinstance(value, list)}
    if not lists:
        return
    yield ""
    rows = [
        (name, *(_number(values[label]) for values in lists.values()))
        for label, name in enumerate(found.classes)
    ]
    yield from table(("CLASS", *map(str.upper, lists)), rows, right=" " + ">" * len(lists))


def _number(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.4f}"


def _interval(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.4f} to {pair[1]:.4f}"
