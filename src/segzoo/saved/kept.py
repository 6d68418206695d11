"""Weights of other programs that were converted into segzoo's cache, by their names there.

A name says what the file is of, and what its sha256 must be:

    converted/u2netp.official/<sha256 of the source, 16 digits>-<its own sha256>.safetensors
"""

import re
from collections.abc import Iterator
from pathlib import Path

from segzoo.base import cache
from segzoo.spec import Weights

__all__ = ["FOLDER", "kept_file", "kept_files", "name_of"]

FOLDER = "converted"  # in segzoo's own folder
DIGITS = 16
NAME = re.compile(rf"([0-9a-f]{{{DIGITS}}})-([0-9a-f]{{64}})\.safetensors")


def _folder_of(ref: str) -> Path:
    """The folder of weights, as "u2netp.official". It need not be there."""
    return cache.home() / FOLDER / ref


def name_of(record: Weights, sha256: str) -> str:
    """What a file of this sha256 is called that was converted for a record."""
    return f"{record.sha256[:DIGITS]}-{sha256}.safetensors"


def kept_file(ref: str, record: Weights) -> tuple[Path, str] | None:
    """What was converted for a record before, and the sha256 that it must have."""
    for path, source, sha256 in _named(_folder_of(ref)):
        if record.sha256.startswith(source) and record.converted_sha256 in (None, sha256):
            return path, sha256
    return None


def kept_files() -> Iterator[tuple[str, Path]]:
    """Everything that is kept: the weights, as "u2netp.official", and a file of theirs."""
    for folder in sorted((cache.home() / FOLDER).glob("*")):
        yield from ((folder.name, path) for path, _, _ in _named(folder))


def _named(folder: Path) -> Iterator[tuple[Path, str, str]]:
    for path in sorted(folder.glob("*")):
        if found := NAME.fullmatch(path.name):
            yield path, found[1], found[2]
