"""A model small enough to reason about: a plugin's model file and spec in one, for the tests."""

from dataclasses import replace

import torch
from torch import nn

from segzoo.spec import ModelSpec, Option, Postprocess, Preprocess, Recipe, Suits, TaskDefaults


class Tiny(nn.Module):
    """One convolution and a head; the head sees the brightness of each pixel."""

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.stem(x)).relu())


def tiny(in_channels: int = 3, num_classes: int = 1, *, width: int = 4) -> Tiny:
    return Tiny(in_channels, num_classes, width)


def loss():
    def mean_square(outputs, batch):
        return ((outputs - batch["target"].reshape(-1)[0]) ** 2).mean()

    return mean_square


SIGMOID = TaskDefaults(loss="tiny:loss", postprocess=Postprocess())
SOFTMAX = TaskDefaults(
    loss="tiny:loss", postprocess=Postprocess(activation="softmax", threshold=None)
)

TINY = ModelSpec(
    summary="a model for tests",
    builder="tiny:tiny",
    options={"width": Option(default=4, min=1, max=10**9, help="Channels inside.")},
    tasks={"binary": SIGMOID, "multiclass": SOFTMAX},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=3 * 4 * 9 + 4 + 8 + 4 + 1,
    head=("head.",),
    stem=("stem.",),
)

# Models that say for which data sets they are meant: for nearly all, and for none that is gray.
STRANGER = replace(
    TINY,
    recipes={
        "own": Recipe(
            steps=100,
            batch_size=8,
            optimizer=("adamw", {}),
            lr=3e-3,
            schedule=("cosine", {}),
            eval_metric="max_f",
        )
    },
    suits=(
        Suits(
            when=("pictures >= 1", "classes >= 2", "height >= 8", "width >= 8", "gray >= 0"),
            why="whatever has a brightness",
            options=({"width": 8}, {"width": 4}),
            recipe="own",
        ),
    ),
)
RULED_OUT = replace(TINY, suits=(Suits(when=("gray < 0.5",), why="colours"),))
