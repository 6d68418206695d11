"""A network as an ONNX graph, x -> logits, by torch's exporter."""

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segzoo.base.extras import imported
from segzoo.errors import PluginError
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.translated import translations
from segzoo.zoo import registry

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["OPSET", "to_onnx", "values_of"]

LARGE = 256  # values of a tensor for which half the bytes are worth an operator
OPSET = 18  # what torch's exporter writes; a later one is made of it by a conversion


def to_onnx(
    network: "nn.Module",
    x: NDArray[np.float32],
    *,
    any_size: bool,
    model: str = "the network",
    small: bool = False,
    extra: str = "onnx",
) -> bytes:
    """The ONNX file of a network: x (N, C, h, w) float32 -> logits float32, N of any number.

    x: an example, of two pictures or more. any_size: h and w may be any too; else they are its.
    small: tensors whose values all are float16's are stored as such, and normalisations are left
    for the runtime to fold into them. Tensors lie in the file, and so does nothing else: no names
    or lines of source files. extra: of segzoo-core; brings what this needs, and what is to run it.
    DependencyMissingError without onnxscript. PluginError with the cause where torch cannot export
    the network, or makes a graph that needs more than ONNX's own operators.
    """
    imported("onnx", needed="to export a network, onnx is needed", extra=extra)
    imported("onnxscript", needed="to export a network, onnxscript is needed", extra=extra)
    import torch

    from segzoo.predict.runtimes.torch import evaluating

    axes = (0, 2, 3) if any_size else (0,)
    dims = {axis: torch.export.Dim.DYNAMIC for axis in axes}
    try:
        with warnings.catch_warnings(), evaluating(network), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter's own
            program = torch.onnx.export(
                _final_of(network),
                (torch.from_numpy(x),),
                dynamo=True,
                dynamic_shapes=(dims,),
                input_names=["x"],
                output_names=["logits"],
                opset_version=OPSET,
                verbose=False,
                optimize=not small,
                custom_translation_table=translations(),
            )
        assert program is not None  # it is None for the exporter before this one
        model_proto = _pooled_evenly(program.model_proto)
        graph = _plain(_halved(model_proto) if small else model_proto)
    except Exception as error:
        size = "" if any_size else f" at {x.shape[2]}x{x.shape[3]}"
        raise PluginError(
            f"torch cannot export {model}{size}: {registry.cause(error)}",
            next_step="Give --runtime torch",
        ) from error
    if fault := fault_of(graph):
        raise PluginError(
            f"what torch exports of {model} cannot be used: {fault}",
            next_step="Give --runtime torch",
        )
    return graph


def values_of(network: "nn.Module") -> str:
    """The sha256 of a network's tensors: their names, types, shapes and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def _final_of(network: "nn.Module") -> "nn.Module":
    """The network as a module from x to its final logits alone, in float32."""
    import torch

    from segzoo.predict.runtimes.torch import logits_of

    class Final(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: "Tensor") -> "Tensor":
            logits: Tensor = logits_of(network(x))[0]
            return logits.float()

    return Final().eval()


def _halved(model: Any) -> Any:
    """An exported model without computed constants, whose tensors take half the bytes."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 else values
        if values.dtype == np.float32 and values.size >= LARGE and (half == values).all():
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _pooled_evenly(model: Any) -> Any:
    """An exported model whose largest values are taken over windows that all are whole.

    A window that ends beyond the map (`ceil_mode`) is one over values that never are the largest,
    the padding of this operator. OpenVINO 2026.4 has none at all where the map is smaller than the
    window, and then answers with nothing.
    """
    for node in (n for n in model.graph.node if n.op_type == "MaxPool"):
        settings = {each.name: each for each in node.attribute}
        if "ceil_mode" not in settings or not settings["ceil_mode"].i:
            continue
        kernel = [*settings["kernel_shape"].ints]
        strides = [*settings["strides"].ints] if "strides" in settings else [1] * len(kernel)
        dilated = "dilations" in settings and {*settings["dilations"].ints} != {1}
        if dilated or any(stride > side for stride, side in zip(strides, kernel, strict=True)):
            continue  # whether its last window counts depends on the size
        ends = settings["pads"].ints
        for axis, stride in enumerate(strides, start=len(kernel)):
            ends[axis] += stride - 1
        settings["ceil_mode"].i = 0
    return model


def _plain(model: "object") -> bytes:
    """The file of an exported model, without what the exporter notes of source files."""
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    for message in (model, model.graph, *model.graph.node, *model.graph.value_info):
        for field in ("metadata_props", "doc_string"):
            message.ClearField(field)
    for function in model.functions:
        for message in (function, *function.node):
            for field in ("metadata_props", "doc_string"):
                message.ClearField(field)
    graph: bytes = model.SerializeToString()
    return graph
