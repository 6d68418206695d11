"""What SMP's own `save_pretrained` wrote, here or on the Hub, in segzoo's words.

    segzoo convert FOLDER -o OURS

or without a copy:

    name, options = arguments_of("folder/config.json")
    model = segzoo.load(name, weights="folder/model.safetensors", **options)

The tensors need no mapping: the networks are SMP's.
"""

import inspect
import json
from os import PathLike
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp

# What of SMP's keywords an option of ours bears the name of.
OFFERED = {
    "segformer": ("decoder_segmentation_channels",),
    "upernet": ("decoder_channels", "img_size"),
}
WITHOUT_EFFECT = ("encoder_weights", "dynamic_img_size", "strict_img_size")  # on loading, or here


def arguments_of(config: str | PathLike[str]) -> tuple[str, dict[str, Any]]:
    """The name and the options with which `segzoo.load` makes the network of SMP's config.json.

    ValueError for a file that is none of SMP's, and for a network that segzoo does not offer: one
    with another depth or activation, say. It lists everything that differs.
    """
    try:
        return arguments(json.loads(Path(config).read_text("utf-8")))
    except ValueError as error:
        raise ValueError(f"{config}: {error}") from None


def arguments(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`arguments_of`, of what a config.json holds."""
    settings = dict(settings)
    decoder = str(settings.pop("_model_class", "")).lower()
    if decoder not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise ValueError("it is not the config.json of a network that SMP saved")
    parameters = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[decoder].__init__).parameters
    settings = {name: p.default for name, p in parameters.items() if p.default is not p.empty} | {
        name: value for name, value in settings.items() if not name.startswith("_")
    }
    options = {
        "encoder": settings.pop("encoder_name").partition(".")[0],  # a tag is about its weights
        "in_channels": settings.pop("in_channels"),
        "num_classes": settings.pop("classes"),
    }
    odd = []
    for name, value in settings.items():
        default = parameters[name].default if name in parameters else None
        if name in OFFERED.get(decoder, ()):
            options[name] = value
        elif name not in WITHOUT_EFFECT and value != _listed(default) and value != default:
            odd.append(f"{name}={value!r}")
    if odd:
        raise ValueError(f"segzoo builds smp_{decoder} without {', '.join(odd)}")
    return f"smp_{decoder}", options


def _listed(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
