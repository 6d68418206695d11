"""How far a number would move with other pictures of the same kind: bootstrap intervals.

Efron 1979, Bootstrap methods: another look at the jackknife; the percentile interval. A data set
of as many pictures is drawn from the pictures, with replacement, again and again; the number is
computed of each; the interval holds the middle of what came out. The sums of a drawn data set are
weighted sums of the pictures' sums, so no picture is measured twice.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from segzoo.errors import UsageError
from segzoo.metrics.measure import Measure, Sums, needed

__all__ = ["Difference", "differences", "intervals"]

Side: TypeAlias = tuple[Measure, Sequence[Sums]]  # a measure, and its sums of every picture
BLOCK = 50  # rounds that are drawn together


def intervals(
    measure: Measure,
    per_picture: Sequence[Sums],
    *,
    names: Sequence[str],
    rounds: int = 1000,
    seed: int,
    confidence: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each of `names`, numbers of `measure.result`.

    per_picture: the sums of every picture, in an order that does not change, or the interval
    changes with it. Rounds in which a number is nan are left out; (nan, nan) when all are, and
    without a picture. UsageError for a name that is not there, or has a number per class.
    """
    if not per_picture:
        return dict.fromkeys(names, (math.nan, math.nan))
    values: dict[str, list[float]] = {name: [] for name in names}
    for sums in _drawn([needed(measure, sums) for sums in per_picture], rounds, seed):
        numbers = measure.result(sums)
        for name, found in values.items():
            number = numbers.get(name)
            if not isinstance(number, float):
                single = [n for n, value in numbers.items() if isinstance(value, float)]
                raise UsageError(
                    f"there is no interval of {name!r}", expected=f"one of {', '.join(single)}"
                )
            found.append(number)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, found in values.items():
        defined = [value for value in found if not math.isnan(value)]
        low, high = np.quantile(defined, tails) if defined else (math.nan, math.nan)
        result[name] = (float(low), float(high))
    return result


class Difference(NamedTuple):
    """Of the second side's number minus the first's: the interval, and how often it is above zero.

    above: the share of rounds; half of those in which the two are equal counts.
    """

    low: float
    high: float
    above: float


def differences(
    first: Side, second: Side, *, rounds: int = 1000, seed: int, confidence: float = 0.95
) -> dict[str, Difference]:
    """How far the difference of two models on the same pictures would move with other pictures.

    Every round draws the same pictures for both (a paired bootstrap), so that a picture which is
    hard for both moves neither. Of every single number that both measures have and that is defined
    on the whole set. UsageError where the sides have not as many pictures.
    """
    if len(first[1]) != len(second[1]):
        raise UsageError(
            "the two were measured on different pictures",
            found=f"{len(first[1])} and {len(second[1])}",
        )
    values: dict[str, list[float]] = {}
    draws = [
        _drawn([needed(measure, sums) for sums in per_picture], rounds, seed)
        for measure, per_picture in (first, second)
        if per_picture
    ]
    for pair in zip(*draws, strict=True):
        one, other = (m.result(s) for (m, _), s in zip((first, second), pair, strict=True))
        for name, a in one.items():
            b = other.get(name)
            if isinstance(a, float) and isinstance(b, float):
                values.setdefault(name, []).append(b - a)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, found in values.items():
        defined = np.array([value for value in found if not math.isnan(value)])
        if len(defined):
            low, high = np.quantile(defined, tails)
            above = np.mean((defined > 0) + 0.5 * (defined == 0))
            result[name] = Difference(float(low), float(high), float(above))
    return result


def _drawn(per_picture: Sequence[Sums], rounds: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """The added sums of data sets drawn from the pictures."""
    # every picture's sums as one row; whole numbers below 2^53 are exact
    shapes = {name: (value.shape, value.dtype) for name, value in per_picture[0].items()}
    rows = np.stack(
        [torch.cat([p[n].cpu().double().flatten() for n in shapes]).numpy() for p in per_picture]
    )
    sizes = [math.prod(shape) for shape, _ in shapes.values()]
    count, rng = len(rows), np.random.default_rng(seed)
    for start in range(0, rounds, BLOCK):
        draws = rng.integers(count, size=(min(BLOCK, rounds - start), count))
        times = np.stack([np.bincount(draw, minlength=count) for draw in draws])
        for row in torch.from_numpy(times.astype(np.float64) @ rows):
            parts = row.split(sizes)
            yield {
                name: part.view(shape).to(dtype)
                for part, (name, (shape, dtype)) in zip(parts, shapes.items(), strict=True)
            }
