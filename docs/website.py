"""The site of these pages: `make site` writes it to build/site.

The pages are the repository's own, as they are read there. What a site needs beside is made of them
here: a table of contents from the lists of docs/index.md, the reference from docstrings, and links
that lead to files instead of pages become the files' names. Sphinx then takes every warning for an
error, so a link within that leads nowhere ends it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUT = ROOT / "build" / "site"
INDEX, API, DECISIONS = "index.md", "api.md", "adr/README.md"
# Pages that lie elsewhere in the repository, by their names on the site.
ELSEWHERE = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "demo/ORIGIN.md": "photos.md",
    **{
        str(p.relative_to(ROOT)): f"plugins/{p.parent.name}.md"
        for p in sorted(ROOT.glob("plugins/*/README.md"))
    },
}
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s:]+)\)")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```+).*?^\1`*$", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^- \[([^\]]+)\]\(([^)\s#]+)\)", re.MULTILINE)
LITERAL = re.compile(r"(`+)(.+?)\1")


def pages() -> dict[str, Path]:
    """Every page of the site by its name there: those of docs/, and those that lie elsewhere."""
    own = {str(p.relative_to(DOCS)): p for p in sorted(DOCS.rglob("*.md"))}
    return own | {name: ROOT / path for path, name in ELSEWHERE.items()}


def placed(index: str) -> list[str]:
    """The pages that an index leads to, by their names on the site."""
    return [_name_of(DOCS / target) or target for _, target in ENTRY.findall(index)]


def without_a_place() -> list[str]:
    """Pages that nothing of docs/index.md leads to; decisions stand in a list of their own."""
    found = {*placed((DOCS / INDEX).read_text("utf-8")), INDEX}
    return [n for n in pages() if n not in found and not re.match(r"adr/\d", n)]


# --- one page -------------------------------------------------------------------------------------


def _name_of(path: Path) -> str | None:
    """What a file is called on the site; None where it is no page of it."""
    path = Path(os.path.normpath(path))
    if path.is_relative_to(DOCS):
        return str(path.relative_to(DOCS))
    return ELSEWHERE.get(str(path.relative_to(ROOT))) if path.is_relative_to(ROOT) else None


def on_the_site(text: str, *, name: str, file: Path) -> str:
    """A page whose links lead to pages of the site; those to other files are their names.

    name: the page's own, on the site. file: where it lies in the repository.
    """

    def led(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, hash_, part = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        there = Path(os.path.normpath(file.parent / path))
        other = _name_of(there)
        if other is not None and there.suffix == ".md" and there.is_file():
            to = os.path.relpath(other, Path(name).parent)
            return f"[{words}]({to}{hash_}{part})"
        where = str(there.relative_to(ROOT))
        bare = words.strip("`")
        return f"`{where}`" if bare in where else f"{words} (`{where}`)"

    def shown(match: re.Match[str]) -> str:
        there = Path(os.path.normpath(file.parent / match[2]))
        if not there.is_relative_to(DOCS):
            return match[1]
        return f"![{match[1]}]({os.path.relpath(there.relative_to(DOCS), Path(name).parent)})"

    def outside(prose: str) -> str:
        return LINK.sub(led, IMAGE.sub(shown, prose))

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [outside(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, outside(text[end:])])


def with_contents(index: str) -> str:
    """The index with a table of contents for Sphinx under each heading, of the pages there."""
    parts = re.split(r"^(?=## )", index, flags=re.MULTILINE)
    told = []
    for part in parts:
        names = [name.removesuffix(".md") for name in placed(part)]
        title = re.match(r"## (.*)", part)
        caption = f":caption: {title[1]}\n" if title else ""
        tree = "\n".join(names)
        told.append(part.rstrip("\n") + "\n\n")
        if names:
            told.append(f"```{{toctree}}\n:hidden:\n{caption}\n{tree}\n```\n\n")
    return "".join(told)


def reference(contract: str) -> str:
    """What Sphinx is to write of the public modules, as the contract lists them."""
    section = contract.partition("## Public modules")[2].partition("\n#")[0]
    names = re.findall(r"^\| `(segzoo[\w.]*)` \|", section, re.MULTILINE)
    blocks = []
    for name in names:
        how = ["   :members:"]
        if name == "segzoo":  # whose names come from elsewhere when they are first used
            how.append("   :imported-members:")
        lines = "\n".join([f".. automodule:: {name}", *how])
        blocks.append(f"## `{name}`\n\n```{{eval-rst}}\n{lines}\n```\n")
    return "\n".join(blocks)


def collect(place: Path) -> None:
    """Write all sources of the site to a folder."""
    shutil.rmtree(place, ignore_errors=True)
    for name, file in pages().items():
        text = on_the_site(file.read_text("utf-8"), name=name, file=file)
        if name == INDEX:
            text = with_contents(text)
        elif name == API:
            text += "\n" + reference((DOCS / "contract.md").read_text("utf-8"))
        elif name == DECISIONS:
            text += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, "utf-8")
    shutil.copytree(DOCS / "images", place / "images")
    for name in ("conf.py", "website.py"):
        shutil.copy(DOCS / name, place)


# --- docstrings -----------------------------------------------------------------------------------


def as_rst(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText: prose, `name: what it is` as a list, code as it stands.

    Docstrings of segzoo are plain text, so nothing in them is markup but code in backquotes.
    """
    told: list[str] = []
    for kind, block in _blocks(lines):
        if kind == "code":
            told += ["::", "", *(f"    {line}" for line in block), ""]
        elif kind == "terms":
            for line in block:
                name, _, text = line.partition(": ")
                told += [f"{_escaped(name)}", f"    {_escaped(text)}", ""]
        else:
            told += [_escaped(" ".join(line.strip() for line in block)), ""]
    return told


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Paragraphs of a docstring with what they are: "text", "terms", "code"."""
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        block = paragraph.split("\n")
        if all(line.startswith("    ") for line in block) or "    " in block[0].strip():
            yield "code", [line.removeprefix("    ") for line in block]
        elif re.match(r"[a-z_]\w*(, [a-z_]\w*)*: ", block[0]):
            terms: list[str] = []
            for line in block:
                if re.match(r"[a-z_]\w*(, [a-z_]\w*)*: ", line) or not terms:
                    terms.append(line.strip())
                else:
                    terms[-1] += f" {line.strip()}"
            yield "terms", terms
        else:
            yield "text", block


def _escaped(text: str) -> str:
    """Text in which nothing is markup but what stands in backquotes, which is code."""
    parts, end = [], 0
    for code in LITERAL.finditer(text):
        parts += [
            re.sub(r"([\\*_|`])", r"\\\1", text[end : code.start()]),
            f"``{code[2].strip()}``",
        ]
        end = code.end()
    parts.append(re.sub(r"([\\*_|`])", r"\\\1", text[end:]))
    return "".join(parts).strip()


# --- the site -------------------------------------------------------------------------------------


def make(source: Path, html: Path) -> subprocess.CompletedProcess[str]:
    """Let Sphinx make HTML of collected sources; every warning is an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    return subprocess.run([*command, str(source), str(html)], stderr=subprocess.PIPE, text=True)


def main() -> int:
    """Collect the pages and let Sphinx make the site; its exit code."""
    collect(OUT / "source")
    done = make(OUT / "source", OUT / "html")
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode == 0:
        print(f"The site begins at {OUT / 'html' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
