"""The step up of the FCN."""

import torch.nn.functional as F
from torch import Tensor, nn


class Enlarge(nn.ConvTranspose2d):
    """A transposed 3x3 convolution to twice the size: (N, C, H, W) -> (N, K, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x, output_size)[:, :, :-1, :-1]  # Keras's "same" has no last ones


class Up(nn.Module):
    """To twice the size, then one more convolution, a ReLU after each.

    (N, in_channels, H, W) -> (N, out_channels, 2H, 2W).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = Enlarge(in_channels, out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.relu(self.up(x))))
