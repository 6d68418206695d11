"""The folder that is published: from a training run, a saved model or a plugin's weights.

It is built first, always; it is all that is sent. What is published names the data, the licence
and the protocol, and nothing of the machine that it was made on.
"""

import contextlib
import dataclasses
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from segzoo.base import files
from segzoo.base.home import expanded
from segzoo.base.records import asdict
from segzoo.engine.record import begun_as
from segzoo.errors import ConfigError, OutputError, UsageError, printable
from segzoo.hub.benchmarks import registered
from segzoo.model import golden
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.publish import card, metadata
from segzoo.publish.examples import Example, example_of
from segzoo.publish.facts import EXAMPLE, EXAMPLE_MASK, PREVIEW, Benchmark, Facts
from segzoo.publish.measured import Measured, measured_of
from segzoo.publish.privacy import public
from segzoo.publish.request import PublishRequest
from segzoo.publish.source import Publishable, publishable
from segzoo.publish.trained import begun_with_of, lasted, taught_by_of, write_training
from segzoo.report.curves import CURVES
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.saved.config import MAX_TEXT, Config
from segzoo.saved.manifest import Manifest
from segzoo.spec import Dataset
from segzoo.zoo import refs
from segzoo.zoo.refs import HUB, REPO

__all__ = ["BuiltFolder", "build_folder", "dataset_of", "refuse_existing"]

SHOWN = (PREVIEW, EXAMPLE, f"training/{CURVES}")  # on the card, or beside it
NOT_STATED = "not stated"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class BuiltFolder:
    """A folder that can be published. facts: what its card says."""

    path: Path
    manifest: Manifest
    facts: Facts


# --- the folder -----------------------------------------------------------------------------------


def build_folder(request: PublishRequest, folder: str | os.PathLike[str]) -> BuiltFolder:
    """Make the folder that `publish` sends. It is new, or was empty.

    UsageError that lists everything that is missing; OutputError for a folder that is not empty.
    """
    target = Path(expanded(folder))
    _refuse_names(request)
    refuse_existing(target)
    origin = publishable(request.source)
    stated = _stated(request, origin)
    files.make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".segzoo-") as place:
        inside = Path(place) / "folder"
        model, saved = _write_model(inside, request, origin, stated)
        if example := example_of(model, request.picture):
            _write_example(inside, example)
        trained = write_training(inside / "training", origin, stated.measured, saved)
        pictures = frozenset(name for name in SHOWN if (inside / name).exists())
        facts = _facts(request, origin, stated, saved, trained, pictures)
        if example:
            facts = dataclasses.replace(
                facts, example_title=example.title, example_terms=example.terms
            )
        files.write(inside / "README.md", card.readme(facts).encode())
        for name, text in metadata.benchmark_results(facts).items():
            files.make_folder(inside / ".eval_results")
            files.write(inside / ".eval_results" / name, text.encode())
        listed = manifest.write(inside)
        try:
            inside.rename(target)
        except OSError as error:
            raise files.unwritable(target, error) from None
    return BuiltFolder(target, listed, facts)


class _Stated(NamedTuple):
    """What nothing is published without."""

    license: str
    trained_on: tuple[Dataset, ...]
    measured: Measured


def _stated(request: PublishRequest, origin: Publishable) -> _Stated:
    """Licence, data and numbers: as they are given, else as the source has them.

    UsageError that lists those that are missing; ConfigError for a model that nobody could load.
    """
    config = origin.model.config
    if not config.distribution:
        raise ConfigError(
            f"'{config.model}' is of a spec that no plugin offers, so nobody could load it",
            next_step="Put the spec in a plugin: segzoo new",
        )
    license = request.license or ("" if origin.run else config.license)
    _refuse_lines(**{"the licence": license})
    data = tuple(dict.fromkeys(map(_masked, (*request.trained_on, *config.trained_on))))
    measured = measured_of(origin, request.evaluation, request.repo, request.tag)
    missing = []
    if license in ("", NOT_STATED):
        missing.append("a licence (--license SPDX, such as Apache-2.0)")
    if not (request.trained_on if origin.run else data):
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
    return _Stated(metadata.spdx_of(license), data, measured)


def _write_model(
    inside: Path, request: PublishRequest, origin: Publishable, stated: _Stated
) -> tuple[Model, Config]:
    """Write weights, config and golden; gives the model as others will load it, and the config."""
    model, record = origin.model, origin.model.weights
    stored = request.dtype or (record.dtype if record else model.config.dtype)
    config = dataclasses.replace(model.config, license=stated.license, trained_on=stated.trained_on)
    whole = Model(model.network, spec=model.spec, config=config)
    whole.save_pretrained(inside, dtype=None if stored == "float32" else stored)
    loaded = load(f"{refs.LOCAL_DIR}{inside}")  # as others will: strictly, and widened
    saved = configs.read(inside / configs.CONFIG_NAME)
    sha256 = golden.write(loaded.network, saved, inside / golden.GOLDEN_NAME)
    saved = dataclasses.replace(saved, files={**saved.files, golden.GOLDEN_NAME: sha256})
    files.write(inside / configs.CONFIG_NAME, configs.dump(saved).encode())
    return loaded, saved


def _facts(
    request: PublishRequest,
    origin: Publishable,
    stated: _Stated,
    saved: Config,
    trained: tuple[list[tuple[str, str]], str],
    pictures: frozenset[str],
) -> Facts:
    """What the card says. trained: the recipe's rows and the command, of `write_training`."""
    model, record, measured = origin.model, origin.model.weights, stated.measured
    recipe, command = trained
    about = begun_as(origin.run) if origin.run else {}
    begun_with, taught_by = begun_with_of(about), taught_by_of(about)
    base_model = request.base_model
    for name in (begun_with, taught_by[0] if taught_by else ""):
        if not base_model and name.startswith(HUB):
            base_model = name.removeprefix(HUB).partition("@")[0]
    return Facts(
        config=saved,
        summary=model.spec.summary,
        num_parameters=sum(p.numel() for p in model.network.parameters()),
        repo=request.repo,
        tag=request.tag,
        paper=model.spec.paper,
        metrics=measured.metrics,
        intervals=measured.intervals,
        measure=measured.command,
        train=command or (record.recipe if record else ""),
        lasted=lasted(origin.run, about) if origin.run else "",
        recipe=recipe,
        begun_with=begun_with,
        base_model=base_model,
        begun_at=_address_of(begun_with, model),
        taught_by=taught_by,
        source=record.source if record else "",
        notes=public(request.notes) or (record.notes if record else ""),
        pictures=pictures,
        benchmark=_benchmark(request.benchmark, measured) if request.benchmark else None,
    )


def _benchmark(wish: str, measured: Measured) -> Benchmark:
    """The benchmark that the main number is for, as the Hub has registered it.

    UsageError for numbers of other data; HubNotFoundError for one that the Hub does not know.
    """
    dataset, _, task = wish.partition(":")
    if not REPO.fullmatch(dataset) or not task:
        raise UsageError(
            f"{printable(wish)!r} cannot be a benchmark",
            expected="user/dataset:task, as the data set's eval.yaml calls it",
        )
    split = measured.metrics[0].split
    if not re.match(rf"hf:{re.escape(dataset)}(?![\w./-])", split):
        raise UsageError(
            "the numbers are of other data than the benchmark",
            found=split,
            expected=f"hf:{dataset}",
            next_step=f"Measure on it: segzoo eval ... --data hf:{dataset} -o FOLDER",
        )
    return Benchmark(dataset, task, registered(dataset, task))


def _address_of(begun_with: str, model: Model) -> str:
    """Where a plugin has the weights from that a training began with; empty where it says none."""
    name, _, tag = begun_with.rpartition(".")
    record = model.spec.weights.get(tag) if name == model.config.model else None
    return (record.url or "") if record else ""


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
    given = Dataset(name=name.strip(), license=licence.strip(), url=url.strip())
    _refuse_lines(**{"the data set's " + key: value for key, value in asdict(given).items()})
    return given


def _refuse_lines(**texts: str) -> None:
    """UsageError for what a config could not hold: each is one line, and not too long."""
    for what, text in texts.items():
        if not text.isprintable() or len(text) > MAX_TEXT:
            raise UsageError(
                f"{what} is {printable(text)[:100]!r}",
                expected=f"one line of at most {MAX_TEXT} characters",
            )


def _masked(data: Dataset) -> Dataset:
    """Without passwords in addresses, and without paths of this machine."""
    return Dataset(**public(asdict(data)))


def _refuse_names(request: PublishRequest) -> None:
    """UsageError for what cannot be the name of a repository or of a tag."""
    repo, tag, base_model = request.repo, request.tag, request.base_model
    if not repo:
        raise UsageError("it is not said where to", next_step="Give USER/NAME behind the model")
    for name, what in ((repo, "repository"), (base_model or repo, "base model")):
        if not REPO.fullmatch(name) or name.endswith(".git"):
            raise UsageError(f"{printable(name)!r} cannot be a {what}", expected="user/name")
    if tag and (not TAG.fullmatch(tag) or ".." in tag or tag.endswith((".", ".lock"))):
        raise UsageError(f"{printable(tag)!r} cannot be a tag", expected="such as r1")


def refuse_existing(target: Path) -> None:
    """OutputError for a folder that is not empty; an empty one is removed."""
    with contextlib.suppress(OSError):
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
    if target.exists() or target.is_symlink():
        raise OutputError(
            "there is something already",
            file=target,
            expected="a new folder",
            next_step="Choose another folder",
        )


def _write_example(inside: Path, example: Example) -> None:
    files.make_folder((inside / EXAMPLE).parent)
    files.write(inside / PREVIEW, example.preview)
    files.write(inside / EXAMPLE, example.picture)
    files.write(inside / EXAMPLE_MASK, example.mask)
