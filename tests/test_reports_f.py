"""Faults of the second round (A9, A10, B3, B8, B11): files that are not ours, paths and options."""

import ast
import dataclasses
import inspect
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from squares import Squares
from tiny import TINY

import segzoo
from segzoo.base import files, ours
from segzoo.base.home import expanded_line
from segzoo.cli.main import run
from segzoo.cli.verbs import app_of
from segzoo.engine.settings import Settings
from segzoo.errors import OutputError, PictureError, UnsafeFormatError, UsageError
from segzoo.hub import cache as hubcache
from segzoo.pictures import codec
from segzoo.publish import folder
from segzoo.publish.privacy import public
from segzoo.spec import Dataset
from segzoo.weights import within
from segzoo.zoo.options import faults_by_signature

CORE = Path(__file__).parents[1] / "src" / "segzoo"
ONE = ["--workers", "0", "--device", "cpu"]
DATA = ["--data", "arrays:val.npz?classes=background,square"]
TRAIN = ["train", "tiny", *DATA, *ONE, "batch_size=2", "crop=32", "warmup=0", "steps=1"]
MINE = b"a diary, written over years\n"


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """A folder with a saved model, a set of squares and a photo; the working folder."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY,layered=layered:LAYERED")
    monkeypatch.chdir(tmp_path)
    segzoo.load("tiny").save_pretrained(tmp_path / "saved")
    samples = [Squares(3)[index] for index in range(3)]
    images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
    np.savez("val.npz", images=images, masks=masks)
    Image.fromarray(images[0]).save("photo.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


# --- A9: outputs over files that are not ours ----------------------------------------------------

# Every output of every verb: what it runs, and the names that it writes below `out`.
PREDICT = ["predict", "./saved", "photo.png", "-o", "out", "--device", "cpu"]
EVAL = ["eval", "./saved", *DATA, *ONE, "--no-bootstrap", "-o", "out"]
RUN = [*TRAIN, "-o", "out"]
OUTPUTS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "predict": (PREDICT, ("errors.jsonl", "photo.png")),
    "predict, kinds": ([*PREDICT, "--as", "mask,cutout"], ("mask/photo.png", "cutout/photo.png")),
    "predict, heads": ([*PREDICT, "--heads", "all"], ("head-0/photo.png", "head-1/photo.png")),
    "predict, file": ([*PREDICT, "-o", "out/one.png"], ("one.png",)),
    "eval": (EVAL, ours.known_by("metrics.json")),
    "train": (RUN, (*ours.known_by("run.json"), "config.json", "step-00000001/manifest.json")),
    "train, folds": ([*RUN, "--folds", "2"], ("folds.json", "fold-0/config.json")),
    "prune": (
        ["prune", "./saved", *DATA, *ONE, "-o", "out"],
        ("prune.json",),
    ),
    "data preview": (["data", "preview", DATA[1], "-o", "out/sheet.png"], ("sheet.png",)),
    "data compose-digits": (
        ["data", "compose-digits", "out", "--count", "20", "--from", "digits.npz"],
        ("train.npz", "val.npz", "test.npz"),
    ),
    "new": (["new", "my-net", "--folder", "out"], ("my-net/pyproject.toml",)),
    "convert": (["convert", "saved/model.safetensors", "--to", "tiny", "-o", "out"], ("any",)),
    "convert, file": (
        ["convert", "saved/model.safetensors", "--to", "tiny", "-o", "out/a.safetensors"],
        ("a.safetensors",),
    ),
    "publish, dry run": (["publish", "./saved", "alice/tiny", "--dry-run", "out"], ("any",)),
}
CASES = [(verb, name) for verb, (_, names) in OUTPUTS.items() for name in names]


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_a9_a_file_that_is_not_ours_stays(verb, name, place, capsys):
    target = place / "out" / (f"{name}/mine.txt" if name == "model" else name)
    target.parent.mkdir(parents=True)
    target.write_bytes(MINE)
    before = contents(place)
    assert run(OUTPUTS[verb][0]) == 2
    said = capsys.readouterr().err
    assert f"out/{name.partition('/')[0]}" in said or "segzoo: out: " in said
    assert "hoose another" in said or "--overwrite" in said
    assert contents(place) == before


def test_a9_what_segzoo_wrote_is_written_anew(place, capsys):
    """The same line twice: where it does not ask for a flag, the second is as the first."""
    for line in (
        EVAL,
        ["data", "preview", DATA[1], "-o", "out/sheet.png"],
        ["data", "compose-digits", "out", "--count", "20"],
    ):
        assert run(line) == 0, capsys.readouterr().err
        first = contents(place / "out")
        assert run(line) == 0, capsys.readouterr().err
        assert contents(place / "out").keys() == first.keys()
        assert all(ours.is_ours(place / "out" / name) for name in first)


def test_a9_errors_of_an_earlier_run_are_forgotten(place, capsys):
    (place / "in").mkdir()
    (place / "in" / "bad.png").write_bytes(b"")
    errors = place / "out" / "errors.jsonl"
    line = ["predict", "./saved", "in", "-o", "out", "--device", "cpu"]
    for _ in range(2):
        assert run(line) == 3
        capsys.readouterr()
        lines = errors.read_text().splitlines()
        assert [json.loads(text)["input"] for text in lines] == ["in/bad.png"]
    errors.write_text('{"level": "error"}\n')  # of another program
    assert run(line) == 2
    assert errors.read_text() == '{"level": "error"}\n'


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "model.safetensors"])
def test_a9_a_model_is_not_saved_over_another_programs(name, place):
    model = segzoo.load("tiny")
    (place / "other").mkdir()
    (place / "other" / name).write_text('{"model_type": "bert"}')
    with pytest.raises(OutputError, match=r"segzoo did not write it\. Move it away, or choose"):
        model.save_pretrained(place / "other")
    assert contents(place / "other") == {name: b'{"model_type": "bert"}'}
    model.save_pretrained(place / "other", overwrite=True)
    model.save_pretrained(place / "other")  # it is ours now
    assert segzoo.load(f"local-dir:{place}/other").spec == TINY


def test_a9_the_cache_removes_what_it_made_alone(monkeypatch, place, capsys):
    home = place / "home"
    for name in ("decoded/a", "photos/a.jpg"):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_bytes(MINE)
    (home / "notes.txt").write_bytes(MINE)
    monkeypatch.setenv("SEGZOO_HOME", str(home))
    assert run(["cache", "prune", "--all", "--yes"]) == 0
    assert sorted(contents(home)) == ["notes.txt", "photos/a.jpg"]


# Every function that makes, replaces or removes a file, and why none is another's.
ASKS = "is called after ours.refuse_others"
FLAG = "refuses what is there, but for --overwrite"
NEW = "a name that nothing has, or a folder of its own"
STORE = "a name made of a hash, in a store of segzoo's or the Hub's"
EMPTY = "refuses what is there, unless it is its own list of the splits"
HELD = "below a run's folder, which was asked about"
WRITERS = {
    "automatic.plan.write_plan": ASKS,
    "base.cache._replace": STORE,
    "base.files.folder_for": NEW,
    "base.files.replacing": NEW,
    "base.files.sweep": NEW,
    "base.files.sweep_old": NEW,
    "base.files.sweep_unheld": NEW,
    "base.files.write": NEW,
    "checks.signing.sign": ASKS,
    "cli.cache._remove": STORE,
    "cli.data.preview": ASKS,
    "cli.done.Done.begin": ASKS,
    "cli.label.Labeller.__call__": FLAG,
    "cli.label.label.chosen": ASKS,
    "cli.outcomes.Outcomes.__enter__": ASKS,
    "cli.outcomes.Outcomes.fail": ASKS,
    "cli.prune.prune": ASKS,
    "cli.writing.Writer._by_rows": FLAG,
    "cli.writing._put": FLAG,
    "cli.writing.probe": NEW,
    "cli.writing.ready": NEW,
    "data.archive._copy": NEW,
    "data.archive.safe_extract": NEW,
    "data.compose.write_digits": ASKS,
    "data.decoded.Decoded.__getitem__": STORE,
    "data.decoded.Decoded._built": STORE,
    "data.decoded._alone": STORE,
    "data.export._Coco.finish": EMPTY,
    "data.export._Yolo.add": NEW,
    "data.export._Yolo.finish": EMPTY,
    "data.export._moved": EMPTY,
    "data.export.export": NEW,
    "data.looked._keep": STORE,
    "engine.checkpoint._delete": HELD,
    "engine.checkpoint._whole_or_deleted": HELD,
    "engine.checkpoint._write": HELD,
    "engine.checkpoint.clean": HELD,
    "engine.checkpoint.publish": HELD,
    "engine.journal.Journal.write": HELD,
    "engine.journal.trim": HELD,
    "engine.lock._claim": HELD,
    "engine.lock._create": HELD,
    "engine.lock.locked": HELD,
    "engine.record.write": HELD,
    "export.exporting.export_model": FLAG,
    "hub.cache.keep_ids": STORE,
    "hub.cache.keep_ref": STORE,
    "hub.cache.place": STORE,
    "hub.cache.remove": STORE,
    "hub.cache.set_aside": STORE,
    "hub.cache.take_away": STORE,
    "hub.fetch._bring": STORE,
    "hub.fetch._leave": STORE,
    "hub.fetch._takes_up": STORE,
    "hub.asset.fetched": STORE,
    "model.converted._converted": STORE,
    "model.converted._whole": STORE,
    "model.backbones._out_of_wheel": NEW,
    "model.loaded.Model.save_pretrained": ASKS,
    "model.shipping.write": "writes the path that the caller says, beside a plugin's weights",
    "model.shipping.write_int8": "as `write`",
    "predict.artefacts.accepted.write_graph": STORE,
    "predict.artefacts.store.write": STORE,
    "predict.artefacts.store.write_record": STORE,
    "publish.folder._write_example": NEW,
    "publish.folder._write_model": NEW,
    "publish.folder.build_folder": NEW,
    "publish.folder.refuse_existing": NEW,
    "publish.space.build_space": NEW,
    "publish.trained._write_json": NEW,
    "publish.trained.write_training": NEW,
    "report.confusion.draw_confusion": ASKS,
    "report.curves.draw_curves": HELD,
    "report.evaluation_report.draw_judged": ASKS,
    "report.evaluation_report.write_metrics": ASKS,
    "report.evaluation_report._write_table": ASKS,
    "report.exhibits.write_pictures": ASKS,
    "report.page.write_page": ASKS,
    "runs.folds.write_folds": ASKS,
    "runs.training.trained.begin": HELD,
    "saved.manifest.write": ASKS,
    "serve.frames.write_frame": "a frame to another process, no file",
    "weights.pickles.child": NEW,
    "weights.safetensors.save": "writes the path that the caller says, as open() does",
    "zoo.scaffold._write_folder": NEW,
}
CHANGING = {"replacing", "unlink", "rmtree", "rename", "rmdir"}
WRITING = set("wxa+")


def changes_a_file(call: ast.Call) -> bool:
    """Whether a call makes, replaces or removes a file, as far as its name tells."""
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if name in ("replace", "remove"):
        return owner == "os"
    if name == "write":
        return owner in ("", "files")
    if name in ("write_bytes", "write_text"):
        return True
    if name == "open" and owner == "":
        texts = [a.value for a in call.args[1:] if isinstance(a, ast.Constant)]
        return any(isinstance(text, str) and WRITING & set(text) for text in texts)
    return name in CHANGING


def writers(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        if isinstance(child, ast.Call) and changes_a_file(child):
            yield name
        yield from writers(child, f"{name}.{child.name}" if named else name)


def test_a9_everyone_who_writes_or_removes_a_file_has_a_reason():
    """A new one: let it ask `ours.refuse_others` before it works, or say here why it need not."""
    found = set()
    for file in sorted(CORE.rglob("*.py")):
        module = ".".join(file.relative_to(CORE).with_suffix("").parts)
        found |= {*writers(ast.parse(file.read_text("utf-8")), module)}
    assert found == WRITERS.keys()


# --- B3: options of a named thing ----------------------------------------------------------------


@pytest.fixture
def recipe_of(place):
    """Trains for a step with changes of the recipe; gives what run.json keeps of it."""

    def call(*changes: str) -> dict[str, object]:
        assert run([*TRAIN, *changes, "--quiet", "-o", "out"]) == 0
        return json.loads((place / "out" / "run.json").read_text())["recipe"]

    return call


def test_b3_a_loss_by_name_keeps_the_options_of_the_line(recipe_of):
    found = recipe_of("--loss", "focal", "loss.gamma=50", "class_weights=1,5")
    assert found["loss"] == ["focal", {"gamma": 50}] and found["class_weights"] == [1, 5]


def test_b3_so_does_python(place):
    changes = {"loss.smooth": "2", "steps": "1", "batch_size": "2"}
    quiet = Settings(workers=0, device="cpu", quiet=True)
    segzoo.train("tiny", DATA[1], run="out", loss="dice", changes=changes, settings=quiet)
    found = json.loads((place / "out" / "run.json").read_text())["recipe"]
    assert found["loss"] == ["dice", {"smooth": 2}]
    changes["loss.smooth"] = "a"
    with pytest.raises(UsageError, match=r"takes no options here; found loss\.smooth=a"):
        segzoo.train("tiny", DATA[1], loss=lambda *_: 0, changes=changes, settings=quiet)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # of losses
        ("--loss dice loss.nonsense=1", "loss 'dice': 'nonsense' is not an option; it has per, sm"),
        ("--loss focal loss.gama=1", "'gama' is not an option (did you mean 'gamma'?)"),
        ("--loss dice loss=focal", "loss is given twice"),
        ("loss=dice loss.smooth=a", "smooth is 'a', not a finite number"),
        ("loss=dice loss.smooth=true", "smooth is True, not a finite number"),
        ("loss=dice loss.smooth=1e999", "smooth is inf, not a finite number"),
        ("loss=dice loss.smooth=-1", "smooth=-1 is below 0"),
        ("loss=dice loss.per=pixel", "per is 'pixel', not one of 'batch', 'picture'"),
        ("loss=focal loss.gamma=[1]", "gamma is [1], not a finite number"),
        ("loss=focal loss.gamma=-1", "gamma=-1 is below 0"),
        ("loss=structure loss.reach=7", "expected edge at least 0, reach from 0 to 1"),
        ("loss=focal loss.class_weights=1,5", "is '1,5', not a list, each a finite number or none"),
        ("loss=focal loss.class_weights=[1,-5]", "class_weights has a value below 0: 1, -5"),
        ("loss=focal loss.class_weights=[1,5,3]", "found 3 values, expected 2 for num_classes=1"),
        ('loss=["combined",{"parts":[["dice","a"]]}]', "['dice', 'a'] is not [name, factor]"),
        ('loss=["combined",{"parts":[["dice",1,{"per":3}]]}]', "per is 3, not one of 'batch'"),
        (
            "--loss dice class_weights=1,5",
            "a mean over classes, has one. Leave class_w",
        ),
        # of the recipe itself
        ("--loss focal class_weights=1,-5", "class_weights has a value below 0: 1, -5"),
        ("--loss focal class_weights=0,0", "class_weights has no value above 0"),
        ("--loss focal head_weights=-1", "head_weights has a value below 0: -1"),
        # of optimisers
        ("optimizer=adam optimizer.betas=0.5", "betas is 0.5, not a list of 2, each a finite numb"),
        ("optimizer=adam optimizer.betas=[0.9]", "betas is [0.9], not a list of 2"),
        ('optimizer=adam optimizer.betas=["a",1]', "betas is ['a', 1], not a list of 2"),
        ("optimizer=adam optimizer.betas=[2,3]", "optimizer 'adam' cannot be made: Invalid beta"),
        ("optimizer=adam optimizer.eps=a", "eps is 'a', not a finite number"),
        ("optimizer=adam optimizer.amsgrad=1", "amsgrad is 1, not true or false"),
        ("optimizer=sgd optimizer.momentun=1", "'momentun' is not an option (did you mean 'moment"),
        ("optimizer=lion optimizer.betas=[1]", "betas is [1], not a list of 2"),
        # of schedules, augmentations, weights of pixels
        ("schedule=poly schedule.power=a", "power is 'a' (str), not a value of type float"),
        ("schedule=poly schedule.pover=1", "'pover' is not an option (did you mean 'power'?)"),
        ('augment=[["rotate",{"degrees":"a"}]]', "degrees is 'a' (str), not a value of type float"),
        (
            'augment=[["random:gauss",{"sigm":1}]]',
            "'sigm' is not an option (did you mean 'sigm",
        ),
        ('augment=[["random:gauss",{"mu":"a"}]]', "mu is 'a', not a finite number"),
        ('pixel_weight=["borders",{"x":1}]', "'borders' is not a pixel weight"),
    ],
)
def test_b3_what_an_option_cannot_be_is_said(changes, said, place, capsys):
    before = contents(place)
    assert run([*TRAIN, *changes.split(), "--quiet", "-o", "out"]) == 2
    assert said in capsys.readouterr().err
    assert contents(place) == before


def test_b3_a_reader_says_its_options_in_the_same_words(capsys):
    assert run(["data", "check", "arrays:val.npz?clases=a,b"]) == 2
    assert "'clases' is not an option (did you mean 'classes'?); it has " in capsys.readouterr().err


def test_b3_a_signature_is_read_as_a_person_would():
    def function(a, /, b=1, *more, c: tuple[int, str], d=None, e: "int.nothing" = 1, **rest): ...

    assert faults_by_signature({"b": 2.5, "c": [1, "x"], "d": [], "e": 1, "z": 1}, function) == []
    assert faults_by_signature({"b": "x"}, function) == ["b is 'x', not a finite number"]
    assert faults_by_signature({"x": 1}, dict) == []  # nobody knows what it takes

    def typed(*, c: tuple[int, str] = (1, ""), m: Mapping[str, int] | None = None): ...

    assert faults_by_signature({"c": [1, 2], "m": 3, "n": 1}, typed) == [
        "c is [1, 2], not a list of 2, each a whole number",
        "m is 3, not an object of names and values or none",
        "'n' is not an option; it has c, m",
    ]


def test_b3_only_one_file_words_an_unknown_option():
    """Who compares options by himself forgets the next rule: `zoo.options` does it for all."""
    speaking = [f.name for f in CORE.rglob("*.py") if "; it has {have}" in f.read_text("utf-8")]
    assert speaking == ["options.py"]


# --- B8: a home folder's ~ ------------------------------------------------------------------------


@pytest.fixture
def home(place, monkeypatch):
    """The home folder, with the saved model, the squares and the photo; the working folder else."""
    home = place / "home"
    home.mkdir()
    for name in ("saved", "val.npz", "photo.png"):
        (place / name).rename(home / name)
    monkeypatch.setenv("HOME", str(home))
    return home


def commands(group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Every verb of the command line, by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(app_of())))


@pytest.mark.parametrize("verb", COMMANDS)
def test_b8_every_option_and_argument_of_a_verb_takes_a_home_folder(verb, home):
    """Whatever is a path, and whatever will be one: the line is expanded before it is parsed."""
    for parameter in COMMANDS[verb].params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            equals = "=" if option.startswith("--") else ""
            given = [f"{option}{equals}~/x", option, "~/x", f"{option}{equals}~"]
            there = [f"{option}{equals}{home}/x", option, f"{home}/x", f"{option}{equals}{home}"]
            assert expanded_line(given) == there
    assert expanded_line(["~/a.png", "local-dir:~/m"]) == [f"{home}/a.png", f"local-dir:{home}/m"]
    assert expanded_line(["--backbone", "imagenet=~/w"]) == ["--backbone", f"imagenet={home}/w"]


@pytest.mark.parametrize("text", ["~draft.png", "./~", "a~/b", "--notes=about ~/x", "~10% wrong"])
def test_b8_other_tildes_stay(text, home):
    assert expanded_line([text]) == [text]


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("predict ~/saved ~/photo.png --out=~/o --background=~/photo.png", "o/photo.png"),
        ("predict local-dir:~/saved ~/photo.png -o~/o.png", "o.png"),
        ("predict tiny ~/photo.png --out=~/o --weights=~/saved/model.safetensors", "o/photo.png"),
        ("eval ~/saved --data=arrays:~/val.npz?classes=a,b --workers 0 --out=~/o", "o/rows.csv"),
        (
            "train tiny --data=arrays:~/val.npz?classes=a,b --init-from=~/saved --cache=~/kept "
            "--out=~/run --workers 0 steps=1 batch_size=2 --quiet",
            "run/model/config.json",
        ),
        ("data preview arrays:~/val.npz --out=~/sheet.png", "sheet.png"),
        ("data compose-digits ~/digits --count 20", "digits/train.npz"),
        ("new my-net --folder=~", "my-net/pyproject.toml"),
        ("convert ~/saved/model.safetensors --to tiny --out=~/made", "made/config.json"),
    ],
)
def test_b8_a_command_line_writes_at_home(line, written, home, place, capsys):
    assert run(line.split()) == 0, capsys.readouterr().err
    assert (home / written).is_file()
    assert [p.name for p in place.iterdir()] == ["home"]


def calls(home: Path) -> dict[str, Callable[[], object]]:
    """A call for every parameter of Python's that is a path, by function and parameter."""
    quiet = Settings(workers=0, device="cpu", quiet=True, cache="~/kept")
    fast = ["steps=1", "batch_size=2"]
    words, small = "arrays:~/val.npz?classes=a,b", {"workers": 0, "device": "cpu"}
    file = "~/saved/model.safetensors"
    return {
        "load.ref": lambda: segzoo.load("~/saved"),
        "load.weights": lambda: segzoo.load("tiny", weights=file),
        "Model.predict.source": lambda: segzoo.load("tiny").predict("~/photo.png"),
        "Predictor.predict.source": lambda: segzoo.load("tiny").predictor().predict("~/photo.png"),
        "Model.save_pretrained.folder": lambda: segzoo.load("tiny").save_pretrained("~/again"),
        "train.run": lambda: segzoo.train("tiny", words, run="~/run", changes=fast, settings=quiet),
        "train.resume": lambda: segzoo.train(
            resume="~/run", run="~/on", changes=["steps=+1"], settings=quiet
        ),
        "train.init_from": lambda: segzoo.train(
            "tiny", words, run="~/new", init_from=file, changes=fast, settings=quiet
        ),
        "auto.run": lambda: segzoo.auto(words, run="~/planned", plan_only=True),
        "evaluate.out": lambda: segzoo.evaluate("~/saved", words, out="~/figures", **small),
        "evaluate.weights": lambda: segzoo.evaluate("tiny", words, weights=file, **small),
    }


def test_b8_python_writes_at_home_too(home, place):
    for call in calls(home).values():
        call()
    made = {"again", "figures", "kept", "new", "on", "photo.png", "run", "saved", "val.npz"}
    assert {p.name for p in home.iterdir()} == made
    assert [p.name for p in place.iterdir()] == ["home"]


def test_b8_every_path_of_the_public_functions_is_among_the_calls():
    """`push_to_hub` passes its paths on to what `segzoo publish` calls, which needs a Hub."""
    found = set()
    for name in segzoo.__all__:
        public = getattr(segzoo, name)
        methods = {f"{name}.{m}": f for m, f in vars(public).items() if m[0] != "_"}
        functions = {name: public} if not isinstance(public, type) else methods
        for called, function in functions.items():
            if callable(function) and called != "Model.push_to_hub":
                for parameter in inspect.signature(function).parameters.values():
                    if "PathLike" in str(parameter.annotation):
                        found.add(f"{called}.{parameter.name}")
    assert found and found <= calls(Path()).keys()


# --- B11: outputs below the input folder ----------------------------------------------------------


@pytest.mark.parametrize("kinds", ["mask", "mask,cutout,color"])
def test_b11_outputs_of_a_run_are_not_inputs_of_the_next(kinds, place, capsys):
    for name in ("a.png", "sub/b.jpg"):
        (place / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open("photo.png").save(place / "in" / name)
    line = ["predict", "./saved", "in", "-r", "--device", "cpu", "--as", kinds, "--json", "-o"]
    found = []
    for number in range(3):
        assert run([*line, f"in/out{number}"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    made = 2 * len(kinds.split(","))
    for number, told in enumerate(found):
        assert [p["input"] for p in told["pictures"]] == ["in/a.png", "in/sub/b.jpg"]
        kept = {".png that segzoo predicted": made * number} if number else {}
        assert told["left_out"] == kept
    assert run(["predict", "./saved", "in/**/*.png", "--device", "cpu", "-o", "out", "-q"]) == 0
    assert list(contents(place / "out")) == ["a.png"]
    first = kinds.split(",")[0] if "," in kinds else "."
    assert run(["predict", "./saved", f"in/out0/{first}", "--device", "cpu", "-o", "on", "-q"]) == 0
    assert list(contents(place / "on")) == ["a.png"]  # named itself, it is meant


# --- A10: the rest of what a stranger could do ----------------------------------------------------


def test_a10_a_file_exchanged_while_it_is_opened_is_refused(place, monkeypatch):
    """The link is judged, another file is opened, and the first is there again afterwards."""
    secret, good = place / "secret", place / "saved" / "config.json"
    secret.write_bytes(MINE)
    opened = within.open_regular

    def exchanged(path):
        return opened(secret)

    monkeypatch.setattr(within, "open_regular", exchanged)
    with pytest.raises(UnsafeFormatError, match="the file was exchanged while it was opened"):
        within.open_within(good.parent, good.name)
    monkeypatch.undo()
    with within.open_within(good.parent, good.name) as file:
        assert file.read() == good.read_bytes()


def test_a10_weights_of_a_folder_are_judged_as_they_are_opened(place, monkeypatch):
    weights = place / "saved" / "model.safetensors"
    shutil.copy(weights, place / "elsewhere.safetensors")
    asked, opened = [], within.open_regular

    def exchanged(path):
        asked.append(os.fspath(path))
        return opened(place / "elsewhere.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr(within, "open_regular", exchanged)
        with pytest.raises(UnsafeFormatError, match="the file was exchanged while it was opened"):
            segzoo.load("./saved")
    assert [os.path.basename(path) for path in asked] == [weights.name]
    assert openings_of(weights, lambda: segzoo.load("./saved")) == 1
    weights.unlink()
    weights.symlink_to(place / "elsewhere.safetensors")
    with pytest.raises(UnsafeFormatError, match="a link out of its folder"):
        segzoo.load("./saved")


def openings_of(file: Path, act: Callable[[], object]) -> int:
    """How often this process opens a file while something is done."""
    counted: list[str] | None = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and counted is not None and isinstance(arguments[0], str | os.PathLike):
            counted.append(os.path.basename(arguments[0]))

    sys.addaudithook(hook)  # for the rest of the process
    act()
    found, counted = counted, None
    return found.count(file.name)


def test_a10_where_a_path_is_judged_and_not_opened():
    """A new caller of `within` says here what it does with the path, or opens by `open_within`."""
    callers = {
        module
        for file in CORE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "within"
        for module in [".".join(file.relative_to(CORE).with_suffix("").parts)]
    }
    assert callers == {
        "checks.signing",  # every link of a folder, before a library hashes it
        "engine.checkpoint",  # a file's size
        "model.origin",  # config.json where it is a link
        "weights.safetensors",  # files that an index names, opened by `open_within`
        "weights.within",
    }


def test_a10_a_config_that_is_a_link_out_of_its_folder_is_refused(place):
    config = place / "saved" / "config.json"
    (place / "saved" / "manifest.json").unlink()
    config.rename(place / "elsewhere.json")
    config.symlink_to(place / "elsewhere.json")
    for ref in ("./saved", f"local-dir:{place}/saved"):
        with pytest.raises(UnsafeFormatError, match="a link out of its folder"):
            segzoo.load(ref)
    config.unlink()
    (place / "elsewhere.json").rename(place / "saved" / "a.json")
    config.symlink_to("a.json")
    assert segzoo.load("./saved").config.model == "tiny"


def jpeg_of(scans: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    stream = io.BytesIO()
    Image.new("RGB", (640, 640), (200, 90, 10)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    more = scans - whole.count(b"\xff\xda")
    return whole[:end] + whole[last:end] * more + whole[end:]


def tiff_of(scans: int, *, strips: int = 1) -> bytes:
    """A TIFF of such JPEGs below each other, each in a strip of its own; the last has the scans."""
    jpegs = [jpeg_of(20)] * (strips - 1) + [jpeg_of(scans)]
    offsets = [8 + sum(map(len, jpegs[:number])) for number in range(strips)]
    lists = 8 + sum(map(len, jpegs))
    head = struct.pack("<4sI", b"II*\0", lists + 8 * strips + 6)
    arrays = struct.pack(f"<{2 * strips}I3H", *offsets, *map(len, jpegs), 8, 8, 8)
    one = strips == 1
    rows = [
        (256, 4, 1, 640),
        (257, 4, 1, 640 * strips),
        (258, 3, 3, lists + 8 * strips),
        (259, 3, 1, 7),
        (262, 3, 1, 6),
        (273, 4, strips, offsets[0] if one else lists),
        (277, 3, 1, 3),
        (278, 4, 1, 640),
        (279, 4, strips, len(jpegs[0]) if one else lists + 4 * strips),
        (530, 3, 2, 2 | 2 << 16),
    ]
    directory = b"".join(struct.pack("<HHII", *row) for row in rows)
    count = struct.pack("<H", len(rows))
    return head + b"".join(jpegs) + arrays + count + directory + bytes(4)


def png_of(chunks: int) -> bytes:
    """A PNG with so many chunks, of which all but three are texts."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    whole, text = stream.getvalue(), b"tEXta\0b"
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    return whole[:33] + chunk * (chunks - 3) + whole[33:]


@pytest.mark.parametrize(
    ("made", "most", "what"),
    [(jpeg_of, 100, "scans"), (png_of, 100_000, "chunks"), (tiff_of, 100, "scans")],
)
def test_a10_pictures_of_too_many_parts_are_refused_at_once(made, most, what):
    begun = time.process_time()
    with pytest.raises(PictureError, match=f"the picture has too many {what}; .*at most {most:,}"):
        codec.read(made(most + 1))
    assert time.process_time() - begun < 5
    if made is jpeg_of:
        assert codec.read(made(most)).image.shape == (640, 640, 3)


@pytest.mark.parametrize("strips", [1, 3])
def test_a10_the_scans_of_a_jpeg_in_a_tiff_are_those_of_one_strip(strips):
    """libtiff would stop at as many, unless the environment says otherwise, and print a line."""
    assert codec.read(tiff_of(99, strips=strips)).image.shape == (640 * strips, 640, 3)
    with pytest.raises(PictureError, match="too many scans; found 101, expected at most 100"):
        codec.read(tiff_of(101, strips=strips))


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("living", [True, False])
def test_a10_what_killed_processes_left_goes_after_a_day(old, living, place):
    left = place / "out" / "sub" / ".segzoo-0123456789abcdef.tmp"
    left.parent.mkdir(parents=True)
    with open(left, "wb") as file:
        if living:
            assert files.hold(file)
        file.write(MINE)
        file.flush()
        before = time.time() - files.LEFT_SECONDS + (-60 if old else 60)
        os.utime(left, (before, before))
        assert run(PREDICT) == 0
        assert left.exists() == (living or not old)


def test_a10_so_do_downloads(hub_here, place, monkeypatch):
    made = {p.name: p.read_bytes() for p in (place / "saved").iterdir()}
    hub_here.add("alice/tiny", made)
    blobs = hubcache.Snapshot("alice/tiny", "0" * 40).store / "blobs"
    blobs.mkdir(parents=True)
    for name, age in (("old", 2 * files.LEFT_SECONDS), ("new", 60)):
        path = blobs / f"{name}.01234567.incomplete"
        path.write_bytes(MINE)
        os.utime(path, (time.time() - age,) * 2)
    segzoo.load("hf-hub:alice/tiny")
    assert [p.name for p in blobs.glob("*.incomplete")] == ["new.01234567.incomplete"]


@pytest.mark.parametrize("text", ["a\nb=CC0-1.0", "a=CC0\x1b[2J", "a=CC0-1.0=https://x/\ry"])
def test_a10_a_data_set_of_several_lines_is_a_mistake_of_the_line(text, capsys):
    assert run(["publish", "./saved", "alice/tiny", "--trained-on", text, "--dry-run", "o"]) == 2
    assert "expected one line of at most 500 characters" in capsys.readouterr().err


def test_a10_notes_and_data_are_masked_as_words_are(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    told = "see https://me:geheim@example.org/d and {}/cells, or https://example.org/e"
    given = Dataset(name="cells", license="CC0-1.0", url="ftp://me:geheim@example.org/cells")
    assert public(told.format(place)) == (
        "see https://example.org/d and cells, or https://example.org/e"
    )
    assert folder._masked(given).url == "ftp://example.org/cells"
    assert folder._masked(dataclasses.replace(given, name=f"{place}/cells")).name == "cells"


PLUGIN = """
import dataclasses, os
from tiny import TINY
from segzoo.spec import ModelSpec

class Late(ModelSpec):
    def __getattribute__(self, name):
        if name == "summary" and "READY" in globals():
            raise RuntimeError("not now")
        return super().__getattribute__(name)

LATE = Late(**{f.name: getattr(TINY, f.name) for f in dataclasses.fields(TINY)})
READY = True
"""


def test_a10_a_plugins_own_class_of_spec_is_refused(place, monkeypatch, capsys):
    (place / "late.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("SEGZOO_MODELS", "late=late:LATE,tiny=tiny:TINY")
    assert run(["info", "late"]) == 2
    assert "late:LATE is of a class of its own, Late" in capsys.readouterr().err
    assert run(["list"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_a10_a_plugin_that_interrupts_is_a_broken_plugin(place, monkeypatch, capsys):
    (place / "stops.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("SEGZOO_MODELS", "stops=stops:SPEC,tiny=tiny:TINY")
    assert run(["info", "stops"]) == 2
    assert "cannot be used: KeyboardInterrupt" in capsys.readouterr().err
    assert run(["list"]) == 0
    (place / "pressed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.setenv("SEGZOO_MODELS", "pressed=pressed:SPEC")
    assert run(["info", "pressed"]) == 130  # a person's Ctrl-C stays one
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def in_a_process(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(place), *sys.path])
    line = [sys.executable, "-m", "segzoo.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=300)


def test_a10_what_a_plugin_writes_to_descriptor_1_is_not_in_the_json(place, monkeypatch):
    (place / "loud.py").write_text("import os\nos.write(1, b'hello')\nfrom tiny import TINY\n")
    monkeypatch.setenv("SEGZOO_MODELS", "loud=loud:TINY")
    done = in_a_process(place, "list", "--json")
    assert done.returncode == 0, done.stderr
    assert "loud" in [row["name"] for row in json.loads(done.stdout)]
    assert "hello" in done.stderr


def test_a10_entry_points_that_are_no_text_are_named(place):
    broken = place / "evil-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_bytes(b"[segzoo.models]\n\xff\xfe = a:b\n")
    done = in_a_process(place, "predict", "./saved", "photo.png", "-o", "out", "--device", "cpu")
    assert "defect" not in done.stderr
    assert done.returncode == 0 or "entry_points.txt of evil is not UTF-8" in done.stderr
