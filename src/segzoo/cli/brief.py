"""A model in a few lines: what `segzoo info` shows of it without --full."""

import shlex
from collections.abc import Iterator, Sequence

from segzoo.base.counts import count_of
from segzoo.base.records import Json, Record, asdict
from segzoo.cli.text import amount
from segzoo.errors import printable
from segzoo.saved.config import Config
from segzoo.spec import LENGTHS, ModelSpec, Option, Paper, Recipe, Weights
from segzoo.zoo.registry import Entry

__all__ = ["brief", "code_of", "not_default", "recipe_of", "saved_of"]

SOME = 4  # of a list's items, such as the choices of an option


def brief(
    ref: str,
    entry: Entry,
    spec: ModelSpec,
    config: Config | None,
    counted: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[tuple[str, str]]:
    """(label, text) of each line.

    ref: how the model was asked for. config: of a saved one. counted: parameters and
    multiply-accumulates for an input of this size, (height, width).
    """
    made = config or spec
    parameters, macs = counted
    yield "plugin", f"{entry.distribution} {entry.version}"
    if spec.deprecated:
        yield "deprecated", spec.deprecated
    if spec.paper:
        yield from _paper(spec.paper)
    if config:
        yield from saved_of(config, SOME)
    yield "parameters", f"{parameters:,}"
    yield "macs", f"{amount(macs)} for an input of {size[0]}x{size[1]}"
    yield "channels", f"{made.in_channels} in, {count_of(made.num_classes, 'class')}"
    if spec.options and config is None:
        yield "options", ", ".join(_option(name, each) for name, each in spec.options.items())
    yield "preprocess", not_default(made.preprocess)
    yield "tasks", ", ".join(spec.tasks)
    if len(spec.recipes) == 1:
        yield from (("recipe", f"{name}: {recipe_of(r)}") for name, r in spec.recipes.items())
    elif spec.recipes:
        yield "recipes", ", ".join(spec.recipes)
    for name, weights in spec.backbone.items():
        yield "backbone", _weights(name, weights, False)
    if config is None:
        for tag, weights in spec.weights.items():
            name = f"{entry.name}.{tag}"
            yield "weights", _weights(name, weights, tag == spec.default_weights)
        if not spec.weights:
            yield "weights", "none published"
    yield "all of it", f"segzoo info {shlex.quote(printable(ref))} --full"


def not_default(record: Record) -> str:
    """What a record says differently from its defaults."""
    defaults: dict[str, Json] = asdict(type(record)())
    said = {k: v for k, v in asdict(record).items() if v != defaults[k]}
    return ", ".join(f"{k}={v}" for k, v in said.items()) or "defaults"


def recipe_of(recipe: Recipe) -> str:
    """How long, and with which optimiser."""
    name = next(name for name in LENGTHS if getattr(recipe, name) is not None)
    number = getattr(recipe, name)
    length = f"{number if isinstance(number, int) else f'{number:g}'} {name}"
    name, options = recipe.optimizer
    settings = "".join(f", {key}={value}" for key, value in options.items())
    return f"{length}, batch {recipe.batch_size}, {name} lr={recipe.lr:g}{settings}"


def _paper(paper: Paper) -> Iterator[tuple[str, str]]:
    first, comma, _ = paper.authors.partition(",")
    where = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
    others = " and others" if comma else ""
    yield "paper", f"{first}{others}, {paper.title!r}, {paper.year}{where}"
    if paper.code:
        yield "code", code_of(paper)


def code_of(paper: Paper) -> str:
    """Where a paper's code is, whose it is, and its licence."""
    whose = f"by {paper.code_by}, " if paper.code_by else ""
    return f"{paper.code} ({whose}{paper.code_license or 'licence not stated'})"


def saved_of(config: Config, most: int | None = None) -> Iterator[tuple[str, str]]:
    """How a saved model was built, and from what; most: of its classes, all by default."""
    plugin = f"{config.distribution} {config.version}".strip()
    yield "saved", f"with {plugin}, task {config.task}"
    options = ", ".join(f"{name}={value}" for name, value in config.options.items())
    yield "  options", options or "none"
    yield "  licence", config.license or "not stated"
    for data in config.trained_on:
        yield "  data", f"{data.name}, licence {data.license}"
    if config.classes:
        yield "  classes", _some(config.classes, most)


def _option(name: str, option: Option) -> str:
    if not option.choices:
        return f"{name}={option.default}"
    several = len(option.choices) > SOME
    choices = f"{len(option.choices):,}" if several else ", ".join(map(str, option.choices))
    return f"{name}={option.default} (one of {choices})"


def _some(items: Sequence[str], most: int | None) -> str:
    """The first, and how many more there are."""
    rest = len(items) - (most or len(items))
    return ", ".join(items) if rest <= 1 else f"{', '.join(items[:most])} and {rest} more"


def _weights(name: str, weights: Weights, default: bool) -> str:
    """The licences of weights and of their data; of the default ones also their first number."""
    licences = [weights.license, *(f"of {d.name} {d.license}" for d in weights.trained_on)]
    fetched = ", fetched at the first use" * (weights.url is not None)
    parts = [f"{name}{' (default)' * default}{fetched}: licence {', '.join(licences)}"]
    parts += [f"retired: {weights.retired}"] * bool(weights.retired)
    parts += [f"{m.name} {m.value:g} on {m.split}" for m in weights.metrics[:default]]
    return "; ".join(parts)
