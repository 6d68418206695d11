"""What a new user and a plugin author stumbled over, as they met it."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from squares import Squares

from segzoo.cli.main import run
from segzoo.engine import signals
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
