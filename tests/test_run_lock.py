"""One run at a time in a folder, with real processes; the lock dies with the one that holds it."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from segzoo.engine.lock import locked
from segzoo.errors import OutputError, RunError

HOLD = """
import os, sys, time
from pathlib import Path
if len(sys.argv) > 2:
    sys.modules["fcntl"] = None  # as on a platform without it
from segzoo.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
WITHOUT = ("without fcntl",)
HOLDER = r"process {pid} on {host}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00"
WAIT = "Wait for it to end, or give another folder with -o"


@contextmanager
def holder(folder: Path, *arguments: str, code: str = HOLD):
    with subprocess.Popen(
        [sys.executable, "-c", code, folder, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.kill()


def says(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip() or process.stderr.read().strip().splitlines()[-1]


def owner(pid: int) -> str:
    return HOLDER.format(pid=pid, host=re.escape(socket.gethostname()))


@pytest.fixture
def without_flock(monkeypatch):
    """A file system that answers as NFS without a lock server does."""

    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_the_second_run_is_refused_and_told_who_is_there(tmp_path):
    """T11"""
    with holder(tmp_path) as first:
        assert says(first) == "held"
        with pytest.raises(RunError) as caught, locked(tmp_path):
            pytest.fail("locked twice")
        assert re.fullmatch(
            rf"{re.escape(str(tmp_path))}: another run uses this folder; "
            rf"found {owner(first.pid)}\. {WAIT}",
            str(caught.value),
        )
        with holder(tmp_path) as second:
            assert re.search(rf"RunError: .* found {owner(first.pid)}", says(second))
        first.communicate("")  # it ends
    with locked(tmp_path):
        pass
    assert (tmp_path / "run.lock").read_bytes() == b""


def test_a_run_of_this_process_too_is_refused(tmp_path):
    with locked(tmp_path):
        for _ in range(2):  # the refused one does not end the lock of the first
            with pytest.raises(RunError, match=f"found {owner(os.getpid())}"), locked(tmp_path):
                pytest.fail("locked twice")
    with locked(tmp_path):
        pass


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"^no luck$"), locked(tmp_path):
        raise ValueError("no luck")
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("arguments", [(), WITHOUT], ids=["flock", "fallback"])
def test_the_lock_of_a_killed_process_is_free_at_once(arguments, tmp_path):
    with holder(tmp_path, *arguments) as first:
        assert says(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
        with holder(tmp_path, *arguments) as second:
            assert says(second) == "held"
            with holder(tmp_path, *arguments) as third:
                assert re.search(rf"RunError: .* found {owner(second.pid)}", says(third))
            second.communicate("")
            assert second.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_a_forked_worker_does_not_hold_the_lock_of_its_killed_parent(tmp_path):
    code = HOLD.replace(
        "    sys.stdin.read()",
        '    if os.fork() == 0:\n        print("worker", os.getpid(), flush=True)\n'
        "        time.sleep(100)\n    sys.stdin.read()",
    )
    with holder(tmp_path, code=code) as first:
        assert says(first) == "held"
        worker = int(says(first).split()[1])
        try:
            first.send_signal(signal.SIGKILL)
            first.wait()
            os.kill(worker, 0)  # it lives on
            with locked(tmp_path):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_forked_worker_that_ends_does_not_end_the_lock(tmp_path):
    code = HOLD.replace(
        "    print", "    if os.fork() == 0:\n        os._exit(0)\n    os.wait()\n    print"
    )
    with holder(tmp_path, code=code) as first:
        assert says(first) == "held"
        with pytest.raises(RunError), locked(tmp_path):
            pytest.fail("locked twice")


@pytest.mark.parametrize(
    ("folder", "cause"),
    [("none", "No such file or directory"), ("file", "Not a directory")],
)
def test_a_folder_that_cannot_be_locked(folder, cause, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError) as caught, locked(tmp_path / folder):
        pytest.fail("locked")
    assert str(caught.value) == f"{tmp_path / folder}: cannot be locked: {cause}"


# --- without the kernel's lock --------------------------------------------------------------------


def test_without_flock_the_second_run_is_refused_too(tmp_path, without_flock):
    found = (
        rf"another run uses this folder; found {owner(os.getpid())}\. Wait for it to end; if it "
    )
    found += rf"has, delete {re.escape(str(tmp_path / 'run.lock.owner'))}, or give another folder"
    with locked(tmp_path):
        with pytest.raises(RunError, match=found), locked(tmp_path):
            pytest.fail("locked twice")
        with holder(tmp_path, *WITHOUT) as second:
            assert re.search(f"RunError: .*{found}", says(second))
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "text",
    ["process 999999999 on another-host, since 2026-01-01 00:00:00+00:00", "", "no owner", "\x00"],
    ids=["another host", "empty", "other words", "control"],
)
def test_an_owner_of_whom_nothing_is_known_is_left_alone(text, tmp_path, without_flock):
    (tmp_path / "run.lock.owner").write_text(text)
    with pytest.raises(RunError, match=r"if it has, delete .*owner, or"), locked(tmp_path):
        pytest.fail("locked")
    assert (tmp_path / "run.lock.owner").read_text() == text


def dead() -> str:
    """The text of an owner that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return f"process {process.pid} on {socket.gethostname()}, since 2026-01-01 00:00:00+00:00"


def test_a_take_over_that_another_process_is_at_is_not_disturbed(tmp_path, without_flock):
    (tmp_path / "run.lock.owner").write_text(dead())
    (tmp_path / "run.lock.owner.taken").write_text("process 1 on h, since then")
    with pytest.raises(RunError, match=r"found process 1 on h.* delete .*owner and .*\.taken, or"):
        with locked(tmp_path):
            pytest.fail("locked")
    assert (tmp_path / "run.lock.owner.taken").exists()


def test_one_that_comes_late_to_a_take_over_finds_the_new_owner(
    tmp_path, without_flock, monkeypatch
):
    owner, new = tmp_path / "run.lock.owner", "process 1 on h, since then"
    owner.write_text(dead())

    def overtaken(pid, signal):
        """While the dead owner is looked for, another process takes the place."""
        owner.write_text(new)
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", overtaken)
    with pytest.raises(RunError, match=f"found {new}. Wait"), locked(tmp_path):
        pytest.fail("locked")
    assert owner.read_text() == new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.lock", "run.lock.owner"]


RACE = """
import sys, time
from pathlib import Path
sys.modules["fcntl"] = None
from segzoo.engine.lock import locked
from segzoo.errors import RunError
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with locked(folder):
        print("held", flush=True)
        sys.stdin.read()
except RunError:
    print("refused", flush=True)
"""


def test_of_several_that_take_over_one_does(tmp_path):
    (tmp_path / "run.lock.owner").write_text(dead())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    words = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(words) == ["held", "refused", "refused", "refused"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
