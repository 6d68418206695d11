"""What is public, as docs/contract.md lists it; and public names stand for one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from segzoo import spec

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src" / "segzoo"
CONTRACT = ROOT / "docs" / "contract.md"
FILES = [file for file in sorted(CORE.rglob("*.py")) if "_template" not in file.parts]
PLUGINS = sorted(ROOT.glob("plugins/*/src/*/**/*.py"))
TEMPLATE = sorted((CORE / "_template").rglob("*.py.in"))
READ_BY_PEOPLE = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
READ_BY_PEOPLE += sorted(ROOT.glob("plugins/*/README.md"))
IMPORT_PATH = re.compile(r'"(segzoo(?:\.\w+)*):\w+"')


def module_of(file: Path) -> str:
    return ".".join(("segzoo", *file.relative_to(CORE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


MODULES = {module_of(file): file for file in FILES}


def listed(heading: str) -> list[str]:
    """The modules in the table below a heading of the contract, in its order."""
    section = re.search(
        rf"^##+ {heading}$(.*?)(?=^##+ |\Z)", CONTRACT.read_text("utf-8"), re.M | re.S
    )
    assert section is not None, heading
    return re.findall(r"^\| `(segzoo[\w.]*)` \|", section[1], re.MULTILINE)


PROMISED, SHOWN = listed("Public modules"), listed("Modules that pages show")


def modules_in(source: str) -> set[str]:
    """The modules of segzoo that some code imports, or names by an import path."""
    found = set(IMPORT_PATH.findall(source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {node.module}
    return {name for name in found if name.split(".")[0] == "segzoo"}


def test_the_promised_modules_are_those_outside_of_the_rooms():
    top = {module_of(file) for file in CORE.glob("*.py")}
    assert sorted(PROMISED) == sorted(top)


@pytest.mark.parametrize("file", [*PLUGINS, *TEMPLATE], ids=lambda f: f"{f.parent.name}-{f.name}")
def test_a_plugin_uses_promised_modules_alone(file):
    assert modules_in(file.read_text("utf-8")) <= {*PROMISED}


def test_the_modules_that_pages_show_are_listed_and_no_others():
    code = [
        block
        for page in READ_BY_PEOPLE
        for block in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    ]
    assert sorted(SHOWN) == sorted(set().union(*map(modules_in, code)) - {*PROMISED})


@pytest.mark.parametrize("name", [*PROMISED, *SHOWN])
def test_a_public_module_says_which_names_are_public(name):
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    assert ast.get_docstring(tree)
    assert any(
        isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__" for n in tree.body
    )


def test_modules_are_seen_in_code():
    source = 'import segzoo\nfrom segzoo.model import load\nx = "segzoo.losses:combined"\nimport os'
    assert modules_in(source) == {"segzoo", "segzoo.model.load", "segzoo.losses"}


# --- one word per thing ---------------------------------------------------------------------------

# What a command does is a function of the same name; the command prints what that gives.
COMMANDS = {
    "auto": 2,
    "check": 4,  # the commands `check` and `data check`; of data sets; of a manifest
    "compare": 2,  # of runtimes' answers
    "compose_digits": 2,
    "cutout": 3,  # the command; of any picture; of a prediction
    "convert": 2,
    "export": 3,  # of a model; of a data set: the command, and what it does
    "evaluate": 3,  # the command; a run's folder; the loop over pictures
    "features": 2,
    "list_models": 2,
    "prune": 4,  # the commands `prune` and `cache prune`; of a network's depth; of checkpoints
    "publish": 3,  # the command; to the Hub; a checkpoint under its name
    "serve": 2,  # the command; a predictor for a name
    "train": 3,  # the command; a run's folder; the loop over steps
    "verify": 2,
}
# Other files import at most one of these by itself, and say the others with the module in front
# (`journal.read`) or never. A test below holds that.
APART = {
    *("Finding", "Header", "Layout", "Network", "Plan", "Published", "Row", "Rule", "Stages"),
    "State",
    *("Stored", "Subject", "build", "compared", "declared", "dump", "encode", "find"),
    *("flatten", "home", "judge", "judged", "layout_of", "load_network", "loss_of"),
    *("parse", "read", "record_of", "refuse_links", "refuse_others", "remove", "restore", "run"),
    *("save",),
    *("tell", "update", "write"),
}
# One word for several things, imported by itself in several rooms. No more than these.
DIFFERENT = {
    "Dataset": ("of samples", "in a spec, which plugins import: what weights were trained on"),
    "mask_of": ("a map in numpy", "a map in torch, by the same rule"),
}


def definitions() -> dict[str, set[str]]:
    """Public functions and classes at the top of a file: in which files each name is defined."""
    found = defaultdict(set)
    for module, file in MODULES.items():
        for node in ast.parse(file.read_text("utf-8")).body:
            kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            if isinstance(node, kinds) and not node.name.startswith("_"):
                found[node.name].add(module)
    return found


DEFINED = definitions()
TWICE = {name: modules for name, modules in DEFINED.items() if len(modules) > 1}


def imported_alone() -> set[tuple[str, str]]:
    """(module, name) of what a file of the core imports by itself, but for the package's face."""
    return {
        (node.module, alias.name)
        for module, file in MODULES.items()
        if module != "segzoo"
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


ALONE = imported_alone()


def too_many(name: str, modules: Iterable[str]) -> list[str]:
    """The files that define a name, where there are more than its reason allows."""
    modules = sorted(modules)
    if name in COMMANDS:
        fine = len(modules) <= COMMANDS[name] and any(".cli." in module for module in modules)
    elif name in APART:
        fine = sum((module, name) in ALONE for module in modules) <= 1
    else:
        fine = name in DIFFERENT and len(modules) <= len(DIFFERENT[name])
    return [] if fine else modules


def test_a_public_name_is_defined_once_or_for_a_reason():
    """A new one: find a word of its own, or say above why it may stand in several files."""
    found = {name: too_many(name, modules) for name, modules in TWICE.items()}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_no_reason_is_left_over():
    assert {*COMMANDS, *APART, *DIFFERENT} - TWICE.keys() == set()


def test_a_second_definition_is_seen():
    assert too_many("load", ["segzoo.model.load", "segzoo.spec"]) == [
        "segzoo.model.load",
        "segzoo.spec",
    ]
    assert too_many("Dataset", TWICE["Dataset"]) == []
    assert too_many("Dataset", {*TWICE["Dataset"], "segzoo.keymap"})
    assert too_many("verify", {"segzoo.checks.verify", "segzoo.runs.verify"})


# --- the table of words ---------------------------------------------------------------------------


def words_of_contributing() -> dict[str, str]:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Words")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)[1:]
    return {word: means for words, means in rows for word in words.split(", ")}


WORDS = words_of_contributing()
CODE = "\n".join(file.read_text("utf-8") for file in [*FILES, *PLUGINS])


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_table_is_used(word):
    """As it stands there, or as a name of code."""
    spaced = re.escape(word).replace(r"\ ", "[ _]")
    assert re.search(rf"(?<![a-z]){spaced}s?(?![a-z])", CODE), word


def test_the_tasks_of_the_table_are_those_of_a_spec():
    assert re.findall(r"\w{3,}", WORDS["task"]) == list(get_args(spec.Task))


def test_the_names_of_code_in_the_table_are_there():
    names = re.findall(r"`(?:segzoo\.spec\.)?([A-Z]\w+)`", " ".join(WORDS.values()))
    assert [name for name in names if not hasattr(spec, name)] == [] != names
