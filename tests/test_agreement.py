"""Sets and models that mean something else by their numbers are told before any number is made."""

import warnings
from pathlib import Path

import pytest
from cells import cells_in, trained

from segzoo.data.agreement import agree, in_other_order, suit
from segzoo.data.sample import Info
from segzoo.errors import UsageError
from segzoo.runs.evaluation import evaluate
from segzoo.spec import Preprocess


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return cells_in(tmp_path / "cells")


DIFFERENT = [
    (
        "values=0,255&classes=bg,cell",
        "values=255,0&classes=cell,bg",
        "classes; found bg, cell and cell, bg",
    ),
    ("values=0,255", "values=255,0", "values of classes; found 0, 255 and 255, 0"),
    (
        "palette=#000000,#ffffff",
        "palette=#ffffff,#000000",
        r"colours of classes; found \(0, 0, 0\), \(255, 255, 255\) and \(255",
    ),
    (
        "values=0,255&classes=cell",
        "values=255,0&classes=cell,bg",
        "classes; found cell and cell, bg",
    ),
    (
        "values=0,255&classes=bg,cell",
        "values=0,255&classes=bg,dog",
        "classes; found bg, cell and bg, dog",
    ),
    ("values=0,255", "values=0,255,7", "classes; found 2 and 3"),
    ("values=0,255", "values=0,255&ignore_index=7", "ignored values; found None and 7"),
    ("values=0,255", "values=0,255&peak=4095", r"pictures \(peak=\); found none and 4095"),
    ("values=0,255", "values=0,255&bands=3", r"pictures \(bands=\); found none and 3"),
]


@pytest.mark.parametrize(("train", "val", "found"), DIFFERENT)
def test_b7_sets_that_mean_something_else_are_refused(train, val, found, cells):
    """Row 71, before anything is trained; and the kinds beside it."""
    with pytest.raises(UsageError, match=f"to train on and to measure on have other {found}"):
        trained(f"folder:cells?{train}", val=f"folder:cells?{val}")
    assert not Path("run").exists()


@pytest.mark.parametrize("names", ["bg,cell", "BG,Cell", "cell"])
def test_b7_sets_that_mean_the_same_are_not(names, cells):
    words = "folder:cells?values=0,255&classes=bg,cell"
    assert trained(words, steps=1, val=f"folder:cells?values=0,255&classes={names}")


def test_b7_of_several_classes():
    three = Info(classes=("a", "b", "c"))
    agree(three, three, ignore_index=None)
    agree(three, Info(), ignore_index=None)
    for names in (("b", "a", "c"), ("a", "b"), ("a", "b", "d")):
        with pytest.raises(UsageError, match="have other classes; found a, b, c and "):
            agree(three, Info(classes=names), ignore_index=None)


@pytest.mark.parametrize(
    ("names", "others", "turned"),
    [
        (("a", "b"), ("b", "a"), True),
        (("a", "b"), ("A", "B"), False),
        (("a", "b"), ("a", "x"), False),
        (("cell",), ("cell", "bg"), True),
        (("cell",), ("bg", "cell"), False),
        (("bg", "cell"), ("cell",), False),
        ((), ("a", "b"), False),
        (("a", "b", "c"), ("c", "a", "b"), True),
    ],
)
def test_b7_what_another_order_is(names, others, turned):
    assert in_other_order(names, others) is turned


def test_b7_a_model_is_not_measured_by_turned_classes(cells):
    """A model of one class too, which has the name of the second of two."""
    words = "folder:cells?values=0,255&classes=bg,cell"
    trained(words, steps=1)
    asked = {"device": "cpu", "workers": 0, "bootstrap": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate("run/model", words, **asked)
        evaluate("run/model", "folder:cells?values=0,255&classes=cell", **asked)
    with pytest.raises(UsageError, match="classes in another order than the model; found cell, bg"):
        evaluate("run/model", "folder:cells?values=255,0&classes=cell,bg", **asked)


BANDS, DEEP = Preprocess(mode="bands"), Preprocess(peak=4095)


@pytest.mark.parametrize(
    ("preprocess", "channels", "info", "message"),
    [
        (
            Preprocess(),
            3,
            Info(bands=7),
            "not what the model takes; found bands=7, expected 3 chan",
        ),
        (BANDS, 4, Info(bands=7), "not what the model takes; found bands=7, expected 4 bands"),
        (BANDS, 7, Info(), r"the model takes pictures of 7 bands. .*: bands=7"),
        (DEEP, 3, Info(), r"in another range; found peak=none, expected peak=4095"),
        (DEEP, 3, Info(peak=1023), r"in another range; found peak=1023, expected peak=4095"),
    ],
)
def test_b5_and_b6_a_model_and_a_set_that_read_pictures_otherwise(
    preprocess, channels, info, message
):
    with pytest.raises(UsageError, match=message):
        suit(preprocess, channels, info, by_words=True)


def test_b5_and_b6_a_model_and_a_set_that_suit_each_other():
    suit(Preprocess(), 3, Info(peak=4095), by_words=True)  # a network of 8 bits on a deep camera
    suit(BANDS, 7, Info(bands=7), by_words=True)
    suit(DEEP, 3, Info(peak=4095.0), by_words=True)
    suit(BANDS, 7, Info(), by_words=False)  # a set of one's own: each sample is judged
