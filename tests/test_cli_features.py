"""segzoo features as a person and a program read it."""

import json

import pytest

from segzoo.cli.main import run


@pytest.fixture(autouse=True)
def tiny_is_installed(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")


def test_a_table(capsys):
    assert run(["features", "tiny", "--size", "32,40"]) == 0
    assert capsys.readouterr().out == (
        "tiny: outputs of the stages for an input of 3x32x40\n"
        "NAME    SHAPE  STRIDE\n"
        "stem  4x32x40       1\n"
        "norm  4x32x40       1\n"
        "head  1x32x40       1\n"
    )


def test_strides_of_what_shrinks_and_of_what_grows(capsys):
    assert run(["features", "unet_slim_3x", "--size", "64"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows[0] == ["encoder.0", "32x64x64", "1"]
    assert rows[4] == ["encoder.4", "512x4x4", "16"]
    assert rows[-1] == ["head", "3x192x192", "1/3"]


def test_json(capsys):
    assert run(["features", "unet_slim_3x", "--size", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["input"]) == ("unet_slim_3x", [3, 64, 64])
    assert found["features"][4] == {
        "name": "encoder.4",
        "shape": [512, 4, 4],
        "stride": [16, 16],
    }
    assert found["features"][-1]["stride"] == [1 / 3, 1 / 3]


@pytest.mark.parametrize(
    ("model", "arguments", "shape"),
    [
        ("u2netp", [], "3x320x320"),  # the size that it is declared for
        ("u2netp", ["--size", "50"], "3x50x50"),
        ("tiny", [], "3x256x256"),
        ("unet", ["--size", "17, 40"], "3x32x48"),  # multiples of 16
        ("unet_paper", ["--size", "1"], "1x188x188"),  # with its margins
    ],
)
def test_the_input_is_one_that_the_network_takes(capsys, model, arguments, shape):
    assert run(["features", model, *arguments]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{model}: outputs of the stages for an input of {shape}"


@pytest.mark.parametrize("size", ["", "0", "5,0", "5,5,5", "-3", "1e3", "a,b", "1000000"])
def test_a_size_that_is_none(capsys, size):
    assert run(["features", "tiny", "--size", size]) == 2
    assert capsys.readouterr().err == (
        f"segzoo: --size {size} is no size; expected pixels, at most 999999, as 256 or 256,320\n"
    )


def test_an_unknown_model(capsys):
    assert run(["features", "tinny"]) == 2
    assert capsys.readouterr().err.startswith("segzoo: no model 'tinny'. Did you mean 'tiny'")
