"""A network of two outputs with a target each, as a plugin would offer it: things and borders."""

import torch
import torch.nn.functional as F
from torch import nn

from segzoo.spec import ModelSpec, Postprocess, Preprocess, Recipe, TaskDefaults


class Bordered(nn.Module):
    """x -> logits (N, 1, H, W) of things, and of borders in training or with all_heads."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 12, 5, padding=2),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.ReLU(),
        )
        self.heads = nn.ModuleList(nn.Conv2d(12, num_classes, 3, padding=1) for _ in range(2))

    def forward(self, x, all_heads=False):
        features = self.body(x)
        if self.training or all_heads:
            return tuple(head(features) for head in self.heads)
        return self.heads[0](features)


def bordered(in_channels: int = 3, num_classes: int = 1) -> Bordered:
    return Bordered(in_channels, num_classes)


def border_of(target: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) of 0 and 1: where a pixel beside it is of the other class."""
    return F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)


def with_border(*, head_weights: tuple[float, float] = (1.0, 0.2), ignore_index: int = -100):
    """The second output's target follows from the first one's."""

    def loss(outputs, batch):
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        counts = (batch["target"] != ignore_index)[:, None].float()
        target = (batch["target"] == 1)[:, None].float()
        parts = {}
        for name, head, truth in zip(
            ("things", "borders"), heads, (target, border_of(target)), strict=False
        ):
            values = F.binary_cross_entropy_with_logits(head, truth, reduction="none")
            parts[name] = (values * counts).sum() / counts.sum().clamp_min(1)
        whole = sum(w * part for w, part in zip(head_weights, parts.values(), strict=False))
        return {"loss": whole, **parts}

    return loss


BORDERED = ModelSpec(
    summary="two outputs with a target each",
    builder="bordered:bordered",
    tasks={"binary": TaskDefaults(loss="bordered:with_border", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=12 * 3 * 25 + 12 + 24 + 12 * 12 * 9 + 12 + 2 * (12 * 9 + 1),
    recipes={
        "own": Recipe(steps=120, batch_size=4, optimizer=("adamw", {}), lr=1e-2, eval_metric="iou")
    },
)
