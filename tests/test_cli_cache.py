"""segzoo cache: list, size, prune."""

import io
import json
import os

import pytest

import segzoo
from segzoo.base import cache as own
from segzoo.cli.main import run
from segzoo.hub import cache as hubcache


@pytest.fixture(autouse=True)
def here(hub_here, tmp_path, monkeypatch):
    """Two commits of a model in the cache, one of another, and a model that is not of segzoo."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    folder = segzoo.load("tiny", seed=3).save_pretrained(tmp_path / "saved")
    files = {p.name: p.read_bytes() for p in folder.iterdir()}
    for name in ("alice/tiny", "alice/tiny", "bob/tiny"):
        commit = hub_here.add(name, files | {"README.md": str(len(hub_here.requests)).encode()})
        segzoo.load(f"hf-hub:{name}", revision=commit)
    segzoo.load("hf-hub:bob/tiny")
    others = hubcache.root() / "models--google--bert" / "snapshots" / ("0" * 40)
    others.mkdir(parents=True)
    (others / "config.json").write_text('{"model_type": "bert"}')
    return others


def as_json(capsys, *arguments):
    assert run(["cache", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def models(capsys):
    return [each["name"].partition("@")[0] for each in listed(capsys, "model")]


def listed(capsys, kind):
    return [each for each in as_json(capsys, "list") if each["kind"] == kind]


def test_list(capsys, hub):
    assert models(capsys) == ["alice/tiny", "alice/tiny", "bob/tiny"]
    assert [each["detail"] for each in listed(capsys, "model")] == ["", "", "main"]
    for each in listed(capsys, "model"):
        names = ["config.json", "model.safetensors"]
        assert each["bytes"] == sum(os.path.getsize(f"{each['path']}/{n}") for n in names)
    assert "hub" in [each["name"] for each in listed(capsys, "own")]
    assert run(["cache", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "DETAIL", "SIZE"]
    assert lines[-2:] == [
        f"models of the Hub   {hubcache.root()}",
        f"segzoo's own        {own.home()}",
    ]


def test_size(capsys):
    found = as_json(capsys, "size")
    for kind in ("own", "leftover"):
        assert found[kind] == sum(each["bytes"] for each in listed(capsys, kind))
    each_model = sum(each["bytes"] for each in listed(capsys, "model"))
    stores = hubcache.root().glob("models--*/blobs/*")
    assert found["model"] == sum(blob.stat().st_size for blob in stores) < each_model
    assert found["bytes"] == found["model"] + found["own"] + found["leftover"] > 0
    assert run(["cache", "size"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KIND", "SIZE", "FOLDER"]
    assert lines[1].endswith(f"  {hubcache.root()}") and lines[3].endswith(f"  {own.home()}")
    assert [line[:12].strip() for line in lines[1:6]] == [
        "models of th",
        "weights of o",
        "segzoo's own",
        "left by down",
        "all",
    ]


def test_prune_takes_leftovers_alone(capsys, here):
    blobs = hubcache.Snapshot("alice/tiny", "").store / "blobs"
    (blobs / ("1" * 40 + ".corrupt")).write_bytes(b"123")
    old, new = blobs / ("2" * 40 + ".a.incomplete"), blobs / ("2" * 40 + ".b.incomplete")
    for path in (old, new):
        path.write_bytes(b"1234")
    os.utime(old, (1, 1))
    done = as_json(capsys, "prune", "--yes")
    assert done["bytes"] == 7
    assert {each["kind"] for each in done["removed"]} == {"leftover"}
    assert new.exists()  # somebody may be fetching it
    assert not old.exists()
    assert len(models(capsys)) == 3
    assert run(["cache", "prune"]) == 0
    assert capsys.readouterr().out == "There is nothing to remove\n"


def test_prune_a_model(capsys, hub, here):
    first = listed(capsys, "model")[0]["name"]
    before = as_json(capsys, "size")["model"]
    done = as_json(capsys, "prune", first, "--yes")
    assert done["removed"][0]["name"] == first
    assert as_json(capsys, "size")["model"] == before - done["bytes"]  # what they share stays
    assert 0 <= done["bytes"] < done["removed"][0]["bytes"]
    assert models(capsys) == ["alice/tiny", "bob/tiny"]
    hub.requests.clear()  # the blobs that both commits share are still there
    assert segzoo.load(f"hf-hub:{listed(capsys, 'model')[0]['name']}")
    assert hub.requests == []
    assert run(["cache", "prune", "hf-hub:alice/tiny", "--yes"]) == 0
    capsys.readouterr()
    assert models(capsys) == ["bob/tiny"]
    assert not hubcache.Snapshot("alice/tiny", "").store.exists()
    assert segzoo.load("hf-hub:bob/tiny", local_files_only=True)


def test_prune_a_branch_forgets_what_it_was(capsys):
    assert run(["cache", "prune", "bob/tiny", "-y"]) == 0
    with pytest.raises(segzoo.SegzooError, match="is not in the cache"):
        segzoo.load("hf-hub:bob/tiny", local_files_only=True)


def test_prune_all_leaves_what_is_of_others(capsys, here):
    assert run(["cache", "prune", "--all", "--yes"]) == 0
    capsys.readouterr()
    assert as_json(capsys, "list") == []
    assert (here / "config.json").exists()


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("n\n", 3), ("\n", 3)])
def test_prune_asks(capsys, monkeypatch, answer, left):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert run(["cache", "prune", "alice/tiny"]) == 0
    out = capsys.readouterr().out
    assert "Remove these 2 (" in out
    assert ("Nothing was removed" in out) is (left == 3)
    assert len(models(capsys)) == left


def test_what_prune_refuses(capsys, monkeypatch):
    assert run(["cache", "prune", "alice/other", "--yes"]) == 2
    assert "alice/other is not in the cache. See: segzoo cache list" in capsys.readouterr().err
    assert run(["cache", "prune", "--json"]) == 2
    assert "--json asks nothing. Add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["cache", "prune", "alice/tiny"]) == 2
    assert "nobody answered. Add --yes" in capsys.readouterr().err


def test_an_empty_home(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "none"))
    assert as_json(capsys, "list") == []
    assert as_json(capsys, "size")["bytes"] == 0
