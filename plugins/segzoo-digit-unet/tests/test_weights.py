"""The embedded weights: whole, and as good as their record says."""

import os

import pytest

import segzoo
from segzoo.testing import assert_weights_hold


def test_the_weights_hold():
    assert_weights_hold("digit_unet", "m2nist")


def test_classes_and_colours():
    model = segzoo.load("digit_unet", pretrained=True)
    assert model.classes[3] == "3" and model.classes[10] == "background"
    assert model.palette[10] == (0, 255, 255)


def test_the_measured_numbers():
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("SEGZOO_TEST_DATA names no folder with m2nist/test.npz")
    found = segzoo.evaluate("digit_unet.m2nist", f"arrays:{folder}/m2nist/test.npz", bootstrap=0)
    reached = {
        "pixel accuracy": found.values["pixel_accuracy"],
        "mean IoU of the ten digits": sum(found.values["iou"][:10]) / 10,
    }
    record = segzoo.load("digit_unet.m2nist").weights
    assert {m.name: pytest.approx(m.value, abs=1e-4) for m in record.metrics} == reached
