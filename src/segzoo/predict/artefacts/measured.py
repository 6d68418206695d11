"""How fast a network was found to be in each runtime on a machine, and what memory it took."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from segzoo.base.cores import usable_cores
from segzoo.base.counts import count_of
from segzoo.base.records import Record
from segzoo.predict.artefacts import store
from segzoo.predict.runtimes.offered import OFFERED

__all__ = ["Speed", "measured_here", "this_machine"]


@dataclass(frozen=True, kw_only=True)
class Speed(Record):
    """How long a network takes for one picture, in seconds, by the name of the runtime.

    machine, threads: that it was measured on. versions: of the runtimes. cannot: why a runtime
    that is installed does not run it. memory: bytes, at the most, of a process that did nothing
    else, by the runtimes for which that was asked.
    """

    model: str
    machine: str
    threads: int
    precision: str
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    cannot: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)

    @property
    def fastest(self) -> str:
        return min(self.seconds, key=lambda name: self.seconds[name], default="torch")

    def _faults(self) -> list[str]:
        odd = [name for name in (*self.seconds, *self.memory) if name not in OFFERED]
        return [f"measured is {name!r}, no runtime" for name in odd]


def measured_here() -> Iterator[Speed]:
    """What has been measured on this machine."""
    for speed in store.all_records(Speed, "speed-*.json"):
        if speed.machine == this_machine():
            yield speed


def this_machine() -> str:
    """The processor, and how many of its cores this process may use."""
    return f"{_processor()}, {count_of(usable_cores(), 'core')}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = (line.partition(":")[2].strip() for line in file if "model name" in line)
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()
