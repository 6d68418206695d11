"""What model code changes for the rest of its process is seen and put back. Row P8."""

import os
import random
import signal
import threading
import warnings

import pytest
import torch
import torch._inductor.config  # which torch imports late, with effects of its own
import torch.nn.functional as F

from segzoo.checks.process import DEEP_STATES, STATES, watched


def ignore(*_):
    return None


MEDDLING = {
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "whether torch records gradients": lambda: torch.set_grad_enabled(False),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's float32 precision": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn's benchmark flag": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn's deterministic flag": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "the working folder": lambda: os.chdir("/"),
    "signal handlers": lambda: signal.signal(signal.SIGTERM, ignore),
    "the environment": lambda: os.environ.pop("PATH"),
    "warnings.filters": lambda: warnings.simplefilter("ignore"),
    "torch.nn.functional.relu": lambda: setattr(F, "relu", ignore),
    "torch.Tensor.relu": lambda: setattr(torch.Tensor, "relu", ignore),
    "torch.nn.Module.forward": lambda: setattr(torch.nn.Module, "forward", ignore),
    "torch.relu": lambda: setattr(torch, "relu", ignore),
}


def state():
    patched = (F.relu, torch.Tensor.relu, torch.nn.Module.forward, torch.relu)
    return *(each.get() for each in STATES), patched


@pytest.mark.parametrize("name", MEDDLING)
def test_a_change_is_noted_and_put_back(name):
    before, changed = state(), []
    with watched(changed, STATES):
        MEDDLING[name]()
        assert state() != before
    assert changed == [name]
    assert state() == before


def test_every_state_is_meddled_with_here():
    assert {each.name for each in STATES} <= set(MEDDLING)
    assert {each.name for each in STATES} - {each.name for each in DEEP_STATES} == {
        "the environment",
        "warnings.filters",
    }


def test_nothing_is_noted_of_code_that_leaves_the_process_alone():
    changed = []
    with watched(changed, STATES):
        torch.nn.Conv2d(3, 4, 3)(torch.rand(1, 3, 8, 8))
        random.random()
    assert changed == []


def test_it_is_put_back_after_an_error_too():
    changed = []
    with pytest.raises(RuntimeError, match=r"^a fault$"), watched(changed, STATES):
        torch.set_default_dtype(torch.float64)
        raise RuntimeError("a fault")
    assert changed == ["torch's default dtype"]
    assert torch.get_default_dtype() == torch.float32


def test_it_works_in_a_thread():
    changed = []

    def meddle():
        with watched(changed, STATES):
            torch.set_default_dtype(torch.float64)

    thread = threading.Thread(target=meddle)
    thread.start()
    thread.join()
    assert changed == ["torch's default dtype"]
    assert torch.get_default_dtype() == torch.float32
