"""Training any network with any loss on any data set: `train` is the loop, its stages follow.

accelerate starts the processes' side (devices, autocast and scaler, DistributedDataParallel). The
order of the samples, the rate, the accumulation, the update, the checkpoints and the guard against
NaN are here, as they decide whether a resumed run gives the same bits.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segzoo.base import files
from segzoo.base.records import Json
from segzoo.data.loader import Batch, Prepared, batches, ignore_index_of
from segzoo.engine import batch as batching
from segzoo.engine import checkpoint, journal, launch, optim, optimizer_state, pace, record, state
from segzoo.engine.clock import Clock
from segzoo.engine.ema import Average
from segzoo.engine.evaluate import Share, evaluate
from segzoo.engine.failures import explained
from segzoo.engine.flags import process_flags
from segzoo.engine.guard import Guard, clipped
from segzoo.engine.guard import update as update_weights
from segzoo.engine.job import TrainingJob, TrainingResult
from segzoo.engine.journal import Journal
from segzoo.engine.lock import locked
from segzoo.engine.lookout import POLL, Lookout
from segzoo.engine.one_value import refuse_single_values
from segzoo.engine.recompute import recomputing
from segzoo.engine.record import RUN
from segzoo.engine.reduce import Loss, counts_of, reduced, summed
from segzoo.engine.schedule import rate_along, rate_at, steps_of
from segzoo.engine.signals import Asked, asked_to_stop, requeue
from segzoo.engine.state import Progress, State
from segzoo.engine.trackers import Trackers
from segzoo.errors import ConfigError, DatasetError
from segzoo.metrics.measure import Measure
from segzoo.spec import Recipe

__all__ = [
    "RUN",
    "Due",
    "Place",
    "Sitting",
    "Trainee",
    "Training",
    "backward",
    "begun",
    "ended",
    "feed_of",
    "first_parts",
    "go_on",
    "look_up",
    "measure",
    "next_parts",
    "note",
    "place_of",
    "run_folder",
    "save",
    "set_rate",
    "train",
    "trainee_of",
    "training_of",
    "update",
]

BY_THE_CLOCK = 1 << 40  # steps that nobody counted: more than any minutes hold


def train(job: TrainingJob) -> TrainingResult:
    """Train a network in place; at the end it holds its best weights, in eval mode.

    The best are those of the moving average where the recipe asks for one, and of the step with
    the best value of `recipe.eval_metric` where there is a validation set; else of the last step.

    RunError, NonFiniteError, ResourceError, DatasetError, CheckpointError and what the network
    raises; whatever happens, the checkpoints written so far stay as they are.
    """
    with place_of(job) as place, trainee_of(job, place) as trainee:
        sitting = begun(job, place, trainee)
        with training_of(job, place, trainee, sitting) as training:
            while not training.is_over:
                rate = set_rate(training)
                parts = next_parts(training)
                losses, heads = backward(training, parts)
                update(training, parts, losses)
                due = look_up(training)
                if due.noting:
                    note(training, rate)
                if due.measuring:
                    due = measure(training, due, heads)
                if due.saving:
                    save(training)
                if due.measuring or due.saving:
                    go_on(training, due)
                training.stopped = due.stopped
            return ended(training)


# --- where it runs --------------------------------------------------------------------------------


class Place(NamedTuple):
    """This process among those of the run. asked: whether it is to stop.

    held: whether the run's folder was there and is locked.
    """

    accelerator: Any
    asked: Asked
    held: bool

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def share(self) -> Share:
        return Share(self.accelerator.process_index, self.accelerator.num_processes)

    @property
    def is_first(self) -> bool:
        return self.share.rank == 0


@contextlib.contextmanager
def place_of(job: TrainingJob) -> Iterator[Place]:
    """The processes, devices and flags of the job, and the lock on its folder, if that is there."""
    recipe, settings = job.recipe, job.settings
    is_heard = not settings.quiet and launch.rank_of_this_process() == 0
    with (
        asked_to_stop(aloud=is_heard) as asked,
        process_flags(
            deterministic=settings.deterministic,
            fp32=recipe.precision == "fp32",
            threads=settings.threads,
        ),
        explained(recipe),
        launch.launched(recipe, settings) as accelerator,
    ):
        place = Place(accelerator, asked, held=job.run.is_dir())
        launch.refuse_uneven(recipe, place.share.world)
        if len(job.data) == 0:
            raise DatasetError("the data set to train on is empty", expected="a sample")
        holds = place.is_first and place.held
        with locked(job.run) if holds else contextlib.nullcontext():
            yield place


# --- what trains ----------------------------------------------------------------------------------


class Trainee(NamedTuple):
    """A network with all that changes while it trains.

    wrapped: the network in the run's precision, with gradients shared by all processes. forward:
    the same, compiled where that is asked for.
    """

    state: State
    wrapped: Any
    forward: Callable[[Tensor], Any]


@contextlib.contextmanager
def trainee_of(job: TrainingJob, place: Place) -> Iterator[Trainee]:
    """The network on its device with its optimiser, and the process's random numbers.

    Afterwards the random numbers are the caller's again, and the network's forward its own.
    """
    recipe, settings, device = job.recipe, job.settings, place.device
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.randomness(recipe.seed, rank=place.share.rank, device=device))
        network = job.network
        network.to(device)
        if job.teacher is not None:
            job.teacher.network.to(device)
        if settings.channels_last:
            network.to(memory_format=torch.channels_last)
        if place.share.world > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network.train()
        optimizer = optim.optimizer_of(network, recipe)  # which puts frozen normalisations to rest
        optimizer_state.refuse_unknown(optimizer)
        average = Average(network, recipe.ema) if recipe.ema is not None else None
        stack.enter_context(recomputing(network, enabled=settings.checkpointing))
        wrapped = stack.enter_context(launch.wrapped(place.accelerator, network))
        forward = torch.compile(wrapped) if settings.compile else wrapped
        now = State(network, optimizer, average, place.accelerator.scaler, Progress())
        yield Trainee(now, wrapped, forward)


# --- where it begins ------------------------------------------------------------------------------


class Sitting(NamedTuple):
    """A stretch of a run without an interruption.

    about: what decides the run's bits, as run.json holds it. exact: whether it is, or would be
    after a resumption, equal to the last bit. goes_on: how it goes on from an earlier stretch, in
    words; empty where it begins. first, before: the step and the seconds of training before it.
    here: whether the earlier stretch is in the same folder. forced: what is other than it was.
    """

    about: Mapping[str, Json]
    exact: bool
    goes_on: str
    first: int
    before: float
    here: bool
    forced: Sequence[str]


def begun(job: TrainingJob, place: Place, trainee: Trainee) -> Sitting:
    """What the run is; the trainee is put where an earlier one was. Nothing is written.

    RunError for a folder in use, and for a run that was begun otherwise.
    """
    run, recipe, (rank, world) = job.run, job.recipe, place.share
    resume, progress, device = job.start.resume, trainee.state.progress, place.device
    about = record.about_of(
        recipe,
        job.start.identity,
        job.data.dataset,
        job.settings,
        device=device,
        world=world,
        val=None if job.val is None else job.val.dataset,
    )
    exact = device.type == "cpu" or (device.type == "cuda" and job.settings.deterministic)
    exact = exact and recipe.minutes is None  # no clock goes the same twice
    goes_on, changes = "", list[str]()
    here = resume is not None and resume.resolve() == run.resolve()
    if not here:
        record.refuse_used(run)
    if resume is not None:
        found, then = record.latest(resume, here=here)
        goes_on = record.AGAIN
        if found is not None:
            changes = record.changes(then, about, file=resume, here=here, force=job.start.force)
            state.restore(found, trainee.state, rank=rank, world=world, seed=recipe.seed)
            goes_on = record.how(then, about, exact=exact)
            exact = goes_on == record.EXACT
        if changes or not here:
            progress.forget_best()  # it was the best of something else, or lies elsewhere
        else:
            state.forget_lost_best(run, progress)
    return Sitting(about, exact, goes_on, progress.step, progress.seconds, here, changes)


def first_parts(job: TrainingJob, place: Place, feed: Iterator[Batch]) -> list[Batch]:
    """What the first step takes. DatasetError when nothing in it counts, or it cannot be read."""
    parts = [next(feed) for _ in range(job.recipe.accumulate)]
    ignored = ignore_index_of(job.recipe, job.data.dataset)
    batching.refuse_ignored(parts, ignored, place.accelerator)
    return parts


@contextlib.contextmanager
def run_folder(job: TrainingJob, place: Place, sitting: Sitting) -> Iterator[None]:
    """The run's folder, made and locked where it was not there, with what the run is written."""
    place.accelerator.wait_for_everyone()  # everyone has looked at the folder before it changes
    if not place.is_first:
        yield
        return
    if not place.held:
        files.make_folder(job.run)
    with contextlib.nullcontext() if place.held else locked(job.run):
        if not sitting.here:
            record.refuse_used(job.run)  # again: another may have come first
            if job.hooks.on_begin is not None:
                job.hooks.on_begin()
        files.sweep(job.run)
        goes_on = job.start.resume is not None
        checkpoint.clean(job.run, after=sitting.first if goes_on else None)
        journal.trim(job.run, sitting.first)
        words = {"from_step": sitting.first, "goes_on": sitting.goes_on, "forced": sitting.forced}
        record.write(job.run, sitting.about, job.settings, words, here=sitting.here)
        yield


# --- the loop's state -----------------------------------------------------------------------------


@dataclass
class Training:
    """A run in progress: all that the stages of a step share.

    total: steps of the whole run, or how many they will be by the clock. book: what it says. feed:
    batches, a part of a step each. clock: of a run that lasts so many minutes.
    values: of the last measurement. stopped: why the run ends before its last step.
    """

    job: TrainingJob
    place: Place
    trainee: Trainee
    sitting: Sitting
    total: int
    book: Journal
    feed: Iterator[Batch]
    guard: Guard
    lookout: Lookout
    clock: Clock | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    stopped: str = ""

    @property
    def state(self) -> State:
        return self.trainee.state

    @property
    def progress(self) -> Progress:
        return self.trainee.state.progress

    @property
    def is_over(self) -> bool:
        return bool(self.stopped) or self.progress.step >= self.total


@contextlib.contextmanager
def training_of(
    job: TrainingJob, place: Place, trainee: Trainee, sitting: Sitting
) -> Iterator[Training]:
    """The run, ready for its next step. Afterwards its journal and its readers are closed.

    A first step is read, and tried on shapes, before anything is written: what is wrong with the
    data or their size leaves nothing.
    """
    progress = trainee.state.progress
    lookout = Lookout(place.accelerator, place.asked, job.settings, step=progress.step)
    total = steps_of(job.recipe, len(job.data))
    if total is None:
        total = progress.step if progress.ended == job.recipe.minutes else BY_THE_CLOCK
    with contextlib.ExitStack() as stack:
        feed = feed_of(job, place, start=progress.step, stop=total)
        stack.enter_context(contextlib.closing(feed))  # and with it the processes that read
        ahead = first_parts(job, place, feed) if progress.step < total else []
        refuse_single_values(trainee.state.network, ahead, job.recipe)
        clock = None
        if total == BY_THE_CLOCK:
            clock = _clock_of(job, ahead, lookout, before=sitting.before)
            total = progress.step + max(1, clock.steps_left)
        stack.enter_context(run_folder(job, place, sitting))
        book = _book_of(job, place, sitting, total=total)
        stack.callback(book.close)
        if sitting.goes_on:
            book.say(f"goes on from step {progress.step}, {sitting.goes_on}")
        yield Training(
            job,
            place,
            trainee,
            sitting,
            total,
            book,
            chain(ahead, feed),
            Guard(job.recipe, scaler=trainee.state.scaler),
            lookout,
            clock,
        )


def _clock_of(
    job: TrainingJob, ahead: Sequence[Batch], lookout: Lookout, *, before: float
) -> Clock:
    """The clock of a run that lasts so many minutes, after a timed warm-up."""
    assert job.recipe.minutes is not None
    step, measurement = pace.of_step(job, ahead, job.settings).seconds, pace.of_measurement(job)
    used = before + lookout.seconds
    return Clock(
        seconds=60 * job.recipe.minutes,
        start=0.0 if before else used,
        step=step,
        measurement=measurement,
        every=job.settings.eval_every or max(1, len(job.data) // job.recipe.batch_size),
        used=used,
        measured=used,
    )


def _book_of(job: TrainingJob, place: Place, sitting: Sitting, *, total: int) -> Journal:
    trackers = None
    if place.is_first:
        recipe = sitting.about["recipe"]
        trackers = Trackers(job.settings.trackers, run=job.run, recipe=recipe)
    return Journal(
        job.run,
        total=total,
        start=sitting.first,
        metric=None if job.val is None else job.recipe.eval_metric or "loss",
        quiet=job.settings.quiet,
        silent=not place.is_first,
        trackers=trackers,
    )


def feed_of(job: TrainingJob, place: Place, *, start: int, stop: int) -> Any:
    """What this process sees of the steps `start` to `stop` - 1, a part of a step each."""
    task, settings = job.task, job.settings
    prepared = Prepared(
        job.data.dataset,
        recipe=job.recipe,
        preprocess=task.preprocess,
        in_channels=task.in_channels,
        num_classes=task.num_classes,
        scale=task.postprocess.scale,
        transform=job.hooks.transform,
    )
    rank, world = place.share
    return batches(
        prepared,
        start=start,
        stop=stop,
        rank=rank,
        world=world,
        workers=settings.workers,
        timeout=settings.worker_timeout,
        pin=place.device.type == "cuda",
    )


# --- a step ---------------------------------------------------------------------------------------


def set_rate(training: Training) -> float:
    """Give the optimiser the rate of this step, a function of the step or of the clock alone."""
    recipe, total, clock = training.job.recipe, training.total, training.clock
    if clock is None:
        rate = rate_at(training.progress.step, total=total, recipe=recipe)
    else:
        rate = rate_along(clock.share, total=total, recipe=recipe)
    for group in training.state.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
    return rate


def next_parts(training: Training) -> list[Batch]:
    """This process's part of the step's samples, in `accumulate` batches on the device."""
    job, place = training.job, training.place
    asking = time.monotonic()
    read = [next(training.feed) for _ in range(job.recipe.accumulate)]
    training.guard.waited += time.monotonic() - asking
    training.book.note(note for batch in read for note in batch["notes"])
    preprocess, settings, teacher = job.task.preprocess, job.settings, job.teacher
    return [batching.on_device(b, place.device, preprocess, settings, teacher) for b in read]


def backward(training: Training, parts: Sequence[Batch]) -> tuple[dict[str, Tensor], int]:
    """Add the gradients of the step's loss to the network's parameters.

    Gives the losses of the whole step, "loss" first, and how many outputs the network had: 0 for
    one that is not in a list. RunError for sizes that a loss of the whole batch cannot gather.
    """
    job, accelerator, trainee = training.job, training.place.accelerator, training.trainee
    recipe, task = job.recipe, job.task
    shares = counts_of(job.loss, parts)
    sized = (recipe.crop or recipe.size or task.preprocess.size) is not None
    if shares is None and training.place.share.world > 1 and not sized:
        batching.refuse_sizes(parts, accelerator)
    losses: dict[str, Tensor] = {}
    heads = 0
    for number, batch in enumerate(parts):
        is_last = number == len(parts) - 1
        # The processes share their gradients once, after the last part.
        with contextlib.nullcontext() if is_last else accelerator.no_sync(trainee.wrapped):
            outputs = trainee.forward(batch["image"])
            share = None if shares is None else shares[number]
            back, named = reduced(job.loss, outputs, batch, share=share, parts=len(parts))
            accelerator.backward(back)
        for name, value in named.items():
            losses[name] = losses[name] + value if name in losses else value
        heads = len(outputs) if isinstance(outputs, tuple | list) else 0
    return summed(losses, shared=shares is not None), heads


def update(training: Training, parts: Sequence[Batch], losses: Mapping[str, Tensor]) -> None:
    """Change the weights by the gradients, unless they or the loss are not finite; count the step.

    Whether they are is decided on the device: the host learns of it in `look_up`.
    """
    now, progress = training.state, training.progress
    optimizer, scaler = now.optimizer, now.scaler
    if scaler is not None:
        scaler.unscale_(optimizer)
    norm = clipped(now.network, training.job.recipe.grad_clip)
    ids = [name for batch in parts for name in batch["id"]]
    allowed = training.guard.judge(losses, norm, step=progress.step + 1, ids=ids)
    update_weights(optimizer, allowed, scaled=scaler is not None)
    if scaler is not None:
        scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if now.average is not None:
        now.average.update()
    progress.step += 1


# --- between steps --------------------------------------------------------------------------------


class Due(NamedTuple):
    """What is to be done after a step. stopped: why no other step follows; empty if one does."""

    noting: bool
    measuring: bool
    saving: bool
    stopped: str


def look_up(training: Training) -> Due:
    """What is due after this step, the same for all processes. NonFiniteError for a bad step."""
    job, step = training.job, training.progress.step
    settings, clock = job.settings, training.clock
    stopped, saving = "", False
    if training.lookout.is_due(step):
        stopped, saving = training.lookout.agree(step)
        if clock is not None:
            used = training.sitting.before + training.lookout.seconds
            clock.look(step, used=used, accelerator=training.place.accelerator)
            training.total = step + clock.steps_left
            training.book.expect(training.total)
        training.book.at(step, loss=training.guard.check())
    is_end = step >= training.total
    if is_end and clock is not None:
        training.progress.ended = job.recipe.minutes
    every = settings.eval_every
    is_due = step % every == 0 if every else _ends_epoch(step, len(job.data), job.recipe)
    measuring = is_due and (clock is None or clock.can_measure)
    measuring = job.val is not None and (is_end or measuring)
    stopped = "" if is_end else stopped
    saving |= is_end or bool(stopped)
    saving |= is_due if settings.save_every is None else step % settings.save_every == 0
    return Due(measuring or saving or step % POLL == 0, measuring, saving, stopped)


def note(training: Training, rate: float) -> None:
    """Write down what the steps since the last note gave."""
    job, progress, step = training.job, training.progress, training.progress.step
    progress.seconds = training.sitting.before + training.lookout.seconds
    facts = training.guard.read()
    progress.overflows += facts["overflows"]
    facts |= {"step": step, "lr": rate, "overflows": progress.overflows}
    facts |= {"epoch": step * job.recipe.batch_size / len(job.data)}
    training.book.write(facts | {"seconds": progress.seconds})


def measure(training: Training, due: Due, heads: int) -> Due:
    """Measure on the validation set; what is due then, as the best step is saved.

    heads: how many outputs the network had in training.
    """
    job, place, progress = training.job, training.place, training.progress
    average, settings = training.state.average, job.settings
    assert job.val is not None
    candidate = training.state.network if average is None else average.network
    training.values = evaluate(
        candidate,
        job.val.dataset,
        task=job.task,
        measures=job.measures,
        loss=_of_heads(job.loss, heads),
        batch_size=settings.eval_batch_size,
        workers=settings.workers,
        share=place.share,
        precision=job.recipe.precision,
    ).values
    is_best = _is_best(progress, training.values, job.recipe, job.measures)
    training.book.write({"step": progress.step, "val": training.values, "best": is_best})
    if place.is_first and is_best and job.hooks.on_best is not None:
        job.hooks.on_best(candidate)
    if place.is_first and job.hooks.after_measuring is not None:
        job.hooks.after_measuring(job.run)
    stopped = due.stopped
    if settings.patience is not None and progress.waited >= settings.patience:
        stopped = stopped or ("" if progress.step >= training.total else "patience")
    return due._replace(saving=due.saving or is_best or bool(stopped), stopped=stopped)


def save(training: Training) -> None:
    """Write the checkpoint of this step; the first process removes those that need not stay."""
    job, place, progress = training.job, training.place, training.progress
    rank, world = place.share
    about = {"about": training.sitting.about}
    state.save(job.run, training.state, rank=rank, world=world, about=about)
    training.lookout.has_saved()
    if place.is_first:
        best = [] if progress.best_step is None else [progress.best_step]
        checkpoint.prune(job.run, keep_last=job.settings.keep, keep=best)


def go_on(training: Training, due: Due) -> None:
    """Begin with the next step: what was done meanwhile was not training."""
    training.guard.resume()
    if training.clock is not None:
        training.clock.resume(measured=due.measuring)


def ended(training: Training) -> TrainingResult:
    """Say how the run ended, and put the best weights into the network."""
    place, progress, stopped = training.place, training.progress, training.stopped
    if stopped:
        training.book.say(f"stopped at step {progress.step} of {training.total}: {stopped}")
    if stopped == "SIGUSR1" and place.is_first:
        training.book.say(requeue())
    place.accelerator.wait_for_everyone()
    state.load_best(training.job.run, training.state)
    training.state.network.eval()
    return TrainingResult(
        step=progress.step,
        stopped=stopped,
        values=training.values,
        best=progress.best,
        best_step=progress.best_step,
        lower_is_better=_lower_is_better(training.job.recipe, training.job.measures),
        exact=training.sitting.exact,
    )


def _ends_epoch(step: int, length: int, recipe: Recipe) -> bool:
    """Whether this step's batch reached the end of an epoch."""
    return step * recipe.batch_size // length > (step - 1) * recipe.batch_size // length


def _of_heads(loss: Loss, heads: int) -> Loss:
    """The loss of as many outputs as training has: a network may add their mean when it evaluates.

    heads: 0 for an output that is not in a list.
    """

    def of_heads(outputs: Any, batch: Mapping[str, Tensor]) -> Any:
        return loss(outputs[-heads:] if heads else outputs, batch)

    return of_heads


def _is_best(
    progress: Progress, values: Mapping[str, Any], recipe: Recipe, measures: Mapping[str, Measure]
) -> bool:
    """Whether this measurement is the best so far; without a metric, the loss decides."""
    metric = recipe.eval_metric or "loss"
    value = values.get(metric)
    if not isinstance(value, int | float):
        names = [name for name, v in values.items() if isinstance(v, int | float)]
        raise ConfigError(f"eval_metric={metric!r} is not measured here", expected=", ".join(names))
    return progress.note(value, lower_is_better=_lower_is_better(recipe, measures))


def _lower_is_better(recipe: Recipe, measures: Mapping[str, Measure]) -> bool:
    metric = recipe.eval_metric or "loss"
    return metric == "loss" or any(metric in m.lower_is_better for m in measures.values())
