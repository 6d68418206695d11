"""Where in a plugin an error came from."""

import os
import sys
import sysconfig
import traceback

import torch

from segzoo.errors import SegzooError, printable
from segzoo.zoo import registry

__all__ = ["frames", "in_one_line"]

MAX_DETAIL = 200  # characters of an exception's message


def frames(error: BaseException) -> list[str]:
    """Where in a plugin an error came from: "FILE:LINE in FUNCTION: CODE", outermost first.

    Of the innermost cause, and without the steps through segzoo, torch and the standard library.
    """
    return [printable(f"{place} {code}") for place, code in _steps(error)]


def _steps(error: BaseException) -> list[tuple[str, str]]:
    while error.__cause__ is not None:
        error = error.__cause__
    steps = [
        (f"{step.filename}:{step.lineno}", f"in {step.name}: {step.line}")
        for step in traceback.extract_tb(error.__traceback__)
        if _is_plugins(step.filename)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        steps.append((f"{error.filename}:{error.lineno}", (error.text or "").strip()))
    return steps


def _is_plugins(file: str) -> bool:
    if "site-packages" not in file and file.startswith(sysconfig.get_path("stdlib")):
        return False
    homes = (os.path.dirname(os.path.dirname(__file__)), os.path.dirname(torch.__file__))
    ours = tuple(home + os.sep for home in homes)
    return not file.startswith((*ours, "<"))


def in_one_line(error: BaseException) -> str:
    """An error in one line, with the place in the plugin that it came from."""
    if isinstance(error, SegzooError):
        text = error.stated
    else:
        text = registry.cause(error)
        text = text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL] + "..."
    if isinstance(error, SyntaxError):
        return text  # which has the place already
    for place, _ in _steps(error)[-1:]:
        paths = [os.path.abspath(path) + os.sep for path in sys.path]
        home = max(filter(place.startswith, paths), key=len, default="")
        text += f" ({printable(place.removeprefix(home))})"
    return text
