"""Two models on one data set, picture by picture: which is better, how sure that is, how fast."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segzoo.base import ours
from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.data.sample import Dataset
from segzoo.engine import evaluate as engine
from segzoo.errors import UsageError
from segzoo.metrics.bootstrap import Difference, differences
from segzoo.metrics.measure import Measure
from segzoo.model.loaded import Model
from segzoo.report.charts import histogram, scatter
from segzoo.report.evaluation_page import facts_of, foot, mapping
from segzoo.report.exhibits import exhibit_of, layers_of, looked_at
from segzoo.report.page import Exhibit, Gallery, Headline, NumberTable, Section, WebPage, write_page
from segzoo.runs.evaluation import SEED, EvaluateRequest, Machine, Measurement, measurement

__all__ = ["CompareRequest", "Compared", "PairedSpeed", "compared"]

SIDES = ("A", "B")
SHOWN = 4  # pictures of each side's largest leads
TIMED = 12  # pictures that speed is measured on, at most
ROUNDS = 3  # times each of them


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """models: the two. out: the page; None for none. speed: whether it is measured."""

    models: tuple[str | Model, str | Model]
    data: str | Dataset
    metrics: Sequence[str] = ()
    machine: Machine = field(default_factory=Machine)
    bootstrap: int = 1000
    speed: bool = True
    out: Path | None = None
    progress: Callable[[int, int], object] | None = None


class PairedSpeed(NamedTuple):
    """Seconds from a picture to its mask, the median over pictures, on one device.

    ratio: how many times as long B takes as A, the median of paired measurements; low, high: the
    middle half of them. pictures, rounds: how many measurements there were.
    """

    first: float
    second: float
    ratio: float
    low: float
    high: float
    pictures: int
    rounds: int
    device: str
    threads: int


@dataclass(frozen=True)
class Compared:
    """What was found. A is the first model, B the second.

    names: of the models. values: (A, B) of every number that both have. differences: B minus A,
    with intervals. better: the lower-is-better numbers are in `lower`. main: the number that
    pictures are compared by. pairs: (id, A's, B's) of each picture. wins: pictures that A has the
    better number of, B has, and neither. speed: None where it was not measured.
    """

    names: tuple[str, str]
    values: Mapping[str, tuple[float, float]]
    differences: Mapping[str, Difference]
    lower: frozenset[str]
    main: str
    pairs: Sequence[tuple[str, float, float]] = field(repr=False)
    wins: tuple[int, int, int]
    speed: PairedSpeed | None
    protocols: tuple[Mapping[str, Json], Mapping[str, Json]] = field(repr=False)

    def winner(self, name: str) -> str:
        """ "A", "B", or "" where the interval of the difference holds zero."""
        found = self.differences.get(name)
        if found is None or math.isnan(found.low) or found.low <= 0 <= found.high:
            return ""
        return SIDES[(found.low > 0) != (name in self.lower)]

    def as_json(self) -> dict[str, Json]:
        """All of it as JSON values; null for nan."""

        def plain(value: float) -> Json:
            return None if math.isnan(value) else value

        return {
            "models": dict(zip(SIDES, self.names, strict=True)),
            "values": {n: [*map(plain, pair)] for n, pair in self.values.items()},
            "differences": {n: [*map(plain, found)] for n, found in self.differences.items()},
            "better": {n: self.winner(n) or None for n in self.values},
            "main": self.main,
            "wins": dict(zip((*SIDES, "equal"), self.wins, strict=True)),
            "pictures": [[name, plain(a), plain(b)] for name, a, b in self.pairs],
            "speed": None if self.speed is None else self.speed._asdict(),
            "protocol": dict(zip(SIDES, map(dict, self.protocols), strict=True)),
        }


def compared(request: CompareRequest) -> Compared:
    """Measure two models on the same pictures and tell them apart.

    What is compared are the numbers that both have. The interval of a difference is from bootstrap
    samples of the pictures, the same ones for both. SegzooError says what to do.
    """
    if request.out is not None:
        ours.refuse_others([request.out], next_step="choose another name with -o")
    first, second = (_measured(request, model, place) for place, model in enumerate(request.models))
    data = [mapping(m.result.protocol["data"]) for m in (first, second)]
    if data[0]["sha256"] != data[1]["sha256"]:
        raise UsageError("the data set changed while it was measured on")
    main = str(first.result.protocol["main"])
    if main not in second.result.values:
        raise UsageError(
            "the models have no number in common that pictures are compared by",
            found=f"{first.zoo.task} and {second.zoo.task}",
            expected=f"{main} of both",
            next_step=f"Add --metric {'saliency' if main == 'max_f' else 'semantic'}",
        )
    lower = frozenset(chain(*(m.lower_is_better for m in first.measures.values())))
    pairs = [
        (str(a["id"]), float(a[main]), float(b[main]))
        for a, b in zip(first.result.rows, second.result.rows, strict=True)
    ]
    found = Compared(
        names=(_name(first), _name(second)),
        values=dict(_common(first, second)),
        differences=_differences(first, second, request.bootstrap),
        lower=lower,
        main=main,
        pairs=pairs,
        wins=_wins(pairs, -1 if main in lower else 1),
        speed=_speed(first, second) if request.speed else None,
        protocols=(first.result.protocol, second.result.protocol),
    )
    if request.out is not None:
        write_page(request.out, _page(found, first, second))
    return found


def _measured(request: CompareRequest, model: str | Model, place: int) -> Measurement:
    progress = request.progress
    tell = None if progress is None else lambda done, all_: progress(place * all_ + done, 2 * all_)
    return measurement(
        EvaluateRequest(
            model=expanded(model) if isinstance(model, str) else model,
            data=request.data,
            metrics=request.metrics,
            machine=request.machine,
            bootstrap=0,
            progress=tell,
        )
    )


def _name(found: Measurement) -> str:
    model = mapping(found.result.protocol["model"])
    options = ",".join(f"{k}={v}" for k, v in mapping(model.get("options")).items())
    name = str(model.get("weights") or model["name"])
    return f"{name} ({options})" if options and options not in name else name


def _common(first: Measurement, second: Measurement) -> Iterator[tuple[str, tuple[float, float]]]:
    others = second.result.values
    for name, a in first.result.values.items():
        b = others.get(name)
        if isinstance(a, float) and isinstance(b, float):
            yield name, (a, b)


def _differences(first: Measurement, second: Measurement, rounds: int) -> dict[str, Difference]:
    found: dict[str, Difference] = {}
    for name in first.measures.keys() & second.measures.keys() if rounds else ():
        sides: list[tuple[Measure, list[Any]]] = [
            (side.measures[name], [row.sums[name] for row in side.found.rows])
            for side in (first, second)
        ]
        found |= engine.distinct(name, differences(*sides, rounds=rounds, seed=SEED), found)
    order = [*first.result.values]
    return dict(
        sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else 0)
    )


def _wins(pairs: Sequence[tuple[str, float, float]], sign: int) -> tuple[int, int, int]:
    leads = [sign * (b - a) for _, a, b in pairs]
    return sum(v < 0 for v in leads), sum(v > 0 for v in leads), sum(v == 0 for v in leads)


# --- speed ---------------------------------------------------------------------------------------


def _speed(first: Measurement, second: Measurement) -> PairedSpeed | None:
    """Both on the same pictures in turn, so that what else the machine does meets both alike."""
    count = len(first.data)
    numbers = range(0, count, max(1, -(-count // TIMED)))
    looks = [side.look for side in (first, second)]
    seconds: list[tuple[float, float]] = []
    for side in looks:
        [*_] = side(numbers[:1])  # what is made at the first call
    for turn in range(ROUNDS):
        for number in numbers:
            took = [0.0, 0.0]
            for place in (0, 1) if turn % 2 == 0 else (1, 0):
                begin = time.perf_counter()
                [*_] = looks[place]([number])
                took[place] = time.perf_counter() - begin
            seconds.append((took[0], took[1]))
    ratios = sorted(b / a for a, b in seconds)
    quarter = len(ratios) // 4
    return PairedSpeed(
        first=statistics.median(a for a, _ in seconds),
        second=statistics.median(b for _, b in seconds),
        ratio=statistics.median(ratios),
        low=ratios[quarter],
        high=ratios[-1 - quarter],
        pictures=len(numbers),
        rounds=ROUNDS,
        device=str(first.result.protocol["device"]),
        threads=torch.get_num_threads(),
    )


# --- the page ------------------------------------------------------------------------------------


def _page(found: Compared, first: Measurement, second: Measurement) -> WebPage:
    main, (a, b) = found.main, found.values[found.main]
    data = mapping(found.protocols[0]["data"])
    versions = {n: v for p in found.protocols for n, v in mapping(p["versions"]).items()}
    difference = found.differences.get(main)
    tiles = [
        Headline(f"A · {main}", f"{a:.4f}", found.names[0]),
        Headline(f"B · {main}", f"{b:.4f}", found.names[1]),
        Headline(
            "B minus A",
            f"{b - a:+.4f}",
            "" if difference is None else f"{difference.low:+.4f} to {difference.high:+.4f}",
        ),
        Headline(
            "pictures won", f"{found.wins[0]} : {found.wins[1]}", f"A : B, equal {found.wins[2]}"
        ),
    ]
    return WebPage(
        kicker="segzoo · comparison",
        title=f"{found.names[0]} and {found.names[1]}",
        lead=f"A is {found.names[0]}, B is {found.names[1]}; on {data['words']}: "
        f"{count_of(data['samples'], 'picture')}.",
        tiles=tiles,
        sections=[
            _map(found),
            _gallery(found, first, second),
            Section(
                "numbers",
                "Numbers",
                [_table(found)],
                note="B minus A, with the interval that holds it in 95 of 100 bootstrap samples of "
                "the pictures, the same samples for both. Where that holds zero neither is better.",
            ),
            _section_of_speed(found.speed),
            Section(
                "how",
                "How it was measured",
                [
                    facts_of(mapping(p["model"]), title=side)
                    for side, p in zip(SIDES, found.protocols, strict=True)
                ]
                + [
                    facts_of(data, title="Data"),
                    facts_of(versions, title="Versions"),
                ],
                pairs=True,
            ),
        ],
        foot=foot(),
    )


def _map(found: Compared) -> Section:
    pairs = [(a, b, f"{name}: A {a:.4f}, B {b:.4f}") for name, a, b in found.pairs]
    leads = [b - a for _, a, b in found.pairs]
    sign = "Above the line B is better, below it A."
    if found.main in found.lower:
        sign = "Above the line A is better, below it B."
    return Section(
        "map",
        "Who wins where",
        [
            scatter(
                "A dot for each picture",
                pairs,
                names=(f"A · {found.main}", f"B · {found.main}"),
                note=sign,
            ),
            histogram(
                "By how much",
                leads,
                x_label=f"B minus A · {found.main}",
                note=f"A has the better number of {count_of(found.wins[0], 'picture')}, B of "
                f"{found.wins[1]:,}; of {found.wins[2]:,} it is the same or not defined.",
            ),
        ],
        pairs=True,
    )


def _table(found: Compared) -> NumberTable:
    rows = []
    for name, (a, b) in found.values.items():
        difference = found.differences.get(name)
        low, high = (difference.low, difference.high) if difference else (math.nan, math.nan)
        between = "" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"
        rows.append((name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}", between, found.winner(name)))
    return NumberTable(("metric", "A", "B", "B minus A", "95 in 100", "better"), rows)


def _section_of_speed(speed: PairedSpeed | None) -> Section:
    if speed is None:
        return Section("speed", "Speed", empty="It was not measured.")
    rows = [
        ("A", f"{1000 * speed.first:.1f} ms", ""),
        (
            "B",
            f"{1000 * speed.second:.1f} ms",
            f"{speed.ratio:.2f} ({speed.low:.2f} to {speed.high:.2f})",
        ),
    ]
    note = (
        "From a picture of the set to its mask, reading included; median of "
        f"{count_of(speed.pictures, 'picture')}, {speed.rounds} times each, in turn, "
        f"on {speed.device}, {count_of(speed.threads, 'thread')}. The ratio is that of pairs, with "
        "the middle half of them."
    )
    return Section("speed", "Speed", [NumberTable(("", "a picture", "times A"), rows)], note=note)


def _gallery(found: Compared, first: Measurement, second: Measurement) -> Section:
    """The pictures on which each leads by most."""
    sign = -1 if found.main in found.lower else 1
    leads = [(place, sign * (b - a)) for place, (_, a, b) in enumerate(found.pairs)]
    leads = sorted((pair for pair in leads if pair[1] == pair[1]), key=lambda pair: pair[1])
    blocks = []
    for side, chosen in (("A", leads), ("B", leads[::-1])):
        wanted = [place for place, lead in chosen[:SHOWN] if (lead < 0) == (side == "A") and lead]
        if wanted:
            blocks.append(
                Gallery([*_exhibits(found, first, second, wanted)], f"Where {side} leads")
            )
    return Section(
        "pictures",
        "Pictures",
        blocks,
        note="Slide from the picture to the truth, to A, to B.",
        empty="On every picture both are the same.",
    )


def _exhibits(
    found: Compared, first: Measurement, second: Measurement, numbers: Sequence[int]
) -> Iterator[Exhibit]:
    for number, one, other in zip(numbers, first.look(numbers), second.look(numbers), strict=True):
        a, b = looked_at(one), looked_at(other)
        layers = layers_of(a.image, a.target, {"A": a.mask, "B": b.mask}, first.colours)
        name, left, right = found.pairs[number]
        yield exhibit_of(layers, caption=name, value=f"A {left:.3f}  B {right:.3f}")
