"""What a new user and a plugin author stumbled over, as they met it."""

import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from squares import Squares

from segzoo.cli.main import run
from segzoo.engine import journal, signals
from segzoo.engine.journal import Journal
from segzoo.engine.signals import asked_to_stop

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
    console.print(book.bar.get_renderable())
    return [line.rstrip() for line in Text.from_ansi(console.file.getvalue()).plain.splitlines()]


def test_d1_a_resumed_run_goes_on_counting_and_no_line_has_more(capsys, squares):
    assert run([*squares, "steps=4", "--save-every", "1", "--max-minutes", "0"]) == 0
    first = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert run(["train", "--resume", "run"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    names = [[value.split()[0] for value in line.split("  ")[1:-1]] for line in first + lines]
    assert {*map(tuple, names)} <= {(), ("loss",), ("loss", "iou")}
    assert names[-1] == ["loss", "iou"]
    assert [line for line in lines if line.startswith(("step 0", "step 1"))] == []
    assert lines[-1].startswith("step 4/4  ")
    assert lines[-1].endswith("  0:00:00 left")
