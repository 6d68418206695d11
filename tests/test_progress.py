"""Who waits for a verb on a terminal is told what it does; and nobody else is."""

import io
import re
import sys
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
