"""The reader of DRIVE, on small files of its two layouts and on real ones."""

import pickle
import shutil

import layouts
import numpy as np
import pytest
from PIL import Image

from segzoo.data.readers.drive import open_drive
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError


@pytest.mark.parametrize("make", [layouts.drive, layouts.drive_folders], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("split", "ids"), [("train", ["21", "22"]), ("test", ["01", "02"])])
def test_vessels(tmp_path, make, split, ids):
    made = make(tmp_path)
    dataset = open_drive(made.path, split=split)
    assert [pair.id for pair in dataset.pairs] == ids
    layouts.same(dataset, made)
    assert dataset.info.classes == ("background", "vessel")
    assert dataset.info.pixel_values == (0, 255)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_field_of_view(tmp_path, split):
    made = layouts.drive(tmp_path, target="fov")
    dataset = open_drive(made.path, split=split, target="fov")
    layouts.same(dataset, made)
    assert dataset.info.classes == ("outside", "field of view")
    copy = open_drive(layouts.drive_folders(tmp_path).path, split=split, target="fov")
    np.testing.assert_array_equal(copy[0]["target"], layouts.stripes(1, 1, 0))


def test_the_second_observer_of_the_test_split(tmp_path):
    made = layouts.drive(tmp_path, observer=2)
    dataset = open_drive(made.path, split="test", observer=2)
    layouts.same(dataset, made)
    with Image.open(made.path / dataset.pairs[0].target) as image:
        assert (image.mode, image.getpalette()[:6]) == ("P", [4, 2, 4, 252, 254, 252])


def test_the_second_observer_where_files_have_one_name(tmp_path):
    made = layouts.drive_folders(tmp_path)
    dataset = open_drive(made.path, split="test", observer=2)
    assert dataset.info.pixel_values == (0, 255)
    for sample in dataset:
        np.testing.assert_array_equal(sample["target"], made.targets[sample["id"]][::-1])


def test_by_words(tmp_path):
    made = layouts.drive(tmp_path)
    layouts.same(open_data(f"drive:{made.path}?split=test&target=vessels"), made)
    layouts.same(open_data(f"drive:{tmp_path}"), made)


def test_workers_can_be_handed_it(tmp_path):
    made = layouts.drive(tmp_path)
    layouts.same(pickle.loads(pickle.dumps(open_drive(made.path))), made)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        pytest.param(
            lambda root: (root / "training/1st_manual/22_manual1.gif").unlink(),
            {},
            "no mask for 1 of 2: 22. Unpack training.zip and test.zip of"
            " https://drive.grand-challenge.org/",
            id="M2-a picture without mask",
        ),
        pytest.param(
            lambda root: [shutil.rmtree(root / f"test/{n}_manual") for n in ("1st", "2nd")],
            {"split": "test"},
            "expected the folders test/images and test/1st_manual. Unpack training.zip and test.zip"
            " of https://drive.grand-challenge.org/; copies without manual folders in test/ are for"
            " the challenge alone",
            id="a test split without vessels",
        ),
        pytest.param(
            lambda root: None,
            {"observer": 2},
            "expected the folders training/images and training/2nd_manual",
            id="a second observer in training",
        ),
        pytest.param(
            lambda root: (root / "training").rename(root / "learning"),
            {},
            "found learning, test, expected the folders training/images and training/1st_manual",
            id="another layout",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path, damage, options, message):
    made = layouts.drive(tmp_path)
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_drive(made.path, **options)
    assert message in str(error.value)


def test_a_gif_that_a_tool_numbered_anew_is_refused(tmp_path):
    """Which of its indices is white, only its palette says, and that is not what is documented."""
    made = layouts.drive(tmp_path)
    file = made.path / "training/1st_manual/21_manual1.gif"
    with Image.open(file) as image:
        image.copy().save(file)
    with pytest.raises(
        DatasetError, match=r"found 1 \(\d+ pixels\), expected 0, 255\. They are indices.* The fil"
    ):
        open_drive(made.path)[0]


def test_options():
    with pytest.raises(
        UsageError, match=r"split is 'training', .*; observer is 3, not one of 1, 2"
    ):
        open_drive("x", split="training", observer=3)


# --- real files, 565x584 --------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("target", "share"), [("vessels", (0.05, 0.15)), ("fov", (0.6, 0.75))], ids=lambda v: str(v)
)
def test_the_real_files(split, target, share):
    dataset = open_drive(layouts.real("drive"), split=split, target=target)
    assert len(dataset) == 17
    for index in (0, 8, 16):
        sample = layouts.checked(dataset[index])
        assert sample["image"].shape == (584, 565, 3)
        assert set(np.unique(sample["target"])) == {0, 1}
        assert share[0] < sample["target"].mean() < share[1]
