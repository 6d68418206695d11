"""Looking costs little: what runs without torch, numpy, Pillow and all else that is heavy."""

import subprocess
import sys

import pytest
import typer

from segzoo.cli.verbs import EVERY, app_of

HEAVY = ("torch", "torchvision", "timm", "accelerate", "numpy", "PIL", "safetensors", "rich")

# Runs before the command under test and makes every heavy import fail.
BLOCK = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ImportError(f"{{name}} was imported")

sys.meta_path.insert(0, Block())
"""

MAIN = """
sys.argv = ["segzoo", *{arguments!r}]
from segzoo.cli.main import main
main()
"""


def run_blocked(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCK + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def segzoo_blocked(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_blocked(MAIN.format(arguments=arguments))


@pytest.mark.parametrize("name", HEAVY)
def test_the_block_works(name):
    result = run_blocked(f"import {name}")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"ImportError: {name} was imported"


def test_import():
    result = run_blocked("import segzoo; print(segzoo.list_models())")
    assert (result.returncode, result.stderr) == (0, "")
    assert "u2netp" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--help",), "predict"),
        (("--version",), "segzoo-core 0."),
        (("list",), "u2netp"),
        (("list", "--names"), "u2netp"),
        (("list", "--json", "--task", "saliency"), '"name": "u2netp"'),
        (("predict", "--help"), "--as"),
        (("info", "--help"), "--size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_command(arguments, shown):
    result = segzoo_blocked(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert shown in result.stdout


def test_an_unknown_model_is_answered_without_them():
    result = segzoo_blocked("info", "u2nett")
    assert result.returncode == 2
    assert result.stderr.startswith("segzoo: no model 'u2nett'. Did you mean 'u2net")


@pytest.mark.parametrize(
    ("line", "alone"),
    [
        ("list", True),
        ("ls --names", True),
        ("cache size", True),
        ("--version list", True),
        ("help list", False),
        ("--help", False),
        ("lst", False),
    ],
)
def test_a_line_imports_its_verb_alone(line, alone):
    code = f"""
sys.argv = ["segzoo", *{line.split()!r}]
from segzoo.cli.main import main
try:
    main()
finally:
    print("segzoo.cli.train" not in sys.modules)
"""
    assert run_blocked(code).stdout.splitlines()[-1] == str(alone)


def test_a_verb_alone_is_as_among_all():
    everything = typer.main.get_command(app_of()).commands
    assert [*everything] == [*EVERY]
    for name in [*EVERY]:
        alone = typer.main.get_command(app_of([name])).commands[name]
        assert [p.opts for p in alone.params] == [p.opts for p in everything[name].params]
        assert (alone.help, alone.hidden) == (everything[name].help, everything[name].hidden)


def test_what_ends_with_the_process_is_not_looked_through():
    code = """
import gc
sys.argv = ["segzoo", "--version"]
from segzoo.cli.main import main
try:
    main()
finally:
    print(gc.get_freeze_count() > len(gc.get_objects()))
"""
    assert run_blocked(code).stdout.splitlines()[-1] == "True"
