"""The loss of a whole batch whose samples lie in several processes, or come in several parts.

A gradient of the whole batch's loss is what one process with all samples would compute. A loss that
is a mean over pixels tells by its `count(batch)` by how much it divides, and is then added up as
sums and counts. Any other (a Dice of the whole batch, say) is computed from the outputs of all
processes, gathered; of parts that follow each other the mean is taken, part by part.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

from segzoo.errors import PluginError

__all__ = ["Loss", "Parts", "counts_of", "each_tensor", "reduced", "summed"]

Loss: TypeAlias = Callable[[Any, Mapping[str, Tensor]], Any]
Parts: TypeAlias = dict[str, Tensor]  # "loss", and what else the loss names


def counts_of(loss: Loss, batches: Sequence[Mapping[str, Tensor]]) -> list[Tensor] | None:
    """Of each part of a step, the share of the whole batch that it holds; None: gather instead.

    Added up over the parts and the processes, the shares are 1.
    """
    count = getattr(loss, "count", None)
    if count is None:
        return None
    counts = torch.stack([count(batch) for batch in batches])
    if counts.device.type != "mps":  # which has no float64
        counts = counts.double()
    total = counts.sum()
    if _world() > 1:
        dist.all_reduce(total)
    return list(counts / total.clamp_min(1e-12))


def reduced(
    loss: Loss, outputs: Any, batch: Mapping[str, Tensor], *, share: Tensor | None, parts: int
) -> tuple[Tensor, Parts]:
    """What one part of a step adds: the scalar to go backward from, and its shares of the losses.

    The gradients of the scalars, averaged over the processes, as DistributedDataParallel does, and
    added up over the parts, are those of the whole batch's loss. The losses are added up over the
    parts too; with a share, also over the processes (`summed` does it).
    """
    world = _world()
    if share is not None:
        losses = _named(loss(outputs, batch))
        losses = {name: value * share.to(value.dtype) for name, value in losses.items()}
        return losses["loss"] * world, {name: v.detach() for name, v in losses.items()}
    if world > 1:
        outputs = each_tensor(outputs, _gathered)
        batch = {
            key: _gathered(value) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }
    losses = {name: value / parts for name, value in _named(loss(outputs, batch)).items()}
    # Every process computes the same loss, and each sends back the gradient of its own samples.
    return losses["loss"] * world, {name: value.detach() for name, value in losses.items()}


def summed(losses: Parts, *, shared: bool) -> Parts:
    """Losses added up over the processes, where each holds its share of them."""
    if not shared or _world() == 1:
        return losses
    values = torch.stack([value.float() for value in losses.values()])
    dist.all_reduce(values)
    return dict(zip(losses, values.unbind(), strict=True))


def _named(value: Any) -> Parts:
    if isinstance(value, Tensor):
        value = {"loss": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("loss"), Tensor):
        raise PluginError(
            "the loss gave something else",
            found=type(value).__name__,
            expected='a scalar, or a mapping with "loss"',
        )
    if value["loss"].ndim:
        raise PluginError("the loss is not a scalar", found=f"shape {tuple(value['loss'].shape)}")
    return {name: part for name, part in value.items() if isinstance(part, Tensor)}


def _gathered(local: Tensor) -> Tensor:
    """(n, ...) of each process -> (world * n, ...); only the own rows carry a gradient."""
    rows = [torch.empty_like(local, memory_format=torch.contiguous_format) for _ in range(_world())]
    dist.all_gather(rows, local.detach().contiguous())
    rows[dist.get_rank()] = local
    return torch.cat(rows)


def each_tensor(outputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`function` of every tensor among a network's outputs."""
    if isinstance(outputs, Tensor):
        return function(outputs)
    if isinstance(outputs, Mapping):
        return {name: each_tensor(value, function) for name, value in outputs.items()}
    return type(outputs)(each_tensor(value, function) for value in outputs)


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
