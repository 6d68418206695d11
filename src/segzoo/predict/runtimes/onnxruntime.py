"""Running a graph in onnxruntime, on the CPU."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segzoo.base.memory import give_back
from segzoo.errors import PluginError
from segzoo.predict.runtimes.libraries import import_library
from segzoo.predict.runtimes.offered import Graph, threads
from segzoo.predict.runtimes.outcome import failure_of, final_alone
from segzoo.predict.runtimes.processor import refuse_without_int8

__all__ = ["OnnxRuntime"]


class OnnxRuntime:
    """A `network.Runtime` that runs an ONNX graph in onnxruntime.

    precision: fp32, or int8 for a graph that is in it; DeviceError where the processor is not.

    graph: reads it; it is called when the session is made, and again where this was sent to
    another process. OMP_NUM_THREADS says how many threads work; else one does for each core.
    """

    def __init__(self, graph: Graph, precision: str = "fp32") -> None:
        self.graph, self.precision = graph, precision
        self.has_run = False

    def __call__(
        self, x: NDArray[np.float32], *, all_heads: bool = False
    ) -> tuple[NDArray[np.float32], ...]:
        """Logits of x, as `Runtime` says; UsageError for all heads."""
        final_alone(all_heads)
        try:
            (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: x})
        except Exception as error:  # its own classes have no base of their own
            raise failure_of(error, x.shape) from error
        if not self.has_run:  # what later runs free is what the next one takes
            self.has_run = True
            give_back()
        return (np.asarray(logits, np.float32),)

    @cached_property
    def session(self) -> Any:
        """Made when it is first asked for. PluginError for a graph that cannot be run."""
        onnxruntime = import_library("onnxruntime")

        if self.precision == "int8":
            refuse_without_int8()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, and told once
        options.enable_mem_pattern = False  # one block for a whole run: 200 MiB for no time gained
        if (count := threads()) is not None:
            options.intra_op_num_threads = count
        graph = self.graph()
        try:
            made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            raise PluginError(f"onnxruntime cannot run this network: {cause}") from error
        made._model_bytes = None  # it keeps them to begin again with other providers
        del graph
        give_back()
        return made

    def __reduce__(self) -> Any:
        return type(self), (self.graph, self.precision)
