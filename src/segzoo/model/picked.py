"""Which installed weights are worth their time: what their records state, beside what is measured.

Numbers are compared where they are of one metric, on the same pictures, by the same protocol, all
three to the letter. Time is measured on this machine, once, in every runtime that is installed, and
kept with what `--runtime auto` measures; memory, where it is asked for, in the fastest of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, get_args

from segzoo.errors import SegzooError, UsageError, WeightsMissingError
from segzoo.model.origin import is_here
from segzoo.model.served import Request, found_by
from segzoo.spec import Metric, ModelSpec, Task, Weights
from segzoo.zoo import licenses, registry
from segzoo.zoo.installed import missing
from segzoo.zoo.registry import Entry

__all__ = ["Comparable", "Peers", "Picked", "Timed", "front_of", "picked"]

LESS_IS_BETTER = ("mae", "hausdorff", "assd", "loss")  # how the names of such metrics begin


class Comparable(NamedTuple):
    """What numbers that can be compared have in common."""

    metric: str
    split: str
    protocol: str

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return -1 if self.metric.lower().startswith(LESS_IS_BETTER) else 1


class Timed(NamedTuple):
    """Weights, with the number that they state and the time that they take.

    ref: what loads them. seconds: for one picture, in `runtime`. fits: the budget. on_front: none
    of the others that fit is as good in less time, or better in the same; with memory, nor in less.
    memory: bytes of a process for one picture, in that runtime; None where nobody asked.
    """

    ref: str
    value: float
    seconds: float
    runtime: str
    license: str
    fits: bool = True
    on_front: bool = False
    memory: int | None = None


class Peers(NamedTuple):
    """Candidates that can be compared, the best number first."""

    shared: Comparable
    candidates: tuple[Timed, ...]


class Picked(NamedTuple):
    """The groups, the largest first; and which weights were left out, by their reference: why."""

    groups: tuple[Peers, ...]
    left_out: dict[str, str]


def picked(
    task: str,
    *,
    budget: float | None = None,
    license: str | None = None,
    precision: str = "fp32",
    memory: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Picked:
    """The installed weights for a task, measured. Nothing is fetched.

    budget: seconds for one picture, at most. license: "permissive", or an SPDX identifier. memory:
    measure that too, and let it count. tell: told a line when something takes its time.
    UsageError for no task; WeightsMissingError where no weights for it are here, with the reasons.
    """
    if task not in get_args(Task):
        raise UsageError(f"no task {task!r}", expected=", ".join(get_args(Task)))
    stated: dict[Comparable, list[Timed]] = {}
    left_out: dict[str, str] = {}
    for ref, entry, spec, record in _of_task(task):
        if obstacle := _obstacle(entry, spec, record, license):
            left_out[ref] = obstacle
            continue
        try:
            runtime, seconds, taken = _measured(ref, precision, memory, tell)
        except SegzooError as error:
            left_out[ref] = str(error)
            continue
        main = record.metrics[0]
        found = Timed(ref, main.value, seconds, runtime, record.license, memory=taken)
        fits = budget is None or seconds <= budget
        stated.setdefault(_common(main), []).append(found._replace(fits=fits))
    if not stated:
        raise WeightsMissingError(
            f"no weights for the task {task} are here to choose from",
            found="; ".join(f"{ref}: {why}" for ref, why in left_out.items()),
            next_step="See: segzoo list --pretrained",
        )
    groups = [Peers(shared, front_of(shared, found)) for shared, found in stated.items()]
    groups.sort(key=lambda group: -len(group.candidates))
    return Picked(tuple(groups), left_out)


def front_of(shared: Comparable, found: Sequence[Timed]) -> tuple[Timed, ...]:
    """Candidates by their number, the best first, with those marked that nothing here beats."""

    def merits(one: Timed) -> tuple[float, ...]:
        return shared.sign * one.value, -one.seconds, -(one.memory or 0)

    def is_beaten(one: Timed) -> bool:
        mine = merits(one)
        return any(
            other.fits
            and all(a >= b for a, b in zip(merits(other), mine, strict=True))
            and merits(other) != mine
            for other in found
        )

    ordered = sorted(found, key=lambda c: (-shared.sign * c.value, c.seconds, c.ref))
    return tuple(c._replace(on_front=c.fits and not is_beaten(c)) for c in ordered)


def _of_task(task: str) -> Iterator[tuple[str, Entry, ModelSpec, Weights]]:
    """The weights for a task that state a number."""
    working = [(row.entry, row.spec) for row in registry.rows() if row.spec is not None]
    owners = Counter(entry.name for entry, _ in working)
    for entry, spec in working:
        name = entry.name if owners[entry.name] == 1 else entry.full_name
        for tag, record in spec.weights.items():
            retired = spec.deprecated or record.retired
            if (record.task or next(iter(spec.tasks))) == task and record.metrics and not retired:
                yield f"{name}.{tag}", entry, spec, record


def _obstacle(entry: Entry, spec: ModelSpec, record: Weights, license: str | None) -> str:
    """Why weights are not looked at, in words; empty where nothing stands in the way."""
    if license is not None and (
        faults := licenses.faults(record.license, record.trained_on, license)
    ):
        return f"as to licences, {faults[0]}"
    if lacks := missing(spec.requires).values():
        return f"needs {', '.join(lacks)}"
    return "" if is_here(entry, spec, record) else "not on this machine"


def _common(metric: Metric) -> Comparable:
    return Comparable(metric.name, metric.split, metric.protocol)


def _measured(
    ref: str, precision: str, memory: bool, tell: Callable[[str], None]
) -> tuple[str, float, int | None]:
    """The fastest runtime, its seconds for one picture, and bytes where they are asked for."""
    from segzoo.model.footprint import footprint
    from segzoo.predict.artefacts.speed import memory_of, speed_of

    request = Request(ref=ref, pretrained=True, local_files_only=True, tell=tell)
    subject = found_by(request).subject
    runtime, seconds = min(speed_of(subject, precision).seconds.items(), key=lambda item: item[1])
    if not memory:
        return runtime, seconds, None
    taken = memory_of(subject, precision, runtime, lambda: footprint(ref, runtime, precision))
    return runtime, seconds, taken
