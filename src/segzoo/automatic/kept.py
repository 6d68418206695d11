"""What is tried once a network is trained, and kept only where the pictures held out gain by it."""

import dataclasses
import random
import time
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from segzoo.automatic.plan import Kept
from segzoo.data.opened import Data
from segzoo.data.traits import spread
from segzoo.engine import evaluate
from segzoo.model.loaded import Model
from segzoo.runs.evaluation import task_for

__all__ = ["THRESHOLDS", "best_threshold", "kept_of", "tuned"]

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
GAIN = 0.002  # of the IoU: less is chance
MOST, LEAST = 100, 8  # pictures that are looked at


def kept_of(model: Model, val: Data, *, seconds: float) -> tuple[Kept, ...]:
    """What was tried, the threshold of one class: IoU with the best value, and whether it is kept.

    seconds: after which no other picture is looked at. Of several classes that exclude each other
    the likeliest one is taken: there is nothing to try.
    """
    if model.num_classes != 1 or val.overlaps:
        return ()
    now = model.postprocess.threshold
    task = task_for(model, val.info)
    numbers = [*spread(len(val), MOST)]
    random.Random(0).shuffle(numbers)  # whatever is cut off, all kinds were seen
    looks = _within(seconds, evaluate.judged(model.network, val.dataset, numbers, task=task))
    usual = 0.5 if now is None else now
    return (best_threshold(looks, usual, ignore_index=task.ignore_index),)


def _within(seconds: float, looks: Iterable[evaluate.Judged]) -> Iterator[evaluate.Judged]:
    """Those that there is time for: LEAST at least."""
    until = time.monotonic() + seconds
    for number, look in enumerate(looks):
        if number >= LEAST and time.monotonic() > until:
            return
        yield look


def best_threshold(
    looks: Iterable[evaluate.Judged], usual: float, *, ignore_index: int | None
) -> Kept:
    """The threshold with the best IoU over all pictures, against the usual one."""
    tried = sorted({*THRESHOLDS, usual})
    hits, found, there = (torch.zeros(len(tried), dtype=torch.float64) for _ in range(3))
    for look in looks:
        counts = torch.ones_like(look.target, dtype=torch.bool)
        if ignore_index is not None:
            counts = look.target != ignore_index
        probability, truth = look.probabilities[0][counts], look.target[counts] > 0
        for place, threshold in enumerate(tried):
            above = probability > threshold
            hits[place] += (above & truth).sum()
            found[place] += above.sum()
            there[place] += truth.sum()
    ious = _iou(hits, found, there)
    best, before = int(ious.argmax()), float(ious[tried.index(usual)])
    gain = float(ious[best]) - before
    return Kept(
        name="threshold",
        value=tried[best],
        before=round(before, 4),
        after=round(float(ious[best]), 4),
        taken=gain >= GAIN,
    )


def tuned(model: Model, kept: Sequence[Kept]) -> Model:
    """The model with what is kept."""
    for each in kept:
        if each.taken and each.name == "threshold":
            postprocess = dataclasses.replace(model.postprocess, threshold=float(each.value))
            config = dataclasses.replace(model.config, postprocess=postprocess)
            model = Model(model.network, spec=model.spec, config=config).eval()
    return model


def _iou(hits: Tensor, found: Tensor, there: Tensor) -> Tensor:
    return hits / (found + there - hits).clamp_min(1)
