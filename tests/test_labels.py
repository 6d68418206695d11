"""The colours of classes against those that PASCAL VOC publishes."""

import pytest

from segzoo.labels import default_classes, default_palette

# The VOC2012 development kit's example figures and its VOClabelcolormap.m.
VOC = {
    0: (0, 0, 0),  # background
    1: (128, 0, 0),  # aeroplane
    2: (0, 128, 0),  # bicycle
    3: (128, 128, 0),  # bird
    4: (0, 0, 128),  # boat
    5: (128, 0, 128),  # bottle
    6: (0, 128, 128),  # bus
    7: (128, 128, 128),  # car
    8: (64, 0, 0),  # cat
    9: (192, 0, 0),  # chair
    10: (64, 128, 0),  # cow
    11: (192, 128, 0),  # dining table
    12: (64, 0, 128),  # dog
    13: (192, 0, 128),  # horse
    14: (64, 128, 128),  # motorbike
    15: (192, 128, 128),  # person
    16: (0, 64, 0),  # potted plant
    17: (128, 64, 0),  # sheep
    18: (0, 192, 0),  # sofa
    19: (128, 192, 0),  # train
    20: (0, 64, 128),  # tv or monitor
    255: (224, 224, 192),  # the border, which is not judged
}


@pytest.mark.parametrize(("index", "colour"), VOC.items())
def test_the_colours_of_pascal_voc(index, colour):
    assert default_palette(256)[index] == colour


def test_every_class_of_a_mask_has_a_colour_of_its_own():
    assert len(set(default_palette(256))) == 256
    assert default_palette(21) == default_palette(256)[:21]


def test_names_of_classes_without_a_name():
    assert default_classes(1) == ("foreground",)
    assert default_classes(3) == ("0", "1", "2")
