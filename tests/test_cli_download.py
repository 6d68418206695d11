"""segzoo download, and the verbs that take a model on the Hub: predict, info, list --hub."""

import json
import os
import sys

import numpy as np
import pytest
from hub_server.faults import Fault
from PIL import Image

import segzoo
from segzoo.base import transfer
from segzoo.cli import transfers
from segzoo.cli.main import run

REF = "hf-hub:alice/tiny"


@pytest.fixture(autouse=True)
def here(hub_here, monkeypatch):
    """This process asks the test's server."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")


CARD = b"---\nlicense: mit\nlibrary_name: segzoo\ntags: [segzoo]\n---\n# tiny\n"


@pytest.fixture
def commit(hub, tmp_path):
    """A model on the Hub with a card, and with a file that no model has."""
    folder = segzoo.load("tiny", seed=3, width=5).save_pretrained(tmp_path / "saved")
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    return hub.add("alice/tiny", found | {"README.md": CARD, "run.py": b"import os"})


def as_json(capsys, *arguments):
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_files_of_a_published_model_and_no_other(hub, commit, capsys):
    [done] = as_json(capsys, "download", REF)
    assert done["model"] == f"{REF}@{commit}"
    assert done["commit"] == commit
    names = {"README.md", "config.json", "manifest.json", "model.safetensors"}
    assert set(os.listdir(done["path"])) == names
    assert done["bytes"] == sum(os.path.getsize(f"{done['path']}/{name}") for name in names)
    assert not any("run.py" in path for _, path in hub.requests)


def test_then_nothing_needs_a_connection(hub, commit, capsys, monkeypatch, tmp_path):
    assert run(["download", REF]) == 0
    assert capsys.readouterr().out.startswith(f"{REF}@{commit}: ")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(picture)
    assert run(["predict", REF, str(picture), "-o", str(tmp_path / "out"), "-q"]) == 0
    with Image.open(tmp_path / "out" / "a.png") as mask:
        assert mask.size == (7, 9)
    assert run(["info", f"{REF}@{commit}"]) == 0
    assert hub.requests == []


def test_a_branch_is_looked_up_anew(hub, commit, capsys):
    as_json(capsys, "download", REF)
    later = hub.add("alice/tiny", {"README.md": CARD + b"more"})
    hub.requests.clear()
    [done] = as_json(capsys, "download", REF)
    assert done["commit"] == later
    fetched = [path for _, path in hub.requests if "/resolve/" in path]
    assert fetched == [f"/alice/tiny/resolve/{later}/README.md"]  # the others are here already


def test_several_and_the_first_that_fails_ends_it(hub, commit, capsys):
    assert run(["download", REF, "hf-hub:alice/other", REF]) == 4
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "there is no repository alice/other on the Hub" in captured.err


def test_what_comes_is_counted_to_its_end(hub, commit):
    heard = []
    with transfer.heard(lambda *told: heard.append(told)):
        assert run(["download", REF]) == 0
    ends = {name: (done, total) for name, done, total in heard}
    assert {*ends} == {"README.md", "config.json", "manifest.json", "model.safetensors"}
    assert all(done == total > 0 for done, total in ends.values())


@pytest.mark.parametrize(("more", "watched"), [([], True), (["-q"], True), ([], False)])
def test_a_person_who_watches_sees_it_come(
    hub, commit, capsys, monkeypatch, tmp_path, more, watched
):
    monkeypatch.setattr(transfers, "SHOWN", 100)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched)
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(picture)
    assert run(["predict", REF, str(picture), "-o", str(tmp_path / "out"), *more]) == 0
    assert ("model.safetensors" in capsys.readouterr().err) == (watched and not more)


def test_weights_that_came_with_a_plugin(capsys):
    [done] = as_json(capsys, "download", "u2netp.duts")
    assert done["path"].endswith(".safetensors")
    assert os.path.getsize(done["path"]) == done["bytes"]
    assert done["commit"] is None


def test_what_cannot_be_downloaded(hub, capsys, tmp_path):
    assert run(["download", f"local-dir:{tmp_path}"]) == 2
    assert "a folder is here already" in capsys.readouterr().err
    assert run(["download", "tiny"]) == 2
    assert "tiny has no weights" in capsys.readouterr().err
    hub.add("alice/notes", {"README.md": CARD})
    assert run(["download", "hf-hub:alice/notes"]) == 4
    assert "holds no weights" in capsys.readouterr().err


def test_the_offline_command_is_this_one(hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["info", f"{REF}@r1"]) == 4
    assert f"run: segzoo download {REF}@r1" in capsys.readouterr().err


# --- info ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["hub", "folder"])
def test_info_shows_how_a_saved_model_was_built(hub, commit, capsys, tmp_path, where):
    ref = REF if where == "hub" else str(tmp_path / "saved")
    assert run(["info", ref]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: a model for tests"
    assert "  options    width=5" in lines
    assert "  licence    not stated" in lines
    assert not any(line.startswith("weights") for line in lines)  # those are the plugin's
    assert f"parameters   {3 * 5 * 9 + 5 + 10 + 5 + 1}" in lines
    assert not any("safetensors" in path for _, path in hub.requests)
    found = as_json(capsys, "info", ref)
    assert found["saved"]["options"] == {"width": 5}


# --- list --hub ----------------------------------------------------------------------------------


def test_models_on_the_hub(hub, commit, capsys):
    hub.add("bob/other", {"README.md": b"---\ntags: [segzoo]\n---\n"})
    hub.add("bob/llm", {"README.md": b"---\ntags: [text]\n---\n"})
    assert run(["list", "--hub"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["REFERENCE", "LICENCE", "DOWNLOADS", "UPDATED"]
    assert [line.split()[:2] for line in lines[1:]] == [[REF, "mit"], ["hf-hub:bob/other", "not"]]
    assert [m["repo"] for m in as_json(capsys, "list", "--hub", "BOB/*")] == ["bob/other"]
    assert [m["repo"] for m in as_json(capsys, "list", "--hub", "Other")] == ["bob/other"]
    assert [m["repo"] for m in as_json(capsys, "list", "--hub", "other", "bob")] == ["bob/other"]
    assert as_json(capsys, "list", "--hub", "other", "alice") == []
    permissive = as_json(capsys, "list", "--hub", "--license", "permissive")
    assert [m["repo"] for m in permissive] == ["alice/tiny"]
    assert run(["list", "--hub", "nobody/*"]) == 0
    assert capsys.readouterr().out == "No model on the Hub fits.\n"


def test_models_on_the_hub_need_it(hub, capsys, monkeypatch):
    assert run(["list", "--hub", "--pretrained"]) == 2
    assert "--hub goes with GLOB, --license and --json alone" in capsys.readouterr().err
    hub.faults.append(Fault("GET /api/models", times=None, body=b"{}"))
    assert run(["list", "--hub"]) == 4
    assert "does not answer as the Hub does" in capsys.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run(["list", "--hub"]) == 4
    assert "HF_HUB_OFFLINE forbids connections. The list of models needs" in capsys.readouterr().err


def test_a_list_from_strangers(hub, capsys):
    model = {"id": "a/b\x1b[31m", "tags": "license:x", "downloads": "many", "lastModified": 7}
    hub.faults.append(Fault("GET /api/models", body=json.dumps([model]).encode()))
    assert run(["list", "--hub"]) == 0
    assert "hf-hub:a/b\\x1b[31m  not stated          0  7" in capsys.readouterr().out
