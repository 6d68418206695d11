"""What is wrong with a data set, found by reading it once before anything is trained on it.

    report = check(open_data("folder:cells?values=0,255"), others={"test": test})
    report.ok, report.faults, report.notes

A fault would stop training or falsify a measurement; a note is for a person to judge. Of a sample
that has been read 36 bytes are kept: two hashes, its number and its size.
"""

import dataclasses
import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.data.sample import (
    Dataset,
    Info,
    Sample,
    Stream,
    checked,
    info_of,
    notes_of,
    parts_of,
)
from segzoo.data.source import id_of
from segzoo.data.statistics import Moments
from segzoo.errors import DataError, DatasetError, ResourceError, printable
from segzoo.pictures import codec, labels
from segzoo.zoo.registry import cause

__all__ = [
    "ClassCount",
    "Finding",
    "Item",
    "Report",
    "Sizes",
    "check",
    "classes_of",
    "report_and_shared",
]

Size: TypeAlias = tuple[int, int]
Pairs: TypeAlias = NDArray[np.intp]  # (n, 2) places among digests

SHOWN = 20  # items of a finding, and findings of a report, that are told apart
DIGEST = 16  # bytes of a picture's hash: for two of a million to agree by chance, 1 in 10^26
MASK_DIGEST = 8  # of a mask's, which is compared only where the pictures agree
LIKE = 1000  # pixels that stand for those of a whole set
CHUNK = 16  # samples that a process hands over at once


@dataclass(frozen=True)
class Item:
    """One thing that a finding is about. name: a file, a sample or a class. detail: what of it."""

    name: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What several samples have in common. count: how many. items: the first 20 of them."""

    problem: str
    count: int
    items: tuple[Item, ...]
    next_step: str = ""


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How often a class occurs. pixels: of those that count. pictures: that have one of them."""

    index: int
    name: str
    pixels: int
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """(height, width) of the pictures with the fewest, the middle and the most pixels."""

    smallest: Size
    median: Size
    largest: Size


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a data set holds. `dataclasses.asdict` makes JSON values of it.

    samples: that were read, with those that cannot be used. num_classes: that values were judged
    by; where nothing says it None, and `classes` are the values that were found. pixels: of the
    targets, without those that do not count, `ignored`. mean, std: of the pictures in 0..1, by
    channel of RGB or by band; empty where none could be read, as `sizes` is None then. val: of the
    part that is held out, where the set has one.
    """

    samples: int
    num_classes: int | None
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    classes: tuple[ClassCount, ...]
    pixels: int
    ignored: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: Sizes | None
    val: "Report | None" = None

    @property
    def ok(self) -> bool:
        return not self.faults and (self.val is None or self.val.ok)


def check(
    dataset: Dataset | Stream,
    *,
    num_classes: int | None = None,
    ignore_index: int | None = None,
    val: Dataset | Stream | None = None,
    others: Mapping[str, Dataset | Stream] | None = None,
    workers: int = 0,
) -> Report:
    """Read every sample once and report on them all; a sample that cannot be used is a fault.

    num_classes, ignore_index: instead of what the data set says. Where neither says how many
    classes there are, values are not judged. val: the part of the set that is held out, which is
    judged as well. others: sets by name, which are read and not judged. Pictures must not be in
    two of the set, val and the others. workers: processes that read; 0 reads here, as does a
    stream.
    """
    judged_by = (num_classes, ignore_index, workers)
    tally, report = _judged(dataset, *judged_by)
    seen = {printable(words): _pictures(other, workers) for words, other in (others or {}).items()}
    report = _compared(report, tally, seen)
    if val is not None:
        theirs, held_out = _judged(val, *judged_by)
        report = _compared(report, tally, {"its val part": theirs})
        report = dataclasses.replace(report, val=_compared(held_out, theirs, seen))
    notes = _Findings()
    for name, other in seen.items():
        lost = other.samples - len(other.numbers)
        notes.add(f"samples of {name} that cannot be read: check it too", count=lost)
    return dataclasses.replace(report, notes=report.notes + notes.all())


def report_and_shared(
    dataset: Dataset, val: Dataset | None, *, num_classes: int | None = None
) -> tuple[Report, tuple[int, ...]]:
    """The report on a set, and the numbers of the samples of `val` whose picture is in it too."""
    tally, report = _judged(dataset, num_classes, None, 0)
    if val is None:
        return report, ()
    theirs = _pictures(val, 0)
    return report, tuple(theirs.numbers[place] for place in theirs.shared(tally)[:, 0])


def _judged(
    dataset: Dataset | Stream, num_classes: int | None, ignore_index: int | None, workers: int
) -> tuple["_Tally", Report]:
    """One set by itself."""
    info = info_of(dataset)
    num_classes = num_classes or classes_of(info)
    ignore_index = info.ignore_index if ignore_index is None else ignore_index
    faults, notes, tally = _Findings(), _Findings(), _Tally(dataset)
    look = _Look(num_classes, ignore_index, bands=info.bands is not None)
    for seen in _read(dataset, look, workers):
        tally.add(seen)
        for note in seen.notes:
            problem, found, step = parts_of(note)
            notes.add(problem, Item(seen.name, found), next_step=step)
        if seen.error is not None:
            faults.error(seen.name, seen.error)
        elif seen.pixels == seen.ignored:
            notes.add("masks whose pixels are all ignored", Item(seen.name))
    for note in notes_of(dataset):
        notes.add(note)
    if not tally.samples:
        faults.add("the data set is empty")
    classes = _class_counts(tally, num_classes, info)
    if tally.pixels_of:
        absent = [Item(found.name) for found in classes if not found.pixels]
        notes.add("classes that no pixel has", *absent, count=len(absent))
        if num_classes is None:
            step = _undeclared(tally.pixels_of, ignore_index)
            notes.add("nothing says which classes there are: values are not judged", next_step=step)
    repeats = _Findings()
    for pairs, end in zip(tally.repeats(), ("", ", with another mask"), strict=True):
        items = [Item(tally.name(a), f"is {tally.name(b)} again{end}") for a, b in pairs[:SHOWN]]
        repeats.add(f"pictures that the set has already{end}", *items, count=len(pairs))
    mean, std = ((), ()) if tally.moments is None else tally.moments.mean_and_std(peak=255)
    return tally, Report(
        samples=tally.samples,
        num_classes=num_classes,
        faults=faults.all(),
        notes=notes.all() + repeats.all(),
        classes=classes,
        pixels=tally.pixels - tally.ignored,
        ignored=tally.ignored,
        mean=mean,
        std=std,
        sizes=tally.sizes_found(),
    )


def classes_of(info: Info) -> int | None:
    """How many classes a data set says it has; None where it says nothing."""
    return len(info.classes) or len(info.palette) or len(info.pixel_values) or None


# --- one sample ----------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What one sample adds. values: pixels by class. error: why its picture or target is no use.

    digest: of the picture, empty where it cannot be used.
    """

    number: int
    name: str
    error: DataError | None
    size: Size = (0, 0)
    digest: bytes = b""
    mask_digest: bytes = b""
    moments: Moments | None = None
    values: Mapping[int, int] = {}
    pixels: int = 0
    ignored: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Look:
    """What to see in a sample."""

    num_classes: int | None
    ignore_index: int | None
    pictures_only: bool = False
    bands: bool = False

    def __call__(self, number: int, sample: Sample) -> _Seen:
        try:
            sample = checked(sample)
        except DataError as error:
            return _Seen(number, error.file or f"sample {number}", error)
        image, target, name = sample["image"], sample["target"], printable(sample["id"])
        digest = _digest(image, DIGEST)
        if self.pictures_only:
            return _Seen(number, name, None, digest=digest)
        seen = _Seen(
            number,
            name,
            None,
            size=(image.shape[0], image.shape[1]),
            digest=digest,
            mask_digest=_digest(target, MASK_DIGEST),
            moments=self._moments(image),
            notes=sample.get("notes", ()),
        )
        try:
            if self.num_classes is not None:
                target = labels.judged(
                    target,
                    num_classes=self.num_classes,
                    ignore_index=self.ignore_index,
                    file=name,
                )
        except DatasetError as error:
            return seen._replace(error=error)
        values, ignored = _values(target, self.ignore_index)
        return seen._replace(
            values=values, ignored=ignored, pixels=target.shape[-2] * target.shape[-1]
        )

    def _moments(self, image: NDArray[np.uint8]) -> Moments:
        """Of the bands, or of the colours as they are seen."""
        if self.bands or image.shape[2] not in (1, 3, 4):
            return Moments.of(image)
        return Moments.of(codec.flatten(codec.read(image)))


@dataclass(frozen=True)
class _Numbered:
    """What is seen in the samples of a data set, by their numbers: what processes share out."""

    dataset: Dataset
    look: _Look

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> _Seen:
        try:
            sample = self.dataset[number]
        except Exception as error:  # a user's own data set may raise anything
            return _unread(number, error)
        return self.look(number, sample)


def _read(dataset: Dataset | Stream, look: _Look, workers: int) -> Iterator[_Seen]:
    """What is seen in each sample, in their order."""
    if not isinstance(dataset, Dataset):
        yield from _streamed(dataset, look)
    elif not workers:
        numbered = _Numbered(dataset, look)
        yield from (numbered[number] for number in range(len(numbered)))
    else:
        from segzoo.data import loader  # and torch, 3 s; who reads here does without

        numbered = _Numbered(dataset, look)
        try:
            for chunk in loader.read(numbered, workers=workers, batch_size=CHUNK, collate_fn=list):
                yield from chunk
        except RuntimeError as error:
            raise ResourceError(
                "a process that reads the data set ended",
                found=printable(" ".join(str(error).split())),
                next_step="Check it with workers=0; a killed one often means too little memory",
            ) from error


def _streamed(stream: Stream, look: _Look) -> Iterator[_Seen]:
    """As `_read`; a stream that fails ends there, with a fault."""
    samples, number = iter(stream), 0
    while True:
        try:
            sample = next(samples)
        except StopIteration:
            return
        except Exception as error:
            yield _unread(number, error)
            return
        yield look(number, sample)
        number += 1


def _unread(number: int, error: Exception) -> _Seen:
    if not isinstance(error, DataError):
        error = DatasetError("the sample cannot be read", found=cause(error))
    return _Seen(number, error.file or f"sample {number}", error)


def _digest(values: NDArray[Any], size: int) -> bytes:
    digest = hashlib.blake2b(f"{values.dtype}{values.shape}".encode(), digest_size=size)
    digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def _values(target: NDArray[Any], ignore_index: int | None) -> tuple[dict[int, int], int]:
    """Pixels by class, and those that do not count. A map per class: pixels may be in several."""
    if len(target) == 1 and target.ndim == 3:
        target = target[0]
    if target.ndim == 3:
        ignored = 0 if ignore_index is None else int((target == ignore_index).all(axis=0).sum())
        return {k: int((layer == 1).sum()) for k, layer in enumerate(target)}, ignored
    if target.dtype == np.uint8:  # 20 times as fast as to sort
        counts = np.bincount(target.reshape(-1))
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(target, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return found, found.pop(ignore_index, 0) if ignore_index is not None else 0


# --- the whole set -------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What the samples of a set add up to. numbers: of those that digests and sizes are of."""

    dataset: Dataset | Stream
    samples: int = 0
    moments: Moments | None = None
    pixels_of: Counter[int] = field(default_factory=Counter)
    pictures_of: Counter[int] = field(default_factory=Counter)
    pixels: int = 0
    ignored: int = 0
    numbers: "array[int]" = field(default_factory=lambda: array("I"))
    digests: bytearray = field(default_factory=bytearray)
    mask_digests: bytearray = field(default_factory=bytearray)
    sizes: "array[int]" = field(default_factory=lambda: array("I"))

    def add(self, seen: _Seen) -> None:
        self.samples += 1
        self.pixels += seen.pixels
        self.ignored += seen.ignored
        self.pixels_of.update(seen.values)
        self.pictures_of.update(value for value, pixels in seen.values.items() if pixels)
        if seen.digest:
            self.numbers.append(seen.number)
            self.digests += seen.digest
        if seen.moments is not None:
            self.moments = seen.moments if self.moments is None else self.moments + seen.moments
            self.mask_digests += seen.mask_digest
            self.sizes.extend(seen.size)

    def name(self, place: int) -> str:
        """The name of a picture, by its place among the digests."""
        number = self.numbers[place]
        if isinstance(self.dataset, Dataset):
            return printable(id_of(self.dataset, number))
        return f"sample {number}"

    def keys(self) -> NDArray[np.bytes_]:
        return np.frombuffer(self.digests, f"S{DIGEST}")

    def sizes_found(self) -> Sizes | None:
        sizes = np.array(self.sizes, np.int64).reshape(-1, 2)
        if not len(sizes):
            return None
        order = np.lexsort((sizes[:, 0], sizes.prod(axis=1)))
        chosen = sizes[order[[0, (len(order) - 1) // 2, -1]]].tolist()
        smallest, median, largest = ((height, width) for height, width in chosen)
        return Sizes(smallest=smallest, median=median, largest=largest)

    def repeats(self) -> tuple[Pairs, Pairs]:
        """Pictures that are there again, each with the first: with the same mask, with another."""
        _, first, inverse = np.unique(self.keys(), return_index=True, return_inverse=True)
        origin = first[inverse]
        masks = np.frombuffer(self.mask_digests, f"S{MASK_DIGEST}")
        again = np.flatnonzero(origin != np.arange(len(origin)))
        same = masks[again] == masks[origin[again]]
        pairs = np.stack([again, origin[again]], axis=1)
        return pairs[same], pairs[~same]

    def shared(self, other: "_Tally") -> Pairs:
        """Pictures that the other set has too, each with the first of them there."""
        mine, theirs = self.keys(), other.keys()
        if not len(theirs):
            return np.empty((0, 2), np.intp)
        distinct, first = np.unique(theirs, return_index=True)
        places = np.minimum(np.searchsorted(distinct, mine), len(distinct) - 1)
        found = np.flatnonzero(distinct[places] == mine)
        return np.stack([found, first[places[found]]], axis=1)


def _pictures(dataset: Dataset | Stream, workers: int) -> _Tally:
    """The pictures of a set alone."""
    tally = _Tally(dataset)
    for seen in _read(dataset, _Look(None, None, pictures_only=True), workers):
        tally.add(seen)
    return tally


def _compared(report: Report, tally: _Tally, others: Mapping[str, _Tally]) -> Report:
    """The report on a set, with faults for the pictures that it shares with others."""
    faults = _Findings()
    for name, theirs in others.items():
        pairs = tally.shared(theirs)
        items = [Item(tally.name(a), f"is {theirs.name(b)} there") for a, b in pairs[:SHOWN]]
        faults.add(f"pictures that are in {name} too", *items, count=len(pairs))
    return dataclasses.replace(report, faults=report.faults + faults.all())


def _class_counts(tally: _Tally, num_classes: int | None, info: Info) -> tuple[ClassCount, ...]:
    """Every class that there is; where nothing says so, every value that was found."""
    if num_classes is None:
        names = {value: str(value) for value in sorted(tally.pixels_of)}
    else:
        names = dict(enumerate(_names(max(2, num_classes), info)))
    return tuple(
        ClassCount(
            index=index,
            name=name,
            pixels=tally.pixels_of[index],
            pictures=tally.pictures_of[index],
        )
        for index, name in names.items()
    )


def _names(count: int, info: Info) -> tuple[str, ...]:
    if len(info.classes) == count:
        return info.classes
    if len(info.classes) == 1 and count == 2:
        return ("background", *info.classes)
    return labels.default_classes(count)


def _undeclared(pixels_of: Mapping[int, int], ignore_index: int | None) -> str:
    """What to say of values that are not judged; what they most likely mean, if not indices."""
    values = np.array([*pixels_of], np.int64)
    shares = np.array([*pixels_of.values()]) / sum(pixels_of.values())
    like = np.repeat(values, np.ceil(shares * LIKE).astype(int))
    most = max((value for value in pixels_of if value != 255), default=0)
    try:
        labels.judge(like, num_classes=most + 1, ignore_index=ignore_index)
    except DatasetError as error:
        return error.next_step
    return "Say their names: classes=A,B,C; or how many they are"


class _Findings:
    """What was found, by problem and next step, in the order in which it was met."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.items: dict[tuple[str, str], list[Item]] = {}

    def add(
        self, problem: str, *items: Item, count: int | None = None, next_step: str = ""
    ) -> None:
        """Some more of one problem; count: where there are more than these items."""
        if count == 0:
            return
        key = (problem, next_step)
        if key not in self.counts and len(self.counts) >= SHOWN:
            key = ("other problems", "")
        self.counts[key] += count or len(items) or 1
        shown = self.items.setdefault(key, [])
        shown += items[: SHOWN - len(shown)]

    def error(self, name: str, error: DataError) -> None:
        sides = {"found": error.found, "expected": error.expected}
        detail = ", ".join(f"{side} {what}" for side, what in sides.items() if what)
        self.add(error.problem, Item(name, detail), next_step=error.next_step)

    def all(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(problem=key[0], count=count, items=tuple(self.items[key]), next_step=key[1])
            for key, count in self.counts.items()
        )
