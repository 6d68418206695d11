"""A model as one ONNX graph: pictures in, probabilities and masks out."""

from typing import TYPE_CHECKING, Any

from segzoo.errors import PluginError
from segzoo.export.after import finished, refuse_what_has_no_nodes
from segzoo.export.before import bands_of, prepared
from segzoo.export.nodes import Nodes
from segzoo.predict.artefacts.export import OPSET, to_onnx
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.parity import example
from segzoo.saved.config import Config

if TYPE_CHECKING:
    from torch import nn

__all__ = ["joined", "whole_graph"]


def whole_graph(network: "nn.Module", config: Config) -> bytes:
    """The ONNX file of a model: `pictures` (N, H, W, C) uint8 -> `probabilities`, `mask`.

    probabilities: (N, K, H, W) float32 in 0..1; mask: (N, H, W) uint8, as `Prediction` has it.
    N, H and W may be any. C is 3, or as many bands as the network takes; what a picture's
    transparency hides is for the caller. ConfigError for preprocessing that ONNX cannot express;
    else as `to_onnx`.
    """
    preprocess, postprocess = config.preprocess, config.postprocess
    bands = bands_of(preprocess, config.in_channels)
    refuse_what_has_no_nodes(postprocess, config.num_classes)
    x = example(preprocess, config.in_channels)
    try:
        inner = to_onnx(network, x, any_size=preprocess.size is None, model=config.model)
    except PluginError as error:
        error.next_step = "See --debug for the cause; segzoo predict runs it in torch"
        raise
    return joined(inner, config, bands)


def joined(inner: bytes, config: Config, bands: int) -> bytes:
    """The same of a network that is an ONNX file already: x -> logits. bands: of the pictures."""
    from onnx import ModelProto, TensorProto, checker, helper

    model = ModelProto.FromString(inner)
    before, after = Nodes("before."), Nodes("after.")
    frame = prepared(before, "pictures", config.preprocess, config.in_channels, named="x")
    finished(after, "logits", frame, config.postprocess, config.num_classes)
    nodes = [*before.nodes, *model.graph.node, *after.nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*before.constants, *after.constants])
    _say(
        model.graph.input,
        helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "H", "W", bands]),
    )
    shape: list[str | int | None] = ["N", config.num_classes, "H", "W"]
    _say(
        model.graph.output,
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("mask", TensorProto.UINT8, ["N", "H", "W"]),
    )
    del model.graph.value_info[:]  # sizes by names that are no longer those of the input
    helper.set_model_props(model, {"opset": str(OPSET), "model": config.model})
    checker.check_model(model)
    graph: bytes = model.SerializeToString()
    assert not fault_of(graph)
    return graph


def _say(place: Any, *values: Any) -> None:
    del place[:]
    place.extend(values)
