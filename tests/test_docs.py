"""The pages say what is so: their code runs, their links lead somewhere, their tables are whole."""

import dataclasses
import os
import re
import runpy
import shutil
import subprocess
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import pytest

from segzoo import spec
from segzoo.cli.main import run
from segzoo.cli.verbs import app_of

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "segzoo"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("demo/*.md"),
        *ROOT.glob("plugins/*/README.md"),
    ]
)
# `segzoo VERB` in code: a span, a line of a shell block, or an indented line
COMMAND = re.compile(r"(?:`|^(?: {4})?)(?:[A-Z_]+=\S+ )*segzoo ([a-z][a-z-]+)", re.MULTILINE)
PLANNED = "## What is not there yet"  # below this heading a page speaks of the future


class Block(NamedTuple):
    language: str
    file: str  # "file=..." after the language, or empty
    code: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    pattern = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(*match.groups("")) for match in pattern.finditer(page.read_text("utf-8"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_of(page: Path, *languages: str) -> str:
    return "\n".join(b.code for b in blocks(page) if b.language in languages)


# --- code -----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the photo and the folder of photos that the pages speak of."""
    shutil.copy(ROOT / "demo/photos/cat.jpg", tmp_path / "photo.jpg")
    shutil.copytree(ROOT / "demo/photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


WITH_PYTHON = [page for page in PAGES if code_of(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_blocks_run(page, place):
    """The blocks of a page run one after the other, as a reader would type them."""
    exec(compile(code_of(page, "python"), name_of(page), "exec"), {"__name__": "page"})


def commands(page: Path) -> list[str]:
    """The shell lines of a page, without comments."""
    lines = code_of(page, "sh").splitlines()
    return [line for line in (re.sub(r"\s+#.*|^#.*", "", line) for line in lines) if line.strip()]


SEGZOO_COMMANDS = {  # a line that stands in both is run once
    line: f"{name_of(page)}: {line}"
    for page in (ROOT / "docs/quickstart.md", ROOT / "README.md")
    for line in commands(page)
    if line.startswith("segzoo ")
}


@pytest.mark.parametrize("line", SEGZOO_COMMANDS, ids=SEGZOO_COMMANDS.get)
def test_commands_run(line, place, capsys):
    arguments = line.split()[1:]
    assert run(arguments) == 0, capsys.readouterr().err
    if "-o" in arguments:
        assert any((place / arguments[arguments.index("-o") + 1]).rglob("*.png"))


def verbs() -> set[str]:
    app = app_of()
    return {str(verb.name) for verb in (*app.registered_commands, *app.registered_groups)}


def present(page: Path) -> str:
    """What a page says of today."""
    return page.read_text("utf-8").partition(PLANNED)[0]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page):
    mentioned = set(COMMAND.findall(present(page)))
    assert mentioned <= verbs()


def test_the_makefile_has_the_targets_that_the_pages_name():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    text = "\n".join(present(page) for page in PAGES)
    for target in set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_d11_make_demo_says_what_it_downloads_and_how_to_download_less(tmp_path):
    """What `make` would run, in a folder that has no .venv yet, for a user who has set nothing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = ["make", "--dry-run", "--no-print-directory", "demo"]
    unset = {
        name: value for name, value in os.environ.items() if name not in ("TORCH", "MAKEFLAGS")
    }
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, env=unset
    )
    said, installs = done.stdout.split("pip install torch\n")
    assert "5 GB in all" in said and "segzoo cutout" in installs
    (small,) = re.findall(r"make demo TORCH=\"[^\"]+\"", said)
    assert small in (ROOT / "README.md").read_text("utf-8")


# --- links and the file tree ----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    broken = [
        target
        for target in targets
        if not re.match(r"[a-z]+:", target)
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def tree_of_files() -> dict[str, str]:
    """The paths of CONTRIBUTING's file tree, which are told by their indents, with what is said."""
    (tree,) = (b.code for b in blocks(ROOT / "CONTRIBUTING.md") if "src/segzoo/" in b.code)
    found, folders = {}, []
    for line in filter(str.strip, tree.splitlines()):
        indent = len(line) - len(line.lstrip())
        name, _, says = line.strip().partition(" ")
        folders = [f for f in folders if f[0] < indent]
        path = "".join(f[1] for f in folders) + name
        if name.endswith("/"):
            folders.append((indent, name))
        found[path] = says.strip()
    return found


def test_the_file_tree_is_whole():
    tree = tree_of_files()
    assert [path for path in tree if not (ROOT / path).exists()] == []
    assert [path for path, says in tree.items() if not says] == []
    files = {f"src/segzoo/{p.name}" for p in SOURCE.iterdir() if p.suffix == ".py"}
    folders = {f"src/segzoo/{p.name}/" for p in SOURCE.iterdir() if any(p.glob("*.py"))}
    plugins = {f"plugins/{p.parent.name}/" for p in ROOT.glob("plugins/*/pyproject.toml")}
    assert (files | folders | plugins) - set(tree) == set()


# --- the contract ---------------------------------------------------------------------------------

RECORDS = [
    found
    for found in (getattr(spec, name) for name in spec.__all__)
    if isinstance(found, type) and found is not spec.Record and issubclass(found, spec.Record)
]


def words(hint: Any) -> str:
    """An annotation in the words of the contract's tables."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in (spec.Task, spec.Named):
        return "a task" if hint == spec.Task else "(name, options)"
    if origin is Literal:
        return ", ".join(f'"{choice}"' for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(map(words, args))
    if origin is tuple:
        return f"({', '.join('...' if a is Ellipsis else words(a) for a in args)})"
    if origin is Mapping:
        return "mapping: " + " to ".join(map(words, args))
    if hint is Any:
        return "JSON value"
    return "None" if hint is type(None) else hint.__name__


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`".replace("'", '"')
    return "`{}`" if field.default_factory is dict else "required"


def row_starts(record: type) -> Iterator[str]:
    """How the rows of a record's table begin: field, type, default."""
    for field in dataclasses.fields(record):
        yield f"| `{field.name}` | {words(field.type)} | {default(field)} | "


def test_the_contract_has_every_record():
    text = (ROOT / "docs/contract.md").read_text("utf-8")
    headings = re.findall(r"^## `(\w+)`", text, re.MULTILINE)
    assert sorted(headings) == sorted(record.__name__ for record in RECORDS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.__name__)
def test_the_contract_has_every_field_and_no_other(record):
    text = (ROOT / "docs/contract.md").read_text("utf-8")
    section = re.search(rf"^## `{record.__name__}`$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section is not None
    rows = [line for line in section[1].splitlines() if line.startswith("| `")]
    begun = [re.match(r"(?:\|[^|]*){3}\| ", row) for row in rows]
    assert [m[0] for m in begun if m] == list(row_starts(record))
    assert [
        row for row, m in zip(rows, begun, strict=True) if m and row[m.end() :] in ("", "|")
    ] == []


# --- what pages take from elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        "docs/benchmarks.md",
        "docs/bridges.md",
        "docs/files.md",
        "docs/models.md",
        "docs/results.md",
        "docs/write-a-plugin.md",
        "src/segzoo/zoo/offered.json",
    ],
)
def test_a_page_is_as_make_docs_would_write_it(page):
    made = runpy.run_path(str(ROOT / "docs/generate.py"))["PAGES"][ROOT / page]
    assert made() == (ROOT / page).read_text("utf-8"), "run: make docs"
