"""CVAT's XML "for images 1.1": one file with the outlines of all pictures.

    cvat:task_7?val=0.2                       task_7/annotations.xml, task_7/images/a.jpg
    cvat:project_3?split=Train&classes=cat    the pictures of a subset; other labels are background

https://docs.cvat.ai, "XML annotation format". Polygons, boxes, ellipses and masks are drawn by
their z_order, and of one z_order in the order of the file, so that the later one is on top. Lines,
points, skeletons, cuboids and tags are no areas and are left out, with a note. The classes are the
labels of the task in their order; one called background is index 0.

The file comes without pictures unless they were asked for; they lie in the folder images, in
images/SUBSET, or beside it. A file with a document type is refused, because that is where XML says
entities, and so is one for videos. It is read as a stream; what is kept are the outlines.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.parsers import expat

from segzoo.base.strictjson import short
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
)
from segzoo.errors import DatasetError, printable
from segzoo.pictures.codec import MAX_PIXELS
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_cvat"]

SPEC = ReaderSpec(
    summary='CVAT\'s XML "for images 1.1": polygons, boxes, ellipses and masks',
    open="segzoo.data.readers.cvat:open_cvat",
    options={
        "split": Option(default="", help="a subset of a project; all where nothing is said"),
        **OPTIONS,
    },
    url="https://docs.cvat.ai/docs/manual/advanced/xml_format/",
    requires={"pycocotools": "segzoo-core[data]"},
)
FILE = "annotations.xml"
MAX_BYTES = 1 << 30
CHUNK = 1 << 20
DEEPEST = 16  # elements within each other
NO_AREA = frozenset({"polyline", "points", "cuboid", "skeleton", "tag"})
DIGITS = 20  # of a whole number
SHOWN = 5  # names that an error lists
PICTURES = "Put the pictures into the folder images beside the file, or export with 'Save images'"


class _Picture(NamedTuple):
    name: str
    subset: str
    size: tuple[int, int]
    shapes: list[Shape]


class _Parsed(NamedTuple):
    labels: list[str]
    pictures: list[_Picture]
    left_out: Counter[str]  # kinds of shapes that are no areas


def open_cvat(
    path: str | os.PathLike[str],
    *,
    split: str = "",
    classes: str = "",
    overlap: bool = False,
) -> Outlined:
    """The data set of a file, or of the annotations.xml in a folder; the module says more.

    DatasetError for a file that is not of this kind, a subset that there is not, pictures that are
    missing or stand twice, and labels that the task does not have; UsageError for classes= that it
    does not have; DependencyMissingError.
    """
    drawing_library("cvat")
    path = os.fsdecode(path)
    file = os.path.join(path, FILE) if os.path.isdir(path) else path
    root = os.path.dirname(file)
    parsed = _parsed(file)
    pictures = [p for p in parsed.pictures if split in ("", p.subset)]
    if not pictures:
        there = sorted({p.subset for p in parsed.pictures if p.subset})
        raise DatasetError(
            f"there is no subset {printable(split)!r}" if split else "there are no pictures",
            file=file,
            found=", ".join(map(printable, there[:SHOWN])) or "no subsets",
        )
    kept = chosen(parsed.labels, classes, file=file)
    photos = [_photo(picture, kept.indices, root, file) for picture in pictures]
    missing = [photo.file for photo in photos if not os.path.isfile(os.path.join(root, photo.file))]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(photos)} pictures are missing",
            file=root,
            found="no " + ", ".join(map(printable, missing[:SHOWN])),
            next_step=PICTURES,
        )
    counts = Counter(photo.file for photo in photos)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DatasetError(
            "several images are of one picture, and each would deny the other's shapes",
            file=file,
            found=", ".join(map(printable, twice[:SHOWN])),
            expected="a picture of its own for each, in the folder of its subset",
        )
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(parsed.left_out.items()))
    return Outlined(
        root,
        photos,
        classes=kept.names,
        drawing=Drawing("shape {}", overlap=overlap),
        files=[file],
        notes=(f"shapes that are no areas are left out; found {told}",) if told else (),
    )


def _photo(picture: _Picture, index: Mapping[str, int], root: str, file: str) -> Photo:
    """A picture with its outlines, whose file is the first that is there."""
    regions = []
    for shape in picture.shapes:
        found = index.get(shape.label)
        if found is None:
            raise DatasetError(
                "a shape has a label that the task does not have",
                file=file,
                found=f"'{printable(shape.label)[:80]}' in {printable(picture.name)}",
                expected=", ".join(printable(label) for label in [*index][:SHOWN]),
            )
        regions.append(shape.region(found))
    places = [f"images/{picture.name}", picture.name]
    if picture.subset:
        places.insert(0, _in_subset(picture.subset, picture.name))
    there = (place for place in places if os.path.isfile(os.path.join(root, place)))
    return Photo(next(there, f"images/{picture.name}"), *picture.size, regions)


def _in_subset(subset: str, name: str) -> str:
    """ValueError for one that leads out of the set."""
    return path_within(f"images/{subset}/{name}")


# --- the file -------------------------------------------------------------------------------------


def _parsed(file: str) -> _Parsed:
    """What the file says. DatasetError with the line that is wrong."""
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _no_document_type
    try:
        if (size := os.path.getsize(file)) > MAX_BYTES:
            raise DatasetError("the file is too large", file=file, found=f"{size:,} bytes")
        with open(file, "rb") as stream:
            while chunk := stream.read(CHUNK):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
    except OSError as error:
        raise DatasetError(
            f"cannot be read: {error.strerror or error}",
            file=file,
            next_step="Export a task as 'CVAT for images 1.1' and unpack it",
        ) from error
    except expat.ExpatError as error:
        raise DatasetError("this is not valid XML", file=file, found=str(error)) from error
    except (ValueError, KeyError, OverflowError) as error:
        raise DatasetError(
            f"line {parser.CurrentLineNumber} cannot be used",
            file=file,
            found=printable(reason_of(error))[:200],
            expected="XML of CVAT for images 1.1",
        ) from error
    return _Parsed(reading.labels, reading.pictures, reading.left_out)


def _no_document_type(*_: object) -> None:
    raise ValueError("a document type, which may name entities")


class _Reading:
    """What the parser has met so far: the elements around it, the labels, the pictures."""

    def __init__(self) -> None:
        self.around: list[str] = []
        self.words: list[str] = []
        self.label = ""
        self.part_of_another = False  # a label of a skeleton's point
        self.labels: list[str] = []
        self.pictures: list[_Picture] = []
        self.left_out = Counter[str]()

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self.around and name != "annotations":
            raise ValueError(f"<{name}>, not <annotations>")
        if len(self.around) == DEEPEST:
            raise ValueError(f"more than {DEEPEST} elements within each other")
        above = self.around[-1] if self.around else ""
        self.around.append(name)
        self.words.clear()
        if name == "track":
            raise ValueError("a track: this is CVAT's XML for videos")
        if name == "image" and above == "annotations":
            self.pictures.append(_picture(attributes))
        elif name == "label":
            self.label, self.part_of_another = "", False
        elif above == "image" and name in _SHAPES:
            shapes = self.pictures[-1].shapes
            order = _whole(attributes, "z_order") if "z_order" in attributes else 0
            label = attributes["label"]
            shapes.append(_SHAPES[name](len(shapes), label, order, attributes))
        elif above == "image":
            if name not in NO_AREA:
                raise ValueError(f"a shape <{name[:40]}>")
            self.left_out[name] += 1

    def text(self, words: str) -> None:
        if self.around[-1] in ("name", "parent") and sum(map(len, self.words)) < CHUNK:
            self.words.append(words)

    def end(self, name: str) -> None:
        self.around.pop()
        if self.around and self.around[-1] == "label":
            if name == "name":
                self.label = "".join(self.words)
            elif name == "parent":
                self.part_of_another = bool("".join(self.words).strip())
        elif name == "label" and not self.part_of_another:
            if not self.label.strip():
                raise ValueError("a label without a name")
            self.labels.append(self.label)


def _picture(attributes: Mapping[str, str]) -> _Picture:
    height, width = _whole(attributes, "height"), _whole(attributes, "width")
    size = size_checked(height, width, MAX_PIXELS)
    name, subset = path_within(attributes["name"]), attributes.get("subset", "")
    _in_subset(subset, name)
    return _Picture(name, subset, size, [])


def _whole(attributes: Mapping[str, str], name: str) -> int:
    text = attributes[name]
    try:
        if len(text) <= DIGITS:
            return int(text)
    except ValueError:
        pass
    raise ValueError(f"{name}={short(text)!r} is no whole number")


def _numbers(attributes: Mapping[str, str], *names: str) -> list[float]:
    return [_number(attributes[name]) for name in names]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{short(text)!r} is no number") from None


def _turned(attributes: Mapping[str, str]) -> float:
    return _number(attributes.get("rotation", "0"))


def _box(number: int, label: str, order: int, a: Mapping[str, str]) -> Shape:
    left, top, right, bottom = _numbers(a, "xtl", "ytl", "xbr", "ybr")
    box = rectangle(left, top, right, bottom, _turned(a))
    return Shape(number, label, box, order=order)


def _ellipse(number: int, label: str, order: int, a: Mapping[str, str]) -> Shape:
    x, y, rx, ry = _numbers(a, "cx", "cy", "rx", "ry")
    outline = ellipse(x, y, rx, ry, _turned(a))
    return Shape(number, label, outline, order=order)


def _polygon(number: int, label: str, order: int, a: Mapping[str, str]) -> Shape:
    pairs = [pair.split(",") for pair in a["points"].split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("points are not pairs of numbers")
    return Shape(
        number, label, polygon_of([_number(v) for pair in pairs for v in pair]), order=order
    )


def _mask(number: int, label: str, order: int, a: Mapping[str, str]) -> Shape:
    top, left, height, width = (_whole(a, name) for name in ("top", "left", "height", "width"))
    if min(top, left) < 0 or min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {height} x {width} at {top}, {left}")
    try:
        runs = array("I", map(int, a["rle"].split(",")))
    except (ValueError, OverflowError):
        raise ValueError(f"runs that are no lengths: {short(a['rle'])!r}") from None
    if sum(runs) != height * width:
        raise ValueError(f"runs of {sum(runs)} pixels, of {height * width}")
    return Shape(number, label, None, runs, (top, left, height, width), order)


_SHAPES: Mapping[str, Callable[[int, str, int, Mapping[str, str]], Shape]] = {
    "box": _box,
    "ellipse": _ellipse,
    "polygon": _polygon,
    "mask": _mask,
}
