"""What a terminal is given: no file, plugin or data set moves the cursor or forges a line.

Where text can stand is not listed here: records are walked by their annotations and files by what
is in them, so that a new field is covered when it comes.
"""

import ast
import functools
import json
import os
import shutil
import sys
import types
import typing
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image
from strange import texts_of_strange

import segzoo
from segzoo import spec as records
from segzoo.base import cache, children
from segzoo.base.records import Record
from segzoo.base.terminal import to_stderr, warn
from segzoo.checks.results import Result
from segzoo.cli.main import run
from segzoo.cli.text import say, table
from segzoo.engine import record
from segzoo.engine.journal import Journal
from segzoo.errors import SegzooError
from segzoo.hub import cache as hubcache
from segzoo.report.confusion import draw_confusion
from segzoo.report.curves import draw_curves
from segzoo.runs import opening, reporting
from segzoo.runs.begun import begun_of, measured_by, rebuilt_of, settings_of, typed_again
from segzoo.runs.reporting import ReportRequest, reported
from segzoo.saved.config import Config
from segzoo.spec import (
    Dataset,
    Expect,
    ExporterSpec,
    Graph,
    Metric,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    ReaderSpec,
    Recipe,
    Suits,
    TaskDefaults,
    Weights,
)
from segzoo.zoo import registry

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/segzoo/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])

# A title for the window, red, a line of its own, and text that runs backwards.
EVIL = "ab\x1b]0;owned\x07\x1b[31m\r\nFORGED \x85line \u2028\u202egnp.exe\u2066\x9b2J"
SHOWN = "FORGED"  # however it is written


def assert_clean(*texts: str) -> None:
    """Nothing but printable lines, none of which the evil text began."""
    for text in texts:
        for line in text.split("\n"):
            assert line.isprintable() or line == "", ascii(line)
            assert not line.startswith(SHOWN), text


# --- where text leaves ----------------------------------------------------------------------------

# Besides these files and what they call, nothing writes for a person.
SINKS = {
    "src/segzoo/base/terminal.py": {"print", "warnings.warn"},
    "src/segzoo/cli/text.py": {"typer.echo", "Console"},
    "src/segzoo/cli/transfers.py": {"Console"},  # bars, with what is printable beside them
    "src/segzoo/cli/outcomes.py": {"print"},  # JSON and sizes
    "src/segzoo/cli/writing.py": {"sys.stdout.buffer.write"},  # a PNG
    "src/segzoo/cli/cache.py": {"typer.confirm"},  # counts
    "src/segzoo/engine/display.py": {"Console", "self.bar.console.print"},
    "src/segzoo/runs/opening.py": {"Console", "Console(stderr=True).print"},
    "src/segzoo/cli/main.py": {"warnings.showwarning"},  # warnings of ours as sentences
    "src/segzoo/__init__.py": {"warnings.warn"},  # a sentence of our own, at import
}
WRITING = ("print", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt", "click.echo")
WRITING += ("warnings.warn", "warnings.warn_explicit", "warnings.showwarning", "input", "Console")
WRITING += ("traceback.print_exc", "traceback.print_exception", "traceback.print_stack")
METHODS = ("print", "write", "writelines", "debug", "info", "warning", "error", "exception", "log")
STREAMS = (
    "sys.stdout",
    "sys.stderr",
    "buffer",
    "sys.__stdout__",
    "sys.__stderr__",
    "console",
    "Console",
)
STREAMS += ("log", "logging", "logger")


def sinks_in(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, method = called.rpartition(".")
            ends = (owner, owner.rpartition(".")[2], owner.partition("(")[0])
            if method in METHODS and {*ends} & {*STREAMS}:
                found.add(called)
        elif isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in WRITING:
            found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a5_no_other_file_writes_to_a_terminal(file):
    if "_template" not in file.parts:  # a plugin to begin with, which prints nothing either
        assert sinks_in(file.read_text("utf-8")) == SINKS.get(
            file.relative_to(ROOT).as_posix(), set()
        )


@pytest.mark.parametrize(
    "source",
    [
        *("print(x)", "typer.echo(x)", "sys.stderr.write(x)", "f(warnings.warn)", "log.info(x)"),
        *("Console().print(x)", "bar.console.print(x)", "traceback.print_exc()", "input(x)"),
    ],
)
def test_a5_a_sink_is_seen(source):
    assert sinks_in(source)


def test_a5_every_sink_escapes(capsys, monkeypatch):
    to_stderr(EVIL, "second")
    say(EVIL, "second")
    say(*table(("HEAD", "TWO"), [(EVIL, "x"), ("y", EVIL)]))
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 2 + 2 + 3
    assert_clean(out, err)
    with pytest.warns(UserWarning) as heard:
        warn(EVIL)
        warn(EVIL, stacklevel=2)
    assert_clean(*(str(one.message) for one in heard))
    assert heard[0].filename == __file__
    parts = {name: EVIL for name in ("file", "found", "expected", "next_step")}
    assert_clean(str(SegzooError(EVIL, **parts)))
    assert_clean(Result(EVIL, False, EVIL, EVIL).line)


@pytest.mark.parametrize("terminal", [False, True])
def test_a5_a_run_that_speaks_escapes(capsys, monkeypatch, tmp_path, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    opening.show([(EVIL, EVIL)])
    journal = Journal(tmp_path, total=2, metric=EVIL, quiet=False, silent=False)
    journal.say(EVIL)
    journal.say("[link=x]kept[/link]")
    journal.write({"step": 1, "loss": 1.0, "val": {EVIL: 0.5}})
    journal.at(1, loss=1.0, measured=True)
    journal.close()
    out, err = capsys.readouterr()
    assert_clean(out, *(part for part in err.replace("\x1b[?25l", "").split("\r")))
    assert "[link=x]kept" in err  # no markup of a stranger's


# --- plugins --------------------------------------------------------------------------------------

FULL_WEIGHTS = Weights(
    bundled="tiny:tiny.safetensors",
    sha256="0" * 64,
    options={"width": 4},
    num_classes=2,
    in_channels=3,
    task="multiclass",
    preprocess=Preprocess(mean=(0.5,)),
    postprocess=Postprocess(activation="softmax", threshold=None),
    classes=("one", "two"),
    palette=((0, 0, 0), (1, 1, 1)),
    trained_on=(Dataset(name="set", license="MIT", url="there"),),
    metrics=(Metric(name="iou", value=0.5, split="val", protocol="whole"),),
    license="MIT",
    source="commit",
    recipe="seed",
    notes="notes",
    graphs={
        "fp32": Graph(
            bundled="tiny:tiny.onnx",
            sha256="0" * 64,
            metrics=(Metric(name="iou", value=0.5, split="val", protocol="whole"),),
        )
    },
    retired="worse than others",
)
FULL = ModelSpec(
    summary="a model for tests",
    builder="tiny:tiny",
    tasks={
        "multiclass": TaskDefaults(
            loss="segzoo.losses:cross_entropy",
            postprocess=Postprocess(activation="softmax", threshold=None),
        )
    },
    preprocess=Preprocess(custom="tiny:custom"),
    num_classes=2,
    num_parameters=134,
    in_channels=3,
    paper=Paper(
        title="title",
        authors="authors",
        year=2020,
        arxiv="1",
        code="code",
        code_by="code_by",
        code_license="MIT",
    ),
    options={
        "width": Option(default=4, help="help"),
        "kind": Option(default="a", choices=("a", "b"), help="help", refused={"why": ("c",)}),
    },
    variant="tiny:variant",
    blocks={"block": "tiny:Tiny"},
    recipes={
        "seed": Recipe(
            epochs=1,
            batch_size=1,
            optimizer=("sgd", {"momentum": 0.9}),
            lr=0.1,
            schedule=("poly", {"power": 0.9}),
            loss=("cross_entropy", {"smooth": "text"}),
            pixel_weight=("border", {"sigma": "text"}),
            augment=(("flip", {"axis": "text"}),),
            frozen=("stem.",),
            eval_metric="iou",
            expect=Expect(data="data", metric="iou", value=0.1, tolerance=0.1, source="source"),
        )
    },
    weights={
        "tag": FULL_WEIGHTS,
        "fetched": replace(
            FULL_WEIGHTS,
            bundled=None,
            graphs={},
            url="https://example.org/x.onnx",
            converted_sha256="0" * 64,
        ),
    },
    default_weights="tag",
    head=("head.",),
    stem=("stem.",),
    frozen=("stem.",),
    elastic=("width",),
    backbone={
        "imagenet": replace(
            FULL_WEIGHTS,
            bundled=None,
            graphs={},
            repo="user/name",
            revision="0" * 40,
            file="x.safetensors",
        ),
        "other": replace(FULL_WEIGHTS, bundled=None, graphs={}, wheel="timm==1.0", file="x.pth"),
    },
    requires={"torch": "torch>=2"},
    suits=(Suits(when=("gray < 0.5",), why="why", options=({"width": 8},), recipe="seed"),),
    deprecated="use another",
)
READER = ReaderSpec(
    summary="reads",
    open="tiny:opened",
    options={"split": Option(default="train", choices=("train", "val"), help="help")},
    url="https://example.org",
    license="MIT",
    requires={"torch": "torch>=2"},
)
EXPORTER = ExporterSpec(
    summary="writes",
    suffix=".tiny",
    make="tiny:make",
    run="tiny:run",
    requires={"torch": "torch>=2"},
)


def holds_text(hint: object) -> bool:
    if typing.get_origin(hint) is typing.Literal:
        return False
    return hint in (str, typing.Any) or any(map(holds_text, typing.get_args(hint)))


def texts_of(record: Record) -> Iterator[tuple[str, bool]]:
    """Fields that may hold text, here and in records below, and whether they are given."""
    hints = typing.get_type_hints(type(record))
    for field in fields(record):
        value = getattr(record, field.name)
        if holds_text(hints[field.name]):
            yield f"{type(record).__name__}.{field.name}", value not in (None, "", (), {})
        for item in below(value):
            yield from texts_of(item)


def below(value: object) -> list[Record]:
    items = value.values() if isinstance(value, Mapping) else value
    items = items if isinstance(value, Mapping | tuple) else [value]
    return [item for item in items if isinstance(item, Record)]


def kinds_below(record: Record) -> set[type]:
    values = [getattr(record, field.name) for field in fields(record)]
    found = [kinds_below(item) for value in values for item in below(value)]
    return {type(record)}.union(*found)


def test_a5_the_examples_have_text_in_every_field_of_every_record():
    """A new field of text, or a new record, is to be put into the examples above."""
    found = [*texts_of(FULL), *texts_of(READER), *texts_of(EXPORTER)]
    assert {name for name, given in found} == {name for name, given in found if given}
    declared = {
        kind
        for kind in vars(records).values()
        if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
    }
    assert kinds_below(FULL) | kinds_below(READER) | kinds_below(EXPORTER) == declared


def leaves(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Where text stands in records and JSON values; ("key", name) is the name itself."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, Record):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, ("key", key))
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))


def poisoned(value: typing.Any, path: tuple) -> typing.Any:
    """The same with evil at the end of the text at a path."""
    if not path:
        return f"{value}{EVIL}"
    first, rest = path[0], path[1:]
    if isinstance(first, tuple):
        return {key + EVIL if key == first[1] else key: item for key, item in value.items()}
    if isinstance(value, Record):
        return replace(value, **{first: poisoned(getattr(value, first), rest)})
    if isinstance(value, Mapping):
        return {k: poisoned(item, rest) if k == first else item for k, item in value.items()}
    return type(value)(poisoned(v, rest) if n == first else v for n, v in enumerate(value))


def evil_in(record: Record, keep: tuple[str, ...] = ()) -> tuple[Record, dict[tuple, str]]:
    """The record with evil in every text that it allows, and what it says to the others."""
    refused = {}
    for path in [*leaves(record)]:
        if not path or path[0] in keep:
            continue
        try:
            changed = poisoned(record, path)
        except ValueError as error:
            refused[path] = str(error)
        else:
            if not isinstance(path[-1], tuple):  # another key would move what lies below it
                record = changed
    return record, refused


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that puts a spec into the registry, under a name."""
    module = types.ModuleType("evil")
    monkeypatch.setitem(sys.modules, "evil", module)
    monkeypatch.chdir(tmp_path)
    named: list[str] = []

    def install(name: str, *spec: object) -> None:
        if spec:
            setattr(module, name.upper(), *spec)
        named.append(f"{name}=evil:{name.upper()}")
        monkeypatch.setenv(registry.ENVIRONMENT, ",".join(named))

    return install


KEPT = ("builder", "variant", "blocks", "requires", "tasks", "head", "stem")


def test_a5_a_plugins_text(installed, capsys, tmp_path):
    """Every text that a spec may have, through the verbs that show it."""
    evil, refused = evil_in(FULL, keep=KEPT)
    assert ("summary",) in refused and ("deprecated",) not in refused  # both kinds are there
    working = replace(evil, preprocess=replace(FULL.preprocess, custom=None), variant=None)
    installed("tame", working)
    installed("strange", evil)
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.png")
    for line in (
        ["list"],
        ["list", "--names"],
        ["list", "--task", EVIL],
        ["list", "--license", EVIL],
        ["list", "--plugin", EVIL],
        ["list", EVIL],
        ["info", "tame"],
        ["info", "tame", "--json"],
        ["info", "strange"],
        ["info", EVIL],
        ["info", f"tame.{EVIL}"],
        ["features", "tame"],
        ["doctor"],
        ["check", "tame"],
        ["check", "strange"],
        ["check", EVIL],
        ["verify", "tame.tag"],
        ["download", "tame.tag"],
        ["predict", "tame.tag", "photo.png", "-o", "out"],
        ["predict", "tame", "photo.png", "-o", "out", "--random-init"],
        ["predict", "tame", "photo.png", "-o", "out", "--random-init", "--option", f"kind={EVIL}"],
        ["train", "tame", "--data", "folder:nowhere", "--recipe", EVIL],
        ["convert", "photo.png", "--to", "tame"],
        ["publish", "tame.tag", "user/name", "--dry-run", "there"],
    ):
        run(line)
        said = capsys.readouterr()
        assert said.out or said.err, line
        assert_clean(*said)


def test_a5_a_text_that_a_spec_refuses(installed, capsys):
    """The error quotes it; `list`, `info`, `check` and `doctor` show the error."""
    _, refused = evil_in(FULL)
    assert len(refused) > 20
    for text in refused.values():
        assert_clean(registry.cause(ValueError(text)))
        entry = registry.Entry("broken", EVIL, EVIL, "evil:BROKEN", problem=text)
        assert_clean(str(entry._error(text)))

    class Raises:
        """A module's attribute whose making failed as a spec's does."""

        def __getattr__(self, name):
            raise ValueError("; ".join(refused.values()))

    sys.modules["evil"].__dict__["__getattr__"] = Raises().__getattr__
    installed("broken")
    for line in (["list"], ["info", "broken"], ["check", "broken"], ["doctor"]):
        run(line)
        assert_clean(*capsys.readouterr())


def test_a5_a_readers_text(tmp_path, monkeypatch, capsys):
    plugin = tmp_path / "evil_reader"
    (tmp_path / "evil_reader-1.dist-info").mkdir()
    plugin.mkdir()
    evil, _ = evil_in(READER, keep=("open", "requires"))
    monkeypatch.setitem(sys.modules, "evil", module := types.ModuleType("evil"))
    module.READER = evil
    (tmp_path / "evil_reader-1.dist-info" / "METADATA").write_text(
        "Name: evil\x1b[31m\u202ereader\nVersion: 1\x1b[31m\n"
    )
    (tmp_path / "evil_reader-1.dist-info" / "entry_points.txt").write_text(
        "[segzoo.readers]\nevil = evil:READER\n[segzoo.models]\nev\x1b[31mil = evil:READER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for line in (["data", "readers"], ["data", "check", "evil:x"], ["list"], ["list", "--names"]):
        run([*line])
        said = capsys.readouterr()
        assert "ev" in said.out + said.err
        assert_clean(*said)
    run(["doctor"])
    assert_clean(*capsys.readouterr())


# --- files ----------------------------------------------------------------------------------------


def heard(capsys, *line: str) -> int:
    """Run a line and judge what it wrote; gives the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code = run([*line])
    assert code != 70, capsys.readouterr()
    assert_clean(*capsys.readouterr())
    return code


ON_A_MODEL = (
    ["info", "./run/model"],
    ["predict", "./run/model", "photos/a.png", "-o", "out", "--overwrite"],
    ["verify", "./run/model"],
    ["check", "./run/model"],
    ["eval", "./run/model", "--data", "arrays:squares.npz", "--workers", "0", "--no-bootstrap"],
    ["publish", "./run/model", "user/name", "--dry-run", "card"],
)


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a5_the_files_of_a_saved_model(workplace, capsys, monkeypatch, name):
    """Each text by itself; those that the reader lets pass, through every verb."""
    # What an interpreter says of the model's spec alone, and git of the folder, is always the same.
    for started in ("run_python", "run_program"):
        monkeypatch.setattr(children, started, functools.cache(getattr(children, started)))
    file = workplace / "run" / "model" / name
    record = json.loads(file.read_text("utf-8"))
    if name == "config.json":
        record |= {"classes": ["square"], "palette": [[1, 2, 3]], "license": "MIT"}
        record |= {"trained_on": [{"name": "n", "license": "MIT", "url": "u"}]}
        record |= {"id2label": {"0": "square"}, "files": {"model.safetensors": "0" * 64}}
        assert {field.name for field in fields(Config)} <= {*record, *record["plugin"]}
    beside = workplace / "run" / "model" / "manifest.json"
    for path in [*leaves(record)]:
        changed = poisoned(record, path)
        if path[:1] in (("classes",), ("id2label",)):  # both say the same
            changed |= {"classes": ["square" + EVIL], "id2label": {"0": "square" + EVIL}}
        file.write_text(json.dumps(changed), "utf-8")
        if name == "config.json":
            beside.unlink(missing_ok=True)
        passes = heard(capsys, *ON_A_MODEL[0]) == 0
        for line in ON_A_MODEL[1:] if passes else ON_A_MODEL[1:2]:
            heard(capsys, *line)


def test_a5_classes_of_a_model_are_shown(workplace, capsys):
    """The case that was reported: names of classes in `info` and in the tables of `eval`."""
    segzoo.load("tiny", num_classes=3, seed=0).save_pretrained("three")
    record = json.loads(Path("three/config.json").read_text("utf-8"))
    names = [EVIL, "1", "2"]
    record |= {"classes": names, "id2label": {str(n): name for n, name in enumerate(names)}}
    Path("three/config.json").write_text(json.dumps(record), "utf-8")
    Path("three/manifest.json").unlink()
    for line in (["info"], ["eval", "--data", "arrays:squares.npz", "--workers", "0"]):
        assert run([line[0], "./three", *line[1:]]) == 0
        said = capsys.readouterr()
        assert SHOWN in said.out
        assert_clean(*said)


OF_A_RUN = ("run.json", "config.json", "metrics.jsonl", "step-00000001/*.json")
GO_ON = ["train", "--resume", "run", "--device", "cpu", "--workers", "0"]
PUBLISH = ["publish", "run", "user/name", "--dry-run", "card"]


def text_in(file: Path) -> tuple[object, list[tuple]]:
    text = file.read_text("utf-8")
    record = json.loads(text.splitlines()[-1] if file.suffix == ".jsonl" else text)
    return record, [*leaves(record)]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_A_RUN)
def test_a5_every_text_of_the_files_of_a_run(stopped, tmp_path, monkeypatch, capsys, name):
    """Each text by itself, so that what the first of them hides is seen too."""
    monkeypatch.setenv(registry.ENVIRONMENT, "tiny=tiny:TINY")
    files = [*(stopped / "run").glob(name)]
    for relative in [file.relative_to(stopped) for file in files]:
        record, paths = text_in(stopped / relative)
        for number, path in enumerate(paths):
            folder = tmp_path / f"{relative.stem}-{number}"
            shutil.copytree(stopped, folder)
            monkeypatch.chdir(folder)
            relative.write_text(json.dumps(poisoned(record, path)) + "\n", "utf-8")
            heard(capsys, *GO_ON)
            heard(capsys, *PUBLISH)
            shutil.rmtree(folder)
    assert files


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a5_the_files_of_a_run(workplace, capsys, name):
    """All texts of a file at once."""
    for file in Path("run").glob(name):
        whole = file.read_bytes()
        record, paths = text_in(file)
        for path in paths:
            if not isinstance(path[-1], tuple):
                record = poisoned(record, path)
        file.write_text(json.dumps(record) + "\n", "utf-8")
        heard(capsys, *GO_ON)
        heard(capsys, *PUBLISH)
        file.write_bytes(whole)


NOW = {"data": {"samples": 6, "sha256": "0" * 64, "of": "contents", "names": "1" * 64}}


def go_on(place: Path) -> None:
    """What reads the files of a run that goes on, before it is opened."""
    begun = begun_of(place)
    assert all(isinstance(name, str) for name in begun.metrics)
    settings_of(place)
    assert all(isinstance(text, str) for text in (*measured_by(place), *typed_again(place)))
    _, then = record.latest(place, here=True)
    for now in (then, {**then, **NOW}):
        if now:
            record.changes(then, now, file=place, here=True, force=True)
            record.how(then, {**NOW, **now}, exact=True)


def show(place: Path) -> None:
    """A damaged run has a page of what can be read: here nothing is an error."""
    reported(ReportRequest(place=place, measure=False))


def rewritten(file: Path, name: str) -> Iterator[tuple[str, str]]:
    """Every way in which the file has a strange value. name: of what lies in it; else all of it."""
    known = json.loads(file.read_text("utf-8"))
    for said, text in texts_of_strange({name: known[name]} if name else known):
        if not name:
            yield said, text
        elif text != "{}":
            yield said, json.dumps({**known, name: 0}).replace(f'"{name}": 0', text[1:-1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a damaged checkpoint is passed over")
@pytest.mark.parametrize(
    ("name", "inner", "reads"),
    [
        ("run.json", "", (go_on, show)),
        ("step-00000001/manifest.json", "about", (go_on,)),
        ("config.json", "", (rebuilt_of, show)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a5_every_value_of_another_kind(workplace, monkeypatch, name, inner, reads):
    """What reads a run's files works or says what is wrong with which, for every value in them."""
    file, refused = Path("run") / name, 0
    monkeypatch.setattr(reporting, "write_page", lambda path, page: None)  # jinja takes long
    for said, text in rewritten(file, inner):
        file.write_text(text, "utf-8")
        for read in reads:
            try:
                read(Path("run"))
            except SegzooError as error:
                assert read is not show, (said, error)
                assert str(error).startswith("run"), (said, error)
                refused += 1
                assert_clean(str(error))
            except Exception as error:
                raise AssertionError(f"{name}: {said}") from error
    assert refused > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": 5}, "identity=5 is not an object"),
        ({"identity": {"metrics": 5}}, "identity.metrics=5 is not a list of texts"),
        ({"identity": {"metrics": [5]}}, "identity.metrics=[5] is not a list of texts"),
        ({"settings": 5, "data": "x"}, 'data="x" is not an object; settings=5 is not an object'),
        ({"recipe": None}, "recipe=null is not an object"),
    ],
)
def test_a5_a_record_of_other_kinds_goes_on_in_no_way(workplace, capsys, changes, message):
    file = Path("run/run.json")
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")
    assert run(GO_ON) == 2
    assert capsys.readouterr().err == (
        f"segzoo: run/run.json: the record of the run has values of another kind: {message}. Put "
        "back the file as it was written, or begin a new run in another folder\n"
    )


@pytest.mark.parametrize(
    ("about", "message"),
    [(5, "about.about=5 is not an object"), ({"recipe": None}, "about.about.recipe=null is not")],
)
def test_a5_a_checkpoint_that_says_something_else_of_its_run(workplace, capsys, about, message):
    file = Path("run/step-00000001/manifest.json")
    known = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(known | {"about": known["about"] | {"about": about}}), "utf-8")
    assert run(GO_ON) == 3
    said = capsys.readouterr().err
    assert (
        f"{file}: what the manifest says of the run has values of another kind: {message}" in said
    )


@pytest.mark.parametrize(
    "values",
    [
        [{"loss": 1e308}, {"loss": -1e308}],
        [{"loss": 1.79e308}] * 2,
        [{"loss": 5e-324}, {"loss": -5e-324}, {"loss": 0}],
        [{"loss": 10**19}, {"loss": True}],
        [{"val": {"step": [1], "mean_iou": 0.5}}] * 2,
        [{"val": {"step": "x", "loss": {}, "mean_iou": -1e308}}, {"val": {"mean_iou": 1e308}}],
        [{"loss": 1.0}] * 30 + [{"loss": -1e307}] * 5 + [{"loss": 1e3}] * 30,
        [{"step": 10**19, "loss": 1.0, "best": True}, {"step": -(10**18), "loss": 2.0}],
    ],
    ids=range(8),
)
def test_a5_a_journals_numbers_have_a_page_and_curves(workplace, values):
    lines = [{"step": step, **value} for step, value in enumerate(values, 1)]
    Path("run/metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    show(Path("run"))
    draw_curves("run")


def test_a5_every_value_of_a_journals_line(workplace, monkeypatch):
    file = Path("run/metrics.jsonl")
    monkeypatch.setattr(reporting, "write_page", lambda path, page: None)  # jinja takes long
    lines = file.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        for _, text in texts_of_strange(json.loads(line)):
            file.write_text("\n".join([*lines[:number], text, *lines[number + 1 :], ""]), "utf-8")
            show(Path("run"))


@pytest.mark.parametrize("line", [{}, {"step": "1"}, {"step": 1, "val": 3}, {"step": True}])
def test_a5_a_journals_line_that_is_none(workplace, capsys, line):
    Path("run/metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert run(GO_ON) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("segzoo: run/metrics.jsonl: line 1 is no record of a run; found {")


@pytest.mark.parametrize("name", [r"$\frac$", "$", "a$b", EVIL, r"\$", "_x"])
def test_a5_names_are_drawn_as_they_are(tmp_path, name):
    """matplotlib would read a formula between dollar signs, and fail for a wrong one."""
    draw_confusion(tmp_path / "c.png", [[1, 0], [0, 1]], pixels=[1, 1], classes=[name, "x"])
    records = [{"step": step, "val": {name: 0.5 * step}} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    draw_curves(tmp_path)


# --- words, names of files, names of classes ------------------------------------------------------

WORDS = "arrays:squares.npz?val=0.25&classes=background,square"


@pytest.mark.parametrize(
    "words",
    [
        f"{EVIL}:squares.npz",
        f"arrays:{EVIL}",
        f"arrays:squares.npz?{EVIL}=1",
        f"arrays:squares.npz?classes=background,{EVIL}",
        f"arrays:squares.npz?values={EVIL}",
        f"arrays:squares.npz?palette={EVIL}",
        f"arrays:squares.npz?ignore_index={EVIL}",
        f"arrays:squares.npz?split={EVIL}",
        f"arrays:squares.npz?split=0:{EVIL}",
        f"arrays:squares.npz?val={EVIL}",
        f"arrays:squares.npz?fold={EVIL}",
        f"arrays:squares.npz?val=0.5&seed={EVIL}",
        f"arrays:squares.npz?val=0.5&part={EVIL}",
        f"folder:{EVIL}",
        f"shards:{EVIL}",
        f"coco:{EVIL}",
        f"voc:squares.npz?split={EVIL}",
        EVIL,
    ],
    ids=lambda words: ascii(words.replace(EVIL, "EVIL")),
)
def test_a5_words_of_a_data_set(workplace, capsys, words):
    fast = ["--workers", "0", "--device", "cpu"]
    short = ["steps=1", "batch_size=1", "crop=16", "--loss", "binary_cross_entropy"]
    for line in (
        ["data", "check", words],
        ["data", "preview", words],
        ["eval", "./run/model", "--data", words, *fast, "--no-bootstrap"],
        ["train", "tiny", "--data", words, "-o", "other", *fast, *short],
        ["train", "tiny", "--data", WORDS, "--val", words, "-o", "again", *fast, *short],
    ):
        heard(capsys, *line)


def test_a5_names_of_files(workplace, capsys):
    """A folder of pictures whose names are evil, some of which are no pictures."""
    for name in (EVIL, f"b{EVIL}"):
        Image.new("RGB", (16, 16)).save(workplace / "photos" / "x.png")
        os.rename(workplace / "photos" / "x.png", workplace / "photos" / f"{name}.png")
        (workplace / "photos" / f"broken{name}.png").write_bytes(b"no picture")
    (workplace / f"folder{EVIL}").mkdir()
    for line in (
        ["predict", "./run/model", "photos", "-o", "out"],
        ["predict", "./run/model", "photos", "-o", "out"],
        ["predict", "./run/model", "photos", "-o", f"out{EVIL}", "--random-init"],
        ["predict", "./run/model", "photos", "-o", "photos"],
        ["predict", "./run/model", EVIL, "-o", "out"],
        ["predict", EVIL, "photos", "-o", "out"],
        ["predict", f"./folder{EVIL}", "photos", "-o", "out"],
        ["predict", "tiny", "photos", "-o", "sizes", "--random-init", "--quiet"],
        ["predict", "tiny", "photos", "-o", "json", "--random-init", "--json"],
        ["predict", "tiny", "photos", "-o", "x", "--random-init", "--background", EVIL],
        ["predict", "tiny", "photos", "-o", "x", "--random-init", "--as", EVIL],
        ["predict", "tiny", "photos", "-o", "x", "--device", EVIL],
        ["predict", "tiny", "photos", "-o", "x", "--weights", EVIL],
        ["data", "check", "folder:photos"],
        ["info", f"./folder{EVIL}"],
        ["verify", f"./folder{EVIL}"],
        ["verify", EVIL],
        ["convert", EVIL, "--to", "tiny"],
        ["download", EVIL],
        ["new", EVIL],
        ["prune", EVIL, "--data", EVIL],
        ["features", EVIL, "--size", EVIL],
        ["publish", EVIL, EVIL],
        ["publish", "./run/model", "user/name", "--dry-run", "card", "--license", EVIL],
        ["publish", "./run/model", "user/name", "--dry-run", "card", "--trained-on", EVIL],
        ["cache", "prune", EVIL],
        ["train", "--resume", EVIL],
        ["train", EVIL, EVIL],
        ["train", "tiny", f"{EVIL}=1", "--data", WORDS],
        ["train", "tiny", f"loss={EVIL}", "--data", WORDS],
        ["train", "tiny", "--loss", EVIL, "--data", WORDS],
        ["train", "tiny", "--metric", EVIL, "--data", WORDS],
        ["train", "tiny", f"eval_metric={EVIL}", "--data", WORDS],
        ["train", "tiny", f"optimizer={EVIL}", "--data", WORDS],
        ["train", "tiny", f"augment={EVIL}", "--data", WORDS],
        ["train", "tiny", f"schedule={EVIL}", "--data", WORDS],
        ["train", "tiny", f"pixel_weight={EVIL}", "--data", WORDS],
        ["train", "tiny", f"frozen={EVIL}", "--data", WORDS],
        ["train", "tiny", "--save-every", EVIL, "--data", WORDS],
        [EVIL],
        ["predict", f"--{EVIL}"],
    ):
        heard(capsys, *line)


def test_a5_what_is_in_the_caches(workplace, monkeypatch, capsys):
    """Folders and names below the Hub's cache are anybody's who can write there."""
    monkeypatch.setenv("HF_HUB_CACHE", str(workplace / "hub"))
    folder = workplace / "hub" / "models--user--name"
    commit = folder / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    for file in (workplace / "run" / "model").iterdir():
        if file.is_file():
            shutil.copy(file, commit)
    (commit / f"x{EVIL}").write_text("x")
    (folder / "refs").mkdir()
    (folder / "refs" / f"main{EVIL}").write_text("0" * 40)
    (folder / "blobs").mkdir()
    (folder / "blobs" / f"x{EVIL}.corrupt").write_text("x")
    (folder / "blobs" / f"x{EVIL}.incomplete").write_text("x")
    (workplace / "hub" / f"models--us{EVIL}er--name" / "snapshots" / ("1" * 40)).mkdir(parents=True)
    cache.home().mkdir(parents=True, exist_ok=True)
    (cache.home() / f"kept{EVIL}").write_text("x")
    assert hubcache.root() == workplace / "hub"
    for line in (["cache", "list"], ["cache", "size"], ["cache", "prune", "--yes"], ["doctor"]):
        heard(capsys, *line)
    heard(capsys, "predict", "hf-hub:user/name@main", "photos", "-o", "out")
    heard(capsys, "cache", "prune", "--all", "--yes")


def test_a5_foreign_weights(workplace, capsys):
    import torch

    torch.save({f"head{EVIL}": torch.ones(1), EVIL: 3}, "foreign.pth")
    torch.save({"state": {EVIL: 1}, EVIL: {}}, "none.pth")
    for file in ("foreign.pth", "none.pth"):
        heard(capsys, "convert", file, "--to", "tiny", "-o", "out")
