"""Faults that people met, and those that an attacker would: each as a kind, not as the one case."""

import ast
import json
import os
import shlex
import shutil
import sys
import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from squares import Squares

import segzoo
from segzoo.cli.main import run
from segzoo.engine import recipes
from segzoo.engine.settings import Settings
from segzoo.errors import ConfigError, RunError, SegzooError
from segzoo.publish.folder import build_folder
from segzoo.publish.request import PublishRequest
from segzoo.runs import claims
from segzoo.runs.begun import begun_of, settings_of, typed_again
from segzoo.runs.training import train
from segzoo.spec import Dataset, ReaderSpec, Recipe, Record
from segzoo.zoo import registry

CORE = Path(__file__).parents[1] / "src" / "segzoo"
MODEL = ["unetpp", "--option", "width=2", "--option", "depth=1"]
FAST = ["--workers", "0", "--device", "cpu", "batch_size=2", "crop=32", "warmup=0", "ema=none"]
ONCE = ["--max-minutes", "0", "--save-every", "1", "--eval-every", "1", "-q"]
AGAIN = ["--device", "cpu", "-q"]
QUIET = Settings(device="cpu", workers=0, quiet=True)

# --- A1: code and folders that come from the files of a run ---------------------------------------

CANARY = "canary:touch"
MINE = """
import canary
from segzoo.losses import binary_cross_entropy

def loss(*, ignore_index=255, factor=1.0):
    one = binary_cross_entropy(ignore_index=ignore_index)
    def scaled(outputs, batch):
        value = one(outputs, batch)
        return factor * (value["loss"] if isinstance(value, dict) else value)
    return scaled

def bright(image, target):
    return image, target
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with data and `run`, which was stopped after one step of four."""
    place = tmp_path_factory.mktemp("place")
    before = os.getcwd()
    os.chdir(place)
    try:
        samples = [Squares(8)[index] for index in range(8)]
        images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
        np.savez("squares.npz", images=images, masks=masks)
        assert run(["train", *MODEL, *DATA, *FAST, *ONCE, "steps=4"]) == 0
    finally:
        os.chdir(before)
    return place


DATA = ["--data", "arrays:squares.npz?val=0.25&classes=background,square"]


@pytest.fixture
def place(begun, tmp_path, monkeypatch):
    """A copy of it to work in, with a module that leaves a file when it is imported or called."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    note = f"pathlib.Path({str(tmp_path / 'sang')!r}).touch()"
    Path("canary.py").write_text(f"import pathlib\n{note}\ndef touch(*a, **b): {note}\n")
    Path("mine.py").write_text(MINE)
    yield tmp_path
    forgotten()


def forgotten():
    """The modules are imported anew when they are named next."""
    for name in ("canary", "mine"):
        sys.modules.pop(name, None)


def sang():
    return Path("sang").exists()


def changed(file, change):
    record = json.loads(Path(file).read_text())
    change(record)
    Path(file).write_text(json.dumps(record))


def resumed_in_python(*, force=False):
    train(resume="run", settings=QUIET, force_resume=force)


def failed_on_the_command_line(*words):
    """Whether a resumption ends with an error that segzoo raises on purpose."""
    return run(["train", "--resume", "run", *AGAIN, *words]) in (2, 3)


def may_hold_text(hint):
    """Whether a value of this annotation may hold any text, and so an import path."""
    if typing.get_origin(hint) is typing.Literal:
        return False
    if isinstance(hint, type) and issubclass(hint, Record):
        return True
    return hint in (str, typing.Any) or any(map(may_hold_text, typing.get_args(hint)))


OF_TEXT = [name for name, hint in typing.get_type_hints(Recipe).items() if may_hold_text(hint)]
NAMED = (CANARY, {})
VALUES = {  # of each field, with an import path in every place of its own
    "optimizer": [NAMED, ("adam", {"eps": CANARY})],
    "schedule": [NAMED, ("poly", {CANARY: 1.0})],
    "loss": [NAMED, ("combined", {"parts": [["dice", 1.0], [CANARY, 1.0, {}]]})],
    "pixel_weight": [NAMED, ("border", {"sigma": {"a": [CANARY]}})],
    "frozen": [("encoder.", CANARY)],
    "augment": [(NAMED,), (("flip", {}), ("rotate", {"degrees": CANARY}))],
    "eval_metric": [CANARY],
}


def test_a1_every_field_that_may_hold_an_import_path_is_guarded():
    """A new field of the recipe comes with its row above, or fails here."""
    assert {"loss", "augment"} <= {*OF_TEXT}
    assert {*OF_TEXT} == {*VALUES} | claims.TEXT
    assert claims.TEXT == {"expect"}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in VALUES.items() for value in values],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_a1_no_field_of_run_json_runs_code(place, capsys, field, value):
    evil = replace(recipes.DEFAULT, **{field: value})
    plain = recipes.to_json(evil)[field]
    changed("run/run.json", lambda record: record["recipe"].update({field: plain}))
    with pytest.raises(RunError) as caught:
        resumed_in_python()
    assert caught.value.problem.startswith("it names code that nothing installed declares, and ")
    assert f"{CANARY} in {field}" in caught.value.found
    assert failed_on_the_command_line()
    assert failed_on_the_command_line("--force-resume", "-o", "elsewhere")
    assert f"run/run.json: {caught.value.problem}" in capsys.readouterr().err
    assert not sang()
    assert not Path("elsewhere").exists()


def test_a1_a_command_of_the_shell_is_not_called(place):
    """The report as it came: os.system, and a process by subprocess."""
    for field, value in (
        ("loss", ["os:system", {"command": "touch sang"}]),
        ("augment", [["subprocess:Popen", {"args": ["touch", "sang"]}]]),
    ):
        changed("run/run.json", lambda record, f=field, v=value: record["recipe"].update({f: v}))
        assert failed_on_the_command_line()
    with pytest.raises(
        RunError, match=r"found os:system in loss; subprocess:Popen in augment\. If"
    ):
        resumed_in_python()
    assert not sang()


@pytest.mark.parametrize("field", ["loss", "augment"])
@pytest.mark.parametrize("both", [False, True])
def test_a1_no_manifest_of_a_checkpoint_runs_code(place, field, both):
    """Alone it differs from run.json; together with it, they agree."""
    value = recipes.to_json(replace(recipes.DEFAULT, **{field: VALUES[field][0]}))[field]
    for file in Path("run").glob("step-*/manifest.json"):
        changed(file, lambda record: record["about"]["about"]["recipe"].update({field: value}))
    if both:
        changed("run/run.json", lambda record: record["recipe"].update({field: value}))
    with pytest.raises(RunError):
        resumed_in_python()
    assert failed_on_the_command_line()
    if both:
        with pytest.raises(RunError):
            resumed_in_python(force=True)
    else:
        resumed_in_python(force=True)  # by the recipe of run.json
        assert json.loads(Path("run/run.json").read_text())["recipe"][field] != value
    assert not sang()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", CANARY),
        ("val", f"{CANARY}?val=0.2"),
        ("metrics", [CANARY]),
        ("weights", CANARY),
    ],
)
def test_a1_no_other_name_of_a_run_is_imported(place, name, value):
    """Readers and metrics are entry points; weights are compared, and not loaded again."""
    changed("run/run.json", lambda record: record["identity"].update({name: value}))
    with pytest.raises(SegzooError):
        resumed_in_python()
    assert failed_on_the_command_line()
    assert not sang()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["preprocess"].update(custom=CANARY),
        lambda record: record.update(model=CANARY),
        lambda record: record["plugin"].update(distribution=CANARY),
        lambda record: record.update(builder=CANARY),
        lambda record: record.update(variant=CANARY),
        lambda record: record.update(tasks={"binary": {"loss": CANARY}}),
        lambda record: record["options"].update(mode=CANARY),
        lambda record: record["options"].update(block=CANARY),
    ],
)
def test_a1_no_config_runs_code(place, change):
    for file in ("run/config.json", "run/model/config.json"):
        changed(file, change)
    Path("run/model/manifest.json").unlink()  # which an attacker would write anew
    with pytest.raises(ConfigError):
        resumed_in_python()
    with pytest.raises(ConfigError):
        segzoo.load("run/model")
    with pytest.raises(ConfigError):
        published()
    assert failed_on_the_command_line()
    words = DATA[1]
    for line in (
        ["predict", "run/model", "squares.npz", "-o", "out"],
        ["eval", "run/model", "--data", words],
        ["info", "./run/model"],
        ["train", "./run/model", *DATA, *FAST, "steps=1", "-q", "-o", "new"],
        ["train", "unetpp", "--init-from", "run/model", *DATA, *FAST, "steps=1", "-q", "-o", "n"],
    ):
        assert run(line) != 0, line
    assert not sang()


def published():
    squares = Dataset(name="Squares", license="CC0-1.0")
    request = PublishRequest(
        "run", repo="alice/squares", license="Apache-2.0", trained_on=(squares,)
    )
    return build_folder(request, "shared")


def test_a1_a_run_with_code_is_measured_and_published_without_it(place):
    change = {"loss": [CANARY, {}], "augment": [[CANARY, {}]]}
    changed("run/run.json", lambda record: record["recipe"].update(change))
    assert run(["eval", "run/model", "--data", DATA[1], "--device", "cpu"]) == 0
    published()
    assert CANARY in Path("shared/training/recipe.json").read_text()  # said, as what it is: data
    assert not sang()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        (["loss=mine:loss"], ["--loss", "mine:loss"]),
        (['loss=["mine:loss",{"factor":0.5}]'], None),
        (['loss=["combined",{"parts":[["mine:loss",1.0],["dice",0.5]]}]'], None),
        (['augment=[["mine:bright",{}]]', "loss=mine:loss"], None),
    ],
)
def test_a1_code_that_is_typed_again_goes_on_to_the_same_bits(place, typed, whole, capsys):
    """And the message says what to type, so that it need not be remembered."""
    begin = ["train", *MODEL, *DATA, *FAST, *typed, "steps=4", "--save-every", "1"]
    assert run([*begin, "-o", "whole", "-q"]) == 0
    assert run([*begin, "-o", "part", "--max-minutes", "0"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    Path("sang").unlink()
    forgotten()
    with pytest.raises(RunError) as caught:
        train(resume="part", settings=QUIET)
    said = caught.value.next_step
    assert said.startswith("If you know and want it, type again what the file claims: ")
    words = shlex.split(said.partition("claims: ")[2])
    assert whole is None or words == whole
    assert line == shlex.join(["segzoo", "train", "--resume", "part", *words])
    assert run(["train", "--resume", "part", "loss.factor=0.5", *AGAIN]) == 2  # one option of it
    assert not sang()
    assert run([*shlex.split(line)[1:], *AGAIN]) == 0
    record = json.loads(Path("part/run.json").read_text())
    assert record["sittings"][-1]["goes_on"] == "to the last bit"
    one, other = (segzoo.load(f"{each}/model").network.state_dict() for each in ("whole", "part"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a1_in_python_a_loss_is_given_again_by_name_or_as_a_function(place):
    changed("run/run.json", lambda record: record["recipe"].update(loss=["mine:loss", {}]))
    with pytest.raises(RunError, match="mine:loss in loss"):
        begun_of(Path("run"), typed={"augment", "data"})
    assert begun_of(Path("run"), typed={"loss"}).recipe.loss == ("mine:loss", {})
    with pytest.raises(RunError, match="the run was begun otherwise; found loss: was None, is"):
        train(resume="run", settings=QUIET, loss="binary_cross_entropy")


@pytest.mark.parametrize(
    "loss",
    ["segzoo_unetpp.loss:cross_entropy_dice", "segzoo_u2net.loss:deep_bce", "segzoo.losses:dice"],
)
def test_a1_what_a_plugin_or_the_zoo_declares_needs_no_typing(place, loss):
    """A loss of a spec's task, of a plugin, and an entry point's own path."""
    recipe = replace(recipes.DEFAULT, loss=(loss, {}))
    assert claims.of_recipe(recipe) == {}


def test_a1_for_what_names_no_code_or_is_declared_at_hand_no_plugin_is_looked_for(monkeypatch):
    loss = "segzoo_u2net.loss:deep_bce"
    u2netp = registry.find("u2netp").load()

    def looked():
        yield pytest.fail("plugins were looked for")

    monkeypatch.setattr(registry, "rows", looked)
    assert claims.of_recipe(recipes.DEFAULT) == {}
    assert claims.of_recipe(replace(recipes.DEFAULT, loss=(loss, {})), [u2netp]) == {}
    with pytest.raises(pytest.fail.Exception, match="looked for"):
        claims.of_recipe(replace(recipes.DEFAULT, loss=(loss, {})))


@pytest.mark.usefixtures("undrawn")
def test_a1_a_run_with_a_plugins_loss_goes_on_with_nothing_typed(place, capsys):
    loss = "segzoo_u2net.loss:deep_bce"
    begin = ["train", "u2netp", *DATA, *FAST, f"loss={loss}", "steps=2"]
    assert run([*begin, "-o", "part", "--max-minutes", "0", "--save-every", "1"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line == "segzoo train --resume part"
    assert run([*shlex.split(line)[1:], *AGAIN]) == 0
    record = json.loads(Path("part/run.json").read_text())
    assert record["recipe"]["loss"] == [loss, {}]
    assert record["sittings"][-1]["goes_on"] == "to the last bit"


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("loss", "segzoo_u2net.model:u2netp"),  # a builder
        ("loss", "segzoo_u2net.spec:U2NETP"),  # a model's entry point
        ("loss", "segzoo.data.readers.hf:SPEC"),
        ("loss", "segzoo.data.readers.hf:open_hf"),
        ("loss", "segzoo.cli.main:main"),  # a command's entry point
        ("loss", "segzoo.losses:combined.__globals__"),
        ("augment", "segzoo_u2net.loss:deep_bce"),
        ("augment", "segzoo.losses:dice"),
    ],
)
def test_a1_what_is_declared_for_one_use_is_not_for_another(field, path):
    value = (path, {}) if field == "loss" else ((path, {}),)
    assert {*claims.of_recipe(replace(recipes.DEFAULT, **{field: value}))} == {field}


def test_a1_a_spec_that_is_typed_declares_too(place):
    line = ["train", "tiny:TINY", *DATA, *FAST, "steps=2", "--loss", "tiny:loss"]
    assert run([*line, "-o", "tiny-run", *ONCE]) == 0
    line = ["train", "--resume", "tiny-run", *AGAIN]
    assert run(line) == 2
    assert run([*line, "tiny:TINY"]) == 0


def test_a1_a_claim_cannot_write_on_the_terminal(place, capsys):
    changed("run/run.json", lambda r: r["recipe"].update(loss=[CANARY, {"a": "\x1b[2J\u202e\n"}]))
    assert failed_on_the_command_line()
    shown = capsys.readouterr().err.strip()
    assert shown.isprintable()
    assert r"\u001b[2J\u202e\n" in shown


# --- A1: folders ---


@pytest.mark.parametrize("cache", ["../outside", "~/outside", "link", "\0"])
def test_a1_a_cache_outside_the_run_is_typed_again(place, monkeypatch, capsys, cache):
    monkeypatch.setenv("HOME", str(place / "home"))
    if cache == "link":
        cache = "run/model/link"
        Path(cache).symlink_to(place / "outside")
    changed("run/run.json", lambda record: record["settings"].update(cache=cache))
    with pytest.raises(RunError, match=r"names a folder outside the run, and .*claims: --cache "):
        train(resume="run")
    with pytest.raises(RunError, match="a folder outside the run"):
        settings_of("run", keep=3)
    assert failed_on_the_command_line()
    assert not (place / "outside").exists()
    assert not (place.parent / "outside").exists()
    assert not (place / "home").exists()
    capsys.readouterr()
    assert run(["train", "--resume", "run", *AGAIN, "--cache", "outside"]) == 0
    assert [*Path("outside").glob("*.decoded")]


def test_a1_a_cache_in_the_run_stays_and_none_can_be_typed(place):
    changed("run/run.json", lambda record: record["settings"].update(cache="run/cache"))
    assert settings_of("run").cache == "run/cache"
    changed("run/run.json", lambda record: record["settings"].update(cache="/outside"))
    assert settings_of("run", cache="").cache == ""
    assert typed_again(Path("run")) == ["--cache /outside"]
    assert run(["train", "--resume", "run", *AGAIN, "--cache", ""]) == 0


def test_a1_words_of_a_reader_that_writes_are_typed_again(place):
    words = "hf:rows.parquet?cache_dir=/outside"
    changed("run/run.json", lambda record: record["identity"].update(data=words, val=words))
    with pytest.raises(RunError) as caught:
        resumed_in_python()
    assert caught.value.found == "cache_dir=/outside in data; cache_dir=/outside in val"
    line = caught.value.next_step.partition("claims: ")[2]
    assert shlex.split(line) == ["--data", words, "--val", words]
    assert begun_of(Path("run"), typed={"data", "val"})
    inside = "hf:rows.parquet?cache_dir=run/rows"
    changed("run/run.json", lambda record: record["identity"].update(data=inside, val=None))
    assert begun_of(Path("run")).data == inside


def test_a1_every_option_of_a_reader_that_names_a_folder_to_write_to_is_known():
    """Of the readers that are here, by name; a new one is in `claims.WRITTEN`, or only read."""
    specs = [e.load_as(ReaderSpec) for e in registry.entries(registry.READERS)]
    names = {name for spec in specs for name in spec.options}
    telling = {n for n in names if any(part in n for part in ("cache", "dir", "out", "folder"))}
    assert telling == claims.WRITTEN


@pytest.mark.parametrize("name", ["metrics.jsonl", "run.lock", "curves.png", "tensorboard", "new"])
def test_a1_a_link_out_of_the_run_is_not_followed(place, name):
    """What goes on writes to these: metrics.jsonl is lengthened where it lies."""
    Path("victim").write_text("mine\n")
    if Path("run", name).exists():
        Path("run", name).unlink()
    Path("run", name).symlink_to(place / "victim")
    with pytest.raises(RunError, match=f"run: a run's folder holds links that .*; found {name}. "):
        resumed_in_python()
    assert failed_on_the_command_line()
    folds = ["--folds", "2", *DATA, "-o", "folds"]
    assert failed_on_the_command_line("unetpp", *folds)
    assert Path("victim").read_text() == "mine\n"


# --- A1: who imports at all ---

IMPORTS = {  # where a path becomes an object, and whose word the path is
    "__init__": "a table of its own",
    "model.build": "a spec's builder",
    "model.configured": "a spec's variant",
    "model.folders": "a plugin's, of the folders of another library",
    "data.augment": "a recipe's, judged by begun.py where it comes from a run",
    "data.source": "a reader's spec",
    "export.exporting": "an exporter's spec",
    "base.extras": "a table of its own",
    "cli.verbs": "a table of its own",
    "checks.doctor": "a table of its own",
    "checks.kit": "the person's, who checks a plugin",
    "losses": "a recipe's, judged by begun.py where it comes from a run; else a spec's",
    "model.origin": "the package of a spec's bundled weights",
    "predict.preprocess": "a spec's custom; config.py refuses a config with one",
    "checks.losses": "a spec's",
    "checks.promises": "a spec's",
    "weights.pickles": "a table of its own",
    "zoo.registry": "an entry point's",
}


def imports_by_name(source):
    """The calls of a file that make an object, or a module, of a name."""
    names = {"resolve", "registry.resolve", "import_module", "importlib.import_module"}
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) in names]


def test_a1_every_place_that_imports_by_name_is_known():
    """A new one says here whose word the name is."""
    found = {
        ".".join(file.relative_to(CORE).with_suffix("").parts)
        for file in CORE.rglob("*.py")
        if imports_by_name(file.read_text("utf-8"))
        or "registry.resolve(" in file.read_text("utf-8")  # in the text of a child process
    }
    assert found == {*IMPORTS}


def test_a1_recipes_are_read_in_the_places_that_judge_them():
    """A recipe that comes from a file is made by `from_json`; trained.py shows it and no more."""
    found = {
        ".".join(file.relative_to(CORE).with_suffix("").parts)
        for file in CORE.rglob("*.py")
        if "recipes.from_json(" in file.read_text("utf-8")
    }
    assert found == {"publish.trained", "runs.begun"}
