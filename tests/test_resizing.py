"""Samples at another size: against the resampler, Pillow and torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize as torchvision_resize

from segzoo.data.resizing import resize_sample
from segzoo.data.sample import Sample
from segzoo.pictures.resample import resize
from segzoo.spec import Preprocess

SIZES = [
    ((75, 100), (80, 80)),
    ((37, 53), (20, 31)),
    ((37, 53), (90, 77)),
    ((37, 53), (20, 100)),
    ((1, 9), (4, 4)),
    ((9, 1), (1, 3)),
    ((5, 150), (64, 7)),
]
RULES = [
    (interpolation, antialias, border)
    for interpolation in ("nearest", "bilinear", "bicubic")
    for antialias in ("none", "triangle", "gaussian")
    for border in ("edge", "zero")
]


def noise(height: int, width: int, channels: int = 3, *, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        image=rng.integers(0, 256, (height, width, channels), dtype=np.uint8),
        target=rng.integers(0, 200, (height, width), dtype=np.uint8),
        id="noise",
    )


def stretched(interpolation="bilinear", antialias="triangle", border="edge") -> Preprocess:
    return Preprocess(interpolation=interpolation, antialias=antialias, border=border)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize(("interpolation", "antialias", "border"), RULES)
def test_the_picture_is_the_resamplers_within_one_level(
    before, after, interpolation, antialias, border
):
    for channels in (1, 3, 4):
        sample = noise(*before, channels)
        rule = {"interpolation": interpolation, "antialias": antialias, "border": border}
        got = resize_sample(sample, after, stretched(**rule))["image"]
        exact = np.clip(resize(sample["image"], after, axes=(0, 1), **rule), 0, 255)
        assert got.dtype == np.uint8 and got.shape == (*after, channels)
        assert np.abs(got - np.rint(exact)).max() <= 1
        assert np.abs(got - exact).max() <= 1.01


@settings(max_examples=80)
@given(
    before=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    after=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    rule=st.sampled_from(RULES),
    seed=st.integers(0, 99),
)
def test_the_picture_is_the_resamplers_at_every_size(before, after, rule, seed):
    sample = noise(*before, seed=seed)
    got = resize_sample(sample, after, stretched(*rule))["image"]
    keywords = dict(zip(("interpolation", "antialias", "border"), rule, strict=True))
    exact = np.clip(resize(sample["image"], after, axes=(0, 1), **keywords), 0, 255)
    assert np.abs(got - np.rint(exact)).max() <= 1


def test_the_picture_is_torchvisions_and_pillows():
    image = noise(300, 400)["image"]
    got = resize_sample(noise(300, 400), (160, 320), stretched())["image"]
    x = torch.from_numpy(image).permute(2, 0, 1)
    torchvision = torchvision_resize(x, [160, 320], InterpolationMode.BILINEAR, antialias=True)
    assert (got == torchvision.permute(1, 2, 0).numpy()).all()
    pillow = np.asarray(Image.fromarray(image).resize((320, 160), Image.Resampling.BILINEAR))
    assert np.abs(got.astype(int) - pillow).max() <= 1


@settings(max_examples=200)
@given(
    before=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    after=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_the_target_is_pillows_nearest_and_the_resamplers(before, after):
    sample = noise(*before)
    got = resize_sample(sample, after, stretched())["target"]
    pillow = Image.fromarray(sample["target"]).resize(after[::-1], Image.Resampling.NEAREST)
    assert (got == np.asarray(pillow)).all()
    ours = resize(sample["target"], after, axes=(0, 1), interpolation="nearest")
    assert (got == ours).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_a_target_keeps_its_type_and_its_maps(kind):
    sample = noise(8, 6) | {"target": np.arange(2 * 8 * 6).reshape(2, 8, 6).astype(kind)}
    target = resize_sample(sample, (4, 3), stretched())["target"]
    assert target.dtype == kind and target.shape == (2, 4, 3)
    assert (target == sample["target"][:, 1::2, 1::2]).all()


def test_a_weight_is_resized_bilinearly():
    weight = np.random.default_rng(0).random((8, 6), np.float32)
    got = resize_sample(noise(8, 6) | {"weight": weight}, (5, 9), stretched("nearest"))["weight"]
    pillow = Image.fromarray(weight).resize((9, 5), Image.Resampling.BILINEAR)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.asarray(pillow), atol=1e-6)
    assert "weight" not in resize_sample(noise(8, 6), (5, 9), stretched())


@pytest.mark.parametrize("size", [None, (8, 6)])
def test_a_sample_of_that_size_is_itself(size):
    sample = noise(8, 6)
    assert resize_sample(sample, size, stretched()) is sample


def test_the_sample_before_stays_as_it_is_and_need_not_be_writable():
    sample = noise(8, 6)
    before = sample["image"].copy()
    sample["image"].flags.writeable = False
    first = resize_sample(sample, (9, 9), stretched("bilinear", "none", "zero"))
    mirrored = sample | {"image": sample["image"][:, ::-1]}
    other = resize_sample(mirrored, (9, 9), stretched("bilinear", "none", "zero"))
    assert (sample["image"] == before).all()
    assert np.abs(first["image"].astype(int) - other["image"][:, ::-1]).max() <= 1
    assert first["id"] == "noise"
