"""The processes of a run, through accelerate: devices, precision, wrapping, agreement.

How many processes there are is what launched them says: torchrun, accelerate launch, or srun, whose
variables are handed on in torch's words.
"""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from segzoo.base.counts import count_of
from segzoo.base.terminal import warn
from segzoo.engine.settings import Settings
from segzoo.errors import ConfigError, DependencyMissingError, RunError
from segzoo.predict.runtimes.processor import lacks_bf16
from segzoo.predict.runtimes.torch import device_of
from segzoo.spec import Recipe

__all__ = [
    "agreed",
    "launched",
    "rank_of_this_process",
    "refuse_uneven",
    "refuse_without_accelerate",
    "wrapped",
]

INSTALL = "Run: pip install 'segzoo-core[train]'"
PRECISIONS = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
PREFIX = "ACCELERATE_"
REFUSED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}
YES = ("1", "true", "yes", "on")


def refuse_without_accelerate() -> None:
    """DependencyMissingError, to be had before anything is built."""
    if importlib.util.find_spec("accelerate") is None:
        raise DependencyMissingError("training needs accelerate", next_step=INSTALL)


@contextlib.contextmanager
def launched(recipe: Recipe, settings: Settings) -> Iterator[Any]:
    """The accelerator of this process, as recipe and settings say, not as ACCELERATE_* variables.

    Afterwards the environment and accelerate's own state are as they were; but several processes
    stay in the group that they have formed. DeviceError for a device that is not there; ConfigError
    for a precision that it cannot do; RunError for a way to share work that segzoo does not know.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState, PartialState
        from accelerate.utils import (
            GradientAccumulationPlugin,
            InitProcessGroupKwargs,
            TorchDynamoPlugin,
        )
    except ImportError as error:
        raise DependencyMissingError(
            f"training needs accelerate: {error}", next_step=INSTALL
        ) from None
    for name, what in REFUSED.items():
        if os.environ.get(name, "").lower() in YES:
            raise _strange(what)
    device = _device(settings)
    if recipe.precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "precision=fp16 needs a GPU: a CPU has no scaled gradients",
            next_step="Use precision=bf16, or precision=fp32",
        )
    if recipe.precision == "bf16" and device.type == "cpu" and lacks_bf16():
        warn(
            "this processor computes bfloat16 in software: a step takes up to ten times as long as "
            "with precision=fp32",
            stacklevel=3,
        )
    _warn_of_others(recipe, settings, device)
    wanted = _slurm()
    if "RANK" not in {**os.environ, **wanted}:
        wanted[f"{PREFIX}TORCH_DEVICE"] = str(device)  # else the first card, whichever was asked
    states: list[Any] = [AcceleratorState, GradientState]
    if not dist.is_initialized():
        states.append(PartialState)
    before = [dict(state._shared_state) for state in states]
    for state in states:
        state._shared_state.clear()
    try:
        with _environment(wanted):
            accelerator = Accelerator(
                mixed_precision=PRECISIONS[recipe.precision],
                cpu=device.type == "cpu",
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                dynamo_plugin=TorchDynamoPlugin(backend="no"),
                kwargs_handlers=[
                    InitProcessGroupKwargs(timeout=timedelta(seconds=settings.process_timeout))
                ],
            )
        kind = accelerator.distributed_type.value
        if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
            raise _strange(kind)
        yield accelerator
    finally:
        for state, values in zip(states, before, strict=True):
            if state is not PartialState or not dist.is_initialized():
                state._shared_state.clear()
                state._shared_state.update(values)


@contextlib.contextmanager
def wrapped(accelerator: Any, network: nn.Module) -> Iterator[Any]:
    """The network in the accelerator's precision and with gradients shared by all processes.

    Afterwards the network's own forward is there again.
    """
    names = ("forward", "_original_forward", "_is_accelerate_prepared")
    before = {name: vars(network)[name] for name in names if name in vars(network)}
    try:
        yield accelerator.prepare(network)
    finally:
        for name in names:
            vars(network).pop(name, None)
        vars(network).update(before)


def refuse_uneven(recipe: Recipe, world: int) -> None:
    """RunError when a batch cannot be divided among the processes."""
    part = recipe.batch_size // recipe.accumulate
    if part % world:
        size = -(-part // world) * world * recipe.accumulate
        raise RunError(
            f"{count_of(part, 'sample')} at once cannot be divided among {world} processes",
            expected=f"batch_size={size}, say",
        )


def agreed(accelerator: Any, numbers: Sequence[int]) -> list[int]:
    """The largest of the processes' numbers, each by itself. All processes call this."""
    if accelerator.num_processes == 1:
        return [*numbers]
    values = torch.tensor(numbers, device=accelerator.device)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [int(value) for value in values.tolist()]


def rank_of_this_process() -> int:
    """As torchrun, accelerate launch or srun says; 0 for a process that none of them launched."""
    return int({**os.environ, **_slurm()}.get("RANK", "0"))


def _device(settings: Settings) -> torch.device:
    """The one asked for; "auto" is the CPU under `accelerate launch --cpu`."""
    cpu_only = os.environ.get(f"{PREFIX}USE_CPU", "").lower() in YES
    return device_of("cpu" if cpu_only and settings.device == "auto" else settings.device)


def _warn_of_others(recipe: Recipe, settings: Settings, device: torch.device) -> None:
    """Warnings of ACCELERATE_* variables that say something else than recipe and settings."""
    compiled = ("no", "inductor") if settings.compile else ("no",)
    said = {
        "MIXED_PRECISION": (("no", PRECISIONS[recipe.precision]), f"precision={recipe.precision}"),
        "GRADIENT_ACCUMULATION_STEPS": (
            ("1", str(recipe.accumulate)),
            f"accumulate={recipe.accumulate}",
        ),
        "DYNAMO_BACKEND": (compiled, f"compile={settings.compile}"),
        "USE_CPU": (YES if device.type == "cpu" else ("false", "0"), f"device={device.type}"),
    }
    for name, (alike, ours) in said.items():
        value = os.environ.get(PREFIX + name, "").lower()
        if name == "USE_CPU" and device.type == "cpu":
            continue  # it asks for what is done, or for nothing
        if value and value not in alike:
            warn(f"{PREFIX}{name}={value} has no effect: the run has {ours}", stacklevel=4)


def _strange(kind: str) -> RunError:
    return RunError(
        f"segzoo does not train with {kind}",
        expected="one process, or several that hold the whole network each",
        next_step="Launch without it: torchrun --nproc-per-node=N --no-python segzoo train ...",
    )


def _slurm() -> dict[str, str]:
    """What torch's launchers tell a process, for one of several that srun launched."""
    step = {
        name.removeprefix("SLURM_"): value
        for name, value in os.environ.items()
        if name.startswith("SLURM_")
    }
    world = step.get("STEP_NUM_TASKS", "1")
    if "RANK" in os.environ or not world.isdigit() or int(world) < 2:
        return {}
    nodes = int(step.get("STEP_NUM_NODES", "1"))
    first = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", step.get("STEP_NODELIST", ""))
    host = "".join(part or "" for part in first.groups()) if first and nodes > 1 else "127.0.0.1"
    port = 20_000 + int(step.get("JOB_ID", "0")) % 20_000
    return {
        "RANK": step["PROCID"],
        "WORLD_SIZE": world,
        "LOCAL_RANK": step["LOCALID"],
        "LOCAL_WORLD_SIZE": str(int(world) // nodes),
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", host),
        "MASTER_PORT": os.environ.get("MASTER_PORT", str(port)),
    }


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """The environment with what is wanted and without accelerate's variables; then as it was."""
    before = dict(os.environ)
    try:
        for name in before:
            if name.startswith(PREFIX):
                del os.environ[name]
        os.environ.update(wanted)
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
