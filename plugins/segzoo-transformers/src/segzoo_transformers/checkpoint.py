"""What transformers' own `save_pretrained` wrote, here or on the Hub, in segzoo's words.

    segzoo convert FOLDER -o OURS

config.json is read as data: nothing of it is imported, and what names code to be run is refused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from segzoo_transformers import encoders

SEGFORMER, UPERNET = "SegformerForSemanticSegmentation", "UperNetForSemanticSegmentation"
CLASSIFIER = "SegformerForImageClassification"
LABELS = 2  # classes where config.json says none, which the library leaves out then


def arguments(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the options with which `segzoo.load` makes the network of a config.json.

    "num_classes", "in_channels", and "classes" where they have names of their own, are among them.
    ValueError for a config of another kind, and for a network that segzoo does not offer. It lists
    everything that differs from the nearest that it offers.
    """
    if "auto_map" in settings:
        raise ValueError("it names code to be run (auto_map), and segzoo runs none of a folder's")
    [name] = settings["architectures"] if _is_one(settings["architectures"]) else [""]
    if name == CLASSIFIER:
        raise ValueError(
            "it is a classifier's; for its encoder as a start give the file, and "
            "--to hf_segformer --part segformer --option encoder=mit_b0"
        )
    if name == SEGFORMER:
        encoder, odd = _nearest(settings, encoders.MIX, encoders.segformer)
        options = {"encoder": encoder, "in_channels": settings.get("num_channels", 3)}
        return _offered("hf_segformer", settings, options, odd)
    if name == UPERNET:
        backbone = settings.get("backbone_config")
        if not isinstance(backbone, Mapping):
            raise ValueError("its backbone_config is missing, so nothing says which network it is")
        encoder, odd = _nearest(backbone, encoders.UPERNET, encoders.backbone)
        odd = [f"backbone_config.{each}" for each in odd]
        odd += _differences(settings, encoders.upernet(encoder), {"auxiliary_in_channels"})
        options = {
            "encoder": encoder,
            "in_channels": backbone.get("num_channels", 3),
            "aux": settings.get("use_auxiliary_head", True),
        }
        return _offered("hf_upernet", settings, options, odd)
    raise ValueError(
        f"architectures is {str(settings['architectures'])[:80]}, of which segzoo has no network; "
        f"it has {SEGFORMER} and {UPERNET}"
    )


def _is_one(names: Any) -> bool:
    return isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)


def _nearest(
    settings: Mapping[str, Any], known: Iterable[str], config_of: Any
) -> tuple[str, list[str]]:
    """The encoder whose config differs least, and what differs."""
    found = {encoder: _differences(settings, config_of(encoder)) for encoder in known}
    encoder = min(found, key=lambda name: len(found[name]))
    return encoder, found[encoder]


def _differences(
    settings: Mapping[str, Any], wanted: Mapping[str, Any], may_be_none: Iterable[str] = ()
) -> list[str]:
    """Settings that are there and not as wanted."""
    return [
        f"{name}={settings[name]!r}"
        for name, value in wanted.items()
        if name in settings
        and settings[name] != value
        and not (settings[name] is None and name in may_be_none)
    ]


def _offered(
    model: str, settings: Mapping[str, Any], options: dict[str, Any], odd: list[str]
) -> tuple[str, dict[str, Any]]:
    if odd:
        raise ValueError(
            f"segzoo builds {model} with encoder={options['encoder']} without "
            + ", ".join(each[:100] for each in odd)
        )
    names = _labels(settings.get("id2label"))
    count = len(names) or settings.get("num_labels", LABELS)
    own = names and names != [f"LABEL_{number}" for number in range(count)]  # as nobody named them
    return model, {**options, "num_classes": count, **({"classes": names} if own else {})}


def _labels(said: Any) -> list[str]:
    """The names of classes by their numbers, which are text in JSON, and out of order."""
    if not isinstance(said, Mapping):
        return []
    names = [said.get(str(number)) for number in range(len(said))]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("id2label does not name the classes from 0 on")
    return [str(name) for name in names]
