"""What the files of a run may decide by themselves, and what a person must type again.

A run's folder may come from elsewhere, and then it is data. A recipe that a person types may name
code; one that is read from a file may name only what is installed and declared: a loss of the group
"segzoo.losses", and what stands in the same field of an installed model's spec. Likewise a run
writes to folders of its own alone. All else is a claim of the file, which counts when it is typed.
"""

import json
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from segzoo.base.home import expanded
from segzoo.base.records import Json, asdict
from segzoo.data.source import parse
from segzoo.errors import RunError, printable
from segzoo.spec import IMPORT_PATH, ModelSpec, Recipe
from segzoo.zoo import registry

__all__ = [
    "code_in",
    "of_cache",
    "of_recipe",
    "of_teacher",
    "of_words",
    "refuse",
    "refuse_links",
]

TEXT = frozenset({"expect"})  # fields of a recipe that are for people: nothing is looked up by them
WRITTEN = frozenset({"cache_dir"})  # options of readers that name a folder to write to
MOST = 1000  # characters of a claim that are shown


class Claim(NamedTuple):
    """found: what is not believed. words: the same as a person types it on a command line."""

    found: str
    words: str


Claims = Mapping[str, Claim]  # by the recipe's field, or the argument of `segzoo.train`


def code_in(value: Json) -> Iterator[str]:
    """Every import path in JSON values, at any depth, keys included."""
    if isinstance(value, str):
        if IMPORT_PATH.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(code_in, (*value, *value.values())))
    elif isinstance(value, list):
        yield from chain.from_iterable(map(code_in, value))


def of_recipe(recipe: Recipe, specs: Iterable[ModelSpec] = ()) -> dict[str, Claim]:
    """The fields whose code nothing declares. specs: those that the caller has at hand himself.

    Nothing that the recipe names is imported; specs of installed models are, where need be.
    """
    claims = {}
    for field, value in asdict(recipe).items():
        paths = () if field in TEXT else tuple(dict.fromkeys(code_in(value)))
        if unknown := _undeclared(field, paths, specs):
            claims[field] = Claim(f"{', '.join(unknown)} in {field}", _typed(field, value))
    return claims


def of_cache(run: Path, cache: str) -> dict[str, Claim]:
    """A cache that lies outside the run."""
    if not cache or _is_inside(run, expanded(cache)):
        return {}
    return {"cache": Claim(f"cache={cache}", f"--cache {_quoted(cache)}")}


def of_teacher(reference: str) -> dict[str, Claim]:
    """A teacher that is named by code, and not by an installed model, a folder or the Hub."""
    if not IMPORT_PATH.fullmatch(reference):
        return {}
    return {"teacher": Claim(f"the teacher {reference}", f"--teacher {_quoted(reference)}")}


def of_words(run: Path, words: Mapping[str, str]) -> dict[str, Claim]:
    """Words of data sets, by "data" and "val", whose reader would write outside the run."""
    claims = {}
    for name, text in words.items():
        folders = {k: v for k, v in parse(text).options.items() if k in WRITTEN and v}
        if not all(_is_inside(run, expanded(folder)) for folder in folders.values()):
            found = ", ".join(f"{key}={folder}" for key, folder in folders.items())
            claims[name] = Claim(f"{found} in {name}", f"--{name} {_quoted(text)}")
    return claims


def refuse(file: Path, what: str, claims: Claims, *, typed: Collection[str] = ()) -> None:
    """RunError for claims whose names were not typed: it says the words, as the file's."""
    left = [claim for name, claim in claims.items() if name not in typed]
    if left:
        found, words = "; ".join(c.found for c in left), " ".join(c.words for c in left)
        words = words if len(words) <= MOST else "too long to be shown here"
        raise RunError(
            f"it names {what}, and a file's word alone is not enough for that",
            file=file,
            found=printable(found)[:MOST],
            next_step=f"If you know and want it, type again what the file claims: {words}",
        )


def refuse_links(run: Path) -> None:
    """RunError for a link that leads out of the run: what goes on writes to these names."""
    there = sorted(run.iterdir()) if run.is_dir() else []
    links = [path.name for path in there if not _is_inside(run, path)]
    if links:
        raise RunError(
            "a run's folder holds links that lead out of it",
            file=run,
            found=printable(", ".join(links))[:MOST],
            next_step="Put there the files themselves",
        )


def _undeclared(field: str, paths: Collection[str], specs: Iterable[ModelSpec]) -> list[str]:
    """Those of the paths that stand in this field of no spec; of losses, in no entry point too."""
    left = dict.fromkeys(paths)
    if left and field == "loss":
        offered = {e.value for e in registry.entries(registry.LOSSES) if not e.problem}
        left = {path: None for path in left if path not in offered}
    installed = (row.spec for row in registry.rows() if row.spec is not None)
    # Plugins are looked for, and their specs imported, only for a path that is still strange.
    for spec in chain(specs, installed) if left else ():
        values = [asdict(recipe)[field] for recipe in spec.recipes.values()]
        if field == "loss":
            values += [task.loss for task in spec.tasks.values()]
        left = {path: None for path in left if path not in {*code_in(values)}}
        if not left:
            break
    return [*left]


def _typed(field: str, value: Json) -> str:
    if field == "loss" and not value[1]:
        return f"--loss {_quoted(value[0])}"
    return _quoted(f"{field}={value if isinstance(value, str) else json.dumps(value)}")


def _quoted(text: str) -> str:
    return shlex.quote(printable(text))


def _is_inside(run: Path, path: str | os.PathLike[str]) -> bool:
    """Whether a path is in the run's folder, links followed; one that cannot be a path is not."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return False
    return Path(real).is_relative_to(os.path.realpath(run))
