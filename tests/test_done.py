"""Parts of a folder, and going on after a kill: `--shard`, `--resume`."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segzoo
from segzoo.base import files
from segzoo.cli import done
from segzoo.cli.jobs import InputFolder, jobs_of, part_of
from segzoo.cli.main import run
from segzoo.cli.shards import WHOLE, Shard, shard_of
from segzoo.cli.writing import Writer
from segzoo.errors import UsageError

INSTALLED = "bright=bright:BRIGHT,strongest=bright:STRONGEST"


@pytest.fixture(autouse=True)
def folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", INSTALLED)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def predict(capsys):
    """Runs `segzoo predict`; gives what it says."""
    segzoo.load("bright").save_pretrained("model")

    def call(*arguments, code=0):
        returned = run(["predict", "./model", "photos", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert returned == code, said.err
        return json.loads(said.out) if "--json" in arguments else said.err

    return call


def photos(count, folder="photos"):
    chance = np.random.default_rng(7)
    for n in range(count):
        image = chance.integers(0, 256, (6, 8, 3), np.uint8)
        if not os.path.exists(f"{folder}/{n:03}.png"):
            save(f"{folder}/{n:03}.png", image)


def save(path, image):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def content(folder):
    """What lies there, but for what is noted; hidden files too."""
    found = (Path(root, n) for root, _, names in os.walk(folder) for n in names)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if not path.name.startswith("done")
    }


def predicted(report):
    return [each["input"] for each in report["pictures"] if "skipped" not in each]


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_any_number_of_parts_part_the_list(seed):
    chance = random.Random(seed)
    parts = chance.choice([1, 2, 3, 7, 50])
    folders = [
        InputFolder(
            f"/photos/{n}",
            chance.choice(["", f"below/{n}", f"ünder\udcff{n}"]),
            tuple({f"{chance.randrange(10**6)}.jpg" for _ in range(chance.randrange(60))}),
        )
        for n in range(4)
    ]
    found = [[*jobs_of(part_of(folders, Shard(n, parts)))] for n in range(1, parts + 1)]
    everything = [job for part in found for job in part]
    assert sorted(everything) == sorted(jobs_of(folders))  # each once
    fewer = [folder._replace(names=folder.names[::2]) for folder in folders]
    for number, part in enumerate(found, 1):  # none moves when others go
        assert {*jobs_of(part_of(fewer, Shard(number, parts)))} <= {*part}


def test_parts_are_about_equal():
    names = tuple(f"{n:05}.jpg" for n in range(10_000))
    sizes = [len(part_of([InputFolder("", "", names)], Shard(n, 4))[0].names) for n in range(1, 5)]
    assert sum(sizes) == 10_000
    assert max(sizes) < 2625  # 5 % above a quarter


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/3", "--shard 0/3: there is no part 0 of 3; expected 1/3 to 3/3. Give --shard I/N: "),
        ("4/3", "--shard 4/3: there is no part 4 of 3; expected 1/3 to 3/3. Give --shard I/N: "),
        ("1/0", "--shard 1/0: a folder has no 0 parts; expected 1 to 1,000,000. Give "),
        ("1/9999999", "--shard 1/9999999: a folder has no 9,999,999 parts; expected 1 to "),
        ("2", "--shard '2' is no part of a folder; expected I/N, such as 2/8. Give "),
        ("-1/3", "--shard '-1/3' is no part of a folder; "),
        ("1/3/5", "--shard '1/3/5' is no part of a folder; "),
        ("\u0661/3", "--shard '\u0661/3' is no part of a folder; "),
        ("1" * 99 + "/3", "--shard '" + "1" * 50 + "' is no part of a folder; "),
    ],
)
def test_what_is_no_part(text, message):
    with pytest.raises(UsageError) as caught:
        shard_of(text)
    assert str(caught.value).startswith(message)


def test_the_whole_is_one_part_of_one():
    assert shard_of(None) == shard_of("1/1") == WHOLE
    assert WHOLE.named("done.jsonl") == "done.jsonl"
    assert shard_of("2/3").named("errors.jsonl") == "errors-2-of-3.jsonl"


def test_parts_give_together_what_one_process_gives(predict):
    photos(12)
    Path("photos/broken.png").write_bytes(b"none")
    predict("-o", "one", code=1)
    codes = []
    for number in (1, 2, 3):
        codes.append(run(["predict", "./model", "photos", "-o", "out", f"--shard={number}/3"]))
    assert sorted(codes) == [0, 0, 1]
    one, several = content("one"), content("out")
    [errors] = [name for name in several if name.startswith("errors-")]
    assert several.pop(errors) == one.pop("errors.jsonl")
    assert several == one
    lists = sorted(n for n in os.listdir("out") if n.startswith("done"))
    assert lists == [f"done-{number}-of-3.jsonl" for number in (1, 2, 3)]
    assert predicted(predict("-o", "out", "--resume", "--json", code=1)) == ["photos/broken.png"]


def test_a_part_of_another_list_is_refused(predict):
    photos(5)
    predict("-o", "out", "--shard", "1/2")
    photos(6)
    said = predict("-o", "out", "--shard", "2/2", "--resume", code=2)
    assert said == (
        "segzoo: out/done-1-of-2.jsonl: this part is of another list of pictures; found 5 pictures "
        "there, 6 here, and not the same names. Give every part the same pictures; or, when all "
        "have ended, do what is left by --resume without --shard\n"
    )
    assert not os.path.exists("out/done-2-of-2.jsonl")
    report = predict("-o", "out", "--resume", "--json")
    assert report["skipped"] + report["written"] == 6
    assert report["skipped"] >= 1
    predict("-o", "one")
    assert content("out") == content("one")


def test_two_pictures_of_one_output_are_refused_in_every_part(predict):
    photos(2)
    save("photos/000.jpg", np.zeros((6, 8, 3), np.uint8))
    for number in (1, 2):
        assert "written to one output" in predict("-o", "out", f"--shard={number}/2", code=2)


# --- going on -------------------------------------------------------------------------------------


def test_what_is_done_is_left(predict):
    photos(3)
    assert len(predicted(predict("-o", "out", "--resume", "--json"))) == 3
    before = content("out")
    assert predict("-o", "out", "--resume") == "segzoo: 0 pictures -> out, 3 were there\n"
    assert content("out") == before


def changed_output():
    path = Path("out/mask/001.png")
    content = bytearray(path.read_bytes())
    status = path.stat()
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edited_line():
    path = Path("out/done.jsonl")
    lines = path.read_bytes().split(b"\n")
    [place] = [n for n, line in enumerate(lines) if b'"001.png"' in line]
    lines[place] = lines[place].replace(b'"size": ', b'"size": 9')
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    "change",
    [
        changed_output,
        edited_line,
        lambda: Path("out/color/001.png").unlink(),
        lambda: Path("out/color/001.png").write_bytes(b""),
        lambda: os.utime("photos/001.png", ns=(0, 0)),
        lambda: save("photos/001.png", np.full((9, 9, 3), 200, np.uint8)),
    ],
    ids=["output", "line", "gone", "empty", "touched", "picture"],
)
def test_what_has_changed_is_done_again_alone(predict, change):
    photos(3)
    predict("-o", "out", "--resume", "--as", "mask,color")
    change()
    report = predict("-o", "out", "--resume", "--as", "mask,color", "--json")
    assert predicted(report) == ["photos/001.png"]
    predict("-o", "one", "--as", "mask,color")
    assert content("out") == content("one")
    again = predict("-o", "out", "--resume", "--as", "mask,color", "--json")
    assert predicted(again) == []


def test_side_outputs_are_noted_too(predict):
    photos(2)
    arguments = ("-o", "out", "--resume", "--heads", "all", "--json")
    predict(*arguments)
    assert predicted(predict(*arguments)) == []
    Path("out/head-1/000.png").unlink()
    assert predicted(predict(*arguments)) == ["photos/000.png"]


def test_a_picture_that_changes_while_it_is_seen_is_done_again(predict, monkeypatch):
    photos(2)
    write = Writer.__call__

    def and_then(self, job, result):
        written = write(self, job, result)
        if job.source == "photos/001.png":
            os.utime(job.source, ns=(0, 0))
        return written

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "__call__", and_then)
        predict("-o", "out", "--resume")
    assert predicted(predict("-o", "out", "--resume", "--json")) == ["photos/001.png"]


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (("--threshold", "0.7"), "postprocess threshold 0.5, expected postprocess threshold 0.7"),
        (("--as", "color"), 'as ["mask"], expected as ["color"]'),
        (("--crop",), "crop false, expected crop true"),
        (("--tile", "64"), "tile not given, expected tile 64"),
        (("--decode", "full"), "every pixel decoded false, expected every pixel decoded true"),
    ],
)
def test_other_options_are_refused(predict, other, found):
    photos(2)
    predict("-o", "out", "--resume")
    before = content("out")
    for shard in ((), ("--shard", "1/2")):
        assert predict("-o", "out", "--resume", *shard, *other, code=2) == (
            "segzoo: out/done.jsonl: this was done with other options or weights; found "
            f"{found}. Give the same as before, or another folder with -o\n"
        )
    assert content("out") == before
    assert not os.path.exists("out/done-1-of-2.jsonl")


def test_other_weights_are_refused(predict, capsys):
    photos(2)
    predict("-o", "out", "--resume")
    model = segzoo.load("bright")
    model.network.sharpness.data += 1
    model.save_pretrained("other")
    assert run(["predict", "./other", "photos", "-o", "out", "--resume"]) == 2
    assert "other options or weights; found weights {" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "--overwrite"), "give --resume or --overwrite, not both. --resume leaves"),
        (("--resume", "--skip-existing"), "give --resume or --skip-existing, not both. "),
        (("--resume", "--watch"), "give --watch or --resume, not both. With --skip-existing"),
        (("--shard", "1/2", "--watch"), "give --watch or --shard, not both. "),
        (("--shard", "3/2"), "--shard 3/2: there is no part 3 of 2; "),
    ],
)
def test_what_does_not_go_together(predict, arguments, message):
    photos(2)
    assert predict("-o", "out", *arguments, code=2).startswith(f"segzoo: {message}")
    assert not os.path.exists("out")


def test_a_single_file_has_no_parts(predict):
    photos(1)
    assert "--resume is about a folder of outputs. " in predict("-o", "out.png", "--resume", code=2)


def test_cutouts_go_on_too(capsys):
    segzoo.load("bright").save_pretrained("model")
    photos(3)
    line = ["cutout", "photos", "-m", "./model", "--json", "--resume"]
    assert run([*line, "-o", "out"]) == 0
    capsys.readouterr()
    assert run([*line, "-o", "out", "--shard", "1/2"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == 0
    assert run(line) == 2
    assert "--resume is about a folder of outputs. " in capsys.readouterr().err


# --- what was there, and what is no list ----------------------------------------------------------


def test_outputs_from_before_are_refused_unless_it_was_begun(predict):
    photos(2)
    predict("-o", "out")
    assert "already there: 2 outputs" in predict("-o", "out", "--resume", code=2)
    assert not os.path.exists("out/done.jsonl")


def test_what_segzoo_did_not_write_is_left(predict):
    photos(3)
    predict("-o", "out", "--resume")
    lines = Path("out/done.jsonl").read_bytes().splitlines(keepends=True)
    Path("out/done.jsonl").write_bytes(b"".join(line for line in lines if b"001.png" not in line))
    save("out/001.png", np.zeros((2, 2, 3), np.uint8))
    before = Path("out/001.png").read_bytes()
    report = predict("-o", "out", "--resume", "--json", code=1)
    assert [each.get("message") for each in report["pictures"] if "error" in each] == [
        "out/001.png: is there, and segzoo did not write it. Move it away, or choose another "
        "folder with -o"
    ]
    assert Path("out/001.png").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"picture": "a.png"}\n', 'the line {"picture": "a.png"}'),
        (b"\0\0\0\n", "a line is not valid JSON"),
        (b"[1]\n", "a line is not a JSON object"),
        (b"[" * 5000 + b"\n", "a line is nested too deeply"),
        (b'{"a": NaN}\n', "a line is not valid JSON"),
        (b"x" * (done.LINE + 9), "a line of more than a megabyte"),
    ],
)
def test_a_line_that_is_none_is_refused(predict, text, found):
    photos(2)
    predict("-o", "out", "--resume")
    with open("out/done.jsonl", "ab") as file:
        file.write(text)
    before = content("out"), Path("out/done.jsonl").read_bytes()
    said = predict("-o", "out", "--resume", code=3)
    assert said.startswith(
        f"segzoo: out/done.jsonl: this is no list of what is done; found {found}"
    )
    assert "Remove it; --resume then begins anew" in said
    assert (content("out"), Path("out/done.jsonl").read_bytes()) == before


def test_more_lines_than_a_million_pictures_need_are_refused(predict, monkeypatch):
    photos(3)
    predict("-o", "out", "--resume")
    monkeypatch.setattr(done, "LINES", 1)
    assert "more than 1 lines" in predict("-o", "out", "--resume", code=3)


@pytest.mark.parametrize("text", [b'{"mine": 1}\n', b"notes of somebody\n"])
def test_a_file_of_another_is_left(predict, text):
    photos(1)
    Path("out").mkdir()
    Path("out/done.jsonl").write_bytes(text)
    assert "out/done.jsonl: is there, and segzoo did not write it" in predict(
        "-o", "out", "--resume", code=2
    )
    assert Path("out/done.jsonl").read_bytes() == text


def test_one_part_is_done_by_one_process_at_a_time(predict):
    photos(2)
    predict("-o", "out", "--resume")
    with open("out/done.jsonl", "rb") as file:
        assert files.hold(file)
        said = predict("-o", "out", "--resume", code=2)
    assert said.startswith("segzoo: out/done.jsonl: another process is at this part of the folder")


# --- faults ---------------------------------------------------------------------------------------


def test_a_line_that_was_cut_short_costs_its_picture_alone(predict):
    photos(4)
    predict("-o", "out", "--resume")
    whole = Path("out/done.jsonl").read_bytes()
    Path("out/done.jsonl").write_bytes(whole[:-10])
    cut = json.loads(whole.splitlines()[-1])["picture"]
    assert predicted(predict("-o", "out", "--resume", "--json")) == [f"photos/{cut}"]
    assert Path("out/done.jsonl").read_bytes() == whole


@contextlib.contextmanager
def file_size_limit(size):
    """Files cannot grow beyond it: the next best thing to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_under_the_list_ends_the_work_and_leaves_whole_lines(predict, monkeypatch):
    monkeypatch.setattr("segzoo.cli.writing.PROBE_BYTES", 100)
    photos(40)
    with file_size_limit(3000):
        said = predict("-o", "out", "--resume", code=5)
    assert "out/done.jsonl: cannot be written: File too large. Free some space, and run " in said
    listed = Path("out/done.jsonl").read_bytes()
    assert listed.endswith(b"\n")
    assert all(map(json.loads, listed.splitlines()))
    made = len(content("out")) - os.path.exists("out/errors.jsonl")
    report = predict("-o", "out", "--resume", "--json")
    assert made - 10 <= report["skipped"] < 40
    predict("-o", "one")
    assert content("out") == content("one")


# Runs segzoo in a process that kills itself when it is asked for the STOP-th time to FUNCTION.
KILLED = """
import os, signal, sys
function, stop = sys.argv[1], int(sys.argv[2])
real, asked = getattr(os, function), 0
def killing(*given):
    global asked
    asked += 1
    if asked == stop:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)
setattr(os, function, killing)
sys.argv[1:] = sys.argv[3:]
from segzoo.cli.main import main
main()
"""


def process(*arguments):
    path = os.pathsep.join(p for p in sys.path if p.endswith("support"))
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("function", "stop"), [("fsync", 9), ("replace", 9), ("fsync", 1)])
def test_a_process_killed_within_a_write_goes_on(predict, function, stop):
    photos(30)
    line = ("predict", "./model", "photos", "-o", "out", "--resume", "--shard", "1/1")
    killed = process(function, stop, *line)
    _, said = killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL, said
    assert [name for name in content("out") if name.startswith(".segzoo-")]  # a half file
    there = [name for name in content("out") if name.endswith(".png")]
    report = predict("-o", "out", "--resume", "--json")
    assert len(there) - report["skipped"] <= 5  # those on their way
    predict("-o", "one")
    assert content("out") == content("one")


def pictures_in(folder):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sum(name.endswith(".png") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_parts_killed_between_pictures_go_on(predict, seed):
    """Two parts at once; both are killed after some pictures, and go on, until all is done."""
    chance = random.Random(seed)
    photos(1200)
    for _ in range(2):
        wanted = pictures_in("out") + chance.randrange(20, 300)
        both = [
            process("fsync", 0, *f"predict ./model photos -o out --resume --shard {n}/2".split())
            for n in (1, 2)
        ]
        try:
            until = time.monotonic() + 120
            while pictures_in("out") < wanted and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            for each in both:
                each.kill()
                _, said = each.communicate(timeout=60)
        assert [each.returncode for each in both] == [-signal.SIGKILL] * 2, said
    made = pictures_in("out")
    noted = 0
    for number in (1, 2):
        report = predict("-o", "out", "--resume", "--json", "--shard", f"{number}/2")
        noted += report["skipped"]
    repeated = made - noted
    assert 0 <= repeated < 12  # 1 %
    predict("-o", "one")
    assert content("out") == content("one")
    assert predicted(predict("-o", "out", "--resume", "--json")) == []
