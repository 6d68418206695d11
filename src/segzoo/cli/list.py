"""segzoo list: what is installed, ours and anybody's."""

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.base.terminal import to_stderr
from segzoo.cli.options import AsJson
from segzoo.cli.text import amount, columns, fitted, print_json, say
from segzoo.errors import UsageError
from segzoo.model.load import list_rows
from segzoo.zoo import registry
from segzoo.zoo.registry import Row


def list_models(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            help="Globs over model names, quoted; with --hub also words that a name holds.",
            metavar="GLOB",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Models for this task.")] = None,
    license: Annotated[
        str | None, typer.Option(help="Models with weights of this licence, or 'permissive'.")
    ] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Models with weights.")] = False,
    plugin: Annotated[str | None, typer.Option(help="Models of this distribution.")] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Names alone, from metadata; imports no plugin.")
    ] = False,
    hub: Annotated[
        bool, typer.Option("--hub", help="Models on the Hub that say they are of segzoo.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the installed models, ours and anybody's.

    A plugin that does not work is a row with its cause; the others are not affected.
    """
    if hub:
        if names or task or pretrained or plugin:
            raise UsageError("--hub goes with GLOB, --license and --json alone")
        _show_hub(patterns or [], license, as_json)
        return
    if names:
        entries = [e.full_name if "?" in e.name else e.name for e in registry.entries()]
        print_json(entries) if as_json else say(*entries)
        return
    rows = list_rows(
        *(patterns or ()), task=task, license=license, pretrained=pretrained, plugin=plugin
    )
    if as_json:
        print_json([_record(row) for row in rows])
        return
    working = [row for row in rows if row.spec is not None]
    if working:
        _show(working)
    elif not rows:
        say("No installed model fits. See: segzoo list")
    for row in rows:
        if row.problem:
            entry = row.entry
            to_stderr(f"{entry.full_name} {entry.version}: {row.problem}")
            if row.spec is None:
                to_stderr(f"    run: segzoo check {entry.full_name}")


HEADER = ("NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY")
LEFT_OUT = ("PLUGIN", "TASKS", "PARAMETERS", "WEIGHTS")  # at a narrow terminal, in this order


def _show(rows: list[Row]) -> None:
    """Everything, unless it is a terminal that is too narrow for it."""
    width = columns()
    whole, _ = fitted(HEADER, [_cells(row, ", ".join) for row in rows], None, right=" >")
    if width is None or max(map(len, whole)) <= width:
        say(*whole)
        return
    cells = [_cells(row, _first) for row in rows]
    lines, gone = fitted(HEADER, cells, width, right=" >", leave=LEFT_OUT)
    say(*lines)
    if gone:
        say(f"Left out at {count_of(width, 'column')}: {', '.join(gone)}")


def _first(items: Sequence[str]) -> str:
    """ "duts +3": the first of several."""
    return f"{items[0]} +{len(items) - 1}" if len(items) > 1 else "".join(items)


def _show_hub(patterns: list[str], license: str | None, as_json: bool) -> None:
    from segzoo.hub.fetch import published
    from segzoo.zoo import licenses, refs

    globs = [pattern.lower() for pattern in patterns if set(pattern) & {*"*?["}]
    words = [pattern.lower() for pattern in patterns if not set(pattern) & {*"*?["}]
    found = [
        model
        for model in published(words[0] if words else "")
        if not globs or any(fnmatch.fnmatch(model.repo.lower(), glob) for glob in globs)
        if all(word in model.repo.lower() for word in words)
        if license is None or not licenses.faults(model.license, (), license)
    ]
    if as_json:
        print_json([dataclasses.asdict(model) for model in found])
        return
    cells = [
        (
            f"{refs.HUB}{model.repo}",
            model.license or "not stated",
            str(model.downloads),
            model.updated,
        )
        for model in found
    ]
    if cells:
        header = ("REFERENCE", "LICENCE", "DOWNLOADS", "UPDATED")
        leave = ("UPDATED", "DOWNLOADS", "LICENCE")
        say(*fitted(header, cells, columns(), right="  >", leave=leave)[0])
    else:
        say("No model on the Hub fits.")


def _cells(row: Row, several: Callable[[Sequence[str]], str]) -> tuple[str, ...]:
    """A row of the table. several: what stands for several tasks or tags."""
    assert row.spec is not None
    spec, entry = row.spec, row.entry
    weights = several([*spec.weights]) or "-"
    plugin = f"{entry.distribution} {entry.version}".strip()
    summary = f"(deprecated: {spec.deprecated}) " * bool(spec.deprecated) + spec.summary
    return entry.name, amount(spec.num_parameters), several([*spec.tasks]), weights, plugin, summary


def _record(row: Row) -> dict[str, Json]:
    entry, spec = row.entry, row.spec
    record: dict[str, Json] = {
        "name": entry.name,
        "plugin": entry.distribution,
        "version": entry.version,
        "problem": row.problem,
    }
    if spec is None:
        return record | {"check": f"segzoo check {entry.full_name}"}
    return record | {
        "summary": spec.summary,
        "tasks": list(spec.tasks),
        "num_parameters": spec.num_parameters,
        "weights": list(spec.weights),
        "default_weights": spec.default_weights,
        "deprecated": spec.deprecated,
    }
