"""Operators of torch's that are written in ONNX as two products with matrices, for any size.

Adaptive average pooling: ONNX has no operator for it, and torch's exporter lays its bins out for
the size of the example; at others the graph answers otherwise, or reads beyond the map. Resizing
with antialiasing: OpenVINO 2026.4 leaves the antialiasing out.
"""

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["translations"]

FLOAT = 1  # as ONNX numbers the types of tensors


def translations() -> dict[Any, Callable[..., Any]]:
    """For `torch.onnx.export`: of each operator, what writes it.

    A size or count is a number, or a value of the graph where it follows from the size of x.
    """
    import torch
    from onnxscript import opset18

    op: Any = opset18  # its types know no values of the graph

    def averaged(x: Any, output_size: Sequence[Any]) -> Any:
        """x (..., h, w) -> the means (..., n, m) of its bins, as aten::adaptive_avg_pool2d."""
        if [*output_size] == [1, 1]:
            return op.ReduceMean(x, op.Constant(value_ints=[-2, -1]), keepdims=1)
        return products(x, *map(bins, lengths(x), output_size))

    def linear(x: Any, size: Sequence[Any], align: bool, h: Any = None, w: Any = None) -> Any:
        """x (..., h, w) -> (..., n, m), as aten::_upsample_bilinear2d_aa."""
        steps = map(step_of, lengths(x), size, (h, w), [align] * 2)
        return products(x, *map(resized, lengths(x), size, steps, [triangle] * 2))

    def cubic(x: Any, size: Sequence[Any], align: bool, h: Any = None, w: Any = None) -> Any:
        """The same, as aten::_upsample_bicubic2d_aa."""
        steps = map(step_of, lengths(x), size, (h, w), [align] * 2)
        return products(x, *map(resized, lengths(x), size, steps, [keys] * 2))

    def products(x: Any, down: Any, across: Any) -> Any:
        return op.MatMul(op.MatMul(down, x), op.Transpose(across, perm=[1, 0]))

    def lengths(x: Any) -> list[Any]:
        return [op.Gather(op.Shape(x), op.Constant(value_int=axis)) for axis in (-2, -1)]

    def range_of(count: Any) -> Any:
        return op.Range(op.Constant(value_int=0), value(count), op.Constant(value_int=1))

    def value(count: Any) -> Any:
        return op.Constant(value_int=count) if isinstance(count, int) else count

    def real(count: Any) -> Any:
        return op.Cast(value(count), to=FLOAT)

    def column(values: Any) -> Any:
        return op.Unsqueeze(values, op.Constant(value_ints=[1]))

    def bins(length: Any, count: Any) -> Any:
        """(count, length) The weights of means: bin i is from i L / n to below (i + 1) L / n.

        These are whole numbers, the first rounded down and the other up, so that bins may overlap.
        """
        n, one = value(count), op.Constant(value_int=1)
        i, place = column(range_of(n)), range_of(length)
        start = op.Div(op.Mul(i, length), n)
        end = op.Div(op.Add(op.Mul(op.Add(i, one), length), op.Sub(n, one)), n)
        inside = op.And(op.GreaterOrEqual(place, start), op.Less(place, end))
        return op.Div(real(inside), real(op.Sub(end, start)))

    def step_of(length: Any, count: Any, scale: float | None, align: bool) -> Any:
        """How far values are taken from each other. scale: how many become of one, where said."""
        if align:  # the first and the last are kept
            one, left = number(1.0), op.Sub(real(count), number(1.0))
            far = op.Mul(op.Sub(real(length), one), op.Min(left, one))
            return op.Div(far, op.Max(left, one))
        return op.Div(real(length), real(count)) if scale is None else number(1 / scale)

    def resized(length: Any, count: Any, step: Any, weight: Callable[[Any], Any]) -> Any:
        """(count, length) The weights of sums. weight: of distances, in the coarser map's steps."""
        half = number(0.5)
        centre = op.Mul(op.Add(real(column(range_of(count))), half), step)
        place = op.Add(real(range_of(length)), half)
        found = weight(op.Div(op.Abs(op.Sub(place, centre)), op.Max(step, number(1.0))))
        return op.Div(found, op.ReduceSum(found, op.Constant(value_ints=[1]), keepdims=1))

    def number(x: float) -> Any:
        return op.Constant(value_float=x)

    def triangle(distance: Any) -> Any:
        return op.Max(op.Sub(number(1.0), distance), number(0.0))

    def keys(distance: Any) -> Any:
        """Keys' cubic with a = -1/2: one polynomial up to 1, another up to 2, then 0."""
        near = op.Min(distance, number(1.0))
        far = op.Clip(distance, number(1.0), number(2.0))
        return op.Add(polynomial(near, 1.5, -2.5, 0.0, 1.0), polynomial(far, -0.5, 2.5, -4.0, 2.0))

    def polynomial(x: Any, highest: float, *others: float) -> Any:
        found = number(highest)
        for each in others:
            found = op.Add(op.Mul(found, x), number(each))
        return found

    aten = torch.ops.aten
    return {
        aten.adaptive_avg_pool2d.default: averaged,
        aten._upsample_bilinear2d_aa.default: linear,
        aten._upsample_bicubic2d_aa.default: cubic,
    }
