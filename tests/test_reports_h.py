"""What people met who looked around: what is shown to whom, and what an error leads to."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios

import pytest

from segzoo.cli import text
from segzoo.cli.brief import brief
from segzoo.cli.main import run
from segzoo.zoo import registry


def at_a_terminal(width, *arguments):
    """The lines that `segzoo ARGUMENTS` shows at a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    command = [sys.executable, "-m", "segzoo.cli.main", *arguments]
    unset = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=unset) as child:
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
    os.close(ours)
    assert child.returncode == 0, shown.decode()
    return shown.decode().splitlines()


def printed(capsys, *arguments):
    assert run([*arguments]) == 0
    return capsys.readouterr().out


# --- D9: the width of the terminal ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, ["NAME", "WEIGHTS", "SUMMARY"]),
        (80, ["NAME", "PARAMETERS", "WEIGHTS", "SUMMARY"]),
        (160, ["NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY"]),
        (300, ["NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY"]),
    ],
)
def test_d9_the_list_is_as_wide_as_the_terminal(width, columns):
    lines = at_a_terminal(width, "list")
    assert lines[0].split() == columns
    assert max(map(len, lines)) <= width
    names = [entry.name for entry in registry.entries()]
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == names
    small = next(line for line in lines if line.startswith("u2netp "))
    assert ("duts +3" in small) == (width < 300)
    assert ("duts, drive, drive_fov, trousers" in small) == (width == 300)
    missing = [name for name in ("PLUGIN", "TASKS", "PARAMETERS") if name not in columns]
    left_out = f"Left out at {width} columns: {', '.join(missing)}"
    assert lines[len(names) + 1 :] == ([left_out] if missing else [])


def test_d9_what_is_piped_is_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for line, row in zip(printed(capsys, "list").splitlines()[1:], registry.rows(), strict=True):
        assert line.endswith(row.spec.summary)
        assert ", ".join(row.spec.tasks) in line
        assert ", ".join(row.spec.weights) in line
    assert "2020, arXiv:2005.09007\n" in printed(capsys, "info", "u2netp")


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_d9_info_fits_a_screen(entry):
    name, counted = entry.name, (9_999_999, 10**10)
    pairs = [*brief(name, entry, entry.load(), None, counted, (320, 320))]
    lines = ["", *(f"{label:<13}{said}" for label, said in pairs)]
    assert len(text.wrapped_lines(lines, 80, indent=13)) <= 26
    assert pairs[-1] == ("all of it", f"segzoo info {name} --full")


@pytest.mark.parametrize("width", [60, 160])
def test_d9_info_is_as_wide_as_the_terminal(width, capsys):
    lines = at_a_terminal(width, "info", "u2netp", "--size", "64")
    too_long = [line for line in lines if len(line) > width]
    assert all(re.fullmatch(r" {13}\S+", line) for line in too_long)  # an address
    whole = printed(capsys, "info", "u2netp", "--size", "64")
    assert " ".join(" ".join(lines).split()) == " ".join(whole.split())


def test_d9_full_has_all_of_it(capsys):
    short = printed(capsys, "info", "u2netp", "--size", "64")
    full = printed(capsys, "info", "u2netp", "--size", "64", "--full")
    assert "option       pool=ceil, one of ceil, floor" in full
    spec = registry.find("u2netp").load()
    for tag, weights in spec.weights.items():
        assert weights.sha256 in full
        assert f"u2netp.{tag}" in short
        assert f"licence {weights.license}" in short
        for data in weights.trained_on:
            assert f"of {data.name} {data.license}" in short
        for metric in weights.metrics:
            assert f"{metric.name} {metric.value:g} on {metric.split}" in full
        first = weights.metrics[0]
        assert f"{first.name} {first.value:g} on {first.split}" in short
    assert not re.search("[0-9a-f]{64}", short)
    assert "encoder.0" in full and "encoder.0" not in short


def test_d9_json_is_all_of_it_with_and_without_full(capsys):
    ways = [printed(capsys, "info", "u2netp", "--json", *more) for more in ([], ["--full"])]
    assert ways[0] == ways[1]
    assert {"stages", "recipes", "weights", "blocks"} <= json.loads(ways[0]).keys()


def test_d9_many_choices_are_a_number():
    entry = registry.find("smp_unet")
    spec = entry.load()
    said = dict(brief("smp_unet", entry, spec, None, (1, 1), (64, 64)))["options"]
    assert f"encoder=resnet34 (one of {len(spec.options['encoder'].choices)})" in said


def test_d9_a_table_that_does_not_fit():
    header, rows = ("A", "B", "C"), [("x", "yy", "z" * 40), ("x", "\x1b", "short")]
    assert text.fitted(header, rows, None) == (text.table(header, rows), [])
    assert text.fitted(header, rows, 50, leave=("B",)) == (text.table(header, rows), [])
    lines, gone = text.fitted(header, rows, 40, leave=("B",))
    assert (max(map(len, lines)), gone) == (40, ["B"])
    assert lines[1] == f"x  {'z' * 34}..."
