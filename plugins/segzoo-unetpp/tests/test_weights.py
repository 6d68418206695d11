"""The embedded weights: whole, as good as their record says, at every depth."""

import os

import numpy as np
import pytest

import segzoo
from segzoo.testing import assert_weights_hold


def test_the_weights_hold():
    assert_weights_hold("unetpp", "nuclei")


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_bright_discs_are_found_at_every_depth(depth):
    """Not a measurement: only that weights, sizes and preprocessing fit together."""
    y, x = np.mgrid[:150, :200]
    cells = np.zeros((150, 200), bool)
    for row, column, radius in ((30, 40, 12), (80, 60, 9), (70, 140, 14), (120, 170, 11)):
        cells |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    picture = np.where(cells[..., None], (120, 120, 120), (8, 8, 8)).astype(np.uint8)
    found = segzoo.load("unetpp.nuclei", depth=depth).predict(picture).mask == 255
    assert (found & cells).sum() / (found | cells).sum() > 0.7


def test_the_measured_numbers():
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("SEGZOO_TEST_DATA names no folder with nuclei_dsb2018/test")
    words = f"folder:{folder}/nuclei_dsb2018/test?values=0,255"
    found = segzoo.evaluate("unetpp.nuclei", words, bootstrap=0).values
    record = segzoo.load("unetpp.nuclei").weights
    reached = {"Dice": found["dice"], "IoU": found["iou"]}
    assert {m.name: pytest.approx(m.value, abs=1e-4) for m in record.metrics} == reached
