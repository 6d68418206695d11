"""What a metric is: sums that add up over pictures, and the numbers that the added sums give.

    sums = [measure.sums(probabilities, mask, target) for ... in pictures]
    measure.result(added(sums))       # of the data set
    measure.result(sums[0])           # of one picture

So neither the order of the pictures, nor how many go through the network at a time, nor how many
processes share them changes a number. A distribution offers a metric as an entry point of the
group `segzoo.metrics`: a callable (*, num_classes, ignore_index) -> Measure.

One class has two labels, background 0 and foreground 1; K > 1 classes have the labels 0 to K - 1.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from segzoo.errors import DatasetError

__all__ = [
    "MAIN",
    "Measure",
    "Numbers",
    "Sums",
    "added",
    "counted",
    "label_count",
    "needed",
    "numbers_per_class",
]

Sums: TypeAlias = Mapping[str, Tensor]
Numbers: TypeAlias = dict[str, float | list[float]]
MAIN = {"saliency": "max_f", "binary": "iou", "multiclass": "mean_iou", "multilabel": "mean_iou"}


@runtime_checkable
class Measure(Protocol):
    """One metric, or several that share their sums.

    lower_is_better: the names in `result` of which a smaller number is the better one.
    """

    @property
    def lower_is_better(self) -> frozenset[str]: ...

    def sums(self, probabilities: Tensor, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The sums of one picture at its own size: int64 or float64, on the CPU.

        probabilities: (K, H, W) float32 in 0..1. mask: (H, W) int64, the predicted labels; any
        other value is a wrong answer everywhere. target: (H, W) int64, labels or the ignored index.
        The three lie on one device. DatasetError for a target with another value.
        """

    def result(self, sums: Sums) -> Numbers:
        """The numbers of added sums; nan where they are not defined."""


def added(parts: Iterable[Sums]) -> dict[str, Tensor]:
    """The sums of several pictures as one; empty for none."""
    total: dict[str, Tensor] = {}
    for part in parts:
        total = {name: total[name] + value if total else value for name, value in part.items()}
    return total


def needed(measure: Measure, sums: Sums) -> dict[str, Tensor]:
    """The sums that `measure.result` reads: all that need be kept of every single picture.

    A measure whose large sums serve something else (a confusion matrix) names them in an
    attribute `total_only`.
    """
    spare: frozenset[str] = getattr(measure, "total_only", frozenset())
    return {name: value for name, value in sums.items() if name not in spare}


def label_count(num_classes: int) -> int:
    """How many labels there are: one class has two, background and foreground."""
    return max(num_classes, 2)


def counted(target: Tensor, *, num_classes: int, ignore_index: int | None) -> Tensor:
    """(H, W) bool: the pixels of a target that are not ignored.

    DatasetError when one of them holds no label.
    """
    labels = label_count(num_classes)
    counts = torch.ones_like(target, dtype=torch.bool)
    if ignore_index is not None:
        counts = target != ignore_index
    wrong = target[counts & ((target < 0) | (target >= labels))]
    if wrong.numel():
        found = torch.unique(wrong).tolist()
        raise DatasetError(
            "a target holds values that are no class",
            found=", ".join(map(str, found[:5])) + ", ..." * (len(found) > 5),
            expected=f"0 to {labels - 1}" + f", or {ignore_index}" * (ignore_index is not None),
        )
    return counts


def numbers_per_class(
    name: str,
    part: Tensor,
    whole: Tensor,
    present: Tensor,
    *,
    num_classes: int,
    ignore_index: int | None,
) -> Numbers:
    """`part / whole` of every class under `name`, and their mean under `mean_NAME`.

    part, whole, present: (labels,). This is the rule for absent classes: one that is not present,
    or is ignored, is nan and does not enter the mean; of one that is present, 0 / 0 is 0. Of one
    class the foreground's number is given alone, and the mean is of background and foreground.
    """
    judged = present
    if ignore_index is not None:
        judged = present & (torch.arange(len(present)) != ignore_index)
    shares = torch.where(judged, part.double() / whole.clamp(min=1), torch.nan)
    values: list[float] = shares.tolist()
    return {
        name: values[1] if num_classes == 1 else values,
        f"mean_{name}": float(shares.nanmean()),
    }
