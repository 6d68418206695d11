"""A runtime with its network: from an artefact that is kept or came along, else from one made now.

torch is imported when one has to be made, and not otherwise.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from segzoo.errors import (
    IntegrityError,
    OutputError,
    PluginError,
    ResourceError,
    UsageError,
)
from segzoo.predict.artefacts import accepted, shipped, store
from segzoo.predict.artefacts.identity import Identity, version_of
from segzoo.predict.artefacts.parity import TOLERANCE, compare, example
from segzoo.predict.artefacts.shipped import Shipped
from segzoo.predict.artefacts.store import Artefact, Parity
from segzoo.predict.network import Runtime
from segzoo.predict.runtimes import libraries, offered
from segzoo.predict.runtimes.offered import Graph
from segzoo.spec import Postprocess, Preprocess

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "EXPORTED",
    "Exportable",
    "from_kept",
    "graph_for",
    "is_kept",
    "is_ready",
    "runtime_for",
    "started",
]

EXPORTED = ("onnxruntime", "openvino")  # the runtimes that artefacts are for
UNWRITABLE = (OutputError, ResourceError, UsageError)


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """A network that artefacts are made of.

    network: gives it, on the CPU; called where an artefact has to be made or measured. shipped: the
    graphs that come with its weights, by precision. tell: told a line for a person when something
    takes its time, or could not be kept.
    """

    identity: Identity
    network: "Callable[[], nn.Module]"
    preprocess: Preprocess
    postprocess: Postprocess
    shipped: Mapping[str, Shipped] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda line: None


def runtime_for(subject: Exportable, runtime: str, precision: str) -> Runtime:
    """The network in this runtime, whose answers have been compared with torch's.

    By the artefact that is kept, else by the graph that came with the weights; where neither holds,
    as it is missing, damaged, edited or of other versions, one is made. A lower precision with
    which little was lost on data is used whatever the difference. PluginError for a network
    that cannot be exported or run there, or whose probabilities then differ by more than TOLERANCE,
    and by more than rounding;
    UsageError for int8 that was not made; DependencyMissingError without the library; DeviceError
    for a precision that this processor does not have.
    """
    offered.refuse_unoffered(runtime, precision)
    libraries.import_library(runtime)
    if (found := _from_accepted(subject, runtime, precision)) is not None:
        return found
    if (found := from_kept(subject.identity, runtime, precision)) is not None:
        return found
    if (found := _from_shipped(subject, runtime, precision)) is not None:
        return found
    if precision == "int8":
        name = subject.identity.model
        raise UsageError(
            f"nothing in int8 is here of {name} with these weights for {runtime}",
            next_step=f"Make it from pictures like yours: {_measuring(name, precision)}; "
            "or give --precision fp32",
        )
    with store.alone_with(subject.identity):
        found = from_kept(subject.identity, runtime, precision)  # by another process meanwhile
        return found or _made(subject, runtime, precision)


def from_kept(identity: Identity, runtime: str, precision: str) -> Runtime | None:
    """The network in this runtime from the artefact that is kept; None when none holds."""
    artefact = _compared(identity, runtime, precision)
    if artefact is None:
        return None
    try:
        return started(runtime, precision, partial(store.graph_of, artefact))
    except (IntegrityError, PluginError):
        return None


def is_ready(subject: Exportable, runtime: str, precision: str) -> bool:
    """Whether nothing has to be made, as far as that can be said without reading a graph."""
    return (
        is_kept(subject.identity, runtime, precision)
        or _fits(_shipped_of(subject, precision), subject.identity, runtime, precision)
        or _accepted_graph(subject, runtime, precision) is not None
    )


def is_kept(identity: Identity, runtime: str, precision: str) -> bool:
    """Whether `from_kept` will find it, as far as that can be said without reading the graph."""
    return _compared(identity, runtime, precision) is not None


def _compared(identity: Identity, runtime: str, precision: str) -> Artefact | None:
    artefact = store.read(identity)
    if artefact is None:
        return None
    parity = store.parity_of(artefact, runtime, precision, version_of(runtime))
    fits = parity is not None and parity.within(TOLERANCE[precision])
    return artefact if fits else None


def graph_for(subject: Exportable) -> tuple[Graph, str]:
    """What reads the float32 graph of a network, made if it has to be, and its sha256."""
    runtime_for(subject, next(iter(offered.installed("fp32")), EXPORTED[0]), "fp32")
    if (artefact := store.read(subject.identity)) is not None:
        return partial(store.graph_of, artefact), artefact.sha256
    if (graph := _shipped_of(subject, "fp32")) is not None:
        return partial(shipped.shipped_graph, graph), graph.sha256
    _, made = _exported(subject, subject.network())  # no artefact can be kept on this machine
    content = made()
    return partial(bytes, content), hashlib.sha256(content).hexdigest()


def _accepted_graph(subject: Exportable, runtime: str, precision: str) -> Graph | None:
    """The graph with which little was lost on data in a lower precision; None where none was."""
    found = accepted.accepted_of(subject.identity, runtime, precision)
    if found is None:
        return None
    if precision == "int8":
        return partial(accepted.measured_graph, found)
    artefact, graph = store.read(subject.identity), _shipped_of(subject, "fp32")
    if artefact is not None and artefact.sha256 == found.sha256:
        return partial(store.graph_of, artefact)
    if graph is not None and graph.sha256 == found.sha256:
        return partial(shipped.shipped_graph, graph)
    return None


def _from_accepted(subject: Exportable, runtime: str, precision: str) -> Runtime | None:
    graph = _accepted_graph(subject, runtime, precision)
    if graph is None:
        return None
    try:
        return started(runtime, precision, graph)
    except (IntegrityError, PluginError) as error:
        subject.tell(f"{precision} of {subject.identity.model} is not used: {error}")
        return None


def _measuring(name: str, precision: str) -> str:
    """The command that measures what a lower precision loses."""
    return f"segzoo warm {name} --precision {precision} --data WORDS"


def _shipped_of(subject: Exportable, precision: str) -> Shipped | None:
    """The graph that a precision is computed with: any but int8 with the one of fp32."""
    return subject.shipped.get("int8" if precision == "int8" else "fp32")


def _tried(graph: Shipped, identity: Identity, runtime: str, precision: str) -> Parity | None:
    """What was found when this version of the runtime was tried with a shipped graph, if it was."""
    kept = store.read_record(Parity, identity, shipped.record_name(runtime, precision))
    wanted = (runtime, precision, version_of(runtime), graph.sha256)
    same = kept and (kept.runtime, kept.precision, kept.version, kept.sha256) == wanted
    return kept if same else None


def _fits(graph: Shipped | None, identity: Identity, runtime: str, precision: str) -> bool:
    """Whether a shipped graph is there, and was not found to differ when it was tried."""
    if graph is None or not graph.path.is_file():
        return False
    tried = _tried(graph, identity, runtime, precision)
    return tried is None or tried.difference <= TOLERANCE[precision]


def _from_shipped(subject: Exportable, runtime: str, precision: str) -> Runtime | None:
    """The network from the graph that came with its weights; None when that does not hold."""
    graph, identity = _shipped_of(subject, precision), subject.identity
    if graph is None or not _fits(graph, identity, runtime, precision):
        return None
    try:
        runs = started(runtime, precision, partial(shipped.shipped_graph, graph))
        mean = precision == "int8"
        if _tried(graph, identity, runtime, precision) is None:
            x = shipped.probe_input(identity.in_channels, identity.size)
            parity = Parity(
                runtime=runtime,
                version=version_of(runtime),
                precision=precision,
                sha256=graph.sha256,
                cases=(shipped.compared(runs, graph, x, identity.activation, mean=mean),),
            )
            with contextlib.suppress(*UNWRITABLE):  # it is tried again then
                store.write_record(parity, identity, shipped.record_name(runtime, precision))
            if parity.difference > TOLERANCE[precision]:
                raise PluginError(
                    f"{runtime} gives other probabilities than torch did",
                    found=f"a difference of {parity.difference:.2g}",
                    expected=f"at most {TOLERANCE[precision]:g}",
                )
    except (IntegrityError, PluginError) as error:
        subject.tell(f"the graph that comes with {identity.model} is not used: {error}")
        return None
    return runs


def _made(subject: Exportable, runtime: str, precision: str) -> Runtime:
    from segzoo.predict.runtimes.torch import TorchRuntime, in_float64

    identity = subject.identity
    name = identity.model
    subject.tell(f"making {name} ready for {runtime} in {precision}, once")
    network = subject.network()
    artefact, graph = _exported(subject, network, extra=offered.OFFERED[runtime].extra)
    runs = started(runtime, precision, graph)
    cases = compare(
        TorchRuntime(network),
        runs,
        preprocess=subject.preprocess,
        postprocess=subject.postprocess,
        in_channels=identity.in_channels,
        exact=partial(in_float64, network) if precision == "fp32" else None,
    )
    parity = Parity(
        runtime=runtime,
        version=version_of(runtime),
        precision=precision,
        sha256=artefact.sha256,
        cases=cases,
    )
    if not parity.within(TOLERANCE[precision]):
        raise PluginError(
            f"{runtime} in {precision} gives {name} other probabilities than torch",
            found=f"a difference of {parity.difference:.2g}",
            expected=f"at most {TOLERANCE[precision]:g}",
            next_step="Give --runtime torch"
            if precision == "fp32"
            else "Give --precision fp32, or measure what is lost on pictures like yours: "
            + _measuring(name, precision),
        )
    with contextlib.suppress(*UNWRITABLE):  # told when the graph was to be written
        store.write_record(parity, identity, store.parity_name(runtime, precision))
    return runs


def _exported(
    subject: Exportable, network: "nn.Module", *, extra: str = "onnx"
) -> tuple[Artefact, Graph]:
    """The artefact of a network, and what reads its graph: the one that is kept, or a new one."""
    from segzoo.predict.artefacts.export import OPSET, to_onnx

    identity = subject.identity
    with contextlib.suppress(IntegrityError):
        if (artefact := store.read(identity)) is not None:
            store.graph_of(artefact)
            return artefact, partial(store.graph_of, artefact)
    graph = to_onnx(
        network,
        example(subject.preprocess, identity.in_channels),
        any_size=identity.size is None,
        model=identity.model,
        extra=extra,
    )
    sha256 = hashlib.sha256(graph).hexdigest()
    artefact = Artefact(identity=identity, sha256=sha256, size=len(graph), opset=OPSET)
    try:
        store.write(artefact, graph)
    except UNWRITABLE as error:
        subject.tell(f"{identity.model} cannot be kept for the next time: {error}")
        return artefact, partial(bytes, graph)
    return artefact, partial(store.graph_of, artefact)


def started(runtime: str, precision: str, graph: Graph) -> Runtime:
    """A runtime with its session made, so that what is wrong with the graph shows now.

    Nothing is compared.
    """
    if runtime == "openvino":
        from segzoo.predict.runtimes.openvino import OpenVinoRuntime

        in_openvino = OpenVinoRuntime(graph, precision)
        in_openvino.session  # noqa: B018
        return in_openvino
    from segzoo.predict.runtimes.onnxruntime import OnnxRuntime

    in_onnxruntime = OnnxRuntime(graph, precision)
    in_onnxruntime.session  # noqa: B018
    return in_onnxruntime
