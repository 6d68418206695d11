"""The pages on decisions: one form, a whole index, and nothing named that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADR = ROOT / "docs" / "adr"
PAGES = sorted(ADR.glob("[0-9]*.md"))
TITLE = re.compile(r"# (\d{4}): (.+)")
STATUS = re.compile(r"\*\*Decided\*\* 20\d\d-(?:0[1-9]|1[0-2])\.(?: .*)?")
LINK = r"\[(\d{4})\]\((\d{4}-[a-z0-9-]+\.md)\)"
REPLACED = re.compile(rf"{LINK} has taken its place")
REPLACES = re.compile(rf"It takes the place of {LINK}")
NEEDED = ["The question", "The decision"]
# `base/records.py`, `tests/test_adr.py`: code that a page speaks of. `test_of_this` is in a test.
FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|json|md|toml))`")
TEST = re.compile(r"`(test_\w+)(?:\[[^`]*\])?`")

TESTS = frozenset(
    name
    for file in (ROOT / "tests").glob("test_*.py")
    for name in (file.stem, *re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.M))
)


def replaced_by(text: str) -> str | None:
    found = REPLACED.search(text)
    return found and found[2]


def faults_of(name: str, text: str) -> list[str]:
    """What is wrong with the form of a page."""
    lines, faults = text.splitlines(), []
    title = TITLE.fullmatch(lines[0])
    if title is None or not name.startswith(f"{title[1]}-"):
        faults.append(f"the title: {lines[0]}")
    if len(lines) < 3 or lines[1] or not STATUS.fullmatch(lines[2]):
        faults.append("no line '**Decided** YYYY-MM.' below the title")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    if not sections or sections[0] != NEEDED[0] or NEEDED[1] not in sections:
        faults.append(f"sections: {sections}")
    if long := [line for line in lines if len(line) > 130 and not line.startswith("|")]:
        faults.append(f"a line of {len(long[0])} characters")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_has_the_form(page):
    assert faults_of(page.name, page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "# 1. A title\n\n**Decided** 2026-11.\n\n## The question\n\n## The decision\n",
        "# 0002: A title\n\n**Decided** 2026-11.\n\n## The question\n\n## The decision\n",
        "# 0001: A title\n\nAccepted, 2026-11.\n\n## The question\n\n## The decision\n",
        "# 0001: A title\n\n**Decided** 2026-13.\n\n## The question\n\n## The decision\n",
        "# 0001: A title\n\n**Decided** 2026-11.\n\n## Why\n\n## The decision\n",
        "# 0001: A title\n\n**Decided** 2026-11.\n\n## The question\n",
    ],
)
def test_another_form_is_seen(text):
    assert len(faults_of("0001-a-title.md", text)) == 1


def test_numbers_are_given_once_and_in_order():
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_pages_that_follow_each_other_say_so_both():
    texts = {page.name: page.read_text("utf-8") for page in PAGES}
    after = {(name, new) for name, text in texts.items() if (new := replaced_by(text))}
    before = {(match[2], name) for name, text in texts.items() for match in REPLACES.finditer(text)}
    assert after == before != set()
    assert all(old < new for old, new in after)


def test_the_index_is_whole():
    rows = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+?) \| (.*?) \|$", index(), re.MULTILINE)
    expected = []
    for page in PAGES:
        text = page.read_text("utf-8")
        title = TITLE.match(text)
        assert title is not None
        new = replaced_by(text)
        state = f"replaced by [{new[:4]}]({new})" if new else "holds"
        expected.append((title[1], page.name, title[2], state))
    assert rows == expected


def index() -> str:
    return (ADR / "README.md").read_text("utf-8")


def missing_in(text: str) -> list[str]:
    """The files and tests that a text names and that are not there."""
    homes = (ROOT, ROOT / "src" / "segzoo")
    files = [f for f in FILE.findall(text) if not any((home / f).is_file() for home in homes)]
    return files + [test for test in TEST.findall(text) if test not in TESTS]


VALID = [page for page in PAGES if replaced_by(page.read_text("utf-8")) is None]


@pytest.mark.parametrize("page", VALID, ids=lambda p: p.stem)
def test_what_a_valid_page_names_is_there(page):
    assert missing_in(page.read_text("utf-8")) == []


def test_what_has_moved_is_seen():
    assert missing_in("in `base/records.py`, `tests/test_adr.py`: `test_the_index_is_whole`") == []
    assert missing_in("`segzoo/hubline.py` and `test_of_old[a-b]`") == [
        "segzoo/hubline.py",
        "test_of_old",
    ]
