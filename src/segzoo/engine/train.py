"""Training any network with any loss on any data set: one loop, to be read from top to bottom.

accelerate starts the processes' side (devices, autocast and scaler, DistributedDataParallel,
trackers). The order of the samples, the rate, the accumulation, the checkpoints and the guard
against NaN are here, as they decide whether a resumed run gives the same bits.
"""

import contextlib
import errno
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segzoo import files
from segzoo.data.draws import drawn
from segzoo.data.fingerprint import fingerprint
from segzoo.data.loader import Batch, Prepared, batches, ignore_index_of, normalized
from segzoo.data.sample import Dataset
from segzoo.engine import checkpoint, journal, launch, optim, optimizer_state, state
from segzoo.engine.checkpoint import Checkpoint
from segzoo.engine.ema import Average
from segzoo.engine.evaluate import Task, evaluate
from segzoo.engine.flags import process_flags
from segzoo.engine.guard import Guard, clipped, update
from segzoo.engine.journal import Journal
from segzoo.engine.lock import locked
from segzoo.engine.recompute import recomputing
from segzoo.engine.reduce import Loss, counts_of, reduced, summed
from segzoo.engine.schedule import rate_at, steps_of
from segzoo.engine.settings import Settings
from segzoo.engine.signals import Asked, asked_to_stop, requeue
from segzoo.engine.state import Progress, State
from segzoo.errors import ConfigError, DatasetError, ResourceError, RunError
from segzoo.metrics.measure import Measure
from segzoo.spec import Json, Recipe, asdict

__all__ = ["RUN", "Result", "train"]

RUN = "run.json"
POLL = 16  # steps after which the host reads what the device has written down


@dataclass(frozen=True)
class Result:
    """How a run ended.

    stopped: why before its last step: "", "SIGTERM", "SIGUSR1", "max_minutes" or "patience".
    values: of the last measurement. best, best_step: of the recipe's metric; None without a
    validation set. exact: whether it was, or would be after a resumption, equal to the last bit.
    """

    step: int
    stopped: str
    values: Mapping[str, Any]
    best: float | None
    best_step: int | None
    exact: bool


def train(
    network: nn.Module,
    *,
    loss: Loss,
    data: Dataset,
    recipe: Recipe,
    task: Task,
    run: Path,
    val: Dataset | None = None,
    measures: Mapping[str, Measure] | None = None,
    settings: Settings | None = None,
    identity: Mapping[str, Json] | None = None,
    resume: Path | None = None,
    force_resume: bool = False,
    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    on_best: Callable[[nn.Module], None] | None = None,
    after_measuring: Callable[[Path], object] | None = None,
) -> Result:
    """Train a network in place; at the end it holds its best weights.

    The best are those of the moving average where the recipe asks for one, and of the step with
    the best value of `recipe.eval_metric` where there is a validation set; else of the last step.

    loss: (outputs, batch) -> a scalar, or {"loss": scalar, named parts}. measures: of the
    validation. run: the folder of checkpoints and metrics. identity: what else must be the same in
    a resumed run: the model and the data. resume: the folder of a run to go on from, this one or a
    finished one. on_best: called with the network whenever it is the best so far, by the first
    process; after_measuring: with the run's folder, after each measurement.

    RunError, NonFiniteError, ResourceError, DatasetError, CheckpointError and what the network
    raises; whatever happens, the checkpoints written so far stay as they are.
    """
    settings = settings or Settings()
    with (
        contextlib.ExitStack() as stack,
        process_flags(deterministic=settings.deterministic, fp32=recipe.precision == "fp32"),
        asked_to_stop() as asked,
        _explained(recipe),
    ):
        accelerator = launch.start(recipe, settings)
        stack.callback(launch.forget, accelerator)
        device, rank, world = (
            accelerator.device,
            accelerator.process_index,
            accelerator.num_processes,
        )
        launch.refuse_uneven(recipe, world)
        if len(data) == 0:
            raise DatasetError("the data set to train on is empty", expected="a sample")
        if rank == 0:
            files.make_folder(run)
            stack.enter_context(locked(run))

        # --- what trains ------------------------------------------------------------------------
        stack.enter_context(drawn(recipe.seed + 1_000_003 * rank))
        if device.type == "cuda":
            torch.cuda.manual_seed(recipe.seed + 1_000_003 * rank)
        network.to(device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        if world > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        optimizer = optim.optimizer_of(network, recipe)
        optimizer_state.refuse_unknown(optimizer)
        average = Average(network, recipe.ema) if recipe.ema is not None else None
        stack.enter_context(recomputing(network, enabled=settings.checkpointing))
        wrapped, stepper = accelerator.prepare(network, optimizer)
        stack.callback(accelerator.unwrap_model, wrapped, keep_fp32_wrapper=False)
        forward = torch.compile(wrapped) if settings.compile else wrapped
        progress = Progress()
        now = State(network, optimizer, average, accelerator.scaler, progress)
        total = steps_of(recipe, len(data))

        # --- where it begins --------------------------------------------------------------------
        about = _about(recipe, identity or {}, data)
        exact = device.type == "cpu" or (device.type == "cuda" and settings.deterministic)
        found = None
        if resume is None:
            _refuse_used(run)
        else:
            found = checkpoint.find(resume)
            _refuse_changes(found, about, same=resume == run, force=force_resume)
            same_processes = state.restore(found, now, rank=rank, world=world)
            exact = exact and same_processes and found.about["about"] == about
        accelerator.wait_for_everyone()  # everyone has looked at the folder before it changes
        if rank == 0:
            checkpoint.clean(run, after=found.step if found and resume == run else None)
            journal.trim(run, progress.step)
            record = {**about, "settings": asdict(settings), "forced": force_resume}
            files.write(run / RUN, json.dumps(record, indent=1).encode())
        book = Journal(
            run,
            total=total,
            batch_size=recipe.batch_size,
            quiet=settings.quiet,
            silent=rank != 0,
            log=launch.trackers(accelerator, settings, run, about),
        )
        stack.callback(book.close)
        if resume is not None:
            kind = "to the last bit" if exact else "sample by sample, but not to the last bit"
            book.say(f"goes on from step {progress.step}, {kind}")

        # --- the loop ---------------------------------------------------------------------------
        feed = batches(
            Prepared(
                data,
                recipe=recipe,
                preprocess=task.preprocess,
                in_channels=task.in_channels,
                num_classes=task.num_classes,
                scale=task.postprocess.scale,
                transform=transform,
            ),
            start=progress.step,
            stop=total,
            rank=rank,
            world=world,
            workers=settings.workers,
            timeout=settings.worker_timeout,
            pin=device.type == "cuda",
        )
        began = saved = time.monotonic()
        before, first_step = progress.seconds, progress.step
        guard, values, stopped = Guard(), dict[str, Any](), ""
        while progress.step < total and not stopped:
            network.train()
            optim.freeze(network, recipe.frozen)
            rate = rate_at(progress.step, total=total, recipe=recipe)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)

            asking = time.monotonic()
            parts = [
                _on_device(next(feed), device, task, settings) for _ in range(recipe.accumulate)
            ]
            guard.waited += time.monotonic() - asking
            if progress.step == first_step:
                _refuse_ignored(parts, ignore_index_of(recipe, data))

            shares = counts_of(loss, parts)
            losses: dict[str, Tensor] = {}
            for number, batch in enumerate(parts):
                is_last = number == len(parts) - 1
                with contextlib.nullcontext() if is_last else accelerator.no_sync(wrapped):
                    outputs = forward(batch["image"])
                    share = None if shares is None else shares[number]
                    back, named = reduced(loss, outputs, batch, share=share, parts=len(parts))
                    accelerator.backward(back)
                for name, value in named.items():
                    losses[name] = losses[name] + value if name in losses else value
            added = torch.stack([value.float() for value in losses.values()])
            added = summed(added, shared=shares is not None)

            accelerator.unscale_gradients(stepper)
            norm = clipped(network, recipe.grad_clip)
            scaled = accelerator.scaler is not None  # then an infinite gradient is an overflow
            finite = torch.isfinite(added[0]) & (scaled | torch.isfinite(norm))
            progress.overflows += update(stepper, optimizer, finite)
            stepper.zero_grad(set_to_none=True)
            if average is not None:
                average.update(network)
            progress.step += 1
            guard.note(finite, added, norm, [name for batch in parts for name in batch["id"]])

            # --- between steps: read, measure, save, stop ---------------------------------------
            step, is_end = progress.step, progress.step == total
            if device.type == "cpu" or step % POLL == 0:
                code = launch.agreed(accelerator, _why_to_stop(asked, began, saved, settings))
                stopped, save_now = STOPS[code & 7], bool(code & SAVE)
            else:
                save_now = False
            every = settings.eval_every
            is_due = step % every == 0 if every else _ends_epoch(step, len(data), recipe)
            measure = val is not None and (is_end or is_due)
            save_now |= is_end or bool(stopped) or _is_save_due(step, is_due, settings)
            if measure or save_now or step % POLL == 0:
                progress.seconds = before + time.monotonic() - began
                record = guard.read(list(losses), last_step=step - 1, recipe=recipe)
                record |= {"step": step, "lr": rate}
                record |= {"epoch": step * recipe.batch_size / len(data)}
                record |= {"overflows": progress.overflows, "seconds": progress.seconds}
                book.write(record)
            if measure and val is not None:
                heads = 0 if isinstance(outputs, Tensor) else len(outputs)
                candidate = network if average is None else average.network
                values = evaluate(
                    candidate,
                    val,
                    task=task,
                    measures=measures or {},
                    loss=_of_heads(loss, heads),
                    batch_size=settings.eval_batch_size,
                    workers=settings.workers,
                    rank=rank,
                    world=world,
                    precision=recipe.precision,
                ).values
                is_best = _note(progress, values, recipe, measures or {})
                book.write({"step": step, "val": values, "best": is_best})
                if rank == 0:
                    if is_best and on_best is not None:
                        on_best(candidate)
                    if after_measuring is not None:
                        after_measuring(run)
                if settings.patience is not None and progress.waited >= settings.patience:
                    stopped, save_now = "patience", True
                save_now |= is_best
            if save_now:
                state.save(run, now, rank=rank, world=world, about={"about": about})
                saved = time.monotonic()
                if rank == 0:
                    best = [] if progress.best_step is None else [progress.best_step]
                    checkpoint.prune(run, keep_last=settings.keep, keep=best)
            if measure or save_now:
                guard.resume()

        # --- the end ----------------------------------------------------------------------------
        if stopped:
            book.say(f"stopped at step {progress.step} of {total}: {stopped}")
        if asked.name == "SIGUSR1" and rank == 0:
            book.say(requeue())
        accelerator.wait_for_everyone()
        _take_best(run, network, average, progress)
        return Result(progress.step, stopped, values, progress.best, progress.best_step, exact)


# --- before the loop ------------------------------------------------------------------------------


def _about(recipe: Recipe, identity: Mapping[str, Json], data: Dataset) -> dict[str, Json]:
    """What decides the bits of a run."""
    return {
        "recipe": asdict(recipe),
        "identity": dict(identity),
        "data": {"samples": len(data), "sha256": fingerprint(data)},
        "versions": {name: version(name) for name in ("segzoo-core", "torch", "accelerate")}
        | {"python": platform.python_version(), "machine": platform.machine()},
        "threads": torch.get_num_threads(),
    }


def _refuse_used(run: Path) -> None:
    """RunError for a folder that holds a run already, which would be lost."""
    if (run / RUN).exists():
        raise RunError(
            "holds a run already",
            file=run,
            next_step="Go on with it by --resume, or choose another folder with -o",
        )


def _refuse_changes(
    found: Checkpoint, about: Mapping[str, Json], *, same: bool, force: bool
) -> None:
    """RunError that lists what differs from the run to be continued.

    A run that goes on in a folder of its own may have another recipe, but not another network.
    """
    then = found.about.get("about") or {}
    keys = ("recipe", "identity", "data") if same else ("identity",)
    differences = []
    for key in keys:
        old, now = then.get(key) or {}, json.loads(json.dumps(about[key]))
        for name in sorted(old.keys() | now.keys()):
            if old.get(name) != now.get(name) and (same or name == "model"):
                differences.append(f"{name}: was {old.get(name)!r}, is {now.get(name)!r}")
    if differences and not force:
        raise RunError(
            "the run was begun otherwise",
            file=found.path.parent,
            found="; ".join(differences)[:1000],
            next_step="Go on as it was begun, begin a new run in another folder, or add "
            "--force-resume, which is written down",
        )


@contextlib.contextmanager
def _explained(recipe: Recipe) -> Iterator[None]:
    """Memory, disk and workers that fail, as errors that say what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _too_large(recipe, str(error)) from error
    except MemoryError as error:
        raise _too_large(recipe, "memory ran out") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(
            "the disk is full", file=error.filename or "", next_step="Free some space and --resume"
        ) from error
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "DefaultCPUAllocator" in text or "out of memory" in text:
            raise _too_large(recipe, text) from error
        if "DataLoader worker" in text or "DataLoader timed out" in text:
            raise RunError(
                f"a process that reads the data is gone or hangs: {text[:200]}",
                next_step="Resume with workers=0 to see what it does; a killed one often means too "
                "little memory or /dev/shm: use fewer workers",
            ) from error
        raise


def _too_large(recipe: Recipe, cause: str) -> ResourceError:
    peak = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else 0
    size = f"batch_size={recipe.batch_size}, accumulate={recipe.accumulate}, crop={recipe.crop}"
    return ResourceError(
        f"memory is not enough for the training: {' '.join(cause.split())[:200]}",
        found=size + (f", {peak} MiB at the peak" if peak else ""),
        next_step=f"Resume with accumulate={2 * recipe.accumulate} for the same batch in smaller "
        "parts, a smaller crop or batch_size, precision=bf16, or checkpointing=true",
    )


# --- in the loop ----------------------------------------------------------------------------------


def _on_device(batch: Batch, device: torch.device, task: Task, settings: Settings) -> Batch:
    """A batch as a loss and a network take it."""
    moved = {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }
    x = normalized(moved["image"], task.preprocess)
    moved["image"] = x.contiguous(memory_format=_input_format(settings))
    target = moved["target"]
    moved["target"] = target.long() if target.ndim == 3 else target.float()
    return moved


def _input_format(settings: Settings) -> torch.memory_format:
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def _refuse_ignored(parts: Sequence[Batch], ignore_index: int | None) -> None:
    """DatasetError when nothing in the first batch counts: then nothing would be learned."""
    for batch in parts:
        counts = torch.ones_like(batch["target"], dtype=torch.bool)
        if ignore_index is not None:
            counts &= batch["target"] != ignore_index
        if "weight" in batch:
            weight = batch["weight"]
            counts &= (weight if counts.ndim == 3 else weight.unsqueeze(1)) > 0
        if counts.any():
            return
    names = [name for batch in parts for name in batch["id"]]
    raise DatasetError(
        "no pixel of the first batch counts",
        found=f"samples {', '.join(names[:8])}, all ignored",
        next_step="Run: segzoo data check",
    )


STOPS = ("", "max_minutes", "SIGUSR1", "SIGTERM")
SAVE = 8


def _why_to_stop(asked: Asked, began: float, saved: float, settings: Settings) -> int:
    """A number of STOPS, and SAVE when a checkpoint is due; the processes' largest holds."""
    now, code = time.monotonic(), 0
    if settings.max_minutes is not None and now - began > 60 * settings.max_minutes:
        code = STOPS.index("max_minutes")
    if asked.name:
        code = STOPS.index(asked.name)
    if settings.save_minutes is not None and now - saved > 60 * settings.save_minutes:
        code |= SAVE
    return code


def _ends_epoch(step: int, length: int, recipe: Recipe) -> bool:
    """Whether this step's batch reached the end of an epoch."""
    return step * recipe.batch_size // length > (step - 1) * recipe.batch_size // length


def _is_save_due(step: int, is_due: bool, settings: Settings) -> bool:
    return is_due if settings.save_every is None else step % settings.save_every == 0


def _of_heads(loss: Loss, heads: int) -> Loss:
    """The loss of the outputs that training has: a network may add their mean when it evaluates."""

    def of_heads(outputs: Any, batch: Mapping[str, Tensor]) -> Any:
        return loss(outputs[-heads:] if heads else outputs, batch)

    return of_heads


def _note(
    progress: Progress,
    values: Mapping[str, Any],
    recipe: Recipe,
    measures: Mapping[str, Measure],
) -> bool:
    """Whether this measurement is the best so far; without a metric, the loss decides."""
    metric = recipe.eval_metric or "loss"
    value = values.get(metric)
    if not isinstance(value, int | float):
        names = [name for name, v in values.items() if isinstance(v, int | float)]
        raise ConfigError(f"eval_metric={metric!r} is not measured here", expected=", ".join(names))
    lower = metric == "loss" or any(metric in m.lower_is_better for m in measures.values())
    sign = -1 if lower else 1
    if not math.isfinite(value):
        is_best = False
    else:
        is_best = progress.best is None or sign * value > sign * progress.best
    if is_best:
        progress.best, progress.best_step, progress.waited = value, progress.step, 0
    else:
        progress.waited += 1
    return is_best


def _take_best(run: Path, network: nn.Module, average: Average | None, progress: Progress) -> None:
    """The best weights into the network, in eval mode."""
    if progress.best_step is not None and progress.best_step != progress.step:
        found = checkpoint.find(run, step=progress.best_step)
        name = state.MODEL if average is None else state.AVERAGE
        state.load_network(found, network, name)
    elif average is not None:
        network.load_state_dict(average.tensors())
    network.eval()
