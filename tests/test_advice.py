"""What an error tells a person to copy is never chosen by a stranger's file."""

import ast
import json
import re
from pathlib import Path

import pytest
import typer

import segzoo
from segzoo.cli import advice, main
from segzoo.cli.main import run
from segzoo.cli.verbs import app_of
from segzoo.errors import PluginMissingError
from segzoo.zoo import registry

CORE = Path(__file__).parents[1] / "src" / "segzoo"


@pytest.mark.parametrize("line", [["info"], ["predict"], ["verify"], ["check"], ["train"]])
def test_a8_an_unknown_name_is_no_command_to_copy(workplace, capsys, line):
    file = workplace / "run" / "model" / "config.json"
    (file.parent / "manifest.json").unlink()
    record = json.loads(file.read_text())
    record["plugin"] = {"distribution": "evil-typosquat", "version": "9.9"}
    file.write_text(json.dumps(record))
    words = {"predict": ["photo.png", "-o", "out"], "train": ["--data", "arrays:squares.npz"]}
    assert run([*line, "./run/model", *words.get(line[0], [])]) in (2, 3, 1)
    said = "".join(capsys.readouterr())
    assert "made with evil-typosquat 9.9, which does not offer 'tiny' here" in said
    assert "file's claim" in said
    assert "pip install" not in said


@pytest.mark.parametrize("name", ["segzoo-u2net", "Segzoo_U2net", "SEGZOO.u2net"])
def test_a8_a_known_name_is_spelled_as_its_owner_does(workplace, name):
    """Ours are known by the core's own metadata, others when they are installed."""
    file = workplace / "run" / "model" / "config.json"
    record = json.loads(file.read_text())
    record["plugin"] = {"distribution": name, "version": "9.9"}
    file.write_text(json.dumps(record))
    (file.parent / "manifest.json").unlink()
    with pytest.raises(PluginMissingError) as error:
        segzoo.load("./run/model")
    assert error.value.next_step == 'Run: pip install --upgrade "segzoo-u2net>=9.9"'


def test_a8_every_plugin_of_ours_is_known():
    for project in CORE.parents[1].glob("plugins/*/pyproject.toml"):
        assert registry.known(project.parent.name) == project.parent.name
    assert registry.known("segzoo-u2nett") == registry.known("evil") == ""


# Where the name in a line to copy is not written in the source, and who says it.
CHOSEN = {
    "automatic/candidates.py": "an installed plugin's spec",
    "model/origin.py": "a known plugin",
    "export/exporting.py": "an installed exporter's spec",
    "zoo/registry.py": "a plugin of ours, by the table of what ours offer",
    "model/build.py": "an installed plugin's spec",
    "data/source.py": "an installed reader's spec",
    "checks/promises.py": "an installed plugin's spec",
    "checks/doctor.py": "metadata of what is installed",
    "engine/trackers.py": "a setting of three names",
    "cli/new.py": "the folder that was just made",
    "publish/card.py": "an installed plugin, which built the network",
}


def test_a8_lines_to_copy_name_what_is_known():
    """A new workplace where `pip install` is followed by a name that the source does not hold."""
    found = set()
    for file in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else ()
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
                parts = (node.left, node.right)
            texts = [p.value for p in parts if isinstance(p, ast.Constant)]
            after = [str(t).rpartition("pip install")[2] for t in texts if "pip install" in str(t)]
            if any("segzoo-core" not in text for text in after):
                found.add(file.relative_to(CORE).as_posix())
    assert found == CHOSEN.keys()


# --- options that the verb lacks ------------------------------------------------------------------

COMMANDS = typer.main.get_command(app_of()).commands
LINES = {(verb,) for verb in COMMANDS} | {
    (group, verb) for group in ("data", "cache") for verb in COMMANDS[group].commands
}
OF_VERBS = {line: main.options_of_line([*line]) for line in LINES}
OF_ALL = frozenset().union(*OF_VERBS.values())
COMMAND = re.compile(r"segzoo ([a-z-]+)[^;]*")


def next_steps():
    """(file, text) of what errors of the core advise; what is put in when it runs is "X"."""
    for file in sorted(CORE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for word in node.keywords:
                if word.arg == "next_step":
                    for text in texts(word.value):
                        yield file.relative_to(CORE).as_posix(), text


def texts(node):
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    if isinstance(node, ast.BinOp):
        return [left + right for left in texts(node.left) for right in texts(node.right)]
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
        return ["".join(map(str, parts))]
    return ["X"]


STEPS = sorted({*next_steps()})


def test_every_option_that_is_advised_is_one():
    """Of the verb that the advice names, or else of some verb."""
    assert len(STEPS) > 300
    for file, text in STEPS:
        unknown = {*advice.options_in(text)} - OF_ALL
        assert not unknown, f"{file}: {text}"
        for command in COMMAND.finditer(text):
            has = OF_VERBS.get((command[1],), OF_ALL)
            assert {*advice.OPTION.findall(command[0])} <= has, f"{file}: {text}"


@pytest.mark.parametrize("line", sorted(LINES), ids=" ".join)
def test_a_verb_advises_no_option_that_it_lacks(line):
    for _, text in STEPS:
        said = advice.fitting(text, OF_VERBS[line])
        assert {*advice.options_in(said)} <= OF_VERBS[line]
        assert said == text or text.count("--") > said.count("--")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"--weights", "--tag"}, "Give --weights FILE; or --tag T; or see: segzoo list --x"),
        ({"--tag"}, "--tag T; or see: segzoo list --x"),
        ((), "See: segzoo list --x"),
    ],
)
def test_alternatives_that_go_are_left(options, said):
    text = "Give --weights FILE, or --tag T; or see: segzoo list --x"
    found = advice.fitting(text, options)
    assert found == (text if len(options) == 2 else said)


def test_nothing_is_said_where_nothing_goes():
    assert advice.fitting("Give --tile 512 (tile=512)", {"--weights"}) == ""


@pytest.mark.parametrize("verb", ["demo", "serve"])
def test_a_model_without_weights_is_told_where_some_are(capsys, verb):
    assert run([verb, "unet_canvas"]) == 2
    said = capsys.readouterr().err
    assert said.endswith(
        "unet_canvas has no weights; found none. Take one that has some: segzoo list --pretrained\n"
    )


# --- options in what else is said -----------------------------------------------------------------

# Where the core says an option outside of a next step that stands in its error; and the verbs that
# show it, each of which has it. None: a next step that is made apart, which the verb's filter sees.
SHOWN_BY = {
    ("automatic/beginnings.py", "--backbone"): ("auto",),
    ("automatic/folds.py", "--val"): ("auto",),
    ("automatic/planning.py", "--val"): ("auto",),
    ("engine/failures.py", "--checkpointing"): None,
    ("engine/failures.py", "--deterministic"): ("train",),
    ("engine/failures.py", "--force-resume"): None,
    ("engine/failures.py", "--resume"): None,
    ("export/whole.py", "--debug"): None,
    ("model/backbones.py", "--backbone"): None,
    ("pictures/limits.py", "--max-pixels"): None,
    ("predict/predictor.py", "--tile"): None,
    ("publish/folder.py", "--eval"): ("publish",),
    ("publish/folder.py", "--license"): ("publish",),
    ("publish/folder.py", "--trained-on"): ("publish",),
    ("runs/claims.py", "--cache"): ("train",),
    ("runs/claims.py", "--loss"): ("train",),
    ("runs/claims.py", "--teacher"): ("train",),
    ("runs/convert.py", "--ema"): ("convert",),
    ("runs/opening.py", "--val"): ("train",),
    ("runs/reporting.py", "--data"): ("report",),
    ("testing.py", "--gpu"): ("check",),
    ("testing.py", "--slow"): ("check",),
    ("zoo/refs.py", "--weights"): None,
}
# These put command lines together, or a file of requirements, and say nothing else with options.
WRITTEN_BY = (
    "publish/measured.py",
    "publish/space.py",
    "publish/trained.py",
    "runs/reproduction.py",
)
OF_ITS_VERB = re.compile(r"\((\w+): (--[a-z-]+)")  # as in "(predict: --peak 4095)"


def said_elsewhere():
    """(file, text) of what the core below `cli` says beside docstrings and next steps in errors."""
    for file in sorted(CORE.rglob("*.py")):
        name = file.relative_to(CORE).as_posix()
        if name.startswith("cli/") or name in WRITTEN_BY:
            continue
        tree = ast.parse(file.read_text("utf-8"))
        nodes = [*ast.walk(tree)]
        steps = [
            w.value
            for n in nodes
            if isinstance(n, ast.Call)
            for w in n.keywords
            if w.arg == "next_step"
        ]
        bare = [n.value for n in nodes if isinstance(n, ast.Expr)]
        docstrings = [value for value in bare if isinstance(value, ast.Constant)]
        told = {id(part) for each in (*steps, *docstrings) for part in ast.walk(each)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in told:
                told |= {id(part) for part in ast.walk(node)}
                for text in texts(node):
                    yield name, text


def test_an_option_that_is_said_is_one_of_the_verb_that_says_it():
    """A note is shown by any verb and by the server, and so names none but with its verb."""
    found = set()
    for file, text in said_elsewhere():
        for verb, option in OF_ITS_VERB.findall(text):
            assert option in OF_VERBS[verb,], f"{file}: {text}"
        for option in advice.options_in(OF_ITS_VERB.sub("", text)):
            assert option in OF_ALL, f"{file}: {text}"
            found.add((file, option))
            verbs = SHOWN_BY.get((file, option), ())
            assert verbs is None or verbs, f"who shows that? {file}: {text}"
            for verb in verbs or ():
                assert option in OF_VERBS[verb,], f"{verb} shows {file}: {text}"
    assert found == SHOWN_BY.keys()
