"""Faults that an attacker would find (A): a downloaded thing touches only what is its own."""

import os
import time

import pytest
import torch
from hub_server.faults import Fault

import segzoo
from segzoo.errors import IntegrityError, OfflineError, UnsafeFormatError
from segzoo.hub import cache as hubcache
from segzoo.hub import fetch as hubs
from segzoo.hub import session as hubsession

REF = "hf-hub:alice/tiny"
X = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@pytest.fixture
def model(hub_here, monkeypatch, tmp_path):
    """A saved model, which is also alice/tiny on the Hub of this process."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    monkeypatch.setattr(hubsession, "MAX_WAIT", 0.02)
    made = segzoo.load("tiny", seed=3, width=5)
    folder = made.save_pretrained(tmp_path / "saved")
    hub_here.add("alice/tiny", {p.name: p.read_bytes() for p in folder.iterdir()})
    return made


def snapshot_of(hub):
    return hubcache.Snapshot("alice/tiny", hub.repos["alice/tiny"].head.oid)


def contents(folder):
    """What lies below a folder, links as links."""
    return {
        p.relative_to(folder).as_posix(): os.readlink(p) if p.is_symlink() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


# --- A2: a link in the Hub's cache ---------------------------------------------------------------


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("good", [False, True], ids=["other bytes", "the right bytes"])
@pytest.mark.parametrize("way", ["the name", "the blob", "a blob of another model"])
def test_a2_a_link_that_leads_out_is_refused_and_its_target_untouched(
    hub, model, tmp_path, name, good, way
):
    segzoo.load(REF)
    path = snapshot_of(hub).folder / name
    elsewhere = tmp_path / "elsewhere"
    if way == "a blob of another model":
        elsewhere = hubcache.root() / "models--bob--other" / "blobs"
    elsewhere.mkdir(parents=True)
    target = elsewhere / path.resolve().name
    target.write_bytes(path.read_bytes() if good else b"a diary")
    link = path.resolve() if way == "the blob" else path
    link.unlink()
    link.symlink_to(target)
    before = contents(elsewhere), contents(hubcache.root())
    for verify in (False, True):
        with pytest.raises(UnsafeFormatError) as caught:
            segzoo.load(REF, verify=verify)
        assert f"{path}: a link leads out of the model's folder" in str(caught.value)
        assert str(target) in caught.value.found
    assert (contents(elsewhere), contents(hubcache.root())) == before


@pytest.mark.parametrize("folder", ["blobs", "snapshots", "snapshots/*", "refs"])
@pytest.mark.parametrize("do", ["load", "load anew", "remove", "leftovers"])
def test_a2_a_folder_that_is_a_link_is_neither_written_nor_deleted_in(
    hub, model, tmp_path, folder, do
):
    segzoo.load(REF)
    snapshot = snapshot_of(hub)
    [place] = snapshot.store.glob(folder)
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    (elsewhere / f"mine{hubcache.CORRUPT}").write_bytes(b"a diary")
    before = contents(elsewhere)
    if do == "leftovers":
        assert [p for p, _ in hubcache.leftovers() if p.name.startswith("mine")] == []
    elif do == "remove":
        with pytest.raises(UnsafeFormatError):
            hubcache.remove(snapshot)
    else:
        later = segzoo.load("tiny", seed=4, width=6).save_pretrained(tmp_path / "later")
        if do == "load anew":
            hub.add("alice/tiny", {p.name: p.read_bytes() for p in later.iterdir()})
        if folder == "refs" and do == "load":  # it only reads there
            segzoo.load(REF)
        elif folder == "snapshots/*" and do == "load anew":  # the new commit has its own
            hubs.snapshot_of("alice/tiny", fresh=True)
            segzoo.load(REF)
        else:
            with pytest.raises(UnsafeFormatError, match="a link leads out"):
                hubs.snapshot_of("alice/tiny", fresh=do == "load anew")
                segzoo.load(REF)
    assert contents(elsewhere) == before


def test_a2_a_lock_that_is_a_link_is_not_opened(hub, model, tmp_path):
    """A file lock is emptied when it is taken."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"a diary")
    locks = hubcache.root() / ".locks" / "models--alice--tiny"
    locks.mkdir(parents=True)
    for file in hub.repos["alice/tiny"].head.files.values():
        (locks / f"{file.etag}.lock").symlink_to(mine)
    assert torch.equal(segzoo.load(REF)(X), model(X))
    assert mine.read_bytes() == b"a diary"


def test_a2_a_cache_on_another_disk_is_used(hub, model, tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "link"))
    for _ in range(2):
        assert torch.equal(segzoo.load(REF)(X), model(X))


def test_a2_a_blob_that_models_share_is_used(hub, model):
    """As huggingface_hub keeps files of Xet that several models have."""
    segzoo.load(REF)
    blob = (snapshot_of(hub).folder / WEIGHTS).resolve()
    shared = hubcache.root() / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert torch.equal(segzoo.load(REF, verify=True)(X), model(X))
    shared.write_bytes(b"bad")
    with pytest.raises(IntegrityError):
        segzoo.load(REF)
    assert shared.read_bytes() == b"bad"  # which is not ours: its link is set aside
    assert torch.equal(segzoo.load(REF)(X), model(X))


# --- A4: links swapped to other whole blobs ------------------------------------------------------


@pytest.fixture
def swapped(hub, model, tmp_path):
    """alice/tiny in the cache, with all links of its commit set to the files of another."""
    old = segzoo.load(REF).config.options, snapshot_of(hub)
    later = segzoo.load("tiny", seed=4, width=6).save_pretrained(tmp_path / "later")
    hub.add("alice/tiny", {p.name: p.read_bytes() for p in later.iterdir()})
    hubs.snapshot_of("alice/tiny", fresh=True)
    segzoo.load(REF)
    for pointer in old[1].folder.iterdir():
        other = os.readlink(snapshot_of(hub).folder / pointer.name)
        pointer.unlink()
        pointer.symlink_to(other)
    hub.requests.clear()
    return old[1]


@pytest.mark.parametrize("verify", [False, True])
def test_a4_the_commit_decides_which_blob_is_which_file(hub, model, swapped, verify):
    ref = f"{REF}@{swapped.commit}"
    for _ in range(5):  # files, one fault each
        try:
            loaded = segzoo.load(ref, verify=verify)
            break
        except IntegrityError as error:
            assert "it is a link to another file than the one that the Hub has" in str(error)
            assert "the next try puts the right file there" in str(error)
    assert loaded.config.options == {"width": 5}
    assert torch.equal(loaded(X), model(X))
    assert [path for _, path in hub.requests] == []  # the right blobs were there


def test_a4_ids_that_are_not_known_are_asked_for_when_all_is_to_be_verified(
    hub, model, swapped, monkeypatch, tmp_path
):
    """Another program has fetched the commit, so that only the Hub can say what its files are."""
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "new"))
    ref = f"{REF}@{swapped.commit}"
    assert segzoo.load(ref).config.options == {"width": 6}  # as any program would believe
    assert segzoo.load(ref, verify=True, local_files_only=True).config.options == {"width": 6}
    assert hub.requests == []
    with pytest.raises(IntegrityError, match="it is a link to another file"):
        segzoo.load(ref, verify=True)
    tree = f"/api/models/alice/tiny/tree/{swapped.commit}"
    assert hub.requests == [("GET", tree)]


# --- A7: requests are bounded in time ------------------------------------------------------------

ANSWER = 0.5  # seconds instead of the usual


@pytest.fixture
def short(model, monkeypatch):
    monkeypatch.setattr(hubsession, "ANSWER_SECONDS", ANSWER)


@pytest.mark.parametrize(
    "where",
    ["GET /api/models/*/revision/*", "GET /api/models/*/tree/*", "GET /alice/*", "GET /lfs/*"],
)
@pytest.mark.parametrize("drip", ["headers", "continue", "chunks"])
def test_a7_an_answer_that_never_comes_whole(hub, short, monkeypatch, where, drip):
    monkeypatch.setattr(hubsession, "READ_SECONDS", 2 * ANSWER)  # each byte comes in time
    hub.faults.append(Fault(where, times=None, drip=drip, pace=ANSWER / 10))
    began = time.monotonic()
    with pytest.raises(OfflineError) as caught:
        segzoo.load(REF)
    assert time.monotonic() - began < hubsession.TRIES * 3 * ANSWER + 3
    said = "no whole answer came in 0.5 s", "it gave less than 256 bytes a second for 1 s"
    assert any(text in str(caught.value) for text in said)
    assert [p for p in hubcache.root().rglob("*") if p.suffix == hubcache.INCOMPLETE] == []


def test_a7_a_slow_line_that_goes_on_is_followed(hub, model, monkeypatch, tmp_path):
    """A file may take longer than an answer: what counts is that it comes."""
    monkeypatch.setattr(hubsession, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(hubsession, "READ_SECONDS", 1.0)
    monkeypatch.setattr(hubsession, "SLOWEST", 5)
    size = len((tmp_path / "saved" / WEIGHTS).read_bytes())
    hub.faults.append(Fault("GET /lfs/*", stall=1 - 60 / size, pace=0.02))
    began = time.monotonic()
    assert torch.equal(segzoo.load(REF)(X), model(X))
    assert time.monotonic() - began > 1.0
    assert len([path for _, path in hub.requests if path.startswith("/lfs/")]) == 1
