"""A run that lasts so many minutes: how many steps still fit, and where on its schedule it is.

The schedule follows the time that is used, not a number of steps that was guessed at the start: on
a machine that becomes slower the run takes fewer steps, and its rate is still at its end in time.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from segzoo.engine.launch import agreed

__all__ = ["Clock"]

SMOOTHING = 0.2  # how far a new look at the pace moves what is believed of it
MOST_MEASURING = 0.25  # seconds of measuring for each of training, but for the last measurement


@dataclass
class Clock:
    """What is known of a run's time, the same in all its processes after each look.

    seconds: that the run may take, in all its sittings. start: of them, used before the first step.
    step, measurement: what one takes, lately; 0 for measurements that there are none of. every:
    steps from one measurement to the next. used: until the last look.
    """

    seconds: float
    start: float
    step: float
    measurement: float
    every: int
    used: float
    measured: float = 0.0  # `used` when it measured last
    reached: float = 0.0  # `share` at the last look
    looked: float = field(default_factory=time.monotonic)
    at: int | None = None  # the step of the last look

    def look(self, step: int, *, used: float, accelerator: Any) -> None:
        """Note the time after a step. All processes call this, and believe the slowest."""
        now = time.monotonic()
        steps = 1 if self.at is None else step - self.at
        if steps > 0:
            self.step += SMOOTHING * ((now - self.looked) / steps - self.step)
        values = (used, self.step, self.measurement)
        agreed_on = agreed(accelerator, [int(1e6 * value) for value in values])
        self.used, self.step, self.measurement = (value / 1e6 for value in agreed_on)
        self.looked, self.at, self.reached = now, step, self.share

    def resume(self, *, measured: bool) -> None:
        """Go on after what was no step: measuring, or writing a checkpoint."""
        now = time.monotonic()
        if measured:
            self.measurement, self.measured = now - self.looked, self.used
        self.looked = now

    @property
    def steps_left(self) -> int:
        """How many fit before the last measurement, with those in between."""
        left = self.seconds - self.used - self.measurement
        between = min(self.measurement / self.every, MOST_MEASURING * self.step)
        return max(0, int(left / max(self.step + between, 1e-6)))

    @property
    def share(self) -> float:
        """How much of the schedule lies behind, in 0..1. It never goes back, though the last
        measurement may come to look shorter than it did.
        """
        whole = max(self.seconds - self.measurement - self.start, 1e-6)
        return min(1.0, max(self.reached, (self.used - self.start) / whole))

    @property
    def can_measure(self) -> bool:
        """Whether there was training enough since the last measurement."""
        return self.used - self.measured >= self.measurement / MOST_MEASURING
