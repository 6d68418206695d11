"""The parts of the training engine, one by one: what each promises, without a run around it."""

import contextlib
import copy
import dataclasses
import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segzoo.base import files
from segzoo.engine import batch, checkpoint, journal, launch, lookout, record, state
from segzoo.engine.checkpoint import Checkpoint
from segzoo.engine.ema import Average
from segzoo.engine.failures import explained
from segzoo.engine.flags import process_flags
from segzoo.engine.guard import Guard, _step_or_undo, clipped, update
from segzoo.engine.journal import Journal
from segzoo.engine.recompute import recomputing
from segzoo.engine.reduce import counts_of, reduced
from segzoo.engine.settings import Settings
from segzoo.engine.signals import asked_to_stop, requeue
from segzoo.engine.trackers import Trackers
from segzoo.errors import (
    ConfigError,
    DatasetError,
    DeviceError,
    NonFiniteError,
    OutputError,
    PluginError,
    ResourceError,
    RunError,
)
from segzoo.losses import cross_entropy, dice
from segzoo.predict.runtimes import processor
from segzoo.spec import Recipe

RECIPE = Recipe(steps=10, batch_size=4, optimizer=("adam", {}), lr=0.01)
CPU = torch.device("cpu")


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def values(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- guard: no update that is not finite ----------------------------------------------------------

OPTIMIZERS = {
    "fused Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "fused SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "fused Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}


def with_gradients(seed: int = 0) -> nn.Sequential:
    made = network()
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return made


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_t5_a_bad_gradient_changes_no_parameter_and_no_later_step_does(make, bad):
    plain, guarded = with_gradients(), with_gradients()
    optimizer, guard = make(guarded.parameters()), Guard(RECIPE)
    for made, by_hand in ((plain, True), (guarded, False)):
        if by_hand:
            make(made.parameters()).step()
        else:
            norm = clipped(made, None)
            update(optimizer, guard.judge({"loss": torch.ones(())}, norm, step=1, ids=["a"]))
    assert same(plain.state_dict(), guarded.state_dict())
    before = values(guarded)
    for step, gradient in ((2, bad), (3, 1.0)):
        guarded[0].weight.grad[0, 0] = gradient
        norm = clipped(guarded, 1.0)
        update(optimizer, guard.judge({"loss": torch.ones(())}, norm, step=step, ids=[f"s{step}"]))
        guarded[0].weight.grad = torch.zeros_like(guarded[0].weight)  # clipping has spread NaN
        assert same(before, guarded.state_dict())
    with pytest.raises(NonFiniteError, match=r"step 2 was not finite and was not applied; .*s2\. "):
        guard.check()


def test_t5_a_loss_that_is_not_finite_allows_no_update():
    guard = Guard(RECIPE)
    norm = torch.ones(())
    assert guard.judge({"loss": torch.tensor(1.0)}, norm, step=7, ids=["a", "b"])
    named = {"loss": torch.tensor(float("nan")), "dice": torch.tensor(2.0)}
    assert not guard.judge(named, norm, step=8, ids=["c", "d"])
    guard.steps.pop(0)
    with pytest.raises(NonFiniteError) as error:
        guard.read()
    assert error.value.exit_code == 6
    assert str(error.value) == (
        "step 8 was not finite and was not applied; found loss nan, dice 2, gradient norm 1; "
        "samples c, d. The last checkpoint is from before. Look at these samples, or resume with "
        "lr=0.001, grad_clip=1 or precision=fp32, and --force-resume"
    )


def test_a_long_list_of_samples_is_cut():
    guard = Guard(RECIPE)
    nan = torch.tensor(float("nan"))
    guard.judge({"loss": nan}, nan, step=1, ids=[f"s{n}" for n in range(30)])
    with pytest.raises(NonFiniteError, match="s18, s19 and 10 more"):
        guard.check()


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_done_on_a_device_without_asking_it_is_the_same(make, allowed):
    plain, undone = with_gradients(), with_gradients()
    if allowed:
        make(plain.parameters()).step()
    else:
        undone[0].weight.grad.fill_(float("nan"))
    _step_or_undo(make(undone.parameters()), torch.tensor(allowed))
    assert same(plain.state_dict(), undone.state_dict())


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_t5_fp16_leaves_out_an_overflow_and_counts_it_as_torch_does(make):
    """Beside torch's own scaler, which steps by itself; the same class as on a GPU."""
    theirs, ours = network(), network()
    optimizers = make(theirs.parameters()), make(ours.parameters())
    scalers = [torch.amp.GradScaler("cpu", init_scale=1024.0) for _ in range(2)]
    guard = Guard(RECIPE, scaler=scalers[1])
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(1, 5):
        for made, scaler in zip((theirs, ours), scalers, strict=True):
            made.zero_grad()
            scaler.scale(made(x).square().mean()).backward()
            if step == 2:
                made[0].weight.grad[0] = float("inf")
        before = values(ours)
        scalers[0].step(optimizers[0])
        scalers[0].update()
        scalers[1].unscale_(optimizers[1])
        norm = clipped(ours, None)
        allowed = guard.judge({"loss": torch.ones(())}, norm, step=step, ids=["a"])
        update(optimizers[1], allowed, scaled=True)
        scalers[1].update()
        moved = {k for k in before if not torch.equal(before[k], ours.state_dict()[k])}
        assert bool(moved) == (step != 2)
    assert [scaler.get_scale() for scaler in scalers] == [512.0, 512.0]
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    facts = guard.read()
    assert facts["overflows"] == 1
    assert np.isfinite(facts["grad_norm"])


def test_t5_fp16_that_overflows_at_every_scale_ends():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-14)
    made = network()
    optimizer, guard = torch.optim.SGD(made.parameters(), lr=1.0), Guard(RECIPE, scaler=scaler)
    scaler.scale(made(torch.ones(1, 3, 8, 8)).mean()).backward()
    made[0].weight.grad.fill_(float("nan"))
    scaler.unscale_(optimizer)
    allowed = guard.judge({"loss": torch.ones(())}, clipped(made, None), step=3, ids=["a"])
    update(optimizer, allowed, scaled=True)
    scaler.update()
    guard.check()
    with pytest.raises(NonFiniteError, match="step 3 was not finite"):
        guard.read()


def test_a_record_has_means_and_counts_neither_measuring_nor_saving():
    guard = Guard(RECIPE)
    time.sleep(0.3)  # an evaluation
    guard.resume()
    for step, loss in ((1, 1.0), (2, 3.0)):
        guard.judge({"loss": torch.tensor(loss)}, torch.tensor(loss), step=step, ids=["a"])
    time.sleep(0.05)
    guard.waited += 0.02
    facts = guard.read()
    assert (facts["loss"], facts["grad_norm"], facts["overflows"]) == (2.0, 2.0, 0)
    assert 2 * RECIPE.batch_size / 0.2 < facts["images_per_s"] < 2 * RECIPE.batch_size / 0.05
    assert 0.1 < facts["data_wait"] < 0.4
    assert guard.steps == []


@pytest.mark.parametrize("limit", [None, 0.5, 1e9])
def test_clipping_is_torchs(limit):
    theirs, ours = with_gradients(), with_gradients()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), limit or float("inf"))
    assert torch.equal(clipped(ours, limit), expected)
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


# --- the moving average ---------------------------------------------------------------------------


def moved(made: nn.Module, step: int) -> None:
    """As a step of training moves weights and statistics."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    made.train()(torch.randn(2, 3, 8, 8, generator=generator))


def test_the_average_is_timms_once_it_is_warm():
    from timm.utils import ModelEmaV3

    made = network()
    ours, theirs = Average(made, 0.9), ModelEmaV3(made, decay=0.9)
    ours.count = 1000
    for step in range(5):
        moved(made, step)
        ours.update()
        theirs.update(made)
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(ours.tensors()[name], value, rtol=0, atol=1e-7)
    assert not ours.network.training
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


def test_the_average_follows_closely_at_first():
    made = network()
    average = Average(made, 0.999)
    expected = values(made)
    for step in range(20):
        moved(made, step)
        average.update()
        decay = min(0.999, (1 + step) / (10 + step))
        for name, value in made.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value
    for name, value in expected.items():
        torch.testing.assert_close(average.tensors()[name], value, rtol=1e-5, atol=1e-6)
    assert average.tensors()["1.num_batches_tracked"] == 20


# --- switches of the process ----------------------------------------------------------------------


def switches() -> dict[str, object]:
    backends = torch.backends
    found: dict[str, object] = {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "benchmark": backends.cudnn.benchmark,
        "deterministic": backends.cudnn.deterministic,
        "matmul": backends.cuda.matmul.fp32_precision,
        "conv": backends.cudnn.conv.fp32_precision,
        "rnn": backends.cudnn.rnn.fp32_precision,
        "cpu": backends.mkldnn.matmul.fp32_precision,
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }
    with contextlib.suppress(RuntimeError):  # torch raises where old and new switches disagree
        found |= {"old": (torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32)}
    return found


def old_matmul() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def old_convolutions() -> None:
    torch.backends.cudnn.allow_tf32 = False


def middle_precision() -> None:
    torch.set_float32_matmul_precision("medium")


def new_matmul() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def new_of_all() -> None:
    torch.backends.fp32_precision = "tf32"


def determinism() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)


# What a caller may have set; in a process of its own each, as nothing puts them back.
OF_THE_CALLER = (
    switches,
    old_matmul,
    old_convolutions,
    middle_precision,
    new_matmul,
    new_of_all,
    determinism,
)


@pytest.mark.parametrize("set_by_caller", OF_THE_CALLER)
def test_switches_are_the_runs_inside_and_the_callers_afterwards(set_by_caller):
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = tried(set_by_caller)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def tried(set_by_caller: Callable[[], object]) -> int:
    """An exit code: 0 when the switches are right within the block and afterwards."""
    set_by_caller()
    before = switches()
    for fp32 in (True, False):
        for deterministic in (False, True):
            with process_flags(deterministic=deterministic, fp32=fp32):
                inside = switches()
                expected = ("highest", False) if fp32 else ("high", True)
                precision = "ieee" if fp32 else "tf32"
                wanted = {"old": expected, "matmul": precision, "conv": precision}
                wanted |= {"algorithms": deterministic, "benchmark": not deterministic}
                if inside | wanted != inside:
                    print(inside, "is not", wanted, file=sys.stderr)
                    return 1
            after = switches()
            if after | before != after:
                print(after, "is not", before, file=sys.stderr)
                return 1
    return 0


def test_switches_are_put_back_after_an_error():
    before = switches()
    with pytest.raises(ValueError), process_flags(deterministic=True, fp32=False):
        raise ValueError
    assert switches() == before


# --- gradient checkpointing -----------------------------------------------------------------------


class Staged(nn.Module):
    """Stages with statistics and chance, one in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.rest = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))])
        self.rest[0][1].momentum = None
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.rest[0](self.first(x)).relu()


def test_gradient_checkpointing_gives_the_same_bits():
    results = []
    for enabled in (False, True):
        with torch.random.fork_rng([]):
            torch.manual_seed(3)
            made = Staged()
            optimizer = torch.optim.Adam(made.parameters(), lr=0.1)
            convolutions = []
            made.first[0].register_forward_hook(lambda *_: convolutions.append(1))  # noqa: B023
            with recomputing(made, enabled=enabled):
                for _ in range(3):
                    optimizer.zero_grad()
                    made(torch.randn(2, 3, 12, 12)).square().mean().backward()
                    optimizer.step()
                made.eval()
                made(torch.randn(2, 3, 12, 12))
            results.append((values(made), torch.get_rng_state()))
            assert len(convolutions) == (7 if enabled else 4)  # again for each backward
            assert "forward" not in vars(made.first)
    assert same(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


# --- one loss over parts --------------------------------------------------------------------------


def parts_of(batch: dict, cuts: list[int]) -> list[dict]:
    ends = [0, *cuts, len(batch["target"])]
    return [{k: v[a:b] for k, v in batch.items()} for a, b in itertools.pairwise(ends)]


def test_parts_of_a_mean_add_up_to_the_mean_of_all():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, 5, 5, generator=generator, requires_grad=True)
    whole = {
        "target": torch.randint(0, 3, (6, 5, 5), generator=generator),
        "weight": torch.rand(6, 5, 5, generator=generator),
    }
    whole["target"][2:5] = 255
    loss = cross_entropy(class_weights=[1.0, 2.0, 0.5])
    expected = loss(logits, whole)
    [gradient] = torch.autograd.grad(expected, logits)
    parts = parts_of(whole, [1, 4])
    shares = counts_of(loss, parts)
    assert sum(shares) == pytest.approx(1.0)
    pieces = logits.split([1, 3, 2])
    total = 0
    for piece, part, share in zip(pieces, parts, shares, strict=True):
        back, named = reduced(loss, piece, part, share=share, parts=3)
        back.backward(retain_graph=True)
        total += named["loss"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad, gradient)


def test_nothing_that_counts_is_a_loss_of_zero():
    loss = cross_entropy()
    part = {"target": torch.full((1, 4, 4), 255)}
    [share] = counts_of(loss, [part])
    back, _ = reduced(loss, torch.randn(1, 2, 4, 4, requires_grad=True), part, share=share, parts=1)
    assert back == 0


def test_of_any_other_loss_the_mean_over_the_parts_is_taken():
    logits = torch.zeros(2, 1, 4, 4)
    part = {"target": torch.ones(2, 4, 4)}
    loss = dice()
    assert counts_of(loss, [part]) is None
    back, named = reduced(loss, logits, part, share=None, parts=4)
    assert back == named["loss"] == loss(logits, part) / 4


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            1.5,
            "the loss gave something else; found float, expected a scalar",
        ),
        ({"dice": torch.ones(())}, "the loss gave something else; found dict"),
        (torch.ones(3), r"the loss is not a scalar; found shape \(3,\)"),
    ],
)
def test_a_loss_that_is_none_is_refused(value, message):
    with pytest.raises(PluginError, match=message):
        reduced(lambda *_: value, torch.ones(1), {}, share=None, parts=1)


# --- the journal ----------------------------------------------------------------------------------


def book(run: Path, **changes) -> Journal:
    given = {"total": 100, "quiet": True, "silent": False} | changes
    return Journal(run, **given)


def test_records_are_written_and_read_back_and_nan_is_null(tmp_path):
    written = book(tmp_path)
    written.write({"step": 1, "loss": 0.5, "lr": float("inf")})
    written.write({"step": 2, "val": {"iou": float("nan"), "per_class": [1.0, float("nan")]}})
    assert journal.read(tmp_path) == [
        {"step": 1, "loss": 0.5, "lr": None},
        {"step": 2, "val": {"iou": None, "per_class": [1.0, None]}},
    ]


def test_a_line_that_was_cut_is_left_out_and_trimming_forgets_what_came_later(tmp_path):
    written = book(tmp_path)
    for step in (1, 2, 3):
        written.write({"step": step})
    with open(tmp_path / journal.METRICS, "a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in journal.read(tmp_path)] == [1, 2, 3]
    journal.trim(tmp_path, 2)
    assert [r["step"] for r in journal.read(tmp_path)] == [1, 2]
    written.write({"step": 3})
    assert [r["step"] for r in journal.read(tmp_path)] == [1, 2, 3]


def test_a_process_that_is_not_the_first_writes_and_says_nothing(tmp_path, capsys):
    silent = book(tmp_path, silent=True, quiet=False)
    silent.write({"step": 1})
    silent.say("hello")
    silent.close()
    assert [*tmp_path.iterdir()] == []
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_it_speaks_now_and_then_and_of_measurements(
    tmp_path, capsys, monkeypatch
):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    spoken = book(tmp_path, quiet=False, metric="iou")
    spoken.write({"step": 1, "loss": 1.25, "images_per_s": 4.0})
    assert capsys.readouterr().err == ""
    clock[0] = 10.0
    spoken.write({"step": 10, "val": {"iou": 0.5, "dice": 0.7}})
    spoken.say("a \x1b line")
    assert capsys.readouterr().err == (
        "step 10/100  loss 1.250  iou 0.5000  0:01:30 left\na \\x1b line\n"
    )
    clock[0] = 20.5
    spoken.at(11, loss=1.125)
    assert capsys.readouterr().err == "step 11/100  loss 1.125  iou 0.5000  0:02:46 left\n"
    clock[0] = 40.0
    spoken.write({"step": 20, "loss": 1.0, "data_wait": 0.031})
    spoken.at(20, measured=True)
    assert "step 20/100  loss 1.000  iou 0.5000  waits 3%" in capsys.readouterr().err


def test_t11_a_run_whose_folder_is_gone_says_so(tmp_path):
    with pytest.raises(OutputError, match=r"gone.metrics\.jsonl: cannot be written: No such file"):
        book(tmp_path / "gone").write({"step": 1})


# --- other programs that record a run -------------------------------------------------------------


def test_tensorboard_has_the_numbers_that_were_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    run.mkdir()
    written = book(run, trackers=Trackers(["tensorboard"], run=run, recipe={"lr": 0.1, "crop": []}))
    for step in (1, 2):
        written.write({"step": step, "loss": step / 2, "seconds": 3.0})
    written.write({"step": 2, "val": {"iou": 0.75, "per_class": [0.1]}})
    written.close()
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(1, 0.5), (2, 1.0)]
    assert [(e.step, e.value) for e in found.Scalars("val iou")] == [(2, 0.75)]
    assert "seconds" not in found.Tags()["scalars"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_t13_a_tracker_that_is_not_installed_is_left_out(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)  # where it happens to be installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=f"the tracker {name} is not installed and is left out. "):
        trackers = Trackers([name], run=tmp_path, recipe={})
    trackers.log({"loss": 1.0}, 1)
    trackers.close()


class Faulty:
    """A tracker of accelerate's kind that fails in one of its methods."""

    fault = ""
    logged: list[int]

    def __init__(self, run_name, **rest):
        self.logged = []

    def start(self):
        self.may_fail("start")

    def store_init_configuration(self, values):
        self.may_fail("store")

    def log(self, values, step):
        self.may_fail("log")
        self.logged.append(step)

    def finish(self):
        self.may_fail("finish")

    def may_fail(self, name):
        if name == self.fault:
            raise ConnectionError("no route\nto the host")


@pytest.mark.parametrize("fault", ["start", "store", "log", "finish"])
def test_t13_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path, monkeypatch, fault):
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", type("F", (Faulty,), {"fault": fault}))
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "trackio", Faulty)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    with pytest.warns(UserWarning, match="wandb failed and is left out: Connec.*: no route "):
        trackers = Trackers(["wandb", "trackio"], run=tmp_path, recipe={})
        healthy = trackers.active["trackio"]
        trackers.log({"loss": 1.0}, 1)
        trackers.log({"loss": 1.0}, 2)
        trackers.close()
    assert healthy.logged == [1, 2]


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_t2_a_signal_is_written_down_and_the_handlers_are_put_back(name):
    number = getattr(signal, name)
    before = signal.default_int_handler if name == "SIGINT" else signal.getsignal(number)
    signal.signal(number, before)  # heard also where the tests run in the background
    with asked_to_stop() as asked:
        assert asked.name == ""
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # at once: a launcher that passes it on
        assert asked.name == name
    assert signal.getsignal(number) is before


def test_t2_a_second_signal_ends_at_once():
    script = (
        "import os, signal, time\nfrom segzoo.engine import signals\n"
        "with signals.asked_to_stop():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    time.sleep(signals.ECHO + 0.1)\n"
        "    print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "still here\n")
    assert time.monotonic() - begun < 45


def test_a_ctrl_c_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asked_to_stop() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.name == ""
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN


def test_in_another_thread_nothing_is_heard_and_nothing_breaks():
    found = []

    def work():
        with asked_to_stop() as asked:
            found.append(asked.name)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [""]
    assert signal.getsignal(signal.SIGTERM) is before


def scontrol(folder: Path, monkeypatch, body: str) -> None:
    """A program of this name on the path."""
    program = folder / "scontrol"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_t2_slurm_is_asked_to_run_the_job_again(tmp_path, monkeypatch):
    assert requeue() == "not a Slurm job: nothing to put back in a queue"
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    scontrol(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/asked')
    assert requeue() == "the job 71 is back in the queue"
    assert (tmp_path / "asked").read_text() == "requeue 71\n"
    scontrol(tmp_path, monkeypatch, "echo Access denied >&2; exit 1")
    assert requeue() == "scontrol requeue 71 failed: Access denied"
    monkeypatch.setenv("PATH", "")
    assert requeue() == "scontrol is not here: put the job 71 back in the queue by hand"


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": -1}, "workers=-1 is below 0"),
        ({"keep": 0}, "keep=0 is below 1"),
        ({"eval_every": 0, "patience": 0}, "eval_every=0 is below 1; patience=0 is below 1"),
        ({"process_timeout": 0.5}, "process_timeout=0.5 is below 1"),
        ({"max_minutes": float("nan")}, "max_minutes=nan is not of type float"),
        ({"save_minutes": -1.0}, "save_minutes=-1.0 is below 0"),
        ({"trackers": ("mlflow",)}, "trackers=.*is not"),
        ({"workers": "2"}, "workers='2' is not"),
    ],
)
def test_settings_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)


# --- processes ------------------------------------------------------------------------------------

ALONE = Settings(device="cpu")


@pytest.mark.parametrize(
    ("name", "value", "recipe", "settings", "said"),
    [
        ("MIXED_PRECISION", "fp16", {}, {}, "the run has precision=fp32"),
        ("MIXED_PRECISION", "fp8", {"precision": "bf16"}, {}, "the run has precision=bf16"),
        ("MIXED_PRECISION", "bf16", {"precision": "bf16"}, {}, ""),
        ("MIXED_PRECISION", "no", {"precision": "bf16"}, {}, ""),
        ("GRADIENT_ACCUMULATION_STEPS", "7", {}, {}, "the run has accumulate=1"),
        ("GRADIENT_ACCUMULATION_STEPS", "2", {"accumulate": 2}, {}, ""),
        ("DYNAMO_BACKEND", "INDUCTOR", {}, {}, "the run has compile=False"),
        ("DYNAMO_BACKEND", "inductor", {}, {"compile": True}, ""),
        ("USE_CPU", "true", {}, {}, ""),
        ("TORCH_DEVICE", "meta", {}, {}, ""),
    ],
)
def test_variables_of_accelerate_change_nothing_silently(
    monkeypatch, name, value, recipe, settings, said
):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    before = dict(os.environ)
    wanted = dataclasses.replace(RECIPE, **recipe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with launch.launched(wanted, dataclasses.replace(ALONE, **settings)) as accelerator:
            assert accelerator.device == CPU
            assert accelerator.mixed_precision == launch.PRECISIONS[wanted.precision]
            assert accelerator.gradient_accumulation_steps == 1
            assert accelerator.state.dynamo_plugin.backend == "NO"
            assert dict(os.environ) == before
    messages = [str(w.message) for w in caught if "ACCELERATE_" in str(w.message)]
    assert messages == (
        [f"ACCELERATE_{name}={value.lower()} has no effect: {said}"] if said else []
    )


def test_accelerate_launch_on_the_cpu_decides_where_the_device_is_left_open(monkeypatch):
    monkeypatch.setattr("segzoo.predict.runtimes.torch.devices", lambda: (["cuda:0", "cpu"], ""))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with launch.launched(RECIPE, Settings()) as accelerator:
        assert accelerator.device == CPU


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
    ],
)
def test_ways_to_share_a_network_are_refused(monkeypatch, variable, what):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(RunError) as error, launch.launched(RECIPE, ALONE):
        pass
    assert str(error.value) == (
        f"segzoo does not train with {what}; expected one process, or several that hold the whole "
        "network each. Launch without it: torchrun --nproc-per-node=N --no-python segzoo train ..."
    )


def test_fp16_on_a_cpu_and_a_device_that_is_not_there_are_refused():
    fp16 = dataclasses.replace(RECIPE, precision="fp16")
    with pytest.raises(ConfigError, match="precision=fp16 needs a GPU") as error:
        with launch.launched(fp16, ALONE):
            pass
    assert error.value.next_step == "Use precision=bf16, or precision=fp32"
    with pytest.raises(DeviceError), launch.launched(RECIPE, Settings(device="cuda:99")):
        pass


@pytest.mark.parametrize(
    ("flags", "told"),
    [({"avx2", "avx512f"}, True), ({"avx512_bf16"}, False), ({"bf16"}, False), (set(), False)],
)
def test_bfloat16_in_software_is_said(monkeypatch, flags, told):
    monkeypatch.setattr(processor, "_flags", lambda: flags)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    bf16 = dataclasses.replace(RECIPE, precision="bf16")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with launch.launched(bf16, ALONE), launch.launched(RECIPE, ALONE):
            pass
    texts = [str(each.message) for each in said if "bfloat16 in software" in str(each.message)]
    assert len(texts) == told


def test_a_program_keeps_its_own_accelerator():
    from accelerate import Accelerator

    theirs = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=3)
    try:
        for precision in ("no", "bf16", "no"):
            name = {"no": "fp32"}.get(precision, precision)
            wanted = dataclasses.replace(RECIPE, precision=name)
            with launch.launched(wanted, ALONE) as ours:
                assert ours.mixed_precision == precision
        assert (theirs.mixed_precision, theirs.device) == ("bf16", CPU)
        assert theirs.gradient_accumulation_steps == 3
    finally:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_wrapped_network_is_itself_again(precision):
    made = network()
    before = dict(vars(made))
    wanted = dataclasses.replace(RECIPE, precision=precision)
    with launch.launched(wanted, ALONE) as accelerator:
        with launch.wrapped(accelerator, made) as wrapped:
            assert wrapped(torch.zeros(1, 3, 8, 8)).dtype == torch.float32
            inner = wrapped[0](torch.zeros(1, 3, 8, 8)).dtype
            assert inner == torch.float32  # only inside the whole network there is autocast
    assert vars(made) == before
    assert copy.deepcopy(made)(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 6, 6)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[012-015,020]", "gpu012"),
        ("gpu[7,9]-ib", "gpu7-ib"),
        ("login1,gpu2", "login1"),
        ("a1-b,a2-b", "a1-b"),
    ],
)
def test_srun_tells_a_process_its_place(monkeypatch, nodes, first):
    step = {"STEP_NUM_TASKS": "8", "STEP_NUM_NODES": "2", "STEP_NODELIST": nodes}
    step |= {"PROCID": "5", "LOCALID": "1", "JOB_ID": "1234567"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert launch._slurm() == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": first,
        "MASTER_PORT": "34567",
    }
    assert launch.rank_of_this_process() == 5
    monkeypatch.setenv("RANK", "3")  # of torchrun, which srun launched
    assert launch._slurm() == {}
    assert launch.rank_of_this_process() == 3


def test_a_process_that_nothing_launched_is_the_first(monkeypatch):
    assert launch.rank_of_this_process() == 0
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert launch._slurm() == {}


@pytest.mark.parametrize(("size", "accumulate", "world"), [(4, 2, 2), (3, 1, 3), (8, 1, 1)])
def test_batches_that_can_be_divided(size, accumulate, world):
    recipe = dataclasses.replace(RECIPE, batch_size=size, accumulate=accumulate)
    launch.refuse_uneven(recipe, world)


def test_a_batch_that_cannot_be_divided_says_which_can():
    recipe = dataclasses.replace(RECIPE, batch_size=6, accumulate=2)
    with pytest.raises(RunError, match=r"3 samples at once cannot be divided .*size=8"):
        launch.refuse_uneven(recipe, 2)


# --- looking up -----------------------------------------------------------------------------------


class Place:
    """Where a lookout stands: what it needs of an accelerator, of one process."""

    num_processes = 1

    def __init__(self, kind: str) -> None:
        self.device = torch.device(kind)


def test_on_a_cpu_every_step_is_looked_at_and_a_gpu_seldom(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    looks = {"cpu": [], "quick": [], "slow": []}
    for name, kind, pace in (("cpu", "cpu", 9.0), ("quick", "cuda", 0.01), ("slow", "cuda", 2.0)):
        with asked_to_stop() as asked:
            look = lookout.Lookout(Place(kind), asked, ALONE, step=10)
        for step in range(11, 51):
            clock[0] += pace
            if look.is_due(step):
                looks[name].append(step)
                assert look.agree(step) == ("", False)
    assert looks["cpu"] == [*range(11, 51)]
    assert looks["quick"] == [11, 27, 43]
    assert looks["slow"] == [*range(11, 51, 2)]


def test_what_ends_a_run_and_when_the_clock_asks_for_a_checkpoint(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    settings = Settings(device="cpu", max_minutes=5.0, save_minutes=2.0)
    with asked_to_stop() as asked:
        look = lookout.Lookout(Place("cpu"), asked, settings, step=0)
        seen = []
        for step, minute in enumerate((1, 2.1, 3, 4.2, 5.1), 1):
            clock[0] = 60 * minute
            seen.append(look.agree(step))
            if seen[-1][1]:
                look.has_saved()
        signal.raise_signal(signal.SIGUSR1)
        seen.append(look.agree(6))
    assert seen == [
        ("", False),
        ("", True),
        ("", False),
        ("", True),
        ("max_minutes", False),
        ("SIGUSR1", False),
    ]


# --- failures from outside ------------------------------------------------------------------------


def raised(error: BaseException, recipe: Recipe = RECIPE) -> str:
    with pytest.raises(Exception) as caught, explained(recipe):
        raise error
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4096 bytes"),
    ],
)
def test_t6_memory_that_runs_out_says_what_to_change(error):
    recipe = dataclasses.replace(RECIPE, batch_size=9, crop=(64, 96))
    text = raised(error, recipe)
    assert text.startswith("ResourceError: memory is not enough for the training: ")
    assert "; found batch_size=9, accumulate=1, crop=64,96, " in text
    assert " MiB " in text
    assert text.endswith(
        "Try accumulate=3 for the same batch in smaller parts, a smaller crop or batch_size, or "
        "precision=bf16 (with --resume, add --force-resume), or --checkpointing"
    )
    one = dataclasses.replace(RECIPE, batch_size=1)
    assert "Try a smaller crop or batch_size" in raised(error, one)


def test_t6_memory_of_the_allocator_that_is_really_asked_for_too_much():
    with pytest.raises(ResourceError, match="memory is not enough for the training") as error:
        with explained(RECIPE):
            torch.empty(2**50)
    assert error.value.exit_code == 5


def test_t3_a_full_disk_is_a_resource_error():
    text = raised(OSError(errno.ENOSPC, "No space left on device", "run/x"))
    assert text == (
        "ResourceError: run/x: cannot be written: No space left on device. "
        "Free some space and resume the run"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "RunError: a process that reads the data is gone or hangs: DataLoader worker (pid 7)",
        ),
        (
            RuntimeError("[/pytorch/third_party/gloo/x.cc:5] Connection closed by peer [::1]:9"),
            "RunError: another process of this run is gone or hangs: [/pytorch/third_party/gloo",
        ),
        (
            torch.distributed.DistBackendError("NCCL error in: x.cpp"),
            "RunError: another process of this run is gone or hangs: NCCL error",
        ),
    ],
)
def test_t7_t8_other_processes_that_fail_are_named(error, said):
    assert raised(error).startswith(said)


def test_t12_an_operation_that_cannot_be_deterministic_is_named():
    with pytest.raises(RunError, match="--deterministic is not possible here: put_") as error:
        with explained(RECIPE), process_flags(deterministic=True, fp32=True):
            torch.zeros(4).put_(torch.tensor([0]), torch.ones(1))
    assert "Resume without it" in str(error.value)


def test_what_is_not_understood_is_raised_as_it_is():
    assert raised(RuntimeError("shapes differ")) == "RuntimeError: shapes differ"
    assert raised(PermissionError(errno.EACCES, "no", "f")).startswith("PermissionError")
    assert raised(DatasetError("bad sample")) == "DatasetError: bad sample"


# --- what a run is --------------------------------------------------------------------------------


class Named:
    """A data set of names."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        raise AssertionError

    def id_of(self, index: int) -> str:
        return f"n{index}"


def about(recipe: Recipe = RECIPE, length: int = 5, settings: Settings = ALONE, **identity):
    return record.about_of(recipe, identity, Named(length), settings, device=CPU, world=1)


def test_t10_what_differs_is_listed_and_may_be_forced(tmp_path):
    then = about(model={"name": "unet"}, data="folder:a")
    other = dataclasses.replace(RECIPE, lr=0.5)
    now = about(other, 6, model={"name": "u2netp"}, data="folder:a")
    with pytest.raises(RunError) as error:
        record.changes(then, now, file=tmp_path, here=True, force=False)
    for difference in (
        "lr: was 0.01, is 0.5",
        "model: was {'name': 'unet'}, is {'name': 'u2netp'}",
        "samples: was 5, is 6",
    ):
        assert difference in error.value.found
    assert "--force-resume, which is written down" in error.value.next_step
    assert len(record.changes(then, now, file=tmp_path, here=True, force=True)) == 4
    with pytest.raises(RunError, match="found model: was"):
        record.changes(then, now, file=tmp_path, here=False, force=False)
    again = about(other, 6, model={"name": "unet"})
    assert record.changes(then, again, file=tmp_path, here=False, force=False) == []


def test_how_a_run_goes_on_is_said_as_it_is():
    larger = dataclasses.replace(RECIPE, batch_size=8)
    slower = dataclasses.replace(RECIPE, lr=0.001)
    compiled = dataclasses.replace(ALONE, compile=True)
    sample_by_sample = "sample by sample, but not to the last bit"
    assert record.how(about(), about(), exact=True) == record.EXACT
    assert record.how(about(), about(), exact=False) == sample_by_sample
    assert record.how(about(), about(slower), exact=True) == sample_by_sample
    assert record.how(about(), about(settings=compiled), exact=True) == sample_by_sample
    others = "with the weights and the optimiser, but with samples in another order"
    assert record.how(about(), about(larger), exact=True) == others
    assert record.how(about(), about(length=6), exact=True) == others
    assert record.how({}, about(), exact=True) == others


def test_run_json_keeps_every_sitting(tmp_path):
    for step in (0, 4):
        record.write(tmp_path, about(), ALONE, {"from_step": step})
    read = json.loads((tmp_path / record.RUN).read_text())
    assert [sitting["from_step"] for sitting in read["sittings"]] == [0, 4]
    assert read["settings"]["device"] == "cpu"
    record.refuse_used(tmp_path)  # without a checkpoint it is no run
    checkpoint.publish(checkpoint.begin(tmp_path, 1), about={})
    with pytest.raises(RunError, match=r"holds a run already\. Go on with it by --resume"):
        record.refuse_used(tmp_path)
    record.write(tmp_path, about(), ALONE, {"from_step": 0}, here=False)
    assert len(json.loads((tmp_path / record.RUN).read_text())["sittings"]) == 1


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "counts"),
    [
        ({"target": torch.full((2, 3, 3), 255)}, False),
        ({"target": torch.zeros(2, 3, 3)}, True),
        ({"target": torch.zeros(2, 3, 3), "weight": torch.zeros(2, 3, 3)}, False),
        ({"target": torch.zeros(2, 4, 3, 3), "weight": torch.ones(2, 3, 3)}, True),
        ({"target": torch.full((2, 4, 3, 3), 255), "weight": torch.ones(2, 3, 3)}, False),
    ],
)
def test_a_first_batch_without_anything_that_counts_is_refused(part, counts):
    part["id"] = ["a", "b"]
    if counts:
        batch.refuse_ignored([part], 255, Place("cpu"))
        return
    with pytest.raises(DatasetError) as error:
        batch.refuse_ignored([part, part], 255, Place("cpu"))
    assert str(error.value) == (
        "no pixel of the first batch counts; found samples a, b, a, b, all ignored. "
        "Run: segzoo data check"
    )


def test_random_numbers_of_a_run_are_its_own_and_the_callers_go_on():
    def drawn() -> tuple[float, float, float]:
        return torch.rand(()).item(), random.random(), np.random.rand()

    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    expected = [drawn(), drawn()]
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    found = [drawn()]
    inside = []
    for rank in (0, 0, 1):
        with state.randomness(-3, rank=rank, device=CPU):
            inside.append(drawn())
    found.append(drawn())
    assert found == expected
    assert inside[0] == inside[1] != inside[2]


@pytest.mark.parametrize("lower", [False, True])
def test_the_best_is_noted_and_nan_is_never_it(lower):
    progress = state.Progress()
    sign = -1 if lower else 1
    seen = []
    for step, value in enumerate((float("nan"), 0.5, 0.7, 0.7, float("inf") * -1, 0.6), 1):
        progress.step = step
        seen.append(progress.note(sign * value, lower_is_better=lower))
    assert seen == [False, True, True, False, False, False]
    assert (progress.best, progress.best_step, progress.waited) == (sign * 0.7, 3, 3)


def test_best_weights_that_are_lost_are_sought_anew(tmp_path):
    progress = state.Progress(step=8, best=0.5, best_step=4, waited=2)
    with pytest.warns(UserWarning, match="the best weights are lost: .*no checkpoint of step 4"):
        state.forget_lost_best(tmp_path, progress)
    assert (progress.best, progress.best_step, progress.waited) == (None, None, 0)


def test_t4_a_rank_without_random_numbers_is_an_error(tmp_path):

    from segzoo.errors import CheckpointError

    made = network()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    now = state.State(made, optimizer, None, None, state.Progress(step=3))
    state.save(tmp_path, now, rank=0, world=1, about={})
    found = checkpoint.find(tmp_path)
    lying = Checkpoint(found.path, 3, {**found.about, "world": 2}, found.hashes)
    state.restore(lying, now, rank=0, world=2, seed=0)
    with pytest.raises(CheckpointError, match="the checkpoint has no 'random-00001"):
        state.restore(lying, now, rank=1, world=2, seed=0)


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / ".segzoo-0123.tmp").touch()
    (tmp_path / "model.safetensors").touch()
    files.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
