"""segzoo info: what there is to know of one model, in brief or everything."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli import choices
from segzoo.cli.brief import brief, code_of, not_default, recipe_of, saved_of
from segzoo.cli.options import AsJson
from segzoo.cli.text import amount, columns, print_json, say, table, wrapped_lines
from segzoo.model.load import find_spec, model_info
from segzoo.spec import ModelSpec, Paper, Weights
from segzoo.zoo.registry import Entry

if TYPE_CHECKING:
    from segzoo.model.profile import Stage
    from segzoo.saved.config import Config


INDENT = 13  # of the text beside a label


def info(
    model: Annotated[
        str,
        typer.Argument(help="A model's name, a saved folder, hf-hub:user/name, or module:ATTR."),
    ],
    size: Annotated[
        int | None,
        typer.Option(help="Side of the square picture that MACs are counted for.", min=1),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="All of it: stages, blocks, every metric, hashes."),
    ] = False,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--choices",
            metavar="PATTERN",
            help="Only the values of options that look like this: 'tu-convnext*'.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what there is to know of a model.

    Its paper, options, preprocessing, tasks, recipes and weights, in a few lines; everything with
    --full and with --json.

    Parameters and multiply-accumulates (MACs) are those that the plugin states; with --full, --json
    or --size they are counted on the network itself. Of a saved model it is shown how that one was
    built; of one on the Hub, the config alone is fetched.
    """
    from segzoo.model import origin

    found = origin.find_saved(model)
    entry, spec, config = found or (*find_spec(model), None)
    if pattern is not None:
        fitting = choices.matching(entry.name, spec, pattern)
        if as_json:
            print_json(fitting)
            return
        for name, values in fitting.items():
            say(*(f"{name}={value}" for value in values))
        return
    from segzoo.predict.preprocess import input_size

    height, width = input_size((config or spec).preprocess, None if size is None else (size, size))
    # what is stated needs no torch, which takes seconds to load
    stated = None if config or size or full or as_json else spec.macs
    stages = _stages(spec, config, height, width) if stated is None else []
    if as_json:
        rows = [stage._asdict() for stage in stages]
        print_json(model_info(model) | {"input": [height, width], "stages": rows})
        return
    title = f"{entry.name}: {spec.summary}"
    if full:
        lines = [title, *_lines(entry, spec, config, stages, (height, width))]
        say(*wrapped_lines(lines, columns(), indent=INDENT), "")
        say(*_stage_table(stages, height, width))
        return
    macs = stages[-1].macs if stated is None else stated
    parameters = stages[-1].parameters if config else spec.num_parameters
    pairs = brief(model, entry, spec, config, (parameters, macs), (height, width))
    lines = [title, *(f"{label:<{INDENT}}{text}" for label, text in pairs)]
    say(*wrapped_lines(lines, columns(), indent=INDENT))


def _stages(spec: ModelSpec, config: "Config | None", height: int, width: int) -> "list[Stage]":
    from segzoo.model import build, configured, profile

    if config is None:
        return profile.stages(lambda: build.build(spec), (1, spec.in_channels, height, width))
    builder = build.builder_of(configured.variant_of(spec, config.options), config)
    build.refuse_giants(builder, config)
    return profile.stages(builder, (1, config.in_channels, height, width))


def _lines(
    entry: Entry,
    spec: ModelSpec,
    config: "Config | None",
    stages: "list[Stage]",
    size: tuple[int, int],
) -> Iterator[str]:
    yield f"plugin       {entry.distribution} {entry.version}"
    if spec.deprecated:
        yield f"deprecated   {spec.deprecated}"
    if spec.paper:
        yield from _paper(spec.paper)
    if config:
        yield from (f"{label:<{INDENT}}{text}" for label, text in saved_of(config))
    yield f"parameters   {stages[-1].parameters if config else spec.num_parameters:,}"
    made = config or spec
    yield f"macs         {stages[-1].macs:,} for an input of {size[0]}x{size[1]}"
    yield f"channels     {made.in_channels} in, {count_of(made.num_classes, 'class')}"
    for name, option in spec.options.items():
        allowed = f", {choices.told(option, entry.name)}" if option.choices else ""
        yield f"option       {name}={option.default}{allowed}. {option.help}".rstrip()
    yield f"preprocess   {not_default(made.preprocess)}"
    for task, defaults in spec.tasks.items():
        yield f"task         {task}: loss {defaults.loss}, {not_default(defaults.postprocess)}"
    for name, path in spec.blocks.items():
        yield f"block        {name}: {path}"
    for name, recipe in spec.recipes.items():
        yield f"recipe       {name}: {recipe_of(recipe)}"
    if config is None:
        for tag, weights in spec.weights.items():
            yield from _weights(f"{entry.name}.{tag}", weights, tag == spec.default_weights)
    for name, weights in spec.backbone.items():
        yield from _weights(f"backbone {name}", weights, False)
    if not spec.weights and config is None:
        yield "weights      none published"


def _stage_table(stages: "list[Stage]", height: int, width: int) -> Iterator[str]:
    yield f"Stages for an input of {height}x{width}:"
    cells = [(name or "all", block, f"{p:,}", amount(m)) for name, block, p, m in stages]
    yield from table(("STAGE", "BLOCK", "PARAMETERS", "MACS"), cells, right="  >>")


def _paper(paper: Paper) -> Iterator[str]:
    where = f", arXiv:{paper.arxiv}" if paper.arxiv else ""
    yield f"paper        {paper.authors}, {paper.title!r}, {paper.year}{where}"
    if paper.code:
        yield f"code         {code_of(paper)}"


def _weights(name: str, weights: Weights, default: bool) -> Iterator[str]:
    yield f"weights      {name}{' (default)' if default else ''}: licence {weights.license}"
    for data in weights.trained_on:
        yield f"  data       {data.name}, licence {data.license}"
    for metric in weights.metrics:
        yield f"  metric     {metric.name} {metric.value:g} on {metric.split} ({metric.protocol})"
    if weights.preprocess:
        yield f"  preprocess {not_default(weights.preprocess)}"
    if weights.postprocess:
        yield f"  postprocess {not_default(weights.postprocess)}"
    for label in ("recipe", "notes", "source", "retired"):
        if text := getattr(weights, label):
            yield f"  {label:<10} {text}"
    if weights.url:
        yield f"  url        {weights.url}, fetched and converted once"
    if (weights.repo, weights.wheel) == (None, None) and weights.file:
        yield f"  give       {weights.file}"
    yield f"  sha256     {weights.sha256 or 'not known'}"
