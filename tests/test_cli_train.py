"""segzoo train as a person meets it: from pictures to a model that predicts, and its mishaps."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from squares import Squares

import segzoo
from segzoo.cli.main import run
from segzoo.engine import journal

# The smallest UNet++, two steps on eight squares.
MODEL = ["unetpp", "--option", "width=2", "--option", "depth=1"]
FAST = ["--workers", "0", "--device", "cpu", "batch_size=2", "crop=32", "warmup=0"]


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    """An empty folder with a set of squares and a photo."""
    monkeypatch.chdir(tmp_path)
    for part, length in (("train", 8), ("val", 3)):
        samples = [Squares(length)[index] for index in range(length)]
        images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
        np.savez(f"{part}.npz", images=images, masks=masks)
    Image.fromarray(Squares(1, side=40)[0]["image"]).save("photo.png")


TRAIN = "arrays:train.npz?classes=background,square"
VAL = "arrays:val.npz?classes=background,square"
BOTH = ["--data", TRAIN, "--val", VAL]


def test_d12_from_pictures_to_masks(capsys):
    line = ["train", *MODEL, *BOTH, *FAST, "steps=4", "--eval-every", "2", "-o", "run"]
    assert run(line) == 0
    shown = capsys.readouterr()
    saved, measure, how, look = shown.out.splitlines()
    best = max(record["val"]["iou"] for record in journal.read("run") if "val" in record)
    assert saved.startswith("run/model: the weights of step ")
    assert saved.endswith(f", the best iou in 4: {best:.4f}")
    assert measure == f"segzoo eval run/model --data '{VAL}'"
    assert run([*shlex.split(measure)[1:], "--quiet"]) == 0
    capsys.readouterr()
    assert how == "segzoo predict run/model PHOTO -o out"
    assert look == "segzoo report run"
    assert "takes         4 steps of 2 samples: 1 epoch\n" in shown.err
    there = {path.name for path in Path("run").iterdir()}
    assert {"model", "config.json", "run.json", "metrics.jsonl", "curves.png"} <= there

    assert run(how.replace("PHOTO", "photo.png").split()[1:]) == 0
    with Image.open("out/photo.png") as mask:
        assert mask.size == (40, 40)
    assert segzoo.load("run/model").classes == ("square",)


def test_a_folder_without_a_separator_is_still_found(capsys):
    assert run(["train", *MODEL, "--data", TRAIN, *FAST, "steps=1", "-o", "."]) == 0
    *_, how, _ = capsys.readouterr().out.splitlines()
    assert how == "segzoo predict local-dir:model PHOTO -o out"
    assert run(how.replace("PHOTO", "photo.png").split()[1:]) == 0


def test_going_on(capsys):
    begun = ["train", *MODEL, *BOTH, *FAST, "--save-every", "1"]
    assert run([*begun, "steps=3", "--max-minutes", "0"]) == 0
    *_, how = capsys.readouterr().out.splitlines()
    assert how == "segzoo train --resume run"
    assert run([*how.split()[1:], "--workers", "0"]) == 0
    shown = capsys.readouterr()
    assert "goes on from step 1, to the last bit" in shown.err
    assert "begins       as run ended\n" in shown.err
    assert "the best iou in 3: " in shown.out
    assert run(["train", "--resume", "run", "-o", "run2", "steps=+2", "--workers", "0"]) == 0
    assert "run2/model: the weights of step " in capsys.readouterr().out
    assert run(["train", "--resume", "run", "steps=+2", "--workers", "0"]) == 2
    assert "run: the run was begun otherwise; found steps: was 3, is 5" in capsys.readouterr().err


def test_what_is_not_typed_again_is_as_it_was():
    begun = ["train", *MODEL, *BOTH, *FAST, "--save-every", "1", "--keep", "3"]
    assert run([*begun, "steps=3", "--max-minutes", "0"]) == 0
    assert run(["train", "--resume", "run", "--keep", "2"]) == 0
    settings = json.loads(Path("run/run.json").read_text())["settings"]
    assert (settings["save_every"], settings["workers"], settings["keep"]) == (1, 0, 2)
    assert settings["save_minutes"] == 10  # as long as nobody says otherwise
    assert (settings["max_minutes"], settings["quiet"]) == (None, False)
    assert run(["train", "--resume", "run", "-o", "run2", "steps=+2", "--save-every", "3m"]) == 0
    settings = json.loads(Path("run2/run.json").read_text())["settings"]
    assert (settings["save_every"], settings["save_minutes"]) == (None, 3)


def test_settings_that_cannot_be_read(capsys):
    assert run(["train", *MODEL, *BOTH, *FAST, "steps=1"]) == 0
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(record | {"settings": {"keep": 0}}))
    assert run(["train", "--resume", "run"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "segzoo: run/run.json: the settings cannot be read; found Settings: keep=0 is below 1"
    )


def test_folds(capsys):
    line = ["train", *MODEL, "--data", TRAIN, *FAST, "steps=1", "--folds", "3", "-o", "k"]
    assert run(line) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    record = json.loads(Path("k/folds.json").read_text())
    assert len(record["values"]) == 3
    assert record["mean"] == pytest.approx(np.mean(record["values"]))
    assert record["standard_deviation"] == pytest.approx(np.std(record["values"], ddof=1))
    mean, spread = record["mean"], record["standard_deviation"]
    assert last == f"3 folds: {mean:.4f} +- {spread:.4f} (standard deviation)"
    parts = [json.loads(Path(f"k/fold-{n}/run.json").read_text())["data"] for n in range(3)]
    assert sum(8 - part["samples"] for part in parts) == 8
    assert len({part["sha256"] for part in parts}) == 3

    Path("k/fold-2").rename("elsewhere")  # as if the machine had been switched off before it
    assert run([*line, "--resume", "k", "--quiet"]) == 0
    assert json.loads(Path("k/folds.json").read_text()) == record
    assert capsys.readouterr().out == ""


def test_termination_saves_and_says_so(capsys):
    """SIGTERM once the first step is on record."""

    def terminate():
        while not Path("run/metrics.jsonl").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=terminate)
    killer.start()
    code = run(["train", *MODEL, *BOTH, *FAST, "steps=1000000", "--eval-every", "1"])
    killer.join()
    assert code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    shown = capsys.readouterr()
    assert "SIGTERM" in shown.err
    assert shown.out.splitlines()[-1] == "segzoo train --resume run"
    assert list(Path("run").glob("step-*"))


def test_quiet(capsys):
    assert run(["train", *MODEL, *BOTH, *FAST, "steps=1", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_spec_of_ones_own(capsys):
    line = ["train", "tiny:TINY", "--data", TRAIN, *FAST, "steps=1", "--loss"]
    assert run([*line, "binary_cross_entropy"]) == 0
    *_, how, _ = capsys.readouterr().out.splitlines()
    weights = "run/model/model.safetensors"
    assert how == f"segzoo predict tiny:TINY --weights {weights} PHOTO -o out"
    assert run(how.replace("PHOTO", "photo.png").split()[1:]) == 0


@pytest.mark.slow
def test_of_several_processes_one_speaks():
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    line = ["train", *MODEL, *BOTH, *FAST, "steps=2"]
    done = subprocess.run(
        [*command, "-m", "segzoo.cli.main", *line], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == [
        "segzoo predict run/model PHOTO -o out",
        "segzoo report run",
    ]
    assert done.stderr.count("2 processes, fp32") == 1
    assert segzoo.load("run/model").classes == ("square",)


# --- what is wrong --------------------------------------------------------------------------------

ON = ["train", *MODEL, "--data", TRAIN]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["train"], "no model. Run: segzoo train MODEL --data WORDS"),
        (["train", "unetpp"], "no data. Add --data reader:path, see docs/data-sets.md"),
        (
            ["train", "unetpp", "unet", "--data", TRAIN],
            "one model at a time, not unetpp, unet. What changes the recipe is written field=value",
        ),
        ([*ON, "workers=4"], "'workers' is not a field of the recipe. Write --workers 4"),
        ([*ON, "out=here"], "'out' is not a field of the recipe. Write --out here"),
        ([*ON, "run=here"], "'run' is not a field of the recipe. Write --out here"),
        ([*ON, "data=here"], "'data' is not a field of the recipe. Write --data here"),
        ([*ON, "eval-every=5"], "'eval-every' is not a field of the recipe. Write --eval-every 5"),
        ([*ON, "compile=1"], "'compile' is not a field of the recipe. Write --compile"),
        ([*ON, "save_minutes=5"], "'save_minutes' is not a field of the recipe. Write --save-e"),
        ([*ON, "trackers=wandb"], "'trackers' is not a field of the recipe. Write --tracker wan"),
        ([*ON, "pretrained=true"], "'pretrained' is not a field of the recipe. Write --pretrained"),
        (
            [*ON, "width=4"],
            "'width' is an option of unetpp, not of its recipe. Write --option width=4, in Python "
            "train(..., width=4)",
        ),
        (
            [*ON, "eval_batch_size=4"],
            "'eval_batch_size' is not a field of the recipe. Write --eval-batch-size 4",
        ),
        (
            [*ON, "learning_rate=1"],
            "the recipe cannot be changed: 'learning_rate' is not a field (there are epochs, steps",
        ),
        (
            [*ON, "epoch=3"],
            "the recipe cannot be changed: 'epoch' is not a field (did you mean 'ep",
        ),
        (
            [*ON, "--recipe", "cell"],
            "no recipe 'cell'; expected cells or seed. Did you mean 'cells'",
        ),
        ([*ON, "--loss", "dise"], "no loss 'dise'"),
        ([*ON, "--metric", "boundry"], "no metric 'boundry'"),
        ([*ON, "optimizer=adamx"], "no optimizer 'adamx'. Did you mean 'adamax' or 'adam'?"),
        ([*ON, "schedule=cosin"], "no schedule 'cosin'. Did you mean 'cosine'?"),
        ([*ON, "--save-every", "10s"], "--save-every '10s'; expected steps, or minutes as in 10m"),
        ([*ON, "--tracker", "mlflow"], "Settings: trackers=('mlflow',) is not"),
        ([*ON, "--device", "tpu"], "no device is called 'tpu'; expected auto, cpu, cuda, cuda:1"),
        ([*ON, "--option", "width"], "cannot read the option 'width'; expected name=value"),
        (
            [*ON, "--folds", "2", "--val", VAL],
            "--folds parts what --data names, so it needs that and no --val",
        ),
        (["train", "--resume", "none"], "none: there is no run to go on with; expected a folder "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(capsys, line, message):
    assert run(line) == 2
    shown = capsys.readouterr()
    last = shown.err.splitlines()[-1]
    assert last.startswith(f"segzoo: {message}")
    assert shown.out == ""


def test_data_that_is_wrong(capsys):
    assert run(["train", *MODEL, "--data", "arrays:none.npz", *FAST, "-o", "other"]) == 3
    assert "there is no such file" in capsys.readouterr().err
    assert not Path("other").exists()
