"""A data set of bright squares, made when asked for, and runs on it: for tests of the engines."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import segzoo
from segzoo.data.sample import Info, Sample
from segzoo.engine import recipes
from segzoo.engine.evaluate import Task
from segzoo.engine.settings import Settings
from segzoo.engine.train import Result, train
from segzoo.metrics.semantic import Semantic
from segzoo.registry import resolve


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


def fitted(
    model: str,
    run: Path,
    *,
    length: int = 20,
    ignored: int = 0,
    loss: str = "",
    recipe: dict[str, Any],
    settings: dict[str, Any] | None = None,
    resume: bool = False,
    options: dict[str, Any] | None = None,
    val: int = 0,
    seed: int = 0,
) -> tuple[segzoo.Model, Result]:
    """Train a model of the zoo on squares, in this process as a part of however many there are."""
    zoo = segzoo.load(model, seed=seed, num_classes=1 if ignored == 0 else 2, **(options or {}))
    data = Squares(length, ignored=ignored)
    path = loss or zoo.spec.tasks[zoo.task].loss
    measures = {"semantic": Semantic(num_classes=zoo.num_classes, ignore_index=255)}
    result = train(
        zoo.network,
        loss=resolve(path)(),
        data=data,
        val=Squares(val, ignored=ignored) if val else None,
        recipe=recipes.from_json({"optimizer": ["adam", {}], "lr": 1e-2, **recipe}),
        task=Task(
            preprocess=zoo.preprocess,
            postprocess=zoo.postprocess,
            in_channels=zoo.in_channels,
            num_classes=zoo.num_classes,
            ignore_index=255,
        ),
        run=run,
        measures=measures,
        settings=Settings(**{"device": "cpu", "workers": 0, "quiet": True, **(settings or {})}),
        resume=run if resume else None,
    )
    return zoo, result


def main(arguments: str) -> None:
    """What a launcher of several processes runs: `fitted` with the arguments of a JSON object."""
    torch.set_num_threads(1)
    wishes = json.loads(arguments)
    fitted(wishes.pop("model"), Path(wishes.pop("run")), **wishes)


if __name__ == "__main__":
    main(sys.argv[1])
