"""No update that is not finite, and a host that does not wait for the device to know.

Whether a step's loss and gradients are finite is written down on the device and decides there
whether the update happens; the host reads it some steps later, together with the losses.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segzoo.errors import NonFiniteError
from segzoo.spec import Json, Recipe

__all__ = ["Guard", "clipped", "update"]

SHOWN = 20  # sample ids in a message


class Guard:
    """What the steps since the last reading left on the device."""

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, list[str]]] = []
        self.since = time.monotonic()
        self.waited = 0.0

    def note(self, finite: Tensor, losses: Tensor, norm: Tensor, ids: Sequence[str]) -> None:
        """After a step: (), (n,) and () on the device, and the samples' ids."""
        values = torch.cat([finite.float()[None], norm.float()[None], losses.detach()])
        self.steps.append((values, [*ids]))

    def read(self, names: Sequence[str], *, last_step: int, recipe: Recipe) -> dict[str, Json]:
        """Means of the losses, the rate and the share of time spent waiting for data.

        NonFiniteError with the step and its samples, when one was not finite. last_step: the number
        of the last step noted.
        """
        values = torch.stack([v for v, _ in self.steps]).cpu()
        for number, (finite, *_) in enumerate(values.tolist()):
            if not finite:
                raise self._error(names, values[number], number, last_step, recipe)
        seconds = max(time.monotonic() - self.since, 1e-9)
        means = values.double().mean(0).tolist()
        record = dict(zip(names, means[2:], strict=True)) | {
            "grad_norm": means[1],
            "images_per_s": len(self.steps) * recipe.batch_size / seconds,
            "data_wait": self.waited / seconds,
        }
        self.resume()
        return record

    def resume(self) -> None:
        """Count from now: what was done meanwhile was not training."""
        self.steps, self.since, self.waited = [], time.monotonic(), 0.0

    def _error(
        self, names: Sequence[str], values: Tensor, number: int, last_step: int, recipe: Recipe
    ) -> NonFiniteError:
        ids = self.steps[number][1]
        step = last_step - len(self.steps) + 1 + number
        _, norm, *losses = values.tolist()
        what = ", ".join(f"{n} {v:g}" for n, v in zip(names, losses, strict=True))
        rest = f" and {len(ids) - SHOWN} more" * (len(ids) > SHOWN)
        return NonFiniteError(
            f"step {step} was not finite and was not applied",
            found=f"{what}, gradient norm {norm:g}; samples {', '.join(ids[:SHOWN])}{rest}",
            next_step="The last checkpoint is from before. Look at these samples, or resume with a "
            f"lower rate (lr={recipe.lr / 10:g}), grad_clip=1 or precision=fp32",
        )


def clipped(network: nn.Module, limit: float | None) -> Tensor:
    """The norm of all gradients together, which are scaled down where it is above the limit."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def update(stepper: Any, optimizer: torch.optim.Optimizer, finite: Tensor) -> int:
    """One update, unless it is not finite. Gives 1 when the scaler of fp16 skipped it, else 0.

    stepper: accelerate's wrapper of the optimiser. Fused optimisers ask the flag on the device;
    for the others the host reads it, which on a CPU costs nothing.
    """
    if stepper.scaler is not None:
        stepper.step()
        return int(stepper.step_was_skipped)
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        try:
            stepper.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
    elif finite:
        stepper.step()
    return 0
