"""Conditions on named numbers, written as a person reads them: "classes >= 3".

A condition is data: a plugin's spec holds some, and they are read, never run.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["Condition", "all_hold", "condition_fault", "parsed"]

OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
)
PATTERN = re.compile(r"([a-z][a-z_]*) (<|<=|>|>=|==|!=) (-?[0-9]+(?:\.[0-9]+)?)", re.ASCII)
MOST = 100  # characters


class Condition(NamedTuple):
    """What a number of this name must be."""

    name: str
    comparison: str
    value: float

    def holds(self, numbers: Mapping[str, float]) -> bool:
        """Whether it is so; never for a number that is not known."""
        found = numbers.get(self.name, math.nan)
        return not math.isnan(found) and OPERATORS[self.comparison](found, self.value)


def parsed(text: str) -> Condition:
    """A condition from its text. ValueError for one that cannot be read."""
    match = PATTERN.fullmatch(text) if len(text) <= MOST else None
    if match is None:
        raise ValueError(f"{text[:MOST]!r} is no condition, such as 'classes >= 3'")
    name, comparison, value = match.groups()
    return Condition(name, comparison, float(value))


def condition_fault(text: str) -> str:
    """Why a text is no condition; empty when it is one."""
    try:
        parsed(text)
    except ValueError as error:
        return str(error)
    return ""


def all_hold(texts: Iterable[str], numbers: Mapping[str, float]) -> bool:
    return all(parsed(text).holds(numbers) for text in texts)
