"""Things that a recipe names with options: a table says which there are and what they take."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from segzoo.base.records import Json
from segzoo.errors import printable
from segzoo.spec import Option
from segzoo.zoo.options import faults_by_table, near

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
        hint = near(name, kinds) or f"; there are {', '.join(kinds)}"
        return [f"{printable(str(name))!r} is not {what}{hint}"]
    return [f"{name}: {fault}" for fault in faults_by_table(options, kinds[name].options)]


def filled(options: Mapping[str, Json], kind: Kind) -> dict[str, Json]:
    """The options with the defaults of those that are not given."""
    return {key: option.default for key, option in kind.options.items()} | dict(options)
