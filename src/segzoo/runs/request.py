"""What a caller asks of a training: the arguments of `segzoo.train`, as one record."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from segzoo.base.records import Json
from segzoo.data.sample import Dataset
from segzoo.engine.reduce import Loss
from segzoo.engine.settings import Settings
from segzoo.errors import UsageError, printable
from segzoo.metrics.versions import VERSION
from segzoo.model.loaded import Model
from segzoo.spec import ModelSpec, Postprocess, Preprocess, Recipe

__all__ = ["Changes", "Method", "TrainRequest", "Wishes"]

Changes: TypeAlias = Mapping[str, str] | Sequence[str]


class Method(NamedTuple):
    """How to train, and what to measure.

    recipe: a name of the spec's, or a Recipe; changes: of it. loss: instead of the task's, by name
    or as a callable (outputs, batch). metrics: names beside those of the task; metrics_version: by
    which their numbers are called. transform: an augmentation, (image, mask) -> (image, mask).
    """

    recipe: str | Recipe | None = None
    changes: Changes = ()
    loss: Loss | str | None = None
    metrics: Sequence[str] = ()
    metrics_version: int = VERSION
    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None

    @property
    def changed(self) -> Changes:
        """All changes of the recipe: a loss that is given by name is one, before its options.

        UsageError for options of a loss that is a callable.
        """
        if self.loss is None:
            return self.changes
        pairs = (
            [f"{key}={text}" for key, text in self.changes.items()]
            if isinstance(self.changes, Mapping)
            else [*self.changes]
        )
        if isinstance(self.loss, str):
            return [f"loss={self.loss}", *pairs]
        if options := [pair for pair in pairs if pair.strip().startswith(("loss=", "loss."))]:
            raise UsageError(
                "the loss is given as a function, which takes no options here",
                found=", ".join(map(printable, options)),
            )
        return pairs


class Wishes(NamedTuple):
    """What the network should be, and begin with.

    normalized: mean and std are the data set's already.
    """

    num_classes: int | None = None
    in_channels: int | None = None
    task: str | None = None
    preprocess: Preprocess | None = None
    postprocess: Postprocess | None = None
    pretrained: bool = False
    init_from: str | os.PathLike[str] | None = None
    backbone: str | None = None
    options: Mapping[str, Json] = {}
    normalized: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, on what, how, and where to. See `segzoo.train`, whose arguments these are.

    data, val: as they are given, by words or as a data set. settings: None for those of the run to
    go on from, else the defaults. resume: that run; force_resume: although it was begun otherwise.
    teacher: a model whose probabilities are learned from too, as `segzoo.load` takes it.
    """

    model: str | ModelSpec | nn.Module | None = None
    data: str | Dataset | None = None
    val: str | Dataset | None = None
    run: Path = Path("run")
    method: Method = field(default_factory=Method)
    wishes: Wishes = field(default_factory=Wishes)
    settings: Settings | None = None
    resume: Path | None = None
    force_resume: bool = False
    teacher: str | Model | None = None
