"""From a data set to a trained model, by a plan of segzoo's own: `segzoo.auto`."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segzoo.automatic.folds import Folded, OfFold, fold_words, kept_lines, settled
from segzoo.automatic.kept import Hints, kept_of
from segzoo.automatic.machine import threads_of_torch
from segzoo.automatic.plan import PLAN, AutoRequest, Plan, asked_otherwise, read_plan, write_plan
from segzoo.automatic.planning import AFTER, Planned, data_for, planned, request_for
from segzoo.automatic.words import completed_words
from segzoo.base import files, ours
from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.engine import checkpoint
from segzoo.engine.launch import refuse_without_accelerate
from segzoo.engine.record import MODEL, RUN
from segzoo.engine.settings import Settings
from segzoo.errors import RunError, UsageError, printable
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.runs import claims
from segzoo.runs.begun import measured_by
from segzoo.runs.folds import FOLDS
from segzoo.runs.request import Wishes
from segzoo.runs.training import trained

__all__ = ["Automatic", "auto"]

LEAST_MINUTES = 0.5


@dataclass(frozen=True)
class Automatic:
    """What came of it.

    model: None where only a plan was asked for, or the training was stopped. value: of the metric
    on what was held out, before what `plan.kept` names; None where nothing was measured. stopped:
    why the training ended early. folds: where there are several, of which `value` is the mean.
    lower_is_better: of the metric.
    """

    plan: Plan
    run: Path
    model: Model | None = None
    metric: str = ""
    value: float | None = None
    stopped: str = ""
    folds: Folded | None = None
    lower_is_better: bool = False


def auto(
    data: str,
    *,
    run: str | os.PathLike[str] = "run",
    val: str | None = None,
    minutes: float = 30.0,
    like: str | None = None,
    backbone: str | None = None,
    changes: Iterable[str] = (),
    settings: Settings | None = None,
    folds: int | None = None,
    plan_only: bool = False,
    tell: Callable[[Plan], object] | None = None,
    **options: Json,
) -> Automatic:
    """Look at a data set, plan a training for it, train within the minutes, and keep what gains.

    data, val: words (reader:path?option=value), or a folder. Where nothing is said of them, classes
    follow from the values of the masks, and a part is held out to measure on.
    run: a folder; if it holds a run that was asked for in the same way, that goes on, within the
    minutes that were left. like: this model instead of the one that suits best. backbone: what it
    begins with, as NAME or NAME=FILE; else what is at hand. changes: of lines
    of the plan and of the recipe, KEY=VALUE. options: of the architecture. settings: of the run.
    folds: train as often, each time measuring on another part, for its share of the minutes; the
    best model is put into `run/model`.
    plan_only: nothing is trained or written. tell: is called with the plan before the training.

    `run/model` is what `segzoo.load` takes; `run/plan.json` says what was decided, and why.
    SegzooError says what to do.
    """
    if not LEAST_MINUTES <= minutes <= 527_040:
        raise UsageError(
            f"minutes={minutes:g}", expected=f"{LEAST_MINUTES:g} or more, at most a year"
        )
    asked = AutoRequest(
        data=data,
        val=val,
        minutes=float(minutes),
        folds=folds,
        like=like,
        backbone=backbone,
        changes=tuple(changes),
        options=options,
    )
    refuse_without_accelerate()
    occasion = _Occasion(Path(expanded(run)), settings or Settings(), plan_only, tell)
    return _one(asked, occasion) if folds is None else _folded(asked, occasion)


class _Occasion(NamedTuple):
    """Where it happens, and who is told. folder: of the run."""

    folder: Path
    settings: Settings
    plan_only: bool
    tell: Callable[[Plan], object] | None


def _folded(asked: AutoRequest, occasion: _Occasion) -> Automatic:
    """Each fold in a folder of its own; the first one plans for all."""
    count, folder = asked.folds or 0, occasion.folder
    words = fold_words(completed_words(asked.data).data, asked.val, count)
    share = asked.minutes / count
    if share < LEAST_MINUTES:
        raise UsageError(
            f"{asked.minutes:g} minutes are too few for {count_of(count, 'fold')}",
            expected=f"{LEAST_MINUTES * count:g} or more",
        )
    ours.refuse_others([folder / FOLDS])
    found: list[Automatic] = []
    for number, part in enumerate(words):
        own = dataclasses.replace(asked, data=part, minutes=share, folds=None)
        if found:
            plan = found[0].plan
            own = dataclasses.replace(
                own,
                like=plan["model"],
                options=plan["options"],
                changes=kept_lines(plan, asked.changes),
            )
        found.append(_one(own, occasion._replace(folder=folder / f"fold-{number}")))
        if occasion.plan_only or found[-1].stopped:
            return found[-1]
    folds = settled(folder, [OfFold(each.run, each.value, each.lower_is_better) for each in found])
    best = found[folds.best]
    return dataclasses.replace(best, run=folder, value=folds.spread.mean, folds=folds)


def _one(asked: AutoRequest, occasion: _Occasion) -> Automatic:
    """One training, with its plan."""
    folder, settings, plan_only, tell = occasion
    ours.refuse_others([folder / PLAN])
    before = None if plan_only else _before(folder, asked)
    if before is None:
        found = planned(asked, settings)
        if plan_only:
            return Automatic(found.plan, folder)
        files.make_folder(folder)
        write_plan(folder, found.plan)
    else:
        found = Planned(before, *data_for(before))
    if tell is not None:
        tell(found.plan)
    return _trained(found, folder, settings, goes_on=before is not None)


def _before(run: Path, asked: AutoRequest) -> Plan | None:
    """The plan of a run that goes on here; None for a folder in which nothing was trained yet.

    RunError for a run that was asked for otherwise.
    """
    plan = read_plan(run)
    if plan is None or not (run / RUN).exists() or not checkpoint.exists(run):
        return None
    claims.refuse_links(run)
    if others := asked_otherwise(plan.asked, asked):
        raise RunError(
            "the run was asked for otherwise",
            file=run,
            found=printable(", ".join(f"{n}={getattr(plan.asked, n)}" for n in others))[:300],
            next_step="Say the same to go on, or choose another folder with -o",
        )
    return plan


def _trained(found: Planned, run: Path, settings: Settings, *, goes_on: bool) -> Automatic:
    """Train, or go on; then try what may gain, and say so in the plan."""
    request = request_for(found, run, settings)
    if goes_on:  # by what it was begun the run says, and it is judged there
        method = request.method._replace(recipe=None, changes=())
        request = dataclasses.replace(
            request, model=None, method=method, wishes=Wishes(), resume=run
        )
    plan = found.plan
    with threads_of_torch(plan["threads"]):
        result = trained(request).result
        metric = measured_by(run)[0]
        if result.stopped:
            return Automatic(plan, run, None, metric, result.best, result.stopped)
        model = load(str(run / MODEL))
        if not plan.done:
            hints = Hints("flip" in str(plan["augment"]), plan.traits.numbers["object"] ** 2)
            seconds = 60 * AFTER * plan.asked.minutes
            model, kept = kept_of(model, found.val, run, hints, seconds=seconds)
            if any(each.taken for each in kept):
                model.save_pretrained(run / MODEL, overwrite=True)
            plan = dataclasses.replace(plan, kept=kept, done=True)
            write_plan(run, plan)
    return Automatic(plan, run, model, metric, result.best, lower_is_better=result.lower_is_better)
