"""A model with an elastic depth whose quality at each depth anybody can work out."""

import torch
from torch import nn

from segzoo.spec import ModelSpec, Option, Postprocess, Preprocess, TaskDefaults

NOISE = (2.0, 0.2, 0.0)  # how much of green each head mixes into red, the shallowest first


class Layered(nn.Module):
    """One class: what is red, the more purely the deeper."""

    def __init__(self, depth: int, deep_supervision: bool) -> None:
        super().__init__()
        first = 1 if deep_supervision else depth
        self.heads = nn.ModuleDict(
            {str(level): nn.Conv2d(3, 1, 1) for level in range(first, depth + 1)}
        )
        self.depth = depth
        with torch.no_grad():
            for level, head in self.heads.items():
                noise = NOISE[int(level) - 1]
                head.weight.copy_(torch.tensor([20.0, 20 * noise, 0.0]).reshape(1, 3, 1, 1))
                head.bias.fill_(-10 - 10 * noise)

    def forward(self, x: torch.Tensor, *, all_heads: bool = False):
        maps = [head(x) for head in reversed(self.heads.values())]
        return tuple(maps) if self.training or all_heads else maps[0]


def layered(in_channels: int, num_classes: int, *, depth: int, deep_supervision: bool) -> Layered:
    return Layered(depth, deep_supervision)


LAYERED = ModelSpec(
    summary="finds what is red, the better the deeper",
    builder="layered:layered",
    options={
        "depth": Option(default=3, min=1, max=3, help="Heads."),
        "deep_supervision": Option(default=True, help="A head for each depth."),
    },
    elastic=("depth",),
    tasks={"binary": TaskDefaults(loss="bright:no_loss", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=12,
)
