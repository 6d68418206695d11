"""The formats that come along: ONNX, OpenVINO's own, and torch's programs."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PluginError
from segzoo.export.whole import whole_graph
from segzoo.predict.runtimes.libraries import import_library
from segzoo.predict.runtimes.offered import threads
from segzoo.saved.config import Config
from segzoo.spec import ExporterSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ONNX", "OPENVINO", "PT2", "Files", "Run", "openvino_files"]

Files: TypeAlias = Mapping[str, bytes]  # by their endings
# pictures (N, H, W, C) uint8 -> probabilities (N, K, H, W) float32, mask (N, H, W) uint8
Run: TypeAlias = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.uint8]]]

EXPORTING = {"onnx": "onnx>=1.17", "onnxscript": "onnxscript>=0.7.1"}
ONNX = ExporterSpec(
    summary="ONNX, as onnxruntime, OpenVINO, TensorRT and others read it",
    suffix=".onnx",
    make="segzoo.export.formats:make_onnx",
    run="segzoo.export.formats:run_onnx",
    requires={**EXPORTING, "onnxruntime": "onnxruntime>=1.20"},
)
OPENVINO = ExporterSpec(
    summary="OpenVINO's own, an .xml and a .bin beside it",
    suffix=".xml",
    make="segzoo.export.formats:make_openvino",
    run="segzoo.export.formats:run_openvino",
    requires={**EXPORTING, "openvino": "openvino>=2025.0"},
)
PT2 = ExporterSpec(
    summary="a program of torch.export, for torch without this project's code, and its compilers",
    suffix=".pt2",
    make="segzoo.export.program:make",
    run="segzoo.export.program:run",
    requires={"onnx": "onnx>=1.17"},
)


def make_onnx(network: "nn.Module", config: Config) -> Files:
    return {".onnx": whole_graph(network, config)}


def run_onnx(files: Files) -> Run:
    onnxruntime = import_library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised
    if (count := threads()) is not None:
        options.intra_op_num_threads = count
    try:
        session = onnxruntime.InferenceSession(
            files[".onnx"], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own classes have no base of their own
        raise _unusable("onnxruntime", error) from error

    def run(pictures: NDArray[np.uint8]) -> Any:
        return session.run(["probabilities", "mask"], {"pictures": pictures})

    return run


def make_openvino(network: "nn.Module", config: Config) -> Files:
    import_library("openvino")  # said before the graph is made, which takes long
    return openvino_files(whole_graph(network, config))


def openvino_files(graph: bytes) -> Files:
    """OpenVINO's own form of an ONNX. PluginError where it does not take that."""
    openvino = import_library("openvino")
    try:
        model = openvino.Core().read_model(graph)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.xml"
            openvino.save_model(model, os.fspath(file), compress_to_fp16=False)
            return {end: file.with_suffix(end).read_bytes() for end in (".bin", ".xml")}
    except Exception as error:
        raise _unusable("OpenVINO", error) from error


def run_openvino(files: Files) -> Run:
    openvino = import_library("openvino")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if (count := threads()) is not None:
        settings["INFERENCE_NUM_THREADS"] = count
    core = openvino.Core()
    try:
        weights = openvino.Tensor(np.frombuffer(files[".bin"], np.uint8))
        model = core.read_model(files[".xml"], weights)
        compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:
        raise _unusable("OpenVINO", error) from error

    def run(pictures: NDArray[np.uint8]) -> Any:
        found = compiled(pictures)
        return found["probabilities"], found["mask"]

    return run


def _unusable(library: str, error: Exception) -> PluginError:
    cause = " ".join(str(error).split())[:200]
    return PluginError(f"{library} does not take the exported model: {cause}")
