"""Weights per pixel: against the golden of equation 2, and a direct computation of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file
from scipy import ndimage

from segzoo.data.pixel_weight import PIXEL_WEIGHTS, pixel_weight
from segzoo.errors import DependencyMissingError, UsageError

GOLDEN = load_file(Path(__file__).parent / "goldens" / "weight_map.safetensors")
PAPER = {"w0": 10.0, "sigma": 5.0}


def cells(case: str) -> np.ndarray:
    return (GOLDEN[f"{case}/label"] > 0).astype(np.uint8)


def border_term(target: np.ndarray, num_classes: int = 2, **options) -> np.ndarray:
    weigh = pixel_weight(
        ("border", {**PAPER, "balance": False, **options}), num_classes=num_classes
    )
    return weigh(target) - 1


@pytest.mark.parametrize("case", ["two", "three"])
class TestTheGolden:
    def test_the_weights(self, case):
        found = pixel_weight(("border", PAPER), num_classes=1)(cells(case))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, GOLDEN[f"{case}/w"], rtol=2e-6)

    def test_the_border_term(self, case):
        golden = GOLDEN[f"{case}/border_term"]
        np.testing.assert_allclose(border_term(cells(case)), golden, rtol=1e-6, atol=1e-6)

    def test_the_border_term_on_the_background_alone(self, case):
        golden = GOLDEN[f"{case}/border_term_background_only"]
        found = border_term(cells(case), everywhere=False)
        np.testing.assert_allclose(found, golden, rtol=1e-6, atol=1e-6)

    def test_what_balances_the_classes(self, case):
        found = pixel_weight(("balanced", {}), num_classes=2)(cells(case))
        np.testing.assert_allclose(found, GOLDEN[f"{case}/wc_balanced"], rtol=1e-6)


def direct(cells: list[np.ndarray], w0: float, sigma: float) -> np.ndarray:
    """Equation 2 less wc with a map of the whole picture for every cell."""
    if len(cells) < 2:
        return np.zeros(cells[0].shape if cells else ())
    distances = np.sort([ndimage.distance_transform_edt(~cell) for cell in cells], axis=0)
    return w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))


@given(
    target=arrays(
        np.uint8,
        array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.sampled_from([0, 0, 0, 1]),
    ),
    sigma=st.sampled_from([0.3, 1.0, 5.0]),
)
@settings(max_examples=60)
def test_windows_around_the_cells_change_nothing(target, sigma):
    pieces, count = ndimage.label(target)
    expected = direct([pieces == n for n in range(1, count + 1)], 10.0, sigma)
    np.testing.assert_allclose(border_term(target, sigma=sigma), expected + 0 * target, atol=2e-6)


@pytest.mark.parametrize("target", [np.zeros((9, 7), np.uint8), np.ones((9, 7), np.uint8)])
def test_without_a_second_cell_the_border_term_is_0(target):
    assert not border_term(target).any()
    assert not border_term(np.pad(target, 2)).any()
    np.testing.assert_array_equal(pixel_weight(("border", {}), num_classes=1)(target), 1)


def test_pixels_that_touch_at_a_corner_are_two_cells():
    apart = np.array([[1, 0], [0, 1]])
    assert border_term(apart).min() == pytest.approx(10 * np.exp(-4 / 50))
    assert not border_term(np.array([[1, 1], [0, 1]])).any()


def test_touching_cells_of_two_classes_are_two_cells():
    target = np.zeros((5, 8), np.int64)
    target[:, 1:4], target[:, 4:7] = 1, 2
    found = border_term(target, num_classes=3)
    expected = direct([target == 1, target == 2], 10.0, 5.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not border_term((target > 0).astype(np.uint8)).any()


def test_overlapping_maps():
    maps = np.zeros((2, 6, 9), np.uint8)
    maps[0, 1:4, 1:5], maps[1, 2:6, 3:8] = 1, 1
    expected = direct([m > 0 for m in maps], 10.0, 5.0)
    np.testing.assert_allclose(border_term(maps), expected, rtol=1e-5, atol=1e-6)
    assert border_term(maps)[3, 4] == pytest.approx(10)  # in both
    covered = maps.any(axis=0)
    weight = pixel_weight(("balanced", {}), num_classes=2)(maps)
    np.testing.assert_allclose(weight[covered], 0.5 / covered.mean(), rtol=1e-6)
    np.testing.assert_allclose(weight[~covered], 0.5 / (1 - covered.mean()), rtol=1e-6)


@pytest.mark.parametrize("name", ["balanced", "border"])
@pytest.mark.parametrize("ignored", [255, -1])
def test_the_ignored_index_weighs_0_and_counts_for_nothing(name, ignored):
    target = np.pad(cells("two").astype(np.int16), ((0, 5), (0, 0)), constant_values=ignored)
    weigh = pixel_weight((name, {}), num_classes=2)
    weight = weigh(target)
    assert not weight[24:].any()
    np.testing.assert_allclose(weight[:24], weigh(cells("two")), rtol=1e-6)
    assert not weigh(np.full((3, 3), ignored)).any()


@given(
    target=arrays(np.int64, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 4)),
)
def test_each_class_counts_as_much(target):
    weight = pixel_weight(("balanced", {}), num_classes=5)(target)
    present = np.unique(target)
    for k in present:
        assert weight[target == k].sum() == pytest.approx(target.size / len(present), rel=1e-5)


def test_many_cells_take_little_memory(monkeypatch):
    """No cell's distances are computed on the whole picture."""
    sizes = []

    def measured(values):
        sizes.append(values.size)
        return distances(values)

    distances = ndimage.distance_transform_edt
    monkeypatch.setattr(ndimage, "distance_transform_edt", measured)
    target = np.zeros((600, 600), np.uint8)
    target[5::20, 5::20] = 1
    assert border_term(target)[5, 15] == pytest.approx(10 * np.exp(-(20**2) / 50), abs=1e-6)
    assert len(sizes) == 900
    assert max(sizes) == 71**2  # 35 = 7 sigma on either side


@pytest.mark.parametrize(
    ("named", "text"),
    [
        (("borders", {}), "pixel_weight: 'borders' is not a pixel weight (did you mean 'border'?)"),
        (
            ("border", {"w": 10.0, "sigma": 0, "everywhere": 1}),
            "pixel_weight: border: 'w' is not an option (did you mean 'w0'?); it has w0, sigma, "
            "everywhere, balance; border: sigma is 0, below 0.1; border: everywhere is 1 (int), "
            "not a value of type bool",
        ),
        (
            ("balanced", {"sigma": 1}),
            "pixel_weight: balanced: 'sigma' is not an option; it has none",
        ),
    ],
)
def test_a_wrong_name_or_option_is_refused(named, text):
    with pytest.raises(UsageError) as caught:
        pixel_weight(named, num_classes=2)
    assert str(caught.value) == text


def test_without_scipy_the_install_line_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DependencyMissingError) as caught:
        pixel_weight(("border", {}), num_classes=2)
    assert str(caught.value) == (
        "the border weights need scipy. Run: pip install 'segzoo-core[train]'"
    )
    pixel_weight(("balanced", {}), num_classes=2)(cells("two"))


def test_every_option_is_explained():
    for kind in PIXEL_WEIGHTS.values():
        assert kind.help
        assert all(option.help for option in kind.options.values())
