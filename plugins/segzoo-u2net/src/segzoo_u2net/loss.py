"""The loss of U²-Net: the plain sum of the binary cross-entropies of its seven maps.

Paper: Qin et al. 2020, arXiv:2005.09007, equations 1 and 2, every weight 1 as in the authors' code.
"""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor


def deep_bce() -> Callable[[tuple[Tensor, ...], Mapping[str, Tensor]], dict[str, Tensor]]:
    """A loss of (outputs, batch): each map against the target, all pixels alike.

    outputs: tuple of logits (N, K, H, W), the fused map first. batch["target"]: (N, H, W) integers
    or (N, K, H, W) in [0, 1]; batch["weight"], optional: (N, H, W), pixels with 0 do not count.
    Gives {"loss": scalar, "loss_fused": ..., "loss_side1": ...}; all pixels ignored gives 0.
    """

    def loss(outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first = outputs[0]
        target = batch["target"].to(first.dtype)
        target = target if target.ndim == first.ndim else target.unsqueeze(1)
        target = target.expand_as(first)
        weight = batch.get("weight")
        weight = None if weight is None else weight.to(first.dtype).unsqueeze(1).expand_as(first)

        def bce(logits: Tensor) -> Tensor:
            if weight is None:
                return F.binary_cross_entropy_with_logits(logits, target)
            total = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
            return total / weight.sum().clamp_min(1e-12)

        names = ["loss_fused"] + [f"loss_side{i}" for i in range(1, len(outputs))]
        parts = {name: bce(logits) for name, logits in zip(names, outputs, strict=True)}
        return {"loss": sum(parts.values(), start=first.new_zeros(())), **parts}

    return loss
