"""Running a network in PyTorch, and finding the device that was asked for."""

import copy
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.errors import DeviceError, PluginError, UsageError, printable
from segzoo.predict.runtimes.offered import refuse_unoffered
from segzoo.zoo import registry

__all__ = [
    "TorchRuntime",
    "device_of",
    "devices",
    "evaluating",
    "in_float64",
    "is_out_of_memory",
    "logits_of",
    "offers_all_heads",
    "run",
]


@dataclass(frozen=True, eq=False)
class TorchRuntime:
    """A `network.Runtime` that runs a network where its parameters are.

    precision: fp32 computes in the precision of the parameters; bf16 gives what torch's autocast
    holds to be safe in bfloat16 to that. UsageError for another.
    """

    network: nn.Module
    precision: str = "fp32"

    def __post_init__(self) -> None:
        refuse_unoffered("torch", self.precision)

    def __call__(
        self, x: NDArray[np.float32], *, all_heads: bool = False
    ) -> tuple[NDArray[np.float32], ...]:
        """Logits of x, as `Runtime` says. UsageError for all heads of a network that has one.

        PluginError with the cause when the network fails; MemoryError when the device is full.
        """
        if all_heads and not offers_all_heads(self.network):
            raise UsageError(
                f"{type(self.network).__name__} has no side outputs",
                next_step="Ask for the final prediction alone",
            )
        inputs = torch.from_numpy(x)
        values = next(self.network.parameters(), None)
        if values is not None:
            inputs = inputs.to(values.device, values.dtype if values.is_floating_point() else None)
        low = torch.autocast(
            inputs.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        with evaluating(self.network), torch.inference_mode(), low:
            try:
                outputs = run(self.network, inputs, {"all_heads": True} if all_heads else {})
            except Exception as error:
                if is_out_of_memory(error):
                    raise MemoryError(str(error)) from error
                why = registry.cause(error)
                raise PluginError(f"the network failed for an input {x.shape}: {why}") from error
            return tuple(_array(logits) for logits in logits_of(outputs))


def in_float64(network: nn.Module) -> TorchRuntime:
    """A copy of a network that computes in float64. PluginError for one that cannot be copied."""
    try:
        return TorchRuntime(copy.deepcopy(network).cpu().double())
    except Exception as error:
        raise PluginError(f"the network cannot be copied: {registry.cause(error)}") from error


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every part is in the mode it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def device_of(name: str) -> torch.device:
    """The device "cpu", "cuda", "cuda:1" or "mps"; "auto" takes the first of cuda, mps and cpu.

    DeviceError, with what was found, when it is not there: nothing falls back to another device.
    """
    found, hint = devices()
    if name == "auto":
        return torch.device(found[0])
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,4})?", name):
        raise DeviceError(
            f"no device is called '{printable(name)}'", expected="auto, cpu, cuda, cuda:1 or mps"
        )
    if name in found or f"{name}:0" in found:
        return torch.device(name)
    raise DeviceError(
        f"the device '{name}' is not there",
        found=", ".join(found),
        next_step=hint if name.startswith("cuda") else "",
    )


def devices() -> tuple[list[str], str]:
    """Every device that torch can use, the fastest first, and why CUDA is missing if it is."""
    with warnings.catch_warnings(record=True) as caught:  # a driver that is too old warns, once
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [f"cuda:{n}" for n in range(count)]
    if torch.backends.mps.is_available():
        found.append("mps")
    found.append("cpu")
    build = torch.version.cuda or torch.version.hip
    if not build:
        why = (
            f"torch {torch.__version__} is built without CUDA; see https://pytorch.org/get-started"
        )
    elif caught:
        why = printable(" ".join(str(caught[0].message).split()))
    else:
        why = f"torch {torch.__version__} is built for {build}; check the driver with nvidia-smi"
    return found, "" if count else why


def run(network: nn.Module, x: Tensor, arguments: dict[str, bool]) -> Any:
    if x.device.type == "cpu":
        # With channels last, convolutions take 14 to 37 % less time on a CPU (U²-Net, U²-Netp at
        # 160 and 320). A network that views its memory in the usual order refuses: it gets that.
        with suppress(RuntimeError):
            return network(x.contiguous(memory_format=torch.channels_last), **arguments)
    return network(x, **arguments)


def offers_all_heads(network: nn.Module) -> bool:
    return "all_heads" in inspect.signature(network.forward).parameters


def logits_of(outputs: Any) -> tuple[Any, ...]:
    """The final logits first, from a tensor, a tuple, or a mapping with "logits"."""
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise PluginError(
                "the network returned a mapping without 'logits'",
                found=", ".join(map(repr, outputs)),
            )
        return (outputs["logits"], *(value for key, value in outputs.items() if key != "logits"))
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def _array(logits: Any) -> NDArray[np.float32]:
    if not isinstance(logits, Tensor):
        raise PluginError(
            "the network returned something else than logits",
            found=f"a {type(logits).__name__}",
            expected="a tensor (N, num_classes, H, W)",
        )
    array: NDArray[np.float32] = logits.float().cpu().numpy()
    return array


def is_out_of_memory(error: Exception) -> bool:
    # the CPU's allocator raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
