"""Lower precisions that are used because of what was measured with them on a data set.

Beside an artefact lie, for each runtime and precision that was measured and lost little enough,

    accepted-onnxruntime-int8.json     what was measured, and the sha256 of the graph
    <sha256>.int8                      the graph, where it is another one than that of float32
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from segzoo.base import cache, files
from segzoo.base.records import Record
from segzoo.errors import IntegrityError
from segzoo.predict.artefacts import store
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.identity import Identity, version_of

__all__ = ["LIMITS", "Accepted", "accepted_of", "measured_graph", "write", "write_graph"]

# How much of each metric may be lost.
LIMITS: Mapping[str, float] = {"max_f": 0.005, "mae": 0.003, "iou": 0.005, "mean_iou": 0.005}
LOWER_IS_BETTER = ("mae",)


@dataclass(frozen=True, kw_only=True)
class Accepted(Record):
    """A runtime of a version in a lower precision, and what it lost with a graph.

    sha256, size: of the graph, in bytes. data: in words, and how many pictures were measured.
    exact, found: the metrics in float32 and in this precision. kept: the layers that are computed
    in float32 all the same.
    """

    identity: Identity
    runtime: str
    version: str
    precision: str
    sha256: str
    size: int
    data: str
    pictures: int
    exact: Mapping[str, float]
    found: Mapping[str, float]
    kept: tuple[str, ...] = field(default=())

    @property
    def lost(self) -> dict[str, float]:
        """By how much each metric is worse than in float32; below zero where it is better."""
        return {
            name: round(
                (self.found[name] - value) * (1 if name in LOWER_IS_BETTER else -1),
                6,
            )
            for name, value in self.exact.items()
        }

    @property
    def fault(self) -> str:
        """What is lost too much of, in words; empty for nothing."""
        over = {n: lost for n, lost in self.lost.items() if not lost <= LIMITS[n]}
        return ", ".join(f"{lost:.4f} of {n} (at most {LIMITS[n]})" for n, lost in over.items())

    def _faults(self) -> list[str]:
        odd = [name for name in self.exact if name not in LIMITS or name not in self.found]
        faults = [f"{name!r} is no metric that is measured for this" for name in odd]
        if not self.exact:
            faults.append("exact is empty")
        if not store.SHA256.fullmatch(self.sha256):
            faults.append("sha256 is not 64 hex digits")
        return faults


def accepted_of(identity: Identity, runtime: str, precision: str) -> Accepted | None:
    """What was measured with this version of a runtime, where little enough was lost."""
    found = store.read_record(Accepted, identity, _name(runtime, precision))
    wanted = (identity.key, runtime, version_of(runtime), precision)
    if found is None or found.fault:
        return None
    same = (found.identity.key, found.runtime, found.version, found.precision) == wanted
    return found if same else None


def write(accepted: Accepted) -> None:
    """Keep it. Raises what `files.unwritable` gives."""
    name = _name(accepted.runtime, accepted.precision)
    store.write_record(accepted, accepted.identity, name)


def write_graph(identity: Identity, graph: bytes) -> str:
    """Keep a graph in eight bits in place of others; its sha256. Raises as `write`."""
    sha256 = hashlib.sha256(graph).hexdigest()
    folder = store.make_home(identity)
    for other in folder.glob("*.int8"):
        other.unlink(missing_ok=True)
    files.write(folder / f"{sha256}.int8", graph)
    return sha256


def measured_graph(accepted: Accepted) -> bytes:
    """The bytes of a graph in eight bits. IntegrityError where they are not those measured."""
    path = store.home_of(accepted.identity) / f"{accepted.sha256}.int8"
    try:
        graph = cache.trusted(path, most=min(accepted.size, store.MAX_GRAPH) + 1)
    except OSError as error:
        raise IntegrityError(f"it cannot be read: {error.strerror}", file=path) from None
    if graph is None or hashlib.sha256(graph).hexdigest() != accepted.sha256:
        raise IntegrityError("its bytes are not those that were measured", file=path)
    if fault := fault_of(graph):
        raise IntegrityError(fault, file=path)
    return graph


def _name(runtime: str, precision: str) -> str:
    return f"accepted-{runtime}-{precision}.json"
