"""The embedded weights: what the spec says of them is so."""

import hashlib
from importlib.resources import files

import numpy as np
from PIL import Image
from segzoo_lite.spec import LITE0

import segzoo
from segzoo.model import choice
from segzoo.testing import assert_weights_hold, check_weights


def test_the_file_is_the_declared_one_and_small():
    record = LITE0.weights["duts"]
    package, _, path = record.bundled.partition(":")
    content = files(package).joinpath(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.sha256
    assert len(content) < 8 * 10**6


def test_the_card_says_all_data_that_the_weights_have_seen():
    record = LITE0.weights["duts"]
    assert [data.name for data in record.trained_on] == ["DUTS-TR", "ImageNet-1K"]
    assert record.trained_on[1] == LITE0.backbone["imagenet"].trained_on[0]


def test_a_bright_disc_on_dark_ground_is_found():
    """Not a measurement: only that weights, sizes and preprocessing fit together."""
    y, x = np.mgrid[:200, :300]
    disc = (y - 90) ** 2 + (x - 160) ** 2 < 55**2
    picture = np.where(disc[..., None], (220, 60, 40), (40, 70, 60)).astype(np.uint8)
    found = segzoo.load("lite0", pretrained=True).predict(Image.fromarray(picture)).mask == 255
    assert (found & disc).sum() / (found | disc).sum() > 0.9


def test_the_weights_hold_their_golden_too():
    assert_weights_hold("lite0", "duts")
    assert not any(result.skipped for result in check_weights("lite0", "duts"))


def test_they_are_what_cutout_takes_by_their_record():
    assert choice.best().ref == "lite0.duts"
