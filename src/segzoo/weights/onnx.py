"""The tensors of an ONNX file, read with the onnx library: nothing of its graph is run.

Exporters number what they make, and fold batch normalisation into the convolution before it, so
that names say little. What lasts is the order in which layers are run: `conv_7.weight` is the
kernel of the eighth convolution, whatever the file calls it.
"""

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.errors import UnsafeFormatError, WeightsFormatError

__all__ = ["read_onnx"]

MAX_NODES = 200_000
MAX_BYTES = 2**31 - 1  # of a message, as protobuf has it: what is longer is no ONNX file
# What a layer takes beside its input, in order.
LAYERS = {
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}
NAMES = {"Conv": "conv", "ConvTranspose": "conv_transpose", "BatchNormalization": "norm"}


def read_onnx(
    stream: BinaryIO, *, max_bytes: int
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...], str]:
    """The arrays of the layers in a file, by "layer_number.parameter", what is left out, the kind.

    max_bytes: of all arrays together. Left out: tensors that no convolution and no normalisation
    takes. UnsafeFormatError for tensors that lie in other files; WeightsFormatError for a file that
    is damaged, too large or quantised, or whose graph has branches, whose order says nothing.
    """
    import onnx
    from onnx import numpy_helper

    size = stream.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise WeightsFormatError(
            "it is longer than an ONNX file can be",
            found=f"{size:,} bytes",
            expected=f"at most {MAX_BYTES:,}",
        )
    stream.seek(0)
    try:
        model = onnx.ModelProto.FromString(stream.read())
    except Exception as error:  # of protobuf, which has no class of its own for it here
        raise WeightsFormatError(
            "it cannot be read as ONNX: it is damaged, cut short, or of another kind",
            found=" ".join(str(error).split())[:200] or type(error).__name__,
            next_step="Fetch it again",
        ) from None
    graph = model.graph
    if not graph.node or len(graph.node) > MAX_NODES:
        raise WeightsFormatError(
            "its graph has no layers, or too many", found=count_of(len(graph.node), "node")
        )
    for node in graph.node:
        kinds = {attribute.type for attribute in node.attribute}
        if kinds & {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
            raise WeightsFormatError(
                "its graph has branches or loops, so that its layers have no order",
                found=node.op_type[:100],
            )
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    for tensor in tensors.values():
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise UnsafeFormatError(
                "its tensors lie in another file",
                found=tensor.name[:100],
                expected="one file that holds them",
            )
    arrays: dict[str, NDArray[Any]] = {}
    used, total = set(), 0
    for name, source in _parameters(graph):
        if source not in tensors:
            raise WeightsFormatError(
                f"{name} is not stored, but computed: the file is quantised or not of inference",
                found=source[:100],
            )
        array = numpy_helper.to_array(tensors[source])
        if array.dtype.kind != "f":
            raise WeightsFormatError(
                f"{name} holds no floating-point numbers", found=str(array.dtype)
            )
        total += array.nbytes
        if total > max_bytes:
            raise WeightsFormatError(
                "its arrays are larger than the file allows", found=f"more than {max_bytes:,} bytes"
            )
        arrays[name] = np.ascontiguousarray(array)
        used.add(source)
    left_out = tuple(t.name for t in graph.initializer if t.name not in used)
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    return arrays, left_out, f"ONNX (opset {max(opsets, default=0)})"


def _parameters(graph: Any) -> Iterator[tuple[str, str]]:
    """Our name and the graph's of each parameter, in the order in which layers are run."""
    seen: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type not in LAYERS or node.domain not in ("", "ai.onnx"):
            continue
        layer = f"{NAMES[node.op_type]}_{seen[node.op_type]}"
        seen[node.op_type] += 1
        for parameter, source in zip(LAYERS[node.op_type], node.input[1:], strict=False):
            if source:
                yield f"{layer}.{parameter}", source
