"""Models whose masks anybody can work out: they look at one pixel at a time and learned nothing."""

import torch
from torch import nn

from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

SIGMOID = TaskDefaults(loss="bright:no_loss", postprocess=Postprocess())
SOFTMAX = TaskDefaults(
    loss="bright:no_loss", postprocess=Postprocess(activation="softmax", threshold=None)
)


class Bright(nn.Module):
    """One class: what is brighter than 0.5. Its one side output: what is darker."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor, *, all_heads: bool = False):
        logits = self.sharpness * (x.mean(1, keepdim=True) - 0.5)
        return (logits, -logits) if self.training or all_heads else logits


class Strongest(nn.Module):
    """Three classes: which of red, green and blue is the strongest."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sharpness * x


class Picky(Bright):
    """Fails for every input that is not 8 pixels high."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] != 8:
            raise ValueError("I like 8 rows")
        return super().forward(x)


def bright(in_channels: int, num_classes: int) -> Bright:
    return Bright()


def strongest(in_channels: int, num_classes: int) -> Strongest:
    return Strongest()


def picky(in_channels: int, num_classes: int) -> Picky:
    return Picky()


def no_loss():
    raise AssertionError("these models are not trained")


BRIGHT = ModelSpec(
    summary="finds what is bright",
    builder="bright:bright",
    tasks={"binary": SIGMOID},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=1,
)
STRONGEST = ModelSpec(
    summary="finds the strongest colour",
    builder="bright:strongest",
    tasks={"multiclass": SOFTMAX},
    preprocess=Preprocess(),
    num_classes=3,
    num_parameters=1,
)
PICKY = ModelSpec(
    summary="fails for most pictures",
    builder="bright:picky",
    tasks={"binary": SIGMOID},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=1,
)
