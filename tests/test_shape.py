"""How much a function and a record hold: what is longer than a page, nobody sees at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("src/segzoo/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
MOST_LINES, MOST_ARGUMENTS, MOST_FIELDS = 90, 12, 12

# Functions with more arguments. They are what users call by keyword: such makes one record of
# them, which is passed on, or uses them itself.
BY_KEYWORD = {
    "segzoo.model.load.load",
    "segzoo.runs.evaluation.evaluate",
    "segzoo.runs.training.train",
}
# Records with more fields, and why they are flat.
FLAT = {
    "segzoo.spec.ModelSpec": "written by plugins, by keyword",
    "segzoo.spec.Preprocess": "written by plugins, by keyword; in config.json as it is",
    "segzoo.spec.Recipe": "written by plugins, by keyword; each field is KEY=VALUE for a user",
    "segzoo.spec.Weights": "written by plugins, by keyword",
    "segzoo.engine.settings.Settings": "written by users, by keyword; in run.json as it is",
    "segzoo.saved.config.Config": "config.json, field by field",
    "segzoo.publish.request.PublishRequest": "said by callers, by keyword",
    "segzoo.publish.facts.Facts": "the card, field by field: filled once, read once",
    "segzoo.pictures.tiff.Layout": "the directory of a TIFF, tag by tag",
    "segzoo_unet.model.Variant": "a row of the table of the networks called U-Net",
}


def module_of(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[len(parts) - parts[::-1].index("src") :])


def definitions(module: str, source: str) -> Iterator[tuple[str, ast.AST]]:
    """Every function and class of a file with its dotted name."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"{name}.{child.name}", child
                yield from walk(child, f"{name}.{child.name}")
            else:
                yield from walk(child, name)

    yield from walk(ast.parse(source), module)


def arguments_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many there are, without `self`; *args and **kwargs are one each."""
    a = function.args
    names = [each.arg for each in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + bool(a.vararg) + bool(a.kwarg)


def fields_of(record: ast.ClassDef) -> int:
    """How many values an object has: those that the class names, or that it sets on `self`."""
    named = {n.target.id for n in record.body if isinstance(n, ast.AnnAssign)}
    for node in ast.walk(record):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            each = target.elts if isinstance(target, ast.Tuple) else [target]
            named |= {t.attr for t in each if isinstance(t, ast.Attribute) and _is_self(t.value)}
    return len(named)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def faults_of(module: str, source: str) -> list[str]:
    found = []
    for name, node in definitions(module, source):
        if isinstance(node, ast.ClassDef):
            fields = fields_of(node)
            if fields > MOST_FIELDS and name not in FLAT:
                found.append(f"{name}: {fields} fields")
        else:
            lines = node.end_lineno - node.lineno + 1
            arguments = arguments_of(node)
            if lines > MOST_LINES:
                found.append(f"{name}: {lines} lines")
            if arguments > MOST_ARGUMENTS and name not in BY_KEYWORD:
                found.append(f"{name}: {arguments} arguments")
    return found


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_function_is_a_page_and_a_record_a_handful(file):
    assert faults_of(module_of(file), file.read_text("utf-8")) == []


def test_every_allowance_is_needed():
    sizes = {}
    for file in FILES:
        for name, node in definitions(module_of(file), file.read_text("utf-8")):
            of_class = isinstance(node, ast.ClassDef)
            sizes[name] = fields_of(node) if of_class else arguments_of(node)
    assert {name for name in BY_KEYWORD if sizes[name] <= MOST_ARGUMENTS} == set()
    assert {name for name in FLAT if sizes[name] <= MOST_FIELDS} == set()


NAMES = [f"a{number}" for number in range(13)]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n" + "    x = 1\n" * 90, "m.f: 91 lines"),
        (f"def f({', '.join(NAMES)}): ...", "m.f: 13 arguments"),
        (f"def f(*, {', '.join(NAMES[1:])}, **rest): ...", "m.f: 13 arguments"),
        (f"class C:\n    async def f(self, {', '.join(NAMES)}): ...", "m.C.f: 13 arguments"),
        ("class C:\n" + "".join(f"    {n}: int\n" for n in NAMES), "m.C: 13 fields"),
        (
            "class C:\n    def g(self):\n" + "".join(f"        self.{n} = 1\n" for n in NAMES),
            "m.C: 13 fields",
        ),
    ],
)
def test_what_is_too_much_is_seen(source, fault):
    assert faults_of("m", source) == [fault]


def test_what_is_not_too_much_passes():
    assert faults_of("m", f"class C:\n    def f(self, {', '.join(NAMES[1:])}): ...") == []
    assert faults_of("m", "def f():\n" + "    x = 1\n" * 89) == []
