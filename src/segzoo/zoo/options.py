"""Options of what is named (a loss, an optimiser, a reader), held against what it takes.

What takes options says so by a table of `Option`s or by its signature. Either way an unknown option
is named with the nearest that there is, and a value of another type or length is refused before
anything is called with it.
"""

import difflib
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from segzoo.base.records import Json
from segzoo.errors import printable
from segzoo.spec import Option

__all__ = ["faults_by_signature", "faults_by_table", "near", "unknown"]

MOST = 100  # characters of a value that are shown
PLAIN = (bool, int, float, str)
KINDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


def near(word: str, known: Iterable[str]) -> str:
    """ " (did you mean 'lr'?)", or nothing where no known word is like it."""
    found = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def unknown(option: str, known: Collection[str], *, common: Collection[str] = ()) -> str:
    """What is said of an option that is not there. common: others that are, but not listed."""
    have = ", ".join(known) or "none"
    hint = near(option, [*known, *common])
    return f"{printable(str(option))!r} is not an option{hint}; it has {have}"


def faults_by_table(
    options: Mapping[str, Json], declared: Mapping[str, Option], *, common: Collection[str] = ()
) -> list[str]:
    """Everything that is wrong with options of what declares its own. common: as in `unknown`."""
    faults = []
    for key, value in options.items():
        if key not in declared:
            faults.append(unknown(key, declared, common=common))
        elif fault := declared[key].fault(value):
            faults.append(f"{key} is {fault}")
    return faults


def faults_by_signature(
    options: Mapping[str, Json], function: Callable[..., object], *, without: Collection[str] = ()
) -> list[str]:
    """Everything that is wrong with JSON values as keywords of a function or class.

    without: parameters that are no options. A parameter without an annotation is held against the
    type of its default; what cannot be judged so is let through.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some that are written in C have none
        return []
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = {n: p for n, p in parameters.items() if p.kind in named and n not in without}
    hints, faults = _hints(function), []
    for key, value in options.items():
        if key in known:
            hint = hints.get(key, inspect.Parameter.empty)
            if hint is inspect.Parameter.empty:
                hint = _hint_of(known[key].default, value)
            if not _fits(value, hint):
                shown = printable(repr(value))[:MOST]
                faults.append(f"{key} is {shown}, not {_words(hint)}")
        elif not takes_all or key in without:
            faults.append(unknown(key, known))
    return faults


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    """Annotations of a function, or of what makes an object of a class; none that fail."""
    made: Any = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        return get_type_hints(made)
    except Exception:  # a plugin's annotations may name anything
        return {}


def _hint_of(default: object, value: Json) -> Any:
    """What a parameter without an annotation takes, by its default: a number where that is one."""
    if value is None or type(default) not in PLAIN:
        return Any
    return float if type(default) is int else type(default)


def _fits(value: Json, hint: Any) -> bool:
    """Whether a JSON value can be meant by an annotation; true for those that are not known."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if any(_is_known(arg) and _fits(value, arg) for arg in args):
            return True
        others = [arg for arg in args if not _is_known(arg)]
        # a class says which values are its own (numbers.Number); of anything else nothing is known
        return len(others) == len(args) or any(
            isinstance(value, arg) for arg in others if isinstance(arg, type)
        )
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in args)
    if hint in PLAIN:
        if hint is float and type(value) in (int, float):
            return isfinite(value)
        return type(value) is hint
    if _is_series(hint):
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and args and args[-1] is not Ellipsis:
            return len(value) == len(args) and all(map(_fits, value, args))
        return all(_fits(item, args[0]) for item in value) if args else True
    if origin is Mapping or origin is dict or hint in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def _is_series(hint: Any) -> bool:
    return get_origin(hint) in (tuple, list, Sequence) or hint in (tuple, list, Sequence)


def _is_known(hint: Any) -> bool:
    """Whether a JSON value can be held against an annotation."""
    plain = hint in PLAIN or hint is None or hint is type(None) or get_origin(hint) is Literal
    union = get_origin(hint) in (Union, types.UnionType)
    mapping = get_origin(hint) in (dict, Mapping) or hint in (dict, Mapping)
    return plain or union or mapping or _is_series(hint)


def _words(hint: Any) -> str:
    """What an annotation takes, for a person."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(arg) for arg in args if _is_known(arg)))
    if hint is None or hint is type(None):
        return "none"
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if hint in KINDS:
        return KINDS[hint]
    if _is_series(hint):
        if origin is tuple and args and args[-1] is not Ellipsis:
            return f"a list of {len(args)}, each {_words(args[0])}"
        return f"a list, each {_words(args[0])}" if args and _is_known(args[0]) else "a list"
    return "an object of names and values"
