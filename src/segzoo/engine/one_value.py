"""Normalisation over one value, which has no variance: noticed before a training's first step."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.func import functional_call

from segzoo.data.loader import Batch
from segzoo.errors import ConfigError, SegzooError
from segzoo.spec import Recipe

__all__ = ["of_single_values", "refuse_single_values"]

# What torch's batch, group and instance normalisation say.
SAID = ("Expected more than 1 value per channel", "Expected more than 1 spatial element")


def of_single_values(error: BaseException, recipe: Recipe, where: str = "") -> SegzooError | None:
    """What a normalisation's complaint means for a recipe; None for another error."""
    text = " ".join(str(error).split())
    if not isinstance(error, ValueError) or not text.startswith(SAID):
        return None
    shape = text.partition("got input size ")[2].removeprefix("torch.Size(").rstrip(")")
    side = recipe.crop or recipe.size
    sizes = f"{'crop' if recipe.crop else 'size'}={','.join(map(str, side)) if side else 'none'}"
    parts = f"accumulate={recipe.accumulate}, " if recipe.accumulate > 1 else ""
    return ConfigError(
        "a normalisation has one value per channel to take the mean and the variance of",
        found=f"{shape} at {where or 'a normalisation'}, with batch_size={recipe.batch_size}, "
        f"{parts}{sizes}",
        next_step="Give more pictures at once (a larger batch_size"
        + (", a smaller accumulate" if parts else "")
        + "), or larger ones where the network makes them that small (a larger "
        + ("size)" if recipe.size and not recipe.crop else "crop)"),
    )


def refuse_single_values(network: nn.Module, parts: Sequence[Batch], recipe: Recipe) -> None:
    """ConfigError when a normalisation would have one value per channel in the first step.

    The network, in the mode that it trains in, is run on shapes alone: nothing of it changes. One
    that cannot be is judged by its first step.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    blank = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    for shape in {tuple(batch["image"].shape) for batch in parts}:
        x = torch.empty(shape, device="meta", dtype=torch.float32)
        with _at(network) as place, torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                functional_call(network, blank, (x,))
            except Exception as error:
                if found := of_single_values(error, recipe, place[-1] if place else ""):
                    raise found from error


@contextlib.contextmanager
def _at(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules that were begun in the block, in order."""
    began: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: began.append(name))
        for name, module in network.named_modules()
    ]
    try:
        yield began
    finally:
        for hook in hooks:
            hook.remove()
