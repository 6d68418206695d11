"""Which verbs there are, and the command line of those that a line needs."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import typer

from segzoo.cli.help import Command, Group, completed
from segzoo.cli.text import say

__all__ = ["ALIASES", "EVERY", "GROUPS", "VERBS", "app_of", "verbs_of"]

# In the order of the help: where each is in this room. One that is not on the line costs nothing.
VERBS = {
    "cutout": "cutout:cutout",
    "demo": "demo:demo",
    "list": "list:list_models",
    "info": "info:info",
    "predict": "predict:predict",
    "warm": "warm:warm",
    "label": "label:label",
    "auto": "auto:auto",
    "train": "train:train",
    "eval": "eval:evaluate",
    "compare": "compare:compare",
    "report": "report:report",
    "prune": "prune:prune",
    "features": "features:features",
    "new": "new:new",
    "convert": "convert:convert",
    "export": "export:export",
    "pick": "pick:pick",
    "publish": "publish:publish",
    "serve": "serve:serve",
    "reproduce": "reproduce:reproduce",
    "verify": "verify:verify",
    "download": "download:download",
    "check": "check:check",
    "doctor": "doctor:doctor",
    "help": "help:explain",
}
ALIASES = {"ls": "list", "show": "info", "val": "eval", "push": "publish"}
GROUPS = {"data": "data:app", "cache": "cache:app"}
EVERY = (*VERBS, *ALIASES, *GROUPS)


def app_of(names: Iterable[str] = EVERY) -> typer.Typer:
    """The command line with these verbs, which are imported."""
    app = typer.Typer(
        cls=Group,
        help="A model zoo for image segmentation that architectures join as plugins.",
        rich_markup_mode=None,  # plain help: rich costs more to import than everything else here
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        if name in GROUPS:
            app.add_typer(_found(GROUPS[name]), name=name)
        else:
            verb: Callable[..., Any] = completed(_found(VERBS[ALIASES.get(name, name)]))
            app.command(name, cls=Command, hidden=name in ALIASES)(verb)
    return app


def verbs_of(arguments: Iterable[str]) -> tuple[str, ...]:
    """The verb of a line; all where it has none, another, or asks for help on one."""
    first = next((word for word in arguments if not word.startswith("-")), "")
    return (first,) if first in EVERY and first != "help" else EVERY


def _found(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"segzoo.cli.{module}"), attribute)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"segzoo-core {version('segzoo-core')}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Show where an error came from; works anywhere on the line."
    ),
) -> None:
    pass
