"""Where a file of an untrusted folder lies: in it, and nowhere else."""

import io
import os
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from segzoo.base.strictjson import short
from segzoo.errors import UnsafeFormatError, WeightsFormatError, WeightsMissingError
from segzoo.weights.header import open_regular, refuse_irregular

__all__ = ["open_within", "within"]

AnyPath: TypeAlias = str | PathLike[str]


def within(folder: AnyPath, name: str) -> Path:
    """The path of the file `name` of an untrusted folder, without opening it.

    WeightsFormatError for a name that is not a plain file name. WeightsMissingError when there is
    no such file. UnsafeFormatError for a folder, pipe or device, and for a link out of the folder;
    the links of the Hub's cache, from snapshots/ into the same model's blobs/ and from there into
    the blobs/ that all models share, are allowed.
    """
    if name in ("", ".", "..") or not name.isprintable() or set(name) & set("/\\:"):
        raise WeightsFormatError(f"'{short(name)}' is not the plain name of a file", file=folder)
    path = Path(folder) / name
    home, target = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    blobs = _blobs_of(home)
    shared = blobs and blobs.parent.parent / "blobs"  # of all models, in folders of two digits
    if target.parent not in (home, blobs) and target.parent.parent != shared:
        raise UnsafeFormatError(
            "a link out of its folder", file=path, next_step="Give the file that is meant by itself"
        )
    try:
        refuse_irregular(target.stat().st_mode, path)
    except OSError as error:
        raise WeightsMissingError(
            f"the file cannot be opened: {error.strerror}", file=path
        ) from None
    return path


def open_within(folder: AnyPath, name: str) -> io.BufferedReader:
    """Open the file `name` of an untrusted folder, as `within` judges it and `open_regular`.

    UnsafeFormatError, too, when another file took its place between the two.
    """
    path = within(folder, name)
    file = open_regular(path)
    try:
        # of the file itself, not of one that a link has come to lead to
        now = os.lstat(os.path.realpath(within(folder, name)))
        if not os.path.samestat(now, os.fstat(file.fileno())):
            raise UnsafeFormatError(
                "the file was exchanged while it was opened", file=path, next_step="Try again"
            )
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise WeightsMissingError("the file has gone", file=path) from None
        raise
    return file


def _blobs_of(folder: Path) -> Path | None:
    """Where the Hub's cache keeps the files that its models--*/snapshots/<revision>/ links to."""
    for place in (folder, *folder.parents):
        if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--"):
            return place.parent.parent / "blobs"
    return None
