"""The step down and the step up of the digit U-Net.

Numbers follow the article's Keras code (see `model.py`); where Keras and torch count differently,
a comment says so.
"""

import torch
from torch import Tensor, nn


class LeakyNorm(nn.Sequential):
    """Leaky ReLU, then batch normalisation, with Keras's constants. Keeps the shape."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.LeakyReLU(0.3),
            nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),  # Keras calls it momentum 0.99
        )


class Down(nn.Sequential):
    """Two convolutions, then half the size.

    (N, in_channels, H, W) -> (N, out_channels, H / 2, W / 2), for even H and W.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
            nn.LeakyReLU(0.3),
            nn.Conv2d(out_channels, out_channels, kernel_size, padding=kernel_size // 2),
            # Windows of 3 begin at the first pixel and may end beyond the last: Keras's "same".
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            LeakyNorm(out_channels),
        )


class Up(nn.Module):
    """A transposed convolution to twice the size, then the skip's channels before its own.

    x (N, in_channels, H, W), skip (N, skip_channels, 2H, 2W)
    -> (N, skip_channels + out_channels, 2H, 2W). Without a skip, skip_channels is 0.
    """

    def __init__(self, in_channels: int, out_channels: int, skip_channels: int = 0) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 5, stride=2, padding=1)
        self.norm = LeakyNorm(skip_channels + out_channels)

    def forward(self, x: Tensor, *skip: Tensor) -> Tensor:
        x = self.up(x)[:, :, :-1, :-1]  # Keras's "same" has no last row and column
        x = self.norm(torch.cat([*skip, x], dim=1))
        return x
