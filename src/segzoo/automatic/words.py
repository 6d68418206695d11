"""The words of a data set, completed by what its files show: classes, and a part to measure on."""

import os
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.data.sample import Dataset, checked, info_of
from segzoo.data.source import held_out, open_data, parse
from segzoo.data.traits import spread
from segzoo.errors import DatasetError, printable
from segzoo.spec import ReaderSpec
from segzoo.zoo import registry

__all__ = ["Words", "completed_words", "with_part"]

LOOKED = 50  # masks whose values are looked at
SAID = ("values", "classes", "palette", "overlap", "threshold", "channel")  # what masks mean
MOST_CLASSES = 64  # that nobody named: more are numbers of things, as a rule
IGNORED = 255
TRAIN, VAL = ("train", "training"), ("val", "valid", "validation")


class Words(NamedTuple):
    """What to train on and to measure on. notes: what was found out, for a person."""

    data: str
    val: str | None
    notes: tuple[str, ...] = ()


def completed_words(data: str, val: str | None = None) -> Words:
    """The words with what they leave open, where the files show it.

    A folder that holds `train/images` is its train part, and `val/images`, or valid, what to
    measure on. Masks of which nothing is said have the classes that their values show.
    DatasetError for values that are numbers of things rather than classes.
    """
    notes = []
    source = parse(data)
    root = expanded(source.path)
    if source.reader == "folder" and not os.path.isdir(os.path.join(root, "images")):
        train, other = (_below(root, names) for names in (TRAIN, VAL))
        if train:
            data, whole = _below_it(data, train), data
            notes.append(f"{train}/ is what is trained on")
            if val is None and other:
                val = _below_it(whole, other)
                notes.append(f"{other}/ is what is measured on")
    said, note = _said_by_masks(data)
    if said:
        data = _with(data, said)
        val = None if val is None else _with(val, said)
        notes.append(note)
    return Words(data, val, tuple(notes))


def with_part(words: str, share: float, count: int) -> str:
    """The words, of whose samples a share is held out: one at least. DatasetError for too few."""
    if count < 2:
        raise DatasetError(
            "one picture cannot be trained on and measured on too",
            found=f"{count_of(count, 'picture')} in {printable(words)}",
            expected="two or more",
            next_step="Add pictures, cut this one into tiles, or name others: --val WORDS",
        )
    return _with(words, {"val": f"{max(share, 1 / count):.4g}"})


def _below(root: str, names: tuple[str, ...]) -> str:
    """The folder of such a name that holds a data set; "" for none."""
    found = (name for name in names if os.path.isdir(os.path.join(root, name, "images")))
    return next(found, "")


def _below_it(words: str, folder: str) -> str:
    """The words of a folder of the one that words name."""
    location, query, options = words.partition("?")
    return os.path.join(location, folder) + query + options


def _with(words: str, options: Mapping[str, str]) -> str:
    given = parse(words).options
    added = [f"{name}={value}" for name, value in options.items() if name not in given]
    return words + ("&" if "?" in words else "?") + "&".join(added) if added else words


def _said_by_masks(words: str) -> tuple[dict[str, str], str]:
    """The options that say what the values of masks are; nothing where that is said already."""
    source = parse(words)
    spec = registry.find(source.reader, registry.READERS).load_as(ReaderSpec)
    if "values" not in spec.options or any(name in source.options for name in SAID):
        return {}, ""
    dataset = open_data(words, part="train" if held_out(words) else None)
    info = info_of(dataset)
    if not isinstance(dataset, Dataset) or info.classes or info.palette or info.pixel_values:
        return {}, ""
    pictures = Counter[int]()
    numbers = spread(len(dataset), LOOKED)
    for number in numbers:
        target = checked(dataset[number])["target"]
        if target.ndim == 3:
            return {}, ""
        pictures.update(np.unique(target).tolist())
    return _meant(pictures, len(numbers), words)


def _meant(pictures: Mapping[int, int], count: int, words: str) -> tuple[dict[str, str], str]:
    """What values mean, each with the number of masks that have it."""
    values = sorted(pictures)
    shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
    if len(values) == 2 and values[0] == 0:
        return {"values": f"0,{values[1]}"}, f"masks hold 0 and {values[1]}: two classes"
    classes = [value for value in values if value != IGNORED]
    whole = classes == [*range(len(classes))] or set(classes) <= {*range(MOST_CLASSES)}
    if len(classes) > MOST_CLASSES or (not whole and len(values) > 8):
        raise DatasetError(
            "the masks hold numbers of things, it seems, and not classes",
            file=words,
            found=f"{count_of(len(values), 'value')} in {count_of(count, 'mask')}: {shown}",
            expected=f"at most {MOST_CLASSES} classes, unless they are named: classes=A,B,C",
            next_step="To tell things from the ground add values=0,* to the words",
        )
    if not whole:
        return {"values": ",".join(map(str, values))}, f"masks hold {shown}: a class each"
    found = {"values": ",".join(map(str, range(max(classes) + 1)))}
    if IGNORED in values:
        found["ignore_index"] = str(IGNORED)
    note = f"masks hold {shown}: {count_of(max(classes) + 1, 'class')}"
    return found, note + (f", and {IGNORED} does not count" if IGNORED in values else "")
