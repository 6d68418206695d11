"""Which of the installed weights make the best cut-outs, by what their records state.

Weights that state a measure of saliency are compared on the numbers that most of them state: the
same measure, on the same pictures, by the same protocol, all three to the letter; the mean of them
where the same weights state it on several sets. Numbers that are as good as the best within the
spread of such sets leave the choice to the multiply-adds: the lightest, or the best of those that
take up to twice its work. Only weights that are on this machine and that anybody may use for
anything are taken.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from statistics import mean
from typing import NamedTuple

from segzoo.errors import WeightsMissingError
from segzoo.model.origin import is_here
from segzoo.spec import Dataset, Metric, ModelSpec, Weights
from segzoo.zoo import licenses, registry
from segzoo.zoo.installed import missing
from segzoo.zoo.registry import Entry

__all__ = ["Chosen", "best", "said_of"]

TASK = "saliency"
# As records and as `segzoo eval` call them: the first are preferred; +1 where more is better.
MEASURES = ((("max F-beta", "max_f"), 1), (("MAE", "mae"), -1))
ALIKE = 0.005  # about the half of a 95 % interval of max F and of MAE over 850 pictures
NEARLY = 2  # times the work of the lightest: beside decoding and edges nobody notices


class Candidate(NamedTuple):
    """Weights that state a measure of saliency. ref: what loads them. obstacle: why not them."""

    ref: str
    spec: ModelSpec
    record: Weights
    obstacle: str


class Yardstick(NamedTuple):
    """What numbers are compared on: one of MEASURES by its place, the pictures, the protocol."""

    measure: int
    split: str
    protocol: str


class Chosen(NamedTuple):
    """ref: for `segzoo.load`. why: in one line, with the licences of weights and data."""

    ref: str
    why: str


def best() -> Chosen:
    """The weights to cut out with. Nothing is fetched.

    WeightsMissingError when there are none, with what stands in the way of those that are known.
    """
    known = list(_candidates())
    usable = [candidate for candidate in known if not candidate.obstacle]
    if not usable:
        raise WeightsMissingError(
            "no weights for cut-outs are on this machine that anybody may use",
            found="; ".join(f"{c.ref}: {c.obstacle}" for c in known),
            next_step="Run: pip install 'segzoo-core[all]', or name weights with --model "
            "(model=), which are fetched where need be",
        )
    stated = {c.ref: _stated(c.record) for c in usable}
    yardsticks = _yardsticks(stated)
    values = {
        ref: mean(found[each] for each in yardsticks)
        for ref, found in stated.items()
        if found.keys() >= set(yardsticks)
    }
    names, sign = MEASURES[yardsticks[0].measure]
    most = max(sign * value for value in values.values())
    alike = [c for c in usable if c.ref in values and sign * values[c.ref] >= most - ALIKE]
    light = NEARLY * min(map(_work, alike))
    taken = min(
        (c for c in alike if _work(c) <= light),
        key=lambda c: (-sign * values[c.ref], _work(c), c.ref),
    )
    if len(values) == 1:
        rank = "the only ones here that state it"
    elif sign * values[taken.ref] == most:
        rank = f"the best of {len(values)} here"
    else:
        rank = f"within {ALIKE} of the best of {len(values)} here, for less work"
    name = names[0] if len(yardsticks) == 1 else f"mean {names[0]}"
    sets = " and ".join(each.split for each in yardsticks)
    number = f"{name} {values[taken.ref]:.3f} on {sets}"
    record = taken.record
    return Chosen(taken.ref, f"{number}, {rank}; {said_of(record.license, record.trained_on)}")


def said_of(license: str, trained_on: Iterable[Dataset]) -> str:
    """The licence of weights, and beside it those of the data that they are from."""
    data = [f"{data.name} ({data.license or 'not stated'})" for data in trained_on]
    return f"licence {license or 'not stated'}, of the data: {', '.join(data) or 'not stated'}"


def _candidates() -> Iterator[Candidate]:
    """Weights that make one map of what stands out in a photo, and say how well."""
    working = [(row.entry, row.spec) for row in registry.rows() if row.spec is not None]
    owners = Counter(entry.name for entry, _ in working)
    for entry, spec in working:
        name = entry.name if owners[entry.name] == 1 else entry.full_name
        for tag, record in spec.weights.items():
            if _is_about_it(spec, record) and not (spec.deprecated or record.retired):
                yield Candidate(f"{name}.{tag}", spec, record, _obstacle(entry, spec, record))


def _is_about_it(spec: ModelSpec, record: Weights) -> bool:
    task = record.task or next(iter(spec.tasks))
    one_class = (record.num_classes or spec.num_classes) == 1
    colours = (record.in_channels or spec.in_channels) in (1, 3)
    return task == TASK and one_class and colours and bool(_stated(record))


def _obstacle(entry: Entry, spec: ModelSpec, record: Weights) -> str:
    """Why weights are not taken unasked, in words; empty where nothing stands in the way."""
    if not licenses.is_permissive(record.license):
        return f"their licence is {record.license}"
    if lacks := missing(spec.requires).values():
        return f"needs {', '.join(lacks)}"
    return "" if is_here(entry, spec, record) else "not on this machine"


def _yardsticks(stated: Mapping[str, Mapping[Yardstick, float]]) -> list[Yardstick]:
    """What most weights state, and what the same of them state besides by that measure.

    stated: by ref. Among equals the measure, then who comes first, decides.
    """
    who: dict[Yardstick, list[str]] = {}
    for ref, found in stated.items():
        for yardstick in found:
            who.setdefault(yardstick, []).append(ref)
    first = max(who, key=lambda yardstick: (len(who[yardstick]), -yardstick.measure))
    return [
        each
        for each, refs in who.items()
        if refs == who[first] and (each.measure, each.protocol) == (first.measure, first.protocol)
    ]


def _stated(record: Weights) -> dict[Yardstick, float]:
    """The record's measures of saliency."""
    return {
        Yardstick(place, metric.split, metric.protocol): metric.value
        for metric in record.metrics
        if (place := _measure(metric)) is not None
    }


def _measure(metric: Metric) -> int | None:
    return next((n for n, (names, _) in enumerate(MEASURES) if metric.name in names), None)


def _work(candidate: Candidate) -> float:
    """Multiply-adds for one picture; at another size than the spec's in proportion to its area."""
    spec, record = candidate.spec, candidate.record
    if spec.macs is None:
        return float("inf")
    sizes = [p.size for p in (spec.preprocess, record.preprocess) if p is not None]
    if None in sizes or len(sizes) == 1:
        return spec.macs
    (height, width), (h, w) = (size for size in sizes if size is not None)
    return spec.macs * h * w / (height * width)
