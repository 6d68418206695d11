"""The page of an evaluation, read from what it left in its folder.

The folder may come from elsewhere: what it holds is bounded and looked at before it is shown, and
what cannot be read is a note on the page instead of the part that it would have been.
"""

import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.errors import DataError, SegzooError, printable
from segzoo.pictures.labels import Colour, default_palette
from segzoo.report.charts import histogram
from segzoo.report.evaluation_report import CONFUSION
from segzoo.report.exhibits import ERROR_KEYS, PICTURES, encoded, read_pictures
from segzoo.report.page import (
    Cell,
    FactList,
    Gallery,
    Headline,
    Matrix,
    NumberTable,
    PageBlock,
    Section,
    WebPage,
    data_uri,
)
from segzoo.saved import config

__all__ = [
    "EvaluationPart",
    "evaluation_part",
    "facts_of",
    "foot",
    "mapping",
    "page_of_evaluation",
    "shown_places",
    "tried",
]

WORST, MIDDLE = 8, 4  # pictures shown
TILES = 4
NAMED = 16  # classes: with more the matrix is a picture
CONFUSED = 20  # pairs of classes that are told of then
KEYS = 12  # classes whose colours are told above pictures
MOST_BYTES = 1 << 26  # of a table
MOST_CLASSES = 4096
T = TypeVar("T")


class EvaluationPart(NamedTuple):
    """What a page has of an evaluation. lead: on what, and when. notes: what could not be shown."""

    title: str
    lead: str
    tiles: list[Headline]
    sections: list[Section]
    how: Section
    notes: list[str]


def evaluation_part(folder: str | os.PathLike[str]) -> EvaluationPart:
    """What metrics.json and the files beside it say. ConfigError where that cannot be read."""
    record = config.read_json(Path(folder, "metrics.json"))
    notes: list[str] = []
    protocol = mapping(record.get("protocol"))
    main = str(protocol.get("main") or "")
    nothing: list[dict[str, str]] = []
    rows = tried(notes, lambda: _table(Path(folder, "rows.csv")), nothing)
    values = mapping(record.get("values"))
    model, data = mapping(protocol.get("model")), mapping(protocol.get("data"))
    sections = [
        tried(notes, lambda: _pictures(Path(folder), record, rows, main), None),
        _spread(rows, main),
        _numbers(record),
        _classes(record),
        tried(notes, lambda: _confusion(Path(folder)), None),
    ]
    part = ", its held-out part" if data.get("part") else ""
    return EvaluationPart(
        title=str(model.get("weights") or model.get("name") or "a model"),
        lead=f"on {data.get('words') or 'a data set'}{part}: {_count(data.get('samples'))}, "
        "each at its own size",
        tiles=[*_tiles(values, mapping(record.get("intervals")), main)],
        sections=[section for section in sections if section is not None],
        how=_how(protocol),
        notes=notes,
    )


def page_of_evaluation(folder: str | os.PathLike[str]) -> WebPage:
    """The page of an evaluation alone. ConfigError where its metrics.json cannot be read."""
    part = evaluation_part(folder)
    return WebPage(
        kicker="segzoo · evaluation",
        title=part.title,
        lead=part.lead,
        tiles=part.tiles,
        notes=part.notes,
        sections=[*part.sections, part.how],
        foot=foot(),
    )


def foot() -> str:
    """The last line of a page."""
    return f"Made by segzoo-core {version('segzoo-core')}. This file is whole: it fetches nothing."


def tried(notes: list[str], read: Callable[[], T], otherwise: T) -> T:
    """What `read` gives; where it fails `otherwise`, and a note of why."""
    try:
        return read()
    except SegzooError as error:
        notes.append(str(error))
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        notes.append(f"a part of it cannot be shown: {printable(str(error))[:300]}")
    return otherwise


def mapping(value: Json) -> Mapping[str, Json]:
    """The value where it is a JSON object; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def facts_of(record: Mapping[str, Json], *, title: str = "") -> FactList:
    """A record as names and values, without those that say nothing."""
    rows = [(name.replace("_", " "), _said(value)) for name, value in record.items()]
    return FactList([(name, text) for name, text in rows if text], title)


def shown_places(values: Sequence[float]) -> tuple[list[int], list[int]]:
    """Which pictures are shown: the places of the lowest values, and of those about the median."""
    known = [place for place, value in enumerate(values) if not math.isnan(value)]
    ordered = sorted(known, key=lambda place: values[place])
    worst = ordered[:WORST]
    start = max(len(worst), (len(ordered) - MIDDLE) // 2)
    return worst, ordered[start : start + MIDDLE]


# --- numbers -------------------------------------------------------------------------------------


def _number(value: Json) -> float:
    """The number of JSON; nan for none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def _written(value: Json) -> str:
    number = _number(value)
    return "absent" if math.isnan(number) else f"{number:.4f}"


def _count(value: Json) -> str:
    known = isinstance(value, int)
    return count_of(value, "picture") if known else "an unknown number of pictures"


def _range(pair: Json) -> str:
    if not isinstance(pair, list) or len(pair) != 2 or math.isnan(_number(pair[0])):
        return ""
    return f"{_number(pair[0]):.4f} to {_number(pair[1]):.4f}"


def _tiles(
    values: Mapping[str, Json], intervals: Mapping[str, Json], main: str
) -> Iterator[Headline]:
    names = [name for name, value in values.items() if not isinstance(value, list)]
    for name in sorted(names, key=lambda name: name != main)[:TILES]:
        yield Headline(name, _written(values[name]), _range(intervals.get(name)))


def _numbers(record: Mapping[str, Json]) -> Section:
    values, intervals = mapping(record.get("values")), mapping(record.get("intervals"))
    rows = [
        (name, _written(value), _range(intervals.get(name)))
        for name, value in values.items()
        if not isinstance(value, list)
    ]
    table = NumberTable(
        ("metric", "value", "95 in 100"), rows, title="All numbers of the whole set"
    )
    return Section(
        "numbers",
        "Numbers",
        [table],
        note="The interval holds the number in 95 of 100 bootstrap samples of the pictures.",
    )


def _classes(record: Mapping[str, Json]) -> Section | None:
    names = _names(record)
    values = mapping(record.get("values"))
    columns = {
        name: value
        for name, value in values.items()
        if isinstance(value, list) and len(value) == len(names)
    }
    if not columns:
        return None

    def cell(name: str, value: Json) -> str | tuple[str, float]:
        number = _number(value)
        return (_written(value), number) if name == first and 0 <= number <= 1 else _written(value)

    first = next(iter(columns))
    rows = [
        (label, *(cell(name, column[place]) for name, column in columns.items()))
        for place, label in enumerate(names)
    ]
    table = NumberTable(
        ("class", *columns),
        rows,
        title=count_of(len(names), "class"),
        note="A class that neither truth nor prediction holds is absent, and in no mean.",
        colours=_palette(record, len(names)),
    )
    return Section("classes", "Classes", [table])


def _names(record: Mapping[str, Json]) -> list[str]:
    names = record.get("classes")
    return [str(name) for name in names[:MOST_CLASSES]] if isinstance(names, list) else []


def _palette(record: Mapping[str, Json], count: int) -> list[Colour]:
    """A colour of each class: those that the evaluation drew with, else VOC's."""
    given = record.get("palette")
    found = list(default_palette(count))
    for place, colour in enumerate(given[:count] if isinstance(given, list) else ()):
        if isinstance(colour, list) and len(colour) == 3:
            red, green, blue = (int(v) & 255 if isinstance(v, int) else 0 for v in colour)
            found[place] = (red, green, blue)
    return found


# --- tables --------------------------------------------------------------------------------------


def _table(path: Path) -> list[dict[str, str]]:
    """A CSV by the names in its first line. DataError for one that is too large or none."""
    if not path.is_file():
        raise DataError("there is no such file", file=path)
    if path.stat().st_size > MOST_BYTES:
        raise DataError("the table is too large", file=path, expected=f"{MOST_BYTES:,} bytes")
    text = path.read_text("utf-8", errors="replace")
    try:
        return [*csv.DictReader(io.StringIO(text, newline=""), restval="", restkey="")]
    except csv.Error as error:
        raise DataError(f"this is no table: {error}", file=path) from None


def _confusion(folder: Path) -> Section | None:
    path = folder / CONFUSION
    if not path.is_file():
        return None
    rows = _table(path)
    if not 0 < len(rows) <= MOST_CLASSES or any("pixels" not in row for row in rows):
        raise DataError("this is no table of a confusion matrix", file=path)
    names = [row["truth"] for row in rows]
    try:
        found = [[int(text) for text in [*row.values()][1 : len(rows) + 2]] for row in rows]
        table = np.array(found, np.float64).reshape(len(rows), len(rows) + 1)
    except ValueError:
        raise DataError("a row is not of whole numbers, one per class", file=path) from None
    pixels = table[:, :1]
    shares = np.divide(
        table[:, 1:], pixels, out=np.full_like(table[:, 1:], np.nan), where=pixels > 0
    )
    note = "Of each class's pixels, in %, which class they were called: truth in rows."
    blocks: list[PageBlock] = [_matrix(names, shares, note)]
    if len(names) > 2:
        blocks.append(_most_confused(names, shares, table[:, 1:]))
    return Section("confusion", "Confusion", blocks, pairs=True)


def _matrix(names: Sequence[str], shares: NDArray[np.float64], note: str) -> Matrix:
    if len(names) <= NAMED:
        cells = [
            [
                Cell(None, "") if math.isnan(share) else Cell(min(share, 1.0), _percent(share))
                for share in row
            ]
            for row in shares.tolist()
        ]
        return Matrix(names, cells, note=note)
    alpha = np.rint(255 * np.sqrt(np.clip(np.nan_to_num(shares), 0, 1))).astype(np.uint8)
    teal = np.broadcast_to(np.array((32, 145, 132), np.uint8), (*alpha.shape, 3))
    picture = np.concatenate([teal, alpha[..., None]], axis=2)
    factor = max(1, -(-560 // len(names)))  # whole pixels, so that none is blurred
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    data, kind = encoded(picture, exact=True)
    return Matrix(names, [], note=note, uri=data_uri(data, kind))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share >= 0.0005 else ""


def _most_confused(
    names: Sequence[str], shares: NDArray[np.float64], counts: NDArray[np.float64]
) -> NumberTable:
    off = counts.copy()
    np.fill_diagonal(off, 0)
    places = np.argsort(off, axis=None)[::-1][:CONFUSED]
    rows = []
    for place in places.tolist():
        row, column = divmod(place, len(names))
        if off[row, column] > 0:
            share = float(shares[row, column])
            text = f"{100 * share:.1f} %" if not math.isnan(share) else ""
            rows.append(
                (f"{names[row]} called {names[column]}", text, f"{int(off[row, column]):,}")
            )
    return NumberTable(
        ("truth and answer", "of the class", "pixels"), rows, title="Most often confused"
    )


# --- pictures ------------------------------------------------------------------------------------


def _values(rows: Sequence[Mapping[str, str]], main: str) -> list[tuple[int, str, float]]:
    """(number, id, value) of each picture."""
    found = []
    for row in rows:
        text = row.get(main, "")
        found.append((int(row["number"]), row.get("id", ""), float(text) if text else math.nan))
    return found


def _spread(rows: Sequence[Mapping[str, str]], main: str) -> Section | None:
    try:
        values = [value for _, _, value in _values(rows, main) if not math.isnan(value)]
    except (ValueError, KeyError):
        return None
    if not values:
        return None
    chart = histogram(
        "How many pictures came out how",
        values,
        x_label=main,
        note=f"{count_of(len(values), 'picture')}, from {min(values):.4f} to {max(values):.4f}, "
        f"median {median_low(values):.4f}.",
    )
    all_rows = _values(rows, main)
    low = sorted(all_rows, key=lambda row: (math.isnan(row[2]), row[2]))
    table = NumberTable(
        ("picture", main),
        [(name, _written(value)) for _, name, value in low[:100]],
        title="Picture by picture",
        note=f"The lowest {min(100, len(low)):,} of {len(low):,}; all are in rows.csv.",
    )
    return Section("spread", "Spread", [chart, table], pairs=True)


def _pictures(
    folder: Path, record: Mapping[str, Json], rows: Sequence[Mapping[str, str]], main: str
) -> Section:
    values = _values(rows, main)
    worst, middle = shown_places([value for _, _, value in values])
    if not (folder / PICTURES).is_file():
        return Section("pictures", "Pictures", empty=f"There is no {PICTURES} in the folder.")
    keys = _keys(record)
    blocks: list[PageBlock] = []
    for title, places in (("The worst", worst), ("About the median", middle)):
        wanted = [(values[p][0], values[p][1], f"{main} {values[p][2]:.4f}") for p in places]
        if found := read_pictures(folder, wanted):
            blocks.append(Gallery(found, title, keys=keys if not blocks else ()))
    return Section(
        "pictures",
        "Pictures",
        blocks,
        note="Slide from the picture to the truth, to the prediction, to its errors.",
        empty="No pictures were kept.",
    )


def _keys(record: Mapping[str, Json]) -> list[tuple[str, Colour]]:
    """What the colours in the pictures mean."""
    names = _names(record)
    keys = [*zip(names, _palette(record, len(names)), strict=True)]
    if len(names) == 2:
        return [keys[1], *ERROR_KEYS]
    return [*(keys if len(names) <= KEYS else ()), ("error", ERROR_KEYS[0][1])]


# --- how -----------------------------------------------------------------------------------------


def _said(value: Json) -> str:
    """A value as text; empty for nothing."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_said(v)}".strip() for k, v in value.items() if _said(v))[:2000]
    if isinstance(value, list):
        return ", ".join(filter(None, map(_said, value[:100])))[:2000]
    return f"{value:g}" if isinstance(value, float) else str(value)[:2000]


def _how(protocol: Mapping[str, Json]) -> Section:
    """Model, data, and all that one needs to measure the same again."""
    rest: dict[str, Any] = {
        key: value
        for key, value in protocol.items()
        if key not in ("model", "data", "versions", "preprocess", "postprocess")
    }
    return Section(
        "how",
        "How it was measured",
        [
            facts_of(mapping(protocol.get("model")), title="Model"),
            facts_of(mapping(protocol.get("data")), title="Data"),
            facts_of(rest, title="Protocol"),
            facts_of(mapping(protocol.get("preprocess")), title="From a picture to the network"),
            facts_of(mapping(protocol.get("postprocess")), title="From the network to a mask"),
            facts_of(mapping(protocol.get("versions")), title="Versions"),
        ],
        pairs=True,
    )
