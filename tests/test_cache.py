"""The folder of everything kept, and the stamps of checked files."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segzoo.base.cache import Stamp, folder, home, read_stamp, write_stamp
from segzoo.errors import UsageError

STAMP = Stamp("ab" * 32, True)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of stamps in a fresh home that does not exist yet."""
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "stamps"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def write(path, stamp=STAMP, *, later=10.0):
    """Stamp a file as if it had been read `later` seconds from now."""
    return write_stamp(path, os.stat(path), stamp, began=time.time() + later)


def read(path):
    return read_stamp(path, os.stat(path))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SEGZOO_HOME": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"SEGZOO_HOME": "~/a", "HOME": "/c"}, "/c/a"),
        ({"SEGZOO_HOME": "", "XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/segzoo"),
        ({"XDG_CACHE_HOME": "b", "HOME": "/c"}, "/c/.cache/segzoo"),
        ({"HOME": "/c"}, "/c/.cache/segzoo"),
    ],
)
def test_where_home_is(variables, expected, monkeypatch):
    for name in ("SEGZOO_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert home() == Path(expected)


def test_a_relative_home_is_of_the_folder_where_segzoo_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGZOO_HOME", "here")
    assert home() == tmp_path / "here"


def test_no_home_folder_is_a_clean_error(monkeypatch):
    monkeypatch.setenv("SEGZOO_HOME", "~nobody-of-this-name/x")
    with pytest.raises(UsageError) as caught:
        home()
    assert str(caught.value) == ("no home folder is known. Set SEGZOO_HOME to a folder of your own")


def test_home_is_made_when_first_written_and_closed_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "a" / "b"))
    home()
    assert not (tmp_path / "a").exists()
    assert folder("stamps") == tmp_path / "a" / "b" / "stamps"
    for path in (tmp_path / "a" / "b", tmp_path / "a" / "b" / "stamps"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert folder("stamps").is_dir()  # and again


def test_a_home_that_every_user_can_write_is_refused(kept, file):
    kept.parent.mkdir()
    assert write(file)
    kept.parent.chmod(0o777)
    with pytest.raises(UsageError) as caught:
        home()
    assert str(caught.value) == (
        f"{kept.parent}: every user of this machine can write into segzoo's folder. "
        f"Run: chmod o-w '{kept.parent}', or set SEGZOO_HOME to a folder of your own"
    )
    assert read(file) is None  # and a load goes on without it
    assert not write(file)
    kept.parent.chmod(0o1777)  # as /tmp is: others cannot rename what is ours
    assert read(file) == STAMP


def test_a_stamp_is_kept(kept, file):
    assert read(file) is None
    assert write(file)
    assert read(file) == STAMP
    assert write(file, Stamp("cd" * 32, False))
    assert read(file) == Stamp("cd" * 32, False)
    name = hashlib.sha256(os.fsencode(file)).hexdigest() + ".json"
    assert [p.name for p in kept.iterdir()] == [name]
    assert stat.S_IMODE((kept / name).stat().st_mode) == 0o600


def test_a_stamp_is_of_the_file_and_not_of_the_way_to_it(kept, file, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(file)
    assert write(tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    assert read("model.safetensors") == read("./link") == STAMP


def rewrite(path):
    """Other bytes of the same length, with the old time of change."""
    before = os.stat(path)
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path):
    before = os.stat(path)
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer weights"),
        lambda path: os.utime(path),
        rewrite,
        replace,
    ],
    ids=["size", "time", "bytes with the old time", "another file"],
)
def test_a_stamp_does_not_outlive_a_change(change, kept, file):
    write(file)
    time.sleep(0.05)  # a tick of the file system's clock
    change(file)
    assert read(file) is None


def test_a_file_that_has_just_changed_is_not_stamped(kept, file):
    """Otherwise a second change within the same tick of the clock would go unseen."""
    assert not write(file, later=0.0)
    assert not write(file, later=1.9)
    assert write(file, later=2.1)


def test_the_change_that_counts_cannot_be_dated_back(kept, file):
    os.utime(file, (0, 0))
    assert not write(file, later=0.0)


def spoil(text):
    return lambda path: path.write_text(text)


def change_value(**values):
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_folder(path):
    path.unlink()
    path.mkdir()


def give_away(path):
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "damage",
    [
        spoil(""),
        spoil("[]"),
        spoil("null"),
        spoil('"a"'),
        spoil("{}"),
        spoil("[" * 4000),
        spoil("9" * 4096),
        lambda path: path.write_bytes(b"\xff\xfe" * 100),
        cut,
        change_value(sha256="ab"),
        change_value(sha256=7),
        change_value(finite=1),
        change_value(finite="yes"),
        change_value(inode=0),
        change_value(extra=0),
        change_value(extra="x" * 5000),
        make_pipe,
        make_folder,
        pytest.param(
            give_away, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives away")
        ),
    ],
)
def test_a_damaged_or_foreign_stamp_is_no_stamp(damage, kept, file):
    write(file)
    [path] = kept.iterdir()
    damage(path)
    assert read(file) is None


def nowhere(path):
    path.write_text("a file where the folder should be")


def unwritable(path):
    path.symlink_to("/proc/segzoo-test")


@pytest.mark.parametrize("make", [nowhere, unwritable])
def test_a_home_that_cannot_be_used_costs_nothing_but_the_memory(make, kept, file):
    make(kept.parent)
    assert not write(file)
    assert read(file) is None


def test_no_litter_is_left_when_a_stamp_cannot_take_its_place(kept, file):
    write(file)
    [path] = kept.iterdir()
    path.unlink()
    path.mkdir()
    assert not write(file)
    assert [p.name for p in kept.iterdir()] == [path.name]


def test_stamps_without_a_home_folder(file, monkeypatch):
    monkeypatch.setenv("SEGZOO_HOME", "~nobody-of-this-name/x")
    assert not write(file)
    assert read(file) is None


def test_importing_needs_no_home():
    environment = {"SEGZOO_HOME": "~nobody-of-this-name/x", "PATH": os.environ["PATH"]}
    program = [sys.executable, "-c", "import segzoo.base.cache"]
    assert subprocess.run(program, env=environment).returncode == 0


def test_two_processes_stamp_one_file(kept, file):
    """Whoever is last wins, and nobody ever reads half a stamp."""
    program = f"""
import os, time
from segzoo.base.cache import Stamp, read_stamp, write_stamp
path = {str(file)!r}
status = os.stat(path)
for i in range(300):
    assert write_stamp(path, status, Stamp(f"{{i:064x}}", True), began=time.time() + 10)
    assert read_stamp(path, status) is not None
"""
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert [p.suffix for p in kept.iterdir()] == [".json"]
