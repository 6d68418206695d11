"""labelme: beside each picture a JSON file with its outlines.

    labelme:photos?val=0.2                    photos/a.jpg, photos/a.json, and folders below
    labelme:photos?classes=cat,dog            in this order; all other labels are background

https://github.com/wkentaro/labelme. Polygons, rectangles, circles and masks are drawn one after the
other, so that a later one lies over an earlier one, as labelme's own shapes_to_label does it.
Lines and points are no areas and are left out, with a note. The classes are those of labels.txt
where there is one, else all labels that occur, by name. `_background_` is index 0, and `__ignore__`
is 255, which does not count.

The picture is the one of imagePath, which must lie in the folder of the set; a copy of it in
imageData is not looked at. labelme draws with Pillow, which counts the pixels that an edge runs
through; here a pixel counts whose centre is inside, so that edges differ by up to a pixel.
"""

import base64
import binascii
import codecs
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from segzoo.base.counts import count_of
from segzoo.base.strictjson import strict_json
from segzoo.data.labelmap import BACKGROUND, listed_classes, tidy
from segzoo.data.outlined import (
    OPTIONS,
    Drawing,
    Outlined,
    Photo,
    Shape,
    chosen,
    path_within,
    reason_of,
    size_checked,
)
from segzoo.data.outlines import (
    drawing_library,
    ellipse,
    polygon_of,
    rectangle,
    runs_of,
)
from segzoo.errors import DatasetError, SegzooError, printable
from segzoo.pictures import stored
from segzoo.pictures.codec import MAX_PIXELS
from segzoo.pictures.palettes import IGNORED
from segzoo.spec import ReaderSpec

__all__ = ["SPEC", "open_labelme"]

SPEC = ReaderSpec(
    summary="labelme: outlines in a JSON file beside each picture",
    open="segzoo.data.readers.labelme:open_labelme",
    options=OPTIONS,
    url="https://github.com/wkentaro/labelme",
    requires={"pycocotools": "segzoo-core[data]"},
)
MAX_BYTES = 256 << 20  # of a JSON, most of which is the copy of its picture
LEVELS = 16  # of brackets in it
NO_AREA = frozenset({"line", "linestrip", "point", "points", "ai_points"})
SHOWN = 5  # faults, or names, that an error lists


class _Found(NamedTuple):
    file: str
    photo: Photo
    shapes: list[Shape]
    left_out: Counter[str]  # kinds of shapes that are no areas


def open_labelme(
    path: str | os.PathLike[str], *, classes: str = "", overlap: bool = False
) -> Outlined:
    """The data set in a folder; the module says what is read.

    DatasetError for a folder without such files, and one for all files that cannot be used or name
    a picture that is not there; UsageError for classes= that labels.txt does not have;
    DependencyMissingError.
    """
    drawing_library("labelme")
    root = os.fsdecode(path)
    files, others, faults = [*_json_files(root)], 0, []
    found: dict[str, _Found] = {}
    for file in files:
        try:
            content = _read(os.path.join(root, file))
            if not {"shapes", "imagePath"} <= {*content}:
                others += 1
                continue
            one = _found(content, file)
            if one.photo.file in found:
                raise ValueError(f"another file is about {one.photo.file!r} too")
            if not os.path.isfile(os.path.join(root, one.photo.file)):
                raise ValueError(f"its picture is not there: {one.photo.file!r}")
            found[one.photo.file] = one
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            faults.append(f"{file}: {reason_of(error)}")
    _raise_faults(root, faults)
    if not found:
        raise DatasetError(
            "there are no files of labelme",
            file=root,
            found=f"{others} other JSON files" if others else "no JSON files",
            expected="a JSON file beside each picture",
        )
    return _named(root, [*found.values()], classes, overlap=overlap, others=others)


def _named(
    root: str, found: Sequence[_Found], classes: str, *, overlap: bool, others: int
) -> Outlined:
    """The data set, once each label has its index."""
    counts = Counter(shape.label for one in found for shape in one.shapes)
    listed = listed_classes(root, ["labels.txt"])
    known = set(listed.table.classes) if listed else {*map(tidy, counts)}
    faults = [
        f"{one.photo.file}: shapes[{shape.number}] is {shape.label!r}, not in labels.txt"
        for one in found
        for shape in one.shapes
        if tidy(shape.label) not in known and shape.label.strip() != "__ignore__"
    ]
    _raise_faults(root, faults)
    order = [*listed.table.classes] if listed else sorted(known)
    kept = chosen(
        [name for name in order if name != "__ignore__"],
        classes,
        file=root,
        complete=listed is not None,
    )
    index = {label: kept.indices.get(tidy(label), IGNORED) for label in counts}
    for one in found:
        one.photo.regions.extend(shape.region(index[shape.label]) for shape in one.shapes)
    return Outlined(
        root,
        [one.photo for one in found],
        classes=kept.names,
        drawing=Drawing("shapes[{}]", overlap=overlap),
        files=[listed.file] if listed else [],
        beside=[one.file for one in found],
        notes=_notes(found, counts, index, others),
    )


def _notes(
    found: Sequence[_Found], counts: Counter[str], index: Mapping[str, int], others: int
) -> tuple[str, ...]:
    """What of the files is in no target."""
    kinds = sum((one.left_out for one in found), Counter[str]())
    aside = {n: c for n, c in counts.items() if not index[n] and tidy(n) != BACKGROUND}
    notes = []
    if kinds:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        notes.append(f"shapes that are no areas are left out; found {told}")
    if aside:
        told = ", ".join(f"{count} {printable(name)}" for name, count in sorted(aside.items()))
        notes.append(f"labels that classes= does not name are background; found {told}")
    if others:
        notes.append(f"JSON files of other kinds are left out; found {others}")
    return tuple(notes)


# --- files ----------------------------------------------------------------------------------------


def _json_files(root: str) -> Iterator[str]:
    """Paths below the folder, with "/", without hidden files and folders."""
    if not os.path.isdir(root):
        raise DatasetError("there is no such folder", file=root)
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(files):
            if name.lower().endswith(".json") and name[0] != ".":
                yield name if below == "." else f"{below}/{name}"


def _read(file: str) -> dict[str, Any]:
    """ValueError for what is no JSON object, or too large."""
    try:
        if (size := os.path.getsize(file)) > MAX_BYTES:
            raise ValueError(f"it is too large: {size:,} bytes")
        with open(file, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1).removeprefix(codecs.BOM_UTF8)  # of some editors
        return strict_json(raw, file, what="it", error=DatasetError, levels=LEVELS)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}") from error
    except DatasetError as error:
        raise ValueError(f"{error.problem} {error.found}".strip()) from error


def _found(content: Mapping[str, Any], source: str) -> _Found:
    """The picture and the outlines that a file names. ValueError, TypeError and KeyError."""
    name, shapes = content["imagePath"], content["shapes"]
    if not isinstance(name, str) or not isinstance(shapes, list):
        raise ValueError("imagePath and shapes are not a name and a list")
    file = path_within(name, below=os.path.dirname(source))
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (0, 0) if height is None or width is None else size_checked(height, width, MAX_PIXELS)
    areas, left_out = [], Counter[str]()
    for number, shape in enumerate(shapes):
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"{shape!r}, no object")
            kind = shape.get("shape_type") or "polygon"
            if not isinstance(kind, str):
                raise ValueError(f"a shape of type {kind!r}, no text")
            if kind in NO_AREA:
                left_out[kind] += 1
                continue
            areas.append(_shape(number, kind, shape))
        except (ValueError, TypeError, KeyError, OverflowError, SegzooError) as error:
            raise ValueError(f"shapes[{number}]: {reason_of(error)}") from error
    return _Found(source, Photo(file, *size, []), areas, left_out)


def _shape(number: int, kind: str, shape: Mapping[str, Any]) -> Shape:
    label, points = shape["label"], shape["points"]
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{label!r} is no label")
    if not isinstance(points, list) or not all(map(_is_pair, points)):
        raise ValueError("points are not pairs of numbers")
    numbers = [float(value) for point in points for value in point]
    if kind in ("rectangle", "circle", "mask") and len(numbers) != 4:
        raise ValueError(f"a {kind} of {count_of(len(numbers) // 2, 'point')}, not 2")
    if kind == "mask":
        return _mask(number, label, shape["mask"], numbers)
    if kind == "rectangle":
        return Shape(number, label, rectangle(*numbers))
    if kind == "circle":
        x, y, on_x, on_y = numbers
        radius = ((on_x - x) ** 2 + (on_y - y) ** 2) ** 0.5
        return Shape(number, label, ellipse(x, y, radius, radius))
    if kind in ("polygon", "oriented_rectangle"):
        return Shape(number, label, polygon_of(numbers))
    raise ValueError(f"a shape of type {kind[:40]!r}")


def _is_pair(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(value, int | float) for value in point)
    )


def _mask(number: int, label: str, packed: object, corners: Sequence[float]) -> Shape:
    """A picture of a mask, whose first and last pixel lie at the corners."""
    try:
        data = base64.b64decode(packed if isinstance(packed, str) else "", validate=True)
    except binascii.Error as error:
        raise ValueError(f"its mask is not base64: {error}") from error
    inside = stored.read_labels(data, max_pixels=MAX_PIXELS).values != 0
    left, top, right, bottom = map(int, corners)
    if inside.shape != (bottom - top + 1, right - left + 1):
        raise ValueError(f"a mask of {inside.shape} between corners {left},{top} {right},{bottom}")
    return Shape(number, label, None, array("I", runs_of(inside.T)), (top, left, *inside.shape))


def _raise_faults(root: str, faults: Sequence[str]) -> None:
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DatasetError(
            f"{len(faults)} of the files cannot be used",
            file=root,
            found="; ".join(printable(fault)[:200] for fault in faults[:SHOWN]) + more,
            expected="the JSON of labelme, whose imagePath lies in this folder",
        )
