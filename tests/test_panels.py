"""Sheets of pictures: where each lies, in which colours, and text that stays in its place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segzoo.data.sample import Info, Sample
from segzoo.errors import UsageError
from segzoo.pictures.codec import Picture
from segzoo.pictures.labels import default_palette
from segzoo.predict import outputs
from segzoo.predict.prediction import Prediction
from segzoo.report.panels import (
    background_class,
    coloured,
    of_samples,
    overlaid,
    palette_of,
    rgb,
    sheet,
)

PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
WHITE = [255, 255, 255]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


def box_of(picture, colour):
    """(top, left, bottom, right) of the pixels of a colour, all of which have it."""
    same = (picture == colour).all(axis=2)
    rows, columns = np.flatnonzero(same.any(axis=1)), np.flatnonzero(same.any(axis=0))
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    assert same[box[0] : box[2], box[1] : box[3]].all()
    return tuple(map(int, box))


# --- colours -------------------------------------------------------------------------------------


def test_a_target_has_the_colours_of_its_classes():
    assert coloured(np.array([[0, 1], [2, 1]]), PALETTE).tolist() == [
        [[0, 0, 0], [255, 0, 0]],
        [[0, 0, 255], [255, 0, 0]],
    ]


def test_a_class_beyond_the_palette_has_a_colour_too():
    image = coloured(np.array([[2, 3, 300]], np.uint16), PALETTE[:1])
    assert image[0].tolist() == [list(default_palette(301)[index]) for index in (2, 3, 300)]


def test_ignored_pixels_are_striped_in_grays_that_no_class_has():
    target = np.zeros((80, 80), np.uint8)
    target[40:] = 255
    image = coloured(target, PALETTE, ignore_index=255)
    assert (image[:40] == 0).all()
    shades = np.unique(image[40:].reshape(-1, 3), axis=0).tolist()
    assert shades == [[188] * 3, [236] * 3]
    assert (image[41:, :-1] == image[40:-1, 1:]).all()  # diagonals
    assert not {tuple(shade) for shade in shades} & {*default_palette(256)}


def test_the_ignored_index_may_be_below_0():
    image = coloured(np.array([[-1, 1]]), PALETTE, ignore_index=-1)
    assert image[0, 0].tolist() in ([188] * 3, [236] * 3) and image[0, 1].tolist() == [255, 0, 0]


def test_maps_that_overlap_mix_their_colours():
    maps = np.array([[[0, 1, 1]], [[0, 0, 1]], [[0, 0, 0]]], np.uint8)
    mixed = coloured(maps, ((200, 0, 0), (0, 100, 0), (9, 9, 9)))
    assert mixed[0].tolist() == [[0, 0, 0], [200, 0, 0], [100, 50, 0]]


def test_an_ignored_pixel_of_maps_is_ignored_in_each():
    maps = np.array([[[255, 1]], [[255, 0]]], np.uint8)
    image = coloured(maps, PALETTE, ignore_index=255)
    assert image[0, 0].tolist() in ([188] * 3, [236] * 3)
    assert image[0, 1].tolist() == [0, 0, 0]


def test_an_index_below_0_has_no_colour():
    with pytest.raises(UsageError) as caught:
        coloured(np.array([[0, -1]]), PALETTE)
    assert str(caught.value) == (
        "the palette does not fit the mask; found indices -1 to 0, expected 0 to 2"
    )


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 9))
def test_an_overlay_is_what_predict_makes_of_a_mask(height, width, seed):
    image = noise(height, width, 3, seed=seed)
    target = noise(height // 7 + 1, width // 5 + 1, seed=seed) % 3
    target = target.repeat(7, axis=0).repeat(5, axis=1)[:height, :width]
    likely = np.zeros((3, height, width), np.float32)
    prediction = Prediction(mask=target, maps=likely, picture=Picture(image))
    expected = outputs.overlay(prediction, PALETTE).image
    np.testing.assert_array_equal(overlaid(image, target, PALETTE), expected)


def test_without_a_background_every_class_is_tinted():
    image, target = plain(9, 9, 200), np.zeros((9, 9), np.uint8)
    assert (overlaid(image, target, PALETTE) == image).all()
    tinted = overlaid(image, target, PALETTE, background=None)
    assert (tinted == 106).all()  # 120 of 255 black


def test_ignored_pixels_are_striped_over_the_picture():
    image, target = plain(80, 80, 0), np.full((80, 80), 255, np.uint8)
    seen = overlaid(image, target, PALETTE, ignore_index=255)
    assert np.unique(seen).tolist() == [round(188 * 120 / 255), round(236 * 120 / 255)]


def test_an_overlay_of_maps_leaves_what_no_class_has():
    image = noise(30, 30, 3)
    maps = np.zeros((2, 30, 30), np.uint8)
    maps[1, 10:20, 10:20] = 1
    changed = (overlaid(image, maps, PALETTE) != image).any(axis=2)
    assert not changed[maps[1] == 0].any() and changed[maps[1] == 1].mean() > 0.9


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sample_of_any_channels_is_shown_in_rgb(channels):
    image = noise(4, 5, channels)
    below = Image.new("RGBA", (5, 4), "white")
    above = Image.fromarray(image.squeeze()).convert("RGBA")
    expected = np.asarray(Image.alpha_composite(below, above).convert("RGB"))
    np.testing.assert_allclose(rgb(image).astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("classes", "colours", "num_classes", "background", "palette"),
    [
        ((), (), 2, 0, ((0, 0, 0), (255, 0, 144))),
        (("cell",), (), 1, 0, ((0, 0, 0), (255, 0, 144))),
        (("a", "b"), ((1, 1, 1), (2, 2, 2)), 2, None, ((1, 1, 1), (2, 2, 2))),
        ((), (), 3, 0, default_palette(3)),
        (("a", "Background ", "c"), (), 3, 1, ((128, 0, 0), (0, 0, 0), (0, 128, 0))),
        (("a", "b", "c"), (), 3, None, ((128, 0, 0), (0, 128, 0), (128, 128, 0))),
    ],
)
def test_colours_where_none_are_given(classes, colours, num_classes, background, palette):
    info = Info(classes=classes, palette=colours)
    assert background_class(info) == background
    assert palette_of(info, num_classes) == palette


# --- the sheet -----------------------------------------------------------------------------------


def test_pictures_lie_in_columns_on_white():
    wide, narrow = noise(40, 60, 3), noise(40, 30, 3, seed=1)
    picture = sheet([(wide, narrow), (narrow, wide)], height=40)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    np.testing.assert_array_equal(picture[16:56, 16:76], wide)
    np.testing.assert_array_equal(picture[16:56, 80:110], narrow)
    np.testing.assert_array_equal(picture[64:104, 16:46], narrow)
    np.testing.assert_array_equal(picture[64:104, 80:140], wide)
    rest = picture.copy()
    rest[16:56, 16:110] = rest[64:104, 16:140] = 255
    assert (rest[:, :16] == 255).all() and (rest[56:64] == 255).all() and (rest[104:] == 255).all()


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((100, 50), (100, 50)),
        ((200, 100), (100, 50)),  # smaller
        ((30, 40), (90, 120)),  # by a whole factor, at most
        ((60, 40), (60, 40)),
        ((100, 800), (25, 200)),  # no wider than twice the height
        ((5000, 3), (100, 1)),
    ],
)
def test_the_size_of_a_picture(size, shown):
    picture = sheet([[plain(*size, (200, 0, 0))]], height=100)
    assert box_of(picture, (200, 0, 0)) == (16, 16, 16 + shown[0], 16 + shown[1])


def test_a_small_picture_is_shown_pixel_by_pixel():
    small = noise(10, 12, 3)
    picture = sheet([[small]], height=35)
    np.testing.assert_array_equal(picture[16:46, 16:52], small.repeat(3, axis=0).repeat(3, axis=1))


def test_a_shrunken_mask_has_no_halos():
    mask = plain(400, 400, 0)
    mask[100:300, 100:300] = (100, 150, 60)
    shown = sheet([[mask]], height=90)[16:106, 16:106]
    assert (shown <= (100, 150, 60)).all()


def test_rows_side_by_side():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    picture = sheet([[plain(20, 30, c)] for c in colours], height=20, across=2)
    boxes = [box_of(picture, c) for c in colours]
    assert boxes == [(16, 16, 36, 46), (16, 66, 36, 96), (44, 16, 64, 46)]
    assert picture.shape[1] == 96 + 16


def text_in(picture):
    """Which pixels are neither white nor of the red pictures."""
    return (picture != WHITE).any(axis=2) & (picture != (200, 0, 0)).any(axis=2)


def test_titles_stand_above_and_captions_below():
    rows = [[plain(40, 80, (200, 0, 0))] * 2]
    picture = sheet(rows, titles=("picture", "mask"), captions=["0001"], height=40)
    top, _, bottom, _ = box_of(picture[:, :96], (200, 0, 0))
    rows_of_text = np.flatnonzero(text_in(picture).any(axis=1))
    assert (rows_of_text < top).any() and (rows_of_text > bottom).any()
    assert not text_in(picture)[top:bottom].any()
    assert text_in(picture)[:top, 100:].any()  # the second title, over its column
    assert not text_in(picture)[bottom:, 100:].any()
    darkest = picture[text_in(picture)].max(axis=1).min()
    assert darkest < 60  # crisp


@pytest.mark.parametrize("text", ["w" * 200, "w" * 100_000, "\n" * 50, "a" + "\u0301" * 500])
def test_text_stays_in_its_column(text):
    rows = [[plain(40, 60, (200, 0, 0))] * 2] * 2
    picture = sheet(rows, titles=[text, text], captions=[text, text], height=40, across=2)
    columns = np.flatnonzero(text_in(picture).any(axis=0))
    assert columns.min() >= 15
    blocks = [(16, 140), (160, 284)]
    outside = [c for c in columns if not any(a - 1 <= c < b for a, b in blocks)]
    assert not outside
    titles = np.flatnonzero(text_in(picture)[:34].any(axis=0))
    assert not {76, 77, 78} & {*titles.tolist()}  # between the columns; a letter may lean out


def test_a_name_is_cut_in_its_middle():
    rows = [[plain(40, 60, (200, 0, 0))]]

    def shown(caption):
        return sheet(rows, captions=[caption], height=40)

    long = "0001TP_008550_leftImg8bit.png"
    cuts = [f"{long[:n]}…{long[-m:]}" for n in range(1, 15) for m in (n, n + 1)]
    assert any((shown(long) == shown(cut)).all() for cut in cuts)
    assert (shown("0001") != shown("0002")).any()


def test_a_legend_is_wrapped_and_has_every_colour():
    keys = [(f"class {n}", (250, n, 9)) for n in range(12)]
    picture = sheet([[plain(40, 200, 0)]], legend=[*keys, ("ignored", None)], height=100)
    for _, colour in keys:
        top, left, bottom, right = box_of(picture, colour)
        assert (bottom - top, right - left) == (10, 10) and top > 56
    assert (picture[-16:] == 255).all() and (picture[:, -16:] == 255).all()
    assert (picture == (188, 188, 188)).all(axis=2).sum() > 40  # the stripes of "ignored"
    assert len({box_of(picture, colour)[0] for _, colour in keys}) > 1


def test_a_key_that_is_wider_than_the_sheet_is_cut():
    picture = sheet([[plain(40, 60, 0)]], legend=[("w" * 99, (1, 2, 3))], height=40)
    assert picture.shape[1] == 16 + 60 + 16 and (picture[:, -16:] == 255).all()


@pytest.mark.parametrize("rows", [[], [[]]])
def test_a_sheet_needs_a_picture(rows):
    with pytest.raises(UsageError, match=r"^there are no pictures to show$"):
        sheet(rows)


# --- samples -------------------------------------------------------------------------------------


def of(target, **more):
    target = np.asarray(target, np.uint8)
    return Sample(image=plain(*target.shape[-2:], 128), target=target, id="a", **more)


def test_samples_have_picture_mask_and_overlay():
    target = np.zeros((40, 60), np.uint8)
    target[10:20, 10:30] = 1
    picture = of_samples([of(target)], info=Info(classes=("cell",)), ignore_index=None)
    factor = 192 // 40
    top = 16 + 22
    shown = picture[top : top + 40 * factor, 16:]
    width = 60 * factor
    assert (shown[:, :width] == 128).all()
    mask = shown[::factor, width + 4 : 2 * width + 4][:, ::factor]
    np.testing.assert_array_equal(mask, coloured(target, ((0, 0, 0), (255, 0, 144))))
    overlay = shown[::factor, 2 * (width + 4) : 3 * width + 8][:, ::factor]
    np.testing.assert_array_equal(overlay, overlaid(plain(40, 60, 128), target, PALETTE_OF_ONE))
    assert picture.shape[1] == 32 + 3 * width + 8


PALETTE_OF_ONE = ((0, 0, 0), (255, 0, 144))


def test_black_and_white_masks_without_a_word_are_of_one_class():
    declared = of_samples([of([[0, 1]] * 2)], info=Info(), ignore_index=None)
    stored = of_samples([of([[0, 255]] * 2)], info=Info(), ignore_index=None)
    np.testing.assert_array_equal(stored, declared)


def test_weights_have_a_column_if_any_sample_has_them():
    weight = np.array([[0, 0.5], [1, 2]], np.float32)
    samples = [of([[0, 1]] * 2, weight=weight), of([[0, 1]] * 2)]
    with_weights = of_samples(samples, info=Info(), ignore_index=None)
    without = of_samples(samples[1:] * 2, info=Info(), ignore_index=None)
    assert with_weights.shape[1] == without.shape[1] + 192 + 4
    column = with_weights[38 : 38 + 192 : 96, -16 - 192 : -16 : 96]
    assert column[..., 0].tolist() == [[0, 64], [128, 255]]


def test_the_legend_names_the_classes_that_occur():
    info = Info(
        classes=("a", "b", "c"), palette=((9, 0, 0), (0, 9, 0), (0, 0, 9)), ignore_index=255
    )
    some = of_samples([of([[0, 1]] * 2)], info=info, ignore_index=255)
    more = of_samples([of([[0, 255]] * 2)], info=info, ignore_index=255)
    legend = {tuple(c) for c in some[-34:].reshape(-1, 3).tolist()}
    assert {(9, 0, 0), (0, 9, 0)} <= legend and (0, 0, 9) not in legend
    assert (188, 188, 188) in {tuple(c) for c in more[-34:].reshape(-1, 3).tolist()}
