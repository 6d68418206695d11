"""Being asked to stop: SIGTERM, and SIGUSR1 of a queue that wants the machine back."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["Asked", "asked_to_stop", "requeue"]

# Seconds within which a second signal is the first one told twice: a launcher passes on what a
# queue has sent to all processes already.
ECHO = 1.0


class Asked:
    """name: of the signal that came, empty before one has. at: when, by time.monotonic()."""

    name: str = ""
    at: float = 0.0


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Within the block the first SIGTERM or SIGUSR1 is written down; a later one ends at once.

    Only a program's main thread hears signals; in another one nothing changes.
    """
    asked = Asked()
    before: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        if not asked.name:
            asked.name, asked.at = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - asked.at > ECHO:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM))
        before |= {number: signal.signal(number, hear) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def requeue() -> str:
    """Ask Slurm to run this job again. Gives a sentence of what was done, for the log."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return "not a Slurm job: nothing to put back in a queue"
    if shutil.which("scontrol") is None:
        return f"scontrol is not here: put the job {job} back in the queue by hand"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol requeue {job} failed: {error}"
    if done.returncode:
        return f"scontrol requeue {job} failed: {' '.join(done.stderr.split())}"
    return f"the job {job} is back in the queue"
