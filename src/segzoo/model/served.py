"""A predictor for a model's name in any runtime; torch is imported where it is needed alone.

In torch it is what `segzoo.load` gives. In another runtime an artefact that is kept is enough: then
nothing is built, and the file of weights is read for its sha256 alone.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segzoo.base.cache import Stamp, first_time, read_stamp, write_stamp
from segzoo.base.records import Json
from segzoo.errors import UsageError
from segzoo.model import configured, origin
from segzoo.predict.runtimes import libraries, offered
from segzoo.predict.runtimes.offered import AUTO
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec, Weights
from segzoo.weights.header import open_regular
from segzoo.weights.within import open_within

if TYPE_CHECKING:
    from torch import nn

    from segzoo.model.loaded import Model
    from segzoo.predict.artefacts.ready import Exportable
    from segzoo.predict.artefacts.shipped import Shipped
    from segzoo.predict.network import Runtime
    from segzoo.predict.predictor import Predictor

__all__ = ["Found", "Request", "Served", "found_by", "serve"]

MOST_TOGETHER = 8
CPU_PIXELS = 1 << 17  # of pictures that run together; so many keep a CPU busy
CPUS = ("auto", "cpu")  # the devices by which every runtime runs
# Where Linux shows that torch may find an accelerator; on other systems torch is asked.
ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
INDEX = ".index.json"  # of weights in several files


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for, as `segzoo.load` understands it, and in which runtime.

    runtime: torch, onnxruntime, openvino, or auto; None for the one that starts soonest of those
    for which nothing has to be made or measured. precision: fp32, bf16 or int8. pictures: how many
    will come, if that is known; `auto` does not measure for a handful. all_heads: whether side
    outputs are wanted, which torch alone gives. tell: told a line when something takes its time.
    """

    ref: str
    pretrained: bool = False
    weights: str | None = None
    device: str = "auto"
    seed: int | None = None
    local_files_only: bool = False
    options: Mapping[str, Json] = field(default_factory=dict)
    runtime: str | None = "torch"
    precision: str = "fp32"
    pictures: int | None = None
    all_heads: bool = False
    tell: Callable[[str], None] = lambda line: None


class Served(NamedTuple):
    """A predictor with its default settings, and what it is of.

    weights: the record of those that it holds, or None. runtime: the one that was chosen.
    """

    predictor: "Predictor"
    spec: ModelSpec
    config: Config
    weights: Weights | None
    device: str
    runtime: str
    precision: str

    @property
    def worth_together(self) -> int:
        """How many pictures are worth running together.

        A CPU is busy with one of 320x320 pixels; more wait for each other then, and take memory.
        """
        if self.device != "cpu":
            return MOST_TOGETHER
        size = self.predictor.preprocess.size
        return 1 if size is None else max(1, min(MOST_TOGETHER, CPU_PIXELS // (size[0] * size[1])))


def serve(request: Request) -> Served:
    """The predictor that is asked for.

    UsageError for a runtime, a precision, a device and outputs that do not go together. Else what
    `segzoo.load` and `artefacts.ready.runtime_for` raise.
    """
    offered.refuse_unoffered(request.runtime or AUTO, request.precision)
    in_torch = request.precision in offered.OFFERED["torch"].precisions
    if request.runtime not in ("torch", AUTO, None) or not in_torch:
        _refuse_what_it_does_not(request)
    elsewhere = in_torch and (request.all_heads or _may_be_faster_elsewhere(request.device))
    if request.runtime == "torch" or (request.runtime in (AUTO, None) and elsewhere):
        model = _loaded(request, request.device)
        device = next((str(p.device) for p in model.parameters()), "cpu")
        predictor = model.predictor(precision=request.precision)
        return Served(
            predictor, model.spec, model.config, model.weights, device, "torch", request.precision
        )
    return _on_the_cpu(request)


def _refuse_what_it_does_not(request: Request) -> None:
    """What an exported network cannot do, said before anything is made."""
    one = request.runtime in offered.OFFERED
    if request.device not in CPUS:
        raise UsageError(
            f"{request.runtime if one else request.precision} runs on the CPU",
            found=f"the device '{request.device}'",
            next_step="Leave --device out, or give --runtime torch",
        )
    if request.all_heads:
        raise UsageError(
            "an exported network gives no side outputs", next_step="Give --runtime torch"
        )
    if one:
        libraries.import_library(str(request.runtime))


class Found(NamedTuple):
    """What a request leads to, without a network being built. network: builds it, once."""

    spec: ModelSpec
    config: Config
    weights: Weights | None
    subject: "Exportable"
    network: "Callable[[], nn.Module]"


def found_by(request: Request) -> Found:
    """The model that is asked for, as artefacts are made of it."""
    from segzoo.model.running import exportable_of

    found = origin.find(
        request.ref,
        pretrained=request.pretrained,
        weights=request.weights,
        local_files_only=request.local_files_only,
    )
    config = configured.adjusted(
        found.config, found.spec, num_classes=None, in_channels=None, options=request.options
    )
    spec = configured.variant_of(found.spec, config.options)
    file, _ = origin.weights_of(found, local_files_only=request.local_files_only)

    @cache
    def network() -> "nn.Module":
        return _loaded(request, "cpu").network

    if file is None or os.fspath(file).endswith(INDEX):  # random values, or several files
        from segzoo.predict.artefacts.export import values_of

        weights = f"values:{values_of(network())}"
    else:
        weights = _sha256_of(file, inside=found.place is not None)
    shipped = _shipped_with(found, config)
    made = exportable_of(spec, config, weights, network, shipped, request.tell)
    return Found(found.spec, config, found.record, made, network)


def _on_the_cpu(request: Request) -> Served:
    from segzoo.model.running import predictor_of
    from segzoo.predict.artefacts.ready import runtime_for
    from segzoo.predict.artefacts.speed import auto_runtime, quick_runtime

    found, runtime, precision = found_by(request), request.runtime, request.precision
    if runtime == AUTO:
        runtime = auto_runtime(found.subject, precision, request.pictures)
    elif runtime is None:
        _say_what_would_be_quicker(found.subject, precision)
        runtime = quick_runtime(found.subject, precision)
    if runtime == "torch":
        from segzoo.predict.runtimes.torch import TorchRuntime

        runs: Runtime = TorchRuntime(found.network(), precision)
    else:
        runs = runtime_for(found.subject, runtime, precision)
    predictor = predictor_of(runs, found.config)
    return Served(predictor, found.spec, found.config, found.weights, "cpu", runtime, precision)


def _shipped_with(found: origin.Origin, config: Config) -> dict[str, "Shipped"]:
    """The graphs that came with the weights, where the network is built as it was for them."""
    from segzoo.predict.artefacts.shipped import Shipped

    own = found.config
    if found.record is None or (own.options, own.in_channels, own.num_classes) != (
        config.options,
        config.in_channels,
        config.num_classes,
    ):
        return {}
    return {
        precision: Shipped(origin.bundled_file(graph.bundled), graph.sha256)
        for precision, graph in found.record.graphs.items()
    }


def _say_what_would_be_quicker(subject: "Exportable", precision: str) -> None:
    """Once on a machine: weights came with a graph, and no library that runs it is here."""
    if subject.shipped and not offered.installed(precision) and first_time("onnxruntime"):
        subject.tell(
            f"with onnxruntime {subject.identity.model} starts in a fraction of the time and "
            "memory, without torch: pip install 'segzoo-core[onnx]'"
        )


def _loaded(request: Request, device: str) -> "Model":
    from segzoo.model.load import load

    return load(
        request.ref,
        pretrained=request.pretrained,
        weights=request.weights,
        device=device,
        seed=request.seed,
        local_files_only=request.local_files_only,
        **request.options,
    )


def _may_be_faster_elsewhere(device: str) -> bool:
    """Whether torch would, or may, run the network on something else than the CPU."""
    if device != "auto":
        return device != "cpu"
    return sys.platform != "linux" or any(map(os.path.exists, ACCELERATORS))


def _sha256_of(file: Path, *, inside: bool) -> str:
    """The sha256 of a file of weights: stamped when it was last read, or found now.

    inside: as in `segzoo.weights.safetensors.read`.
    """
    began = time.time()
    with open_within(file.parent, file.name) if inside else open_regular(file) as stream:
        status = os.fstat(stream.fileno())
        if (stamp := read_stamp(file, status)) is not None:
            return stamp.sha256
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    write_stamp(file, status, Stamp(sha256, finite=False), began=began)
    return sha256
