"""Pictures whose labels are outlines of things, drawn as one class map when a sample is asked for.

Index 0 is background, and what a format does not say a class of; the classes of a set follow.
Which outline is on top where two lie over each other, each format says (`Region.order`,
`Drawing.by_area`); with overlap=yes there is a map for each class instead, and none is on top.
"""

import difflib
import os
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import some_of
from segzoo.data.labelmap import BACKGROUND, is_ignored, tidy
from segzoo.data.outlines import Polygon, Runs, mask_of_runs, polygons_filled
from segzoo.data.paired import part_of_dataset, read_image
from segzoo.data.sample import Info, Sample, judge_names
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.pictures.palettes import IGNORED
from segzoo.spec import Option

__all__ = [
    "OPTIONS",
    "Classes",
    "Drawing",
    "Outlined",
    "Photo",
    "Region",
    "Shape",
    "chosen",
    "class_map",
    "path_within",
    "reason_of",
    "size_checked",
]

OPTIONS: Mapping[str, Option] = {
    "classes": Option(
        default="", help="names of labels that become 1, 2, ...; all others background"
    ),
    "overlap": Option(default=False, help="classes may overlap: a map for each"),
}
MOST = 254  # classes beside the background: indices and the ignored one are bytes
DRIVE = re.compile(r"[A-Za-z]:")


def reason_of(error: Exception) -> str:
    """What is wrong with an entry, of the error that reading it led to."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


class Region(NamedTuple):
    """One outline: polygons, or runs. label: the index of its class, 0 for background.

    number: its place in the file, for messages. ignored: its pixels do not count, for its class, or
    for all where it has none. order: what is higher is on top; of equals, the later. box: (top,
    left, height, width) of what runs fill, along rows; None for the whole picture, down columns.
    """

    number: int
    label: int
    polygons: tuple[Polygon, ...] = ()
    runs: "Runs | None" = None
    ignored: bool = False
    order: int = 0
    box: tuple[int, int, int, int] | None = None


class Shape(NamedTuple):
    """An outline before its label has an index; what else it has is as of `Region`."""

    number: int
    label: str
    polygon: "Polygon | None"
    runs: "Runs | None" = None
    box: tuple[int, int, int, int] | None = None
    order: int = 0

    def region(self, index: int) -> Region:
        """With the index of its class, or IGNORED."""
        return Region(
            self.number,
            0 if index == IGNORED else index,
            () if self.polygon is None else (self.polygon,),
            self.runs,
            ignored=index == IGNORED,
            order=self.order,
            box=self.box,
        )


class Photo(NamedTuple):
    """A picture's file below the folder of the set. height, width: 0 where only the file knows."""

    file: str
    height: int
    width: int
    regions: list[Region]


class Classes(NamedTuple):
    """names: of a set's classes, background first. indices: of each label that the set has."""

    names: tuple[str, ...]
    indices: Mapping[str, int]


class Drawing(NamedTuple):
    """How outlines become a target. what: of a region in messages, with its number for {}.

    by_area: of one order, the smaller is on top. overlap: a map for each class.
    """

    what: str
    by_area: bool = False
    overlap: bool = False


class Outlined:
    """Pictures of a folder with their regions.

    files: that these are from together. beside: for each picture the file that its own are from,
    below the folder.
    """

    def __init__(
        self,
        folder: str,
        photos: Sequence[Photo],
        *,
        classes: tuple[str, ...],
        drawing: Drawing,
        files: Sequence[str] = (),
        beside: Sequence[str] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.photos = photos
        self.beside = beside
        self.info = info_for(classes, drawing)
        self.count = len(classes) - 1
        self.drawing = drawing
        self.files = files
        self.notes = notes

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Sample:
        photo = self.photos[index]
        with part_of_dataset():
            image = read_image(os.path.join(self.folder, photo.file))
        if not photo.height:
            photo = photo._replace(height=image.shape[0], width=image.shape[1])
        return Sample(image=image, target=class_map(photo, self.count, self.drawing), id=photo.file)

    def id_of(self, index: int) -> str:
        return self.photos[index].file

    def files_at(self, index: int) -> tuple[str, ...]:
        names = (self.photos[index].file, *(self.beside and [self.beside[index]]))
        return tuple(os.path.join(self.folder, name) for name in names)


def info_for(classes: tuple[str, ...], drawing: Drawing) -> Info:
    """What such targets mean: with overlap, background is what no map has."""
    return Info(classes=classes[1:] if drawing.overlap else classes, ignore_index=IGNORED)


def class_map(photo: Photo, count: int, drawing: Drawing) -> NDArray[np.uint8]:
    """The class map (H, W); with overlap (count, H, W) of 0 and 1. 255 does not count.

    count: of the classes beside the background. DatasetError for what cannot be drawn.
    """
    masks = [(region, _mask(region, photo, drawing)) for region in photo.regions]
    if drawing.overlap:
        layers = np.zeros((count, photo.height, photo.width), np.uint8)
        for region, mask in masks:
            if region.label and not region.ignored:
                layers[region.label - 1][mask] = 1
        for region, mask in masks:
            if region.ignored:
                some = layers[region.label - 1 : region.label] if region.label else layers
                some[mask & (some == 0)] = IGNORED
        return layers

    def place(pair: tuple[Region, NDArray[np.bool_]]) -> tuple[int, int]:
        region, mask = pair
        return region.order, -int(np.count_nonzero(mask)) if drawing.by_area else 0

    target = np.zeros((photo.height, photo.width), np.uint8)
    for region, mask in sorted(masks, key=place):
        target[mask] = IGNORED if region.ignored else region.label
    return target


def _mask(region: Region, photo: Photo, drawing: Drawing) -> NDArray[np.bool_]:
    """(H, W) of the pixels of a region. DatasetError when it cannot be drawn."""
    height, width = photo.height, photo.width
    try:
        if region.runs is None:
            return polygons_filled(region.polygons, height, width)
        if region.box is None:
            return mask_of_runs(region.runs, height, width)
        top, left, tall, wide = region.box
        if not (0 <= top <= top + tall <= height and 0 <= left <= left + wide <= width):
            raise ValueError("a mask that reaches out of the picture")
        mask = np.zeros((height, width), np.bool_)
        mask[top : top + tall, left : left + wide] = mask_of_runs(region.runs, wide, tall).T
        return mask
    except ValueError as error:
        raise DatasetError(
            f"{drawing.what.format(region.number)} cannot be drawn",
            file=photo.file,
            found=str(error),
        ) from error


# --- what readers of outlines share ---------------------------------------------------------------


def chosen(labels: Iterable[str], classes: str, *, file: str, complete: bool = True) -> Classes:
    """The classes of a set whose labels are these, in their order; or those that classes= names.

    A label for background is index 0, and one for what is ignored 255. complete: nothing but these
    is in the set, so that another name in classes= is a UsageError. DatasetError for a label that
    stands twice or is no text, and for too many.
    """
    labels = [*labels]
    judge_names(labels, file=file)
    known = [tidy(label) for label in labels]
    things = [name for name in known if name != BACKGROUND and not is_ignored(name)]
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise DatasetError("labels stand twice", file=file, found=some_of(twice))
    names = tuple(map(str.strip, filter(str.strip, classes.split(","))))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError("classes= names one of them twice", found=some_of(twice))
    for name in names:
        if name == BACKGROUND or (complete and name not in things):
            near = difflib.get_close_matches(name, things, n=1)
            raise UsageError(
                f"the set has no label {printable(name)!r}",
                found=some_of(things),
                next_step=f"Did you mean {printable(near[0])!r}?" if near else "",
            )
    names = names or tuple(things)
    if len(names) > MOST or not names:
        raise DatasetError(
            "there are too many labels" if names else "there are no labels",
            file=file,
            found=str(len(names)),
            expected=f"1 to {MOST}, beside the background",
            next_step="Say which are meant: classes=A,B" if names else "",
        )
    number = {name: n for n, name in enumerate(names, 1)}
    index = {
        label: IGNORED if is_ignored(label) else number.get(name, 0)
        for label, name in zip(labels, known, strict=True)
    }
    return Classes((BACKGROUND, *names), index)


def path_within(name: str, *, below: str = "") -> str:
    """The path of a file that a set names, relative to the set's folder, with "/".

    below: the folder that it is relative to. ValueError for a path that leads out of the set.
    """
    path = posixpath.normpath(posixpath.join(below, name.replace("\\", "/")))
    absolute = path.startswith("/") or DRIVE.match(name)
    if not name or absolute or path.split("/")[0] == ".." or path == "." or "\0" in name:
        raise ValueError(f"{name[:200]!r} is not the name of a file in the set")
    return path


def size_checked(height: object, width: object, most: int) -> tuple[int, int]:
    """Height and width that a file says. ValueError for what is none."""
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"{height!r} x {width!r} is not a size")
    if height * width > most:
        raise ValueError(f"{height} x {width} is too large")
    return height, width
