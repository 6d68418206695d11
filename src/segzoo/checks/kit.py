"""What the promises of the contract look at, a model's spec and networks built from it; and how
one of them went.
"""

import contextlib
import itertools
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segzoo.checks.blame import say
from segzoo.checks.process import STATES, watched
from segzoo.errors import printable
from segzoo.model import build
from segzoo.predict.predictor import logits_size
from segzoo.spec import ModelSpec, Preprocess
from segzoo.zoo.registry import Entry

if TYPE_CHECKING:
    from segzoo.model.loaded import Model

__all__ = ["Broken", "Kit", "Result", "Skipped", "judged", "one_thread"]

SIDE = 64  # pixels, at least: small, and yet not nothing after five halvings
CHILD_SECONDS = 120.0


class Broken(Exception):
    """A promise is broken: what was found, and how to mend it if not as the table says."""

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


class Skipped(Exception):
    """A promise that this model or machine gives nothing to judge by."""


@dataclass(frozen=True)
class Result:
    """How one promise went.

    ok: it was not found broken. detail, fix: what was found and, when it was, how to mend it.
    skipped: why it was not tried.
    """

    promise: str
    ok: bool
    detail: str = ""
    fix: str = ""
    skipped: str = ""

    @property
    def line(self) -> str:
        """For a terminal: the state in nine columns, the promise, and what there is to say."""
        state = "skipped" if self.skipped else "ok" if self.ok else "FAIL"
        said = (self.promise, self.skipped or self.detail, self.fix)
        return f"{state:<9}{': '.join(filter(None, said))}"


def judged(promise: str, keep: Callable[[], str | None], fix: str) -> Result:
    """What comes of a promise, whatever `keep` raises; it may give what it found."""
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            return Result(promise, True, detail=keep() or "")
    except Skipped as reason:
        return Result(promise, True, skipped=str(reason))
    except Broken as broken:
        return Result(promise, False, printable(broken.found), broken.fix or fix)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit among it
        return Result(promise, False, say(error), fix)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inputs are small: threads gain little, and cost tenfold on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
        command = [sys.executable, "-W", "ignore", "-c", _CHILD, json.dumps(sys.path)]
        try:
            child = subprocess.run(
                [*command, self.entry.value],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=CHILD_SECONDS,
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
        return build.variant_of(self.spec, defaults)

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
        from segzoo.model import load as api

        preprocess = self.preprocess
        if preprocess.size is not None:
            preprocess = replace(preprocess, size=self.sizes[0])
        with watched(self.changed, STATES):
            return api.load(replace(self.declared, preprocess=preprocess, variant=None))

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


_CHILD = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
from segzoo.zoo import registry
torch_before, start = "torch" in sys.modules, time.perf_counter()
registry.resolve(sys.argv[2])
seconds = time.perf_counter() - start
torch = "torch" in sys.modules and not torch_before
print()
print(json.dumps({"seconds": seconds, "torch": torch}))
"""
