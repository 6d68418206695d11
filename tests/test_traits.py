"""What a data set is like, in numbers that are known of what was drawn."""

import json

import numpy as np
import pytest
import scenes

from segzoo.base import cache
from segzoo.cli.main import run
from segzoo.data import looked
from segzoo.data.looked import look_at, without
from segzoo.data.opened import Data, opened
from segzoo.data.traits import TRAITS, spread
from segzoo.errors import DatasetError


def numbers(draw, length=24, **info):
    return look_at(scenes.data(draw, length, **info)).traits.numbers


def test_every_trait_is_there_and_no_other():
    assert [*numbers(scenes.cells, 4)] == [*TRAITS]


def test_round_things_anywhere():
    found = numbers(scenes.cells)
    assert (found["height"], found["width"], found["pictures"]) == (64, 64, 24)
    assert (found["channels"], found["gray"], found["classes"]) == (1, 1, 2)
    assert found["contrast"] == pytest.approx(150, abs=15)
    # a disc of radius 6 has 113 pixels, a side of 10.6; some overlap, and some are cut
    assert 9 < found["object"] < 16
    assert found["thinnest"] == pytest.approx(6, abs=1)
    assert max(found["sided"], found["upright"], found["turned"]) < 0.1
    assert found["inverted"] == found["repeats"] == found["shared"] == 0


def test_thin_things_are_as_wide_as_they_are():
    def strips(random):
        target = np.zeros((64, 64), np.uint8)
        target[20:23] = target[40:43] = 1
        return scenes.painted(target, random), target

    found = numbers(strips)
    # 2 * area / border: 2 * 384 / (256 * pi / 4); of a strip that is not slanted, 4 / pi too wide
    assert found["thinnest"] == pytest.approx(3 * 4 / np.pi, abs=0.01)
    assert found["objects"] == 2
    assert found["border"] == pytest.approx(8 / 64, abs=0.001)


@pytest.mark.parametrize(
    ("draw", "sided", "upright"),
    [(scenes.cells, False, False), (scenes.standing, False, True), (scenes.hooks, True, True)],
)
def test_which_way_things_lie(draw, sided, upright):
    found = numbers(draw)
    assert (found["sided"] > 0.3) is sided
    assert (found["upright"] > 0.2) is upright


def test_colours_and_grounds_that_are_now_bright_now_dark():
    assert numbers(scenes.standing)["gray"] == 0 and numbers(scenes.standing)["channels"] == 3
    mixed = numbers(scenes.mixed_cells, 40)
    bright = sum(
        np.median(scenes.Drawn(40, scenes.mixed_cells)[n]["image"]) > 128 for n in range(40)
    )
    assert mixed["inverted"] == pytest.approx(bright / 40) != 0


def test_sides_that_classes_are_named_after():
    names = ("background", "left lung", "right lung")
    assert numbers(scenes.cells, classes=names)["named_sides"] == 1
    assert numbers(scenes.cells, classes=("upright", "bright"))["named_sides"] == 0


def test_a_class_that_is_not_there_and_pixels_that_do_not_count():
    def some(random):
        image, target = scenes.cells(random)
        target[:16] = 255
        return image, target

    look = look_at(scenes.data(some, classes=("a", "b", "c"), ignore_index=255))
    assert look.traits.numbers["ignored"] == pytest.approx(0.25)
    assert look.traits.classes[2].share == look.traits.classes[2].width == 0
    assert "1 x classes that no pixel has: c" in look.notes


def test_maps_that_overlap():
    def two(random):
        image, target = scenes.cells(random)
        return image, np.stack([target, scenes.discs(random, radius=3)])

    found = numbers(two, classes=("cell", "nucleus"))
    assert (found["overlapping"], found["classes"]) == (1, 2)
    assert found["thinnest"] == pytest.approx(3, abs=0.7)


def test_at_most_so_many_evenly_spread():
    assert [*spread(3, 5)] == [0, 1, 2]
    assert [*spread(10, 5)] == [0, 2, 4, 6, 8]
    assert len({*spread(10_001, 100)}) == 100


def test_one_class_alone_is_refused():
    def nothing(random):
        image, target = scenes.cells(random)
        return image, np.zeros_like(target)

    with pytest.raises(DatasetError) as caught:
        look_at(scenes.data(nothing, 3))
    assert str(caught.value) == (
        "there is nothing to learn: every pixel that counts is of one class; found class ground in "
        "all of 3 pictures, expected pixels of two classes or more. Look at the masks: segzoo data "
        "preview WORDS"
    )


def test_the_first_fault_is_told_with_the_number_of_all():
    def odd(random):
        image, target = scenes.cells(random)
        return image, target * 7

    with pytest.raises(DatasetError, match="5 samples: the target holds values that are no class"):
        look_at(scenes.data(odd, 5))


# --- two sets -------------------------------------------------------------------------------------


def test_pictures_that_are_in_both_are_found_and_can_be_left_out():
    train = scenes.data(scenes.cells, 6)
    val = Data(scenes.Drawn(9, scenes.cells))  # its first six are the others'
    look = look_at(train, val)
    assert look.shared == (0, 1, 2, 3, 4, 5)
    assert look.traits.numbers["shared"] == 6
    left = without(val, look.shared)
    assert [left.dataset.id_of(n) for n in range(len(left))] == ["drawn-6", "drawn-7", "drawn-8"]
    with pytest.raises(DatasetError, match="every picture to measure on is among those"):
        without(train, range(6))


# --- what is kept ---------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path):
    return scenes.stored(tmp_path / "set", scenes.cells, 5) + "&val=0.4"


def both(words):
    return opened(words, part="train"), opened(words, part="val")


def test_the_second_look_reads_no_picture(words, monkeypatch):
    first = look_at(*both(words))
    monkeypatch.setattr(looked.check, "report_and_shared", None)
    assert look_at(*both(words)) == first
    with pytest.raises(TypeError):
        look_at(*both(words + "&seed=1"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"traits": {"numbers": {}, "classes": []}, "looked_at": 5}',
        '{"traits": 3, "looked_at": 5}',
        '{"looked_at": NaN}',
        '{"traits": ' + "[" * 50 + "]" * 50 + "}",
    ],
)
def test_what_is_damaged_there_is_made_anew(words, text):
    first = look_at(*both(words))
    [file] = (cache.home() / looked.KIND).iterdir()
    whole = file.read_text()
    file.write_text(text)
    assert look_at(*both(words)) == first
    assert file.read_text() == whole


def test_a_look_that_cannot_be_kept_is_a_look(words, monkeypatch):
    monkeypatch.setenv("SEGZOO_HOME", "/dev/null/x")
    assert look_at(*both(words)).looked_at == 3


# --- the verb -------------------------------------------------------------------------------------


def test_the_verb_shows_them(words, capsys):
    assert run(["data", "traits", words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CLASS", "SHARE", "PICTURES", "OBJECTS", "SIZE", "WIDTH"]
    assert lines[1].split()[:3] == ["ground", lines[1].split()[1], "100%"]
    assert "pictures 3 how many there are to train on" in [" ".join(line.split()) for line in lines]
    assert run(["data", "traits", words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["traits"]["numbers"]["pictures"] == 3 and record["data"] == words
