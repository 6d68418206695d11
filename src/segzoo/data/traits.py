"""What a data set is like, in numbers: sizes, colours, shares, and which way things lie.

    traits = traits_of(opened("folder:cells?values=0,255&val=0.2", part="train"), val)
    traits.numbers["thinnest"], traits.classes[1].share

Sizes and widths are in pixels of the pictures as they are stored, shares are from 0 to 1. Pixels
are looked at in at most 100 pictures, evenly spread; what is said of whole pictures (their sizes,
classes and repeats) is of all that were read.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.extras import imported
from segzoo.base.records import Record
from segzoo.data import check
from segzoo.data.opened import Data
from segzoo.data.sample import Sample, checked

__all__ = ["TRAITS", "ClassTraits", "Traits", "spread", "traits_of"]

Mask: TypeAlias = NDArray[np.bool_]
Map: TypeAlias = NDArray[np.float32]  # (SIDE, SIDE): a mask, whatever its size

LOOKED = 100  # pictures whose pixels are looked at
SIDE, FINE = 16, 4  # cells of a map, and points of the mask that each is the mean of
LEAST_MAPS = 8  # of a class, to say how it lies
FLIPS = 16  # draws of what chance alone would give
LEAST_CONTRAST = 8.0  # of 255: below, neither side is the brighter one
LEAST_PIECE = 25  # pixels: smaller ones have no shape
SPECK = 9  # pixels: smaller ones are not counted
NAMED = re.compile(r"(?<![a-z])(left|right)(?![a-z])")

# What conditions may speak of. Each is a number.
TRAITS: Mapping[str, str] = MappingProxyType(
    {
        "pictures": "how many there are to train on",
        "height": "of the middle picture, in pixels",
        "width": "of the middle picture, in pixels",
        "spread": "the side of the largest picture by that of the smallest",
        "channels": "1 where no picture has a colour, 3 for colours, else the measured bands",
        "gray": "share of the pictures that have no colour",
        "contrast": "between the 1st and the 99th of 100 brightnesses, of 255",
        "classes": "how many there are, with the background",
        "overlapping": "1 where a pixel may be of several classes",
        "ground": "share of the pixels that are of the most frequent class",
        "rarest": "share of the pixels that are of the rarest class",
        "objects": "connected pieces of a class in a picture: the median, of the class with most",
        "object": "the side of a square as large as the connected piece that the middle pixel is "
        "of, without the ground",
        "thinnest": "how wide the thinnest class is: that of a strip with its area and border",
        "border": "share of the pixels that lie beside another class",
        "ignored": "share of the pixels that do not count",
        "sided": "how unlike its mirror image a class lies or is, beyond chance: 0 to 1",
        "upright": "the same, upside down",
        "turned": "the same, turned by a quarter",
        "named_sides": "1 where names of classes speak of left and right",
        "inverted": "share of the pictures in which the ground is the brighter side, or in which "
        "it is the darker one: the fewer of the two",
        "repeats": "pictures that are there again",
        "shared": "pictures to measure on that are among those to train on",
    }
)


@dataclass(frozen=True, kw_only=True)
class ClassTraits(Record):
    """One class. share: of the pixels. pictures: share of them that have it.

    objects: pieces in a picture that has it, the median; size: the side of a square as large as the
    piece that its middle pixel is of; both 0 for the most frequent class, the ground. width: of a
    strip with the class's area and border.
    """

    name: str
    share: float
    pictures: float
    objects: float
    size: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Traits(Record):
    """A data set in numbers: those of `TRAITS` by name, and of each class."""

    numbers: Mapping[str, float]
    classes: tuple[ClassTraits, ...]

    def _faults(self) -> list[str]:
        lacking = [name for name in TRAITS if name not in self.numbers]
        return [f"numbers lacks {', '.join(lacking)}"] if lacking else []


def traits_of(data: Data, report: check.Report, *, shared: int = 0) -> Traits:
    """The traits of a data set, most of which its report (`check`) holds already.

    shared: pictures that are to be measured on and are in it too. DatasetError for a sample that
    cannot be used.
    """
    ground = max(range(len(report.classes)), key=lambda place: report.classes[place].pixels)
    seen = _Seen(len(report.classes), ground, ignore_index=data.info.ignore_index)
    for number in spread(len(data), LOOKED):
        seen.add(checked(data.dataset[number]))
    pixels = max(1, sum(found.pixels for found in report.classes))
    there = [found for found in report.classes if found.pixels]
    classes = tuple(
        ClassTraits(
            name=found.name,
            share=found.pixels / pixels,
            pictures=found.pictures / max(1, report.samples),
            objects=_median(seen.objects[place]),
            size=math.sqrt(_of_middle_pixel(seen.pieces[place])),
            width=seen.width(place),
        )
        for place, found in enumerate(report.classes)
    )
    things = [c for place, c in enumerate(classes) if place != ground and c.share]
    pieces = [a for place, areas in enumerate(seen.pieces) if place != ground for a in areas]
    height, width = (0, 0) if report.sizes is None else report.sizes.median
    names = " ".join(found.name.lower() for found in report.classes)
    repeats = [f.count for f in report.notes if f.problem.startswith("pictures that the set has")]
    lies = seen.lies()
    numbers = {
        "pictures": report.samples,
        "height": height,
        "width": width,
        "spread": _spread(report),
        "channels": seen.channels(data.bands),
        "gray": seen.share(seen.gray),
        "contrast": seen.contrast(),
        "classes": len(report.classes),
        "overlapping": float(data.overlaps),
        "ground": max(found.pixels for found in report.classes) / pixels,
        "rarest": min((found.pixels for found in there), default=0) / pixels,
        "objects": max((c.objects for c in things), default=0.0),
        "object": math.sqrt(_of_middle_pixel(pieces)),
        "thinnest": min((c.width for c in things if c.width), default=0.0),
        "border": seen.borders / max(1, seen.pixels),
        "ignored": report.ignored / max(1, report.ignored + report.pixels),
        "sided": lies[0],
        "upright": lies[1],
        "turned": lies[2],
        "named_sides": float({"left", "right"} <= {*NAMED.findall(names)}),
        "inverted": seen.inverted(),
        "repeats": sum(repeats),
        "shared": shared,
    }
    return Traits(
        numbers={name: round(float(value), 4) for name, value in numbers.items()}, classes=classes
    )


def spread(count: int, most: int) -> Sequence[int]:
    """At most so many of the numbers below `count`, evenly spread."""
    if count <= most:
        return range(count)
    return [int(place * count / most) for place in range(most)]


@dataclass
class _Seen:
    """What the pixels of some pictures add up to. bright: the mean of each class, nan without."""

    num_classes: int
    ground: int
    ignore_index: int | None
    count: int = 0
    gray: int = 0
    pixels: int = 0
    borders: int = 0
    levels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    sizes: Counter[int] = field(default_factory=Counter)  # channels
    bright: list[NDArray[np.float64]] = field(default_factory=list)
    by_class: list["_OfClass"] = field(init=False)

    def __post_init__(self) -> None:
        self.by_class = [_OfClass() for _ in range(self.num_classes)]

    @property
    def objects(self) -> list[list[int]]:
        return [c.objects for c in self.by_class]

    @property
    def pieces(self) -> list[list[int]]:
        return [c.pieces for c in self.by_class]

    def add(self, sample: Sample) -> None:
        image, target = sample["image"], sample["target"]
        self.count += 1
        self.sizes[image.shape[2]] += 1
        colours = image[..., :3] if image.shape[2] in (3, 4) else image
        self.gray += int((colours == colours[..., :1]).all()) if image.shape[2] <= 4 else 0
        brightness = colours.sum(axis=2, dtype=np.uint32) // colours.shape[2]
        self.levels += np.bincount(brightness.reshape(-1), minlength=256)
        self.pixels += target.shape[-2] * target.shape[-1]
        border = np.zeros(target.shape[-2:], bool)
        means = np.full(self.num_classes, np.nan)
        for place, mask in self._masks(target):
            border |= _edges(mask)
            means[place] = brightness[mask].mean()
            self.by_class[place].add(mask, pieces=place != self.ground)
        self.borders += int(border.sum())
        self.bright.append(means)

    def _masks(self, target: NDArray[Any]) -> Iterator[tuple[int, Mask]]:
        if target.ndim == 3 and len(target) > 1:
            yield from ((k, layer == 1) for k, layer in enumerate(target) if (layer == 1).any())
            return
        flat = target[0] if target.ndim == 3 else target
        inside = flat[(flat >= 0) & (flat < self.num_classes)]
        for value in np.flatnonzero(np.bincount(inside)).tolist():
            if value != self.ignore_index:
                yield value, flat == value

    def share(self, number: int) -> float:
        return number / max(1, self.count)

    def channels(self, bands: int | None) -> int:
        if bands is not None:
            return bands
        return 1 if self.gray == self.count else 3

    def contrast(self) -> float:
        share = np.cumsum(self.levels) / max(1, self.levels.sum())
        return float(np.searchsorted(share, 0.99) - np.searchsorted(share, 0.01))

    def width(self, place: int) -> float:
        """2 * area / border: of a long strip its width, of a disc its radius.

        A border of pixels is as long as their sides but for the corners that it cuts: pi / 4 of
        them, over all directions.
        """
        found = self.by_class[place]
        return 2 * found.area / (found.border * math.pi / 4) if found.border else 0.0

    def inverted(self) -> float:
        """Of the pictures with a contrast between ground and things, those of the rarer sign."""
        signs = Counter[bool]()
        for means in self.bright:
            others = np.delete(means, self.ground)
            if np.isnan(means[self.ground]) or np.isnan(others).all():
                continue
            difference = means[self.ground] - np.nanmean(others)
            if abs(difference) >= LEAST_CONTRAST:
                signs[bool(difference > 0)] += 1
        return min(signs[True], signs[False]) / max(1, signs.total())

    def lies(self) -> tuple[float, float, float]:
        """How unlike their mirror images classes lie in pictures, and are by themselves."""
        maps = [np.stack(m) for c in self.by_class for m in (c.places, c.shapes) if m]
        maps = [m for m in maps if len(m) >= LEAST_MAPS and m.any()]
        found = [
            tuple(
                _unlike(m, moved) for moved in (m[:, :, ::-1], m[:, ::-1], np.rot90(m, 1, (1, 2)))
            )
            for m in maps
        ]
        sides = [max(values) for values in zip(*found, strict=True)] or [0.0, 0.0, 0.0]
        return sides[0], sides[1], sides[2]


@dataclass
class _OfClass:
    """One class in some pictures. area, border: in pixels and sides of pixels, of them all."""

    area: int = 0
    border: int = 0
    objects: list[int] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    places: list[Map] = field(default_factory=list)
    shapes: list[Map] = field(default_factory=list)

    def add(self, mask: Mask, *, pieces: bool) -> None:
        self.area += int(np.count_nonzero(mask))
        self.border += _sides(mask)
        self.places.append(_map(mask))
        if pieces:
            self._add_pieces(mask)

    def _add_pieces(self, mask: Mask) -> None:
        ndimage = imported("scipy.ndimage", needed="the traits of a data set need scipy")
        pieces, count = ndimage.label(mask)
        sizes = np.bincount(pieces.reshape(-1), minlength=count + 1)[1:]
        self.objects.append(int((sizes >= SPECK).sum()))
        self.pieces += sizes.tolist()
        largest = int(sizes.argmax())
        rows, columns = ndimage.find_objects(pieces)[largest]
        cut = rows.start == 0 or columns.start == 0
        cut |= rows.stop == mask.shape[0] or columns.stop == mask.shape[1]
        if sizes[largest] >= LEAST_PIECE and not cut:
            self.shapes.append(_map(pieces[rows, columns] == largest + 1))


def _map(mask: Mask) -> Map:
    """The mask in SIDE x SIDE cells, each the mean of some points."""
    points = SIDE * FINE
    rows, columns = (
        ((np.arange(points) + 0.5) * length / points).astype(int) for length in mask.shape
    )
    grid = mask[np.ix_(rows, columns)].reshape(SIDE, FINE, SIDE, FINE)
    found: Map = grid.mean((1, 3), dtype=np.float32)
    return found


def _edges(mask: Mask) -> Mask:
    """Pixels of the class that lie beside a pixel of another."""
    edges = np.zeros_like(mask)
    edges[1:] |= mask[1:] & ~mask[:-1]
    edges[:-1] |= mask[:-1] & ~mask[1:]
    edges[:, 1:] |= mask[:, 1:] & ~mask[:, :-1]
    edges[:, :-1] |= mask[:, :-1] & ~mask[:, 1:]
    return edges


def _sides(mask: Mask) -> int:
    """Sides of pixels between the class and others."""
    return int(
        np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    )


def _unlike(maps: NDArray[np.float32], moved: NDArray[np.float32]) -> float:
    """How far the mean map is from the mean of what it is when moved, beyond chance: 0 to 1.

    Where both are as likely, each difference may as well have the other sign: the mean over random
    signs is what chance gives.
    """
    differences = (maps - moved).reshape(len(maps), -1)
    whole = 2 * float(maps.sum())
    random = np.random.default_rng(0)
    signs = random.choice(np.array([-1.0, 1.0], np.float32), (FLIPS, len(maps)))
    found = float(np.abs(differences.sum(0)).sum())
    chance = float(np.abs(signs @ differences).sum(1).mean())
    return max(0.0, found - chance) / whole


def _spread(report: check.Report) -> float:
    if report.sizes is None:
        return 1.0
    largest, smallest = (math.prod(s) for s in (report.sizes.largest, report.sizes.smallest))
    return math.sqrt(largest / smallest)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _of_middle_pixel(areas: Sequence[int]) -> float:
    """The area of the piece that the middle one of all pixels is of; specks hardly change it."""
    if not areas:
        return 0.0
    ordered = np.sort(np.asarray(areas))
    return float(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)])
