"""YOLO's sets for segmentation: a text file of polygons for each picture.

    yolo:cells?split=val                      cells/data.yaml, images/val/a.jpg, labels/val/a.txt
    yolo:cells/coco8-seg.yaml?classes=person  another description; all other names are background

https://docs.ultralytics.com/datasets/segment/. A line is the number of a class and the corners of a
polygon, x and y in parts of the width and height. Where polygons lie over each other the smaller
one is on top, as ultralytics draws them for training. A picture without a file is background, with
a note. Class 0 of the files is index 1, because index 0 is background.

Pictures are found as ultralytics finds them, but only in the folder of the description: an absolute
path= in it is not looked at. Lines of four numbers after the class are boxes, of sets without
outlines, and are refused. Coordinates may lie outside by 0.01, as ultralytics allows.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segzoo.base import formats
from segzoo.base.counts import some_of
from segzoo.base.strictyaml import strict_yaml
from segzoo.data.outlined import (
    OPTIONS,
    Drawing,
    Photo,
    Region,
    chosen,
    class_map,
    info_for,
    path_within,
)
from segzoo.data.outlines import drawing_library, polygon_of
from segzoo.data.paired import part_of_dataset, read_image
from segzoo.data.sample import Sample
from segzoo.errors import DatasetError, printable
from segzoo.pictures.palettes import IGNORED
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "Yolo", "open_yolo"]

SPEC = ReaderSpec(
    summary="YOLO's sets for segmentation: polygons in a text file for each picture",
    open="segzoo.data.readers.yolo:open_yolo",
    options={
        "split": Option(default="train", help="as the description has it: train, val, test"),
        **OPTIONS,
    },
    url="https://docs.ultralytics.com/datasets/segment/",
    requires={"pycocotools": "segzoo-core[data]"},
)
MAX_YAML = 1 << 18  # bytes of a description
MAX_BYTES = 64 << 20  # of a picture's polygons
OUTSIDE = 0.01  # in parts of the picture
SHOWN = 5  # names that an error lists


class Yolo:
    """Pictures with files of polygons, read when they are asked for.

    pictures: below the folder. index: of each class of the files, among those of the set.
    """

    def __init__(
        self,
        folder: str,
        pictures: Sequence[str],
        *,
        classes: tuple[str, ...],
        index: Sequence[int],
        drawing: Drawing,
        files: Sequence[str] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.pictures = pictures
        self.info = info_for(classes, drawing)
        self.count = len(classes) - 1
        self.index = index
        self.drawing = drawing
        self.files = files
        self.notes = notes

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        name = self.pictures[index]
        with part_of_dataset():
            image = read_image(os.path.join(self.folder, name))
        height, width = image.shape[:2]
        label = labels_of(name)
        regions = _regions(os.path.join(self.folder, label), self.index, height, width)
        target = class_map(Photo(label, height, width, regions), self.count, self.drawing)
        return Sample(image=image, target=target, id=name)

    def id_of(self, index: int) -> str:
        return self.pictures[index]

    def files_at(self, index: int) -> tuple[str, ...]:
        name = self.pictures[index]
        files = (os.path.join(self.folder, file) for file in (name, labels_of(name)))
        return tuple(file for file in files if os.path.exists(file))


def open_yolo(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    classes: str = "",
    overlap: bool = False,
) -> Yolo:
    """The data set of a description, or of the data.yaml in a folder; the module says more.

    DatasetError for a description that cannot be used or has no such split, for pictures that are
    not there or share a file of labels, and for labels without a picture; UsageError for classes=
    that it does not have; DependencyMissingError.
    """
    drawing_library("yolo")
    file = _description(os.fsdecode(path))
    root = os.path.dirname(file)
    content = _read(file)
    names = _names(content, file)
    kept = chosen(names, classes, file=file)
    pictures: dict[str, None] = {}
    strays: list[str] = []
    for entry in _entries(content, split, file):
        place = _place(root, entry, content.get("path"), file)
        if os.path.isdir(os.path.join(root, place)):
            there = [*_below(root, place, formats.endings())]
            strays += _strays(root, place, there)
        else:
            there = [*_listed(root, place)]
        pictures |= dict.fromkeys(there)
    shared = [file for file, count in Counter(map(labels_of, pictures)).items() if count > 1]
    if not pictures or strays or shared:
        fault = "two pictures share a file of labels" if shared else "there are no pictures"
        raise DatasetError(
            "there are labels without a picture" if strays else fault,
            file=root,
            found=some_of(strays or shared),
        )
    without = sum(not os.path.exists(os.path.join(root, labels_of(name))) for name in pictures)
    if without == len(pictures):
        raise DatasetError(
            "no picture has a file of labels",
            file=root,
            found=f"no {printable(labels_of(next(iter(pictures))))}",
            expected="labels/NAME.txt for images/NAME.jpg",
        )
    note = f"pictures without a file of labels are background; found {without}"
    return Yolo(
        root,
        [*pictures],
        classes=kept.names,
        index=[kept.indices[name] for name in names],
        drawing=Drawing("line {}", by_area=True, overlap=overlap),
        files=[file],
        notes=(note,) if without else (),
    )


def labels_of(picture: str) -> str:
    """Where a picture's polygons are: in labels/ for the last images/ of its path."""
    *folders, name = picture.split("/")
    for place in reversed(range(len(folders))):
        if folders[place] == "images":
            folders[place] = "labels"
            break
    return "/".join([*folders, os.path.splitext(name)[0] + ".txt"])


# --- the description ------------------------------------------------------------------------------


def _description(path: str) -> str:
    """The file itself, or the one in a folder. DatasetError for none and for several."""
    if os.path.isfile(path):
        return path
    listed = sorted(os.listdir(path)) if os.path.isdir(path) else []
    found = [name for name in listed if name.endswith((".yaml", ".yml")) and name[0] != "."]
    if "data.yaml" in found:
        found = ["data.yaml"]
    if len(found) != 1:
        raise DatasetError(
            "several descriptions lie here" if found else "there is no description of the set",
            file=path,
            found=", ".join(map(printable, found[:SHOWN])),
            expected="data.yaml",
            next_step=f"Say which: yolo:{os.path.join(path, found[0])}" if found else "",
        )
    return os.path.join(path, found[0])


def _read(file: str) -> Mapping[str, Any]:
    """The description."""
    try:
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read(MAX_YAML + 1)
        if len(text) > MAX_YAML:
            raise DatasetError("the file is too large for a description", file=file)
        content = strict_yaml(text)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", file=file) from error
    except ValueError as error:
        found = printable(" ".join(str(error).split()))[:200]
        raise DatasetError("this is not valid YAML", file=file, found=found) from error
    if not isinstance(content, dict):
        raise DatasetError(
            "this is no description of a set",
            file=file,
            found=type(content).__name__,
            expected="train:, val: and names:",
        )
    return content


def _names(content: Mapping[str, Any], file: str) -> list[str]:
    """The classes in the order of their numbers."""
    names, count = content.get("names"), content.get("nc")
    if names is None and type(count) is int and 0 < count < 256:
        names = [f"class_{number}" for number in range(count)]
    if isinstance(names, dict) and {*names} == {*range(len(names))}:
        names = [names[number] for number in range(len(names))]
    fault = ""
    if not isinstance(names, list) or not names:
        fault = "names: is neither a list, nor numbered from 0"
    elif odd := [name for name in names if type(name) not in (str, int)]:
        fault = f"a name is {odd[0]!r}; write it in quotes"
    elif count is not None and count != len(names):
        fault = f"nc: is {count!r}, and there are {len(names)} names"
    if fault:
        raise DatasetError("the classes cannot be used", file=file, found=printable(fault)[:200])
    return [str(name) for name in names or ()]


def _entries(content: Mapping[str, Any], split: str, file: str) -> list[str]:
    """Where the pictures of a split are said to be."""
    entries = content.get(split) or (content.get("validation") if split == "val" else None)
    entries = [entries] if isinstance(entries, str) else entries
    if not isinstance(entries, list) or not all(isinstance(e, str) and e for e in entries):
        there = [key for key in ("train", "val", "test") if content.get(key)]
        raise DatasetError(
            f"there is no split {printable(split)!r}",
            file=file,
            found=", ".join(there) or "none",
            expected="a folder, or a list of folders",
        )
    return entries


def _place(root: str, entry: str, base: object, file: str) -> str:
    """The folder or list below the root that an entry means."""
    tried = []
    for below in (base if isinstance(base, str) else "", ""):
        for name in (entry, entry.removeprefix("../")):
            try:
                place = path_within(name, below=below)
            except ValueError:
                continue
            tried.append(place)
            if os.path.exists(os.path.join(root, place)):
                return place
    raise DatasetError(
        "the pictures are not there" if tried else "the pictures lie outside of the set",
        file=file,
        found=printable(entry)[:200],
        expected="a folder below that of the description",
    )


# --- pictures and polygons ------------------------------------------------------------------------


def _below(root: str, place: str, endings: Sequence[str]) -> Iterator[str]:
    """Files of a folder and those below it that end so, as paths below the root with "/"."""
    for folder, folders, files in os.walk(os.path.join(root, place)):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        here = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(files):
            if name[0] != "." and os.path.splitext(name)[1].lower() in endings:
                yield name if here == "." else f"{here}/{name}"


def _strays(root: str, place: str, pictures: Sequence[str]) -> list[str]:
    """Files of polygons without a picture."""
    known = {*map(labels_of, pictures)}
    labels = os.path.dirname(labels_of(f"{place}/x"))
    there = [*_below(root, labels, (".txt",))] if labels != place else []
    return [file for file in there if file not in known and not file.endswith("/classes.txt")]


def _listed(root: str, place: str) -> Iterator[str]:
    """The pictures that a list names, a path on each line, from the folder of the list."""
    file = os.path.join(root, place)
    try:
        with open(file, encoding="utf-8-sig", errors="surrogateescape") as stream:
            lines = [line.strip() for line in stream.read(MAX_BYTES).splitlines()]
        found = [path_within(line, below=os.path.dirname(place)) for line in lines if line]
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", file=file) from error
    except ValueError as error:
        raise DatasetError(
            "the list names what is not in the set", file=file, found=printable(str(error))
        ) from error
    missing = [name for name in found if not os.path.isfile(os.path.join(root, name))]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(found)} pictures are missing",
            file=file,
            found="no " + ", ".join(map(printable, missing[:SHOWN])),
        )
    yield from found


def _regions(file: str, index: Sequence[int], height: int, width: int) -> list[Region]:
    """The polygons of a picture, in pixels; none where there is no file."""
    number = 0
    try:
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise DatasetError("the file is too large for the polygons of a picture", file=file)
        regions = []
        for number, line in enumerate(text.splitlines(), 1):
            if words := line.split():
                regions.append(_region(number, words, index, height, width))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", file=file) from error
    except UnicodeDecodeError as error:
        raise DatasetError("the file is no text", file=file, found=str(error)[:80]) from error
    except ValueError as error:
        raise DatasetError(
            f"line {number} cannot be used",
            file=file,
            found=printable(str(error))[:200],
            expected="the number of a class, and x and y of three points or more in 0..1",
        ) from error
    return regions


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{word!r} is no number") from None


def _region(
    number: int, words: Sequence[str], index: Sequence[int], height: int, width: int
) -> Region:
    if len(words) == 5:
        raise ValueError("four numbers: a box, or two points")
    label, *values = map(_number, words)
    if label not in range(len(index)):
        raise ValueError(f"class {words[0]} of {len(index)}")
    if outside := [v for v in values if not -OUTSIDE <= v <= 1 + OUTSIDE]:
        raise ValueError(f"{outside[0]:g} is not in 0..1")
    inside = [min(max(value, 0.0), 1.0) for value in values]
    scaled = [value * (height if n % 2 else width) for n, value in enumerate(inside)]
    found = index[int(label)]
    ignored = found == IGNORED
    return Region(number, 0 if ignored else found, (polygon_of(scaled),), ignored=ignored)
