"""Being asked to stop: SIGTERM, and SIGUSR1 of a queue that wants the machine back."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["Asked", "asked_to_stop", "requeue"]


class Asked:
    """name: of the signal that came, empty before one has."""

    name: str = ""


@contextlib.contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Within the block the first SIGTERM or SIGUSR1 is written down; a second one ends at once.

    Only a program's main thread hears signals; in another one nothing changes.
    """
    asked = Asked()
    before: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        asked.name = signal.Signals(number).name
        for heard in before:
            signal.signal(heard, signal.SIG_DFL)

    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM))
        before |= {number: signal.signal(number, hear) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requeue() -> str:
    """Ask Slurm to run this job again. Gives a sentence of what was done, for the log."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return "not a Slurm job: nothing to put back in a queue"
    if shutil.which("scontrol") is None:
        return f"scontrol is not here: put the job {job} back in the queue by hand"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    if done.returncode:
        return f"scontrol requeue {job} failed: {' '.join(done.stderr.split())}"
    return f"the job {job} is back in the queue"
