"""Things that a recipe names with options: a table says which there are and what they take."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from segzoo.base.records import Json
from segzoo.errors import printable
from segzoo.spec import Option

__all__ = ["Kind", "faults_of", "filled"]


class Kind(NamedTuple):
    """One name of a table. help: a sentence. function: made or called with all of the options."""

    help: str
    options: Mapping[str, Option]
    function: Callable[..., Any]


def faults_of(
    name: str, options: Mapping[str, Json], kinds: Mapping[str, Kind], what: str
) -> list[str]:
    """Everything that is wrong with a name and its options. what: "an augmentation"."""
    if name not in kinds:
        hint = _hint(name, kinds) or f"; there are {', '.join(kinds)}"
        return [f"{printable(str(name))!r} is not {what}{hint}"]
    declared, faults = kinds[name].options, []
    for key, value in options.items():
        if key not in declared:
            hint = _hint(key, declared)
            have = ", ".join(declared) or "none"
            faults.append(f"{name}: {printable(str(key))!r} is not an option{hint}; it has {have}")
        elif fault := declared[key].fault(value):
            faults.append(f"{name}: {key} is {fault}")
    return faults


def filled(options: Mapping[str, Json], kind: Kind) -> dict[str, Json]:
    """The options with the defaults of those that are not given."""
    return {key: option.default for key, option in kind.options.items()} | dict(options)


def _hint(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
