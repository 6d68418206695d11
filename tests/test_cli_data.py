"""segzoo data: what a person or a script reads of a data set, its faults and its pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from layouts import photo, save, stripes
from PIL import Image

from segzoo.cli.main import run
from segzoo.data.source import open_data

BLACK_AND_WHITE = "Masks of black and white: say values=0,255"


def said(capsys, *arguments, code=0):
    assert run(["data", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def complaint(capsys, *arguments, code):
    assert run(["data", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def pair(folder: Path, name: str, mask, *, seed: int = 0, ending: str = ".png") -> None:
    """A picture of 6x8 pixels in images/ and its mask in masks/."""
    save(folder / f"images/{name}.png", photo(seed))
    save(folder / f"masks/{name}{ending}", mask)


@pytest.fixture
def cells(tmp_path):
    """Three sound pairs of two classes."""
    for seed, name in enumerate("abc"):
        pair(tmp_path, name, stripes(0, 1), seed=seed)
    return tmp_path


# --- check ---------------------------------------------------------------------------------------


def test_a_sound_set(capsys, cells):
    lines = said(capsys, "check", f"{cells}?classes=background,cell").splitlines()
    assert lines[0] == f"{cells}?classes=background,cell: 3 samples"
    assert lines[1] == "size     smallest 6x8, median 6x8, largest 6x8 (H x W)"
    pictures = np.stack([np.asarray(photo(seed)) for seed in range(3)]).reshape(-1, 3) / 255
    for line, name in ((2, "mean"), (3, "std")):
        numbers = " ".join(f"{value:.4f}" for value in getattr(pictures, name)(axis=0))
        assert lines[line] == f"{name:<9}{numbers} (RGB in 0..1)"
    assert lines[5:8] == [
        "CLASS  NAME        PIXELS   SHARE  PICTURES",
        "    0  background      72  50.00%         3",
        "    1  cell            72  50.00%         3",
    ]
    assert lines[-1] == "0 faults, 0 notes"


def test_what_is_ignored_is_said(capsys, cells):
    pair(cells, "d", stripes(255), seed=9)
    out = said(capsys, "check", f"{cells}?classes=a,b,c&ignore_index=255")  # M3, M4
    assert "ignored  48 pixels, 25.0%\n" in out
    assert "note     1 x masks whose pixels are all ignored\n           d\n" in out
    assert "note     1 x classes that no pixel has\n           c\n" in out
    assert out.endswith("0 faults, 2 notes\n")


def test_json(capsys, cells):
    pair(cells, "d", stripes(0, 7), seed=9)
    words = f"{cells}?classes=a,b"
    record = json.loads(said(capsys, "check", words, "--json", code=3))
    assert (record["data"], record["ok"], record["samples"]) == (words, False, 4)
    assert record["faults"] == [
        {
            "problem": "the target holds values that are no class",
            "count": 1,
            "items": [{"name": "d", "detail": "found 7 (24 pixels), expected 0 to 1"}],
            "next_step": "Give the right number of classes, or their stored values in their "
            "order: values=A,B,C",
        }
    ]
    assert record["classes"][1] == {"index": 1, "name": "b", "pixels": 72, "pictures": 3}
    assert record["sizes"]["largest"] == [6, 8]


def antialiased(folder):
    smooth = Image.new("L", (96, 96))
    smooth.paste(255, (20, 20, 70, 70))
    smooth = smooth.rotate(20, Image.Resampling.BICUBIC)
    save(folder / "images/d.png", Image.new("RGB", (96, 96)))
    save(folder / "masks/d.jpg", smooth, quality=80)


def in_colours(folder):
    pair(folder, "d", np.stack([stripes(0, 128), stripes(0), stripes(0)], axis=2))


def of_floats(folder):
    pair(folder, "d", Image.fromarray(stripes(0, 1).astype(np.float32) / 2), ending=".tiff")


def cut_in_half(folder):
    pair(folder, "d", stripes(0, 1))
    file = folder / "images/d.png"
    file.write_bytes(file.read_bytes()[:120])


VALUES = "the target holds values that are no class"


@pytest.mark.parametrize(
    ("spoil", "problem", "next_step", "detail"),
    [
        pytest.param(
            lambda f: pair(f, "d", stripes(0, 7)), VALUES,
            "Give the right number of classes, or their stored values in their order: values=A,B,C",
            "d: found 7 (24 pixels), expected 0 to 2", id="M1-label-7-of-3",
        ),
        pytest.param(
            lambda f: pair(f, "d", stripes(0, 1, 255)), VALUES,
            "If 255 does not count, say ignore_index=255",
            "d: found 255 (16 pixels), expected 0 to 2", id="M1-255-undeclared",
        ),
        pytest.param(
            lambda f: pair(f, "d", stripes(0, 255)), VALUES, BLACK_AND_WHITE,
            "d: found 255 (24 pixels), expected 0 to 2", id="M1-black-and-white",
        ),
        pytest.param(
            antialiased, VALUES,
            "A mask that was compressed with loss, or smoothed? If it is black and white, say "
            "threshold=128",
            "d: found 255 (", id="M1-antialiased-jpeg",
        ),
        pytest.param(
            of_floats, "the mask holds fractions, not whole numbers",
            "If all from a value on is one class, say so: threshold=0.5",
            "masks/d.tiff: found 0.5 and so on in 24 places, expected values of classes",
            id="M1-float",
        ),
        pytest.param(
            in_colours, "the mask is a picture in colours",
            "Say what the colours mean: palette=#000000,#ff0000 in the order of classes",
            "masks/d.png: found #000000 (24 pixels), #800000 (24 pixels), expected values of "
            "classes", id="M1-colours",
        ),
        pytest.param(
            lambda f: pair(f, "d", stripes(0, 1)[:5]), "target is not as large as the picture", "",
            "d: found target 5x8, expected 6x8 (height x width)", id="M2-size",
        ),
        pytest.param(
            lambda f: pair(f, "d", stripes(0, 1).T),
            "target is not as large as the picture: its height and width are exchanged", "",
            "d: found target 8x6, expected 6x8 (height x width)", id="M2-swapped",
        ),
        pytest.param(cut_in_half, None, "", "images/d.png", id="unreadable"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_used(capsys, cells, spoil, problem, next_step, detail):
    spoil(cells)
    lines = said(capsys, "check", f"{cells}?classes=a,b,c", code=3).splitlines()
    (place,) = (n for n, line in enumerate(lines) if line.startswith("FAULT    1 x "))
    if problem is not None:
        assert lines[place] == f"FAULT    1 x {problem}" + f". {next_step}" * bool(next_step)
    assert detail in lines[place + 1]
    assert lines[0].endswith(": 4 samples")
    assert lines[-1].startswith("1 fault, ")
    assert any(line.split()[:2] == ["1", "b"] and "72" in line for line in lines)


@pytest.mark.parametrize(
    ("spoil", "kind", "names"),
    [
        pytest.param(
            lambda f: save(f / "images/x.png", photo(1)), "pictures without a mask", ["x.png"],
            id="M2-no-mask",
        ),
        pytest.param(
            lambda f: save(f / "masks/x.png", stripes(0)), "masks without a picture", ["x.png"],
            id="M2-no-picture",
        ),
        pytest.param(
            lambda f: save(f / "images/a.jpg", photo(1)), "files of one name", ["a.png", "a.jpg"],
            id="M2-one-stem",
        ),
        pytest.param(
            lambda f: (save(f / "images/X.png", photo(1)), save(f / "masks/x.png", stripes(0))),
            "names that differ in case alone", ["X.png", "x.png"], id="M2-case",
        ),
    ],
)  # fmt: skip
def test_files_that_make_no_pair(capsys, cells, spoil, kind, names):
    spoil(cells)
    message = complaint(capsys, "check", cells, code=3)
    assert message.startswith(f"segzoo: {cells}: pictures and masks do not make pairs; found ")
    assert kind in message and all(name in message for name in names)


def test_an_empty_folder(capsys, tmp_path):  # M4
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
    message = complaint(capsys, "check", tmp_path, code=3)
    assert message.startswith(f"segzoo: {tmp_path}/images: there are no pictures; found no files")


def test_one_sample_alone(capsys, tmp_path):  # M4
    pair(tmp_path, "a", stripes(0))
    out = said(capsys, "check", f"{tmp_path}?classes=a,b")
    assert "1 sample\n" in out and out.endswith("0 faults, 1 note\n")


def test_masks_that_nothing_explains(capsys, tmp_path):
    pair(tmp_path, "a", stripes(0, 255))
    out = said(capsys, "check", tmp_path)
    assert "VALUE    PIXELS   SHARE  PICTURES\n    0        24  50.00%         1\n" in out
    assert (
        f"note     nothing says which classes there are: values are not judged. {BLACK_AND_WHITE}\n"
    ) in out
    assert VALUES in said(capsys, "check", tmp_path, "--classes", 2, code=3)
    assert said(capsys, "check", tmp_path, "--classes", 1).endswith("0 faults, 0 notes\n")
    assert "ignored  24 pixels, 50.0%\n" in said(
        capsys, "check", tmp_path, "--classes", 2, "--ignore-index", 255
    )


def test_many_values_are_not_all_listed(capsys, tmp_path):
    save(tmp_path / "images/a.png", Image.new("RGB", (16, 16)))
    save(tmp_path / "masks/a.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    lines = said(capsys, "check", tmp_path).splitlines()
    assert lines[lines.index("and 216 more") - 1].split()[0] == "39"


def test_twenty_files_are_listed(capsys, tmp_path):
    for n in range(25):
        pair(tmp_path, f"n{n:02}", stripes(0, 255), seed=n)
    lines = said(capsys, "check", tmp_path, "--classes", 2, code=3).splitlines()
    place = lines.index(f"FAULT    25 x {VALUES}. {BLACK_AND_WHITE}")
    assert [line.split(":")[0].strip() for line in lines[place + 1 : place + 21]] == [
        f"n{n:02}" for n in range(20)
    ]
    assert lines[place + 21 :] == ["           and 5 more", "25 faults, 0 notes"]


def test_pictures_of_the_test_set(capsys, cells, tmp_path_factory):
    test = tmp_path_factory.mktemp("test")
    pair(test, "z", stripes(1), seed=1)  # the picture of b
    pair(test, "y", stripes(0, 1), seed=77)
    pair(cells, "d", stripes(1, 0), seed=0)  # the picture of a
    words = f"{cells}?classes=a,b"
    out = said(capsys, "check", words, "--against", test, code=3)
    assert f"FAULT    1 x pictures that are in {test} too\n           b: is z there\n" in out
    assert (
        "note     1 x pictures that the set has already, with another mask\n"
        "           d: is a again, with another mask\n"
    ) in out


def test_a_set_is_compared_with_its_held_out_part(capsys, tmp_path):
    for n in range(8):
        pair(tmp_path, f"n{n}", stripes(0, 1), seed=n // 2)
    words = f"{tmp_path}?classes=a,b&fold=0/2&seed=1"
    out = said(capsys, "check", words, code=3)
    assert "x pictures that are in its val part too\n" in out
    assert "too" not in said(capsys, "check", f"{words}&part=train")


@pytest.fixture
def parted(tmp_path):
    """The words of ten samples, and the names of the two that are held out."""
    for n in range(10):
        pair(tmp_path, f"n{n}", stripes(0, 1), seed=n)
    words = f"folder:{tmp_path}?classes=a,b&val=0.2"
    held_out = open_data(words, part="val")
    return words, [held_out.id_of(index) for index in range(len(held_out))]


@pytest.mark.parametrize("side", ["train", "val"])
def test_d5_both_parts_are_judged(capsys, tmp_path, parted, side):
    words, held_out = parted
    names = {"train": [f"n{n}" for n in range(10) if f"n{n}" not in held_out], "val": held_out}
    pair(tmp_path, names[side][0], stripes(0, 7), seed=int(names[side][0][1:]))
    out = said(capsys, "check", words, code=3)
    train, val = out.split("\n\nfolder:")
    assert train.startswith(f"{words}, its train part: 8 samples\n")
    assert val.startswith(f"{words}, its val part: 2 samples\n".removeprefix("folder:"))
    fault = f"           {names[side][0]}: found 7 (24 pixels), expected 0 to 1\n1 fault, "
    parts = {"train": train, "val": val}
    other = parts.pop("val" if side == "train" else "train")
    assert fault in parts[side]
    assert "\n0 faults, " in other

    report = json.loads(said(capsys, "check", words, "--json", code=3))
    assert report["ok"] is False
    counts = [sum(f["count"] for f in part["faults"]) for part in (report, report["val"])]
    assert counts == ([1, 0] if side == "train" else [0, 1])
    assert (report["samples"], report["val"]["samples"], report["val"]["val"]) == (8, 2, None)


def test_d5_two_good_parts_are_good_and_one_part_is_one(capsys, parted):
    words, _ = parted
    report = json.loads(said(capsys, "check", words, "--json"))
    assert report["ok"] is True
    pixels = [sum(c["pixels"] for c in part["classes"]) for part in (report, report["val"])]
    assert pixels == [8 * 48, 2 * 48]
    assert json.loads(said(capsys, "check", f"{words}&part=val", "--json"))["val"] is None


def test_d5_the_held_out_part_is_compared_with_the_test_set(capsys, parted, tmp_path_factory):
    words, held_out = parted
    test = tmp_path_factory.mktemp("test")
    pair(test, "z", stripes(0, 1), seed=int(held_out[0][1:]))
    report = json.loads(said(capsys, "check", words, "--against", test, "--json", code=3))
    assert report["faults"] == []
    [fault] = report["val"]["faults"]
    assert fault["problem"] == f"pictures that are in {test} too"
    assert [item["name"] for item in fault["items"]] == [held_out[0]]


@pytest.mark.parametrize("workers", [0, 1])
def test_processes_say_the_same(capsys, cells, workers):
    pair(cells, "d", stripes(0, 7), seed=9)
    out = said(capsys, "check", f"{cells}?classes=a,b", "--workers", workers, code=3)
    assert "           d: found 7 (24 pixels), expected 0 to 1\n" in out
    assert out.endswith("1 fault, 0 notes\n")


def test_names_of_files_cannot_move_the_cursor(capsys, tmp_path):
    pair(tmp_path, "a\x1b[2Jb", stripes(0, 9))
    out = said(capsys, "check", f"{tmp_path}?classes=a,b", code=3)
    assert "\x1b" not in out and "a\\x1b[2Jb: found 9" in out


def test_a_preview_is_a_page_too(tmp_path, capsys):
    for name, value in (("a", 0), ("b", 255)):
        for folder, size in (("images", (900, 1400)), ("masks", (900, 1400))):
            (tmp_path / folder).mkdir(exist_ok=True)
            pixels = np.full(size, value, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}<b>.png")
    out = tmp_path / "cells.html"
    printed = said(capsys, "preview", f"{tmp_path}?values=0,255&classes=sky,<i>cell", "-o", out)
    html = out.read_text("utf-8")
    assert printed == f"{out}: 2 samples\n"
    assert html.count("data:image/jpeg") == 2 * 3 and html.count('class="card exhibit') == 2
    assert "900 x 1400" in html and "&lt;i&gt;cell" in html
    assert "<b>" not in html and "<i>cell" not in html
    assert len(html) < 1_000_000
    said(capsys, "preview", f"{tmp_path}?values=0,255", "-o", out)  # ours, and written anew


# --- preview -------------------------------------------------------------------------------------


def opened(path):
    with Image.open(path) as im:
        assert im.format == "PNG"
        return np.asarray(im)


def test_a_sheet_of_samples(capsys, cells, tmp_path):
    out = tmp_path / "sheet.png"
    assert said(capsys, "preview", cells, "-o", out) == f"{out}: 3 samples\n"
    sheet = opened(out)
    picture = np.asarray(photo(0)).repeat(32, axis=0).repeat(32, axis=1)
    np.testing.assert_array_equal(sheet[38 : 38 + 6 * 32, 16 : 16 + 8 * 32], picture)


def test_the_seed_chooses_samples_and_draws(capsys, tmp_path):
    for n in range(30):
        pair(tmp_path, f"n{n}", stripes(0, 1), seed=n)
    out = tmp_path / "sheet.png"

    def sheet(seed, *arguments):
        said(capsys, "preview", tmp_path, *arguments, "--seed", seed, "-o", out)
        return opened(out)

    assert (sheet(0, "-n", 4) == sheet(0, "-n", 4)).all()
    assert (sheet(0, "-n", 4) != sheet(1, "-n", 4)).any()
    every = ("augment=flip", "-n", 30)  # so that the samples are the same
    assert (sheet(0, *every) == sheet(0, *every)).all()
    assert (sheet(0, *every) != sheet(1, *every)).any()


def test_samples_as_a_model_trains_on_them(capsys, cells, tmp_path):
    out = tmp_path / "sheet.png"
    words = f"{cells}?classes=background,cell"
    said(capsys, "preview", words, "--model", "u2netp", "crop=50,40", "-n", 1, "-o", out)
    assert opened(out).shape[1] == 16 + 3 * (40 * 3 + 4) - 4 + 16  # of 192 rows a crop fills 150
    said(capsys, "preview", words, "size=96,48", "crop=none", "-n", 1, "-o", out)
    assert opened(out).shape[1] == 16 + 3 * (48 * 2 + 4) - 4 + 16


def test_what_a_recipe_ignores_is_striped(capsys, tmp_path):
    pair(tmp_path, "a", stripes(0, 1, 255))
    out = tmp_path / "sheet.png"
    said(capsys, "preview", f"{tmp_path}?classes=a,b", "ignore_index=255", "-o", out)
    assert (opened(out) == 188).all(axis=2).sum() > 1000


def test_a_sample_that_does_not_fit_the_model_is_named(capsys, tmp_path):
    pair(tmp_path, "a", stripes(0, 7))
    out = tmp_path / "sheet.png"
    words = f"{tmp_path}?classes=a,b"
    message = complaint(capsys, "preview", words, "--model", "u2netp", "-o", out, code=3)
    assert message.startswith("segzoo: a: the target holds values that are no class; found 7 (24")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-o", "sheet.jpg"],
            "the sheet is a PNG or a page; found sheet.jpg, expected -o FILE.png",
        ),
        (
            ["--recipe", "seed"],
            "a recipe is a model's. Add: --model NAME --recipe seed",
        ),
        (["--model", "u2nett"], "no model 'u2nett'. Did you mean 'u2net"),
        (
            ["crops=3"],
            "the recipe cannot be changed: 'crops' is not a field (did you mean 'crop'?)",
        ),
        (["--model", "u2netp", "--recipe", "sed"], "no recipe 'sed'; expected seed"),
    ],
)
def test_a_sheet_that_cannot_be_made(capsys, cells, monkeypatch, arguments, message):
    monkeypatch.chdir(cells)
    assert message in complaint(capsys, "preview", cells, *arguments, code=2)
    assert not list(cells.glob("*.*"))


STREAM = """
import numpy as np
from segzoo.spec import ReaderSpec

SPEC = ReaderSpec(summary="a stream", open="acme_stream:open_stream")

class Stream:
    def __iter__(self):
        for n in range(9):
            image = np.full((6, 8, 1), n, np.uint8)
            yield {"image": image, "target": np.eye(6, 8, n, np.uint8), "id": f"s{n}"}

def open_stream(path):
    return Stream()
"""


def test_a_stream_of_somebodys_reader(capsys, tmp_path, monkeypatch):
    plugin = tmp_path / "acme-1.2.dist-info"
    save(plugin / "METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    save(plugin / "entry_points.txt", "[segzoo.readers]\nacme = acme_stream:SPEC\n")
    save(tmp_path / "acme_stream.py", STREAM)
    monkeypatch.syspath_prepend(tmp_path)
    assert "acme:x: 9 samples\n" in said(capsys, "check", "acme:x", "--classes", 2)
    out = tmp_path / "sheet.png"
    for changes in ([], ["augment=flip"]):
        printed = said(capsys, "preview", "acme:x", *changes, "-n", 3, "-o", out)
        assert printed == f"{out}: 3 samples\n"
    assert (opened(out)[38:230, 16:272] == 0).all()  # the picture of s0


# --- compose-digits ------------------------------------------------------------------------------


def test_digits_are_composed_and_sound(capsys, tmp_path):
    out = tmp_path / "digits"
    source = tmp_path / "source.npz"
    images = np.zeros((40, 5, 4), np.uint8)
    images[:, 1:4, 1:3] = np.arange(40)[:, None, None] + 100
    np.savez(source, images=images, labels=np.arange(40) % 10)
    words = said(
        capsys, "compose-digits", out, "--from", source, "--count", 20, "--size", "30,40",
        "--val", 0.25, "--test", 0.25, "--most", 2, "--seed", 3,
    ).split()  # fmt: skip
    assert words == [f"arrays:{out / part}.npz" for part in ("train", "val", "test")]
    with np.load(out / "train.npz") as arrays:
        assert arrays["images"].shape == (10, 30, 40)
        assert arrays["index"].shape == (10, 2)
    out = said(capsys, "check", words[0], "--classes", 11, "--against", words[1])
    assert "   10" in out and "10 samples" in out and "0 faults" in out


@pytest.mark.parametrize("size", ["64", "a,b", "1,2,3", ""])
def test_a_size_is_two_numbers(capsys, tmp_path, size):
    message = complaint(capsys, "compose-digits", tmp_path / "x", "--size", size, code=2)
    assert message == f"segzoo: --size {size!r}; expected height,width: 64,84\n"
    assert not (tmp_path / "x").exists()


# --- readers -------------------------------------------------------------------------------------


def test_readers_are_shown_with_their_options(capsys):
    lines = said(capsys, "readers").splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("camvid "))
    assert [line.strip() for line in lines[place : place + 4]] == [
        "camvid      CamVid: streets from a car, 11 classes, or 31 in the original files",
        "split=train, classes=11, palette",
        "licence: original: not stated; SegNet's files: CC BY-NC 4.0",
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    ]
    assert lines[-1].startswith("Every reader also takes split=FROM:TO, and val=SHARE")


def test_readers_as_json(capsys):
    rows = {row["name"]: row for row in json.loads(said(capsys, "readers", "--json"))}
    folder = rows["folder"]
    assert folder["plugin"].startswith("segzoo-core ") and folder["problem"] == ""
    assert folder["summary"] == "pictures and masks in folders, paired by name"
    assert folder["options"]["suffix"]["default"] == ""
    assert {*rows} >= {"arrays", "coco", "hf", "shards", "voc"}


def test_a_reader_that_is_broken_is_a_row(capsys, tmp_path, monkeypatch):
    plugin = tmp_path / "acme-1.2.dist-info"
    save(plugin / "METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    save(
        plugin / "entry_points.txt",
        "[segzoo.readers]\nlost = nowhere:SPEC\nodd = acme_odd:SPEC\n",
    )
    save(tmp_path / "acme_odd.py", "raise RuntimeError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = said(capsys, "readers")
    assert (
        "lost        cannot be used: ModuleNotFoundError: No module named 'nowhere'\n"
        "            acme 1.2\n"
        "nyudv2 "
    ) in out
    assert "odd         cannot be used: RuntimeError: not today\n" in out
    rows = {row["name"]: row for row in json.loads(said(capsys, "readers", "--json"))}
    assert rows["lost"] == {
        "name": "lost",
        "plugin": "acme 1.2",
        "problem": "ModuleNotFoundError: No module named 'nowhere'",
    }
