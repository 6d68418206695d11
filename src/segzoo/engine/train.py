"""Training any network with any loss on any data set: one loop, to be read from top to bottom.

accelerate starts the processes' side (devices, autocast and scaler, DistributedDataParallel). The
order of the samples, the rate, the accumulation, the update, the checkpoints and the guard against
NaN are here, as they decide whether a resumed run gives the same bits.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segzoo.base import files
from segzoo.base.records import Json
from segzoo.data.loader import Prepared, batches, ignore_index_of
from segzoo.data.sample import Dataset
from segzoo.engine import batch as batching
from segzoo.engine import checkpoint, journal, launch, optim, optimizer_state, record, state
from segzoo.engine.ema import Average
from segzoo.engine.evaluate import Task, evaluate
from segzoo.engine.failures import explained
from segzoo.engine.flags import process_flags
from segzoo.engine.guard import Guard, clipped, update
from segzoo.engine.journal import Journal
from segzoo.engine.lock import locked
from segzoo.engine.lookout import POLL, Lookout
from segzoo.engine.recompute import recomputing
from segzoo.engine.record import RUN
from segzoo.engine.reduce import Loss, counts_of, reduced, summed
from segzoo.engine.schedule import rate_at, steps_of
from segzoo.engine.settings import Settings
from segzoo.engine.signals import asked_to_stop, requeue
from segzoo.engine.state import Progress, State
from segzoo.engine.trackers import Trackers
from segzoo.errors import ConfigError, DatasetError
from segzoo.metrics.measure import Measure
from segzoo.spec import Recipe

__all__ = ["RUN", "Result", "train"]


@dataclass(frozen=True)
class Result:
    """How a run ended.

    stopped: why before its last step: "", "SIGINT" (Ctrl-C), "SIGTERM", "SIGUSR1", "max_minutes" or
    "patience".
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
    """Train a network in place; at the end it holds its best weights, in eval mode.

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
    settings, measures = settings or Settings(), measures or {}
    is_heard = not settings.quiet and launch.rank_of_this_process() == 0
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(asked_to_stop(aloud=is_heard))
        stack.enter_context(
            process_flags(deterministic=settings.deterministic, fp32=recipe.precision == "fp32")
        )
        stack.enter_context(explained(recipe))
        accelerator = stack.enter_context(launch.launched(recipe, settings))
        device: torch.device = accelerator.device
        rank, world = accelerator.process_index, accelerator.num_processes
        launch.refuse_uneven(recipe, world)
        if len(data) == 0:
            raise DatasetError("the data set to train on is empty", expected="a sample")
        if rank == 0:
            files.make_folder(run)
            stack.enter_context(locked(run))

        # --- what trains ------------------------------------------------------------------------
        stack.enter_context(state.randomness(recipe.seed, rank=rank, device=device))
        network.to(device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        if world > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network.train()
        optimizer = optim.optimizer_of(network, recipe)  # which puts frozen normalisations to rest
        optimizer_state.refuse_unknown(optimizer)
        average = Average(network, recipe.ema) if recipe.ema is not None else None
        stack.enter_context(recomputing(network, enabled=settings.checkpointing))
        wrapped = stack.enter_context(launch.wrapped(accelerator, network))
        forward = torch.compile(wrapped) if settings.compile else wrapped
        scaler, progress = accelerator.scaler, Progress()
        now = State(network, optimizer, average, scaler, progress)
        total = steps_of(recipe, len(data))

        # --- where it begins --------------------------------------------------------------------
        about = record.about_of(recipe, identity or {}, data, settings, device=device, world=world)
        exact = device.type == "cpu" or (device.type == "cuda" and settings.deterministic)
        goes_on, changes = "", list[str]()
        here = resume is not None and resume.resolve() == run.resolve()
        if not here:
            record.refuse_used(run)
        if resume is not None:
            found, then = record.latest(resume, here=here)
            changes = record.changes(then, about, file=resume, here=here, force=force_resume)
            if found is not None:
                state.restore(found, now, rank=rank, world=world, seed=recipe.seed)
            goes_on = record.how(then, about, exact=exact)
            exact = goes_on == record.EXACT
            if changes or not here:
                progress.forget_best()  # it was the best of something else, or lies elsewhere
            else:
                state.forget_lost_best(run, progress)
        accelerator.wait_for_everyone()  # everyone has looked at the folder before it changes
        if rank == 0:
            files.sweep(run)
            checkpoint.clean(run, after=progress.step if resume is not None else None)
            journal.trim(run, progress.step)
            sitting = {"from_step": progress.step, "goes_on": goes_on, "forced": changes}
            record.write(run, about, settings, sitting)
        book = Journal(
            run,
            total=total,
            start=progress.step,
            metric=None if val is None else recipe.eval_metric or "loss",
            quiet=settings.quiet,
            silent=rank != 0,
            trackers=Trackers(settings.trackers, run=run, recipe=about["recipe"])
            if rank == 0
            else None,
        )
        stack.callback(book.close)
        if goes_on:
            book.say(f"goes on from step {progress.step}, {goes_on}")

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
        stack.enter_context(contextlib.closing(feed))  # and with it the processes that read
        measuring = (
            None
            if val is None
            else functools.partial(
                evaluate,
                dataset=val,
                task=task,
                measures=measures,
                batch_size=settings.eval_batch_size,
                workers=settings.workers,
                rank=rank,
                world=world,
                precision=recipe.precision,
            )
        )
        guard = Guard(recipe, scaler=scaler)
        lookout = Lookout(accelerator, asked, settings, step=progress.step)
        sized = (recipe.crop or recipe.size or task.preprocess.size) is not None
        first, before = progress.step, progress.seconds
        values, stopped = dict[str, Any](), ""
        while progress.step < total and not stopped:
            rate = rate_at(progress.step, total=total, recipe=recipe)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)

            asking = time.monotonic()
            read = [next(feed) for _ in range(recipe.accumulate)]
            guard.waited += time.monotonic() - asking
            parts = [batching.on_device(b, device, task.preprocess, settings) for b in read]
            if progress.step == first:
                batching.refuse_ignored(parts, ignore_index_of(recipe, data), accelerator)

            shares = counts_of(loss, parts)
            if shares is None and world > 1 and not sized:
                batching.refuse_sizes(parts, accelerator)
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
            losses = summed(losses, shared=shares is not None)

            if scaler is not None:
                scaler.unscale_(optimizer)
            norm = clipped(network, recipe.grad_clip)
            ids = [name for batch in parts for name in batch["id"]]
            allowed = guard.judge(losses, norm, step=progress.step + 1, ids=ids)
            update(optimizer, allowed, scaled=scaler is not None)
            if scaler is not None:
                scaler.update()
            optimizer.zero_grad(set_to_none=True)
            if average is not None:
                average.update()
            progress.step += 1

            # --- between steps: look, record, measure, save, stop -------------------------------
            step, is_end, saves = progress.step, progress.step == total, False
            if lookout.is_due(step):
                book.at(step, loss=guard.check())
                stopped, saves = lookout.agree(step)
            every = settings.eval_every
            is_due = step % every == 0 if every else _ends_epoch(step, len(data), recipe)
            measure = measuring if is_end or is_due else None
            stopped = "" if is_end else stopped
            saves |= is_end or bool(stopped)
            saves |= is_due if settings.save_every is None else step % settings.save_every == 0
            if measure or saves or step % POLL == 0:
                progress.seconds = before + lookout.seconds
                facts = guard.read()
                progress.overflows += facts["overflows"]
                facts |= {"step": step, "lr": rate, "overflows": progress.overflows}
                facts |= {"epoch": step * recipe.batch_size / len(data)}
                book.write(facts | {"seconds": progress.seconds})
            if measure:
                candidate = network if average is None else average.network
                values = measure(candidate, loss=_of_heads(loss, outputs)).values
                is_best = _note(progress, values, recipe, measures)
                book.write({"step": step, "val": values, "best": is_best})
                if rank == 0 and is_best and on_best is not None:
                    on_best(candidate)
                if rank == 0 and after_measuring is not None:
                    after_measuring(run)
                if settings.patience is not None and progress.waited >= settings.patience:
                    stopped = stopped or ("" if is_end else "patience")
                saves |= is_best or bool(stopped)
            if saves:
                state.save(run, now, rank=rank, world=world, about={"about": about})
                lookout.has_saved()
                if rank == 0:
                    best = [] if progress.best_step is None else [progress.best_step]
                    checkpoint.prune(run, keep_last=settings.keep, keep=best)
            if measure or saves:
                guard.resume()  # what was done meanwhile was not training

        # --- the end ----------------------------------------------------------------------------
        if stopped:
            book.say(f"stopped at step {progress.step} of {total}: {stopped}")
        if stopped == "SIGUSR1" and rank == 0:
            book.say(requeue())
        accelerator.wait_for_everyone()
        state.load_best(run, now)
        network.eval()
        return Result(progress.step, stopped, values, progress.best, progress.best_step, exact)


def _ends_epoch(step: int, length: int, recipe: Recipe) -> bool:
    """Whether this step's batch reached the end of an epoch."""
    return step * recipe.batch_size // length > (step - 1) * recipe.batch_size // length


def _of_heads(loss: Loss, trained: Any) -> Loss:
    """The loss of as many outputs as training has: a network may add their mean when it evaluates.

    trained: the outputs of a step of training.
    """
    heads = len(trained) if isinstance(trained, tuple | list) else 0

    def of_heads(outputs: Any, batch: Mapping[str, Tensor]) -> Any:
        return loss(outputs[-heads:] if heads else outputs, batch)

    return of_heads


def _note(
    progress: Progress, values: Mapping[str, Any], recipe: Recipe, measures: Mapping[str, Measure]
) -> bool:
    """Whether this measurement is the best so far; without a metric, the loss decides."""
    metric = recipe.eval_metric or "loss"
    value = values.get(metric)
    if not isinstance(value, int | float):
        names = [name for name, v in values.items() if isinstance(v, int | float)]
        raise ConfigError(f"eval_metric={metric!r} is not measured here", expected=", ".join(names))
    lower = metric == "loss" or any(metric in m.lower_is_better for m in measures.values())
    return progress.note(value, lower_is_better=lower)
