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
        self.followed = followed
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the followed network."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        pairs = list(zip(_values(self.network), _values(self.followed), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_(
            [mine for mine, _ in floats], [other for _, other in floats], 1 - decay
        )
        for mine, other in pairs:
            if not mine.is_floating_point():
                mine.copy_(other)
        self.count += 1

    def tensors(self) -> dict[str, Tensor]:
        return self.network.state_dict()


def _values(network: nn.Module) -> list[Tensor]:
    """All that a network holds, in an order of its own; asked anew, as it may be exchanged."""
    return [*network.parameters(), *network.buffers()]
