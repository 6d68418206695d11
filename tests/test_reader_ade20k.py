"""The reader of ADE20K, on small files of the documented layout."""

import pickle

import layouts
import numpy as np
import pytest

from segzoo.data.readers.ade20k import open_ade20k
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError


@pytest.fixture
def made(tmp_path):
    return layouts.ade20k(tmp_path)


@pytest.mark.parametrize(("split", "short"), [("train", "train"), ("val", "val")])
def test_splits(made, split, short):
    dataset = open_ade20k(made.path, split=split)
    assert [p.id for p in dataset.pairs] == [f"ADE_{short}_{n:08}" for n in (1, 2)]
    layouts.same(dataset, made)


def test_zero_is_ignored_and_one_is_the_first_class(made):
    dataset = open_ade20k(made.path)
    assert [int(v) for v in np.unique(dataset[0]["target"])] == [0, 149, 255]
    assert dataset.info.ignore_index == 255
    assert dataset.info.pixel_values == tuple(range(1, 151))
    assert (dataset.info.classes[0], dataset.info.classes[149]) == ("wall", "flag")


def test_the_folder_that_it_lies_in(made):
    layouts.same(open_data(f"ade20k:{made.path.parent}?split=val"), made)


def test_workers_can_be_handed_it(made):
    layouts.same(pickle.loads(pickle.dumps(open_ade20k(made.path))), made)


IMAGES, MASKS = "images/training", "annotations/training"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda root: (root / MASKS / "ADE_train_00000002.png").unlink(),
            "pictures and masks do not make pairs; found no mask for 1 of 2: ADE_train_00000002."
            " Unpack ADEChallengeData2016.zip of http://sceneparsing.csail.mit.edu/",
            id="M2-a picture without mask",
        ),
        pytest.param(
            lambda root: (root / IMAGES / "ADE_train_00000001.jpg").unlink(),
            "no picture for 1 of 2: ADE_train_00000001. Unpack",
            id="M2-a mask without picture",
        ),
        pytest.param(
            lambda root: (
                [file.unlink() for file in (root / IMAGES).parent.glob("*/*")]
                + [file.unlink() for file in (root / MASKS).glob("*")]
            ),
            "there are no pictures. Unpack",
            id="M4-an empty split",
        ),
        pytest.param(
            lambda root: (root / "annotations").rename(root / "masks"),
            "not the layout that the reader knows; found images, masks, objectInfo150.txt,"
            " expected the folders images/training and annotations/training. Unpack",
            id="another layout",
        ),
    ],
)
def test_what_is_wrong_is_said(made, damage, message):
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_ade20k(made.path)
    assert message in str(error.value)
    assert error.value.file == str(made.path)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        pytest.param(
            layouts.stripes(0, 151), "found 151 (24 pixels), expected 0, 1, 2", id="M1-beyond 150"
        ),
        pytest.param(
            layouts.stripes(0, 149, 255),
            "found 255 (16 pixels), expected 0, 1, 2",
            id="M1-indices that a tool has made already",
        ),
        pytest.param(
            np.dstack([layouts.stripes(1, 2), layouts.stripes(3), layouts.stripes(4)]),
            "the mask is a picture in colours; found #010304 (24 pixels), #020304 (24 pixels),"
            " expected values of classes. The files were changed, or are of another set. Unpack",
            id="M1-colours, as the full ADE20K has",
        ),
    ],
)
def test_masks_that_are_not_of_this_set(made, mask, message):
    layouts.save(made.path / MASKS / "ADE_train_00000001.png", mask)
    with pytest.raises(DatasetError) as error:
        open_ade20k(made.path)[0]
    assert message in str(error.value)


def test_options():
    with pytest.raises(UsageError, match="split is 'test', not one of 'train', 'val'"):
        open_ade20k("x", split="test")
