"""Pictures and label files, read in pairs."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image

from segzoo.data.paired import Pair, Paired, Reading, read_image
from segzoo.data.sample import Info, checked
from segzoo.errors import DatasetError, PictureError
from segzoo.pictures.labels import default_palette

COLOURS = Reading(in_colours=True)
RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
VALUES = RANDOM.integers(0, 4, (5, 7), dtype=np.uint8)


def paired(folder, *, image=RGB, mask=VALUES, **options):
    """One pair, of arrays or PIL images."""
    for name, picture in (("x.png", image), ("y.png", mask)):
        im = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        im.save(folder / name)
    return Paired(folder, [Pair("the id", "x.png", "y.png")], info=Info(), **options)


def with_palette(values):
    im = Image.fromarray(values)
    im.putpalette([v for colour in default_palette(256) for v in colour])
    return im


def test_a_pair_is_read_exactly(tmp_path):
    data = paired(tmp_path)
    assert len(data) == 1
    sample = checked(data[0])
    assert sample["id"] == "the id"
    np.testing.assert_array_equal(sample["image"], RGB)
    np.testing.assert_array_equal(sample["target"], VALUES)


def test_workers_can_be_handed_it(tmp_path):
    again = pickle.loads(pickle.dumps(paired(tmp_path)))
    np.testing.assert_array_equal(again[0]["target"], VALUES)


def test_the_target_is_made_of_the_stored_values(tmp_path):
    data = paired(tmp_path, mask=with_palette(VALUES), target=lambda values: values + 10)
    np.testing.assert_array_equal(data[0]["target"], VALUES + 10)


def test_the_target_is_made_of_colours_however_they_are_stored(tmp_path):
    colours = np.array(default_palette(256), np.uint8)[VALUES]
    for mask in (with_palette(VALUES), colours):
        data = paired(tmp_path, mask=mask, reading=COLOURS, target=lambda colours: colours[..., 0])
        np.testing.assert_array_equal(data[0]["target"], colours[..., 0])


def test_gray_colours_are_values(tmp_path):
    data = paired(tmp_path, mask=np.stack([VALUES] * 3, axis=2))
    np.testing.assert_array_equal(checked(data[0])["target"], VALUES)


def test_a_transparent_picture_keeps_its_alpha(tmp_path):
    alpha = RANDOM.integers(0, 255, (5, 7, 1), dtype=np.uint8)
    sample = paired(tmp_path, image=np.concatenate([RGB, alpha], axis=2))[0]
    np.testing.assert_array_equal(sample["image"], np.concatenate([RGB, alpha], axis=2))
    opaque = paired(tmp_path, image=np.concatenate([RGB, alpha | 255], axis=2))[0]
    np.testing.assert_array_equal(opaque["image"], RGB)


def test_gray_pictures_become_rgb(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.stack([VALUES] * 3, 2))
    with pytest.raises(PictureError, match="there is no such file"):
        read_image(tmp_path / "no.png")


def colours_of(values):
    return np.stack([values, values, 0 * values], axis=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"mask": colours_of(np.array([[9, 9, 0]], np.uint8))},
            "the mask is a picture in colours; found #090900 (2 pixels), #000000 (1 pixel), "
            "expected values of classes. "
            "Say what the colours mean: palette=#000000,#ff0000 in the order of classes",
            id="M1-colours",
        ),
        pytest.param(
            {"mask": np.dstack([RGB, VALUES])},
            "a picture of mode RGBA does not hold labels; expected gray values, palette indices "
            "or opaque RGB colours. Say which channel the mask is: channel=alpha, or channel=red "
            "of a gray one",
            id="M1-transparent",
        ),
        pytest.param(
            {"mask": np.dstack([RGB, VALUES]), "reading": COLOURS},
            "the mask is transparent in parts; expected opaque colours",
            id="M1-transparent-colours",
        ),
    ],
)
def test_masks_that_cannot_be_meant(options, message, tmp_path):
    data = paired(tmp_path, **options)
    with pytest.raises(DatasetError) as raised:
        data[0]
    expected = f"{tmp_path}/y.png: {message}"
    assert str(raised.value) == expected


def test_m1_a_mask_of_floats(tmp_path):
    data = paired(tmp_path)
    Image.fromarray(np.full((5, 7), 0.5, np.float32)).save(tmp_path / "y.png", "TIFF")
    with pytest.raises(DatasetError, match=r"y\.png: the mask holds fractions, not whole n"):
        data[0]


@pytest.mark.parametrize("name", ["x.png", "y.png"])
def test_files_that_cannot_be_read(name, tmp_path):
    data = paired(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=f"/{name}: the PNG is damaged in its chunk b'IDAT'"):
        data[0]
    (tmp_path / name).write_bytes(b"Dear all")
    message = "begins with b'Dear all', expected PNG, JPEG, WEBP, TIFF, BMP, GIF, PPM or AVIF$"
    with pytest.raises(DatasetError, match=f"/{name}: .*{message}"):
        data[0]
    (tmp_path / name).unlink()
    with pytest.raises(DatasetError, match=f"{re.escape(name)}: there is no such file$"):
        data[0]
