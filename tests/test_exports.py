"""The names of the package, and that importing it changes nothing."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import segzoo

ROOT = Path(__file__).parents[1]

# Everything that an import could change behind a caller's back. Run before and after it.
STATE = """
def state():
    import locale, logging, os, random, signal, sys, threading, warnings
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warnings": [str(f) for f in warnings.filters],
        "showwarning": warnings.showwarning is showwarning,
        "handlers": [str(h) for h in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "signals": str([signal.getsignal(s) for s in sorted(signal.valid_signals())]),
        "hooks": [str(h) for h in (sys.excepthook, sys.displayhook, sys.unraisablehook)],
        "finders": [str(f) for f in sys.meta_path],
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "locale": locale.setlocale(locale.LC_ALL),
        "random": hash(random.getstate()),
        "threads": threading.active_count(),
    }
import json, warnings
showwarning = warnings.showwarning
"""


def test_the_public_names():
    assert segzoo.__all__ == [
        "Model",
        "Prediction",
        "Predictor",
        "Recipe",
        "SegzooError",
        "auto",
        "cutout",
        "evaluate",
        "list_models",
        "load",
        "model_info",
        "train",
    ]


@pytest.mark.parametrize("name", segzoo.__all__)
def test_a_public_name_exists_and_says_what_it_is(name):
    found = getattr(segzoo, name)
    assert name in dir(segzoo)
    assert found.__name__ == name
    assert found.__module__.startswith("segzoo.")
    assert found.__doc__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'segzoo' has no attribute 'nothing'$"):
        segzoo.nothing  # noqa: B018
    assert not hasattr(segzoo, "_private")


def test_the_version_is_that_of_the_change_log():
    change_log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", change_log, re.MULTILINE)
    assert newest is not None
    assert segzoo.__version__ == newest[1] == metadata.version("segzoo-core")
    assert "__version__" in dir(segzoo)


@pytest.mark.parametrize(
    "package", ["src/segzoo", *(str(p.relative_to(ROOT)) for p in ROOT.glob("plugins/*/src/*"))]
)
def test_type_checkers_are_told_that_it_is_typed(package):
    assert (ROOT / package / "py.typed").read_bytes() == b""


@pytest.mark.parametrize(
    "module", ["segzoo", "segzoo.model.load", "segzoo.cli.main", "segzoo_u2net.spec"]
)
def test_importing_changes_nothing(module):
    code = f"{STATE}\nbefore = state()\nimport {module}\nprint(json.dumps([before, state()]))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    before, after = json.loads(result.stdout)
    assert after == before
    assert result.stderr == ""
