"""torchvision's segmentation networks, with the names of parameters that torchvision gives them.

A builder (in_channels, num_classes, encoder=..., aux=...) calls torchvision's function without
pretrained weights, so nothing is downloaded. Where torchvision's network gives a mapping, "out" and
"aux", this one gives logits, and while it trains a tuple of both.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torchvision.models.segmentation as theirs
from torch import Tensor, nn
from torch.nn import functional as F


class Segmenter(nn.Module):
    """x (N, C, H, W) -> logits (N, K, H, W); with all_heads, or in training, (logits, auxiliary).

    whole: the classifier takes all that the backbone gives, not its last features alone.
    """

    def __init__(self, network: Any, *, whole: bool) -> None:
        super().__init__()
        self.backbone: nn.Module = network.backbone
        self.classifier: nn.Module = network.classifier
        self.aux_classifier: nn.Module | None = getattr(network, "aux_classifier", None)
        self.whole = whole

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        features: Mapping[str, Tensor] = self.backbone(x)
        logits = self.classifier(features if self.whole else features["out"])
        logits = _resized(logits, x)
        if self.aux_classifier is None or not (self.training or all_heads):
            return logits
        return logits, _resized(self.aux_classifier(features["aux"]), x)


def _resized(logits: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


def network(
    family: str, in_channels: int = 3, num_classes: int = 21, *, encoder: str, aux: bool = False
) -> Segmenter:
    """torchvision's network `family`_`encoder`, random. aux: with the auxiliary classifier."""
    make: Callable[..., Any] = getattr(theirs, f"{family}_{encoder}")
    options = {} if family == "lraspp" else {"aux_loss": aux}
    made = make(weights=None, weights_backbone=None, num_classes=num_classes, **options)
    if in_channels != 3:
        _replace_stem(made.backbone, in_channels)
    return Segmenter(made, whole=family == "lraspp")


def _replace_stem(backbone: Any, in_channels: int) -> None:
    """Let the first convolution take so many channels."""
    holder, name = (backbone, "conv1") if hasattr(backbone, "conv1") else (backbone["0"], "0")
    old = getattr(holder, name)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        bias=old.bias is not None,
    )
    setattr(holder, name, new)


deeplabv3 = partial(network, "deeplabv3")
fcn = partial(network, "fcn")
lraspp = partial(network, "lraspp", encoder="mobilenet_v3_large")
