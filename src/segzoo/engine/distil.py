"""The loss of a student: a part of it is how far the outputs are from what a teacher says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.engine.reduce import Loss
from segzoo.engine.teacher import TEACHER
from segzoo.losses import OverHeads

__all__ = ["Distilled", "agreement"]

LEAST = 1e-6  # a probability is at least so far from 0 and 1, where its logit has no end


@dataclass(frozen=True)
class Distilled:
    """A loss of (outputs, batch): (1 - share) * the data's + share * the teacher's.

    Of a batch that the teacher has not seen, as of a validation set, the data's loss alone. It is
    no mean over pixels alone, so several processes bring their outputs together.
    """

    loss: Loss
    share: float
    agreement: Loss

    def __call__(self, outputs: Any, batch: Mapping[str, Tensor]) -> Any:
        of_data = self.loss(outputs, batch)
        if TEACHER not in batch:
            return of_data
        data, taught = (_scalar(each) for each in (of_data, self.agreement(outputs, batch)))
        total = (1 - self.share) * data + self.share * taught
        return {"loss": total, "loss_data": data, "loss_teacher": taught}


def agreement(*, temperature: float = 1.0, head_weights: tuple[float, ...] | None = None) -> Loss:
    """Kullback and Leibler's divergence of the outputs from batch["teacher"], the mean over pixels.

    0 where both say the same. temperature T: both are softened, p to the power of 1 / T and scaled
    to 1, and the result times T^2 keeps the size of the gradients (Hinton et al. 2015, section 2).
    batch["teacher"]: (N, K, h, w) in 0..1, resized to the logits where they have another size.
    batch["weight"]: how often a pixel counts, as elsewhere.
    """

    def of_logits(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        said = batch[TEACHER].to(logits.dtype)
        if said.shape[-2:] != logits.shape[-2:]:
            said = F.interpolate(said, logits.shape[-2:], mode="bilinear", antialias=True)
        said = said.clamp(LEAST, 1 - LEAST)
        if logits.shape[1] > 1 and batch["target"].ndim == 3:
            soft = (said.log() / temperature).log_softmax(1)
            ours = (logits / temperature).log_softmax(1)
            apart = (soft.exp() * (soft - ours)).sum(1)
        else:
            soft = said.logit() / temperature
            ours = logits / temperature
            p = soft.sigmoid()
            apart = (
                p * (F.logsigmoid(soft) - F.logsigmoid(ours))
                + (1 - p) * (F.logsigmoid(-soft) - F.logsigmoid(-ours))
            ).mean(1)
        weight = batch.get("weight", torch.ones_like(apart))
        return temperature**2 * (apart * weight).sum() / weight.sum().clamp_min(LEAST)

    return OverHeads(of_logits, head_weights)


def _scalar(value: Any) -> Tensor:
    found: Tensor = value["loss"] if isinstance(value, Mapping) else value
    return found
