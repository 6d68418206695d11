"""What options say of masks: read exactly, or refused with the words that were wrong."""

import re

import numpy as np
import pytest

from segzoo.data.declared import declared
from segzoo.data.sample import Info
from segzoo.errors import UsageError
from segzoo.pictures.palettes import DIGITS, TABLES, VOC


@pytest.mark.parametrize(
    ("options", "info"),
    [
        ({}, Info()),
        ({"values": "0, 255"}, Info(pixel_values=(0, 255))),
        ({"values": "0,255", "classes": "cell"}, Info(classes=("cell",), pixel_values=(0, 255))),
        (
            {"values": "*, 25|27", "classes": "trousers"},
            Info(classes=("trousers",), pixel_values=(0, 25)),
        ),
        ({"values": "1|0,*,2"}, Info(pixel_values=(1, 3, 2))),
        ({"classes": " cat ,dog,"}, Info(classes=("cat", "dog"))),
        ({"ignore_index": "255"}, Info(ignore_index=255)),
        ({"ignore_index": 0}, Info(ignore_index=0)),
        ({"threshold": "128", "classes": "outside,cell"}, Info(classes=("outside", "cell"))),
        ({"peak": "4095"}, Info(peak=4095)),
        ({"bands": "7"}, Info(bands=7)),
        ({"bands": "RGBA"}, Info()),
        ({"palette": "#0000FF, #ff0000"}, Info(palette=((0, 0, 255), (255, 0, 0)))),
        ({"palette": "#000000,#ffffff", "classes": "cell"}, Info(classes=("cell",))),
        ({"palette": "digits"}, Info(classes=DIGITS.classes, palette=DIGITS.palette)),
        (
            {"palette": "Camvid-32"},
            Info(
                classes=TABLES["camvid_32"].classes,
                palette=TABLES["camvid_32"].palette,
                ignore_index=255,
            ),
        ),
        (
            {"palette": "voc", "ignore_index": 200},
            Info(classes=VOC.classes, palette=VOC.palette, ignore_index=200),
        ),
    ],
)
def test_what_is_known_then(options, info):
    assert declared(**options).info == info


TABLE_NAMES = ", ".join(TABLES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"values": "0,255", "palette": "voc"},
            "values= and palette= exclude each other: masks hold values, colours, or black and "
            "white",
        ),
        (
            {"palette": "voc", "threshold": "128"},
            "palette= and threshold= exclude each other: masks hold values, colours, or black and "
            "white",
        ),
        ({"threshold": "half"}, "threshold='half' cannot be read; expected a number"),
        ({"peak": "12 bits"}, "peak='12 bits' cannot be read; expected a number"),
        ({"peak": "0"}, "peak=0 is no brightness; expected a number above 0, such as 4095"),
        ({"peak": "nan"}, "peak=nan is no brightness; expected a number above 0, such as 4095"),
        ({"bands": "rgb"}, "bands='rgb' cannot be read; expected whole numbers"),
        ({"bands": "0"}, "bands=0 is below 1; expected a number, or rgba"),
        (
            {"threshold": "128", "classes": "a,b,c"},
            "there is not one class for each value or colour; "
            "found 3 classes for 2, expected as many, or one class and two: without it, with it",
        ),
        ({"values": "0,a"}, "values='a' cannot be read; expected whole numbers"),
        ({"values": "0,255,0"}, "values= names one of them twice; found (0, 255, 0)"),
        ({"values": "0,1|0"}, "values= names one of them twice; found (0, 1, 0)"),
        ({"values": "0,1|"}, "values='' cannot be read; expected whole numbers"),
        (
            {"values": "*,1,*"},
            "values='*,1,*' cannot be read; expected * for one class at most, and values for "
            "another",
        ),
        (
            {"values": "*"},
            "values='*' cannot be read; expected * for one class at most, and values for another",
        ),
        ({"classes": "a,a"}, "classes= names one of them twice; found ('a', 'a')"),
        ({"ignore_index": "none"}, "ignore_index='none' cannot be read; expected whole numbers"),
        (
            {"values": "0,1,2", "classes": "a,b"},
            "there is not one class for each value or colour; found 2 classes for 3, "
            "expected as many, or one class and two: without it, with it",
        ),
        (
            {"palette": "pascal"},
            "palette='pascal' cannot be read; expected colours such as #000000,#ff0000, "
            f"or one of {TABLE_NAMES}",
        ),
        (
            {"palette": "#00000,#ff0000"},
            "palette='#00000,#ff0000' cannot be read; expected colours such as #000000,#ff0000, "
            f"or one of {TABLE_NAMES}",
        ),
        (
            {"palette": "coco"},
            "palette=coco: this data set has no colours. Say which values its masks hold: values=",
        ),
        (
            {"palette": "ade20k"},
            "a palette has one colour for two indices, so it cannot be read backwards; "
            "found #8c8c8c for 6 and 48",
        ),
        (
            {"palette": "#000000,#000000"},
            "a palette has one colour for two indices, so it cannot be read backwards; "
            "found #000000 for 0 and 1",
        ),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        declared(**options)


def test_gray_masks_are_colours_too():
    """(H, W) where colours were declared: the gray of that value."""
    meaning = declared(palette="#ffffff,#000000")
    assert meaning(np.array([[0, 255]], np.uint8)).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_several_values_are_one_class(dtype):
    stored = np.array([[0, 25, 31], [27, 58, 255]], dtype)
    trousers = declared(values="*,25|27|31", classes="trousers")
    assert trousers(stored).tolist() == [[0, 1, 1], [1, 0, 0]]
    but_void = declared(values="*,25|27|31", ignore_index=255)
    assert but_void(stored).tolist() == [[0, 1, 1], [1, 0, 255]]
    named = declared(values="0|58|255,25|27,31")
    assert named(stored).tolist() == [[0, 1, 2], [1, 0, 0]]
