"""The promises about losses, and the batch that they are tried on.

The docstring of a promise is its rule, as in `segzoo.checks.promises`, whose table has them too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segzoo.checks.kit import Kit, final_of, some, training
from segzoo.checks.results import Broken
from segzoo.spec import Task
from segzoo.zoo import registry

__all__ = [
    "ignored_targets_change_nothing",
    "loss_of",
    "losses_train_everything",
    "moved",
    "spared_pixels",
    "weightless_pixels_change_nothing",
]

IGNORED = (255, 200)  # the usual value, and another
NOISE = 10.0  # standard deviation of logits that must not matter
RELATIVE = 1e-4  # how far rounding may move a value, or a slope, of the largest
SWAPPED = 0.01  # how far equal pixels may move the whole gradient, of its norm


def losses_train_everything(kit: Kit) -> None:
    """Each task's loss is a finite scalar, and gives every parameter not frozen a gradient."""
    frozen = kit.spec.frozen
    for task, network in kit.by_task():
        named = dict(network.named_parameters())
        idle = [p for p in frozen if not any(name.startswith(p) for name in named)]
        if idle:
            fix = "correct frozen in the spec"
            raise Broken(f"frozen names {some(idle)}, with which no parameter begins", fix)
        with training(network):
            torch.autograd.backward(loss_of(kit, task, network))
            trained = {name: p.grad for name, p in named.items() if not name.startswith(frozen)}
            network.zero_grad(set_to_none=True)
        missing = [name for name, gradient in trained.items() if gradient is None]
        if missing:
            fix = "use it in forward and in the loss, or declare frozen=(...)"
            raise Broken(f"for {task} no gradient reaches {some(missing)}", fix)
        wild = [name for name, g in trained.items() if g is not None and not g.isfinite().all()]
        if wild:
            raise Broken(f"for {task} the gradient of {some(wild)} is not finite")


def weightless_pixels_change_nothing(kit: Kit) -> None:
    """Logits where `weight` of the batch is 0 change neither a loss's value nor its gradient."""
    for task, outputs, batch in _tried(kit):
        spared = spared_pixels(batch["target"])
        generator = torch.Generator().manual_seed(3)
        weight = 0.5 + 2 * torch.rand(spared.shape, generator=generator)
        batch["weight"] = weight * ~spared
        loss = registry.resolve(kit.spec.tasks[task].loss)()
        if found := moved(loss, outputs, batch, spared):
            raise Broken(f"for {task}, where the weight is 0, {found}")


def ignored_targets_change_nothing(kit: Kit) -> None:
    """Nor do logits where the target is what the factory is given as `ignore_index`."""
    for task, outputs, batch in _tried(kit):
        spared = spared_pixels(batch["target"])
        planes = spared if batch["target"].ndim == 3 else spared.unsqueeze(1)
        factory = registry.resolve(kit.spec.tasks[task].loss)
        for value in IGNORED:
            loss = factory(ignore_index=value)
            ignored = {**batch, "target": batch["target"].masked_fill(planes, value)}
            if found := moved(loss, outputs, ignored, spared):
                raise Broken(f"for {task}, where the target is {value}, {found}")


# --- a batch, and the loss of it ------------------------------------------------------------------


def batch_for(task: Task, x: Tensor, logits: Tensor) -> dict[str, Any]:
    """What the engine gives a loss beside the outputs: the target that suits the final logits."""
    n, num_classes, h, w = logits.shape
    generator = torch.Generator().manual_seed(1)
    if task == "multilabel":
        target = torch.randint(2, (n, num_classes, h, w), generator=generator).float()
    else:
        target = torch.randint(max(2, num_classes), (n, h, w), generator=generator)
    return {"image": x, "target": target.to(x.device), "id": [str(i) for i in range(n)]}


def loss_of(kit: Kit, task: Task, network: nn.Module) -> Tensor:
    """The task's loss of one batch, checked to be a finite scalar."""
    x = kit.x().to(next(network.parameters()).device)
    outputs = network(x)
    loss = registry.resolve(kit.spec.tasks[task].loss)()
    value = loss(outputs, batch_for(task, x, final_of(outputs)))
    value = value["loss"] if isinstance(value, Mapping) else value
    if not isinstance(value, Tensor) or value.ndim:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise Broken(f"for {task} the loss is {found}, not a scalar tensor")
    if not value.isfinite():
        raise Broken(f"for {task} the loss is {value.item()}")
    return value


# --- what must not matter -------------------------------------------------------------------------


class _Tried(NamedTuple):
    """A task, what its network gives in training, cut off from it, and the batch."""

    task: Task
    outputs: Any
    batch: dict[str, Any]


def _tried(kit: Kit) -> Iterator[_Tried]:
    x = kit.x()
    for task, network in kit.by_task():
        with training(network), torch.no_grad():
            outputs = network(x)
        yield _Tried(task, outputs, batch_for(task, x, final_of(outputs)))


def spared_pixels(target: Tensor) -> Tensor:
    """(N, H, W) bool: a third of the pixels of a target (N, H, W) or (N, K, H, W)."""
    shape = (target.shape[0], *target.shape[-2:])
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 1 / 3


def moved(
    loss: Callable[[Any, Mapping[str, Any]], Any],
    outputs: Any,
    batch: Mapping[str, Any],
    spared: Tensor,
) -> str:
    """How other logits at pixels that do not count move a loss, in words; empty if they do not.

    outputs: a network's. spared: (N, H, W), the pixels that do not count.
    """
    generator = torch.Generator().manual_seed(4)

    def noisy(logits: Tensor) -> Tensor:
        if logits.shape[-2:] != spared.shape[-2:]:
            return logits
        noise = NOISE * torch.randn(logits.shape, generator=generator)
        return torch.where(spared.unsqueeze(1), noise, logits)

    before, slopes = _value_and_slopes(loss, _each(outputs, lambda logits: logits), batch)
    after, others = _value_and_slopes(loss, _each(outputs, noisy), batch)
    if not abs(after - before) <= RELATIVE * max(abs(before), abs(after)):  # nan too
        return f"other logits move the loss from {before:.6g} to {after:.6g}, expected no change"
    for slope, other in zip(slopes, others, strict=True):
        if slope.shape[-2:] != spared.shape[-2:]:
            continue
        allowed = RELATIVE * max(slope.abs().max().item(), other.abs().max().item())
        there = (other * spared.unsqueeze(1)).abs().max().item()
        if not there <= allowed:
            return f"the gradient is up to {there:.2g}, expected 0"
        # As a whole: a loss that sorts pixels may swap the slopes of some that are equally wrong.
        change = ((other - slope) * ~spared.unsqueeze(1)).norm() / slope.norm().clamp_min(1e-12)
        if not change <= SWAPPED:
            return f"other logits move the gradient of the rest by {change:.2g} of it, expected 0"
    return ""


def _value_and_slopes(
    loss: Callable[[Any, Mapping[str, Any]], Any], outputs: Any, batch: Mapping[str, Any]
) -> tuple[float, list[Tensor]]:
    """A loss, and its gradient by each of the outputs."""
    leaves: list[Tensor] = []

    def leaf(logits: Tensor) -> Tensor:
        leaves.append(logits.detach().clone().requires_grad_())
        return leaves[-1]

    value = loss(_each(outputs, leaf), batch)
    value = value["loss"] if isinstance(value, Mapping) else value
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    slopes = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]
    return float(value.detach()), slopes


def _each(outputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`function` of every tensor among a network's outputs."""
    if isinstance(outputs, Tensor):
        return function(outputs)
    if isinstance(outputs, Mapping):
        return {name: _each(value, function) for name, value in outputs.items()}
    return type(outputs)(_each(value, function) for value in outputs)
