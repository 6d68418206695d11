"""The processes of a run, through accelerate: devices, precision, wrapping, trackers."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from segzoo.engine.settings import Settings
from segzoo.errors import ConfigError, DependencyMissingError, RunError
from segzoo.runtimes.torch import device_of
from segzoo.spec import Json, Recipe

__all__ = ["agreed", "forget", "refuse_uneven", "start", "trackers"]

INSTALL = "Run: pip install 'segzoo-core[train]'"
PRECISIONS = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}


def start(recipe: Recipe, settings: Settings) -> Any:
    """The accelerator of this process, as the recipe says and not as ACCELERATE_* variables do.

    How many processes there are is what launched them (torchrun, accelerate launch, srun) says.
    DeviceError for a device that is not there; ConfigError for a precision that it cannot do.
    """
    try:
        from accelerate import Accelerator
        from accelerate.utils import GradientAccumulationPlugin, TorchDynamoPlugin
    except ImportError as error:
        raise DependencyMissingError(
            f"training needs accelerate: {error}", next_step=INSTALL
        ) from None
    device = device_of(settings.device)
    if recipe.precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "precision=fp16 needs a GPU: a CPU has no scaled gradients",
            next_step="Use precision=bf16, or precision=fp32",
        )
    accelerator = Accelerator(
        mixed_precision=PRECISIONS[recipe.precision],
        cpu=device.type == "cpu",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_plugin=TorchDynamoPlugin(backend="no"),
        log_with=list(settings.trackers) or None,
        project_dir=None,
    )
    kind = accelerator.distributed_type.value
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        forget(accelerator)
        raise RunError(
            f"segzoo does not train with {kind}",
            expected="one process, or several that hold the whole network each",
            next_step="Launch without it: torchrun --nproc-per-node=N -m segzoo.cli.main train ...",
        )
    return accelerator


def forget(accelerator: Any) -> None:
    """Let the next run of this program choose another precision and other devices."""
    from accelerate.state import AcceleratorState, GradientState

    accelerator.free_memory()
    alone = accelerator.num_processes == 1  # several go on in the group that they have formed
    AcceleratorState._reset_state(reset_partial_state=alone)
    GradientState._reset_state()


def refuse_uneven(recipe: Recipe, world: int) -> None:
    """RunError when a batch cannot be divided among the processes."""
    part = recipe.batch_size // recipe.accumulate
    if part % world:
        size = -(-part // world) * world * recipe.accumulate
        raise RunError(
            f"{part} samples at once cannot be divided among {world} processes",
            expected=f"batch_size={size}, say",
        )


def agreed(accelerator: Any, code: int) -> int:
    """The largest of the processes' numbers."""
    if accelerator.num_processes == 1:
        return code
    value = torch.tensor(code, device=accelerator.device)
    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
    return int(value)


def trackers(
    accelerator: Any, settings: Settings, run: Path, about: Mapping[str, Json]
) -> Callable[[Mapping[str, float], int], None] | None:
    """What passes numbers on to the trackers; None without any, or when they cannot be started."""
    if not settings.trackers:
        return None
    recipe = about.get("recipe") or {}
    flat = {k: v for k, v in recipe.items() if isinstance(v, int | float | str)}
    accelerator.project_configuration.set_directories(str(run))
    try:
        accelerator.init_trackers("segzoo", config=flat)
    except Exception as error:  # another's program, and often a network
        warnings.warn(f"no tracker: {type(error).__name__}: {error}", stacklevel=2)
        return None

    def log(values: Mapping[str, float], step: int) -> None:
        accelerator.log(dict(values), step=step)

    return log
