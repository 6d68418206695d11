"""segzoo predict as a person meets it: inputs, outputs, mishaps, and what is left on the disk."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segzoo
from segzoo.base import formats
from segzoo.cli import jobs, outcomes
from segzoo.cli.jobs import InputFolder, Layout
from segzoo.cli.main import run
from segzoo.errors import OutputError, UsageError
from segzoo.pictures import codec, kinds
from segzoo.predict import outputs

MODELS = ("bright", "strongest", "picky")
INSTALLED = ",".join(f"{name}=bright:{name.upper()}" for name in MODELS)


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    """The models of support/bright.py are installed; a test works in an empty folder."""
    monkeypatch.setenv("SEGZOO_MODELS", INSTALLED)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folders of saved models: models with weights."""
    root = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGZOO_MODELS", INSTALLED)
        for name in MODELS:
            segzoo.load(name).save_pretrained(root / name)
    return root


@pytest.fixture
def predict(saved, capsysbinary):
    """Runs `segzoo predict MODEL ...`; gives exit code, stdout and stderr."""

    def call(*arguments, model="bright", code=0):
        ref = str(saved / model)
        returned = run(["predict", ref, *map(str, arguments)])
        captured = capsysbinary.readouterr()
        out, err = captured.out, captured.err.decode("utf-8", "surrogateescape")
        assert "Traceback" not in err
        assert returned == code, err
        return out, err

    return call


def half_bright(height=6, width=8):
    """Bright in its upper half."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2] = (220, 230, 240)
    return image


def save(path, image=None, **options):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(half_bright() if image is None else image).save(path, **options)
    return path


def expected_mask(height=6, width=8):
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 255
    return mask


def values(path):
    with Image.open(path) as im:
        return np.asarray(im)


def mode(path):
    with Image.open(path) as im:
        return im.mode


def files(folder):
    """Every file below, hidden ones too, relative."""
    found = (os.path.join(root, n) for root, _, names in os.walk(folder) for n in names)
    return sorted(os.path.relpath(path, folder) for path in found)


# --- inputs and outputs --------------------------------------------------------------------------


def test_a_picture_gives_a_mask_of_its_size(predict):
    out, err = predict(save("photo.jpg"), "-o", "new/folder")
    assert files("new") == ["folder/photo.png"]
    np.testing.assert_array_equal(values("new/folder/photo.png"), expected_mask())
    assert (out, err) == (b"", "segzoo: 1 picture -> new/folder\n")


def test_one_kind_lies_in_the_folder_and_several_in_folders_of_their_own(predict):
    photo = save("photo.jpg")
    predict(photo, "-o", "one", "--as", "cutout")
    assert files("one") == ["photo.png"]
    assert mode("one/photo.png") == "RGBA"
    kinds = ["mask", "cutout", "color", "overlay", "probability"]
    predict(photo, "-o", "all", "--as", "mask, cutout,color", "--as=overlay,probability,mask")
    assert files("all") == sorted(f"{kind}/photo.png" for kind in kinds)
    modes = [mode(f"all/{kind}/photo.png") for kind in kinds]
    assert modes == ["L", "RGBA", "RGB", "RGB", "I;16"]


def test_a_file_ending_in_png_is_that_file(predict):
    _, err = predict(save("photo.jpg"), "-o", "result.PNG", "--as", "probability")
    assert err == "segzoo: 1 picture -> result.PNG\n"
    assert mode("result.PNG") == "I;16"
    assert files(".") == ["photo.jpg", "result.PNG"]


def test_stdin_to_stdout(predict, monkeypatch):
    content = io.BytesIO()
    Image.fromarray(half_bright()).save(content, "PNG")
    stdin = io.TextIOWrapper(io.BytesIO(content.getvalue()))
    monkeypatch.setattr(sys, "stdin", stdin)
    out, err = predict("-", "-o", "-", "--as", "cutout")
    image = np.asarray(Image.open(io.BytesIO(out)))
    assert image.shape == (6, 8, 4)
    assert err == ""
    assert files(".") == []


def test_stdin_to_a_folder_and_a_file_to_stdout(predict, monkeypatch):
    content = save("photo.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    predict("-", "-o", "out")
    assert files("out") == ["stdin.png"]
    out, _ = predict("photo.png", "-o", "-")
    assert out == Path("out/stdin.png").read_bytes()


def test_a_folder_gives_its_pictures_and_with_r_those_of_its_folders(predict):
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "sub/deep/d.tiff", ".hidden/e.png", ".f.png"):
        save(f"photos/{name}")
    Path("photos/notes.txt").write_text("no picture")
    _, err = predict("photos", "-o", "flat")
    assert files("flat") == ["a.png", "b.png"]
    assert err == ("segzoo: 1 file of other kinds left out: 1 .txt\nsegzoo: 2 pictures -> flat\n")
    predict("photos/", "-r", "-o", "deep", "--as", "mask,color")
    names = ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]
    assert files("deep") == sorted(f"{k}/{n}" for k in ("mask", "color") for n in names)


def test_outputs_inside_the_input_folder_are_not_inputs(predict):
    save("photos/a.jpg")
    for _ in range(2):
        predict("photos", "-r", "-o", "photos/out", "--overwrite")
    assert files("photos") == ["a.jpg", "out/a.png"]


def test_hidden_files_named_themselves_are_inputs(predict):
    predict(save(".a.jpg"), "-o", "out")
    assert files("out") == [".a.png"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("photos/*.jpg", ["a.png", "b.png"]),
        ("photos/[ab].*", ["a.png", "b.png"]),
        ("photos/**/*.jpg", ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]),
        ("photos/**/d*", ["sub/deep/d.png"]),
        ("photos/*/?.jpg", ["sub/c.png"]),
        ("*/sub/**", ["photos/sub/c.png", "photos/sub/deep/d.png"]),
        ("{here}/photos/sub/*", ["c.png"]),
    ],
)
def test_a_quoted_glob_keeps_the_folders_below_its_first_wildcard(predict, pattern, names):
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "sub/deep/d.jpg", ".h/x.jpg"):
        save(f"photos/{name}")
    Path("photos/a.txt").write_text("no picture")
    predict(pattern.format(here=os.getcwd()), "-o", "out")
    assert files("out") == names


def test_a_file_whose_name_is_a_glob_is_that_file(predict):
    save("a.jpg")
    predict(save("[a].jpg"), "-o", "out")
    assert files("out") == ["[a].png"]


def test_several_classes(predict):
    image = np.eye(3, dtype=np.uint8)[None] * 255
    save("photo.png", image)
    out, _ = predict(
        "photo.png", "-o", "out", "--as", "mask,color,cutout", "--json", model="strongest"
    )
    (record,) = json.loads(out)["pictures"]
    assert record["classes"] == {"0": 1, "1": 1, "2": 1}
    assert values("out/mask/photo.png").tolist() == [[0, 1, 2]]
    assert values("out/color/photo.png").tolist() == [[[0, 0, 0], [128, 0, 0], [0, 128, 0]]]
    assert values("out/cutout/photo.png")[..., 3].tolist() == [[0, 255, 255]]


def test_a_background_makes_cutouts_on_it(predict):
    save("photo.png")
    predict("photo.png", "-o", "white", "--background", "white")
    image = values("white/photo.png")
    assert image.shape == (6, 8, 3)
    np.testing.assert_array_equal(image[:3], half_bright()[:3])
    assert (image[3:] >= 254).all()
    save("wall.png", np.full((2, 2, 3), (0, 0, 99), np.uint8))
    predict("photo.png", "-o", "wall", "--background", "wall.png", "--as", "mask,cutout")
    assert values("wall/cutout/photo.png")[5, 0].tolist() == [0, 0, 99]
    assert mode("wall/mask/photo.png") == "L"


def test_crop(predict):
    image = np.zeros((9, 9, 3), np.uint8)
    image[2:5, 3:8] = 255
    save("photo.png", image)
    save("dark.png", np.zeros((4, 5, 3), np.uint8))
    _, err = predict("photo.png", "dark.png", "-o", "out", "--crop", "--as", "mask,cutout")
    assert values("out/mask/photo.png").tolist() == [[255] * 5] * 3
    assert values("out/cutout/photo.png").shape == (3, 5, 4)
    assert values("out/mask/dark.png").shape == (4, 5)
    assert "segzoo: dark.png: nothing was found, so it is not cropped\n" in err


def test_threshold(predict):
    save("photo.png", np.full((2, 2, 3), 130, np.uint8))  # a probability of 0.55
    predict("photo.png", "-o", "low")
    predict("photo.png", "-o", "high", "--threshold", "0.6")
    assert values("low/photo.png").tolist() == [[255] * 2] * 2
    assert values("high/photo.png").tolist() == [[0] * 2] * 2


def test_all_heads_lie_in_folders_of_their_own(predict):
    save("photo.png")
    predict("photo.png", "-o", "out", "--heads", "all")
    assert files("out") == ["head-0/photo.png", "head-1/photo.png"]
    np.testing.assert_array_equal(values("out/head-0/photo.png"), expected_mask())
    np.testing.assert_array_equal(values("out/head-1/photo.png"), 255 - expected_mask())
    predict("photo.png", "-o", "two", "--heads", "all", "--as", "mask,color")
    assert files("two") == [f"head-{n}/{kind}/photo.png" for n in (0, 1) for kind in KINDS_TWO]


KINDS_TWO = ("color", "mask")


def test_a_network_without_side_outputs_says_so(predict):
    save("photo.png")
    _, err = predict("photo.png", "-o", "out", "--heads", "all", model="strongest", code=2)
    assert err == "segzoo: Strongest has no side outputs. Ask for the final prediction alone\n"
    assert not os.path.exists("out")


# --- a program's view ----------------------------------------------------------------------------


def test_json(predict, saved):
    save("photos/a.png", half_bright(5, 4))
    Path("photos/b.png").write_text("hello")
    Image.new("1", (3, 2), 1).save(
        "photos/c.gif", save_all=True, append_images=[Image.new("1", (3, 2))]
    )
    out, err = predict("photos", "-o", "out", "--as", "mask,color", "--json", code=1)
    assert json.loads(out) == {
        "model": str(saved / "bright"),
        "weights": None,
        "left_out": {},
        "device": "cpu",
        "runtime": "torch",
        "precision": "fp32",
        "pictures": [
            {
                "input": "photos/a.png",
                "size": [5, 4],
                "tiles": [1, 1],
                "network_input": [3, 5, 4],
                "logits": [1, 5, 4],
                "outputs": {"mask": "out/mask/a.png", "color": "out/color/a.png"},
                "classes": {"foreground": 8},
                "notes": [],
            },
            {
                "input": "photos/b.png",
                "error": "PictureError",
                "message": "photos/b.png: not a picture that segzoo reads, or its header is "
                "damaged; found a file that begins with b'hello', expected PNG, JPEG, WEBP, TIFF, "
                "BMP, GIF, PPM or AVIF",
            },
            {
                "input": "photos/c.gif",
                "size": [2, 3],
                "tiles": [1, 1],
                "network_input": [3, 2, 3],
                "logits": [1, 2, 3],
                "outputs": {"mask": "out/mask/c.png", "color": "out/color/c.png"},
                "classes": {"foreground": 6},
                "notes": ["the first of 2 frames"],
            },
        ],
        "written": 2,
        "skipped": 0,
        "failed": 1,
    }
    assert "segzoo: photos/c.gif: the first of 2 frames\n" in err


def test_json_is_whole_when_the_work_is_interrupted(predict, monkeypatch, ctrl_c):
    monkeypatch.setattr("bright.Bright.forward", _interrupting(after=1))
    for n in range(30):
        save(f"photos/{n:02}.png")
    out, err = predict("photos", "-o", "out", "--json", "--batch-size", "1", code=130)
    assert json.loads(out)["failed"] == 0
    written = json.loads(out)["written"]
    assert 1 <= written < 30
    assert len(files("out")) == written
    assert f"segzoo: interrupted; {written} of 30 pictures are done, " in err


@pytest.fixture
def ctrl_c():
    """Ctrl-C as at a terminal, also where the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupting(*, after):
    """A network's forward that sends Ctrl-C to its process in place of a later batch."""
    calls = 0

    def forward(self, x):
        nonlocal calls
        calls += 1
        if calls > after:
            signal.raise_signal(signal.SIGINT)
        return x.mean(1, keepdim=True)

    return forward


def test_random_init_runs_without_weights_and_prints_the_sizes(capsys):
    save("photo.png", half_bright(5, 4))
    assert run(["predict", "bright", "photo.png", "-o", "out"]) == 2
    assert capsys.readouterr().err.startswith("segzoo: bright has no weights; found none. ")
    assert not os.path.exists("out")
    assert run(["predict", "bright", "photo.png", "-o", "out", "--random-init", "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out == (
        "photo.png: picture (5, 4), input (3, 5, 4), logits (1, 5, 4), mask (5, 4)\n"
    )
    assert files("out") == ["photo.png"]


def test_a_large_picture_in_tiles(predict):
    save("photo.png", half_bright(100, 70))
    predict("photo.png", "-o", "whole", "--as", "probability")
    out, _ = predict(
        *("photo.png", "-o", "tiled", "--as", "probability"),
        *("--tile", "48", "--overlap", "8", "--json"),
    )
    difference = values("tiled/photo.png").astype(int) - values("whole/photo.png")
    assert np.abs(difference).max() <= 1
    (record,) = json.loads(out)["pictures"]
    assert record["size"] == [100, 70]
    assert record["tiles"] == [3, 2]
    assert record["network_input"] == [3, 39, 39]
    assert record["logits"] == [1, 39, 39]


def test_the_sizes_of_tiles_are_printed(capsys):
    save("photo.png", half_bright(100, 70))
    assert run(["predict", "bright", "photo.png", "-o", "out", "--random-init", "--tile=64"]) == 0
    assert capsys.readouterr().out == (
        "photo.png: picture (100, 70), input (3, 58, 43), logits (1, 58, 43), mask (100, 70) "
        "(2x2 windows; input and logits are the largest one's)\n"
    )


def test_a_seed_decides_the_random_values():
    save("photo.png", half_bright(8, 9))
    for seed, out in (("1", "a"), ("1", "b"), ("2", "c")):
        arguments = ["predict", "tiny:TINY", "photo.png", "-o", out, "--random-init"]
        assert run([*arguments, "--seed", seed, "--as", "probability"]) == 0
    assert Path("a/photo.png").read_bytes() == Path("b/photo.png").read_bytes()
    assert Path("a/photo.png").read_bytes() != Path("c/photo.png").read_bytes()


def test_weights_from_a_file(capsys, saved):
    save("photo.png")
    weights = saved / "bright" / "model.safetensors"
    assert run(["predict", "bright", "photo.png", "-o", "out", "--weights", str(weights)]) == 0
    np.testing.assert_array_equal(values("out/photo.png"), expected_mask())


def test_progress_is_shown_on_a_terminal_alone(predict, monkeypatch):
    for n in range(3):
        save(f"photos/{n}.png")
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        predict("photos", "-o", "a")
        predict("photos", "-o", "b", "--json")
        predict("photos", "-o", "c", "--quiet")
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "3/3" in shown
    assert "segzoo: 3 pictures -> a" in shown
    assert "-> b" not in shown
    assert "-> c" not in shown
    assert shown.count("0/3") == shown.split("-> a")[0].count("0/3") > 0
    _, err = predict("photos", "-o", "d")
    assert err == "segzoo: 3 pictures -> d\n"


def test_quiet_shows_errors_alone(predict):
    Image.new("1", (3, 2), 1).save("a.gif", save_all=True, append_images=[Image.new("1", (3, 2))])
    assert predict("a.gif", "-o", "out", "--quiet") == (b"", "")
    Path("b.png").write_text("hello")
    _, err = predict("b.png", "-o", "out", "-q", code=3)
    assert err.startswith("segzoo: b.png: not a picture")


# --- mishaps -------------------------------------------------------------------------------------


def test_a_picture_that_is_named_twice_is_one(predict):
    save("a.png")
    save("b.png")
    predict("a.png", "b.png", "./a.png", "-o", "out")
    assert files("out") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["a.jpg", "a.png", "-o", "out"],
            "several pictures would be written to one output: 1 pair: a.jpg and a.png -> "
            "out/a.png. Rename one of each pair, or write them to different folders",
            id="I13-stem",
        ),
        pytest.param(
            [".", "-r", "-o", "out", "--as", "color,mask"],
            "several pictures would be written to one output: 2 pairs: "
            "./a.jpg and ./a.png -> out/color/a.png and "
            "./sub/c.bmp and ./sub/c.jpg -> out/color/sub/c.png. "
            "Rename one of each pair, or write them to different folders",
            id="I13-folders",
        ),
        pytest.param(
            ["sub", "other", "-o", "out", "--overwrite"],
            "several pictures would be written to one output: 2 pairs: other/c.png and "
            "sub/c.bmp -> out/c.png and sub/c.bmp and sub/c.jpg -> out/c.png. "
            "Rename one of each pair, or write them to different folders",
            id="I13-two-folders",
        ),
        pytest.param(
            ["a.png", "-o", "."],
            "this would overwrite 1 input: {here}/a.png. Choose another folder with -o",
            id="I13-input",
        ),
        pytest.param(
            ["other/../a.png", "-o", "{here}", "--skip-existing"],
            "this would overwrite 1 input: {here}/a.png. Choose another folder with -o",
            id="I13-input-skip",
        ),
        pytest.param(
            ["a.png", "-o", "a.png", "--overwrite"],
            "this would overwrite 1 input: {here}/a.png. Choose another folder with -o",
            id="I13-input-file",
        ),
        pytest.param(
            ["a.png", "-o", "other/c.png"],
            "already there: 1 output: other/c.png. "
            "Give --skip-existing to leave such, or --overwrite to write them anew",
            id="C9-exists",
        ),
        pytest.param(
            ["a.png", "-o", "a.txt"],
            "a.txt: this is a file, not a folder",
            id="C9-file",
        ),
        pytest.param(
            ["a.png", "-o", "a.txt/deeper"],
            "a.txt/deeper: cannot be written: Not a directory",
            id="C9-below-a-file",
        ),
        pytest.param(
            ["other/c.png", "-o", "folders"],
            "folders/c.png: cannot be written: it is a folder",
            id="C9-folder",
        ),
        pytest.param(
            ["a.png", "-o", "/proc/no/such"],
            "/proc/no/such: cannot be written: No such file or directory",
            id="C9-read-only",
        ),
        pytest.param(
            ["a.png", "-o", "result.jpg"],
            "result.jpg: outputs are PNG files, not .jpg. Give -o a .png",
            id="C9-jpg",
        ),
        pytest.param(
            ["a.png", "other/c.png", "-o", "result.png"],
            "-o result.png holds one picture; found 2 inputs, 1 kind, "
            "expected one input, one kind and the final head. Give a folder with -o",
            id="C9-one-file",
        ),
        pytest.param(
            ["a.png", "-o", "-", "--heads", "all"],
            "-o - holds one picture; found 1 input, 1 kind, all heads, "
            "expected one input, one kind and the final head. Give a folder with -o",
            id="C9-one-stdout",
        ),
        pytest.param(
            ["a.png", "-o", "-", "--json"],
            "--json and -o - both write to standard output",
            id="json-stdout",
        ),
        pytest.param(
            ["no such.png", "-o", "out"],
            "no such.png: there is no such file or folder",
            id="missing",
        ),
        pytest.param(["no*.png", "-o", "out"], "no*.png: no picture matches", id="no-match"),
        pytest.param(["no/**", "-o", "out"], "no/**: no picture matches", id="no-glob-root"),
        pytest.param(
            ["folders", "-o", "out"],
            "folders: this folder holds no pictures; -r looks into its folders too",
            id="no-pictures",
        ),
        pytest.param(
            ["folders", "-r", "-o", "out"],
            "folders: this folder holds no pictures",
            id="no-pictures-recursive",
        ),
        pytest.param(
            ["a.png", "-", "-o", "out"],
            "-: there is no such file or folder. Standard input is an input on its own",
            id="stdin-and-more",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--as", "mask,cut-out"],
            "--as 'cut-out' is no output; expected mask, cutout, color, overlay, "
            "probability, confidence",
            id="kind",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--as", "mask", "--background", "white"],
            "--background is about cut-outs. Add --as cutout",
            id="background-of-a-mask",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--background", "whyte"],
            "the background 'whyte' is neither a colour nor a file; "
            "expected #ffcc00, a name such as white, or the path of a picture",
            id="background",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--skip-existing", "--overwrite"],
            "give --skip-existing or --overwrite, not both",
            id="skip-and-overwrite",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--random-init", "--weights", "x.safetensors"],
            "give --weights or --random-init, not both",
            id="weights-and-random",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--overlap", "8"],
            "overlap=8 is of tiles, and none is given. Give tile (--tile) too",
            id="overlap-without-tile",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--tile", "8", "--overlap", "8"],
            "overlap=8 is not below tile=8",
            id="overlap-of-the-tile",
        ),
        pytest.param(
            ["a.png", "-o", "out", "--random-init"],
            "{model} names weights, --random-init wants none",
            id="saved-and-random",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(predict, saved, arguments, message):
    for name in ("a.jpg", "a.png", "sub/c.jpg", "sub/c.bmp", "other/c.png"):
        save(name)
    Path("a.txt").write_text("a text")
    os.makedirs("folders/c.png")
    before = {name: Path(name).read_bytes() for name in files(".")}
    here = os.getcwd()
    out, err = predict(*(a.format(here=here) for a in arguments), code=2)
    assert out == b""
    assert err == f"segzoo: {message.format(here=here, model=saved / 'bright')}\n"
    assert {name: Path(name).read_bytes() for name in files(".")} == before
    assert not os.path.exists("out")


@pytest.mark.parametrize(
    "arguments",
    [["--threshold", "1.5"], ["--batch-size", "0"], ["--tile", "0"], ["--overlap", "-1"]],
)
def test_values_out_of_range(predict, arguments):
    save("a.png")
    _, err = predict("a.png", "-o", "out", *arguments, code=2)
    assert f"Invalid value for '{arguments[0]}'" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_an_error(predict):
    save("a.png")
    _, err = predict("a.png", "-o", "out", "--device", "cuda", code=2)
    assert err.startswith("segzoo: the device 'cuda' is not there; found ")
    assert not os.path.exists("out")


def test_a_folder_that_its_outputs_go_to_is_gone_on_with(predict):
    """Also where the first of its PNGs is a picture."""
    save("photos/a.png"), save("photos/b.jpg")
    predict("photos/b.jpg", "-o", "photos")
    save("photos/c.jpg")
    _, err = predict("photos/b.jpg", "photos/c.jpg", "-o", "photos", "--skip-existing")
    assert err == "segzoo: 1 picture -> photos, 1 were there\n"
    os.remove("photos/a.png")
    _, err = predict("photos", "-o", "photos", "--skip-existing")
    told = "segzoo: 2 files of other kinds left out: 2 .png that segzoo predicted\n"
    assert err == f"{told}segzoo: 0 pictures -> photos, 2 were there\n"
    assert files("photos") == ["b.jpg", "b.png", "c.jpg", "c.png"]


def test_outputs_that_are_there_are_skipped_or_written_anew(predict):
    for name in ("a", "b"):
        save(f"photos/{name}.jpg")
    predict("photos/a.jpg", "-o", "out")
    old = os.stat("out/a.png")
    _, err = predict("photos", "-o", "out", "--skip-existing")
    assert err == "segzoo: 1 picture -> out, 1 were there\n"
    assert files("out") == ["a.png", "b.png"]
    assert os.stat("out/a.png") == old
    out, _ = predict("photos", "-o", "out", "--skip-existing", "--json")
    report = json.loads(out)
    assert report["pictures"] == [
        {"input": "photos/a.jpg", "skipped": True},
        {"input": "photos/b.jpg", "skipped": True},
    ]
    assert (report["written"], report["skipped"], report["failed"]) == (0, 2, 0)
    predict("photos", "-o", "out", "--overwrite")
    assert os.stat("out/a.png") != old


def test_a_picture_is_skipped_when_all_its_outputs_are_there(predict):
    save("a.jpg")
    predict("a.jpg", "-o", "out", "--as", "mask,color")
    os.unlink("out/color/a.png")
    predict("a.jpg", "-o", "out", "--as", "mask,color", "--skip-existing")
    assert files("out") == ["color/a.png", "mask/a.png"]


def test_a_lone_picture_that_fails_gives_its_own_exit_code(predict):
    Path("a.png").write_bytes(b"")
    _, err = predict("a.png", "-o", "out", code=3)
    assert err == "segzoo: a.png: the file is empty\n"
    assert files("out") == ["errors.jsonl"]
    _, err = predict("a.png", "-o", "result.png", code=3)
    assert err == "segzoo: a.png: the file is empty\n"
    assert "result.png" not in os.listdir()
    out, err = predict("a.png", "-o", "-", code=3)
    assert out == b""


def test_errors_of_an_earlier_run_are_gone(predict):
    save("a.png")
    Path("b.png").write_bytes(b"")
    predict("a.png", "b.png", "-o", "out", code=1)
    assert files("out") == ["a.png", "errors.jsonl"]
    save("b.png")
    predict("a.png", "b.png", "-o", "out", "--skip-existing")
    assert files("out") == ["a.png", "b.png"]


def test_a_plugin_that_fails_for_one_size_costs_those_pictures_alone(predict):
    save("a.png", half_bright(8, 4))
    save("b.png", half_bright(9, 4))
    save("c.png", half_bright(8, 4))
    _, err = predict("a.png", "b.png", "c.png", "-o", "out", model="picky", code=1)
    assert err == (
        "segzoo: 1 of 3 pictures failed; see out/errors.jsonl. The first: b.png: "
        "the network failed for an input (1, 3, 9, 4): ValueError: I like 8 rows\n"
    )
    assert files("out") == ["a.png", "c.png", "errors.jsonl"]


def test_a_plugin_that_fails_for_all_of_a_first_batch_ends_the_work(predict):
    for n in range(40):
        save(f"photos/{n:02}.png")
    _, err = predict("photos", "-o", "out", "--batch-size", "4", model="picky", code=2)
    assert err == (
        "segzoo: photos/03.png: "
        "the network failed for an input (4, 3, 6, 8): ValueError: I like 8 rows\n"
    )
    assert len(Path("out/errors.jsonl").read_text().splitlines()) == 4


def test_ctrl_c_keeps_what_is_done_and_leaves_nothing_half_written(predict, monkeypatch, ctrl_c):
    monkeypatch.setattr("bright.Bright.forward", _interrupting(after=2))
    for n in range(30):
        save(f"photos/{n:02}.png")
    _, err = predict("photos", "-o", "out", "--batch-size", "4", code=130)
    names = files("out")
    assert (
        f"segzoo: interrupted; {len(names)} of 30 pictures are done, "
        "--skip-existing goes on from there\n" in err
    )
    assert names == [f"{n:02}.png" for n in range(len(names))]
    assert 1 <= len(names) <= 8
    for name in names:
        assert values(f"out/{name}").shape == (6, 8)


def test_a_reader_of_the_json_that_leaves_does_not_stop_the_work(predict, monkeypatch):
    for n in range(20):
        save(f"photos/{n:02}.png")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        predict("photos", "-o", "out", "--json")
    assert len(files("out")) == 20


@contextlib.contextmanager
def file_size_limit():
    """Inside, files cannot grow beyond a size that is set: the next best thing to a full disk.

    It is lifted before the test ends, for pytest's own output is such a file when it is redirected.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_noticed_before_the_work_begins(predict):
    """Row C9."""
    save("a.png")
    with file_size_limit() as limit:
        limit(1000)
        _, err = predict("a.png", "-o", "new/out", code=5)
    assert err == "segzoo: new/out: cannot be written: File too large. Free some space\n"
    assert files(".") == ["a.png"]
    assert not os.path.exists("new")


def test_a_disk_that_fills_while_it_works_ends_the_work(predict, monkeypatch):
    calls = 0

    def forward(self, x):
        nonlocal calls
        calls += 1
        if calls == 3:
            limit(10)
        return x.mean(1, keepdim=True)

    monkeypatch.setattr("bright.Bright.forward", forward)
    for n in range(30):
        save(f"photos/{n:02}.png")
    with file_size_limit() as limit:
        _, err = predict("photos", "-o", "out", "--batch-size", "1", code=5)
    assert err == "segzoo: out: cannot be written: File too large. Free some space\n"
    names = files("out")
    assert {*names} <= {"00.png", "01.png", "02.png"}  # several write: a later one may be through
    for name in names:
        assert values(f"out/{name}").shape == (6, 8)


def test_a_list_of_errors_that_cannot_be_written_ends_the_work(predict, monkeypatch):
    for n in range(3):
        save(f"photos/{n}.png")
    Path("photos/1.png").write_bytes(b"")
    begin = outcomes.Outcomes.__enter__

    def taken(self):
        begin(self)
        os.makedirs("out/errors.jsonl")  # by somebody else, after the work began
        return self

    monkeypatch.setattr(outcomes.Outcomes, "__enter__", taken)
    _, err = predict("photos", "-o", "out", code=2)
    assert err == "segzoo: out/errors.jsonl: cannot be written: Is a directory\n"


def test_a_name_too_long_for_its_output_costs_that_picture_alone(predict):
    """A file without extension of 255 bytes has no room for .png."""
    save("a.png")
    save("x" * 250 + ".jpg").rename("x" * 255)
    _, err = predict("x" * 255, "a.png", "-o", "out", code=1)
    assert "1 of 2 pictures failed" in err
    assert "cannot be written: File name too long\n" in err
    assert files("out") == ["a.png", "errors.jsonl"]


# --- names ---------------------------------------------------------------------------------------

NAMES = [
    pytest.param(b"two words.png", id="I12-spaces"),
    pytest.param(b"two\nlines.png", id="I12-newline"),
    pytest.param(b"-x.png", id="I12-hyphen"),
    pytest.param(b"x" * 251 + b".png", id="I12-255-bytes"),
    pytest.param(b"caf\xe9 \xff.png", id="I12-not-utf-8"),
    pytest.param("crème brûlée ☕.png".encode(), id="C10-non-ascii"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds(predict, name):
    text = os.fsdecode(name)
    save("photos/plain.png").rename(os.path.join("photos", text))
    out, _ = predict("photos", "-o", "out", "--json")
    (record,) = json.loads(out)["pictures"]
    assert record["input"] == f"photos/{text}"
    assert os.listdir(b"out") == [name]
    Path("photos", text).write_bytes(b"")
    os.chdir("photos")
    out, err = predict("-o", "bad", "--json", "--", text, code=3)
    assert json.loads(out)["failed"] == 1
    assert len(err.splitlines()) == 1
    (line,) = Path("bad/errors.jsonl").read_text().splitlines()
    assert json.loads(line)["input"] == text


def test_any_locale_does(saved):
    """Row C10: LANG=C, non-ASCII paths, no terminal."""
    save("crème.png")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from segzoo.cli.main import main; main()"
    arguments = ["predict", str(saved / "bright"), "crème.png", "-o", "naïve"]
    path = os.pathsep.join(p for p in sys.path if p.endswith("support"))
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert files("naïve") == ["crème.png"]


def test_a_loop_of_links_ends(predict):
    save("photos/a/x.png")
    save("photos/b/y.png")
    os.symlink("..", "photos/a/up")
    os.symlink("../b", "photos/a/beside")
    os.symlink("../a", "photos/b/beside")
    os.symlink("z.png", "photos/z.png")  # itself
    os.symlink("nowhere.png", "photos/n.png")
    out, _ = predict("photos", "-r", "-o", "out", "--json", code=1)
    report = {p["input"]: p.get("message") for p in json.loads(out)["pictures"]}
    assert report == {
        "photos/n.png": "photos/n.png: there is no such file",
        "photos/z.png": "photos/z.png: cannot be read: Too many levels of symbolic links",
        "photos/a/x.png": None,
        "photos/a/beside/y.png": None,
    }
    assert files("out") == ["a/beside/y.png", "a/x.png", "errors.jsonl"]


def test_a_pipe_named_like_a_picture_does_not_stop_the_work(predict):
    save("photos/a.png")
    os.mkfifo("photos/b.png")
    _, err = predict("photos", "-o", "out", code=1)
    assert err.endswith("The first: photos/b.png: is not a regular file\n")


# --- many ----------------------------------------------------------------------------------------


def test_a_thousand_pictures_with_one_of_every_kind(predict):
    """Row I12: 999 outputs, one line in errors.jsonl, exit code 1."""
    plain = half_bright()
    content = io.BytesIO()
    Image.fromarray(plain).save(content, "PNG")
    os.mkdir("photos")
    for n in range(994):
        Path(f"photos/{n:04}.png").write_bytes(content.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    save("photos/rotated.jpg", plain, exif=exif, quality=95, subsampling=0)
    save("photos/deep.png", np.where(plain[..., 0] > 100, 50_000, 9_000).astype(np.uint16))
    Image.fromarray(plain).convert("CMYK").save("photos/cmyk.jpg", quality=95, subsampling=0)
    frames = [Image.fromarray(plain), Image.new("RGB", (8, 6))]
    frames[0].save("photos/moving.gif", save_all=True, append_images=frames[1:])
    save("photos/line.png").rename("photos/two\nlines.png")
    Path("photos/broken.jpg").write_bytes(content.getvalue()[:40])
    assert len(os.listdir("photos")) == 1000

    out, err = predict("photos", "-o", "out", "--json", code=1)
    report = json.loads(out)
    assert (report["written"], report["skipped"], report["failed"]) == (999, 0, 1)
    assert [p["input"] for p in report["pictures"]] == sorted(
        f"photos/{name}" for name in os.listdir("photos")
    )
    names = files("out")
    assert len(names) == 1000  # with errors.jsonl
    assert {os.path.splitext(n)[0] for n in names} == {
        os.path.splitext(n)[0] for n in os.listdir("photos")
    } - {"broken"} | {"errors"}
    (line,) = Path("out/errors.jsonl").read_text().splitlines()
    assert json.loads(line)["input"] == "photos/broken.jpg"
    assert json.loads(line)["error"] == "PictureError"

    upright = {name: values(f"out/{name}") for name in names if name != "errors.jsonl"}
    rotated = upright.pop("rotated.png")
    np.testing.assert_array_equal(rotated, np.rot90(expected_mask(), -1))
    for mask in upright.values():
        np.testing.assert_array_equal(mask, expected_mask())
    notes = {p["input"]: p["notes"] for p in report["pictures"] if p.get("notes")}
    assert notes == {
        "photos/cmyk.jpg": ["CMYK converted to RGB without a profile"],
        "photos/deep.png": ["16-bit values divided by 257"],
        "photos/moving.gif": ["the first of 2 frames"],
    }
    assert err.splitlines()[-1].startswith(
        "segzoo: 1 of 1000 pictures failed; see out/errors.jsonl. The first: photos/broken.jpg: "
    )


def test_a_file_costs_its_name(tmp_path):
    """What is held of a folder of many files, and that clashes are found without holding more."""
    names = tuple(f"{n:06}.jpg" for n in range(20_000))
    folders = [InputFolder("photos", "", names)]
    tracemalloc.start()
    try:
        for _ in jobs.jobs_of(folders):
            pass
        jobs.refuse_clashes(folders, Layout("out", ("mask",)), overwrite=False, skip_existing=False)
        assert tracemalloc.get_traced_memory()[1] < 20_000  # bytes: nothing per file
    finally:
        tracemalloc.stop()


# --- the plan ------------------------------------------------------------------------------------


def test_extensions_are_those_of_the_formats_that_are_read():
    registered = Image.registered_extensions()
    ours = {*formats.endings()} - {*formats.ENDINGS["HEIC"], *formats.ENDINGS["NPY"]}
    assert {registered[ending] for ending in ours} == set(kinds.FORMATS)
    assert {*formats.ENDINGS} == {*kinds.FORMATS, "HEIC", "NPY"}


def test_help_names_every_kind(capsys):
    assert run(["predict", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    *first, last = outputs.KINDS
    assert f"{', '.join(first)} or {last};" in text
    assert f"[default: {codec.MAX_PIXELS // 10**6} million]" in text


def test_long_lists_are_cut():
    names = tuple(f"{n:02}.{suffix}" for n in range(12) for suffix in ("jpg", "png"))
    with pytest.raises(UsageError, match=r": 12 pairs: 00\.jpg and .* o/09\.png and 2 more\. "):
        jobs.refuse_clashes(
            [InputFolder("", "", names)],
            Layout("o", ("mask",)),
            overwrite=False,
            skip_existing=False,
        )


def test_an_output_that_is_an_input_elsewhere_is_found(predict):
    """One input's output can be another input, a folder further down."""
    save("photos/x/a.jpg")
    save("photos/out/x/a.png")
    inputs = jobs.find(["photos/x/**", "photos/out/x/a.png"], recursive=False, out="photos/out")
    layout = Layout("photos/out/x", ("mask",))
    with pytest.raises(UsageError, match="several pictures"):
        jobs.refuse_clashes(inputs, layout, overwrite=True, skip_existing=False)
    inputs = jobs.find(["photos/*/*.jpg", "photos/out/x/a.png"], recursive=False, out="elsewhere")
    with pytest.raises(OutputError, match=r"would overwrite 1 input: .*photos/out/x/a\.png"):
        layout = Layout("photos/out", ("mask",))
        jobs.refuse_clashes(inputs, layout, overwrite=True, skip_existing=False)
