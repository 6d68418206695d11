"""Who waits for a verb on a terminal is told what it does; and nobody else is."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import typer

from segzoo.cli import progress
from segzoo.cli.verbs import app_of

CLI = Path(__file__).parents[1] / "src" / "segzoo" / "cli"
# What a verb shows: a line that moves, a bar, or lines of its own.
SHOWS = re.compile(r"\b(working|counting|progress_bar|Display|carry_out)\(|tell=tell|\btell\(f")
# Files of verbs that take no two seconds, or whose bar is that of what comes from the Hub.
QUICK = {
    "auto.py": "engine/display.py",
    "cache.py": "looks at folders",
    "demo.py": "cli/serve.py",
    "download.py": "cli/transfers.py",
    "info.py": "builds a network without its values",
    "list.py": "reads metadata",
    "new.py": "writes a few files",
    "train.py": "engine/display.py",
    "help.py": "prints",
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_every_verb_shows_that_it_works_or_is_quick():
    command = typer.main.get_command(app_of())
    files = {
        "eval.py" if name == "eval" else f"{name}.py"
        for name, verb in command.commands.items()
        if not verb.hidden
    }
    silent = {name for name in files if not SHOWS.search((CLI / name).read_text("utf-8"))}
    assert silent == {*QUICK}


@pytest.mark.parametrize("patience", [0.05, 5.0])
def test_what_takes_long_is_said_on_a_terminal_alone(monkeypatch, patience):
    monkeypatch.setattr(progress, "PATIENCE", patience)
    shown, quiet = Terminal(), io.StringIO()
    for stream in (quiet, shown):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.working("looking at \x1b[31m[bold]x"):
            time.sleep(0.4)
    assert quiet.getvalue() == ""
    assert (r"looking at \x1b[31m[bold]x" in shown.getvalue()) == (patience < 1)


# The colours of a terminal; bold letters, and what moves its cursor, are another matter.
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-8][0-9;]*m")
SAID = {
    "help": ["--help"],
    "list": ["list"],
    "a mistake": ["predict", "no_such_model", "photo.png"],
    "pictures": ["predict", "./run/model", "photos", "photo.png", "-o", "out", "--device", "cpu"],
    "a training": ["train", "--resume", "run"],
}


def at_a_terminal(line, place, **surroundings):
    """All that a verb writes where standard output and error are a terminal."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "segzoo.cli.main", *line],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **surroundings},
    )
    os.close(slave)
    found = b""
    with contextlib.suppress(OSError):  # it says so when the other end is closed
        while part := os.read(master, 65536):
            found += part
    os.close(master)
    process.wait(60)
    return found


@pytest.mark.slow  # each line is a process, or three
@pytest.mark.parametrize("verb", SAID)
def test_colours_are_for_terminals_alone(verb, workplace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "support"), prepend=os.pathsep)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    line = [sys.executable, "-m", "segzoo.cli.main", *SAID[verb]]
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(workplace, place, dirs_exist_ok=True)
        piped = subprocess.run(line, cwd=place, capture_output=True)
    assert b"\x1b" not in piped.stdout + piped.stderr
    assert piped.stdout + piped.stderr
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(workplace, place, dirs_exist_ok=True)
        plain = at_a_terminal(SAID[verb], place, NO_COLOR="1")
    assert plain and not COLOUR.search(plain), plain
    if verb == "a training":
        assert COLOUR.search(at_a_terminal(SAID[verb], workplace))
