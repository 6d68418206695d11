"""segzoo features: what every stage of a network gives."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.options import AsJson
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say, table
from segzoo.errors import UsageError, printable
from segzoo.model.load import find_spec
from segzoo.spec import ModelSpec

if TYPE_CHECKING:
    from fractions import Fraction

    from segzoo.model.features import Feature


def features(
    model: Annotated[str, typer.Argument(help="A model's name, or module:ATTR.")],
    size: Annotated[
        str | None,
        typer.Option(
            help="Height and width of the picture; one number for both.  [default: the model's "
            "own, or 256]",
            metavar="H,W",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show each stage's output.

    Its name, shape (channels, height, width) and stride.

    The stride is how many pixels of the input lie beside one another in one of the output's. In
    Python, model.features(x) gives the outputs themselves under the same names.
    """
    entry, spec = find_spec(model)
    from segzoo.predict.preprocess import input_size

    wanted = None if size is None else _size_of(size)
    height, width = input_size(spec.preprocess, wanted)
    with working(f"building {model}"):
        found = _features(spec, height, width)
    shape = [spec.in_channels, height, width]
    if as_json:
        rows = [
            {
                "name": feature.name,
                "shape": list(feature.shape),
                "stride": feature.stride and [*map(_number, feature.stride)],
            }
            for feature in found
        ]
        print_json({"model": entry.name, "input": shape, "features": rows})
        return
    say(f"{entry.name}: outputs of the stages for an input of {'x'.join(map(str, shape))}")
    cells = [(f.name, "x".join(map(str, f.shape)), _stride(f)) for f in found]
    say(*table(("NAME", "SHAPE", "STRIDE"), cells, right=" >>"))


def _size_of(text: str) -> tuple[int, int]:
    """ "256,320" -> (256, 320); "256" -> (256, 256)."""
    sides = [side.strip() for side in text.split(",")]
    numbers = [int(side) for side in sides if re.fullmatch("[0-9]{1,6}", side)]
    if len(sides) > 2 or len(numbers) < len(sides) or 0 in numbers:
        raise UsageError(
            f"--size {printable(text)} is no size",
            expected="pixels, at most 999999, as 256 or 256,320",
        )
    return numbers[0], numbers[-1]


def _features(spec: ModelSpec, height: int, width: int) -> "list[Feature]":
    from segzoo.model import build
    from segzoo.model.features import shapes

    shape = (1, spec.in_channels, height, width)
    multiple_of = spec.preprocess.multiple_of
    return shapes(lambda: build.build(spec), shape, multiple_of=multiple_of)


def _number(stride: "Fraction") -> int | float:
    return int(stride) if stride.denominator == 1 else float(stride)


def _stride(feature: "Feature") -> str:
    """16, 1/3, 16x8, or - for what has none."""
    if feature.stride is None:
        return "-"
    down, across = feature.stride
    return str(down) if down == across else f"{down}x{across}"
