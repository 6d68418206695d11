"""Pictures and label files read in pairs."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image

from segzoo.data.paired import Pair, Paired, read_image
from segzoo.data.sample import Info
from segzoo.errors import DatasetError, PictureError

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
VALUES = RANDOM.integers(0, 4, (5, 7), dtype=np.uint8)


def dataset(folder, image=RGB, target=VALUES, **options):
    """One pair of arrays or PIL images in files."""
    for name, picture in (("x.png", image), ("y.png", target)):
        im = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        im.save(folder / name)
    return Paired(folder, [Pair("the id", "x.png", "y.png")], info=Info(), **options)


def test_a_pair_is_read_exactly(tmp_path):
    data = dataset(tmp_path)
    assert len(data) == 1
    sample = data[0]
    assert sample["id"] == "the id"
    np.testing.assert_array_equal(sample["image"], RGB)
    np.testing.assert_array_equal(sample["target"], VALUES)
    assert sample["target"].flags.writeable


def test_a_set_is_read_by_processes(tmp_path):
    again = pickle.loads(pickle.dumps(dataset(tmp_path)))
    np.testing.assert_array_equal(again[0]["target"], VALUES)


def test_stored_values_are_what_the_target_is_made_of(tmp_path):
    data = dataset(tmp_path, target=lambda values: values + 1)
    assert data[0]["target"].dtype == np.uint8


def test_the_target_is_made_of_stored_values(tmp_path):
    data = dataset(tmp_path)
    data.target = lambda values: values + 1
    np.testing.assert_array_equal(data[0]["target"], VALUES + 1)
