"""The embedded weights: whole, and as good as their records say."""

import os

import numpy as np
import pytest
from segzoo_unet import spec

import segzoo
from segzoo.testing import assert_weights_hold

MODELS = {"unet": spec.UNET}


@pytest.mark.parametrize(
    ("model", "tag"), [(m, tag) for m, s in MODELS.items() for tag in s.weights]
)
def test_the_weights_hold(model, tag):
    assert_weights_hold(model, tag)


def test_dark_discs_under_a_bright_lamp_and_bright_ones_in_the_dark():
    """Not a measurement: only that weights, sizes and preprocessing fit together."""
    y, x = np.mgrid[:150, :200]
    cells = np.zeros((150, 200), bool)
    for row, column, radius in ((30, 40, 12), (80, 60, 9), (70, 140, 14), (120, 170, 11)):
        cells |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    fluorescent = np.where(cells[..., None], (120, 120, 120), (8, 8, 8)).astype(np.uint8)
    stained = np.where(cells[..., None], (110, 70, 150), (230, 210, 225)).astype(np.uint8)
    model = segzoo.load("unet", pretrained=True)
    assert model.classes == ("nucleus",)
    for picture in (fluorescent, stained):
        found = model.predict(picture).mask == 255
        assert (found & cells).sum() / (found | cells).sum() > 0.7


def test_dark_lines_are_membranes():
    """As above."""
    picture = np.full((200, 260, 3), 170, np.uint8)
    lines = np.zeros((200, 260), bool)
    lines[::40], lines[:, ::52] = True, True
    lines = lines | np.roll(lines, 1, 0) | np.roll(lines, 1, 1) | np.roll(lines, 2, (0, 1))
    picture[lines] = 60
    model = segzoo.load("unet_paper", pretrained=True)
    found = model.predict(picture).mask == model.classes.index("membrane")
    assert (found & lines).sum() / lines.sum() > 0.7
    assert found.mean() < 0.4


def test_the_measured_numbers():
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("SEGZOO_TEST_DATA names no folder with nuclei_dsb2018/test")
    words = f"folder:{folder}/nuclei_dsb2018/test?values=0,255"
    found = segzoo.evaluate("unet.nuclei", words, bootstrap=0).values
    record = segzoo.load("unet.nuclei").weights
    reached = {"Dice": found["dice"], "IoU": found["iou"]}
    assert {m.name: pytest.approx(m.value, abs=1e-4) for m in record.metrics} == reached
