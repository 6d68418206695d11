"""segzoo cutout: the subjects of photos on transparency, by the best weights at hand."""

import itertools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.records import Json
from segzoo.cli import jobs, predict
from segzoo.cli.jobs import STDIO
from segzoo.cli.options import (
    Behind,
    Crop,
    Device,
    Edges,
    EdgesOf,
    Overwrite,
    Precision,
    PrecisionOf,
    Resume,
    RuntimeName,
    ShardOf,
    SkipExisting,
    spelled_out,
)
from segzoo.cli.predict import Outputs, Pictures, Together, Told
from segzoo.cli.text import tell
from segzoo.errors import UsageError, printable
from segzoo.model.served import Request
from segzoo.zoo import refs, registry

if TYPE_CHECKING:
    from segzoo.model.served import Served

ENDING = "-cutout"  # of outputs that lie beside their photos


@dataclass(frozen=True, kw_only=True)
class CutOuts:
    """What is written, and where."""

    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder, made if need be; for one photo also a file ending in .png, or - for "
            f"standard output.  [default: NAME{ENDING}.png beside each photo]",
            show_default=False,
        ),
    ] = None
    background: Behind = None
    edges: EdgesOf = Edges.clean
    crop: Crop = False
    skip_existing: SkipExisting = False
    overwrite: Overwrite = False
    resume: Resume = False
    shard: ShardOf = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which weights are used."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model's name, name.tag, or a saved folder, fetched where need be.  [default: "
            "the best on this machine for anybody's use, by the numbers that they state]",
            show_default=False,
        ),
    ] = None
    device: Device = "auto"
    runtime: Annotated[
        RuntimeName | None,
        typer.Option(
            help="What runs the network.  [default: onnxruntime or openvino where one is installed "
            "and has the weights ready, else torch]",
            show_default=False,
        ),
    ] = None
    precision: PrecisionOf = Precision.fp32


@spelled_out
def cutout(outputs: CutOuts, pictures: Pictures, choice: Choice, told: Told) -> None:
    """Cut out the subjects of photos.

    One PNG with a transparent background for each photo, at its upright size.

    Which weights were taken, and why, is told in a line. Nothing is ever fetched unless --model
    asks for it.

    A photo that cannot be read costs itself alone, and exit code 1 at the end. Where a
    file is there already nothing is done, and it is named, unless --overwrite or --skip-existing is
    given.
    """
    predict.refuse_both(
        skip_existing=outputs.skip_existing, overwrite=outputs.overwrite, resume=outputs.resume
    )
    if choice.model is not None:
        refs.parse(choice.model)
    _refuse_models(pictures.inputs)
    folders, layout = _found(outputs, pictures, told)

    total = sum(len(folder.names) for folder in folders)

    def chosen() -> "tuple[Served, dict[str, Json]]":
        ref, why, served = _chosen(choice, total, quiet=told.quiet)
        if not told.quiet:
            tell(f"{printable(ref)}: {printable(why)}")
        return served, {"model": ref, "why": why}

    carried = Outputs(
        out=layout.out,
        kinds=["cutout"],
        background=outputs.background,
        edges=outputs.edges,
        crop=outputs.crop,
        skip_existing=outputs.skip_existing,
        overwrite=outputs.overwrite,
        resume=outputs.resume,
        shard=outputs.shard,
    )
    predict.carry_out(folders, layout, chosen, carried, pictures, Together(), told)


def _found(
    outputs: CutOuts, pictures: Pictures, told: Told
) -> tuple[list[jobs.InputFolder], jobs.Layout]:
    """The photos, and where their cut-outs go."""
    out = outputs.out
    if out is None and pictures.inputs == [STDIO]:
        out = STDIO
        if sys.stdout.isatty():
            raise UsageError(
                "the cut-out would go to the terminal", next_step="Give -o FILE.png, or > FILE.png"
            )
    if out is not None:
        folders = predict.folders_of(pictures, out)
        total = sum(len(folder.names) for folder in folders)
        layout = jobs.layout_of(out, ("cutout",), total=total, heads=False, as_json=told.as_json)
        return folders, layout
    folders = jobs.put_beside(predict.folders_of(pictures, STDIO), ENDING)
    layout = jobs.Layout("", ("cutout",), beside=ENDING)
    todo = list(itertools.islice(jobs.jobs_of(folders), 2))
    if len(todo) == 1 and not pictures.watch:
        layout = jobs.Layout(layout.path(todo[0], "cutout"), ("cutout",), is_file=True)
    return folders, layout


def _chosen(choice: Choice, total: int, *, quiet: bool) -> "tuple[str, str, Served]":
    """What loads the weights that are used, why they are, and their predictor."""
    from segzoo.model.choice import best, said_of

    ref, why = best() if choice.model is None else (choice.model, "")
    request = Request(
        ref=ref,
        pretrained=choice.model is not None,
        local_files_only=choice.model is None,
        device=choice.device,
        runtime=choice.runtime and choice.runtime.value,
        precision=choice.precision.value,
        pictures=total,
    )
    served = predict.serve_aloud(request, quiet=quiet)
    config = served.config
    return ref, why or f"asked for; {said_of(config.license, config.trained_on)}", served


def _refuse_models(inputs: list[str]) -> None:
    """UsageError for a model's name where a photo belongs, as `segzoo predict` has it."""
    for text in inputs:
        if not os.path.lexists(text) and _is_model(text):
            raise UsageError(
                "a model, where a photo is expected",
                found=printable(text)[:200],
                next_step=f"Run: segzoo cutout --model {printable(text)[:200]} PHOTO",
            )


def _is_model(text: str) -> bool:
    return any(entry.name == registry.fold(text.partition(".")[0]) for entry in registry.entries())
