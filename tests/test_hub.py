"""Loading from the Hub over the real client's session, against a server with faults.

Rows H1-H7, H9, H10 of the faults that we promise to bear, and C2-C8 for configs from the Hub.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import tiny
import torch
from hub_server.faults import Fault, portal

import segzoo
from segzoo.base import transfer
from segzoo.errors import (
    ConfigError,
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    IntegrityError,
    LicenseError,
    OfflineError,
    OutputError,
    PluginMissingError,
    ResourceError,
    SegzooError,
    UnsafeFormatError,
    UsageError,
)
from segzoo.hub import cache as hubcache
from segzoo.hub import fetch as hubs
from segzoo.hub import session as hubsession
from segzoo.model import origin
from segzoo.spec import Weights

REF = "hf-hub:alice/tiny"
X = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
CONFIG, WEIGHTS = "config.json", "model.safetensors"
TREE = "GET /api/models/alice/tiny/tree/*"
REVISION = "GET /api/models/alice/tiny/revision/*"
FILE = "GET /lfs/alice/tiny/*"


@pytest.fixture(autouse=True)
def here(hub_here, monkeypatch):
    """This process asks the test's server, and waits little."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    monkeypatch.setattr(hubsession, "MAX_WAIT", 0.02)


@pytest.fixture
def model(hub, tmp_path):
    """A saved model, which is also alice/tiny on the Hub."""
    made = segzoo.load("tiny", seed=3, width=5)
    folder = made.save_pretrained(tmp_path / "saved")
    hub.add("alice/tiny", {p.name: p.read_bytes() for p in folder.iterdir()})
    return made


@pytest.fixture
def saved(model, tmp_path):
    return tmp_path / "saved"


def asked(hub):
    """What was asked since the last time, as "METHOD /path"."""
    found = [f"{method} {path}" for method, path in hub.requests]
    hub.requests.clear()
    return found


def everything(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


def cached_weights(hub):
    return hubcache.Snapshot("alice/tiny", hub.repos["alice/tiny"].head.oid).folder / WEIGHTS


# --- what works ----------------------------------------------------------------------------------


def test_a_model_is_fetched_once_and_then_costs_no_connection(hub, model):
    first = segzoo.load(REF)
    assert torch.equal(first(X), model(X))
    commit = hub.repos["alice/tiny"].head.oid
    sha256 = model_sha(hub)
    assert asked(hub) == [
        "GET /api/models/alice/tiny/revision/main",
        f"GET /api/models/alice/tiny/tree/{commit}",
        f"GET /alice/tiny/resolve/{commit}/config.json",
        f"GET /alice/tiny/resolve/{commit}/model.safetensors",
        f"GET /lfs/alice/tiny/{sha256}/model.safetensors",
    ]
    for ref in (REF, f"{REF}@main", f"{REF}@{commit}"):
        assert torch.equal(segzoo.load(ref, verify=True)(X), model(X))
    assert torch.equal(segzoo.load(REF, revision=commit, local_files_only=True)(X), model(X))
    assert asked(hub) == []


def model_sha(hub):
    return hub.repos["alice/tiny"].head.files[WEIGHTS].sha256


def test_a_fresh_process_needs_neither_a_connection_nor_the_client(hub, model, tmp_path):
    segzoo.load(REF)
    asked(hub)
    support = str(Path(tiny.__file__).parent)
    code = (
        "import sys, torch, segzoo\n"
        f"model = segzoo.load('{REF}')\n"
        "print(model(torch.ones(1, 3, 4, 4)).sum().item(), 'huggingface_hub' in sys.modules)"
    )
    done = hub.run(code, tmp_path, HF_HUB_OFFLINE="1", PYTHONPATH=support)
    assert done.stderr == ""
    total, imported = done.stdout.split()
    assert float(total) == pytest.approx(model(torch.ones(1, 3, 4, 4)).sum().item())
    assert imported == "False"
    assert asked(hub) == []


def test_huggingface_hub_finds_what_was_fetched(hub, model, tmp_path):
    segzoo.load(REF)
    asked(hub)
    code = (
        "from huggingface_hub import hf_hub_download, scan_cache_dir\n"
        "print(hf_hub_download('alice/tiny', 'model.safetensors', local_files_only=True))\n"
        "print([r.repo_id for r in scan_cache_dir().repos], scan_cache_dir().warnings)"
    )
    done = hub.run(code, tmp_path)
    path, scanned = done.stdout.splitlines()
    assert Path(path) == cached_weights(hub)
    assert scanned == "['alice/tiny'] []"


def test_what_huggingface_hub_fetched_is_taken_and_checked(hub, model, tmp_path):
    code = "from huggingface_hub import snapshot_download; snapshot_download('alice/tiny')"
    assert hub.run(code, tmp_path).returncode == 0
    asked(hub)
    assert torch.equal(segzoo.load(REF)(X), model(X))
    assert asked(hub) == []
    damage(cached_weights(hub))
    with pytest.raises(IntegrityError):
        segzoo.load(REF)


def test_config_and_weights_are_of_one_commit(hub, model, tmp_path):
    assert origin.find_saved(REF)[2].options == {"width": 5}
    later = segzoo.load("tiny", seed=4, width=6).save_pretrained(tmp_path / "later")
    hub.add("alice/tiny", {p.name: p.read_bytes() for p in later.iterdir()})
    assert torch.equal(segzoo.load(REF)(X), model(X))
    assert hubs.snapshot_of("alice/tiny", fresh=True).commit == hub.repos["alice/tiny"].head.oid
    assert segzoo.load(REF).config.options == {"width": 6}


def test_a_tag_and_a_branch_with_a_slash(hub, model):
    first = hub.repos["alice/tiny"].head.oid
    hub.repos["alice/tiny"].tags["r1"] = first
    hub.repos["alice/tiny"].branches["next/two"] = first
    hub.add("alice/tiny", {CONFIG: b"{}"})
    for revision in ("r1", "next/two"):
        assert torch.equal(segzoo.load(REF, revision=revision)(X), model(X))
    with pytest.raises(ConfigError):
        segzoo.load(REF)


def test_weights_that_a_plugin_has_on_the_hub(hub, model, monkeypatch):
    commit, sha256 = hub.repos["alice/tiny"].head.oid, model_sha(hub)
    record = Weights(
        repo="alice/tiny",
        revision=commit,
        file=WEIGHTS,
        sha256=sha256,
        options={"width": 5},
        license="MIT",
        trained_on=(),
    )
    spec = dataclasses.replace(tiny.TINY, weights={"a": record}, default_weights="a")
    monkeypatch.setattr(tiny, "TINY", spec)
    with pytest.raises(OfflineError, match=f"run: segzoo download {REF}@{commit}"):
        segzoo.load("tiny.a", local_files_only=True)
    with pytest.raises(LicenseError):
        segzoo.load("tiny.a", require_license="Apache-2.0")
    assert asked(hub) == []
    assert torch.equal(segzoo.load("tiny.a")(X), model(X))
    assert len(asked(hub)) == 3  # no revision to look up: the list, the file in two steps
    assert torch.equal(segzoo.load("tiny", pretrained=True)(X), model(X))
    assert asked(hub) == []
    record = dataclasses.replace(record, sha256="0" * 64)
    monkeypatch.setattr(tiny, "TINY", dataclasses.replace(spec, weights={"a": record}))
    with pytest.raises(IntegrityError, match="its sha256 is not the declared one"):
        segzoo.load("tiny.a")


def test_a_token_goes_to_the_hub_alone(hub, model, tmp_path, monkeypatch):
    """The server's storage refuses a request with one; so a load is the proof."""
    hub.repos["alice/tiny"].private = True
    segzoo.load(REF)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "another"))
    with pytest.raises(HubAccessError):
        segzoo.load(REF)
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "token").write_text(hub.read_token + "\n")
    segzoo.load(REF)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with pytest.raises(HubAccessError):
        hubs.snapshot_of("alice/tiny", fresh=True)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_a\nb")
    with pytest.raises(UsageError) as caught:
        hubs.snapshot_of("alice/tiny", fresh=True)
    assert str(caught.value) == "the Hub's token holds characters that no token has: see HF_TOKEN"


def test_the_places_that_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "there"))
    assert hubcache.root() == tmp_path / "there"
    monkeypatch.delenv("HF_HUB_CACHE")
    assert hubcache.root() == tmp_path / "huggingface" / "hub"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hubcache.root() == tmp_path / "huggingface" / "hub"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("config.json", True),
        ("model.safetensors", True),
        ("model-00001-of-00002.safetensors", True),
        ("model.safetensors.index.json", True),
        ("golden.safetensors", True),
        ("manifest.json", True),
        ("README.md", True),
        ("model.sig", True),
        ("training/recipe.json", True),
        (".eval_results/voc.yaml", True),
        ("preview.jpg", True),
        ("modeling.py", False),
        ("pytorch_model.bin", False),
        ("training/run.py", False),
        ("training/../x.json", False),
        ("../model.safetensors", False),
        (".hidden.safetensors", False),
        ("a/b/c.safetensors", False),
        ("C:\\x.safetensors", False),
        ("model.safetensors\n", False),
        ("a" * 500 + ".safetensors", False),
    ],
)
def test_names_that_are_ever_fetched(name, allowed):
    assert hubs.is_allowed(name) is allowed
    if not allowed:
        with pytest.raises(UsageError, match="is no file that segzoo fetches"):
            hubs.fetch(hubcache.Snapshot("alice/tiny", "0" * 40), [name])


def test_a_revision_that_vanished(hub, model, tmp_path, monkeypatch):
    """What was used before goes on without it; elsewhere it is said in one line."""
    hub.repos["alice/tiny"].tags["r1"] = hub.repos["alice/tiny"].head.oid
    assert torch.equal(segzoo.load(f"{REF}@r1")(X), model(X))
    del hub.repos["alice/tiny"].tags["r1"]
    asked(hub)
    assert torch.equal(segzoo.load(f"{REF}@r1")(X), model(X))
    assert asked(hub) == []
    with pytest.raises(HubNotFoundError, match="alice/tiny has no revision 'r1'"):
        hubs.snapshot_of("alice/tiny", "r1", fresh=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(HubNotFoundError, match="alice/tiny has no revision 'r1'"):
        segzoo.load(f"{REF}@r1")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"_model_class": "Unet", "encoder_name": "resnet18", "classes": 1},
            "segmentation-models-pytorch wrote this folder, not segzoo. Run: hf download USER/NAME",
        ),
        ({"architecture": "resnet18", "pretrained_cfg": {}}, "timm wrote this folder, not segzoo"),
        ({"library": "other"}, "this is not a model saved by segzoo"),
    ],
)
def test_a_repository_of_another_library(hub, model, config, says):
    """It is named where a plugin knows it, and its weights and its code are not fetched."""
    files = {CONFIG: json.dumps(config).encode(), "evil.py": b"raise SystemExit"}
    hub.add("alice/tiny", files)
    with pytest.raises(ConfigError) as caught:
        segzoo.load(REF)
    assert says in str(caught.value)
    assert not any(WEIGHTS in line or "evil" in line for line in asked(hub))


# --- H1-H3: what the Hub refuses -----------------------------------------------------------------


def private(hub, monkeypatch):
    hub.repos["alice/tiny"].private = True
    monkeypatch.delenv("HF_TOKEN")


def of_bob(hub, monkeypatch):
    hub.repos["alice/tiny"].private = True
    monkeypatch.setenv("HF_TOKEN", hub.other_token)


def revoked(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_alice_wrote_once")


def gated(hub, monkeypatch):
    hub.repos["alice/tiny"].gated = "manual"
    monkeypatch.setenv("HF_TOKEN", hub.other_token)


def scopeless(hub, monkeypatch):
    hub.faults.append(Fault("GET /*", times=None, status=403))


def nothing(hub, monkeypatch):
    pass


#   row  what is done     the reference       error              what the message says
REFUSED = [
    ("H1", private, REF, HubAccessError, "wants a token for alice/tiny, or there is no such"),
    ("H1", private, REF, HubAccessError, "run: hf auth login"),
    ("H1", of_bob, REF, HubNotFoundError, "no repository alice/tiny on the Hub, or this token may"),
    ("H1", revoked, REF, HubAccessError, "does not take the token that was sent for alice/tiny"),
    ("H1", gated, REF, HubAccessError, "alice/tiny asks for its terms to be accepted. Accept them"),
    ("H1", scopeless, REF, HubAccessError, "the token does not allow reading alice/tiny"),
    ("H1", nothing, "hf-hub:alice/tyni", HubNotFoundError, "no repository alice/tyni on the Hub"),
    ("H1", nothing, f"{REF}@r2", HubNotFoundError, "alice/tiny has no revision 'r2'"),
    ("H1", nothing, f"{REF}@{'0' * 40}", HubNotFoundError, f"no revision '{'0' * 40}'"),
]


@pytest.mark.parametrize(("row", "prepare", "ref", "error", "says"), REFUSED)
def test_what_the_hub_refuses(hub, model, monkeypatch, row, prepare, ref, error, says):
    prepare(hub, monkeypatch)
    with pytest.raises(error) as caught:
        segzoo.load(ref)
    message = str(caught.value)
    assert says in message
    assert "hf_" not in message
    assert "\n" not in message
    assert caught.value.exit_code == 4
    assert caught.value.next_step


def test_a_file_that_the_commit_has_not(hub, model):
    snapshot = hubs.snapshot_of("alice/tiny")
    with pytest.raises(HubNotFoundError) as caught:
        hubs.fetch(snapshot, ["golden.safetensors"])
    assert str(caught.value) == (
        "alice/tiny has no file golden.safetensors; found config.json, manifest.json, "
        "model.safetensors. Is it a model published by segzoo?"
    )


def test_a_server_that_sends_the_token_back(hub, model):
    text = {"X-Error-Message": hub.token, "X-Error-Code": hub.token}
    hub.faults.append(Fault("GET /*", times=None, status=418, headers=text))
    with pytest.raises(HubError, match="the Hub failed with status 418 for alice/tiny") as caught:
        segzoo.load(REF)
    assert hub.token not in str(caught.value)
    assert hub.token not in repr(hubsession.HubSession.to("alice/tiny", None, False))


SOON = {"Retry-After": "0"}
LATER = {"Retry-After": "1000000000"}


@pytest.mark.parametrize("where", [REVISION, TREE, FILE])
@pytest.mark.parametrize("headers", [{}, SOON, {"Retry-After": "soon"}], ids=str)
def test_h2_a_rate_limit_that_passes(hub, model, where, headers):
    hub.faults.append(Fault(where, times=2, status=429, headers=headers))
    assert torch.equal(segzoo.load(REF)(X), model(X))


@pytest.mark.parametrize("where", [REVISION, TREE, FILE])
@pytest.mark.parametrize(
    ("headers", "says", "tries"),
    [
        ({}, "the Hub wants fewer requests. Try again later, or log in", hubsession.TRIES),
        (LATER, "it asks to wait 1,000,000,000 s", 1),
        ({"Retry-After": "9" * 5000}, "it asks to wait 99,999,999,999,999,991,611,392 s", 1),
    ],
    ids=["silent", "seconds", "absurd"],
)
def test_h2_a_rate_limit_that_stays(hub, model, where, headers, says, tries):
    if len(headers.get("Retry-After", "")) > 100:
        says = "it asks to wait "
    hub.faults.append(Fault(where, times=None, status=429, headers=headers))
    began = time.monotonic()
    with pytest.raises(HubRateLimitError) as caught:
        segzoo.load(REF)
    assert says in str(caught.value)
    assert caught.value.exit_code == 4
    assert time.monotonic() - began < 3
    start = where.removesuffix("*")
    assert sum(line.startswith(start) for line in asked(hub)) == tries


def test_h2_a_rate_limit_until_a_date_is_told_in_seconds(hub, model):
    until = datetime.now(UTC) + timedelta(days=9)
    headers = {"Retry-After": format_datetime(until, usegmt=True)}
    hub.faults.append(Fault(REVISION, times=None, status=429, headers=headers))
    with pytest.raises(HubRateLimitError) as caught:
        segzoo.load(REF)
    found = re.search(r"it asks to wait ([\d,]+) s", str(caught.value))
    least = (until - datetime.now(UTC)).total_seconds() - 1  # a date has no parts of a second
    assert found and least <= int(found[1].replace(",", "")) <= 9 * 86400
    assert sum(line.startswith(REVISION.removesuffix("*")) for line in asked(hub)) == 1


def test_h2_a_wait_is_as_long_as_is_asked_below_the_cap(hub, model, monkeypatch):
    monkeypatch.setattr(hubsession, "MAX_WAIT", 2.0)
    hub.faults.append(Fault(REVISION, status=429, headers={"Retry-After": "1"}))
    began = time.monotonic()
    hubs.snapshot_of("alice/tiny")
    assert 1.0 <= time.monotonic() - began < 3


@pytest.mark.parametrize("where", [REVISION, TREE, FILE])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_h3_a_hub_that_fails(hub, model, where, status):
    hub.faults.append(Fault(where, times=hubsession.TRIES - 1, status=status))
    assert torch.equal(segzoo.load(REF)(X), model(X))
    hub.faults.append(Fault("GET *", times=None, status=status))
    with pytest.raises(HubError) as caught:
        hubs.snapshot_of("alice/tiny", fresh=True)
    assert f"the Hub failed with status {status} for alice/tiny. Try again later" in str(
        caught.value
    )
    assert caught.value.exit_code == 4


# --- H4: the line --------------------------------------------------------------------------------


@pytest.fixture
def large(hub):
    """A megabyte of safetensors in alice/large; gives its bytes and its commit."""
    content = b"\x08\0\0\0\0\0\0\0{}      " + hashlib.shake_256(b"x").digest(2**20)
    commit = hub.add("alice/large", {WEIGHTS: content, CONFIG: b"{}"})
    return content, hubcache.Snapshot("alice/large", commit)


@pytest.mark.parametrize("part", [p / 10 for p in range(10)])
def test_h4_a_line_that_is_cut(hub, large, part):
    content, snapshot = large
    hub.faults.append(Fault("GET /lfs/*", times=2, cut=part))
    assert (hubs.fetch(snapshot, [WEIGHTS]) / WEIGHTS).read_bytes() == content


def test_h4_a_line_that_is_cut_again_and_again(hub, large):
    content, snapshot = large
    hub.faults.append(Fault("GET /lfs/*", times=20, cut=0.3))
    assert (hubs.fetch(snapshot, [WEIGHTS]) / WEIGHTS).read_bytes() == content


def test_h4_a_line_that_takes_nothing_up_again(hub, large):
    """A server that knows no ranges sends all of it again."""
    content, snapshot = large
    hub.faults.append(Fault("GET /lfs/*", cut=0.5))
    hub.faults.append(Fault("GET /lfs/*", status=200, body=content))
    assert (hubs.fetch(snapshot, [WEIGHTS]) / WEIGHTS).read_bytes() == content


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_h4_a_line_that_is_cut_for_ever(hub, large, part):
    _, snapshot = large
    hub.faults.append(Fault("GET /lfs/*", times=None, cut=part))
    if part:
        hub.faults.insert(0, Fault("GET /lfs/*", cut=part))
        hub.faults[1] = Fault("GET /lfs/*", times=None, cut=0.0)
    with pytest.raises(OfflineError, match=r"was cut: .*run: segzoo download hf-hub:alice/large@"):
        hubs.fetch(snapshot, [WEIGHTS])
    assert everything(snapshot.store) == []


@pytest.fixture
def cut(hub, monkeypatch):
    """A file of which an earlier try has left the first half: its content and its commit."""
    content = b"\x08\0\0\0\0\0\0\0{}      " + hashlib.shake_256(b"x").digest(4 * 2**20)
    snapshot = hubcache.Snapshot("alice/huge", hub.add("alice/huge", {WEIGHTS: content}))
    hub.faults += [Fault("GET /lfs/*", cut=0.5), Fault("GET /lfs/*", times=None, cut=0.0)]
    with pytest.raises(OfflineError):
        hubs.fetch(snapshot, [WEIGHTS])
    hub.faults.clear()
    ((left, _),) = hubcache.leftovers()
    assert left.stat().st_size == len(content) // 2
    return content, snapshot, left


def told_of(snapshot):
    """What somebody who watches hears while the file comes: bytes so far."""
    told = []
    with transfer.heard(lambda name, done, total: told.append(done)):
        hubs.fetch(snapshot, [WEIGHTS])
    return told


def test_a_large_file_is_taken_up_where_an_earlier_try_ended(hub, cut):
    content, snapshot, left = cut
    told = told_of(snapshot)
    assert told[0] > len(content) // 2 and told[-1] == len(content)
    assert (snapshot.folder / WEIGHTS).read_bytes() == content
    assert not left.exists() and not [*hubcache.leftovers()]


@pytest.mark.parametrize("change", ["bytes", "length", "link"])
def test_what_was_left_of_a_file_is_not_believed(hub, cut, tmp_path, change):
    content, snapshot, left = cut
    mine = tmp_path / "mine"
    if change == "bytes":
        left.write_bytes(b"?" + content[1 : len(content) // 2])
    elif change == "length":
        left.write_bytes(content + b"more")
    else:
        mine.write_bytes(left.read_bytes())
        left.unlink()
        left.symlink_to(mine)
    hubs.fetch(snapshot, [WEIGHTS])
    assert (snapshot.folder / WEIGHTS).read_bytes() == content
    assert change != "link" or mine.stat().st_size == len(content) // 2


def test_what_another_process_holds_is_left_to_it(hub, cut):
    content, snapshot, left = cut
    with open(left, "rb") as file:
        fcntl = pytest.importorskip("fcntl")
        fcntl.flock(file, fcntl.LOCK_EX)
        assert told_of(snapshot)[0] < len(content) // 2
    assert left.exists() and (snapshot.folder / WEIGHTS).read_bytes() == content


@pytest.mark.parametrize("pace", [None, 0.05], ids=["silent", "slow"])
def test_h4_a_line_that_stalls(hub, large, monkeypatch, pace):
    content, snapshot = large
    monkeypatch.setattr(hubsession, "READ_SECONDS", 0.3)
    hub.faults.append(Fault("GET /lfs/*", times=2, stall=0.4, pace=pace))
    began = time.monotonic()
    assert (hubs.fetch(snapshot, [WEIGHTS]) / WEIGHTS).read_bytes() == content
    assert (
        time.monotonic() - began < hubsession.ANSWER_SECONDS / 2
    )  # which bounds the headers alone


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached: ConnectError"),
        ("https{}", "cannot be reached: ConnectError"),  # TLS where none is spoken
    ],
    ids=["refused", "tls"],
)
def test_h4_no_way_to_the_hub(hub, model, monkeypatch, endpoint, says):
    monkeypatch.setenv("HF_ENDPOINT", endpoint.format(hub.url.removeprefix("http")))
    began = time.monotonic()
    with pytest.raises(OfflineError) as caught:
        segzoo.load(f"{REF}@r1")
    assert time.monotonic() - began < 5
    assert says in str(caught.value)
    assert f"Where there is a connection, run: segzoo download {REF}@r1" in str(caught.value)


def test_h4_a_name_that_nobody_knows(model, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        OfflineError, match=r"hub\.example cannot be reached: ConnectError: .*not known"
    ):
        segzoo.load(REF)


def test_h4_a_proxy_that_wants_a_login(hub, model):
    hub.faults.append(Fault("GET /*", times=None, status=407))
    with pytest.raises(HubError, match=r"the proxy wants a login\. Set HTTPS_PROXY"):
        segzoo.load(REF)


@pytest.mark.parametrize(
    "where", [REVISION, TREE, "GET /alice/tiny/resolve/*/config.json", FILE], ids=str
)
@pytest.mark.parametrize("typed", [True, False])
def test_h4_a_captive_portal(hub, model, where, typed):
    fault = portal(where)
    if not typed:
        fault.headers = {"Content-Type": "application/octet-stream"}
    hub.faults.append(fault)
    with pytest.raises(SegzooError) as caught:
        segzoo.load(REF)
    message = str(caught.value)
    assert "does not answer as the Hub does" in message or "was cut: it ended after" in message
    assert caught.value.exit_code == 4
    if where == FILE:
        assert not cached_weights(hub).exists()


def test_an_endpoint_that_is_no_address(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(UsageError, match=r"HF_ENDPOINT is no address; found hub\.example"):
        segzoo.load(REF)


# --- H5: wrong bytes -----------------------------------------------------------------------------


def damage(path):
    """Flip a bit of a file in the cache, and make it old enough to be stamped."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)
    os.utime(path.resolve(), (1, 1))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_h5_wrong_bytes_of_the_right_size(hub, model, tmp_path, name):
    where = FILE if name == WEIGHTS else f"GET /alice/tiny/resolve/*/{name}"
    hub.faults.append(Fault(where, flip=True))
    with pytest.raises(IntegrityError) as caught:
        segzoo.load(REF)
    assert f"{name} of {REF}@" in str(caught.value)
    assert "came with bytes that are not the commit's; found " in str(caught.value)
    assert caught.value.exit_code == 3
    folder = cached_weights(hub).parent
    assert not (folder / name).exists()
    [kept] = (tmp_path / "huggingface").rglob("*.corrupt")
    assert str(kept) in str(caught.value)
    assert torch.equal(segzoo.load(REF)(X), model(X))  # the fault is over


@pytest.mark.parametrize("tag", [None, '"wrong"', "", '"' + "0" * 64 + '"'])
def test_h5_no_file_is_judged_by_its_etag(hub, model, tag):
    headers = {"ETag": tag, "X-Linked-ETag": tag}
    hub.faults.append(Fault("GET /alice/*", times=None, headers=headers))
    hub.faults.append(Fault("GET /lfs/*", times=None, headers=headers))
    assert torch.equal(segzoo.load(REF)(X), model(X))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_h5_a_file_that_went_bad_in_the_cache(hub, model, name):
    segzoo.load(REF)
    path = cached_weights(hub).parent / name
    damage(path)
    asked(hub)
    with pytest.raises(IntegrityError) as caught:
        segzoo.load(REF)
    assert "its bytes are not those that the Hub has for this commit" in str(caught.value)
    assert ".corrupt; the next try fetches it anew" in str(caught.value)
    assert asked(hub) == []
    assert not os.path.lexists(path)
    assert torch.equal(segzoo.load(REF)(X), model(X))


def test_h5_a_stamp_spares_the_reading_and_verify_does_not(hub, model, monkeypatch):
    segzoo.load(REF)
    blob = cached_weights(hub).resolve()
    os.utime(blob, (1, 1))
    settled = time.time() + 10  # two seconds after the last change of the inode
    monkeypatch.setattr(hubcache.time, "time", lambda: settled)
    segzoo.load(REF)
    read = []
    digest = hubcache._digest
    monkeypatch.setattr(hubcache, "_digest", lambda *a: read.append(a[1]) or digest(*a))
    segzoo.load(REF)
    assert [len(value) for value in read] == [40]  # the config alone
    segzoo.load(REF, verify=True)
    assert [len(value) for value in read] == [40, 40, 64]


# --- H6: offline ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["environment", "argument", "unreachable"])
def test_h6_offline(hub, model, monkeypatch, way):
    segzoo.load(REF)
    asked(hub)
    arguments = {}
    if way == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif way == "argument":
        arguments = {"local_files_only": True}
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert torch.equal(segzoo.load(REF, **arguments)(X), model(X))
    for ref, found in (("hf-hub:alice/other", ""), (f"{REF}@r2", "in the cache: main")):
        with pytest.raises(OfflineError) as caught:
            segzoo.load(ref, **arguments)
        assert f"{ref} is not in the cache, and " in str(caught.value)
        assert caught.value.found == found
        assert caught.value.next_step == (
            f"Where there is a connection, run: segzoo download {ref}"
        )
        assert caught.value.exit_code == 4
    with pytest.raises(OfflineError) as caught:
        hubs.snapshot_of("alice/tiny", fresh=True, **arguments)
    assert f"what {REF} is now cannot be looked up, as " in str(caught.value)
    assert "What it was is in the cache, and loads without a connection" in str(caught.value)
    assert asked(hub) == []


def test_h6_a_commit_of_which_the_weights_are_missing(hub, model):
    origin.find_saved(REF)
    with pytest.raises(OfflineError, match=r"run: segzoo download hf-hub:alice/tiny@[0-9a-f]{40}"):
        segzoo.load(REF, local_files_only=True)


# --- H7: many at once ----------------------------------------------------------------------------


def test_h7_eight_processes_and_one_is_killed(hub, large, tmp_path):
    content, snapshot = large
    hub.faults.append(Fault("GET /lfs/*", stall=0.5))
    code = (
        "from segzoo.hub import fetch as hub\n"
        f"print(hub.fetch(hub.Snapshot('{snapshot.repo}', '{snapshot.commit}'), ['{WEIGHTS}']))"
    )
    environment = hub.environment(tmp_path)
    command = [sys.executable, "-c", code]

    def begin():
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)

    first = begin()
    while not any(path.startswith("/lfs/") for _, path in hub.requests):
        assert first.poll() is None
        time.sleep(0.01)
    others = [begin() for _ in range(7)]
    time.sleep(0.5)
    os.kill(first.pid, signal.SIGKILL)  # in the middle of the file, holding the lock
    first.communicate()
    for process in others:
        assert process.communicate(timeout=60)[0].decode().strip() == str(snapshot.folder)
    assert (snapshot.folder / WEIGHTS).read_bytes() == content
    assert sum(path.startswith("/lfs/") for _, path in hub.requests) == 2
    left = [path for path, _ in hubcache.leftovers()]
    assert [path.suffix for path in left] == [".incomplete"]  # of the one that was killed


# --- H9: lists that nobody can mean --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../x", "is not a path inside the repository"),
        ("a/../../x", "is not a path inside the repository"),
        ("/etc/passwd", "is not a path inside the repository"),
        ("C:\\x", "holds a backslash or a colon"),
        ("\\\\host\\share", "holds a backslash or a colon"),
        ("a:b", "holds a backslash or a colon"),
        ("a\nb", "is too long or holds a control character"),
        ("a" * 501, "is too long or holds a control character"),
    ],
)
def test_h9_names_in_a_list(hub, model, name, says):
    hub.add("alice/tiny", {name: b"x"})
    with pytest.raises(UnsafeFormatError) as caught:
        segzoo.load(REF)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert not any("/resolve/" in line for line in asked(hub))


def test_h9_more_files_than_a_model_has(hub, model):
    hub.add("alice/tiny", {f"f{i}": b"" for i in range(hubs.MAX_FILES)})
    with pytest.raises(UnsafeFormatError, match=r"lists too many files; found more than 2,000"):
        segzoo.load(REF)
    assert not any("/resolve/" in line for line in asked(hub))


def test_h9_a_list_without_end(hub, model):
    page = json.dumps([{"path": "a", "type": "directory"}] * 500).encode()
    link = {"Link": f'<{hub.url}/again?cursor=1>; rel="next"'}
    hub.faults.append(Fault(TREE, times=None, body=page, headers=link))
    with pytest.raises(UnsafeFormatError, match="lists too many files; found more than 2,000"):
        segzoo.load(REF)
    assert sum("/tree/" in line for line in asked(hub)) == 5


def test_a_list_of_several_pages(hub, model):
    hub.page = 2
    assert torch.equal(segzoo.load(REF)(X), model(X))


def test_h9_an_answer_without_end(hub, model):
    hub.faults.append(
        Fault(TREE, times=None, body=b"[" + b" " * (hubsession.MAX_ANSWER + 1) + b"]")
    )
    with pytest.raises(UnsafeFormatError, match="the Hub's answer about alice/tiny is too long"):
        segzoo.load(REF)


@pytest.mark.parametrize(
    ("row", "name", "size", "says"),
    [
        ("H9", WEIGHTS, 10**12, "found 1,000,000,000,000 bytes, expected at most 100,000,000,000"),
        ("C5", CONFIG, 10**8, "config.json of hf-hub:alice/tiny@"),
        ("C5", CONFIG, 2**20 + 1, "found 1,048,577 bytes, expected at most 1,048,576"),
    ],
)
def test_h9_files_that_are_too_large(hub, model, row, name, size, says):
    hub.claim("alice/tiny", {name: size})
    with pytest.raises(UnsafeFormatError) as caught:
        segzoo.load(REF)
    assert f"{name} of {REF}@" in str(caught.value)
    assert "is too large" in str(caught.value)
    assert says in str(caught.value)
    assert not any(f"/{name}" in line for line in asked(hub))


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"null",
        b"[1]",
        b'[{"type": "file"}]',
        b'[{"type": "file", "path": "config.json"}]',
        b'[{"type": "file", "path": "config.json", "oid": "../x", "size": 1}]',
        b'[{"type": "file", "path": "config.json", "oid": "%s", "size": -1}]' % (b"0" * 40),
        b'[{"type": "file", "path": "a", "oid": "0", "size": 1, "lfs": {"oid": 7, "size": 1}}]',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda value: repr(value[:40]),
)
def test_an_answer_that_is_none(hub, model, answer):
    hub.faults.append(Fault(TREE, times=None, body=answer))
    with pytest.raises(HubError, match="does not answer as the Hub does"):
        segzoo.load(REF)
    hub.faults[:] = [Fault(REVISION, times=None, body=answer)]
    with pytest.raises(HubError, match="does not answer as the Hub does"):
        hubs.snapshot_of("alice/tiny", fresh=True)


# --- H10: the cache ------------------------------------------------------------------------------


def test_h10_a_cache_that_cannot_be_written(hub, model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        segzoo.load(REF)
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        segzoo.load(f"{REF}@{hub.repos['alice/tiny'].head.oid}")


def test_h10_a_full_disk(hub, large, tmp_path):
    _, snapshot = large
    code = (
        "import resource, signal\n"
        "from segzoo import errors\nfrom segzoo.hub import fetch as hub\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        f"    hub.fetch(hub.Snapshot('alice/large', '{snapshot.commit}'), ['{WEIGHTS}'])\n"
        "except errors.ResourceError as error:\n"
        "    print(error.exit_code, error)"
    )
    done = hub.run(code, tmp_path)
    assert done.stdout.startswith("5 ")
    assert "cannot be written: File too large" in done.stdout
    assert "set HF_HUB_CACHE" in done.stdout
    assert not any("incomplete" in name for name in everything(tmp_path))


def test_h10_no_room_is_known_before(hub, model, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError) as caught:
        segzoo.load(REF)
    assert "there is no room for hf-hub:alice/tiny@" in str(caught.value)
    assert "found 100 bytes free" in str(caught.value)


@pytest.fixture
def plain(monkeypatch):
    """A system on which nobody may make links."""

    def refuse(*args, **kwargs):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)


def test_h10_without_links(hub, model, plain):
    assert torch.equal(segzoo.load(REF)(X), model(X))
    folder = cached_weights(hub).parent
    assert not any(path.is_symlink() for path in folder.iterdir())
    asked(hub)
    assert torch.equal(segzoo.load(REF, local_files_only=True, verify=True)(X), model(X))
    damage(folder / WEIGHTS)
    with pytest.raises(IntegrityError, match="are not those that the Hub has for this commit"):
        segzoo.load(REF)
    assert (folder / f"{WEIGHTS}.corrupt").exists()
    assert not (folder / WEIGHTS).exists()
    assert asked(hub) == []
    assert torch.equal(segzoo.load(REF)(X), model(X))


def test_h10_two_commits_without_links(hub, model, plain):
    segzoo.load(REF)
    hub.add("alice/tiny", {"README.md": b"hello"})
    assert torch.equal(segzoo.load(f"{REF}@{hub.repos['alice/tiny'].head.oid}")(X), model(X))
    assert torch.equal(segzoo.load(f"{REF}@main")(X), model(X))


def test_h10_without_links_and_without_ids(hub, model, plain, monkeypatch, tmp_path):
    """As another program leaves it: then the Hub is asked, or else the commit's manifest."""
    snapshot = hubs.snapshot_of("alice/tiny")
    hubs.fetch(snapshot, [CONFIG, WEIGHTS])
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "empty"))
    with pytest.raises(OfflineError):
        segzoo.load(REF, local_files_only=True)
    asked(hub)
    segzoo.load(REF)
    assert asked(hub) == [f"GET /api/models/alice/tiny/tree/{snapshot.commit}"]
    hubs.fetch(snapshot, ["manifest.json"])
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "empty too"))
    asked(hub)
    assert torch.equal(segzoo.load(REF)(X), model(X))
    assert asked(hub) == []
    damage(snapshot.folder / WEIGHTS)
    with pytest.raises(IntegrityError, match=r"its sha256 is not the one in manifest\.json"):
        segzoo.load(REF)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config.json": ["x", 1]}', '{"a": 1}'])
def test_kept_ids_that_are_damaged_are_none(hub, model, tmp_path, text):
    segzoo.load(REF)
    [path] = (tmp_path / "segzoo" / "hub").iterdir()
    path.write_text(text)
    assert hubcache.ids_of(hubs.snapshot_of("alice/tiny")) == {}
    assert torch.equal(segzoo.load(REF)(X), model(X))


# --- C2-C8, P9: configs from the Hub and from folders --------------------------------------------


def changed(saved, change):
    config = json.loads((saved / CONFIG).read_text())
    change(config)
    return json.dumps(config).encode()


def to(key, value):
    def change(config):
        at = config
        *path, last = key.split(".")
        for part in path:
            at = at[part]
        at[last] = value

    return change


#   row   change of config.json                               error        what the message says
CONFIGS = [
    ("C2", to("options.wdith", 5), ConfigError, "options.wdith is not an option of this model"),
    ("C2", to("options.width", "5"), ConfigError, "options.width is '5' (str), not a value of"),
    ("C2", to("options.width", True), ConfigError, "options.width is True (bool), not a value"),
    ("C2", to("options.width", 0), ConfigError, "options.width is 0, below 1"),
    ("C2", to("num_classes", 10**9), ConfigError, "num_classes=1000000000 is outside 1..256"),
    ("C3", to("format_version", 9), ConfigError, "pip install --upgrade segzoo-core"),
    ("C7", to("model", "__import__('os').system('touch canary')"), ConfigError, "does not match"),
    ("C7", to("model", "hf://evil/x"), ConfigError, "does not match"),
    ("C7", to("options.width", "$import os"), ConfigError, "options.width is '$import os' (str)"),
    ("C7", to("preprocess.custom", "os:system"), ConfigError, "names code, which a config may not"),
    ("C7", to("model_file", "evil.py"), ConfigError, "unknown field 'model_file'"),
    ("C7", to("auto_map", {"x": "evil--m"}), ConfigError, "unknown field 'auto_map'"),
    ("C8", to("options.width", 10**12), ConfigError, "options.width is 1000000000000, above 1e+09"),
    ("P9", to("plugin", {"distribution": "segzoo-foo", "version": "0.3"}), PluginMissingError,
     "That name is the file's claim, and no plugin known here has it"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "change", "error", "says"), CONFIGS)
def test_a_config_is_judged_before_the_weights_are_fetched(
    hub, saved, tmp_path, monkeypatch, row, change, error, says
):
    monkeypatch.chdir(tmp_path)
    content = changed(saved, change)
    hub.add("alice/tiny", {CONFIG: content})
    with pytest.raises(error) as caught:
        segzoo.load(REF)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
    lines = asked(hub)
    assert not any(WEIGHTS in line for line in lines)
    assert all("/alice/tiny/" in line for line in lines)  # nothing that a config names is asked
    (saved / CONFIG).write_bytes(content)
    (saved / "manifest.json").unlink()
    with pytest.raises(error) as caught:
        segzoo.load(str(saved))
    assert says in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_c4_an_option_that_the_plugin_did_not_have_yet(saved):
    model = segzoo.load("tiny", seed=0)  # of the default width
    folder = model.save_pretrained(saved.parent / "older")
    (folder / CONFIG).write_bytes(changed(folder, lambda config: config["options"].clear()))
    (folder / "manifest.json").unlink()
    again = segzoo.load(str(folder))
    assert again.config.options == {"width": 4}
    assert torch.equal(again(X), model(X))


def test_c8_a_network_that_no_machine_holds(hub, saved):
    hub.add("alice/tiny", {CONFIG: changed(saved, to("options.width", 10**9))})
    with pytest.raises(SegzooError, match=r"expected \[1, 1000000000, 1, 1\]"):
        segzoo.load(REF)


# --- folders with a manifest ---------------------------------------------------------------------


def test_a_folder_is_checked_against_its_manifest(saved):
    text = (saved / CONFIG).read_text()
    (saved / CONFIG).write_text(text.replace('"width": 5', '"width": 6'))
    with pytest.raises(IntegrityError, match=r"its sha256 is not the one in manifest\.json"):
        segzoo.load(str(saved))
    (saved / CONFIG).write_text(text)
    damage(saved / WEIGHTS)
    with pytest.raises(IntegrityError, match="its sha256 is not the declared one"):
        segzoo.load(str(saved))


def test_a_config_and_a_manifest_that_disagree(saved):
    from segzoo.saved import manifest

    (saved / CONFIG).write_bytes(
        changed(saved, lambda config: config["files"].update({WEIGHTS: "0" * 64}))
    )
    manifest.write(saved, [CONFIG, WEIGHTS])
    with pytest.raises(IntegrityError, match=r"config\.json and manifest\.json disagree about"):
        segzoo.load(str(saved))


def test_a_folder_has_no_revision(saved):
    with pytest.raises(UsageError, match="has no revisions"):
        segzoo.load(str(saved), revision="main")
    with pytest.raises(UsageError, match="a ModelSpec has no revisions"):
        segzoo.load(tiny.TINY, revision="main")
