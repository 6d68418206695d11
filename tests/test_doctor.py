"""`segzoo doctor`: what is there, what is wrong, and what to do; torch's absence is a finding."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

import fake_plugins
import pytest
from fake_plugins import BROKEN

from segzoo.checks.doctor import Finding, examine, stale_installs
from segzoo.cli.main import run
from segzoo.cli.text import size_of

REQUIRED = ("torch", "huggingface-hub", "pillow", "numpy", "typer", "rich")


def found(report, text):
    """The findings that hold a text, as (state, what, next step)."""
    return [tuple(f.values()) for f in report["findings"] if text in f["what"]]


def test_what_there_is():
    report = examine()
    assert json.loads(json.dumps(report)) == report
    assert report["versions"]["python"].startswith(platform.python_version())
    for name in ("segzoo-core", *REQUIRED):
        assert report["versions"][name] == metadata.version(name)
    assert report["devices"][-1]["device"] == "cpu"
    assert report["devices"][-1]["cores"] == os.cpu_count()
    assert set(report["runtimes"]) == {"torch", "onnxruntime", "openvino"}
    plugins = {p["model"]: p for p in report["plugins"]}
    assert plugins["u2netp"]["plugin"] == "segzoo-u2net"
    assert plugins["u2netp"]["state"] == "ok"
    assert 0 <= plugins["u2netp"]["seconds"] < 5
    assert [f for f in report["findings"] if f["state"] == "broken"] == []


def test_on_the_terminal(capsys):
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line.split()[0] for line in lines if line.isupper()]
    assert heads[:4] == ["LIBRARY", "DEVICE", "CACHE", "MODEL"]
    assert ["torch", metadata.version("torch")] in [line.split() for line in lines]
    assert any(line.startswith("u2netp ") and " ok " in line for line in lines)


def test_as_json(capsys):
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == examine().keys()


def test_it_downloads_and_starts_nothing():
    code = """
import sys
import torch  # a build for CUDA asks ldconfig for its libraries
import torchvision.transforms.v2  # makes the temporary folder of torch's compiler
seen = []
NEVER = ("socket.connect", "socket.getaddrinfo", "subprocess.", "os.system", "os.posix_spawn",
         "os.exec", "os.fork", "os.mkdir", "os.remove", "os.rename", "shutil.")
sys.addaudithook(lambda event, args: event.startswith(NEVER) and seen.append(event))
from segzoo.checks.doctor import examine
examine()
print(seen)
"""
    result = fake_plugins.run(code=code)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


# --- plugins


def test_broken_plugins(monkeypatch, capsys):
    fake_plugins.install(monkeypatch, BROKEN / "together")
    monkeypatch.setenv("SEGZOO_DISABLE", "broken-base,broken-slow")
    assert run(["doctor"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "broken broken-runtime/broken_runtime: RuntimeError: the licence server does not answer. "
        "Run: segzoo check broken-runtime/broken_runtime"
    ) in out
    assert "note broken-twin-a/broken_twin: shares its name; ask for it as" in out
    report = examine()
    states = {(p["plugin"], p["model"]): p["state"] for p in report["plugins"]}
    assert states["broken-runtime", "broken_runtime"] == "broken"
    assert states["broken-twin-a", "broken_twin"] == "note"
    assert states["broken-print", "broken_print"] == "ok"
    assert states["broken-base", "broken_base"] == "set aside"
    assert states["segzoo-u2net", "u2netp"] == "ok"
    assert found(report, "broken_base") == []


def test_a_library_that_a_model_needs(monkeypatch):
    fake_plugins.install(monkeypatch, BROKEN / "contract")
    monkeypatch.setenv("SEGZOO_MODELS", "needy=contract_specs:REQUIRES")
    assert found(examine(), "needy") == [
        (
            "missing",
            "no_such_library, for SEGZOO_MODELS/needy",
            "Run: pip install 'contract[library]'",
        )
    ]


def test_no_plugin_at_all(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "")
    core = metadata.distribution("segzoo-core")
    monkeypatch.setattr(metadata, "distributions", lambda: [core])
    assert found(examine(), "plugin") == [
        (
            "missing",
            "no plugin is installed, so there is no model",
            "Run: pip install 'segzoo-core[all]'",
        )
    ]


def test_an_editable_install_that_was_not_renewed(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path / "site", "my-net", {})
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "my-net"\n[project.entry-points."segzoo.models"]\nmy_net = "my_net:X"\n'
    )
    noted = {"url": project.as_uri(), "dir_info": {"editable": True}}
    (tmp_path / "site" / "my_net-1.0.dist-info" / "direct_url.json").write_text(json.dumps(noted))
    fake_plugins.install(monkeypatch, tmp_path / "site")
    (stale,) = [s for s in stale_installs() if s.distribution == "my-net"]
    assert stale.declared == {"my_net": "my_net:X"}
    assert found(examine(), "my-net") == [
        (
            "note",
            "my-net was changed since it was installed; its pyproject.toml says "
            "my_net = my_net:X (installed: nothing)",
            f"Run: pip install -e {project}",
        )
    ]


@pytest.mark.parametrize(
    ("noted", "toml"),
    [
        ("not json", "[project]"),
        ('{"url": "https://example.org/x.whl"}', "[project]"),
        ('{"url": "file:///nowhere", "dir_info": {"editable": true}}', "[project]"),
        ("EDITABLE", "not toml ="),
        ("EDITABLE", "[tool.other]"),
        ("EDITABLE", "[project]"),
    ],
)
def test_installs_that_are_not_stale(monkeypatch, tmp_path, noted, toml):
    fake_plugins.make(tmp_path, "my-net", {})
    (tmp_path / "pyproject.toml").write_text(toml)
    editable = json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    info = tmp_path / "my_net-1.0.dist-info"
    (info / "direct_url.json").write_text(noted.replace("EDITABLE", editable))
    fake_plugins.install(monkeypatch, tmp_path)
    assert [s for s in stale_installs() if s.distribution == "my-net"] == []


# --- libraries


def core_requires(site: Path, *requirements: str) -> None:
    """A core that is found first on the path and needs other libraries."""
    info = site / f"segzoo_core-{metadata.version('segzoo-core')}.dist-info"
    info.mkdir()
    lines = [f"Requires-Dist: {requirement}\n" for requirement in requirements]
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: segzoo-core\nVersion: 0.1.0\n{''.join(lines)}"
    )


def test_a_library_that_is_missing_or_old(monkeypatch, tmp_path, capsys):
    core_requires(
        tmp_path,
        "no-such-library>=1.0",
        "pillow>=999.1",
        "numpy>=1.26",
        'pytest>=999; extra == "test"',
    )
    fake_plugins.install(monkeypatch, tmp_path)
    report = examine()
    version = metadata.version("pillow")
    assert [f for f in report["findings"] if f["state"] == "broken"] == [
        Finding(
            "broken", "no-such-library is not installed", "Run: pip install no-such-library"
        )._asdict(),
        Finding(
            "broken", f"pillow {version} is older than 999.1", "Run: pip install --upgrade pillow"
        )._asdict(),
    ]
    assert report["versions"]["no-such-library"] is None
    assert run(["doctor"]) == 1
    assert ["no-such-library", "not", "installed"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize(
    "fault",
    ["OSError('libtorch_cpu.so: cannot open shared object file')", "SystemExit(1)"],
)
def test_a_torch_that_cannot_be_imported(tmp_path, fault):
    (tmp_path / "torch.py").write_text(f"raise {fault}\n")
    result = fake_plugins.run("doctor", "--json", sites=(tmp_path,))
    assert (result.returncode, result.stderr) == (1, "")
    report = json.loads(result.stdout)
    ((state, what, next_step),) = found(report, "torch")
    assert state == "broken"
    assert what.startswith(f"torch {metadata.version('torch')} cannot be imported: ")
    assert what.endswith(
        "OSError: libtorch_cpu.so: cannot open shared object file"
        if "OSError" in fault
        else "it called sys.exit(1)"
    )
    assert next_step == "Run: pip install --force-reinstall torch"
    assert report["devices"][0]["device"] == "cpu"
    assert report["no_cuda"] == "torch cannot be imported"
    assert "u2netp" in {p["model"] for p in report["plugins"]}


def test_entry_points_that_break_the_import_of_torch():
    """Row P7: torch reads every distribution's entry points, and Python stops at a damaged one."""
    result = fake_plugins.run("doctor", "--json", sites=(BROKEN / "unreadable",))
    assert result.returncode == 1
    report = json.loads(result.stdout)
    folders = {Path(what.partition(": ")[0]).name for _, what, _ in found(report, "entry points")}
    assert folders == {"broken_equals-1.0.dist-info", "broken_latin-1.0.dist-info"}
    assert {step for _, _, step in found(report, "entry points cannot be read")} == {
        "Uninstall that distribution, or mend entry_points.txt"
    }
    assert len(found(report, "torch 2")) == 1


def test_the_other_segzoo(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path, "segzoo", {}, version="3.0.1")
    fake_plugins.install(monkeypatch, tmp_path)
    assert found(examine(), "'segzoo' 3.0.1") == [
        (
            "broken",
            "the distribution 'segzoo' 3.0.1 is another project, for genome annotation, and "
            "writes into the same folder",
            "Run: pip uninstall -y segzoo && pip install --force-reinstall --no-deps segzoo-core",
        )
    ]


# --- caches


def test_caches_and_their_sizes(monkeypatch, tmp_path):
    home, hub = tmp_path / "home", tmp_path / "hf" / "hub"
    (home / "stamps").mkdir(parents=True)
    (home / "stamps" / "a.json").write_bytes(b"12345")
    (home / "b").write_bytes(b"123")
    (hub / "blobs").mkdir(parents=True)
    (hub / "blobs" / "c").write_bytes(b"x" * 2048)
    os.symlink(hub / "blobs", hub / "snapshots")
    monkeypatch.setenv("SEGZOO_HOME", str(home))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    ours, theirs = examine()["caches"]
    assert ours == {"name": "segzoo", "path": str(home), "exists": True, "bytes": 8}
    assert theirs["path"] == str(hub)
    assert 2048 <= theirs["bytes"] < 2048 + 256  # a link counts for itself alone
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "nowhere"))
    assert examine()["caches"][1] == {
        "name": "Hugging Face Hub",
        "path": str(tmp_path / "nowhere"),
        "exists": False,
        "bytes": 0,
    }


def test_a_home_that_everybody_can_write_to(monkeypatch, tmp_path):
    tmp_path.chmod(0o777)
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path))
    report = examine()
    assert [cache["name"] for cache in report["caches"]] == ["Hugging Face Hub"]
    ((state, what, next_step),) = found(report, "every user")
    assert (state, what) == (
        "broken",
        f"{tmp_path}: every user of this machine can write into segzoo's folder",
    )
    assert next_step.startswith(f"Run: chmod o-w '{tmp_path}'")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (4_613_734, "4.61 MB"),
        (139 * 10**9, "139.00 GB"),
        (5 * 10**11, "500.00 GB"),
    ],
)
def test_sizes_as_people_read_them(number, text):
    """In one way: `segzoo doctor` and `segzoo cache size` may show the same folder."""
    assert size_of(number) == text
