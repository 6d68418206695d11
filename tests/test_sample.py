"""What a sample is, and what is said of one that is not."""

import re

import numpy as np
import pytest

from segzoo.data.sample import Dataset, Info, Sample, Stream, checked, info_of
from segzoo.errors import DatasetError

IMAGE = np.zeros((4, 6, 3), np.uint8)
TARGET = np.zeros((4, 6), np.uint8)
GOOD = {"image": IMAGE, "target": TARGET, "id": "a.png"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image": IMAGE[..., :1]},
        {"image": np.zeros((4, 6, 4), np.uint8)},
        {"image": np.zeros((4, 6, 7), np.uint8)},
        {"target": TARGET.astype(np.int64) - 1},
        {"target": np.zeros((5, 4, 6), np.uint8)},
        {"weight": np.ones((4, 6), np.float32)},
        {"id": 7},
    ],
)
def test_samples(changes):
    sample = {**GOOD, **changes}
    assert checked(sample) is sample


SHAPES = "uint8 (H, W, 1), (H, W, 3) or (H, W, 4), or (H, W, bands)"
INTEGERS = "expected integers (H, W), or (K, H, W)"
SIZE = "expected 4x6 (height x width)"
WRONG = [
    (
        {"image": IMAGE[..., 0]},
        f"image has a wrong type or shape; found uint8 (4, 6), expected {SHAPES}",
    ),
    (
        {"image": IMAGE / 255},
        f"image has a wrong type or shape; found float64 (4, 6, 3), expected {SHAPES}",
    ),
    (
        {"image": IMAGE[:0]},
        f"image has a wrong type or shape; found uint8 (0, 6, 3), expected {SHAPES}",
    ),
    ({"image": IMAGE.tolist()}, "image is not a numpy array; found list"),
    ({"target": None}, "target is not a numpy array; found NoneType"),
    (
        {"target": TARGET > 0},
        f"target has a wrong type or shape; found bool (4, 6), {INTEGERS}",
    ),
    (
        {"target": TARGET[0]},
        f"target has a wrong type or shape; found uint8 (6,), {INTEGERS}",
    ),
    (
        {"weight": np.ones((4, 6))},
        "weight has a wrong type or shape; found float64 (4, 6), expected float32 (H, W)",
    ),
    (
        {"weight": np.ones((1, 4, 6), np.float32)},
        "weight has a wrong type or shape; found float32 (1, 4, 6), expected float32 (H, W)",
    ),
    (
        {"weight": np.ones((4, 5), np.float32)},
        f"weight is not as large as the picture; found weight 4x5, {SIZE}",
    ),
    pytest.param(
        {"target": TARGET[:, :5]},
        f"target is not as large as the picture; found target 4x5, {SIZE}",
        id="M2-size",
    ),
    pytest.param(
        {"target": TARGET.T},
        "target is not as large as the picture: its height and width are exchanged; "
        f"found target 6x4, {SIZE}",
        id="M2-exchanged",
    ),
    pytest.param(
        {"target": TARGET.astype(np.float32)},
        f"target has a wrong type or shape; found float32 (4, 6), {INTEGERS}",
        id="M1-floats",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_is_wrong_with_a_sample(changes, message):
    with pytest.raises(DatasetError, match=f"^{re.escape('a.png: ' + message)}$"):
        checked({**GOOD, **changes})


@pytest.mark.parametrize("sample", [None, (IMAGE, TARGET), {"image": IMAGE}, "x"])
def test_what_is_no_sample(sample):
    message = (
        f"a data set gave something that is not a sample; found {type(sample).__name__}, "
        "expected a mapping with 'image', 'target' and 'id'"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        checked(sample)


def test_an_id_is_said_on_one_line():
    with pytest.raises(DatasetError, match=r"^a\\nb: target is not"):
        checked({**GOOD, "id": "a\nb", "target": TARGET.T})


def test_what_a_data_set_says_of_its_labels():
    class Own:
        info = Info(classes=("a",))

    class Silent:
        info = ("a",)

    assert info_of(Own()).classes == ("a",)
    assert info_of(Silent()) == info_of(object()) == Info()


def test_data_sets_and_streams_are_known_by_what_they_have():
    class Numbered:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Sample(**GOOD)

    class Endless:
        def __iter__(self):
            yield Sample(**GOOD)

    assert isinstance(Numbered(), Dataset) and not isinstance(Numbered(), Stream)
    assert isinstance(Endless(), Stream) and not isinstance(Endless(), Dataset)
