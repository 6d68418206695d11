"""Of which kinds pictures are, and how often those of a rare kind are seen."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segzoo.data.kinds import MOST, PictureKind, copies_of, kind_of_picture
from segzoo.data.loader import Order, Prepared, batches
from segzoo.data.sample import Sample
from segzoo.spec import Preprocess, Recipe


def plain(*values, channels=3):
    """A picture of 8x8 pixels of one colour."""
    return np.full((8, 8, channels), values, np.uint8)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (plain(200), PictureKind(colours=False, bright=True)),
        (plain(128, channels=1), PictureKind(colours=False, bright=True)),
        (plain(127, channels=1), PictureKind(colours=False, bright=False)),
        (plain(200, 210, 220), PictureKind(colours=True, bright=True)),
        (plain(20, 10, 30), PictureKind(colours=True, bright=False)),
        (plain(20, 20, 20, 255, channels=4), PictureKind(colours=False, bright=False)),
        (plain(20, 30, channels=2), PictureKind(colours=False, bright=False)),
    ],
)
def test_a_kind_is_colours_and_the_middle_pixel(image, kind):
    assert kind_of_picture(image) == kind


def test_a_kind_in_words():
    assert kind_of_picture(plain(200)).words == "bright gray"
    assert kind_of_picture(plain(20, 10, 30)).words == "dark in colours"


def test_things_do_not_make_a_dark_ground_bright():
    image = plain(20)
    image[:3] = 255
    assert not kind_of_picture(image).bright


class Kinds:
    """So many pictures of each of these."""

    def __init__(self, *images) -> None:
        self.images = [image for image, count in images for _ in range(count)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        target = np.zeros((8, 8), np.uint8)
        return Sample(image=self.images[index], target=target, id=str(index))


def test_a_kind_has_the_root_of_its_share():
    """As many as 451 pictures of nuclei have: 370 gray, 71 in colours, 10 gray on bright."""
    dataset = Kinds((plain(20), 370), (plain(220, 180, 230), 71), (plain(220), 10))
    assert Counter(copies_of(dataset)) == {1: 370, 2: 71, 6: 10}


def test_pictures_of_one_kind_are_seen_as_often():
    assert copies_of(Kinds((plain(20), 5))) == [1] * 5


def test_a_picture_that_is_alone_of_its_kind_is_seen_no_more_than_so_often():
    assert copies_of(Kinds((plain(20), 900), (plain(220), 1)))[-1] == MOST


@given(copies=st.lists(st.integers(1, 8), min_size=1, max_size=30), seed=st.integers(0, 2**31))
def test_an_epoch_of_copies_is_as_long_as_the_set_and_no_draw_comes_twice(copies, seed):
    order = Order(len(copies), seed=seed, replacement=False, copies=copies)
    for epoch in range(2):
        draws = [order[epoch * len(copies) + place] for place in range(len(copies))]
        assert len({*draws}) == len(draws) and {draw.epoch for draw in draws} == {epoch}
        count = Counter(draw.number for draw in draws)
        assert all(times <= copies[number] for number, times in count.items())


def test_a_training_sees_a_rare_kind_more_often():
    dataset = Kinds((plain(20), 38), (plain(220), 2))
    seen = {}
    for sampling in ("epoch", "kinds"):
        recipe = Recipe(epochs=1, batch_size=40, optimizer=("adam", {}), lr=1.0, sampling=sampling)
        prepared = Prepared(
            dataset, recipe=recipe, preprocess=Preprocess(), in_channels=3, num_classes=2
        )
        names = [name for batch in batches(prepared, start=0, stop=50) for name in batch["id"]]
        seen[sampling] = sum(int(name) >= 38 for name in names) / len(names)
    assert seen["epoch"] == 2 / 40
    assert seen["kinds"] == pytest.approx(8 / 46, abs=0.02)  # four times each
