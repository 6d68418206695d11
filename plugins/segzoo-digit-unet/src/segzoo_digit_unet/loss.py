"""Cross-entropy, averaged over the pixels that count.

The article trains with Keras's `categorical_crossentropy`, the same number. Its labels outside
0..num_classes-1 count as pixels without a class; here torch refuses them.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


def cross_entropy(*, ignore_index: int = 255) -> Loss:
    """For classes that exclude each other.

    A loss of (logits, batch). logits: (N, K, H, W). batch["target"]: (N, H, W) class indices;
    `ignore_index` does not count. batch["weight"], optional: (N, H, W), how much a pixel counts.
    Gives a scalar; 0 when nothing counts.
    """

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        target = batch["target"]
        pixels = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")
        counts = target != ignore_index
        return weighted_mean(pixels, counts * batch.get("weight", torch.ones_like(pixels)))

    return loss


def binary_cross_entropy(*, ignore_index: int = 255) -> Loss:
    """For one class against the rest.

    As `cross_entropy`, with logits (N, 1, H, W) and batch["target"] (N, H, W) or (N, 1, H, W) of
    values from 0 to 1, or `ignore_index`.
    """

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        target = batch["target"].reshape(logits.shape)
        counts = target != ignore_index
        truth = (target * counts).to(logits.dtype)
        pixels = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").squeeze(1)
        weight = counts.squeeze(1) * batch.get("weight", torch.ones_like(pixels))
        return weighted_mean(pixels, weight)

    return loss


def weighted_mean(pixels: Tensor, weight: Tensor) -> Tensor:
    """The mean of (N, H, W) losses, each as often as its weight says; 0 for weights of 0."""
    weight = weight.float()  # sums of many pixels are beyond half precision
    return (pixels * weight).sum() / weight.sum().clamp_min(1e-12)
