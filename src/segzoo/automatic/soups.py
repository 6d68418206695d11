"""Means of the weights of a run's last checkpoints: those of one run lie in one valley.

Izmailov et al. 2018 (arXiv:1803.05407) average the steps at the end of a training; Wortsman et al.
2022 (arXiv:2203.05482) keep such a mean where pictures held out gain by it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from segzoo.engine import checkpoint
from segzoo.engine.state import AVERAGE, MODEL

__all__ = ["mean_of", "soups_of"]

MOST = 3  # checkpoints of a soup


def soups_of(run: Path) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The mean of the last two checkpoints, and of the last three where there are so many.

    Of each its moving average, where the run has one. Nothing for a run that left one alone.
    """
    steps = checkpoint.steps(run)[-MOST:]
    states = [_state_of(run, step) for step in reversed(steps)]
    for count in range(2, len(states) + 1):
        yield count, mean_of(states[:count])


def _state_of(run: Path, step: int) -> dict[str, Tensor]:
    found = checkpoint.find(run, step=step)
    name = AVERAGE if f"{AVERAGE}.safetensors" in found.hashes else MODEL
    return found.tensors(name)


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of several states of a network: floats by their mean, whole numbers as the first has them."""
    mean = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            values = torch.stack([state[name].double() for state in states])
            mean[name] = values.mean(0).to(first.dtype)
        else:
            mean[name] = first
    return mean
