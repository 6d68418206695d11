"""Processes of a test that have torch already: forked from it, alone or as one of several."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch


class Child(NamedTuple):
    """A process in a session of its own, and the file that has what it said."""

    pid: int
    log: Path

    def wait(self, seconds: float = 120.0) -> int:
        """Its exit code, negative for a signal. What does not end in time is killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"it did not end in {seconds} s: {self.log.read_text()}")

    def kill(self) -> int:
        os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def said(self) -> str:
        return self.log.read_text()


def forked(work: Callable[[], int], log: Path, **environment: str) -> Child:
    """Run something in a child, whose exit code it gives."""
    pid = os.fork()
    if pid:
        return Child(pid, log)
    code = 1
    try:
        os.setsid()
        sys.stdout = sys.stderr = open(log, "a", buffering=1)
        os.environ.update(environment)
        torch.set_num_threads(1)  # a pool of threads does not survive a fork
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def team(work: Callable[[], int], folder: Path, *, size: int = 2) -> list[Child]:
    """The same in several processes, which are told of each other as torchrun does it."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        forked(work, folder / f"rank-{rank}.txt", RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in range(size)
    ]


def in_session(session: int) -> list[int]:
    """The processes that live in the session of a child, of whom /proc knows."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found
