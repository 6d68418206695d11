"""The reader of COCO, on small files of its layout, against pycocotools' own reading of them.

The layout is https://cocodataset.org/#format-data: polygons of single things (iscrowd=0), and
crowds (iscrowd=1) as uncompressed runs down the columns.
"""

import io
import json
import pickle
import sys
import warnings
from array import array
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from segzoo.data import outlines
from segzoo.data.readers import coco
from segzoo.data.readers.coco import open_coco
from segzoo.data.sample import checked, info_of, notes_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, DependencyMissingError, UsageError
from segzoo.pictures import labels

PERSON, CAR, DOG, CUP, TABLE = 1, 3, 18, 47, 67  # ids
CATEGORIES = {PERSON: "person", CAR: "car", DOG: "dog", CUP: "cup", TABLE: "dining table"}
INDEX = {PERSON: 1, CAR: 3, DOG: 17, CUP: 42, TABLE: 61}  # of 80, as everybody counts them
HEIGHT, WIDTH = 24, 40


def box(top: float, left: float, bottom: float, right: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def runs(mask: np.ndarray) -> list[int]:
    """The lengths of runs of 0, 1, 0, ... down the columns."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *ends, len(flat)]).tolist()
    return [0, *lengths] if flat[0] else lengths


def annotation(number: int, image: int, category: int, outline: object, crowd: int = 0) -> dict:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": outline,
        "iscrowd": crowd,
        "area": 0,
        "bbox": [0, 0, 1, 1],
    }


CROWD = np.zeros((HEIGHT, WIDTH), np.uint8)
CROWD[2:20, 30:39] = 1
CROWD[4:6, 32:34] = 0
CONTENT = {
    "info": {},
    "licenses": [],
    "images": [
        {"id": 139, "file_name": "000000000139.jpg", "height": HEIGHT, "width": WIDTH},
        {"id": 7, "file_name": "000000000007.jpg", "height": 5, "width": 6},
    ],
    "categories": [{"id": n, "name": name} for n, name in CATEGORIES.items()],
    "annotations": [
        # the smallest first: what is drawn on top does not depend on the order
        annotation(11, 139, CUP, [box(8, 10, 11, 13)]),
        annotation(12, 139, TABLE, [box(6, 4, 20, 28), [1, 1, 4, 1.5, 2.25, 4]]),
        annotation(13, 139, PERSON, {"size": [HEIGHT, WIDTH], "counts": runs(CROWD)}, 1),
        annotation(14, 139, PERSON, [box(10, 34, 14, 37)]),
    ],
}


def write(folder: Path, content: object, split: str = "val") -> Path:
    (folder / "annotations").mkdir(exist_ok=True)
    file = folder / "annotations" / f"instances_{split}2017.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    pictures = folder / f"{split}2017"
    pictures.mkdir(exist_ok=True)
    for name, height, width in (("139", HEIGHT, WIDTH), ("007", 5, 6)):
        image = np.full((height, width, 3), int(name), np.uint8)
        Image.fromarray(image).save(pictures / f"000000000{name}.jpg")
    return file


def with_(**changes: object) -> dict:
    return {**CONTENT, **changes}


def one(outline: object, category: int = DOG, crowd: int = 0, image: int = 7) -> dict:
    return with_(annotations=[annotation(5, image, category, outline, crowd)])


def theirs(file: Path, number: int) -> np.ndarray:
    """The mask of an annotation, by pycocotools."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its decode, by numpy 2
        index = COCO(str(file))
        return index.annToMask(index.anns[number]).astype(bool)


# --- what is read ---------------------------------------------------------------------------------


def test_things_crowds_and_background_in_one_map(tmp_path):
    file = write(tmp_path, CONTENT)
    dataset = open_data(f"coco:{tmp_path}?split=val")
    assert len(dataset) == 2
    sample = checked(dataset[0])
    assert sample["id"] == id_of(dataset, 0) == "000000000139.jpg"
    assert sample["image"].shape == (HEIGHT, WIDTH, 3)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[theirs(file, 13)] = 255  # the crowd, below
    expected[theirs(file, 12)] = INDEX[TABLE]
    expected[theirs(file, 14)] = INDEX[PERSON]
    expected[theirs(file, 11)] = INDEX[CUP]  # on its table
    np.testing.assert_array_equal(sample["target"], expected)
    assert sample["target"].dtype == np.uint8
    assert {*np.unique(expected).tolist()} == {0, 1, 42, 61, 255}
    assert not dataset[1]["target"].any()  # a picture of nothing is background
    info = info_of(dataset)
    assert (len(info.classes), info.ignore_index) == (81, 255)
    assert [info.classes[n] for n in (0, *INDEX.values())] == ["background", *CATEGORIES.values()]


def test_chosen_classes_are_those_of_the_whole_map(tmp_path):
    write(tmp_path, CONTENT)
    whole = open_coco(tmp_path, split="val")[0]["target"]
    table = open_data(f"coco:{tmp_path}?split=val&classes=dining table,person")
    assert info_of(table).classes == ("background", "dining table", "person")
    expected = np.zeros_like(whole)
    expected[whole == INDEX[TABLE]] = 1
    expected[whole == INDEX[PERSON]] = 2
    expected[whole == 255] = 255
    np.testing.assert_array_equal(table[0]["target"], expected)
    # a crowd of people says nothing of dogs, but that there are none
    assert not open_coco(tmp_path, split="val", classes="dog")[0]["target"].any()


def test_a_crowd_that_is_not_drawn_one_by_one_is_ignored(tmp_path):
    """cocodataset.org/#format-data: "iscrowd=1 in which case RLE is used"."""
    write(tmp_path, with_(annotations=[CONTENT["annotations"][2]]))
    target = open_coco(tmp_path, split="val")[0]["target"]
    np.testing.assert_array_equal(target, CROWD * 255)


@settings(max_examples=80)
@given(st.data())
def test_runs_are_read_as_pycocotools_writes_them(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    seed, share = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0, 0.02, 0.5, 1]))
    mask = np.random.default_rng(seed).random((height, width)) < share
    packed = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(outlines.mask_of_runs(packed["counts"], height, width), mask)
    plain = array("I", runs(mask.astype(np.uint8)))
    np.testing.assert_array_equal(outlines.mask_of_runs(plain, height, width), mask)


def test_packed_runs_and_short_polygons(tmp_path):
    mask = np.zeros((5, 6), np.uint8)
    mask[1:4, 2:5] = 1
    packed = pycocotools.mask.encode(np.asfortranarray(mask))["counts"].decode()
    write(tmp_path, one({"size": [5, 6], "counts": packed}))
    np.testing.assert_array_equal(open_coco(tmp_path, split="val")[1]["target"], mask * INDEX[DOG])
    assert notes_of(open_coco(tmp_path, split="val")) == ()
    # two points enclose nothing; pycocotools alone would draw a box of 3x3
    write(tmp_path, one([[1, 1, 3, 3], [], [0, 0], box(0, 0, 1, 2)]))
    dataset = open_coco(tmp_path, split="val")
    assert notes_of(dataset) == ("polygons of fewer than three points are left out; found 3",)
    assert np.argwhere(dataset[1]["target"]).tolist() == [[0, 0], [0, 1]]


def test_a_mark_of_utf8_in_front_of_the_list(tmp_path):
    file = write(tmp_path, CONTENT)
    before = open_coco(tmp_path, split="val")[0]["target"]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    np.testing.assert_array_equal(open_coco(tmp_path, split="val")[0]["target"], before)


def test_it_goes_to_another_process_as_it_is(tmp_path):
    write(tmp_path, CONTENT)
    dataset = open_coco(tmp_path, split="val")
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[0]["target"], dataset[0]["target"])


# --- what is refused ------------------------------------------------------------------------------

LAYOUT = "Get the pictures and annotations of 2017 from https://cocodataset.org/#download"
PHOTO = CONTENT["images"][1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "this is not valid JSON; found Expecting property name enclosed in double quotes"),
        ('{"images": [NaN]}', "this is not valid JSON; found NaN is not a number of JSON"),
        ("[" * 100_000, "this is not valid JSON; found it is nested too deeply"),
        ("[]", "this is not a list of instances as COCO writes it; found no list of images, annot"),
        (with_(annotations={}), f"as COCO writes it; found no list of annotations. {LAYOUT}"),
        (with_(images=[]), "annotations[0] cannot be used; found there is no image 139"),
        (with_(images=[], annotations=[]), "there are no pictures"),
        (one([], image=8), "annotations[0] cannot be used; found there is no image 8"),
        (one([], category=12), "annotations[0] cannot be used; found there is no category 12"),
        (one([], category=[1]), "annotations[0] cannot be used; found its 'category_id' is [1]"),
        (one([[1, 2, 3, 4, 5, 6, 7]]), "annotations[0] cannot be used; found a polygon of 7 numb"),
        (one([["1"] * 6]), "found a polygon whose corners are no numbers, expected an"),
        (one({"size": [6, 5], "counts": []}), "found runs of a picture of size [6, 5]"),
        (one({"size": [5, 6], "counts": [-1]}), "found runs whose 'counts' are no lengths"),
        (one({"counts": [30]}), "annotations[0] cannot be used; found it has no 'size'"),
        (
            with_(annotations=[{"id": 1}]),
            "annotations[0] cannot be used; found it has no 'image_id'",
        ),
        (with_(annotations=[3]), "annotations[0] cannot be used; found 3, no object, exp"),
        (one({"size": None, "counts": [30]}), "found runs of a picture of size None"),
        (one({"size": [5, 6], "counts": None}), "found runs whose 'counts' are no lengths"),
        (one({"size": [5, 6], "counts": "\xe9"}), "found runs whose 'counts' are no lengths"),
        (one([1, 1, 3, 1, 3, 3]), "found its 'segmentation' is [1, 1, 3, 1, 3, 3], expected an im"),
        (one("box"), "annotations[0] cannot be used; found its 'segmentation' is 'box'"),
        (one([[10**400] * 6]), "found a polygon whose corners are no numbers"),
        (one([], image={}), "annotations[0] cannot be used; found its 'image_id' is {}"),
        (with_(images=[{**PHOTO, "id": []}]), "images[0] cannot be used; found its 'id' is []"),
        (
            with_(images=[7]),
            "images[0] cannot be used; found 7, no object, expected an id of",
        ),
        ('{"images": [' + "1" * 5000 + "]}", "found a number of thousands of digits"),
        (
            with_(categories=[{"id": 1, "name": "\ud800"}]),
            r"a label cannot be written as UTF-8; found \ud800",
        ),
        (with_(images=[PHOTO, PHOTO]), "images[1] cannot be used; found the id 7 stands twice"),
        (
            with_(images=[{**PHOTO, "file_name": "../secret.jpg"}]),
            "images[0] cannot be used; found '../secret.jpg' is not the name of a file",
        ),
        (
            with_(images=[{**PHOTO, "height": 2.5}]),
            "images[0] cannot be used; found 2.5 x 6 is not",
        ),
        (with_(images=[{**PHOTO, "width": 10**9}]), "found 5 x 1000000000 is too large"),
        (
            with_(categories=[{"id": 1, "name": "cell"}, {"id": 1, "name": "wall"}]),
            "categories[1] cannot be used; found {'id': 1, 'name': 'wall'}, expected an id of its",
        ),
        (with_(categories=[{"id": "1", "name": "cell"}]), "categories[0] cannot be used; found"),
        (with_(categories=[{"id": 1, "name": ["\x1b"]}]), r"found {'id': 1, 'name': ['\x1b']}"),
        (with_(categories=[3]), "categories[0] cannot be used; found 3, expected an id"),
        (
            with_(categories=[{"id": 1, "name": "cell"}, {"id": 2, "name": "cell"}]),
            "labels stand twice; found cell",
        ),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, content, message):
    file = write(tmp_path, content)
    with pytest.raises(DatasetError) as caught:
        open_coco(tmp_path, split="val")
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        ({"size": [5, 6], "counts": [10, 5]}, "runs of 15 pixels, of 30"),
        ({"size": [5, 6], "counts": [10, 50]}, "runs of 60 pixels, of 30"),
        ({"size": [5, 6], "counts": ""}, "runs of 0 pixels, of 30"),
        ({"size": [5, 6], "counts": "P"}, "runs that are cut short"),
        ({"size": [5, 6], "counts": "5!"}, "a character that no run is written with"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "a polygon leads far out of the picture"),
        ([[0, 0, 3, 0, 3, 1e999]], "a polygon leads far out of the picture"),
    ],
)
def test_outlines_that_cannot_be_drawn(tmp_path, outline, message):
    """pycocotools would give pixels of uninitialised memory, or run out of it."""
    content = json.dumps(one(outline)).replace("Infinity", "1e999")
    write(tmp_path, content)
    dataset = open_coco(tmp_path, split="val")
    with pytest.raises(DatasetError) as caught:
        dataset[1]
    assert str(caught.value) == (
        f"000000000007.jpg: annotations[0] cannot be drawn; found {message}"
    )
    assert dataset[0]["id"] == "000000000139.jpg"


def test_files_that_are_missing(tmp_path):
    with pytest.raises(DatasetError) as caught:
        open_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    assert str(caught.value) == f"{file}: cannot be read: No such file or directory. {LAYOUT}"
    write(tmp_path, CONTENT, "train")
    (tmp_path / "train2017" / "000000000139.jpg").unlink()
    with pytest.raises(DatasetError) as caught:
        open_coco(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/train2017: 1 of 2 pictures are missing; found no 000000000139.jpg. {LAYOUT}"
    )
    (tmp_path / "train2017" / "000000000139.jpg").write_bytes(b"text")
    with pytest.raises(DatasetError, match=r"000000000139\.jpg: not a picture that segzoo reads"):
        open_coco(tmp_path)[0]


def test_a_picture_of_another_size_than_the_list_says(tmp_path):
    """M2: height and width exchanged, as an orientation that was not applied leaves them."""
    write(tmp_path, CONTENT)
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "val2017" / "000000000139.jpg")
    with pytest.raises(DatasetError, match="height and width are exchanged"):
        checked(open_coco(tmp_path, split="val")[0])


def test_a_list_larger_than_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "MAX_BYTES", 100)
    file = write(tmp_path, CONTENT)
    with pytest.raises(DatasetError, match="the file is too large; found") as caught:
        open_coco(tmp_path, split="val")
    assert caught.value.found == f"{file.stat().st_size:,} bytes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"classes": "persn"},
            "the set has no label 'persn'; found person, bicycle, car, motorcycle, airplane and 75 "
            "more. Did you mean 'person'?",
        ),
        ({"classes": "dog,dog"}, "classes= names one of them twice; found dog"),
        ({"classes": "background"}, "the set has no label 'background'; found person"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, message):
    write(tmp_path, CONTENT)
    with pytest.raises(UsageError) as caught:
        open_coco(tmp_path, split="val", **options)
    assert str(caught.value).startswith(message)


def test_without_pycocotools_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(DependencyMissingError) as caught:
        open_coco(tmp_path)
    assert str(caught.value) == (
        "the reader 'coco' needs pycocotools. Run: pip install 'segzoo-core[data]'"
    )


@pytest.mark.parametrize("outline", [[], None, {}, [[]], [[1, 1]], [[1, 1, 3, 3], [2, 2]]])
def test_annotations_without_an_outline_are_refused(tmp_path, outline):
    """As tools write them that mix boxes and polygons: the thing would become background."""
    things = [
        annotation(1, 7, DOG, [box(0, 0, 2, 2)]),
        annotation(2, 7, CUP, outline),
        annotation(3, 139, CUP, outline),
        annotation(4, 139, PERSON, outline, 1),  # a crowd would not be ignored
    ]
    del things[2]["segmentation"]
    file = write(tmp_path, with_(annotations=things))
    with pytest.raises(DatasetError) as caught:
        open_coco(tmp_path, split="val")
    assert str(caught.value) == (
        f"{file}: 3 of 4 annotations have no outline, and a box says nothing of pixels; found "
        "2 cup, 1 person; the first is annotations[1], expected polygons of three points or more, "
        "or runs. Draw them, take them out of the list, or say which classes have outlines: "
        "classes=A,B"
    )
    dogs = open_data(f"coco:{tmp_path}?split=val&classes=dog")
    assert notes_of(dogs) == (
        "annotations of background without an outline are left out; found 2 cup, 1 person",
    )
    assert np.argwhere(dogs[1]["target"]).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("folder", ["", "./", "x\\..\\"])
def test_two_images_of_one_picture(tmp_path, folder):
    """Each would be a sample without the other's things."""
    again = {**PHOTO, "id": 8, "file_name": f"{folder}000000000007.jpg"}
    file = write(tmp_path, with_(images=[*CONTENT["images"], again]))
    with pytest.raises(DatasetError) as caught:
        open_coco(tmp_path, split="val")
    assert str(caught.value) == (
        f"{file}: images[2] cannot be used; found images[1] is about '000000000007.jpg' too, "
        "expected an id of its own, the file_name of a picture of its own, its height and width"
    )


# --- sets of one's own ----------------------------------------------------------------------------

CELLS = [
    {"id": 0, "name": "cells", "supercategory": "none"},
    {"id": 2, "name": "nucleus", "supercategory": "cells"},
    {"id": 1, "name": "body", "supercategory": "cells"},
]
OWN = with_(
    images=[{"id": 3, "file_name": "a.jpg", "height": 8, "width": 9}],
    categories=CELLS,
    annotations=[
        annotation(0, 3, 2, [box(3, 3, 5, 5)]),
        annotation(1, 3, 1, [box(1, 1, 7, 8)]),
    ],
)
EXPECTED = np.zeros((8, 9), np.uint8)
EXPECTED[1:7, 1:8] = 1  # body, whose id is lower
EXPECTED[3:5, 3:5] = 2


@pytest.mark.parametrize(
    ("file", "pictures", "words"),
    [
        ("valid/_annotations.coco.json", "valid", "?split=valid"),
        ("annotations/instances_default.json", "images", "?split=default"),
        ("annotations/instances_default.json", "images/default", "?split=default"),
        ("annotations/instances_val.json", "images/val", "?split=val"),
        ("annotations/instances_train2017.json", "train2017", ""),
        ("annotations.json", ".", "/annotations.json"),
        ("labels/all.json", "images", "/labels/all.json"),
        ("labels/all.json", "photos", "/labels/all.json?images=../photos"),
    ],
)
def test_d_categories_of_ones_own_wherever_tools_put_them(tmp_path, file, pictures, words):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(json.dumps(OWN))
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 8)).save(tmp_path / pictures / "a.jpg")
    dataset = open_data(f"coco:{tmp_path}{words}")
    assert info_of(dataset).classes == ("background", "body", "nucleus")
    np.testing.assert_array_equal(checked(dataset[0])["target"], EXPECTED)


def own(tmp_path, **changes):
    (tmp_path / "a.json").write_text(json.dumps({**OWN, **changes}))
    Image.new("RGB", (9, 8)).save(tmp_path / "a.jpg")
    return f"coco:{tmp_path}/a.json"


def test_d_background_and_ignored_are_no_classes(tmp_path):
    names = ["_background_", "nucleus", "__ignore__"]
    words = own(
        tmp_path,
        categories=[{"id": n, "name": name} for n, name in enumerate(names)],
        annotations=[
            annotation(0, 3, 2, [box(0, 0, 2, 9)]),
            annotation(1, 3, 1, [box(1, 0, 4, 9)]),
            annotation(2, 3, 0, [box(1, 2, 4, 3)]),
        ],
    )
    dataset = open_data(words)
    assert info_of(dataset).classes == ("background", "nucleus")
    rows = dataset[0]["target"]
    assert rows[:, 0].tolist() == [255, 255, 1, 1, 0, 0, 0, 0]  # of equals the smaller is on top
    assert rows[:, 2].tolist() == [255, 0, 0, 0, 0, 0, 0, 0]


def test_d_overlap(tmp_path):
    crowd = {"size": [8, 9], "counts": [0, 8, 64]}
    annotations = [*OWN["annotations"], annotation(2, 3, 2, crowd, 1)]
    dataset = open_data(own(tmp_path, annotations=annotations) + "?overlap=yes")
    assert info_of(dataset).classes == ("body", "nucleus")
    target = checked(dataset[0])["target"]
    assert target.shape == (2, 8, 9)
    np.testing.assert_array_equal(target[0], EXPECTED > 0)
    nucleus = (EXPECTED == 2).astype(np.uint8)
    nucleus[:, 0] = 255  # a crowd of nuclei says nothing of bodies
    np.testing.assert_array_equal(target[1], nucleus)
    labels.judge(target, num_classes=2, ignore_index=255)
    one_class = open_data(own(tmp_path) + "?overlap=yes&classes=nucleus")
    np.testing.assert_array_equal(one_class[0]["target"], (EXPECTED == 2)[None])


def test_d_pictures_in_folders_and_none_outside(tmp_path):
    (tmp_path / "day").mkdir()
    Image.new("RGB", (9, 8)).save(tmp_path / "day" / "a.jpg")
    entry = {"id": 3, "height": 8, "width": 9}
    words = own(tmp_path, images=[{**entry, "file_name": "day\\a.jpg"}])
    assert id_of(open_data(words), 0) == "day/a.jpg"
    for name in ("../a.jpg", "day/../../a.jpg", "/etc/a.jpg", "C:\\a.jpg", "..\\a.jpg", "", "."):
        words = own(tmp_path, images=[{**entry, "file_name": name}])
        with pytest.raises(DatasetError, match="is not the name of a file in the set"):
            open_data(words)
