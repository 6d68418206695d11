"""A data set as other programs read it: COCO's list of annotations, or YOLO's files of polygons.

    coco             DIR/annotations/instances_train.json with runs, DIR/images/train/*.png
    coco-polygons    the same with polygons
    yolo             DIR/data.yaml, DIR/images/train/*.png, DIR/labels/train/*.txt

Runs are exact, and polygons too where no tolerance is given. Of each class and picture there is one
annotation, because masks do not tell one thing from another; in YOLO's files a line for each piece.
Pixels that do not count are a crowd of each category in COCO's list, and background in YOLO's.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base import files, formats
from segzoo.base.counts import count_of
from segzoo.data.contours import polygons_around
from segzoo.data.labelmap import BACKGROUND, tidy
from segzoo.data.outlines import runs_of
from segzoo.data.sample import Dataset, Info, Sample, Stream, checked, info_of
from segzoo.errors import DatasetError, OutputError, ResourceError, UsageError, printable
from segzoo.pictures import codec, labels

__all__ = ["FORMATS", "Exported", "export"]

FORMATS = ("coco", "coco-polygons", "yolo")
SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")
UNSAFE = re.compile(r"[^A-Za-z0-9_+-]+")  # in the name of a file
NAME = 80  # characters of it


class Exported(NamedTuple):
    """What was written. words: to read it again. lost: pixels whose not counting is lost."""

    samples: int
    classes: tuple[str, ...]
    words: str
    lost: int


class _Layer(NamedTuple):
    """The pixels of a class in a picture. number: of the class, from 0. crowd: they don't count."""

    number: int
    mask: NDArray[np.bool_]
    crowd: bool = False


class _Picture(NamedTuple):
    """A picture that is written: its name without folder and ending, and its layers."""

    name: str
    size: tuple[int, int]
    layers: list[_Layer]


class _Plan(NamedTuple):
    """classes: that are written, in their order. indices: of each in targets (H, W)."""

    info: Info
    classes: tuple[str, ...]
    indices: tuple[int, ...]
    tolerance: float


def export(
    dataset: Dataset | Stream,
    folder: str | os.PathLike[str],
    *,
    format: str,
    split: str = "train",
    background: str = "",
    tolerance: float = 0.0,
) -> Exported:
    """Write the samples into a folder, which another split may be in already.

    format: one of FORMATS. background: the class that is not written; by default the one that is
    called so. tolerance: how far a polygon may leave the border of the pixels, in pixels; runs are
    exact. Nothing is there before all is. UsageError for options that cannot be used, and for
    a set that does not say its classes; DatasetError of its samples; OutputError where there is
    something of the same name, or where other classes were written before.
    """
    folder = os.fsdecode(folder)
    plan = _plan(info_of(dataset), format, split, background, tolerance)
    writer = _WRITERS[format](folder, split, plan)
    count = lost = 0
    names: set[str] = set()
    with files.folder_for(folder), _temporary(folder) as temporary:
        for sample in map(checked, _samples(dataset)):
            picture = _picture(sample, plan, names)
            image = codec.encode(_image(sample))
            files.write(_made(temporary, "images", f"{picture.name}.png"), image)
            lost += writer.add(picture, temporary)
            count += 1
        if not count:
            raise DatasetError("the data set is empty")
        writer.finish(temporary)
    return Exported(count, plan.classes, writer.words, lost)


@contextlib.contextmanager
def _temporary(folder: str) -> Iterator[str]:
    """A folder in it for what is not whole yet; what fails there is said of `folder`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".segzoo-") as temporary:
        try:
            yield temporary
        except (OutputError, ResourceError) as error:
            if error.file.startswith(printable(temporary)):
                error.file = printable(folder)
            raise


def _samples(dataset: Dataset | Stream) -> Iterator[Sample]:
    if isinstance(dataset, Dataset):
        yield from (dataset[number] for number in range(len(dataset)))
    else:
        yield from dataset


def _plan(info: Info, format: str, split: str, background: str, tolerance: float) -> _Plan:
    if format not in FORMATS:
        raise UsageError(f"{printable(format)!r} is no format", expected=", ".join(FORMATS))
    if not SPLIT.fullmatch(split):
        raise UsageError(
            f"{printable(split)!r} is no name of a split", expected="letters, digits, _ and -"
        )
    if not 0 <= tolerance < 100:
        raise UsageError(f"a tolerance of {tolerance} pixels", expected="0 or more, such as 0.5")
    names = info.classes
    if not names:
        raise UsageError(
            "the data set does not say its classes, and both formats name them",
            next_step="Say them in the order of their values: classes=A,B",
        )
    if background and background not in names:
        raise UsageError(
            f"there is no class {printable(background)!r}", found=", ".join(map(printable, names))
        )
    aside = background or next((name for name in names if tidy(name) == BACKGROUND), "")
    kept = tuple(name for name in names if name != aside)
    if not kept:
        raise UsageError("there is no class but the background")
    one = len(names) == 1  # 0 is what it is not
    return _Plan(info, kept, tuple(names.index(name) + one for name in kept), tolerance)


def _image(sample: Sample) -> NDArray[np.uint8]:
    image = sample["image"]
    if image.shape[2] not in (1, 3, 4):
        raise UsageError(
            "pictures of measured bands have no format here",
            found=count_of(image.shape[2], "band"),
            expected="gray or colours",
        )
    return image[..., 0] if image.shape[2] == 1 else image


def _picture(sample: Sample, plan: _Plan, names: set[str]) -> _Picture:
    """A sample under a name of its own, as its layers. DatasetError for values of no class."""
    info, target = plan.info, sample["target"]
    target = labels.judged(
        target,
        num_classes=len(info.classes),
        ignore_index=info.ignore_index,
        file=printable(sample["id"]),
    )
    layers = []
    for number, index in enumerate(plan.indices):
        layer = target == index if target.ndim == 2 else target[index - (len(target) == 1)] == 1
        layers.append(_Layer(number, layer))
        if info.ignore_index is not None:
            of_class = target if target.ndim == 2 else target[index - (len(target) == 1)]
            layers.append(_Layer(number, of_class == info.ignore_index, crowd=True))
    found = [layer for layer in layers if layer.mask.any()]
    return _Picture(_name(sample["id"], names), sample["image"].shape[:2], found)


def _name(id: str, names: set[str]) -> str:
    """A name for a file that no other has, whatever disk it is on."""
    stem, ending = os.path.splitext(id)
    stem = stem if ending.lower() in formats.endings() else id
    stem = UNSAFE.sub("_", stem)[-NAME:].strip("_") or "picture"
    found, number = stem, 2
    while found.casefold() in names:
        found, number = f"{stem}_{number}", number + 1
    names.add(found.casefold())
    return found


def _made(folder: str, *parts: str) -> str:
    """A path whose folders are there."""
    path = os.path.join(folder, *parts)
    files.make_folder(os.path.dirname(path))
    return path


def _refuse(path: str) -> None:
    if os.path.lexists(path):
        raise OutputError(
            "it is there already", file=path, next_step="Take another folder, or another --split"
        )


def _moved(temporary: str, folder: str, kind: str, split: str) -> None:
    """The files of a kind in their place: DIR/images/train."""
    target = _made(folder, kind, split)
    try:
        os.rename(os.path.join(temporary, kind), target)
    except OSError as error:
        raise files.unwritable(target, error) from None


# --- COCO -----------------------------------------------------------------------------------------


class _Coco:
    """Annotations, which become one file when all are there."""

    polygons = False

    def __init__(self, folder: str, split: str, plan: _Plan) -> None:
        self.folder = folder
        self.split = split
        self.plan = plan
        self.file = os.path.join(folder, "annotations", f"instances_{split}.json")
        self.words = f"coco:{folder}?split={split}"
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        _refuse(self.file)
        _refuse(os.path.join(folder, "images", split))

    def add(self, picture: _Picture, temporary: str) -> int:
        height, width = picture.size
        number = len(self.images) + 1
        entry = {"id": number, "file_name": f"{picture.name}.png", "height": height, "width": width}
        self.images.append(entry)
        for layer in picture.layers:
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": number,
                    "category_id": layer.number + 1,
                    "segmentation": self._outline(layer),
                    "area": int(np.count_nonzero(layer.mask)),
                    "bbox": _box(layer.mask),
                    "iscrowd": int(layer.crowd),
                }
            )
        return 0

    def _outline(self, layer: _Layer) -> object:
        if self.polygons and not layer.crowd:
            found = polygons_around(layer.mask, tolerance=self.plan.tolerance)
            return [[_short(value) for value in polygon.ravel().tolist()] for polygon in found]
        return {"size": [*layer.mask.shape], "counts": runs_of(layer.mask)}

    def finish(self, temporary: str) -> None:
        content = {
            "info": {"description": "written by segzoo data export"},
            "images": self.images,
            "annotations": self.annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": ""}
                for number, name in enumerate(self.plan.classes, 1)
            ],
        }
        _moved(temporary, self.folder, "images", self.split)
        files.write(_made(self.file), json.dumps(content, ensure_ascii=False).encode())


class _CocoPolygons(_Coco):
    polygons = True


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _box(mask: NDArray[np.bool_]) -> list[int]:
    """x, y, width and height around the pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


# --- YOLO -----------------------------------------------------------------------------------------


class _Yolo:
    """Files of polygons, and the description that other splits share."""

    def __init__(self, folder: str, split: str, plan: _Plan) -> None:
        self.folder = folder
        self.split = split
        self.plan = plan
        self.file = os.path.join(folder, "data.yaml")
        self.words = f"yolo:{folder}?split={split}"
        for kind in ("images", "labels"):
            _refuse(os.path.join(folder, kind, split))
        self.splits = [*self._others(), split]

    def _others(self) -> list[str]:
        """The splits that were written before. OutputError for those of other classes."""
        if not os.path.lexists(self.file):
            return []
        try:
            with open(self.file, encoding="utf-8") as stream:
                written = stream.read(1 << 20)
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"cannot be read: {error}", file=self.file) from error
        splits = re.findall(r"^([\w-]+): images/\1$", written, re.MULTILINE)
        if written != self._description(splits):
            raise OutputError(
                "there is another description, of other classes or by another program",
                file=self.file,
                next_step="Take another folder",
            )
        return splits

    def _description(self, splits: list[str]) -> str:
        names = "".join(
            f"  {number}: {_quoted(name)}\n" for number, name in enumerate(self.plan.classes)
        )
        return "".join(f"{split}: images/{split}\n" for split in splits) + f"names:\n{names}"

    def add(self, picture: _Picture, temporary: str) -> int:
        height, width = picture.size
        lines, lost = [], 0
        for layer in picture.layers:
            if layer.crowd:
                lost = max(lost, int(np.count_nonzero(layer.mask)))
                continue
            for polygon in polygons_around(layer.mask, tolerance=self.plan.tolerance):
                scaled = (polygon / (width, height)).ravel().tolist()
                lines.append(" ".join([str(layer.number), *(f"{value:.7g}" for value in scaled)]))
        content = "".join(f"{line}\n" for line in lines)
        files.write(_made(temporary, "labels", f"{picture.name}.txt"), content.encode())
        return lost

    def finish(self, temporary: str) -> None:
        for kind in ("images", "labels"):
            _moved(temporary, self.folder, kind, self.split)
        files.write(self.file, self._description(self.splits).encode())


def _quoted(name: str) -> str:
    """A string of YAML, with what is not printed as numbers."""
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in name)
    return f'"{"".join(plain)}"'


_Writer: TypeAlias = _Coco | _Yolo
_WRITERS: Mapping[str, Callable[[str, str, _Plan], _Writer]] = {
    "coco": _Coco,
    "coco-polygons": _CocoPolygons,
    "yolo": _Yolo,
}
