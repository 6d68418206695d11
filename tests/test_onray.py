"""`segzoo predict --on ray`: what one process gives, also where a process of Ray's is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segzoo
from segzoo.cli import onray
from segzoo.cli.jobs import Job, Layout
from segzoo.cli.main import run
from segzoo.cli.outcomes import Outcomes
from segzoo.cli.writing import Writer, Written
from segzoo.errors import OutputError, PictureError, PluginError, SegzooError

INSTALLED = "bright=bright:BRIGHT,picky=bright:PICKY"


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", INSTALLED)
    monkeypatch.chdir(tmp_path)


def photos(count, size=(6, 8)):
    chance = np.random.default_rng(7)
    Path("photos").mkdir()
    for n in range(count):
        image = chance.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(image).save(f"photos/{n:04}.png")


def content(folder):
    """What lies there, but for what is noted; hidden files too."""
    found = (Path(root, n) for root, _, names in os.walk(folder) for n in names)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if not path.name.startswith("done")
    }


# --- without Ray ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("photos", "-o", "out", "--workers", "2"),
            "--workers are of --on ray. Give both, ",
        ),
        (("photos", "-o", "o.png", "--on", "ray"), "--on ray is about a folder of outputs. Give"),
        (("photos", "-o", "out", "--on", "ray", "--watch"), "give --watch or --on ray, not both."),
        (("photos", "-o", "out", "--on", "ray", "--shard", "3/2"), "--shard 3/2: there is no part"),
    ],
)
def test_what_does_not_go_together(capsys, arguments, message):
    photos(1)
    segzoo.load("bright").save_pretrained("model")
    assert run(["predict", "./model", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"segzoo: {message}")
    assert not os.path.exists("out")


def test_ray_that_is_not_installed_is_named(capsys, monkeypatch):
    photos(1)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(["predict", "bright", "--random-init", "photos", "-o", "out", "--on", "ray"]) == 2
    assert capsys.readouterr().err == (
        "segzoo: --on ray needs Ray. Run: pip install 'segzoo-core[ray]'\n"
    )
    assert not os.path.exists("out")


def writer_of(name="bright", out="out"):
    layout = Layout(out, ("mask",), resumable=True)
    predictor = segzoo.load(name).predictor()
    return Writer(layout=layout, predictor=predictor, background=None, edges="clean", crop=False)


def said_of(jobs, writer):
    """What a process of the pool says of some pictures."""
    os.makedirs("out", exist_ok=True)
    worker = onray._Worker(lambda: writer, onray._Tries().begin, True, os.getcwd())
    batch = {onray.SAID: [json.dumps(job).encode() for job in jobs]}
    return [json.loads(said) for said in worker(batch)[onray.SAID]]


def test_what_a_process_says_is_what_became_of_the_pictures(tmp_path):
    photos(2)
    Path("photos/\udcffx.png").write_bytes(b"none")  # a name that is no text
    names = ["0000", "0001", "\udcffx"]
    records = said_of([Job(f"photos/{n}.png", n) for n in names], writer_of())
    one, _, bad = records
    written = onray._written_of(one["written"])
    assert written == Written(
        size=(6, 8),
        tiles=(1, 1),
        network_input=(3, 6, 8),
        logits=(1, 6, 8),
        outputs={"mask": "out/0000.png"},
        classes=written.classes,
        notes=(),
    )
    assert [*one["sha256"]] == ["mask"]
    error = onray._error_of(bad["error"])
    assert type(error) is PictureError
    assert bad["source"] == "photos/\udcffx.png"
    assert str(error).startswith("photos/\\udcffx.png: not a picture that segzoo reads, or its ")


def test_what_ends_the_work_is_told_as_such(monkeypatch):
    photos(1)

    def full(layout):
        raise OutputError("cannot be written", file="out")

    def failing(self, job, result):
        raise OutputError("cannot be written", file="out/0000.png")

    monkeypatch.setattr("segzoo.cli.working.probe", full)
    monkeypatch.setattr(Writer, "__call__", failing)
    [record] = said_of([Job("photos/0000.png", "0000")], writer_of())
    with pytest.raises(OutputError, match=r"^out: cannot be written"):
        onray._take(record, {}, None, None)


def test_a_network_that_fails_for_every_picture_ends_the_work(capsys):
    photos(9)
    jobs = [Job(f"photos/{n:04}.png", f"{n:04}") for n in range(9)]
    records = said_of(jobs, writer_of("picky"))
    assert len(records) == 9
    waiting = {job.source: job for job in jobs}
    layout = Layout("out", ("mask",))
    told = Outcomes(layout, 9, {}, as_json=False, quiet=True, sizes=False)
    with pytest.raises(PluginError, match="I like 8 rows"), told:
        for record in records:
            onray._take(record, waiting, told, None)
    assert told.failed == 8


def test_pictures_at_which_processes_end_are_not_begun_for_ever():
    """Each is one that ends before it has told."""
    photos(2)
    jobs = [Job(f"photos/{n:04}.png", f"{n:04}") for n in range(2)]
    begun = onray._Tries().begin
    for _ in range(4):
        begun(jobs[0].source)
    worker = onray._Worker(writer_of, begun, True, os.getcwd())
    batch = {onray.SAID: [json.dumps(job).encode() for job in jobs]}
    records = [json.loads(said) for said in worker(batch)[onray.SAID]]
    assert [record["source"] for record in records] == [job.source for job in jobs]
    assert str(onray._error_of(records[1]["error"])) == (
        "photos/0001.png: the process that was at it ended, 4 times; found it among 2 pictures "
        "that were done together. Run the same line with --resume, without --on ray"
    )


def test_a_kind_of_error_that_is_not_known_is_one():
    record = dict.fromkeys(onray.PARTS, "") | {"kind": "Path", "problem": "so"}
    assert type(onray._error_of(record)) is SegzooError


# --- with Ray ------------------------------------------------------------------------------------


def process(*arguments):
    """segzoo in a process, which may ask this machine for its name as Ray does."""
    path = os.pathsep.join(p for p in sys.path if p.endswith("support"))
    with open("said.json", "w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "segzoo.cli.main", "predict", "./model", "photos", *arguments],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=subprocess.PIPE,
            text=True,
        )


ON_RAY = ("-o", "out", "--on", "ray", "--workers", "2")


def workers_of_this_test():
    """The processes of the pool: they have this test's own SEGZOO_HOME."""
    ours, found = f"SEGZOO_HOME={os.environ['SEGZOO_HOME']}".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_bytes()
            environment = (place / "environ").read_bytes().split(b"\0")
            if line.startswith(b"ray::") and b"_Worker" in line and ours in environment:
                found.append(int(place.name))
    return found


def pictures_in(folder):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sum(name.endswith(".png") for name in names)


def wait_for(count, child):
    until = time.monotonic() + 400
    while pictures_in("out") < count:
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def expected():
    """What one process gives."""
    photos(500, size=(160, 200))
    Path("photos/broken.png").write_bytes(b"none")
    segzoo.load("bright").save_pretrained("model")
    assert run(["predict", "./model", "photos", "-o", "one"]) == 1
    return content("one")


@pytest.mark.ray
def test_two_processes_of_which_one_is_killed_give_what_one_gives(expected, capsys):
    child = process(*ON_RAY)
    wait_for(30, child)
    workers = workers_of_this_test()
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert pictures_in("out") < 500
    _, said = child.communicate(timeout=500)
    assert child.returncode == 1, said
    assert "Traceback" not in said
    assert "\nsegzoo: 1 of 501 pictures failed; see out/errors.jsonl. The first: " in f"\n{said}"
    assert content("out") == expected
    capsys.readouterr()
    line = ["predict", "./model", "photos", "-o", "out", "--resume", "--json"]
    assert run(line) == 1  # by one process: the list is the same
    report = json.loads(capsys.readouterr().out)
    assert (report["skipped"], report["written"], report["failed"]) == (500, 0, 1)


@pytest.mark.ray
def test_what_was_killed_goes_on_on_ray_or_not(expected, capsys):
    child = process(*ON_RAY)
    wait_for(60, child)
    child.kill()
    child.communicate(timeout=60)
    there = pictures_in("out")
    assert there < 500
    again = process(*ON_RAY, "--resume", "--json")
    _, said = again.communicate(timeout=500)
    assert again.returncode == 1, said
    report = json.loads(Path("said.json").read_text())
    assert 0 < report["skipped"] <= 500
    assert there - report["skipped"] < 60  # those that were on their way
    assert report["written"] + report["skipped"] == 500
    assert content("out") == expected
    capsys.readouterr()
    assert run(["predict", "./model", "photos", "-o", "out", "--resume", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["skipped"] == 500
