"""What is imported is declared, and the reverse; what others keep private is not imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
FOR_US = {"test", "check", "docs", "all"}  # extras that no file of src needs
# Needed by another library that is declared beside it, and imported by none of our files.
NOT_IMPORTED = {Path("."): {"pyopenssl"}, Path("plugins/segzoo-smp"): {"timm"}}
OF_DISTRIBUTION = {**packages_distributions(), "segzoo": ["segzoo-core"]}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def project_of(folder: Path) -> dict[str, object]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]


def declared(folder: Path) -> set[str]:
    """The distributions that a project needs, with those of its extras."""
    project = project_of(folder)
    extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    lines = [*project["dependencies"]]
    lines += [line for extra, more in extras.items() if extra not in FOR_US for line in more]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


def imported(source: str) -> Iterator[str]:
    """Every module that a file imports, in functions and for type checkers too, dotted.

    Also by `segzoo.base.extras.imported("module", ...)`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "imported":
            yield ast.literal_eval(node.args[0])


def foreign(folder: Path) -> dict[str, set[str]]:
    """What the files of a project import of others, and which files do."""
    own = {p.name for p in (folder / "src").iterdir()}
    found: dict[str, set[str]] = {}
    for file in sorted((folder / "src").rglob("*.py")):
        for module in imported(file.read_text("utf-8")):
            if module.split(".")[0] not in {*own, *sys.stdlib_module_names}:
                found.setdefault(module, set()).add(file.relative_to(folder).as_posix())
    return found


def distributions_of(module: str) -> set[str]:
    """Those that bring a module; its own name where none is installed."""
    top = module.split(".")[0]
    return {normal(name) for name in OF_DISTRIBUTION.get(top, [top])}


def undeclared(folder: Path) -> dict[str, set[str]]:
    allowed = declared(folder)
    return {m: files for m, files in foreign(folder).items() if not distributions_of(m) & allowed}


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_what_is_imported_is_declared(folder):
    assert undeclared(folder) == {}


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_what_is_declared_is_imported(folder):
    used = {name for module in foreign(folder) for name in distributions_of(module)}
    assert declared(folder) - used == NOT_IMPORTED.get(folder.relative_to(ROOT), set())


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_private_parts_of_others_are_not_imported(folder):
    private = {m: f for m, f in foreign(folder).items() if re.search(r"\._(?!_)", m)}
    assert private == {}


def test_the_library_under_the_hubs_client_is_not_named():
    """It differs between releases of huggingface_hub, which is asked for it."""
    files = (ROOT / "src").rglob("*.py")
    assert [f.name for f in files if "httpx" in f.read_text("utf-8")] == []


def test_a_missing_declaration_is_seen(tmp_path):
    (tmp_path / "src" / "mine").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1", "rich"]\n')
    (tmp_path / "src" / "mine" / "a.py").write_text(
        "import os, mine.b\nimport numpy as np\nfrom numpy._core import x\n"
        "def f():\n    from PIL import Image\n    import no_such_library.part\n"
        "    return imported('timm.optim', needed='layers need timm')\n"
    )
    assert set(undeclared(tmp_path)) == {"PIL.Image", "no_such_library.part", "timm.optim"}
    assert declared(tmp_path) == {"numpy", "rich"}
    assert "numpy._core.x" in foreign(tmp_path)
