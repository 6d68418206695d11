"""`segzoo pick`: stated numbers beside measured time, and what nothing here beats."""

import json
from dataclasses import replace

import pytest
import safetensors.torch
import tiny

import segzoo
from segzoo.cli.main import run
from segzoo.cli.pick import seconds_of
from segzoo.errors import ResourceError, UsageError
from segzoo.model.footprint import footprint
from segzoo.model.picked import Comparable, Timed, front_of
from segzoo.predict.artefacts.measured import measured_here
from segzoo.spec import Dataset, Metric, Weights, asdict

DICE = Comparable("Dice", "cells", "ours")
ERROR = Comparable("MAE", "cells", "ours")


def timed(*, memory=(), **times):
    """Candidates by their names: (value, seconds), or (value, seconds, fits)."""
    found = [
        Timed(name, value, seconds, "torch", "MIT", *fits)
        for name, (value, seconds, *fits) in times.items()
    ]
    return [c._replace(memory=m) for c, m in zip(found, memory or [None] * len(found), strict=True)]


@pytest.mark.parametrize(
    ("shared", "candidates", "order", "front"),
    [
        (DICE, {"a": (0.9, 3), "b": (0.8, 1), "c": (0.7, 2)}, "abc", "ab"),
        (DICE, {"a": (0.9, 1), "b": (0.8, 1), "c": (0.7, 0.5)}, "abc", "ac"),
        (DICE, {"a": (0.9, 1), "b": (0.9, 1), "c": (0.9, 2)}, "abc", "ab"),
        (DICE, {"a": (0.9, 9, False), "b": (0.8, 1)}, "ab", "b"),
        (DICE, {"a": (0.9, 9, False), "b": (0.9, 9, False)}, "ab", ""),
        (ERROR, {"a": (0.05, 3), "b": (0.07, 1), "c": (0.1, 2)}, "abc", "ab"),
    ],
)
def test_the_front_is_what_nothing_beats(shared, candidates, order, front):
    found = front_of(shared, timed(**candidates))
    assert "".join(c.ref for c in found) == order
    assert "".join(c.ref for c in found if c.on_front) == front


@pytest.mark.parametrize(
    ("candidates", "memory", "front", "without"),
    [
        ({"a": (0.9, 1), "b": (0.8, 2)}, (9, 5), "ab", "a"),  # worse and slower, in less memory
        ({"a": (0.9, 1), "b": (0.8, 2)}, (5, 5), "a", "a"),
        ({"a": (0.9, 1), "b": (0.9, 1)}, (5, 5), "ab", "ab"),
        ({"a": (0.9, 1), "b": (0.9, 1)}, (5, 6), "a", "ab"),
        ({"a": (0.9, 1, False), "b": (0.8, 2)}, (5, 9), "b", "b"),
    ],
)
def test_memory_counts_where_it_is_asked_for(candidates, memory, front, without):
    for found, wanted in (
        (timed(memory=memory, **candidates), front),
        (timed(**candidates), without),
    ):
        assert "".join(c.ref for c in front_of(DICE, found) if c.on_front) == wanted


@pytest.mark.parametrize(
    ("text", "seconds"), [("30ms", 0.03), ("0.5 s", 0.5), ("2min", 120), ("250us", 0.00025)]
)
def test_a_time_is_read(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "ms", "-1ms", "0ms", "1e9s", "30 fps", "١ms", "nan s"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match="cannot read the time"):
        seconds_of(text)


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """tiny for the task multilabel, which no other installed weights are for; in torch alone."""
    (tmp_path / "made_weights").mkdir()
    (tmp_path / "made_weights/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    monkeypatch.setattr("segzoo.predict.artefacts.speed.installed", lambda precision: [])
    spec = replace(tiny.TINY, tasks={"multilabel": tiny.SIGMOID})

    def weights(width, value, **fields):
        network = segzoo.load(replace(spec), seed=0, width=width).network
        file = tmp_path / f"made_weights/{width}.safetensors"
        safetensors.torch.save_file(network.state_dict(), file)
        said = {
            "bundled": f"made_weights:{width}.safetensors",
            "sha256": segzoo_sha256(file),
            "options": {"width": width},
            "trained_on": (Dataset(name="Cells", license="CC0-1.0"),),
            "metrics": (Metric(name="Dice", value=value, split="cells", protocol="ours"),),
            "license": "MIT",
            **fields,
        }
        return Weights(**said)

    def offer(**records):
        monkeypatch.setattr(tiny, "TINY", replace(spec, weights=records))

    offer.weights = weights
    return offer


def segzoo_sha256(file):
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


def picked(capsys, *more):
    assert run(["pick", "--task", "multilabel", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_installed_weights_are_measured_once_and_compared(offered, capsys):
    elsewhere = (Metric(name="Dice", value=0.99, split="other cells", protocol="ours"),)
    offered(
        small=offered.weights(1, 0.8),
        large=offered.weights(256, 0.9),
        elsewhere=offered.weights(2, 0.1, metrics=elsewhere),
        gone=offered.weights(3, 0.95, retired="it was wrong"),
        silent=offered.weights(4, 0.95, metrics=()),
        absent=offered.weights(5, 0.95, bundled="made_weights:none.safetensors"),
    )
    found = picked(capsys)
    first, second = found["groups"]
    assert [c["ref"] for c in first["candidates"]] == ["tiny.large", "tiny.small"]
    assert [c["on_front"] for c in first["candidates"]] == [True, True]
    assert [c["ref"] for c in second["candidates"]] == ["tiny.elsewhere"]
    assert found["left_out"] == {"tiny.absent": "not on this machine"}
    seconds = {c["ref"]: c["seconds"] for c in first["candidates"]}
    assert 0 < seconds["tiny.small"] < seconds["tiny.large"]
    assert len([*measured_here()]) == 3  # kept, as `--runtime auto` keeps them
    assert picked(capsys) == found  # and not measured again

    between = sum(seconds.values()) / 2
    found = picked(capsys, "--budget", f"{between * 1e6:.0f}us")
    assert [c["fits"] for c in found["groups"][0]["candidates"]] == [False, True]
    assert run(["pick", "--task", "multilabel", "--budget", f"{between * 1e6:.0f}us"]) == 0
    said = capsys.readouterr().out
    assert (
        "cells; ours" in said
        and "us BUDGET" in said
        and " above\n" in said
        and "*  tiny.small" in said
    )


SPEC = """
from dataclasses import replace
import tiny
from segzoo.spec import Weights, from_dict
WEIGHTS = {{tag: from_dict(Weights, record) for tag, record in {weights!r}.items()}}
SPEC = replace(tiny.TINY, tasks={{"multilabel": tiny.SIGMOID}}, weights=WEIGHTS)
"""


def test_memory_is_that_of_a_process_of_its_own(offered, tmp_path, monkeypatch, capsys):
    """The wide one holds 256 maps of 320x320 in float32, 105 MB, more than once."""
    records = {"narrow": offered.weights(1, 0.8), "wide": offered.weights(256, 0.9)}
    text = SPEC.format(weights={tag: asdict(record) for tag, record in records.items()})
    (tmp_path / "spec_of_pick.py").write_text(text)
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=spec_of_pick:SPEC")
    found = picked(capsys, "--memory")
    memory = {c["ref"]: c["memory"] for c in found["groups"][0]["candidates"]}
    assert memory["tiny.wide"] - memory["tiny.narrow"] > 100e6
    assert memory["tiny.narrow"] > 50e6  # torch itself
    assert {m for speed in measured_here() for m in speed.memory.values()} == {*memory.values()}
    monkeypatch.setattr("segzoo.model.footprint.children", None)  # it is kept
    assert picked(capsys, "--memory") == found
    assert run(["pick", "--task", "multilabel", "--memory"]) == 0
    said = capsys.readouterr().out
    assert "MEMORY" in said and f"{memory['tiny.wide'] / 1e6:,.0f} MB" in said


def test_a_process_that_cannot_run_the_weights_is_one_line():
    with pytest.raises(ResourceError, match=r"^its memory could not be measured: .*no_such_model"):
        footprint("no_such_model.tag", "torch", "fp32")


def test_a_licence_leaves_weights_out(offered, capsys):
    data = (Dataset(name="Cells", license="not stated"),)
    offered(
        free=offered.weights(1, 0.8),
        own=offered.weights(2, 0.9, license="CC-BY-NC-4.0"),
        unknown=offered.weights(3, 0.9, trained_on=data),
    )
    found = picked(capsys, "--license", "permissive")
    assert [c["ref"] for c in found["groups"][0]["candidates"]] == ["tiny.free"]
    assert found["left_out"].keys() == {"tiny.own", "tiny.unknown"}
    assert "CC-BY-NC-4.0" in found["left_out"]["tiny.own"]


def test_where_there_is_nothing_to_choose_from(offered, capsys):
    offered(own=offered.weights(2, 0.9, license="CC-BY-NC-4.0"))
    assert run(["pick", "--task", "multilabel", "--license", "permissive"]) == 2
    assert "no weights for the task multilabel are here to choose from" in capsys.readouterr().err
    assert run(["pick", "--task", "panoptic"]) == 2
    assert "no task 'panoptic'; expected binary" in capsys.readouterr().err
