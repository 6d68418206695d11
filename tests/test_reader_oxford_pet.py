"""The reader of Oxford-IIIT Pet, on small files of the documented layout."""

import gc
import pickle

import layouts
import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import OxfordIIITPet

from segzoo.data.readers.oxford_pet import open_oxford_pet
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError


@pytest.fixture
def made(tmp_path):
    return layouts.oxford_pet(tmp_path)


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_lists(made, split):
    dataset = open_oxford_pet(made.path, split=split)
    assert [pair.id for pair in dataset.pairs] == layouts.PET_SPLITS[split]
    layouts.same(dataset, made)


def test_the_list_of_all_begins_with_remarks(made):
    dataset = open_oxford_pet(made.path, split="all")
    assert sorted(pair.id for pair in dataset.pairs) == sorted(made.targets)
    layouts.same(dataset, made)


def test_trimaps_keep_the_order_of_the_files(made):
    dataset = open_oxford_pet(made.path)
    assert dataset.info.classes == ("foreground", "background", "border")
    assert (dataset.info.pixel_values, dataset.info.ignore_index) == ((1, 2, 3), None)


def test_the_pet_with_its_border_ignored(tmp_path):
    made = layouts.oxford_pet(tmp_path, target="pet")
    dataset = open_oxford_pet(made.path, split="all", target="pet")
    layouts.same(dataset, made)
    assert dataset.info.classes == ("background", "pet")
    assert (dataset.info.pixel_values, dataset.info.ignore_index) == ((2, 1), 255)
    assert {int(v) for sample in dataset for v in np.unique(sample["target"])} == {0, 1, 255}


def test_pictures_that_are_no_jpeg_are_read_by_content(made):
    kinds = {}
    for pair in open_oxford_pet(made.path, split="all").pairs:
        with Image.open(made.path / pair.image) as image:
            kinds[pair.id] = image.format
    assert kinds["Abyssinian_34"] == "GIF"
    assert kinds["Egyptian_Mau_191"] == "PNG"
    sample = open_oxford_pet(made.path, split="test")[0]
    np.testing.assert_array_equal(sample["image"], layouts.photo(2))  # PNG loses nothing


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # torchvision's, of GIF files
@pytest.mark.parametrize("split", ["trainval", "test"])
def test_torchvision_finds_the_same_files(made, split):
    theirs = OxfordIIITPet(str(made.path.parent), split=split, target_types="segmentation")
    ours = open_oxford_pet(made.path, split=split)
    for sample, (image, trimap) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["target"], np.asarray(trimap) - 1)
    del image, trimap
    gc.collect()


def test_a_fifth_of_all_as_the_article_parts_it(made):
    words = f"oxford_pet:{made.path.parent}?split=all&val=0.25&seed=2020"
    train, val = open_data(words), open_data(words, part="val")
    assert (len(train), len(val)) == (3, 1)
    layouts.same(train, made)
    layouts.same(val, made)


def test_workers_can_be_handed_it(made):
    layouts.same(pickle.loads(pickle.dumps(open_oxford_pet(made.path))), made)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda root: (root / "annotations/trimaps/beagle_10.png").unlink(),
            "no mask for 1 of 2: beagle_10. Unpack images.tar.gz and annotations.tar.gz of"
            " https://www.robots.ox.ac.uk/~vgg/data/pets/",
            id="M2-a picture without trimap, though ._beagle_10.png is there",
        ),
        pytest.param(
            lambda root: (root / "annotations/trainval.txt").unlink(),
            "there is no split 'trainval'; found list, test, expected trainval.txt. Unpack",
            id="no list",
        ),
        pytest.param(
            lambda root: (root / "annotations").rename(root / "trimaps"),
            "found images, trimaps, expected the folders images and annotations/trimaps. Unpack",
            id="another layout",
        ),
    ],
)
def test_what_is_wrong_is_said(made, damage, message):
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_oxford_pet(made.path)
    assert message in str(error.value)


def test_a_value_that_no_trimap_has(made):
    layouts.save(made.path / "annotations/trimaps/beagle_10.png", layouts.stripes(0, 1))
    with pytest.raises(DatasetError, match=r"found 0 \(24 pixels\), expected 1, 2, 3\. The files"):
        open_oxford_pet(made.path)[1]


def test_options():
    with pytest.raises(UsageError, match=r"split is 'train', .*; target is 'cat', not one of"):
        open_oxford_pet("x", split="train", target="cat")
