"""Clean edges: against mixtures whose colours and opacity are known."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from segzoo.predict import edges

SIDE = 640


def drawn(kind, *, scale=4):
    """(H, W) The opacity of a blob, of one with hair, or of one with thin stems; antialiased."""
    rng = np.random.default_rng(3)
    image = Image.new("L", (SIDE * scale, SIDE * scale))
    draw, centre, radius = ImageDraw.Draw(image), SIDE * scale / 2, SIDE * scale * 0.22
    draw.ellipse([centre - radius, centre - radius, centre + radius, centre + radius], fill=255)
    angles = rng.uniform(0, 2 * np.pi, {"blob": 0, "hair": 120, "stems": 5}[kind])
    for angle in angles:
        reach = radius * rng.uniform(1.05, 1.25 if kind == "hair" else 1.9)
        end = (centre + reach * np.cos(angle), centre + reach * np.sin(angle))
        width = scale // 2 if kind == "hair" else 3 * scale
        draw.line([(centre, centre), end], fill=255, width=width)
    image = image.filter(ImageFilter.GaussianBlur(scale * 0.5)).resize((SIDE, SIDE), Image.BOX)
    return np.asarray(image, np.float32) / 255


def colours(seed):
    """(H, W, 3) from 0 to 1: a smooth surface of two colours with some grain."""
    rng = np.random.default_rng(seed)
    ends, slope = rng.uniform(0, 1, (2, 3)), rng.uniform(-1, 1, 2)
    ramp = np.add.outer(slope[0] * np.linspace(0, 1, SIDE), slope[1] * np.linspace(0, 1, SIDE))
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    surface = ends[0] + (ends[1] - ends[0]) * 0.3 * ramp[..., None]
    return np.clip(surface + rng.normal(0, 0.01, (SIDE, SIDE, 3)), 0, 1).astype(np.float32)


def mixed(opacity):
    """The picture (H, W, 3) uint8 and the colours of its subject."""
    subject, behind = colours(1), colours(2)
    image = opacity[..., None] * subject + (1 - opacity[..., None]) * behind
    return np.rint(image * 255).astype(np.uint8), subject


def seen(opacity):
    """What a network that sees 160 pixels gives at the picture's size."""
    small = Image.fromarray(opacity).resize((160, 160), Image.BOX)
    return np.clip(np.asarray(small.resize((SIDE, SIDE), Image.BILINEAR)), 0, 1)


# What pymatting 1.1.16 leaves of the error with estimate_alpha_cf, from rembg's trimap of the map.
CLOSED_FORM = {"blob": 56.8, "hair": 158.3, "stems": 88.2}


@pytest.mark.parametrize("kind", CLOSED_FORM)
def test_the_opacity_is_as_near_as_that_of_closed_form_matting(kind):
    """Where the map is a thousand and more off, in sums of absolute differences."""
    opacity = drawn(kind)
    image, _ = mixed(opacity)
    coarse = seen(opacity)
    assert np.abs(coarse - opacity).sum() > 1000
    assert np.abs(edges.refined(image, coarse) - opacity).sum() <= CLOSED_FORM[kind]


@pytest.mark.parametrize("kind", ["blob", "hair", "stems"])
def test_border_pixels_have_the_subjects_colour_alone(kind):
    opacity = drawn(kind)
    image, subject = mixed(opacity)
    soft = (opacity > 0.1) & (opacity < 0.9)
    found = edges.foreground(image, opacity) / 255
    before = np.abs(image / 255 - subject)[soft].mean()
    assert np.abs(found - subject)[soft].mean() < 0.25 * before
    hard = (opacity == 0) | (opacity == 1)
    assert np.array_equal(edges.foreground(image, opacity)[hard], image[hard])


def test_bands_give_what_the_whole_gives(monkeypatch):
    opacity = drawn("hair")
    image, _ = mixed(opacity)
    coarse = seen(opacity)
    whole = edges.refined(image, coarse), edges.foreground(image, coarse)
    monkeypatch.setattr(edges, "ROWS", 37)
    bands = edges.refined(image, coarse), edges.foreground(image, coarse)
    assert np.abs(bands[0] - whole[0]).max() < 1e-4
    assert np.abs(bands[1].astype(int) - whole[1]).max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 9)])
def test_a_map_without_subject_or_background_stays(value, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    opacity = np.full(size, value, np.float32)
    assert np.array_equal(edges.refined(image, opacity), opacity)
    assert edges.foreground(image, opacity).shape == image.shape


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.sampled_from([0.0, 0.3, 1.0]))
def test_any_picture_and_map(height, width, seed, black):
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, 256, (height, width, 3)) * black).astype(np.uint8)
    opacity = np.clip(rng.normal(0.5, 0.7, (height, width)), 0, 1).astype(np.float32)
    result = edges.refined(image, opacity)
    assert result.dtype == np.float32 and result.shape == opacity.shape
    assert np.isfinite(result).all() and 0 <= result.min() and result.max() <= 1
    assert edges.foreground(image, result).dtype == np.uint8


@pytest.mark.parametrize("shape", [(9, 13), (1, 6), (40, 21)])  # CACHED_ROWS and more among them
@pytest.mark.parametrize("reach", [1, 4, 24])
def test_means_over_squares(shape, reach):
    rng = np.random.default_rng(5)
    values = rng.random((edges.FEW_PLANES + 1, *shape), np.float32)
    wanted = np.empty_like(values)
    for y, x in np.ndindex(shape):
        around = np.s_[:, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        wanted[:, y, x] = values[around].mean((1, 2), np.float64)
    found = edges._box_mean(values, reach)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)

    there = rng.random(shape) < 0.3
    for each, means in zip((reach, 2), edges._box_means_at(values, (reach, 2), there), strict=True):
        np.testing.assert_array_equal(means, edges._box_mean(values, each)[:, there])


def test_it_needs_no_torch():
    code = "import sys, segzoo.predict.outputs; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
