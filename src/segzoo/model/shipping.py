"""Writing the graph that comes with a plugin's weights, and what torch answers with them.

To make one for weights that lie in a plugin, and to say it in their record:

    from segzoo.model.shipping import write

    write("lite0.duts", "plugins/segzoo-lite/src/segzoo_lite/weights/lite0.duts.fp32.onnx")

It gives the sha256 for `segzoo.spec.Graph`. The same versions of torch, onnx and onnxscript give
the same bytes.
"""

import hashlib
import io
from os import PathLike
from pathlib import Path

import numpy as np

from segzoo.base import files
from segzoo.model.load import load
from segzoo.predict.artefacts import shipped
from segzoo.predict.artefacts.export import to_onnx
from segzoo.predict.artefacts.parity import example
from segzoo.predict.preprocess import network_size
from segzoo.predict.runtimes.torch import TorchRuntime

__all__ = ["write"]


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
