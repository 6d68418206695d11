"""Running a graph in OpenVINO, on the CPU, in the precision that was asked for."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import DeviceError, PluginError
from segzoo.predict.runtimes.libraries import import_library
from segzoo.predict.runtimes.offered import Graph, threads
from segzoo.predict.runtimes.outcome import failure_of, final_alone
from segzoo.predict.runtimes.processor import refuse_without_int8

__all__ = ["OpenVinoRuntime"]

# Its word for each precision; of a graph in int8, for the layers that are not. Left to itself it
# takes bfloat16 on a processor that has it.
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoRuntime:
    """A `network.Runtime` that runs an ONNX graph in OpenVINO, as `OnnxRuntime` does in its own.

    precision: fp32, bf16, or int8 for a graph that is in it. DeviceError for one that the processor
    does not compute in.
    """

    def __init__(self, graph: Graph, precision: str = "fp32") -> None:
        self.graph, self.precision = graph, precision

    def __call__(
        self, x: NDArray[np.float32], *, all_heads: bool = False
    ) -> tuple[NDArray[np.float32], ...]:
        """Logits of x, as `Runtime` says; UsageError for all heads."""
        final_alone(all_heads)
        try:
            logits = self.session.infer({0: x}, share_inputs=True)[0]
        except Exception as error:  # all of its failures are RuntimeError
            raise failure_of(error, x.shape) from error
        return (np.array(logits, np.float32),)  # a copy: the next call writes over what it gave

    @cached_property
    def session(self) -> Any:
        """Made when it is first asked for. PluginError for a graph that cannot be run."""
        openvino = import_library("openvino")
        if self.precision == "int8":
            refuse_without_int8()
        core = openvino.Core()
        if self.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise DeviceError(
                "this processor does not compute in bfloat16", next_step="Give --precision fp32"
            )
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if (count := threads()) is not None:
            settings["INFERENCE_NUM_THREADS"] = count
        graph = self.graph()
        try:
            network = core.read_model(graph)
            # Of attention, what it keeps from a map of one value spoils those of 32 or more after
            # it (2026.4). Without keeping, a picture of another size than the last takes longer.
            if any(node.get_type_name() == "Softmax" for node in network.get_ops()):
                settings["CPU_RUNTIME_CACHE_CAPACITY"] = 0
            compiled = core.compile_model(network, "CPU", settings)
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            raise PluginError(f"OpenVINO cannot run this network: {cause}") from error
        found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != HINTS[self.precision]:
            raise DeviceError(
                "OpenVINO computes in another precision than it was asked for",
                found=found,
                expected=HINTS[self.precision],
                next_step="Give --runtime torch",
            )
        return compiled.create_infer_request()

    def __reduce__(self) -> Any:
        return type(self), (self.graph, self.precision)
