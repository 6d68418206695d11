"""Options of an architecture on a command line: --option depth=3."""

import json
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from segzoo.base.records import Json
from segzoo.errors import UsageError, printable

__all__ = ["Options", "options_of"]

Options: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="Of the architecture, as segzoo info shows it: depth=3, width=16.",
        metavar="NAME=VALUE",
    ),
]


def options_of(items: Sequence[str] | None) -> dict[str, Json]:
    """What --option was given, "depth=3": JSON values, else text. UsageError without a "="."""
    options: dict[str, Json] = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"cannot read the option {printable(item)!r}", expected="name=value")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options
