"""A page that a person looks at: what stands on it as plain data, and that as one HTML file.

The file fetches nothing: style, script and pictures are in it, and its Content-Security-Policy
allows no others. Every text is escaped where it is written (jinja2), wherever it comes from.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar, NamedTuple, TypeAlias

from segzoo.base.files import write
from segzoo.base.ours import PAGE
from segzoo.errors import printable
from segzoo.pictures.labels import Colour
from segzoo.report.charts import Chart

__all__ = [
    "REPORT",
    "Exhibit",
    "FactList",
    "Gallery",
    "Headline",
    "Layer",
    "Matrix",
    "NumberTable",
    "PageBlock",
    "Section",
    "WebPage",
    "data_uri",
    "rendered",
    "write_page",
]

REPORT = (
    "report.html"  # what a page of a run or an evaluation is called, where nothing else is said
)
SMALL = 200  # pixels: a picture that is not wider is shown with its pixels as squares


class Headline(NamedTuple):
    """A number that matters. note: its interval, or on what it was measured."""

    name: str
    value: str
    note: str = ""


class Layer(NamedTuple):
    """One of the pictures that lie on each other. uri: as `data_uri` gives it."""

    name: str
    uri: str


class Exhibit(NamedTuple):
    """Pictures of one size to slide between. width, height: in pixels."""

    caption: str
    value: str
    layers: Sequence[Layer]
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        return self.width <= SMALL


@dataclass(frozen=True)
class Gallery:
    """Pictures. keys: (name, colour) of what is drawn in them."""

    kind: ClassVar[str] = "gallery"
    exhibits: Sequence[Exhibit]
    title: str = ""
    note: str = ""
    keys: Sequence[tuple[str, Colour]] = ()


@dataclass(frozen=True)
class FactList:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class NumberTable:
    """The first column is text, others are numbers. A cell (text, share) has a bar of 0..1.

    colours: of the rows, in front of their first cell.
    """

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str | tuple[str, float]]]
    title: str = ""
    note: str = ""
    colours: Sequence[Colour] = ()


class Cell(NamedTuple):
    """share: in 0..1, None where there is nothing of which to have a share."""

    share: float | None
    text: str


@dataclass(frozen=True)
class Matrix:
    """Rows of cells that are the darker the larger their share is.

    uri: a picture of it instead, where there are too many cells to be told apart.
    """

    kind: ClassVar[str] = "matrix"
    names: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    uri: str = ""


PageBlock: TypeAlias = Chart | Gallery | FactList | NumberTable | Matrix | Exhibit


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it. pairs: its blocks stand two in a row where there is room.

    empty: what is said where there are no blocks.
    """

    name: str
    title: str
    blocks: Sequence[PageBlock] = ()
    note: str = ""
    empty: str = ""
    pairs: bool = False


@dataclass(frozen=True)
class WebPage:
    """kicker: what kind of page it is. lead, foot: a line below the title, and one at the end.

    notes: what could not be shown.
    """

    kicker: str
    title: str
    lead: str = ""
    tiles: Sequence[Headline] = ()
    notes: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
    foot: str = ""


def data_uri(data: bytes, kind: str) -> str:
    """A file's bytes as an address that holds them. kind: its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def rendered(page: WebPage) -> str:
    """The whole HTML of a page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["line"] = printable
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return environment.from_string(_asset("page.html")).render(
        page=page,
        policy=policy,
        style=Markup(style),  # a file of ours, as its hash in the policy says
        script=Markup(script),
        generator=PAGE.decode(),
    )


def write_page(path: str | os.PathLike[str], page: WebPage) -> None:
    """Write the page's HTML. Raises what `segzoo.base.files.write` does."""
    write(path, rendered(page).encode("utf-8", errors="backslashreplace"))


def _asset(name: str) -> str:
    return (resources.files("segzoo.report") / name).read_text("utf-8")


def _digest(text: str) -> str:
    """How a policy names an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
