"""The tables of data sets against torchvision's, the files that publish them, and common sense."""

import colorsys
import hashlib

import numpy as np
import pytest
from segzoo_digit_unet import spec as digit_unet
from torchvision.datasets import Cityscapes
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from segzoo.pictures import palettes
from segzoo.pictures.labels import decode, default_palette, encode
from segzoo.pictures.palettes import TABLES

INVERTIBLE = sorted(
    name
    for name, table in TABLES.items()
    if table.palette and name not in ("ade20k", "cityscapes_ids")
)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_whole(table):
    count = len(table.classes)
    assert len({*table.classes}) == count
    assert len(table.palette) in (0, count)
    assert all(type(v) is int and 0 <= v <= 255 for colour in table.palette for v in colour)
    meant = {*range(count), table.ignore_index} - {None}
    assert {*table.values.values(), *table.colours.values()} <= meant
    if table.values:
        assert {*range(count)} <= {*table.values.values()}
    assert not {*table.colours} & {*table.palette}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_colours_are_read_back(name):
    table = TABLES[name]
    indices = np.arange(len(table.classes))[None]
    np.testing.assert_array_equal(
        encode(decode(indices, table.palette), table.palette, ignore=table.colours), indices
    )


def test_voc():
    theirs = FCN_ResNet50_Weights.DEFAULT.meta["categories"]
    assert palettes.VOC.classes == ("background", *theirs[1:])
    assert palettes.VOC.palette == default_palette(21)
    assert palettes.VOC.colours == {default_palette(256)[255]: 255}


def test_coco():
    """torchvision lists 91 places, and "N/A" where no category is."""
    theirs = MaskRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    table = palettes.COCO
    assert len(theirs) == 91
    assert len(table.classes) == 1 + 80
    assert {id: table.classes[index] for id, index in table.values.items() if id} == {
        id: name for id, name in enumerate(theirs) if id and name != "N/A"
    }
    assert table.values[0] == table.classes.index("background") == 0


def test_cityscapes():
    ids, trained = palettes.CITYSCAPES_IDS, palettes.CITYSCAPES
    assert len(trained.classes) == 19
    for theirs in Cityscapes.classes:
        if theirs.id >= 0:
            assert ids.classes[theirs.id] == theirs.name
            assert ids.palette[theirs.id] == theirs.color
        index = trained.values[theirs.id]
        if theirs.train_id in (-1, 255):
            assert index == trained.ignore_index
        else:
            assert index == theirs.train_id
            assert (trained.classes[index], trained.palette[index]) == (theirs.name, theirs.color)
    assert set(trained.values) == {theirs.id for theirs in Cityscapes.classes} == {*range(-1, 34)}


def test_ade20k():
    """The sha256 are of the names and of the colours in the benchmark's two .mat files."""
    table = palettes.ADE20K
    names = hashlib.sha256(",".join(table.classes).encode()).hexdigest()
    colours = hashlib.sha256(np.array(table.palette, np.uint8).tobytes()).hexdigest()
    assert names == "ef7fb71fc40a78c893e6f992bbad8f49abecf79a42e655f21032bcac90ec8bef"
    assert colours == "ce475c9151035eff51f4cf27fd7d906959b1480f6d15b9423ae2417c1b23a0ed"
    assert table.values == {0: 255} | {v: v - 1 for v in range(1, 151)}


def test_camvid():
    original, grouped = palettes.CAMVID_32, palettes.CAMVID
    assert (len(original.classes) + len(original.colours), len(grouped.classes)) == (32, 11)
    every = dict(zip(original.classes, original.palette, strict=True))
    whole = {**dict(zip(grouped.palette, range(11), strict=True)), **grouped.colours}
    assert set(whole) == {*every.values(), (0, 0, 0)}  # each colour is in one group
    members = {
        name: {label for label, colour in every.items() if whole[colour] == index}
        for index, name in enumerate(grouped.classes)
    }
    assert members["Car"] == {"Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"}
    assert members["Sky"] == {"Sky"}
    assert members["Pavement"] == {"Sidewalk", "ParkingBlock", "RoadShoulder"}
    assert [index for colour, index in whole.items() if colour == (0, 0, 0)] == [255]
    assert grouped.values == {**{v: v for v in range(11)}, 11: 255}  # as SegNet stores them


def test_indoors():
    nyu, sun = palettes.NYUDV2, palettes.SUNRGBD
    assert (len(nyu.classes), len(sun.classes)) == (40, 37)
    spelled = {"refridgerator": "fridge", "television": "tv"}
    assert sun.classes == tuple(spelled.get(n, n.replace(" ", "_")) for n in nyu.classes[:37])
    assert nyu.classes[37:] == ("otherstructure", "otherfurniture", "otherprop")
    for table in (nyu, sun):
        assert table.values == {0: 255} | {v: v - 1 for v in range(1, len(table.classes) + 1)}


def test_pets():
    table = palettes.OXFORD_PET
    meant = {value: table.classes[index] for value, index in table.values.items()}
    assert meant == {1: "foreground", 2: "background", 3: "border"}


def test_the_digits_colours_are_those_that_their_words_say():
    """The article names them in words; as blue, green, red its numbers would be other colours."""
    table = palettes.DIGITS
    named = dict(zip(table.classes, table.palette, strict=True))
    assert table.classes == digit_unet.CLASSES
    assert table.palette == digit_unet.PALETTE

    def hue(digit):  # in degrees: red 0, yellow 60, blue 240, purple 300
        return 360 * colorsys.rgb_to_hsv(*(v / 255 for v in named[digit]))[0]

    assert hue("0") == pytest.approx(300)  # purplish red
    assert hue("6") == pytest.approx(60)  # yellow
    assert hue("8") == pytest.approx(240)  # dark blue
    assert named["8"] == (0, 0, 255)
    assert named["background"] == (0, 255, 255)  # light blue
