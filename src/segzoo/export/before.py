"""`segzoo.predict.preprocess.prepare` in ONNX: from pictures to a network's input."""

from typing import NamedTuple

import numpy as np

from segzoo.errors import ConfigError
from segzoo.export.nodes import Nodes, Value
from segzoo.export.resampling import Resampling, resized
from segzoo.pictures.codec import Picture
from segzoo.predict.preprocess import BLACK, channels, mirror_index, network_size, per_channel
from segzoo.spec import Preprocess

__all__ = ["FrameNames", "Pair", "bands_of", "prepared"]

Pair = tuple[Value, Value]
GRAY = np.array([19595, 38470, 7471], np.int32).reshape(1, 3, 1, 1)  # as in `labels.luma`


class FrameNames(NamedTuple):
    """Where pictures lie in the network's input, as `preprocess.Geometry`: whole numbers in it.

    network: (h, w) of x.
    """

    picture: Pair
    inside: Pair
    offset: Pair
    network: Pair


def bands_of(preprocess: Preprocess, in_channels: int) -> int:
    """How many bands the pictures have that a graph takes.

    ConfigError for what cannot be in a graph, and where `prepare` has it.
    """
    if preprocess.custom is not None:
        raise ConfigError(
            f"preprocess.custom={preprocess.custom} is Python, which no graph can hold",
            next_step="Export the network alone with segzoo warm, and prepare pictures in Python",
        )
    for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        per_channel(name, values, in_channels)
    if preprocess.mode == "bands":
        return in_channels
    channels(Picture(np.zeros((1, 1, 3), np.uint8)), preprocess.mode, in_channels)
    return 3 if in_channels == 1 else in_channels


def prepared(
    add: Nodes, pictures: str, preprocess: Preprocess, in_channels: int, *, named: str
) -> FrameNames:
    """Nodes from pictures (N, H, W, C) uint8 to x (N, in_channels, h, w) float32, as `named`."""
    shape = add("Shape", pictures)
    picture = add("Gather", shape, 1), add("Gather", shape, 2)
    x = add("Transpose", pictures, perm=[0, 3, 1, 2])
    if in_channels == 1 and preprocess.mode != "bands":
        total = add("ReduceSum", add("Mul", add.cast(x, "int32"), GRAY), [1])
        rounded = add("Add", total, np.array(32768, np.int32))
        # floats hold all of these sums exactly; OpenVINO rounds where it divides whole numbers
        shifted = add("Mul", add.cast(rounded, "float32"), np.array(2.0**-16, np.float32))
        x = add("Floor", shifted)
    else:
        x = add.cast(x, "float32")
    inside, offset = _placed(add, picture, preprocess)
    if preprocess.size is not None:
        kind = Resampling(preprocess.interpolation, preprocess.antialias, preprocess.border)
        x = resized(add, x, picture, inside, kind)
        if preprocess.resize == "letterbox":
            x = _framed(add, x, inside, offset, preprocess)
    x = _normalized(add, x, preprocess, in_channels)
    x, network = _mirrored(add, x, picture, preprocess)
    add("Identity", x, named=named)
    return FrameNames(picture, inside, offset, network)


def _placed(add: Nodes, picture: tuple[str, str], preprocess: Preprocess) -> tuple[Pair, Pair]:
    if preprocess.size is None:
        return picture, (0, 0)
    if preprocess.resize != "letterbox":
        return preprocess.size, (0, 0)
    sides = [add.cast(side, "float64") for side in picture]
    wanted = [np.array(side, np.float64) for side in preprocess.size]
    factor = add("Min", *(add("Div", w, s) for w, s in zip(wanted, sides, strict=True)))
    inside, offset = [], []
    for side, most in zip(sides, preprocess.size, strict=True):
        rounded = add("Floor", add("Add", add("Mul", side, factor), np.array(0.5)))
        found = add("Min", add("Max", add.cast(rounded, "int64"), 1), most)
        inside.append(found)
        offset.append(add("Div", add("Sub", most, found), 2))
    return (inside[0], inside[1]), (offset[0], offset[1])


def _framed(add: Nodes, x: str, inside: Pair, offset: Pair, preprocess: Preprocess) -> str:
    assert preprocess.size is not None
    behind = [
        add("Sub", add("Sub", whole, before), part)
        for whole, before, part in zip(preprocess.size, offset, inside, strict=True)
    ]
    pads = add.listed(0, 0, *map(_number, offset), 0, 0, *behind)
    return add("Pad", x, pads, mode="edge" if preprocess.border == "edge" else "constant")


def _number(value: Value) -> str | int:
    assert isinstance(value, str | int)
    return value


def _normalized(add: Nodes, x: str, preprocess: Preprocess, in_channels: int) -> str:
    if preprocess.rescale == "255":
        x = add("Div", x, 255.0)
    elif preprocess.rescale == "image_max":
        peak = add("ReduceMax", x, [1, 2, 3])
        x = add("Div", x, add("Where", add("Less", peak, 255 * BLACK), 1.0, peak))
    for operator, name, values in (
        ("Sub", "mean", preprocess.mean),
        ("Div", "std", preprocess.std),
    ):
        x = add(operator, x, per_channel(name, values, in_channels))
    return x


def _mirrored(
    add: Nodes, x: str, picture: tuple[str, str], preprocess: Preprocess
) -> tuple[str, Pair]:
    """x extended by its mirror image as `preprocess.mirror_index` says, and its size."""
    multiple, rest, margin = preprocess.multiple_of, preprocess.remainder, preprocess.margin
    network: list[Value] = []
    if preprocess.size is not None:
        sizes = network_size(*preprocess.size, preprocess)
        for axis, (whole, full) in enumerate(zip(preprocess.size, sizes, strict=True)):
            if full != whole:
                x = add("Gather", x, mirror_index(whole, full, margin), axis=2 + axis)
        return x, sizes
    if (multiple, rest, margin) == (1, 0, 0):
        return x, picture
    for axis, side in enumerate(picture):
        needed = add("Add", side, 2 * margin - rest + multiple - 1)
        times = add("Max", add("Div", needed, multiple), 1)
        length = add("Add", add("Mul", times, multiple), rest)
        last = add("Mul", add("Sub", side, 1), 2)
        distance = add("Abs", add("Sub", add("Range", 0, length, 1), margin))
        distance = add("Mod", distance, add("Max", last, 1))
        index = add("Min", distance, add("Sub", last, distance))
        x = add("Gather", x, index, axis=2 + axis)
        network.append(length)
    return x, (network[0], network[1])
