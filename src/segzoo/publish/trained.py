"""How published weights were trained: the recipe, the command, the journal, the versions."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from segzoo.base import children, files
from segzoo.base.counts import count_of
from segzoo.base.records import Json, asdict
from segzoo.engine import journal, recipes
from segzoo.engine.record import RUN, begun_as
from segzoo.engine.schedule import steps_of
from segzoo.errors import ConfigError
from segzoo.metrics.versions import VERSION, name_now, named_now, version_in
from segzoo.model.loaded import Model
from segzoo.pictures import codec
from segzoo.publish.measured import Measured
from segzoo.publish.privacy import public, public_words
from segzoo.publish.source import Publishable
from segzoo.report.curves import CURVES
from segzoo.report.series import best_step
from segzoo.saved import config as configs
from segzoo.spec import LENGTHS, Recipe

__all__ = ["begun_with_of", "lasted", "taught_by_of", "write_training"]

GIT_SECONDS = 10.0
IN_HAND = "a model in hand"  # a teacher that has no name


def write_training(
    folder: Path, origin: Publishable, measured: Measured, config: configs.Config
) -> tuple[list[tuple[str, str]], str]:
    """Fill training/; gives the recipe's rows and the command, or nothing without a run."""
    files.make_folder(folder)
    versions: dict[str, Json] = {
        "published": {
            "segzoo-core": version("segzoo-core"),
            config.distribution: config.version,
        },
        "metrics": VERSION,
    }
    if revision := _git_revision(origin.place):
        versions["git"] = revision
    if measured.record:
        _write_json(folder / "metrics.json", measured.record)
        measured_with = measured.record.get("protocol", {}).get("versions")
        versions |= {"measured": measured_with} if measured_with else {}
    rows: list[tuple[str, str]] = []
    command = ""
    if origin.run is not None:
        about = begun_as(origin.run)
        by = version_in(about.get("identity") or {}, file=origin.run / RUN, error=ConfigError)
        recipe = recipes.from_json(public(about.get("recipe") or {}))
        if recipe.eval_metric is not None:
            recipe = dataclasses.replace(recipe, eval_metric=name_now(recipe.eval_metric, by))
        rows = recipes.described(recipe)
        command = _command(about, origin.model, recipe)
        versions["trained"] = public(about.get("machine") or {})
        found = about.get("data") or {}
        # a record that does not say of what its hash is kept one of the samples' names
        data = {"of": "names"} | {k: found[k] for k in ("samples", "of", "sha256") if k in found}
        _write_json(
            folder / "recipe.json",
            {"command": command, "data": data, "recipe": recipes.to_json(recipe)},
        )
        lines = [
            public(r | {"val": named_now(r["val"], by)} if r.get("val") else r)
            for r in journal.read(origin.run)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        files.write(folder / journal.METRICS, text.encode())
        if (origin.run / CURVES).is_file():
            picture = codec.read(origin.run / CURVES)  # again, so that nothing hides in it
            files.write(folder / CURVES, codec.encode(codec.flatten(picture)))
    _write_json(folder / "versions.json", versions)
    return rows, command


def begun_with_of(about: Mapping[str, Json]) -> str:
    """The weights that a run began with, as the command line takes them; empty for random ones."""
    found = (about.get("identity") or {}).get("weights")
    return str(public(found)) if isinstance(found, str) else ""


def taught_by_of(about: Mapping[str, Json]) -> tuple[str, str] | None:
    """The model that a run learned from, and the licence of its weights; None without one."""
    found = (about.get("identity") or {}).get("teacher")
    if not isinstance(found, Mapping):
        return None
    name, license = (str(public(found.get(key) or "")) for key in ("model", "license"))
    return name or IN_HAND, license or "not stated"


def lasted(run: Path, about: Mapping[str, Json]) -> str:
    """How far a run went, of how many steps, and which one's weights were kept, in a sentence.

    about: what its record says. Empty for a run that took no step.
    """
    notes = journal.read(run)
    reached = max((note["step"] for note in notes), default=0)
    if not reached:
        return ""
    samples = (about.get("data") or {}).get("samples")
    recipe = recipes.from_json(public(about.get("recipe") or {}))
    length = samples if isinstance(samples, int) and samples > 0 else None
    total = steps_of(recipe, length) if length or recipe.epochs is None else None
    said = f"It was trained for {count_of(reached, 'step')}"
    if total is not None and reached < total:
        said += f" of {total:,}, and stopped there"
    kept = best_step(notes)
    return said + (
        f"; these are the weights of step {kept:,}." if kept not in (None, reached) else "."
    )


def _command(about: Mapping[str, Json], model: Model, recipe: Recipe) -> str:
    """The call of `segzoo train` that a run was; empty for data that has no words."""
    identity, config = about.get("identity") or {}, model.config
    if not isinstance(identity.get("data"), str):
        return ""
    _, base = recipes.of_spec(model.spec)
    before, now = asdict(base), asdict(recipe)
    changes = [
        f"{name}={value if isinstance(value, str) and value else json.dumps(value)}"
        for name, value in now.items()
        if value != before[name] and not (name in LENGTHS and value is None)
    ]
    if recipes.overridden(base, changes) != recipe:
        return ""
    taught = taught_by_of(about)
    if taught is not None and taught[0] == IN_HAND:
        return ""
    begun_with = begun_with_of(about)
    tagged = begun_with.startswith(f"{config.model}.") and "/" not in begun_with
    subject = begun_with if tagged else config.model
    words = [f"segzoo train {subject} --data {shlex.quote(public_words(identity['data']))}"]
    if isinstance(identity.get("val"), str):
        words.append(f"--val {shlex.quote(public_words(identity['val']))}")
    if begun_with and not tagged:
        words.append(f"--init-from {shlex.quote(begun_with)}")
    if taught is not None:
        words.append(f"--teacher {shlex.quote(taught[0])}")
    words.append(f"--num-classes {config.num_classes} --in-channels {config.in_channels}")
    words.append(f"--task {config.task}")
    words += [f"--metric {shlex.quote(name)}" for name in identity.get("metrics") or ()]
    for name, value in public(config.options).items():
        if value != model.spec.options[name].default:
            text = value if isinstance(value, str) else json.dumps(value)
            words.append(f"--option {shlex.quote(f'{name}={text}')}")
    return " ".join([*words, *map(shlex.quote, changes)])


def _git_revision(place: Path | None) -> str:
    """The commit of the repository that a folder lies in; empty where there is none, or no git."""
    if place is None:
        return ""
    line = ["-C", os.fspath(place), "rev-parse", "--verify", "--quiet", "HEAD"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = children.run_program("git", *line, timeout=GIT_SECONDS)
        found = done.stdout.strip()
        return found if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found) else ""
    return ""


def _write_json(path: Path, record: Json) -> None:
    files.write(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
