"""A moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """network: a copy whose floating-point weights follow those of another one.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the average is near the
    weights from the start. Buffers of normalisation are averaged too; whole numbers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [mine[name] for name in floats], [theirs[name] for name in floats], 1 - decay
        )
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])
        self.count += 1

    def tensors(self) -> dict[str, Tensor]:
        return self.network.state_dict()
