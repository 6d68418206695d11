"""IoU and its relatives: by hand, against two other libraries, and what must not matter."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from segzoo.errors import DatasetError
from segzoo.metrics.measure import Measure, added, needed
from segzoo.metrics.semantic import Semantic, confusion_matrix
from segzoo.zoo import registry

NO_MAP = torch.empty(0)  # probabilities are not looked at
PER_CLASS = ("iou", "dice", "precision", "recall")


def sums_of(measure, mask, target):
    return measure.sums(NO_MAP, torch.as_tensor(mask), torch.as_tensor(target))


def result_of(measure, mask, target):
    return measure.result(sums_of(measure, mask, target))


def labels(seed: int, *shape: int, high: int, ignored: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, high, shape)
    return np.where(rng.random(shape) < ignored, 255, drawn)


# --- by hand --------------------------------------------------------------------------------------


def test_a_worked_example():
    # class 0: 4 pixels, 3 right; class 1: 2 pixels, 1 right and 2 too many; class 2: 1, missed
    target = [[0, 0, 0, 0], [1, 1, 2, 255]]
    mask = [[0, 0, 0, 1], [1, 0, 1, 2]]
    sums = sums_of(Semantic(num_classes=4, ignore_index=255), mask, target)
    assert confusion_matrix(sums).tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0] * 4]
    numbers = Semantic(num_classes=4, ignore_index=255).result(sums)
    assert numbers["iou"][:3] == pytest.approx([3 / 5, 1 / 4, 0])
    assert numbers["dice"][:3] == pytest.approx([6 / 8, 2 / 5, 0])
    assert numbers["precision"][:3] == pytest.approx([3 / 4, 1 / 3, 0])
    assert numbers["recall"][:3] == pytest.approx([3 / 4, 1 / 2, 0])
    assert all(math.isnan(numbers[name][3]) for name in PER_CLASS)  # absent: reported ...
    assert numbers["mean_iou"] == pytest.approx((3 / 5 + 1 / 4) / 3)  # ... and not averaged
    assert numbers["mean_dice"] == pytest.approx((6 / 8 + 2 / 5) / 3)
    assert numbers["mean_precision"] == pytest.approx((3 / 4 + 1 / 3) / 3)
    assert numbers["pixel_accuracy"] == pytest.approx(4 / 7)
    assert numbers["mean_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 3)
    assert numbers["fw_iou"] == pytest.approx((4 * 3 / 5 + 2 / 4) / 7)


def test_of_one_class_the_foreground_is_given_and_the_mean_is_of_two():
    numbers = result_of(Semantic(num_classes=1), [[1, 1, 0, 0, 0]], [[1, 0, 0, 0, 1]])
    assert numbers["iou"] == pytest.approx(1 / 3)
    assert numbers["dice"] == numbers["precision"] == numbers["recall"] == pytest.approx(1 / 2)
    assert numbers["mean_iou"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert numbers["mean_dice"] == pytest.approx((1 / 2 + 4 / 6) / 2)
    assert numbers["pixel_accuracy"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("mask", "target", "iou", "mean_iou"),
    [
        ([[0, 0]], [[0, 0]], math.nan, 1),  # M4: neither holds an object: only background counts
        ([[0, 1]], [[0, 0]], 0, 1 / 4),  # nothing is there, something was found
        ([[0, 0]], [[1, 1]], 0, 0),
        ([[1, 1]], [[1, 1]], 1, 1),
        ([[1, 0]], [[255, 255]], math.nan, math.nan),  # M3
    ],
)
def test_empty_masks(mask, target, iou, mean_iou):
    numbers = result_of(Semantic(num_classes=1, ignore_index=255), mask, target)
    assert numbers["iou"] == pytest.approx(iou, nan_ok=True)
    assert numbers["mean_iou"] == pytest.approx(mean_iou, nan_ok=True)


def test_with_nothing_to_judge_every_number_is_nan():
    numbers = result_of(Semantic(num_classes=2, ignore_index=255), [[0, 1]], [[255, 255]])
    assert all(np.isnan(value).all() for value in numbers.values())


def test_a_prediction_that_is_no_class_is_wrong_and_nobodys_false_alarm():
    numbers = result_of(Semantic(num_classes=2), [[0, 255, 1, -1]], [[0, 0, 1, 1]])
    assert numbers["precision"] == [1, 1]
    assert numbers["recall"] == [0.5, 0.5]
    assert numbers["pixel_accuracy"] == 0.5


def test_a_class_that_is_ignored_is_absent_even_where_it_is_predicted():
    numbers = result_of(Semantic(num_classes=3, ignore_index=2), [[0, 2, 1, 1]], [[0, 0, 1, 2]])
    assert math.isnan(numbers["iou"][2])
    assert numbers["iou"][:2] == [0.5, 1]
    assert numbers["mean_iou"] == 0.75


def test_accuracy_is_of_the_targets_classes_and_iou_of_the_predictions_too():
    numbers = result_of(Semantic(num_classes=3), [[0, 2]], [[0, 0]])
    assert numbers["mean_accuracy"] == 0.5
    assert numbers["mean_recall"] == 0.25
    assert numbers["mean_iou"] == 0.25


@pytest.mark.parametrize(
    ("measure", "target", "message"),
    [
        pytest.param(
            Semantic(num_classes=3),
            [[0, 7]],
            "a target holds values that are no class; found 7, expected 0 to 2",
            id="M1-7-of-3",
        ),
        pytest.param(
            Semantic(num_classes=1, ignore_index=254),
            [[0, 255]],
            "a target holds values that are no class; found 255, expected 0 to 1, or 254",
            id="M1-255-of-one-class",
        ),
        pytest.param(
            Semantic(num_classes=2),
            [[-1, 3, 4, 5, 6, 7, 9]],
            "a target holds values that are no class; found -1, 3, 4, 5, 6, ..., expected 0 to 1",
            id="M1-many",
        ),
    ],
)
def test_a_target_with_another_value_is_refused(measure, target, message):
    with pytest.raises(DatasetError) as error:
        sums_of(measure, torch.zeros(1, len(target[0])).long(), target)
    assert str(error.value) == message


def test_whole_numbers_stay_whole():
    """In float32, 2^24 + 1 pixels would be 2^24."""
    most = 2**40 + 1
    confusion = torch.tensor([[most, 0], [1, 0]])
    sums = {"hits": torch.tensor([most, 0]), "targets": torch.tensor([most, 1])}
    sums |= {"predictions": torch.tensor([most + 1, 0]), "confusion": confusion}
    numbers = Semantic(num_classes=2).result(sums)
    assert 1 - numbers["pixel_accuracy"] == pytest.approx(1 / 2**40, rel=1e-3)
    assert all(
        value.dtype == torch.int64
        for value in sums_of(Semantic(num_classes=2), [[1]], [[1]]).values()
    )


# --- numbers that somebody else made --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_says_the_same(seed):
    target = labels(seed, 40, 50, high=7, ignored=0.2)
    mask = labels(seed + 10, 40, 50, high=6)  # nobody is called class 6
    judged = target != 255
    measure = Semantic(num_classes=8, ignore_index=255)  # nobody is class 7
    sums = sums_of(measure, mask, target)
    pair, classes = (target[judged], mask[judged]), list(range(8))
    confusion = sklearn_metrics.confusion_matrix(*pair, labels=classes)
    np.testing.assert_array_equal(confusion_matrix(sums), confusion)
    numbers = measure.result(sums)
    for name, theirs in (
        ("iou", sklearn_metrics.jaccard_score),
        ("dice", sklearn_metrics.f1_score),
        ("precision", sklearn_metrics.precision_score),
        ("recall", sklearn_metrics.recall_score),
    ):
        kind = {"labels": classes[:7], "zero_division": 0}
        expected = theirs(*pair, average=None, **kind)
        assert numbers[name][:7] == pytest.approx(expected, abs=1e-12)
        assert numbers[f"mean_{name}"] == pytest.approx(theirs(*pair, average="macro", **kind))
    assert numbers["pixel_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(*pair))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the class that nobody predicts
        balanced = sklearn_metrics.balanced_accuracy_score(*pair)
    assert numbers["mean_accuracy"] == pytest.approx(balanced)
    weighted = sklearn_metrics.jaccard_score(*pair, average="weighted", zero_division=0)
    assert numbers["fw_iou"] == pytest.approx(weighted)


def test_torchmetrics_says_the_same():
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    mask, target = labels(1, 3, 30, 20, high=5), labels(2, 3, 30, 20, high=5, ignored=0.1)
    pair = torch.from_numpy(mask), torch.from_numpy(target)
    measure = Semantic(num_classes=5, ignore_index=255)
    numbers = measure.result(
        added(sums_of(measure, m, t) for m, t in zip(mask, target, strict=True))
    )
    kind = {"num_classes": 5, "ignore_index": 255}
    for name, theirs in (
        ("iou", torchmetrics.MulticlassJaccardIndex),
        ("dice", torchmetrics.MulticlassF1Score),
        ("recall", torchmetrics.MulticlassAccuracy),
    ):
        assert numbers[name] == pytest.approx(
            theirs(average=None, **kind)(*pair).tolist(), abs=1e-6
        )
        assert numbers[f"mean_{name}"] == pytest.approx(float(theirs(**kind)(*pair)), abs=1e-6)
    binary = Semantic(num_classes=1, ignore_index=255)
    mask, target = (pair[0] > 2).long(), torch.where(pair[1] == 255, 255, (pair[1] > 2).long())
    theirs = torchmetrics.BinaryJaccardIndex(ignore_index=255)(mask, target)
    assert result_of(binary, mask, target)["iou"] == pytest.approx(float(theirs), abs=1e-6)


# --- what must not matter -------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


def same(numbers, others):
    assert numbers.keys() == others.keys()
    for name, value in numbers.items():
        np.testing.assert_allclose(value, others[name], rtol=1e-12, err_msg=name)


@given(seeds, st.integers(1, 6), st.randoms())
def test_neither_order_nor_parts_nor_the_place_of_pixels_matter(seed, num_classes, random):
    measure = Semantic(num_classes=num_classes, ignore_index=255)
    high = max(num_classes, 2)
    mask, target = labels(seed, 6, 9, high=high), labels(seed + 1, 6, 9, high=high, ignored=0.3)
    whole = result_of(measure, mask, target)
    rows = [sums_of(measure, mask[i : i + 1], target[i : i + 1]) for i in range(6)]
    random.shuffle(rows)
    same(measure.result(added(rows)), whole)
    places = np.random.default_rng(seed).permutation(54)
    same(result_of(measure, mask.ravel()[places][None], target.ravel()[places][None]), whole)
    empty = sums_of(measure, mask, np.full_like(target, 255))
    same(measure.result(added([*rows, empty])), whole)  # M3


@given(seeds, st.permutations(range(4)))
def test_classes_in_another_order_give_the_numbers_in_that_order(seed, order):
    measure = Semantic(num_classes=4, ignore_index=255)
    mask, target = labels(seed, 5, 7, high=4), labels(seed + 1, 5, 7, high=4, ignored=0.3)
    renamed = np.append(order, np.full(252, 255))  # 255 stays what it is
    numbers, others = (
        result_of(measure, mask, target),
        result_of(measure, renamed[mask], renamed[target]),
    )
    for name, value in numbers.items():
        if name in PER_CLASS:
            others[name] = [others[name][order[k]] for k in range(4)]
        np.testing.assert_allclose(value, others[name], rtol=1e-12, err_msg=name)


def test_of_a_single_picture_the_matrix_need_not_be_kept():
    measure = Semantic(num_classes=150)
    sums = sums_of(measure, labels(1, 30, 30, high=150), labels(2, 30, 30, high=150))
    kept = needed(measure, sums)
    assert sum(value.numel() for value in kept.values()) == 450
    same(measure.result(kept), measure.result(sums))


def test_no_picture_has_no_sums():
    assert added([]) == {}


# --- the entry points -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["semantic", "saliency", "boundary"])
def test_the_metric_is_found_by_name(name):
    entry = registry.find(name, registry.METRICS)
    measure = registry.resolve(entry.value)(num_classes=1, ignore_index=255)
    assert isinstance(measure, Measure)
    y, x = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    target = ((y - 9) ** 2 + (x - 14) ** 2 < 40).long()
    numbers = measure.result(measure.sums(target[None].float(), target, target))
    assert set(measure.lower_is_better) <= set(numbers)
    for number, value in numbers.items():
        worst = number in measure.lower_is_better
        expected = {"mean_f": 0.996, "mean_e": 0.997}.get(number, 0 if worst else 1)
        assert value == pytest.approx(expected, abs=2e-3), number


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["semantic", "saliency", "boundary"])
def test_the_sums_are_the_same_on_a_gpu(name):
    measure = registry.resolve(registry.find(name, registry.METRICS).value)(
        num_classes=1, ignore_index=255
    )
    mask, target = labels(1, 50, 70, high=2), labels(2, 50, 70, high=2, ignored=0.1)
    maps = torch.rand(1, 50, 70)
    picture = [maps, torch.from_numpy(mask), torch.from_numpy(target)]
    here, there = measure.sums(*picture), measure.sums(*(part.cuda() for part in picture))
    assert here.keys() == there.keys()
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=1e-12, atol=0)
