"""`segzoo prune`: which part of an elastic network a validation set asks for."""

import ast
import json
import re

import layered
import numpy as np
import pytest
import torch

import segzoo
from segzoo.cli.main import run
from segzoo.data.sample import Info
from segzoo.errors import DatasetError, UsageError
from segzoo.runs.evaluation import evaluate
from segzoo.runs.pruning import prune
from segzoo.spec import Option


class Reds:
    """Noise, and where it is red."""

    info = Info()

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 256, (16, 20, 3)).astype(np.uint8)
        return {"image": image, "target": (image[..., 0] > 127).astype(np.uint8), "id": str(index)}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The folder of a saved `layered`, in the working folder."""
    monkeypatch.setenv("SEGZOO_MODELS", "layered=layered:LAYERED,bright=bright:BRIGHT")
    monkeypatch.chdir(tmp_path)
    segzoo.load("layered").save_pretrained(tmp_path / "saved")
    return "./saved"


def called(text):
    """What the call of segzoo.load that was named gives."""
    call = ast.parse(text, mode="eval").body
    assert ast.unparse(call.func) == "segzoo.load"
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return segzoo.load(*map(ast.literal_eval, call.args), **arguments)


def test_every_part_is_measured(saved):
    found = prune(saved, Reds(), workers=0, device="cpu")
    assert [part.options for part in found.parts] == [{"depth": 1}, {"depth": 2}, {"depth": 3}]
    assert [part.parameters for part in found.parts] == [4, 8, 12]
    assert [part.macs for part in found.parts] == [3 * 16 * 20 * depth for depth in (1, 2, 3)]
    assert all(part.milliseconds > 0 for part in found.parts)
    assert (found.metric, found.samples, found.size) == ("iou", 6, (16, 20))
    values = [part.value for part in found.parts]
    assert values[0] < 0.6 < values[1] < values[2] == 1
    for part in found.parts:
        alone = evaluate(
            segzoo.load(saved, **part.options), Reds(), workers=0, bootstrap=0, device="cpu"
        )
        assert alone.values["iou"] == part.value


@pytest.mark.parametrize(("within", "depth"), [(0.0, 3), (0.01, 3), (0.15, 2), (0.7, 1)])
def test_the_smallest_that_is_good_enough_is_chosen(saved, within, depth):
    found = prune(saved, Reds(), within=within, workers=0, device="cpu")
    assert found.chosen.options == {"depth": depth}
    assert called(found.load).config.options["depth"] == depth
    assert found.load == 'segzoo.load("./saved"' + (f", depth={depth})" if depth < 3 else ")")


def test_names_folders_and_files(saved):
    settings = {"within": 0.15, "workers": 0, "device": "cpu"}
    by_folder = prune("layered", Reds(), weights="saved", **settings)
    assert by_folder.load == 'segzoo.load("local-dir:saved", depth=2)'
    by_file = prune("layered", Reds(), weights="saved/model.safetensors", **settings)
    assert by_file.load == 'segzoo.load("layered", weights="saved/model.safetensors", depth=2)'
    assert [p.value for p in by_folder.parts] == [p.value for p in by_file.parts]
    for call in (by_folder.load, by_file.load):
        assert called(call).config.options["depth"] == 2


def test_unetpp_of_four_depths(tmp_path):
    torch.manual_seed(0)
    segzoo.load("unetpp", width=2, seed=0).save_pretrained(tmp_path)
    found = prune("unetpp", Reds(), weights=tmp_path, within=1, workers=0, device="cpu")
    assert [part.options["depth"] for part in found.parts] == [1, 2, 3, 4]
    for smaller, larger in zip(found.parts, found.parts[1:], strict=False):
        assert smaller.parameters < larger.parameters
        assert smaller.macs < larger.macs
    assert found.chosen.options == {"depth": 1}


# --- what cannot be pruned ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "settings", "text"),
    [
        (
            "u2netp",
            {},
            "u2netp cannot be pruned: it has no elastic option, one that may be lowered at load. "
            "See what a model has: segzoo info",
        ),
        ("u2netp.duts", {}, "u2netp cannot be pruned: it has no elastic option"),
        ("layered", {}, "layered has no weights; found none."),
        (
            "u2netp",
            {"weights": "saved"},
            "saved: the folder is of another model; found layered, expected u2netp",
        ),
        ("./saved", {"within": 2.0}, "within=2.0; expected 0 to 1"),
    ],
)
def test_what_cannot_be_pruned(saved, model, settings, text):
    with pytest.raises(UsageError) as caught:
        prune(model, Reds(), workers=0, device="cpu", **settings)
    assert str(caught.value).startswith(text)


def test_weights_that_hold_no_smaller_network(saved):
    segzoo.load("layered", deep_supervision=False).save_pretrained("alone")
    with pytest.raises(UsageError) as caught:
        prune("./alone", Reds(), workers=0, device="cpu")
    text = str(caught.value)
    assert text.startswith("these weights do not hold the network of depth=1: ")
    assert text.endswith("Train with a head for each smaller network")


def test_data_that_holds_nothing_to_judge_by(saved):
    class Nothing(Reds):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample | {"image": sample["image"] * 0, "target": sample["target"] * 0}

    with pytest.raises(DatasetError, match="no picture holds a class to judge by"):
        prune(saved, Nothing(), workers=0, device="cpu")


def test_an_option_whose_values_nobody_can_list(saved, monkeypatch):
    monkeypatch.setitem(layered.LAYERED.options, "depth", Option(default=3))
    with pytest.raises(UsageError) as caught:
        prune(saved, Reds(), workers=0, device="cpu")
    assert str(caught.value).startswith("the values of depth cannot be listed")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def words(saved, tmp_path):
    samples = [Reds()[n] for n in range(6)]
    images, masks = (np.stack([sample[key] for sample in samples]) for key in ("image", "target"))
    np.savez("reds.npz", images=images, masks=masks)
    return "arrays:reds.npz"


def test_the_table(saved, words, capsys):
    arguments = ["prune", "layered", "--weights", "saved", "--data", words, "--within", "0.15"]
    assert run([*arguments, "--device", "cpu", "--workers", "0", "-o", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DEPTH", "IOU", "MS", "PARAMETERS", "MACS"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert [line.endswith("<- load this") for line in lines[1:4]] == [False, True, False]
    assert re.fullmatch(
        r"6 pictures\. MS: of this machine \(cpu, \d+ threads?\), the median for one picture of "
        r"16x20 as the network gets it\.",
        lines[5],
    )
    assert lines[6] == 'segzoo.load("local-dir:saved", depth=2)'
    with open("out/prune.json") as file:
        record = json.load(file)
    assert record["chosen"]["options"] == {"depth": 2}
    assert (record["data"], record["within"], record["load"]) == (words, 0.15, lines[6])


def test_json(saved, words, capsys):
    arguments = ["prune", saved, "--data", words, "--device", "cpu", "--workers", "0", "--json"]
    assert run(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert [part["options"]["depth"] for part in record["parts"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["layered"], "segzoo: no data. Add --data reader:path, see docs/data-sets.md\n"),
        (["bright", "--data", "x"], "segzoo: x: "),
    ],
)
def test_what_is_wrong_is_one_line(saved, capsys, arguments, text):
    assert run(["prune", *arguments]) in (2, 3)
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith(text)
