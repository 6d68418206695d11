"""transformers' SegFormer and UPerNet, with the names of parameters that transformers gives them.

A builder (in_channels, num_classes, encoder=..., ...) makes the library's network from a config
that is data of ours (`encoders.py`), with random values: nothing is downloaded, and no code but the
library's own runs. The library collects features by hooks, with which a network cannot be pickled
nor always exported; here its stages are called one after the other, and the hooks are taken off.
Where its network gives a record, this one gives logits at the size of x.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from segzoo_transformers import encoders


class SegFormer(nn.Module):
    """x (N, C, H, W) -> logits (N, K, H, W), brought up from a quarter of the size."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.segformer: Any = without_hooks(network.segformer)
        self.decode_head = network.decode_head

    def forward(self, x: Tensor) -> Tensor:
        features, found = x, []
        for stage in self.segformer.stages:
            features = stage(features)
            found.append(features)
        return _resized(self.decode_head(found), x)


class ConvNext(nn.Module):
    """x -> the normalised features of four stages."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.embeddings = backbone.embeddings
        self.encoder: Any = without_hooks(backbone.encoder)
        self.hidden_states_norms = backbone.hidden_states_norms

    def forward(self, x: Tensor) -> list[Tensor]:
        features, found = self.embeddings(x), []
        for stage, norm in zip(self.encoder.stages, self.hidden_states_norms.values(), strict=True):
            features = stage(features)
            found.append(norm(features))
        return found


class Swin(nn.Module):
    """x -> the normalised features of four stages. Windows are never made smaller.

    The library's backbone has a normalisation more, of which nothing comes; it is left out.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.embeddings = backbone.swin.embeddings
        self.encoder: Any = without_hooks(backbone.swin.encoder)
        self.hidden_states_norms = backbone.hidden_states_norms

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens, (height, width) = self.embeddings(x)
        found = []
        for stage, norm in zip(self.encoder.layers, self.hidden_states_norms.values(), strict=True):
            tokens, features, _ = stage(
                tokens,
                (height, width),
                always_partition=True,
                output_hidden_states_before_downsampling=True,
            )
            features = norm(features.permute(0, 2, 3, 1).flatten(1, 2))
            features = features.unflatten(1, (height, width)).permute(0, 3, 1, 2)
            found.append(features.contiguous())
            height, width = (height + 1) // 2, (width + 1) // 2
        return found


class UperNet(nn.Module):
    """x (N, C, H, W) -> logits (N, K, H, W); in training, or with all_heads, also auxiliary."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        made = {"convnext": ConvNext, "swin": Swin}[network.backbone.config.model_type]
        self.backbone = made(network.backbone)
        self.decode_head = network.decode_head
        self.auxiliary_head = network.auxiliary_head

    def forward(self, x: Tensor, *, all_heads: bool = False) -> Tensor | tuple[Tensor, ...]:
        features = self.backbone(x)
        logits = _resized(self.decode_head(features), x)
        if self.auxiliary_head is None or not (self.training or all_heads):
            return logits
        return logits, _resized(self.auxiliary_head(features), x)


def _resized(logits: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


def without_hooks(part: nn.Module) -> nn.Module:
    """The same part, with what the library hung into it to collect features taken off."""
    for module in part.modules():
        module._forward_hooks.clear()
    return part


PATCH = "smart_apply"  # a function of the library's, by which it gives initial values
BUILDING = threading.Lock()


@contextlib.contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Take off again what the library adds to every Module of the process while it builds one."""
    with BUILDING:
        there = PATCH in vars(nn.Module)
        try:
            yield
        finally:
            if not there and PATCH in vars(nn.Module):
                delattr(nn.Module, PATCH)


def segformer(
    in_channels: int = 3, num_classes: int = 150, *, encoder: str, image_size: int = 0
) -> SegFormer:
    """SegFormer, random. image_size: of the preprocessing; the network takes any."""
    config = SegformerConfig(
        num_channels=in_channels, num_labels=num_classes, **encoders.segformer(encoder)
    )
    with torch_as_it_was():
        return SegFormer(SegformerForSemanticSegmentation(config))


def upernet(
    in_channels: int = 3,
    num_classes: int = 150,
    *,
    encoder: str,
    aux: bool = False,
    image_size: int = 0,
) -> UperNet:
    """UPerNet, random. aux: with the auxiliary head. image_size: as of `segformer`."""
    settings = encoders.backbone(encoder)
    kinds = {"convnext": ConvNextConfig, "swin": SwinConfig}
    make = kinds[settings.pop("model_type")]
    config = UperNetConfig(
        backbone_config=make(num_channels=in_channels, **settings),
        num_labels=num_classes,
        use_auxiliary_head=aux,
        **encoders.upernet(encoder),
    )
    with torch_as_it_was():
        return UperNet(UperNetForSemanticSegmentation(config))
