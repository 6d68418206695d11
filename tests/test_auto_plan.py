"""plan.json of a stranger: every line is judged before it is used, and none is believed."""

import functools
import json

import pytest
import scenes
from strange import texts_of_strange

from segzoo.automatic import planning
from segzoo.automatic.folds import kept_lines
from segzoo.automatic.plan import PLAN, AutoRequest, read_plan, write_plan
from segzoo.automatic.planning import data_for, planned, request_for
from segzoo.cli import auto as verb
from segzoo.data.looked import look_at
from segzoo.engine.settings import Settings
from segzoo.errors import RunError, SegzooError

QUIET = Settings(device="cpu", workers=0, quiet=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plan with the sets that it was made for, and what plan.json has of it."""
    folder = tmp_path_factory.mktemp("planned")
    scenes.stored(folder / "cells", scenes.cells, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGZOO_MODELS", "stranger=tiny:STRANGER")
        asked = AutoRequest(data=str(folder / "cells"), minutes=1.0, like="stranger")
        found = planned(asked, QUIET)
    write_plan(folder, found.plan)
    return found, json.loads((folder / PLAN).read_text("utf-8"))


@pytest.fixture(autouse=True)
def stranger(monkeypatch, made):
    monkeypatch.setenv("SEGZOO_MODELS", "stranger=tiny:STRANGER")
    look = look_at(made[0].data, made[0].val)
    monkeypatch.setattr(planning, "look_at", lambda data, val: look)  # nothing of it is the plan's
    monkeypatch.setattr(planning, "data_of", functools.cache(planning.data_of))


def used(found, run):
    """What a run that goes on, a fold and a person do with a plan."""
    plan = read_plan(run)
    request_for(found._replace(plan=plan), run, QUIET)
    data_for(plan)
    kept_lines(plan, ())
    assert plan.traits.numbers["object"] ** 2 < float("inf")
    [*verb._plan_lines(plan)]
    assert all(f"{kept.value:g}" for kept in plan.kept)


def with_line(record, name, *value):
    """The record with another value in a line, or without the line."""
    lines = [line for line in record["lines"] if line["name"] != name]
    lines += [{"name": name, "value": each, "why": "x", "source": ""} for each in value]
    return record | {"lines": lines}


def test_the_plan_itself_is_used(made, tmp_path):
    found, record = made
    (tmp_path / PLAN).write_text(json.dumps(record), "utf-8")
    used(found, tmp_path)
    assert read_plan(tmp_path) == found.plan


@pytest.mark.slow
def test_every_value_of_another_kind(made, tmp_path):
    found, record = made
    kept = [{"name": "flips", "value": True, "before": 0.5, "after": 0.6, "taken": True}]
    refused = 0
    for said, text in texts_of_strange(record | {"kept": kept}):
        (tmp_path / PLAN).write_text(text, "utf-8")
        try:
            used(found, tmp_path)
        except SegzooError:
            refused += 1
        except Exception as error:
            raise AssertionError(said) from error
    assert refused > 500


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("model", [], "there is no line model"),
        ("augment", [], "there is no line augment"),
        ("augment", [[5]], "augment=[5] is not names, or a list of [name, options]"),
        ("begins", [5], "begins=5 is not a text"),
        ("model", ["os:system"], 'model="os:system" is not a model\'s name'),
        ("model", ["../model"], 'model="../model" is not a model\'s name'),
        ("loss", [["combined", {"parts": [5]}]], "is not a name, [name, options] or null"),
        ("eval_every", [0], "eval_every=0 is not a whole number from 1 up to"),
        ("threads", [10**9, 1], "the line threads stands more than once"),
        ("lr", [{}], "lr={} is not a number, a text or null"),
    ],
)
def test_a_line_that_is_none_is_named(made, tmp_path, name, values, message):
    (tmp_path / PLAN).write_text(json.dumps(with_line(made[1], name, *values)), "utf-8")
    with pytest.raises(RunError) as caught:
        read_plan(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / PLAN}: this is no plan: Plan: ")
    assert message in str(caught.value)
    assert caught.value.next_step.endswith("choose another folder with -o")


def test_words_of_a_plan_write_where_a_person_said(made, tmp_path):
    words = f"hf:cells?cache_dir={tmp_path.parent / 'elsewhere'}"
    run = tmp_path / "run"
    run.mkdir()
    (run / PLAN).write_text(json.dumps(made[1] | {"data": words, "val": words}), "utf-8")
    with pytest.raises(RunError, match="a folder outside the run to write to, which nobody asked"):
        read_plan(run)
    asked = made[1]["asked"] | {"data": words}
    record = made[1] | {"asked": asked, "data": f"{words}&val=0.2", "val": f"{words}&val=0.2"}
    (run / PLAN).write_text(json.dumps(record), "utf-8")
    assert read_plan(run).asked.data == words
