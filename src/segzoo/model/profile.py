"""Parameters and multiply-accumulates of a network, stage by stage.

Counted on the network itself: it is built on torch's `meta` device, which holds shapes and no
values, and run once there under torch's own counter of operations.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segzoo.errors import SegzooError

__all__ = ["Stage", "activations", "parts", "stages"]


class Stage(NamedTuple):
    """One part of a network. macs: of its convolutions and matrix products for one input."""

    name: str
    block: str
    parameters: int
    macs: int


def stages(build: Callable[[], nn.Module], shape: tuple[int, int, int, int]) -> list[Stage]:
    """The network's children, those that are lists by their items, then a row for the whole.

    shape: (N, C, H, W) of the input. The whole's numbers are its own, not the sum of the rows:
    parameters and operations that belong to no child count there alone.
    """
    network = on_meta(build).eval()
    x = torch.empty(shape, device="meta", dtype=torch.float32)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(x)
    flops = counter.get_flop_counts()
    root = type(network).__name__

    def macs(path: str, module: nn.Module) -> int:
        if path in flops:
            return sum(flops[path].values()) // 2
        # A network that goes through a child's own children never calls the child.
        return sum(macs(f"{path}.{name}", child) for name, child in module.named_children())

    def stage(name: str, module: nn.Module) -> Stage:
        path = f"{root}.{name}" if name else root
        parameters = sum(p.numel() for p in module.parameters())
        return Stage(name, type(module).__name__, parameters, macs(path, module))

    return [*(stage(name, module) for name, module in parts(network)), stage("", network)]


def activations(build: Callable[[], nn.Module], shape: tuple[int, int, int, int]) -> int:
    """How many numbers the network's innermost modules give for an input (N, C, H, W)."""
    network = on_meta(build).eval()
    total = 0

    def count(module: nn.Module, given: object, found: object) -> None:
        nonlocal total
        total += found.numel() if isinstance(found, torch.Tensor) else 0

    for module in network.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty(shape, device="meta", dtype=torch.float32))
    return total


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """The network without values; where its builder cannot do without them, they are made first."""
    try:
        with torch.device("meta"):
            return build()
    except SegzooError:
        return build().to("meta")


def parts(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The children that have parameters, with their names; those that are lists by their items."""
    found = []
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            found += parts(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            found.append((f"{prefix}{name}", child))
    return found
