"""Writing the graph that comes with a plugin's weights, and what torch answers with them.

To make one for weights that lie in a plugin, and to say it in their record:

    from segzoo.model.shipping import write

    write("lite0.fine", "plugins/segzoo-lite/src/segzoo_lite/weights/lite0.fine.fp32.onnx")

It gives the sha256 for `segzoo.spec.Graph`. The same versions of torch, onnx and onnxscript give
the same bytes.

For int8, whose losses `segzoo warm lite0.fine --precision int8 --data WORDS` has measured on this
machine, `write_int8` does the same, and gives what that found.
"""

import hashlib
import io
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from segzoo.base import files
from segzoo.errors import UsageError
from segzoo.model.load import load
from segzoo.model.served import Request, found_by
from segzoo.predict.artefacts import accepted, shipped
from segzoo.predict.artefacts.accepted import Accepted
from segzoo.predict.artefacts.export import to_onnx
from segzoo.predict.artefacts.parity import example
from segzoo.predict.preprocess import network_size
from segzoo.predict.runtimes.onnxruntime import OnnxRuntime
from segzoo.predict.runtimes.torch import TorchRuntime

__all__ = ["write", "write_int8"]


def write(ref: str, path: str | PathLike[str]) -> str:
    """Write the graph of weights, FILE.onnx, and FILE.npy; gives the graph's sha256 in hex.

    Errors of `segzoo.load` and `to_onnx`; OutputError when a file cannot be written.
    """
    model = load(ref)
    size = model.preprocess.size
    graph = to_onnx(
        model.network,
        example(model.preprocess, model.in_channels),
        any_size=size is None,
        model=ref,
        small=True,
    )
    x = shipped.probe_input(model.in_channels, size and network_size(*size, model.preprocess))
    answers = io.BytesIO()
    np.save(answers, shipped.sample(TorchRuntime(model.network)(x)[0]))
    files.write(shipped.answers_beside(Path(path)), answers.getvalue())
    files.write(path, graph)
    return hashlib.sha256(graph).hexdigest()


def write_int8(ref: str, path: str | PathLike[str]) -> Mapping[str, Accepted]:
    """Write the graph in int8 that is kept for weights, FILE.onnx, and onnxruntime's answers.

    What was measured with it, by the runtime; each has the graph's sha256. UsageError where
    onnxruntime was not measured with it.
    """
    identity = found_by(Request(ref=ref)).subject.identity
    measured = {
        runtime: record
        for runtime in ("onnxruntime", "openvino")
        if (record := accepted.accepted_of(identity, runtime, "int8")) is not None
    }
    if "onnxruntime" not in measured:
        raise UsageError(
            f"nothing in int8 was measured of {ref} here by onnxruntime",
            next_step=f"Run: segzoo warm {ref} --precision int8 --data WORDS",
        )
    graph = accepted.measured_graph(measured["onnxruntime"])
    x = shipped.probe_input(identity.in_channels, identity.size)
    answers = io.BytesIO()
    np.save(answers, shipped.sample(OnnxRuntime(lambda: graph, "int8")(x)[0]))
    files.write(shipped.answers_beside(Path(path)), answers.getvalue())
    files.write(path, graph)
    return measured
