"""The reader of CamVid, on small files of its three layouts and on a real one."""

import pickle

import layouts
import numpy as np
import pytest

from segzoo.data.readers.camvid import open_camvid
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError

MAKERS = [layouts.camvid_original, layouts.camvid_segnet, layouts.camvid_folders]
ELEVEN = (
    "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist"  # of SegNet
).split()


@pytest.mark.parametrize("make", MAKERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_splits(tmp_path, make, split):
    made = make(tmp_path)
    dataset = open_camvid(made.path, split=split)
    assert [pair.id for pair in dataset.pairs] == layouts.CAMVID_SPLITS[split]
    layouts.same(dataset, made)
    assert list(dataset.info.classes) == ELEVEN
    assert (dataset.info.ignore_index, dataset.info.pixel_values) == (255, ())


def test_all_labels_of_the_original(tmp_path):
    made = layouts.camvid_original(tmp_path, classes=32)
    dataset = open_camvid(made.path, classes=32)
    layouts.same(dataset, made)
    assert len(dataset.info.classes) == 31  # Void does not count
    assert (dataset.info.classes[21], dataset.info.ignore_index) == ("Sky", 255)


def test_without_a_list_the_folders_are_the_split(tmp_path):
    made = layouts.camvid_segnet(tmp_path)
    (made.path / "val.txt").unlink()
    layouts.same(open_camvid(made.path, split="val"), made)


def test_a_shorter_list_is_obeyed(tmp_path):
    made = layouts.camvid_segnet(tmp_path)
    layouts.save(made.path / "val.txt", "val/0016E5_08159.png valannot/0016E5_08159.png\n")
    assert [p.id for p in open_camvid(made.path, split="val").pairs] == ["0016E5_08159"]


def test_by_words(tmp_path):
    made = layouts.camvid_original(tmp_path, classes=32)
    layouts.same(open_data(f"camvid:{made.path}?split=test&classes=32"), made)


def test_workers_can_be_handed_it(tmp_path):
    made = layouts.camvid_original(tmp_path)
    layouts.same(pickle.loads(pickle.dumps(open_camvid(made.path))), made)


@pytest.mark.parametrize(
    ("make", "damage", "message"),
    [
        pytest.param(
            layouts.camvid_original,
            lambda root: (root / "LabeledApproved_full/0016E5_07959_L.png").unlink(),
            "no mask for 1 of 2: 0016E5_07959. Unpack 701_StillsRaw_full.zip and"
            " LabeledApproved_full.zip of http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
            id="M2-a picture without mask",
        ),
        pytest.param(
            layouts.camvid_segnet,
            lambda root: (root / "val/0016E5_07959.png").unlink(),
            "no picture for 1 of 2: 0016E5_07959. Unpack",
            id="M2-a list names a missing picture",
        ),
        pytest.param(
            layouts.camvid_folders,
            lambda root: layouts.save(root / "val/images/0016E5_07959.jpg", b""),
            "two files have one name; found 0016E5_07959.jpg and 0016E5_07959.webp",
            id="M2-two pictures of one name",
        ),
        pytest.param(
            layouts.camvid_original,
            lambda root: (root / "LabeledApproved_full").rename(root / "labels"),
            "found 701_StillsRaw_full, labels, expected the folders 701_StillsRaw_full and"
            " LabeledApproved_full, or val and valannot, or val/images and val/masks. Unpack",
            id="another layout",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, make, damage, message):
    made = make(tmp_path)
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_camvid(made.path, split="val")
    assert message in str(error.value)
    assert str(made.path) in error.value.file


@pytest.mark.parametrize(
    ("make", "file", "mask", "message"),
    [
        pytest.param(
            layouts.camvid_original,
            "LabeledApproved_full/0016E5_07959_L.png",
            np.dstack([layouts.stripes(128, 127)] * 3),
            "found #7f7f7f (24 pixels), expected the 32 colours of the palette. The files were",
            id="M1-a colour beside the palette, as smoothing makes it",
        ),
        pytest.param(
            layouts.camvid_segnet,
            "valannot/0016E5_07959.png",
            layouts.stripes(0, 12),
            "found 12 (24 pixels), expected 0, 1, 2",
            id="M1-an index beyond 11",
        ),
    ],
)
def test_masks_that_are_not_of_this_set(tmp_path, make, file, mask, message):
    made = make(tmp_path)
    layouts.save(made.path / file, mask)
    with pytest.raises(DatasetError) as error:
        open_camvid(made.path, split="val")[0]
    assert message in str(error.value)


def test_options(tmp_path):
    made = layouts.camvid_segnet(tmp_path)
    with pytest.raises(
        UsageError, match="these files hold 11 classes, not 32; expected the folder"
    ):
        open_camvid(made.path, classes=32)
    with pytest.raises(UsageError, match="classes is 12, not one of 11, 32"):
        open_camvid(made.path, classes=12)


# --- real files: CamVid in SegNet's classes, 384x288 ----------------------------------------------


@pytest.mark.parametrize(("split", "length"), [("train", 312), ("val", 86), ("test", 198)])
def test_the_real_files(split, length):
    dataset = open_camvid(layouts.real("camvid"), split=split)
    assert len(dataset) == length
    for index in range(0, length, length // 5):
        sample = layouts.checked(dataset[index])
        assert sample["image"].shape == (288, 384, 3)
        assert set(np.unique(sample["target"])) <= {*range(11), 255}


def test_the_road_of_real_files_lies_below_the_sky():
    dataset = open_camvid(layouts.real("camvid"), split="val")
    rows = {
        name: np.mean(
            [np.nonzero(dataset[n]["target"] == index)[0].mean() for n in range(0, 86, 20)]
        )
        for index, name in enumerate(dataset.info.classes)
        if name in ("Sky", "Road")
    }
    assert rows["Sky"] < 100 < 180 < rows["Road"]


def test_the_splits_of_original_files_are_those_of_the_real_lists(tmp_path):
    """The names alone decide there; here the folders of real files say what is right."""
    splits = {
        split: [pair.id for pair in open_camvid(layouts.real("camvid"), split=split).pairs]
        for split in ("train", "val", "test")
    }
    for names in splits.values():
        for name in names:
            layouts.save(tmp_path / f"701_StillsRaw_full/{name}.png", b"")
            layouts.save(tmp_path / f"LabeledApproved_full/{name}_L.png", b"")
    for split, names in splits.items():
        assert [pair.id for pair in open_camvid(tmp_path, split=split).pairs] == names
