"""A new plugin: its names, its files, and that they keep the contract; nothing when it fails."""

import errno
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import resources
from pathlib import Path

import fake_plugins
import pytest
import torch

import segzoo
from segzoo.errors import OutputError, PluginMissingError, ResourceError, UsageError
from segzoo.testing import assert_keeps_contract
from segzoo.zoo import scaffold
from segzoo.zoo.scaffold import new_plugin

FILES = (
    "README.md",
    "pyproject.toml",
    "src/segzoo_my_net/__init__.py",
    "src/segzoo_my_net/blocks.py",
    "src/segzoo_my_net/model.py",
    "src/segzoo_my_net/py.typed",
    "src/segzoo_my_net/spec.py",
    "tests/test_contract.py",
)
X = torch.linspace(-1, 1, 3 * 9 * 7).reshape(1, 3, 9, 7)


def files_of(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_text("utf-8") for file in files}


# --- what is written ------------------------------------------------------------------------------


def test_the_files_of_a_new_plugin(tmp_path):
    plugin = new_plugin("my-net", tmp_path)
    assert plugin == ("my_net", tmp_path / "my-net", FILES)
    assert tuple(files_of(plugin.folder)) == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["my-net"]
    template = resources.files("segzoo") / "_template"
    for name, text in files_of(plugin.folder).items():
        assert text == (template / f"{name}.in").read_text("utf-8")  # it is a plugin called my_net


@pytest.mark.parametrize("name", ["seg2-former", "seg2_former", "Seg2-Former"])
def test_every_spelling_follows_the_name(tmp_path, name):
    plugin = new_plugin(name, tmp_path)
    assert (plugin.model, plugin.folder.name) == ("seg2_former", "seg2-former")
    written = files_of(plugin.folder)
    assert set(written) == {file.replace("my_net", "seg2_former") for file in FILES}
    everything = "\n".join([*written, *written.values()])
    assert not any(left in everything for left in ("my_net", "my-net", "MyNet", "MY_NET"))
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["name"] == "segzoo-seg2-former"
    assert project["entry-points"]["segzoo.models"] == {
        "seg2_former": "segzoo_seg2_former.spec:SEG2_FORMER"
    }
    assert "class Seg2Former(nn.Module):" in written["src/segzoo_seg2_former/model.py"]


def test_what_is_written_is_linted_and_formatted_as_ours(tmp_path):
    folder = new_plugin("my-net", tmp_path).folder
    settings = Path(__file__).parents[1] / "pyproject.toml"
    ruff = shutil.which("ruff", path=Path(sys.executable).parent)
    if ruff is None:
        pytest.skip("needs ruff: pip install 'segzoo-core[check]'")
    for command in (["check"], ["format", "--check"]):
        line = [ruff, *command, "--no-cache", "--config", str(settings), str(folder)]
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


# --- what is refused ------------------------------------------------------------------------------

SHAPE = "expected words of a-z and 0-9, the first with a letter in front, joined by '-'"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", SHAPE),
        ("2net", SHAPE),
        ("my--net", SHAPE),
        ("my-net-", SHAPE),
        ("../net", SHAPE),
        ("my.net", SHAPE),
        ("réseau", SHAPE),
        ("class", "'class' is a word of Python or of the plugin's own code"),
        ("none", "'None' is a word of Python or of the plugin's own code"),
        ("tensor", "'Tensor' is a word of Python or of the plugin's own code"),
        ("conv-block", "'conv_block' is a word of Python or of the plugin's own code"),
        ("segzoo-net", "the distribution gets 'segzoo-' in front by itself"),
        (
            "U2Net",
            "segzoo-u2net/u2net has that name; the distribution segzoo-u2net is installed",
        ),
        ("u2netp", "segzoo-u2net/u2netp has that name"),
        ("core", "the distribution segzoo-core is installed"),
    ],
)
def test_names_that_cannot_be_used(tmp_path, name, why):
    with pytest.raises(UsageError) as caught:
        new_plugin(name, tmp_path)
    message = f"no plugin can be called {name!r}: {why}. Choose another name"
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_name_from_a_stranger_is_printed_on_one_short_line(tmp_path):
    with pytest.raises(UsageError) as caught:
        new_plugin("my\n" + 500 * "net", tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_everything_against_a_name_is_said_at_once(tmp_path, monkeypatch):
    fake_plugins.make(tmp_path / "site", "segzoo-model", {"model": "x:Y"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(UsageError) as caught:
        new_plugin("model", tmp_path)
    assert caught.value.problem == (
        "no plugin can be called 'model': 'model' is a word of Python or of the plugin's own code; "
        "segzoo-model/model has that name; the distribution segzoo-model is installed"
    )


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_there_stays(tmp_path, kind):
    place = tmp_path / "my-net"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError) as caught:
        new_plugin("my-net", tmp_path)
    assert str(caught.value) == f"{place}: is there already. Choose another name"
    assert [p.name for p in tmp_path.iterdir()] == ["my-net"]
    assert not place.is_dir() or list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("parent", "cause"), [("nowhere", "No such file or directory"), ("file", "Not a directory")]
)
def test_a_parent_that_is_no_folder(tmp_path, parent, cause):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        new_plugin("my-net", tmp_path / parent)
    assert str(caught.value) == f"{tmp_path / parent / 'my-net'}: cannot be written: {cause}"


@pytest.mark.parametrize("step", range(len(FILES) + 1))
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, step):
    """Each write fails in turn, and last the renaming."""
    calls = []

    def full(real):
        def call(*arguments):
            calls.append(real.__name__)
            if len(calls) > step:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)

        return call

    monkeypatch.setattr(scaffold.os, "fsync", full(os.fsync))
    monkeypatch.setattr(scaffold.os, "rename", full(os.rename))
    with pytest.raises(ResourceError, match="my-net: cannot be written: No space left on device"):
        new_plugin("my-net", tmp_path)
    assert calls[-1] == ("rename" if step == len(FILES) else "fsync")
    assert list(tmp_path.iterdir()) == []


# --- what it is worth -----------------------------------------------------------------------------


@pytest.fixture
def my_net(tmp_path, monkeypatch) -> Path:
    """A new plugin's folder, on the import path with the metadata that pip would leave."""
    folder = new_plugin("my-net", tmp_path).folder
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    points = project["entry-points"]["segzoo.models"]
    fake_plugins.make(folder / "src", project["name"], points, version=project["version"])
    fake_plugins.install(monkeypatch, folder / "src")
    return folder


@pytest.mark.usefixtures("my_net")
def test_it_keeps_the_contract():
    assert_keeps_contract("my_net")


@pytest.mark.slow
@pytest.mark.usefixtures("my_net")
def test_it_keeps_what_takes_longer():
    assert_keeps_contract("my_net", slow=True)


def test_saved_loaded_and_then_uninstalled(my_net, tmp_path):
    model = segzoo.load("my-net", seed=0, width=5, num_classes=3)
    folder = model.save_pretrained(tmp_path / "saved")
    again = segzoo.load(str(folder))
    assert again.config.options == {"width": 5}
    assert torch.equal(again(X), model(X))

    (info,) = my_net.glob("src/*.dist-info")
    shutil.rmtree(info)
    with pytest.raises(PluginMissingError) as caught:
        segzoo.load(str(folder))
    assert str(caught.value) == (
        f"{folder}: made with segzoo-my-net 0.1.0, which does not offer 'my_net' here. "
        "That name is the file's claim, and no plugin known here has it: find out who publishes "
        "it, and what it depends on, before you install it"
    )


@pytest.mark.slow
def test_its_types_are_sound(my_net):
    """mypy as strict as ours, on the package and on its test."""
    settings = Path(__file__).parents[1] / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--no-incremental"]
    done = subprocess.run(
        [*command, "-p", "segzoo_my_net"],
        capture_output=True,
        text=True,
        env=os.environ | {"MYPYPATH": str(my_net / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.network
def test_pip_installs_it(tmp_path):
    """`pip install -e` in an environment of its own, which sees the libraries of this one."""
    folder = new_plugin("my-net", tmp_path).folder
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    ours = [Path(segzoo.__file__).parents[1], Path(pytest.__file__).parents[1]]
    (site / "ours.pth").write_text("\n".join(map(str, ours)))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    subprocess.run([*pip, "install", "--no-deps", "-e", str(folder)], check=True, timeout=300)

    def says(*arguments: str) -> str:
        line = [python, "-m", "segzoo.cli.main", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "segzoo-my-net 0.1.0" in says("list", "my_net")
    assert "0 broken" in says("check", "my_net")
