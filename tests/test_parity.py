"""What is a runtime's fault, and what is rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from segzoo.predict.artefacts.parity import TOLERANCE, compare
from segzoo.predict.artefacts.store import Parity
from segzoo.predict.runtimes.torch import TorchRuntime, in_float64
from segzoo.spec import Postprocess, Preprocess

SETTINGS = {"preprocess": Preprocess(), "postprocess": Postprocess(), "in_channels": 3}


class Far(nn.Module):
    """x's mean, by a sum that is far from it: in float32 it is rounded to steps of 1/128."""

    def __init__(self, far):
        super().__init__()
        self.far = nn.Parameter(torch.tensor(far))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        return (mean + self.far) - self.far


def parity_of(candidate, network=None, *, exact=True):
    network = network or Far(1e5)
    found = compare(
        TorchRuntime(network),
        candidate,
        exact=(lambda: in_float64(network)) if exact else None,
        **SETTINGS,
    )
    return Parity(runtime="r", version="1", precision="fp32", sha256="", cases=found)


def test_what_is_as_near_to_float64_as_torch_is_holds():
    other = TorchRuntime(Far(5e4))  # its steps are half as wide
    assert not parity_of(other, exact=False).within(TOLERANCE["fp32"])
    found = parity_of(other)
    assert found.within(TOLERANCE["fp32"])
    assert [case.rounding for case in found.cases] == pytest.approx([0.5 / 128 / 4] * 3, rel=0.5)


def test_what_is_further_away_does_not():
    other = TorchRuntime(Far(5e4))
    off = parity_of(lambda x: (other(x)[0] + np.float32(0.02),))
    assert all(case.rounding > 0 for case in off.cases)
    assert not off.within(TOLERANCE["fp32"])


def test_a_fault_of_a_network_that_rounds_little_is_none_of_rounding():
    network = Far(0.0)
    off = parity_of(lambda x: (TorchRuntime(network)(x)[0] + np.float32(0.01),), network)
    assert not off.within(TOLERANCE["fp32"])


def test_a_network_that_computes_in_float32_alone_is_held_to_the_tolerance():
    class Single(Far):
        def forward(self, x):
            return nn.functional.conv2d(x, torch.ones(1, 3, 1, 1)) + self.far

    network = Single(0.0)
    off = parity_of(lambda x: (TorchRuntime(network)(x)[0] + np.float32(0.01),), network)
    assert {case.rounding for case in off.cases} == {0}
    assert not off.within(TOLERANCE["fp32"])


@pytest.mark.parametrize("far", [float("nan"), 1e9])
def test_where_torch_gives_no_number_or_none_that_means_anything_nothing_holds(far):
    other = TorchRuntime(Far(0.0))
    off = parity_of(lambda x: (other(x)[0] + np.float32(8),), Far(far))
    assert not off.within(TOLERANCE["fp32"])


def test_the_network_stays_in_float32():
    network = Far(1e5)
    in_float64(network)
    assert network.far.dtype == torch.float32


def test_no_cases_are_no_comparison():
    assert not Parity(runtime="r", version="1", precision="fp32", sha256="", cases=()).within(1.0)
