"""What the outputs of `segzoo predict` depend on, said so that two processes can be compared."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from segzoo.base.records import Json, asdict

if TYPE_CHECKING:
    from segzoo.model.served import Served
    from segzoo.predict.outputs import Background
    from segzoo.predict.predictor import Predictor

__all__ = ["depends_on", "listed"]

INDEX = ".index.json"  # of weights in several files, which lie beside it


def depends_on(
    served: "Served",
    predictor: "Predictor",
    *,
    weights: str | None,
    seed: int | None,
    behind: "Background | None",
    written: Mapping[str, Json],
) -> dict[str, Json]:
    """Everything that a change of shows in the bytes, by names for a person; values of JSON.

    How many pictures run together is not among it, nor where anything lies. weights: the file that
    was given, and seed: of random values, where that is so. written: of what is written.
    """
    config = served.config
    return {
        "segzoo-core": version("segzoo-core"),
        "model": config.model,
        "plugin": f"{config.distribution} {config.version}".strip(),
        "classes": [predictor.num_classes, *predictor.classes],
        "palette": [list(colour) for colour in predictor.palette],
        "weights": _weights(served, weights),
        "seed": seed,
        "device": served.device.partition(":")[0],
        "runtime": served.runtime,
        "precision": served.precision,
        "tile": predictor.tile,
        "overlap": predictor.overlap,
        "background": _background(behind),
        **written,
        **{f"option {name}": value for name, value in config.options.items()},
        **{f"preprocess {k}": v for k, v in asdict(predictor.preprocess).items()},
        **{f"postprocess {k}": v for k, v in asdict(predictor.postprocess).items()},
    }


def listed(names: Iterable[str]) -> tuple[str, int]:
    """The sha256 of some names, in whichever order they come, and how many they are."""
    found = sorted(names)
    digest = hashlib.sha256()
    for name in found:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest(), len(found)


def _weights(served: "Served", file: str | None) -> Json:
    if file is not None:
        path = Path(file)
        beside = sorted(path.parent.glob("*.safetensors")) if file.endswith(INDEX) else []
        return [_sha256(each) for each in (path, *beside)]
    if served.weights is not None:
        return served.weights.sha256
    return dict(served.config.files) or None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _background(behind: "Background | None") -> Json:
    if behind is None or isinstance(behind, tuple):
        return behind and list(behind)
    return hashlib.sha256(f"{behind.shape}".encode() + behind.tobytes()).hexdigest()
