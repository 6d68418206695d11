"""Being asked to stop: Ctrl-C, SIGTERM, and SIGUSR1 of a queue that wants the machine back."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from segzoo.base import children

__all__ = ["Asked", "asked_to_stop", "requeue"]

# Seconds within which a second signal is the first one told twice: a launcher passes on what a
# queue has sent to all processes already.
ECHO = 1.0
ECHO_OF_A_KEY = 0.1  # for Ctrl-C: a person may well press it twice within a second
HEARD = "Ctrl-C: saves a checkpoint after this step and stops; once more leaves at once"


class Asked:
    """name: of the signal that came, empty before one has. at: when, by time.monotonic()."""

    name: str = ""
    at: float = 0.0


@contextlib.contextmanager
def asked_to_stop(*, aloud: bool = False) -> Iterator[Asked]:
    """Within the block the first SIGINT, SIGTERM or SIGUSR1 is written down; a later one ends.

    A later SIGINT raises KeyboardInterrupt, the others end the process. Only a program's main
    thread hears signals; in another one nothing changes, nor for a SIGINT that is ignored, as in
    the background of a script. aloud: say on stderr that a first Ctrl-C was heard.
    """
    asked = Asked()
    before: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        is_key = number == signal.SIGINT
        if not asked.name:
            asked.name, asked.at = signal.Signals(number).name, time.monotonic()
            if is_key and aloud:
                _say(HEARD)
        elif time.monotonic() - asked.at <= (ECHO_OF_A_KEY if is_key else ECHO):
            return
        elif is_key:
            signal.signal(number, signal.default_int_handler)
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():
        numbers = {signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)}
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            numbers.add(signal.SIGINT)
        before |= {number: signal.signal(number, hear) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _say(text: str) -> None:
    """A line on stderr, past its buffer, in which the signal may have come; over a bar's line."""
    start = "\r\x1b[K" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{text}\n".encode())


def requeue() -> str:
    """Ask Slurm to run this job again. Gives a sentence of what was done, for the log."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return "not a Slurm job: nothing to put back in a queue"
    try:
        done = children.run_program("scontrol", "requeue", job, timeout=60)
    except FileNotFoundError:
        return f"scontrol is not here: put the job {job} back in the queue by hand"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol requeue {job} failed: {error}"
    if done.returncode:
        return f"scontrol requeue {job} failed: {' '.join(done.stderr.split())}"
    return f"the job {job} is back in the queue"
