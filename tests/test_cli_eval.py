"""`segzoo eval`: the table, the JSON, the files and the exit codes."""

import json
import os
import re

import bright
import numpy as np
import pytest
from PIL import Image

import segzoo
from segzoo.cli.main import run
from segzoo.runs.evaluation import evaluate


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "bright=bright:BRIGHT,strongest=bright:STRONGEST")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two saved models, and pictures of what is bright and of what is red."""
    monkeypatch.chdir(tmp_path)
    for name in ("bright", "strongest"):
        segzoo.load(name).save_pretrained(tmp_path / "saved" / name)
    for number in range(6):
        generator = np.random.default_rng(number)
        found = generator.random((10, 12)) > 0.5
        gray = np.repeat(np.where(found, 220, 30).astype(np.uint8)[..., None], 3, axis=2)
        wrong = found ^ (number == 2)
        colour = generator.integers(0, 2, (10, 12))
        for kind, image, mask in (
            ("gray", gray, wrong * np.uint8(255)),
            ("colour", np.eye(3, dtype=np.uint8)[colour] * 255, colour.astype(np.uint8)),
        ):
            for folder, pixels in (("images", image), ("masks", mask)):
                (tmp_path / kind / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / kind / folder / f"{number}.png")
    return tmp_path


def evaluated(capsys, *arguments, code=0):
    common = ("--workers", "0", "--device", "cpu")
    assert run(["eval", *arguments, *common]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured


COLOURS = "colour?classes=red,green,blue"


def test_a_table_of_totals_with_intervals(place, capsys):
    captured = evaluated(capsys, "saved/bright", "--data", "gray")
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert lines[0] == "saved/bright on gray: 6 pictures"
    assert lines[2].split() == ["METRIC", "VALUE", "95", "IN", "100"]
    (iou,) = [line for line in lines if line.startswith("iou ")]
    value = evaluate("saved/bright", "gray", workers=0).values["iou"]
    assert re.fullmatch(rf"iou +{value:.4f}  0\.\d{{4}} to 1\.0000", iou)
    assert lines[3] == iou
    assert not any(line.startswith("max_f ") for line in lines)
    assert "CLASS" not in captured.out


def test_d6_the_numbers_of_the_task_come_first(place, capsys):
    """Of two numbers of one name, as well; saliency of a binary model where it is asked for."""
    common = ("--data", "gray", "--no-bootstrap")
    captured = evaluated(capsys, "saved/bright", *common, "--metric", "saliency")
    names = [line.split()[0] for line in captured.out.splitlines()[3:]]
    assert names[0] == "iou"
    assert names.index("fw_iou") < names.index("mae") < names.index("max_f")
    captured = evaluated(capsys, "u2netp.duts", *common)
    names = [line.split()[0] for line in captured.out.splitlines()[3:]]
    assert names[:3] == ["mae", "max_f", "max_f_of_mean"] and names[-1] == "fw_iou"


def test_a_table_of_classes_with_the_absent_one(place, capsys):
    captured = evaluated(
        capsys, "saved/strongest", "--data", COLOURS, "--no-bootstrap", "--metric", "boundary"
    )
    table = captured.out[captured.out.index("CLASS") :].splitlines()
    assert table[0].split() == [
        *("CLASS", "IOU", "DICE", "PRECISION", "RECALL", "BOUNDARY_IOU", "BOUNDARY_F"),
    ]
    assert [line.split() for line in table[1:]] == [
        ["red", *["1.0000"] * 6],
        ["green", *["1.0000"] * 6],
        ["blue", *["absent"] * 6],
    ]
    assert "95 IN 100" not in captured.out
    assert re.search(r"^mean_iou +1\.0000$", captured.out, re.MULTILINE)


def test_json_is_what_the_file_holds(place, capsys):
    captured = evaluated(
        capsys, "saved/strongest", "--data", COLOURS, "-o", "out", "--worst", "2", "--json"
    )
    printed, written = (
        json.loads(text) for text in (captured.out, (place / "out/metrics.json").read_text())
    )
    assert written.pop("palette") == [[128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert printed == written
    assert printed["values"]["iou"] == [1, 1, None]
    assert sorted(os.listdir("out")) == [
        *("confusion.csv", "confusion.png", "metrics.json", "panels.png", "pictures.zip"),
        *("report.html", "rows.csv", "worst.png"),
    ]


def test_options_reach_the_measurement(place, capsys):
    arguments = ("--flip", "--scale", "0.5", "--scale", "2", "--batch-size", "3", "--json")
    captured = evaluated(capsys, "saved/bright", "--data", "gray?val=0.5", *arguments)
    protocol = json.loads(captured.out)["protocol"]
    assert (protocol["flip"], protocol["scales"]) == (True, [0.5, 2])
    assert (protocol["data"]["part"], protocol["data"]["samples"]) == ("val", 3)
    captured = evaluated(capsys, "saved/bright", "--data", "gray?val=0.5", "--no-bootstrap")
    assert captured.out.startswith("saved/bright on gray?val=0.5 (held-out part): 3 pictures\n")


def test_weights_of_a_file(place, capsys):
    captured = evaluated(
        *(capsys, "bright", "--weights", "saved/bright/model.safetensors", "--data", "gray"),
    )
    assert captured.out.startswith("saved/bright/model.safetensors on gray: 6 pictures\n")


def test_val_is_another_name_of_it(place, capsys):
    assert run(["val", "saved/bright", "--data", "gray", "--workers", "0"]) == 0
    assert "iou" in capsys.readouterr().out
    assert run(["--help"]) == 0
    help_text = capsys.readouterr().out
    assert re.search(r"^ +eval ", help_text, re.MULTILINE)
    assert not re.search(r"^ +val ", help_text, re.MULTILINE)


def test_notes_are_said_unless_it_is_to_be_quiet(place, capsys, monkeypatch):
    def refuse(self, x, **_):
        if len(x) > 1:
            raise MemoryError
        return 20 * (x.mean(1, keepdim=True) - 0.5)

    monkeypatch.setattr(bright.Bright, "forward", refuse)
    captured = evaluated(capsys, "saved/bright", "--data", "gray")
    assert captured.err == "segzoo: memory held 1 picture at once\n"
    assert evaluated(capsys, "saved/bright", "--data", "gray", "-q").err == ""


def test_one_of_several_processes_speaks(place, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert evaluated(capsys, "saved/bright", "--data", "gray", "--no-bootstrap").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["saved/bright"],
            2,
            "segzoo: no data. Add --data reader:path, see docs/data-sets.md",
        ),
        (["bright", "--data", "gray"], 2, "segzoo: bright has no weights; found none."),
        (["saved/bright", "--data", "nothing"], 3, "segzoo: nothing: "),
        (["saved/bright", "--data", "gray", "--scale", "9"], 2, "segzoo: scales=(9.0,); expected"),
        (["saved/bright", "--data", COLOURS], 2, "segzoo: the data set has not as many classes as"),
        (["saved/bright", "--data", "colour?values=0,7"], 3, "segzoo: colour/masks/0.png: "),
        (["saved/bright", "--data", "gray", "--metric", "x"], 2, "segzoo: no metric 'x'"),
        (["saved/bright", "--data", "gray", "-o", "gray/images/0.png/x"], 2, "segzoo: gray/images"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(place, capsys, arguments, code, text):
    captured = evaluated(capsys, *arguments, code=code)
    assert captured.out == ""
    assert captured.err.startswith(text)
    assert captured.err.count("\n") == 1


def test_a_corrupt_picture_is_named(place, capsys):
    path = place / "gray/images/3.png"
    path.write_bytes(path.read_bytes()[:60])
    captured = evaluated(capsys, "saved/bright", "--data", "gray", "-o", "out", code=3)
    assert captured.err.startswith("segzoo: gray/images/3.png: ")
    assert os.listdir("out") == []


def test_the_progress_of_a_terminal(place, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    captured = evaluated(capsys, "saved/bright", "--data", "gray", "--no-bootstrap")
    assert "6/6" in captured.err
    assert "6/6" not in captured.out


def test_a_smaller_network_of_the_same_weights(place, capsys):
    """Measured, and looked through, as it is chosen on the line."""
    segzoo.load("unetpp", width=2, seed=0).save_pretrained(place / "whole")
    whole, half = (
        json.loads(evaluated(capsys, "./whole", "--data", "gray", "--json", *more).out)
        for more in ([], ["--option", "depth=2"])
    )
    assert whole["protocol"]["model"]["options"]["depth"] == 4
    assert half["protocol"]["model"]["options"]["depth"] == 2
    assert whole["values"] != half["values"]

    line = ["predict", "./whole", "gray/images", "--as", "probability", "-q"]
    assert run([*line, "-o", "four"]) == 0
    assert run([*line, "-o", "two", "--option", "depth=2"]) == 0
    assert (place / "four/0.png").read_bytes() != (place / "two/0.png").read_bytes()
    assert run([*line, "-o", "none", "--option", "depth=5"]) == 2
    assert "depth is 5, above 4" in capsys.readouterr().err
