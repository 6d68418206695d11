"""Networks of segmentation-models-pytorch (SMP), untouched: their names of parameters are SMP's.

A builder (in_channels, num_classes, encoder=..., ...) calls SMP's class with its own defaults and
without pretrained weights, so nothing is downloaded. Options beside `encoder` are SMP's keywords.
"""

import json
import warnings
from functools import cache, partial
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from torch import nn


def network(
    decoder: str, in_channels: int = 3, num_classes: int = 1, *, encoder: str, **options: Any
) -> nn.Module:
    """x (N, in_channels, H, W) -> logits (N, num_classes, H, W), for the sizes of the table.

    decoder: as SMP names it in lower case. encoder: as SMP names it. Where timm's encoder is made
    for one size, it is asked to take any; for its own size that changes no value.
    """
    make = smp.MODEL_ARCHITECTURES_MAPPING[decoder]
    with warnings.catch_warnings():
        # Of DPT: what it would have done with a class token, if there were one.
        warnings.filterwarnings("ignore", message="Encoder does not have prefix tokens")
        made: nn.Module = make(
            encoder_name=encoder,
            encoder_weights=None,
            in_channels=in_channels,
            classes=num_classes,
            **any_size(decoder, encoder),
            **options,
        )
    return made


def any_size(decoder: str, encoder: str) -> dict[str, bool]:
    """The keywords that make an encoder take pictures of any size; mostly none are needed."""
    _, _, *extras = table()[encoder][decoder]
    found: dict[str, bool] = extras[0].get("encoder", {}) if extras else {}
    return found


@cache
def table() -> dict[str, Any]:
    text = Path(__file__).with_name("encoders.json").read_text("utf-8")
    encoders: dict[str, Any] = json.loads(text)["encoders"]
    return encoders


def upernet(
    in_channels: int = 3, num_classes: int = 1, *, img_size: int, **options: Any
) -> nn.Module:
    """`network`. img_size: of the pictures that windows are laid out for; 0 for the encoder's."""
    if img_size:
        options["img_size"] = img_size
    return network("upernet", in_channels, num_classes, **options)


deeplabv3 = partial(network, "deeplabv3")
deeplabv3plus = partial(network, "deeplabv3plus")
dpt = partial(network, "dpt")
fpn = partial(network, "fpn")
linknet = partial(network, "linknet")
manet = partial(network, "manet")
pan = partial(network, "pan")
pspnet = partial(network, "pspnet")
segformer = partial(network, "segformer")
unet = partial(network, "unet")
unetplusplus = partial(network, "unetplusplus")
