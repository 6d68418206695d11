"""`segzoo verify` and `segzoo.testing.check_weights`: what holds, and each thing that may not."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import fake_plugins
import pytest
import tiny
import torch

import segzoo
from segzoo.checks import signing
from segzoo.checks.verify import FOLDER, HUB, RECORD, verify
from segzoo.cli.main import run
from segzoo.errors import (
    DependencyMissingError,
    UnknownModelError,
    UsageError,
    WeightsMissingError,
)
from segzoo.model import golden
from segzoo.saved import manifest
from segzoo.spec import Dataset, Weights
from segzoo.testing import assert_weights_hold, check_weights
from segzoo.weights.safetensors import save
from segzoo.zoo import registry

MANIFEST, CONFIG, HASHES, HEADER, VALUES, PLUGIN, FIT, GOLDEN, SIGNED = (p.name for p in FOLDER)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A saved model with a golden, as a published folder has one."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    model = segzoo.load("tiny", seed=3)
    place = model.save_pretrained(tmp_path / "saved")
    golden.write(model.network, model.config, place / "golden.safetensors")
    manifest.write(place)
    return place


def states(results):
    """The names of the proofs that were found broken, and of those that were left out."""
    return (
        [r.promise for r in results if not r.ok],
        [r.promise for r in results if r.skipped],
    )


def test_a_whole_folder(folder):
    results = verify(str(folder))
    assert states(results) == ([], [SIGNED])
    lines = [r.line for r in results]
    listed = manifest.read(folder / "manifest.json")
    sha256 = listed.files["model.safetensors"].sha256
    version = registry.find("tiny").version
    assert lines[:7] == [
        f"ok       {MANIFEST}: 3 of 3 files, digest {listed.digest}",
        f"ok       {CONFIG}: tiny, made with SEGZOO_MODELS {version}".rstrip(),
        f"ok       {HASHES}: model.safetensors {sha256}",
        f"ok       {HEADER}: 9 tensors, {(folder / 'model.safetensors').stat().st_size:,} bytes",
        f"ok       {VALUES}: 134 values",
        f"ok       {PLUGIN}: SEGZOO_MODELS/tiny {version}".rstrip(),
        f"ok       {FIT}: 125 parameters",
    ]
    assert lines[7].startswith(f"ok       {GOLDEN}: off by ")
    assert lines[7].endswith(" at most, allowed 0.0001")
    assert lines[8] == f"skipped  {SIGNED}: it is not signed"


def test_a_folder_of_an_older_segzoo(folder):
    (folder / "manifest.json").unlink()
    (folder / "golden.safetensors").unlink()
    results = verify(f"local-dir:{folder}")
    assert states(results) == ([], [MANIFEST, GOLDEN, SIGNED])
    assert "skipped  the golden's logits come back: there is no golden.safetensors" in [
        r.line for r in results
    ]


def flip(path):
    data = bytearray(path.read_bytes())
    data[-2] ^= 64
    path.write_bytes(data)


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rewrite(folder, act):
    """Change the weights, and declare them anew everywhere, as their publisher could."""
    state = segzoo.load(str(folder)).network.state_dict()
    act(state)
    sha256 = write_unchecked(state, folder / "model.safetensors")
    edit(folder / "config.json", files={"model.safetensors": sha256})
    manifest.write(folder)


def write_unchecked(state, path):
    import hashlib

    import safetensors.torch

    safetensors.torch.save_file(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


BREAKAGES = {
    "a flipped byte of the weights": (
        lambda f: flip(f / "model.safetensors"),
        {MANIFEST: "its sha256 is not the one in manifest", HASHES: "sha256 is not the declared"},
        [FIT, GOLDEN],
    ),
    "cut weights": (
        lambda f: cut(f / "model.safetensors"),
        {
            MANIFEST: "its size is not the one in manifest.json",
            HASHES: "its sha256 is not the declared one",
            HEADER: "8 bytes are missing",
        },
        [VALUES, FIT, GOLDEN],
    ),
    "a changed golden": (
        lambda f: flip(f / "golden.safetensors"),
        {MANIFEST: "golden.safetensors: its sha256", GOLDEN: "off by "},
        [],
    ),
    "a golden that no manifest lists": (
        lambda f: manifest.write(f, ["config.json", "model.safetensors"]),
        {MANIFEST: "golden.safetensors: the folder's manifest.json does not list it"},
        [],
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        {
            MANIFEST: "the manifest lists it, but it cannot be read",
            HASHES: "the file cannot be opened: No such file",
            HEADER: "the file cannot be opened: No such file",
        },
        [VALUES, FIT, GOLDEN],
    ),
    "no config": (
        lambda f: (f / "config.json").unlink(),
        {
            MANIFEST: "the manifest lists it, but it cannot be read",
            CONFIG: "there is no such file",
        },
        [HASHES, PLUGIN, FIT, GOLDEN],
    ),
    "NaN": (
        lambda f: rewrite(f, lambda s: s["head.bias"].fill_(float("nan"))),
        {VALUES: "1 with NaN or infinity: head.bias (1)", GOLDEN: "off by inf, allowed 0.0001"},
        [],
    ),
    "other values": (
        lambda f: rewrite(f, lambda s: s["head.bias"].add_(1)),
        {GOLDEN: "off by 0."},
        [],
    ),
    "a tensor less": (
        lambda f: rewrite(f, lambda s: s.pop("head.bias")),
        {FIT: "weights of another network: 1 missing: head.bias"},
        [GOLDEN],
    ),
    "a link out of the folder": (
        lambda f: (
            (f / "model.safetensors").rename(f.parent / "w")
            and (f / "model.safetensors").symlink_to(f.parent / "w")
        ),
        {HASHES: "a link out of its folder", HEADER: "a link out of its folder"},
        [VALUES, FIT, GOLDEN],
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_named(name, folder):
    act, expected, left_out = BREAKAGES[name]
    act(folder)
    results = verify(str(folder))
    broken, skipped = states(results)
    assert broken == [*expected]
    assert skipped == [*left_out, SIGNED]
    for result in results:
        if not result.ok:
            assert expected[result.promise] in result.detail
            assert result.fix
            assert "\n" not in result.line


@pytest.mark.parametrize(
    ("plugin", "next_step"),
    [
        (
            "segzoo-foo",
            "That name is the file's claim, and no plugin known here has it: find out who "
            "publishes it, and what it depends on, before you install it",
        ),
        ("Segzoo.UNet", 'Run: pip install --upgrade "segzoo-unet>=0.3"'),
    ],
)
def test_the_plugin_is_missing(folder, plugin, next_step):
    edit(folder / "config.json", plugin={"distribution": plugin, "version": "0.3"})
    manifest.write(folder)
    results = verify(str(folder))
    assert states(results) == ([PLUGIN], [FIT, GOLDEN, SIGNED])
    assert next(r.line for r in results if not r.ok) == (
        f"FAIL     the plugin is installed: {folder}: made with {plugin} 0.3, which does not "
        f"offer 'tiny' here: {next_step}"
    )


def test_a_stamp_of_an_earlier_load_is_not_believed(folder, monkeypatch):
    monkeypatch.setattr(segzoo.base.cache, "SETTLED_SECONDS", 0.0)
    segzoo.load(str(folder))
    path = folder / "model.safetensors"
    status = path.stat()
    stamp = segzoo.base.cache.read_stamp(path, status)
    assert stamp is not None
    flip(path)
    segzoo.base.cache.write_stamp(path, path.stat(), stamp, began=path.stat().st_ctime + 1)
    assert states(verify(str(folder)))[0] == [MANIFEST, HASHES]


def test_what_is_not_there(tmp_path):
    with pytest.raises(WeightsMissingError) as caught:
        verify(f"local-dir:{tmp_path}/no")
    assert str(caught.value) == f"{tmp_path}/no: there is no such folder"
    with pytest.raises(UnknownModelError):
        verify("no_such_model")
    with pytest.raises(WeightsMissingError, match="u2netp has no weights 'nope'"):
        verify("u2netp.nope")


# Signatures


@pytest.fixture
def keys(tmp_path):
    pytest.importorskip("model_signing", reason="the extra signing is not installed")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    pem = form.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_signed_folder(folder, keys):
    private, public = keys
    signing.sign(folder, private)
    assert states(verify(str(folder), public_key=public)) == ([], [])
    assert verify(str(folder))[-1].line == (
        f"skipped  {SIGNED}: to check it, give the signer's public key"
    )


def test_a_folder_changed_after_it_was_signed(folder, keys):
    private, public = keys
    signing.sign(folder, private)
    rewrite(folder, lambda state: None)  # the hashes and the manifest fit: a thief's work
    (folder / "README.md").write_text("Send money")
    results = verify(str(folder), public_key=public)
    assert states(results) == ([SIGNED], [])
    assert "Extra files found in model 'saved': README.md" in results[-1].detail


def test_a_key_for_what_is_not_signed(folder, keys):
    results = verify(str(folder), public_key=keys[1])
    assert results[-1].line == (
        f"FAIL     {SIGNED}: {folder}/model.sig: the folder is not signed: ask who published it"
    )
    with pytest.raises(UsageError) as caught:
        verify("u2netp.duts", public_key=keys[1])
    assert str(caught.value) == (
        "u2netp.duts is a plugin's, and not signed by itself; "
        "expected a folder, or a model on the Hub"
    )


def test_a_key_without_the_library(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(DependencyMissingError, match="signatures need the library model-signing"):
        verify(str(folder), public_key="key.pub")


# Weights that a plugin declares


STATED, *OTHERS = (p.name for p in RECORD)


def test_embedded_weights():
    results = check_weights("u2netp", "duts")
    assert states(results) == ([], [])
    assert [r.promise for r in results] == [STATED, HASHES, HEADER, VALUES, FIT, GOLDEN]
    assert results[0].detail == "Apache-2.0; trained on DUTS-TR (not stated)"
    assert_weights_hold("u2netp", "duts")
    assert [r.promise for r in verify("u2netp")] == [r.promise for r in results]


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that installs a plugin with embedded weights, and says what its record is."""
    site = tmp_path / "site"
    package = site / "segzoo_boxed"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    network = tiny.tiny()
    sha256 = save(network, package / "first.safetensors")
    record = Weights(
        bundled="segzoo_boxed:first.safetensors",
        sha256=sha256,
        trained_on=(Dataset(name="Shapes", license="CC0-1.0"),),
        license="MIT",
        source="made by the test",
    )
    fake_plugins.make(site, "segzoo-boxed", {"boxed": "boxed_spec:SPEC"})

    def install(**changes):
        spec = dataclasses.replace(
            tiny.TINY,
            weights={"first": dataclasses.replace(record, **changes)},
            default_weights="first",
        )
        fake_plugins.install(monkeypatch, site)
        monkeypatch.setitem(sys.modules, "boxed_spec", spec_module(spec))
        return package

    return install


def spec_module(spec):
    import types

    module = types.ModuleType("boxed_spec")
    module.SPEC = spec
    return module


def test_a_plugin_without_a_golden(plugin):
    plugin()
    results = check_weights("boxed", "first")
    assert states(results) == ([], [GOLDEN])
    assert results[-1].skipped == "there is no first.golden.safetensors"


def test_a_plugin_with_a_golden_of_another_network(plugin):
    package = plugin()
    model = segzoo.load("boxed.first")
    with torch.no_grad():
        model.network.stem.weight.mul_(2)
    golden.write(model.network, model.config, package / "first.golden.safetensors")
    assert states(check_weights("boxed", "first")) == ([GOLDEN], [])
    with pytest.raises(AssertionError, match=r"the weights are broken\nthe golden's logits come"):
        assert_weights_hold("boxed", "first")


@pytest.mark.parametrize(
    ("changes", "broken", "detail"),
    [
        ({"sha256": "0" * 64}, HASHES, "its sha256 is not the declared one"),
        ({"source": ""}, STATED, "the weights: no source"),
        ({"trained_on": ()}, STATED, "the weights: no trained_on"),
        (
            {"trained_on": (Dataset(name="Shapes", license=""),), "source": ""},
            STATED,
            "the weights: no source, license of Shapes",
        ),
        ({"num_classes": 2, "task": "multiclass"}, FIT, "2 of another shape: head.bias"),
    ],
)
def test_a_record_that_is_wrong(changes, broken, detail, plugin):
    plugin(**changes)
    results = check_weights("boxed", "first")
    assert states(results)[0] == [broken]
    assert detail in next(r.detail for r in results if not r.ok)


def test_a_backbone_is_under_the_same_rule(plugin, monkeypatch):
    plugin()
    spec = registry.find("boxed").load()
    bare = dataclasses.replace(spec.weights["first"], source="")
    changed = dataclasses.replace(spec, backbone={"vgg": bare})
    monkeypatch.setattr(sys.modules["boxed_spec"], "SPEC", changed)
    result = check_weights("boxed")[0]
    assert (result.ok, result.detail) == (False, "backbone 'vgg': no source")


# The command


def test_the_command(folder, capsys):
    assert run(["verify", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(folder)
    assert lines[1:-1] == [r.line for r in verify(str(folder))]
    assert lines[-1] == "8 hold, 0 broken, 1 skipped"
    flip(folder / "model.safetensors")
    assert run(["verify", str(folder)]) == 3
    assert capsys.readouterr().out.endswith("4 hold, 2 broken, 3 skipped\n")


def test_the_command_as_json(folder, capsys):
    assert run(["verify", str(folder), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["ref"], record["ok"]) == (str(folder), True)
    assert [p["promise"] for p in record["proofs"]] == [p.name for p in FOLDER]
    flip(folder / "golden.safetensors")
    assert run(["verify", str(folder), "--json"]) == 3
    record = json.loads(capsys.readouterr().out)
    assert not record["ok"]
    assert [p["promise"] for p in record["proofs"] if not p["ok"]] == [MANIFEST, GOLDEN]


def test_the_command_when_there_is_nothing(capsys):
    assert run(["verify", "u2netp.nope"]) == 2
    assert capsys.readouterr().err.startswith("segzoo: u2netp has no weights 'nope'")


# On the Hub


@pytest.fixture
def cached(folder, tmp_path, monkeypatch):
    """A model in the Hub's cache, as a download leaves it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    store = tmp_path / "cache" / "models--user--name"
    commit = "c" * 40
    (store / "blobs").mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(commit)
    snapshot = store / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        blob = store / "blobs" / blob_name(file)
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def blob_name(file):
    """What the Hub calls a file: by its sha256 when it is a large one, else by git's id."""
    import hashlib

    data = file.read_bytes()
    if file.suffix == ".safetensors":
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_a_cached_model_is_verified_without_a_network(cached):
    results = verify("hf-hub:user/name")
    assert states(results) == ([], [SIGNED])
    assert [r.promise for r in results] == [p.name for p in HUB]
    assert results[0].detail == "c" * 40
    assert results[1].detail.startswith("3 of 3 files, digest ")


def test_a_cache_need_not_have_everything(cached):
    (cached / "golden.safetensors").unlink()
    results = verify("hf-hub:user/name@" + "c" * 40, local_files_only=True)
    assert states(results) == ([], [GOLDEN, SIGNED])
    assert results[1].detail.startswith("2 of 3 files, digest ")


def test_a_cached_file_that_was_changed(cached, capsys):
    flip((cached / "model.safetensors").resolve())
    assert run(["verify", "hf-hub:user/name", "--offline"]) == 3
    assert "model.safetensors" in capsys.readouterr().err


def test_a_signed_model_in_the_cache(cached, folder, keys):
    private, public = keys
    signing.sign(folder, private)
    blob = cached.parents[1] / "blobs" / blob_name(folder / "model.sig")
    shutil.copy(folder / "model.sig", blob)
    (cached / "model.sig").symlink_to(blob)
    assert states(verify("hf-hub:user/name", public_key=public)) == ([], [])


@pytest.fixture
def published(folder, hub_here):
    """The folder on a Hub, and nothing of it in the cache. Gives its commit."""
    (folder / "training").mkdir()
    (folder / "training" / "metrics.json").write_text("{}")
    manifest.write(folder)
    files = (path for path in folder.rglob("*") if path.is_file())
    return hub_here.add(
        "alice/tiny", {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    )


def test_a_published_model_and_then_without_the_hub(published, hub, monkeypatch):
    results = verify("hf-hub:alice/tiny")
    assert states(results) == ([], [SIGNED])
    assert results[0].detail == published
    assert results[1].detail.startswith("4 of 4 files, digest ")
    assert [r.promise for r in results] == [p.name for p in HUB]
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [r.line for r in verify("hf-hub:alice/tiny")] == [r.line for r in results]
    assert hub.requests == []


def test_a_published_model_is_signed(published, folder, hub, keys):
    private, public = keys
    hub.add("alice/tiny", {"model.sig": signing.sign(folder, private).read_bytes()})
    assert states(verify("hf-hub:alice/tiny", public_key=public)) == ([], [])
    other = verify(f"hf-hub:alice/tiny@{published}", public_key=public)
    assert states(other)[0] == [SIGNED]


def test_a_published_model_whose_manifest_was_left_behind(published, folder, hub):
    config = folder / "config.json"
    edit(config, classes=["thing"])
    hub.add("alice/tiny", {"config.json": config.read_bytes()})
    results = verify("hf-hub:alice/tiny")
    assert MANIFEST in states(results)[0]
    assert "config.json: its s" in results[1].detail


def test_a_model_that_is_not_on_the_hub(published, capsys):
    assert run(["verify", "hf-hub:alice/other"]) == 4
    assert "alice/other" in capsys.readouterr().err
