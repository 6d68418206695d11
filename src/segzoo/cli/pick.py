"""segzoo pick: which of the installed weights are worth their time on this machine."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.records import Json
from segzoo.cli.options import AsJson, Precision, PrecisionOf
from segzoo.cli.text import print_json, say, table, tell
from segzoo.errors import UsageError, printable

if TYPE_CHECKING:
    from segzoo.model.picked import Picked

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
BUDGET = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(us|ms|s|min)", re.ASCII)


def pick(
    task: Annotated[
        str, typer.Option(help="What for: saliency, binary, multiclass or multilabel.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(help="For one picture, at most: 30ms, 0.5s.", metavar="TIME"),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(
            help="Of the weights: an SPDX identifier, or 'permissive', which their data's must be "
            "too.",
            metavar="SPDX",
        ),
    ] = None,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory", help="Also the memory of one picture, in a process of its own; it counts."
        ),
    ] = False,
    precision: PrecisionOf = Precision.fp32,
    as_json: AsJson = False,
) -> None:
    """Compare installed weights: stated figures, and time.

    Time is measured on the CPU of this machine once, in every runtime that is installed, on a
    picture of 320x320 or of the network's own size; then it is kept. A star marks weights that no
    others beat: better ones take longer, or more memory with --memory; quicker ones are worse.
    Numbers of different pictures or protocols are never compared. Nothing is fetched.
    """
    from segzoo.model.picked import picked

    seconds = None if budget is None else seconds_of(budget)
    found = picked(
        task,
        budget=seconds,
        license=license,
        precision=precision.value,
        memory=memory,
        tell=tell,
    )
    if as_json:
        print_json(_record(task, seconds, found))
        return
    for group in found.groups:
        metric = group.shared.metric
        rows = [
            (
                "*" if c.on_front else " ",
                c.ref,
                f"{c.value:.4f}",
                f"{c.seconds * 1000:,.1f} ms",
                *([] if c.memory is None else [f"{c.memory / 1e6:,.0f} MB"]),
                c.runtime,
                c.license,
                *([] if seconds is None else ["within" if c.fits else "above"]),
            )
            for c in group.candidates
        ]
        say(f"{group.shared.split}; {group.shared.protocol}", "")
        header = ["*", "WEIGHTS", metric, "TIME", *(["MEMORY"] if memory else []), "IN", "LICENCE"]
        header += [] if budget is None else [f"{budget} BUDGET"]
        say(*table(header, rows, right="  >>>" if memory else "  >>"), "")
    if found.left_out:
        say("Left out:", *(f"  {ref}: {why}" for ref, why in found.left_out.items()))


def seconds_of(text: str) -> float:
    """ "30ms" -> 0.03. UsageError for what is no time."""
    found = BUDGET.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"cannot read the time {printable(text)!r}", expected="30ms, 0.5s or 2min")
    return float(found[1]) * UNITS[found[2]]


def _record(task: str, budget: float | None, found: "Picked") -> dict[str, Json]:
    return {
        "task": task,
        "budget": budget,
        "groups": [
            {**group.shared._asdict(), "candidates": [c._asdict() for c in group.candidates]}
            for group in found.groups
        ],
        "left_out": found.left_out,
    }
