"""The parts of the decoder: separable convolutions, what the whole picture says, and a step up."""

from collections import OrderedDict
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

DILATIONS = (1, 2, 4)  # of the context, whose map of a 320-pixel picture is 10 pixels a side


class SeparableConv(nn.Sequential):
    """A 3x3 convolution of each channel, then one of 1x1 across them; a norm and ReLU6 after each.

    (N, in_channels, H, W) -> (N, out_channels, H, W). Howard et al. 2017, MobileNets,
    arXiv:1704.04861, figure 3; ReLU6 as in EfficientNet-Lite, whose values fit eight bits.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1) -> None:
        super().__init__(
            OrderedDict(
                depthwise=nn.Conv2d(
                    in_channels,
                    in_channels,
                    3,
                    padding=dilation,
                    dilation=dilation,
                    groups=in_channels,
                    bias=False,
                ),
                norm1=nn.BatchNorm2d(in_channels),
                relu1=nn.ReLU6(inplace=True),
                pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
                norm2=nn.BatchNorm2d(out_channels),
                relu2=nn.ReLU6(inplace=True),
            )
        )


class Lateral(nn.Sequential):
    """A map of the encoder at the decoder's width: (N, in, H, W) -> (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
                norm=nn.BatchNorm2d(out_channels),
            )
        )


class Context(nn.Module):
    """The coarsest map, seen at several reaches and weighed by what the whole picture holds.

    (N, in_channels, H, W) -> (N, out_channels, H, W). The reaches are dilated convolutions side by
    side, after Chen et al. 2017, arXiv:1706.05587; the gate is a sigmoid of the picture's mean,
    twice as large so that it begins near 1, after Hu et al. 2018, arXiv:1709.01507.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lateral = Lateral(in_channels, out_channels)
        self.gate = nn.Conv2d(in_channels, out_channels, 1)
        self.reaches = nn.ModuleList(
            SeparableConv(out_channels, out_channels, dilation=dilation) for dilation in DILATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = 2 * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        base: Tensor = self.lateral(x) * gate
        out = base
        for reach in self.reaches:
            out = out + reach(base)
        return out


class Step(nn.Module):
    """The coarser map brought to the size of a finer one and added to it, then convolutions.

    finer (N, in_channels, H, W), coarser (N, width, h, w) or None -> (N, out_channels, H, W).
    Lin et al. 2017, Feature pyramid networks, arXiv:1612.03144, figure 3.
    """

    def __init__(
        self, lateral: nn.Module, width: int, out_channels: int, *, convolutions: int
    ) -> None:
        super().__init__()
        self.lateral = lateral
        widths = [width] * convolutions + [out_channels]
        self.refine = nn.Sequential(*(SeparableConv(a, b) for a, b in pairwise(widths)))

    def forward(self, finer: Tensor, coarser: Tensor | None) -> Tensor:
        x = self.lateral(finer)
        if coarser is not None:
            x = x + enlarged(coarser, finer)
        out: Tensor = self.refine(x)
        return out


def enlarged(x: Tensor, like: Tensor) -> Tensor:
    """x (N, C, h, w) at the height and width of `like`, bilinearly."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
