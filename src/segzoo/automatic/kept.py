"""What is tried once a network is trained, and kept only where the pictures held out gain by it.

In this order, each with what was kept before: the mean of the weights of the last checkpoints, the
mirrored picture beside the picture, the threshold, specks taken away, holes filled. What counts is
the mean IoU of the classes over all pixels; of one class, that class's.
"""

import copy
import dataclasses
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segzoo.automatic.plan import Kept
from segzoo.automatic.soups import soups_of
from segzoo.data.opened import Data
from segzoo.data.traits import spread
from segzoo.engine import evaluate
from segzoo.engine.maps import mask_of
from segzoo.model.loaded import Model
from segzoo.runs.evaluation import task_for

__all__ = ["PASSES", "PIECES", "THRESHOLDS", "Hints", "Ious", "kept_of"]

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
PIECES = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)  # pixels
SMALL = 0.25  # of a thing's area: what is as large may be a thing, and no speck
GAIN = 0.002  # of the IoU: less is chance
GAIN_OF_FLIPS = 0.02  # they take a prediction twice the time
MOST, LEAST = 100, 8  # pictures that are looked at
PASSES = 7  # through these pictures: plain, two soups, mirrored (which is two), specks, holes


class Hints(NamedTuple):
    """What the plan says of the data. mirrors: whether the network saw mirrored pictures.

    area: of a thing, in pixels.
    """

    mirrors: bool
    area: float


class Ious:
    """The IoU of some variants of a mask over the same pictures, added up."""

    def __init__(self, classes: int, ignore_index: int | None) -> None:
        self.classes, self.ignore_index = classes, ignore_index
        self.sums: dict[float, Tensor] = {}

    def add(self, variant: float, mask: Tensor, target: Tensor) -> None:
        """mask: (H, W) of labels, or (K, H, W) of 0 and 1 where classes overlap; target alike."""
        counts = torch.ones_like(target, dtype=torch.bool)
        if self.ignore_index is not None:
            counts = target != self.ignore_index
        rows = []
        for number in range(self.classes):
            if target.ndim == 3:
                found, truth = mask[number] > 0, (target[number] == 1) & counts[number]
                found = found & counts[number]
            elif self.classes == 1:
                found, truth = (mask > 0) & counts, (target > 0) & counts
            else:
                found, truth = (mask == number) & counts, (target == number) & counts
            rows.append([int((found & truth).sum()), int((found | truth).sum())])
        sums = torch.tensor(rows, dtype=torch.float64)
        self.sums[variant] = self.sums.get(variant, 0) + sums

    def __getitem__(self, variant: float) -> float:
        """Of the classes that are there, the mean."""
        hits, union = self.sums[variant].unbind(1)
        there = union > 0
        return float((hits[there] / union[there]).mean()) if there.any() else 0.0

    def best(self) -> float:
        return max(self.sums, key=lambda variant: self[variant])


def kept_of(
    model: Model, val: Data, run: Path, hints: Hints, *, seconds: float
) -> tuple[Model, tuple[Kept, ...]]:
    """The model with what was kept, and all that was tried.

    run: whose checkpoints the soups are made of. seconds: in which it is done, as long as a few
    pictures take less.
    """
    numbers = [*spread(len(val), MOST)]
    random.Random(0).shuffle(numbers)  # whatever is cut off, all kinds were seen
    trial = _Trial(model, val, numbers, seconds / PASSES)
    found = [
        *trial.soups(run),
        *(trial.flips() if hints.mirrors else ()),
        *trial.threshold(),
        *trial.pieces(hints.area),
    ]
    return trial.model, tuple(found)


class _Trial:
    """The model as it is so far, and the pictures that it is tried on."""

    def __init__(self, model: Model, val: Data, numbers: Sequence[int], seconds: float) -> None:
        self.model, self.val = model, val
        self.thresholds: Sequence[float] = (0.5,)
        if model.num_classes == 1 and not val.overlaps:
            usual = model.postprocess.threshold
            self.thresholds = sorted({*THRESHOLDS, 0.5 if usual is None else usual})
        until = time.monotonic() + seconds
        self.numbers: list[int] = []
        self.ious = self._new()
        for number in numbers:
            if len(self.numbers) >= LEAST and time.monotonic() > until:
                break
            self.numbers.append(number)
            self._add(self.ious, self._looks(model, [number]))

    @property
    def usual(self) -> float:
        now = self.model.postprocess.threshold
        return 0.5 if now is None or len(self.thresholds) == 1 else now

    def soups(self, run: Path) -> Iterator[Kept]:
        for count, state in soups_of(run):
            network = copy.deepcopy(self.model.network)
            network.load_state_dict(state)
            model = Model(network, spec=self.model.spec, config=self.model.config).eval()
            yield self._taken("soup", count, model, least=GAIN)

    def flips(self) -> Iterator[Kept]:
        yield self._taken("flips", True, self._with(flips=True), least=GAIN_OF_FLIPS)

    def threshold(self) -> Iterator[Kept]:
        if len(self.thresholds) > 1:
            best, usual = self.ious.best(), self.usual
            kept = _kept("threshold", best, self.ious[usual], self.ious[best], GAIN)
            self.model = self._with(threshold=best) if kept.taken else self.model
            yield kept

    def pieces(self, area: float) -> Iterator[Kept]:
        """Specks, then holes, up to a part of the area of a thing."""
        if len(self.thresholds) == 1:
            return
        sizes = [0, *(size for size in PIECES if size <= SMALL * area)]
        for name in ("smallest", "holes"):
            if len(sizes) == 1:
                return
            ious = self._new()
            for look in self._looks(self.model, self.numbers):
                for size in sizes:
                    post = self._with(**{name: size}).postprocess
                    mask = mask_of(look.probabilities, post, overlapping=False)
                    ious.add(size, mask, look.target)
            best = int(ious.best())
            kept = _kept(name, best, ious[0], ious[best], GAIN)
            self.model = self._with(**{name: best}) if kept.taken else self.model
            yield kept

    def _taken(self, name: str, value: float, model: Model, *, least: float) -> Kept:
        """Another model, which is this from now on where it gains."""
        ious = self._new()
        self._add(ious, self._looks(model, self.numbers))
        kept = _kept(name, value, self.ious[self.usual], ious[self.usual], least)
        if kept.taken:
            self.model, self.ious = model, ious
        return kept

    def _with(self, **changes: Any) -> Model:
        model = self.model
        post = dataclasses.replace(model.postprocess, **changes)
        config = dataclasses.replace(model.config, postprocess=post)
        return Model(model.network, spec=model.spec, config=config).eval()

    def _new(self) -> Ious:
        task = task_for(self.model, self.val.info)
        return Ious(task.num_classes, task.ignore_index)

    def _looks(self, model: Model, numbers: Sequence[int]) -> Iterator[evaluate.Judged]:
        task = task_for(model, self.val.info)
        return evaluate.judged(model.network, self.val.dataset, numbers, task=task)

    def _add(self, ious: Ious, looks: Iterator[evaluate.Judged]) -> None:
        for look in looks:
            if len(self.thresholds) == 1:
                ious.add(0.5, look.mask, look.target)
                continue
            for threshold in self.thresholds:
                ious.add(threshold, look.probabilities[0] > threshold, look.target)


def _kept(name: str, value: float, before: float, after: float, least: float) -> Kept:
    return Kept(
        name=name,
        value=value,
        before=round(before, 4),
        after=round(after, 4),
        taken=after - before >= least,
        least=least,
    )
