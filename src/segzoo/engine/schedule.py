"""The learning rate as a pure function of the step, and how many steps a recipe has.

    total = steps_of(recipe, len(dataset))
    rate = rate_at(step, total=total, recipe=recipe)  # of the steps 0, 1, ..., total - 1

Nothing is kept between steps: a run that goes on computes what an unbroken one would have.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from segzoo.base.records import Json
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.spec import Option, Recipe
from segzoo.zoo.options import faults_by_table

__all__ = ["SCHEDULES", "Schedule", "rate_along", "rate_at", "steps_of"]


class Schedule(NamedTuple):
    """A schedule by name. factor: (step, total, **options) -> of the way from min_lr to lr, how
    much is left at this step; both count from the end of the warm-up, and step <= total."""

    summary: str
    factor: Callable[..., float]
    options: Mapping[str, Option]


MIN_LR = Option(default=0.0, min=0.0, help="The rate at the end.")


def _constant(step: float, total: int) -> float:
    return 1.0


def _cosine(step: float, total: int) -> float:
    return (1 + math.cos(math.pi * step / total)) / 2


def _poly(step: float, total: int, *, power: float) -> float:
    return float((1 - step / total) ** power)


def _step(step: float, total: int, *, every: float, factor: float) -> float:
    return float(factor ** math.floor(step / (every if every >= 1 else every * total)))


SCHEDULES: Mapping[str, Schedule] = MappingProxyType(
    {
        "constant": Schedule("The recipe's rate throughout.", _constant, {}),
        "cosine": Schedule(
            "Half a wave down (Loshchilov and Hutter 2016, arXiv:1608.03983).",
            _cosine,
            {"min_lr": MIN_LR},
        ),
        "poly": Schedule(
            "The share of steps left, to a power (Chen et al. 2016, arXiv:1606.00915).",
            _poly,
            {"power": Option(default=0.9, min=0.0, help="1 is a straight line."), "min_lr": MIN_LR},
        ),
        "step": Schedule(
            "Lower by a factor, time after time.",
            _step,
            {
                "every": Option(
                    default=1 / 3, min=1e-6, help="So many steps; below 1, this share of all."
                ),
                "factor": Option(default=0.1, min=0.0, max=1.0),
            },
        ),
    }
)


def rate_at(step: float, *, total: int, recipe: Recipe) -> float:
    """The learning rate of a step, counted from 0.

    In the first `recipe.warmup` steps it rises in a straight line: lr * (step + 1) / warmup. Then
    the schedule runs over the steps left. From step `total` on the rate is that of its end.
    UsageError for a schedule that is not in `SCHEDULES`, and for its options, all at once.
    """
    schedule, options = _resolved(recipe)
    if step < recipe.warmup:
        return recipe.lr * ((step + 1) / recipe.warmup)  # to lr itself, to the bit
    left = max(1, total - recipe.warmup)
    least = options.pop("min_lr", 0.0)
    factor = schedule.factor(min(step - recipe.warmup, left), left, **options)
    return float(least + (recipe.lr - least) * factor)


def rate_along(share: float, *, total: int, recipe: Recipe) -> float:
    """The learning rate where this share of the schedule lies behind, of about `total` steps.

    For runs that end by the clock. A warm-up of more than a tenth of the steps is one of a tenth.
    """
    warmup = min(recipe.warmup, total // 10)
    return rate_at(share * total, total=total, recipe=replace(recipe, warmup=warmup))


def steps_of(recipe: Recipe, length: int | None) -> int | None:
    """The number of steps, of `recipe.batch_size` samples each, for a data set of this length.

    None where the clock decides (`minutes`).
    Samples are one endless sequence of epochs, and an epoch may end within a batch: no sample is
    left out, and the last batch is filled from the epoch after. length: None for a data set whose
    samples are not counted. DatasetError for an empty one; UsageError for epochs without a length.
    """
    if length == 0:
        raise DatasetError("the data set to train on is empty")
    if recipe.steps is not None:
        return recipe.steps
    if recipe.epochs is None:
        return None
    if length is None:
        raise UsageError(
            "this data set is a stream, whose samples are not counted, so it has no epochs",
            next_step="Give steps=NUMBER instead",
        )
    return -(-recipe.epochs * length // recipe.batch_size)


def _resolved(recipe: Recipe) -> tuple[Schedule, dict[str, Json]]:
    """The recipe's schedule, and all its options."""
    name, given = recipe.schedule
    schedule = SCHEDULES.get(name)
    if schedule is None:
        near = difflib.get_close_matches(name, SCHEDULES, n=1)
        raise UsageError(
            f"no schedule {printable(name)[:100]!r}",
            next_step=f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(SCHEDULES)}",
        )
    faults = faults_by_table(given, schedule.options)
    least = given.get("min_lr", 0.0)
    if "min_lr" in schedule.options and not MIN_LR.fault(least) and least > recipe.lr:
        faults.append(f"min_lr is {least:g}, above lr={recipe.lr:g}")
    if faults:
        raise UsageError(f"schedule {name!r}: " + "; ".join(faults))
    return schedule, {key: option.default for key, option in schedule.options.items()} | dict(given)
