"""A builder that keeps the contract, and others that break it."""

import sys

import torch
import torch.nn.functional as F
from torch import nn

number = 3


class Pixelwise(nn.Module):
    """The smallest segmenter: logits are a linear map of each pixel's channels."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


class Halved(Pixelwise):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.head(x), 2)


def good(in_channels, num_classes):
    return Pixelwise(in_channels, num_classes)


def signature(channels):
    return Pixelwise(channels, 1)


def returns(in_channels, num_classes):
    return {"network": Pixelwise(in_channels, num_classes)}


def shape(in_channels, num_classes):
    return Halved(in_channels, num_classes)


def raises(in_channels, num_classes):
    raise RuntimeError("the weights server does not answer")


def exits(in_channels, num_classes):
    sys.exit(3)


def loss(*, ignore_index=255):
    def cross_entropy(outputs, batch):
        target = batch["target"].unsqueeze(1)
        weight = (target != ignore_index).float()
        if "weight" in batch:
            weight = weight * batch["weight"].unsqueeze(1)
        truth = (target == 1).to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, truth, weight)

    return cross_entropy
