"""Pictures larger than memory: read in parts, run in windows, and written in tiles."""

import itertools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from forked import forked
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import segzoo
from segzoo.base import ours
from segzoo.cli.main import run
from segzoo.errors import PictureError, PictureTooLargeError, UsageError
from segzoo.pictures import codec, parts, tiff, tiled
from segzoo.pictures.parts import is_larger, on_disk
from segzoo.pictures.tiled import TiledTiff
from segzoo.predict.large import found_in, in_pieces
from segzoo.predict.predictor import Predictor
from segzoo.predict.runtimes.torch import TorchRuntime
from segzoo.spec import Postprocess, Preprocess

INSTALLED = "bright=bright:BRIGHT,strongest=bright:STRONGEST"


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", INSTALLED)
    monkeypatch.chdir(tmp_path)


def values_of(shape, dtype="uint8", seed=0):
    chance = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return chance.random(shape).astype(dtype)
    return chance.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(file, values, **options):
    colours = values.ndim == 3
    tifffile.imwrite(file, values, photometric="rgb" if colours else "minisblack", **options)
    return file


# --- reading -------------------------------------------------------------------------------------

LAYOUTS = {
    "tiles": ((130, 100, 3), "uint8", {"tile": (32, 48), "compression": "zlib"}),
    "strips": ((130, 100, 3), "uint8", {"rowsperstrip": 7, "compression": "zlib"}),
    "one-strip": ((130, 100, 3), "uint8", {"rowsperstrip": 130}),
    "one-deflated-strip": ((130, 100, 3), "uint8", {"rowsperstrip": 130, "compression": "zlib"}),
    "big": ((130, 100, 3), "uint8", {"tile": (64, 64), "bigtiff": True}),
    "motorola": ((130, 100), "uint16", {"tile": (32, 32), "byteorder": ">"}),
    "differences": (
        (130, 100, 3),
        "uint8",
        {"tile": (32, 32), "compression": "zlib", "predictor": 2},
    ),
    "gray": ((130, 100), "uint8", {"rowsperstrip": 1}),
    "alpha": ((130, 100, 4), "uint8", {"tile": (32, 32), "extrasamples": ["unassalpha"]}),
    "deep": ((130, 100, 3), "uint16", {"tile": (32, 32)}),
    "floats": ((130, 100), "float32", {"tile": (32, 32), "compression": "zlib"}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_are_those_of_the_whole(name):
    """As Pillow and tifffile read it: of tifffile's files, in which order rows may be asked for."""
    shape, dtype, options = LAYOUTS[name]
    file = save("a.tif", values_of(shape, dtype), **options)
    whole = codec.read(file)
    with on_disk(file) as picture:
        assert picture.size == shape[:2]
        for top, bottom in [(0, 40), (30, 70), (70, 71), (71, 130), (0, 130), (129, 130), (3, 9)]:
            part = picture.rows(top, bottom)
            np.testing.assert_array_equal(part.image, whole.image[top:bottom])
            if whole.alpha is not None:
                np.testing.assert_array_equal(part.alpha, whole.alpha[top:bottom])
        assert picture.notes == whole.notes


def test_planes_and_bands_and_a_peak():
    values = values_of((5, 60, 40), "uint16")
    file = "a.tif"
    tifffile.imwrite(file, values, photometric="minisblack", planarconfig="separate", tile=(16, 16))
    whole = codec.read(file, bands=True, peak=4095)
    with on_disk(file, bands=True, peak=4095) as picture:
        rows = [picture.rows(top, top + 12).image for top in range(0, 60, 12)]
    np.testing.assert_array_equal(np.concatenate(rows), whole.image)
    expected = np.rint(np.minimum(values, 4095) * (255 / 4095)).transpose(1, 2, 0)
    np.testing.assert_array_equal(whole.image, expected)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 80), max_size=5),
    tile=st.sampled_from([(16, 16), (32, 16), (16, 96)]),
)
def test_any_rows_in_order(tmp_path_factory, cuts, tile):
    values = values_of((81, 50, 3))
    file = save(tmp_path_factory.mktemp("t") / "a.tif", values, tile=tile, compression="zlib")
    with on_disk(file) as picture:
        for top, bottom in itertools.pairwise(sorted({0, *cuts, 81})):
            image = picture.rows(max(0, top - 9), bottom).image
            np.testing.assert_array_equal(image, values[max(0, top - 9) : bottom])


def test_chunks_are_read_once_from_the_top_down(monkeypatch):
    file = save("a.tif", values_of((320, 64)), tile=(16, 16))
    read = []
    real = tiff.samples

    def counted(stream, layout):
        read.extend(layout.chunks)
        return real(stream, layout)

    monkeypatch.setattr(tiff, "samples", counted)
    with on_disk(file) as picture:
        for top in range(0, 300, 20):
            picture.rows(top, top + 40)
    assert len(read) == len({*read}) == 80


# --- windows -------------------------------------------------------------------------------------


def predictor_of(network, *, preprocess=None, postprocess=None, num_classes=1, **rest):
    return Predictor(
        TorchRuntime(network.eval()),
        preprocess=preprocess or Preprocess(),
        postprocess=postprocess or Postprocess(),
        in_channels=3,
        num_classes=num_classes,
        **rest,
    )


def convolution(classes=1, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 4, 5, padding=2), nn.Tanh(), nn.Conv2d(4, classes, 3, padding=1)
        )


NETWORKS = {
    "one-class": lambda: predictor_of(convolution(), tile=64, overlap=20),
    "classes": lambda: predictor_of(
        convolution(4),
        num_classes=4,
        postprocess=Postprocess(activation="softmax", threshold=None),
        tile=(48, 80),
    ),
    "minmax": lambda: predictor_of(
        convolution(), postprocess=Postprocess(normalize="minmax"), tile=64
    ),
    "own-largest": lambda: predictor_of(
        convolution(), preprocess=Preprocess(rescale="image_max", multiple_of=16), tile=64
    ),
    "margin": lambda: predictor_of(
        nn.Sequential(nn.Conv2d(3, 4, 5), nn.Tanh(), nn.Conv2d(4, 1, 3)),
        preprocess=Preprocess(margin=3, multiple_of=4, remainder=2),
        tile=64,
    ),
    "one-window": lambda: predictor_of(convolution(), tile=512),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_as_of_a_picture_in_memory(name):
    """To the bit, at the borders too: the windows are the same, and so is how they are joined."""
    predictor = NETWORKS[name]()
    values = values_of((190, 150, 3)) // 2
    whole = replace(predictor, tile=predictor.tile if name != "one-window" else 149).predict(values)
    if name == "one-window":
        whole = replace(predictor, tile=None).predict(values)
    file = save("a.tif", values, tile=(32, 48), compression="zlib")
    masks, maps = [], []
    with on_disk(file) as picture:
        for top, prediction in found_in(predictor, picture):
            assert top == sum(map(len, masks))
            masks.append(prediction.mask)
            maps.append(prediction.probability)
    assert len(masks) > 1 or name == "one-window"
    np.testing.assert_array_equal(np.concatenate(masks), whole.mask)
    np.testing.assert_array_equal(np.concatenate(maps, axis=-2), whole.probability)


# --- writing -------------------------------------------------------------------------------------


def written(file, values, *, palette=(), step=37):
    with (
        open(file, "wb") as stream,
        TiledTiff(
            stream, values.shape[:2], like=values[:1], palette=palette, software=b"a program"
        ) as tiff_,
    ):
        for top in range(0, len(values), step):
            tiff_.add(values[top : top + step])
    return file


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((70, 50), "uint8"), ((70, 50, 3), "uint8"), ((64, 64), "uint16"), ((1, 1), "uint8")],
)
def test_what_is_written_is_what_others_read(monkeypatch, shape, dtype, big):
    monkeypatch.setattr(tiled, "SIDE", 32)
    monkeypatch.setattr(tiled, "CLASSIC_BYTES", 0 if big else 1 << 32)
    values = values_of(shape, dtype)
    file = written("a.tif", values)
    with tifffile.TiffFile(file) as read:
        assert read.is_bigtiff is big
        assert read.pages[0].software == "a program"
        np.testing.assert_array_equal(read.asarray(), values)
    with Image.open(file) as im:
        np.testing.assert_array_equal(np.asarray(im), values)


def test_indices_have_their_palette(monkeypatch):
    monkeypatch.setattr(tiled, "SIDE", 32)
    values = values_of((40, 70)) % 3
    file = written("a.tif", values, palette=((0, 0, 0), (200, 10, 30), (1, 2, 255)))
    with Image.open(file) as im:
        assert im.mode == "P"
        assert im.getpalette()[:9] == [0, 0, 0, 200, 10, 30, 1, 2, 255]
        np.testing.assert_array_equal(np.asarray(im), values)
    with tifffile.TiffFile(file) as read:
        assert (read.pages[0].colormap[:, 1] == np.array([200, 10, 30]) * 257).all()


# --- segzoo predict ------------------------------------------------------------------------------


@pytest.fixture
def predict(capsys):
    """Runs `segzoo predict`, for which 5,000 pixels are many; gives what it says."""

    def call(*arguments, model="bright", code=0):
        if not os.path.isdir(model):
            segzoo.load(model).save_pretrained(model)
        line = ["predict", f"./{model}", *map(str, arguments), "--max-pixels", "5000"]
        returned = run(line)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert returned == code, said.err
        return json.loads(said.out) if "--json" in arguments else said.err

    return call


def scan(file, height=150, width=120, **options):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    return save(file, values_of((height, width, 3)), tile=(64, 48), **options)


def test_a_picture_with_more_pixels_becomes_a_tiff_in_tiles(predict):
    scan("photos/big.tif")
    Image.fromarray(values_of((8, 9, 3))).save("photos/small.png")
    report = predict("photos", "-o", "out", "--tile", "64", "--as", "mask,probability", "--json")
    big, small = report["pictures"]
    assert big["outputs"] == {k: f"out/{k}/big.tif" for k in ("mask", "probability")}
    assert small["outputs"]["mask"] == "out/mask/small.png"
    assert (big["size"], big["tiles"]) == ([150, 120], [3, 3])
    whole = segzoo.load("./bright").predict("photos/big.tif", tile=64)
    mask = tifffile.imread("out/mask/big.tif")
    np.testing.assert_array_equal(mask, whole.mask)
    assert big["classes"] == {"foreground": int((mask > 0).sum())}
    found = tifffile.imread("out/probability/big.tif")
    np.testing.assert_array_equal(found, np.rint(whole.probability * np.float32(65535)))
    assert ours.is_output("out/mask/big.tif") and ours.is_output("out/mask/small.png")
    assert not [n for _, _, names in os.walk("out") for n in names if n.startswith(".")]


def test_classes_keep_their_palette_and_colours(predict):
    scan("big.tif")
    report = predict("big.tif", "-o", "out", "--as", "mask,color,confidence", model="strongest")
    assert "big.tif: read in parts, and run in windows: --tile 512 (tile=512)" in report
    whole = segzoo.load("./strongest").predict("big.tif")
    with Image.open("out/mask/big.tif") as im:
        np.testing.assert_array_equal(np.asarray(im), whole.mask)
        palette = np.array(im.getpalette(), np.uint8).reshape(-1, 3)
    with Image.open("out/color/big.tif") as im:
        np.testing.assert_array_equal(np.asarray(im), palette[whole.mask])


def test_what_is_done_is_left_and_outputs_are_no_inputs(predict):
    scan("photos/a/big.tif")
    arguments = ("photos", "-r", "-o", "out", "--tile", "64", "--json")
    predict(*arguments, "--resume")
    before = Path("out/a/big.tif").read_bytes()
    assert predict(*arguments, "--resume")["skipped"] == 1
    assert predict(*arguments, "--skip-existing")["skipped"] == 1
    assert "already there: 1 output: out/a/big.tif. " in predict(*arguments[:-1], code=2)
    Path("out/a/big.tif").write_bytes(before[:-9])
    assert predict(*arguments, "--resume")["written"] == 1
    assert Path("out/a/big.tif").read_bytes() == before
    report = predict(".", "-r", "-o", "other", "--tile", "64", "--json")
    assert [each["input"] for each in report["pictures"]] == ["./photos/a/big.tif"]
    assert report["left_out"][".tif that segzoo predicted"] == 1


def test_a_picture_is_not_written_over(predict):
    scan("photos/big.tif")
    before = Path("photos/big.tif").read_bytes()
    said = predict("photos", "-o", "photos", "--overwrite", code=2)
    assert said.startswith("segzoo: this would overwrite 1 input: ")
    assert Path("photos/big.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "out.png"), "what is found in so large a picture is written as a TIFF in tiles; "),
        (("-o", "out", "--as", "cutout"), "big.tif: the picture is too large; found height 150 "),
        (("-o", "out", "--crop"), "big.tif: the picture is too large; found height 150 "),
        (("-o", "out", "--heads", "all"), "big.tif: the picture is too large; found height 150 "),
    ],
)
def test_what_is_not_made_in_parts(predict, arguments, message):
    scan("big.tif")
    code = 2 if "out.png" in arguments else 3
    assert predict("big.tif", *arguments, code=code).startswith(f"segzoo: {message}")


@pytest.mark.parametrize(
    ("preprocess", "found"),
    [
        (Preprocess(size=(32, 32), resize="stretch"), "one that sees every picture at 32x32"),
        (Preprocess(custom="a:b"), "one with a preprocess function of its own"),
    ],
)
def test_a_network_that_has_to_see_the_whole_is_refused(preprocess, found):
    with pytest.raises(UsageError) as caught:
        in_pieces(predictor_of(convolution(), preprocess=preprocess))
    assert str(caught.value).startswith(
        "pictures larger than memory are for a network that takes them at their own size; "
        f"found {found}. "
    )


@pytest.mark.parametrize("field", ["smallest", "holes"])
def test_a_mask_that_loses_pieces_is_made_of_a_whole_picture(field):
    predictor = predictor_of(convolution(), postprocess=Postprocess(**{field: 9}))
    with pytest.raises(UsageError, match="found one whose masks lose specks or holes"):
        in_pieces(predictor)


# --- memory that runs out ------------------------------------------------------------------------


def short_of_memory(most):
    """A network for which memory is enough for so many pixels of pictures that run together."""
    network = convolution()
    runtime = TorchRuntime(network.eval())
    shapes = []

    def run_(x, *, all_heads=False):
        shapes.append((len(x), *x.shape[2:]))
        if x.size // 3 > most:
            raise MemoryError
        return runtime(x, all_heads=all_heads)

    return replace(predictor_of(network), runtime=run_), shapes


@pytest.mark.parametrize(("most", "tile"), [(20_000, 512), (12_000, 256)])
def test_a_picture_too_large_for_the_network_is_run_in_windows_and_that_is_said(most, tile):
    predictor, _ = short_of_memory(most)
    image = values_of((40, 600, 3))
    prediction = predictor.predict(image)
    assert prediction.picture.notes[0] == (
        f"memory ran out, so it was run in windows (tile={tile})"
    )
    expected = replace(predictor, tile=tile).predict(image)
    np.testing.assert_array_equal(prediction.probability, expected.probability)


def test_fewer_windows_run_together_once_memory_has_run_out():
    predictor, shapes = short_of_memory(3 * 64 * 64)
    predictor = replace(predictor, tile=64, overlap=0)
    found = predictor.predict(values_of((128, 640, 3)))
    assert found.picture.notes == ("memory ran out, so it was run with 2 windows at once",)
    assert [n for n, *_ in shapes] == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]


# --- files that are none -------------------------------------------------------------------------


def edited(file, tag, value, *, kind=None, count=None):
    """A little-endian classic TIFF with another value in its directory."""
    content = bytearray(Path(file).read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    (number,) = struct.unpack_from("<H", content, at)
    for place in range(at + 2, at + 2 + 12 * number, 12):
        found, its_kind, its_count = struct.unpack_from("<HHI", content, place)
        if found == tag:
            line = (tag, kind or its_kind, its_count if count is None else count)
            struct.pack_into("<HHI", content, place, *line)
            struct.pack_into("<I", content, place + 8, value)
            Path(file).write_bytes(content)
            return
    raise AssertionError(tag)


def offsets_of(file):
    with tifffile.TiffFile(file) as read:
        return read.pages[0].dataoffsets, read.pages[0].databytecounts


def cut_short(file):
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[: len(content) - 600])


def damaged_tile(file):
    offsets, lengths = offsets_of(file)
    content = bytearray(Path(file).read_bytes())
    content[offsets[-2] : offsets[-2] + lengths[-2]] = b"\xff" * lengths[-2]
    Path(file).write_bytes(content)


def tall(file):
    edited(file, 257, 2_000_000_000)


def wide_and_tall(file):
    edited(file, 256, 2_000_000_000)
    edited(file, 257, 2_000_000_000)


def turned(file):
    content = Path(file).read_bytes()
    save(file, tifffile.imread(file), tile=(64, 48), extratags=[(274, 3, 1, 6, True)])
    assert content != Path(file).read_bytes()


def one_tile_of_a_gigabyte(file):
    edited(file, 322, 1 << 14)
    edited(file, 323, 1 << 14)
    edited(file, 324, 8, count=1)
    edited(file, 325, 1000, count=1)


def of_type(dtype, **options):
    def make(file):
        values = np.zeros((150, 120), dtype)
        values[140, 7] = 3
        tifffile.imwrite(file, values, photometric="minisblack", tile=(64, 48), **options)

    return make


def many_bands(file):
    values = values_of((5, 150, 120))
    tifffile.imwrite(file, values, photometric="minisblack", planarconfig="separate", tile=(64, 48))


def lengths_of_much(file):
    offsets, _ = offsets_of(file)
    with open(file, "ab") as end:
        end.write(bytes(1 << 20))
    content = bytearray(Path(file).read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    with tifffile.TiffFile(file) as read:
        tag = read.pages[0].tags[325]
        struct.pack_into("<I", content, tag.valueoffset, 1 << 20)
    Path(file).write_bytes(content)
    assert offsets and at


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "the picture is cut short; found "),
        (damaged_tile, "the picture is damaged, cut short or not supported; found "),
        (tall, "the picture is too large; found height 2000000000 and width 120, expected at most"),
        (wide_and_tall, "the picture is too large; found height 2000000000 and width 2000000000"),
        (turned, "its file says that it is turned, and what is read in parts is not; found orien"),
        (one_tile_of_a_gigabyte, "this kind of TIFF is not read in parts; found 3 bands of 8 bits"),
        (of_type("int16"), "this array is not a picture; found values of type int16, expected "),
        (of_type("complex64"), "this kind of TIFF is not read in parts; found 1 band of 64 bits, "),
        (of_type("float32"), "it is not known how bright these floating-point values are; found 0"),
        (many_bands, "the picture has 5 bands, and not all of them are colours or alpha; found "),
        (
            lengths_of_much,
            "a tile or strip is far larger than what is in it; found 1,048,576 bytes",
        ),
    ],
)
def test_a_file_that_cannot_be_read_leaves_nothing(predict, damage, message):
    scan("photos/big.tif", compression="zlib")
    scan("photos/well.tif")
    damage("photos/big.tif")
    report = predict("photos", "-o", "out", "--tile", "64", "--json", code=1)
    bad, well = report["pictures"]
    assert bad["message"].startswith(f"photos/big.tif: {message}"), bad["message"]
    assert well["size"] == [150, 120]
    assert sorted(os.listdir("out")) == ["errors.jsonl", "well.tif"]


def test_directories_in_a_circle_are_counted_once(predict):
    scan("big.tif")
    content = bytearray(Path("big.tif").read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    (number,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * number, at)
    Path("big.tif").write_bytes(content)
    report = predict("big.tif", "-o", "out", "--tile", "64", "--json")
    assert report["pictures"][0]["notes"] == []


def test_pages_beyond_the_first_are_said():
    with tifffile.TiffWriter("a.tif") as file:
        for seed in range(3):
            file.write(values_of((40, 40), seed=seed), photometric="minisblack", tile=(16, 16))
    with on_disk("a.tif") as picture:
        np.testing.assert_array_equal(picture.rows(3, 9).image[..., 0], values_of((40, 40))[3:9])
        assert picture.notes == ("the first of 3 frames",)


def test_rows_too_many_to_be_held_are_refused(monkeypatch):
    monkeypatch.setattr(parts, "MOST_HELD", 100 * 49)  # 49: of a row of whole tiles, about
    save("a.tif", values_of((200, 40)), tile=(16, 16))
    with on_disk("a.tif") as picture:
        picture.rows(0, 100)
        with pytest.raises(
            PictureTooLargeError, match=r"^a\.tif: 101 rows of it are too large to be held"
        ):
            picture.rows(0, 101)


def test_strips_too_large_to_be_decoded_are_refused(monkeypatch):
    monkeypatch.setattr(parts, "MOST_AT_ONCE", 1000)
    monkeypatch.setattr(parts, "FINER", 400)
    save("a.tif", values_of((200, 40)), rowsperstrip=200, compression="zlib")
    with pytest.raises(PictureTooLargeError) as caught, on_disk("a.tif"):
        pass
    assert str(caught.value) == (
        "a.tif: its tiles or strips are too large to be read in parts; found 8,000 bytes side by "
        "side, expected at most 1,000. Save it in tiles of 512 pixels a side"
    )
    save("a.tif", values_of((200, 40)), rowsperstrip=200)  # which can be cut
    with on_disk("a.tif") as picture:
        assert picture.rows(3, 7).image.shape == (4, 40, 3)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"hello" * 9])
def test_what_is_no_tiff_is_not_large(content):
    Path("a.tif").write_bytes(content)
    assert not is_larger("a.tif", 1)
    assert not is_larger("none.tif", 1)
    with pytest.raises(PictureError), on_disk("a.tif"):
        pass


# --- memory, and a kill --------------------------------------------------------------------------


def test_held_are_the_rows_of_windows_not_those_of_the_picture(monkeypatch):
    """Four times as many rows take no more memory; all of them would take 5 MB as floats."""
    monkeypatch.setattr(parts, "AT_ONCE", 1 << 14)
    predictor = predictor_of(nn.Conv2d(3, 1, 1), tile=64)
    peaks = []
    for height in (400, 1600):
        save("a.tif", np.zeros((height, 256, 3), np.uint8), tile=(64, 64), compression="zlib")
        tracemalloc.start()
        try:
            with on_disk("a.tif") as picture:
                rows = sum(len(found.mask) for _, found in found_in(predictor, picture))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert rows == height
    assert peaks[1] < 1.2 * peaks[0] < 3e6


KILLED = """
import os, signal, sys
from segzoo.pictures.tiled import TiledTiff
real, written = TiledTiff._write_tiles, 0
def killing(self):
    global written
    written += 1
    if written == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self)
TiledTiff._write_tiles = killing
from segzoo.cli.main import main
main()
"""


@pytest.mark.slow
def test_a_process_killed_within_a_picture_leaves_nothing_and_goes_on(predict, tmp_path):
    scan("photos/big.tif", height=1400)
    arguments = ["photos", "-o", "out", "--tile", "64", "--resume"]
    segzoo.load("bright").save_pretrained("bright")
    path = os.pathsep.join(p for p in sys.path if p.endswith("support"))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "predict", "./bright", *arguments, "--max-pixels", "5000"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not os.path.exists("out/big.tif")
    assert predict(*arguments, "--json")["written"] == 1
    assert sorted(os.listdir("out")) == ["big.tif", "done.jsonl"]
    mask = tifffile.imread("out/big.tif")
    assert (mask == segzoo.load("./bright").predict("photos/big.tif", tile=64).mask).all()


@pytest.mark.slow
def test_a_large_picture_fits_under_a_limit_of_memory(predict):
    """100 million pixels within 400 MB beyond the model; as floats they are 1.2 GB."""
    with (
        open("big.tif", "wb") as file,
        TiledTiff(
            file, (10_000, 10_000), like=np.zeros((1, 1, 3), np.uint8), software=b"a test"
        ) as big,
    ):
        big.shape = (10_000, 3)
        for _ in range(20):
            big.add(np.zeros((500, 10_000, 3), np.uint8))
    segzoo.load("bright").save_pretrained("bright")

    def child():
        segzoo.load("./bright").predict(values_of((64, 64, 3)))
        with open("/proc/self/status") as status:
            data = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
        limit = data * 1024 + 400_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        line = ["predict", "./bright", "big.tif", "-o", "out"]
        assert run([*line, "--max-pixels", "200000000"]) == 3  # as a whole it does not fit
        return run(line)

    assert forked(child, Path("log.txt")).wait() == 0, Path("log.txt").read_text()
    with tifffile.TiffFile("out/big.tif") as read:
        assert read.pages[0].shape == (10_000, 10_000)
