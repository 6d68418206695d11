"""What people met who looked around: what is shown to whom, and what an error leads to."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from importlib import metadata
from pathlib import Path

import fake_plugins
import numpy as np
import pytest
from PIL import Image

import segzoo
from segzoo.checks.verify import declared
from segzoo.cli import data as data_verbs
from segzoo.cli import text
from segzoo.cli.brief import brief
from segzoo.cli.main import run
from segzoo.errors import AmbiguousModelError, UnknownModelError
from segzoo.model import origin
from segzoo.model.load import find_spec
from segzoo.runs import subject
from segzoo.zoo import registry
from segzoo.zoo.offered import plugin_of


def at_a_terminal(width, *arguments):
    """The lines that `segzoo ARGUMENTS` shows at a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    command = [sys.executable, "-m", "segzoo.cli.main", *arguments]
    unset = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=unset) as child:
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            shown += block
    os.close(ours)
    assert child.returncode == 0, shown.decode()
    return shown.decode().splitlines()


def printed(capsys, *arguments):
    assert run([*arguments]) == 0
    return capsys.readouterr().out


# --- D9: the width of the terminal ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, ["NAME", "WEIGHTS", "SUMMARY"]),
        (80, ["NAME", "PARAMETERS", "WEIGHTS", "SUMMARY"]),
        (160, ["NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY"]),
        (300, ["NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY"]),
    ],
)
def test_d9_the_list_is_as_wide_as_the_terminal(width, columns):
    lines = at_a_terminal(width, "list")
    assert lines[0].split() == columns
    assert max(map(len, lines)) <= width
    names = [entry.name for entry in registry.entries()]
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == names
    small = next(line for line in lines if line.startswith("u2netp "))
    tags = [*registry.find("u2netp").load().weights]
    assert (f" {tags[0]} +{len(tags) - 1} " in small) == (width < 300)
    assert (f" {', '.join(tags)} " in small) == (width == 300)
    missing = [name for name in ("PLUGIN", "TASKS", "PARAMETERS") if name not in columns]
    left_out = f"Left out at {width} columns: {', '.join(missing)}"
    assert lines[len(names) + 1 :] == ([left_out] if missing else [])


def test_d9_what_is_piped_is_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for line, row in zip(printed(capsys, "list").splitlines()[1:], registry.rows(), strict=True):
        assert line.endswith(row.spec.summary)
        assert ", ".join(row.spec.tasks) in line
        assert ", ".join(row.spec.weights) in line
    assert "2020, arXiv:2005.09007\n" in printed(capsys, "info", "u2netp")


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_d9_info_fits_a_screen(entry):
    name, counted = entry.name, (9_999_999, 10**10)
    pairs = [*brief(name, entry, entry.load(), None, counted, (320, 320))]
    lines = ["", *(f"{label:<13}{said}" for label, said in pairs)]
    assert len(text.wrapped_lines(lines, 80, indent=13)) <= 26
    assert pairs[-1] == ("all of it", f"segzoo info {name} --full")


@pytest.mark.parametrize("width", [60, pytest.param(160, marks=pytest.mark.slow)])
def test_d9_info_is_as_wide_as_the_terminal(width, capsys):
    lines = at_a_terminal(width, "info", "u2netp", "--size", "64")
    too_long = [line for line in lines if len(line) > width]
    assert all(re.fullmatch(r" {13}\S+", line) for line in too_long)  # an address
    whole = printed(capsys, "info", "u2netp", "--size", "64")
    assert " ".join(" ".join(lines).split()) == " ".join(whole.split())


def test_d9_full_has_all_of_it(capsys):
    short = printed(capsys, "info", "u2netp", "--size", "64")
    full = printed(capsys, "info", "u2netp", "--size", "64", "--full")
    assert "option       pool=ceil, one of ceil, floor" in full
    spec = registry.find("u2netp").load()
    for tag, weights in spec.weights.items():
        assert weights.sha256 in full
        assert f"u2netp.{tag}" in short
        assert f"licence {weights.license}" in short
        for data in weights.trained_on:
            assert f"of {data.name} {data.license}" in short
        for metric in weights.metrics:
            assert f"{metric.name} {metric.value:g} on {metric.split}" in full
    first = spec.weights[spec.default_weights].metrics[0]
    assert f"{first.name} {first.value:g} on {first.split}" in short
    assert not re.search("[0-9a-f]{64}", short)
    assert "encoder.0" in full and "encoder.0" not in short


def test_d9_json_is_all_of_it_with_and_without_full(capsys):
    ways = [printed(capsys, "info", "u2netp", "--json", *more) for more in ([], ["--full"])]
    assert ways[0] == ways[1]
    assert {"stages", "recipes", "weights", "blocks"} <= json.loads(ways[0]).keys()


def test_d9_many_choices_are_a_number():
    entry = registry.find("smp_unet")
    spec = entry.load()
    said = dict(brief("smp_unet", entry, spec, None, (1, 1), (64, 64)))["options"]
    assert f"encoder=resnet34 (one of {len(spec.options['encoder'].choices)})" in said


def test_d9_a_table_that_does_not_fit():
    header, rows = ("A", "B", "C"), [("x", "yy", "z" * 40), ("x", "\x1b", "short")]
    assert text.fitted(header, rows, None) == (text.table(header, rows), [])
    assert text.fitted(header, rows, 50, leave=("B",)) == (text.table(header, rows), [])
    lines, gone = text.fitted(header, rows, 32, leave=("B",))
    assert (max(map(len, lines)), gone) == (32, ["B"])
    assert lines[1] == f"x  {'z' * 26}..."


def test_d9_every_table_is_as_wide_as_the_terminal(monkeypatch):
    header = ("NAME", "SIZE", "WHAT")
    rows = [("net", "1 B", "a sentence of some length that goes on"), ("n" * 30, "22 B", "it")]
    whole = text.table(header, rows, right=" >")
    assert [len(line) for line in whole] == [42, 76, 40]  # piped
    monkeypatch.setattr(text, "columns", lambda: 76)
    assert text.table(header, rows, right=" >") == whole
    monkeypatch.setattr(text, "columns", lambda: 64)
    assert text.table(header, rows, right=" >") == [
        f"{'NAME':<30}  SIZE  WHAT",
        f"{'net':<30}   1 B  a sentence of some length",
        f"{'':<38}that goes on",
        f"{'n' * 30}  22 B  it",
    ]
    monkeypatch.setattr(text, "columns", lambda: 40)  # a name is one word, and stays whole
    assert f"{'n' * 30}  22 B  it" in text.table(header, rows, right=" >")
    assert max(map(len, text.table(header, rows))) <= 30 + 2 + 4 + 2 + text.LEAST


def test_d9_what_a_data_check_finds_goes_on_below_itself(tmp_path, monkeypatch, capsys):
    image = Image.new("RGB", (8, 8))
    for name in ("images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir()
        image.save(tmp_path / name)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4] = 7
    Image.fromarray(mask).save(tmp_path / "masks/a.png")
    for module in (text, data_verbs):
        monkeypatch.setattr(module, "columns", lambda: 60)
    assert run(["data", "check", f"folder:{tmp_path}", "--classes", "2"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAULT") for line in lines)
    assert any(line.startswith(" " * data_verbs.INDENT) for line in lines)
    assert [line for line in lines if len(line) > 60 and " " in line.strip()] == []


# --- D10: a model of ours that is not installed ---------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    """The core and segzoo-u2net are installed, and no other plugin."""
    kept = [metadata.distribution(name) for name in ("segzoo-core", "segzoo-u2net")]
    monkeypatch.setattr(metadata, "distributions", lambda: kept)


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("unet", "segzoo-unet"),
        ("Digit-UNet", "segzoo-digit-unet"),
        ("smp_unet", "segzoo-smp"),
        ("unet.nuclei", "segzoo-unet"),
        ("segzoo_unetpp/unetpp", "segzoo-unetpp"),
    ],
)
def test_d10_the_line_that_installs_it(alone, name, plugin):
    with pytest.raises(UnknownModelError) as caught:
        segzoo.load(name)
    assert caught.value.problem.endswith(f" is installed; {plugin} offers it")
    assert caught.value.next_step == f"Run: pip install --upgrade {plugin}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("u2nett", "no model 'u2nett'. Did you mean 'u2net' or 'u2netp'?"),
        (
            "acme/unet",
            "no model 'acme/unet'. Did you mean 'u2net' or 'u2netp'? A model on the Hub is ",
        ),
        ("segzoo-u2net/unet", "no model 'segzoo-u2net/unet'. Did you mean 'u2net' or "),
    ],
)
def test_d10_nobody_elses_name_is_installed(alone, name, message):
    with pytest.raises(UnknownModelError) as caught:
        registry.find(name)
    assert str(caught.value).startswith(message)
    assert "pip install" not in str(caught.value)


def test_d10_what_is_installed_is_found():
    for name in ("unet", "u2netp", "smp_unet"):
        assert plugin_of(name) == registry.find(name).distribution
    assert plugin_of("nobody") == ""


# --- D13: several plugins with one name -----------------------------------------------------------

CLONE = """
import dataclasses
from segzoo_u2net.spec import U2NETP

TAGS = {{tag: U2NETP.weights["drive"] for tag in {tags!r}}}
NET = dataclasses.replace(U2NETP, weights=TAGS, default_weights=None, summary={name!r})
"""


def offer(monkeypatch, site, name, tags):
    """Install a plugin that offers a `u2netp` too, with weights of these tags."""
    code = CLONE.format(tags=tags, name=name)
    fake_plugins.make(site, name, {"u2netp": f"{name.replace('-', '_')}:NET"}, code=code)
    fake_plugins.install(monkeypatch, site)


def test_d13_the_only_one_with_such_a_tag_is_meant(monkeypatch, tmp_path, capsys):
    offer(monkeypatch, tmp_path, "acme-seg", ["ours", "drive"])
    assert registry.find("u2netp", tag="trousers").distribution == "segzoo-u2net"
    assert registry.find("u2netp", tag="ours").distribution == "acme-seg"
    assert origin.find("u2netp.trousers").entry.distribution == "segzoo-u2net"
    assert origin.find("u2netp.ours").spec.summary == "acme-seg"
    assert subject.origin_of("u2netp.duts", False)[0].summary.startswith("salient")
    assert (
        declared("u2netp", "trousers").record
        is registry.find("segzoo-u2net/u2netp").load().weights["trousers"]
    )
    assert printed(capsys, "download", "u2netp.trousers").startswith("u2netp.trousers: ")


def test_d13_two_with_the_tag_and_none(monkeypatch, tmp_path):
    offer(monkeypatch, tmp_path, "acme-seg", ["drive"])
    both = "'u2netp' is provided by acme-seg/u2netp and segzoo-u2net/u2netp"
    for name in ("u2netp.drive", "u2netp.nowhere", "u2netp"):
        with pytest.raises(AmbiguousModelError) as caught:
            segzoo.load(name)
        assert caught.value.problem == both
    assert origin.find("acme-seg/u2netp.drive").entry.distribution == "acme-seg"


def test_d13_a_broken_one_has_no_tag(monkeypatch, tmp_path):
    fake_plugins.make(tmp_path, "acme-seg", {"u2netp": "acme_seg:NET"}, code="raise ValueError\n")
    fake_plugins.install(monkeypatch, tmp_path)
    assert origin.find("u2netp.trousers").entry.distribution == "segzoo-u2net"


# --- a step that is the best of nothing -----------------------------------------------------------


@pytest.mark.parametrize("record", [{"best": True}, {"best": True, "val": None}])
def test_a_best_step_without_numbers_is_no_defect(workplace, capsys, record):
    """metrics.jsonl of a stranger's run: there are no numbers for the card then."""
    Path("run/metrics.jsonl").write_text(json.dumps({"step": 1} | record) + "\n")
    line = ["publish", "run", "user/name", "--dry-run", "card", "--license", "MIT"]
    assert run([*line, "--trained-on", "squares=MIT"]) == 2
    assert capsys.readouterr().err == (
        "segzoo: not to be published without numbers with their protocol and split (--eval "
        "FOLDER, of segzoo eval ... -o FOLDER)\n"
    )


# --- a model's name with a tag, where a model is looked at ----------------------------------------


@pytest.mark.parametrize("name", ["u2netp.duts", "U2NetP.drive", "Segzoo.U2Net/u2netp.trousers"])
def test_a_name_with_a_tag_is_the_model(name):
    assert find_spec(name)[0].full_name == "segzoo-u2net/u2netp"


def test_a_tag_that_the_model_has_not_is_said(capsys):
    assert run(["info", "u2netp.nope"]) == 2
    assert "u2netp has no weights 'nope'; found u2netp.duts, u2netp." in capsys.readouterr().err
    with pytest.raises(UnknownModelError, match=r"no model 'photo\.png'"):
        find_spec("photo.png")
    printed(capsys, "info", "u2netp.duts", "--size", "64")


# --- E4: options with hundreds of values ----------------------------------------------------------


def test_e4_hundreds_of_values_are_told_by_their_families(capsys):
    """One option in a few lines, also with --full; the pattern that it names lists the rest."""
    whole = printed(capsys, "info", "smp_unet", "--full")
    (line,) = [line for line in whole.splitlines() if "encoder=resnet34" in line]
    values = find_spec("smp_unet")[1].options["encoder"].choices
    assert f"one of {len(values):,}: tu-resnet* (" in line
    assert len(line) < 700
    assert "segzoo info smp_unet --choices 'tu-resnet*' lists those" in line
    listed = printed(capsys, "info", "smp_unet", "--choices", "tu-convnext_*").splitlines()
    assert listed == [f"encoder={v}" for v in values if v.startswith("tu-convnext_")]
    assert len(listed) > 5
    told = json.loads(printed(capsys, "info", "smp_unet", "--choices", "vgg1?", "--json"))
    assert told == {"encoder": [v for v in values if len(v) == 5 and v.startswith("vgg1")]}


def test_e4_a_few_values_are_all_told(capsys):
    assert "pool=ceil, one of ceil, floor" in printed(capsys, "info", "u2net", "--full")


def test_e4_a_pattern_that_nothing_fits(capsys):
    assert run(["info", "smp_unet", "--choices", "resnet999*"]) == 2
    error = capsys.readouterr().err
    assert "no option of smp_unet has a value like 'resnet999*'" in error
    assert "encoder: resnet*, resnext*" in error
    assert run(["info", "digit_unet", "--choices", "x"]) == 2
    assert "no option of it has a list of values" in capsys.readouterr().err
