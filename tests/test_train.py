"""The training loop: the same bits again, the same with more processes, and no bad update."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from squares import Squares, fitted

from segzoo.engine import checkpoint, journal
from segzoo.errors import (
    ConfigError,
    DatasetError,
    NonFiniteError,
    ResourceError,
    RunError,
)

SUPPORT = Path(__file__).parent / "support"
STATE = ("model", "average", "optimizer", "random-00000", "random-00001")


def bits(run: Path, step: int) -> dict[str, bytes]:
    """Every tensor of a checkpoint, and the random numbers, as bytes."""
    found = checkpoint.find(run, step=step)
    values = {}
    for name in STATE:
        if f"{name}.safetensors" in found.hashes:
            values |= {
                f"{name}/{key}": value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
                for key, value in found.tensors(name).items()
            }
            if f"{name}.json" in found.hashes:
                values[f"{name}.json"] = json.dumps(found.json(name)).encode()
    return values


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in journal.read(run) if "loss" in record]


def launched(wishes: dict, *, processes: int = 1, wait: bool = True) -> subprocess.Popen:
    """`fitted` in processes of their own, started as torchrun starts them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}"] if processes > 1 else []
    if processes == 1:
        command = [sys.executable]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT)}
    process = subprocess.Popen(
        [*command, str(SUPPORT / "squares.py"), json.dumps(wishes)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if wait:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return process


# --- the same bits --------------------------------------------------------------------------------

U2NETP = {
    "model": "u2netp",
    "length": 9,
    "recipe": {
        "steps": 6,
        "batch_size": 2,
        "optimizer": ["adam", {}],
        "lr": 1e-3,
        "size": [32, 32],
        "crop": [32, 32],
        "augment": [["flip", {}], ["noise", {"sigma": 5.0}]],
        "ema": 0.9,
        "schedule": ["cosine", {}],
        "warmup": 2,
    },
    "settings": {"channels_last": True, "workers": 2, "save_every": 1, "keep": 20},
}


def killed_after(wishes: dict, step: int, processes: int = 1) -> None:
    """Begin a run, and kill all of it, by SIGKILL, as soon as a checkpoint of this step is seen."""
    process = launched(wishes, processes=processes, wait=False)
    folder = Path(wishes["run"]) / f"step-{step:08d}"
    try:
        for _ in range(3000):
            if folder.exists() or process.poll() is not None:
                break
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()[0]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def without_later(run: Path, step: int) -> None:
    """Leave the checkpoints up to this step, as if the kill had come right after it."""
    for folder in run.glob("step-*"):
        if folder.name > f"step-{step:08d}":
            shutil.rmtree(folder)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    """u2netp, fused Adam, channels_last, moving average, augmentation, two workers; mid-epoch."""
    launched({**U2NETP, "run": str(tmp_path / "whole")})
    killed = {**U2NETP, "run": str(tmp_path / "killed")}
    killed_after(killed, 2)
    without_later(tmp_path / "killed", 2)
    launched({**killed, "resume": True, "settings": {**U2NETP["settings"], "workers": 0}})
    whole, resumed = (bits(tmp_path / name, 6) for name in ("whole", "killed"))
    assert len(whole) > 1000
    assert whole == resumed
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_two_killed_processes_go_on_to_the_same_bits(tmp_path):
    wishes = {**U2NETP, "settings": {"save_every": 1, "keep": 20}}
    wishes["recipe"] = {**U2NETP["recipe"], "steps": 4, "batch_size": 4}
    launched({**wishes, "run": str(tmp_path / "whole")}, processes=2)
    killed = {**wishes, "run": str(tmp_path / "killed")}
    killed_after(killed, 1, processes=2)
    without_later(tmp_path / "killed", 1)
    launched({**killed, "resume": True}, processes=2)
    whole, resumed = (bits(tmp_path / name, 4) for name in ("whole", "killed"))
    assert {"random-00000/torch", "random-00001/torch"} <= whole.keys()
    assert whole == resumed


def test_one_seed_gives_the_same_bits_twice_and_another_one_others(tmp_path):
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        recipe = {"steps": 3, "batch_size": 2, "augment": [["flip", {}]], "seed": seed}
        fitted("tiny:TINY", tmp_path / name, recipe=recipe, loss="segzoo.losses:binary_cross_entropy")
    first, again, other = (bits(tmp_path / n, 3) for n in ("first", "again", "other"))
    assert first == again
    assert first != other


# --- several processes and parts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "ignored", "loss"),
    [
        pytest.param("unet_dice", 0, "", id="a Dice of the whole batch"),
        pytest.param("unet_dice", 9, "segzoo.losses:cross_entropy", id="a mean over what counts"),
    ],
)
def test_two_processes_have_the_losses_of_one(tmp_path, model, ignored, loss):
    wishes = {"model": model, "ignored": ignored, "loss": loss, "val": 3}
    wishes["recipe"] = {"steps": 4, "batch_size": 4, "lr": 1e-5}
    wishes["settings"] = {"save_every": 1}
    launched({**wishes, "run": str(tmp_path / "one")})
    launched({**wishes, "run": str(tmp_path / "two")}, processes=2)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 4
    assert len(set(one)) == 4
    assert two == pytest.approx(one, abs=1e-5)
    one, two = (journal.read(tmp_path / name)[-1]["val"] for name in ("one", "two"))
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["mean_iou"] == pytest.approx(two["mean_iou"], abs=1e-4)


def test_parts_of_a_batch_add_up_to_it(tmp_path):
    """A mean over the pixels that count, which are not as many in each part."""
    for parts in (1, 4):
        recipe = {"steps": 3, "batch_size": 4, "accumulate": parts, "lr": 1e-5}
        fitted(
            "unet_dice",
            tmp_path / str(parts),
            ignored=9,
            loss="segzoo.losses:cross_entropy",
            recipe=recipe,
            settings={"save_every": 1},
        )
    assert losses(tmp_path / "4") == pytest.approx(losses(tmp_path / "1"), abs=1e-5)


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    process = launched(
        {
            "model": "tiny:TINY",
            "run": str(tmp_path),
            "recipe": {"steps": 1, "batch_size": 3},
            "loss": "segzoo.losses:binary_cross_entropy",
        },
        processes=2,
        wait=False,
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "3 samples at once cannot be divided among 2 processes" in output
    assert "batch_size=4" in output
