"""What a person sees when a training begins: the model, the data, the run, the recipe."""

import os
import sys
from pathlib import Path
from typing import TypeAlias

from segzoo.base.counts import count_of
from segzoo.base.terminal import to_stderr
from segzoo.data.opened import Data
from segzoo.engine import recipes
from segzoo.engine.schedule import steps_of
from segzoo.engine.settings import Settings
from segzoo.errors import printable
from segzoo.metrics.versions import difference
from segzoo.predict.runtimes.torch import device_of
from segzoo.runs.subject import Subject
from segzoo.runs.teaching import Taught
from segzoo.spec import LENGTHS, Recipe

__all__ = [
    "rows_of_data",
    "rows_of_model",
    "rows_of_recipe",
    "rows_of_run",
    "rows_of_teacher",
    "show",
]

Rows: TypeAlias = list[tuple[str, str]]  # of a table of two columns


def show(rows: Rows) -> None:
    """Two columns on standard error, in colours where it is a terminal."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, value in rows:
            table.add_row(Text(printable(name), "bold"), Text(printable(value)))
        Console(stderr=True).print(table)
    else:
        width = max(len(name) for name, _ in rows)
        to_stderr(*(f"{name:{width}}  {value}" for name, value in rows))


def rows_of_model(subject: Subject, begins: str) -> Rows:
    zoo, about = subject.zoo, subject.about
    name = type(subject.network).__name__ if zoo is None else zoo.config.model
    if zoo is not None and zoo.config.options:
        name += f" ({', '.join(f'{k}={v}' for k, v in zoo.config.options.items())})"
    sizes = {n: p.numel() for n, p in subject.network.named_parameters()}
    total = sum(sizes.values())
    trained = total - sum(v for n, v in sizes.items() if n.startswith(subject.recipe.frozen))
    part = "" if trained == total else f", {trained:,} of them trained"
    classes = count_of(about.num_classes, "class")
    task = f"{subject.task}, {classes}, {count_of(about.in_channels, 'channel')}"
    return [
        ("model", f"{name}: {total:,} parameters{part}"),
        ("begins", begins),
        ("task", task),
    ]


def rows_of_teacher(taught: Taught | None, recipe: Recipe) -> Rows:
    return [] if taught is None else [("teacher", taught.described(recipe))]


def rows_of_data(data: Data, val: Data | None, metrics_version: int) -> Rows:
    def told(found: Data) -> str:
        return f"{found.name}: {count_of(len(found), 'sample')}"

    measures_on = "nothing: no --val" if val is None else told(val)
    rows = [("trains on", told(data)), ("measures on", measures_on)]
    notes = [note for each in (data, val) if each is not None for note in each.notes]
    rows += [("note", note) for note in dict.fromkeys(notes)]
    if val is not None and (words := difference(metrics_version)):
        rows.append(("by", f"version {metrics_version} of the metrics, as it began: {words}"))
    return rows


def rows_of_run(folder: Path, recipe: Recipe, data: Data, settings: Settings) -> Rows:
    steps = steps_of(recipe, len(data))
    samples = recipe.batch_size
    if steps is None:
        takes = (
            f"{count_of(recipe.minutes or 0, 'minute')}, in steps of {count_of(samples, 'sample')}"
        )
    else:
        epochs = count_of(float(f"{steps * samples / len(data):.3g}"), "epoch")
        takes = f"{count_of(steps, 'step')} of {count_of(samples, 'sample')}: {epochs}"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    many = count_of(processes, "process")
    count = settings.threads
    threads = "" if count is None else f" of {count_of(count, 'thread')}"
    layout = ", channels last" if settings.channels_last else ""
    return [
        ("takes", takes),
        ("runs on", f"{device_of(settings.device)}, {many}{threads}, {recipe.precision}{layout}"),
        ("writes to", f"{folder}"),
    ]


def rows_of_recipe(name: str, recipe: Recipe) -> Rows:
    """What the recipe says where it differs from a recipe that says nothing."""
    plain = Recipe(epochs=1, batch_size=1, optimizer=("", {}), lr=1.0)
    usual = dict(recipes.described(plain))
    hidden = ("expect", *LENGTHS, "batch_size", "precision")
    told = [
        f"{key}={value}"
        for key, value in recipes.described(recipe)
        if usual.get(key) != value and key not in hidden
    ]
    return [(f"recipe {name}".rstrip(), " ".join(told))]
