"""A folder with a run that was stopped after one of two steps, its data and photos."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from squares import Squares

from segzoo.cli.main import run
from segzoo.zoo import registry

__all__ = ["stopped", "workplace"]

WORDS = "arrays:squares.npz?val=0.25&classes=background,square"


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """run, with weights in run/model; squares.npz; photo.png of 64x84 and photos/a.png."""
    place = tmp_path_factory.mktemp("stopped")
    before = os.getcwd()
    os.chdir(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.ENVIRONMENT, "tiny=tiny:TINY")
        try:
            samples = [Squares(8)[index] for index in range(8)]
            images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
            np.savez("squares.npz", images=images, masks=masks)
            line = ["train", "tiny", "--data", WORDS, "--workers", "0", "--device", "cpu"]
            line += ["--loss", "binary_cross_entropy", "batch_size=2", "crop=16", "steps=2"]
            line += ["--max-minutes", "0", "--save-every", "1", "--eval-every", "1", "-q"]
            assert run(line) == 0
            Path("photos").mkdir()
            Image.fromarray(images[0]).save("photos/a.png")
            Image.fromarray(images[0]).resize((84, 64)).save("photo.png")
        finally:
            os.chdir(before)
    return place


@pytest.fixture
def workplace(stopped, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(registry.ENVIRONMENT, "tiny=tiny:TINY")
    return tmp_path
