"""No update that is not finite, and a host that does not wait for the device to know.

Whether a step's loss and gradients are finite is written down on the device and decides there
whether the update happens; the host reads it some steps later, together with the losses.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segzoo.base.records import Json
from segzoo.errors import NonFiniteError
from segzoo.spec import Recipe

__all__ = ["Guard", "clipped", "update"]

SHOWN = 20  # sample ids in a message
# The smallest normal number of float16: gradients that overflow even when scaled by less are not
# too large but broken.
LEAST_SCALE = 2.0**-14


class Guard:
    """What the steps since the last reading left on the device.

    waited: seconds since then that the loop waited for data.
    """

    def __init__(self, recipe: Recipe, *, scaler: Any = None) -> None:
        self.recipe = recipe
        self.scaler = scaler
        self.names: Sequence[str] = ()
        self.steps: list[tuple[Tensor, int, list[str]]] = []
        self.sound: Tensor | None = None  # (): no step was bad so far
        self.resume()

    def judge(
        self, losses: Mapping[str, Tensor], norm: Tensor, *, step: int, ids: Sequence[str]
    ) -> Tensor:
        """Whether the update of this step may happen, as a boolean on the device.

        losses: "loss" first. norm: of the gradients; what is not finite there is an overflow where
        fp16 scales them, of which this step alone is left out. After any other bad step no update
        is allowed.
        """
        self.names = [*losses]
        values = torch.stack([value.detach().float() for value in losses.values()])
        applies = torch.isfinite(norm)
        finite = torch.isfinite(values[0])
        if self.scaler is None:
            finite = finite & applies
        self.sound = finite if self.sound is None else self.sound & finite
        flags = torch.stack([finite, applies]).float()
        self.steps.append((torch.cat([flags, norm.float()[None], values]), step, [*ids]))
        return self.sound & applies

    def check(self) -> float | None:
        """The mean loss since the last reading, if there is one.

        NonFiniteError with the step and its samples, when one of those noted was bad.
        """
        return self._read()[:, 3].mean().item() if self.steps else None

    def read(self) -> dict[str, Json]:
        """Means of the losses and of the norm, the rate, the share of time spent waiting for data.

        "overflows": the updates that fp16 left out. Counting begins anew. NonFiniteError as in
        `check`, and when fp16 finds no scale at which the gradients are finite.
        """
        values = self._read()
        seconds = max(time.monotonic() - self.since, 1e-9)
        applied = values[:, 1] > 0
        norms = values[applied, 2]
        overflows = len(values) - len(norms)
        if overflows and self.scaler.get_scale() < LEAST_SCALE:
            raise self._error(values[-1], *self.steps[-1][1:])
        record: dict[str, Json] = dict(zip(self.names, values[:, 3:].mean(0).tolist(), strict=True))
        record |= {
            "grad_norm": norms.mean().item() if len(norms) else None,
            "images_per_s": len(values) * self.recipe.batch_size / seconds,
            "data_wait": self.waited / seconds,
            "overflows": overflows,
        }
        self.resume()
        return record

    def resume(self) -> None:
        """Count from now: what was done meanwhile was not training."""
        self.steps.clear()
        self.since, self.waited = time.monotonic(), 0.0

    def _read(self) -> Tensor:
        """(steps, 3 + losses) float64 on the CPU. NonFiniteError."""
        values = torch.stack([v for v, _, _ in self.steps]).cpu().double()
        for row, (_, step, ids) in zip(values, self.steps, strict=True):
            if not row[0]:
                raise self._error(row, step, ids)
        return values

    def _error(self, row: Tensor, step: int, ids: Sequence[str]) -> NonFiniteError:
        _, _, norm, *losses = row.tolist()
        what = ", ".join(f"{n} {v:g}" for n, v in zip(self.names, losses, strict=True))
        rest = f" and {len(ids) - SHOWN} more" * (len(ids) > SHOWN)
        return NonFiniteError(
            f"step {step} was not finite and was not applied",
            found=f"{what}, gradient norm {norm:g}; samples {', '.join(ids[:SHOWN])}{rest}",
            next_step="The last checkpoint is from before. Look at these samples, or resume with "
            f"lr={self.recipe.lr / 10:g}, grad_clip=1 or precision=fp32, and --force-resume",
        )


def clipped(network: nn.Module, limit: float | None) -> Tensor:
    """The norm of all gradients together, which are scaled down where it is above the limit."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def update(optimizer: Optimizer, allowed: Tensor, *, scaled: bool = False) -> None:
    """One update where it is allowed, with the parameters as they were where it is not.

    The host does not wait for a GPU to know: fused optimisers ask the flag there; what others did
    is undone there, after which they take no step any more. scaled: whether steps may be left out
    and followed by others; then the host waits for those others, as torch's scaler does.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.grad_scale = None  # type: ignore[attr-defined]
        optimizer.found_inf = (~allowed).float()  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
    elif scaled or allowed.device.type == "cpu":
        if allowed:
            optimizer.step()
    else:
        _step_or_undo(optimizer, allowed)


@torch.no_grad()
def _step_or_undo(optimizer: Optimizer, allowed: Tensor) -> None:
    parameters = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    before = [parameter.clone() for parameter in parameters]
    optimizer.step()
    for parameter, old in zip(parameters, before, strict=True):
        torch.where(allowed, parameter, old, out=parameter)
