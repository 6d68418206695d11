"""The nodes of UNet++, in the two forms that are in use.

Paper: Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical Image
Segmentation", DLMIA 2018, arXiv:1807.10165, figure 1. `Node` has the layers of
github.com/4uiiurz1/pytorch-nested-unet at 557ea02 (MIT), `TransposedNode` those of the authors'
Keras network, github.com/MrGiovanni/UNetPlusPlus at 2659ddc.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvBNReLU(nn.Sequential):
    """A 3x3 convolution that keeps the size, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ConvReLUDropout(nn.Sequential):
    """A 3x3 convolution that keeps the size, ReLU, dropout of single values."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(dropout),
        )


class Node(nn.Module):
    """Two convolutions over the maps at the left and, interpolated to their size, the one below.

    left: maps (N, ., H, W), left_channels together. below: (N, below_channels, H / 2, W / 2), or
    None in the encoder, where below_channels is 0. Gives (N, out_channels, H, W).
    """

    def __init__(self, left_channels: int, below_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.convs = nn.Sequential(
            ConvBNReLU(left_channels + below_channels, out_channels),
            ConvBNReLU(out_channels, out_channels),
        )

    def forward(self, left: Sequence[Tensor], below: Tensor | None) -> Tensor:
        maps = [*left] if below is None else [*left, self.up(below)]
        out: Tensor = self.convs(torch.cat(maps, dim=1))
        return out


class TransposedNode(nn.Module):
    """As `Node`, but the map below is enlarged by a transposed convolution, and comes first.

    Convolutions begin with He's normal values, as the authors' do: nothing normalises them later.
    """

    def __init__(
        self, left_channels: int, below_channels: int, out_channels: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.up = None
        if below_channels:
            self.up = nn.ConvTranspose2d(below_channels, out_channels, 2, stride=2)
            left_channels += out_channels
        self.convs = nn.Sequential(
            ConvReLUDropout(left_channels, out_channels, dropout),
            ConvReLUDropout(out_channels, out_channels, dropout),
        )
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.startswith("up."):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")

    def forward(self, left: Sequence[Tensor], below: Tensor | None) -> Tensor:
        maps = [*left] if self.up is None else [self.up(below), *left]
        out: Tensor = self.convs(torch.cat(maps, dim=1))
        return out
