"""What nodes of ONNX compute, in torch: so what is around a network is written once.

Sizes stay whole numbers, which `torch.export` follows by name; all else is a tensor.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Steps"]

# ONNX's numbers of types.
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}
FLOATING = (1, 11)


class Steps:
    """Nodes, one after the other. constants: tensors of ONNX by their names."""

    def __init__(self, nodes: Iterable[Any], constants: Iterable[Any]) -> None:
        from onnx import helper, numpy_helper

        self.nodes = [
            (
                node.op_type,
                tuple(node.input),
                node.output[0],
                {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute},
            )
            for node in nodes
        ]
        self.constants: dict[str, Any] = {}
        for constant in constants:
            value = numpy_helper.to_array(constant)
            numbers = value.ndim < 2 if value.dtype == "int64" else value.ndim < 1
            self.constants[constant.name] = (
                value.tolist()
                if numbers and value.dtype.kind in "if" and value.dtype != "int32"
                else torch.from_numpy(value.copy())
            )

    def __call__(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every value that is computed, by its name, with those that are given."""
        known = {**self.constants, **given}
        for operator, inputs, output, attributes in self.nodes:
            known[output] = OPERATORS[operator](*(known[name] for name in inputs), **attributes)
        return known


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _is_tensor(*values: Any) -> bool:
    return any(isinstance(value, Tensor) for value in values)


def _divided(a: Any, b: Any) -> Any:
    """Whole numbers here are never below zero."""
    if _is_tensor(a, b):
        whole = all(not isinstance(v, Tensor) or not v.is_floating_point() for v in (a, b))
        return torch.div(a, b, rounding_mode="trunc" if whole else None)
    is_float = isinstance(a, float | torch.SymFloat) or isinstance(b, float | torch.SymFloat)
    return a / b if is_float else a // b


def _largest(a: Any, b: Any) -> Any:
    return torch.maximum(_tensor(a), _tensor(b)) if _is_tensor(a, b) else torch.sym_max(a, b)


def _least(a: Any, b: Any) -> Any:
    return torch.minimum(_tensor(a), _tensor(b)) if _is_tensor(a, b) else torch.sym_min(a, b)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value)


def _cast(value: Any, *, to: int) -> Any:
    if isinstance(value, Tensor):
        return value.to(TYPES[to])
    return torch.sym_float(value) if to in FLOATING else torch.sym_int(value)


def _floor(value: Any) -> Any:
    return torch.floor(value) if isinstance(value, Tensor) else math.floor(value)


def _range(start: Any, end: Any, step: Any) -> Tensor:
    return torch.arange(start, end, step)


def _sliced(x: Tensor, starts: Sequence[Any], ends: Sequence[Any], axes: Sequence[int]) -> Tensor:
    for start, end, axis in zip(starts, ends, axes, strict=True):
        stop = x.shape[axis] if isinstance(end, int) and end >= 1 << 31 else end
        # By its numbers: a slice that is all of x is another program to torch than one that is not.
        x = x.index_select(axis, torch.arange(start, stop))
    return x


def _padded(x: Tensor, pads: Sequence[Any], *, mode: str = "constant") -> Tensor:
    half = len(pads) // 2
    around = [side for axis in reversed(range(half)) for side in (pads[axis], pads[half + axis])]
    if mode == "constant":
        return torch.nn.functional.pad(x, around)
    return torch.nn.functional.pad(x, around[:4], mode="replicate")  # N and C have none


def _gathered(x: Any, index: Any, *, axis: int = 0) -> Any:
    if not isinstance(x, Tensor):
        return x[index]
    return torch.index_select(x, axis, _tensor(index))


def _joined(*parts: Any, axis: int) -> Any:
    if _is_tensor(*parts):
        return torch.cat([_row(part) for part in parts], dim=axis)
    return [number for part in parts for number in part]


def _row(part: Any) -> Tensor:
    """A tensor of one axis; a list here is of one number."""
    return part if isinstance(part, Tensor) else _expanded(part[0], (1,))


def _unsqueezed(x: Any, axes: Sequence[int]) -> Any:
    return x.unsqueeze(axes[0]) if isinstance(x, Tensor) else [x]


def _reduced(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Sequence[int] = (), *, keepdims: int = 1) -> Tensor:
        return of(x, dim=tuple(axes) or tuple(range(x.ndim)), keepdim=bool(keepdims))

    return reduce


def _chosen(condition: Tensor, a: Any, b: Any) -> Tensor:
    return torch.where(condition, a, b)


def _expanded(x: Any, shape: Sequence[Any]) -> Tensor:
    if isinstance(x, Tensor):
        return x.expand(shape)
    return torch.full(tuple(shape), x, dtype=torch.float64)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": lambda a, b: a + b,
    "And": torch.logical_and,
    "ArgMax": lambda x, *, axis, keepdims: x.argmax(axis, keepdim=bool(keepdims)),
    "Cast": _cast,
    "Clip": torch.clamp,
    "Concat": _joined,
    "CumSum": lambda x, axis: x.cumsum(axis),
    "Div": _divided,
    "Equal": lambda a, b: torch.eq(a, b),
    "Exp": torch.exp,
    "Expand": _expanded,
    "Floor": _floor,
    "Gather": _gathered,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Identity": lambda x: x,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "MatMul": torch.matmul,
    "Max": _largest,
    "Min": _least,
    "Mod": torch.remainder,
    "Mul": lambda a, b: a * b,
    "Neg": lambda a: -a,
    "Pad": _padded,
    "Range": _range,
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": torch.relu,
    "Shape": lambda x: [*x.shape],
    "Sigmoid": torch.sigmoid,
    "Slice": _sliced,
    "Softmax": lambda x, *, axis: x.softmax(axis),
    "Squeeze": lambda x, axes: x.squeeze(axes[0]),
    "Sub": lambda a, b: a - b,
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Unsqueeze": _unsqueezed,
    "Where": _chosen,
}
