"""What a network takes on this machine, and in which runtime the least: measured once, and kept."""

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from segzoo.errors import SegzooError, UsageError
from segzoo.predict.artefacts import ready, store
from segzoo.predict.artefacts.identity import version_of
from segzoo.predict.artefacts.measured import Speed, this_machine
from segzoo.predict.artefacts.parity import example
from segzoo.predict.artefacts.ready import Exportable
from segzoo.predict.network import Runtime
from segzoo.predict.runtimes.offered import OFFERED, installed, threads

__all__ = ["HANDFUL", "auto_runtime", "memory_of", "quick_runtime", "speed_of"]

HANDFUL = 8  # pictures: so many are done sooner than a runtime is measured
RUNS = 3
SIZE = (320, 320)  # of the picture that is measured with, where the network takes any


def auto_runtime(subject: Exportable, precision: str, pictures: int | None = None) -> str:
    """The runtime that `auto` takes on the CPU.

    For a handful of pictures one that is ready and starts sooner than torch; torch where none is,
    if it computes in this precision.
    For more, or None, the fastest: measured once for a network, a precision and a machine; for
    that, what is installed is made ready.
    """
    if pictures is not None and pictures <= HANDFUL:
        return quick_runtime(subject, precision)
    here = installed(precision)
    is_missing = precision == "int8" and not any(ready.is_ready(subject, n, "int8") for n in here)
    if not here or is_missing:
        return quick_runtime(subject, precision)
    return speed_of(subject, precision).fastest


def speed_of(subject: Exportable, precision: str) -> Speed:
    """How long a network takes in torch and in each runtime here: as it is kept, or measured."""
    names = [*_torch(precision), *installed(precision)]
    speed = store.read_record(Speed, subject.identity, _file_of(precision))
    if speed is None or not _holds(speed, precision, names):
        speed = _measured(subject, precision, names)
        _keep(speed, subject)
    return speed


def memory_of(subject: Exportable, precision: str, runtime: str, measure: Callable[[], int]) -> int:
    """Bytes of memory for one picture in a runtime: as they are kept with the times, or measured.

    measure: gives them; what it raises is raised.
    """
    speed = speed_of(subject, precision)
    if runtime not in speed.memory:
        subject.tell(f"measuring the memory that {subject.identity.model} takes, once")
        speed = replace(speed, memory={**speed.memory, runtime: measure()})
        _keep(speed, subject)
    return speed.memory[runtime]


def _keep(speed: Speed, subject: Exportable) -> None:
    try:
        store.write_record(speed, subject.identity, _file_of(speed.precision))
    except (SegzooError, OSError):
        subject.tell("what it takes cannot be kept for the next time")


def quick_runtime(subject: Exportable, precision: str) -> str:
    """The runtime that starts soonest of those for which nothing has to be made.

    Else torch, or for what that does not compute one that will say what is missing.
    """
    here = installed(precision)
    ready_now = (
        name
        for name in ready.EXPORTED  # the first of them starts sooner
        if name in here and ready.is_ready(subject, name, precision)
    )
    return (*ready_now, *_torch(precision), *here, *ready.EXPORTED)[0]


def _torch(precision: str) -> list[str]:
    return ["torch"] if precision in OFFERED["torch"].precisions else []


def _file_of(precision: str) -> str:
    here = hashlib.sha256(f"{this_machine()} {threads()}".encode()).hexdigest()[:16]
    return f"speed-{here}-{precision}.json"


def _holds(speed: Speed, precision: str, names: list[str]) -> bool:
    same = (speed.machine, speed.threads, speed.precision) == (
        this_machine(),
        threads() or 0,
        precision,
    )
    return same and speed.versions == {name: version_of(name) for name in names}


def _measured(subject: Exportable, precision: str, names: list[str]) -> Speed:
    from segzoo.predict.runtimes.torch import TorchRuntime

    if len(names) > 1:
        which = subject.identity.weights.removeprefix("values:")[:8]
        subject.tell(
            f"measuring which runtime is the fastest for {subject.identity.model} with the weights "
            f"{which}, once"
        )
    x = example(subject.preprocess, subject.identity.in_channels, count=1, size=SIZE)
    seconds: dict[str, float] = {}
    cannot: dict[str, str] = {}

    def timed(runtime: Runtime) -> float:
        runtime(x)
        taken = []
        for _ in range(RUNS):
            start = time.perf_counter()
            runtime(x)
            taken.append(time.perf_counter() - start)
        return round(statistics.median(taken), 6)

    for name in names:
        try:
            if name == "torch":
                runtime: Runtime = TorchRuntime(subject.network(), precision)
            else:
                runtime = ready.runtime_for(subject, name, precision)
            seconds[name] = timed(runtime)
        except (UsageError, MemoryError) as error:
            if name == "torch":
                raise
            cannot[name] = " ".join(str(error).split())
    return Speed(
        model=subject.identity.model,
        machine=this_machine(),
        threads=threads() or 0,
        precision=precision,
        seconds=seconds,
        versions={name: version_of(name) for name in names},
        cannot=cannot,
    )
