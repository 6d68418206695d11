"""Weights that a plugin declares by an address: from a site on this machine into the cache, once.

How the file itself comes is tested in test_asset.py; ONNX files are tested with U²-Net's.
"""

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
import types
from pathlib import Path

import fake_plugins
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from secure_site import site

import segzoo
from segzoo.base import cache
from segzoo.cli.main import run
from segzoo.errors import (
    DependencyMissingError,
    IntegrityError,
    LicenseError,
    OfflineError,
    UnsafeFormatError,
    WeightsFormatError,
    WeightsMismatchError,
)
from segzoo.model import origin
from segzoo.spec import Dataset, Weights
from segzoo.testing import check_weights
from segzoo.weights import safetensors as weights

__all__ = ["site"]

X = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
PATH = "/release/tiny.safetensors"
REF = "far.theirs"


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = tiny.tiny()
    made.norm.running_mean.uniform_(-1, 1)
    return made.eval()


@pytest.fixture
def file(network, tmp_path):
    """What another program saved of the network: safetensors, which need no process to be read."""
    save_file(network.state_dict(), tmp_path / "tiny.safetensors", metadata={"format": "pt"})
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def far(site, file, tmp_path, monkeypatch):
    """A plugin whose weights are at an address; gives what changes their record."""
    fake_plugins.make(tmp_path / "sites", "segzoo-far", {"far": "far_spec:SPEC"})
    fake_plugins.install(monkeypatch, tmp_path / "sites")
    module = types.ModuleType("far_spec")
    monkeypatch.setitem(sys.modules, "far_spec", module)
    record = Weights(
        url=site.serve(PATH, file.read_bytes()),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        trained_on=(Dataset(name="Shapes", license="CC0-1.0"),),
        license="MIT",
        source="somebody",
    )

    def change(**changes):
        changed = dataclasses.replace(record, **changes)
        module.SPEC = dataclasses.replace(
            tiny.TINY, weights={"theirs": changed}, default_weights="theirs"
        )
        return changed

    change()
    return change


def kept():
    """What is in the cache of converted files, but for locks."""
    place = cache.home() / "converted"
    return sorted(p for p in place.rglob("*") if p.is_file() and p.name != ".lock")


def served(site, far, data, **changes):
    """Serve other bytes, and declare them."""
    site.serve(PATH, data)
    return far(sha256=hashlib.sha256(data).hexdigest(), **changes)


# --- what works -----------------------------------------------------------------------------------


def test_they_are_fetched_once_and_then_cost_no_request(site, far, network, monkeypatch):
    assert torch.equal(segzoo.load(REF)(X), network(X))
    assert site.asked == [PATH]
    [file] = kept()
    start, sha256 = file.stem.split("-")
    assert far().sha256.startswith(start)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert torch.equal(segzoo.load("far", pretrained=True, verify=True)(X), network(X))
    assert torch.equal(segzoo.load(REF, local_files_only=True)(X), network(X))
    assert site.asked == []


def test_the_same_file_gives_the_same_bytes_and_they_can_be_declared(site, far, file, tmp_path):
    segzoo.load(REF)
    [first] = kept()
    first.unlink()
    sha256 = first.stem.split("-")[1]
    far(converted_sha256=sha256)
    segzoo.load(REF)
    assert kept() == [first]
    weights.save(load_file(file), tmp_path / "by_hand.safetensors")
    assert (tmp_path / "by_hand.safetensors").read_bytes() == first.read_bytes()


def test_a_file_of_another_kind_is_converted(site, far, network, tmp_path):
    torch.save({"state_dict": network.state_dict()}, tmp_path / "tiny.pth")
    served(site, far, (tmp_path / "tiny.pth").read_bytes())
    assert torch.equal(segzoo.load(REF)(X), network(X))


def test_what_was_converted_is_not_what_the_plugin_declares(site, far):
    far(converted_sha256="0" * 64)
    with pytest.raises(IntegrityError, match="gives other bytes than its plugin declares") as said:
        segzoo.load(REF)
    assert said.value.expected == "0" * 64
    assert kept() == []


def test_another_declaration_makes_it_anew(site, far):
    segzoo.load(REF)
    [old] = kept()
    far(converted_sha256="0" * 64)
    with pytest.raises(IntegrityError):
        segzoo.load(REF)
    assert kept() == [old]
    assert site.asked == [PATH, PATH]


def test_a_kept_file_that_was_changed_is_set_aside(site, far, network):
    segzoo.load(REF)
    [file] = kept()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="the next try makes it anew"):
        segzoo.load(REF)
    assert kept() == [file.with_name(f"{file.name}.corrupt")]
    assert torch.equal(segzoo.load(REF)(X), network(X))


def test_several_at_once_fetch_it_once(site, far):
    found, threads = [], []
    for _ in range(3):
        threads.append(threading.Thread(target=lambda: found.append(segzoo.load(REF)(X))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and all(torch.equal(each, found[0]) for each in found)
    assert site.asked == [PATH]


def test_whether_they_are_here_is_known_without_a_request(site, far):
    entry, spec = segzoo.model.load.find_spec("far")
    record = spec.weights["theirs"]
    assert not origin.is_here(entry, spec, record)
    assert site.asked == []
    segzoo.load(REF)
    assert origin.is_here(entry, spec, record)
    bundled = segzoo.model.load.find_spec("u2netp")
    assert origin.is_here(*bundled, bundled[1].weights["duts"])


# --- what is refused ------------------------------------------------------------------------------


def test_other_bytes_leave_nothing(site, far):
    site.serve(PATH, b"other bytes")
    with pytest.raises(IntegrityError, match="nothing was kept"):
        segzoo.load(REF)
    assert kept() == []


def test_a_file_of_another_network(site, far, tmp_path):
    save_file(tiny.tiny(width=9).state_dict(), tmp_path / "other.safetensors")
    record = served(site, far, (tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(WeightsMismatchError) as caught:
        segzoo.load(REF)
    assert caught.value.file == record.url
    assert kept() == []


def test_a_file_that_could_run_code(site, far, tmp_path):
    torch.save({"a": torch.zeros(1), "b": Path("x")}, tmp_path / "code.pth")
    record = served(site, far, (tmp_path / "code.pth").read_bytes())
    with pytest.raises(UnsafeFormatError) as caught:
        segzoo.load(REF)
    assert caught.value.file == record.url
    assert kept() == []


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"\x80\x02", b"\xff" * 1000], ids=["empty", "html", "pickle", "noise"]
)
def test_declared_bytes_that_are_no_weights(data, site, far):
    served(site, far, data)
    with pytest.raises((WeightsFormatError, UnsafeFormatError)):
        segzoo.load(REF)
    assert kept() == []


def test_the_library_is_asked_for_before_anything_is_fetched(site, far, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    far(url=site.serve("/release/net.onnx", b""))
    with pytest.raises(DependencyMissingError) as caught:
        segzoo.load(REF)
    assert str(caught.value) == (
        "ONNX files are read with onnx, which is not installed. "
        "Run: pip install 'segzoo-core[convert]'"
    )
    assert site.asked == []


def test_without_a_connection_it_says_what_to_type(site, far, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError) as caught:
        segzoo.load(REF)
    assert str(caught.value) == (
        "far.theirs is not in the cache, and HF_HUB_OFFLINE forbids connections. Where there is a "
        "connection, run: segzoo download far.theirs. With tiny.safetensors at hand, run: segzoo "
        "download far.theirs --from FILE"
    )
    assert kept() == site.asked == []


def test_a_licence_is_asked_about_before_anything_is_fetched(site, far):
    with pytest.raises(LicenseError):
        segzoo.load(REF, require_license="Apache-2.0")
    assert site.asked == []
    segzoo.load(REF, require_license="permissive")


def test_an_older_segzoo_says_that_it_needs_a_newer_one(far, monkeypatch):
    """One whose `Weights` has no url; the same words for a record as a saved file has them."""
    from segzoo.zoo import registry

    def older(**fields):
        for name in ("url", "converted_sha256"):
            if name in fields:
                raise TypeError(f"Weights.__init__() got an unexpected keyword argument {name!r}")
        return Weights(**fields)

    fields = {f.name: getattr(far(), f.name) for f in dataclasses.fields(Weights)}
    with pytest.raises(TypeError) as caught:
        older(**fields)
    assert registry.cause(caught.value) == "needs a newer segzoo: Weights has no field 'url'"


# --- verbs ----------------------------------------------------------------------------------------


def as_json(capsys, *arguments):
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_download_fetches_and_converts(site, far, capsys):
    [done] = as_json(capsys, "download", REF)
    [file] = kept()
    assert done == {
        "model": REF,
        "commit": None,
        "path": str(file),
        "bytes": file.stat().st_size,
    }
    assert site.asked == [PATH]
    as_json(capsys, "download", REF)
    assert site.asked == []


def test_download_takes_a_file_that_is_at_hand(site, far, file, network, capsys):
    as_json(capsys, "download", REF, "--from", str(file))
    assert torch.equal(segzoo.load(REF)(X), network(X))
    assert site.asked == []
    assert file.exists()


def test_download_takes_no_other_file(site, far, file, capsys):
    file.write_bytes(b"other bytes")
    assert run(["download", REF, "--from", str(file)]) == 3
    said = capsys.readouterr().err
    assert f"{file}: its sha256 is another one; found" in said
    assert run(["download", REF, "--from", f"{file}.not_there"]) == 2
    assert kept() == site.asked == []


def test_download_takes_a_file_for_one_address_alone(far, file, capsys):
    assert run(["download", REF, REF, "--from", str(file)]) == 2
    assert "--from FILE is of one model; found 2 of them" in capsys.readouterr().err
    for ref in ("u2netp.duts", "hf-hub:alice/tiny"):
        assert run(["download", ref, "--from", str(file)]) == 2
        said = capsys.readouterr().err
        assert f"the weights of {ref} are not declared by an address" in said


def test_the_cache_shows_and_removes_them(site, far, capsys):
    segzoo.load(REF)
    [file] = kept()
    [shown] = [e for e in as_json(capsys, "cache", "list") if e["kind"] == "converted"]
    assert (shown["name"], shown["bytes"]) == (REF, file.stat().st_size)
    assert as_json(capsys, "cache", "size")["converted"] == file.stat().st_size
    file.with_name("a.corrupt").write_bytes(b"123")
    gone = as_json(capsys, "cache", "prune", "--yes")
    assert [(each["kind"], each["bytes"]) for each in gone["removed"]] == [("leftover", 3)]
    assert kept() == [file]
    gone = as_json(capsys, "cache", "prune", REF, "--yes")
    assert [each["name"] for each in gone["removed"]] == [REF]
    assert kept() == []


def test_list_and_info_know_them(site, far, capsys):
    assert "far" in segzoo.list_models(pretrained=True)
    [row] = as_json(capsys, "list", "far")
    assert row["weights"] == ["theirs"]
    assert run(["info", "far", "--full"]) == 0
    said = capsys.readouterr().out
    assert f"  url        {site.url}{PATH}, fetched and converted once" in said
    assert run(["info", "far"]) == 0
    assert "far.theirs (default), fetched at the first use: licence MIT" in capsys.readouterr().out
    assert site.asked == []


def test_they_are_verified(site, far):
    results = check_weights("far", "theirs")
    assert all(result.ok for result in results)
    [file] = kept()
    [hashes] = [result for result in results if result.promise == "hashes are as declared"]
    assert file.stem.split("-")[1] in hashes.detail


def test_a_process_that_finds_them_converted_imports_neither_onnx_nor_the_client(
    site, far, tmp_path
):
    record = far()
    segzoo.load(REF)
    code = (
        "import sys, types, dataclasses, tiny\n"
        "from segzoo.spec import Weights\n"
        "from segzoo.zoo.registry import Entry\n"
        "from segzoo.model import origin\n"
        f"record = Weights(url={record.url!r}, sha256={record.sha256!r}, trained_on=(), "
        "license='MIT')\n"
        "spec = dataclasses.replace(tiny.TINY, weights={'theirs': record})\n"
        "entry = Entry('far', '', '', '')\n"
        "file, sha256 = origin.weights_file(entry, spec, record)\n"
        "from segzoo.weights import safetensors\n"
        "safetensors.read(file, sha256=sha256)\n"
        "print([n for n in ('onnx', 'huggingface_hub', 'filelock') if n in sys.modules])"
    )
    support = str(Path(tiny.__file__).parent)
    command = [sys.executable, "-c", f"import sys; sys.path.append({support!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr
