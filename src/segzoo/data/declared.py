"""What a person says of masks in a data set's words: values=, classes=, threshold= and so on."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.data.paired import Reading
from segzoo.data.sample import Info
from segzoo.errors import UsageError, printable
from segzoo.pictures import labels
from segzoo.pictures.labels import Colour
from segzoo.pictures.palettes import TABLES, Table
from segzoo.pictures.stored import CHANNELS
from segzoo.spec import Option

__all__ = ["OPTIONS", "Declared", "Said", "declared", "table_of"]

Labels: TypeAlias = NDArray[Any]

OPTIONS: Mapping[str, Option] = {
    "values": Option(
        default="",
        help="values in the masks, in the order of the classes: 0,255; "
        "*,25|27 for two values of one class, and all others",
    ),
    "classes": Option(default="", help="names of the classes: cat,dog"),
    "palette": Option(
        default="", help="masks are colours: a data set's name, or #000000,#ff0000 in order"
    ),
    "ignore_index": Option(
        default=None, help="the value that does not count; with palette=, of every other colour"
    ),
    "threshold": Option(
        default="", help="masks are black and white: what is as bright is the class, as in JPEG 128"
    ),
    "channel": Option(
        default="", choices=("", *CHANNELS), help="which channel of its file a mask is"
    ),
    "peak": Option(
        default="", help="the largest value in pictures of more than 8 bits: 4095 of 12 bits"
    ),
    "bands": Option(
        default="", help="how many measured bands pictures have; rgba for colours with alpha"
    ),
}
HEX = re.compile(r"#?([0-9a-fA-F]{6})")
RGBA = "rgba"  # of bands=: colours with alpha
WORD, REST = "*", ()  # all values that no other class has, as they are written and kept


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Makes class indices of what masks hold. It is called with (H, W) values or (H, W, 3) colours.

    in_colours: whether masks are to be read as colours; `palette` and `ignore` say which.
    mapping: stored value -> index; empty where values are indices. unknown: the index of other
    colours; rest: of other values. threshold: the brightness from which on a pixel is of class 1,
    instead of a mapping. channel: the one that is read of a file. with_alpha: every picture has
    a fourth channel, 255 where its file has no alpha.
    """

    info: Info
    mapping: Mapping[int, int]
    palette: tuple[Colour, ...]
    ignore: Mapping[Colour, int]
    unknown: int | None
    rest: int | None
    threshold: float | None = None
    channel: str = ""
    with_alpha: bool = False

    @property
    def in_colours(self) -> bool:
        return bool(self.palette)

    def __call__(self, stored: Labels) -> Labels:
        """(H, W) indices. DatasetError for colours and values that were not declared."""
        if self.in_colours:
            if stored.ndim == 2:
                stored = np.stack([stored] * 3, axis=2)
            return labels.encode(stored, self.palette, ignore=self.ignore, unknown=self.unknown)
        if self.threshold is not None:
            return labels.parted(stored, self.threshold, ignore_index=self.info.ignore_index)
        values = labels.gray(stored)
        if not self.mapping:
            return values
        return labels.apply_map(
            values, self.mapping, rest=self.rest, ignore_index=self.info.ignore_index
        )

    @property
    def reading(self) -> Reading:
        """How files of pictures and masks are read, to be what is said here."""
        return Reading(
            in_colours=self.in_colours,
            channel=self.channel,
            rough=self.threshold is not None,
            peak=self.info.peak,
            bands=self.info.bands,
            with_alpha=self.with_alpha,
        )


class Said(TypedDict, total=False):
    """Values of `OPTIONS`, as a person writes them."""

    values: str
    classes: str
    palette: str
    ignore_index: int | str | None
    threshold: str
    channel: str
    peak: str
    bands: str


def declared(**said: Unpack[Said]) -> Declared:
    """What these options say. UsageError where they cannot be read or contradict each other."""
    values, classes = said.get("values", ""), said.get("classes", "")
    palette, threshold = said.get("palette", ""), said.get("threshold", "")
    ignore_index = said.get("ignore_index")
    ignored = None if ignore_index is None else _whole(ignore_index, "ignore_index")
    groups = tuple(_group(word) for word in values.split(",") if word.strip())
    stored = tuple(itertools.chain.from_iterable(groups))
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    given = {"values": stored, "palette": palette, "threshold": threshold}
    if len(several := [f"{name}=" for name, value in given.items() if value]) > 1:
        raise UsageError(
            f"{' and '.join(several)} exclude each other: masks hold values, colours, or black and "
            "white"
        )
    for option, items in (("values", stored), ("classes", names)):
        if len({*items}) < len(items):
            raise UsageError(f"{option}= names one of them twice", found=printable(str(items)))
    if groups.count(REST) > 1 or groups == (REST,):
        raise UsageError(
            f"values={printable(values)!r} cannot be read",
            expected=f"{WORD} for one class at most, and values for another",
        )
    free = next(value for value in itertools.count() if value not in stored)
    table = table_of(palette)
    names = names or table.classes
    least = _number(threshold, "threshold") if threshold else None
    count = len(groups) or len(table.palette) or 2 * (least is not None)
    if names and count and len(names) != count and (len(names), count) != (1, 2):
        raise UsageError(
            "there is not one class for each value or colour",
            found=f"{count_of(len(names), 'class')} for {count}",
            expected="as many, or one class and two: without it, with it",
        )
    found = Declared(
        info=Info(
            classes=names,
            palette=table.palette if len(names) != 1 else (),
            ignore_index=table.ignore_index if ignored is None else ignored,
            pixel_values=tuple(group[0] if group else free for group in groups),
            bands=_bands(said.get("bands", "")),
            peak=_peak(said.get("peak", "")),
        ),
        mapping={value: index for index, group in enumerate(groups) for value in group},
        palette=table.palette,
        ignore=table.colours,
        unknown=ignored if palette else None,
        rest=groups.index(REST) if REST in groups else None,
        threshold=least,
        channel=said.get("channel", ""),
        with_alpha=said.get("bands", "").lower() == RGBA,
    )
    if found.in_colours:
        found(np.empty((0, 0, 3), np.uint8))  # a palette that cannot be read backwards says so
    return found


def table_of(palette: str) -> Table:
    """A table by name, or of colours in hexadecimal; an empty one for no word. UsageError."""
    if not palette:
        return Table(classes=())
    table = TABLES.get(palette.strip().lower().replace("-", "_"))
    if table is None:
        matches = [HEX.fullmatch(word.strip()) for word in palette.split(",")]
        codes = [int(match[1], 16) for match in matches if match]
        if len(codes) < len(matches):
            raise UsageError(
                f"palette={printable(palette)!r} cannot be read",
                expected="colours such as #000000,#ff0000, or one of " + ", ".join(TABLES),
            )
        return Table(
            classes=(), palette=tuple((code >> 16, code >> 8 & 255, code & 255) for code in codes)
        )
    if not table.palette:
        raise UsageError(
            f"palette={printable(palette)}: this data set has no colours",
            next_step="Say which values its masks hold: values=",
        )
    return table


def _group(word: str) -> tuple[int, ...]:
    """The stored values of one class: "7", "25|27", or "*" for those of no other class."""
    if word.strip() == WORD:
        return REST
    return tuple(_whole(value, "values") for value in word.split("|"))


def _bands(text: str) -> int | None:
    """How many measured bands there are; None for colours."""
    if text.lower() in ("", RGBA):
        return None
    count = _whole(text, "bands")
    if count < 1:
        raise UsageError(f"bands={printable(text)} is below 1", expected=f"a number, or {RGBA}")
    return count


def _peak(text: str) -> float | None:
    peak = _number(text, "peak") if text else None
    if peak is not None and not 0 < peak < math.inf:
        raise UsageError(
            f"peak={printable(text)} is no brightness", expected="a number above 0, such as 4095"
        )
    return peak


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{option}={printable(text)!r} cannot be read", expected="a number"
        ) from None


def _whole(text: int | str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"{option}={printable(str(text))!r} cannot be read", expected="whole numbers"
        ) from None
