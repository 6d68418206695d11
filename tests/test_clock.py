"""Runs that last so many minutes: what the clock expects, and that the schedule ends in time."""

import time

import pytest
import torch
from squares import fitted, job_of

from segzoo.engine import journal
from segzoo.engine.clock import Clock
from segzoo.engine.schedule import rate_along, rate_at
from segzoo.engine.warm_up import timed
from segzoo.errors import RunError
from segzoo.spec import Recipe

BINARY = "segzoo.losses:binary_cross_entropy"
RECIPE = Recipe(
    minutes=1, batch_size=4, optimizer=("adam", {}), lr=0.5, schedule=("cosine", {}), warmup=100
)


class Alone:
    num_processes = 1


def clock(**values) -> Clock:
    start = {"seconds": 100.0, "start": 4.0, "step": 1.0, "measurement": 6.0, "every": 10}
    return Clock(**{**start, "used": 4.0, "looked": 0.0, **values})


def test_steps_fit_with_the_measurements_between_them_and_the_last_one():
    assert clock().steps_left == 72  # (100 - 4 - 6) / (1 + 6 / 10, but at most 1 / 4)
    assert clock(every=60).steps_left == 81  # 90 / 1.1
    assert clock(measurement=0.0).steps_left == 96
    assert clock(used=95.0).steps_left == 0
    assert clock(used=1000.0).steps_left == 0


def test_the_schedule_follows_the_time_that_is_used():
    assert clock().share == 0
    assert clock(used=49.0).share == pytest.approx(0.5)
    assert clock(used=94.0).share == clock(used=500.0).share == 1


def test_the_schedule_never_goes_back():
    found = clock(measurement=10.0)
    found.look(1, used=92.0, accelerator=Alone)
    assert found.share == 1
    found.measurement = 2.0  # a quicker one after a slow one: there is more time than was thought
    found.look(2, used=92.5, accelerator=Alone)
    assert found.share == 1


def test_a_machine_that_becomes_slower_takes_fewer_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = clock(measurement=0.0)
    for step, seconds in enumerate([1.0] * 20 + [2.0] * 60, 1):
        now[0] += seconds
        found.look(step, used=4 + now[0], accelerator=Alone)
        if found.steps_left == 0:
            break
    assert step == pytest.approx(20 + 76 / 2, abs=1)
    assert found.used == pytest.approx(100, abs=2)


def test_measuring_takes_a_fifth_of_the_time_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = clock()
    now[0] += 12.0
    found.resume(measured=True)
    assert (found.measurement, found.can_measure) == (12.0, False)
    found.used += 48.0
    assert found.can_measure


def test_the_rate_is_at_its_end_when_the_time_is():
    plain = Recipe(steps=50, batch_size=4, optimizer=("adam", {}), lr=0.5, schedule=("cosine", {}))
    assert rate_along(0.5, total=50, recipe=plain) == rate_at(25, total=50, recipe=plain)
    assert rate_along(1.0, total=50, recipe=RECIPE) == pytest.approx(0)
    # a warm-up of a hundred steps of fifty is one of five
    assert rate_along(0.0, total=50, recipe=RECIPE) == pytest.approx(0.1)
    assert rate_along(0.1, total=50, recipe=RECIPE) == pytest.approx(0.5)


def run(folder, minutes: float, **rest):
    recipe = {"minutes": minutes, "batch_size": 4, "lr": 0.1, "schedule": ["cosine", {}]}
    return fitted("tiny:TINY", folder, loss=BINARY, recipe=recipe, **rest)[1]


def test_a_run_of_so_many_minutes_ends_in_time_with_its_schedule(tmp_path):
    result = run(tmp_path, 0.05, val=2)
    assert (result.stopped, result.exact) == ("", False)
    notes = [r for r in journal.read(tmp_path) if "lr" in r]
    assert 1 < notes[-1]["seconds"] < 6  # 3, less the last measurement; more on a busy machine
    rates = [r["lr"] for r in notes]
    assert rates == pytest.approx(sorted(rates, reverse=True), rel=1e-12)  # but for rounding
    assert rates[0] > 0.09 > 0.01 > rates[-1]
    assert journal.read(tmp_path)[-1]["val"]  # the last step is measured


def test_a_killed_run_goes_on_within_the_minutes_that_are_left(tmp_path):
    stopped = run(tmp_path, 0.05, settings={"max_minutes": 0.02})
    assert stopped.stopped == "max_minutes"
    assert run(tmp_path, 0.05, resume=True).stopped == ""
    notes = [r for r in journal.read(tmp_path) if "lr" in r]
    assert notes[-1]["seconds"] == pytest.approx(3, abs=2)
    assert notes[-1]["lr"] < 0.01


def test_a_finished_run_of_minutes_is_finished_and_takes_more(tmp_path):
    step = run(tmp_path, 0.01).step
    assert run(tmp_path, 0.01, resume=True).step == step
    with pytest.raises(RunError, match=r"minutes: was 0.01, is 0.02"):
        run(tmp_path, 0.02, resume=True)
    assert run(tmp_path / "more", 0.03, resume=tmp_path).step > step


def test_a_timed_warm_up_leaves_no_trace(tmp_path):
    zoo, job = job_of(
        "tiny:TINY", tmp_path / "run", loss=BINARY, recipe={"steps": 2, "batch_size": 4}, val=2
    )
    before = {name: value.clone() for name, value in zoo.network.state_dict().items()}
    numbers = torch.get_rng_state()
    pace = timed(job)
    assert min(pace) > 0
    assert pace.of_a_step == max(pace.reading, pace.computing)
    assert (
        timed(job_of("tiny:TINY", tmp_path, recipe={"steps": 2, "batch_size": 4})[1]).measurement
        == 0
    )
    assert not (tmp_path / "run").exists()
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(torch.equal(before[n], v) for n, v in zoo.network.state_dict().items())
    assert all(p.grad is None for p in zoo.network.parameters())
