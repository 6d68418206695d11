"""Bootstrap intervals: against drawing the pictures themselves, scipy, and the normal law."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from segzoo.errors import UsageError
from segzoo.metrics.bootstrap import intervals
from segzoo.metrics.measure import added, needed
from segzoo.metrics.saliency import Saliency
from segzoo.metrics.semantic import Semantic

SEMANTIC = Semantic(num_classes=3, ignore_index=255)


def pictures(count: int, *, size: int = 12):
    rng = np.random.default_rng(0)
    for _ in range(count):
        target = torch.from_numpy(rng.integers(0, 3, (size, size)))
        right = torch.from_numpy(rng.random((size, size)) < rng.random())
        yield torch.where(right, target, (target + 1) % 3), target


def semantic(count: int):
    return [SEMANTIC.sums(torch.empty(0), mask, target) for mask, target in pictures(count)]


class Mean:
    """One number of each picture, averaged."""

    lower_is_better = frozenset({"mean"})

    def sums(self, probabilities, mask, target):
        return {"value": probabilities.double().sum(), "count": torch.tensor(1)}

    def result(self, sums):
        assert sums["count"].dtype == torch.int64
        return {"mean": float(sums["value"] / sums["count"]), "all": [1.0]}


def means(values):
    return [Mean().sums(torch.tensor(value), None, None) for value in values]


def test_drawing_the_pictures_themselves_gives_the_same():
    sums, names = semantic(7), ["mean_iou", "pixel_accuracy"]
    found = intervals(SEMANTIC, sums, names=names, rounds=120, seed=5, confidence=0.9)
    rng, drawn = np.random.default_rng(5), []
    for block in (50, 50, 20):  # the draws are part of what a seed means
        for draw in rng.integers(7, size=(block, 7)):
            drawn.append(SEMANTIC.result(added(sums[i] for i in draw)))
    for name in names:
        values = [numbers[name] for numbers in drawn]
        assert found[name] == pytest.approx(np.quantile(values, [0.05, 0.95]), abs=1e-12)
        assert found[name][0] < SEMANTIC.result(added(sums))[name] < found[name][1]


def test_the_interval_of_a_mean_is_scipys_and_the_normal_laws():
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = intervals(Mean(), means(values), names=["mean"], rounds=4000, seed=0)["mean"]
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx(tuple(theirs), abs=0.08 * half)
    assert (low, high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.08 * half
    )


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for seed in range(100):
        sums = means(rng.normal(0, 1, 60))
        low, high = intervals(Mean(), sums, names=["mean"], rounds=200, seed=seed, confidence=0.8)[
            "mean"
        ]
        held += low <= 0 <= high
    assert 68 <= held <= 90  # 80, with three standard deviations of 4


def test_a_seed_fixes_the_interval():
    sums = semantic(9)
    one, again, other = (
        intervals(SEMANTIC, sums, names=["mean_iou"], rounds=60, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != other


def test_curves_are_added_before_their_maximum_is_taken():
    measure, rng = Saliency(), np.random.default_rng(4)
    target = torch.zeros(12, 12).long()
    target[3:9, 4:9] = 1
    maps = [(target + torch.from_numpy(rng.normal(0, 0.6, (12, 12)))).clamp(0, 1) for _ in range(5)]
    sums = [measure.sums(m[None].float(), target, target) for m in maps]
    low, high = intervals(measure, sums, names=["max_f"], rounds=50, seed=0)["max_f"]
    single = [measure.result(part)["max_f"] for part in sums]
    assert min(single) <= low < high <= max(single)


def test_of_a_picture_only_what_counts_is_kept():
    sums = semantic(6)
    kept = [needed(SEMANTIC, part) for part in sums]
    assert "confusion" not in kept[0]
    found = intervals(SEMANTIC, kept, names=["mean_dice"], rounds=30, seed=0)
    assert found == intervals(SEMANTIC, sums, names=["mean_dice"], rounds=30, seed=0)


def test_rounds_without_a_number_are_left_out():
    binary = Semantic(num_classes=1)
    empty, full = torch.zeros(2, 2).long(), torch.ones(2, 2).long()
    sums = [binary.sums(torch.empty(0), mask, mask) for mask in (empty, full)]
    assert intervals(binary, sums, names=["iou"], rounds=40, seed=0) == {"iou": (1, 1)}
    found = intervals(binary, sums[:1], names=["iou"], rounds=5, seed=0)["iou"]
    assert all(math.isnan(side) for side in found)


def test_without_a_picture_there_is_no_interval():
    low, high = intervals(Mean(), [], names=["mean"], seed=0)["mean"]
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("name", ["all", "iou"])
def test_a_name_without_a_single_number_is_refused(name):
    with pytest.raises(UsageError) as error:
        intervals(Mean(), means([1.0, 2.0]), names=[name], seed=0)
    assert str(error.value) == f"there is no interval of {name!r}; expected one of mean"
