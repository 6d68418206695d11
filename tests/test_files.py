import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.base.files import folder_for, make_folder, write
from segzoo.errors import OutputError


def python(code: str) -> str:
    """What a program prints in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_file_is_written_and_replaced(tmp_path, monkeypatch):
    file = tmp_path / ("n" * 251 + ".png")
    write(file, b"first")
    write(str(file), b"second")
    assert file.read_bytes() == b"second"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    monkeypatch.chdir(tmp_path)
    write("here.png", b"third")
    assert Path("here.png").read_bytes() == b"third"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([file.name, "here.png", "plain"])


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("none/a.png", "No such file or directory"),
        ("file/a.png", "Not a directory"),
        ("folder", "it is a folder"),
        ("pipe", "it is not a regular file"),
        ("a\0b", "embedded null byte"),
        ("n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_nothing(name, cause, tmp_path):
    (tmp_path / "file").write_bytes(b"here before")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError) as caught:
        write(os.path.join(tmp_path, name), b"data")
    shown = os.path.join(tmp_path, name).replace("\0", "\\x00")
    assert str(caught.value) == f"{shown}: cannot be written: {cause}"
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_bytes() == b"here before"


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path):
    """A limit on the size of files ends a write midway, as a full disk does."""
    file = tmp_path / "mask.png"
    file.write_bytes(b"old")
    printed = python(
        f"""
import resource
from segzoo.errors import ResourceError
from segzoo.base.files import write
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write({str(file)!r}, bytes(5000))
except ResourceError as error:
    print(error)
"""
    )
    assert printed == f"{file}: cannot be written: File too large. Free some space\n"
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_for_what_fails_is_gone_unless_it_was_there_or_holds_something(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("new", "old", "used"):
        with pytest.raises(KeyboardInterrupt), folder_for(tmp_path / name):
            if name == "used":
                write(tmp_path / name / "a", b"")
            raise KeyboardInterrupt
    with folder_for(tmp_path / "done"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "old", "used"]


def test_an_interrupted_write_leaves_no_litter(tmp_path, monkeypatch):
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "mask.png", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for name, cause in (("file", "File exists"), ("file/b", "Not a directory")):
        with pytest.raises(OutputError) as caught:
            make_folder(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: cannot be written: {cause}"
