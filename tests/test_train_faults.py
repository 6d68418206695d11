"""What may happen to a run, and what is then left of it. T1 to T13 are the faults' names."""

import contextlib
import functools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import squares
import torch
from forked import Child, forked, in_session, team
from squares import Squares, fitted
from torch import nn

from segzoo.engine import checkpoint, journal
from segzoo.engine.lock import locked
from segzoo.engine.train import RUN
from segzoo.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    NonFiniteError,
    ResourceError,
    RunError,
)
from segzoo.losses import binary_cross_entropy

BINARY = "segzoo.losses:binary_cross_entropy"
WISHES = {
    "model": "tiny:TINY",
    "loss": BINARY,
    "recipe": {"steps": 6, "batch_size": 4, "lr": 0.01},
    "settings": {"save_every": 1, "keep": 20},
}


@pytest.fixture(autouse=True, scope="module")
def warm(tmp_path_factory):
    """One thread, as in the children; and what a run imports, so that they need not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    here(wishes(tmp_path_factory.mktemp("warm") / "run", recipe={"steps": 1}))
    yield
    torch.set_num_threads(threads)


def wishes(run: Path, *, recipe: dict | None = None, settings: dict | None = None, **rest) -> dict:
    """What a run is made from, with some of it changed."""
    made = {**WISHES, "run": str(run), **rest}
    made["recipe"] = {**WISHES["recipe"], **(recipe or {})}
    made["settings"] = {**WISHES["settings"], **(settings or {})}
    return made


def work(made: dict, **more) -> functools.partial:
    """The run, for a process of its own."""
    return functools.partial(squares.main, json.dumps({**made, **more}))


def here(made: dict, **more):
    """The run, in this process."""
    made = {**made, **more}
    return fitted(made.pop("model"), Path(made.pop("run")), **made)


def whole(made: dict, folder: Path) -> dict[str, torch.Tensor]:
    """The end of the same run that nothing happened to."""
    run = folder / "whole"
    assert forked(work({**made, "run": str(run)}), folder / "whole.txt").wait() == 0
    return ending(run, made["recipe"]["steps"])


def ending(run: Path, step: int) -> dict[str, torch.Tensor]:
    """Weights, optimiser, random numbers and losses."""
    found = checkpoint.find(run, step=step)
    names = [name.removesuffix(".safetensors") for name in found.hashes if "safetensors" in name]
    values = {f"{name}/{k}": v for name in names for k, v in found.tensors(name).items()}
    losses = [[r["step"], r["loss"]] for r in journal.read(run) if "loss" in r]
    return values | {"losses": torch.tensor(losses, dtype=torch.float64)}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def steps_in(run: Path) -> list[int]:
    return sorted(int(path.name[5:13]) for path in run.glob("step-????????"))


def litter_in(run: Path) -> list[str]:
    return [path.name for path in run.iterdir() if "tmp" in path.name or ".old-" in path.name]


# --- T1: killed at any moment ---------------------------------------------------------------------


@pytest.mark.parametrize("kills", [5, pytest.param(80, marks=pytest.mark.stress)])
def test_t1_a_run_that_is_killed_at_random_moments_ends_at_the_same_bits(tmp_path, kills):
    """Most of such a run is the writing of checkpoints: there is one after each step."""
    steps = 10 * kills
    made = wishes(tmp_path / "run", recipe={"steps": steps, "ema": 0.9}, val=2, seed=1)
    made["settings"] = {"save_every": 1, "keep": 2, "eval_every": 7}
    expected = whole(made, tmp_path)
    run, chance, killed, begun = tmp_path / "run", random.Random(0), 0, 0
    while killed < kills:
        resume = (run / RUN).exists()
        child = forked(work(made, resume=resume), tmp_path / f"{begun}.txt")
        begun += 1
        time.sleep(chance.uniform(0.0, 0.6))
        before = os.waitpid(child.pid, os.WNOHANG)
        assert before[0] == 0 or before[1] == 0, child.said
        if before[0]:  # it came to its end: the next one begins anew
            assert_same(ending(run, steps), expected)
            run = tmp_path / f"run-{begun}"
            made["run"] = str(run)
            continue
        child.kill()
        killed += 1
        if steps_in(run):
            newest = checkpoint.find(run).step
            records = [r["step"] for r in journal.read(run)]
            assert newest >= max(records, default=0) - 1  # one interval, which is a step
    last = forked(work(made, resume=(run / RUN).exists()), tmp_path / "last.txt")
    assert last.wait() == 0, last.said
    assert_same(ending(run, steps), expected)
    assert litter_in(run) == []


def test_t1_a_run_that_was_ended_before_its_first_checkpoint_begins_again(tmp_path):
    made = wishes(tmp_path / "run")
    child = forked(work(made, at=[1, "SIGKILL", 0]), tmp_path / "log")
    assert child.wait() == -signal.SIGKILL
    assert steps_in(tmp_path / "run") == []
    here(made, resume=True)
    assert_same(ending(tmp_path / "run", 6), whole(made, tmp_path))


# --- T2: asked to stop ----------------------------------------------------------------------------


def test_t2_two_processes_of_which_one_is_told_stop_at_the_same_step(tmp_path):
    made = wishes(tmp_path / "run", settings={"save_every": 100})
    children = team(work(made, at=[3, "SIGTERM", 1]), tmp_path)
    assert [child.wait(60) for child in children] == [143, 143], children[0].said
    assert steps_in(tmp_path / "run") == [3]
    children = team(work(made, resume=True), tmp_path)
    assert [child.wait(60) for child in children] == [0, 0], children[0].said
    assert steps_in(tmp_path / "run") == [3, 6]


def test_t2_a_signal_to_all_processes_lets_those_that_read_data_finish_the_step(tmp_path):
    settings = {"save_every": 100, "workers": 2, "eval_every": 2}
    made = wishes(tmp_path / "run", settings=settings, val=2)
    child = forked(work(made, at=[3, "SIGTERM to all", 0]), tmp_path / "log")
    assert child.wait(60) == 143, child.said
    assert in_session(child.pid) == []
    assert steps_in(tmp_path / "run") == [2, 3]  # the first measurement's, and that of the signal
    here(made, resume=True)
    found, expected = ending(tmp_path / "run", 6), whole(made, tmp_path)
    del found["losses"], expected["losses"]  # means up to other steps
    assert_same(found, expected)


def test_t2_a_queue_is_asked_to_run_the_job_again(tmp_path, monkeypatch):
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    made = wishes(tmp_path / "run", settings={"save_every": 100, "quiet": False})
    children = team(work(made, at=[2, "SIGUSR1", 1]), tmp_path)
    assert [child.wait(60) for child in children] == [143, 143], children[0].said
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert children[0].said == (
        "stopped at step 2 of 6: SIGUSR1\nthe job 4711 is back in the queue\n"
    )
    assert children[1].said == ""
    assert steps_in(tmp_path / "run") == [2]


def test_t2_a_signal_in_the_last_step_stops_nothing(tmp_path):
    _, result = here(wishes(tmp_path / "run"), at=(6, "SIGTERM", 0))
    assert (result.step, result.stopped) == (6, "")


# --- T3: a full disk ------------------------------------------------------------------------------


def test_t3_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    made = wishes(tmp_path / "run", settings={"save_every": 2})
    child = forked(work(made, at=[3, "limit files", 0]), tmp_path / "log")
    assert child.wait(60) == ResourceError.exit_code, child.said
    assert "cannot be written: File too large; found " in child.said
    assert "bytes free, expected at least" in child.said
    assert steps_in(tmp_path / "run") == [2]
    assert litter_in(tmp_path / "run") == []
    here(made, resume=True)
    assert_same(ending(tmp_path / "run", 6), whole(made, tmp_path))


def test_t3_a_record_that_does_not_fit_leaves_the_checkpoint(tmp_path):
    made = wishes(tmp_path / "run", recipe={"steps": 400}, settings={"save_every": 1000})
    here(made, at=(2, "SIGTERM", 0))
    child = forked(work(made, resume=True, at=[1, "limit files", 0]), tmp_path / "log")
    assert child.wait(60) == ResourceError.exit_code, child.said
    assert (
        f"{journal.METRICS}: cannot be written: File too large. Free some space and" in child.said
    )
    assert checkpoint.find(tmp_path / "run").step == 2
    records = journal.read(tmp_path / "run")
    assert [r["step"] for r in records[:3]] == [2, 16, 32]
    journal.trim(tmp_path / "run", 16)
    assert [r["step"] for r in journal.read(tmp_path / "run")] == [2, 16]


# --- T4: damaged checkpoints ----------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["a byte", "a file", "the manifest", "random numbers"])
def test_t4_the_checkpoint_before_a_damaged_one_is_used_with_a_warning(tmp_path, damage):
    made = wishes(tmp_path / "run")
    here(made)
    expected = ending(tmp_path / "run", 6)
    newest = tmp_path / "run" / "step-00000006"
    if damage == "a byte":
        raw = bytearray((newest / "model.safetensors").read_bytes())
        raw[-3] ^= 1
        (newest / "model.safetensors").write_bytes(raw)
    else:
        name = {"a file": "model.safetensors", "the manifest": checkpoint.MANIFEST}
        (newest / name.get(damage, "random-00000.safetensors")).unlink()
    with pytest.warns(UserWarning, match="a damaged checkpoint is passed over: .*step-00000006"):
        _, result = here(made, resume=True)
    assert result.exact
    assert_same(ending(tmp_path / "run", 6), expected)


def test_t4_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(tmp_path):
    made = wishes(tmp_path / "run", settings={"keep": 1})
    here(made)
    (tmp_path / "run" / "step-00000006" / "model.json").touch()
    (tmp_path / "run" / "step-00000006" / "model.safetensors").unlink()
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(CheckpointError, match="there is no whole checkpoint; found 1 damaged"),
    ):
        here(made, resume=True)


# --- T5: numbers that are not finite --------------------------------------------------------------


def poisoned(network: nn.Module, *, call: int) -> nn.Module:
    """Whose input is NaN in one call: then its statistics are, too."""
    calls = [0]

    def poison(module, args):
        if args[0].is_meta:  # the look at shapes before the first step
            return None
        calls[0] += 1
        return (args[0] * float("nan"),) if calls[0] == call else None

    network.register_forward_pre_hook(poison)
    return network


def unbounded(network: nn.Module, *, call: int) -> nn.Module:
    """Whose gradient is infinite in one call, with a loss that is not."""
    calls = [0]

    def spoil(gradient):
        calls[0] += 1
        return gradient * float("inf") if calls[0] == call else gradient

    network.head.weight.register_hook(spoil)
    return network


@pytest.mark.parametrize("fault", [poisoned, unbounded])
@pytest.mark.parametrize(
    "optimizer", [["adam", {}], ["sgd", {"fused": False}], ["adadelta", {}]], ids=lambda o: o[0]
)
def test_t5_a_step_that_is_not_finite_changes_no_weight_and_ends_the_run(
    tmp_path, fault, optimizer
):
    made = wishes(tmp_path / "run", recipe={"optimizer": optimizer, "ema": 0.9})
    kept = []

    def spoiled(network: nn.Module) -> nn.Module:
        kept.append(fault(network, call=4))
        return network

    with pytest.raises(NonFiniteError, match=r"step 4 was not finite .*samples square-\d+, sq"):
        here(made, network_of=spoiled)
    assert steps_in(tmp_path / "run") == [1, 2, 3]
    found = checkpoint.find(tmp_path / "run")
    before = found.tensors("model")
    for name, parameter in kept[0].named_parameters():
        assert torch.equal(parameter, before[name])
    for name in ("model", "average", "optimizer"):
        assert all(value.isfinite().all() for value in found.tensors(name).values())
    taken = [r["step"] for r in journal.read(tmp_path / "run")]
    assert taken == [1, 2, 3]


@pytest.mark.parametrize("loss", [BINARY, "segzoo.losses:dice"])
def test_t5_nan_in_one_process_of_two_ends_both(tmp_path, loss):
    made = wishes(tmp_path / "run", loss=loss)
    children = team(work(made, at=[3, "nan", 1]), tmp_path)
    assert [child.wait(60) for child in children] == [6, 6], children[0].said
    assert all("step 3 was not finite and was not applied" in child.said for child in children)
    assert steps_in(tmp_path / "run") == [1, 2]
    found = checkpoint.find(tmp_path / "run")
    assert all(value.isfinite().all() for value in found.tensors("model").values())


def test_t5_fp16_is_refused_on_a_cpu(tmp_path):
    """accelerate would train in float32 and not say it."""
    with pytest.raises(ConfigError, match="precision=fp16 needs a GPU"):
        here(wishes(tmp_path / "run", recipe={"precision": "fp16"}))


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "adadelta"])
def test_t5_fp16_leaves_out_a_step_that_overflows(tmp_path, optimizer):
    recipe = {"precision": "fp16", "optimizer": [optimizer, {}], "steps": 40}
    made = wishes(tmp_path / "run", recipe=recipe, settings={"device": "cuda"})
    made["settings"]["keep"] = 100
    _, result = here(made, network_of=functools.partial(unbounded, call=20))
    assert result.step == 40
    before, after = (checkpoint.find(tmp_path / "run", step=n) for n in (19, 20))
    weights = [found.tensors("model") for found in (before, after)]
    for name in ("stem.weight", "head.weight", "head.bias"):
        assert torch.equal(weights[0][name], weights[1][name])
    assert after.json("progress")["scaler"]["scale"] < before.json("progress")["scaler"]["scale"]
    assert checkpoint.find(tmp_path / "run").json("progress")["overflows"] >= 1


# --- T6: memory -----------------------------------------------------------------------------------


def test_t6_memory_that_runs_out_says_what_to_change_and_the_checkpoint_stays(tmp_path):
    made = wishes(tmp_path / "run", recipe={"crop": [16, 16]})
    with pytest.raises(ResourceError) as error:
        here(made, at=(4, "out of memory", 0))
    text = str(error.value)
    assert "memory is not enough for the training: " in text
    assert "found batch_size=4, accumulate=1, crop=16,16, " in text
    assert "Try accumulate=2 for the same batch" in text
    assert checkpoint.find(tmp_path / "run").step == 3


# --- T7: processes that read data -----------------------------------------------------------------


class Bad(Squares):
    """Squares of which one does something when it is read."""

    def __init__(self, length: int, fault) -> None:
        super().__init__(length)
        self.fault = fault

    def __getitem__(self, index: int):
        if index == 13:
            self.fault()
        return super().__getitem__(index)


def raise_error():
    raise ValueError("half a picture")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(1000)


@pytest.mark.parametrize(
    ("fault", "workers", "error", "message"),
    [
        (raise_error, 0, DatasetError, r"sample 13 of the data set.*ValueError: half a picture"),
        (raise_error, 2, DatasetError, r"sample 13 of the data set.*ValueError: half a picture"),
        (
            die,
            2,
            RunError,
            "that reads the data is gone or hangs: DataLoader worker .*(Killed|exited)",
        ),
        pytest.param(
            hang,
            2,
            RunError,
            "gone or hangs: DataLoader timed out after 1.* --workers 0",
            marks=pytest.mark.slow,  # torch waits 5 s for it before it is killed
        ),
    ],
)
def test_t7_data_that_cannot_be_read_is_a_clear_error_and_leaves_no_process(
    tmp_path, fault, workers, error, message
):
    before = {*multiprocessing.active_children()}
    made = wishes(tmp_path / "run", settings={"workers": workers, "worker_timeout": 1.0})
    with pytest.raises(error, match=message):
        here(made, data=Bad(24, fault))
    assert {*multiprocessing.active_children()} == before
    assert children_of(os.getpid()) == [child.pid for child in before]


def children_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


def test_t7_the_readers_of_a_killed_run_end_by_themselves(tmp_path):
    made = wishes(tmp_path / "run", settings={"workers": 2})
    child = forked(work(made, at=[2, "SIGKILL", 0]), tmp_path / "log")
    assert child.wait(60) == -signal.SIGKILL
    end = time.monotonic() + 20
    while in_session(child.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert in_session(child.pid) == []


# --- T8: other processes of the run ---------------------------------------------------------------


def ended(children: list[Child], seconds: float) -> list[int]:
    try:
        return [child.wait(seconds) for child in children]
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP"])
def test_t8_a_process_that_dies_or_hangs_does_not_hold_the_others(tmp_path, fault):
    made = wishes(tmp_path / "run", settings={"process_timeout": 3.0})
    survivor, other = team(work(made, at=[3, fault, 1]), tmp_path)
    begun = time.monotonic()
    assert ended([survivor], 60) == [RunError.exit_code], survivor.said
    assert time.monotonic() - begun < 40
    assert "another process of this run is gone or hangs: " in survivor.said
    with contextlib.suppress(ProcessLookupError):
        os.killpg(other.pid, signal.SIGKILL)
    os.waitpid(other.pid, 0)
    assert checkpoint.find(tmp_path / "run").step == 2
    assert ended(team(work(made, resume=True), tmp_path), 60) == [0, 0]


# --- T9: another number of processes --------------------------------------------------------------


class Noting(Squares):
    """Squares that write down which of them is read."""

    def __init__(self, length: int, file: Path) -> None:
        super().__init__(length)
        self.file = file

    def __getitem__(self, index: int):
        with open(self.file, "a") as stream:
            stream.write(f"{index}\n")
        return super().__getitem__(index)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_t9_with_other_processes_no_sample_is_lost_or_repeated(tmp_path, first, then):
    """Three steps of four of an epoch of 18, then the rest of two epochs."""
    file = tmp_path / "read"
    made = wishes(tmp_path / "run", recipe={"steps": 9})
    made["settings"]["quiet"] = False
    made.pop("run")

    def run(**more) -> int:
        torch.set_num_threads(1)
        arguments = {**made, **more}
        arguments["run"] = tmp_path / "run"
        _, result = here(arguments, data=Noting(18, file))
        assert result.exact == ("resume" not in more)
        return 143 if result.stopped else 0

    assert ended(team(functools.partial(run, at=(3, "SIGTERM", 0)), tmp_path, size=first), 60) == (
        [143] * first
    )
    children = team(functools.partial(run, resume=True), tmp_path / "again", size=then)
    assert ended(children, 60) == [0] * then, children[0].said
    said = "goes on from step 3, sample by sample, but not to the last bit\n"
    assert children[0].said.startswith(said)
    read = [int(line) for line in file.read_text().split()]
    assert sorted(read) == sorted([*range(18)] * 2)
    assert sorted(read[:12]) == sorted({*read[:12]})  # the first twelve are of one epoch
    record = json.loads((tmp_path / "run" / RUN).read_text())
    assert [sitting["from_step"] for sitting in record["sittings"]] == [0, 3]


# --- T10: another run -----------------------------------------------------------------------------


def test_t10_a_changed_recipe_or_data_set_is_refused_unless_forced(tmp_path):
    made = wishes(tmp_path / "run")
    here(made, at=(3, "SIGTERM", 0))
    changed = wishes(tmp_path / "run", recipe={"lr": 0.5}, length=21, identity={"model": "u2net"})
    with pytest.raises(RunError) as error:
        here(changed, resume=True)
    for difference in (
        "lr: was 0.01, is 0.5",
        "model: was None, is 'u2net'",
        "samples: was 20, is 21",
        "sha256: was ",
    ):
        assert difference in error.value.found
    assert steps_in(tmp_path / "run") == [1, 2, 3]
    _, result = here(changed, resume=True, force_resume=True)
    assert (result.step, result.exact) == (6, False)
    sittings = json.loads((tmp_path / "run" / RUN).read_text())["sittings"]
    assert [len(sitting["forced"]) for sitting in sittings] == [0, 4]
    assert "lr: was 0.01, is 0.5" in sittings[1]["forced"]


def test_t10_a_folder_that_holds_a_run_is_not_written_over(tmp_path):
    for name in ("run", "other"):
        here(wishes(tmp_path / name))
    before = (tmp_path / "other" / RUN).read_bytes()
    with pytest.raises(RunError, match="run: holds a run already"):
        here(wishes(tmp_path / "run"))
    with pytest.raises(RunError, match="other: holds a run already"):
        here(wishes(tmp_path / "other"), resume=tmp_path / "run")
    assert (tmp_path / "other" / RUN).read_bytes() == before


# --- T11: the folder and the clock ----------------------------------------------------------------


def test_t11_a_second_run_in_the_same_folder_is_refused(tmp_path):
    made = wishes(tmp_path / "run")
    here(made, at=(3, "SIGTERM", 0))
    with locked(tmp_path / "run"):
        for resume in (False, True):
            with pytest.raises(RunError, match=f"another run uses this folder.*{os.getpid()}"):
                here(made, resume=resume)
    here(made, resume=True)


def test_t11_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    expected = whole(wishes(tmp_path / "run"), tmp_path)
    clock = iter(range(10**6, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    settings = {"save_minutes": 1000.0, "max_minutes": 1000.0}
    _, result = here(wishes(tmp_path / "run", settings=settings))
    assert result.stopped == ""
    assert_same(ending(tmp_path / "run", 6), expected)
    records = [r for r in journal.read(tmp_path / "run") if "seconds" in r]
    seconds = [r["seconds"] for r in records]
    assert seconds == sorted(seconds)
    assert all(r["images_per_s"] > 0 and 0 <= r["data_wait"] <= 1 for r in records)


def test_t11_a_run_whose_folder_is_deleted_ends_with_an_error(tmp_path):
    run = tmp_path / "run"

    def delete(value):
        shutil.rmtree(run)
        return value

    loss = squares.Faulty(binary_cross_entropy(), 3, delete)
    with pytest.raises(
        Exception, match=r"metrics\.jsonl: cannot be written: No such file"
    ) as error:
        here(wishes(run), loss=loss)
    assert error.value.exit_code == 2


# --- T13: trackers --------------------------------------------------------------------------------


def test_t13_a_tracker_that_fails_leaves_the_training_as_it_is(tmp_path, monkeypatch):
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, TensorBoardTracker

    class Unreachable(TensorBoardTracker):
        def log(self, values, step=None, **rest):
            raise ConnectionError("the server is away")

    made = wishes(tmp_path / "run", settings={"trackers": ("tensorboard",)})
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Unreachable)
    with pytest.warns(UserWarning, match="tensorboard failed and is left out: .*server is away"):
        here(made)
    assert_same(ending(tmp_path / "run", 6), whole(wishes(tmp_path / "run"), tmp_path))
    assert math.isfinite(journal.read(tmp_path / "run")[-1]["loss"])
