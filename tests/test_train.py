"""The training loop: the same bits again, the same with more processes, and what a recipe says."""

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import squares
import torch
from forked import forked, team
from squares import fitted
from torch import nn

from segzoo.engine import checkpoint, journal
from segzoo.engine.job import Hooks
from segzoo.engine.train import RUN
from segzoo.errors import ConfigError, DatasetError, RunError
from segzoo.zoo.registry import resolve

SUPPORT = Path(__file__).parent / "support"
STATE = ("model", "average", "optimizer", "random-00000", "random-00001")
BINARY = "segzoo.losses:binary_cross_entropy"


@pytest.fixture(autouse=True, scope="module")
def warm(tmp_path_factory):
    """One thread, as in the children; and what a run imports, so that they need not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny(tmp_path_factory.mktemp("warm") / "run", {"steps": 1})
    yield
    torch.set_num_threads(threads)


def tiny(run: Path, recipe: dict, settings: dict | None = None, **rest):
    """A run of a small model in this process."""
    recipe = {"steps": 6, "batch_size": 4, **recipe}
    return fitted("tiny:TINY", run, loss=BINARY, recipe=recipe, settings=settings, **rest)


def work(wishes: dict, **more) -> functools.partial:
    """The run, for a process of its own."""
    return functools.partial(squares.main, json.dumps({**wishes, **more}))


def done(wishes: dict, log: Path, **more) -> None:
    """The run, in a process of its own, to its end."""
    child = forked(work(wishes, **more), log)
    assert child.wait(300) == 0, child.said


def done_by_two(wishes: dict, folder: Path, **more) -> None:
    children = team(work(wishes, **more), folder)
    assert [child.wait(300) for child in children] == [0, 0], children[0].said + children[1].said


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


def weights(run: Path, step: int, name: str = "model") -> dict[str, torch.Tensor]:
    return checkpoint.find(run, step=step).tensors(name)


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in journal.read(run) if "loss" in record]


def steps_in(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in run.glob("step-????????"))


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


def killed_after(wishes: dict, step: int, folder: Path, processes: int = 1) -> None:
    """Begin a run, and kill all of it, by SIGKILL, as soon as a checkpoint of this step is seen."""
    children = team(work(wishes), folder / "killed-logs", size=processes)
    seen = Path(wishes["run"]) / f"step-{step:08d}"
    end = time.monotonic() + 120
    while not seen.exists() and time.monotonic() < end:
        time.sleep(0.01)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    codes = [child.wait() for child in children]
    assert codes == [-signal.SIGKILL] * processes, children[0].said
    for path in seen.parent.glob("step-*"):  # as if the kill had come right after it
        if path.name > seen.name:
            shutil.rmtree(path)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    """u2netp, fused Adam, channels_last, moving average, augmentation, two workers; mid-epoch."""
    done({**U2NETP, "run": str(tmp_path / "whole")}, tmp_path / "log")
    killed = {**U2NETP, "run": str(tmp_path / "killed")}
    killed_after(killed, 2, tmp_path)
    settings = {**U2NETP["settings"], "workers": 0, "quiet": False}
    done({**killed, "resume": True, "settings": settings}, tmp_path / "again")
    assert "goes on from step 2, to the last bit\n" in (tmp_path / "again").read_text()
    whole, resumed = (bits(tmp_path / name, 6) for name in ("whole", "killed"))
    assert len(whole) > 1000
    assert whole == resumed
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


@pytest.mark.slow
def test_two_killed_processes_go_on_to_the_same_bits(tmp_path):
    wishes = {**U2NETP, "settings": {"save_every": 1, "keep": 20}}
    wishes["recipe"] = {**U2NETP["recipe"], "steps": 4, "batch_size": 4}
    done_by_two({**wishes, "run": str(tmp_path / "whole")}, tmp_path)
    killed = {**wishes, "run": str(tmp_path / "killed")}
    killed_after(killed, 1, tmp_path, processes=2)
    done_by_two({**killed, "resume": True}, tmp_path)
    whole, resumed = (bits(tmp_path / name, 4) for name in ("whole", "killed"))
    assert {"random-00000/torch", "random-00001/torch"} <= whole.keys()
    assert whole == resumed


def test_t12_one_seed_gives_the_same_bits_twice_and_another_one_others(tmp_path):
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        tiny(tmp_path / name, {"steps": 3, "augment": [["flip", {}]], "seed": seed})
    first, again, other = (bits(tmp_path / n, 3) for n in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_half_precision_is_saved_and_goes_on_to_the_same_bits(tmp_path):
    for name, precision in (("whole", "bf16"), ("single", "fp32")):
        _, result = tiny(tmp_path / name, {"precision": precision}, val=2)
        assert result.exact
    tiny(tmp_path / "halves", {"precision": "bf16"}, val=2, at=(3, "SIGTERM", 0))
    _, result = tiny(tmp_path / "halves", {"precision": "bf16"}, val=2, resume=True)
    assert result.exact
    assert bits(tmp_path / "whole", 6) == bits(tmp_path / "halves", 6)
    assert {value.dtype for value in weights(tmp_path / "whole", 6).values()} == {
        torch.float32,
        torch.int64,
    }
    assert losses(tmp_path / "single") != losses(tmp_path / "whole")
    assert losses(tmp_path / "single") == pytest.approx(losses(tmp_path / "whole"), rel=0.02)


@pytest.mark.gpu
def test_a_deterministic_run_on_a_gpu_goes_on_to_the_same_bits(tmp_path):
    recipe = {**U2NETP["recipe"], "precision": "bf16", "steps": 40}
    settings = {"device": "cuda", "deterministic": True, "channels_last": True, "workers": 2}
    for name, at in (("whole", None), ("halves", (20, "SIGTERM", 0))):
        fitted("u2netp", tmp_path / name, length=9, recipe=recipe, settings=settings, at=at)
    _, result = fitted(
        "u2netp", tmp_path / "halves", length=9, recipe=recipe, settings=settings, resume=True
    )
    assert result.exact
    assert bits(tmp_path / "whole", 40) == bits(tmp_path / "halves", 40)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "adadelta"])
def test_a_gpu_is_not_waited_for_in_each_step(tmp_path, optimizer):
    recipe = {"steps": 96, "optimizer": [optimizer, {}], "ema": 0.9, "grad_clip": 1.0}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tiny(tmp_path, recipe, {"device": "cuda", "save_every": 96})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
    assert len(waits) < 60, waits  # some at the start, at each sixteenth step, and to save


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
    wishes["recipe"] = {"steps": 4, "batch_size": 4, "lr": 1e-5, "ema": 0.9}
    wishes["settings"] = {"save_every": 1, "keep": 2}
    done({**wishes, "run": str(tmp_path / "one")}, tmp_path / "log")
    done_by_two({**wishes, "run": str(tmp_path / "two")}, tmp_path)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 4
    assert len(set(one)) == 4
    assert two == pytest.approx(one, abs=1e-5)
    one, two = (journal.read(tmp_path / name)[-1]["val"] for name in ("one", "two"))
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["mean_iou"] == pytest.approx(two["mean_iou"], abs=1e-4)
    for name in ("model", "average"):
        one, two = (weights(tmp_path / run, 4, name) for run in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5)
    first = weights(tmp_path / "two", 3, "average")
    assert not torch.equal(first["head.weight"], two["head.weight"])


def test_parts_of_a_batch_add_up_to_it(tmp_path):
    """A mean over the pixels that count, which are not as many in each part.

    Sums in another order differ in their last bits, by how much is the processor's. So the
    difference is measured by what a wrong weighting makes of it, the mean of the parts' means.
    """
    cross_entropy = resolve("segzoo.losses:cross_entropy")()
    ways = {
        "whole": (1, cross_entropy),
        "parts": (4, cross_entropy),
        "mean of means": (4, lambda outputs, batch: cross_entropy(outputs, batch)),  # no `count`
    }
    numbers, values = {}, {}
    for name, (parts, loss) in ways.items():
        recipe = {"steps": 3, "batch_size": 4, "accumulate": parts, "lr": 0.01}
        recipe["optimizer"] = ["sgd", {}]
        run, settings = tmp_path / name, {"save_every": 1}
        fitted("unet_dice", run, ignored=9, loss=loss, recipe=recipe, settings=settings)
        numbers[name] = torch.tensor(losses(run))
        values[name] = torch.cat([value.flatten() for value in weights(run, 3).values()])
    for found in (numbers, values):
        right, wrong = (found[name] - found["whole"] for name in ("parts", "mean of means"))
        assert right.norm() < 0.1 * wrong.norm()


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    wishes = {"model": "tiny:TINY", "run": str(tmp_path / "run"), "loss": BINARY}
    wishes["recipe"] = {"steps": 1, "batch_size": 3}
    children = team(work(wishes), tmp_path)
    assert [child.wait() for child in children] == [2, 2]
    assert "3 samples at once cannot be divided among 2 processes" in children[0].said
    assert "batch_size=4" in children[0].said


def test_two_processes_cannot_gather_outputs_of_several_sizes(tmp_path):
    class Growing(squares.Squares):
        def __getitem__(self, index: int):
            return squares.Squares(1, side=32 + 8 * (index % 2))[0] | {"id": f"s{index}"}

    def run(loss: str) -> int:
        torch.set_num_threads(1)
        recipe, folder = {"steps": 2, "batch_size": 2}, tmp_path / loss
        try:
            fitted("tiny:TINY", folder, loss=loss, data=Growing(20), recipe=recipe)
        except RunError as error:
            print(error)
            return 2
        return 0

    children = team(functools.partial(run, "segzoo.losses:dice"), tmp_path)
    assert [child.wait(60) for child in children] == [2, 2]
    said = (
        "this loss is of the whole batch, and its pictures have several sizes; found 32x32 to 40x"
    )
    assert children[0].said.startswith(said)
    assert "Give crop=HEIGHT,WIDTH or size=HEIGHT,WIDTH, or use one process" in children[1].said
    children = team(functools.partial(run, BINARY), tmp_path / "mean")  # which is never gathered
    assert [child.wait(60) for child in children] == [0, 0], children[0].said


# --- launchers ------------------------------------------------------------------------------------


def launched(command: list[str], wishes: dict, **environment: str) -> str:
    """What a launcher and its processes said."""
    done = subprocess.run(
        [*command, str(SUPPORT / "squares.py"), json.dumps(wishes)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return f"{done.returncode}: {done.stdout}{done.stderr}"


LAUNCHED = {
    "model": "tiny:TINY",
    "loss": BINARY,
    "recipe": {"steps": 3, "batch_size": 4},
    "settings": {"save_every": 1},
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def two_took_part(run: Path) -> bool:
    return "random-00001.json" in checkpoint.find(run, step=3).hashes


@pytest.mark.slow
def test_torchrun(tmp_path):
    said = launched(TORCHRUN, {**LAUNCHED, "run": str(tmp_path / "run")})
    assert said.startswith("0: "), said
    assert two_took_part(tmp_path / "run")


@pytest.mark.slow
def test_t8_a_process_that_dies_under_torchrun_ends_the_job(tmp_path):
    wishes = {**LAUNCHED, "run": str(tmp_path / "run")}
    said = launched(TORCHRUN, {**wishes, "at": [2, "SIGKILL", 1]})
    assert said.startswith("1: "), said
    assert "Signal 9 (SIGKILL)" in said
    said = launched(TORCHRUN, {**wishes, "resume": True})
    assert said.startswith("0: "), said


@pytest.mark.slow
def test_accelerate_launch(tmp_path):
    """Its variable of precision has no effect, and it is said.

    --multi_gpu starts several processes; where they compute is the settings'.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes=2", "--num_machines=1", f"--main_process_port={port}"]
    command += ["--mixed_precision=bf16", "--dynamo_backend=no"]
    said = launched(command, {**LAUNCHED, "run": str(tmp_path / "run")})
    assert said.startswith("0: "), said
    assert two_took_part(tmp_path / "run")
    assert "ACCELERATE_MIXED_PRECISION=bf16 has no effect: the run has precision=fp32" in said
    wishes = {**LAUNCHED, "run": str(tmp_path / "alone")}
    assert launched([sys.executable], wishes).startswith("0: ")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=0.05)


def test_srun(tmp_path):
    """Processes that have the variables of a step of Slurm, and none of torch's."""
    wishes = {**LAUNCHED, "run": str(tmp_path / "run")}
    shared = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    shared |= {"SLURM_STEP_NODELIST": "gpu7", "SLURM_JOB_ID": str(os.getpid())}
    children = [
        forked(
            work(wishes),
            tmp_path / f"{rank}.txt",
            SLURM_PROCID=str(rank),
            SLURM_LOCALID=str(rank),
            **shared,
        )
        for rank in range(2)
    ]
    assert [child.wait() for child in children] == [0, 0], children[0].said
    assert two_took_part(tmp_path / "run")


# --- what a recipe and settings say ---------------------------------------------------------------


def everything_of_the_caller() -> dict[str, object]:
    numpys = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": [numpys[0], numpys[1].tolist(), *numpys[2:]],
        "handlers": [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)],
        "environment": dict(os.environ),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
    }


def test_runs_of_different_precisions_leave_the_callers_state_as_it_was(tmp_path, monkeypatch):
    for name, value in {
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }.items():
        monkeypatch.setenv(name, value)
    before = everything_of_the_caller()
    for number, precision in enumerate(("fp32", "bf16", "tf32", "fp32")):
        zoo, _ = tiny(tmp_path / str(number), {"steps": 2, "precision": precision}, val=2)
        assert everything_of_the_caller() == before
        assert "forward" not in vars(zoo.network)
        assert not zoo.network.training
    with pytest.raises(DatasetError):
        tiny(tmp_path / "bad", {}, data=squares.Squares(0))
    assert everything_of_the_caller() == before
    assert bits(tmp_path / "0", 2) == bits(tmp_path / "3", 2)
    assert bits(tmp_path / "0", 2) != bits(tmp_path / "1", 2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_DYNAMO_BACKEND", "EAGER"),
        ("ACCELERATE_USE_CPU", "true"),
    ],
)
def test_variables_of_accelerate_do_not_change_a_run(tmp_path, monkeypatch, variable, value):
    tiny(tmp_path / "plain", {"steps": 2})
    monkeypatch.setenv(variable, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny(tmp_path / "set", {"steps": 2})
    assert bits(tmp_path / "plain", 2) == bits(tmp_path / "set", 2)


def test_gradient_checkpointing_changes_no_bit(tmp_path):
    for checkpointing in (False, True):
        settings = {"checkpointing": checkpointing}
        tiny(tmp_path / str(checkpointing), {"ema": 0.9}, settings, val=2)
    assert bits(tmp_path / "False", 6) == bits(tmp_path / "True", 6)


def test_channels_last_is_the_same_but_for_rounding(tmp_path):
    for channels_last in (False, True):
        recipe = {"optimizer": ["sgd", {}]}  # Adam makes steps of what rounding leaves of a bias
        zoo, _ = tiny(tmp_path / str(channels_last), recipe, {"channels_last": channels_last})
    assert zoo.network.stem.weight.is_contiguous(memory_format=torch.channels_last)
    plain, last = (weights(tmp_path / name, 6) for name in ("False", "True"))
    for name, value in plain.items():
        torch.testing.assert_close(last[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_run_has_the_state_of_the_network_itself(tmp_path):
    for compiled in (False, True):
        recipe = {"ema": 0.9, "optimizer": ["sgd", {}]}
        tiny(tmp_path / str(compiled), recipe, {"compile": compiled}, val=2)
    plain, fast = (weights(tmp_path / name, 6) for name in ("False", "True"))
    assert plain.keys() == fast.keys()
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5)
    assert losses(tmp_path / "False") == pytest.approx(losses(tmp_path / "True"), rel=1e-3)


def moves(run: Path, recipe: dict) -> dict[str, torch.Tensor]:
    """By how much one step of plain descent changes each parameter."""
    kept = {}

    def keep(network: nn.Module) -> nn.Module:
        kept.update({name: value.clone() for name, value in network.state_dict().items()})
        return network

    tiny(run, {"steps": 1, "optimizer": ["sgd", {}], "lr": 0.1, **recipe}, network_of=keep)
    return {name: value - kept[name] for name, value in weights(run, 1).items()}


def test_the_rate_falls_from_the_head_to_the_stem(tmp_path):
    plain = moves(tmp_path / "plain", {})
    decayed = moves(tmp_path / "decayed", {"layer_decay": 0.5})
    for name, factor in (("head.weight", 1.0), ("norm.weight", 0.5), ("stem.weight", 0.25)):
        torch.testing.assert_close(decayed[name], factor * plain[name], rtol=1e-3, atol=1e-7)
        assert plain[name].abs().max() > 0


def test_a_long_gradient_is_clipped(tmp_path):
    plain = moves(tmp_path / "plain", {})
    clipped = moves(tmp_path / "clipped", {"grad_clip": 1e-3})
    trained = [name for name in plain if "running" not in name and "num" not in name]
    length = sum((clipped[name].double() / 0.1).square().sum() for name in trained).sqrt()
    assert length.item() == pytest.approx(1e-3, rel=1e-2)
    norm = journal.read(tmp_path / "clipped")[0]["grad_norm"]
    assert norm == journal.read(tmp_path / "plain")[0]["grad_norm"] > 1e-3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_frozen_keeps_its_bits_and_its_statistics(tmp_path, accumulate):
    kept = {}

    def keep(network: nn.Module) -> nn.Module:
        kept.update({name: value.clone() for name, value in network.state_dict().items()})
        return network

    recipe = {"frozen": ["stem.", "norm."], "weight_decay": 0.1, "accumulate": accumulate}
    tiny(tmp_path, recipe, {"eval_every": 2}, val=2, network_of=keep)
    found = weights(tmp_path, 6)
    for name, value in kept.items():
        assert torch.equal(found[name], value) == name.startswith(("stem.", "norm."))


# --- when it measures, saves and ends -------------------------------------------------------------


class Scripted:
    """A measure whose values are known beforehand."""

    lower_is_better = frozenset({"error"})

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, iter(values)

    def sums(self, probabilities, mask, target):
        return {"one": torch.ones((), dtype=torch.float64)}

    def result(self, sums):
        return {self.name: next(self.values)}


def scripted(run: Path, name: str, values: list[float], recipe: dict, settings: dict, **rest):
    return tiny(
        run,
        {"eval_metric": name, **recipe},
        settings,
        val=1,
        measures={"scripted": Scripted(name, values)},
        **rest,
    )


@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize(
    ("name", "values"), [("score", [0.5, 0.7, 0.7, 0.6]), ("error", [9.0, 2.0, 3.0, 2.0])]
)
def test_the_best_weights_stay_and_are_the_result(tmp_path, name, values, ema):
    seen = []
    zoo, result = scripted(
        tmp_path / "run",
        name,
        values,
        {"steps": 8, "ema": ema},
        {"eval_every": 2, "keep": 1},
        hooks=Hooks(on_best=lambda n: seen.append(n.state_dict()["head.bias"].clone())),
    )
    assert (result.best, result.best_step) == (values[1], 4)
    assert result.values[name] == values[3]
    assert steps_in(tmp_path / "run") == [4, 8]
    best = weights(tmp_path / "run", 4, "model" if ema is None else "average")
    for key, value in zoo.network.state_dict().items():
        assert torch.equal(value, best[key])
    assert len(seen) == 2
    assert torch.equal(seen[1], best["head.bias"])
    marks = [r["best"] for r in journal.read(tmp_path / "run") if "best" in r]
    assert marks == [True, True, False, False]


def test_the_average_is_the_result_of_a_run_without_validation(tmp_path):
    zoo, result = tiny(tmp_path, {"ema": 0.9})
    assert (result.best, result.best_step) == (None, None)
    average = weights(tmp_path, 6, "average")
    assert all(torch.equal(v, average[k]) for k, v in zoo.network.state_dict().items())
    assert not torch.equal(average["head.bias"], weights(tmp_path, 6)["head.bias"])


def test_a_run_that_gets_no_better_ends(tmp_path):
    values = [0.1, 0.2, 0.2, float("nan"), 0.15, 0.3]
    _, result = scripted(tmp_path, "score", values, {"steps": 60}, {"eval_every": 2, "patience": 3})
    assert (result.stopped, result.step, result.best_step) == ("patience", 10, 4)
    assert steps_in(tmp_path) == [4, 8, 10]


def test_a_resumed_run_remembers_the_best(tmp_path):
    values = [0.5, 0.9, 0.1, 0.2]
    recipe, settings = {"steps": 8}, {"eval_every": 2, "keep": 1}
    scripted(tmp_path, "score", values[:2], recipe, settings, at=(5, "SIGTERM", 0))
    _, result = scripted(tmp_path, "score", values[2:], recipe, settings, resume=True)
    assert (result.best, result.best_step) == (0.9, 4)
    assert steps_in(tmp_path) == [4, 8]


def test_a_metric_that_is_not_measured_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="eval_metric='iou' is not measured here; expected score"):
        scripted(tmp_path, "score", [0.5], {"eval_metric": "iou"}, {})


@pytest.mark.parametrize(
    ("settings", "measured", "saved"),
    [
        ({}, [5, 10, 12], [5, 10, 12]),  # 20 samples, four at a time: after each epoch
        ({"eval_every": 4}, [4, 8, 12], [4, 8, 12]),
        ({"eval_every": 6, "save_every": 4}, [6, 12], [4, 8, 12]),
        ({"eval_every": 6, "save_minutes": 0.0}, [6, 12], [*range(1, 13)]),
    ],
)
def test_when_it_measures_and_saves(tmp_path, settings, measured, saved):
    values = [1.0] + [0.5] * 11  # the first one is the best, and so saved too
    scripted(tmp_path, "score", values, {"steps": 12}, {"keep": 100, **settings})
    records = journal.read(tmp_path)
    assert [r["step"] for r in records if "val" in r] == measured
    assert steps_in(tmp_path) == sorted({*saved, measured[0]})


def test_without_validation_it_saves_after_each_epoch_and_keeps_the_newest(tmp_path):
    tiny(tmp_path, {"steps": 17}, {"keep": 2})
    assert steps_in(tmp_path) == [15, 17]
    records = journal.read(tmp_path)
    assert [r["step"] for r in records] == [5, 10, 15, 16, 17]
    assert [r["epoch"] for r in records] == [1.0, 2.0, 3.0, 3.2, 3.4]


def test_a_run_ends_when_its_time_is_over_and_goes_on(tmp_path):
    _, result = tiny(tmp_path, {}, {"max_minutes": 0.0})
    assert (result.stopped, result.step) == ("max_minutes", 1)
    _, result = tiny(tmp_path, {}, resume=True)
    assert (result.stopped, result.step) == ("", 6)
    seconds = [r["seconds"] for r in journal.read(tmp_path)]
    assert seconds == sorted(seconds)


def test_a_finished_run_goes_on_in_another_folder(tmp_path):
    """With its optimiser, two more steps, another rate; its best is not the new one's."""
    scripted(tmp_path / "run", "score", [0.9], {"steps": 4}, {"eval_every": 4})
    _, result = scripted(
        tmp_path / "run2",
        "score",
        [0.3],
        {"steps": 6, "lr": 0.001},
        {"eval_every": 6},
        resume=tmp_path / "run",
    )
    assert (result.step, result.best, result.best_step) == (6, 0.3, 6)
    assert not result.exact
    assert steps_in(tmp_path / "run") == [4]
    assert steps_in(tmp_path / "run2") == [6]
    state = checkpoint.find(tmp_path / "run2").tensors("optimizer")
    assert {value.item() for key, value in state.items() if key.endswith(".step")} == {6.0}
    with pytest.raises(RunError, match="holds a run already"):
        tiny(tmp_path / "run", {})


def test_a_finished_run_is_finished(tmp_path):
    tiny(tmp_path, {})
    before = bits(tmp_path, 6)
    _, result = tiny(tmp_path, {}, resume=True)
    assert (result.step, result.stopped) == (6, "")
    assert bits(tmp_path, 6) == before


def test_run_json_says_what_the_run_is(tmp_path):
    tiny(tmp_path, {}, identity={"model": {"name": "tiny"}})
    record = json.loads((tmp_path / RUN).read_text())
    assert record["recipe"]["batch_size"] == 4
    assert record["identity"] == {"model": {"name": "tiny"}}
    assert record["data"]["samples"] == 20
    assert record["machine"]["torch"] == str(torch.__version__)
    assert record["sittings"] == [{"from_step": 0, "goes_on": "", "forced": []}]


def test_tensorboard_is_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny(tmp_path, {"steps": 20}, {"trackers": ("tensorboard",), "eval_every": 10}, val=2)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("loss")] == [10, 16, 20]
    assert [event.step for event in found.Scalars("val mean_iou")] == [10, 20]


def test_an_ignored_first_batch_and_an_empty_data_set_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no pixel of the first batch counts; found samples sq"):
        fitted(
            "tiny:TINY",
            tmp_path / "ignored",
            ignored=100,
            data=AllIgnored(8),
            loss="segzoo.losses:cross_entropy",
            recipe={"steps": 1, "batch_size": 2},
        )
    with pytest.raises(DatasetError, match="the data set to train on is empty"):
        tiny(tmp_path / "empty", {}, data=squares.Squares(0))


class AllIgnored(squares.Squares):
    def __getitem__(self, index: int):
        sample = super().__getitem__(index)
        sample["target"][:] = 255
        return sample
