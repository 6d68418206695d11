"""`pixels_of` gives what `numpy.asarray(im.convert(mode))` gives, whatever fits into a block."""

import numpy as np
import pytest
from PIL import Image

from segzoo.pictures import pixels

COLOURS = np.random.default_rng(0).integers(0, 256, (23, 7, 4), np.uint8)
RGBA = Image.fromarray(COLOURS)


def keyed(mode: str, key) -> Image.Image:
    im = RGBA.convert("RGB").quantize(8) if mode == "P" else RGBA.convert(mode)
    im.info["transparency"] = key
    return im


PICTURES = {
    **{mode: RGBA.convert(mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")},
    **{mode: RGBA.convert("L").convert(mode) for mode in ("I", "F", "I;16")},
    "P": RGBA.convert("RGB").quantize(8),
    "PA": RGBA.convert("P").convert("PA"),
    "P, a transparent colour": keyed("P", 3),
    "P, alpha of colours": keyed("P", bytes(range(0, 240, 30))),
    "L, a transparent value": keyed("L", int(np.asarray(RGBA.convert("L"))[5, 5])),
    "RGB, a transparent colour": keyed("RGB", tuple(COLOURS[5, 5, :3].tolist())),
}
WANTED = [
    (name, mode)
    for name, im in PICTURES.items()
    for mode in ("", *(("RGB", "RGBA") if im.mode not in ("I", "F", "I;16") else ()))
    if (name, mode) != ("P, alpha of colours", "RGB")  # Pillow warns
    and not (im.mode in ("PA", "YCbCr", "CMYK", "1", "LA") and mode == "RGBA")
]


@pytest.mark.parametrize("block", [1, 4 * 7 * 5, 1 << 20], ids=["a row", "five rows", "whole"])
@pytest.mark.parametrize(("name", "mode"), WANTED)
def test_it_is_what_numpy_makes_of_the_whole(monkeypatch, name, mode, block):
    im = PICTURES[name]
    wanted = np.asarray(im.convert(mode) if mode else im)
    monkeypatch.setattr(pixels, "BLOCK", block)
    found = pixels.pixels_of(im, mode)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted, strict=True)
