"""The site of the pages: every page has a place in it, and its links and docstrings hold."""

import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from segzoo.zoo import registry

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "docs/website.py"))
DOCS = ROOT / "docs"


def test_every_page_has_a_place():
    """A new page: list it in docs/index.md, where a person who wants it would look."""
    assert SITE["without_a_place"]() == []


def test_the_index_lists_each_page_once_and_no_other():
    found = SITE["placed"]((DOCS / "index.md").read_text("utf-8"))
    assert sorted(set(found)) == sorted(found)
    assert set(found) <= set(SITE["pages"]())


def test_a_page_without_a_place_is_seen(monkeypatch):
    there = SITE["pages"]() | {"new.md": DOCS / "new.md"}
    monkeypatch.setitem(SITE["without_a_place"].__globals__, "pages", lambda: there)
    assert SITE["without_a_place"]() == ["new.md"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a](train.md#x)", "[a](train.md#x)"),
        ("[a](adr/README.md)", "[a](adr/README.md)"),
        ("[S](../SECURITY.md)", "[S](security.md)"),
        ("[it](../plugins/segzoo-lite/README.md)", "[it](plugins/segzoo-lite.md)"),
        ("[`spec.py`](../src/segzoo/spec.py)", "`src/segzoo/spec.py`"),
        ("[the tests](../tests/test_site.py)", "the tests (`tests/test_site.py`)"),
        ("[a](https://example.org) [b](#here)", "[a](https://example.org) [b](#here)"),
        ("![p](images/demo.jpg)", "![p](images/demo.jpg)"),
        ("```text\n[a](../src/x.py)\n```\n", "```text\n[a](../src/x.py)\n```\n"),
    ],
)
def test_links_lead_to_pages_or_are_names_of_files(text, told):
    assert SITE["on_the_site"](text, name="page.md", file=DOCS / "page.md") == told


def test_links_of_a_page_in_a_folder():
    file = ROOT / "plugins/segzoo-lite/README.md"
    told = SITE["on_the_site"](
        "[c](../../docs/contract.md#x)", name="plugins/segzoo-lite.md", file=file
    )
    assert told == "[c](../contract.md#x)"


def test_images_of_a_page_from_elsewhere():
    told = SITE["on_the_site"](
        "![p](docs/images/demo.jpg)", name="readme.md", file=ROOT / "README.md"
    )
    assert told == "![p](images/demo.jpg)"


def test_lists_become_contents():
    told = SITE["with_contents"](
        "# T\n\n## One\n\n- [A](train.md): x\n- [S](../SECURITY.md)\n\n## Two\n\nno list\n"
    )
    assert told.count("{toctree}") == 1
    assert ":caption: One\n\ntrain\nsecurity\n```" in told


@pytest.mark.parametrize(
    ("docstring", "told"),
    [
        ("One *line* of `code` and x_", ["One \\*line\\* of ``code`` and x\\_", ""]),
        ("a, b: both\n    and more\nc: it", ["a, b", "    both and more", "", "c", "    it", ""]),
        ("See:\n\n    x = f(a)  # *", ["See:", "", "::", "", "    x = f(a)  # *", ""]),
        ("two\nlines", ["two lines", ""]),
    ],
)
def test_docstrings_are_plain_text(docstring, told):
    assert SITE["as_rst"](docstring.split("\n")) == told


def test_the_gallery_has_a_picture_of_all_weights_that_come_along():
    page = (DOCS / "gallery.md").read_text("utf-8")
    names = {
        f"{row.entry.name}.{tag}"
        for row in registry.rows()
        if row.spec is not None and row.entry.distribution.startswith("segzoo-")
        for tag, record in row.spec.weights.items()
        if record.bundled is not None
    }
    assert set(re.findall(r"^## (\S+)$", page, re.MULTILINE)) == names
    for name in names:
        assert f"](images/gallery/{name}.jpg)" in page
        assert (DOCS / f"images/gallery/{name}.jpg").read_bytes()[:3] == b"\xff\xd8\xff"


# --- the site itself ------------------------------------------------------------------------------


class Links(HTMLParser):
    """What an HTML page leads to and asks for, and the parts of it that can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets, self.parts = [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.parts |= {found.get("id"), found.get("name")}
        self.targets += [found[name] for name in ("href", "src") if found.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("furo", reason="the extra docs is not installed")
    place = tmp_path_factory.mktemp("site")
    SITE["collect"](place / "source")
    done = SITE["make"](place / "source", place / "html")
    assert done.returncode == 0, done.stderr
    return place / "html"


@pytest.mark.site
def test_the_site_is_made_without_a_warning_and_its_links_lead_somewhere(site):
    pages = {p: Links(p.read_text("utf-8")) for p in site.rglob("*.html")}
    assert len(pages) > len(SITE["pages"]())
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = there / "index.html" if there.is_dir() else there
            known = pages[there].parts if there in pages else {unquote(parts.fragment)}
            if not there.exists() or unquote(parts.fragment) not in known:
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


@pytest.mark.site
def test_the_reference_has_every_public_name(site):
    import segzoo

    text = (site / "api.html").read_text("utf-8")
    for name in segzoo.__all__:
        home = getattr(segzoo, name).__module__
        assert f'id="segzoo.{name}"' in text or f'id="{home}.{name}"' in text, name
    assert "overridden by all subclasses" not in text  # what torch says of every forward
