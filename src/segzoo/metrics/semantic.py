"""Pixels by class: IoU, Dice, precision, recall, accuracies, all from one confusion matrix.

Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation
(arXiv:1411.4038), section 5, defines pixel accuracy, mean accuracy, mean IoU and frequency
weighted IoU. With n_ij the pixels of class i that were given class j, over the whole data set:

    iou_i       n_ii / (sum_j n_ij + sum_j n_ji - n_ii)      the Jaccard index
    dice_i      2 n_ii / (sum_j n_ij + sum_j n_ji)           the F1 score
    precision_i n_ii / sum_j n_ji
    recall_i    n_ii / sum_j n_ij
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from segzoo.metrics.measure import Numbers, Sums, counted, label_count, numbers_per_class

__all__ = ["Semantic", "confusion_matrix"]


@dataclass(frozen=True, kw_only=True)
class Semantic:
    """The numbers iou, dice, precision and recall, each with its mean_..., and the accuracies.

    A class is absent when neither target nor prediction holds it, in the whole data set, or when
    `ignore_index` is its index. mean_accuracy is the mean recall of the classes that the target
    holds; fw_iou weighs their IoU by their share of the target.
    """

    num_classes: int
    ignore_index: int | None = None

    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    total_only: ClassVar[frozenset[str]] = frozenset({"confusion"})

    def sums(self, probabilities: Tensor, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
        """confusion: (labels, labels) int64, rows target, columns prediction; hits, targets and
        predictions: (labels,) int64, pixels of each class that are right, are it, are called it.
        """
        counts = counted(target, num_classes=self.num_classes, ignore_index=self.ignore_index)
        labels = label_count(self.num_classes)
        actual, predicted = target[counts].long(), mask[counts].long()
        # one column more, for a prediction that is no class
        predicted = torch.where((predicted >= 0) & (predicted < labels), predicted, labels)
        pairs = torch.bincount(actual * (labels + 1) + predicted, minlength=labels * (labels + 1))
        table = pairs.view(labels, labels + 1).cpu()
        confusion = table[:, :labels].contiguous()
        return {
            "confusion": confusion,
            "hits": confusion.diagonal().clone(),
            "targets": table.sum(1),
            "predictions": confusion.sum(0),
        }

    def result(self, sums: Sums) -> Numbers:
        names = ("hits", "targets", "predictions")
        hits, targets, predictions = (sums[name].cpu().double() for name in names)
        either = targets + predictions
        numbers: Numbers = {}
        for name, part, whole in (
            ("iou", hits, either - hits),
            ("dice", 2 * hits, either),
            ("precision", hits, predictions),
            ("recall", hits, targets),
        ):
            numbers |= numbers_per_class(
                name,
                part,
                whole,
                either > 0,
                num_classes=self.num_classes,
                ignore_index=self.ignore_index,
            )
        known = targets > 0
        iou = hits / (either - hits).clamp(min=1)
        return numbers | {
            "pixel_accuracy": float(hits.sum() / targets.sum()),
            "mean_accuracy": float((hits / targets)[known].mean()),
            "fw_iou": float((targets * iou).sum() / targets.sum()),
        }


def confusion_matrix(sums: Sums) -> Tensor:
    """(labels, labels) int64 of the sums of `Semantic`: pixels of row's class called column's."""
    return sums["confusion"]
