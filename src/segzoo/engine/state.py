"""Everything that a run is at the end of a step, into a checkpoint and back, bit for bit."""

import contextlib
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from segzoo.base.records import Json
from segzoo.base.strictjson import OBJECT_OR_NULL, JsonKind, judge_kinds
from segzoo.base.terminal import warn
from segzoo.data.draws import drawn, sample_seed
from segzoo.engine import checkpoint, optimizer_state
from segzoo.engine.checkpoint import Checkpoint
from segzoo.engine.ema import Average
from segzoo.errors import CheckpointError, RunError, SegzooError, printable
from segzoo.zoo import registry

__all__ = ["Progress", "State", "forget_lost_best", "load_best", "randomness", "restore", "save"]

MODEL, AVERAGE, OPTIMIZER, PROGRESS = "model", "average", "optimizer", "progress"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


# Of progress.json, which may be a stranger's. `ended` came later than the others.
COUNT = JsonKind("a whole number from 0 on", _is_count)
COUNT_OR_NULL = JsonKind("a count or null", lambda value: value is None or _is_count(value))
SECONDS = JsonKind("a number of seconds", lambda value: _is_number(value) and value >= 0)
NUMBER_OR_NULL = JsonKind("a number or null", lambda value: value is None or _is_number(value))
KINDS = MappingProxyType(
    {
        **dict.fromkeys(("step", "waited", "overflows"), COUNT),
        **dict.fromkeys(("best_step", "average"), COUNT_OR_NULL),
        "best": NUMBER_OR_NULL,
        "seconds": SECONDS,
        "scaler": OBJECT_OR_NULL,
        "ended": NUMBER_OR_NULL,
    }
)
REQUIRED = KINDS.keys() - {"ended"}


@dataclass
class Progress:
    """How far a run is.

    step: updates done. best: the value of the recipe's metric, at best_step; waited: how many
    measurements since then were no better. overflows: updates that fp16 skipped.
    seconds: of training, over all sittings. ended: the minutes of a run by the clock that are over.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    overflows: int = 0
    seconds: float = 0.0
    ended: float | None = None

    def note(self, value: float, *, lower_is_better: bool) -> bool:
        """Whether this measurement is better than all before; NaN is not."""
        sign = -1 if lower_is_better else 1
        is_best = math.isfinite(value) and (self.best is None or sign * (value - self.best) > 0)
        if is_best:
            self.best, self.best_step, self.waited = value, self.step, 0
        else:
            self.waited += 1
        return is_best

    def forget_best(self) -> None:
        self.best = self.best_step = None
        self.waited = 0


@dataclass
class State:
    """The parts of a run that change. network: the original module, without any wrapper."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    scaler: Any
    progress: Progress


def save(run: Path, state: State, *, rank: int, world: int, about: Mapping[str, Json]) -> None:
    """Write the checkpoint of this step; with several processes all of them call this.

    Each writes its own random numbers; the first one writes the rest and publishes the folder when
    all are done.
    """
    with _together(world) as told:
        if rank == 0:
            told.append(checkpoint.begin(run, state.progress.step))
    folder = told[0]
    with _together(world):
        tensors, rest = _random_numbers()
        checkpoint.write_tensors(folder, _random_name(rank), tensors)
        checkpoint.write_json(folder, _random_name(rank), rest)
        if rank == 0:
            _write_shared(folder, state)
    with _together(world):
        if rank == 0:
            about = {"step": state.progress.step, "world": world, **about}
            checkpoint.publish(folder, about=about)


def _write_shared(folder: Path, state: State) -> None:
    """What is the same in every process."""
    checkpoint.write_tensors(folder, MODEL, state.network.state_dict())
    if state.average is not None:
        checkpoint.write_tensors(folder, AVERAGE, state.average.tensors())
    tensors, groups = optimizer_state.flatten(state.optimizer, _names(state.network))
    checkpoint.write_tensors(folder, OPTIMIZER, tensors)
    checkpoint.write_json(folder, OPTIMIZER, groups)
    scaler = state.scaler.state_dict() if state.scaler is not None else None
    average = state.average.count if state.average is not None else None
    progress = asdict(state.progress) | {"scaler": scaler, "average": average}
    checkpoint.write_json(folder, PROGRESS, progress)


@contextlib.contextmanager
def _together(world: int) -> Iterator[list[Path]]:
    """A stretch of work that all processes end together, or none does.

    What fails in one of them is raised there, and a RunError that quotes it in the others, which
    would otherwise wait for ever. What the first one puts into the list, all have afterwards.
    """
    told: list[Path] = []
    if world == 1:
        yield told
        return
    failure: BaseException | None = None
    try:
        yield told
    except Exception as error:
        failure = error
    reports: list[Any] = [None] * world
    dist.all_gather_object(reports, (str(failure) if failure else "", told))
    if failure is not None:
        raise failure
    for rank, (problem, _) in enumerate(reports):
        if problem:
            raise RunError(f"process {rank} could not write the checkpoint: {problem}")
    told[:] = reports[0][1]


def restore(found: Checkpoint, state: State, *, rank: int, world: int, seed: int) -> None:
    """Put a checkpoint's values into the state, and this process's random numbers where they were.

    With another number of processes these begin anew, by the seed and the step. CheckpointError
    for what is not as a run writes it.
    """
    load_network(found, state.network, MODEL)
    progress = _progress_of(found, averaged=state.average is not None)
    if state.average is not None:
        load_network(found, state.average.network, AVERAGE)
        state.average.count = progress["average"]
    with _taken(found, OPTIMIZER):
        tensors, groups = found.tensors(OPTIMIZER), found.json(OPTIMIZER)
        names = _names(state.network)
        optimizer_state.restore(state.optimizer, names, tensors, groups, judged=True)
    if state.scaler is not None and progress["scaler"] is not None:
        with _taken(found, PROGRESS):
            state.scaler.load_state_dict(progress["scaler"])
    for name in vars(state.progress):
        setattr(state.progress, name, progress.get(name))  # `ended` came later than the others
    if found.about.get("world") == world:
        name = _random_name(rank)
        with _taken(found, name):
            _set_random_numbers(found.tensors(name), found.json(name))
    else:
        _seed(sample_seed(seed, -1 - state.progress.step, rank))


def _progress_of(found: Checkpoint, *, averaged: bool) -> dict[str, Json]:
    """How far the run was; CheckpointError for values that it cannot have."""
    progress = found.json(PROGRESS)
    file = found.path / f"{PROGRESS}.json"
    kinds = {**KINDS, "average": COUNT} if averaged else KINDS
    judge_kinds(progress, kinds, file, what="how far the run was", error=CheckpointError)
    if missing := REQUIRED - progress.keys():
        raise CheckpointError(f"it lacks '{min(missing)}'", file=file)
    if progress["step"] != found.step:
        raise CheckpointError(
            "it is of another step",
            file=file,
            found=f"{progress['step']}",
            expected=f"{found.step}",
        )
    return progress


@contextlib.contextmanager
def _taken(found: Checkpoint, name: str) -> Iterator[None]:
    """Whatever a part that nobody wrote so raises where it is taken up, as a CheckpointError."""
    file = found.path / f"{name}.json"
    try:
        yield
    except SegzooError as error:
        error.file = error.file or printable(str(file))
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # torch, NumPy and optimisers each have their own
        raise CheckpointError(
            f"it is not as a run writes it: {registry.cause(error)}", file=file
        ) from error


def load_network(found: Checkpoint, network: nn.Module, name: str) -> None:
    """A checkpoint's weights into a network of the same names and shapes."""
    try:
        network.load_state_dict(found.tensors(name))
    except RuntimeError as error:
        raise CheckpointError(
            "its weights are of another network",
            file=found.path,
            found=" ".join(str(error).split())[:300],
            next_step="Give the model and the options that the run was begun with",
        ) from None


def forget_lost_best(run: Path, progress: Progress) -> None:
    """When the best step's checkpoint is gone or damaged, the best is sought anew, with a warning.

    Without it the end of the run could not give its weights.
    """
    if progress.best_step not in (None, progress.step):
        try:
            checkpoint.find(run, step=progress.best_step)
        except CheckpointError as error:
            warn(f"the best weights are lost: {error}", stacklevel=2)
            progress.forget_best()


def load_best(run: Path, state: State) -> None:
    """The best weights into the network: the average's, if there is one, of the best step."""
    progress, average = state.progress, state.average
    if progress.best_step not in (None, progress.step):
        found = checkpoint.find(run, step=progress.best_step)
        load_network(found, state.network, MODEL if average is None else AVERAGE)
    elif average is not None:
        state.network.load_state_dict(average.tensors())


def _names(network: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in network.named_parameters()}


# --- random numbers -------------------------------------------------------------------------------


@contextlib.contextmanager
def randomness(seed: int, *, rank: int, device: torch.device) -> Iterator[None]:
    """Inside, the generators of this process start from the seed; then they are as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), drawn(0):
        _seed(sample_seed(seed, -1, rank))  # no epoch is below 0: no sample draws the same
        yield


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)


def _random_name(rank: int) -> str:
    return f"random-{rank:05d}"


def _random_numbers() -> tuple[dict[str, Tensor], Json]:
    """The states of every generator of this process that a network or a loss may draw from."""
    version, numbers, gauss = random.getstate()
    numpys: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = numpys
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(keys.astype(np.int64))}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors, {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, int(position), int(has_gauss), float(cached)],
    }


def _set_random_numbers(tensors: Mapping[str, Tensor], rest: Json) -> None:
    version, numbers, gauss = rest["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, position, has_gauss, cached = rest["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
