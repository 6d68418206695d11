"""The reader of PASCAL VOC 2012, on small files of the documented layout."""

import os
import pickle
import shutil

import layouts
import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCSegmentation

from segzoo.data.readers.voc import SPEC, open_voc
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError


@pytest.fixture
def made(tmp_path):
    return layouts.voc(tmp_path)


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_lists(made, split):
    dataset = open_voc(made.path, split=split)
    assert [pair.id for pair in dataset.pairs] == layouts.VOC_SPLITS[split]
    layouts.same(dataset, made)


def test_void_is_ignored(made):
    dataset = open_voc(made.path)
    assert dataset.info.ignore_index == 255
    assert [int(v) for v in np.unique(dataset[0]["target"])] == [0, 1, 15, 255]


def test_the_labels(made):
    info = open_voc(made.path).info
    assert len(info.classes) == len(info.palette) == 21
    assert (info.classes[0], info.classes[15]) == ("background", "person")
    assert info.palette[15] == layouts.VOC_PALETTE[15]
    assert info.pixel_values == ()


@pytest.mark.parametrize("above", [0, 1, 2], ids=["year", "VOCdevkit", "folder of VOCdevkit"])
def test_where_the_path_may_point(made, above):
    path = [made.path, *made.path.parents][above]
    layouts.same(open_voc(path, split="trainval"), made)


def test_masks_in_colours_are_read_by_the_palette(made):
    for file in (made.path / "SegmentationClass").iterdir():
        Image.open(file).convert("RGB").save(file)
    layouts.same(open_voc(made.path, split="trainval"), made)


def test_augmented_masks_and_their_list(made):
    dataset = open_voc(made.path, split="trainaug", masks="SegmentationClassAug")
    assert [pair.id for pair in dataset.pairs] == ["2007_000032", "2007_000033", "2007_000039"]
    for sample in dataset:
        np.testing.assert_array_equal(sample["target"], made.targets[sample["id"]][::-1])


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_torchvision_finds_the_same_files(made, split):
    theirs = VOCSegmentation(str(made.path.parents[1]), image_set=split)
    ours = open_voc(made.path, split=split)
    assert [str(made.path / pair.image) for pair in ours.pairs] == theirs.images
    assert [str(made.path / pair.target) for pair in ours.pairs] == theirs.masks
    for sample, (image, mask) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["target"], mask)


def test_by_words(made):
    dataset = open_data(f"voc:{made.path}?split=val")
    layouts.same(dataset, made)
    assert len(dataset) == 1


def test_workers_can_be_handed_it(made):
    layouts.same(pickle.loads(pickle.dumps(open_voc(made.path))), made)


def without(folder):
    return lambda root: shutil.rmtree(root / folder)


def nothing(root):
    pass


LISTS = "ImageSets/Segmentation"
WRONG = {
    "M2-a list names a missing picture": (
        lambda root: (root / "JPEGImages/2007_000039.jpg").unlink(),
        "train",
        "pictures and masks do not make pairs; found no picture for 1 of 2: 2007_000039. Unpack"
        " VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    ),
    "M2-case-only difference": (
        lambda root: (root / LISTS / "train.txt").write_text("2007_000032\n2007_000039\nX_1\nx_1"),
        "train",
        "no picture for 2 of 4: X_1, x_1; no mask for 2 of 4: X_1, x_1",
    ),
    "M2-the test list has no masks": (
        nothing,
        "test",
        "no mask for 1 of 1: 2008_000006. Unpack VOCtrainval_11-May-2012.tar of"
        " http://host.robots.ox.ac.uk/pascal/VOC/voc2012/; masks of its test list are not",
    ),
    "M4-an empty list": (
        lambda root: (root / LISTS / "val.txt").write_text("\n"),
        "val",
        "there are no pictures. Unpack",
    ),
    "a list that is not there": (
        nothing,
        "validation",
        "there is no split 'validation'; found test, train, trainaug, trainval, val, expected"
        " validation.txt. Unpack",
    ),
    "a list elsewhere": (nothing, "../Main/train", "there is no split '../Main/train'; found"),
    "no lists": (
        without(LISTS),
        "train",
        "not the layout that the reader knows; found ImageSets, JPEGImages, SegmentationClass,"
        " SegmentationClassAug, expected the folders JPEGImages and ImageSets/Segmentation and"
        " SegmentationClass. Unpack",
    ),
    "an empty folder": (
        lambda root: [shutil.rmtree(p) for p in root.iterdir()],
        "train",
        "found an empty folder",
    ),
    "a file": (
        lambda root: [shutil.rmtree(root), root.write_bytes(b"tar")],
        "train",
        "found a file, not a folder, expected the folders JPEGImages",
    ),
    "no folder": (shutil.rmtree, "train", "found nothing: there is no such folder"),
}


@pytest.mark.parametrize(("damage", "split", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(made, damage, split, message):
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split=split)
    assert message in str(error.value)
    assert str(made.path) in error.value.file


def test_a_name_cannot_write_into_the_terminal(made):
    (made.path / LISTS / "val.txt").write_text("\x1b[31m2007\n")
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split="val")
    assert r"no mask for 1 of 1: \x1b[31m2007" in str(error.value)


def test_a_list_that_is_a_folder(made):
    (made.path / LISTS / "mine.txt").mkdir()
    with pytest.raises(DatasetError, match=r"mine\.txt: cannot be read: Is a directory"):
        open_voc(made.path, split="mine")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read(made):
    (made.path / "JPEGImages").chmod(0)
    with pytest.raises(DatasetError, match="JPEGImages: cannot be read: Permission denied"):
        open_voc(made.path)


def test_a_long_list_of_what_misses_is_cut(made):
    names = [f"2009_{n:06}" for n in range(25)]
    layouts.save(made.path / LISTS / "long.txt", "\n".join(names))
    with pytest.raises(DatasetError, match=r"no mask for 25 of 25: .*, 2009_000019 and 5 more"):
        open_voc(made.path, split="long")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        pytest.param(
            layouts.stripes(0, 21),
            "the mask holds values that the map does not name; found 21 (24 pixels), expected 0, 1,"
            " 2, 3, 4, 5, 6, 7 and 14 more. The files were changed, or are of another set. Unpack",
            id="M1-a value that is no class",
        ),
        pytest.param(
            np.dstack([layouts.stripes(1, 128)] * 3),
            "the mask has colours that stand for no class; found #010101 (24 pixels), expected the"
            " 22 colours of the palette. The files were changed, or are of another set. Unpack",
            id="M1-a colour that is no class",
        ),
        pytest.param(b"", "2007_000033.png: the file is empty", id="M1-an empty file"),
    ],
)
def test_masks_that_are_not_of_this_set(made, mask, message):
    file = made.path / "SegmentationClass/2007_000033.png"
    layouts.save(file, mask)
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split="val")[0]
    assert message in str(error.value)
    assert error.value.file == str(file)


def test_options():
    with pytest.raises(UsageError, match="masks is 'Masks', not one of 'SegmentationClass'"):
        open_voc("x", masks="Masks")
    assert SPEC.options["masks"].choices[0] == SPEC.options["masks"].default
