"""Plain data: records that are checked when they are made, and their way to JSON and back.

Standard library only. `segzoo.spec` gives what plugins need of it.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = [
    "Json",
    "R",
    "Record",
    "asdict",
    "factors_fault",
    "failed",
    "from_dict",
    "is_json",
    "typed",
]

Json: TypeAlias = Any  # None, bool, int, float, str, and lists and string-keyed dicts of these
R = TypeVar("R", bound="Record")
SHOWN = 500  # characters of a wrong value in a message


@dataclass(frozen=True, kw_only=True)
class Record:
    """Plain data: every field is checked against its annotation, then by the class's `_faults`."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))  # type: ignore[arg-type]  # a class is hashable
        faults = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Mapping):
                value = dict(value)  # a copy: the caller's dict stays the caller's
                object.__setattr__(self, f.name, value)
            if not _test_of(hints[f.name])(value):
                faults.append(f"{f.name}={_shown(value)} is not {_words(hints[f.name])}")
        faults = faults or self._faults()
        if faults:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(faults))

    def _faults(self) -> list[str]:
        return []


def asdict(record: Record) -> dict[str, Json]:
    """A record as JSON values: nested records become dicts, tuples lists."""

    def plain(value: object) -> Json:
        if isinstance(value, Record):
            return asdict(value)
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value

    return {f.name: plain(getattr(record, f.name)) for f in dataclasses.fields(record)}


def from_dict(cls: type[R], data: Mapping[str, Json]) -> R:
    """The inverse of `asdict`: lists become tuples, dicts records.

    ValueError names every field that is unknown or missing, or what the record has against them.
    """
    fields = dataclasses.fields(cls)
    unknown = sorted(set(data) - {f.name for f in fields})
    missing = sorted(
        f.name
        for f in fields
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and f.name not in data
    )
    if unknown or missing:
        faults = [f"unknown field {name!r}: needs a newer segzoo" for name in unknown]
        faults += [f"missing field {name!r}" for name in missing]
        raise ValueError(f"{cls.__name__}: " + "; ".join(faults))
    hints = get_type_hints(cls)
    return cls(**{name: typed(value, hints[name]) for name, value in data.items()})


def typed(value: Json, hint: Any) -> Any:
    """A JSON value as an annotation has it; one that does not fit is given back as it is."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for kind in kinds:
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Record):
            return from_dict(kind, value)
        if isinstance(value, list) and get_origin(kind) is tuple:
            args = get_args(kind)
            items = args if Ellipsis not in args else (args[0],) * len(value)
            if len(items) == len(value):
                return tuple(typed(v, item) for v, item in zip(value, items, strict=True))
            return tuple(value)
    return value


def failed(*checks: tuple[bool, str]) -> list[str]:
    """What is said of those of the checks (is it wrong, what to say of it) that are."""
    return [fault for wrong, fault in checks if wrong]


def factors_fault(values: object) -> str:
    """What is wrong with weights of classes or outputs, as words that follow their name; or "".

    Whether they are a series of numbers at all is looked at elsewhere.
    """
    if not isinstance(values, list | tuple):
        return ""
    if any(value < 0 for value in values):
        return f"has a value below 0: {', '.join(f'{value:g}' for value in values)}"
    return "" if any(values) else "has no value above 0"


def is_json(value: object) -> bool:
    """Whether a value is one that JSON has; nan and the infinities are not."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, float):
        return isfinite(value)
    return value is None or isinstance(value, str | int)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _test_of(hint: Any) -> Callable[[Any], bool]:
    """Whether a value is of an annotated type, for the few kinds of annotation used above.

    Found once for each, as looking through an annotation takes longer than through a value.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin is Literal:
        return lambda value: any(value == one and type(value) is type(one) for one in args)
    if origin in (Union, types.UnionType):
        kinds = [*map(_test_of, args)]
        return lambda value: any(test(value) for test in kinds)
    if origin is tuple:
        return _test_of_tuple(args)
    if origin is Mapping:
        key, item = map(_test_of, args)
        return lambda value: (
            isinstance(value, Mapping) and all(key(k) and item(v) for k, v in value.items())
        )
    if hint is float:
        return lambda value: _is_int(value) or (isinstance(value, float) and isfinite(value))
    if hint is int:
        return _is_int
    if isinstance(hint, type) and issubclass(hint, Record):
        return lambda value: type(value) is hint  # data, which whoever has it reads unguarded
    return lambda value: isinstance(value, hint)


def _test_of_tuple(args: tuple[Any, ...]) -> Callable[[Any], bool]:
    if args == (str, Ellipsis):  # at once, as there may be a thousand
        return lambda value: (
            isinstance(value, tuple) and all(issubclass(kind, str) for kind in {*map(type, value)})
        )
    if args[-1] is Ellipsis:
        each = _test_of(args[0])
        return lambda value: isinstance(value, tuple) and all(map(each, value))
    tests = [*map(_test_of, args)]
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(tests)
        and all(test(item) for test, item in zip(tests, value, strict=True))
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _words(hint: Any) -> str:
    if hint is float:
        return "a finite number"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    return "of type " + re.sub(r"(typing|collections\.abc|segzoo\.spec)\.", "", name)
