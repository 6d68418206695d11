"""Nodes of an ONNX graph, written one after the other."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Nodes", "Value"]

# A tensor by its name, or a constant: whole numbers become int64, others float32.
Value: TypeAlias = "str | int | float | Sequence[int] | NDArray[Any]"


class Nodes:
    """What a graph computes so far: `add("Mul", "x", 2)` adds a node, and gives its output's name.

    prefix: before every name, so that they are no other's.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: Value, named: str = "", **attributes: Any) -> str:
        """Add a node. named: how its output is called, where others ask for it."""
        from onnx import helper

        output = named or f"{self.prefix}{len(self.nodes)}"
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def cast(self, value: Value, dtype: str) -> str:
        """dtype: "float32", say."""
        from onnx import helper

        return self("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def listed(self, *numbers: str | int) -> str:
        """Whole numbers, each a tensor without axes or a constant, as one tensor of one axis."""
        return self("Concat", *(self("Unsqueeze", n, [0]) for n in numbers), axis=0)

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self.prefix}constant_{len(self.constants)}"
        if not isinstance(value, np.ndarray):
            value = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        self.constants.append(numpy_helper.from_array(value, name))
        return name
