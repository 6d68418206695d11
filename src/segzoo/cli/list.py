"""segzoo list: what is installed, ours and anybody's."""

import dataclasses
import fnmatch
from typing import Annotated

import typer

from segzoo.base.records import Json
from segzoo.base.terminal import to_stderr
from segzoo.cli.options import AsJson
from segzoo.cli.text import amount, print_json, say, table
from segzoo.errors import UsageError
from segzoo.model.load import list_rows
from segzoo.zoo import registry
from segzoo.zoo.registry import Row


def list_models(
    patterns: Annotated[
        list[str] | None, typer.Argument(help="Globs over model names, quoted.", metavar="GLOB")
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
        header = ("NAME", "PARAMETERS", "TASKS", "WEIGHTS", "PLUGIN", "SUMMARY")
        say(*table(header, map(_cells, working), right=" >"))
    elif not rows:
        say("No installed model fits. See: segzoo list")
    for row in rows:
        if row.problem:
            entry = row.entry
            to_stderr(f"{entry.full_name} {entry.version}: {row.problem}")
            if row.spec is None:
                to_stderr(f"    run: segzoo check {entry.full_name}")


def _show_hub(patterns: list[str], license: str | None, as_json: bool) -> None:
    from segzoo.hub.fetch import published
    from segzoo.zoo import licenses, refs

    found = [
        model
        for model in published()
        if not patterns or any(fnmatch.fnmatch(model.repo.lower(), p.lower()) for p in patterns)
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
        say(*table(("REFERENCE", "LICENCE", "DOWNLOADS", "UPDATED"), cells, right="  >"))
    else:
        say("No model on the Hub fits.")


def _cells(row: Row) -> tuple[str, ...]:
    assert row.spec is not None
    spec, entry = row.spec, row.entry
    weights = ", ".join(spec.weights) or "-"
    plugin = f"{entry.distribution} {entry.version}".strip()
    summary = f"(deprecated: {spec.deprecated}) " * bool(spec.deprecated) + spec.summary
    return entry.name, amount(spec.num_parameters), ", ".join(spec.tasks), weights, plugin, summary


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
