"""Boundary IoU and boundary F: by hand, against slow definitions, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segzoo.errors import DatasetError
from segzoo.metrics.boundary import Boundary
from segzoo.metrics.measure import added

NO_MAP = torch.empty(0)  # probabilities are not looked at


def sums_of(measure, mask, target):
    return measure.sums(NO_MAP, torch.tensor(np.array(mask)), torch.tensor(np.array(target)))


def result_of(measure, mask, target):
    return measure.result(sums_of(measure, mask, target))


def regions(seed: int, shape=(60, 80), high: int = 4, size: int = 12) -> np.ndarray:
    """Smooth regions of `high` labels."""
    noise = np.random.default_rng(seed).random((high, *shape))
    return ndimage.gaussian_filter(noise, (0, size, size)).argmax(0)


def square(side: int, start: int, stop: int) -> np.ndarray:
    picture = np.zeros((side, side), int)
    picture[start:stop, start:stop] = 1
    return picture


# --- by hand --------------------------------------------------------------------------------------

EXACT = Boundary(num_classes=1, width=0, tolerance=0)  # bands of 1 pixel; outlines must coincide


def test_a_worked_example():
    """A 4 x 4 square, found as the 6 x 6 around it, in 12 x 12: rings of 12 and 20 pixels."""
    target, mask = square(12, 4, 8), square(12, 3, 9)
    apart = result_of(EXACT, mask, target)
    assert apart["boundary_iou"] == 0  # the rings do not meet
    assert apart["boundary_f"] == 0
    # with bands of 2 pixels: the whole target, 16; 6 x 6 less 2 x 2, 32; they share the ring of 12
    wider = result_of(Boundary(num_classes=1, width=2 / 17, tolerance=1 / 17), mask, target)
    assert wider["boundary_iou"] == pytest.approx(12 / (16 + 32 - 12))
    # within 1 pixel: each of the 12 has one of the 20 above, below or beside it;
    # of the 20 the corners alone, sqrt(2) away, have none
    precision, recall = 16 / 20, 1
    assert wider["boundary_f"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_of_one_class_the_mean_is_of_background_too():
    target, mask = square(12, 4, 8), square(12, 3, 9)
    one, two = (
        result_of(EXACT, mask, target),
        result_of(Boundary(num_classes=2, width=0, tolerance=0), mask, target),
    )
    assert two["boundary_iou"][1] == one["boundary_iou"]
    assert two["boundary_f"][1] == one["boundary_f"]
    # background: the picture's rim, 44 pixels, is in both bands; the rings of 20 and 28 differ
    assert two["boundary_iou"][0] == pytest.approx(44 / (44 + 20 + 28))
    assert one["mean_boundary_iou"] == two["mean_boundary_iou"] == pytest.approx(44 / 92 / 2)


def test_a_class_that_fills_the_picture_has_a_band_and_no_outline():
    numbers = result_of(EXACT, np.ones((5, 5), int), np.ones((5, 5), int))
    assert numbers["boundary_iou"] == 1
    assert math.isnan(numbers["boundary_f"])  # the picture's edge is no outline


@pytest.mark.parametrize(
    ("mask", "target", "iou", "f"),
    [
        (0, 0, math.nan, math.nan),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (1, 1, 1, 1),
    ],
)
def test_empty_masks(mask, target, iou, f):
    there = square(12, 4, 8)
    numbers = result_of(EXACT, mask * there, target * there)
    assert numbers["boundary_iou"] == pytest.approx(iou, nan_ok=True)
    assert numbers["boundary_f"] == pytest.approx(f, nan_ok=True)


def test_iou_adds_up_pixels_and_f_averages_pictures():
    measure = Boundary(num_classes=1, width=0, tolerance=0)
    small, large = square(12, 4, 8), square(40, 4, 36)
    right = sums_of(measure, large, large)  # a ring of 124 pixels
    wrong = sums_of(measure, square(12, 5, 7), small)  # of 12, and 4 found elsewhere
    numbers = measure.result(added([right, wrong]))
    assert numbers["boundary_iou"] == pytest.approx(124 / (124 + 16))
    assert numbers["boundary_f"] == pytest.approx((1 + 0) / 2)


def test_a_target_with_another_value_is_refused():
    with pytest.raises(DatasetError, match=r"found 7, expected 0 to 1$"):
        sums_of(EXACT, square(8, 2, 4), square(8, 2, 4) * 7)


# --- slow direct definitions ----------------------------------------------------------------------


def band(region: np.ndarray, distance: int) -> np.ndarray:
    """A region less what `distance` erosions leave of it; beyond the picture is nothing."""
    inside = ndimage.binary_erosion(
        np.pad(region, 1), np.ones((3, 3)), iterations=distance, border_value=1
    )
    return region & ~inside[1:-1, 1:-1]


def outline(region: np.ndarray) -> np.ndarray:
    return region & ~ndimage.binary_erosion(region, border_value=1)


def by_scipy(mask, target, num_classes, width=0.02, tolerance=0.008):
    diagonal = math.hypot(*target.shape)
    radius = math.ceil(tolerance * diagonal)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = y**2 + x**2 <= radius**2
    iou, f = [], []
    for k in range(num_classes):
        a, b = (band(m == k, max(1, round(width * diagonal))) for m in (mask, target))
        iou.append((a & b).sum() / (a | b).sum() if (a | b).any() else math.nan)
        a, b = outline(mask == k), outline(target == k)
        near_a, near_b = (ndimage.binary_dilation(o, disk) for o in (a, b))
        precision, recall = (
            (a & near_b).sum() / max(a.sum(), 1),
            (b & near_a).sum() / max(b.sum(), 1),
        )
        both = precision + recall
        f.append(2 * precision * recall / both if both else 0 if (a | b).any() else math.nan)
    return iou, f


@pytest.mark.parametrize("width", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_erosions_and_dilations_of_scipy_say_the_same(seed, width):
    target, mask = regions(seed), regions(seed + 100)
    target = np.where(seed % 2, target, np.roll(mask, 3, axis=seed // 2))  # one near, one far
    numbers = result_of(Boundary(num_classes=5, width=width, tolerance=width), mask, target)
    iou, f = by_scipy(mask, target, 5, width=width, tolerance=width)
    assert numbers["boundary_iou"] == pytest.approx(iou, nan_ok=True)
    assert numbers["boundary_f"] == pytest.approx(f, nan_ok=True)
    assert numbers["mean_boundary_iou"] == pytest.approx(np.nanmean(iou))
    assert numbers["mean_boundary_f"] == pytest.approx(np.nanmean(f))


def test_the_defaults_are_those_of_the_papers():
    target, mask = regions(1, (240, 320)), regions(2, (240, 320))
    numbers = result_of(Boundary(num_classes=4), mask, target)
    iou, f = by_scipy(mask, target, 4)
    assert numbers["boundary_iou"] == pytest.approx(iou)
    assert numbers["boundary_f"] == pytest.approx(f)


def pixel_by_pixel(mask, target, num_classes, distance, radius):
    """The definition in words, for targets with ignored pixels (255)."""
    height, width = target.shape
    judged = target != 255
    places = [(y, x) for y in range(height) for x in range(width)]

    def near_edge(labels, y, x):
        for v in range(y - distance, y + distance + 1):
            for u in range(x - distance, x + distance + 1):
                if not (0 <= v < height and 0 <= u < width):
                    return True
                if judged[v, u] and labels[v, u] != labels[y, x]:
                    return True
        return False

    def outlined(labels, y, x):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and judged[v, u]:
                if labels[v, u] != labels[y, x]:
                    return True
        return False

    iou, f = [], []
    for k in range(num_classes):
        bands, lines = (
            [
                {p for p in places if judged[p] and labels[p] == k and test(labels, *p)}
                for labels in (mask, target)
            ]
            for test in (near_edge, outlined)
        )
        either = bands[0] | bands[1]
        iou.append(len(bands[0] & bands[1]) / len(either) if either else math.nan)
        shares = [
            sum(any(math.dist(p, q) <= radius for q in other) for p in line) / max(len(line), 1)
            for line, other in (lines, lines[::-1])
        ]
        both = sum(shares)
        f.append(2 * shares[0] * shares[1] / both if both else 0 if any(lines) else math.nan)
    return iou, f


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_ignored_pixels_make_no_edge(seed, shape, distance, radius, noisy):
    rng = np.random.default_rng(seed)
    size = 0.3 if noisy else 2
    target, mask = regions(seed, shape, 3, size), regions(seed + 1, shape, 3, size)
    target[rng.random(shape) < 0.2] = 255
    mask[rng.random(shape) < 0.1] = 200  # no class
    diagonal = math.hypot(*shape)
    measure = Boundary(
        num_classes=3,
        ignore_index=255,
        width=distance / diagonal,
        tolerance=(radius - 0.5) / diagonal if radius else 0,
    )
    numbers = result_of(measure, mask, target)
    iou, f = pixel_by_pixel(mask, target, 3, distance, radius)
    assert numbers["boundary_iou"] == pytest.approx(iou, nan_ok=True)
    assert numbers["boundary_f"] == pytest.approx(f, nan_ok=True)


# --- what must not matter -------------------------------------------------------------------------


def same(numbers, others):
    assert numbers.keys() == others.keys()
    for name, value in numbers.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-12, err_msg=name)


seeds = st.integers(0, 2**16)


@given(st.permutations(range(3)))
def test_neither_order_nor_an_ignored_picture_matters(order):
    measure = Boundary(num_classes=4, ignore_index=255)
    sums = [sums_of(measure, regions(i), regions(i + 50)) for i in range(3)]
    ignored = sums_of(measure, regions(9), np.full((60, 80), 255))
    assert all(not value.any() for value in ignored.values())
    whole = measure.result(added(sums))
    same(measure.result(added([ignored, *(sums[i] for i in order)])), whole)
    assert all(value.dtype in (torch.float64, torch.int64) for value in sums[0].values())


@settings(max_examples=20)
@given(seeds, st.permutations(range(4)))
def test_classes_in_another_order_give_the_numbers_in_that_order(seed, order):
    measure = Boundary(num_classes=4)
    mask, target, renamed = regions(seed), regions(seed + 1), np.array(order)
    numbers, others = (
        result_of(measure, mask, target),
        result_of(measure, renamed[mask], renamed[target]),
    )
    for name in ("boundary_iou", "boundary_f"):
        others[name] = [others[name][order[k]] for k in range(4)]
    same(numbers, others)


@settings(max_examples=20)
@given(seeds)
def test_turned_and_mirrored_pictures_give_the_same(seed):
    measure = Boundary(num_classes=4)
    mask, target = regions(seed), regions(seed + 1)
    whole = result_of(measure, mask, target)
    same(result_of(measure, mask.T.copy(), target.T.copy()), whole)
    same(result_of(measure, mask[::-1].copy(), target[::-1].copy()), whole)
    exchanged = result_of(measure, target, mask)  # both are symmetric in their arguments
    same(exchanged, whole)


def test_a_class_that_is_ignored_is_absent():
    numbers = result_of(Boundary(num_classes=2, ignore_index=0), square(12, 4, 7), square(12, 4, 8))
    assert math.isnan(numbers["boundary_iou"][0])
    assert numbers["mean_boundary_iou"] == numbers["boundary_iou"][1]
