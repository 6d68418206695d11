"""What a new user and a plugin author stumbled over, as they met it."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from squares import Squares

from segzoo.cli import help as help_
from segzoo.cli.main import run
from segzoo.cli.verbs import app_of
from segzoo.engine import journal, signals
from segzoo.engine.journal import Journal
from segzoo.engine.signals import asked_to_stop
from segzoo.zoo import registry

# The smallest UNet++ on eight squares.
MODEL = ["unetpp", "--option", "width=2", "--option", "depth=1"]
FAST = ["--workers", "0", "--device", "cpu", "batch_size=2", "crop=32", "warmup=0"]


@pytest.fixture
def squares(monkeypatch, tmp_path):
    """The line that trains on squares in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for part, length in (("train", 8), ("val", 3)):
        samples = [Squares(length)[index] for index in range(length)]
        images, masks = ([sample[key] for sample in samples] for key in ("image", "target"))
        np.savez(f"{part}.npz", images=images, masks=masks)
    words = [f"arrays:{part}.npz?classes=background,square" for part in ("train", "val")]
    return ["train", *MODEL, "--data", words[0], "--val", words[1], *FAST]


# --- D2: Ctrl-C in a training ---------------------------------------------------------------------


@pytest.fixture
def heard():
    """Ctrl-C as at a terminal, also where the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_d2_ctrl_c_saves_and_says_how_to_go_on(capfd, squares, heard):
    def press():
        while not Path("run/metrics.jsonl").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    code = run([*squares, "steps=1000000", "--eval-every", "1"])
    presser.join()
    assert code == 130
    shown = capfd.readouterr()
    assert shown.err.count(f"{signals.HEARD}\n") == 1
    assert shown.out.splitlines()[-1] == "segzoo train --resume run"
    assert list(Path("run").glob("step-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    line = ["train", "--resume", "run", "--workers", "0", "--max-minutes", "0"]
    assert run(line) == 0
    assert "goes on from step " in capfd.readouterr().err


def test_d2_a_second_ctrl_c_leaves_at_once(heard):
    after = ["before"]
    with pytest.raises(KeyboardInterrupt), asked_to_stop() as asked:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same key, passed on by a launcher
        assert asked.name == "SIGINT"
        after.append("echo")
        time.sleep(signals.ECHO_OF_A_KEY + 0.05)
        signal.raise_signal(signal.SIGINT)
        after.append("second")
    assert after == ["before", "echo"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("quiet", [True, False])
def test_d2_quiet_says_nothing_of_it(capfd, heard, quiet):
    with asked_to_stop(aloud=not quiet):
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ("" if quiet else f"{signals.HEARD}\n")


# --- D1: what is shown of a training --------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("start", [0, 12_345])
@pytest.mark.parametrize("width", [60, 80, 160])
def test_d1_counter_bar_time_loss_and_metric_fit_a_line(monkeypatch, tmp_path, width, start):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    begun = time.monotonic()
    metric = "max_f_of_mean"  # the longest that a recipe of ours chooses by
    records = [{"step": start, "loss": 0.25}, {"step": start, "val": {metric: 0.5}}]
    if start:
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / journal.METRICS).write_text(text)
    book = Journal(tmp_path, total=60_000, start=start, metric=metric, quiet=False, silent=False)
    monkeypatch.setattr(time, "monotonic", lambda: begun + 100)
    heads = {f"loss{number}": 1.0 for number in range(14)}
    try:
        book.write({"step": start + 1000, "loss": 0.125, **heads, "lr": 1e-3})
        (line,) = drawn(book, width)
        assert f"{start + 1000}/60000 " in line
        assert line.endswith(" loss 0.1250 max_f_of_mean 0.5000" if start else " loss 0.1250")
        book.write({"step": start + 1000, "loss": 0.125, "data_wait": 0.124})
        (line,) = drawn(book, width)
        assert (" waits 12%" in line) == (width > 60)
        book.display.values.pop("waits")
        book.write({"step": start + 1000, "val": {metric: 0.75, **heads}})
        (line,) = drawn(book, width)
    finally:
        book.close()
    left = "1:17:45" if start else "1:38:20"  # at 10 steps a second
    counter, bar, *words = line.split()
    assert counter == f"{start + 1000}/60000"
    assert len(bar) >= 4
    assert set(bar) <= {"━", "╸", "╺"}
    assert words == [left, "loss", "0.1250", metric, "0.7500"]
    assert width - 1 <= len(line) <= width


def drawn(book, width):
    """The lines that the bar takes on a terminal of this width."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), width=width, color_system="standard", force_terminal=True)
    console.print(book.display.bar.get_renderable())
    return [line.rstrip() for line in Text.from_ansi(console.file.getvalue()).plain.splitlines()]


def test_d1_a_resumed_run_goes_on_counting_and_no_line_has_more(capsys, squares):
    assert run([*squares, "steps=4", "--save-every", "1", "--max-minutes", "0"]) == 0
    first = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert run(["train", "--resume", "run"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    names = [[value.split()[0] for value in line.split("  ")[1:-1]] for line in first + lines]
    assert {*map(tuple, names)} <= {(), ("loss",), ("loss", "waits"), ("loss", "iou", "waits")}
    assert names[-1] == ["loss", "iou", "waits"]
    assert [line for line in lines if line.startswith(("step 0", "step 1"))] == []
    assert lines[-1].startswith("step 4/4  ")
    assert lines[-1].endswith("  0:00:00 left")


# --- D8: help, examples, completion ---------------------------------------------------------------


def verbs(command=None, path=()):
    """Every verb that the help shows, and the groups, by their words."""
    command = command or typer.main.get_command(app_of())
    yield path, command
    for name, verb in getattr(command, "commands", {}).items():
        if not verb.hidden:
            yield from verbs(verb, (*path, name))


VERBS = {" ".join(path): command for path, command in verbs()}


def test_d8_alone_it_shows_its_help_on_stdout(capsys):
    for line in ([], ["data"], ["cache"]):
        assert run(line) == 0
        alone = capsys.readouterr()
        assert alone.err == ""
        assert alone.out.count("Usage: segzoo ") == 1
        assert run([*line, "--help"]) == 0
        assert capsys.readouterr().out == alone.out
        assert run(["help", *line]) == 0
        assert capsys.readouterr().out == alone.out
    assert run(["help", "trian"]) == 2
    assert capsys.readouterr().err == "segzoo: no verb 'trian'. Run: segzoo help\n"


def test_d8_every_verb_has_examples_and_no_others_have():
    assert help_.EXAMPLES.keys() == VERBS.keys()
    assert len(help_.EXAMPLES[""]) == 2


@pytest.mark.parametrize("path", VERBS)
def test_d8_summaries_are_whole_and_examples_can_be_typed(capsys, path):
    command = VERBS[path]
    if path:
        summary = command.get_short_help_str(1000)
        assert summary.endswith(".")
        assert len(summary) <= 55
    assert run(["help", *path.split()]) == 0
    shown = capsys.readouterr().out
    for example in help_.EXAMPLES[path]:
        assert f"\n  {example}\n" in shown
        words = shlex.split(example)
        words = words[words.index("segzoo") + 1 :]  # behind what the environment says
        name = max((p for p in VERBS if words[: len(p.split())] == p.split()), key=len)
        verb, rest = VERBS[name], words[len(name.split()) :]
        verb.make_context(name, rest)  # parsed, not run: an unknown option is an error here
        assert name.startswith(path)


@pytest.mark.parametrize("path", VERBS)
def test_d8_a_value_is_shown_by_what_it_is_and_an_argument_by_its_name(capsys, path):
    """Not by types of Python, and no bracket around what must be there."""
    assert run(["help", *path.split()]) == 0
    shown = capsys.readouterr().out
    assert not re.search(
        r"<(str|int|float|list|bool)|\[\[|[{}]|\.\.\.\.", shown.partition("Examples")[0]
    )
    for parameter in getattr(VERBS[path], "params", ()):
        if parameter.param_type_name == "argument":
            assert parameter.metavar in shown and parameter.metavar.upper() == parameter.metavar


@pytest.mark.parametrize("line", ["cutout", "info", "data check", "export x", "list --nonsense"])
def test_d8_who_types_a_line_wrong_is_told_where_help_is(capsys, line):
    assert run(line.split()) == 2
    words = line.split()[: 2 if line.startswith("data") else 1]
    assert capsys.readouterr().err.endswith(f". See: segzoo help {' '.join(words)}\n")


@pytest.mark.parametrize("verb", ["predict", "train"])
def test_d8_the_options_of_long_verbs_are_in_groups(capsys, verb):
    assert run(["help", verb]) == 0
    sections = capsys.readouterr().out.split("\n\n")
    named = {part.partition(":\n")[0]: part for part in sections if ":\n  " in part}
    groups = [title for title in named if title not in ("Arguments", "Options", "Examples")]
    assert len(groups) >= 4
    options = [line for line in named["Options"].splitlines() if line.startswith("  -")]
    assert [line.split()[:2] for line in options] == [["-h,", "--help"]]
    for parameter in VERBS[verb].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert sum(f"{parameter.opts[0]} " in named[title] for title in groups) == 1


def tab(*words):
    """What the Tab key offers after these words, in a shell that has been told of segzoo."""
    environment = {
        **os.environ,
        "_SEGZOO_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["segzoo", *words]),
        "COMP_CWORD": str(len(words)),
    }
    program = "from segzoo.cli.main import main; import sys; sys.argv = ['segzoo']; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )
    return done.stdout.split()


def test_d8_tab_completes_models_tags_and_kinds():
    assert tab("predict", "u2netp.du") == ["u2netp.duts"]
    assert tab("train", "u2net") == ["u2net", "u2netp"]
    assert tab("predict", "u2netp", "photo.jpg", "--as", "mask,cu") == ["mask,cutout"]
    assert tab("info", "nothing.") == []


def test_d8_every_parameter_that_names_a_model_is_completed():
    for path, command in VERBS.items():
        for parameter in getattr(command, "params", ()):
            if parameter.name in ("model", "arguments", "kinds", "ref", "to"):
                assert parameter._custom_shell_complete is not None, (path, parameter.name)


# --- D7: the card says whose code was followed ----------------------------------------------------

AUTHORS = {"xuebinqin/U-2-Net", "MrGiovanni/UNetPlusPlus"}  # repositories of a paper's authors
PAPERS = {row.entry.name: row.spec.paper for row in registry.rows() if row.spec}
FOLLOWING = [name for name, paper in PAPERS.items() if paper is not None and paper.code]


@pytest.mark.parametrize("name", FOLLOWING)
def test_d7_code_is_the_authors_or_says_whose_it_is(name):
    paper = PAPERS[name]
    repository = re.match(r"https://github.com/([^/]+/[^/]+)", paper.code)[1]
    assert bool(paper.code_by) == (repository not in AUTHORS)
