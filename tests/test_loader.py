"""From a data set to batches: the order, the draws, the sizes, and what `predict` would see."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from squares import Squares

from segzoo.data.augment import random_crop
from segzoo.data.draws import drawn, sample_seed
from segzoo.data.loader import Draw, Order, Prepared, batches, collated, normalized
from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, UsageError
from segzoo.pictures.codec import Picture
from segzoo.predict.preprocess import prepare
from segzoo.spec import Preprocess, Recipe

RECIPE = Recipe(epochs=2, batch_size=4, optimizer=("adam", {}), lr=1.0)


def recipe(**changes):
    return Recipe(
        **{f: getattr(RECIPE, f) for f in ("epochs", "batch_size", "optimizer", "lr")} | changes
    )


def prepared(dataset, preprocess=None, *, num_classes=2, in_channels=3, scale=1, **changes):
    return Prepared(
        dataset,
        recipe=recipe(**changes),
        preprocess=preprocess or Preprocess(),
        in_channels=in_channels,
        num_classes=num_classes,
        scale=scale,
    )


class One:
    """A data set of one picture of this size, with its rows numbered in the target."""

    def __init__(self, height: int, width: int, *, channels: int = 3, **info) -> None:
        self.info = Info(**info)
        generator = np.random.default_rng(0)
        self.image = generator.integers(0, 256, (height, width, channels)).astype(np.uint8)
        self.target = generator.integers(0, 2, (height, width)).astype(np.uint8)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample(image=self.image, target=self.target, id="one")


# --- the order ------------------------------------------------------------------------------------


@given(length=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_every_epoch_has_every_sample_once(length, seed):
    order = Order(length, seed=seed, replacement=False)
    for epoch in range(3):
        draws = [order[epoch * length + place] for place in range(length)]
        assert {draw.epoch for draw in draws} == {epoch}
        assert sorted(draw.number for draw in draws) == list(range(length))
        assert {draw.repeat for draw in draws} == {0}


def test_epochs_differ_and_seeds_differ():
    orders = [
        [Order(50, seed=seed, replacement=False)[50 * epoch + n].number for n in range(50)]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(numbers) for numbers in orders}) == 3


def test_with_replacement_a_repeated_sample_is_drawn_anew():
    order = Order(20, seed=0, replacement=True)
    draws = [order[place] for place in range(20)]
    assert len(set(draws)) == 20
    assert len({draw.number for draw in draws}) < 20


def ids(world: int, *, start: int = 0, accumulate: int = 1) -> list[list[str]]:
    """The samples of each step, over all processes, in alphabetical order."""
    data = prepared(Squares(10), ignore_index=255, accumulate=accumulate)
    ranks = [
        list(batches(data, start=start, stop=6, rank=rank, world=world)) for rank in range(world)
    ]
    steps = [
        [name for batch in parts for name in batch["id"]] for parts in zip(*ranks, strict=True)
    ]
    joined = [steps[n : n + accumulate] for n in range(0, len(steps), accumulate)]
    return [sorted(itertools.chain(*parts)) for parts in joined]


def test_processes_and_parts_share_a_step_and_lose_nothing():
    whole = ids(1)
    assert [len(step) for step in whole] == [4] * 6
    everything = sorted([f"square-{n}" for n in range(10)] * 2)
    assert sorted(itertools.chain(*whole[:5])) == everything  # two epochs are five steps of four
    assert ids(2) == ids(4) == ids(2, accumulate=2) == whole
    assert ids(2, start=3) == whole[3:]


def test_a_batch_may_be_larger_than_the_data_set():
    (batch,) = batches(prepared(Squares(1), ignore_index=255), start=0, stop=1)
    assert batch["id"] == ["square-0"] * 4


def test_workers_change_nothing():
    data = prepared(
        Squares(6),
        ignore_index=255,
        crop=(16, 16),
        augment=(("flip", {}), ("noise", {"sigma": 9.0})),
    )
    runs = [list(batches(data, start=1, stop=4, workers=workers)) for workers in (0, 1, 4)]
    for here, one, four in zip(*runs, strict=True):
        assert here["id"] == one["id"] == four["id"]
        for key in ("image", "target"):
            assert torch.equal(here[key], one[key])
            assert torch.equal(here[key], four[key])


def test_the_loader_leaves_the_callers_random_numbers_alone():
    before = torch.get_rng_state()
    list(batches(prepared(Squares(4), ignore_index=255), start=0, stop=2, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


# --- pictures as predict sees them ----------------------------------------------------------------

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize(
    ("preprocess", "channels"),
    [
        pytest.param(Preprocess(), 3, id="as it is"),
        pytest.param(Preprocess(**IMAGENET), 3, id="mean and std"),
        pytest.param(Preprocess(rescale="image_max", **IMAGENET), 3, id="image_max"),
        pytest.param(Preprocess(rescale="none"), 3, id="0..255"),
        pytest.param(Preprocess(mode="L"), 1, id="gray"),
        pytest.param(Preprocess(**IMAGENET), 4, id="with alpha"),
        pytest.param(Preprocess(multiple_of=16), 3, id="multiple_of"),
        pytest.param(Preprocess(multiple_of=16, remainder=12, margin=20), 3, id="margin"),
        pytest.param(Preprocess(size=(24, 40), resize="stretch"), 3, id="stretch"),
        pytest.param(Preprocess(size=(40, 40), resize="letterbox"), 3, id="letterbox"),
    ],
)
@pytest.mark.parametrize("of_file", [3, 4])
def test_a_whole_picture_is_what_predict_gives_the_network(preprocess, channels, of_file):
    if of_file < channels:
        pytest.skip("refused: see test_sample")
    data = One(30, 50, channels=of_file)
    item = prepared(data, preprocess, in_channels=channels)[Draw(0, 0, 0)]
    alpha = data.image[..., 3].copy() if of_file == 4 else None
    picture = Picture(np.ascontiguousarray(data.image[..., :3]), alpha)
    x, _ = prepare(picture, preprocess, channels)
    ours = normalized(item["image"][None], preprocess)[0].numpy()
    assert ours.shape == x.shape
    if preprocess.margin:  # what was added for the size mirrors the margin, not the picture
        ours, x = (v[:, :70, :90] for v in (ours, x))
    # After a resize training has whole gray values, and predict has not.
    spread = min(preprocess.std) * (255 if preprocess.rescale != "none" else 1)
    tolerance = 1e-5 if preprocess.size is None else 1.01 / spread
    assert np.abs(ours - x).max() <= tolerance


def test_a_black_picture_stays_finite():
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert torch.equal(normalized(black, Preprocess(rescale="image_max")), torch.zeros(1, 3, 4, 4))


def test_what_is_float_already_is_left_alone():
    x = torch.rand(1, 3, 4, 4)
    assert normalized(x, Preprocess(**IMAGENET)) is x


# --- targets --------------------------------------------------------------------------------------


def test_the_target_lies_under_the_logits():
    """Padding counts nothing; a margin eats the mirrored border; scale enlarges the labels."""
    data = One(30, 50)
    item = prepared(data, Preprocess(multiple_of=16))[Draw(0, 0, 0)]
    assert item["image"].shape == (3, 32, 64)
    assert np.array_equal(item["target"][:30, :50], data.target)
    assert item["weight"][:30, :50].min() == 1
    assert item["weight"][30:].max() == item["weight"][:, 50:].max() == 0

    item = prepared(data, Preprocess(multiple_of=16, remainder=12, margin=20))[Draw(0, 0, 0)]
    assert item["image"].shape == (3, 76, 92)
    assert item["target"].shape == (36, 52)
    assert np.array_equal(item["target"][:30, :50], data.target)

    item = prepared(data, scale=3)[Draw(0, 0, 0)]
    assert item["image"].shape == (3, 30, 50)
    assert np.array_equal(item["target"], data.target.repeat(3, 0).repeat(3, 1))
    assert item["weight"] is None


def test_beyond_the_border_lies_what_is_ignored():
    item = prepared(One(30, 50, ignore_index=9), Preprocess(multiple_of=16))[Draw(0, 0, 0)]
    assert (item["target"][30:] == 9).all()


def test_a_crop_of_a_margin_network_sees_the_picture_around_it():
    """The network's input of a crop is a window of the mirrored picture, and not mirrored again."""
    data = One(64, 64)
    pre = Preprocess(multiple_of=4, margin=8)
    item = prepared(data, pre, crop=(16, 16))[Draw(0, 0, 0)]
    assert item["image"].shape == (3, 32, 32)
    assert item["target"].shape == (16, 16)
    wide = np.pad(data.image, ((8, 8), (8, 8), (0, 0)), mode="reflect").transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 32, 32))[0]
    at = np.argwhere((windows == item["image"].numpy()).all((2, 3, 4)))
    assert len(at) == 1
    top, left = at[0]
    assert np.array_equal(item["target"], data.target[top : top + 16, left : left + 16])


class Dots(One):
    """One pixel of class 1 and one of class 2, each in a corner of much of class 0."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(height, width)
        self.target[:] = 0
        self.target[1, 2], self.target[-3, -2] = 1, 2


def windows(data, count=60, **changes) -> list[np.ndarray]:
    made = prepared(data, num_classes=3, crop=(9, 9), **changes)
    return [np.asarray(made[Draw(epoch, 0, 0)]["target"]) for epoch in range(count)]


def test_centred_crops_lie_about_each_class_alike():
    plain, all_about = windows(Dots(60, 80)), windows(Dots(60, 80), centred=1.0)
    assert sum((w == 1).any() for w in plain) < 6
    found = [[k for k in (1, 2) if (w == k).any()] for w in all_about]
    assert all(10 < found.count([k]) < 30 for k in (1, 2))  # 20 each, of 60; the rest is about 0
    assert 10 < found.count([]) < 30
    half = windows(Dots(60, 80), centred=0.5)
    assert 10 < sum((w > 0).any() for w in half) < 32


@pytest.mark.parametrize("num_classes", [1, 2])
def test_the_background_of_one_class_or_two_is_no_class(num_classes):
    data = One(60, 80)
    data.target[:], data.target[30, 41] = 0, 1
    made = prepared(data, num_classes=num_classes, crop=(9, 9), centred=1.0)
    for epoch in range(5):
        window = np.asarray(made[Draw(epoch, 0, 0)]["target"])
        assert np.argwhere(window).tolist() == [[4, 4]]  # in the middle


def test_a_centred_crop_of_a_margin_network_and_of_a_small_picture():
    data = One(60, 80)
    data.target[:], data.target[30, 41] = 0, 1
    pre = Preprocess(multiple_of=4, margin=8)
    window = prepared(data, pre, crop=(16, 16), centred=1.0)[Draw(0, 0, 0)]["target"]
    assert np.argwhere(np.asarray(window)).tolist() == [[8, 8]]
    window = prepared(data, crop=(200, 30), centred=1.0)[Draw(0, 0, 0)]["target"]
    assert [100, 15] in np.argwhere(np.asarray(window)).tolist()  # 70 rows mirrored above it


def test_a_picture_without_a_class_is_cut_anywhere():
    data = One(60, 80, ignore_index=9)
    data.target[:], data.target[:30] = 0, 9
    made = prepared(data, crop=(9, 9), centred=1.0)
    found = {np.asarray(made[Draw(epoch, 0, 0)]["image"]).tobytes() for epoch in range(9)}
    assert len(found) == 9


def test_crops_that_are_not_centred_are_drawn_as_before_there_were_any():
    data, draw = One(60, 80), Draw(0, 0, 0)
    with drawn(sample_seed(0, *draw)):
        before = random_crop(data[0], (9, 9))
    assert np.array_equal(prepared(data, crop=(9, 9))[draw]["target"], before["target"])


def test_centred_crops_without_a_crop_are_refused():
    with pytest.raises(UsageError, match=r"this recipe cuts none\. Give crop=HEIGHT,WIDTH too"):
        prepared(One(8, 8), centred=0.5)


def test_pictures_of_several_sizes_are_framed_to_the_largest():
    parts = [prepared(One(*size))[Draw(0, 0, 0)] for size in ((8, 6), (4, 9))]
    batch = collated(parts)
    assert batch["image"].shape == (2, 3, 8, 9)
    assert batch["weight"].sum((1, 2)).tolist() == [48, 36]
    assert torch.equal(batch["target"][1, :4, :9], parts[1]["target"])


def test_maps_that_overlap_go_through():
    class Overlapping(One):
        def __getitem__(self, index):
            maps = np.stack([self.target, 1 - self.target, self.target])
            return Sample(image=self.image, target=maps, id="one")

    for centred in (None, 1.0):
        made = prepared(Overlapping(20, 20), crop=(8, 8), num_classes=3, centred=centred)
        assert made[Draw(0, 0, 0)]["target"].shape == (3, 8, 8)


def test_the_border_weights_are_the_samples_weight():
    item = prepared(Squares(1), pixel_weight=("border", {"w0": 10.0, "sigma": 5.0}))
    weight = item[Draw(0, 0, 0)]["weight"]
    assert weight.shape == (32, 32)
    assert weight.min() > 0
    assert len(weight.unique()) > 1


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_is_named(workers):
    class Bad(One):
        def __getitem__(self, index):
            self.target[0, 0] = 7
            return super().__getitem__(index)

    with pytest.raises(DatasetError, match=r"one: .*7"):
        list(batches(prepared(Bad(8, 8)), start=0, stop=1, workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_data_set_raises_is_told_with_its_sample(workers):
    class Broken(One):
        def __getitem__(self, index):
            raise KeyError("missing")

    with pytest.raises(DatasetError, match=r"sample 0 of the data set .*KeyError: 'missing'"):
        list(batches(prepared(Broken(8, 8)), start=0, stop=1, workers=workers))


def test_an_unknown_augmentation_is_refused_before_the_first_sample():
    with pytest.raises(UsageError, match="flip"):
        prepared(One(8, 8), augment=(("flipp", {}),))
