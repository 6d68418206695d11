"""What every stage of a network gives, by the stage's name: for any network, without its help.

The stages are those that `segzoo info --full` counts parameters of (`segzoo.model.profile.parts`).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segzoo.model import profile
from segzoo.model.profile import parts

__all__ = ["Feature", "features", "shapes"]

GROWTH = 64  # pixels by which an input is enlarged, at least, to see how a map grows with it


class Feature(NamedTuple):
    """What a stage gives for one input: its shape without N, such as (C, H, W).

    stride: input pixels for one of the map's, down and across; below 1 where the map is larger than
    the input. None for what is no map (C, H, W), or has one size whatever the input's.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[Fraction, Fraction] | None


def features(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The outputs of a network's stages for x (N, C, H, W), in the order of the stages.

    Names are those of modules: "encoder.0", "decoder.3", "head". Where a stage gives several
    tensors, each has its index or key added: "encoder.0", "encoder.1" of a stage "encoder". A stage
    that did not run is left out; of one that ran several times, the last time counts. The network
    runs once, in the mode that it is in, and gradients flow; the tensors are its own, so what it
    does to them in place afterwards shows.
    """
    found: dict[str, Any] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        found[name] = output

    stages = parts(network)
    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in stages]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return dict(item for name, _ in stages if name in found for item in _named(name, found[name]))


def shapes(
    build: Callable[[], nn.Module], shape: tuple[int, int, int, int], *, multiple_of: int = 1
) -> list[Feature]:
    """What the stages of a network give in eval mode, found on torch's `meta` device.

    shape: (N, C, H, W) of an input. The network must take one larger by a multiple of
    `multiple_of`, too.
    """
    n, channels, height, width = shape
    growth = math.lcm(GROWTH, multiple_of)
    network = profile.on_meta(build).eval()
    with torch.device("meta"), torch.no_grad():
        here = features(network, torch.empty(shape, dtype=torch.float32))
        larger_shape = n, channels, height + growth, width + growth
        larger = features(network, torch.empty(larger_shape, dtype=torch.float32))
    return [
        Feature(name, tuple(value.shape[1:]), _stride(value, larger[name], growth))
        for name, value in here.items()
    ]


def _named(name: str, output: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _named(f"{name}.{key}", value)
    elif isinstance(output, tuple | list):
        for n, value in enumerate(output):
            yield from _named(f"{name}.{n}", value)


def _stride(here: Tensor, larger: Tensor, growth: int) -> tuple[Fraction, Fraction] | None:
    """From how much a map grows, not from its size: valid convolutions eat from that."""
    down, across = (larger.shape[axis] - here.shape[axis] for axis in (-2, -1))
    if here.ndim != 4 or down <= 0 or across <= 0:
        return None
    return Fraction(growth, down), Fraction(growth, across)
