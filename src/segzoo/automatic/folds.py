"""The same plan on several parts of a data set: how sure its number is, and the best of the models.

Models are not averaged: networks that began at random have nothing in common that a mean would
keep (Wortsman et al. 2022, arXiv:2203.05482, average those that began with the same weights).
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from segzoo.automatic.plan import Plan
from segzoo.data.source import held_out
from segzoo.engine.record import MODEL
from segzoo.errors import UsageError, printable
from segzoo.model.load import load
from segzoo.runs.folds import Spread, write_folds

__all__ = ["Folded", "OfFold", "fold_words", "kept_lines", "settled"]

MOST = 20
NOT_SHARED = ("val", "model", "options", "recipe", "minutes", "begins")  # said otherwise


@dataclasses.dataclass(frozen=True)
class OfFold:
    """What one fold left. value: of the metric on its part; of some a lower one is better."""

    run: Path
    value: float | None
    lower_is_better: bool = False

    @property
    def quality(self) -> float:
        """The higher, the better; a fold that was not measured is the worst."""
        if self.value is None:
            return -math.inf
        return -self.value if self.lower_is_better else self.value


@dataclasses.dataclass(frozen=True)
class Folded:
    """values: of the folds in their order. best: the one whose model stands in the run's folder."""

    values: tuple[float | None, ...]
    spread: Spread
    best: int


def fold_words(data: str, val: str | None, folds: int) -> list[str]:
    """The words of each fold. UsageError for words that are parted already."""
    if val is not None or held_out(data):
        raise UsageError(
            "folds part what the data's words name",
            found=printable(data if val is None else f"--val {val}"),
            expected="words without val= and fold=, and no --val",
        )
    if not 2 <= folds <= MOST:
        raise UsageError(f"folds={folds}", expected=f"2 to {MOST}")
    mark = "&" if "?" in data else "?"
    return [f"{data}{mark}fold={number}/{folds}" for number in range(folds)]


def kept_lines(plan: Plan, changes: Iterable[str]) -> tuple[str, ...]:
    """What the first fold decided, as changes for the others; what was asked for stays."""
    asked = {change.partition("=")[0]: change for change in changes}
    lines = {x.name: f"{x.name}={x.text}" for x in plan.lines if x.name not in NOT_SHARED}
    return tuple({**lines, **asked}.values())


def settled(folder: Path, found: Sequence[OfFold]) -> Folded:
    """Write folds.json, and put the model of the best fold into the folder."""
    values = tuple(each.value for each in found)
    best = max(range(len(found)), key=lambda number: found[number].quality)
    load(str(found[best].run / MODEL)).save_pretrained(folder / MODEL, overwrite=True)
    return Folded(values, write_folds(folder, values), best)
