"""What `/metrics` tells a monitoring system, in its own words."""

import os
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["CONTENT_TYPE", "Counters", "resident_bytes"]

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Counters:
    """Those of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "segzoo_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "segzoo_request_seconds",
            "From the head of a request for a picture to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self.steps = Histogram(
            "segzoo_step_seconds",
            "What each step of a picture takes.",
            ["step"],
            buckets=SECONDS,
            registry=registry,
        )
        self.pictures = Counter(
            "segzoo_pictures", "Pictures answered for.", ["model"], registry=registry
        )
        self.together = Histogram(
            "segzoo_pictures_together",
            "With how many pictures one ran, itself among them.",
            buckets=(1, 2, 4, 8, 16),
            registry=registry,
        )
        self.restarts = Counter("segzoo_worker_restarts", "Workers that ended.", registry=registry)
        self.pending = Gauge(
            "segzoo_pictures_pending", "Pictures that wait or run.", registry=registry
        )
        self.held = Gauge(
            "segzoo_body_bytes", "Bytes of requests that are being received.", registry=registry
        )
        self.workers = Gauge(
            "segzoo_worker_resident_bytes", "Memory of all workers.", registry=registry
        )

    def watch(self, *, pending: Callable[[], int], pids: Callable[[], Iterable[int]]) -> None:
        """Ask at each look: how many pictures there are, and which processes work."""
        self.pending.set_function(pending)
        self.workers.set_function(lambda: sum(map(resident_bytes, pids())))

    def text(self) -> bytes:
        found: bytes = generate_latest(self.registry)
        return found


def resident_bytes(pid: int) -> int:
    """Memory of a process, where Linux tells; else 0."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
