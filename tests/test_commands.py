"""Every command in the pages can be typed: it is run, or it is parsed and says here why not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

import segzoo
from segzoo.cli.main import run
from segzoo.cli.verbs import app_of

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("demo/*.md"),
        *ROOT.glob("plugins/*/README.md"),
    ]
)
PROGRAMS = (
    "segzoo pip python make curl hf git torchrun accelerate srun docker uv cd pre-commit".split()
)
LINE = re.compile(rf"(?:\$ )?((?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)}) .*)")
PARTED = re.compile(r"[|&;]|(?<!\S)#.*")


class Line(NamedTuple):
    page: str
    text: str
    block: str  # the whole block that it stands in


def lines_of(page: Path) -> Iterator[Line]:
    """The commands of a page: in a block between fences, or in one that is indented."""
    name, text = page.relative_to(ROOT).as_posix(), page.read_text("utf-8")
    fenced = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = [m[2] for m in fenced.finditer(text) if m[1] in ("sh", "text")]
    indented = re.compile(r"(?:^\n)((?: {4}.*\n)+)", re.MULTILINE)
    blocks += [m[1] for m in indented.finditer(fenced.sub("", text))]
    for block in blocks:
        joined = re.sub(r"\\\n\s*", "", block)
        for line in joined.splitlines():
            if match := LINE.fullmatch(line.strip()):
                yield Line(name, match[1], block)


LINES = [line for page in PAGES for line in lines_of(page)]

# Pages of which every block in `sh` is run, one after the other in one folder, by bash.
RUN = ("docs/cutout.md", "docs/runtimes.md")
# Pages of which every line is run by itself, where the files that it names are made for it.
READY = (
    "SECURITY.md",
    "docs/export.md",
    "docs/gallery.md",
    "docs/tiling.md",
    "plugins/segzoo-digit-unet/README.md",
    "plugins/segzoo-unet/README.md",
    "plugins/segzoo-unetpp/README.md",
)
# Pages whose lines are run one by one by another test.
RUN_ELSEWHERE = {
    "README.md": "test_docs.py, those of segzoo in `sh`",
    "docs/quickstart.md": "test_docs.py",
    "docs/write-a-plugin.md": "test_cli_new.py follows the page",
}
# Why the others are not, and how many they are.
MAKE = "installs, builds or tests: what it runs is run here without it"
TRAINS = "trains or measures for minutes to hours, on data that are not in the repository"
SERVES = "serves until it is told to end; test_serve.py and test_page.py ask a server"
HUB = "speaks to the Hub; test_publish.py and test_hub.py run these verbs against a server here"
FILES = "takes files that a reader has, and no test; the verb has tests of its own"
NOT_RUN = {
    "CONTRIBUTING.md": MAKE,
    "README.md": MAKE,
    "docs/auto.md": TRAINS,
    "docs/benchmarks.md": TRAINS,
    "docs/convert.md": FILES,
    "docs/data-sets.md": FILES,
    "docs/demo.md": SERVES,
    "docs/dependencies.md": MAKE,
    "docs/evaluate.md": TRAINS,
    "docs/folders.md": "waits for pictures or other machines; test_watching.py, test_done.py",
    "docs/index.md": "stands in README.md too, which is run",
    "docs/launch.md": "starts processes by another program; test_process.py starts them without",
    "docs/multilabel.md": TRAINS,
    "docs/publish.md": HUB,
    "docs/report.md": TRAINS,
    "docs/results.md": TRAINS,
    "docs/runtimes.md": "measures every runtime for every model that is installed",
    "docs/serve.md": SERVES,
    "docs/train.md": TRAINS,
    "docs/write-a-plugin.md": TRAINS,
    "plugins/segzoo-fcn-vgg16/README.md": FILES,
    "plugins/segzoo-lite/README.md": TRAINS,
    "plugins/segzoo-smp/README.md": FILES,
    "plugins/segzoo-torchvision/README.md": FILES,
    "plugins/segzoo-transformers/README.md": FILES,
    "plugins/segzoo-u2net/README.md": FILES,
}


# Blocks without a command, which are compared with nothing: how many, and what they are.
SHOWN = {
    "docs/data-sets.md": (18, "words of data sets, which test_data_sets_page.py opens; layouts"),
    "docs/multilabel.md": (
        3,
        "a layout, words of a data set, two lines on a model of the reader's",
    ),
    "docs/publish.md": (2, "the files of a folder; a record with sums of the reader's weights"),
    "docs/train.md": (2, "the files of a run; what was measured on data that are not here"),
    "docs/write-a-plugin.md": (2, "two pieces of a plugin of the reader's"),
}


def in_sh(line: Line) -> bool:
    text = (ROOT / line.page).read_text("utf-8")
    return f"```sh\n{line.block}```" in text


def is_run(line: Line) -> bool:
    if line.page in READY:
        return True
    if not in_sh(line):
        return False
    if line.page in ("README.md", "docs/quickstart.md"):
        return line.text.startswith("segzoo ")
    return line.page in (*RUN, *RUN_ELSEWHERE)


def counted() -> tuple[int, Counter[str]]:
    """How many lines are run, and how many of each page are not."""
    return sum(map(is_run, LINES)), Counter(line.page for line in LINES if not is_run(line))


def test_every_page_with_lines_that_are_not_run_says_why():
    _, left = counted()
    assert sorted(left) == sorted(NOT_RUN)


@pytest.mark.slow  # told by `make test-all`, which shows what is skipped, and why
@pytest.mark.parametrize("page", NOT_RUN)
def test_the_commands_of_a_page_that_are_not_run(page):
    run, left = counted()
    pytest.skip(
        f"{left[page]} of {left.total()} commands, beside {run} that are run: {NOT_RUN[page]}"
    )


def shown() -> Counter[str]:
    """How many blocks in `text` of each page hold no command."""
    found: Counter[str] = Counter()
    for page in PAGES:
        for block in re.findall(r"^```text\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
            if not any(LINE.fullmatch(line.strip()) for line in block.splitlines()):
                found[page.relative_to(ROOT).as_posix()] += 1
    return found


def test_every_page_with_blocks_that_are_only_shown_says_what_they_are():
    assert shown() == {page: count for page, (count, _) in SHOWN.items()}


@pytest.mark.slow  # told by `make test-all`
@pytest.mark.parametrize("page", SHOWN)
def test_the_blocks_of_a_page_that_are_only_shown(page):
    count, what = SHOWN[page]
    pytest.skip(f"{count} of {shown().total()} blocks without a command: {what}")


SEGZOO = {line.text: line for line in LINES if re.search(r"(^|\s)segzoo [a-z]", line.text)}


@pytest.mark.parametrize("text", SEGZOO)
def test_a_line_can_be_parsed(text):
    """By the parser of the command itself: an option that is no more is an error here."""
    words = shlex.split(PARTED.sub("", text[text.index("segzoo ") :].split(" $resume")[0]))[1:]
    words = words[: next((n for n, word in enumerate(words) if word in "<>"), None)]
    command = typer.main.get_command(app_of())
    name = "segzoo"
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    if words[-1:] == ["..."] and not words[-2].startswith("-"):
        del words[-1]
    # What stands behind a command in a list of them is said in words, two spaces away.
    if re.search(r"\S {2,}\S", text) and not in_sh(SEGZOO[text]):
        return
    command.make_context(name, words)


@pytest.fixture
def ready(workplace, monkeypatch):
    """A folder with what the lines of READY name: photos, scans, weights, a run."""
    shutil.copy(ROOT / "demo/photos/cat.jpg", "photo.jpg")
    Path("cells").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    for name in ("scan.png", "slide.tif", "digits.png", "cells/a.png"):
        Image.fromarray(noise).save(name)
    segzoo.load("unet", seed=0).save_pretrained("saved")
    shutil.copy("saved/model.safetensors", "unet.safetensors")
    return workplace


@pytest.mark.slow  # networks are run, one is exported twice
@pytest.mark.parametrize("page", READY)
def test_the_lines_of_a_page_run(page, ready, monkeypatch, capsys):
    lines = [line.text for line in LINES if line.page == page]
    assert lines
    for text in lines:
        words = shlex.split(PARTED.sub("", text))
        with monkeypatch.context() as patch:
            while "=" in words[0]:
                patch.setenv(*words.pop(0).split("=", 1))
            assert words.pop(0) == "segzoo"
            assert run(words) == 0, (text, capsys.readouterr().err)
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).exists()
            shutil.rmtree("out", ignore_errors=True)


@pytest.mark.slow  # every line is a process
@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(page, tmp_path):
    """As a reader would type them, into one shell."""
    shutil.copy(ROOT / "demo/photos/cat.jpg", tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    for photo in sorted((ROOT / "demo/photos").glob("*.jpg"))[:2]:
        shutil.copy(photo, tmp_path / "photos")
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.M | re.S)
    bin_ = os.path.dirname(sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    assert [*tmp_path.rglob("*.png")]
