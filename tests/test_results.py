"""results/: every row can be run as it stands, and what weights claim is what was measured."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer

from segzoo.cli.options import options_of
from segzoo.cli.verbs import app_of
from segzoo.data.source import parse
from segzoo.engine import recipes
from segzoo.model.load import find_spec

ROOT = Path(__file__).parents[1]
ROWS = runpy.run_path(str(ROOT / "results/rows.py"))
NAMES = sorted(file.parent.name for file in ROOT.glob("results/*/row.toml"))
RUNS = [(name, run.name) for name in NAMES for run in ROWS["read"](name).runs]
# The others' rows are named after a set of weights, MODEL.TAG.
OF_WEIGHTS = [name for name in NAMES if not name.startswith(("auto.", "seed."))]
# From before results/run.py, which keeps more.
WITHOUT_TRAINING = {("digit_unet.m2nist", "fast-0"), ("digit_unet.m2nist", "fast-1")}
COMMANDS = typer.main.get_command(app_of()).commands


def words_of(line: str) -> dict:
    """The arguments of a command as segzoo takes them."""
    program, command, *words = shlex.split(line)
    assert program == "segzoo"
    return COMMANDS[command].make_context(command, words).params


def the_run(row: str, name: str):
    return next(run for run in ROWS["read"](row).runs if run.name == name)


@pytest.mark.parametrize(("row", "name"), RUNS)
def test_its_commands_are_understood(row, name):
    for line in the_run(row, name).commands():
        given = words_of(line)
        for words in filter(None, (given.get("data"), given.get("val"))):
            parse(words)
        if "words" in given:  # of `segzoo auto`
            parse(given["words"][0])
        if "arguments" in given:
            model, *changes = given["arguments"]
            _, spec = find_spec(model)
            assert options_of(given["option"]).keys() <= spec.options.keys()
            _, recipe = recipes.of_spec(spec, given["recipe"])
            recipes.overridden(recipe, changes)


@pytest.mark.parametrize(("row", "name"), RUNS)
def test_what_is_kept_of_it_is_whole(row, name):
    folder, run = ROOT / "results" / row / name, the_run(row, name)
    if not folder.exists():
        pytest.skip("not run")
    kept = {file.name for file in folder.iterdir()}
    training = {"recipe.json", "versions.json", "metrics.jsonl", "curves.png"}
    asked = {"run.json", *(f"{label}.json" for label in run.measured)}
    asked |= {"prune.json"} if run.pruned else set()
    if (run.train or run.auto) and (row, name) not in WITHOUT_TRAINING:
        asked |= training
    assert kept == asked
    told = [file.read_text("utf-8") for file in folder.glob("*.json*")]
    assert not any(re.search(r'"(/|[A-Z]:)', text) for text in told), "a path of somebody's machine"


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_weights_claim_what_was_measured(name):
    """To the digits that they give."""
    model, tag = name.split(".")
    _, spec = find_spec(model)
    if tag not in spec.weights:
        pytest.skip("no weights of this name")
    row = ROWS["read"](name)
    found = {
        (metric, round(ROWS["number"](ROWS["values_of"](file), key), 4))
        for file in row.folder.glob("*/*.json")
        if file.stem in {label for run in row.runs for label in run.measured}
        for metric, key in row.metrics.items()
    }
    assert {(metric.name, metric.value) for metric in spec.weights[tag].metrics} <= found
