"""A data set of bright squares, made when asked for, and runs on it: for tests of the engines."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import segzoo
from segzoo.data.opened import Data
from segzoo.data.sample import Info, Sample
from segzoo.engine import recipes
from segzoo.engine.evaluate import Task
from segzoo.engine.job import Hooks, Start, TrainingJob, TrainingResult
from segzoo.engine.settings import Settings
from segzoo.engine.train import train
from segzoo.metrics.semantic import Semantic
from segzoo.zoo.registry import resolve


class Squares:
    """Gray noise with a bright square, whose pixels are class 1; the first rows are ignored."""

    def __init__(self, length: int, *, side: int = 32, ignored: int = 0) -> None:
        self.length, self.side, self.ignored = length, side, ignored
        self.info = Info(classes=("background", "square"), ignore_index=255)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        generator = np.random.default_rng(index)
        side = self.side
        image = generator.integers(0, 100, (side, side, 3)).astype(np.uint8)
        target = np.zeros((side, side), np.uint8)
        top, left = generator.integers(0, side // 2, 2)
        inside = np.s_[top : top + side // 3, left : left + side // 3]
        image[inside] += 120
        target[inside] = 1
        target[: self.ignored * (index % 3)] = 255  # so that every sample counts otherwise
        return Sample(image=image, target=target, id=f"square-{index}")

    def id_of(self, index: int) -> str:
        return f"square-{index}"


def fitted(model: str, run: Path, **wishes: Any) -> tuple[segzoo.Model, TrainingResult]:
    """Train a model of the zoo on squares, in this process as a part of however many there are.

    wishes: of `job_of`.
    """
    zoo, job = job_of(model, run, **wishes)
    return zoo, train(job)


def job_of(
    model: str,
    run: Path,
    *,
    recipe: dict[str, Any],
    length: int = 20,
    data: Any = None,
    ignored: int = 0,
    loss: Any = "",
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    val: int = 0,
    seed: int = 0,
    resume: bool | Path = False,
    at: tuple[int, str, int] | None = None,
    force_resume: bool = False,
    identity: dict[str, Any] | None = None,
    hooks: Hooks | None = None,
    measures: dict[str, Any] | None = None,
    network_of: Callable[[nn.Module], nn.Module] = lambda network: network,
) -> tuple[segzoo.Model, TrainingJob]:
    """A model of the zoo, and the job of training it on squares.

    at: (call of the loss, what happens then, in which process), see `FAULTS`. network_of: changes
    the network before.
    """
    zoo = segzoo.load(model, seed=seed, num_classes=1 if ignored == 0 else 2, **(options or {}))
    if not callable(loss):
        loss = resolve(loss or zoo.spec.tasks[zoo.task].loss)()
    if at is not None and at[2] == int(os.environ.get("RANK", "0")):
        loss = Faulty(loss, at[0], FAULTS[at[1]])
    job = TrainingJob(
        network=network_of(zoo.network),
        loss=loss,
        data=Data(Squares(length, ignored=ignored) if data is None else data),
        val=Data(Squares(val, ignored=ignored)) if val else None,
        recipe=recipes.from_json({"optimizer": ["adam", {}], "lr": 1e-2, **recipe}),
        task=Task(
            preprocess=zoo.preprocess,
            postprocess=zoo.postprocess,
            in_channels=zoo.in_channels,
            num_classes=zoo.num_classes,
            ignore_index=255,
        ),
        run=run,
        measures=measures or {"semantic": Semantic(num_classes=zoo.num_classes, ignore_index=255)},
        settings=Settings(**{"device": "cpu", "workers": 0, "quiet": True, **(settings or {})}),
        start=Start(
            identity=identity or {},
            resume=run if resume is True else resume or None,
            force=force_resume,
        ),
        hooks=hooks or Hooks(),
    )
    return zoo, job


class Faulty:
    """A loss with which something happens when it is called for the n-th time."""

    def __init__(self, loss: Any, call: int, fault: Callable[[Any], Any]) -> None:
        self.loss, self.call, self.fault = loss, call, fault
        self.calls = 0

    def __getattr__(self, name: str) -> Any:  # `count`, where the loss has it
        return getattr(self.loss, name)

    def __call__(self, outputs: Any, batch: Any) -> Any:
        value = self.loss(outputs, batch)
        self.calls += 1
        return self.fault(value) if self.calls == self.call else value


def _signal(number: int, *, group: bool = False) -> Callable[[Any], Any]:
    def send(value: Any) -> Any:
        (os.killpg if group else os.kill)(0 if group else os.getpid(), number)
        return value

    return send


def _limit_files(value: Any) -> Any:
    """As a full disk would: from here on no file can be longer."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
    return value


LIMIT = 3000  # bytes: less than a checkpoint of a tiny model, more than its first records
FAULTS: dict[str, Callable[[Any], Any]] = {
    "nan": lambda value: value * float("nan"),
    "out of memory": lambda value: torch.empty(2**50),
    "limit files": _limit_files,
    "SIGTERM": _signal(signal.SIGTERM),
    "SIGTERM to all": _signal(signal.SIGTERM, group=True),
    "SIGUSR1": _signal(signal.SIGUSR1),
    "SIGKILL": _signal(signal.SIGKILL),
    "SIGSTOP": _signal(signal.SIGSTOP),
}


def main(arguments: str) -> int:
    """What a launcher of several processes runs: `fitted` with the arguments of a JSON object.

    Gives the exit code that the command line gives.
    """
    torch.set_num_threads(1)
    wishes = json.loads(arguments)
    try:
        _, result = fitted(wishes.pop("model"), Path(wishes.pop("run")), **wishes)
    except segzoo.SegzooError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    return 143 if result.stopped in ("SIGTERM", "SIGUSR1") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
