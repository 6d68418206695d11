"""Which models suit a data set: what the specs of the installed ones say of themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from segzoo.automatic.beginnings import NOTHING, Beginning, beginning_of
from segzoo.automatic.plan import AutoRequest, Considered
from segzoo.base.conditions import all_hold, parsed
from segzoo.base.records import Json
from segzoo.data.traits import TRAITS
from segzoo.errors import UsageError, printable
from segzoo.model import configured
from segzoo.model.load import find_spec
from segzoo.spec import ModelSpec, Suits
from segzoo.zoo import registry
from segzoo.zoo.installed import missing

__all__ = ["Suitable", "candidates_for"]

TIME = ("minutes",)  # what conditions of a spec may speak of beside the traits


class Suitable(NamedTuple):
    """A model that may be trained. ladder: ways to build it, the smallest first."""

    model: str
    spec: ModelSpec
    suits: Suits
    ladder: Sequence[Mapping[str, Json]]
    begins: Beginning


def candidates_for(
    numbers: Mapping[str, float], task: str, asked: AutoRequest
) -> tuple[list[Suitable], list[Considered]]:
    """The models that suit, those first whose specs ask for most; and those that do not.

    numbers: the traits, and "minutes". A model that is asked for is taken whatever it says of
    itself; options are of its architecture. UsageError where no model suits.
    """
    found, left = [], []
    like, options = asked.like, asked.options
    offers = [_named(like, numbers)] if like is not None else _offered(numbers)
    for name, spec, suits, against in offers:
        against = against or _against(spec, task)
        if against:
            left.append(Considered(model=name, why=suits.why, verdict=against))
            continue
        ladder = [{**step, **options} for step in reversed(suits.options)]
        begins = beginning_of(_variant(spec, ladder[0]), suits, asked.backbone)
        lacks = "" if begins is not None else f"has no backbone {asked.backbone}"
        if suits.needs_to_know and like is None and begins is not None and not begins.knows:
            lacks = f"without weights that know something it is not worth it: {begins.lacks}"
        if lacks:
            left.append(Considered(model=name, why=suits.why, verdict=lacks))
            continue
        found.append(Suitable(name, spec, suits, ladder, begins or NOTHING))
    found.sort(key=lambda candidate: -len(candidate.suits.when))
    if not found:
        raise UsageError(
            "no installed model says that it suits this data",
            found=printable("; ".join(f"{each.model}: {each.verdict}" for each in left))[:300],
            next_step="Name one: --like MODEL; segzoo list shows which there are",
        )
    return found, left


def _variant(spec: ModelSpec, options: Mapping[str, Json]) -> ModelSpec:
    """The spec as it is with these options."""
    defaults = {name: option.default for name, option in spec.options.items()}
    return configured.variant_of(spec, defaults | dict(options))


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
