"""PNG files that are written here, as Pillow reads them: the pixels, and what is said of them."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from segzoo.pictures import png

PALETTE = ((0, 0, 0), (255, 0, 0), (1, 2, 3))


@pytest.fixture(params=["isal", "zlib"])
def deflate(request, monkeypatch):
    """Both ways to compress; the first where it is installed."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal")


def noise(shape, dtype=np.uint8, seed=0):
    most = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, most, shape).astype(dtype)


def opened(content):
    im = Image.open(io.BytesIO(content))
    im.load()
    return im


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (noise((1, 1)), "L"),
        (noise((7, 5)), "L"),
        (np.zeros((3, 4000), np.uint8), "L"),
        (noise((5, 3), np.uint16), "I;16"),
        (noise((4, 6, 3)), "RGB"),
        (noise((9, 2, 4)), "RGBA"),
        (noise((8, 6, 3))[::2, ::-1], "RGB"),  # not contiguous
    ],
)
def test_pixels_come_back(image, mode, deflate):
    im = opened(png.png_of(image))
    assert im.mode == mode
    np.testing.assert_array_equal(np.asarray(im), image)


def test_rows_that_are_filtered_apart_fit_together(monkeypatch, deflate):
    monkeypatch.setattr(png, "BLOCK", 50)
    image = noise((40, 5, 3))
    np.testing.assert_array_equal(np.asarray(opened(png.png_of(image))), image)


def test_a_palette_and_its_indices(deflate):
    indices = noise((5, 4)) % 3
    im = opened(png.png_of(indices, PALETTE))
    assert im.mode == "P"
    np.testing.assert_array_equal(np.asarray(im), indices)
    np.testing.assert_array_equal(np.asarray(im.convert("RGB")), np.array(PALETTE)[indices])


def test_what_is_said_of_a_picture_is_what_pillow_writes():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    said = {"icc_profile": profile, "dpi": (300.0, 72.0), "exif": exif.tobytes()}
    image, theirs = noise((3, 4, 3)), io.BytesIO()
    Image.fromarray(image).save(theirs, "PNG", **said)
    found, expected = opened(png.png_of(image, **said)), opened(theirs.getvalue())
    for name in ("icc_profile", "dpi", "exif"):
        assert found.info[name] == expected.info[name]
    assert found.getexif()[0x010F] == "a camera"


def test_a_mask_is_small():
    """Of 12 megapixels it is no larger than Pillow makes it at its default."""
    y, x = np.ogrid[:3000, :4000]
    mask = ((y - 1500) ** 2 + (x - 2000) ** 2 < 1000**2).astype(np.uint8) * np.uint8(255)
    theirs = io.BytesIO()
    Image.fromarray(mask).save(theirs, "PNG")
    assert len(png.png_of(mask)) <= 4 * len(theirs.getvalue()) < 200_000
