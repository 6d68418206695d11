"""Which models suit a data set: what the specs of the installed ones say of themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from segzoo.automatic.plan import Considered
from segzoo.base.conditions import all_hold, parsed
from segzoo.base.records import Json
from segzoo.data.traits import TRAITS
from segzoo.errors import UsageError, printable
from segzoo.model.load import find_spec
from segzoo.spec import ModelSpec, Suits, Weights
from segzoo.zoo import registry
from segzoo.zoo.installed import missing

__all__ = ["Suitable", "candidates_for", "knows_something"]

TIME = ("minutes",)  # what conditions of a spec may speak of beside the traits


class Suitable(NamedTuple):
    """A model that may be trained. ladder: ways to build it, the smallest first.

    weights: those that it can begin with, by their tag; empty for none at hand.
    """

    model: str
    spec: ModelSpec
    suits: Suits
    ladder: Sequence[Mapping[str, Json]]
    weights: str


def candidates_for(
    numbers: Mapping[str, float], task: str, *, like: str | None, options: Mapping[str, Json]
) -> tuple[list[Suitable], list[Considered]]:
    """The models that suit, those first whose specs ask for most; and those that do not.

    numbers: the traits, and "minutes". like: this model, whatever it says of itself. options: of
    its architecture. UsageError where no model suits.
    """
    found, left = [], []
    offers = [_named(like, numbers)] if like is not None else _offered(numbers)
    for name, spec, suits, against in offers:
        against = against or _against(spec, task)
        if against:
            left.append(Considered(model=name, why=suits.why, verdict=against))
            continue
        ladder = [{**step, **options} for step in reversed(suits.options)]
        weights = knows_something(spec) if suits.pretrained else ""
        found.append(Suitable(name, spec, suits, ladder, weights))
    found.sort(key=lambda candidate: -len(candidate.suits.when))
    if not found:
        raise UsageError(
            "no installed model says that it suits this data",
            found=printable("; ".join(f"{each.model}: {each.verdict}" for each in left))[:300],
            next_step="Name one: --like MODEL; segzoo list shows which there are",
        )
    return found, left


def knows_something(spec: ModelSpec) -> str:
    """The tag of the weights to begin with, where they need not be fetched; else ""."""
    tag = spec.default_weights
    return tag if tag is not None and _is_at_hand(spec.weights[tag]) else ""


def _is_at_hand(record: Weights) -> bool:
    return record.bundled is not None and not record.retired


def _offered(
    numbers: Mapping[str, float],
) -> Iterator[tuple[str, ModelSpec, Suits, str]]:
    """Every way in which an installed model says that it suits something; and why not this."""
    for row in registry.rows():
        if row.spec is None or row.spec.deprecated:
            continue
        for suits in row.spec.suits:
            yield row.entry.name, row.spec, suits, row.problem or _unlike(suits, numbers)


def _named(model: str, numbers: Mapping[str, float]) -> tuple[str, ModelSpec, Suits, str]:
    """A model that is asked for, in the way that suits best."""
    entry, spec = find_spec(model)
    fits = [suits for suits in spec.suits if not _unlike(suits, numbers)] or [*spec.suits]
    fits.sort(key=lambda suits: -len(suits.when))
    return entry.name, spec, fits[0] if fits else Suits(why="as you asked"), ""


def _unlike(suits: Suits, numbers: Mapping[str, float]) -> str:
    """Which of its conditions do not hold; "" where all do."""
    unknown = [text for text in suits.when if parsed(text).name not in {*TRAITS, *TIME}]
    if unknown:
        return f"needs a newer segzoo: {', '.join(unknown)}"
    failed = [text for text in suits.when if not all_hold([text], numbers)]
    told = [f"{text} (here {numbers[parsed(text).name]:g})" for text in failed]
    return f"not {', '.join(told)}" if told else ""


def _against(spec: ModelSpec, task: str) -> str:
    tasks = {"binary": ("binary", "saliency")}.get(task, (task,))
    if not any(each in spec.tasks for each in tasks):
        return f"not for the task {task}"
    if lacks := missing(spec.requires).values():
        return f"pip install {' '.join(lacks)}"
    return ""
