"""A batch of the loader, as a network and a loss take it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segzoo.data.loader import Batch, normalized
from segzoo.engine.launch import agreed
from segzoo.engine.settings import Settings
from segzoo.engine.teacher import TEACHER, Teacher
from segzoo.errors import DatasetError, RunError
from segzoo.spec import Preprocess

__all__ = ["on_device", "refuse_ignored", "refuse_sizes"]


def on_device(
    batch: Batch,
    device: torch.device,
    preprocess: Preprocess,
    settings: Settings,
    teacher: Teacher | None = None,
) -> Batch:
    """A batch on its way to the device.

    "image" (N, C, H, W) float32, normalised; "target" int64, or float for maps that overlap;
    "weight" where there is one; "teacher" what the teacher says, if there is one; "id" as it is.
    """
    if teacher is not None:
        batch = {**batch, TEACHER: teacher(batch["image"], preprocess)}
    moved = {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
    x = normalized(moved["image"], preprocess)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    moved["image"] = x.contiguous(memory_format=layout)
    target = moved["target"]
    moved["target"] = target.long() if target.ndim == 3 else target.float()
    return moved


def refuse_ignored(parts: Sequence[Batch], ignore_index: int | None, accelerator: Any) -> None:
    """DatasetError when nothing in a batch counts, in no process: nothing would be learned."""
    found = any(_counts(batch, ignore_index) for batch in parts)
    if not agreed(accelerator, [int(found)])[0]:
        names = [name for batch in parts for name in batch["id"]]
        raise DatasetError(
            "no pixel of the first batch counts",
            found=f"samples {', '.join(names[:8])}, all ignored",
            next_step="Run: segzoo data check",
        )


def refuse_sizes(parts: Sequence[Batch], accelerator: Any) -> None:
    """RunError when the processes hold pictures of several sizes: their outputs cannot be gathered.

    For a loss of the whole batch, where nothing says a size. All processes call this.
    """
    for batch in parts:
        height, width = batch["image"].shape[-2:]
        most = agreed(accelerator, [height, width, -height, -width])
        if (most[0], most[1]) != (-most[2], -most[3]):
            raise RunError(
                "this loss is of the whole batch, and its pictures have several sizes",
                found=f"{-most[2]}x{-most[3]} to {most[0]}x{most[1]} in one step",
                next_step="Give crop=HEIGHT,WIDTH or size=HEIGHT,WIDTH, or use one process",
            )


def _counts(batch: Batch, ignore_index: int | None) -> bool:
    counted = torch.ones_like(batch["target"], dtype=torch.bool)
    if ignore_index is not None:
        counted &= batch["target"] != ignore_index
    if "weight" in batch:
        weight = batch["weight"]
        counted &= (weight if counted.ndim == 3 else weight.unsqueeze(1)) > 0
    return bool(counted.any())
