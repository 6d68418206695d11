"""Keras files of the article's network become a model that gives the article's outputs."""

from pathlib import Path

import pytest
import torch
from originals import Goldens, write_keras2, write_keras3, write_keras_zip

import segzoo
from segzoo.runs.convert import convert

GOLDENS = Goldens(Path(__file__).parent / "goldens")
CASE, SHAPE = "digit_unet", "2x1x64x84"


def whole_model(folder):
    """What the article's `model.save('first_model.h5')` writes."""
    write_keras2(folder / "first_model.h5", GOLDENS.keras(CASE))
    return folder / "first_model.h5"


def weights_alone(folder):
    write_keras3(folder / "first_model.weights.h5", GOLDENS.keras(CASE))
    return folder / "first_model.weights.h5"


def zipped(folder):
    write_keras_zip(folder / "first_model.keras", GOLDENS.keras(CASE), folder)
    return folder / "first_model.keras"


@pytest.mark.parametrize("write", [whole_model, weights_alone, zipped])
def test_a_keras_file_gives_the_articles_outputs(tmp_path, write):
    done = convert(write(tmp_path), to="digit_unet", out=tmp_path / "out")
    assert done.layout == "keras"
    loaded = segzoo.load(f"local-dir:{tmp_path / 'out'}")
    with torch.inference_mode():
        logits = loaded(GOLDENS.input(SHAPE))
    tolerance = GOLDENS.tolerance(CASE, SHAPE)
    assert GOLDENS.deviation(CASE, SHAPE, "logits", logits) <= 10 * tolerance
    assert GOLDENS.deviation(CASE, SHAPE, "out", logits.softmax(1)) <= tolerance
