"""segzoo prune: how much of an elastic network a validation set asks for."""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.cli.options import AsJson, BatchSize, Device, ModelName, Workers
from segzoo.cli.progress import working
from segzoo.cli.text import amount, print_json, say, table
from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.runs.pruning import Pruned

PRUNED = "prune.json"


def prune(
    model: ModelName,
    data: Annotated[
        str | None,
        typer.Option(
            help="A validation set, required: reader:path?option=value. Of words that part their "
            "set (val=0.2) it is the held-out part.",
            metavar="WORDS",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="A safetensors file, or the folder of a saved model.", metavar="PATH"),
    ] = None,
    within: Annotated[
        float, typer.Option(help="IoU that may be lost against the best.", min=0, max=1)
    ] = 0.01,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="A folder for prune.json.", metavar="FOLDER")
    ] = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    workers: Workers = 2,
    as_json: AsJson = False,
) -> None:
    """Choose how much of a network to load.

    UNet++ of depth 1, 2, 3 or 4, say.

    Every smaller network that the weights hold is measured. The one with the fewest parameters
    whose IoU is at most WITHIN below the best is named, with the call that loads it.
    """
    if data is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    from segzoo.base import files, ours
    from segzoo.runs import pruning

    if out is not None:
        ours.refuse_others([os.path.join(out, PRUNED)])
        files.make_folder(out)
    with working(f"measuring the parts of {model}"):
        found = pruning.prune(
            model,
            data,
            weights=weights,
            within=within,
            batch_size=batch_size,
            workers=workers,
            device=device,
        )
    record = {"data": data, "within": within} | dataclasses.asdict(found)
    if out is not None:
        text = json.dumps(record, indent=2) + "\n"
        files.write(os.path.join(out, PRUNED), text.encode())
    if as_json:
        print_json(record)
    else:
        say(*_lines(found))


def _lines(found: "Pruned") -> Iterator[str]:
    names = list(found.chosen.options)
    header = (*map(str.upper, names), found.metric.upper(), "MS", "PARAMETERS", "MACS", "")
    rows = [
        (
            *map(str, part.options.values()),
            f"{part.value:.4f}",
            f"{part.milliseconds:.1f}",
            amount(part.parameters),
            amount(part.macs),
            "<- load this" if part is found.chosen else "",
        )
        for part in found.parts
    ]
    yield from table(header, rows, right=" " * len(names) + ">>>>")
    height, width = found.size
    yield ""
    yield (
        f"{count_of(found.samples, 'picture')}. MS: of this machine ({found.device}, "
        f"{count_of(found.threads, 'thread')}), the median for one picture of {height}x{width} "
        "as the network gets it."
    )
    yield found.load
