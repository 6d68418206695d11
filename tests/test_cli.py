"""The command line as a person or a script meets it: verbs, exit codes, one-line errors."""

import errno
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from segzoo.cli import text
from segzoo.cli.main import run
from segzoo.spec import Json


@pytest.fixture(autouse=True)
def tiny_is_installed(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY,broken=nowhere:X")


def printed(capsys, *arguments) -> str:
    assert run(list(arguments)) == 0
    return capsys.readouterr().out


def as_json(capsys, *arguments) -> Json:
    return json.loads(printed(capsys, *arguments, "--json"))


def complaint(capsys, *arguments, code) -> str:
    assert run(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_list_shows_what_works_and_what_does_not(capsys):
    assert run(["list"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY"]
    assert any(line.startswith("tiny ") and "a model for tests" in line for line in lines)
    assert any(line.startswith("u2netp ") and "1.13 M" in line for line in lines)
    assert "SEGZOO_MODELS/broken : ModuleNotFoundError: No module named 'nowhere'" in captured.err
    assert "run: segzoo check SEGZOO_MODELS/broken" in captured.err


def test_list_as_json(capsys):
    rows = {row["name"]: row for row in as_json(capsys, "list")}
    assert rows["tiny"]["tasks"] == ["binary", "multiclass"]
    assert rows["tiny"]["problem"] == ""
    assert rows["broken"]["problem"] == "ModuleNotFoundError: No module named 'nowhere'"
    assert rows["broken"]["check"] == "segzoo check SEGZOO_MODELS/broken"


PUBLISHED = {
    "digit_unet",
    "lite0",
    "lite2",
    "u2net",
    "u2netp",
    "unet",
    "unet_paper",
    "unetpp",
}  # with weights


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["ti*"], {"tiny"}),
        (["ti*", "u2netp"], {"tiny", "u2netp"}),
        (["--plugin", "Segzoo_U2Net"], {"u2net", "u2netp"}),
        (["--pretrained"], PUBLISHED),
        (["--license", "Apache-2.0"], PUBLISHED),
        (["--license", "permissive"], {"unet", "unetpp"}),  # from nuclei, which are CC0
        (["--task", "saliency"], {"lite0", "lite2", "u2net", "u2netp"}),
        (["--task", "saliency", "--plugin", "nobody"], set()),
    ],
)
def test_filters(capsys, filters, names):
    assert {row["name"] for row in as_json(capsys, "list", *filters)} == names


def test_nothing_fits(capsys):
    assert "No installed model fits" in printed(capsys, "list", "zebra*")


def test_names_alone(capsys):
    names = printed(capsys, "list", "--names").split()
    assert {"tiny", "u2net", "u2netp", "broken"} <= set(names)
    assert as_json(capsys, "list", "--names") == names
    assert names == sorted(names)


def test_ls_is_list(capsys):
    assert printed(capsys, "ls", "tiny") == printed(capsys, "list", "tiny")


def test_info_of_a_model(capsys):
    out = printed(capsys, "info", "u2netp", "--size", "96", "--full")
    for line in (
        "parameters   1,131,181",
        "arXiv:2005.09007",
        "option       pool=ceil, one of ceil, floor",
        "rescale=image_max",
        "task         saliency: loss segzoo_u2net.loss:deep_bce, normalize=minmax",
        "recipe       seed: 10 epochs, batch 10, adam lr=0.001",
        "weights      u2netp.tuned (default): licence Apache-2.0",
        "DUTS-TR, licence not stated",
    ):
        assert line in out
    last = out.splitlines()[-1].split()
    assert last == ["all", "U2Net", "1,131,181", "1.78", "G"]


def test_info_in_brief_needs_no_torch():
    """It says what the plugin states; `segzoo check` holds that against the network."""
    code = """
import sys
sys.modules["torch"] = None
from segzoo.cli.main import run
sys.exit(run(["info", "u2netp"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1,131,181" in done.stdout and "macs" in done.stdout


def test_info_as_json_counts_each_stage(capsys):
    info = as_json(capsys, "info", "u2netp", "--size", "96")
    assert info["input"] == [96, 96]
    stages = {stage["name"]: stage for stage in info["stages"]}
    assert stages[""]["macs"] == 1_778_048_064  # the goldens' column
    parts = [stage for name, stage in stages.items() if name]
    assert sum(stage["parameters"] for stage in parts) == stages[""]["parameters"]
    assert sum(stage["macs"] for stage in parts) == stages[""]["macs"]
    assert stages["encoder.0"]["block"] == "RSU"
    assert info["weights"]["duts"]["trained_on"][0]["license"] == "not stated"


#    what is typed                        exit code   what stderr says
MISTAKES = [
    (["info", "u2nett"], 2, "segzoo: no model 'u2nett'. Did you mean 'u2net', 'u2netp'"),
    (["info", "broken"], 2, "model 'broken' of SEGZOO_MODELS cannot be used: ModuleNotFoundError"),
    (["list", "--task", "boxes"], 2, "segzoo: no task 'boxes'; expected binary, multiclass"),
    (["list", "--nonsense"], 2, "No such option: --nonsense"),
    (["lsit"], 2, "No such command 'lsit'"),
    (["info"], 2, "segzoo: Missing argument"),
    (["info", "u2netp", "--size", "0"], 2, "segzoo: Invalid value for '--size'"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), MISTAKES, ids=lambda v: str(v))
def test_mistakes(capsys, arguments, code, says):
    assert says in complaint(capsys, *arguments, code=code)


def test_debug_shows_where_an_error_came_from(capsys):
    assert run(["info", "u2nett"], debug=True) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("segzoo: no model 'u2nett'")


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.EACCES, 2, "segzoo: cache/x: Permission denied\n"),
        (errno.EROFS, 2, "segzoo: cache/x: Read-only file system\n"),
        (errno.ENOSPC, 5, "segzoo: cache/x: No space left on device\n"),
        (errno.ENOTDIR, 70, "a defect of segzoo"),  # a verb should have seen it
    ],
)
def test_what_a_user_may_not_do_is_no_defect(capsys, monkeypatch, number, code, says):
    def opens(name):
        raise OSError(number, os.strerror(number), "cache/x")

    monkeypatch.setattr("segzoo.cli.info.find_spec", opens)
    assert says in complaint(capsys, "info", "tiny", code=code)


def test_an_empty_name_to_write_to_is_refused(capsys):
    """As an unset variable gives it: `segzoo cutout photo.jpg -o "$OUT"`."""
    for verb in ("cutout", "predict", "train", "export", "auto", "convert"):
        for option in ("-o", "--out"):
            said = complaint(capsys, verb, "photo.jpg", option, "", code=2)
            assert said == f"segzoo: {option} is empty; expected where to write\n"


def test_a_defect_says_so(capsys, monkeypatch):
    monkeypatch.setattr("segzoo.cli.info.find_spec", lambda name: 1 / 0)
    message = complaint(capsys, "info", "tiny", code=70)
    assert "a defect of segzoo, please report it: ZeroDivisionError" in message
    assert "--debug" in message


def segzoo(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "segzoo.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_the_command_itself():
    done = segzoo("--version")
    assert done.stdout.startswith("segzoo-core 0.")
    assert done.returncode == 0
    done = segzoo("info", "u2nett", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("line", ["list", "predict u2netp - -o -", "cutout - --model u2netp"])
def test_a_closed_pipe_is_no_error(line, tmp_path):
    """Row C10: `segzoo list | head -1`, `cat photo | segzoo cutout - | head -c 10`."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    reader, writer = os.pipe()
    os.close(reader)
    with open(photo, "rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "segzoo.cli.main", *line.split()],
            stdin=stdin,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    os.close(writer)
    assert done.returncode == 0
    assert "BrokenPipe" not in done.stderr


LINES = [
    "--version",
    "list",
    "info u2netp --json",
    "cutout photo.png -o -",
    "cutout - -o -",
]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has such a device")
@pytest.mark.parametrize("line", [*LINES, "cutout photo.png --json"])
def test_output_that_has_no_room_is_said_to_have_none(line, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    with open(tmp_path / "photo.png", "rb") as stdin, open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "segzoo.cli.main", *line.split()],
            cwd=tmp_path,
            stdin=stdin,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 5
    *_, said = done.stderr.splitlines()
    assert said == "segzoo: standard output: no room where it goes (No space left on device)"


@pytest.mark.skipif(os.name == "nt", reason="a shell's way to close a stream")
@pytest.mark.parametrize("closes", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("line", [*LINES, "nosuch"])
def test_a_stream_that_is_closed_is_an_empty_one(line, closes, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    command = f'exec "$0" -m segzoo.cli.main {line} {closes}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=tmp_path,
        input=(tmp_path / "photo.png").read_bytes(),
        capture_output=True,
        timeout=120,
    )
    fails = line == "nosuch" or (" - " in line and "<&-" in closes)
    assert done.returncode == ({"nosuch": 2}.get(line, 3) if fails else 0), done.stderr
    assert b"defect" not in done.stderr and b"Traceback" not in done.stderr
    if fails and line != "nosuch" and "2>" not in closes:
        assert done.stderr.endswith(b"segzoo: standard input: the file is empty\n")


def test_a_terminal_that_knows_ascii_alone():
    """Row C10: LANG=C."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for verb in (["list"], ["info", "u2netp"], ["list", "--json"]):
        done = segzoo(*verb, env=environment)
        assert done.returncode == 0, done.stderr


def test_completion_is_offered(monkeypatch):
    assert "--install-completion" in segzoo("--help").stdout
    environment = {
        **os.environ,
        "_SEGZOO_COMPLETE": "complete_bash",
        "COMP_WORDS": "segzoo pre",
        "COMP_CWORD": "1",
    }
    program = "from segzoo.cli.main import main; import sys; sys.argv = ['segzoo']; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )
    assert "predict" in done.stdout


def test_tables_and_amounts():
    assert text.table(("A", "B"), [("x", "10"), ("long", "9")], right=" >") == [
        "A      B",
        "x     10",
        "long   9",
    ]
    assert [text.amount(n) for n in (12, 1_131_181, 44_009_869, 5_000_000_000)] == [
        "12",
        "1.13 M",
        "44.01 M",
        "5.00 G",
    ]
