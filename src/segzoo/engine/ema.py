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

    def __init__(self, followed: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(followed).eval().requires_grad_(False)
        self.decay = decay
        self.count = 0
        mine, theirs = self.network.state_dict(), followed.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        others = [name for name in mine if name not in set(floats)]
        self.floats = [mine[name] for name in floats], [theirs[name] for name in floats]
        self.others = [mine[name] for name in others], [theirs[name] for name in others]

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the followed network, whose tensors are still those it had."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(*self.floats, 1 - decay)
        if self.others[0]:
            torch._foreach_copy_(*self.others)
        self.count += 1

    def tensors(self) -> dict[str, Tensor]:
        return self.network.state_dict()
