"""What a run was begun with, for one that goes on: read from its folder, and compared.

Whatever is read here is judged here: see `segzoo.runs.claims`.
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segzoo.base.records import Json, asdict, from_dict
from segzoo.engine import recipes
from segzoo.engine.record import RUN, begun_as
from segzoo.engine.settings import OF_ONE_OCCASION, Settings
from segzoo.errors import ConfigError, RunError, UsageError
from segzoo.metrics.versions import FIRST, version_in
from segzoo.model import build, configured, origin
from segzoo.model.loaded import Model
from segzoo.runs import claims
from segzoo.runs.request import TrainRequest
from segzoo.runs.subject import Subject
from segzoo.saved import config as configs
from segzoo.spec import ModelSpec, Preprocess, Recipe

__all__ = [
    "Begun",
    "begun_of",
    "identity_of",
    "measured_by",
    "rebuilt_of",
    "settings_of",
    "typed_again",
]

CODE = "code that nothing installed declares"
PLACE = "a folder outside the run"


def identity_of(
    request: TrainRequest,
    subject: Subject,
    begun_with: str,
    teacher: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """What a resumed run must have in common with the one before, besides its recipe.

    begun_with: the weights that its first sitting began with; empty for random ones. teacher: what
    `Taught.about` says.
    """
    version = request.method.metrics_version
    words = {"data": request.data, "val": request.val, "weights": begun_with or None}
    identity: dict[str, Json] = {k: v for k, v in words.items() if isinstance(v, str)}
    config = None if subject.zoo is None else subject.zoo.config
    return identity | {
        "model": {
            "name": "" if config is None else config.model,
            "options": {} if config is None else dict(config.options),
            "num_classes": subject.about.num_classes,
            "in_channels": subject.about.in_channels,
        },
        "metrics": [*request.method.metrics],
        # what says nothing is of the first version: such a run has to be equal to itself
        **({} if version == FIRST else {"metrics_version": version}),
        "preprocess": _preprocess(subject.about.preprocess),
        **({} if teacher is None else {"teacher": dict(teacher)}),
    }


def _preprocess(preprocess: Preprocess) -> dict[str, Json]:
    """Without a peak that nobody said: runs from before there was one are equal to themselves."""
    found = asdict(preprocess)
    return {k: v for k, v in found.items() if k != "peak" or v is not None}


class Begun(NamedTuple):
    """What a run was begun with."""

    data: str | None
    val: str | None
    recipe: Recipe
    metrics: tuple[str, ...]
    metrics_version: int
    weights: str
    teacher: str | None = None


def begun_of(run: Path, *, typed: Collection[str] = (), specs: Iterable[ModelSpec] = ()) -> Begun:
    """What a run was begun with, before anything that it names is imported or opened.

    typed: fields of the recipe, "data" and "val", that a person gives anew; what the run has of
    them is not judged, and not to be used. specs: those that the caller names himself.
    RunError for a folder that holds no run, or one that cannot be read, and for a run that names
    code which nothing declares, or a folder outside it, unless it is typed.
    """
    record = _record(run)
    recipe, words = _recipe(record, run / RUN), _words(record)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    if not fields.issubset(typed):
        claims.refuse(run / RUN, CODE, claims.of_recipe(recipe, specs), typed=typed)
    used = {name: text for name, text in words.items() if name not in typed}
    claims.refuse(run / RUN, PLACE, claims.of_words(run, used))
    identity = record.get("identity") or {}
    return Begun(
        words.get("data"),
        words.get("val"),
        recipe,
        tuple(identity.get("metrics") or ()),
        version_in(identity, file=run / RUN, error=RunError),
        str(identity.get("weights") or ""),
        _teacher(run, identity, typed),
    )


def _teacher(run: Path, identity: Mapping[str, Json], typed: Collection[str]) -> str | None:
    """What taught the run, as `segzoo.load` takes it; None where nothing did, or it is typed."""
    found = identity.get("teacher")
    if not isinstance(found, Mapping) or "teacher" in typed:
        return None
    name = found.get("model")
    if not isinstance(name, str) or not name:
        raise UsageError(
            "the run was taught by a model in hand, which it cannot name",
            file=run,
            next_step="Give it again: segzoo.train(resume=..., teacher=MODEL)",
        )
    claims.refuse(run / RUN, CODE, claims.of_teacher(name))
    return name


def measured_by(run: Path) -> tuple[str, str]:
    """The metric that chose the best weights, and the words of what it was measured on, if any."""
    record = _record(run)
    words = _words(record)
    return (record.get("recipe") or {}).get("eval_metric") or "loss", words.get(
        "val", words.get("data", "")
    )


def typed_again(run: Path) -> list[str]:
    """What `segzoo train --resume RUN` needs beside the folder, in words of a command line."""
    record = _record(run)
    settings = _settings(record.get("settings") or {}, run / RUN)
    found = {
        **claims.of_recipe(_recipe(record, run / RUN)),
        **claims.of_words(run, _words(record)),
        **claims.of_cache(run, settings.cache),
        **claims.of_teacher(
            str(((record.get("identity") or {}).get("teacher") or {}).get("model"))
        ),
    }
    return [claim.words for claim in found.values()]


def _record(run: Path) -> dict[str, Json]:
    if not (run / RUN).exists():
        raise RunError("there is no run to go on with", file=run, expected=f"a folder with {RUN}")
    claims.refuse_links(run)
    return begun_as(run)


def _recipe(record: Mapping[str, Json], file: Path) -> Recipe:
    try:
        return recipes.from_json(record.get("recipe") or {})
    except ConfigError as error:
        raise RunError(error.problem, file=file) from None


def _words(record: Mapping[str, Json]) -> dict[str, str]:
    """The words of the data, by "data" and "val", where the run had words for them."""
    identity = record.get("identity") or {}
    found = {name: identity.get(name) for name in ("data", "val")}
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _settings(record: Mapping[str, Json], file: Path) -> Settings:
    """Those of run.json that the next sitting has too."""
    lasting = {f.name for f in dataclasses.fields(Settings)}.difference(OF_ONE_OCCASION)
    try:
        return from_dict(Settings, {k: v for k, v in record.items() if k in lasting})
    except ValueError as error:
        raise RunError("the settings cannot be read", file=file, found=str(error)) from None


def settings_of(run: str | os.PathLike[str] | None, **changes: Any) -> Settings:
    """How a run used the machine, with changes; the defaults where there was none.

    Its device, its time and its silence were of one occasion. ValueError for changes that are none;
    RunError as `begun_of`, and for a cache outside the run that is not among the changes.
    """
    if run is None or not (Path(run) / RUN).exists():
        return Settings(**changes)
    folder = Path(run)
    settings = _settings(_record(folder).get("settings") or {}, folder / RUN)
    claims.refuse(folder / RUN, PLACE, claims.of_cache(folder, settings.cache), typed=changes)
    return dataclasses.replace(settings, **changes)


def rebuilt_of(run: Path) -> Model:
    """The model of a run as it was built; its values are in the checkpoints."""
    file = run / configs.CONFIG_NAME
    if not file.exists() or not configs.read(file).distribution:
        raise UsageError(
            "the run is of a network or spec of your own, which it cannot name",
            file=run,
            next_step="Give it again: segzoo.train(NETWORK, resume=...)",
        )
    _, spec, config = origin.saved(run)
    spec = configured.variant_of(spec, config.options)
    network = build.builder_of(spec, config)()
    return Model(network, spec=spec, config=config)
