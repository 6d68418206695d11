"""COCO 2017: photographs with the outlines of things of 80 categories, as one class map each.

    coco:coco?split=train                     annotations/instances_train2017.json, train2017/
    coco:coco?split=val&classes=person,dog    background, person and dog alone

Lin et al.: Microsoft COCO: Common Objects in Context, 2014. A category's id, of 1 to 90, becomes
an index of 1 to 80; index 0 is background. Where outlines lie over each other, the one with fewer
pixels is on top, as a cup is on its table. A crowd (iscrowd=1, stored as runs) holds people or
things that were not drawn one by one: it is ignored, index 255, where no outline lies over it.

Things alone: neither the stuff nor the panoptic annotations are read. The whole list is held in
memory: a list of the training set's size (118,287 pictures, 860,001 outlines) takes 0.8 GB, and
3.2 GB while it is parsed. Tested on small files of the documented layout, not on the data set.
"""

import difflib
import json
import os
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.data.layout import check_options
from segzoo.data.paired import part_of_dataset, read_image
from segzoo.data.sample import Info, Sample
from segzoo.errors import (
    DatasetError,
    DependencyMissingError,
    UsageError,
    printable,
)
from segzoo.pictures import palettes
from segzoo.pictures.codec import MAX_PIXELS
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "Coco", "open_coco"]

SPEC = ReaderSpec(
    summary="COCO 2017: things of 80 categories and background; not stuff, not panoptic",
    open="segzoo.data.readers.coco:open_coco",
    options={
        "split": Option(default="train", choices=("train", "val")),
        "classes": Option(
            default="", help="names of categories that become 1, 2, ...; all others background"
        ),
    },
    url="https://cocodataset.org/#format-data",
    license="annotations CC BY 4.0; each photograph its own of Flickr",
    requires={"pycocotools": "segzoo-core[data]"},
)

Polygon: TypeAlias = "array[float]"  # x, y, x, y, ...
Runs: TypeAlias = "array[int] | bytes"  # lengths, or COCO's packed form of them

IGNORED = palettes.IGNORED
MAX_BYTES = 2 << 30  # of the JSON; that of the training set has 0.45 GB
ORIGIN = "Get the pictures and annotations of 2017 from https://cocodataset.org/#download"
SHOWN = 5  # names that a message lists


class Region(NamedTuple):
    """One annotation: polygons or runs. label: the index of its class.

    number: its place in the list. (Its id would be the parser's object, and one such in each piece
    of memory that the parser filled would keep all of it.)
    """

    number: int
    label: int
    crowd: bool
    polygons: tuple[Polygon, ...]
    runs: "Runs | None"


class Photo(NamedTuple):
    file: str
    height: int
    width: int
    regions: list[Region]


class Coco:
    """Pictures of a folder with their regions. files: the list that these are from."""

    def __init__(
        self, folder: str, photos: Sequence[Photo], *, info: Info, files: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.files = files
        self.photos = photos
        self.info = info

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Sample:
        photo = self.photos[index]
        with part_of_dataset():
            image = read_image(os.path.join(self.folder, photo.file))
        return Sample(image=image, target=_drawn(photo), id=photo.file)

    def id_of(self, index: int) -> str:
        return self.photos[index].file

    def files_at(self, index: int) -> tuple[str]:
        return (os.path.join(self.folder, self.photos[index].file),)


def open_coco(path: str | os.PathLike[str], *, split: str = "train", classes: str = "") -> Coco:
    """The data set in a folder; the module says how it is laid out.

    DatasetError for files that are missing or not of this layout, and for annotations of a picture
    or a category that there is not; UsageError for a class that COCO does not have;
    DependencyMissingError.
    """
    check_options(SPEC, split=split)
    _pycocotools()
    root = os.fsdecode(path)
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    indices = _indices(names)
    file = os.path.join(root, "annotations", f"instances_{split}2017.json")
    folder = os.path.join(root, f"{split}2017")
    photos = _photos(_read(file), indices, file)
    _check_pictures(folder, photos)
    table = palettes.COCO
    told = ("background", *names) if names else table.classes
    info = Info(classes=told, ignore_index=table.ignore_index)
    return Coco(folder, photos, info=info, files=[file])


def _drawn(photo: Photo) -> NDArray[np.uint8]:
    """The class map (H, W): crowds below, then the regions from the largest to the smallest."""
    masks = [(region, _mask(region, photo)) for region in photo.regions]
    masks.sort(key=lambda pair: (not pair[0].crowd, -np.count_nonzero(pair[1])))
    target = np.zeros((photo.height, photo.width), np.uint8)
    for region, mask in masks:
        target[mask] = IGNORED if region.crowd and region.label else region.label
    return target


# --- the list -------------------------------------------------------------------------------------


def _read(file: str) -> dict[str, Any]:
    """The JSON of a split, with the three lists that it must have."""
    try:
        size = os.path.getsize(file)
        if size > MAX_BYTES:
            raise DatasetError("the file is too large", file=file, found=f"{size:,} bytes")
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream, parse_constant=_no_number)
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"cannot be read: {why}", file=file, next_step=ORIGIN) from error
    except (ValueError, RecursionError) as error:
        found = printable(str(error))[:200]
        raise DatasetError("this is not valid JSON", file=file, found=found) from error
    lists = ("images", "annotations", "categories")
    kinds = {key: content.get(key) for key in lists} if isinstance(content, dict) else {}
    if lacking := [key for key in lists if not isinstance(kinds.get(key), list)]:
        raise DatasetError(
            "this is not a list of instances as COCO writes it",
            file=file,
            found=f"no list of {', '.join(lacking)}",
            next_step=ORIGIN,
        )
    return kinds


def _photos(content: Mapping[str, Any], indices: Mapping[int, int], file: str) -> list[Photo]:
    """Every picture with its regions, in the order of the file."""
    photos: dict[int, Photo] = {}
    what = ""
    try:
        for number, entry in enumerate(content["categories"]):
            what = f"categories[{number}]"
            _check_category(entry["id"], entry["name"], file)
        for number, entry in enumerate(content["images"]):
            what = f"images[{number}]"
            if entry["id"] in photos:
                raise ValueError(f"the id {entry['id']} stands twice")
            photos[entry["id"]] = _photo(entry["file_name"], entry["height"], entry["width"])
        for number, entry in enumerate(content["annotations"]):
            what = f"annotations[{number}]"
            if entry["image_id"] not in photos:
                raise ValueError(f"there is no image {entry['image_id']}")
            if entry["category_id"] not in indices:
                raise ValueError(f"there is no category {entry['category_id']}")
            photo = photos[entry["image_id"]]
            photo.regions.append(_region(number, entry, indices[entry["category_id"]], photo))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        lacks = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(
            f"{what} cannot be used", file=file, found=printable(lacks)[:200]
        ) from error
    if not photos:
        raise DatasetError("there are no pictures", file=file)
    return [*photos.values()]


def _photo(name: object, height: object, width: object) -> Photo:
    if not isinstance(name, str) or name != os.path.basename(name) or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not the name of a file")
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"{height!r} x {width!r} is not a size")
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height} x {width} is too large")
    return Photo(name, height, width, [])


def _region(number: int, entry: Mapping[str, Any], label: int, photo: Photo) -> Region:
    outline, crowd = entry["segmentation"], bool(entry.get("iscrowd", 0))
    polygons: tuple[Polygon, ...] = ()
    runs: Runs | None = None
    if isinstance(outline, list):
        if odd := [len(polygon) for polygon in outline if len(polygon) % 2]:
            raise ValueError(f"a polygon of {odd[0]} numbers")
        # fewer than three points cover nothing; pycocotools takes two for a box
        polygons = tuple(array("d", polygon) for polygon in outline if len(polygon) >= 6)
    else:
        if [*outline["size"]] != [photo.height, photo.width]:
            raise ValueError(f"runs of a picture of size {outline['size']}")
        counts = outline["counts"]
        runs = counts.encode("ascii") if isinstance(counts, str) else array("I", counts)
    return Region(number, label, crowd, polygons, runs)


def _check_category(id: int, name: str, file: str) -> None:
    table = palettes.COCO
    expected = table.classes[table.values[id]] if id and id in table.values else None
    if name != expected:
        raise DatasetError(
            "the categories are not COCO's",
            file=file,
            found=f"{id}: {printable(str(name))!r}",
            expected=f"{id}: {expected!r}" if expected else "the 80 of COCO",
            next_step="For a set of your own, write its masks as PNG and use the reader folder",
        )


def _indices(names: Sequence[str]) -> dict[int, int]:
    """Category id -> index. Chosen names: 1, 2, ... in their order, and 0 for all others."""
    table = palettes.COCO
    used = {id: index for id, index in table.values.items() if id}
    if not names:
        return used
    for name in names:
        if name not in table.classes[1:] or names.count(name) > 1:
            near = difflib.get_close_matches(name, table.classes[1:], n=1)
            raise UsageError(
                f"COCO has no class {printable(name)!r}, or it is named twice",
                next_step=f"Did you mean {near[0]!r}?" if near else f"See {SPEC.url}",
            )
    chosen = {table.classes.index(name): index for index, name in enumerate(names, 1)}
    return {id: chosen.get(index, 0) for id, index in used.items()}


def _check_pictures(folder: str, photos: Sequence[Photo]) -> None:
    try:
        there = set(os.listdir(folder))
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"cannot be read: {why}", file=folder, next_step=ORIGIN) from error
    if missing := [photo.file for photo in photos if photo.file not in there]:
        raise DatasetError(
            f"{len(missing)} of {len(photos)} pictures are missing",
            file=folder,
            found="no " + ", ".join(map(printable, missing[:SHOWN])),
            next_step=ORIGIN,
        )


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number of JSON")


# --- outlines -------------------------------------------------------------------------------------


def _mask(region: Region, photo: Photo) -> NDArray[np.bool_]:
    """(H, W) of the pixels of a region. DatasetError when it cannot be drawn."""
    height, width = photo.height, photo.width
    try:
        if region.runs is not None:
            return _filled(region.runs, height, width)
        if not region.polygons:
            return np.zeros((height, width), np.bool_)
        for polygon in region.polygons:
            points = np.frombuffer(polygon).reshape(-1, 2)
            # pycocotools follows every line pixel by pixel, wherever it leads
            if not (np.abs(points) <= (2 * width, 2 * height)).all():
                raise ValueError("a polygon leads far out of the picture")
        coco = _pycocotools()
        runs = coco.merge(coco.frPyObjects([*region.polygons], height, width))
        return _filled(runs["counts"], height, width)  # its decode warns under numpy 2
    except ValueError as error:
        raise DatasetError(
            f"annotations[{region.number}] cannot be drawn", file=photo.file, found=str(error)
        ) from error


def _filled(runs: Runs, height: int, width: int) -> NDArray[np.bool_]:
    """Runs of 0, 1, 0, ... down the columns, one after the other, as a mask.

    pycocotools leaves pixels as the memory was when runs end too early; here they must fill it.
    """
    counts = _counts(runs) if isinstance(runs, bytes) else runs.tolist()
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"runs of {sum(counts)} pixels, of {height * width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _counts(text: bytes) -> list[int]:
    """The lengths of runs in COCO's compressed form (maskApi.c, rleFrString).

    Characters hold 5 bits each, the lowest first, above them a bit that says that more follow; from
    the fourth on, a length is told as the difference from the one two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError("a character that no run is written with")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("runs that are cut short")
    return counts


def _pycocotools() -> Any:
    try:
        import pycocotools.mask
    except ImportError as error:
        raise DependencyMissingError(
            "the reader 'coco' needs pycocotools", next_step="Run: pip install 'segzoo-core[data]'"
        ) from error
    return pycocotools.mask
