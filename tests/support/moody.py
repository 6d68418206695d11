"""A model whose network has moods: the corner of a picture says what happens when it runs.

Else a pixel is foreground as far as it is bright.
"""

import os
import signal
import time

import torch
from torch import nn

from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults

FAILS, DIES, SLEEPS, NAPS = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 128)  # of the corner
NAP = 0.2  # seconds


class Moody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.head.weight, 4.0)
        nn.init.constant_(self.head.bias, -6.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for corner in (x[:, :, 0, 0] * 255).round().int().tolist():
            match tuple(corner):
                case (255, 0, 0):
                    raise RuntimeError("I will not")
                case (0, 255, 0):
                    os.kill(os.getpid(), signal.SIGKILL)
                case (0, 0, 255):
                    time.sleep(60)
                case (0, 0, 128):
                    time.sleep(NAP)
        return self.head(x)


def moody(in_channels: int = 3, num_classes: int = 1) -> Moody:
    return Moody()


MOODY = ModelSpec(
    summary="a model with moods",
    builder="moody:moody",
    tasks={"binary": TaskDefaults(loss="segzoo.losses:dice", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=4,
    head=("head.",),
)
