"""Masks, cut-outs, overlays: the pictures that a person gets, checked pixel by pixel."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from segzoo.errors import PictureError, UsageError
from segzoo.pictures.codec import Picture, read
from segzoo.pictures.labels import default_palette
from segzoo.predict import outputs
from segzoo.predict.outputs import KINDS, Box, background_of, encode, render, subject_box
from segzoo.predict.prediction import Prediction
from segzoo.predict.preprocess import NO_CLASS

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RGB = ("red", "green", "blue")


def noise(height, width, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def one_class(probability, *, threshold=0.5, **picture):
    probability = np.array(probability, np.float32)
    picture.setdefault("image", noise(*probability.shape))
    mask = (probability > threshold).astype(np.uint8) * np.uint8(255)
    return Prediction(mask=mask, maps=probability[None], picture=Picture(**picture))


def several(mask, *, classes=(), num_classes=3, sure=0.8, **picture):
    """Every pixel is its class with probability `sure`; the others share the rest."""
    mask = np.array(mask, np.uint8)
    rest = (1 - sure) / (num_classes - 1)
    likely = np.full((num_classes, *mask.shape), rest, np.float32)
    for index in range(num_classes):
        likely[index][mask == index] = sure
    picture.setdefault("image", noise(*mask.shape))
    return Prediction(mask=mask, maps=likely, picture=Picture(**picture), classes=classes)


def decoded(output):
    return Image.open(io.BytesIO(encode(output)))


# --- each kind -----------------------------------------------------------------------------------


def test_a_mask_of_one_class_is_black_and_white():
    im = decoded(outputs.mask(one_class([[0.2, 0.9], [0.5, 0.6]])))
    assert im.mode == "L"
    assert np.asarray(im).tolist() == [[0, 255], [0, 255]]


def test_a_mask_of_several_classes_holds_their_indices_in_their_colours():
    prediction = several([[0, 1], [2, 1]])
    im = decoded(outputs.mask(prediction))
    assert im.mode == "P"
    assert np.asarray(im).tolist() == [[0, 1], [2, 1]]
    assert np.asarray(im.convert("RGB"))[1].tolist() == [[0, 128, 0], [128, 0, 0]]
    own = ((9, 9, 9), (1, 2, 3), (4, 5, 6))
    im = decoded(outputs.mask(prediction, own))
    assert np.asarray(im).tolist() == [[0, 1], [2, 1]]
    assert np.asarray(im.convert("RGB")).tolist() == [
        [[9, 9, 9], [1, 2, 3]],
        [[4, 5, 6], [1, 2, 3]],
    ]


def test_where_no_class_was_taken_a_mask_is_255():
    prediction = several([[0, NO_CLASS]])
    im = decoded(outputs.mask(prediction, ((1, 1, 1), (2, 2, 2), (3, 3, 3))))
    assert np.asarray(im).tolist() == [[0, 255]]
    assert np.asarray(im.convert("RGB")).tolist() == [[[1, 1, 1], [224, 224, 192]]]


def test_a_cutout_is_the_picture_as_opaque_as_it_is_likely():
    likely = np.array([[0.0, 0.001, 0.25], [0.5, 0.75, 1.0]])
    prediction = one_class(likely, icc_profile=SRGB, dpi=(300.0, 150.0))
    im = decoded(outputs.cutout(prediction, edges="raw"))
    assert im.mode == "RGBA"
    values = np.asarray(im)
    assert values[..., 3].tolist() == [[0, 0, 64], [128, 191, 255]]
    kept = values[..., 3] > 0
    np.testing.assert_array_equal(values[kept, :3], prediction.picture.image[kept])
    assert (values[~kept] == 0).all()  # what is removed is not there to be brought back
    assert im.info["icc_profile"] == SRGB
    np.testing.assert_allclose(im.info["dpi"], (300, 150), atol=0.02)


def test_what_was_transparent_stays_so():
    alpha = np.array([[0, 128, 255]], np.uint8)
    cutout = outputs.cutout(one_class([[1.0, 0.5, 1.0]], alpha=alpha))
    assert cutout.image[..., 3].tolist() == [[0, 64, 255]]


@pytest.mark.parametrize(
    ("mask", "classes", "alpha"),
    [
        ([[0, 1, 2]], (), [[51, 230, 230]]),  # 255 * (1 - 0.8), 255 * (1 - 0.1)
        ([[0, 1, 2]], ("cat", "background", "dog"), [[230, 51, 230]]),
        ([[0, 1, 2]], RGB, [[204, 204, 204]]),  # no background: 255 * 0.8
    ],
)
def test_a_cutout_of_several_classes_is_all_but_the_background(mask, classes, alpha):
    cutout = outputs.cutout(several(mask, classes=classes))
    # 229.5 lies between two values
    np.testing.assert_allclose(cutout.image[..., 3].astype(int), alpha, atol=1)


def test_a_cutout_on_a_colour_is_what_pillow_makes_of_it():
    rng = np.random.default_rng(5)
    prediction = one_class(rng.random((31, 17)), icc_profile=SRGB, dpi=(72.0, 72.0))
    on_colour = render("cutout", prediction, background=(10, 200, 30))
    assert on_colour.image.shape == (31, 17, 3)
    below = Image.new("RGBA", (17, 31), (10, 200, 30, 255))
    below.alpha_composite(decoded(outputs.cutout(prediction)))
    np.testing.assert_allclose(
        on_colour.image.astype(int), np.asarray(below.convert("RGB")).astype(int), atol=1
    )
    assert (on_colour.icc_profile, on_colour.dpi) == (SRGB, (72.0, 72.0))


def test_a_background_picture_covers_and_is_cut_evenly():
    prediction = one_class(np.zeros((10, 10)))
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200  # its middle third is square
    image = render("cutout", prediction, background=wide).image
    assert image.shape == (10, 10, 3)
    assert (image[:, 2:-2] == 200).all()
    np.testing.assert_array_equal(image, np.asarray(ImageOps.fit(Image.fromarray(wide), (10, 10))))


def test_color_of_one_class():
    prediction = one_class([[0.1, 0.9]])
    assert outputs.color(prediction).image.tolist() == [[[0, 0, 0], list(outputs.FOREGROUND)]]
    assert outputs.color(prediction, ((1, 2, 3),)).image.tolist() == [[[0, 0, 0], [1, 2, 3]]]


def test_color_of_several_classes():
    colours = outputs.color(several([[0, 1], [2, NO_CLASS]])).image
    assert colours.tolist() == [[[0, 0, 0], [128, 0, 0]], [[0, 128, 0], [224, 224, 192]]]


def test_an_overlay_tints_what_was_found_and_outlines_it():
    likely = np.zeros((9, 9))
    likely[2:7, 2:7] = 1
    prediction = one_class(likely, dpi=(90.0, 90.0), icc_profile=SRGB)
    output = outputs.overlay(prediction, ((255, 0, 0),))
    before, after = prediction.picture.image, output.image
    outside = likely == 0
    np.testing.assert_array_equal(after[outside], before[outside])
    inside = np.zeros((9, 9), bool)
    inside[3:6, 3:6] = True
    outline = ~outside & ~inside
    assert (after[outline] == (255, 0, 0)).all()
    part = outputs.TINT / 255
    expected = before[inside] * (1 - part) + np.array([255, 0, 0]) * part
    np.testing.assert_allclose(after[inside], expected, atol=1)
    assert (output.icc_profile, output.dpi) == (SRGB, (90.0, 90.0))


def test_an_overlay_outlines_classes_that_touch_and_leaves_the_background():
    mask = np.zeros((5, 8), np.uint8)
    mask[:, 2:5], mask[:, 5:] = 1, 2
    prediction = several(mask)
    after = outputs.overlay(prediction, ((0, 0, 0), (250, 0, 0), (0, 0, 250))).image
    np.testing.assert_array_equal(after[:, :2], prediction.picture.image[:, :2])
    assert (after[:, [2, 4]] == (250, 0, 0)).all()
    assert (after[:, 5] == (0, 0, 250)).all()
    assert not (after[:, [3, 6, 7]] == (250, 0, 0)).all(axis=2).any()


def test_an_outline_is_wider_on_a_large_picture():
    likely = np.zeros((800, 900))
    likely[100:700, 100:800] = 1
    after = outputs.overlay(one_class(likely), ((255, 0, 0),)).image
    assert (after[100:104, 100:800] == (255, 0, 0)).all()  # 800 / LINES = 4
    assert not (after[104, 104:796] == (255, 0, 0)).all(axis=1).any()


def test_the_probability_has_16_bits():
    im = decoded(outputs.probability(one_class([[0.0, 0.5, 1.0]])))
    assert im.mode == "I;16"
    assert np.asarray(im).tolist() == [[0, 32768, 65535]]


def test_the_probability_of_several_classes_is_the_likeliest_ones():
    values = np.asarray(decoded(outputs.probability(several([[0, 1], [2, 2]], sure=0.6))))
    assert values.tolist() == [[39321] * 2] * 2  # 0.6 * 65535


# --- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "box"),
    [
        (one_class([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]]), Box(1, 1, 3, 3)),
        (one_class([[1, 0], [0, 1]]), Box(0, 0, 2, 2)),
        (one_class([[0, 0], [0, 0]]), None),
        (several([[0, 0, 0], [0, 0, 2]]), Box(1, 2, 2, 3)),
        (several([[0, NO_CLASS], [0, 0]]), None),
        (several([[0, 1]], classes=("cat", "background", "dog")), Box(0, 0, 1, 1)),
        (several([[0, 1]], classes=RGB), Box(0, 0, 1, 2)),
    ],
)
def test_the_box_around_what_was_found(prediction, box):
    assert subject_box(prediction) == box


@pytest.mark.parametrize("kind", KINDS)
def test_cropped_outputs_are_parts_of_the_whole(kind):
    prediction = one_class(np.random.default_rng(0).random((12, 10)))
    whole = render(kind, prediction)
    part = render(kind, prediction, box=Box(2, 3, 9, 10))
    np.testing.assert_array_equal(part.image, whole.image[2:9, 3:10])
    assert decoded(part).size == (7, 7)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    num_classes=st.integers(1, 4),
    alpha=st.booleans(),
    data=st.data(),
)
def test_every_output_can_be_written_at_the_pictures_size(size, num_classes, alpha, data):
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    opacity = rng.integers(0, 256, size, np.uint8) if alpha else None
    if num_classes == 1:
        prediction = one_class(rng.random(size), alpha=opacity)
    else:
        mask = rng.choice([*range(num_classes), NO_CLASS], size)
        prediction = several(mask, num_classes=num_classes, alpha=opacity)
    for kind in KINDS:
        assert decoded(render(kind, prediction)).size == size[::-1]
    assert render("cutout", prediction, background=(1, 2, 3)).image.shape == (*size, 3)


# --- backgrounds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#ffcc00", (255, 204, 0)),
        ("#fc0", (255, 204, 0)),
        ("rgb(0, 128, 0)", (0, 128, 0)),
        ("#01020304".replace("04", "ff"), (1, 2, 3)),
    ],
)
def test_a_background_colour(text, colour):
    assert background_of(text) == colour


def test_a_background_picture_is_laid_on_white_where_it_is_transparent(tmp_path):
    file = tmp_path / "wall.png"
    Image.fromarray(np.array([[[9, 8, 7, 255], [9, 8, 7, 0]]], np.uint8)).save(file)
    assert background_of(str(file)).tolist() == [[[9, 8, 7], [255, 255, 255]]]


def test_backgrounds_that_are_none(tmp_path):
    with pytest.raises(UsageError) as caught:
        background_of("sky blue")
    assert str(caught.value) == (
        "the background 'sky blue' is neither a colour nor a file; "
        "expected #ffcc00, a name such as white, or the path of a picture"
    )
    with pytest.raises(UsageError) as caught:
        background_of("#00000080")
    assert str(caught.value) == (
        "the background '#00000080' is transparent. "
        "Leave out the background to keep the cut-out transparent"
    )
    file = tmp_path / "wall.png"
    file.write_text("hello")
    with pytest.raises(PictureError, match="not a picture that segzoo reads"):
        background_of(str(file))


def test_a_cmyk_or_gray_sources_profile_does_not_reach_a_cutout():
    content = io.BytesIO()
    profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    Image.new("L", (3, 2), 100).save(content, "PNG", icc_profile=profile)
    picture = read(content.getvalue())
    prediction = Prediction(
        mask=np.full((2, 3), 255, np.uint8),
        maps=np.ones((1, 2, 3), np.float32),
        picture=picture,
    )
    assert "icc_profile" not in decoded(outputs.cutout(prediction)).info
    assert picture.notes == ("its ICC profile is dropped: it is about GRAY, not RGB",)


def test_the_palette_of_a_mask_is_that_of_voc():
    palette = decoded(outputs.mask(several([[0, 1]]))).getpalette()
    assert palette == [value for colour in default_palette(256) for value in colour]
