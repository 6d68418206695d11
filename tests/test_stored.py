"""What a mask's file stores: read where the meaning is plain, else refused with the next step."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from segzoo.data.readers.folder import open_folder
from segzoo.errors import DatasetError, PictureError, UnsafeFormatError
from segzoo.pictures.labels import judged
from segzoo.pictures.stored import LOSSY, read_labels

RGB = np.random.default_rng(3).integers(0, 256, (16, 20, 3), dtype=np.uint8)
Y, X = np.ogrid[:16, :20]
DISC = ((Y - 8) ** 2 + (X - 10) ** 2 < 30) * np.uint8(255)
FULL = np.full_like(DISC, 255)


def content(image, format, **options):
    im = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    im.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def one(tmp_path):
    """A data set of one picture and the mask of this content."""

    def opened(mask, ending, **said):
        for place, name, data in (
            ("images", "s.png", content(RGB, "PNG")),
            ("masks", f"s.{ending}", mask),
        ):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / name).write_bytes(data)
        return open_folder(tmp_path, **said)

    return opened


def palette(colours):
    im = Image.fromarray((DISC > 0).astype(np.uint8))
    im.putpalette([value for colour in colours for value in colour])
    return im


BLACK_WHITE = palette([(0, 0, 0), (255, 255, 255)])
PLAIN = {
    "gray+alpha": (content(np.dstack([DISC, FULL]), "PNG"), "png", {"values": "0,255"}),
    "rgba": (content(np.dstack([DISC] * 3 + [FULL]), "PNG"), "png", {"values": "0,255"}),
    "float": (content((DISC > 0).astype("f4"), "TIFF"), "tif", {"values": "0,1"}),
    "float-255": (content(DISC.astype("f4"), "TIFF"), "tif", {"values": "0,255"}),
    "cmyk": (
        content(Image.fromarray(255 - DISC).convert("CMYK"), "TIFF"),
        "tif",
        {"values": "255,0"},
    ),
    "gif": (content(BLACK_WHITE, "GIF", optimize=False), "gif", {"values": "0,1"}),
    "gif-colours": (
        content(BLACK_WHITE, "GIF", optimize=False),
        "gif",
        {"palette": "#000000,#ffffff"},
    ),
    "bmp": (content(palette([(255, 255, 255), (0, 0, 0)]), "BMP"), "bmp", {"values": "0,1"}),
    "alpha": (
        content(np.dstack([FULL] * 3 + [DISC]), "PNG"),
        "png",
        {"values": "0,255", "channel": "alpha"},
    ),
    "alpha-of-palette": (
        content(palette([(9, 9, 9), (9, 9, 9)]), "PNG", transparency=0),
        "png",
        {"values": "0,255", "channel": "alpha"},
    ),
    "red": (
        content(np.dstack([DISC, FULL, FULL]), "PNG"),
        "png",
        {"values": "0,255", "channel": "red"},
    ),
    "jpeg": (content(DISC, "JPEG", quality=75), "jpg", {"threshold": "128"}),
    "jpeg-colours": (
        content(np.dstack([DISC] * 3), "JPEG", quality=75),
        "jpg",
        {"threshold": "128"},
    ),
    "jpeg-cmyk": (
        content(Image.fromarray(DISC).convert("CMYK"), "JPEG", quality=75),
        "jpg",
        {"threshold": "128"},
    ),
    "webp": (content(np.dstack([DISC] * 3), "WEBP", quality=60), "webp", {"threshold": "128"}),
    "avif": (content(np.dstack([DISC] * 3), "AVIF", quality=60), "avif", {"threshold": "128"}),
    "fractions": (content((DISC / 255 * 0.8).astype("f4"), "TIFF"), "tif", {"threshold": "0.5"}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_c5_masks_whose_meaning_is_plain(name, one):
    """Rows 11 to 16, 38 and 41 to 43."""
    mask, ending, said = PLAIN[name]
    sample = one(mask, ending, **said)[0]
    np.testing.assert_array_equal(sample["target"], DISC > 0)
    assert not any(LOSSY in note for note in sample.get("notes", ()))


PALETTE = "They are indices of a palette: 0 is #000000, 1 is #ffffff. "
LOSS = (
    "Its file was compressed with loss: say threshold=128 if it is black and white, or get masks "
    "as they were drawn, as PNG"
)


@pytest.mark.parametrize(
    ("mask", "ending", "said", "next_step"),
    [
        (BLACK_WHITE, "gif", {"values": "0,255"}, PALETTE + "Give every stored value in values=, "),
        (
            Image.fromarray(DISC > 0),
            "bmp",
            {"values": "0,1"},
            "They are single bits, read as 0 and 255. Give eve",
        ),
        (
            palette([(255, 255, 255), (0, 0, 0)]),
            "bmp",
            {"values": "0,255"},
            "They are indices of a palette: 0 is #ffffff, 1 is #000000. Give every stored value",
        ),
        (DISC, "jpg", {"values": "0,255"}, LOSS),
        (np.dstack([DISC] * 3), "webp", {"values": "0,255"}, LOSS),
        (np.dstack([DISC, FULL, FULL]), "webp", {"palette": "#000000,#00ffff"}, LOSS),
        (
            np.dstack([FULL] * 3 + [DISC]),
            "png",
            {},
            "Its colours are the same everywhere, so the mask is its alpha: say channel=alpha",
        ),
        (
            np.dstack([DISC] * 3 + [DISC]),
            "png",
            {},
            "Say which channel the mask is: channel=alpha, or channel=red of a gray one",
        ),
        (DISC, "png", {"channel": "alpha"}, "Leave channel= out"),
        (
            (DISC / 300).astype("f4"),
            "tif",
            {},
            "If all from a value on is one class, say so: thresh",
        ),
    ],
)
def test_c5_else_the_next_step(mask, ending, said, next_step, one):
    formats = {"jpg": "JPEG", "tif": "TIFF"}
    options = {"webp": {"quality": 60}, "gif": {"optimize": False}}.get(ending, {})
    file = content(mask, formats.get(ending, ending.upper()), **options)
    with pytest.raises(DatasetError, match=re.escape(next_step)):
        one(file, ending, **said)[0]


def test_c5_a_lossy_mask_that_is_read_by_its_values_is_noted(one):
    """What `values=*,255` of a JPEG makes: the object alone where it is exactly white."""
    data = one(content(DISC, "JPEG", quality=75), "jpg", values="*,255")
    assert data[0]["target"].sum() < (DISC > 0).sum()
    assert data[0]["notes"] == (f"mask: {LOSSY}",)
    lossless = content(np.dstack([DISC] * 3), "WEBP", lossless=True)
    assert not read_labels(lossless).lossy
    frames = [Image.fromarray(np.dstack([DISC] * 3)), Image.fromarray(RGB)]
    for exact in (True, False):
        moving = content(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=exact)
        assert read_labels(moving).lossy is not exact


def test_c5_values_that_are_judged_later_get_the_hint_too():
    values = read_labels(content(DISC, "JPEG", quality=75)).values
    with pytest.raises(DatasetError, match="If it is black and white, say threshold=128"):
        judged(values, num_classes=2)


def test_16_bit_colours_are_no_labels():
    """Pillow keeps their high byte: labels 0, 1 and 2 would all be 0."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 5, 3), np.uint16), photometric="rgb")
    with pytest.raises(PictureError, match="16-bit colours would lose their low byte"):
        read_labels(file.getvalue())
    with pytest.raises(PictureError, match="16-bit colours would lose their low byte"):
        read_labels(b"P6 1 1 65535\n\0\1\0\1\0\1")


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "i8", "f4", "f8", "?"])
def test_arrays_of_every_type_are_masks(dtype, one):
    sample = one(npy((DISC > 0).astype(dtype)), "npy")[0]
    np.testing.assert_array_equal(sample["target"], DISC > 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.zeros((16, 20, 2), np.uint8),
            "this array is not a mask; found uint8 of shape (16, 20, 2)",
        ),
        (np.zeros((0, 20), np.uint8), "the picture has no pixels; found 0 rows of 20"),
        (np.zeros((16, 20), "M8[s]"), "this array is not a mask; found datetime64[s]"),
        (np.zeros((16, 20), complex), "this array is not a mask; found complex128"),
    ],
)
def test_arrays_that_are_no_masks(values, message, one):
    with pytest.raises(DatasetError, match=re.escape(f"s.npy: {message}")):
        one(npy(values), "npy")[0]


def test_python_objects_are_refused_unread(one, tmp_path):
    class Canary:
        def __reduce__(self):
            return (tmp_path / "alive").mkdir, ()

    data = one(npy(np.array([[Canary()]], object)), "npy")
    with pytest.raises(UnsafeFormatError, match=r"s\.npy: the array holds Python objects"):
        data[0]
    assert not (tmp_path / "alive").exists()
