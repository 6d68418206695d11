"""What numbers are called, and what they were called before.

A record says by which version of the metrics it was made; one that says nothing is of version 1.
A run goes on with the names that it began with; what is read from a record to be shown or published
has today's.

    2    max_f is the largest F of the mean precision and recall, as published tables have it. In
         version 1 it was the largest of the mean F, which is max_f_of_mean now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from segzoo.errors import SegzooError, printable

if TYPE_CHECKING:
    import os

    from torch import Tensor

    from segzoo.metrics.measure import Measure, Numbers, Sums

__all__ = ["FIRST", "VERSION", "as_in", "difference", "name_now", "named_now", "version_in"]

VERSION = 2
FIRST = 1  # of what says no version
CALLED: Mapping[int, Mapping[str, str]] = {  # version -> what it called a number, and its name now
    1: {"max_f": "max_f_of_mean"},
}
T = TypeVar("T")


def version_in(
    record: Mapping[str, Any], *, file: "str | os.PathLike[str]", error: type[SegzooError]
) -> int:
    """The version of the metrics that a record says. `error` for one that is not known here."""
    version = record.get("metrics_version", FIRST)
    if type(version) is not int or not FIRST <= version <= VERSION:
        raise error(
            "its numbers are of another version of the metrics than this segzoo has",
            file=file,
            found=f"metrics_version {printable(repr(version))[:50]}",
            expected=f"{FIRST} to {VERSION}",
            next_step="Use the segzoo-core that wrote it, or a later one",
        )
    return version


def name_now(name: str, version: int) -> str:
    """Today's name of a number that a record of an earlier version has."""
    measure, dot, number = name.rpartition(".")  # a measure stands in front where two are alike
    mean = "mean_" if number.startswith("mean_") else ""  # where each class is judged by itself
    bare = number.removeprefix(mean)
    now = CALLED.get(version, {}).get(bare)
    return name if now is None else f"{measure}{dot}{mean}{now}"


def named_now(values: Mapping[str, T], version: int) -> dict[str, T]:
    """A record's numbers by today's names."""
    return {name_now(name, version): value for name, value in values.items()}


def difference(version: int) -> str:
    """What a version calls otherwise than today, for a person; empty for today's."""
    return ", ".join(
        f"{then} is what is now {now}" for then, now in CALLED.get(version, {}).items()
    )


def as_in(version: int, measure: "Measure") -> "Measure":
    """The measure with its numbers called as in a version, without those added since."""
    return measure if version == VERSION else _Earlier(measure, version)


@dataclass(frozen=True)
class _Earlier:
    measure: "Measure"
    version: int

    @property
    def lower_is_better(self) -> frozenset[str]:
        return self.measure.lower_is_better  # no such name has changed

    @property
    def total_only(self) -> frozenset[str]:
        found: frozenset[str] = getattr(self.measure, "total_only", frozenset())
        return found

    def sums(
        self, probabilities: "Tensor", mask: "Tensor", target: "Tensor"
    ) -> "dict[str, Tensor]":
        return self.measure.sums(probabilities, mask, target)

    def result(self, sums: "Sums") -> "Numbers":
        numbers = self.measure.result(sums)
        before = {now: then for then, now in CALLED[self.version].items() if now in numbers}
        return {
            before.get(name, name): value
            for name, value in numbers.items()
            if name not in before.values()
        }
