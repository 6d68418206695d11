"""segzoo report: a run or an evaluation as one page to look at."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from segzoo.cli.options import BatchSize, Device, Workers
from segzoo.cli.progress import counting
from segzoo.cli.text import say, tell


def report(
    place: Annotated[
        str, typer.Argument(help="The folder of a run, or of segzoo eval -o.", metavar="RUN|EVAL")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="[default: report.html in the folder]", metavar="FILE.html"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Measure a run on this instead of its validation set.", metavar="WORDS"),
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Show what the run wrote down alone.")
    ] = False,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    workers: Workers = 2,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
) -> None:
    """Write a page of how a training or evaluation went.

    One HTML file that fetches nothing: curves, numbers by class, what was confused, the worst and
    the median pictures with truth and prediction to slide between, recipe, data, machine, versions.

    A run is measured for it on its validation set. What cannot be shown, of a run that broke off
    say, is told on the page and here.
    """
    from segzoo.runs.evaluation import Machine
    from segzoo.runs.reporting import ReportRequest, reported

    with warnings.catch_warnings(record=True) as heard, counting(quiet) as progress:
        warnings.simplefilter("always", UserWarning)
        found = reported(
            ReportRequest(
                place=Path(place),
                out=None if out is None else Path(out),
                measure=not no_measure,
                data=data,
                machine=Machine(device, batch_size, workers),
                progress=progress,
            )
        )
    for note in () if quiet else (*(str(w.message) for w in heard), *found.notes):
        tell(note)
    say(str(found.path))
