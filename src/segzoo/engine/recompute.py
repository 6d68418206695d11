"""Gradient checkpointing of any network: inner results are computed again instead of kept."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["recomputing"]

Norms = (nn.modules.batchnorm._BatchNorm,)


@contextlib.contextmanager
def recomputing(network: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Within the block, each stage of the network keeps its inputs alone while it trains.

    A stage is a child of the network, or of a list of modules among its children. The values are
    those of the plain network: dropout draws the same again, and the second time no statistics of
    normalisation are gathered.
    """
    stages = list(_stages(network)) if enabled else []
    for stage in stages:
        stage.forward = _Recomputed(stage)
    try:
        yield
    finally:
        for stage in stages:
            del stage.forward  # the class's own is there again


class _Recomputed:
    """A stage's forward that keeps nothing."""

    def __init__(self, stage: nn.Module) -> None:
        self.stage = stage
        self.plain = stage.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.stage.training:
            return self.plain(*args, **kwargs)
        return checkpoint(
            self.plain,
            *args,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), self._second_time()),
            **kwargs,
        )

    @contextlib.contextmanager
    def _second_time(self) -> Iterator[None]:
        norms = [m for m in self.stage.modules() if isinstance(m, Norms) and m.track_running_stats]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, tracked) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, tracked


def _stages(network: nn.Module) -> Iterator[nn.Module]:
    for child in network.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _stages(child)
        elif any(p.requires_grad for p in child.parameters()):
            yield child
