"""What the promises of the contract look at: a model's spec, and networks built from it."""

import contextlib
import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segzoo.base import children
from segzoo.checks.process import STATES, watched
from segzoo.checks.results import Broken, Skipped
from segzoo.model import build, configured
from segzoo.predict.network import logits_size
from segzoo.spec import ModelSpec, Preprocess, Task
from segzoo.zoo.registry import Entry

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = ["Kit", "final_of", "some", "training"]

SIDE = 64  # pixels, at least: small, and yet not nothing after five halvings
CHILD_SECONDS = 120.0


class Kit:
    """What the promises share: the spec, and networks that are built once and when needed.

    changed: what of the process's state the plugin's code was seen to change.
    """

    def __init__(self, entry: Entry, spec: ModelSpec) -> None:
        self.entry = entry
        self.spec = spec
        self.changed: list[str] = []
        self._seeds = itertools.count(1)

    @cached_property
    def import_report(self) -> dict[str, Any]:
        """What importing the spec alone, in another interpreter, does."""
        if not self.entry.value:
            raise Skipped("the spec was given as an object; module:ATTR lets it be imported anew")
        try:
            child = children.run_python(
                _CHILD,
                self.entry.value,
                timeout=CHILD_SECONDS,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"its import takes more than {CHILD_SECONDS:g} s") from None
        *printed, report = child.stdout.splitlines() or [""]
        if child.returncode:
            last = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
            raise Broken(f"it does not load in a new interpreter: {last[0]}")
        found: dict[str, Any] = json.loads(report)
        return found | {"printed": "\n".join([*printed, child.stderr]).strip()}

    @cached_property
    def declared(self) -> ModelSpec:
        """The spec as its default options make it."""
        defaults = {name: option.default for name, option in self.spec.options.items()}
        return configured.variant_of(self.spec, defaults)

    @property
    def preprocess(self) -> Preprocess:
        return self.declared.preprocess

    def build(self, in_channels: int | None = None, num_classes: int | None = None) -> nn.Module:
        """A new network in eval mode, with what building it changed put back and noted."""
        seed = next(self._seeds)
        torch.manual_seed(seed)
        with watched(self.changed, STATES):
            network = build.build(self.spec, in_channels=in_channels, num_classes=num_classes)
        if torch.initial_seed() != seed:
            self.changed.append("the seed of torch's random numbers")
        return network.eval()

    @cached_property
    def network(self) -> nn.Module:
        """The network with everything at its default. Promises leave it as they found it."""
        return self.build()

    @cached_property
    def model(self) -> "Model":
        """What a user gets; pictures are made small if the spec resizes them."""
        from segzoo.model.load import load

        preprocess = self.preprocess
        if preprocess.size is not None:
            preprocess = replace(preprocess, size=self.sizes[0])
        with watched(self.changed, STATES):
            return load(replace(self.declared, preprocess=preprocess, variant=None))

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Two sizes (H, W) that the network must take; the second an awkward one."""
        step, rest = self.preprocess.multiple_of, self.preprocess.remainder
        least = max(SIDE, 2 * self.preprocess.margin + 1)
        side = rest + step * max(0, -(-(least - rest) // step))
        if step > 1:
            return (side, side), (side, side + step)
        return (side, side), (side + 5, side + 19)  # both odd

    def x(self, n: int = 2, *, channels: int = 0, size: tuple[int, int] | None = None) -> Tensor:
        """A network input (n, C, H, W), the same for the same arguments."""
        generator = torch.Generator().manual_seed(0)
        shape = (n, channels or self.spec.in_channels, *(size or self.sizes[0]))
        return torch.randn(shape, generator=generator)

    def expected(self, x: Tensor) -> tuple[int, int, int, int]:
        """The shape of the logits for x."""
        n, _, h, w = x.shape
        postprocess = next(iter(self.spec.tasks.values())).postprocess
        return n, self.spec.num_classes, *logits_size(h, w, self.preprocess, postprocess)

    def by_task(self) -> Iterator[tuple[Task, nn.Module]]:
        """Each task with a network of as many classes as it takes; the default task first."""
        networks = {self.spec.num_classes: self.network}
        for n, task in enumerate(self.spec.tasks):
            one = task in ("binary", "saliency")
            num_classes = 1 if one else max(2, self.spec.num_classes)
            if n == 0:
                num_classes = self.spec.num_classes
            if num_classes not in networks:
                networks[num_classes] = self.build(num_classes=num_classes)
            yield task, networks[num_classes]


def final_of(outputs: Any) -> Tensor:
    """The final prediction among a network's outputs."""
    final = outputs
    if isinstance(outputs, Mapping):
        final = outputs.get("logits")
    elif isinstance(outputs, tuple | list) and outputs:
        final = outputs[0]
    if not isinstance(final, Tensor):
        raise Broken(
            f"forward gives a {type(outputs).__name__} without logits",
            "give a tensor, a tuple of them with the final one first, or {'logits': tensor}",
        )
    return final


@contextlib.contextmanager
def training(network: nn.Module) -> Iterator[None]:
    """The network in training mode; its buffers (running means) are put back after."""
    kept = [buffer.clone() for buffer in network.buffers()]
    network.train()
    try:
        yield
    finally:
        network.eval()
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), kept, strict=True):
                buffer.copy_(value)


def some(names: list[str]) -> str:
    """'a', 'b', 'c' and 4 more."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + rest


_CHILD = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from segzoo.zoo import registry
torch_before, start = "torch" in sys.modules, time.perf_counter()
registry.resolve(sys.argv[1])
seconds = time.perf_counter() - start
torch = "torch" in sys.modules and not torch_before
print()
print(json.dumps({"seconds": seconds, "torch": torch}))
"""
