"""The parts of a U-Net: two convolutions, and the ways to go down, to go up and to join a skip.

Paper: Ronneberger, Fischer, Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015, arXiv:1505.04597, section 2 and figure 1. What is not in the paper
names the variant that it comes from; `model.py` has them all in one table.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Down: TypeAlias = Callable[[int], nn.Module]  # channels -> half as high and wide
Up: TypeAlias = Callable[[int, int], nn.Module]  # in, out channels -> twice as high and wide
Join: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # the upsampled map, the skip -> one map
Head: TypeAlias = Callable[[int, int], nn.Module]  # channels, num_classes -> logits

KERAS_EPS, KERAS_MOMENTUM = 1e-3, 0.01  # of Keras' BatchNormalization, momentum in torch's sense


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions with ReLU, each optionally with batch normalisation and dropout.

    (N, in_channels, H, W) -> (N, out_channels, H, W) with padding 1, H - 4 and W - 4 with 0.

    slope: of the ReLU below zero. dropout: after the first and the second convolution.
    entry_dropout, entry_norm: what stands before the first one, in this order (Keras' values).
    Dropout stands before the ReLU; after it, it would give the same, for it only scales by
    values that are not negative.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        padding: int = 1,
        bias: bool = True,
        batch_norm: bool = False,
        slope: float = 0.0,
        dropout: tuple[float, float] = (0.0, 0.0),
        entry_dropout: float = 0.0,
        entry_norm: bool = False,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if entry_dropout:
            parts["entry_dropout"] = nn.Dropout(entry_dropout)
        if entry_norm:
            parts["entry_norm"] = nn.BatchNorm2d(
                in_channels, eps=KERAS_EPS, momentum=KERAS_MOMENTUM
            )
        channels = (in_channels, mid_channels, out_channels)
        for n, rate in enumerate(dropout, start=1):
            parts[f"conv{n}"] = nn.Conv2d(
                channels[n - 1], channels[n], 3, padding=padding, bias=bias
            )
            if batch_norm:
                parts[f"norm{n}"] = nn.BatchNorm2d(channels[n])
            if rate:
                parts[f"dropout{n}"] = nn.Dropout(rate)
            parts[f"relu{n}"] = relu(slope)
        super().__init__(parts)


class EncoderStage(nn.Sequential):
    """Half the resolution (the first stage keeps it), then the block."""

    def __init__(self, down: nn.Module | None, block: nn.Module) -> None:
        parts = OrderedDict({"block": block} if down is None else {"down": down, "block": block})
        super().__init__(parts)


class DecoderStage(nn.Module):
    """Twice the resolution, joined with the skip of that resolution, then the block."""

    def __init__(self, up: nn.Module, join: Join, block: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.join = join
        self.block = block

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.block(self.join(self.up(x), skip))
        return out


class DepthToSpace(nn.Module):
    """Channels to pixels: (N, r * r * K, H, W) -> (N, K, r * H, r * W), as in TensorFlow.

    Channel (i * r + j) * K + k becomes pixel (i, j) of class k; torch's own PixelShuffle wants the
    class first.
    """

    def __init__(self, r: int) -> None:
        super().__init__()
        self.r = r

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        pixels = x.reshape(n, self.r, self.r, -1, h, w).permute(0, 3, 4, 1, 5, 2)
        return pixels.reshape(n, -1, h * self.r, w * self.r)


# --- down -----------------------------------------------------------------------------------------


def max_pool(channels: int) -> nn.Module:
    return nn.MaxPool2d(2)


def max_pool_ceil(channels: int) -> nn.Module:
    """An odd size is rounded up, as TensorFlow's padding "SAME" does (`unet_slim`)."""
    return nn.MaxPool2d(2, ceil_mode=True)


def strided(channels: int) -> nn.Module:
    """A convolution of stride 2 in place of the pooling (`unet_strided`)."""
    conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    return _named(conv=conv, relu=relu(0.01))


# --- up -------------------------------------------------------------------------------------------


def transposed(in_channels: int, out_channels: int) -> nn.Module:
    return _named(conv=nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2))


def transposed_relu(in_channels: int, out_channels: int) -> nn.Module:
    """As in the network that the authors of the paper released."""
    conv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    return _named(conv=conv, relu=relu())


def transposed_plain(in_channels: int, out_channels: int) -> nn.Module:
    """Without a bias (`unet_slim`)."""
    return _named(conv=nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False))


def bilinear(in_channels: int, out_channels: int) -> nn.Module:
    """No parameters: the map keeps its in_channels."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


def nearest_1x1(in_channels: int, out_channels: int) -> nn.Module:
    """Pixels repeated, then a 1x1 convolution (`unet_strided`)."""
    return _named(up=nn.Upsample(scale_factor=2), conv=nn.Conv2d(in_channels, out_channels, 1))


def nearest_2x2(in_channels: int, out_channels: int) -> nn.Module:
    """Pixels repeated, a 2x2 convolution, ReLU (`unet_zhixuhao`).

    TensorFlow's padding "same" of an even kernel: nothing before, one row and column after.
    """
    return _named(
        up=nn.Upsample(scale_factor=2),
        pad=nn.ZeroPad2d((0, 1, 0, 1)),
        conv=nn.Conv2d(in_channels, out_channels, 2),
        relu=relu(),
    )


# --- join -----------------------------------------------------------------------------------------


def skip_first(x: Tensor, skip: Tensor) -> Tensor:
    """The skip, then the upsampled map in the middle of zeros where it is smaller."""
    return torch.cat([skip, pad_to(x, skip)], dim=1)


def skip_last(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([pad_to(x, skip), skip], dim=1)


def skip_first_top_left(x: Tensor, skip: Tensor) -> Tensor:
    """As `skip_first`, but with zeros at the right and the bottom alone (`unet_canvas`)."""
    return torch.cat([skip, pad_to(x, skip, centre=False)], dim=1)


def cropped_skip_first(x: Tensor, skip: Tensor) -> Tensor:
    """The middle of the skip, as in figure 1 of the paper, then the upsampled map."""
    return torch.cat([crop_to(skip, x), x], dim=1)


def cropped_skip_last(x: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([x, crop_to(skip, x)], dim=1)


def pad_to(x: Tensor, like: Tensor, *, centre: bool = True) -> Tensor:
    """`x` at the height and width of `like`: zeros around it, or its last rows and columns cut."""
    # An exported graph has no such branch: it would be of sizes that need no padding alone.
    if not torch.compiler.is_exporting() and x.shape[-2:] == like.shape[-2:]:
        return x
    h, w = like.shape[-2:]
    x = x[..., :h, :w]  # apart from the padding: OpenVINO 2026.4 ends where that takes from 2 to 1
    more_h, more_w = h - x.shape[-2], w - x.shape[-1]
    top, left = (more // 2 if centre else 0 for more in (more_h, more_w))
    return F.pad(x, (left, more_w - left, top, more_h - top))


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    """The middle of `x` at the height and width of `like`, which is not larger."""
    h, w = like.shape[-2:]
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]


# --- head -----------------------------------------------------------------------------------------


def conv_1x1(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Conv2d(in_channels, num_classes, 1)


def conv_3x3(in_channels: int, num_classes: int) -> nn.Module:
    return nn.Conv2d(in_channels, num_classes, 3, padding=1)


def through_two(in_channels: int, num_classes: int) -> nn.Module:
    """Two channels with ReLU before the last convolution (`unet_zhixuhao`)."""
    first, last = nn.Conv2d(in_channels, 2, 3, padding=1), nn.Conv2d(2, num_classes, 1)
    return _named(conv1=first, relu=relu(), conv2=last)


def three_times(in_channels: int, num_classes: int) -> nn.Module:
    """Logits three times as high and wide as x (`unet_slim_3x`)."""
    return _named(conv=nn.Conv2d(in_channels, 9 * num_classes, 1), shuffle=DepthToSpace(3))


# --- for all --------------------------------------------------------------------------------------


def relu(slope: float = 0.0) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def he_initialise(network: nn.Module) -> None:
    """Weights from a Gaussian of variance 2 / N, N inputs of one output; biases zero.

    He et al. 2015, arXiv:1502.01852, equation 10; section 3 of the U-Net paper says how much a
    network without normalisation depends on it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            inputs = module.in_channels * math.prod(module.kernel_size)
            if isinstance(module, nn.ConvTranspose2d):
                inputs //= math.prod(module.stride)
            nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _named(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))
