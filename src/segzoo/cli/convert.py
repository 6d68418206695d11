"""segzoo convert: weights of other programs, made into a saved model."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.options import AsJson, Options, options_of, spelled_out
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say
from segzoo.errors import printable

if TYPE_CHECKING:
    from segzoo.runs.convert import Converted

SHOWN = 8  # tensors, of hundreds


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What the file holds."""

    layout: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Whose names the file has; by default told by the names.",
            metavar="LAYOUT",
        ),
    ] = None
    part: Annotated[
        str | None,
        typer.Option(
            help="backbone: the file holds that part alone; all else gets random values.",
            metavar="PART",
        ),
    ] = None
    averaged: Annotated[
        bool,
        typer.Option(
            "--ema", help="Take the averages of the weights that lie beside them (state_dict_ema)."
        ),
    ] = False
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            help="Tensors of the file that are not of the network: a glob over its names.",
            metavar="GLOB",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Built:
    """How the network was built."""

    option: Options = None
    num_classes: Annotated[
        int | None, typer.Option(help="Classes, where not the model's own.", min=1)
    ] = None
    in_channels: Annotated[
        int | None, typer.Option(help="Input channels, where not the model's own.", min=1)
    ] = None


@spelled_out
def convert(
    file: Annotated[
        str,
        typer.Argument(
            help="A file of PyTorch (.pth, .pt), Keras (.h5, .keras), ONNX or safetensors, or a "
            "folder that another library saved."
        ),
    ],
    read: _Read,
    built: _Built,
    to: Annotated[
        str | None,
        typer.Option(help="The model whose weights they are; a folder says it.", metavar="MODEL"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder, or a file *.safetensors. By default a folder named like FILE.",
            metavar="PATH",
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="A golden: a safetensors file with an input and its logits, which the result "
            "must give.",
            metavar="GOLDEN",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make another program's weights a model of segzoo.

    Files that could run code are opened in a process of their own, without network, and as
    tensors alone. What does not fit the model exactly is refused, and then nothing is written.
    """
    from segzoo.runs.convert import convert

    with working(f"converting {file}"):
        done = convert(
            file,
            to=to,
            out=out,
            layout=read.layout,
            part=read.part,
            num_classes=built.num_classes,
            in_channels=built.in_channels,
            options=options_of(built.option),
            averaged=read.averaged,
            leave_out=read.leave_out or (),
            check=check,
            overwrite=overwrite,
        )
    if as_json:
        print_json({**dataclasses.asdict(done), "file": file, "out": str(done.out)})
    else:
        say(*_lines(file, done))


def _lines(file: str, done: "Converted") -> Iterator[str]:
    yield f"{file}: {done.kind}, sha256 {done.sha256}"
    yield f"layout {done.layout}: {done.summary}"
    if done.prefix:
        yield f"'{printable(done.prefix)[:100]}' was taken off the names in the file"
    short = [(old.removeprefix(done.prefix), new) for old, new in done.names]
    anew = [(old, new) for old, new in short if old != new]
    named = len(anew) or "none"
    yield f"{count_of(len(done.names), 'tensor')}, {named} named anew for {done.model}"
    yield from (f"  {old} -> {new}" for old, new in anew[:SHOWN])
    if len(anew) > SHOWN:
        yield f"  and {len(anew) - SHOWN} more; --json has them all"
    if done.left_out:
        more = f" and {len(done.left_out) - SHOWN} more" if len(done.left_out) > SHOWN else ""
        yield f"left out: {', '.join(done.left_out[:SHOWN])}{more}"
    if done.deviation is not None:
        yield f"the golden's logits, to {done.deviation:.1e}"
    yield from (f"note: {note}" for note in done.notes)
    yield f"written to {done.out}"
    if done.out.suffix != ".safetensors":
        yield f'load it: segzoo.load("local-dir:{done.out}")'
