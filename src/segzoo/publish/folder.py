"""The folder that is published: from a training run, a saved model or a plugin's weights.

It is built first, always; it is all that is sent. What is published names the data, the licence
and the protocol, and nothing of the machine that it was made on.
"""

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segzoo.base import files
from segzoo.engine.record import RUN
from segzoo.errors import ConfigError, OutputError, UsageError, printable
from segzoo.model import golden
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.pictures import codec
from segzoo.predict import outputs
from segzoo.publish import card
from segzoo.publish.card import Facts
from segzoo.publish.measured import measured_of
from segzoo.publish.source import publishable
from segzoo.publish.trained import begun_with_of, write_training
from segzoo.report.curves import CURVES
from segzoo.report.panels import sheet
from segzoo.saved import config as configs
from segzoo.saved import manifest
from segzoo.saved.manifest import Manifest
from segzoo.spec import Dataset
from segzoo.zoo import refs
from segzoo.zoo.refs import HUB, REPO

__all__ = ["Folder", "build_folder", "dataset_of"]

PREVIEW = "preview.jpg"
HEIGHT = 384  # pixels of the pictures on it
NOT_STATED = "not stated"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Folder:
    """A folder that can be published. facts: what its card says."""

    path: Path
    manifest: Manifest
    facts: Facts


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
    origin = publishable(source)
    record, config = origin.model.weights, origin.model.config
    if not config.distribution:
        raise ConfigError(
            f"'{config.model}' is of a spec that no plugin offers, so nobody could load it",
            next_step="Put the spec in a plugin: segzoo new",
        )
    given = license or ("" if origin.run else config.license)
    data = tuple(dict.fromkeys((*trained_on, *config.trained_on)))
    measured = measured_of(origin, evaluation, repo, tag)
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
        model = load(f"{refs.LOCAL_DIR}{inside}")  # as others will: strictly, and widened
        saved = configs.read(inside / configs.CONFIG_NAME)
        sha256 = golden.write(model.network, saved, inside / golden.GOLDEN_NAME)
        saved = dataclasses.replace(saved, files={**saved.files, golden.GOLDEN_NAME: sha256})
        files.write(inside / configs.CONFIG_NAME, configs.dump(saved).encode())
        if picture is not None:
            files.write(inside / PREVIEW, _preview(model, picture))
        recipe, command = write_training(inside / "training", origin, measured, saved)
        begun_with = begun_with_of(configs.read_json(origin.run / RUN)) if origin.run else ""
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


def _preview(model: Model, picture: str | os.PathLike[str]) -> bytes:
    """A JPEG of a picture with its mask beside; nothing else of the file is in it."""
    found = model.predict(os.fspath(picture))
    image = codec.flatten(found.picture)
    if found.num_classes == 1:
        mask = np.repeat(found.mask[..., None], 3, axis=2)
    else:
        mask = outputs.color(found, model.palette).image
    titles = ("picture", "mask")
    return codec.encode(sheet([(image, mask)], titles=titles, height=HEIGHT), format="JPEG")
