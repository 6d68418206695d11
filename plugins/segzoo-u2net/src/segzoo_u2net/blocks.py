"""The residual U-block (RSU) of U²-Net, in all its heights.

Paper: Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand, "U²-Net: Going deeper with nested U-structure
for salient object detection", Pattern Recognition 106 (2020), arXiv:2005.09007, section 3.1 and
figure 2(e). Numbers follow the authors' code, github.com/xuebinqin/U-2-Net at ac7e1c8 (Apache-2.0).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pool = Literal["ceil", "floor"]


class ConvBNReLU(nn.Sequential):
    """A 3x3 convolution that keeps the size, batch normalisation, ReLU.

    (N, in_channels, H, W) -> (N, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, *, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class RSU(nn.Module):
    """A small U-Net of `height` levels whose output is added to its own first feature map.

    (N, in_channels, H, W) -> (N, out_channels, H, W), for any H and W from 1 up.

    RSU-7 to RSU-4 of the paper halve the map between levels and dilate the bottom by 2; `dilated`
    gives RSU-4F, which keeps the resolution and doubles the dilation from level to level instead.
    """

    def __init__(
        self,
        height: int,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        dilated: bool = False,
        pool: Pool = "ceil",
    ) -> None:
        super().__init__()
        dilations = [2**i for i in range(height)] if dilated else [1] * (height - 1) + [2]
        widths = [out_channels] + [mid_channels] * height
        self.conv_in = ConvBNReLU(in_channels, out_channels)
        self.encoder = nn.ModuleList(
            ConvBNReLU(*channels, dilation=dilation)
            for *channels, dilation in zip(widths, widths[1:], dilations, strict=False)
        )
        # The decoder runs from the level above the bottom to the top; each takes two maps.
        self.decoder = nn.ModuleList(
            ConvBNReLU(2 * mid_channels, widths[level], dilation=dilations[level])
            for level in reversed(range(height - 1))
        )
        self.pool = nn.Identity() if dilated else downsample(pool)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv_in(x)
        top, *middle, bottom = self.encoder

        skips = [top(residual)]
        for conv in middle:
            skips.append(conv(self.pool(skips[-1])))
        x = bottom(skips[-1])

        for conv in self.decoder:
            skip = skips.pop()
            x = conv(torch.cat([upsample_to(x, skip), skip], dim=1))
        return x + residual


def downsample(pool: Pool) -> nn.MaxPool2d:
    """Halve H and W; an odd size is rounded up as in the authors' code ("ceil") or down."""
    return nn.MaxPool2d(2, stride=2, ceil_mode=pool == "ceil")


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear interpolation of `x` to the height and width of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    up: Tensor = F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return up
