"""`segzoo new`: what it prints, and the tutorial, line by line as a reader would type it."""

import re
import shlex
import tomllib
from pathlib import Path

import fake_plugins
import numpy as np
import pytest
from PIL import Image

from segzoo.cli.main import run

TUTORIAL = Path(__file__).parents[1] / "docs/write-a-plugin.md"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pip_install(monkeypatch, folder: Path) -> None:
    """What `pip install -e` makes of a folder: it is on the import path and has metadata."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    points = project["entry-points"]["segzoo.models"]
    fake_plugins.make(folder / "src", project["name"], points, version=project["version"])
    fake_plugins.install(monkeypatch, folder / "src")


def make_cells(folder: Path) -> None:
    """Eight gray pictures with a bright cell each, and its mask."""
    generator = np.random.default_rng(0)
    for number in range(8):
        image = generator.integers(0, 100, (24, 32, 3)).astype(np.uint8)
        mask = np.zeros((24, 32), np.uint8)
        mask[number : number + 9, 5:20] = 255
        image[mask == 255] += 120
        for kind, values in (("images", image), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / kind / f"{number}.png")


def test_it_says_what_to_do_next(capsys):
    assert run(["new", "my-net"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "my-net: 8 files. What to do next:",
        "",
        "    pip install -e my-net",
        "    segzoo list",
        "    segzoo check my_net",
        '    segzoo train my_net --data "folder:PICTURES?values=0,255&val=0.2" steps=20',
        "",
        "The network is in my-net/src/segzoo_my_net/model.py and blocks.py, what segzoo knows of "
        "it in",
        "my-net/src/segzoo_my_net/spec.py.",
    ]


def test_into_another_folder(place, capsys):
    (place / "two words").mkdir()
    assert run(["new", "My_Net", "--folder", "two words"]) == 0
    assert "    pip install -e 'two words/my-net'" in capsys.readouterr().out.splitlines()
    assert (place / "two words/my-net/pyproject.toml").is_file()


def test_it_needs_nothing_heavy(place):
    blocked = "import sys\nsys.modules |= dict.fromkeys(('torch', 'numpy', 'PIL', 'rich'))\n"
    done = fake_plugins.run("new", "my-net", code=blocked + fake_plugins.SEGZOO)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "my-net/pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["new", "class"],
            "segzoo: no plugin can be called 'class': 'class' is a word of Python or of the "
            "plugin's own code. Choose another name\n",
        ),
        (
            ["new", "my-net", "--folder", "nowhere"],
            "segzoo: nowhere/my-net: cannot be written: No such file or directory\n",
        ),
    ],
)
def test_an_error_is_one_line(place, capsys, arguments, message):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)
    assert list(place.iterdir()) == []


def test_the_tutorial_works_as_printed(place, monkeypatch, capsys):
    text = TUTORIAL.read_text("utf-8")
    lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)).splitlines()
    assert lines[0] == "segzoo new my-net"
    make_cells(place / "cells")
    said = {}
    for line in lines:
        command, *arguments = shlex.split(line)
        if line == "pip install -e my-net":
            pip_install(monkeypatch, place / "my-net")
            continue
        assert command == "segzoo"
        if arguments[0] == "train":
            arguments = [*arguments, "crop=16", "--workers", "0", "--device", "cpu"]
        assert run(arguments) == 0, (line, capsys.readouterr())
        said[arguments[0]] = capsys.readouterr()

    assert re.search(r"^my_net +9\.82 k +binary, multiclass ", said["list"].out, re.M)
    assert said["list"].err == ""
    assert "recipe       adamw: 50 epochs" in said["info"].out
    assert ", 0 broken, " in said["check"].out
    assert re.fullmatch(
        r"run/model: the weights of step [1-9]\d?, the best iou in 20: [01]\.\d{4}",
        said["train"].out.splitlines()[0],
    )
    assert np.asarray(Image.open(place / "out/0.png")).shape == (24, 32)


def test_d14_the_function_that_makes_pictures_ready_works_as_printed(place, monkeypatch, capsys):
    text = TUTORIAL.read_text("utf-8")
    (code,) = re.findall(r"^```text\n(import numpy.*?)^```$", text, re.M | re.S)
    (field,) = re.findall(r"`(preprocess=Preprocess\(custom=.*?\))`", text)
    assert run(["new", "my-net"]) == 0
    pip_install(monkeypatch, place / "my-net")
    package = place / "my-net/src/segzoo_my_net"
    (package / "prepare.py").write_text(code, "utf-8")
    spec = (package / "spec.py").read_text("utf-8")
    changed, count = re.subn(r"preprocess=Preprocess\(.*?\)(?=,\n)", field, spec, flags=re.S)
    assert count == 1
    (package / "spec.py").write_text(changed, "utf-8")
    capsys.readouterr()
    assert run(["check", "my_net"]) == 0
    assert ", 0 broken, " in capsys.readouterr().out


def test_the_tutorial_names_every_file(place):
    assert run(["new", "my-net"]) == 0
    files = {str(f.relative_to(place)) for f in place.rglob("*") if f.is_file()}
    (tree,) = re.findall(r"^```\nmy-net/\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.M | re.S)
    assert {f"my-net/{line.split()[0]}" for line in tree.splitlines()} == files
