"""Colours and values of masks: as published, as the articles got them, and what is refused."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from safetensors.numpy import load_file

from segzoo.data.sample import Sample, checked
from segzoo.errors import DatasetError, UsageError
from segzoo.pictures import codec
from segzoo.pictures.depth import black_and_white
from segzoo.pictures.labels import (
    apply_map,
    binary,
    decode,
    default_classes,
    default_palette,
    encode,
    gray,
    judge,
    judged,
)
from segzoo.pictures.stored import read_labels

GOLDENS = Path(__file__).parent / "goldens"

# The VOC2012 development kit's example figures and its VOClabelcolormap.m.
PUBLISHED = {
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


@pytest.mark.parametrize(("index", "colour"), PUBLISHED.items())
def test_the_colours_of_pascal_voc(index, colour):
    assert default_palette(256)[index] == colour


def test_every_class_of_a_mask_has_a_colour_of_its_own():
    assert len(set(default_palette(256))) == 256
    assert default_palette(21) == default_palette(256)[:21]


def test_names_of_classes_without_a_name():
    assert default_classes(1) == ("foreground",)
    assert default_classes(3) == ("0", "1", "2")


# --- colours -> indices --------------------------------------------------------------------------

VOID = (224, 224, 192)
RGB = st.tuples(*[st.integers(0, 255)] * 3)


def golden(case):
    results = json.loads((GOLDENS / f"{case}.json").read_text("utf-8"))["results"]
    return results, load_file(GOLDENS / f"{case}.safetensors")


def test_the_article_on_voc_where_colours_are_known_and_an_error_where_not():
    _, stored = golden("labels_voc")
    mask, palette = stored["mask_rgb"], [tuple(map(int, c)) for c in stored["colormap"]]
    assert palette == list(default_palette(21))
    known = (mask[:, :, None] == stored["colormap"]).all(-1).any(-1)
    assert 0 < (~known).sum() < known.size
    found = encode(mask, palette, unknown=255)
    theirs = stored["class_index"].reshape(known.shape)
    np.testing.assert_array_equal(found[known], theirs[known])
    assert (theirs[~known] == 0).all()  # there, a colour without a class becomes class 0
    with pytest.raises(DatasetError, match="the mask has colours that stand for no class"):
        encode(mask, palette)
    np.testing.assert_array_equal(decode(found[known], palette), mask[known])


def test_void_is_ignored_where_that_is_said():
    mask = decode(np.array([[0, 20, 255]]), default_palette(256))
    found = encode(mask, default_palette(21), ignore={VOID: 255})
    assert (found.dtype, found.tolist()) == (np.uint8, [[0, 20, 255]])


def test_unknown_colours_are_listed_with_counts():
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[0, :2] = VOID
    mask[1, 1] = (255, 0, 16)
    message = (
        "a.png: the mask has colours that stand for no class; found #e0e0c0 (2 pixels), "
        "#ff0010 (1 pixel), expected the 21 colours of the palette. "
        "Give the palette of these masks; a lossy JPEG cannot hold labels"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        encode(mask, default_palette(21), file="a.png")


def test_many_unknown_colours_are_counted_not_listed():
    mask = np.arange(3 * 100, dtype=np.uint8).reshape(10, 10, 3)
    with pytest.raises(DatasetError, match=r"\(1 pixel\) and 92 more, expected the 1 colour"):
        encode(mask, [(9, 9, 9)])


def test_one_colour_for_two_classes_cannot_be_read_backwards():
    with pytest.raises(UsageError, match="found #010203 for 0 and 2"):
        encode(np.zeros((1, 1, 3), np.uint8), [(1, 2, 3), (4, 5, 6), (1, 2, 3)])
    with pytest.raises(UsageError, match="found #010203 for 0 and 255"):
        encode(np.zeros((1, 1, 3), np.uint8), [(1, 2, 3)], ignore={(1, 2, 3): 255})


@given(st.lists(RGB, min_size=1, max_size=40, unique=True), st.data())
def test_colours_and_indices_both_ways(palette, data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    indices = data.draw(arrays(np.uint8, shape, elements=st.integers(0, len(palette) - 1)))
    np.testing.assert_array_equal(encode(decode(indices, palette), palette), indices)
    other = data.draw(RGB.filter(lambda colour: colour not in palette))
    mask = decode(indices, palette)
    mask[0, 0] = other
    with pytest.raises(DatasetError, match="#{:02x}{:02x}{:02x} ".format(*other)):
        encode(mask, palette)
    assert encode(mask, palette, unknown=255)[0, 0] == 255


def test_pillow_paints_the_same_picture():
    indices = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    im = Image.fromarray(indices)
    im.putpalette(np.array(default_palette(256), np.uint8).tobytes())
    np.testing.assert_array_equal(decode(indices, default_palette(256)), im.convert("RGB"))
    np.testing.assert_array_equal(
        encode(np.asarray(im.convert("RGB")), default_palette(256)), indices
    )


def test_indices_beyond_a_byte():
    palette = [(n >> 8, n & 255, 7) for n in range(1000)]
    indices = np.arange(1000).reshape(20, 50)
    found = encode(decode(indices, palette), palette)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, indices)


@pytest.mark.parametrize(
    ("indices", "message"), [([[3]], "indices 3 to 3, expected 0 to 1"), ([[-1, 0]], "-1 to 0")]
)
def test_an_index_without_a_colour(indices, message):
    with pytest.raises(UsageError, match=f"the palette does not fit the mask; found .*{message}"):
        decode(np.array(indices), [(0, 0, 0), (9, 9, 9)])


# --- values -> indices ---------------------------------------------------------------------------


def test_the_article_on_digits_where_labels_are_known_and_an_error_where_not():
    results, stored = golden("labels_digit")
    annotation, cuboid = stored["annotation"], stored["cuboid"]
    known = cuboid.sum(-1) == 1
    assert (~known).sum() == results["unknown_pixels"]  # all-zero rows there
    mapping = {value: value for value in range(11)}
    np.testing.assert_array_equal(apply_map(annotation[known], mapping), cuboid[known].argmax(-1))
    with pytest.raises(DatasetError, match="the target holds values that are no class; found 1"):
        judge(annotation[1], num_classes=11)
    with pytest.raises(DatasetError, match=r"values that the map does not name; found 1[12] \("):
        apply_map(annotation, mapping)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_a_map_is_followed_value_by_value(dtype):
    mapping = {0: 255, 1: 0, 2: 1, 7: 1, 33: 18}
    values = np.random.default_rng(0).choice(list(mapping), (20, 30)).astype(dtype)
    found = apply_map(values, mapping)
    assert found.dtype == np.uint8
    assert found.tolist() == [[mapping[int(v)] for v in row] for row in values]


def test_negative_and_large_values_are_mapped():
    assert apply_map(np.array([[-1, 70000]]), {-1: 255, 70000: 300}).tolist() == [[255, 300]]


@pytest.mark.parametrize("value", [-(2**63), -2, 2, 6, 8, 2**63 - 1])
def test_a_value_that_the_map_lacks(value):
    message = (
        f"a.png: the mask holds values that the map does not name; found {value} (1 pixel), "
        "expected -1, 5, 7. "
        "Give every stored value in values=, or the one to ignore in ignore_index="
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        apply_map(np.array([[5, value, 7]]), {-1: 0, 5: 1, 7: 2}, file="a.png")


def test_the_ignored_value_stays():
    assert apply_map(np.array([[0, 255, 9]]), {0: 0, 255: 1}, ignore_index=9).tolist() == [
        [0, 1, 9]
    ]
    assert apply_map(np.array([[9]]), {9: 1}, ignore_index=9).tolist() == [[1]]


def test_gray_pictures_hold_values_and_colours_do_not():
    values = np.array([[0, 3], [255, 1]], np.uint8)
    np.testing.assert_array_equal(gray(values), values)
    np.testing.assert_array_equal(gray(np.stack([values] * 3, axis=2)), values)


# --- M1: values outside the classes --------------------------------------------------------------


def antialiased():
    """A disc drawn with smooth edges and saved as JPEG."""
    y, x = np.ogrid[:64, :64]
    distance = np.hypot(y - 32, x - 32)
    disc = (np.clip(20.5 - distance, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(disc).save(file, "JPEG", quality=75)
    return read_labels(file.getvalue()).values


ASK = "Give the right number of classes, or their stored values in their order: values=A,B,C"
M1 = [
    pytest.param(
        [[0, 7], [7, 2]], 3, None, "found 7 (2 pixels), expected 0 to 2. " + ASK, id="M1-7"
    ),
    pytest.param(
        [[0, 300], [-1, -1]],
        2,
        255,
        "found -1 (2 pixels), 300 (1 pixel), expected 0 to 1, or 255, which is ignored. " + ASK,
        id="M1-beyond",
    ),
    pytest.param(
        [[0, 1], [255, 2]],
        3,
        None,
        "found 255 (1 pixel), expected 0 to 2. If 255 does not count, say ignore_index=255",
        id="M1-255",
    ),
    pytest.param(
        [[0, -1], [1, 1]],
        2,
        None,
        "found -1 (1 pixel), expected 0 to 1. If -1 does not count, say ignore_index=-1",
        id="M1-negative",
    ),
    pytest.param(
        [[0, 255], [255, 255]],
        2,
        None,
        "found 255 (3 pixels), expected 0 to 1. Masks of black and white: say values=0,255",
        id="M1-black-and-white",
    ),
    pytest.param(
        [[1, 2], [3, 3]],
        3,
        None,
        "found 3 (2 pixels), expected 0 to 2. "
        "If the classes are stored from 1 on, say so: values=1,2,3 and so on",
        id="M1-from-1",
    ),
    pytest.param(
        [[0, 2]], 1, None, "found 2 (1 pixel), expected 0 to 1. " + ASK, id="M1-one-class"
    ),
    pytest.param(
        [[[0, 1]], [[2, 0]]],
        2,
        None,
        "found 2 (1 pixel), expected 0 to 1. " + ASK,
        id="M1-maps",
    ),
]


@pytest.mark.parametrize(("target", "num_classes", "ignore_index", "message"), M1)
def test_values_that_are_no_class(target, num_classes, ignore_index, message):
    message = f"a.png: the target holds values that are no class; {message}"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        judge(np.array(target), num_classes=num_classes, ignore_index=ignore_index, file="a.png")


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_m1_a_lossy_or_smoothed_mask(num_classes):
    message = (
        "A mask that was compressed with loss, or smoothed? If it is black and white, say "
        "threshold=128"
    )
    with pytest.raises(DatasetError, match=rf" and \d+ more, .*\. {re.escape(message)}$"):
        judged(antialiased(), num_classes=num_classes, file="a.jpg")


def test_m1_a_mask_of_floats():
    target = np.array([[0.0, 0.5]], np.float32)
    sample = Sample(image=np.zeros((1, 2, 3), np.uint8), target=target, id="a.npy")
    message = (
        "a.npy: target has a wrong type or shape; found float32 (1, 2), "
        "expected integers (H, W), or (K, H, W)"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        checked(sample)


def test_m1_a_mask_of_colours():
    mask = np.zeros((2, 2, 3), np.uint8)
    mask[0, 0] = (255, 0, 0)
    message = (
        "a.png: the mask is a picture in colours; found #000000 (3 pixels), #ff0000 (1 pixel), "
        "expected values of classes. "
        "Say what the colours mean: palette=#000000,#ff0000 in the order of classes"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        gray(mask, file="a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
@pytest.mark.parametrize(
    ("target", "num_classes", "ignore_index"),
    [
        ([[0, 1, 2]], 3, None),
        ([[0, 255, 2]], 3, 255),
        ([[0, 1]], 1, None),
        ([[1, 1]], 1, None),
        ([[0, 9]], 1, 9),
        ([[[0, 1]], [[1, 1]]], 2, None),
        ([[[0, 255]], [[1, 1]]], 2, 255),
    ],
)
def test_values_that_are_classes(target, num_classes, ignore_index, dtype):
    target = np.array(target, dtype)
    assert judged(target, num_classes=num_classes, ignore_index=ignore_index) is target


def test_a_target_of_maps_has_one_for_each_class():
    with pytest.raises(DatasetError, match="not one map for each class; found 2 maps, expected 3"):
        judge(np.zeros((2, 4, 4), np.uint8), num_classes=3)


# --- one class: 0 and 255, as predictions are written --------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize(
    ("written", "ignore_index", "meant"),
    [
        ([[0, 255]], None, [[0, 1]]),
        ([[255, 255]], None, [[1, 1]]),
        ([[0, 0]], None, [[0, 0]]),
        ([[0, 1]], None, [[0, 1]]),
        ([[0, 128, 255]], 128, [[0, 128, 1]]),
        ([[0, 1, 255]], 255, [[0, 1, 255]]),
        ([[0, 255]], 255, [[0, 255]]),
        ([[0, 1, 255]], 1, [[0, 1, 1]]),
    ],
)
def test_a_mask_of_one_class(written, ignore_index, meant, dtype):
    written = np.array(written, dtype)
    found = binary(written, ignore_index)
    assert found.dtype == dtype
    assert found.tolist() == meant


def test_what_predict_writes_is_read_back():
    mask = np.random.default_rng(0).random((9, 7)) > 0.5
    written = read_labels(codec.encode(black_and_white(mask))).values
    np.testing.assert_array_equal(judged(written, num_classes=1), mask)


def test_a_mask_of_1_and_255_is_not_guessed():
    message = (
        "a.png: the mask holds both 1 and 255; found 0 (2 pixels), 1 (1 pixel), 255 (1 pixel), "
        "expected 0 and 1, or 0 and 255. If 255 does not count, say ignore_index=255"
    )
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        judged(np.array([[0, 1, 0, 255]]), num_classes=1, file="a.png")


def test_other_values_beside_255_are_left_for_the_judge():
    target = np.array([[0, 17, 255]])
    assert binary(target) is target
    with pytest.raises(DatasetError, match=r"found 17 \(1 pixel\), 255 \(1 pixel\)"):
        judged(target, num_classes=1)
