"""A set of one's own in the layout of a known one: which readers take its classes, and how."""

import layouts
import numpy as np
import pytest
from layouts import stripes

from segzoo.data.fingerprint import fingerprint
from segzoo.data.labelmap import is_ignored, tidy
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError
from segzoo.spec import ReaderSpec
from segzoo.zoo import registry

NAMES = ("path", "bed", "fence")
COLOURS = ((9, 0, 0), (0, 9, 0), (0, 0, 9))
PALETTE = ",".join(f"#{bytes(colour).hex()}" for colour in COLOURS)

# reader -> picture, mask, and the value that masks store for the first class
LAYOUTS = {
    "voc": ("JPEGImages/x.jpg", "SegmentationClass/x.png", 0),
    "camvid": ("train/images/x.png", "train/masks/x.png", 0),
    "cityscapes": (
        "leftImg8bit/train/town/x_leftImg8bit.png",
        "gtFine/train/town/x_gtFine_labelIds.png",
        0,
    ),
    "ade20k": ("images/training/x.jpg", "annotations/training/x.png", 1),
}
# The classes of these are those of one file or one layout that nobody else writes.
CLOSED = {"drive", "nyudv2", "oxford_pet", "sunrgbd"}
# And these read their names out of the set, or are given them as values= is.
OTHERS = {"arrays", "coco", "cvat", "folder", "hf", "labelme", "shards", "yolo"}


def specs():
    core = (e for e in registry.entries(registry.READERS) if e.distribution == "segzoo-core")
    return {entry.name: entry.load_as(ReaderSpec) for entry in core}


def test_d_every_reader_says_classes_or_is_closed():
    """A new reader: say here which it is."""
    found = specs()
    assert {*found} == {*LAYOUTS} | CLOSED | OTHERS
    assert {name for name, spec in found.items() if "classes" not in spec.options} == (
        CLOSED - {"nyudv2"}  # whose classes= is 40 or 894
    )
    assert {name for name in LAYOUTS if "palette" not in found[name].options} == set()


@pytest.fixture(params=LAYOUTS)
def made(request, tmp_path):
    picture, mask, first = LAYOUTS[request.param]
    layouts.save(tmp_path / picture, layouts.photo(0))
    return f"{request.param}:{tmp_path}", tmp_path, tmp_path / mask, first


def test_d_names_by_values(made):
    words, _, file, first = made
    stored = stripes(0, 1, 2) + first
    stored[0] = 255
    layouts.save(file, stored)
    dataset = open_data(f"{words}?classes={','.join(NAMES)}")
    assert dataset.info.classes == NAMES
    expected = stripes(0, 1, 2)
    expected[0] = 255
    np.testing.assert_array_equal(dataset[0]["target"], expected)


def test_d_names_by_colours(made):
    words, _, file, _ = made
    layouts.save(file, np.array(COLOURS, np.uint8)[stripes(0, 1, 2)])
    dataset = open_data(f"{words}?classes={','.join(NAMES)}&palette={PALETTE}")
    assert (dataset.info.classes, dataset.info.palette) == (NAMES, COLOURS)
    np.testing.assert_array_equal(dataset[0]["target"], stripes(0, 1, 2))


def test_d_names_by_a_file(made):
    words, root, file, _ = made
    layouts.save(file, np.array(COLOURS, np.uint8)[stripes(0, 1, 2)])
    rows = [f"{n}:{','.join(map(str, c))}::" for n, c in zip(NAMES, COLOURS, strict=True)]
    layouts.save(root / "labelmap.txt", "\n".join(rows))
    dataset = open_data(words)
    assert dataset.info.classes == NAMES
    np.testing.assert_array_equal(dataset[0]["target"], stripes(0, 1, 2))
    # who knows a data set by its contents knows the file too
    before = fingerprint(dataset)
    layouts.save(root / "labelmap.txt", "\n".join(reversed(rows)))
    assert fingerprint(open_data(words)) != before


def test_d_a_number_of_classes_is_no_name(tmp_path):
    for split in ("train/images", "train/masks"):
        (tmp_path / split).mkdir(parents=True)
    with pytest.raises(UsageError, match="classes is 12, not one of 11, 32; expected one of these"):
        open_data(f"camvid:{tmp_path}?classes=12")


def test_d_words_of_tools():
    assert [tidy(name) for name in ("_background_", "Background", " cat ")] == [
        "background",
        "background",
        "cat",
    ]
    assert [is_ignored(n) for n in ("__ignore__", "ignored", "ignore", "void")] == [
        True,
        True,
        False,
        False,
    ]


def test_d_folder_reads_what_roboflow_writes(tmp_path):
    """Semantic masks: x.jpg and x_mask.png in one folder, _classes.csv beside."""
    layouts.save(tmp_path / "x.jpg", layouts.photo(0))
    layouts.save(tmp_path / "x_mask.png", stripes(0, 1, 2))
    layouts.save(tmp_path / "_classes.csv", "Pixel Value, Class\n0, background\n1, bed\n2, path\n")
    words = f"folder:{tmp_path}?images=.&masks=.&suffix=_mask"
    dataset = open_data(words)
    assert dataset.info.classes == ("background", "bed", "path")
    assert dataset.notes == (
        "1 file of other kinds left out: 1 .csv",
        "the classes are those of its _classes.csv",
    )
    np.testing.assert_array_equal(dataset[0]["target"], stripes(0, 1, 2))
    layouts.save(tmp_path / "x_mask.png", stripes(0, 255))
    with pytest.raises(DatasetError, match="values that the map does not name; found 255"):
        dataset[0]
    assert open_data(f"{words}&values=0,255").info.classes == ()  # what is said comes first


def test_d_folder_does_not_take_mere_names_for_values(tmp_path):
    """Black and white beside labels.txt: 255 would be ignored without a word."""
    layouts.save(tmp_path / "images/x.png", layouts.photo(0))
    layouts.save(tmp_path / "masks/x.png", stripes(0, 255))
    layouts.save(tmp_path / "labels.txt", "background\ncell\n")
    layouts.save(tmp_path / "labelmap.txt", "background:::\ncell:::\n")
    assert open_data(f"folder:{tmp_path}").info.classes == ()
    np.testing.assert_array_equal(open_data(f"folder:{tmp_path}")[0]["target"], stripes(0, 255))
