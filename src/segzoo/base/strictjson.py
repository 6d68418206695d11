"""JSON from strangers: bounded before it is parsed, and stricter than Python's own parser."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate
from os import PathLike
from typing import Any, NamedTuple, NoReturn

from segzoo.base.counts import count_of
from segzoo.errors import SegzooError, printable

__all__ = [
    "ARRAY",
    "OBJECT",
    "OBJECT_OR_NULL",
    "TEXT",
    "TEXTS",
    "TEXT_OR_NULL",
    "JsonKind",
    "judge_kinds",
    "kind_faults",
    "short",
    "strict_json",
]

MAX_OBJECTS = 20_001  # the outermost braces not counted; a safetensors header has one per tensor
MAX_ITEMS = 400_000  # strings, or commas
MAX_DIGITS = 20  # of a whole number; Python's own limit can be switched off
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
ABSENT = object()


def strict_json(
    raw: bytes,
    path: str | PathLike[str],
    *,
    what: str,
    error: type[SegzooError],
    levels: int,
) -> dict[str, Any]:
    """The object in a JSON text from an untrusted file.

    Raises `error`, its message beginning with `what`, for text that is not UTF-8, not JSON or not
    an object, is nested more than `levels` deep, holds more than MAX_OBJECTS
    objects or MAX_ITEMS strings, or has a key twice, NaN, infinity or a number of more than
    MAX_DIGITS digits.
    """

    def fail(problem: str, found: str = "", expected: str = "") -> NoReturn:
        raise error(f"{what} {problem}", file=path, found=found, expected=expected)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"the key '{short(key)}' stands twice")
        return found

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"a number has {len(digits):,} digits")
        return int(digits)

    def constant(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number of JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"the number {short(digits)} is out of range")
        return value

    # Counted before parsing: what is parsed takes many times the memory of its text.
    text = raw.replace(b"\\\\", b"").replace(b'\\"', b"")  # each quote left is a string's end
    outside = b"".join(text.split(b'"')[::2])
    brackets = outside.translate(None, NOT_BRACKETS)
    for kind, count, most in (
        ("strings", text.count(b'"') // 2, MAX_ITEMS),
        ("objects", brackets.count(b"{") - 1, MAX_OBJECTS),
        ("items", outside.count(b","), MAX_ITEMS),
    ):
        if count > most:
            fail(f"holds too many {kind}", f"{count:,}", f"at most {most:,}")
    deepest = max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)
    if deepest > levels:
        fail("is nested too deeply", count_of(deepest, "level"), f"at most {levels}")
    try:
        parsed = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=number,
            parse_constant=constant,
        )
    except UnicodeDecodeError as wrong:
        fail("is not UTF-8", f"byte {raw[wrong.start]:#04x} at {wrong.start}")
    except ValueError as wrong:
        fail(f"is not valid JSON: {wrong}")
    if not isinstance(parsed, dict):
        fail("is not a JSON object", type(parsed).__name__)
    return parsed


class JsonKind(NamedTuple):
    """What a value has to be. words: as they follow "is not"."""

    words: str
    holds: Callable[[Any], bool]


OBJECT = JsonKind("an object", lambda value: isinstance(value, dict))
ARRAY = JsonKind("a list", lambda value: isinstance(value, list))
OBJECT_OR_NULL = JsonKind(
    "an object or null", lambda value: value is None or isinstance(value, dict)
)
TEXT = JsonKind("a text", lambda value: isinstance(value, str))
TEXT_OR_NULL = JsonKind("a text or null", lambda value: value is None or isinstance(value, str))
TEXTS = JsonKind(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
)


def kind_faults(record: Mapping[str, Any], kinds: Mapping[str, JsonKind]) -> list[str]:
    """What is said of the values that are of another kind than they have to be.

    kinds: by name, with a dot before what lies in an object. What is not there is no fault; null
    is a value like others.
    """
    faults = []
    for name, kind in kinds.items():
        value: Any = record
        for part in name.split("."):
            value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
        if value is not ABSENT and not kind.holds(value):
            faults.append(f"{name}={short(json.dumps(value))} is not {kind.words}")
    return faults


def judge_kinds(
    record: Mapping[str, Any],
    kinds: Mapping[str, JsonKind],
    path: str | PathLike[str],
    *,
    what: str,
    error: type[SegzooError],
    next_step: str = "",
) -> None:
    """`error` that lists the `kind_faults`, where there are any; its message begins with `what`."""
    if faults := kind_faults(record, kinds):
        raise error(
            f"{what} has values of another kind: {'; '.join(faults)}",
            file=path,
            next_step=next_step,
        )


def short(value: object) -> str:
    """A name or value from an untrusted file: printable, at most 80 characters."""
    text = printable(str(value)[:81])
    return text if len(text) <= 80 else text[:77] + "..."
