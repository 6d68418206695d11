"""An ONNX graph in whole numbers of eight bits, but for the layers that lose by it.

Values between layers are stored in steps of their range on pictures, weights in steps of each
channel's. The graph keeps to ONNX's own operators, QuantizeLinear and DequantizeLinear around what
is to be computed in eight bits: onnxruntime and OpenVINO know the pattern.

What a layer loses is found on the pictures: where a channel is almost constant and large, its
range has no steps left for what it says. Such layers stay in float32, and so does what leads to the
logits.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.extras import imported
from segzoo.errors import PluginError
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.runtimes.libraries import import_library

__all__ = ["Quantized", "quantize"]

Arrays: TypeAlias = Sequence[NDArray[np.float32]]
Likely: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# What is computed in eight bits. Those after the first give other places or other limits to
# values that are there; so steps are lost by what comes before them, and by what comes after.
COMPUTING = ("Conv",)
CARRYING = ("Relu", "Clip", "Concat", "Resize", "MaxPool")
OPERATORS = (*COMPUTING, *CARRYING, "Add")
JUDGED = 8  # of the pictures: on them it is seen what is lost
RANKED = 1  # of these: on it is seen by which layer
# The mean difference of probabilities from which on no more layers are taken out. Metrics change by
# a part of that, and are measured afterwards; each layer in float32 costs time.
ENOUGH = 0.005
MOST = 32  # layers that may stay in float32


@dataclass(frozen=True)
class Quantized:
    """A graph in eight bits. kept: the layers that stay in float32, by the names of their weights.

    difference: of probabilities from float32, the mean over some of the pictures.
    """

    graph: bytes
    kept: tuple[str, ...]
    difference: float


def quantize(graph: bytes, pictures: Arrays, likely: Likely) -> Quantized:
    """The graph of a network, x -> logits, in eight bits.

    pictures: as x (1, C, h, w), some dozens. likely: what makes probabilities of logits (K, h,
    w). PluginError with the cause where onnxruntime's tools do not take the graph.
    """
    import_library("onnxruntime")
    imported("onnx", needed="to make int8, onnx is needed", extra="onnx")
    try:
        with tempfile.TemporaryDirectory(prefix="segzoo-") as folder:
            return _quantized(_Plan(graph, Path(folder), pictures), pictures, likely)
    except Exception as error:  # its own classes have no base of their own
        cause = " ".join(str(error).split())[:200]
        raise PluginError(
            f"onnxruntime cannot make int8 of this network: {cause}",
            next_step="Give --precision fp32",
        ) from error


def _quantized(plan: "_Plan", pictures: Arrays, likely: Likely) -> Quantized:
    judged = pictures[-JUDGED:]
    wanted = [likely(run(x)[0]) for run in [_session(plan.bytes)] for x in judged]

    def lost(graph: bytes, count: int = JUDGED) -> float:
        run = _session(graph)
        found = (likely(run(x)[0]) for x in judged[:count])
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(found, wanted, strict=False)]))

    last = plan.around(plan.model.graph.output[0].name)
    made = plan.written(last)
    difference = lost(made)
    layers = [node for node in plan.model.graph.node if node.op_type in COMPUTING]
    ranked: list[Any] = []
    count = 0
    while difference > ENOUGH and count < min(MOST, len(layers)):
        if not ranked:
            alone = partial(lost, count=RANKED)
            by_loss = {node.name: alone(plan.rounded_before(node)) for node in layers}
            ranked = sorted(layers, key=lambda node: -by_loss[node.name])
        count = max(1, 2 * count)
        floating = last.union(*(plan.around_layer(node) for node in ranked[:count]))
        made = plan.written(floating)
        difference = lost(made)
    kept = tuple(sorted(plan.name_of(node) for node in ranked[:count]))
    if fault := fault_of(made):
        raise ValueError(fault)
    return Quantized(made, kept, difference)


class _Plan:
    """A graph whose normalisations lie in its convolutions, and the range of each of its values."""

    def __init__(self, graph: bytes, folder: Path, pictures: Arrays) -> None:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, create_calibrator
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        self.file = folder / "folded.onnx"
        _session(graph, folded=self.file)
        self.model = onnx.load(self.file)
        _own_operators_alone(self.model)
        onnx.save(self.model, self.file)
        self.bytes = self.model.SerializeToString()
        self.inferred = load_model_with_shape_infer(self.file)
        calibrator = create_calibrator(
            self.file,
            [*OPERATORS],
            augmented_model_path=os.fspath(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        name = self.model.graph.input[0].name
        for x in pictures:  # one by one: it keeps what it is given until the end of each
            calibrator.collect_data(_Given(name, x))
        self.ranges = calibrator.compute_data()
        self.makers = {out: node for node in self.model.graph.node for out in node.output}

    def written(self, floating: set[str]) -> bytes:
        """The graph in eight bits but for nodes of these names."""
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        model = onnx.ModelProto()
        model.CopyFrom(self.inferred)
        writer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(floating),
            op_types_to_quantize=[*OPERATORS],
            extra_options={},
        )
        writer.quantize_model()
        found = writer.model.model
        _own_operators_alone(found)
        del found.graph.value_info[:]
        content: bytes = found.SerializeToString()
        return content

    def around(self, value: str) -> set[str]:
        """The nodes that make a value: those that carry it, back to what computes it."""
        found: set[str] = set()
        waiting = [value]
        while waiting:
            node = self.makers.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting += node.input if node.op_type in CARRYING else ()
        return found

    def around_layer(self, node: Any) -> set[str]:
        """A layer with the nodes that make what it is given."""
        return {node.name} | self.around(node.input[0])

    def rounded_before(self, node: Any) -> bytes:
        """The graph in float32, with eight bits for what one layer is given."""
        import onnx
        from onnx import helper, numpy_helper

        least, largest = self.ranges[node.input[0]].range_value
        low, high = min(float(np.min(least)), 0.0), max(float(np.max(largest)), 0.0)
        step = max((high - low) / 255, 1e-9)
        zero = np.array(round(-low / step), np.uint8)
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(step, np.float32), "rounded.step"),
                numpy_helper.from_array(zero, "rounded.zero"),
            ]
        )
        steps = ["rounded.step", "rounded.zero"]
        place = next(i for i, each in enumerate(model.graph.node) if each.name == node.name)
        to = helper.make_node("QuantizeLinear", [node.input[0], *steps], ["rounded.levels"])
        back = helper.make_node("DequantizeLinear", ["rounded.levels", *steps], ["rounded"])
        model.graph.node[place].input[0] = "rounded"
        model.graph.node.insert(place, back)
        model.graph.node.insert(place, to)
        content: bytes = model.SerializeToString()
        return content

    @staticmethod
    def name_of(node: Any) -> str:
        """What a layer is called by whoever wrote the network."""
        weight: str = node.input[1]
        return weight.rpartition("network.")[2].removesuffix(".weight")


class _Given:
    """One picture, as onnxruntime's tools ask for it."""

    def __init__(self, name: str, x: NDArray[np.float32]) -> None:
        self.left = [{name: x}]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return self.left.pop() if self.left else None


def _session(
    graph: bytes, *, folded: Path | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What runs a graph. folded: a file for what is left of it when constants are computed."""
    from segzoo.predict.runtimes.offered import threads

    onnxruntime = import_library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised
    if (count := threads()) is not None:
        options.intra_op_num_threads = count
    if folded is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = os.fspath(folded)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = session.run(None, {name: x})
        return np.asarray(logits, np.float32)

    return run


def _own_operators_alone(model: Any) -> None:
    """Leave out what a graph says of operators that are not ONNX's own, and does not use."""
    own = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)
