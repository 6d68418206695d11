"""The losses of the U-Net family: cross-entropy, Dice, and half of the one less the other.

Every factory below gives a function of (outputs, batch) -> scalar. outputs: logits (N, K, H, W).
batch["target"]: (N, H, W) with 0 and 1, or (N, K, H, W) in [0, 1]; class indices (N, H, W) for
`cross_entropy`. batch["weight"], optional: (N, H, W), how much a pixel counts. Where the target is
`ignore_index` nothing counts; where nothing at all does, the loss is 0.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Mapping[str, Tensor]], Tensor]

SMOOTH = 1.0  # of Dice, as in the code that the article on the Keras U-Net shows
LEAST = 1e-12  # keeps 0 / 0 away where nothing counts


def cross_entropy(*, ignore_index: int = 255) -> Loss:
    """Softmax and cross-entropy, the mean over the pixels by their weight."""

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        target = batch["target"]
        values = F.cross_entropy(_wide(logits), target, ignore_index=ignore_index, reduction="none")
        weight = (target != ignore_index).to(values.dtype)
        return _mean(values, weight * batch["weight"] if "weight" in batch else weight)

    return loss


def bce(*, ignore_index: int = 255) -> Loss:
    """Sigmoid and binary cross-entropy of each class, the mean over pixels and classes."""

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        logits = _wide(logits)
        target, weight = _per_class(logits, batch, ignore_index)
        values = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return _mean(values, weight)

    return loss


def dice(*, ignore_index: int = 255) -> Loss:
    """Minus Dice with sigmoid, from -1 to 0, over all pixels of the batch as if they were one.

    -(2 sum(t p) + 1) / (sum(t) + sum(p) + 1).
    """

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        probabilities = _wide(logits).sigmoid()
        target, weight = _per_class(probabilities, batch, ignore_index)
        overlap = (weight * target * probabilities).sum()
        total = (weight * (target + probabilities)).sum()
        return -(2 * overlap + SMOOTH) / (total + SMOOTH) * weight.any()

    return loss


def bce_dice(*, ignore_index: int = 255) -> Loss:
    """Half of `bce`, and `dice`.

    Zhou et al. 2018, arXiv:1807.10165, equation 1, as the authors' code has it.
    """
    entropy, overlap = bce(ignore_index=ignore_index), dice(ignore_index=ignore_index)

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return 0.5 * entropy(logits, batch) + overlap(logits, batch)

    return loss


def _per_class(
    values: Tensor, batch: Mapping[str, Tensor], ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Target and weight of each of (N, K, H, W) values; both 0 where the target is ignored."""
    target = batch["target"]
    target = (target if target.ndim == values.ndim else target.unsqueeze(1)).expand_as(values)
    counted = target != ignore_index
    weight = counted.to(values.dtype)
    if "weight" in batch:
        weight = weight * batch["weight"].unsqueeze(1)
    return target.to(values.dtype) * counted, weight


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(LEAST)


def _wide(logits: Tensor) -> Tensor:
    """At least float32: sums over a batch of pixels need it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
