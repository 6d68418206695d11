"""The losses of UNet++: half the cross-entropy plus what the Dice lacks of 1, for every head.

Paper: Zhou et al. 2018, arXiv:1807.10165, equation 2, whose first term both codes write as binary
cross-entropy. They differ in the Dice, of each picture or of the whole batch, and in what becomes
of the heads: their mean or their sum.

Each function makes a loss of (outputs, batch). outputs: logits (N, K, H, W), or several of them
from the deepest head to the shallowest. batch["weight"], optional: (N, H, W), how much a pixel
counts. Where the target is `ignore_index` nothing counts.
Gives {"loss": scalar, "loss_head4": scalar, ...}, all 0 when nothing counts.
head_weights: one factor per head in the same order; ValueError when there are not as many. A head
alone, as the network gives in eval mode, counts 1.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Batch = Mapping[str, Tensor]
Loss = Callable[[Tensor | Sequence[Tensor], Batch], dict[str, Tensor]]


def bce_dice(*, head_weights: Sequence[float] | None = None, ignore_index: int = 255) -> Loss:
    """That of github.com/4uiiurz1/pytorch-nested-unet at 557ea02, where it is called BCEDiceLoss.

    The Dice is of each picture with all its classes together; the heads' losses are averaged.

    batch["target"]: (N, H, W) with values 0 and 1, or (N, K, H, W) in [0, 1].
    """

    def head_loss(logits: Tensor, batch: Batch) -> Tensor:
        pixels, masks, weight = _binary(logits, batch, ignore_index)
        dice = _dice(logits.sigmoid(), masks, weight, over=(1, 2, 3), smooth=1e-5)
        return 0.5 * _mean(pixels, weight) + 1 - dice.mean()

    return _over_heads(head_loss, head_weights, mean=True)


def bce_dice_of_batch(
    *, head_weights: Sequence[float] | None = None, ignore_index: int = 255
) -> Loss:
    """That of the authors' Keras code, where it is called bce_dice_loss, plus 1.

    The Dice is of the whole batch, and smoother; the heads' losses are summed, as Keras does.
    batch["target"]: as in `bce_dice`.
    """

    def head_loss(logits: Tensor, batch: Batch) -> Tensor:
        pixels, masks, weight = _binary(logits, batch, ignore_index)
        dice = _dice(logits.sigmoid(), masks, weight, over=(0, 1, 2, 3), smooth=1.0)
        return 0.5 * _mean(pixels, weight) + 1 - dice

    return _over_heads(head_loss, head_weights, mean=False)


def cross_entropy_dice(
    *, head_weights: Sequence[float] | None = None, ignore_index: int = 255
) -> Loss:
    """As `bce_dice` with the softmax in place of the sigmoid, for classes that exclude each other.

    batch["target"]: (N, H, W) class indices; `ignore_index` does not count.
    """

    def head_loss(logits: Tensor, batch: Batch) -> Tensor:
        target = batch["target"]
        pixels = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")
        counts = target != ignore_index
        weight = _weight(counts.unsqueeze(1).to(logits.dtype), batch)
        masks = F.one_hot(target * counts, logits.shape[1]).movedim(-1, 1)
        dice = _dice(logits.softmax(1), masks, weight, over=(1, 2, 3), smooth=1e-5)
        return 0.5 * _mean(pixels.unsqueeze(1), weight) + 1 - dice.mean()

    return _over_heads(head_loss, head_weights, mean=True)


def _over_heads(
    head_loss: Callable[[Tensor, Batch], Tensor],
    head_weights: Sequence[float] | None,
    *,
    mean: bool,
) -> Loss:
    def loss(outputs: Tensor | Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        alone = isinstance(outputs, Tensor)
        heads = [outputs] if isinstance(outputs, Tensor) else [*outputs]
        even = [1 / len(heads) if mean else 1.0] * len(heads)
        factors = even if alone or head_weights is None else head_weights
        if len(factors) != len(heads):
            raise ValueError(f"head_weights has {len(factors)} values for {len(heads)} heads")
        parts = {}
        for number, logits in zip(range(len(heads), 0, -1), heads, strict=True):
            # Sums over many pixels are beyond half precision.
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            parts[f"loss_head{number}"] = head_loss(logits, batch)
        total = torch.stack([f * part for f, part in zip(factors, parts.values(), strict=True)])
        return {"loss": total.sum(), **parts}

    return loss


def _binary(logits: Tensor, batch: Batch, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy, target and weight of each pixel and class, all (N, K, H, W)."""
    target = batch["target"]
    target = (target if target.ndim == 4 else target.unsqueeze(1)).expand_as(logits)
    counts = target != ignore_index
    masks = (target * counts).to(logits.dtype)
    pixels = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return pixels, masks, _weight(counts.to(logits.dtype), batch)


def _weight(counts: Tensor, batch: Batch) -> Tensor:
    """How often each pixel counts, of those (N, K, H, W) that do."""
    return counts * batch["weight"].unsqueeze(1) if "weight" in batch else counts


def _mean(pixels: Tensor, weight: Tensor) -> Tensor:
    """The mean of (N, K, H, W) values, each as often as its weight says."""
    return (pixels * weight).sum() / weight.sum().clamp_min(1e-12)


def _dice(
    probabilities: Tensor, masks: Tensor, weight: Tensor, *, over: tuple[int, ...], smooth: float
) -> Tensor:
    """Twice what both have in common, divided by what they have together; 1 when both are empty."""
    common = (probabilities * masks * weight).sum(over)
    total = ((probabilities + masks) * weight).sum(over)
    return (2 * common + smooth) / (total + smooth)
