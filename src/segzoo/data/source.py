"""A data set by its words: reader:path?option=value&option=value.

    open_data("voc:VOCdevkit/VOC2012?split=train")
    open_data("folder:cells?values=0,255&val=0.2&seed=2020")               # its four fifths
    open_data("folder:cells?values=0,255&val=0.2&seed=2020&part=val")      # the fifth
    open_data("arrays:train.npz?split=0:4900")

`split=A:B` takes samples A to B - 1 of any reader. `val=` and `fold=` part a set by the names of
its samples, not by their order: when files are added, few of the others change sides.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.data.sample import Dataset, Info, Sample, Stream, info_of, notes_of
from segzoo.errors import (
    DatasetError,
    DependencyMissingError,
    PluginError,
    SegzooError,
    UsageError,
    printable,
)
from segzoo.spec import Option, ReaderSpec
from segzoo.zoo import registry
from segzoo.zoo.installed import missing
from segzoo.zoo.options import faults_by_table, unknown

__all__ = [
    "COMMON",
    "Over",
    "Part",
    "Source",
    "Subset",
    "common_files",
    "files_at",
    "held_out",
    "id_of",
    "open_data",
    "parse",
]

Part = Literal["train", "val"]


class Source(NamedTuple):
    """What a data set's words say: the reader, the path, and the options as text."""

    reader: str
    path: str
    options: Mapping[str, str]


class Over:
    """What is known of a data set that is made of another one: what that says."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def number(self, index: int) -> int:
        """Which sample of the other one a sample is of."""
        return index

    @cached_property
    def info(self) -> Info:
        return info_of(self.dataset)

    @property
    def notes(self) -> tuple[str, ...]:
        return notes_of(self.dataset)

    @property
    def files(self) -> Sequence[str]:
        return common_files(self.dataset)

    def id_of(self, index: int) -> str:
        return id_of(self.dataset, self.number(index))

    def files_at(self, index: int) -> Sequence[str]:
        return files_at(self.dataset, self.number(index))


class Subset(Over):
    """Some samples of a data set, by their numbers there."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        super().__init__(dataset)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.number(index)]

    def number(self, index: int) -> int:
        return self.indices[index]


def parse(words: str) -> Source:
    """The parts of `reader:path?option=value`; a path alone is a folder. UsageError if neither."""
    location, _, query = words.partition("?")
    reader, colon, path = location.partition(":")
    if not colon or len(reader) == 1 or "/" in reader:  # one letter is a drive
        reader, path = "folder", location
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals or name in options:
            raise UsageError(
                f"cannot read {printable(item)!r} in {printable(words)!r}",
                expected="reader:path?option=value&option=value, each option once",
            )
        options[name] = value
    return Source(registry.fold(reader), path, options)


def open_data(words: str, *, part: Part | None = None) -> Dataset | Stream:
    """The data set that the words name.

    part: which side of `val=` or `fold=`, where the words do not say it; "train" by default.
    UsageError for words that cannot be read, and for options that the reader does not have;
    DatasetError for a set that is not there or not of this layout, or what else the reader raises
    on purpose; PluginError when it fails; DependencyMissingError.
    """
    source = parse(words)
    entry = registry.find(source.reader, registry.READERS)
    spec = entry.load_as(ReaderSpec)
    options = dict(source.options)
    common = {name: options.pop(name) for name in COMMON if name in options}
    span = options.pop("split") if ":" in options.get("split", "") else None
    if lacks := missing(spec.requires).values():
        raise DependencyMissingError(
            f"the reader '{entry.name}' needs {', '.join(lacks)}",
            next_step="Run: pip install " + " ".join(f"'{pip}'" for pip in lacks),
        )
    arguments = _arguments(entry.name, spec, options)
    dataset = _opened(entry, spec, expanded(source.path), arguments)
    if span is not None:
        dataset = Subset(_counted(dataset, "split"), _span(span, len(_counted(dataset, "split"))))
    if "val" in common or "fold" in common:
        dataset = _parted(_counted(dataset, "val"), common, part)
    elif "part" in common or "seed" in common:
        raise UsageError(f"part= and seed= go with val= or fold=, which {words!r} lacks")
    return dataset


def held_out(words: str) -> bool:
    """Whether the words part a set, so that `part="val"` is another one than `part="train"`."""
    options = parse(words).options
    return ("val" in options or "fold" in options) and "part" not in options


def id_of(dataset: Dataset, index: int) -> str:
    """The name of a sample, without decoding it where the data set can tell."""
    if hasattr(dataset, "id_of"):
        return str(dataset.id_of(index))
    pairs = getattr(dataset, "pairs", None)
    return str(pairs[index].id if pairs is not None else dataset[index]["id"])


def common_files(dataset: Dataset) -> Sequence[str]:
    """The files that a data set says its samples are in together (`files`)."""
    return [os.fsdecode(file) for file in getattr(dataset, "files", None) or ()]


def files_at(dataset: Dataset, index: int) -> Sequence[str]:
    """The files that a data set says one sample is made of (`files_at`), beside the common ones."""
    found = getattr(dataset, "files_at", None)
    return () if found is None else [os.fsdecode(file) for file in found(index)]


# Options of every reader, that part a set.
COMMON = ("val", "fold", "part", "seed")


def _arguments(name: str, spec: ReaderSpec, options: Mapping[str, str]) -> dict[str, Json]:
    """The reader's options as values. UsageError lists every one that cannot be used."""
    faults, arguments = [], {}
    for key, text in options.items():
        option = spec.options.get(key)
        if option is None:
            faults.append(unknown(key, spec.options, common=[*COMMON, "split"]))
            continue
        try:
            arguments[key] = value_of(text, option)
        except ValueError:
            faults.append(
                f"{key}={printable(text)!r} is not of type {type(option.default).__name__}"
            )
            continue
        faults += faults_by_table({key: arguments[key]}, spec.options)
    if faults:
        raise UsageError(f"reader '{name}': " + "; ".join(faults))
    return arguments


def value_of(text: str, option: Option) -> Json:
    """A value written on a command line, of the type of the option's default."""
    if isinstance(option.default, bool):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if isinstance(option.default, int | float):
        return type(option.default)(text)
    return text


def _opened(
    entry: registry.Entry, spec: ReaderSpec, path: str, arguments: Mapping[str, Json]
) -> Dataset | Stream:
    def fault(why: str) -> PluginError:
        return PluginError(f"the reader '{entry.name}' failed on {printable(path)!r}: {why}")

    try:
        with registry.guarded(fault):
            dataset: Any = registry.resolve(spec.open)(path, **arguments)
    except PluginError as error:
        if isinstance(cause := error.__cause__, SegzooError):
            if isinstance(cause, DatasetError) and not cause.file:
                cause.file = printable(path)
            raise cause from None
        raise
    if not isinstance(dataset, Dataset | Stream):
        raise fault(f"it returned a {type(dataset).__name__}, not a data set")
    return dataset


def _counted(dataset: Dataset | Stream, option: str) -> Dataset:
    if not isinstance(dataset, Dataset):
        raise UsageError(f"{option}= needs a data set whose samples are numbered, not a stream")
    return dataset


def _span(text: str, length: int) -> range:
    """The numbers of `A:B`, as Python slices a list; UsageError when there are none."""
    try:
        start, stop = (int(side) if side else None for side in text.split(":"))
    except ValueError:
        raise UsageError(f"split={printable(text)!r} is not FROM:TO, two whole numbers") from None
    numbers = range(length)[start:stop]
    if not numbers:
        raise UsageError(f"split={text} takes nothing of {count_of(length, 'sample')}")
    return numbers


def _parted(dataset: Dataset, common: Mapping[str, str], part: Part | None) -> Subset:
    """One side of `val=SHARE`, or of `fold=I/N` (I from 0), drawn by `seed`."""
    part = common.get("part", part or "train")  # type: ignore[assignment]
    if part not in ("train", "val") or ("val" in common and "fold" in common):
        raise UsageError("expected val=SHARE or fold=I/N, and part=train or part=val")
    order, folds = list(_shuffled(dataset, common.get("seed", "0"))), 0
    try:
        if "val" in common:
            share = float(common["val"])
            if not 0 < share < 1:
                raise ValueError
            chosen = set(order[: round(share * len(order))])
        else:
            number, folds = map(int, common["fold"].split("/"))
            if not 0 <= number < folds <= len(order) or folds < 2:
                raise ValueError
            start, stop = (n * len(order) // folds for n in (number, number + 1))
            chosen = set(order[start:stop])
    except ValueError:
        given = "&".join(f"{k}={v}" for k, v in common.items())
        raise UsageError(
            f"cannot part a set of {count_of(len(order), 'sample')} by {printable(given)!r}",
            expected=f"at most {count_of(len(order), 'fold')}"
            if folds > len(order)
            else "val between 0 and 1, or fold=I/N with I from 0 to N - 1",
        ) from None
    sides = {True: chosen, False: set(order) - chosen}
    if not all(sides.values()):
        raise UsageError(f"{count_of(len(order), 'sample')}: too few to be parted so")
    return Subset(dataset, sorted(sides[part == "val"]))


def _shuffled(dataset: Dataset, seed: str) -> Iterator[int]:
    """The samples' numbers in an order that depends on the seed and on their names alone."""

    def key(index: int) -> bytes:
        name = f"{seed}/{id_of(dataset, index)}"
        return hashlib.sha256(name.encode(errors="surrogateescape")).digest()

    yield from sorted(range(len(dataset)), key=key)
