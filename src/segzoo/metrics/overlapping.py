"""Metrics of classes that overlap: each class is judged by itself, as a picture of one class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from segzoo.metrics.measure import Measure, Numbers, Sums

__all__ = ["Overlapping"]


@dataclass(frozen=True)
class Overlapping:
    """A measure of one class, taken of each of several.

    Its numbers are lists, one value per class; mean_... is the mean of those that are defined. The
    means of background and foreground that a measure of one class gives are left out.
    """

    each: Measure
    num_classes: int

    @property
    def lower_is_better(self) -> frozenset[str]:
        names = self.each.lower_is_better
        return names | {f"mean_{name}" for name in names}

    @property
    def total_only(self) -> frozenset[str]:
        found: frozenset[str] = getattr(self.each, "total_only", frozenset())
        return found

    def sums(self, probabilities: Tensor, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The sums of every class, one after the other in the first dimension.

        probabilities: (K, H, W). mask, target: (K, H, W) int64 of 0 and 1, or the ignored index.
        """
        parts = [
            self.each.sums(probabilities[k : k + 1], mask[k], target[k])
            for k in range(self.num_classes)
        ]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def result(self, sums: Sums) -> Numbers:
        classes = [
            self.each.result({name: value[k] for name, value in sums.items()})
            for k in range(self.num_classes)
        ]
        numbers: Numbers = {}
        for name in classes[0]:
            if name.removeprefix("mean_") in classes[0].keys() - {name}:
                continue
            values = [float(of_class[name]) for of_class in classes]  # type: ignore[arg-type]
            known = [value for value in values if not math.isnan(value)]
            numbers[name] = values
            numbers[f"mean_{name}"] = sum(known) / len(known) if known else math.nan
        return numbers
