"""A stranger's checkpoint whose hashes are right: going on works or says what is wrong."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from strange import texts_of_strange
from torch import nn

from segzoo.engine import checkpoint, state
from segzoo.engine.ema import Average
from segzoo.errors import CheckpointError


def begun() -> state.State:
    """A run after a step, with an average of its weights."""
    torch.manual_seed(0)
    network = nn.Conv2d(1, 2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    optimizer.step()
    return state.State(network, optimizer, Average(network, 0.9), None, state.Progress(step=1))


@pytest.fixture
def saved(tmp_path) -> Path:
    state.save(tmp_path, begun(), rank=0, world=1, about={})
    return tmp_path / "step-00000001"


def rewrite(folder: Path, file: str, text: str) -> None:
    """The file anew, and its hash in the manifest."""
    (folder / file).write_text(text, "utf-8")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["files"][file] = {
        **manifest["files"][file],
        "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
        "size": (folder / file).stat().st_size,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def go_on(run: Path) -> state.State:
    now = begun()
    found = checkpoint.find(run)
    state.restore(found, now, rank=0, world=1, seed=0)
    return now


def changed(file: Path, name: str, value: Any) -> str:
    """The file's text with another value; name: with dots between its parts."""
    known = json.loads(file.read_text("utf-8"))
    *inner, last = name.split(".")
    place = known
    for part in inner:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[last] = value
    return json.dumps(known)


def test_as_it_was_written(saved):
    assert go_on(saved.parent).progress == state.Progress(step=1)


@pytest.mark.parametrize("file", ["progress.json", "optimizer.json", "random-00000.json"])
def test_every_value_of_another_kind(saved, file):
    known = json.loads((saved / file).read_text("utf-8"))
    if "python" in known:
        version, numbers, gauss = known["python"]
        known["python"] = [version, numbers[-2:], gauss]  # the rest is alike
    refused = 0
    for said, text in texts_of_strange(known):
        rewrite(saved, file, text)
        try:
            now = go_on(saved.parent)
            if said.startswith("state."):  # of options a number is one, whatever comes of it
                now.optimizer.step()
        except CheckpointError as error:
            assert str(error).startswith(str(saved)), (said, error)
            refused += 1
        except Exception as error:
            raise AssertionError(f"{file}: {said}") from error
    assert refused > 20


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        ("progress.json", "step", 2, "it is of another step; found 2, expected 1"),
        ("progress.json", "average", None, "average=null is not a whole number from 0 on"),
        ("progress.json", "best", "x", 'best="x" is not a number or null'),
        ("progress.json", "seconds", -1, "seconds=-1 is not a number of seconds"),
        ("optimizer.json", "groups.0.options.lr", "x", "group 0, 'lr', is not as it was written"),
        ("optimizer.json", "groups.0.options.betas", {"tuple": [0.9]}, "group 0, 'betas', is not"),
        (
            "random-00000.json",
            "python",
            [3, [1], None],
            "not as a run writes it: ValueError: state",
        ),
    ],
)
def test_the_file_and_the_value_are_named(saved, file, name, value, message):
    rewrite(saved, file, changed(saved / file, name, value))
    with pytest.raises(CheckpointError) as caught:
        go_on(saved.parent)
    assert str(caught.value).startswith(str(saved / file))
    assert message in str(caught.value)
