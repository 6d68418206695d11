"""Less than a whole picture: JPEGs decoded smaller, maps that are never there as a whole."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segzoo.errors import PictureError, UsageError
from segzoo.pictures import codec
from segzoo.pictures.resample import enlarged_rows, resize
from segzoo.predict import outputs
from segzoo.predict.predictor import Predictor
from segzoo.predict.preprocess import Geometry, Maps, enough, mask_of, prepare
from segzoo.spec import Postprocess, Preprocess


def waves(height, width):
    """(H, W, 3) smooth, and nowhere the same."""
    y, x = np.mgrid[:height, :width]
    values = 128 + 100 * np.sin(3 * y / height) * np.cos(4 * x / width)
    return np.dstack([values, 255 * x / width, 255 * y / height]).astype(np.uint8)


def jpeg(image, **options):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=95, **options)
    return content.getvalue()


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_decoded_smaller(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = jpeg(waves(400, 803), exif=exif.tobytes())
    whole = codec.read(content)
    picture = codec.read(content, enough=tuple(side // 4 for side in whole.size))
    assert picture.size == whole.size == picture.reduced_from
    assert picture.image.shape[:2] == tuple(-(-side // 4) for side in whole.size)
    shown = np.asarray(Image.fromarray(whole.image).reduce(4), float)
    assert np.abs(shown - picture.image).mean() < 3


@pytest.mark.parametrize(
    ("least", "size"),
    [((51, 51), (200, 200)), ((50, 50), (50, 50)), ((401, 1), (400, 400)), ((1, 1), (50, 50))],
)
def test_it_is_never_smaller_than_is_enough(least, size):
    size = (100, 100) if least == (51, 51) else size
    picture = codec.read(jpeg(waves(400, 400)), enough=least)
    assert picture.image.shape[:2] == size
    assert (picture.reduced_from is None) == (size == (400, 400))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_whole(format):
    content = io.BytesIO()
    Image.fromarray(waves(64, 64)).save(content, format)
    picture = codec.read(content.getvalue(), enough=(8, 8))
    assert picture.image.shape == (64, 64, 3)
    assert picture.reduced_from is None


def test_a_jpeg_that_is_cut_short_is_refused_at_any_size():
    content = jpeg(waves(400, 400))
    for length in range(len(content) // 4, len(content) - 2, len(content) // 7):
        with pytest.raises(PictureError):
            codec.read(content[:length], enough=(50, 50))


def test_what_is_enough():
    assert enough(Preprocess(size=(30, 40), resize="stretch")) == (60, 80)
    assert enough(Preprocess()) is None
    at_points = Preprocess(size=(3, 4), resize="stretch", interpolation="nearest", antialias="none")
    assert enough(at_points) is None


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("antialias", ["none", "triangle"])
def test_the_network_sees_the_same(resize, antialias):
    """Also where the sides are no multiples of 8, so that the last pixels stand for less."""
    preprocess = Preprocess(size=(32, 32), resize=resize, antialias=antialias)
    content = jpeg(waves(809, 1001))
    whole = codec.read(content)
    less = codec.read(content, enough=enough(preprocess))
    assert less.image.shape == (102, 126, 3)
    x, geometry = prepare(whole, preprocess, 3)
    found, other = prepare(less, preprocess, 3)
    assert other == geometry
    assert np.abs(found - x).max() < 0.012


# --- maps ----------------------------------------------------------------------------------------

POSTPROCESSES = [
    Postprocess(),
    Postprocess(threshold=0.9),
    Postprocess(threshold=1.0),
    Postprocess(normalize="minmax"),
    Postprocess(activation="none", normalize="minmax"),
    Postprocess(activation="none", threshold=0.0),
    Postprocess(resize="levels"),
    Postprocess(activation="softmax", threshold=None),
    Postprocess(activation="softmax", threshold=0.4),
]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(POSTPROCESSES),
    st.integers(1, 3),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 200), st.integers(1, 60)),
    st.sampled_from([0.0, 0.5, 30.0, 1000.0]),
    st.integers(0, 9),
)
def test_a_mask_is_that_of_the_probabilities(postprocess, num_classes, small, size, loud, seed):
    logits = np.random.default_rng(seed).standard_normal((num_classes, *small)) * loud
    geometry = Geometry(size, small, (0, 0), small)
    maps = Maps(logits.astype(np.float32), geometry, postprocess)
    likely = maps.probability()
    assert likely.shape == (num_classes, *size)
    assert likely.min() >= 0
    assert likely.max() <= 1
    np.testing.assert_array_equal(maps.mask(), mask_of(likely, postprocess))
    tops, rows = zip(*maps.rows(), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows, axis=1), likely)
    assert [*tops] == [sum(part.shape[1] for part in rows[:n]) for n in range(len(rows))]


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
)
def test_rows_of_a_map_are_those_of_the_whole(small, size):
    maps = np.random.default_rng(0).random((2, *small), np.float32)
    expected = resize(maps, size, axes=(1, 2))
    found, place = [], 0
    for top, rows in enlarged_rows(maps, size):
        assert top == place
        place += len(rows)
        found.append(rows)
    whole = np.moveaxis(np.concatenate(found), 1, 0)
    np.testing.assert_allclose(whole, expected, atol=2e-6)


# --- predictors ----------------------------------------------------------------------------------


def bright(x, *, all_heads=False):
    return (30 * (x.mean(axis=1, keepdims=True) - np.float32(0.5)),)


PREDICTOR = Predictor(
    bright,
    preprocess=Preprocess(size=(32, 32), resize="stretch"),
    postprocess=Postprocess(),
    in_channels=3,
    num_classes=1,
)


def test_a_prediction_without_pixels_has_the_pictures_size():
    content = jpeg(waves(811, 1003))
    ((_, whole),) = PREDICTOR.stream([content])
    ((_, less),) = PREDICTOR.stream([content], pixels=False)
    assert whole.picture.image.shape == (811, 1003, 3)
    assert less.picture.image.shape == (102, 126, 3)
    assert less.mask.shape == less.probability.shape == (811, 1003)
    assert np.abs(less.probability - whole.probability).mean() < 0.005
    outputs.encode(outputs.mask(less))
    for kind in outputs.SHOWING:
        with pytest.raises(UsageError, match=r"decoded smaller.*\(102, 126\) of \(811, 1003\)"):
            outputs.render(kind, less)


def test_kinds_that_show_nothing_of_the_picture_are_the_same_without_it():
    image = waves(50, 40)
    ((_, whole),), ((_, less),) = (PREDICTOR.stream([image], pixels=p) for p in (True, False))
    for kind in {*outputs.KINDS} - outputs.SHOWING:
        assert outputs.encode(outputs.render(kind, less)) == outputs.encode(
            outputs.render(kind, whole)
        )
