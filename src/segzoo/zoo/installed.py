"""Which of the modules that a plugin requires are not installed."""

from collections.abc import Mapping
from importlib import util

__all__ = ["missing"]


def missing(requires: Mapping[str, str]) -> dict[str, str]:
    """Those of `requires`, module -> pip requirement, whose module is not there.

    To look for `a.b`, `a` is imported. One that fails by something else than an import is there:
    its fault shows when it is used.
    """
    return {module: pip for module, pip in requires.items() if not _is_there(module)}


def _is_there(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except ImportError:  # what it is in is missing, or is no package
        return False
    except Exception:  # a package may raise anything
        return True
