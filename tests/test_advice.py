"""What an error tells a person to copy is never chosen by a stranger's file."""

import ast
import json
from pathlib import Path

import pytest

import segzoo
from segzoo.cli.main import run
from segzoo.errors import PluginMissingError
from segzoo.zoo import registry

CORE = Path(__file__).parents[1] / "src" / "segzoo"


@pytest.mark.parametrize("line", [["info"], ["predict"], ["verify"], ["check"], ["train"]])
def test_a8_an_unknown_name_is_no_command_to_copy(workplace, capsys, line):
    file = workplace / "run" / "model" / "config.json"
    (file.parent / "manifest.json").unlink()
    record = json.loads(file.read_text())
    record["plugin"] = {"distribution": "evil-typosquat", "version": "9.9"}
    file.write_text(json.dumps(record))
    words = {"predict": ["photo.png", "-o", "out"], "train": ["--data", "arrays:squares.npz"]}
    assert run([*line, "./run/model", *words.get(line[0], [])]) in (2, 3, 1)
    said = "".join(capsys.readouterr())
    assert "made with evil-typosquat 9.9, which does not offer 'tiny' here" in said
    assert "file's claim" in said
    assert "pip install" not in said


@pytest.mark.parametrize("name", ["segzoo-u2net", "Segzoo_U2net", "SEGZOO.u2net"])
def test_a8_a_known_name_is_spelled_as_its_owner_does(workplace, name):
    """Ours are known by the core's own metadata, others when they are installed."""
    file = workplace / "run" / "model" / "config.json"
    record = json.loads(file.read_text())
    record["plugin"] = {"distribution": name, "version": "9.9"}
    file.write_text(json.dumps(record))
    (file.parent / "manifest.json").unlink()
    with pytest.raises(PluginMissingError) as error:
        segzoo.load("./run/model")
    assert error.value.next_step == 'Run: pip install --upgrade "segzoo-u2net>=9.9"'


def test_a8_every_plugin_of_ours_is_known():
    for project in CORE.parents[1].glob("plugins/*/pyproject.toml"):
        assert registry.known(project.parent.name) == project.parent.name
    assert registry.known("segzoo-u2nett") == registry.known("evil") == ""


# Where the name in a line to copy is not written in the source, and who says it.
CHOSEN = {
    "automatic/candidates.py": "an installed plugin's spec",
    "model/origin.py": "a known plugin",
    "export/exporting.py": "an installed exporter's spec",
    "zoo/registry.py": "a plugin of ours, by the table of what ours offer",
    "model/build.py": "an installed plugin's spec",
    "data/source.py": "an installed reader's spec",
    "checks/promises.py": "an installed plugin's spec",
    "checks/doctor.py": "metadata of what is installed",
    "engine/trackers.py": "a setting of three names",
    "cli/new.py": "the folder that was just made",
    "publish/card.py": "an installed plugin, which built the network",
}


def test_a8_lines_to_copy_name_what_is_known():
    """A new workplace where `pip install` is followed by a name that the source does not hold."""
    found = set()
    for file in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else ()
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
                parts = (node.left, node.right)
            texts = [p.value for p in parts if isinstance(p, ast.Constant)]
            after = [str(t).rpartition("pip install")[2] for t in texts if "pip install" in str(t)]
            if any("segzoo-core" not in text for text in after):
                found.add(file.relative_to(CORE).as_posix())
    assert found == CHOSEN.keys()
