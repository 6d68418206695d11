"""Lines, bars and dots as shapes for a page: where everything lies, in the units of an SVG.

Drawn by the page itself rather than by matplotlib, so that colours follow the reader's light or
dark, text stays text, and a page with charts needs no extra (docs/adr has the reasons).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

__all__ = ["Chart", "drawable", "histogram", "lines", "scatter"]

WIDTH, HEIGHT = 440, 250  # units of the SVG
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 34  # what axes and their labels take of it
MOST_POINTS = 400  # of a line: more than there are pixels to tell them apart
BINS = 20
STEEP = 10.0  # times its least: values above that have a logarithmic axis
LARGEST = 1e300  # of a value: what lies between two larger ones may be no number
LEAST = 1e-300  # of what lies between two marks of an axis: a smaller one has no logarithm


class ChartFrame(NamedTuple):
    """The size of a chart, and where its axes lie in it."""

    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


class Tick(NamedTuple):
    at: float
    text: str


class AxisLabels(NamedTuple):
    """What stands along an axis."""

    name: str = ""
    ticks: tuple[Tick, ...] = ()


NONE = AxisLabels()


class ChartLine(NamedTuple):
    """path: the d of an SVG path. colour: a number of the page's palette. faint: as seen, unmended.

    dots: (x, y, what a pointer is told).
    """

    name: str
    path: str
    colour: int
    faint: bool = False
    dots: tuple[tuple[float, float, str], ...] = ()


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    text: str


class Dot(NamedTuple):
    x: float
    y: float
    colour: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart. rule: an upright line and its text. diagonal: where both axes say the same."""

    kind: ClassVar[str] = "chart"
    title: str
    note: str = ""
    x: AxisLabels = NONE
    y: AxisLabels = NONE
    lines: tuple[ChartLine, ...] = ()
    bars: tuple[Bar, ...] = ()
    dots: tuple[Dot, ...] = ()
    rule: Tick | None = None
    diagonal: str = ""
    frame: ClassVar[ChartFrame] = ChartFrame()


class _Axis(NamedTuple):
    """Values low..high as places start..end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else self[:2]
        value = math.log(value) if self.log else value
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, *, whole: bool = False) -> tuple[Tick, ...]:
        marks = _decades(self.low, self.high) if self.log else _even(self.low, self.high, whole)
        return tuple(Tick(self(mark), f"{mark:,}" if whole else f"{mark:g}") for mark in marks)


def drawable(value: float) -> bool:
    """Whether a number has a place on an axis, which NaN, infinity and the very largest lack."""
    return abs(value) <= LARGEST


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[int, float]]],
    *,
    smooth: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    mark: tuple[int, str] | None = None,
    even: bool = False,
    note: str = "",
) -> Chart:
    """Values over steps. smooth: by the series' name, what is drawn before it, which is then faint.

    mark: a step and its text. even: never a logarithmic axis, which is for losses: of a share,
    what lies near 1 matters. What is not `drawable` is left out; so are series without any.
    """
    smooth = smooth or {}
    shown = {n: [p for p in points if drawable(p[1])] for n, points in series.items()}
    shown = {name: points for name, points in shown.items() if points}
    values = [value for points in shown.values() for _, value in points]
    steps = [step for points in shown.values() for step, _ in points]
    if not values:
        return Chart(title=title, note=note or "There is nothing to draw.")
    log = not even and min(values) > 0 and max(values) > STEEP * min(values)
    low, high = (min(values), max(values)) if log else _around(min(values), max(values))
    x = _Axis(min(0, *steps), max(1, *steps), LEFT, WIDTH - RIGHT)
    y = _Axis(low, high, HEIGHT - BOTTOM, TOP, log)
    drawn = []
    for colour, (name, points) in enumerate(shown.items()):
        if name in smooth:
            drawn.append(ChartLine("", _path(points, x, y), colour, faint=True))
            points = [p for p in smooth[name] if drawable(p[1])] or points
        few = len(points) <= 40
        dots = [(x(s), y(v), f"{name}, step {s:,}: {v:.4g}") for s, v in points] if few else []
        drawn.append(ChartLine(name, _path(points, x, y), colour, dots=tuple(dots)))
    return Chart(
        title=title,
        note=note,
        x=AxisLabels("step", x.ticks(whole=True)),
        y=AxisLabels("", y.ticks()),
        lines=tuple(drawn),
        rule=None if mark is None else Tick(x(mark[0]), mark[1]),
    )


def histogram(title: str, values: Sequence[float], *, x_label: str, note: str = "") -> Chart:
    """How many of the values lie where; those that are not `drawable` are left out."""
    found = [value for value in values if drawable(value)]
    if not found:
        return Chart(title=title, note=note or "There is nothing to draw.")
    low, high = min(found), max(found)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    room = 0.0 if high > low else max(0.5, 1e-6 * abs(high))
    low, high = low - room, high + room
    counts = [0] * BINS
    for value in found:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
    x = _Axis(low, high, LEFT, WIDTH - RIGHT)
    y = _Axis(0, max(counts), HEIGHT - BOTTOM, TOP)
    edges = [low + (high - low) * n / BINS for n in range(BINS + 1)]
    bars = tuple(
        Bar(
            x(a) + 1,
            y(count),
            round(x(b) - x(a) - 2, 1),
            round(y(0) - y(count), 1),
            f"{a:.3g} to {b:.3g}: {count:,}",
        )
        for (a, b), count in zip(pairwise(edges), counts, strict=True)
        if count
    )
    middle = sorted(found)[len(found) // 2]
    return Chart(
        title=title,
        note=note,
        x=AxisLabels(x_label, x.ticks()),
        y=AxisLabels("pictures", y.ticks(whole=True)),
        bars=bars,
        rule=Tick(x(middle), f"median {middle:.3f}"),
    )


def scatter(
    title: str,
    pairs: Sequence[tuple[float, float, str]],
    *,
    names: tuple[str, str],
    note: str = "",
) -> Chart:
    """(a, b, text) as dots: above the diagonal those whose b is the larger, in the second colour.

    Both axes span the same values. Dots of the same colour lie on the diagonal's two sides alone.
    """
    found = [(a, b, text) for a, b, text in pairs if drawable(a) and drawable(b)]
    if not found:
        return Chart(title=title, note=note or "There is nothing to draw.")
    values = [value for a, b, _ in found for value in (a, b)]
    low, high = _around(min(values), max(values))
    x, y = _Axis(low, high, LEFT, WIDTH - RIGHT), _Axis(low, high, HEIGHT - BOTTOM, TOP)
    dots = [Dot(x(a), y(b), 2 if a == b else int(b > a), text) for a, b, text in found]
    return Chart(
        title=title,
        note=note,
        x=AxisLabels(names[0], x.ticks()),
        y=AxisLabels(names[1], y.ticks()),
        dots=tuple(dots),
        diagonal=f"M{x(low)} {y(low)}L{x(high)} {y(high)}",
    )


# --- axes ----------------------------------------------------------------------------------------


def _around(low: float, high: float) -> tuple[float, float]:
    """A little more than low..high; what is a share stays within 0..1."""
    room = next(r for r in ((high - low) * 0.06, abs(high) * 0.1, 0.5) if r > LEAST)
    if low >= 0 and high <= 1:
        return max(0.0, low - room), min(1.0, high + room)
    return low - room, high + room


def _even(low: float, high: float, whole: bool) -> list[float]:
    """About five round values between."""
    rough = max((high - low) / 5, LEAST)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    if whole:
        step = max(1, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step if whole else float(f"{n * step:.10g}") for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between; powers alone where these are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    powers = powers[:: max(1, len(powers) // 6)]
    marks = [float(f"{n}e{power}") for power in powers for n in factors]
    return [mark for mark in marks if low <= mark <= high]


def _path(points: Sequence[tuple[int, float]], x: _Axis, y: _Axis) -> str:
    points = points[:: max(1, -(-len(points) // MOST_POINTS))]
    return "M" + "L".join(f"{x(step)} {y(value)}" for step, value in points)
