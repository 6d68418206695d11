"""Libraries of the extras: imported where they are needed, and what is said when that fails."""

import importlib
from importlib import metadata
from typing import Any

from segzoo.errors import DependencyMissingError, printable

__all__ = ["PAIRED", "imported"]

# Libraries whose compiled parts are made for one version of torch, and what imports them.
PAIRED = ("torch", "torchvision", "timm")


def imported(module: str, *, needed: str, extra: str = "train") -> Any:
    """The module. needed: what for and which library, such as "augmentation needs torchvision".

    DependencyMissingError where it is not installed, with the line that installs it; and where it
    cannot be imported, as when it was built for another torch, with the builds that are here.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        next_step = f"Run: pip install 'segzoo-core[{extra}]'"
        raise DependencyMissingError(needed, next_step=next_step) from error
    except Exception as error:  # a missing operator is a RuntimeError, a missing symbol an OSError
        cause = printable(" ".join(str(error).split())[:200])
        raise DependencyMissingError(
            f"{needed}, which cannot be imported: {type(error).__name__}: {cause}",
            found=_builds(),
            expected="builds that were made for each other",
            next_step="Install them anew from one index: "
            "pip install --force-reinstall torch torchvision",
        ) from error


def _builds() -> str:
    """ "torch 2.13.0+cpu, torchvision 0.28.0": what is installed of those that go together."""
    found = []
    for name in PAIRED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
