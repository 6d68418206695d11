"""A timed warm-up of a job, before there is a run: what a step and a measurement will take.

    pace = timed(job)
    steps = minutes * 60 / pace.of_a_step

For those who plan: which batch, precision or number of threads is the fastest here, what fits into
the time that there is. A run of so many `minutes` does the like by itself.
"""

import contextlib
import copy
import dataclasses
import time
from typing import NamedTuple

from segzoo.engine import pace
from segzoo.engine.job import Start, TrainingJob
from segzoo.engine.train import feed_of, first_parts, place_of, trainee_of

__all__ = ["Pace", "timed"]


class Pace(NamedTuple):
    """Seconds: of reading the samples of a step, by all its workers at work; of computing a step;
    of a measurement on the whole validation set, 0 without one; that processors worked for the
    step, whoever else uses them."""

    reading: float
    computing: float
    measurement: float
    work: float = 0.0

    @property
    def of_a_step(self) -> float:
        """Samples are read while others are computed."""
        return max(self.reading, self.computing)


def timed(job: TrainingJob) -> Pace:
    """Read the first step's samples, and compute with them on a copy of the network, twice.

    Nothing is written, the network and the random numbers stay as they are. Errors as
    `segzoo.engine.train.train`.
    """
    settings = job.settings
    job = dataclasses.replace(
        job,
        network=copy.deepcopy(job.network),
        settings=dataclasses.replace(settings, workers=0, quiet=True),
        start=Start(),
    )
    with place_of(job) as place, trainee_of(job, place):
        with contextlib.closing(feed_of(job, place, start=0, stop=1)) as feed:
            begun = time.perf_counter()
            parts = first_parts(job, place, feed)
            reading = (time.perf_counter() - begun) / max(1, settings.workers)
        step, measurement = pace.of_step(job, parts, settings), pace.of_measurement(job)
        return Pace(reading, step.seconds, measurement, step.work)
