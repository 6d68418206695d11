"""segzoo label: a data set whose masks are what a model says, to train another one on."""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base import files, ours
from segzoo.base.home import expanded
from segzoo.base.records import Json, asdict
from segzoo.cli import jobs, predict
from segzoo.cli.jobs import STDIO, Job
from segzoo.cli.options import ModelName, Overwrite, SkipExisting, spelled_out
from segzoo.cli.predict import Outputs, Pictures, Together, Told
from segzoo.cli.text import say
from segzoo.cli.writing import Writer, Written
from segzoo.errors import OutputError, SegzooError, UsageError, printable
from segzoo.zoo import refs

if TYPE_CHECKING:
    from segzoo.model.served import Served
    from segzoo.predict.prediction import Prediction

KINDS = ("mask", "confidence")
FOLDERS = {"mask": "masks"}  # where a kind's folder is not called as it is
IMAGES = "images"
CARD, ABOUT = "README.md", "labels.json"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Where the data set goes."""

    out: Annotated[
        str,
        typer.Option("--out", "-o", help="A folder for the data set.", metavar="DATA"),
    ]
    skip_existing: SkipExisting = False
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True)
class Labeller(Writer):
    """Writes a picture's mask and confidence, and the picture beside them first."""

    def __call__(self, job: Job, result: "Prediction | SegzooError") -> Written:
        if not isinstance(result, SegzooError):
            picture = os.path.join(self.layout.out, IMAGES, _name(job))
            files.make_folder(os.path.dirname(picture))
            try:
                files.write(picture, Path(job.source).read_bytes())
            except OSError as error:
                raise OutputError(f"cannot be copied: {error.strerror}", file=job.source) from None
        return super().__call__(job, result)


@spelled_out
def label(
    model: ModelName,
    labels: Labels,
    pictures: Pictures,
    network: predict.Network,
    together: Together,
    told: Told,
) -> None:
    """Write a data set of what a model says of pictures.

    DATA/images has the pictures, DATA/masks what the model says, DATA/confidence how sure it is:
    255 where no other class is likely, 0 where another one is as likely. With weight=confidence the
    reader `folder` lets pixels count by that. DATA/README.md says which model it was, under which
    licence, and what that one was trained on.

    A picture that cannot be read costs itself alone, as in `segzoo predict`.
    """
    predict.refuse_both(skip_existing=labels.skip_existing, overwrite=labels.overwrite)
    refs.parse(model)
    if pictures.inputs == [STDIO]:
        raise UsageError("a data set is made of files, not of standard input")
    if network.random_init:
        raise UsageError("a network without weights has nothing to say", found="--random-init")
    out = expanded(labels.out)
    folders = predict.folders_of(pictures, out)
    total = sum(len(folder.names) for folder in folders)
    layout = jobs.layout_of(out, KINDS, total=total, heads=False, as_json=told.as_json)
    if layout.is_file:
        raise UsageError("a data set is a folder", found=f"-o {printable(out)}")
    layout = layout._replace(folders=FOLDERS)
    ours.refuse_others(os.path.join(out, name) for name in (ABOUT, CARD))
    words = ""

    def chosen() -> "tuple[Served, dict[str, Json]]":
        nonlocal words
        served, head = predict.served_of(model, network, total=total, quiet=told.quiet)
        said = None if network.weights else head["weights"]  # with the tag
        about = _about(said or model, network.weights, served)
        words = _words(out, about)
        files.write(os.path.join(out, ABOUT), json.dumps(about, indent=1).encode())
        shown = words.replace(f"folder:{out}?", "folder:DATA?", 1)
        files.write(os.path.join(out, CARD), _card(about, shown).encode())
        return served, head

    carried = Outputs(
        out=out, skip_existing=labels.skip_existing, overwrite=labels.overwrite, kinds=[*KINDS]
    )
    predict.carry_out(
        folders, layout, chosen, carried, pictures, together, told, writer_of=Labeller
    )
    if not (told.quiet or told.as_json):
        say(f"segzoo train MODEL --data {shlex.quote(words)}")


def _name(job: Job) -> str:
    """Of the copied picture: as its masks are called, with its own ending."""
    return job.stem + os.path.splitext(job.source)[1]


def _about(model: str, file: str | None, served: "Served") -> dict[str, Json]:
    """Who says so: the model, its values, its licence, its data."""
    from importlib.metadata import version

    config, record = served.config, served.weights
    license = record.license if record is not None else config.license
    trained_on = record.trained_on if record is not None else config.trained_on
    sha256 = record.sha256 if record is not None else next(iter(config.files.values()), "")
    public = model if file is None else f"{model} with {os.path.basename(file)}"
    return {
        "model": public,
        "sha256": sha256,
        "license": license or "not stated",
        "trained_on": [asdict(each) for each in trained_on],
        "classes": list(config.classes),
        "num_classes": config.num_classes,
        "confidence": "the probability of what the mask says, less that of the next likely class",
        "segzoo-core": version("segzoo-core"),
    }


def _words(out: str, about: dict[str, Json]) -> str:
    """The data set as the reader takes it."""
    names = [name for name in about["classes"] if name and not set(name) & set(",&|=#?")]
    one = about["num_classes"] == 1
    said = ["values=0,255"] if one else []
    if len(names) == about["num_classes"]:
        said.append("classes=" + ",".join(["background", *names] if one else names))
    return f"folder:{out}?{'&'.join([*said, 'weight=confidence'])}"


def _card(about: dict[str, Json], words: str) -> str:
    """The card of the data set, in Markdown."""
    rows = [
        f"| {_cell(data['name'])} | {_cell(data['license'])} |" for data in about["trained_on"]
    ] or ["| not stated | not stated |"]
    lines = [
        "# Pictures with masks that a model gave them",
        "",
        f"Nobody drew these masks: they are what `{_cell(about['model'])}` says of the pictures "
        f"(sha256 of its weights: `{about['sha256'] or 'not stated'}`), written by segzoo "
        f"{about['segzoo-core']}. A model that is trained on them learns its mistakes too.",
        "",
        f"- `masks`: {_cell(', '.join(about['classes']) or 'classes without names')}",
        f"- `confidence`: {about['confidence']}, 255 for 1",
        f"- the licence of the model's weights: {_cell(about['license'])}; that of the pictures is "
        "their own",
        "",
        "What the model was trained on:",
        "",
        "| data set | its licence |",
        "|---|---|",
        *rows,
        "",
        "To train on it:",
        "",
        f"    segzoo train MODEL --data {shlex.quote(words)}",
        "",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return printable(str(text)).replace("|", "/").replace("`", "'")
