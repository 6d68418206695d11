"""Graphs that come with a plugin's weights, so that the first picture ever needs no torch.

What torch gave for an input that every machine can make lies beside each graph, a few of its
logits: a runtime is used only after it gave the same here, once for each of its versions.

    weights/NAME.onnx    x -> logits
    weights/NAME.npy     (K, n, m) float32: every STRIDE-th logit of `probe_input` in each direction

Of a graph in eight bits they are what onnxruntime gave, when its losses were measured.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import IntegrityError, PluginError, SegzooError
from segzoo.pictures import npy
from segzoo.pictures.resample import Size
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.store import MAX_GRAPH, Case
from segzoo.predict.network import Runtime
from segzoo.predict.preprocess import probabilities
from segzoo.spec import Postprocess
from segzoo.weights.header import open_regular

__all__ = [
    "Shipped",
    "answers_beside",
    "compared",
    "probe_input",
    "record_name",
    "sample",
    "shipped_graph",
]

STRIDE = 8  # pixels between logits that are kept
SIDE = 64  # of x where the network takes any size
MAX_ANSWERS = 1 << 22  # bytes


@dataclass(frozen=True)
class Shipped:
    """A graph in a plugin's package. sha256: that its file has to have."""

    path: Path
    sha256: str


def shipped_graph(shipped: Shipped) -> bytes:
    """The bytes of the graph, judged. IntegrityError where they are not those that were shipped."""
    with open_regular(shipped.path) as file:
        graph = file.read(MAX_GRAPH)
    if hashlib.sha256(graph).hexdigest() != shipped.sha256:
        raise IntegrityError(
            "its bytes are not those that the plugin declares",
            file=shipped.path,
            next_step="Install the plugin anew",
        )
    if fault := fault_of(graph):
        raise IntegrityError(fault, file=shipped.path)
    return graph


def probe_input(in_channels: int, size: Size | None) -> NDArray[np.float32]:
    """The x (1, C, h, w) that graphs are tried with: sines of other lengths in each channel.

    No random numbers, so that every machine and every version makes the same.
    """
    h, w = size or (SIDE, SIDE)
    y, x = np.arange(h)[:, None], np.arange(w)
    planes = [np.sin(y / (9 + c % 5)) + np.cos(x / (13 + c % 7) + c) for c in range(in_channels)]
    return np.stack(planes)[None].astype(np.float32)


def sample(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K, n, m) Those of a picture's logits (1, K, h, w) that are kept."""
    return np.ascontiguousarray(logits[0, :, ::STRIDE, ::STRIDE])


def answers_beside(path: Path) -> Path:
    """Where torch's answers lie for a graph."""
    return path.with_suffix(".npy")


def record_name(runtime: str, precision: str) -> str:
    """The file in the artefact's folder that says how a shipped graph was found to answer."""
    return f"shipped-{runtime}-{precision}.json"


def compared(
    runtime: Runtime,
    shipped: Shipped,
    x: NDArray[np.float32],
    activation: str,
    *,
    mean: bool = False,
) -> Case:
    """How far a runtime of the graph is from the answers for the probe that lie beside it.

    mean: what is kept is the mean difference of probabilities, in place of the largest.

    IntegrityError where these are missing or damaged; PluginError when the runtime fails, or gives
    logits of another shape.
    """
    path = answers_beside(shipped.path)
    try:
        with open_regular(path) as file:
            content = io.BytesIO(file.read(MAX_ANSWERS))
        wanted = npy.array_of(content, npy.header_of(content))
    except (ValueError, SegzooError) as error:
        raise IntegrityError(f"torch's answers cannot be read: {error}", file=path) from None
    found = sample(runtime(x)[0])
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise PluginError(
            "the graph gives logits of another shape than torch",
            found=str(found.shape),
            expected=str(wanted.shape),
        )
    plain = Postprocess(activation=activation)  # type: ignore[arg-type]
    gaps = np.abs(probabilities(found, plain) - probabilities(wanted, plain))
    off = float(gaps.mean() if mean else gaps.max())
    n, c, h, w = x.shape
    return Case(shape=(n, c, h, w), difference=off if np.isfinite(off) else 1.0)
