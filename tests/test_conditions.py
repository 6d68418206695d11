"""Conditions on named numbers, as specs and rules hold them."""

import math

import pytest

from segzoo.base.conditions import all_hold, condition_fault, parsed


@pytest.mark.parametrize(
    ("text", "number", "holds"),
    [
        ("classes >= 3", 3, True),
        ("classes >= 3", 2, False),
        ("gray < 0.5", 0.25, True),
        ("gray <= 0.5", 0.5, True),
        ("sided > -1", 0, True),
        ("channels == 4", 4, True),
        ("channels != 4", 4, False),
        ("gray < 0.5", math.nan, False),
    ],
)
def test_a_condition_holds_or_not(text, number, holds):
    assert parsed(text).holds({parsed(text).name: number}) is holds


def test_of_a_number_that_is_not_known_nothing_holds():
    assert not all_hold(["novel != 3"], {"classes": 2})
    assert all_hold([], {})
    assert not all_hold(["classes == 2", "gray > 1"], {"classes": 2, "gray": 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "classes",
        "classes>=3",
        "classes >= three",
        "Classes >= 3",
        "__import__ >= 3",
        "classes >= 1e9",
        "classes >= nan",
        "a.b >= 3",
        "classes >= 3 or 1",
        "classes >= 3\n",
        "x >= " + "1" * 1000,
    ],
)
def test_what_is_no_condition(text):
    assert "is no condition, such as 'classes >= 3'" in condition_fault(text)
    with pytest.raises(ValueError, match="is no condition"):
        parsed(text)
