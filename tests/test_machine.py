"""What a run takes of the machine where nobody says it."""

import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from segzoo.engine import machine
from segzoo.engine.evaluate import Task
from segzoo.engine.flags import process_flags
from segzoo.engine.machine import fitting_threads, idle_cores, suited_to_machine
from segzoo.engine.settings import Settings
from segzoo.spec import Postprocess, Preprocess, Recipe

RECIPE = Recipe(steps=9, batch_size=4, optimizer=("adam", {}), lr=0.1, crop=(20, 24))
TASK = Task(
    preprocess=Preprocess(multiple_of=16, margin=3),
    postprocess=Postprocess(),
    in_channels=3,
    num_classes=1,
)


@pytest.mark.parametrize(("idle", "threads"), [(0.1, 1), (1.2, 1), (3.4, 3), (9.0, 4)])
def test_no_more_threads_than_cores_are_idle(monkeypatch, idle, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(machine, "idle_cores", lambda: idle)
    assert fitting_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert fitting_threads() == 4


def test_idle_cores_are_counted_of_those_that_may_be_used():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 0 <= idle_cores() <= cores


def test_threads_are_the_runs_and_then_the_callers_again():
    before = torch.get_num_threads()
    with process_flags(deterministic=False, fp32=True, threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


SEEN: list[tuple[tuple[int, ...], bool]] = []  # sizes and formats of what a network saw
CLOCK = [0.0]


class Watched(nn.Module):
    """One convolution, which takes so many seconds of a clock of its own in the slow format."""

    def __init__(self, slow=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.slow = slow

    def forward(self, x):
        last = x.is_contiguous(memory_format=torch.channels_last)
        SEEN.append((tuple(x.shape), last))
        CLOCK[0] += 1.1 if last == self.slow else 1.0
        return self.conv(x), self.conv(x)


@pytest.fixture(autouse=True)
def own_clock(monkeypatch):
    SEEN.clear()
    monkeypatch.setattr(machine.time, "perf_counter", lambda: CLOCK[0])


@pytest.mark.parametrize("slow", [False, True])
def test_channels_last_is_taken_where_a_trial_finds_it_faster(slow):
    network = Watched(slow)
    values = {n: v.clone() for n, v in network.state_dict().items()}
    numbers = torch.get_rng_state()
    found = suited_to_machine(Settings(), network, TASK, RECIPE, samples=None)
    assert found.channels_last is not slow
    assert {shape for shape, _ in SEEN} == {(2, 3, 32, 32)}  # 20 and 24, with margins
    assert {last for _, last in SEEN} == {False, True}
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(torch.equal(values[n], v) for n, v in network.state_dict().items())
    assert network.conv.weight.grad is None


@pytest.mark.parametrize(
    ("settings", "recipe", "samples"),
    [
        (Settings(), RECIPE, 100),
        (Settings(channels_last=True), RECIPE, None),
        (Settings(channels_last=False), RECIPE, None),
        (Settings(), replace(RECIPE, crop=None), None),
    ],
)
def test_nothing_is_tried_for_short_runs_or_where_somebody_says_it(settings, recipe, samples):
    found = suited_to_machine(settings, Watched(), TASK, recipe, samples=samples)
    assert (found.channels_last, SEEN) == (bool(settings.channels_last), [])


def test_a_network_that_refuses_the_format_is_trained_in_the_usual_one():
    class Flat(nn.Conv2d):
        def forward(self, x):
            CLOCK[0] += 1.0
            return super().forward(x.view(2, -1).view(x.shape))

    assert (
        suited_to_machine(Settings(), Flat(3, 1, 1), TASK, RECIPE, samples=None).channels_last
        is False
    )
