"""Processes that segzoo starts: all by one file, and none of them runs what lies in a folder."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.base import children
from segzoo.engine.signals import requeue

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
STARTS_IT = "children.py"
READS_BY_IT = "data/loader.py"  # has the one DataLoader, and begins it where processes may start

# Whatever starts a process: a module of which one function does, or the function itself.
MODULES = {"_posixsubprocess", "_winapi", "concurrent.futures.process", "pexpect", "pty"}
MODULES |= {"torch.distributed.launch", "torch.distributed.run", "torch.multiprocessing"}
MODULES |= {"webbrowser"}
FUNCTIONS = {
    "subprocess": {"Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
    | {"run"},
    "os": {"popen", "startfile", "system"},  # and by their beginnings, below
    "multiprocessing": {"Manager", "Pool", "Process", "get_context", "set_executable"}
    | {"set_start_method"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "concurrent": {"ProcessPoolExecutor"},
    "futures": {"ProcessPoolExecutor"},
    "concurrent.futures": {"ProcessPoolExecutor"},
}
BEGINNINGS = {"os": ("exec", "fork", "posix_spawn", "spawn")}


def starts_a_process(owner: str, name: str) -> bool:
    return (
        f"{owner}.{name}" in MODULES
        or owner in MODULES
        or name in FUNCTIONS.get(owner, ())
        or name.startswith(BEGINNINGS.get(owner, "\0"))
    )


def starts_in(source: str) -> list[str]:
    """Where a file starts a process itself, or has a DataLoader, which starts some."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"line {node.lineno}: {a.name}" for a in node.names if a.name in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [a.name for a in node.names if starts_a_process(node.module or "", a.name)]
            found += [f"line {node.lineno}: {name}" for name in names]
        elif isinstance(node, ast.Attribute):
            if starts_a_process(ast.unparse(node.value), node.attr):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func).rpartition(".")[2] == "DataLoader":
                found.append(f"line {node.lineno}: DataLoader")
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a3_no_other_file_starts_a_process(file):
    found = starts_in(file.read_text("utf-8"))
    if file.relative_to(ROOT).as_posix().endswith(READS_BY_IT):
        assert [each.rpartition(" ")[2] for each in found] == ["DataLoader"]
    else:
        assert bool(found) if file.name == STARTS_IT else found == []


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess\nsubprocess.run(['ls'])",
        "from subprocess import Popen",
        "import os\nos.posix_spawnp('ls', ['ls'], {})",
        "os.execv('/bin/ls', [])",
        "from os import fork",
        "from multiprocessing import Process",
        "from concurrent.futures import ProcessPoolExecutor",
        "from concurrent import futures\nfutures.ProcessPoolExecutor()",
        "import torch.multiprocessing as mp",
        "from torch import multiprocessing",
        "for batch in DataLoader(data): pass",
        "loader = DataLoader(data)\nfor batch in loader: pass",
    ],
)
def test_a3_a_start_is_seen(source):
    assert starts_in(source)


@pytest.mark.parametrize(
    "source",
    [
        "for batch in loader.read(data, workers=2): pass",
        "children.run_program('git', timeout=5)",
        "except subprocess.TimeoutExpired: pass".replace("except", "try: f()\nexcept"),
        "os.environ['PATH']",
    ],
)
def test_a3_what_starts_nothing_itself_passes(source):
    assert starts_in(source) == []


# --- a folder of downloads ------------------------------------------------------------------------

# What an interpreter imports before anything of ours: one file that is run is enough.
TRAPS = ("code", "encodings", "importlib", "io", "json", "linecache", "multiprocessing", "numpy")
TRAPS += ("os", "pickle", "re", "runpy", "segzoo", "site", "socket", "struct", "threading", "torch")
TRAPS += ("traceback", "types", "warnings", "typing", "selectors", "signal", "tempfile", "copyreg")


@pytest.fixture
def downloads(tmp_path):
    """A folder of files that somebody else named, each of which leaves a mark when it is run."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in (*TRAPS, "sitecustomize", "usercustomize"):
        text = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + ' ')\n"
        (folder / f"{name}.py").write_text(text)
    for name in ("git", "scontrol"):
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path / 'ran'}\n")
        (folder / name).chmod(0o755)
    return folder


def ran_in(folder: Path) -> str:
    mark = folder.parent / "ran"
    return mark.read_text() if mark.exists() else ""


def segzoo(folder: Path, *arguments: str) -> str:
    """The program, started in a folder; `segzoo` on PATH has its own folder on the module path."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "segzoo.cli.main", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.stdout + done.stderr


def test_a3_the_traps_work(downloads):
    subprocess.run([sys.executable, "-c", "import json"], cwd=downloads, capture_output=True)
    assert ran_in(downloads)  # which one is the first differs between versions of Python


def test_a3_check_runs_nothing_of_the_current_folder(downloads):
    said = segzoo(downloads, "check", "unet_slim")
    assert "0 broken" in said, said
    assert ran_in(downloads) == ""


def test_a3_convert_runs_nothing_of_the_current_folder(downloads):
    import torch

    torch.save({"weight": torch.ones(1)}, downloads / "weights.pth")
    said = segzoo(downloads, "convert", "weights.pth", "--as", "u2netp", "-o", "out.safetensors")
    assert "cannot be read" not in said and "ended the process" not in said, said
    assert ran_in(downloads) == ""


# Every DataLoader is read by the same function: see the first test.
SPAWNED = """
import multiprocessing, sys
from segzoo.data.check import check
from segzoo.data.source import open_data
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    report = check(open_data("arrays:squares.npz"), workers=1)
    print(report.samples, report.faults)
"""


# Three interpreters one after the other, each of which imports torch. That what they look at is set
# while workers start is seen below, in test_a3_the_environment_is_as_it_was.
@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a3_workers_that_are_not_forked_run_nothing_of_the_current_folder(downloads, method):
    import numpy as np

    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(downloads / "squares.npz", images=pictures, masks=pictures[..., 0])
    script = downloads.parent / "script"
    script.mkdir()
    (script / "work.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, script / "work.py", method],
        cwd=downloads,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout == "4 ()\n", done.stderr
    assert ran_in(downloads) == ""


@pytest.mark.parametrize("entry", ["", ".", "downloads"])
def test_a3_a_program_is_not_taken_from_the_current_folder(downloads, monkeypatch, entry):
    monkeypatch.chdir(downloads.parent if entry == "downloads" else downloads)
    monkeypatch.setenv("PATH", entry)
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    assert children.program("git") is None
    assert requeue() == "scontrol is not here: put the job 71 back in the queue by hand"
    with pytest.raises(FileNotFoundError, match="git is not installed"):
        children.run_program("git", "status", timeout=5)
    assert ran_in(downloads) == ""
    monkeypatch.setenv("PATH", str(downloads))
    assert children.program("git") == str(downloads / "git")


def test_a3_what_stands_for_the_current_folder_comes_last(monkeypatch, tmp_path):
    """A module of one's own is still found, but none of an installed library's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("VALUE = 3\n")
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    code = "import json, mine\nprint(mine.VALUE)"
    done = children.run_python(code, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a3_the_environment_is_as_it_was(monkeypatch):
    for before in (None, "", "x"):
        if before is None:
            monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
        else:
            monkeypatch.setenv("PYTHONSAFEPATH", before)
        with children.workers_may_start():
            assert os.environ["PYTHONSAFEPATH"] == "1"
        assert os.environ.get("PYTHONSAFEPATH") == before


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a3_no_page_starts_segzoo_by_python_m(page):
    """`python -m` looks into the current folder first; so does torchrun with -m."""
    assert "-m segzoo" not in page.read_text("utf-8")
