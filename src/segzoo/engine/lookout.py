"""When the processes of a run look up from their work, and what they then agree on."""

import time
from typing import Any

from segzoo.engine.launch import agreed
from segzoo.engine.settings import Settings
from segzoo.engine.signals import Asked

__all__ = ["POLL", "Lookout"]

POLL = 16  # steps between two looks, at most
SECONDS = 5.0  # between two looks, about, where steps are slow: a wish to stop is heard soon
STOPS = ("", "max_minutes", "SIGINT", "SIGUSR1", "SIGTERM")  # of several wishes the last one holds


class Lookout:
    """At every step on a CPU; elsewhere so seldom that the device need not wait for the host."""

    def __init__(self, accelerator: Any, asked: Asked, settings: Settings, *, step: int) -> None:
        self.accelerator = accelerator
        self.asked = asked
        self.settings = settings
        self.began = self.saved = self.looked = time.monotonic()
        self.last, self.next = step, step + 1

    def is_due(self, step: int) -> bool:
        """Whether to look after this step: the same for all processes."""
        return step == self.next

    def agree(self, step: int) -> tuple[str, bool]:
        """Why to stop, or "", and whether a checkpoint is due by the clock, for any process."""
        now = time.monotonic()
        pace = int(1e6 * (now - self.looked) / (step - self.last))
        wishes = [self._stop(now), int(self._is_save_due(now)), pace]
        stop, due, slowest = agreed(self.accelerator, wishes)
        steps = 1 if self.accelerator.device.type == "cpu" else int(SECONDS * 1e6 / max(1, slowest))
        self.looked, self.last, self.next = now, step, step + max(1, min(steps, POLL))
        return STOPS[stop], bool(due)

    def has_saved(self) -> None:
        self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def _stop(self, now: float) -> int:
        limit = self.settings.max_minutes
        if self.asked.name:
            return STOPS.index(self.asked.name)
        return int(limit is not None and now - self.began > 60 * limit)

    def _is_save_due(self, now: float) -> bool:
        limit = self.settings.save_minutes
        return limit is not None and now - self.saved > 60 * limit
