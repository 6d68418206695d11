"""segzoo convert: weights of other programs, made into a saved model."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.options import AsJson, Options, options_of
from segzoo.cli.text import print_json, say

if TYPE_CHECKING:
    from segzoo.runs.convert import Converted

SHOWN = 8  # tensors, of hundreds


def convert(
    file: Annotated[
        str,
        typer.Argument(help="A file of PyTorch (.pth, .pt), Keras (.h5, .keras) or safetensors."),
    ],
    to: Annotated[str, typer.Option(help="The model whose weights they are.", metavar="MODEL")],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder, or a file *.safetensors. By default a folder named like FILE.",
            metavar="PATH",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Whose names the file has; by default told by the names.",
            metavar="LAYOUT",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="backbone: the file holds that part alone; all else gets random values.",
            metavar="PART",
        ),
    ] = None,
    option: Options = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Classes, where not the model's own.", min=1)
    ] = None,
    in_channels: Annotated[
        int | None, typer.Option(help="Input channels, where not the model's own.", min=1)
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="A golden: a safetensors file with an input and its logits, which the result "
            "must give.",
            metavar="GOLDEN",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make another program's weights a model of segzoo.

    Files that could run code are opened in a process of their own, without network, and as
    tensors alone. What does not fit the model exactly is refused, and then nothing is written.
    """
    from segzoo.runs.convert import convert

    done = convert(
        file,
        to=to,
        out=out,
        layout=layout,
        part=part,
        num_classes=num_classes,
        in_channels=in_channels,
        options=options_of(option),
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
    anew = [(old, new) for old, new in done.names if old != new]
    yield f"{len(done.names)} tensors, {len(anew) or 'none'} named anew for {done.model}"
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
