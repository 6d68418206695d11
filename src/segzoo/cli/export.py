"""segzoo export: a model as one file for other programs."""

from typing import Annotated

import typer

from segzoo.cli.options import AsJson, ModelName, Options, WeightsFile, options_of
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say, size_of, table


def export(
    model: ModelName,
    out: Annotated[str, typer.Option("--out", "-o", help="The file to write.", metavar="FILE")],
    format: Annotated[
        str, typer.Option(help="onnx, openvino, pt2, or one that a plugin adds.", metavar="FORMAT")
    ] = "onnx",
    weights: WeightsFile = None,
    option: Options = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as one file: pictures in, masks out.

    Pre- and postprocessing are inside: it takes pictures (N, H, W, 3) uint8 of any size, and gives
    probabilities and masks of that size. Before anything is written its answers are compared
    with segzoo's own on pictures of three sizes; FILE.json keeps what was found.
    """
    from segzoo.export.exporting import export_model, target_of
    from segzoo.model.load import load

    target = target_of(out, format, overwrite=overwrite)
    with working(f"exporting {model}"):
        loaded = load(model, pretrained=weights is None, weights=weights, **options_of(option))
        done = export_model(loaded, target, overwrite=overwrite)
    if as_json:
        print_json({**done.record, "files": [str(file) for file in done.files]})
        return
    rows = []
    for each in done.compared:
        n, h, w = each.pictures
        rows.append((f"{n} of {h}x{w}", f"{each.difference:.1g}", f"{each.pixels}"))
    say(*table(("PICTURES", "FROM TORCH", "OTHER PIXELS"), rows, right=" >>"))
    for file in done.files:
        say(f"{file}  {size_of(file.stat().st_size)}")
