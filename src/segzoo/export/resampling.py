"""`segzoo.pictures.resample` in ONNX: a matrix for each axis, made in the graph.

ONNX has an operator of its own for this, but no Gaussian, another rule at the border, and runtimes
that differ. Products by two matrices are the same in all of them. Distances are quotients of whole
numbers, so that they are as exact in float32 as they can be.
"""

from typing import NamedTuple

import numpy as np

from segzoo.export.nodes import Nodes, Value
from segzoo.pictures.resample import KERNELS, TRUNCATE, Antialias, Border, Interpolation

__all__ = ["Resampling", "resized"]


class Resampling(NamedTuple):
    """How values between pixels are found, as `resample.resize` says."""

    interpolation: Interpolation = "bilinear"
    antialias: Antialias = "triangle"
    border: Border = "edge"


def resized(
    add: Nodes, x: str, before: tuple[Value, Value], after: tuple[Value, Value], kind: Resampling
) -> str:
    """x (N, C, H, W) float32 of the size `before` at the size `after`."""
    rows, columns = (_matrix(add, *sides, kind) for sides in zip(before, after, strict=True))
    return add("MatMul", add("MatMul", rows, x), add("Transpose", columns, perm=[1, 0]))


def _matrix(add: Nodes, before: Value, after: Value, kind: Resampling) -> str:
    """(after, before) float32: what each pixel of an axis is made of."""
    if kind.interpolation == "nearest":
        return _nearest(add, before, after)
    longer = add("Max", before, after)
    stretched = kind.antialias == "triangle"
    twice = add("Mul", after, 2)
    shrinks = add("Div", add("Sub", add("Add", longer, after), 1), after)  # rounded up
    reach = round(KERNELS[kind.interpolation][1])
    pad = add("Add", add("Mul", shrinks if stretched else 1, reach), 1)
    columns = add("Range", add("Neg", pad), add("Add", before, pad), 1)
    rows = add("Unsqueeze", add("Range", 0, after, 1), [1])
    # j - ((i + 1/2) * before / after - 1/2), times 2 * after
    centre = add("Sub", add("Mul", add("Add", add("Mul", rows, 2), 1), before), after)
    distance = add("Sub", add("Mul", columns, twice), centre)
    unit = add("Mul", longer, 2) if stretched else twice
    d = add("Div", add.cast(distance, "float32"), add.cast(unit, "float32"))
    weights = _linear(add, d) if kind.interpolation == "bilinear" else _cubic(add, d)
    if stretched and kind.border == "edge":
        inside = add("And", add("GreaterOrEqual", columns, 0), add("Less", columns, before))
        weights = add("Mul", weights, add.cast(inside, "float32"))
    matrix = _folded(add, weights, pad, before, kind.border)
    if kind.antialias != "gaussian":
        return matrix
    return add("MatMul", matrix, _blur(add, before, after, kind.border))


def _folded(add: Nodes, weights: str, pad: str, before: Value, border: Border) -> str:
    """Rows that sum to 1, of the pixels that there are; `pad` columns at each side are beyond."""
    weights = add("Div", weights, add("ReduceSum", weights, [1]))
    start, end = add.listed(pad), add.listed(add("Add", pad, before))
    inside = add("Slice", weights, start, end, [1])
    if border == "zero":
        return inside
    others = add("Sub", before, 1)
    left = add("ReduceSum", add("Slice", weights, [0], start, [1]), [1])
    right = add("ReduceSum", add("Slice", weights, end, [np.iinfo(np.int64).max], [1]), [1])
    left = add("Pad", left, add.listed(0, 0, 0, others))
    right = add("Pad", right, add.listed(0, others, 0, 0))
    return add("Add", inside, add("Add", left, right))


def _blur(add: Nodes, before: Value, after: Value, border: Border) -> str:
    """(before, before) float32: a Gaussian of sigma = (before / after - 1) / 2, or none."""
    factor = add("Div", add.cast(before, "float32"), add.cast(after, "float32"))
    sigma = add("Max", add("Div", add("Sub", factor, 1.0), 2.0), 1e-6)
    radius = add.cast(add("Floor", add("Add", add("Mul", sigma, TRUNCATE), 0.5)), "int64")
    pad = add("Add", radius, 1)
    columns = add("Range", add("Neg", pad), add("Add", before, pad), 1)
    distance = add("Sub", columns, add("Unsqueeze", add("Range", 0, before, 1), [1]))
    d = add("Div", add.cast(distance, "float32"), sigma)
    weights = add("Exp", add("Mul", add("Mul", d, d), -0.5))
    near = add("LessOrEqual", add("Abs", distance), radius)
    return _folded(add, add("Mul", weights, add.cast(near, "float32")), pad, before, border)


def _nearest(add: Nodes, before: Value, after: Value) -> str:
    """The sum, step by step, is Pillow's, as in `resample`."""
    factor = add("Div", add.cast(before, "float64"), add.cast(after, "float64"))
    first = add("Unsqueeze", add("Mul", factor, np.array(0.5)), [0])
    others = add("Expand", factor, add.listed(add("Sub", after, 1)))
    centres = add("CumSum", add("Concat", first, others, axis=0), 0)
    last = add.cast(add("Sub", before, 1), "float64")
    index = add.cast(add("Min", add("Floor", centres), last), "int64")
    columns = add("Range", 0, before, 1)
    return add.cast(add("Equal", add("Unsqueeze", index, [1]), columns), "float32")


def _linear(add: Nodes, d: str) -> str:
    return add("Relu", add("Sub", 1.0, add("Abs", d)))


def _cubic(add: Nodes, d: str) -> str:
    """Keys 1981, equation 15, with a = -0.5."""
    d = add("Abs", d)
    square = add("Mul", d, d)
    near = add("Add", add("Mul", square, add("Sub", add("Mul", d, 1.5), 2.5)), 1.0)
    inner = add("Mul", add("Add", add("Mul", add("Sub", 5.0, d), d), -8.0), d)
    far = add("Add", add("Mul", inner, 0.5), 2.0)
    beyond = add("Where", add("Less", d, 2.0), far, 0.0)
    return add("Where", add("LessOrEqual", d, 1.0), near, beyond)
