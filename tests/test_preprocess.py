"""From a picture to a network's input and back: against goldens, scikit-image, Pillow and torch."""

import json
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from skimage.transform import resize as skimage_resize
from torch.nn.functional import interpolate, pad

from segzoo.errors import ConfigError, PluginError
from segzoo.pictures.codec import Picture, read
from segzoo.predict.preprocess import (
    NO_CLASS,
    Geometry,
    luma,
    mask_of,
    network_size,
    prepare,
    probabilities,
    resize,
)
from segzoo.spec import Postprocess, Preprocess

GOLDENS = Path(__file__).parent / "goldens"
PREPROCESS = load_file(GOLDENS / "preproc_u2net.safetensors")
RESULTS = json.loads((GOLDENS / "preproc_u2net.json").read_text("utf-8"))["results"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SIZES = [
    ((37, 53), (20, 31)),  # both shrink
    ((37, 53), (90, 77)),  # both grow
    ((37, 53), (20, 100)),
    ((300, 5), (7, 64)),
    ((1, 9), (4, 4)),
    ((9, 1), (1, 3)),
    ((2, 3), (700, 501)),
]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


# --- goldens: the data loader of the authors of U²-Net --------------------------------------------


def saliency(size: int, **changes) -> Preprocess:
    fields = {
        "size": (size, size),
        "resize": "stretch",
        "antialias": "gaussian",
        "border": "zero",
        "rescale": "image_max",
        "mean": MEAN,
        "std": STD,
    }
    return Preprocess(**{**fields, **changes})


def golden_image(case: str) -> np.ndarray:
    if f"{case}/image_u8" in PREPROCESS:
        return PREPROCESS[f"{case}/image_u8"]
    h, w, channels = RESULTS[case]["input"]
    y, x, c = np.ogrid[:h, :w, :channels]
    wave = 0.5 + 0.5 * np.sin(0.37 * y + 0.23 * x + 1.7 * c)
    return np.floor(255 * RESULTS[case]["scale"] * wave.astype(np.float32)).astype(np.uint8)


@pytest.mark.parametrize("case", ["up", "down", "mixed", "full320", "down320"])
def test_the_authors_tensors(case):
    x, _ = prepare(read(golden_image(case)), saliency(RESULTS[case]["output"]), 3)
    if f"{case}/tensor" in PREPROCESS:
        np.testing.assert_allclose(x, PREPROCESS[f"{case}/tensor"][0], rtol=0, atol=2e-6)
    else:
        for name, part in {
            "grid": x[:, ::5, ::5],
            "tl": x[:, :16, :16],
            "br": x[:, -16:, -16:],
        }.items():
            golden = PREPROCESS[f"{case}/tensor.{name}"][0]
            np.testing.assert_allclose(part, golden, rtol=0, atol=2e-6)


def test_the_authors_tensor_without_antialiasing():
    x, _ = prepare(read(golden_image("down")), saliency(16, antialias="none"), 3)
    golden = PREPROCESS["down/tensor_no_antialias"][0]
    np.testing.assert_allclose(x, golden, rtol=0, atol=2e-6)
    assert np.abs(golden - PREPROCESS["down/tensor"][0]).max() > 0.1


def test_the_authors_gray_repeats_the_constants_of_red():
    declared = saliency(32, mean=MEAN[:1], std=STD[:1])
    x, _ = prepare(read(golden_image("gray")), declared, 3)
    np.testing.assert_allclose(x, PREPROCESS["gray/tensor"][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("case", ["up", "down", "mixed", "full320"])
def test_the_authors_labels_are_nearest(case):
    label = PREPROCESS[f"{case}/label_u8"]
    side = RESULTS[case]["output"]
    found = resize(label, (side, side), axes=(0, 1), interpolation="nearest")[..., 0] / 255
    golden = PREPROCESS[f"{case}/label_resized"]
    np.testing.assert_array_equal(found[::7, ::7] if side == 320 else found, golden)


def test_the_authors_minimum_and_maximum():
    golden = load_file(GOLDENS / "normpred.safetensors")
    declared = Postprocess(activation="none", normalize="minmax")
    found = probabilities(golden["normpred_in"], declared)
    np.testing.assert_allclose(found, golden["normpred_out"], rtol=0, atol=1e-7)


# --- the resampler --------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize(
    ("interpolation", "filter"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_triangle_is_pillow(before, after, interpolation, filter):
    values = noise(*before)
    pillow = np.asarray(Image.fromarray(values).resize(after[::-1], filter))
    found = resize(values, after, axes=(0, 1), interpolation=interpolation)
    np.testing.assert_allclose(found, pillow, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_triangle_is_torch_with_antialias(before, after, interpolation):
    values = torch.from_numpy(noise(2, *before)).double()
    theirs = interpolate(
        values[None], after, mode=interpolation, antialias=True, align_corners=False
    )
    ours = resize(values.numpy(), after, axes=(1, 2), interpolation=interpolation)
    np.testing.assert_allclose(ours, theirs[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_none_is_torch_without_antialias(before, after):
    values = torch.from_numpy(noise(2, *before)).double()
    theirs = interpolate(values[None], after, mode="bilinear", align_corners=False)
    ours = resize(values.numpy(), after, axes=(1, 2), antialias="none")
    np.testing.assert_allclose(ours, theirs[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("border", ["edge", "zero"])
@pytest.mark.parametrize("antialias", ["gaussian", "none"])
def test_gaussian_and_none_are_skimage(before, after, border, antialias):
    values = noise(*before)
    theirs = skimage_resize(
        values.astype(np.float64),
        after,
        order=1,
        mode={"edge": "edge", "zero": "constant"}[border],
        anti_aliasing=antialias == "gaussian",
        clip=False,
    )
    ours = resize(values, after, axes=(0, 1), antialias=antialias, border=border)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_bicubic_without_antialias_keeps_quadratics():
    """Keys 1981: with a = -0.5 a parabola goes through unchanged, away from the border."""
    parabola = 0.01 * np.arange(60.0) ** 2 - np.arange(60.0) + 3
    for after in (17, 40, 150):
        place = (np.arange(after) + 0.5) * 60 / after - 0.5
        inside = (place > 2) & (place < 57)
        expected = 0.01 * place**2 - place + 3
        for border in ("edge", "zero"):
            found = resize(
                parabola[None].repeat(2, axis=0),
                (2, after),
                axes=(0, 1),
                interpolation="bicubic",
                antialias="none",
                border=border,
            )
            np.testing.assert_allclose(found[1][inside], expected[inside], rtol=0, atol=1e-4)


def test_bicubic_repeats_the_edge_or_meets_zero():
    """What lies beyond the border, as if it were there."""
    values = noise(1, 12)
    for border, mode in (("edge", "edge"), ("zero", "constant")):
        found, inside = (
            resize(
                part,
                (1, 3 * part.shape[1]),
                axes=(0, 1),
                interpolation="bicubic",
                antialias="none",
                border=border,
            )
            for part in (values, np.pad(values, ((0, 0), (4, 4)), mode=mode))
        )
        np.testing.assert_allclose(found, inside[:, 12:-12], rtol=0, atol=1e-6)


@settings(max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["none", "triangle", "gaussian"]))
def test_nearest_is_pillow(before, after, antialias):
    values = np.arange(before, dtype=np.float32)[None]
    pillow = np.asarray(Image.fromarray(values).resize((after, 1), Image.Resampling.NEAREST))
    found = resize(
        values, (1, after), axes=(0, 1), interpolation="nearest", antialias=antialias, border="zero"
    )
    np.testing.assert_array_equal(found, pillow)


def test_a_size_that_is_there_is_left_as_it_is():
    image = photo(9, 8)
    assert resize(image, (9, 8), axes=(0, 1)) is image


def test_a_constant_picture_stays_constant_and_a_zero_border_darkens_it():
    image = np.full((30, 40, 3), 200, np.uint8)
    for antialias in ("none", "triangle", "gaussian"):
        for interpolation in ("nearest", "bilinear", "bicubic"):
            found = resize(
                image, (13, 50), axes=(0, 1), interpolation=interpolation, antialias=antialias
            )
            np.testing.assert_allclose(found, 200, rtol=1e-6)
    darker = resize(image, (13, 50), axes=(0, 1), antialias="gaussian", border="zero")
    assert darker[6, 25, 0] == pytest.approx(200)
    assert darker[0, 0, 0] < 170


def test_an_extreme_shape_costs_little_memory():
    tracemalloc = pytest.importorskip("tracemalloc")
    image = np.full((3_000_000, 1, 3), 9, np.uint8)
    tracemalloc.start()
    found = resize(image, (320, 320), axes=(0, 1), antialias="gaussian")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, 9, rtol=1e-5)
    assert peak < 60 << 20


# --- channels and values --------------------------------------------------------------------------


def test_luma_is_pillows_gray():
    image = photo(300, 200)
    np.testing.assert_array_equal(luma(image), np.asarray(Image.fromarray(image).convert("L")))


def test_the_usual_preprocessing_in_torch():
    """Pillow's resize, a division by 255 and a normalization, as torchvision's classes do it."""
    image = photo(50, 60)
    declared = Preprocess(size=(32, 40), resize="stretch", mean=MEAN, std=STD)
    x, geometry = prepare(read(image), declared, 3)
    resized = interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None].double(),
        (32, 40),
        mode="bilinear",
        antialias=True,
    )[0]
    theirs = (resized / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    np.testing.assert_allclose(x, theirs, rtol=0, atol=2e-6)
    assert (x.dtype, x.flags.c_contiguous) == (np.float32, True)
    assert geometry == Geometry((50, 60), (32, 40), (0, 0), (32, 40))


@pytest.mark.parametrize(
    ("rescale", "brightest", "expected"),
    [("255", 51, 0.2), ("none", 51, 51.0), ("image_max", 51, 1.0), ("image_max", 0, 0.0)],
)
def test_rescale(rescale, brightest, expected):
    image = np.zeros((4, 5, 3), np.uint8)
    image[2, 2, 1] = brightest
    x, _ = prepare(read(image), Preprocess(rescale=rescale), 3)
    assert x.max() == pytest.approx(expected)
    assert x.min() == 0


@pytest.mark.parametrize(
    ("in_channels", "mean", "std", "expected"),
    [
        (3, (10.0,), (2.0,), [45, 95, 120]),
        (3, (10.0, 20.0, 30.0), (1.0, 2.0, 4.0), [90, 90, 55]),
        (1, (10.0, 20.0, 30.0), (1.0, 2.0, 3.0), [78]),
        (1, (10.0,), (2.0,), [83]),
        (4, (10.0, 20.0, 30.0), (1.0, 2.0, 3.0), [90, 90, 220 / 3, 117.5]),
        (4, (0.0, 0.0, 0.0, 5.0), (1.0, 1.0, 1.0, 5.0), [100, 200, 250, 50]),
    ],
)
def test_mean_and_std_per_channel(in_channels, mean, std, expected):
    """The gray of this colour is 0.299 * 100 + 0.587 * 200 + 0.114 * 250 = 175.8."""
    image = np.full((2, 2, 3), (100, 200, 250), np.uint8)
    x, _ = prepare(Picture(image), Preprocess(rescale="none", mean=mean, std=std), in_channels)
    assert x.shape == (in_channels, 2, 2)
    np.testing.assert_allclose(x[:, 1, 1], expected, rtol=1e-6)


def test_transparency_is_white_to_the_network_and_alpha_to_one_of_four_channels():
    image = np.zeros((1, 3, 3), np.uint8)
    picture = Picture(image, np.array([[0, 51, 255]], np.uint8))
    x, _ = prepare(picture, Preprocess(), 3)
    np.testing.assert_allclose(x[:, 0, :], np.tile([1, 0.8, 0], (3, 1)), atol=1e-6)
    gray, _ = prepare(picture, Preprocess(), 1)
    np.testing.assert_allclose(gray[0, 0], [1, 0.8, 0], atol=1e-6)
    four, _ = prepare(picture, Preprocess(), 4)
    np.testing.assert_allclose(four[:, 0, 1], [0, 0, 0, 0.2], atol=1e-6)
    opaque, _ = prepare(Picture(image), Preprocess(), 4)
    np.testing.assert_array_equal(opaque[3], 1)


def test_the_picture_is_left_as_it_was():
    image = photo(6, 7)
    before = image.copy()
    x, _ = prepare(read(image), Preprocess(rescale="none", mean=(1.0,)), 3)
    x += 1
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("declared", "in_channels", "message"),
    [
        (
            Preprocess(),
            2,
            "a picture cannot be given to a network of 2 channels in mode 'RGB'; "
            "expected 1 channel, or in mode 'RGB' 3 or 4. Pictures of so many bands are read with "
            "mode='bands', which data of bands= sets",
        ),
        (
            Preprocess(mode="L"),
            3,
            "a picture cannot be given to a network of 3 channels in mode 'L'; expected 1 channel",
        ),
        (
            Preprocess(mean=(0.5, 0.5)),
            3,
            "preprocess.mean does not fit the network's channels; found 2 values, expected 1 or 3",
        ),
        (
            Preprocess(std=(1.0, 1.0)),
            4,
            "preprocess.std does not fit the network's channels; found 2 values, expected 1 or 4",
        ),
    ],
)
def test_channels_that_do_not_fit_are_refused(declared, in_channels, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        prepare(read(photo(3, 4)), declared, in_channels)


# --- a custom function ----------------------------------------------------------------------------


@pytest.fixture
def plugin(monkeypatch):
    """A plugin's module of preprocess functions, which keeps what it was called with."""
    module = types.ModuleType("plugin_under_test")
    module.seen = []

    def inverted(image):
        module.seen.append(image)
        return np.ascontiguousarray(1 - image.transpose(2, 0, 1) / np.float32(255))

    def fails(image):
        raise RuntimeError("no\nluck")

    module.inverted, module.fails = inverted, fails
    module.double = lambda image: image.transpose(2, 0, 1).astype(np.float64)
    module.last = lambda image: image.astype(np.float32)
    module.nothing = lambda image: None
    monkeypatch.setitem(sys.modules, "plugin_under_test", module)
    return module


def test_a_custom_function_stands_for_the_values_alone(plugin):
    image = photo(6, 8)
    declared = Preprocess(custom="plugin_under_test:inverted", mean=(9.0,), multiple_of=8)
    x, _ = prepare(read(image), declared, 3)
    np.testing.assert_array_equal(plugin.seen[0], image)
    assert x.shape == (3, 8, 8)
    np.testing.assert_array_equal(x[:, :6], 1 - image.transpose(2, 0, 1) / np.float32(255))
    declared = Preprocess(
        custom="plugin_under_test:inverted", size=(3, 4), resize="stretch", interpolation="bicubic"
    )
    prepare(read(image), declared, 1)
    assert plugin.seen[1].dtype == np.uint8
    assert plugin.seen[1].shape == (3, 4, 1)
    resized = resize(luma(image), (3, 4), axes=(0, 1), interpolation="bicubic")
    np.testing.assert_array_equal(plugin.seen[1][..., 0], np.clip(np.rint(resized), 0, 255))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "the preprocess function {} failed: RuntimeError: no luck"),
        (
            "none",
            "the preprocess function {} failed: AttributeError: "
            "module 'plugin_under_test' has no attribute 'none'",
        ),
        (
            "double",
            "the preprocess function {} gave something else; found float64 of shape (3, 4, 5), "
            "expected float32 of shape (3, 4, 5)",
        ),
        (
            "last",
            "the preprocess function {} gave something else; found float32 of shape (4, 5, 3), "
            "expected float32 of shape (3, 4, 5)",
        ),
        (
            "nothing",
            "the preprocess function {} gave something else; found NoneType, "
            "expected float32 of shape (3, 4, 5)",
        ),
    ],
)
def test_a_custom_function_that_breaks_the_contract(plugin, name, message):
    path = f"plugin_under_test:{name}"
    with pytest.raises(PluginError, match=f"^{re.escape(message.format(path))}$"):
        prepare(read(photo(4, 5)), Preprocess(custom=path), 3)


# --- sizes, padding and the way back --------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "size", "expected"),
    [
        (Preprocess(), (7, 9), (7, 9)),
        (Preprocess(size=(320, 160), resize="stretch"), (7, 9), (320, 160)),
        (Preprocess(size=(320, 160), resize="letterbox"), (7, 9), (320, 160)),
        (Preprocess(multiple_of=16), (1, 33), (16, 48)),
        (Preprocess(multiple_of=16), (16, 32), (16, 32)),
        (Preprocess(multiple_of=16, remainder=12, margin=92), (388, 1), (572, 188)),
        (Preprocess(multiple_of=16, remainder=12), (12, 13), (28, 28)),
        (Preprocess(multiple_of=16, remainder=12), (28, 29), (28, 44)),
        (Preprocess(remainder=5), (3, 9), (6, 9)),
        (Preprocess(size=(30, 30), resize="stretch", multiple_of=32), (7, 9), (32, 32)),
    ],
)
def test_the_networks_size(declared, size, expected):
    """(572, 572) -> (388, 388) is the network of Ronneberger et al. 2015, figure 1."""
    assert network_size(*size, declared) == expected
    x, geometry = prepare(read(photo(*size)), declared, 3)
    assert x.shape == (3, *expected)
    assert geometry.network == expected


@pytest.mark.parametrize(("size", "padded"), [((5, 7), (8, 8)), ((40, 33), (48, 48))])
def test_padding_mirrors_as_torch_and_numpy_do(size, padded):
    picture = read(photo(*size))
    plain, _ = prepare(picture, Preprocess(), 3)
    x, _ = prepare(picture, Preprocess(multiple_of=padded[0]), 3)
    bottom, right = padded[0] - size[0], padded[1] - size[1]
    theirs = np.pad(plain, ((0, 0), (0, bottom), (0, right)), mode="reflect")
    np.testing.assert_array_equal(x, theirs)
    with_margin, _ = prepare(picture, Preprocess(margin=3), 3)
    theirs = pad(torch.from_numpy(plain)[None], (3, 3, 3, 3), mode="reflect")[0]
    np.testing.assert_array_equal(with_margin, theirs)


def test_padding_larger_than_the_picture_mirrors_again_and_again():
    image = np.arange(3, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    x, _ = prepare(read(image), Preprocess(rescale="none", margin=5), 3)
    assert x[0, 4].tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
    assert (x == x[:, :1]).all()  # one row is all that there is


def blur(x: np.ndarray) -> np.ndarray:
    """A network of one 3x3 convolution without padding: one pixel is eaten at each side."""
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return sum(
        np.float32(1 + i + 3 * j) * x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)
    )


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 7), (16, 16), (50, 31)])
def test_without_a_size_nothing_is_resampled(size, scale):
    """What comes back is the network's own output on the padded picture, cropped, bit for bit."""
    picture = read(photo(*size))
    declared = Preprocess(multiple_of=8, remainder=4, margin=1, mean=MEAN, std=STD)
    x, geometry = prepare(picture, declared, 3)
    maps = blur(x).repeat(scale, axis=1).repeat(scale, axis=2)
    found = geometry.restore(maps, scale=scale)
    assert found.shape == (3, *size)
    cropped = maps[:, : scale * size[0], : scale * size[1]]
    if scale == 1:
        assert found.tobytes() == np.ascontiguousarray(cropped).tobytes()
    else:
        theirs = interpolate(
            torch.from_numpy(cropped)[None], size, mode="bilinear", antialias=True
        )[0]
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4)
    assert found.flags.c_contiguous


def test_a_network_that_gives_what_it_gets_gives_the_picture_back():
    picture = read(photo(45, 37))
    plain, _ = prepare(picture, Preprocess(), 3)
    x, geometry = prepare(picture, Preprocess(multiple_of=32, margin=0), 3)
    np.testing.assert_array_equal(geometry.restore(x), plain)


def test_a_stretched_map_comes_back_by_pillows_bilinear():
    for size in ((50, 61), (20, 90), (10, 11)):
        picture = read(photo(*size))
        x, geometry = prepare(picture, Preprocess(size=(32, 40), resize="stretch"), 3)
        found = geometry.restore(x)
        for theirs, ours in zip(x, found, strict=True):
            pillow = Image.fromarray(theirs).resize(size[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(ours, np.asarray(pillow), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "inside", "offset"),
    [((100, 50), (40, 20), (0, 10)), ((30, 31), (39, 40), (0, 0)), ((1, 1000), (1, 40), (19, 0))],
)
def test_a_letterbox_keeps_the_shape_and_comes_back(size, inside, offset):
    picture = read(np.full((*size, 3), 100, np.uint8))
    for border, around in (("edge", 100), ("zero", 0)):
        declared = Preprocess(
            size=(40, 40), resize="letterbox", border=border, antialias="none", rescale="none"
        )
        x, geometry = prepare(picture, declared, 3)
        assert (geometry.inside, geometry.offset) == (inside, offset)
        (top, left), (h, w) = offset, inside
        within = np.zeros((40, 40), bool)
        within[top : top + h, left : left + w] = True
        assert np.unique(np.rint(x[:, ~within])).tolist() in ([around], [])
        middle = x[:, top + h // 2, left + w // 2]
        np.testing.assert_allclose(middle, 100, rtol=1e-5)
        marked = np.where(within, 1, 7).astype(np.float32)[None]
        np.testing.assert_allclose(geometry.restore(marked), np.ones((1, *size)), rtol=1e-6)


def test_maps_of_a_wrong_size_are_refused():
    _, geometry = prepare(read(photo(10, 12)), Preprocess(margin=2), 3)
    assert geometry.restore(np.zeros((2, 10, 12))).shape == (2, 10, 12)
    for maps in (np.zeros((2, 14, 16)), np.zeros((10, 12)), np.zeros((2, 20, 24))):
        with pytest.raises(PluginError) as caught:
            geometry.restore(maps)
        expected = f"found {maps.shape}, expected (K, 10, 12)"
        assert str(caught.value) == f"the network's maps have a wrong shape; {expected}"
    assert geometry.restore(np.zeros((2, 20, 24)), scale=2).shape == (2, 10, 12)


sides = st.integers(1, 70)


@st.composite
def declarations(draw) -> Preprocess:
    way = draw(st.sampled_from(["none", "stretch", "letterbox"]))
    return Preprocess(
        size=None if way == "none" else (draw(sides), draw(sides)),
        resize=way,
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic"])),
        antialias=draw(st.sampled_from(["none", "triangle", "gaussian"])),
        border=draw(st.sampled_from(["edge", "zero"])),
        rescale=draw(st.sampled_from(["255", "image_max", "none"])),
        multiple_of=draw(st.integers(1, 40)),
        remainder=draw(st.integers(0, 20)),
        margin=draw(st.integers(0, 30)),
    )


@settings(max_examples=150)
@given(declarations(), sides, sides, st.sampled_from([1, 3, 4]), st.sampled_from([1, 2, 3]))
def test_every_declaration_takes_every_size_there_and_back(
    declared, height, width, in_channels, scale
):
    picture = Picture(photo(height, width))
    x, geometry = prepare(picture, declared, in_channels)
    h, w = network_size(height, width, declared)
    assert x.shape == (in_channels, h, w)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    assert np.isfinite(x).all()
    for side, least in zip((h, w), declared.size or (height, width), strict=True):
        assert (side - declared.remainder) % declared.multiple_of == 0
        assert side >= declared.remainder + declared.multiple_of
        smaller = side - declared.multiple_of
        assert smaller < least + 2 * declared.margin <= side or smaller <= declared.remainder
    eaten = 2 * declared.margin
    maps = np.ones((2, scale * (h - eaten), scale * (w - eaten)), np.float32)
    restored = geometry.restore(maps, scale=scale)
    assert restored.shape == (2, height, width)
    np.testing.assert_allclose(restored, 1, rtol=1e-5)
    assert pickle.loads(pickle.dumps(geometry)) == geometry


# --- probabilities and masks ----------------------------------------------------------------------

EXTREME = np.array([[-1e30, -200, -3, 0], [3, 90, 1e30, 0.5]], np.float32)


def test_sigmoid_is_torchs_and_never_overflows():
    found = probabilities(EXTREME[None], Postprocess())
    theirs = torch.from_numpy(EXTREME[None]).double().sigmoid()
    np.testing.assert_allclose(found, theirs, rtol=1e-6, atol=1e-30)
    assert found.dtype == np.float32


def test_softmax_is_torchs_and_never_overflows():
    logits = np.stack([EXTREME, EXTREME[::-1], 0 * EXTREME])
    found = probabilities(logits, Postprocess(activation="softmax", threshold=None))
    theirs = torch.from_numpy(logits).double().softmax(dim=0)
    np.testing.assert_allclose(found, theirs, rtol=1e-6, atol=1e-30)


def test_probabilities_of_the_network_are_clipped():
    found = probabilities(np.array([[[-1, 0.25, 2]]], np.float16), Postprocess(activation="none"))
    assert found.tolist() == [[[0, 0.25, 1]]]
    assert found.dtype == np.float32


def test_minimum_and_maximum_are_each_maps_own_and_a_constant_map_is_left():
    maps = np.array([[[2, 4, 3]], [[0.3, 0.3, 0.3]], [[7, 7, 7]], [[-1, 0, 1]]], np.float32)
    found = probabilities(maps, Postprocess(activation="none", normalize="minmax"))
    expected = [[[0, 1, 0.5]], [[0.3, 0.3, 0.3]], [[1, 1, 1]], [[0, 0.5, 1]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, [0, 0, 255]), (None, [0, 0, 255]), (0.0, [0, 255, 255])]
)
def test_the_mask_of_one_class(threshold, expected):
    likely = np.array([[[0.0, 0.5, 0.6]]], np.float32)
    mask = mask_of(likely, Postprocess(threshold=threshold))
    assert mask.tolist() == [expected]
    assert mask.dtype == np.uint8


def test_the_mask_of_several_classes():
    likely = np.array([[[0.2, 0.7, 0.3]], [[0.6, 0.1, 0.3]], [[0.5, 0.2, 0.1]]], np.float32)
    assert mask_of(likely, Postprocess(threshold=None)).tolist() == [[1, 0, 0]]
    assert mask_of(likely, Postprocess(threshold=0.6)).tolist() == [[NO_CLASS, 0, NO_CLASS]]
    assert mask_of(likely, Postprocess(threshold=0.5)).tolist() == [[1, 0, NO_CLASS]]


def test_more_classes_than_a_mask_can_hold_are_refused():
    likely = np.zeros((256, 1, 1), np.float32)
    likely[255] = 1
    assert mask_of(likely, Postprocess(threshold=None)).tolist() == [[255]]
    for classes, threshold, most in ((257, None, 256), (256, 0.5, 255)):
        with pytest.raises(ConfigError) as caught:
            mask_of(np.zeros((classes, 1, 1), np.float32), Postprocess(threshold=threshold))
        assert str(caught.value) == (
            f"a mask of 8 bits cannot hold so many classes; found {classes} classes, "
            f"expected at most {most}. Use the probabilities"
        )
