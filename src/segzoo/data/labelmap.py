"""The classes of a set of one's own in the layout of a known one: what is said, or a file says.

    voc:minerals?classes=background,quartz,mica          what a person says comes first
    labelmap.txt                                         quartz:128,0,0::          CVAT
    class_names.txt, labels.txt                          a name on each line       labelme2voc
    _classes.csv                                         1, quartz                 Roboflow

A value of a mask is the place of its name, or the number that _classes.csv gives. Where colours
are told, masks are read by what they show, whatever way it is stored; a gray one whose values
are no colours of the list is read as values. A name in a file that is `__ignore__` or `ignored` is
no class: its pixels are 255, which do not count, as VOC's borders do not.
"""

import csv
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from segzoo.base.counts import count_of
from segzoo.data.declared import table_of
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.pictures.labels import Colour, default_palette
from segzoo.pictures.palettes import IGNORED, VOC, Table
from segzoo.spec import Option

__all__ = [
    "BACKGROUND",
    "OWN",
    "OwnClasses",
    "is_ignored",
    "listed_classes",
    "own_classes",
    "tidy",
]

OWN: Mapping[str, Option] = {
    "classes": Option(
        default="", help="names of a set of one's own in this layout, in the order of their values"
    ),
    "palette": Option(
        default="", help="its masks are colours: #000000,#ff0000 in the order of the classes"
    ),
}
BACKGROUND = "background"
MAX_BYTES = 1 << 20
MOST = 255  # classes: their indices and the ignored one are bytes
SHOWN = 3  # lines of a file that an error lists
UTF8 = "utf-8-sig"  # with or without the mark that some editors put in front


class OwnClasses(NamedTuple):
    """What masks mean. in_colours: they are read by what they show. numbered: a file gives values.

    said_by: which file, or which options.
    """

    table: Table
    said_by: str
    in_colours: bool
    numbered: bool = False
    file: str = ""


class _Row(NamedTuple):
    name: str
    colour: Colour | None = None
    value: int | None = None


def own_classes(
    folder: str, *, classes: str = "", palette: str = "", first: int = 0
) -> OwnClasses | None:
    """What these options or a file in the folder say of a set of one's own; None for nothing.

    first: the value that masks store for the first class; those below it do not count. UsageError
    for options that cannot be used; DatasetError for a file that cannot.
    """
    if classes or palette:
        table = _of_options(classes, palette)
        return OwnClasses(_shifted(table, first), "classes= and palette=", bool(palette))
    return listed_classes(folder, _FILES, first=first)


def listed_classes(folder: str, names: Iterable[str], *, first: int = 0) -> OwnClasses | None:
    """What the first of these files in the folder says; None where there is none of them."""
    for name in names:
        file = os.path.join(folder, name)
        if os.path.isfile(file):
            rows = _FILES[name](_lines(file), file)
            _check(rows, file)
            numbered = any(row.value is not None for row in rows)
            table = _of_rows(rows) if numbered else _shifted(_of_rows(rows), first)
            return OwnClasses(table, name, any(row.colour for row in rows), numbered, file)
    return None


def tidy(name: str) -> str:
    """The name of a label as a class has it: labelme's `_background_` is background."""
    name = name.strip()
    return BACKGROUND if name.lower() in ("_background_", BACKGROUND) else name


def is_ignored(name: str) -> bool:
    """Whether a label marks what does not count: `__ignore__` of labelme, `ignored` of datumaro."""
    return name.strip() in ("__ignore__", "ignored")


def _of_options(classes: str, palette: str) -> Table:
    names = tuple(map(str.strip, filter(str.strip, classes.split(","))))
    table = table_of(palette)
    names = names or table.classes
    count = len(table.palette)
    fault = ""
    if len({*names}) < len(names):
        fault = "classes= names one of them twice"
    elif not names:
        fault = "palette= gives colours, and nothing their names"
    elif count and len(names) != count:
        fault = f"classes= names {len(names)}, and palette= has {count_of(count, 'colour')}"
    elif len({*table.palette}) < count:
        fault = "palette= has one colour twice"
    elif len(names) > MOST:
        fault = f"classes= names {len(names)}, and {MOST} are the most"
    if fault:
        raise UsageError(
            fault, expected="a name and a colour for each class, in the order of their values"
        )
    if table.classes == names:
        return table
    return _table(names, table.palette)


def _of_rows(rows: list[_Row]) -> Table:
    kept = [row for row in rows if not is_ignored(row.name)]
    colours = {row.colour: IGNORED for row in rows if row.colour and is_ignored(row.name)}
    stored = {row.value: i for i, row in enumerate(kept) if row.value is not None}
    stored |= {row.value: IGNORED for row in rows if row.value is not None and is_ignored(row.name)}
    names = tuple(tidy(row.name) for row in kept)
    return _table(names, tuple(row.colour for row in kept if row.colour), colours, stored)


def _table(
    names: tuple[str, ...],
    palette: tuple[Colour, ...] = (),
    colours: Mapping[Colour, int] | None = None,
    stored: Mapping[int, int] | None = None,
) -> Table:
    """With VOC's colours where there are none, and its border; 255 is ignored.

    stored: the values of masks, where a file gives them; it names all that there are.
    """
    palette = palette or default_palette(len(names))
    others = {c: i for c, i in {**VOC.colours, **(colours or {})}.items() if c not in palette}
    values = stored or {IGNORED: IGNORED, **{n: n for n in range(len(names))}}
    return Table(
        classes=names, palette=palette, ignore_index=IGNORED, values=values, colours=others
    )


def _shifted(table: Table, first: int) -> Table:
    """The table of masks that store `first` for the first class."""
    if not first:
        return table
    values = {n: IGNORED for n in (*range(first), IGNORED)}
    values |= {first + n: n for n in range(len(table.classes))}
    return Table(
        classes=table.classes,
        palette=table.palette,
        ignore_index=IGNORED,
        values=values,
        colours=table.colours,
    )


# --- files ----------------------------------------------------------------------------------------


def _lines(file: str) -> list[str]:
    try:
        with open(file, encoding=UTF8) as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror or error}", file=file) from error
    except UnicodeDecodeError as error:
        raise DatasetError("the file is not UTF-8", file=file, found=str(error)[:80]) from error
    if len(text) > MAX_BYTES:
        raise DatasetError("the file is too large for a list of classes", file=file)
    return [line.strip() for line in text.splitlines()]


def _label_map(lines: Iterable[str], file: str) -> list[_Row]:
    """`label:red,green,blue:parts:actions`; the last three may be empty, or left out together."""
    rows, faults = [], []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(":") if line.count(":") < 3 else _split_from_right(line)
        colour = rest.split(":")[0].strip()
        numbers = [int(word) if word.strip().isdecimal() else -1 for word in colour.split(",")]
        if colour and not (len(numbers) == 3 and all(0 <= n <= 255 for n in numbers)):
            faults.append(f"line {number}: {printable(line)[:60]!r}")
            continue
        rows.append(_Row(name.strip(), (numbers[0], numbers[1], numbers[2]) if colour else None))
    if faults:
        raise DatasetError(
            "lines that are no label with its colour",
            file=file,
            found="; ".join(faults[:SHOWN]),
            expected="name:red,green,blue:: with 0 to 255",
        )
    if 0 < sum(row.colour is None for row in rows) < len(rows):
        lacking = [printable(row.name) for row in rows if row.colour is None]
        raise DatasetError(
            "some labels have a colour and others have none",
            file=file,
            found=f"none for {', '.join(lacking[:SHOWN])}",
        )
    return rows


def _split_from_right(line: str) -> tuple[str, str, str]:
    """A name may hold colons; the three fields after it do not."""
    name, colour, _, _ = line.rsplit(":", 3)
    return name, ":", colour


def _names(lines: Iterable[str], file: str) -> list[_Row]:
    return [_Row(line) for line in lines if line and not line.startswith("#")]


def _numbered(lines: Iterable[str], file: str) -> list[_Row]:
    """`value, name` below a line of headings."""
    rows = []
    try:
        table = [*csv.reader(filter(None, lines), skipinitialspace=True)]
    except csv.Error as error:
        raise DatasetError("the file is no table", file=file, found=str(error)) from error
    for number, fields in enumerate(table, 1):
        if len(fields) == 2 and fields[0].strip().isdecimal() and int(fields[0][:9]) < 65536:
            rows.append(_Row(fields[1].strip(), value=int(fields[0])))
        elif number > 1:
            raise DatasetError(
                "a line is no value with its class",
                file=file,
                found=f"line {number}: {printable(','.join(fields))[:60]!r}",
                expected="value, name",
            )
    return rows


_FILES = {
    "labelmap.txt": _label_map,
    "class_names.txt": _names,
    "labels.txt": _names,
    "_classes.csv": _numbered,
}


def _check(rows: list[_Row], file: str) -> None:
    """DatasetError for names, colours and values that stand twice, and for none at all."""
    named = [tidy(row.name) for row in rows if not is_ignored(row.name)]
    if not named or len(named) > MOST or "" in named:
        raise DatasetError(
            "the file lists no classes" if not named else "the classes cannot be used",
            file=file,
            found=f"{len(named)}" + ", one without a name" * ("" in named),
            expected=f"1 to {MOST} names",
        )
    colours = [f"#{bytes(row.colour).hex()}" for row in rows if row.colour]
    values = [str(row.value) for row in rows if row.value is not None]
    for what, words in (("name", named), ("colour", colours), ("value", values)):
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise DatasetError(
                f"one {what} stands for two labels, so masks cannot be read by it",
                file=file,
                found=", ".join(map(printable, twice[:SHOWN])),
                next_step="Give each label a colour of its own, or say classes= and palette=",
            )
