"""What an error advises, without what the verb that was typed cannot do.

A next step is written where the fault is found, which does not know who asked: `--weights FILE` is
an option of `predict`, not of `demo`. An error offers alternatives, so those that go stay away.
"""

import re
from collections.abc import Container

__all__ = ["ALTERNATIVE", "fitting", "options_in"]

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
COMMAND = re.compile(r"\b(?:segzoo|pip|hf|torchrun) ")  # what follows are options of its own
ALTERNATIVE = re.compile(r"(?:; or|, or|;|\bor(?= (?:give|read|add|see) ))\s+")


def fitting(next_step: str, options: Container[str]) -> str:
    """The alternatives of a next step that name no option but these; empty where none is left.

    options: those of the verb, such as "--weights". What is told to be run as a command of its own
    stays.
    """
    parts = ALTERNATIVE.split(next_step)
    kept = [part for part in parts if all(name in options for name in options_in(part))]
    if len(kept) == len(parts):
        return next_step
    text = "; or ".join(part.rstrip(", ") for part in kept)
    return text[:1].upper() + text[1:]


def options_in(part: str) -> list[str]:
    """The options that a text names, up to a command of its own."""
    return OPTION.findall(COMMAND.split(part)[0])
