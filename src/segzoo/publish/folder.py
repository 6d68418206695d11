"""From a training run, a saved model or a plugin's weights to a repository on the Hub.

A folder is built first, always; it is all that is sent, in one commit. What is published names the
data, the licence and the protocol, and nothing of the machine that it was made on.
"""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from segzoo.base import files
from segzoo.engine import journal, recipes
from segzoo.engine.record import RUN
from segzoo.errors import (
    ConfigError,
    OutputError,
    UnknownModelError,
    UsageError,
    printable,
)
from segzoo.hub.upload import Repository
from segzoo.model import build, golden
from segzoo.model import load as api
from segzoo.model.loaded import Model
from segzoo.pictures import codec as pictures
from segzoo.predict import outputs
from segzoo.publish import card
from segzoo.publish.card import Facts
from segzoo.publish.privacy import public, public_words
from segzoo.report.curves import CURVES
from segzoo.report.panels import sheet
from segzoo.runs.training import MAIN, MODEL
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.saved.manifest import Manifest
from segzoo.spec import Dataset, Json, Metric, Recipe, Weights, asdict
from segzoo.zoo import refs
from segzoo.zoo.refs import HUB, REPO, Hub

__all__ = ["Folder", "Published", "build_folder", "dataset_of", "publish"]

PREVIEW = "preview.jpg"
HEIGHT = 384  # pixels of the pictures on it
MOST = 4  # metrics in the record for a spec; the card has all
NOT_STATED = "not stated"
GIT_SECONDS = 10.0
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Folder:
    """A folder that can be published. facts: what its card says."""

    path: Path
    manifest: Manifest
    facts: Facts


@dataclass(frozen=True)
class Published:
    """A publication. commit: of 40 hex digits. created: whether a commit was made for it.

    url: of the commit, or of the pull request. lines: what a plugin's spec takes.
    """

    repo: str
    commit: str
    tag: str
    created: bool
    url: str
    record: Weights
    lines: str


class _Origin(NamedTuple):
    """What is to be published. run: its folder, where a training run left it.

    sha256: of the file that the weights came from; empty where there is none.
    """

    model: Model
    run: Path | None
    place: Path | None
    sha256: str


class _Measured(NamedTuple):
    """Numbers, the main one first, and how they came about; record: for training/metrics.json."""

    metrics: tuple[Metric, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = {}
    command: str = ""
    record: Mapping[str, Json] = {}


# --- the folder -----------------------------------------------------------------------------------


def build_folder(
    source: str | os.PathLike[str] | Model,
    folder: str | os.PathLike[str],
    *,
    repo: str,
    license: str = "",
    trained_on: Sequence[Dataset] = (),
    evaluation: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | None = None,
    dtype: Dtype | None = None,
    base_model: str = "",
    notes: str = "",
    tag: str = "",
) -> Folder:
    """Make the folder that `publish` sends. It is new, or was empty.

    source: the folder of a finished run; the folder of a saved model; `name` or `name.tag` of
        weights that a plugin has; or a Model.
    repo: "user/name", where it will be published; tag: as what.
    license: of the weights, an SPDX identifier. trained_on: the data sets with their licences.
        Both are the record's where the weights have one.
    evaluation: the folder that `segzoo eval -o` wrote, or its metrics.json. Without it a run's own
        measurements are taken, or the record's.
    picture: to show with its mask on the card. dtype: how to store floats; None as the source.
    base_model: the repository whose weights the training began with, where the run does not know.
    notes: limits, for a person.

    UsageError that lists everything that is missing; OutputError for a folder that is not empty.
    """
    target = Path(folder)
    _refuse_names(repo, tag, base_model)
    with contextlib.suppress(OSError):
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
    if target.exists() or target.is_symlink():
        raise OutputError("there is something already", file=target, expected="a new folder")
    origin = _origin(source)
    record, config = origin.model.weights, origin.model.config
    if not config.distribution:
        raise ConfigError(
            f"'{config.model}' is of a spec that no plugin offers, so nobody could load it",
            next_step="Put the spec in a plugin: segzoo new",
        )
    given = license or ("" if origin.run else config.license)
    data = tuple(dict.fromkeys((*trained_on, *config.trained_on)))
    measured = _measured(origin, evaluation, repo, tag)
    missing = []
    if given in ("", NOT_STATED):
        missing.append("a licence (--license SPDX, such as Apache-2.0)")
    if not (trained_on if origin.run else data):
        missing.append(
            "the data that it was trained on, with its licence "
            "(--trained-on 'NAME=LICENCE' or 'NAME=LICENCE=URL')"
        )
    if not measured.metrics:
        missing.append(
            "numbers with their protocol and split (--eval FOLDER, of segzoo eval ... -o FOLDER)"
        )
    if missing:
        raise UsageError("not to be published without " + "; ".join(missing))

    files.make_folder(target.parent)
    stored = dtype or (record.dtype if record else config.dtype)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".segzoo-") as place:
        inside = Path(place) / "folder"
        config = dataclasses.replace(config, license=given, trained_on=data)
        whole = Model(origin.model.network, spec=origin.model.spec, config=config)
        whole.save_pretrained(inside, dtype=None if stored == "float32" else stored)
        model = api.load(f"{refs.LOCAL_DIR}{inside}")  # as others will: strictly, and widened
        saved = configs.read(inside / configs.CONFIG_NAME)
        sha256 = golden.write(model.network, saved, inside / golden.GOLDEN_NAME)
        saved = dataclasses.replace(saved, files={**saved.files, golden.GOLDEN_NAME: sha256})
        files.write(inside / configs.CONFIG_NAME, configs.dump(saved).encode())
        if picture is not None:
            files.write(inside / PREVIEW, _preview(model, picture))
        recipe, command = _training(inside / "training", origin, measured, saved)
        begun_with = _begun_with(configs.read_json(origin.run / RUN)) if origin.run else ""
        if not base_model and begun_with.startswith(HUB):
            base_model = begun_with.removeprefix(HUB).partition("@")[0]
        shown = (PREVIEW, f"training/{CURVES}")
        facts = Facts(
            config=saved,
            summary=model.spec.summary,
            num_parameters=sum(p.numel() for p in model.network.parameters()),
            repo=repo,
            tag=tag,
            paper=model.spec.paper,
            metrics=measured.metrics,
            intervals=measured.intervals,
            measure=measured.command,
            train=command or (record.recipe if record else ""),
            recipe=recipe,
            begun_with=begun_with,
            base_model=base_model,
            source=record.source if record else "",
            notes=notes or (record.notes if record else ""),
            pictures=frozenset(name for name in shown if (inside / name).exists()),
        )
        files.write(inside / "README.md", card.readme(facts).encode())
        files.make_folder(inside / ".eval_results")
        for name, text in card.eval_results(facts).items():
            files.write(inside / ".eval_results" / name, text.encode())
        listed = manifest.write(inside)
        try:
            inside.rename(target)
        except OSError as error:
            raise files.unwritable(target, error) from None
    return Folder(target, listed, facts)


def dataset_of(text: str) -> Dataset:
    """A data set from a command line: 'NAME=LICENCE' or 'NAME=LICENCE=URL'."""
    name, _, rest = text.partition("=")
    licence, _, url = rest.partition("=")
    if not name.strip() or not licence.strip():
        raise UsageError(
            f"cannot read the data set {printable(text)!r}",
            expected="'NAME=LICENCE' or 'NAME=LICENCE=URL'; where no licence is stated: 'NAME="
            f"{NOT_STATED}'",
        )
    return Dataset(name=name.strip(), license=licence.strip(), url=url.strip())


def _refuse_names(repo: str, tag: str, base_model: str) -> None:
    """UsageError for what cannot be the name of a repository or of a tag."""
    for name, what in ((repo, "repository"), (base_model or repo, "base model")):
        if not REPO.fullmatch(name) or name.endswith(".git"):
            raise UsageError(f"{printable(name)!r} cannot be a {what}", expected="user/name")
    if tag and (not TAG.fullmatch(tag) or ".." in tag or tag.endswith((".", ".lock"))):
        raise UsageError(f"{printable(tag)!r} cannot be a tag", expected="such as r1")


def _origin(source: str | os.PathLike[str] | Model) -> _Origin:
    """The model, with the values to publish, on the CPU."""
    if isinstance(source, Model):
        return _Origin(source, None, None, "")
    place = Path(source)
    if (place / RUN).is_file():
        if not (place / MODEL / configs.CONFIG_NAME).is_file():
            raise ConfigError(
                "the run has saved no model that a plugin offers",
                file=place,
                expected=f"{MODEL}/{configs.CONFIG_NAME}",
            )
        found = _origin(place / MODEL)
        return found._replace(run=place, place=place)
    if (place / configs.CONFIG_NAME).is_file():
        sha256 = configs.read(place / configs.CONFIG_NAME).files.get(configs.WEIGHTS_NAME, "")
        return _Origin(api.load(f"{refs.LOCAL_DIR}{place}"), None, place, sha256)
    try:
        model = api.load(os.fspath(source), pretrained=True)
    except UnknownModelError as error:
        raise UsageError(
            f"there is no folder {printable(os.fspath(source))!r}, and no plugin's weights are "
            "called so",
            next_step=error.next_step,
        ) from None
    return _Origin(model, None, None, model.weights.sha256 if model.weights else "")


def _preview(model: Model, picture: str | os.PathLike[str]) -> bytes:
    """A JPEG of a picture with its mask beside; nothing else of the file is in it."""
    found = model.predict(os.fspath(picture))
    image = pictures.flatten(found.picture)
    if found.num_classes == 1:
        mask = np.repeat(found.mask[..., None], 3, axis=2)
    else:
        mask = outputs.color(found, model.palette).image
    titles = ("picture", "mask")
    return pictures.encode(sheet([(image, mask)], titles=titles, height=HEIGHT), format="JPEG")


# --- what was measured ----------------------------------------------------------------------------


def _measured(
    origin: _Origin, evaluation: str | os.PathLike[str] | None, repo: str, tag: str
) -> _Measured:
    """The numbers of an evaluation, else of the run, else of the record."""
    if evaluation is not None:
        path = Path(evaluation)
        path = path / "metrics.json" if path.is_dir() else path
        return _of_evaluation(configs.read_json(path), path, origin, repo, tag)
    if origin.run is not None:
        return _of_run(origin.run, origin.model)
    return _Measured(origin.model.weights.metrics if origin.model.weights else ())


def _of_evaluation(
    found: Mapping[str, Json], path: Path, origin: _Origin, repo: str, tag: str
) -> _Measured:
    try:
        values, protocol = found["values"], found["protocol"]
        about, data = protocol["model"], protocol["data"]
        main, names = protocol["main"], sorted(protocol["metrics"])
        words, samples = data["words"], int(data["samples"])
        measured_with = str(protocol["versions"]["segzoo-core"])
        flip, scales = bool(protocol["flip"]), [float(scale) for scale in protocol["scales"]]
        intervals = {k: (float(low), float(high)) for k, (low, high) in found["intervals"].items()}
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        if main not in numbers or not isinstance(about, dict):
            raise KeyError(main)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(
            "this is not what segzoo eval writes", file=path, next_step="Run: segzoo eval -o FOLDER"
        ) from None
    config = origin.model.config
    if about.get("name") != config.model or about.get("num_classes") != config.num_classes:
        raise UsageError(
            "the numbers are of another model",
            file=path,
            found=f"{printable(str(about.get('name')))}, {about.get('num_classes')} classes",
            expected=f"{config.model}, {config.num_classes} classes",
        )
    if origin.sha256 and about.get("sha256") and about["sha256"] != origin.sha256:
        raise UsageError(
            "the numbers are of other weights",
            file=path,
            found=printable(str(about["sha256"])),
            expected=origin.sha256,
        )
    told = public_words(words) if isinstance(words, str) else f"data set {data.get('sha256')}"
    part = ", held-out part" if data.get("part") else ""
    split = f"{told}{part}, {samples:,} picture{'s' * (samples != 1)}"
    also = [*(["mirrored too"] if flip else []), *(f"at {s:g} of the size too" for s in scales)]
    text = "; ".join(
        [f"segzoo {measured_with}: {', '.join(names)}", "each picture at its own size", *also]
    )
    ordered = [main, *(name for name in numbers if name != main)]
    metrics = tuple(
        Metric(name=name, value=float(numbers[name]), split=split, protocol=text)
        for name in ordered
    )
    command = ""
    if isinstance(words, str):
        reference = Hub(repo, tag or None)
        usual = {"semantic", "saliency" if config.task in ("saliency", "binary") else "semantic"}
        more = [f"--metric {shlex.quote(n)}" for n in names if n not in usual]
        more += ["--flip"] if flip else []
        more += [f"--scale {scale:g}" for scale in scales]
        command = " ".join([f"segzoo eval {reference} --data {shlex.quote(told)}", *more])
    record = public({key: found[key] for key in ("values", "intervals", "classes", "protocol")})
    record["protocol"]["model"].pop("weights", None)
    if isinstance(words, str):
        record["protocol"]["data"]["words"] = told
    return _Measured(metrics, intervals, command, record)


def _of_run(run: Path, model: Model) -> _Measured:
    """What the run measured while it trained, at the step whose weights it kept."""
    about = configs.read_json(run / RUN)
    best = [record for record in journal.read(run) if record.get("best")]
    words = about.get("identity", {}).get("val") or about.get("identity", {}).get("data")
    if not best or not isinstance(words, str):
        return _Measured()
    numbers = {k: v for k, v in best[-1]["val"].items() if isinstance(v, int | float)}
    main = about.get("recipe", {}).get("eval_metric") or MAIN[model.task]
    measured_with = about.get("machine", {}).get("segzoo-core", "")
    held = "" if about["identity"].get("val") else ", held-out part"
    text = f"segzoo {measured_with}, while training; the step was chosen by {main} on this set"
    metrics = tuple(
        Metric(name=k, value=float(v), split=f"{public_words(words)}{held}", protocol=text)
        for k, v in sorted(numbers.items(), key=lambda item: item[0] != main)
        if k != "loss"
    )
    return _Measured(metrics, record={"step": best[-1]["step"], "values": numbers})


# --- what it was trained with ---------------------------------------------------------------------


def _training(
    folder: Path, origin: _Origin, measured: _Measured, config: configs.Config
) -> tuple[list[tuple[str, str]], str]:
    """Fill training/; gives the recipe's rows and the command, or nothing without a run."""
    files.make_folder(folder)
    versions: dict[str, Json] = {
        "published": {
            "segzoo-core": version("segzoo-core"),
            config.distribution: config.version,
        }
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
        about = configs.read_json(origin.run / RUN)
        recipe = recipes.from_json(public(about.get("recipe") or {}))
        rows = recipes.described(recipe)
        command = _command(about, origin.model, recipe)
        versions["trained"] = public(about.get("machine") or {})
        data = {k: about.get("data", {}).get(k) for k in ("samples", "sha256")}
        _write_json(
            folder / "recipe.json",
            {"command": command, "data": data, "recipe": recipes.to_json(recipe)},
        )
        lines = [public(record) for record in journal.read(origin.run)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        files.write(folder / journal.METRICS, text.encode())
        if (origin.run / CURVES).is_file():
            picture = pictures.read(origin.run / CURVES)  # again, so that nothing hides in it
            files.write(folder / CURVES, pictures.encode(pictures.flatten(picture)))
    _write_json(folder / "versions.json", versions)
    return rows, command


def _begun_with(about: Mapping[str, Json]) -> str:
    """The weights that a run began with, as the command line takes them; empty for random ones."""
    found = (about.get("identity") or {}).get("weights")
    return str(public(found)) if isinstance(found, str) else ""


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
        if value != before[name] and not (name in ("epochs", "steps") and value is None)
    ]
    if recipes.overridden(base, changes) != recipe:
        return ""
    begun_with = _begun_with(about)
    tagged = begun_with.startswith(f"{config.model}.") and "/" not in begun_with
    subject = begun_with if tagged else config.model
    words = [f"segzoo train {subject} --data {shlex.quote(public_words(identity['data']))}"]
    if isinstance(identity.get("val"), str):
        words.append(f"--val {shlex.quote(public_words(identity['val']))}")
    if begun_with and not tagged:
        words.append(f"--init-from {shlex.quote(begun_with)}")
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
    if place is None or shutil.which("git") is None:
        return ""
    line = ["git", "-C", os.fspath(place), "rev-parse", "--verify", "--quiet", "HEAD"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(line, capture_output=True, text=True, timeout=GIT_SECONDS)
        found = done.stdout.strip()
        return found if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", found) else ""
    return ""


def _write_json(path: Path, record: Json) -> None:
    files.write(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())


# --- to the Hub -----------------------------------------------------------------------------------


def publish(
    source: str | os.PathLike[str] | Model,
    repo: str,
    *,
    license: str = "",
    trained_on: Sequence[Dataset] = (),
    evaluation: str | os.PathLike[str] | None = None,
    picture: str | os.PathLike[str] | None = None,
    dtype: Dtype | None = None,
    base_model: str = "",
    notes: str = "",
    tag: str = "",
    private: bool = False,
    create_pr: bool = False,
) -> Published:
    """Build the folder and send it to the Hub in one commit, then tag that.

    What it takes is told by `build_folder`. private: make the repository so. create_pr: open a
    pull request instead of writing to main. The token is huggingface_hub's: HF_TOKEN, or what
    `hf auth login` keeps.

    Repeated with the same folder it makes no commit; a tag is never moved. HubError and its kinds
    for what the Hub or the way to it has against it: then there is no commit, or all of it.
    """
    if tag and create_pr:
        raise UsageError(
            "a tag is of what was merged",
            next_step="Merge the pull request, then publish again with the tag",
        )
    with tempfile.TemporaryDirectory(prefix="segzoo-") as place:
        folder = build_folder(
            source,
            Path(place) / "folder",
            repo=repo,
            license=license,
            trained_on=trained_on,
            evaluation=evaluation,
            picture=picture,
            dtype=dtype,
            base_model=base_model,
            notes=notes,
            tag=tag,
        )
        there = Repository(repo)
        there.create(private=private)
        commit, created, url = there.put(
            folder.path,
            folder.manifest,
            message=f"Publish {folder.facts.config.model}" + (f" as {tag}" if tag else ""),
            tag=tag,
            create_pr=create_pr,
        )
        if tag:
            there.tag(tag, commit)
    record = record_of(folder.facts, repo, commit)
    return Published(repo, commit, tag, created, url, record, card.lines_for_spec(record))


def record_of(facts: Facts, repo: str, commit: str) -> Weights:
    """What a plugin's spec says of published weights, where the spec does not say it already."""
    config = facts.config
    entry, spec = api.find_spec(f"{config.distribution}/{config.model}")
    usual = build.config_of(entry, spec, None)
    custom = spec.preprocess.custom  # code, which the config does not name
    own = dataclasses.replace(config.preprocess, custom=custom)
    different: dict[str, Any] = {
        name: value
        for name, value in {
            "num_classes": config.num_classes,
            "in_channels": config.in_channels,
            "task": config.task,
            "preprocess": own,
            "postprocess": config.postprocess,
        }.items()
        if value != getattr(usual, name)
    }
    return Weights(
        repo=repo,
        revision=commit,
        file=configs.WEIGHTS_NAME,
        sha256=config.files[configs.WEIGHTS_NAME],
        dtype=config.dtype,
        options={k: v for k, v in config.options.items() if v != usual.options[k]},
        classes=config.classes,
        palette=config.palette,
        trained_on=config.trained_on,
        metrics=tuple(
            dataclasses.replace(m, value=round(m.value, 4)) for m in facts.metrics[:MOST]
        ),
        license=config.license,
        source=facts.source,
        recipe=facts.train,
        notes=facts.notes,
        **different,
    )
