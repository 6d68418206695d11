"""Artefacts in segzoo's own folder: written whole, and judged whenever they are read.

    artefacts/<key>/artefact.json              what it is, and the sha256 of the graph
                   /<sha256>.onnx              x -> logits
                   /onnxruntime-fp32.json      how far a runtime's answers are from torch's
                   /accepted-*.json, *.int8    lower precisions, in `accepted`

The folder may have come from elsewhere. So what is in it is parsed strictly, under limits; it has
to be this user's or root's; the graph's bytes are hashed, and no runtime is given others. What does
not hold is as if it were not there.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segzoo.base import cache, files
from segzoo.base.records import Json, R, Record, asdict, from_dict
from segzoo.base.strictjson import strict_json
from segzoo.errors import DataError, IntegrityError, UsageError
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.identity import Identity

__all__ = [
    "MAX_GRAPH",
    "Artefact",
    "Case",
    "Parity",
    "all_records",
    "allowed",
    "alone_with",
    "graph_of",
    "home_of",
    "make_home",
    "parity_name",
    "parity_of",
    "read",
    "read_record",
    "write",
    "write_record",
]

NAME, KIND = "artefact.json", "artefacts"
MAX_RECORD = 1 << 20  # bytes
MAX_GRAPH = 1 << 31  # bytes; protobuf has no more
LEVELS = 16
MOST = 0.1  # of probabilities
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Artefact(Record):
    """An exported network. sha256, size: of the graph's file, in bytes. opset: its ONNX version."""

    identity: Identity
    sha256: str
    size: int
    opset: int

    def _faults(self) -> list[str]:
        return [] if SHA256.fullmatch(self.sha256) else ["sha256 is not 64 hex digits"]


def allowed(tolerance: float, rounding: float) -> float:
    """The difference of probabilities that may be: a runtime rounds as often as torch does.

    No more than MOST: where rounding moves more, or torch's answer is no number, it is no measure.
    """
    return max(tolerance, min(2 * rounding, MOST))


@dataclass(frozen=True, kw_only=True)
class Case(Record):
    """One comparison. shape: (N, C, h, w) of x. difference: of probabilities, the largest.

    rounding: the largest between torch in float32 and in float64, where that was asked; then
    difference is from float64 too. 0 where it was not.
    """

    shape: tuple[int, int, int, int]
    difference: float
    rounding: float = 0.0

    def within(self, tolerance: float) -> bool:
        return self.difference <= allowed(tolerance, self.rounding)


@dataclass(frozen=True, kw_only=True)
class Parity(Record):
    """How far a runtime of a version is from torch on the graph of this sha256."""

    runtime: str
    version: str
    precision: str
    sha256: str
    cases: tuple[Case, ...]

    @property
    def difference(self) -> float:
        """The largest."""
        return max((case.difference for case in self.cases), default=float("inf"))

    def within(self, tolerance: float) -> bool:
        """Whether there are cases, and all are."""
        return bool(self.cases) and all(case.within(tolerance) for case in self.cases)


def home_of(identity: Identity) -> Path:
    """Where an artefact is kept; it need not exist. UsageError as of `cache.home`."""
    return cache.home() / KIND / identity.key


def read(identity: Identity) -> Artefact | None:
    """The artefact of this identity; None when there is none that holds. Its graph is not read."""
    found = read_record(Artefact, identity, NAME)
    return found if found is not None and found.identity.key == identity.key else None


def graph_of(artefact: Artefact) -> bytes:
    """The bytes of the graph, judged. IntegrityError where they are not those that were written."""
    path = home_of(artefact.identity) / f"{artefact.sha256}.onnx"
    try:
        graph = cache.trusted(path, most=min(artefact.size, MAX_GRAPH) + 1)
    except OSError as error:
        raise IntegrityError(f"it cannot be read: {error.strerror}", file=path) from None
    if graph is None or len(graph) != artefact.size:
        raise IntegrityError("it is another file than was written", file=path)
    if hashlib.sha256(graph).hexdigest() != artefact.sha256:
        raise IntegrityError("its bytes are not those that were written", file=path)
    if fault := fault_of(graph):
        raise IntegrityError(fault, file=path)
    return graph


def write(artefact: Artefact, graph: bytes) -> None:
    """Keep an artefact: its graph, and then what says that it is there.

    Raises what `files.unwritable` gives. Graphs that were there before are removed.
    """
    folder = make_home(artefact.identity)
    files.sweep(folder)
    path = folder / f"{artefact.sha256}.onnx"
    files.write(path, graph)
    write_record(artefact, artefact.identity, NAME)
    for other in folder.glob("*.onnx"):
        if other != path:
            with contextlib.suppress(OSError):
                other.unlink()


def parity_of(artefact: Artefact, runtime: str, precision: str, version: str) -> Parity | None:
    """What was found when this runtime, of this version, was compared with torch; None if never."""
    found = read_record(Parity, artefact.identity, parity_name(runtime, precision))
    wanted = (runtime, precision, version, artefact.sha256)
    if found is None or (found.runtime, found.precision, found.version, found.sha256) != wanted:
        return None
    return found


def parity_name(runtime: str, precision: str) -> str:
    """The file of a comparison."""
    return f"{runtime}-{precision}.json"


def read_record(kind: type[R], identity: Identity, name: str) -> R | None:
    """A record of this kind in a file beside the artefact; None for one that does not hold."""
    try:
        return _record_in(kind, home_of(identity) / name)
    except UsageError:
        return None


def write_record(record: Record, identity: Identity, name: str) -> None:
    """Keep a record beside the artefact. Raises what `files.unwritable` gives."""
    folder = make_home(identity)
    text = json.dumps(asdict(record), indent=2, sort_keys=True) + "\n"
    files.write(folder / name, text.encode())


def all_records(kind: type[R], pattern: str) -> Iterator[R]:
    """The records of this kind that lie beside any artefact, in files of such names."""
    try:
        found = sorted((cache.home() / KIND).glob(f"*/{pattern}"))
    except (OSError, UsageError):
        return
    for path in found:
        if (record := _record_in(kind, path)) is not None:
            yield record


@contextlib.contextmanager
def alone_with(identity: Identity) -> Iterator[None]:
    """Alone at work on an artefact: another process that wants it waits, and then finds it."""
    import filelock

    try:
        folder = make_home(identity)
        lock = filelock.FileLock(folder / "lock")
        lock.acquire()
    except (OSError, UsageError, NotImplementedError):  # a folder that cannot be written, say
        yield
        return
    try:
        yield
    finally:
        lock.release()


def make_home(identity: Identity) -> Path:
    """`home_of`, made where it is not there. Raises what `files.unwritable` gives."""
    folder = home_of(identity)
    try:
        cache.folder(KIND)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise files.unwritable(folder, error) from None
    return folder


def _record_in(kind: type[R], path: Path) -> R | None:
    try:
        raw = cache.trusted(path, most=MAX_RECORD + 1)
        if raw is None or len(raw) > MAX_RECORD:
            return None
        data: dict[str, Json] = strict_json(
            raw, os.fspath(path), what="the record", error=DataError, levels=LEVELS
        )
        return from_dict(kind, data)
    except (OSError, ValueError, DataError):
        return None
