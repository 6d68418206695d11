"""How long a step and a measurement take here, tried on a copy of the network.

What is timed is the network and the loss on samples that were read before, not the reading.
"""

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from segzoo.data.draws import drawn
from segzoo.data.loader import Batch
from segzoo.data.sample import Dataset, Sample
from segzoo.engine import batch as batching
from segzoo.engine.evaluate import evaluate
from segzoo.engine.job import TrainingJob
from segzoo.engine.settings import Settings

__all__ = ["Took", "of_measurement", "of_step"]

PICTURES = 4  # of the validation set, that tell how long all of them take
LONG = 5.0  # seconds; what takes so long is not tried twice
TRIES = 4  # of a step, the first one too
ENOUGH = 3.0  # seconds of tries; after these no third one begins
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Took(NamedTuple):
    """Seconds by the clock, and those that processors worked for it: others do not change these."""

    seconds: float
    work: float


def of_step(job: TrainingJob, parts: Sequence[Batch], settings: Settings) -> Took:
    """The least that it takes from samples to gradients, without the first time, which prepares.

    parts: as the loader gives them. settings: of which memory format and device matter; the network
    is on its device already.
    """
    device = next(job.network.parameters()).device
    network = copy.deepcopy(job.network)
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)
    preprocess = job.task.preprocess
    half = HALVES.get(job.recipe.precision)
    tries: list[Took] = []
    with _untouched(device):
        while len(tries) < TRIES:
            begun, worked = time.perf_counter(), time.process_time()
            for batch in parts:
                part = batching.on_device(batch, device, preprocess, settings, job.teacher)
                with torch.autocast(device.type, half, enabled=half is not None):
                    outputs = network(part["image"])
                value = job.loss(outputs, part)
                (value["loss"] if isinstance(value, Mapping) else value).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            tries.append(Took(time.perf_counter() - begun, time.process_time() - worked))
            if tries[0].seconds > LONG:
                break
            if len(tries) > 1 and sum(took.seconds for took in tries) > ENOUGH:
                break
    later = tries[1:] or tries
    return Took(min(took.seconds for took in later), min(took.work for took in later))


def of_measurement(job: TrainingJob) -> float:
    """Seconds to measure on the whole validation set, as a few of its pictures tell; 0: no set."""
    if job.val is None:
        return 0.0
    some = _First(job.val.dataset, min(PICTURES, len(job.val)))
    device = next(job.network.parameters()).device
    with _untouched(device):
        begun = time.perf_counter()
        evaluate(
            copy.deepcopy(job.network),
            some,
            task=job.task,
            measures=job.measures,
            batch_size=job.settings.eval_batch_size,
            precision=job.recipe.precision,
        )
        return (time.perf_counter() - begun) * len(job.val) / len(some)


class _First:
    """The first samples of a data set."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index]


@contextlib.contextmanager
def _untouched(device: torch.device) -> Iterator[None]:
    """Afterwards the random numbers are as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), drawn(0):
        yield
