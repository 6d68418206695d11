"""Operators of torch's that are written in ONNX as two products with matrices, for any size.

Adaptive average pooling: ONNX has no operator for it, and torch's exporter lays its bins out for
the size of the example; at others the graph answers otherwise, or reads beyond the map. Resizing
with antialiasing: OpenVINO 2026.4 leaves the antialiasing out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["translations"]

FLOAT = 1  # as ONNX numbers the types of tensors


def translations() -> dict[Any, Callable[..., Any]]:
    """For `torch.onnx.export`: of each operator, what writes it.

    A size or count is a number, or a value of the graph where it follows from the size of x.
    """
    import torch
    from onnxscript import opset18

    nodes = _Nodes(opset18)

    def averaged(x: Any, output_size: Sequence[Any]) -> Any:
        """x (..., h, w) -> the means (..., n, m) of its bins, as aten::adaptive_avg_pool2d."""
        if [*output_size] == [1, 1]:
            return nodes.mean(x)
        return nodes.products(x, *map(nodes.bins, nodes.lengths(x), output_size))

    def linear(x: Any, size: Sequence[Any], align: bool, h: Any = None, w: Any = None) -> Any:
        """x (..., h, w) -> (..., n, m), as aten::_upsample_bilinear2d_aa."""
        return nodes.shrunk(x, size, nodes.triangle, align, (h, w))

    def cubic(x: Any, size: Sequence[Any], align: bool, h: Any = None, w: Any = None) -> Any:
        """The same, as aten::_upsample_bicubic2d_aa."""
        return nodes.shrunk(x, size, nodes.keys, align, (h, w))

    aten = torch.ops.aten
    return {
        aten.adaptive_avg_pool2d.default: averaged,
        aten._upsample_bilinear2d_aa.default: linear,
        aten._upsample_bicubic2d_aa.default: cubic,
    }


@dataclass(frozen=True)
class _Nodes:
    """What the operators are made of. op: an opset of onnxscript's, whose types know no values."""

    op: Any

    def mean(self, x: Any) -> Any:
        axes = self.op.Constant(value_ints=[-2, -1])
        return self.op.ReduceMean(x, axes, keepdims=1)

    def shrunk(
        self,
        x: Any,
        size: Sequence[Any],
        weight: Callable[[Any], Any],
        align: bool,
        scales: tuple[float | None, float | None],
    ) -> Any:
        """x (..., h, w) -> (..., n, m), with antialiasing; weight as in `resized`."""
        lengths = self.lengths(x)
        steps = map(self.step_of, lengths, size, scales, [align] * 2)
        return self.products(x, *map(self.resized, lengths, size, steps, [weight] * 2))

    def products(self, x: Any, down: Any, across: Any) -> Any:
        return self.op.MatMul(self.op.MatMul(down, x), self.op.Transpose(across, perm=[1, 0]))

    def lengths(self, x: Any) -> list[Any]:
        op = self.op
        return [op.Gather(op.Shape(x), op.Constant(value_int=axis)) for axis in (-2, -1)]

    def bins(self, length: Any, count: Any) -> Any:
        """(count, length) The weights of means: bin i is from i L / n to below (i + 1) L / n.

        These are whole numbers, the first rounded down and the other up, so that bins may overlap.
        """
        op, n = self.op, self.value(count)
        one = op.Constant(value_int=1)
        i, place = self.column(self.range_of(n)), self.range_of(length)
        start = op.Div(op.Mul(i, length), n)
        end = op.Div(op.Add(op.Mul(op.Add(i, one), length), op.Sub(n, one)), n)
        inside = op.And(op.GreaterOrEqual(place, start), op.Less(place, end))
        return op.Div(self.real(inside), self.real(op.Sub(end, start)))

    def step_of(self, length: Any, count: Any, scale: float | None, align: bool) -> Any:
        """How far values are taken from each other. scale: how many become of one, where said."""
        op, one = self.op, self.number(1.0)
        if align:  # the first and the last are kept
            left = op.Sub(self.real(count), one)
            far = op.Mul(op.Sub(self.real(length), one), op.Min(left, one))
            return op.Div(far, op.Max(left, one))
        if scale is None:
            return op.Div(self.real(length), self.real(count))
        return self.number(1 / scale)

    def resized(self, length: Any, count: Any, step: Any, weight: Callable[[Any], Any]) -> Any:
        """(count, length) The weights of sums. weight: of distances, in the coarser map's steps."""
        op, half = self.op, self.number(0.5)
        centre = op.Mul(op.Add(self.real(self.column(self.range_of(count))), half), step)
        place = op.Add(self.real(self.range_of(length)), half)
        found = weight(op.Div(op.Abs(op.Sub(place, centre)), op.Max(step, self.number(1.0))))
        return op.Div(found, op.ReduceSum(found, op.Constant(value_ints=[1]), keepdims=1))

    def triangle(self, distance: Any) -> Any:
        return self.op.Max(self.op.Sub(self.number(1.0), distance), self.number(0.0))

    def keys(self, distance: Any) -> Any:
        """Keys' cubic with a = -1/2: one polynomial up to 1, another up to 2, then 0."""
        near = self.op.Min(distance, self.number(1.0))
        far = self.op.Clip(distance, self.number(1.0), self.number(2.0))
        inner = self.polynomial(near, 1.5, -2.5, 0.0, 1.0)
        return self.op.Add(inner, self.polynomial(far, -0.5, 2.5, -4.0, 2.0))

    def polynomial(self, x: Any, highest: float, *others: float) -> Any:
        found = self.number(highest)
        for each in others:
            found = self.op.Add(self.op.Mul(found, x), self.number(each))
        return found

    def number(self, x: float) -> Any:
        return self.op.Constant(value_float=x)

    def value(self, count: Any) -> Any:
        return self.op.Constant(value_int=count) if isinstance(count, int) else count

    def real(self, count: Any) -> Any:
        return self.op.Cast(self.value(count), to=FLOAT)

    def range_of(self, count: Any) -> Any:
        op = self.op
        return op.Range(op.Constant(value_int=0), self.value(count), op.Constant(value_int=1))

    def column(self, values: Any) -> Any:
        return self.op.Unsqueeze(values, self.op.Constant(value_ints=[1]))
