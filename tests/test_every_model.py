"""Pictures of any size, and any channels and classes, through every installed model."""

from dataclasses import replace

import numpy as np
import pytest

import segzoo
from segzoo.errors import ConfigError
from segzoo.model.load import find_spec

SIZES = ((1, 1), (1, 37), (33, 2), (65, 129))
CHANNELS = (  # (in_channels, num_classes); the kit asks 1, 3 and 4 of the networks themselves
    (1, 1),
    pytest.param(3, 2, marks=pytest.mark.slow),
    pytest.param(4, 21, marks=pytest.mark.slow),
)
SMALL = {"width": 4}  # of options: what is asked here does not depend on the number of channels
SIDE = 64  # instead of the size that a model resizes pictures to


def pictures():
    """(H, W, 4): a network of fewer channels is given what it takes of them."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 4), np.uint8) for size in SIZES]


MODELS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "hf_upernet"))
    for name in segzoo.list_models()
]


@pytest.mark.parametrize(("in_channels", "num_classes"), CHANNELS)
@pytest.mark.parametrize("name", MODELS)
def test_any_picture_size_any_channels_and_any_classes(name, in_channels, num_classes):
    _, spec = find_spec(name)
    preprocess = spec.preprocess
    if preprocess.size is not None:
        preprocess = replace(preprocess, size=(SIDE, SIDE))
    options = {key: value for key, value in SMALL.items() if key in spec.options}
    model = segzoo.load(
        replace(spec, preprocess=preprocess),
        in_channels=in_channels,
        num_classes=num_classes,
        seed=0,
        **options,
    )
    if preprocess.mode == "L" and in_channels > 1:
        with pytest.raises(ConfigError, match="cannot be given to a network of"):
            model.predict(pictures()[0])
        return
    for picture, size in zip(pictures(), SIZES, strict=True):
        found = model.predict(picture)
        assert found.mask.shape == size
        classes = () if num_classes == 1 else (num_classes,)
        assert found.probability.shape == (*classes, *size)
        assert np.isfinite(found.probability).all()
        if num_classes > 1 and model.task == "multiclass":
            np.testing.assert_allclose(found.probability.sum(axis=0), 1, atol=1e-5)
