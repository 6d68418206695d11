"""Data sets whose layout and labels are known: what their readers share.

A layout that is not the expected one raises DatasetError: what was looked for, what is there, and
`origin`, a sentence that says where the official files come from.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.records import Json
from segzoo.data.labelmap import OwnClasses
from segzoo.data.paired import Pair, Paired, Reading
from segzoo.data.sample import Info
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.pictures import labels
from segzoo.pictures.palettes import IGNORED, Table
from segzoo.spec import ReaderSpec

__all__ = [
    "check_options",
    "files_in",
    "folder_of",
    "has",
    "indices_of",
    "labelled",
    "names_in",
    "of_own_classes",
    "pair_up",
    "unknown_layout",
]

Labels: TypeAlias = NDArray[Any]

SHOWN = 20  # names that a message lists


def check_options(spec: ReaderSpec, **options: Json) -> None:
    """UsageError that names every option whose value the reader's spec does not allow."""
    faults = [(name, spec.options[name].fault(value)) for name, value in options.items()]
    if said := [f"{name} is {fault}" for name, fault in faults if fault]:
        raise UsageError("; ".join(said))


def has(folder: str, parts: Iterable[str]) -> bool:
    """Whether `folder` holds all of these folders."""
    return all(os.path.isdir(os.path.join(folder, part)) for part in parts)


def folder_of(
    path: str | os.PathLike[str], parts: Sequence[str], *, within: Sequence[str] = (), origin: str
) -> str:
    """The folder that holds all of `parts`: `path` itself, or the first of `within` it."""
    path = os.fsdecode(path)
    for folder in (path, *(os.path.join(path, name) for name in within)):
        if has(folder, parts):
            return folder
    raise unknown_layout(path, [parts], origin=origin)


def unknown_layout(path: str, layouts: Sequence[Sequence[str]], *, origin: str) -> DatasetError:
    """The error of a path that holds none of these sets of folders."""
    return DatasetError(
        "this is not the layout that the reader knows",
        file=path,
        found=_content(path),
        expected="the folders " + ", or ".join(" and ".join(parts) for parts in layouts),
        next_step=origin,
    )


def names_in(folder: str, split: str, *, origin: str) -> list[str]:
    """The names that the file `split`.txt of a folder lists: the first word of each line.

    Folders before a name and an ending of pictures after it are left out; so are empty lines, and
    lines that begin with "#".
    """
    file = os.path.join(folder, f"{split}.txt")
    splits = sorted(name[:-4] for name in _listing(folder) if name.endswith(".txt"))
    if split not in splits:
        raise DatasetError(
            f"there is no split {printable(split)!r}",
            file=folder,
            found=_series(splits) or "no lists",
            expected=f"{printable(split)}.txt",
            next_step=origin,
        )
    try:
        with open(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
            words = [line.split() for line in lines if not line.startswith("#")]
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", file=file) from error
    return [_name(found[0]) for found in words if found]


def files_in(root: str, folder: str, *endings: str) -> dict[str, str]:
    """The files of a folder of the data set that end so: name without the ending -> path.

    Paths are relative to `root`, in the order of the names; hidden files are left out, as the
    `._name` that macOS puts into archives. DatasetError when two files have one name.
    """
    found: dict[str, str] = {}
    for file in sorted(_listing(os.path.join(root, folder))):
        ending = next((e for e in endings if file.endswith(e)), None)
        if ending is None or file.startswith("."):
            continue
        name = file.removesuffix(ending)
        if name in found:
            other = os.path.basename(found[name])
            raise DatasetError(
                "two files have one name",
                file=os.path.join(root, folder),
                found=printable(f"{other} and {file}"),
            )
        found[name] = f"{folder}/{file}"
    return found


def pair_up(
    root: str,
    images: Mapping[str, str],
    targets: Mapping[str, str],
    *,
    names: Iterable[str] | None = None,
    origin: str,
) -> list[Pair]:
    """The pairs of these names; without names, of all. One DatasetError about all that miss."""
    chosen = sorted({*images, *targets}) if names is None else list(names)
    lacking = []
    for what, files in (("picture", images), ("mask", targets)):
        if missing := [name for name in chosen if name not in files]:
            lacking.append(f"no {what} for {len(missing)} of {len(chosen)}: {_series(missing)}")
    if not chosen or lacking:
        raise DatasetError(
            "pictures and masks do not make pairs" if chosen else "there are no pictures",
            file=root,
            found="; ".join(lacking),
            next_step=origin,
        )
    return [Pair(name, images[name], targets[name]) for name in chosen]


def labelled(root: str, pairs: Sequence[Pair], table: Table, *, origin: str) -> Paired:
    """The data set of these pairs, whose masks mean what the table says."""
    stored = {index: value for value, index in table.values.items()}
    values = tuple(stored.get(index, index) for index in range(len(table.classes)))
    info = Info(
        classes=table.classes,
        palette=table.palette,
        ignore_index=table.ignore_index,
        pixel_values=() if values == (*range(len(values)),) else values,
    )
    return Paired(root, pairs, info=info, target=partial(indices_of, table=table, origin=origin))


def of_own_classes(root: str, pairs: Sequence[Pair], own: OwnClasses) -> Paired:
    """The data set of these pairs, with classes that are not those of the layout's own set."""
    found = labelled(root, pairs, own.table, origin=f"The classes are those of {own.said_by}")
    found.target = partial(_own_indices, own=own, otherwise=found.target)
    found.reading = Reading(in_colours=own.in_colours)
    found.files = tuple(filter(None, [own.file]))
    return found


def indices_of(stored: Labels, table: Table, *, origin: str) -> Labels:
    """(H, W) stored values, or (H, W, 3) colours where the table has such -> (H, W) indices.

    DatasetError lists values and colours that are not in the table.
    """
    try:
        if stored.ndim == 3 and table.colours:
            return labels.encode(stored, table.palette, ignore=table.colours)
        if table.values:  # which name the ignored ones too: 255 among others is a file of indices
            return labels.apply_map(labels.gray(stored), table.values)
        same = {index: index for index in range(len(table.classes))}
        return labels.apply_map(labels.gray(stored), same, ignore_index=table.ignore_index)
    except DatasetError as error:
        error.next_step = f"The files were changed, or are of another set. {origin}"
        raise


def _own_indices(stored: Labels, own: OwnClasses, otherwise: Callable[[Labels], Labels]) -> Labels:
    """Indices of what a mask shows, or of what it stores where it shows no colours of the table."""
    table = own.table
    if stored.dtype.kind == "i":
        stored = np.where(stored == -1, IGNORED, stored)  # as labelme stores what does not count
    if not own.in_colours:
        return otherwise(stored)
    red, green, blue = stored[..., 0], stored[..., 1], stored[..., 2]
    if ((red == green) & (green == blue)).all():
        grays = {r for r, g, b in (*table.palette, *table.colours) if r == g == b}
        if not {*np.unique(red).tolist()} <= grays:
            return otherwise(red)
    return labels.encode(stored, table.palette, ignore=table.colours)


def _name(word: str) -> str:
    """A name as lists write it: 2007_000032, or /JPEGImages/2007_000032.jpg."""
    name = word.rpartition("/")[2]
    stem, ending = os.path.splitext(name)
    return stem if ending in (".jpg", ".png") else name


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", file=folder) from error


def _content(path: str) -> str:
    if not os.path.exists(path):
        return "nothing: there is no such folder"
    if not os.path.isdir(path):
        return "a file, not a folder"
    return _series(sorted(_listing(path))) or "an empty folder"


def _series(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more
