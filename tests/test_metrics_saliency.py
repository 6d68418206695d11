"""The saliency metrics: PySODMetrics' numbers, direct definitions, and what must not matter."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import fbeta_score, precision_recall_fscore_support

from segzoo.errors import DependencyMissingError, UsageError
from segzoo.metrics.measure import added
from segzoo.metrics.saliency import Saliency

GOLDENS = Path(__file__).parent / "goldens"
RESULTS = json.loads((GOLDENS / "metrics_sod.json").read_text("utf-8"))["results"]
PAIRS = load_file(GOLDENS / "metrics_sod.safetensors")
WHOLE = "ALL_AS_ONE_DATASET"
CASES = [name for name in RESULTS if name != WHOLE]
NAMES = {
    *("mae", "max_f", "max_f_of_mean", "mean_f", "adaptive_f"),
    *("weighted_f", "s", "max_e", "mean_e", "adaptive_e"),
}
MEASURE = Saliency(ignore_index=255)


def sums_of(probability, target, measure=MEASURE):
    """probability: (H, W) in 0..1."""
    target = torch.as_tensor(target).long()
    probability = torch.as_tensor(probability, dtype=torch.float32)
    return measure.sums(probability[None], torch.zeros_like(target), target)


def result_of(probability, target, measure=MEASURE):
    return measure.result(sums_of(probability, target, measure))


def golden(case):
    return sums_of(PAIRS[f"{case}/pred"] / 255, PAIRS[f"{case}/gt"] > 128)


def blob(height=40, width=56, *, at=(0.5, 0.5), seed=0):
    """A soft disk with noise, and its target."""
    y, x = np.ogrid[:height, :width]
    square = ((y / height - at[0]) ** 2 + (x / width - at[1]) ** 2) / 0.05
    noise = np.random.default_rng(seed).random((height, width))
    return np.clip(np.exp(-square) + 0.2 * (noise - 0.5), 0, 1), square < 0.7


def thresholds_of(levels):
    """The highest of 256 thresholds that each pixel of an 8-bit map reaches once it is stretched.

    In the order of PySODMetrics' steps: of the spans between two levels, one in four has a level
    that another order rounds differently.
    """
    values = levels / 255
    values = (values - values.min()) / (values.max() - values.min())
    return (values * 255).astype(np.uint8)


# --- numbers that somebody else made --------------------------------------------------------------


@pytest.mark.parametrize("case", RESULTS)
def test_the_librarys_numbers(case):
    numbers = MEASURE.result(added(map(golden, CASES)) if case == WHOLE else golden(case))
    assert numbers.keys() == RESULTS[case].keys() == NAMES
    for name, expected in RESULTS[case].items():  # it divides E by one pixel less than there are
        assert numbers[name] == pytest.approx(min(expected, 1), abs=1e-9), name


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 240), (17, 200), (3, 250), (90, 105)])
def test_stretched_levels_reach_the_librarys_thresholds(low, high):
    levels = np.arange(low, high + 1)[None]
    target = np.arange(levels.size)[None] % 3 == 0
    reached = thresholds_of(levels)
    for threshold, found in enumerate(sums_of(levels / 255, target)["f_curve"]):
        over = reached >= threshold
        expected = 1.3 * (over & target).sum() / (0.3 * target.sum() + over.sum())
        assert float(found) == pytest.approx(expected, abs=1e-12)


def test_f_is_scikit_learns():
    probability, target = blob()
    levels = thresholds_of(np.rint(probability * 255))
    sums = sums_of(probability, target)
    for threshold in (1, 40, 128, 200, 255):
        over = (levels >= threshold).ravel()
        expected = fbeta_score(target.ravel(), over, beta=0.3**0.5)
        assert float(sums["f_curve"][threshold]) == pytest.approx(expected, abs=1e-12)


def test_e_is_its_definition_pixel_by_pixel():
    probability, target = blob(seed=2)
    sums = sums_of(probability, target)
    levels = thresholds_of(np.rint(probability * 255))
    for threshold in (1, 60, 128, 255):
        over = (levels >= threshold).astype(float)
        a, b = over - over.mean(), target - target.mean()
        alignment = 2 * a * b / (a**2 + b**2)
        expected = ((alignment + 1) ** 2 / 4).sum() / (target.size - 1)
        assert float(sums["e_curve"][threshold]) == pytest.approx(expected, abs=1e-12)


# --- the protocol ---------------------------------------------------------------------------------


def test_a_probability_counts_as_the_level_that_an_8_bit_picture_keeps():
    probability, target = blob()
    levels = np.rint(probability * 255) / 255
    nudged = np.clip(levels + np.where(target, 0.4, -0.4) / 255, 0, 1)
    assert result_of(nudged, target) == result_of(levels, target)


def test_maps_are_stretched_unless_asked_otherwise():
    probability, target = blob()
    pale = np.rint(probability * 255) * 0.4 / 255 + 0.2  # 51 to 153
    stretched, plain = result_of(pale, target), result_of(pale, target, Saliency(normalize="none"))
    assert stretched["mae"] == pytest.approx(result_of(probability, target)["mae"], abs=0.01)
    expected = np.abs(np.rint(pale * 255) / 255 - target).mean()
    assert plain["mae"] == pytest.approx(expected, abs=1e-9)
    assert plain["mae"] > stretched["mae"] + 0.05


@pytest.mark.parametrize("value", [0, 0.3, 1])
def test_a_map_of_one_value_is_taken_as_it_is(value):
    target = blob()[1]
    level = round(value * 255) / 255
    numbers = result_of(np.full(target.shape, value), target)
    assert numbers["mae"] == pytest.approx(np.abs(level - target).mean())
    assert all(0 <= number <= 1 for number in numbers.values())


def test_e1_the_tables_max_f_is_of_the_mean_precision_and_recall():
    """Precision and recall are scikit-learn's."""
    pairs = [blob(seed=seed, at=(0.3 + 0.2 * seed, 0.5)) for seed in range(3)]
    pairs = [(p ** (1 + 3 * seed), t) for seed, (p, t) in enumerate(pairs)]  # one pale, one strong
    over = [(thresholds_of(np.rint(255 * p)).ravel(), t.ravel()) for p, t in pairs]
    f = []
    for threshold in range(256):
        scores = [
            precision_recall_fscore_support(t, m >= threshold, average="binary", zero_division=0)
            for m, t in over
        ]
        precision, recall = np.mean([score[:2] for score in scores], axis=0)
        f.append(1.3 * precision * recall / (0.3 * precision + recall) if recall else 0)
    numbers = MEASURE.result(added(sums_of(*pair) for pair in pairs))
    assert numbers["max_f"] == pytest.approx(max(f), abs=1e-12)
    assert numbers["max_f"] > numbers["max_f_of_mean"] + 0.001


def test_every_number_is_a_mean_over_pictures_and_curves_come_first():
    pairs = [blob(seed=seed, at=(0.4 + 0.1 * seed, 0.5)) for seed in range(3)]
    sums = [sums_of(*pair) for pair in pairs]
    whole, single = MEASURE.result(added(sums)), [MEASURE.result(part) for part in sums]
    for name in NAMES - {"max_f", "max_f_of_mean", "max_e"}:
        assert whole[name] == pytest.approx(np.mean([numbers[name] for numbers in single])), name
    curve = np.mean([part["f_curve"].numpy() for part in sums], axis=0)
    assert whole["max_f_of_mean"] == pytest.approx(curve.max())
    assert whole["max_f_of_mean"] < np.mean([numbers["max_f_of_mean"] for numbers in single])


def test_an_empty_target():
    target = np.zeros((8, 9))
    right = result_of(target, target)
    assert (right["mae"], right["s"], right["max_e"]) == (0, 1, 1)
    # nothing to find: F is 0 whatever is found
    assert right["max_f"] == right["max_f_of_mean"] == right["weighted_f"] == 0
    wrong = result_of(np.ones((8, 9)), target)
    assert (wrong["mae"], wrong["s"], wrong["adaptive_e"]) == (1, 0, 0)


@pytest.mark.parametrize(
    "target",
    [
        [[0, 0, 0]] * 3 + [[1, 1, 1]],
        [[0, 0, 0], [0, 0, 1]],  # a quarter without a pixel, for which PySODMetrics gives nan
        [[1, 0, 0], [0, 0, 0]],  # a foreground, and a quarter, of one pixel
        [[1, 0]],
        [[0], [1]],
        [[1]],
        [[0]],
    ],
    ids=["last-row", "corner", "first-pixel", "row", "column", "one-full", "one-empty"],
)
def test_small_and_odd_targets_give_numbers(target):
    target = np.clip(np.asarray(target), 0, 1)
    right, wrong = result_of(target, target), result_of(1 - target, target)
    assert right["mae"] == 0
    assert right["s"] == pytest.approx(1)
    assert wrong["mae"] == 1
    assert all(0 <= number <= 1 for numbers in (right, wrong) for number in numbers.values())


# --- ignored pixels -------------------------------------------------------------------------------


def test_ignored_pixels_change_nothing():
    """A strip that is ignored, away from the object, is as if it were cut off."""
    probability, target = blob(at=(0.5, 0.35))
    expected = result_of(probability[:, :48], target[:, :48])
    ignored = np.where(np.arange(56) < 48, target, 255)
    for values in (probability[:, 48:], 1.0):
        changed = probability.copy()
        changed[:, 48:] = values
        assert result_of(changed, ignored) == pytest.approx(expected, abs=1e-12)


def test_an_ignored_picture_is_no_picture():
    probability, target = blob()
    nothing = sums_of(probability, np.full(target.shape, 255))
    assert all(not value.any() for value in nothing.values())
    assert all(np.isnan(number) for number in MEASURE.result(nothing).values())
    some = sums_of(probability, target)
    assert some.keys() == nothing.keys()
    assert all(value.shape == nothing[key].shape for key, value in some.items())
    assert all(value.dtype == nothing[key].dtype for key, value in some.items())
    assert MEASURE.result(added([nothing, some, nothing])) == MEASURE.result(some)


def test_an_object_that_is_ignored_is_not_there():
    probability, target = blob()
    numbers = result_of(probability, target, Saliency(ignore_index=1))
    assert numbers == result_of(probability, np.where(target, 255, 0))
    assert numbers["weighted_f"] == 0


# --- what must hold -------------------------------------------------------------------------------

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(st.integers(0, 2**32 - 1), shapes, st.sampled_from([0, 0.02, 0.5, 0.98, 1]), st.booleans())
def test_numbers_lie_between_0_and_1(seed, shape, share, ignore):
    rng = np.random.default_rng(seed)
    probability, target = rng.random(shape) ** 3, (rng.random(shape) < share).astype(int)
    if ignore:
        target[rng.random(shape) < 0.3] = 255
    sums = sums_of(probability, target)
    if sums["pictures"]:
        assert all(0 <= number <= 1 for number in MEASURE.result(sums).values())
    assert all(value.dtype in (torch.float64, torch.int64) for value in sums.values())


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.booleans())
def test_f_of_the_means_is_never_below_the_mean_of_f(seeds, empty):
    """F is concave in precision and recall (Jensen)."""
    pairs = [blob(9, 11, seed=seed, at=(seed % 7 / 7, seed % 5 / 5)) for seed in seeds]
    pairs += [(pairs[0][0], np.zeros((9, 11)))] if empty else []
    numbers = MEASURE.result(added(sums_of(*pair) for pair in pairs))
    assert numbers["max_f"] >= numbers["max_f_of_mean"] - 1e-12


@given(st.permutations(range(4)))
def test_the_order_of_pictures_does_not_matter(order):
    sums = [sums_of(*blob(seed=seed)) for seed in range(4)]
    numbers = MEASURE.result(added(sums[i] for i in order))
    assert numbers == pytest.approx(MEASURE.result(added(sums)), rel=1e-12)


# --- errors ---------------------------------------------------------------------------------------


def test_several_classes_are_refused():
    with pytest.raises(UsageError) as error:
        Saliency(num_classes=21)
    assert str(error.value) == (
        "the saliency metrics measure one class; found 21 classes. Use the metric 'semantic'"
    )


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DependencyMissingError) as error:
        sums_of(*blob())
    assert str(error.value) == (
        "the metric 'saliency' needs scipy. Run: pip install 'segzoo-core[train]'"
    )
