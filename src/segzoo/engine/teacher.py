"""A network that teaches another: what it says of the samples that the other one is trained on.

It sees of each sample what the student sees, after augmentation, as a picture that it is asked to
predict: by its own preprocessing, at its own size, in eval mode. So nothing is drawn for it, and a
run that goes on hears the same of it.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from segzoo.data.sample import picture_of
from segzoo.engine.evaluate import Task
from segzoo.predict.network import Network
from segzoo.predict.preprocess import prepare
from segzoo.predict.runtimes.torch import TorchRuntime
from segzoo.spec import Preprocess

__all__ = ["TEACHER", "Teacher"]

TEACHER = "teacher"  # what it says, in a batch


@dataclass(frozen=True)
class Teacher:
    """What says of samples what they show.

    network: on any device. task: what its numbers mean. classes: the student's K, where one class
    of one network may be two of the other. precision: "fp32" or "bf16".
    """

    network: nn.Module
    task: Task
    classes: int
    precision: str = "fp32"

    def __call__(self, images: Tensor, student: Preprocess) -> Tensor:
        """Probabilities (N, classes, h, w) float32 in 0..1 on the CPU, where the student answers.

        images: (N, C, h + 2 * margin, w + 2 * margin) uint8, as the student's loader gives them.
        PluginError when the network fails.
        """
        task = self.task
        post = task.postprocess
        asked = Network(
            TorchRuntime(self.network, self.precision), task.preprocess, post, task.num_classes
        )
        margin = student.margin
        inner = images[..., margin : images.shape[-2] - margin, margin : images.shape[-1] - margin]
        pictures = [
            picture_of(np.ascontiguousarray(each), task.preprocess, task.in_channels)
            for each in inner.permute(0, 2, 3, 1).numpy()
        ]
        inputs = [prepare(picture, task.preprocess, task.in_channels) for picture in pictures]
        maps = []
        for _, group in groupby(inputs, key=lambda found: found[0].shape):
            some = [*group]
            logits = asked.logits(np.stack([x for x, _ in some]))[0]
            maps += [
                asked.probabilities(each, geometry, post)
                for each, (_, geometry) in zip(logits, some, strict=True)
            ]
        return self._of_the_student(torch.from_numpy(np.stack(maps)))

    def _of_the_student(self, maps: Tensor) -> Tensor:
        """(N, K, h, w) with as many classes as the student has."""
        if maps.shape[1] == self.classes:
            return maps
        return maps[:, 1:] if self.classes == 1 else torch.cat([1 - maps, maps], 1)
