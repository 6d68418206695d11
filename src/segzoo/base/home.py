"""`~` at the beginning of a path is a home folder, as a shell has it.

A shell leaves it alone after an equals sign (`--out=~/x`) and in quotes, and Python always does:
then a folder called `~` would appear. A command line is expanded once, whole, before it is read;
functions that take paths expand their own.
"""

import os
import re
from collections.abc import Iterable
from os import PathLike

__all__ = ["expanded", "expanded_line"]

# ~ alone, or ~ or ~user before a slash: a file may be called ~draft.
PATH = re.compile(r"~[\w.-]*/.*|~", re.DOTALL)
# What may stand before a path: --out= or loss.file= or imagenet=, -o, a prefix of a reference.
ARGUMENT = re.compile(
    r"(?P<head>((-{0,2}[A-Za-z][\w.-]*=)?|-[A-Za-z])(local-dir:)?)(?P<path>~.*)", re.DOTALL
)


def expanded(path: str | PathLike[str]) -> str:
    """The path with the home folder for `~`; as it is where it has none, or no home is known."""
    text = os.fsdecode(path)
    return os.path.expanduser(text) if PATH.fullmatch(text) else text


def expanded_line(arguments: Iterable[str]) -> list[str]:
    """The arguments of a command line, each path among them expanded, whatever option it is of."""
    return [_expanded_argument(argument) for argument in arguments]


def _expanded_argument(argument: str) -> str:
    match = ARGUMENT.fullmatch(argument)
    if match is None:
        return argument
    return match["head"] + expanded(match["path"])
