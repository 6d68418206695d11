"""The reader of Cityscapes, on small files of the documented layout."""

import pickle

import layouts
import numpy as np
import pytest
from torchvision.datasets import Cityscapes

from segzoo.data.readers.cityscapes import open_cityscapes
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError


@pytest.fixture
def made(tmp_path):
    return layouts.cityscapes(tmp_path)


@pytest.mark.parametrize("labels", ["ids", "trainids"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_fine(made, split, labels):
    dataset = open_cityscapes(made.path, split=split, labels=labels)
    assert [pair.id for pair in dataset.pairs] == layouts.CITYSCAPES_FINE[split]
    layouts.same(dataset, made)


@pytest.mark.parametrize("split", ["train", "train_extra", "val"])
def test_coarse(made, split):
    dataset = open_cityscapes(made.path, split=split, mode="coarse")
    assert [p.id for p in dataset.pairs] == {
        **layouts.CITYSCAPES_FINE,
        "train_extra": [layouts.CITYSCAPES_EXTRA],
    }[split]
    assert all("gtCoarse" in pair.target for pair in dataset.pairs)
    layouts.same(dataset, made)


def test_ids_become_nineteen_classes(made):
    info = open_cityscapes(made.path).info
    assert len(info.classes) == 19
    assert (info.classes[0], info.classes[18], info.ignore_index) == ("road", "bicycle", 255)
    assert info.pixel_values[:2] == (7, 8)
    assert open_cityscapes(made.path, labels="trainids").info.pixel_values == ()


def test_nothing_of_the_test_split_is_judged(made):
    assert np.unique(open_cityscapes(made.path, split="test")[0]["target"]).tolist() == [255]


def test_every_id_is_as_in_the_table_of_torchvision(made):
    theirs = {c.id: c.train_id for c in Cityscapes.classes if c.id >= 0}
    stored = np.resize(np.array([*theirs], np.uint8), layouts.SIZE)
    assert len(np.unique(stored)) == 34
    file = made.path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png"
    layouts.save(file, stored)
    found = open_cityscapes(made.path, split="val")[0]["target"]
    np.testing.assert_array_equal(found, layouts.mapped(stored, theirs))


@pytest.mark.parametrize(
    ("split", "mode"), [("train", "fine"), ("val", "fine"), ("train_extra", "coarse")]
)
def test_torchvision_finds_the_same_files(made, split, mode):
    theirs = Cityscapes(str(made.path), split=split, mode=mode, target_type="semantic")
    files = zip(theirs.images, (target for (target,) in theirs.targets), strict=True)
    ours = open_cityscapes(made.path, split=split, mode=mode)
    assert [
        (str(made.path / pair.image), str(made.path / pair.target)) for pair in ours.pairs
    ] == sorted(files)


def test_stray_files_beside_the_cities_are_left_out(made):
    layouts.save(made.path / "leftImg8bit/train/.DS_Store", b"\0")
    layouts.save(made.path / "leftImg8bit/train/aachen/._aachen_0_0_leftImg8bit.png", b"\0")
    layouts.save(made.path / "leftImg8bit/train/license.txt", b"\0")
    assert len(open_cityscapes(made.path)) == 3


def test_by_words(made):
    layouts.same(open_data(f"cityscapes:{made.path}?split=val&mode=coarse"), made)
    layouts.same(open_data(f"cityscapes:{made.path.parent}"), made)


def test_workers_can_be_handed_it(made):
    layouts.same(pickle.loads(pickle.dumps(open_cityscapes(made.path))), made)


FINE = "gtFine/train/zurich/zurich_000000_000019_gtFine"


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        pytest.param(
            lambda root: (root / f"{FINE}_labelIds.png").unlink(),
            {},
            "pictures and masks do not make pairs; found no mask for 1 of 3: zurich_000000_000019."
            " Unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
            id="M2-a picture without mask",
        ),
        pytest.param(
            lambda root: (root / f"{FINE}_labelTrainIds.png").unlink(),
            {"labels": "trainids"},
            "downloads/. csCreateTrainIdLabelImgs of cityscapesScripts makes *_labelTrainIds.png",
            id="M2-train ids that were not made",
        ),
        pytest.param(
            lambda root: (root / "gtFine").rename(root / "gtCoarse2"),
            {"split": "val"},
            "found gtCoarse, gtCoarse2, leftImg8bit, expected the folders leftImg8bit/val and"
            " gtFine/val. Unpack",
            id="another layout",
        ),
    ],
)
def test_what_is_wrong_is_said(made, damage, options, message):
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_cityscapes(made.path, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("labels", "ending", "value"),
    [
        pytest.param("ids", "labelIds", 34, id="M1-an id beyond 33"),
        pytest.param("ids", "labelIds", 255, id="M1-train ids in files of ids"),
        pytest.param("trainids", "labelTrainIds", 19, id="M1-a train id beyond 18"),
    ],
)
def test_values_that_are_not_of_this_set(made, labels, ending, value):
    layouts.save(made.path / f"{FINE}_{ending}.png", layouts.stripes(0, value))
    with pytest.raises(DatasetError, match=rf"found {value} \(24 pixels\), expected .*0, 1"):
        open_cityscapes(made.path, labels=labels)[2]


def test_pictures_in_colours_are_no_labels(made):
    (made.path / f"{FINE}_color.png").replace(made.path / f"{FINE}_labelIds.png")
    with pytest.raises(DatasetError, match="the mask is a picture in colours"):
        open_cityscapes(made.path)[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split": "train_extra"},
            "Cityscapes has no fine labels of train_extra; expected one of train, val, test",
        ),
        (
            {"split": "test", "mode": "coarse"},
            "Cityscapes has no coarse labels of test; expected one of train, train_extra, val",
        ),
        ({"mode": "rough"}, "mode is 'rough', not one of 'fine', 'coarse'"),
    ],
)
def test_options(options, message):
    with pytest.raises(UsageError) as error:
        open_cityscapes("x", **options)
    assert message in str(error.value)
