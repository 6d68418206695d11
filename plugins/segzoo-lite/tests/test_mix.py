"""training/mix_fine.py: how the embedded weights were made of a run."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

import segzoo

SCRIPT = Path(__file__).parents[1] / "training/mix_fine.py"


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """What the script makes of lite0.duts and a run that added 1 to every bias of a head."""
    run = segzoo.load("lite0.duts")
    with torch.no_grad():
        for head in run.network.heads:
            head.bias += 1
    run.save_pretrained(tmp_path / "run")

    def mix(*words):
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["mix_fine.py", str(tmp_path / "run"), str(out), *words])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return segzoo.load(str(out)).network

    return mix


def logits(network):
    torch.manual_seed(0)
    with torch.no_grad():
        return network.eval()(torch.randn(1, 3, 64, 64), all_heads=True)


def test_the_scale_is_of_the_final_logits_alone(mixed):
    begun = logits(segzoo.load("lite0.duts").network)
    final, *others = logits(mixed("--share", "0", "--scale", "1.5"))
    torch.testing.assert_close(final, 1.5 * begun[0], atol=0.02, rtol=0)
    torch.testing.assert_close(others, list(begun[1:]), atol=0.02, rtol=0)


def test_the_share_is_of_the_way_to_the_run(mixed):
    begun = logits(segzoo.load("lite0.duts").network)
    for found, before in zip(logits(mixed("--share", "0.5", "--scale", "1")), begun, strict=True):
        torch.testing.assert_close(found, before + 0.5, atol=0.02, rtol=0)
