"""What a run of training is asked to do, and how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from segzoo.base.records import Json
from segzoo.data.opened import Data
from segzoo.engine.evaluate import Task
from segzoo.engine.reduce import Loss
from segzoo.engine.settings import Settings
from segzoo.engine.teacher import Teacher
from segzoo.metrics.measure import Measure
from segzoo.spec import Recipe

__all__ = ["Hooks", "Start", "TrainingJob", "TrainingResult"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run begins.

    identity: what else than recipe and data must be the same in a resumed run, such as the model.
    resume: the folder of a run to go on from, this one or a finished one. force: although recipe,
        data or identity are not the same.
    """

    identity: Mapping[str, Json] = field(default_factory=dict)
    resume: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """A caller's own code in a run.

    transform: an augmentation, (image, mask) -> (image, mask).
    on_begin: called when a new run is about to write its first file, by the first process.
    on_best: called with the network whenever it is the best so far, by the first process.
    after_measuring: called with the run's folder after each measurement, by the first process.
    """

    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None
    on_begin: Callable[[], object] | None = None
    on_best: Callable[[nn.Module], None] | None = None
    after_measuring: Callable[[Path], object] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that decides a run of training.

    network: is trained in place. loss: (outputs, batch) -> a scalar, or {"loss": scalar, named
        parts}. data, val: what to train on and, if anything, what to measure on.
    task: what the network's numbers mean. measures: of the validation.
    run: the folder of checkpoints and metrics.
    teacher: says of each batch what the loss compares the outputs with, besides the target.
    """

    network: nn.Module
    loss: Loss
    data: Data
    val: Data | None = None
    recipe: Recipe
    task: Task
    measures: Mapping[str, Measure] = field(default_factory=dict)
    run: Path
    settings: Settings = field(default_factory=Settings)
    start: Start = field(default_factory=Start)
    hooks: Hooks = field(default_factory=Hooks)
    teacher: Teacher | None = None


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    stopped: why before its last step: "", "SIGINT" (Ctrl-C), "SIGTERM", "SIGUSR1", "max_minutes" or
    "patience".
    values: of the last measurement. best, best_step: of the recipe's metric; None without a
    validation set. lower_is_better: of that metric. exact: whether it was, or would be after a
    resumption, equal to the last bit.
    """

    step: int
    stopped: str
    values: Mapping[str, Any]
    best: float | None
    best_step: int | None
    lower_is_better: bool
    exact: bool
