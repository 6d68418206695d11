"""What of a run's journal is drawn: its losses and metrics over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from segzoo.report.charts import drawable

__all__ = ["FEW", "Points", "Series", "best_step", "series_of", "smooth"]

FEW = 40  # points; more of them get a smooth line too
MOST_STEPS = 1 << 53  # above, a step is none that an axis could tell from the next

Points: TypeAlias = list[tuple[int, float]]


class Series(NamedTuple):
    """training, validation: the losses. metrics: by name, the one that decides first."""

    training: Points
    validation: Points
    metrics: dict[str, Points]


def series_of(records: Sequence[Mapping[str, Any]], *, main: str | None = None) -> Series:
    """The (step, value) points of a run's records. main: the metric that chooses the weights."""
    # The record's own step is the last: what was measured may be called so too.
    measured = [{**r["val"], "step": r["step"]} for r in records if r.get("val")]
    last = measured[-1] if measured else {}
    names = [n for n, v in last.items() if isinstance(v, int | float) and n not in ("loss", "step")]
    return Series(
        training=_points(records, "loss"),
        validation=_points(measured, "loss"),
        metrics={n: _points(measured, n) for n in sorted(names, key=lambda name: name != main)},
    )


def best_step(records: Sequence[Mapping[str, Any]]) -> int | None:
    """The step whose weights a run has kept; None where nothing was measured."""
    best = [r["step"] for r in records if r.get("best") and abs(r["step"]) <= MOST_STEPS]
    return best[-1] if best else None


def smooth(points: Points) -> Points:
    """Each value as the mean of the twentieth of all points that ends there."""
    width = max(1, len(points) // 20)
    return [
        (step, sum(v for _, v in near) / len(near))
        for number, (step, _) in enumerate(points)
        for near in [points[max(0, number + 1 - width) : number + 1]]
    ]


def _points(records: Sequence[Mapping[str, Any]], name: str) -> Points:
    """(step, value) of the records that have a number of this name, which can be drawn."""
    found = [(record["step"], record.get(name)) for record in records]
    return [
        (step, value)
        for step, value in found
        if isinstance(value, int | float) and drawable(value) and abs(step) <= MOST_STEPS
    ]
