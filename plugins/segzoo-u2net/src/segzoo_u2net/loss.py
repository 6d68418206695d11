"""The losses of U²-Net: the plain sum over its seven maps, every weight 1.

Paper: Qin et al. 2020, arXiv:2005.09007, equations 1 and 2. The cross-entropy for several classes
is the same sum with softmax in place of the sigmoid.
"""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Sequence[Tensor], Mapping[str, Tensor]], dict[str, Tensor]]


def deep_bce() -> Loss:
    """Binary cross-entropy of every map against the target.

    A loss of (outputs, batch). outputs: logits (N, K, H, W), the fused map first.
    batch["target"]: (N, H, W) with values 0 and 1, or (N, K, H, W) in [0, 1].
    batch["weight"], optional: (N, H, W), how much a pixel counts; all zero gives 0.
    Gives {"loss": scalar, "loss_fused": scalar, "loss_side1": scalar, ...}.
    """

    def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
        target = target if target.ndim == logits.ndim else target.unsqueeze(1)
        target = target.to(logits.dtype).expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)

    return _summed(pixel_loss)


def deep_cross_entropy(*, ignore_index: int = 255) -> Loss:
    """Cross-entropy of every map against the target.

    As `deep_bce`, with batch["target"]: (N, H, W) class indices; `ignore_index` does not count.
    """

    def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="none")

    def counted(batch: Mapping[str, Tensor]) -> Tensor:
        return batch["target"] != ignore_index

    return _summed(pixel_loss, counted)


def _summed(
    pixel_loss: Callable[[Tensor, Tensor], Tensor],
    counted: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
) -> Loss:
    """The mean of (N, H, W) pixel losses over the pixels that count, summed over the maps."""

    def loss(outputs: Sequence[Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weight = batch.get("weight")
        if counted is not None:
            mask = counted(batch).to(outputs[0].dtype)
            weight = mask if weight is None else weight * mask

        def mean(values: Tensor) -> Tensor:
            if weight is None:
                return values.mean()
            return (values * weight).sum() / weight.sum().clamp_min(1e-12)

        names = ["loss_fused"] + [f"loss_side{i}" for i in range(1, len(outputs))]
        parts = {
            name: mean(pixel_loss(logits, batch["target"]))
            for name, logits in zip(names, outputs, strict=True)
        }
        return {"loss": sum(parts.values(), start=outputs[0].new_zeros(())), **parts}

    return loss
