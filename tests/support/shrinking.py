"""A network whose stages shrink to one pixel, with a side output."""

import torch
from torch import nn
from torch.nn.functional import interpolate


class Shrinking(nn.Module):
    """Resized to an eighth and back, as decoders do: one pixel where a picture is small."""

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: torch.Tensor, *, all_heads: bool = False):
        h, w = x.shape[2:]
        y = self.norm(self.first(x)).relu()
        small = interpolate(y, size=(h // 8, w // 8), mode="bilinear", align_corners=False)
        logits = 4 * self.last(interpolate(small, size=(h, w), mode="bilinear"))
        return (logits, -logits) if self.training or all_heads else logits


def shrinking(in_channels: int, num_classes: int, width: int = 4) -> Shrinking:
    return Shrinking(in_channels, num_classes, width)
