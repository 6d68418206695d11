"""A small U-Net that says of every pixel which digit it belongs to.

The network of an article (Twilight737, "Keras-Unet", blog.csdn.net): a U-Net (Ronneberger, Fischer,
Brox 2015, arXiv:1505.04597) for pictures of 64x84 pixels. Kept from its code: activation and
normalisation follow the pooling, a skip passes both again after it is joined in, and the decoder
has no other convolution than the one that enlarges. Two differences in form: the network returns
logits, not probabilities, and takes any size.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from segzoo_digit_unet.blocks import Down, LeakyNorm, Up

#           channels, kernel size
ENCODER = ((32, 5), (64, 5), (128, 5), (128, 3), (128, 3))
BOTTLENECK = (128, 128)
DECODER = (128, 128, 64, 64)
STRIDE = 2 ** len(ENCODER)


class DigitUNet(nn.Module):
    """Five steps down, two convolutions, five steps up with the maps of the way down as skips.

    x (N, in_channels, H, W) -> logits (N, num_classes, H, W), for any H and W from 1 up: zeros are
    added at the right and at the bottom up to a multiple of 32, and cropped at the end.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        channels = in_channels
        self.encoder = nn.ModuleList()
        for out, kernel_size in ENCODER:
            self.encoder.append(Down(channels, out, kernel_size))
            channels = out

        self.bottleneck = nn.Sequential()
        for out in BOTTLENECK:
            self.bottleneck.extend([nn.Conv2d(channels, out, 3, padding=1), LeakyNorm(out)])
            channels = out

        skips = [out for out, _ in ENCODER[-2::-1]]  # from the coarsest to the finest
        self.decoder = nn.ModuleList()
        for out, skip in zip(DECODER, skips, strict=True):
            self.decoder.append(Up(channels, out, skip))
            channels = skip + out

        self.head = nn.Sequential(
            Up(channels, num_classes),
            nn.ConvTranspose2d(num_classes, num_classes, 5, padding=2),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE))
        skips = []
        for down in self.encoder:
            x = down(x)
            skips.append(x)

        x = self.bottleneck(skips.pop())
        for up in self.decoder:
            x = up(x, skips.pop())
        logits: Tensor = self.head(x)
        return logits[:, :, :height, :width]


def initialise(network: nn.Module) -> None:
    """Glorot's uniform values for kernels and zeros for biases, as Keras begins."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def digit_unet(in_channels: int = 1, num_classes: int = 11) -> DigitUNet:
    """3.6 million parameters for gray pictures and eleven classes."""
    return DigitUNet(in_channels, num_classes)
