"""From a run to the Hub: what the folder holds, what it hides, and what a bad line does to it."""

import ast
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hub_server.cards import judged
from hub_server.faults import Fault
from PIL import Image
from squares import Squares
from tiny import TINY

import segzoo
from segzoo import spec
from segzoo.cli import main
from segzoo.engine.settings import Settings
from segzoo.errors import (
    ConfigError,
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    OfflineError,
    OutputError,
    PluginMissingError,
    RunError,
    UsageError,
)
from segzoo.hub import upload
from segzoo.model import golden
from segzoo.pictures import codec
from segzoo.publish import privacy, rules, vocabulary
from segzoo.publish.folder import build_folder, dataset_of
from segzoo.publish.publish import publish
from segzoo.publish.request import PublishRequest
from segzoo.publish.space import build_space
from segzoo.publish.trained import _git_revision
from segzoo.runs.training import train
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.spec import Dataset, Recipe, Weights

# What httpx2 says of how huggingface_hub sends a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parents[1]
REPO = "alice/squares"
QUIET = Settings(device="cpu", workers=0, quiet=True)
RECIPE = Recipe(steps=2, batch_size=2, optimizer=("adam", {"eps": 1e-7}), lr=1e-2)
SQUARES = Dataset(name="Squares", license="CC0-1.0", url="https://example.org/squares")
SAID = {"license": "Apache-2.0", "trained_on": (SQUARES,)}
LINE = ["--license", "Apache-2.0", "--trained-on", "Squares=CC0-1.0=https://example.org/squares"]


def save_squares(path, length):
    """Squares as an .npz, which words can name."""
    samples = [Squares(length)[index] for index in range(length)]
    np.savez(path, images=[s["image"] for s in samples], masks=[s["target"] for s in samples])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data, a run on them and its evaluation, all under a telling name."""
    place = tmp_path_factory.mktemp("work") / "anna-secret"
    place.mkdir()
    before = os.getcwd()
    os.chdir(place)
    try:
        save_squares("train.npz", 6)
        save_squares("val.npz", 3)
        train(
            "unetpp",
            f"arrays:{place}/train.npz?classes=background,square&values=0,1",
            val=f"arrays:{place}/val.npz?classes=background,square&values=0,1",
            run="run",
            recipe=RECIPE,
            settings=QUIET,
            width=2,
            depth=1,
        )
        words = f"arrays:{place}/val.npz?classes=background,square&values=0,1"
        segzoo.evaluate(f"{place}/run/model", words, out="report", device="cpu", bootstrap=20)
        Image.fromarray(Squares(1)[0]["image"]).save("photo.jpg", exif=exif())
    finally:
        os.chdir(before)
    return place


def exif():
    found = Image.Exif()
    found[0x013B] = "anna-secret"  # Artist
    return found


@pytest.fixture(autouse=True)
def here(monkeypatch, place):
    monkeypatch.chdir(place)


@pytest.fixture
def to_hub(hub_here, monkeypatch):
    """The server as the Hub of this process, which waits little."""
    monkeypatch.setattr(upload, "WAITS", (0.01, 0.02))
    return hub_here


def folder_of(source, folder, **more):
    return build_folder(PublishRequest(source, **more), folder)


def built(place, folder, source="run", **more):
    more = {"repo": REPO, "evaluation": place / "report", **SAID, **more}
    return folder_of(source, folder, **more)


def sent(place, source="run", **more):
    more = {"evaluation": place / "report", **SAID, **more}
    return publish(PublishRequest(source, REPO, **more))


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


# --- the folder -----------------------------------------------------------------------------------


def test_the_folder_of_a_run_holds_everything(place, tmp_path):
    found = built(place, tmp_path / "out", picture="photo.jpg", tag="r1")
    names = {p.relative_to(found.path).as_posix() for p in found.path.rglob("*") if p.is_file()}
    assert names - {"manifest.json"} == set(found.manifest.files)
    assert names == {
        *("model.safetensors", "config.json", "golden.safetensors", "manifest.json", "README.md"),
        *(f"training/{n}" for n in ("recipe.json", "metrics.json", "metrics.jsonl", "curves.png")),
        *("training/versions.json", "preview.jpg", "examples/1.jpg", "examples/1-mask.png"),
    }
    manifest.check(found.path)
    config = configs.read(found.path / "config.json")
    for name in ("model.safetensors", "golden.safetensors"):
        data = (found.path / name).read_bytes()
        assert config.files[name] == hashlib.sha256(data).hexdigest()
    assert (config.license, config.trained_on) == ("Apache-2.0", (SQUARES,))
    assert not list(tmp_path.glob(".segzoo-*"))


def test_the_folder_is_the_model_of_the_run(place, tmp_path):
    found = built(place, tmp_path / "out")
    before, after = segzoo.load("./run/model"), segzoo.load(f"local-dir:{found.path}")
    for name, value in before.network.state_dict().items():
        assert torch.equal(value, after.network.state_dict()[name])
    assert golden.deviation(before.network, found.path / "golden.safetensors") == 0
    assert before.classes == after.classes == ("square",)
    saved = json.loads((found.path / "config.json").read_text())
    assert saved["id2label"] == {"0": "square"}


def test_the_same_run_gives_the_same_bytes(place, tmp_path):
    one = built(place, tmp_path / "one", picture="photo.jpg")
    other = built(place, tmp_path / "other", picture="photo.jpg")
    assert one.manifest == other.manifest


def test_stored_as_float16_it_is_smaller_and_says_so(place, tmp_path):
    whole, half = built(place, tmp_path / "a"), built(place, tmp_path / "b", dtype="float16")
    sizes = [f.manifest.files["model.safetensors"].size for f in (whole, half)]
    floats = sum(p.numel() for p in segzoo.load("./run/model").network.parameters())
    assert sizes[0] - sizes[1] >= 2 * floats
    assert configs.read(half.path / "config.json").dtype == "float16"
    assert "holds float16, widened to float32 when it is" in (half.path / "README.md").read_text()
    model = segzoo.load(f"local-dir:{half.path}")
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert golden.deviation(model.network, half.path / "golden.safetensors") == 0
    saved = segzoo.load(f"local-dir:{half.path}").save_pretrained(tmp_path / "d")
    assert configs.read(saved / "config.json").dtype == "float32"


def test_numbers_without_an_evaluation_are_the_runs_own(place, tmp_path):
    found = built(place, tmp_path / "out", evaluation=None)
    first = found.facts.metrics[0]
    assert first.name == "iou"
    assert first.split == "arrays:val.npz?classes=background,square&values=0,1"
    assert "the step was chosen by iou on this set" in first.protocol
    assert found.facts.measure == ""


def test_an_evaluation_has_its_protocol_and_the_command_that_measures_again(place, tmp_path):
    found = built(place, tmp_path / "out", tag="r1")
    record = json.loads((place / "report/metrics.json").read_text())
    first = found.facts.metrics[0]
    assert (first.name, first.value) == ("iou", record["values"]["iou"])
    assert first.split == "arrays:val.npz?classes=background,square&values=0,1, 3 pictures"
    assert first.protocol.endswith(
        "each picture at its own size; the step was chosen by iou on this set"
    )
    line = shlex.split(found.facts.measure)
    assert line[:3] == ["segzoo", "eval", "hf-hub:alice/squares@r1"]
    assert main.run(["eval", f"local-dir:{found.path}", *line[3:], "-o", str(tmp_path / "r")]) == 0
    again = json.loads((tmp_path / "r/metrics.json").read_text())
    assert again["values"] == record["values"]


def test_numbers_from_before_are_published_by_todays_names(place, tmp_path, monkeypatch):
    """max_f of a run, or a report, that says no version is the maximum of the mean curve."""
    words = "arrays:val.npz?classes=background,square&values=0,1"
    recipe = replace(RECIPE, eval_metric="max_f")
    with monkeypatch.context() as before:
        before.setattr("segzoo.runs.training.VERSION", 1)
        train("unetpp", words, val=words, run=tmp_path / "run", recipe=recipe, width=2, depth=1,
              metrics=["saliency"], settings=QUIET)  # fmt: skip
    asked = {"metrics": ["saliency"], "workers": 0, "bootstrap": 9, "out": tmp_path / "report"}
    segzoo.evaluate(f"{tmp_path}/run/model", words, **asked)
    now = json.loads((tmp_path / "report/metrics.json").read_text())
    then = json.loads(json.dumps(now))
    for part in ("values", "intervals"):
        then[part]["max_f"] = then[part].pop("max_f_of_mean")
    then["protocol"]["main"] = "max_f"
    del then["protocol"]["metrics_version"]
    (tmp_path / "then.json").write_text(json.dumps(then))

    of_run = built(place, tmp_path / "a", tmp_path / "run", evaluation=None)
    of_report = built(place, tmp_path / "b", tmp_path / "run", evaluation=tmp_path / "then.json")
    value = pytest.approx(now["values"]["max_f_of_mean"], abs=1e-12)
    for found in (of_run, of_report):
        first = found.facts.metrics[0]
        assert (first.name, first.value) == ("max_f_of_mean", value)
        assert "version 2 of the metrics" in first.protocol
        assert "max_f" not in {metric.name for metric in found.facts.metrics}
        assert "eval_metric=max_f_of_mean" in found.facts.train
        training = found.path / "training"
        assert json.loads((training / "versions.json").read_text())["metrics"] == 2
        lines = (training / "metrics.jsonl").read_text().splitlines()
        measured = [line["val"] for line in map(json.loads, lines) if "val" in line]
        assert measured[-1]["max_f_of_mean"] == value and "max_f" not in measured[-1]
    assert "chosen by max_f_of_mean" in of_run.facts.metrics[0].protocol
    intervals = of_report.facts.intervals
    assert list(intervals["max_f_of_mean"]) == now["intervals"]["max_f_of_mean"]


def test_the_card_says_how_far_the_training_went(place, tmp_path):
    """Whoever reads the recipe must not believe that all of its steps were taken."""
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    whole = (built(place, tmp_path / "whole", run).path / "README.md").read_text()
    record = json.loads((run / "run.json").read_text())
    taken = record["recipe"]["steps"]
    assert f"It was trained for {taken} steps" in whole and "stopped" not in whole
    record["recipe"]["steps"] = 3000
    (run / "run.json").write_text(json.dumps(record))
    notes = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [note for note in notes if note.get("val")]
    for note in measured:
        note["best"] = note is measured[0]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(note)}\n" for note in notes))
    card = (built(place, tmp_path / "out", run).path / "README.md").read_text()
    kept = measured[0]["step"]
    assert f"It was trained for {taken} steps of 3,000, and stopped there" in card
    assert (f"these are the weights of step {kept}." in card) == (kept != taken)


@pytest.mark.parametrize(
    ("given", "written"),
    [("apache-2.0", "Apache-2.0"), ("LicenseRef-ours", "LicenseRef-ours"), ("MIT OR ISC",) * 2],
)
def test_a_licence_is_written_as_spdx_has_it(place, tmp_path, given, written):
    found = built(place, tmp_path / "out", license=given)
    assert configs.read(found.path / "config.json").license == written


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "Apache",
            "SPDX knows no licence 'Apache'; expected an identifier of .* Did you mean Apach",
        ),
        (
            "Nonsense-9.9",
            "knows no licence 'Nonsense-9.9'; expected .* or LicenseRef-NAME for anot",
        ),
        ("research only", "knows no licence 'research only'"),
    ],
)
def test_a_licence_that_nobody_knows_is_refused(place, tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        built(place, tmp_path / "out", license=given)
    assert not (tmp_path / "out").exists()


VAL = "arrays:val.npz?classes=background,square&values=0,1"
TRAIN = "arrays:train.npz?classes=background,square&values=0,1"
CHOSEN, SEEN = "the step was chosen by iou on ", "the network was trained on pictures of this set"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (VAL, [f"{CHOSEN}this set"]),
        ("arrays:./val.npz?values=0,1&classes=background,square", [f"{CHOSEN}this set"]),
        (f"{VAL}&val=0.4", [f"{CHOSEN}a part of this set"]),
        (TRAIN, [SEEN]),
        (f"{TRAIN}&val=0.5", [SEEN]),
        ("arrays:test.npz?classes=background,square&values=0,1", []),
    ],
)
@pytest.mark.parametrize("source", ["run", "run/model"])
def test_the_card_says_what_training_had_to_do_with_the_pictures(
    place, tmp_path, words, known, source
):
    folder = changed(place, tmp_path, lambda r: r["protocol"]["data"].update(words=words))
    found = built(place, tmp_path / "out", source, evaluation=folder)
    protocol = found.facts.metrics[0].protocol.split("; ")
    assert protocol[2:] == known
    assert all(text in (found.path / "README.md").read_text() for text in known)


@pytest.mark.parametrize(
    ("measured", "known"),
    [
        ("&val=0.5", [f"{CHOSEN}this set"]),
        ("&val=0.5&part=val&seed=0", [f"{CHOSEN}this set"]),
        ("&val=0.5&part=train", [SEEN]),
        ("&val=0.5&seed=1", [f"{CHOSEN}a part of this set", SEEN]),
        ("", [f"{CHOSEN}a part of this set", SEEN]),
    ],
)
def test_of_a_set_that_is_parted_the_held_out_side_is_the_one_that_chose(
    place, tmp_path, measured, known
):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    record = json.loads((run / "run.json").read_text())
    record["identity"] |= {"data": f"{TRAIN}&val=0.5", "val": None}
    (run / "run.json").write_text(json.dumps(record))
    words = f"{TRAIN}{measured}"
    folder = changed(place, tmp_path, lambda r: r["protocol"]["data"].update(words=words))
    found = built(place, tmp_path / "out", run, evaluation=folder)
    assert found.facts.metrics[0].protocol.split("; ")[2:] == known


def test_the_training_command_trains_the_same_weights(place, tmp_path):
    found = built(place, tmp_path / "out")
    command = shlex.split(found.facts.train)
    assert command[:2] == ["segzoo", "train"]
    line = [*command[1:], "-o", str(tmp_path / "again"), "--workers", "0", "--device", "cpu"]
    assert main.run([*line, "--quiet"]) == 0
    then, now = (
        json.loads((p / "run.json").read_text()) for p in (place / "run", tmp_path / "again")
    )
    assert then["recipe"] == now["recipe"]
    assert then["identity"]["model"] == now["identity"]["model"]
    one, other = (
        segzoo.load(f"{p}/model").network.state_dict() for p in ("./run", tmp_path / "again")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_a_plugin_bring_their_own_licence_data_and_numbers(tmp_path):
    found = folder_of("u2netp.duts", tmp_path / "out", repo=REPO)
    record = segzoo.load("u2netp.duts").weights
    config = configs.read(found.path / "config.json")
    assert (config.license, config.trained_on, config.dtype) == (
        record.license,
        record.trained_on,
        "float16",
    )
    assert found.facts.metrics == record.metrics
    one, other = (segzoo.load(r).network.state_dict() for r in ("u2netp.duts", f"{found.path}"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    text = (found.path / "README.md").read_text()
    assert record.notes[:40] in text and "CC0 by its photographer" in text
    (widget,) = front_matter(found.path)["widget"]
    assert widget == {
        "src": "examples/1.jpg",
        "example_title": "A cat",
        "output": {"url": "examples/1-mask.png"},
    }
    shown = codec.read(found.path / widget["output"]["url"]).image[..., 0]
    expected = segzoo.load("u2netp.duts").predict(ROOT / "demo/photos/cat.jpg").mask
    assert np.array_equal(shown, expected)
    assert rules.judged(rules.sheet_of(found.path)) == [(rule, ()) for rule in rules.RULES]


def test_a_large_example_is_published_smaller(place, tmp_path):
    Image.fromarray(np.zeros((1500, 300, 3), np.uint8)).save(tmp_path / "tall.png")
    found = built(place, tmp_path / "out", picture=tmp_path / "tall.png")
    names = ("1.jpg", "1-mask.png")
    shapes = [codec.read(found.path / "examples" / name).image.shape for name in names]
    assert shapes == [(1024, 205, 3)] * 2


def test_a_saved_model_is_published_with_what_its_config_says(place, tmp_path):
    one = built(place, tmp_path / "one")
    evaluation = place / "report"
    other = folder_of(one.path, tmp_path / "two", repo=REPO, evaluation=evaluation)
    assert other.manifest.files["model.safetensors"] == one.manifest.files["model.safetensors"]
    assert other.facts.config.trained_on == (SQUARES,)


def test_save_pretrained_writes_a_manifest_over_its_two_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model = segzoo.load("u2netp.duts")
    model.save_pretrained(tmp_path)
    assert set(manifest.read(tmp_path / "manifest.json").files) == {
        "config.json",
        "model.safetensors",
    }
    manifest.check(tmp_path)
    assert configs.read(tmp_path / "config.json").license == "Apache-2.0"
    again = segzoo.load(f"local-dir:{tmp_path}")
    again.save_pretrained(tmp_path, dtype="bfloat16")
    manifest.check(tmp_path)
    assert configs.read(tmp_path / "config.json").license == "Apache-2.0"


# --- what is refused ------------------------------------------------------------------------------

ALL = (
    "not to be published without a licence (--license SPDX, such as Apache-2.0); the data that it "
    "was trained on, with its licence (--trained-on 'NAME=LICENCE' or 'NAME=LICENCE=URL'); numbers "
    "with their protocol and split (--eval FOLDER, of segzoo eval ... -o FOLDER)"
)


def test_what_is_missing_is_said_all_at_once(place, tmp_path):
    with pytest.raises(UsageError) as caught:
        folder_of("./run/model", tmp_path / "out", repo=REPO)
    assert str(caught.value) == ALL
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"license": ""},
            "not to be published without a licence (--license SPDX, such as Apache-2.0)",
        ),
        ({"license": "not stated"}, "without a licence"),
        ({"trained_on": ()}, "without the data that it was trained on, with its licence"),
        ({"repo": "squares"}, "'squares' cannot be a repository; expected user/name"),
        ({"repo": "a/b/c"}, "'a/b/c' cannot be a repository"),
        ({"repo": "alice/../x"}, "cannot be a repository"),
        ({"repo": "alice/x.git"}, "cannot be a repository"),
        ({"base_model": "u2net"}, "'u2net' cannot be a base model; expected user/name"),
        ({"tag": "a b"}, "'a b' cannot be a tag; expected such as r1"),
        ({"tag": "../x"}, "cannot be a tag"),
        ({"tag": "x.lock"}, "cannot be a tag"),
    ],
)
def test_what_cannot_be_published_is_refused(place, tmp_path, changes, words):
    with pytest.raises(UsageError) as caught:
        built(place, tmp_path / "out", **changes)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_stays(place, tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputError, match="there is something already; expected a new folder"):
        built(place, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    (tmp_path / "empty").mkdir()
    assert built(place, tmp_path / "empty").manifest.files


def changed(place, tmp_path, change):
    record = json.loads((place / "report/metrics.json").read_text())
    change(record)
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda r: r["protocol"]["model"].update(sha256="0" * 64),
            UsageError,
            "the numbers are of other weights; found 0000",
        ),
        (
            lambda r: r["protocol"]["model"].update(name="fcn"),
            UsageError,
            "the numbers are of another model; found fcn, num_classes=1, expected unetpp, "
            "num_classes=1",
        ),
        (lambda r: r.pop("protocol"), ConfigError, "this is not what segzoo eval writes"),
        (lambda r: r["protocol"].update(main="x"), ConfigError, "this is not what segzoo eval"),
        (lambda r: r.update(intervals={"iou": 3}), ConfigError, "this is not what segzoo eval"),
        (lambda r: r["values"].update(iou=None), ConfigError, "this is not what segzoo eval"),
    ],
)
def test_numbers_of_something_else_are_refused(place, tmp_path, change, error, words):
    folder = changed(place, tmp_path, change)
    with pytest.raises(error) as caught:
        built(place, tmp_path / "out", evaluation=folder)
    assert words in str(caught.value)
    assert caught.value.file == str(folder / "metrics.json")


def test_a_model_of_no_plugin_is_refused(place, tmp_path):
    with pytest.raises(ConfigError, match="is of a spec that no plugin offers, so nobody could"):
        folder_of(segzoo.load(TINY), tmp_path / "out", repo=REPO, **SAID)
    with pytest.raises(PluginMissingError):
        saved = segzoo.load(TINY).save_pretrained(tmp_path / "saved")
        folder_of(saved, tmp_path / "out", repo=REPO, **SAID)


def test_a_run_that_saved_no_model_is_refused(place, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="the run has saved no model that a plugin offers"):
        folder_of(tmp_path, tmp_path / "out", repo=REPO, **SAID)


@pytest.mark.parametrize("text", ["", "a", "a=", "=b", " = "])
def test_a_data_set_that_cannot_be_read_is_refused(text):
    with pytest.raises(UsageError, match=r"cannot read the data set .*expected 'NAME=LICENCE' or"):
        dataset_of(text)


def test_a_data_set_may_have_an_address_with_an_equals_sign():
    found = dataset_of("Cells = CC-BY-4.0 = https://x.org/?id=3")
    assert found == Dataset(name="Cells", license="CC-BY-4.0", url="https://x.org/?id=3")


# --- nothing of the machine -----------------------------------------------------------------------


def test_no_path_user_or_host_is_published(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(place))  # so the user is anna-secret
    monkeypatch.setenv("USER", "anna-secret")
    monkeypatch.setenv("LOGNAME", "anna-secret")
    monkeypatch.setattr(socket, "gethostname", lambda: "annas-laptop")
    found = built(place, tmp_path / "out", picture="photo.jpg", source=f"{place}/run")
    words = (
        "anna",
        "secret",
        str(place.parent),
        str(tmp_path),
        os.fspath(ROOT),
        "laptop",
        "/home/",
    )
    for name in [*found.manifest.files, "manifest.json"]:
        raw = (found.path / name).read_bytes()
        assert [word for word in words if word.encode() in raw] == [], name
    assert b"arrays:train.npz?classes" in (found.path / "training/recipe.json").read_bytes()


@pytest.mark.parametrize(
    ("words", "public"),
    [
        ("folder:cells?values=0,255", "folder:cells?values=0,255"),
        ("cells/tissue", "folder:cells/tissue"),
        ("folder:/home/anna/cells?val=0.2", "folder:cells?val=0.2"),
        ("folder:~/cells", "folder:cells"),
        ("folder:~", "folder:DATA"),
        ("folder:/", "folder:DATA"),
        ("folder:/home/anna", "folder:DATA"),
        ("folder:anna/cells", "folder:cells"),
        ("folder:../anna's things/cells", "folder:cells"),
        ("folder:C:\\Users\\anna\\cells", "folder:cells"),
        ("C:\\Users\\anna", "folder:DATA"),
        ("folder:\\\\server\\share\\cells", "folder:cells"),
        ("folder:x?images=/data/anna/im&masks=m", "folder:x?images=im&masks=m"),
        ("hf:user/set?split=test", "hf:user/set?split=test"),
        ("shards:https://me:word@x.org/a-{0..3}.tar", "shards:https://x.org/a-{0..3}.tar"),
    ],
)
def test_words_say_nothing_of_the_machine(monkeypatch, words, public):
    monkeypatch.setattr(privacy, "_somebody", lambda: {"anna"})
    assert privacy.public_words(words) == public


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/anna/my data/x.npz", "x.npz"),
        ("see /home/anna/x.npz, and ~/y", "see x.npz, and y"),
        ("https://arxiv.org/abs/1505.04597", "https://arxiv.org/abs/1505.04597"),
        ("road / lane and/or 3/4", "road / lane and/or 3/4"),
        ("segzoo.losses:dice", "segzoo.losses:dice"),
    ],
)
def test_texts_say_nothing_of_the_machine(monkeypatch, text, public):
    monkeypatch.setattr(privacy, "_somebody", lambda: {"anna"})
    assert privacy.public({"a": [text, 1, None]}) == {"a": [public, 1, None]}


def test_the_git_revision_is_that_of_the_runs_folder(place, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    line = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q"]
    subprocess.run([*line, "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert _git_revision(tmp_path) == head.stdout.strip()
    assert _git_revision(place) == ""


# --- to the Hub -----------------------------------------------------------------------------------


def test_publish_then_load_then_predict(to_hub, place):
    """What loads it in a process of its own is the code in the card, below."""
    found = sent(place, tag="r1", picture="photo.jpg")
    repo = to_hub.repos[REPO]
    assert len(repo.commits) == 2  # the first one, and ours with everything
    assert repo.tags == {"r1": found.commit} and repo.branches["main"] == found.commit
    model = segzoo.load("hf-hub:alice/squares@r1")
    assert (type(model).__name__, model.config.license) == ("Model", "Apache-2.0")
    mask = segzoo.load("./run/model").predict("photo.jpg").mask
    assert mask.shape == (32, 32)
    assert np.array_equal(model.predict("photo.jpg").mask, mask)
    text = repo.blobs[repo.head.files["README.md"].etag].decode()
    assert judged(text) == ([], [])


def snippet_of(hub, language):
    """The code of this language in the card that the Hub has."""
    repo = hub.repos[REPO]
    text = repo.blobs[repo.head.files["README.md"].etag].decode()
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_code_in_the_card_runs_and_a_load_is_counted_once(to_hub, place, tmp_path):
    """In a process that has of this one's settings nothing but where the Hub is."""
    sent(place, tag="r1")
    home = tmp_path / "elsewhere"
    home.mkdir()
    shutil.copy(place / "photo.jpg", home)
    environment = {"HOME": str(home), "PATH": os.defpath, **to_hub.settings(home, token=None)}
    line = [sys.executable, "-I", "-W", "error", "-c", snippet_of(to_hub, "python")]
    counted = []
    for _ in range(2):
        to_hub.requests.clear()
        done = subprocess.run(line, env=environment, cwd=home, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        # what counts as a download: https://huggingface.co/docs/hub/models-download-stats
        names = [path.rpartition("/")[2] for _, path in to_hub.requests]
        counted.append([name for name in names if name in vocabulary.COUNTED])
    assert counted == [["config.json"], []]
    assert to_hub.requests == []  # what is cached is not asked for at all


def test_the_line_in_the_card_runs(to_hub, place, tmp_path, monkeypatch):
    sent(place, tag="r1")
    shutil.copy(place / "photo.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    install, predict = snippet_of(to_hub, "sh").splitlines()
    assert install.startswith('pip install "segzoo-unetpp>=')
    assert main.run(shlex.split(predict)[1:]) == 0
    assert (tmp_path / "out/photo.png").is_file()


def test_a_card_that_was_edited_on_the_hub_is_not_written_over(to_hub, place):
    sent(place)
    edited = b"---\nlicense: apache-2.0\n---\n# By hand\n"
    to_hub.add(REPO, {"README.md": edited})
    again = {"notes": "Other words."}
    with pytest.raises(HubError, match="the card of alice/squares was edited since it was publi"):
        sent(place, **again)
    repo = to_hub.repos[REPO]
    assert repo.blobs[repo.head.files["README.md"].etag] == edited
    assert sent(place, **again, create_pr=True).url.endswith("/discussions/1")
    assert sent(place, **again, replace_card=True).created
    assert b"Other words." in repo.blobs[repo.head.files["README.md"].etag]
    assert sent(place, notes="More words.").created


def test_what_is_on_the_hub_is_checked_where_it_is(to_hub, place, capsys):
    sent(place, picture="photo.jpg")
    assert main.run(["publish", f"hf-hub:{REPO}", "--check"]) == 0
    to_hub.add(REPO, {"README.md": b"# By hand\n", "params.json": b"{}"})
    assert main.run(["publish", f"hf-hub:{REPO}", "--check", "--json"]) == 3
    found = json.loads(capsys.readouterr().out.partition("sent\n")[2])
    broken = {each["rule"] for each in found["rules"] if each["faults"]}
    assert {"card", "counting", "snippet"} <= broken and "pickles" not in broken


def test_a_run_is_checked_before_it_is_published(place, capsys):
    line = ["publish", "run", REPO, "--eval", "report", *LINE, "--check"]
    assert main.run(line) == 0
    assert "0 broken; nothing was sent" in capsys.readouterr().out
    assert main.run(["publish", "run", "--check", "--eval", "report", *LINE]) == 2
    assert "it is not said where to. Give USER/NAME behind the model" in capsys.readouterr().err


EVAL_YAML = b"name: Squares\nevaluation_framework: other\ntasks:\n- id: semantic\n"


def test_the_number_of_a_registered_benchmark_is_a_result_of_it(to_hub, place, tmp_path):
    to_hub.datasets["acme/squares"] = {"eval.yaml": EVAL_YAML}
    to_hub.benchmarks.add("acme/squares")
    on_it = {"words": "hf:acme/squares?split=test"}
    report = changed(place, tmp_path, lambda r: r["protocol"]["data"].update(on_it))
    found = sent(place, evaluation=report, benchmark="acme/squares:semantic")
    repo = to_hub.repos[REPO]
    text = repo.blobs[repo.head.files[".eval_results/acme-squares.yaml"].etag]
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"] == {
        "id": "acme/squares",
        "task_id": "semantic",
        "revision": "d" * 40,
    }
    assert entry["value"] == pytest.approx(found.record.metrics[0].value, abs=1e-4)


@pytest.mark.parametrize(
    ("wish", "words", "error", "says"),
    [
        ("acme/squares", "hf:acme/squares", UsageError, "'acme/squares' cannot be a benchmark; ex"),
        ("squares:semantic", "hf:acme/squares", UsageError, "cannot be a benchmark"),
        ("acme/squares:semantic", "arrays:x.npz", UsageError, "are of other data than the bench"),
        ("acme/squares:semantic", "hf:acme/squares2", UsageError, "are of other data than the"),
        (
            "acme/squares:made-up",
            "hf:acme/squares",
            HubNotFoundError,
            "the benchmark acme/squares has no task 'made-up'; expected semantic",
        ),
        (
            "acme/plain:semantic",
            "hf:acme/plain",
            HubNotFoundError,
            "the data set acme/plain is not registered on the Hub as a benchmark",
        ),
        ("acme/none:semantic", "hf:acme/none", HubNotFoundError, "there is no repository"),
        ("acme/odd:semantic", "hf:acme/odd", HubError, "eval.yaml of acme/odd does not say which"),
        ("acme/bare:semantic", "hf:acme/bare", HubNotFoundError, "has no file eval.yaml"),
    ],
)
def test_a_benchmark_that_the_hub_does_not_know(to_hub, place, tmp_path, wish, words, error, says):
    files = {"squares": EVAL_YAML, "plain": EVAL_YAML, "odd": b"a: &a [x]\nb: *a", "bare": None}
    for name, content in files.items():
        to_hub.datasets[f"acme/{name}"] = {} if content is None else {"eval.yaml": content}
    to_hub.benchmarks |= {"acme/squares", "acme/odd", "acme/bare"}
    report = changed(place, tmp_path, lambda r: r["protocol"]["data"].update(words=words))
    with pytest.raises(error, match=re.escape(says)):
        sent(place, evaluation=report, benchmark=wish)
    assert REPO not in to_hub.repos


def test_training_goes_on_from_published_weights(to_hub, place, tmp_path):
    first = sent(place, tag="r1")
    data = f"arrays:{place}/train.npz?classes=background,square&values=0,1"
    run = tmp_path / "run"
    recipe = replace(RECIPE, lr=1e-30)
    begin = {"run": run, "recipe": recipe, "settings": QUIET, "init_from": f"hf-hub:{REPO}@r1"}
    tuned = train("unetpp", data, width=2, depth=1, **begin).model
    # The old weights' licence is not that of the new ones; what they have seen is.
    assert (tuned.config.license, tuned.config.trained_on) == ("", (SQUARES,))
    old = segzoo.load(f"hf-hub:{REPO}@r1").network.state_dict()
    assert torch.equal(tuned.network.state_dict()["heads.1.weight"], old["heads.1.weight"])
    train(resume=run, run=run, changes=["steps=3"], settings=QUIET, force_resume=True)
    record = json.loads((run / "run.json").read_text())
    assert record["identity"]["weights"] == f"hf-hub:{REPO}@{first.commit}"

    found = folder_of(
        run,
        tmp_path / "out",
        repo="alice/tuned",
        evaluation=evaluated(run, place, tmp_path),
        **SAID,
    )
    text = (found.path / "README.md").read_text()
    assert f"It began with the weights of `hf-hub:{REPO}@{first.commit}`." in text
    assert f" --init-from hf-hub:{REPO}@{first.commit} " in found.facts.train
    assert front_matter(found.path)["base_model"] == REPO
    with pytest.raises(UsageError, match=r"not to be published without a licence .*; the data"):
        folder_of(run, tmp_path / "none", repo="alice/tuned")
    with pytest.raises(UsageError, match="are of another model; found unetpp, expected unet"):
        train("unet", data, init_from=f"hf-hub:{REPO}", run=tmp_path / "no", settings=QUIET)


def test_a_teacher_on_the_hub_is_the_base_model_of_what_it_taught(place, tmp_path):
    """As run.json says it of a run with --teacher."""
    run = shutil.copytree(place / "run", tmp_path / "taught")
    record = json.loads((run / "run.json").read_text())
    record["identity"]["teacher"] = {"model": "hf-hub:acme/big@r1", "license": "MIT"}
    (run / "run.json").write_text(json.dumps(record))
    found = built(place, tmp_path / "out", source=run)
    assert front_matter(found.path)["base_model"] == "acme/big"
    given = built(place, tmp_path / "given", source=run, base_model="acme/other")
    assert front_matter(given.path)["base_model"] == "acme/other"
    assert "base_model" not in front_matter(built(place, tmp_path / "plain").path)


def evaluated(run, place, tmp_path):
    words = f"arrays:{place}/val.npz?classes=background,square&values=0,1"
    segzoo.evaluate(f"{run}/model", words, out=tmp_path / "numbers", device="cpu", bootstrap=0)
    return tmp_path / "numbers"


def test_publishing_again_makes_no_commit(to_hub, place):
    one = sent(place, tag="r1")
    to_hub.requests.clear()
    other = sent(place, tag="r1")
    assert (one.created, other.created) == (True, False)
    assert one.commit == other.commit and one.lines == other.lines
    assert len(to_hub.repos[REPO].commits) == 2
    assert not [path for _, path in to_hub.requests if "/commit/" in path or "/lfs/" in path]


def test_a_published_tag_is_never_moved(to_hub, place):
    one = sent(place, tag="r1")
    before = dict(to_hub.repos[REPO].commits)
    with pytest.raises(HubError) as caught:
        sent(place, tag="r1", notes="Other words.")
    assert str(caught.value) == (
        f"the tag r1 of {REPO} is of something else, and no published tag is moved; found "
        f"{one.commit}. Choose another tag"
    )
    assert to_hub.repos[REPO].commits == before
    other = sent(place, tag="r2", notes="Other words.")
    assert to_hub.repos[REPO].tags == {"r1": one.commit, "r2": other.commit}
    assert sent(place, tag="r1").commit == one.commit  # it is still there, under its tag


def test_what_was_left_out_since_is_deleted_in_the_same_commit(to_hub, place):
    sent(place, picture="photo.jpg")
    to_hub.add(REPO, {"notes.md": b"somebody's own"})
    sent(place)
    files = to_hub.repos[REPO].head.files
    assert "preview.jpg" not in files and "notes.md" in files
    assert len(to_hub.repos[REPO].commits) == 4


def test_a_pull_request_leaves_main_and_is_opened_once(to_hub, place):
    first = to_hub.add(REPO, {"README.md": b"# Theirs\n"})
    one = sent(place, create_pr=True)
    assert to_hub.repos[REPO].branches["main"] == first
    assert [p.status for p in to_hub.repos[REPO].pulls] and one.url.endswith("/discussions/1")
    other = sent(place, create_pr=True)
    assert (other.created, len(to_hub.repos[REPO].pulls)) == (False, 1)
    with pytest.raises(UsageError, match=r"only what was merged can have a tag. Merge the"):
        sent(place, create_pr=True, tag="r1")


def test_private_is_private_or_refused(to_hub, place):
    sent(place, private=True)
    assert to_hub.repos[REPO].private
    to_hub.repos[REPO].private = False
    with pytest.raises(UsageError, match="alice/squares is there already, and public"):
        sent(place, private=True, notes="More.")
    assert len(to_hub.repos[REPO].commits) == 2


def test_a_model_pushes_itself(to_hub, place):
    model = segzoo.load("./run/model")
    found = model.push_to_hub(REPO, evaluation=place / "report", dtype="float16", **SAID)
    assert found.record.dtype == "float16"
    assert to_hub.repos[REPO].head.oid == found.commit


# --- the lines for a spec -------------------------------------------------------------------------


def made(node):
    """What an expression of records, containers and constants makes; nothing else is let in."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[]):
            return getattr(spec, name)(**{k.arg: made(k.value) for k in node.keywords})
        case ast.Tuple():
            return tuple(map(made, node.elts))
        case ast.List():
            return [*map(made, node.elts)]
        case ast.Dict():
            return {made(k): made(v) for k, v in zip(node.keys, node.values, strict=True)}
        case ast.UnaryOp(op=ast.USub()):
            return -made(node.operand)
        case ast.Constant():
            return node.value
    raise AssertionError(ast.dump(node))


def test_the_lines_for_a_spec_are_python_that_makes_the_record(to_hub, place):
    found = sent(place, dtype="float16")
    record = made(ast.parse(found.lines, mode="eval").body)
    assert record == found.record
    assert isinstance(record, Weights)
    assert (record.repo, record.revision, record.dtype) == (REPO, found.commit, "float16")
    assert record.options == {"width": 2, "depth": 1}
    assert record.trained_on == (SQUARES,) and record.license == "Apache-2.0"
    stored = to_hub.repos[REPO].head.files["model.safetensors"]
    assert record.sha256 == stored.sha256


def test_the_record_says_nothing_that_the_spec_says(to_hub):
    found = publish(PublishRequest("u2netp.duts", REPO))
    own = segzoo.load("u2netp.duts").weights
    kept = replace(own, bundled=None, repo=REPO, revision=found.commit, file="model.safetensors")
    # The task is the spec's first, so it need not be said.
    assert found.record == replace(kept, task=None, sha256=found.record.sha256)
    assert made(ast.parse(found.lines, mode="eval").body) == found.record


# --- H8 and its relatives: what goes wrong on the way ---------------------------------------------

COMMIT = "POST /api/models/*/commit/main"
FAULTS = [
    #  row, the fault, the error, its words, and whether the Hub has it all the same
    ("H8 409", Fault(COMMIT, status=409), HubError, "alice/squares was changed meanwhile"),
    ("H8 412", Fault(COMMIT, status=412), HubError, "alice/squares was changed meanwhile"),
    (
        "H8 card",
        Fault("POST /api/validate-yaml", status=400, body=b'{"errors": [{"message": "bad"}]}'),
        HubError,
        "the Hub does not take the card",
    ),
    ("H1 401", Fault("POST *", status=401, times=None), HubAccessError, "does not know this token"),
    (
        "H1 403",
        Fault(COMMIT, status=403, times=None),
        HubAccessError,
        "this token may not write to alice/squares",
    ),
    ("H1 404", Fault("GET */refs", status=404), HubNotFoundError, "the Hub has no repository"),
    (
        "H2 absurd",
        Fault(COMMIT, status=429, headers={"Retry-After": "1000000000"}),
        HubRateLimitError,
        "the Hub wants fewer requests; found it asks to wait 1,000,000,000 s. Publish again later",
    ),
    (
        "H2 none",
        Fault(COMMIT, status=429, times=None),
        HubRateLimitError,
        "fewer requests. Publish",
    ),
    ("H3", Fault(COMMIT, status=503, times=None), HubError, "the Hub refuses: HTTP 503"),
    (
        "H8 cut",
        Fault(COMMIT, cut_upload=0.5, times=None),
        HubError,
        "the connection to the Hub broke",
    ),
    (
        "H8 card",
        Fault(
            "POST /api/validate-yaml",
            status=400,
            body=b'{"errors": [{"message": "no such license"}], "warnings": []}',
        ),
        HubError,
        "the Hub does not take the card; found ",
    ),
    (
        "H8 storage",
        Fault("PUT /lfs/*", status=400, times=None),
        HubError,
        "the Hub refuses: HTTP 400",
    ),
]


def state_of(folder):
    return {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.parametrize(("row", "fault", "error", "words"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_is_one_typed_error_and_no_commit(to_hub, place, row, fault, error, words):
    first = to_hub.add(REPO, {"README.md": b"# Theirs\n"})
    before = state_of(place)
    to_hub.faults.append(replace(fault))
    with pytest.raises(error) as caught:
        sent(place, tag="r1")
    assert words in str(caught.value)
    assert to_hub.token not in str(caught.value)
    assert caught.value.exit_code == 4
    assert to_hub.repos[REPO].head.oid == first and to_hub.repos[REPO].tags == {}
    assert state_of(place) == before
    to_hub.faults.clear()
    done = sent(place, tag="r1")  # and again, when the fault has passed
    assert to_hub.repos[REPO].tags == {"r1": done.commit}
    assert len(to_hub.repos[REPO].commits) == 3


PASSING = [
    ("H3 once", Fault(COMMIT, status=502)),
    ("H3 late", Fault(COMMIT, status=502, late=True)),
    ("H3 create", Fault("POST /api/repos/create", status=500, times=2)),
    ("H3 tag late", Fault("POST */tag/*", status=500, late=True)),
    ("H2 once", Fault(COMMIT, status=429, headers={"Retry-After": "0"})),
    ("H8 cut once", Fault(COMMIT, cut=0.0)),
    ("H8 cut in the commit", Fault(COMMIT, cut_upload=0.5)),
    ("H8 cut in the answer", Fault(COMMIT, cut=0.5)),
    ("H8 cut in the weights", Fault("PUT /lfs/*", cut_upload=0.5)),
]


@pytest.mark.parametrize(("row", "fault"), PASSING, ids=[f[0] for f in PASSING])
def test_a_fault_that_passes_leaves_one_commit_and_its_tag(to_hub, place, row, fault):
    to_hub.faults.append(replace(fault))
    found = sent(place, tag="r1")
    assert found.created
    repo = to_hub.repos[REPO]
    assert (len(repo.commits), repo.tags, repo.head.oid) == (2, {"r1": found.commit}, found.commit)
    assert to_hub.faults[0].times == 0


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_nobody", "the Hub does not know this token. Run: hf auth login"),
        ("hf_alice_reads", "this token may not write to alice/squares"),
        ("hf_bob_writes", "auth login; or offer it as a pull request: --create-pr"),
    ],
)
def test_a_token_without_the_right_is_told(to_hub, place, monkeypatch, token, words):
    to_hub.add(REPO, {"README.md": b"# Theirs\n"})
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubAccessError) as caught:
        sent(place)
    assert words in str(caught.value)
    assert token not in str(caught.value)


def test_without_a_token_the_hub_wants_one(to_hub, place, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with pytest.raises(HubAccessError, match=r"the Hub wants a token. Run: hf auth login"):
        sent(place)


def test_a_hub_that_cannot_be_reached_is_told_at_once(to_hub, place, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(
            OfflineError,
            match=r"cannot be reached: ConnectError; found http://127.*\. Publish again",
        ):
            sent(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"HF_HUB_OFFLINE is set. Unset it to publish"):
        sent(place)


def test_a_server_that_repeats_the_token_does_not_bring_it_on_the_screen(to_hub, place):
    echo = {"X-Error-Message": f"token {to_hub.token} is bad"}
    to_hub.faults.append(Fault("POST *", status=403, headers=echo))
    with pytest.raises(HubAccessError) as caught:
        sent(place)
    assert "token *** is bad" in str(caught.value)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_publishes_and_prints_the_lines(to_hub, place, capsys):
    assert main.run(["publish", "run", REPO, *LINE, "--eval", "report", "--tag", "r1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{to_hub.url}/{REPO}/tree/{to_hub.repos[REPO].head.oid}\n")
    assert out.splitlines()[1] == f"segzoo predict hf-hub:{REPO}@r1 PHOTO -o out"
    made(ast.parse(out.split("spec.py:\n\n")[1].strip(), mode="eval").body)
    assert (
        main.run(["publish", "run", REPO, *LINE, "--eval", "report", "--tag", "r1", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["created"], told["tag"]) == (False, "r1")


def test_the_command_without_a_repository_to_send_to_makes_the_folder(hub, place, tmp_path, capsys):
    line = ["publish", "run", REPO, *LINE, "--eval", "report", "--dry-run", str(tmp_path / "out")]
    assert main.run(line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith(" which lists them; nothing was sent")
    assert lines[-1] == f"read {tmp_path / 'out/README.md'}, and publish without --dry-run"
    manifest.check(tmp_path / "out")
    assert hub.requests == []
    assert main.run([*line[:-1], str(tmp_path / "two"), "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["digest"]
        == manifest.read(tmp_path / "out/manifest.json").digest
    )


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["publish", "./run/model", REPO], 2, ALL),
        (
            ["publish", "runn", REPO],
            2,
            "there is no folder 'runn', and no plugin's weights are called so. See: segzoo list",
        ),
        (["publish", "run", REPO, "--dtype", "int8"], 2, "no dtype 'int8'; expected float32, floa"),
        (
            ["publish", "run", REPO, "--trained-on", "x"],
            2,
            "cannot read the data set 'x'; expected",
        ),
        (["publish", "nothing_here", REPO, *LINE], 2, "there is no folder 'nothing_here'"),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(place, capsys, line, code, words):
    assert main.run([*line, "--dry-run", "/dev/null/out"]) == code
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


# --- a Space --------------------------------------------------------------------------------------


def front_of(folder):
    return yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])


def models_of(folder):
    """The table of a Space's program, as it would be there."""
    tree = ast.parse((folder / "app.py").read_text("utf-8"))
    [value] = [
        n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "MODELS"
    ]
    return eval(compile(ast.Expression(value), "app", "eval"), {"HERE": folder})


def test_a_space_of_a_run_holds_the_model(place, tmp_path, capsys):
    line = ["publish", "run", REPO, *LINE, "--eval", "report", "--space", str(tmp_path / "space")]
    assert main.run(line) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == f"hf upload USER/NAME {tmp_path / 'space'} . --repo-type space"
    folder = tmp_path / "space"
    manifest.check(folder / "model")
    [(name, reference)] = models_of(folder).items()
    assert (name, reference) == ("squares", f"local-dir:{folder}/model")
    ours = segzoo.load(reference).network.state_dict()
    run = segzoo.load("./run").network.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in run.items())
    told = front_of(folder)
    assert told["sdk"] == "gradio" and told["app_file"] == "app.py"
    assert told["license"] == "apache-2.0" and len(told["title"]) <= 60
    needs = (folder / "requirements.txt").read_text().splitlines()
    assert [n.partition("==")[0] for n in needs[2:]] == ["segzoo-core[serve]", "segzoo-unetpp"]
    files = (file for file in folder.rglob("*") if file.suffix in (".py", ".md", ".txt", ".json"))
    assert not [file for file in files if "anna-secret" in file.read_text("utf-8")]


def test_a_space_of_a_run_asks_for_what_a_publication_does(place, tmp_path, capsys):
    assert main.run(["publish", "run", REPO, "--space", str(tmp_path / "space")]) == 2
    assert "not to be published without a licence" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_space_names_what_a_plugin_or_the_hub_has(to_hub, place, tmp_path):
    build_space(PublishRequest("lite0", ""), tmp_path / "named")
    assert models_of(tmp_path / "named") == {"lite0.fine": "lite0.fine"}
    assert "segzoo-lite==" in (tmp_path / "named/requirements.txt").read_text()
    assert sorted(file.name for file in (tmp_path / "named").iterdir()) == [
        "README.md",
        "app.py",
        "requirements.txt",
    ]
    publish(PublishRequest("run", REPO, tag="r1", **SAID))
    space = build_space(PublishRequest(f"hf-hub:{REPO}@r1", ""), tmp_path / "hub")
    assert models_of(space.path) == {"squares": f"hf-hub:{REPO}@r1"}
    assert front_of(space.path)["models"] == [REPO]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["lite0", "--space", "run"], "there is something already"),
        (["lite0", "--space", "new", "--check"], "give one of --check and --space"),
        (["local-dir:run/model", "--space", "new"], "is a folder of this machine alone"),
        (["segnet", "--space", "new"], "no model 'segnet'"),
        (["unet_slim", "--space", "new"], "has no weights"),
    ],
)
def test_what_cannot_be_a_space(place, capsys, line, words):
    assert main.run(["publish", *line]) in (2, 4, 5)
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not Path("new").exists()


@pytest.mark.parametrize("change", [{"identity": 5}, {"recipe": []}, {"machine": "x"}])
def test_a_run_whose_record_is_of_another_kind_is_refused(place, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    record = json.loads((run / "run.json").read_text()) | change
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="the record of the run has values of another kind"):
        built(place, tmp_path / "out", run)
    assert not (tmp_path / "out").exists()
