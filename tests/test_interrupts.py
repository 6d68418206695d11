"""Ctrl-C in the middle of every verb that writes: one line, 130, and no half of a file."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import typer

from segzoo.cli.verbs import app_of

SUPPORT = Path(__file__).parent / "support"
DATA = "arrays:squares.npz?val=0.25&classes=background,square"
ONE = ["--device", "cpu", "--batch-size", "2"]
# A line for each verb that writes something for a person, below `out`, and how it is looked at.
LINES = {
    "predict": ["predict", "./run/model", "photo.png", "photos", "-o", "out", *ONE],
    "cutout": "cutout photo.png photos -m ./run/model -o out --device cpu".split(),
    "label": ["label", "./run/model", "photos", "-o", "out", *ONE],
    "eval": ["eval", "./run/model", "--data", DATA, "-o", "out", *ONE],
    "report": ["report", "run", "-o", "out/a.html", *ONE],
    "convert": ["convert", "run/model/model.safetensors", "--to", "tiny", "-o", "out/it"],
    "new": ["new", "my-net", "--folder", "out"],
    "data preview": ["data", "preview", DATA, "-o", "out/a.html"],
    "data compose-digits": ["data", "compose-digits", "out/it", "--count", "20"],
    "data export": ["data", "export", DATA, "--as", "yolo", "-o", "out/it"],
    "compare": ["compare", "./run/model", "./run/model", "--data", DATA, "-o", "out/a.html", *ONE],
    "export": ["export", "./run/model", "-o", "out/a.onnx"],
    "publish": ["publish", "u2netp", "--space", "out/it"],
}
# Why the others are not among them.
IN_THE_CACHE = "writes into the cache alone, where every file is replaced as a whole"
READS = "writes nothing"
OTHERS = {
    "train": "saves a checkpoint and says how to go on (test_reports_d.py)",
    "auto": "is a training, whose folder and signals are those of train",
    "reproduce": "is a training and a measurement, in their folders",
    "prune": "writes one file at its end, as eval does",
    "warm": IN_THE_CACHE,
    "serve": "ends well at Ctrl-C: test_a_server_ends_at_ctrl_c",
    "demo": "is serve",
    "download": IN_THE_CACHE,
    "pick": IN_THE_CACHE,
    "cache prune": "removes: what is left of a model is not listed (test_cli_cache.py)",
    "data traits": IN_THE_CACHE,
    "data check": IN_THE_CACHE,
    "verify": IN_THE_CACHE,
    **dict.fromkeys(("list", "info", "features", "check", "doctor", "help"), READS),
    **dict.fromkeys(("data readers", "cache list", "cache size"), READS),
}
# Counts what is opened for writing, renamed and made below the current folder; at one of these
# Ctrl-C comes to the whole process group, as from a terminal.
PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
at, here, pid, count = int(sys.argv[1]), os.getcwd() + os.sep, os.getpid(), 0

def hook(event, args):
    global count
    if event not in ("open", "os.rename", "os.mkdir") or os.getpid() != pid:
        return
    if event == "open" and not (isinstance(args[1], str) and set(args[1]) & set("wxa+")):
        return
    if not isinstance(args[0], (str, os.PathLike)):
        return
    if not os.path.abspath(args[0]).startswith(here):
        return
    count += 1
    if count == at:
        os.killpg(0, signal.SIGINT)

sys.addaudithook(hook)
sys.argv = ["segzoo", *sys.argv[2:]]
from segzoo.cli.main import main
try:
    main()
finally:
    os.write(2, f"events: {count}\\n".encode())
"""


def surroundings(place: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "SEGZOO_HOME": str(place / "home"), "PYTHONPATH": paths}


def ran(place: Path, line: list[str], at: int = 0) -> tuple[int, list[str], int]:
    """The exit code of a line, what it says on standard error, and how often it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(at), *line],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
        env=surroundings(place),
    )
    *said, last = done.stderr.splitlines()
    return done.returncode, said, int(last.removeprefix("events: "))


def contents(place: Path, before: set[str]) -> dict[str, bytes]:
    found = {p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in before}


def is_whole(name: str, data: bytes, reference: bytes | None) -> bool:
    """Whether it is what an uninterrupted run left; what holds the time can be read to its end."""
    if data == reference:
        return True
    try:
        if name.endswith(".json"):
            return isinstance(json.loads(data), dict)
        return name.endswith(".zip") and zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    except (ValueError, zipfile.BadZipFile):
        return False


def names(verbs, before=""):
    for name, verb in verbs.items():
        yield from (
            names(verb.commands, f"{name} ") if hasattr(verb, "commands") else [before + name]
        )


def test_every_verb_has_a_line_or_a_reason():
    """A new verb: a line above that is interrupted below, or why it need not be."""
    command = typer.main.get_command(app_of())
    visible = {n: v for n, v in command.commands.items() if not v.hidden}
    assert sorted(names(visible)) == sorted([*LINES, *OTHERS])


@pytest.mark.slow  # three processes for each verb
@pytest.mark.parametrize("verb", LINES)
def test_ctrl_c_leaves_whole_files_and_says_one_line(workplace, tmp_path_factory, verb):
    (workplace / "out").mkdir()
    before = {*contents(workplace, set())}
    whole = tmp_path_factory.mktemp("whole") / "place"
    shutil.copytree(workplace, whole)
    code, said, events = ran(whole, LINES[verb])
    assert code == 0, said
    reference = contents(whole, before)
    assert events > 1 and reference
    for number, at in enumerate({(events + 1) // 2, events}):
        place = tmp_path_factory.mktemp("cut") / f"{number}"
        shutil.copytree(workplace, place)
        code, said, _ = ran(place, LINES[verb], at)
        told = [line for line in said if not line.startswith("segzoo: ")]
        assert (code, told) == (130, []), said
        assert sum("nterrupted" in line or "Ctrl-C" in line for line in said) == 1, said
        left = contents(place, before)
        cached = [name for name in left if name.startswith("home/")]
        assert [name for name in left if re.search(r"(^|/)\.?segzoo-|\.tmp$", name)] == []
        halves = {n for n, data in left.items() if not is_whole(n, data, reference.get(n))}
        assert halves - {*cached} == set()


@pytest.mark.slow  # a server of its own
@pytest.mark.parametrize("verb", ["serve", "demo"])
def test_a_server_ends_at_ctrl_c(workplace, verb):
    before = {*contents(workplace, set())}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "0", verb, "it=./run/model", "--port", "0"],
        cwd=workplace,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=surroundings(workplace),
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if " at http://" in line:
            time.sleep(0.2)
            os.killpg(process.pid, 2)
    assert process.wait(60) == 0, said
    assert said[-2:] == ["segzoo: ended\n", "events: 0\n"], said
    process.stderr.close()
    assert [name for name in contents(workplace, before) if not name.startswith("home/")] == []
