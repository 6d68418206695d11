"""`segzoo reproduce`: from a record to the same numbers, or to how far they are apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import tiny
from squares import Squares

import segzoo
from segzoo.cli.main import run
from segzoo.spec import Dataset, Expect, Metric, Weights

WORDS = "arrays:squares.npz?val=0.25&classes=background,square"
LINE = (
    f"segzoo train tiny --data '{WORDS}' --loss binary_cross_entropy batch_size=2 crop=16 steps=2 "
    "--workers 0 -q"
)
EXPECT = Expect(data=WORDS, metric="iou", value=0.5, tolerance=1, source="a guess")


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Lets tiny have weights `tiny.made`, with these fields of their record."""
    package = tmp_path / "made_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    network = segzoo.load(tiny.TINY, seed=0).network
    safetensors.torch.save_file(network.state_dict(), package / "a.safetensors")

    def offer(**fields):
        said = {
            "bundled": "made_weights:a.safetensors",
            "sha256": "0" * 64,
            "trained_on": (Dataset(name="Squares", license="CC0-1.0", url="https://x.org"),),
            "metrics": (Metric(name="IoU", value=0.5, split="squares", protocol="ours"),),
            "license": "Apache-2.0",
            "source": "trained by a test",
            "recipe": LINE,
            **fields,
        }
        spec = replace(tiny.TINY, weights={"made": Weights(**said)})
        monkeypatch.setattr(tiny, "TINY", spec)

    return offer


@pytest.fixture
def data(tmp_path):
    """A folder with the data that the record names."""
    folder = tmp_path / "data"
    folder.mkdir()
    samples = [Squares(8)[index] for index in range(8)]
    images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
    np.savez(folder / "squares.npz", images=images, masks=masks)
    return folder


def reproduced(data, place, *more):
    return run(["reproduce", "tiny.made", "--data", str(data), "-o", str(place), *more])


def test_weights_are_made_again_and_the_numbers_compared(offered, data, tmp_path, capsys):
    offered(expect=(EXPECT,))
    place = tmp_path / "again"
    assert reproduced(data, place, "--device", "cpu") == 0
    said = capsys.readouterr().out
    for words in (
        "trained by a test",
        "trained on   Squares, licence CC0-1.0  https://x.org",
        f"data         {WORDS}: there",
        "run          segzoo train tiny --data",
        "expect       iou 0.5 within 1 on",
        "METRIC  STATED   FOUND  DIFFERENCE  TOLERANCE  VERDICT  DATA",
    ):
        assert words in said, words
    found = json.loads((tmp_path / "again-measured/metrics.json").read_text())["values"]["iou"]
    assert f"iou     0.5000  {found:.4f}" in said

    # It is whole, so it is measured alone; and it gives the same number to the bit.
    stamp = (place / "model/model.safetensors").stat().st_mtime_ns
    offered(expect=(replace(EXPECT, value=found, tolerance=0),))
    assert reproduced(data, place, "--device", "cpu", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["agreements"][0]["found"], record["agreements"][0]["agrees"]) == (found, True)
    assert (place / "model/model.safetensors").stat().st_mtime_ns == stamp

    offered(expect=(replace(EXPECT, value=found + 0.1, tolerance=0.01),))
    assert reproduced(data, place, "--device", "cpu") == 1
    assert "DOES NOT AGREE" in capsys.readouterr().out


def test_what_it_takes_is_shown_without_the_data(offered, tmp_path, capsys):
    offered(notes="a second")
    empty = tmp_path / "none"
    assert reproduced(empty, tmp_path / "again", "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"data         {WORDS}: NOT THERE" in said and "notes        a second" in said
    assert "states       IoU 0.5 on squares; not to be compared" in said
    assert reproduced(empty, tmp_path / "again", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["needed"] == [{"words": WORDS, "is_there": False}]
    assert reproduced(empty, tmp_path / "again") == 2
    error = capsys.readouterr().err
    assert "the data that tiny.made is made from are not in" in error and "--data FOLDER" in error
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "recipe",
    ["", "python train.py", "segzoo eval tiny", "segzoo train 'tiny", f"{LINE} -o elsewhere"],
)
def test_weights_without_a_command_of_ours(offered, data, tmp_path, capsys, recipe):
    offered(recipe=recipe)
    assert reproduced(data, tmp_path / "again") == 2
    assert "the record of tiny.made has no command that trains them" in capsys.readouterr().err


def test_a_model_without_such_weights(offered, data, capsys):
    offered()
    for ref, says in (("tiny.other", "tiny has no weights 'other'"), ("tiny", "has no weights")):
        assert run(["reproduce", ref, "--data", str(data)]) == 2
        assert f"{says}; found tiny.made" in capsys.readouterr().err
