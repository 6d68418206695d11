"""COCO 2017, photographs with the outlines of things of 80 categories; and sets in its format.

    coco:coco?split=train                     annotations/instances_train2017.json, train2017/
    coco:coco?split=val&classes=person,dog    background, person and dog alone
    coco:cells?split=valid                    valid/_annotations.coco.json       Roboflow
    coco:task_7?split=default                 annotations/instances_default.json, images/       CVAT
    coco:cells/annotations.json?images=photos any file, and where its pictures are

Lin et al.: Microsoft COCO: Common Objects in Context, 2014. A category's id, of 1 to 90, becomes
an index of 1 to 80; index 0 is background. Where outlines lie over each other, the one with fewer
pixels is on top, as a cup is on its table. A crowd (iscrowd=1, stored as runs) holds people or
things that were not drawn one by one: it is ignored, index 255, where no outline lies over it.

Categories of a set of one's own become 1, 2, ... in the order of their ids. One that is called
background is index 0; one that only stands above others, as Roboflow writes it, is no class.

A box alone says nothing of pixels: annotations without an outline, or with fewer than three points,
are refused, because their things would become background. Where classes= does not name their
category they are background anyway, and a note counts them.

Things alone: neither the stuff nor the panoptic annotations are read. The whole list is held in
memory: a list of the training set's size (118,287 pictures, 860,001 outlines) takes 0.8 GB, and
3.2 GB while it is parsed. Tested on small files of the documented layout, not on the data set.
"""

import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from segzoo.base.counts import count_of
from segzoo.data.outlined import (
    OPTIONS,
    Classes,
    Drawing,
    Outlined,
    Photo,
    Region,
    chosen,
    path_within,
    reason_of,
    size_checked,
)
from segzoo.data.outlines import Polygon, Runs, drawing_library
from segzoo.errors import DatasetError, printable
from segzoo.pictures import palettes
from segzoo.pictures.codec import MAX_PIXELS
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_coco"]

SPEC = ReaderSpec(
    summary="COCO 2017: things of 80 categories and background; or a set of one's own like it",
    open="segzoo.data.readers.coco:open_coco",
    options={
        "split": Option(default="train", help="as the list's name has it: train, val, default"),
        **OPTIONS,
        "images": Option(default="", help="the folder of pictures, from that of the list"),
    },
    url="https://cocodataset.org/#format-data",
    license="annotations CC BY 4.0; each photograph its own of Flickr",
    requires={"pycocotools": "segzoo-core[data]"},
)

IGNORED = palettes.IGNORED
MAX_BYTES = 2 << 30  # of the JSON; that of the training set has 0.45 GB
ORIGIN = "Get the pictures and annotations of 2017 from https://cocodataset.org/#download"
SHOWN = 5  # names that a message lists


class _List(NamedTuple):
    """A list of annotations. folders: where its pictures may lie, the likeliest first."""

    file: str
    folders: tuple[str, ...]

    @property
    def official(self) -> bool:
        """Whether it is called as COCO's own are."""
        return os.path.basename(self.file).endswith("2017.json")


def open_coco(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    classes: str = "",
    overlap: bool = False,
    images: str = "",
) -> Outlined:
    """The data set in a folder, or of a list; the module says how it is laid out.

    DatasetError for files that are missing or not of this layout, and for annotations without an
    outline, or of a picture or a category that there is not; UsageError for a class that the set
    does not have; DependencyMissingError.
    """
    drawing_library("coco")
    found = _list(os.fsdecode(path), split, images)
    content = _read(found.file)
    indices, kept = _categories(content, classes, found)
    photos, notes = _photos(content, indices, found.file)
    first = photos[0].file
    there = (f for f in found.folders if os.path.isfile(os.path.join(f, first)))
    folder = next(there, found.folders[0])
    _check_pictures(folder, photos)
    return Outlined(
        folder,
        photos,
        classes=kept.names,
        drawing=Drawing("annotations[{}]", by_area=True, overlap=overlap),
        files=[found.file],
        notes=notes,
    )


# --- the list -------------------------------------------------------------------------------------


def _list(path: str, split: str, images: str) -> _List:
    """The list that is meant: the file itself, or the first in a folder of the known layouts."""
    if os.path.isfile(path):
        root, stem = os.path.split(path)
        usual = (".", "images", "../images", stem.removesuffix(".json"))
        return _List(path, _below(root, *((images,) if images else usual)))
    official = os.path.join(path, "annotations", f"instances_{split}2017.json")
    known = (
        (official, (f"{split}2017",)),
        (
            os.path.join(path, "annotations", f"instances_{split}.json"),
            (f"images/{split}", split, "images"),
        ),
        (os.path.join(path, split, "_annotations.coco.json"), (split,)),
    )
    file, folders = next((pair for pair in known if os.path.exists(pair[0])), known[0])
    return _List(file, _below(path, *((images,) if images else folders)))


def _below(root: str, *folders: str) -> tuple[str, ...]:
    return tuple(os.path.normpath(os.path.join(root, folder)) for folder in folders)


def _read(file: str) -> dict[str, Any]:
    """The JSON of a split, with the three lists that it must have."""

    def no_number(word: str) -> NoReturn:
        found = f"{word} is not a number of JSON"
        raise DatasetError("this is not valid JSON", file=file, found=found)

    try:
        size = os.path.getsize(file)
        if size > MAX_BYTES:
            raise DatasetError("the file is too large", file=file, found=f"{size:,} bytes")
        with open(file, encoding="utf-8-sig") as stream:
            content = json.load(stream, parse_constant=no_number)
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"cannot be read: {why}", file=file, next_step=ORIGIN) from error
    except RecursionError:
        found = "it is nested too deeply"
        raise DatasetError("this is not valid JSON", file=file, found=found) from None
    except ValueError as error:
        # all else that the parser raises is of a class of its own
        digits = type(error) is ValueError
        found = "a number of thousands of digits" if digits else printable(str(error))[:200]
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


def _categories(
    content: Mapping[str, Any], classes: str, found: _List
) -> tuple[dict[int, int], Classes]:
    """Category id -> index, and the classes: COCO's own, or those of the list by their ids."""
    names: dict[int, str] = {}
    above: dict[str, str] = {}
    for number, entry in enumerate(content["categories"]):
        try:
            id, name = entry["id"], entry["name"]
            above[name] = str(entry.get("supercategory", ""))
            fault = type(id) is not int or not isinstance(name, str) or not name.strip()
        except (KeyError, TypeError, AttributeError):
            fault = True
        if fault or id in names:
            raise DatasetError(
                f"categories[{number}] cannot be used",
                file=found.file,
                found=printable(str(entry))[:200],
                expected="an id of its own, a whole number, and a name",
            )
        names[id] = name
    table = palettes.COCO
    theirs = {id: table.classes[index] for id, index in table.values.items() if id}
    if found.official and names.items() <= theirs.items():
        kept = chosen(table.classes[1:], classes, file=found.file)
        return {id: kept.indices[name] for id, name in theirs.items()}, kept
    used = {a["category_id"] for a in content["annotations"] if _is_of_category(a)}
    parents = {parent for name, parent in above.items() if parent != name}
    things = {id: name for id, name in sorted(names.items()) if id in used or name not in parents}
    kept = chosen(things.values(), classes, file=found.file)
    return {id: kept.indices.get(name, 0) for id, name in names.items()}, kept


def _is_of_category(entry: object) -> bool:
    return isinstance(entry, dict) and type(entry.get("category_id")) is int


def _photos(
    content: Mapping[str, Any], indices: Mapping[int, int], file: str
) -> tuple[list[Photo], tuple[str, ...]]:
    """Every picture with its regions, in the order of the file; and what is in no target."""
    photos: dict[int, Photo] = {}
    images: dict[str, int] = {}  # by file, which of them it is
    bare: dict[int, int] = {}  # annotations without an outline: number, and category
    short = 0
    what = expected = ""
    try:
        expected = "an id of its own, the file_name of a picture of its own, its height and width"
        for number, entry in enumerate(content["images"]):
            what = f"images[{number}]"
            id = _id(entry, "id")
            if id in photos:
                raise ValueError(f"the id {id} stands twice")
            photos[id] = photo = _photo(entry["file_name"], entry["height"], entry["width"])
            # two samples of one picture would each deny the other's things
            if (other := images.setdefault(photo.file, number)) != number:
                raise ValueError(f"images[{other}] is about {photo.file!r} too")
        expected = "an image_id and a category_id of the list, and polygons or runs"
        for number, entry in enumerate(content["annotations"]):
            what = f"annotations[{number}]"
            image, category = _id(entry, "image_id"), _id(entry, "category_id")
            if image not in photos:
                raise ValueError(f"there is no image {image}")
            if category not in indices:
                raise ValueError(f"there is no category {category}")
            region, pieces = _region(number, entry, indices[category], photos[image])
            if region is None:
                bare[number] = category
            else:
                photos[image].regions.append(region)
                short += pieces
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DatasetError(
            f"{what} cannot be used",
            file=file,
            found=printable(reason_of(error))[:200],
            expected=expected,
        ) from error
    if not photos:
        raise DatasetError("there are no pictures", file=file)
    notes = [*_without_outline(content, bare, indices, file)]
    if short:
        notes.append(f"polygons of fewer than three points are left out; found {short}")
    return [*photos.values()], tuple(notes)


def _id(entry: object, key: str) -> Any:
    """What an entry gives as an id. ValueError and KeyError for what cannot be one."""
    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r}, no object")
    if isinstance(entry[key], list | dict):
        raise ValueError(f"its {key!r} is {entry[key]!r}")
    return entry[key]


def _photo(name: object, height: object, width: object) -> Photo:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not the name of a file")
    return Photo(path_within(name), *size_checked(height, width, MAX_PIXELS), [])


def _region(
    number: int, entry: Mapping[str, Any], index: int, photo: Photo
) -> tuple[Region | None, int]:
    """None without an outline; and how many of its polygons enclose nothing.

    number: not its id, which would be the parser's object, and one such in each piece of memory
    that the parser filled would keep all of it.
    """
    outline, crowd = entry.get("segmentation"), bool(entry.get("iscrowd", 0))
    polygons: tuple[Polygon, ...] = ()
    runs: Runs | None = None
    short = 0
    if isinstance(outline, dict) and outline:
        runs = _runs(outline, photo)
    elif isinstance(outline, list) and all(isinstance(polygon, list) for polygon in outline):
        if odd := [len(polygon) for polygon in outline if len(polygon) % 2]:
            raise ValueError(f"a polygon of {odd[0]} numbers")
        # pycocotools takes two points for a box
        polygons = tuple(_polygon(polygon) for polygon in outline if len(polygon) >= 6)
        short = len(outline) - len(polygons)
    elif outline:
        raise ValueError(f"its 'segmentation' is {outline!r}")
    if runs is None and not polygons:
        return None, 0
    region = Region(
        number,
        0 if index == IGNORED else index,
        polygons,
        runs,
        ignored=index == IGNORED or (crowd and index > 0),
        order=-1 if crowd else 0,
    )
    return region, short


def _polygon(numbers: Sequence[float]) -> Polygon:
    try:
        return array("d", numbers)
    except (TypeError, OverflowError):
        raise ValueError("a polygon whose corners are no numbers") from None


def _runs(outline: Mapping[str, Any], photo: Photo) -> Runs:
    if outline["size"] != [photo.height, photo.width]:
        raise ValueError(f"runs of a picture of size {outline['size']}")
    counts = outline["counts"]
    try:
        return counts.encode("ascii") if isinstance(counts, str) else array("I", counts)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("runs whose 'counts' are no lengths") from None


def _without_outline(
    content: Mapping[str, Any], bare: Mapping[int, int], indices: Mapping[int, int], file: str
) -> Iterator[str]:
    """A note of those that are background anyway. DatasetError for the others."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    lost = {number: category for number, category in bare.items() if indices[category]}
    if lost:
        total = len(content["annotations"])
        raise DatasetError(
            f"{len(lost)} of {count_of(total, 'annotation')} have no outline, and a box says "
            "nothing of pixels",
            file=file,
            found=f"{_told(lost, names)}; the first is annotations[{min(lost)}]",
            expected="polygons of three points or more, or runs",
            next_step="Draw them, take them out of the list, or say which classes have outlines: "
            "classes=A,B",
        )
    if bare:
        found = _told(bare, names)
        yield f"annotations of background without an outline are left out; found {found}"


def _told(bare: Mapping[int, int], names: Mapping[int, str]) -> str:
    counts = Counter(names[category] for category in bare.values()).most_common()
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    return ", ".join(f"{count} {printable(name)}" for name, count in counts[:SHOWN]) + more


def _check_pictures(folder: str, photos: Sequence[Photo]) -> None:
    try:
        there = set(os.listdir(folder))
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(f"cannot be read: {why}", file=folder, next_step=ORIGIN) from error

    def is_there(file: str) -> bool:
        return os.path.isfile(os.path.join(folder, file)) if "/" in file else file in there

    if missing := [photo.file for photo in photos if not is_there(photo.file)]:
        raise DatasetError(
            f"{len(missing)} of {len(photos)} pictures are missing",
            file=folder,
            found="no " + ", ".join(map(printable, missing[:SHOWN])),
            next_step=ORIGIN,
        )
