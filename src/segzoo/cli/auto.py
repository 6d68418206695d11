"""segzoo auto: a data set in, a good model out, without a flag."""

import dataclasses
import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.data import class_lines
from segzoo.cli.options import AsJson, Device, Options, options_of, spelled_out
from segzoo.cli.text import columns, print_json, say, table
from segzoo.cli.train import EXITS
from segzoo.errors import UsageError, printable

if TYPE_CHECKING:
    from segzoo.automatic.auto import Automatic
    from segzoo.automatic.plan import Plan

NARROW = 24  # characters for reasons, at least


@dataclass(frozen=True, kw_only=True)
class _What:
    """What it learns from, and where that goes."""

    words: Annotated[
        list[str],
        typer.Argument(
            help="A folder, or reader:path?option=value; then what to change of the plan: "
            "crop=192, lr=3e-4, val=0.1, threads=1 ...",
            metavar="DATA [KEY=VALUE]...",
        ),
    ]
    run: Annotated[
        str, typer.Option("--out", "-o", help="A folder of its own for the run.", metavar="RUN")
    ] = "run"
    val: Annotated[
        str | None,
        typer.Option(help="What to measure on; by default a part is held out.", metavar="WORDS"),
    ] = None
    minutes: Annotated[float, typer.Option(help="That all of it may take.", min=0.5)] = 30.0
    folds: Annotated[
        int | None,
        typer.Option(help="Train as often, each time measuring on another part.", min=2),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _How:
    """What is decided for it."""

    like: Annotated[
        str | None,
        typer.Option(help="This model, instead of the one that suits best.", metavar="MODEL"),
    ] = None
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Begin with this pretrained part: imagenet, or imagenet=FILE.", metavar="NAME"
        ),
    ] = None
    option: Options = None
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Show the plan; train and write nothing.")
    ] = False
    device: Device = "auto"
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone.")] = False
    as_json: AsJson = False


@spelled_out
def auto(what: _What, how: _How) -> int:
    """Train a good model on a data set, without a flag.

    It looks at the data, shows a plan with a reason for each line, and trains within the minutes.

    The same line goes on with a run that was stopped, within the minutes that were left.
    RUN/model is what predict, eval and publish take; RUN/plan.json says what was decided, and why.
    """
    from segzoo.automatic.auto import auto as run_auto
    from segzoo.engine.settings import Settings

    data, changes = _split(what.words)
    found = run_auto(
        data,
        run=what.run,
        val=what.val,
        minutes=what.minutes,
        folds=what.folds,
        like=how.like,
        backbone=how.backbone,
        changes=changes,
        settings=Settings(device=how.device, quiet=how.quiet or how.as_json),
        plan_only=how.plan_only,
        tell=None if how.quiet or how.as_json else lambda plan: say(*_plan_lines(plan)),
        **options_of(how.option),
    )
    if how.as_json:
        print_json(_record(found))
    elif how.plan_only:
        say(*_plan_lines(found.plan))
    elif not how.quiet:
        say(*_ended(found))
    return EXITS.get(found.stopped, 0)


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """The data's words, which come first and may hold a =; then the changes."""
    data, *changes = arguments
    if odd := [text for text in changes if "=" not in text]:
        raise UsageError(
            f"one data set at a time, not {printable(', '.join([data, *odd]))}",
            next_step="What changes the plan is written KEY=VALUE; what to measure on is --val",
        )
    return data, changes


def _plan_lines(plan: "Plan") -> Iterator[str]:
    """The traits that tell sets apart, the models that were looked at, and the plan."""
    n = plan.traits.numbers
    yield f"data     {plan.data}"
    if plan.val != plan.data:
        yield f"val      {plan.val}"
    colours = {0.0: "in colours", 1.0: "gray"}.get(n["gray"], f"{n['gray']:.0%} gray")
    yield (
        f"traits   {count_of(n['pictures'], 'picture')}, {n['height']:g}x{n['width']:g} (H x W), "
        f"{colours}; {count_of(n['classes'], 'class')}; things of {n['object']:.0f} pixels, "
        f"the thinnest class {n['thinnest']:.1f} wide; sided {n['sided']:g}, "
        f"upright {n['upright']:g}, turned {n['turned']:g}, inverted {n['inverted']:g}"
    )
    yield from ("note     " + note for note in plan.notes)
    yield ""
    yield from class_lines(plan.traits)
    yield ""
    yield from _wrapped(
        ("MODEL", "VERDICT", "IT SUITS"), [(c.model, c.verdict, c.why) for c in plan.considered]
    )
    yield ""
    yield from _wrapped(("LINE", "VALUE", "WHY"), [(x.name, x.shown, x.why) for x in plan.lines])
    yield ""


def _wrapped(header: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> Iterator[str]:
    """A table whose last column is wrapped where there is a terminal."""
    width = columns()
    wide = [max(len(printable(row[n])) for row in (header, *rows)) + 2 for n in (0, 1)]
    if width is None:
        yield from table(header, rows)
        return
    wide[1] = min(wide[1], max(NARROW, (width - wide[0]) // 2))
    room = max(NARROW, width - sum(wide))
    for row in (header, *rows):
        middle = textwrap.wrap(printable(row[1]), wide[1] - 2) or [""]
        last = textwrap.wrap(printable(row[2]), room) or [""]
        for place in range(max(len(middle), len(last))):
            cells = (
                row[0] if place == 0 else "",
                middle[place] if place < len(middle) else "",
                last[place] if place < len(last) else "",
            )
            yield f"{cells[0]:{wide[0]}}{cells[1]:{wide[1]}}{cells[2]}".rstrip()


def _ended(found: "Automatic") -> Iterator[str]:
    """What a person reads at the end."""
    if found.stopped:
        yield f"stopped: {found.stopped}. The same line goes on, within the minutes that are left"
        return
    here = os.path.join(found.run, "model")
    value = (
        "" if found.value is None else f", {found.metric} {found.value:.4f} on what was held out"
    )
    yield f"{here}: {found.plan['model']}{value}"
    if found.folds is not None:
        values, (mean, deviation), _ = dataclasses.astuple(found.folds)
        yield f"{count_of(len(values), 'fold')}: {mean:.4f} +- {deviation:.4f} (standard deviation)"
    yield from (kept.said for kept in found.plan.kept)
    yield f"segzoo predict {here} PHOTO -o out"
    yield f"segzoo eval {here} --data WORDS"


def _record(found: "Automatic") -> dict[str, object]:
    from segzoo.base.records import asdict

    return {
        "run": os.fspath(found.run),
        "metric": found.metric,
        "value": found.value,
        "stopped": found.stopped,
        "plan": asdict(found.plan),
    }
