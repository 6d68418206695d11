"""The losses of U²-Net: the sum over its seven maps, every weight 1 unless told otherwise.

Paper: Qin et al. 2020, arXiv:2005.09007, equations 1 and 2. The cross-entropy for several classes
is the same sum with softmax in place of the sigmoid.

Each function makes a loss of (outputs, batch). outputs: logits (N, K, H, W) of every map, the fused
one first, or of that one alone, as the network gives in eval mode. batch["weight"], optional:
(N, H, W), how much a pixel counts. Where the target is `ignore_index` nothing counts.
Gives {"loss": scalar, "loss_fused": scalar, "loss_side1": scalar, ...}, all 0 when nothing counts.
head_weights: one factor per map; ValueError when there are not as many. The fused map alone has 1.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Batch = Mapping[str, Tensor]
Loss = Callable[[Tensor | Sequence[Tensor], Batch], dict[str, Tensor]]


def deep_bce(*, head_weights: Sequence[float] | None = None, ignore_index: int = 255) -> Loss:
    """Binary cross-entropy of every map against the target.

    batch["target"]: (N, H, W) with values 0 and 1, or (N, K, H, W) in [0, 1].
    """

    def map_loss(logits: Tensor, batch: Batch) -> Tensor:
        target = batch["target"]
        target = target if target.ndim == logits.ndim else target.unsqueeze(1)
        target = target.expand_as(logits)
        counted = target != ignore_index
        pixels = F.binary_cross_entropy_with_logits(
            logits, (target * counted).to(logits.dtype), reduction="none"
        )
        return _mean(pixels, counted, batch)

    return _summed(map_loss, head_weights)


def deep_cross_entropy(
    *, head_weights: Sequence[float] | None = None, ignore_index: int = 255
) -> Loss:
    """Cross-entropy of every map against the target.

    batch["target"]: (N, H, W) class indices.
    """

    def map_loss(logits: Tensor, batch: Batch) -> Tensor:
        target = batch["target"]
        pixels = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")
        return _mean(pixels.unsqueeze(1), (target != ignore_index).unsqueeze(1), batch)

    return _summed(map_loss, head_weights)


def _summed(
    map_loss: Callable[[Tensor, Batch], Tensor], head_weights: Sequence[float] | None
) -> Loss:
    def loss(outputs: Tensor | Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        alone = isinstance(outputs, Tensor)
        maps = [outputs] if isinstance(outputs, Tensor) else [*outputs]
        factors = [1.0] * len(maps) if alone or head_weights is None else head_weights
        if len(factors) != len(maps):
            raise ValueError(f"head_weights has {len(factors)} values for {len(maps)} maps")
        names = ["loss_fused"] + [f"loss_side{i}" for i in range(1, len(maps))]
        # Sums over many pixels are beyond half precision.
        wide = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in maps]
        parts = {name: map_loss(x, batch) for name, x in zip(names, wide, strict=True)}
        total = torch.stack([f * part for f, part in zip(factors, parts.values(), strict=True)])
        return {"loss": total.sum(), **parts}

    return loss


def _mean(pixels: Tensor, counted: Tensor, batch: Batch) -> Tensor:
    """The mean of (N, K, H, W) values that count, each as often as its pixel's weight says."""
    weight = counted.to(pixels.dtype)
    if "weight" in batch:
        weight = weight * batch["weight"].unsqueeze(1)
    return (pixels * weight).sum() / weight.sum().clamp_min(1e-12)
