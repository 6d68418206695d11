"""Which runtimes there are, which precisions each computes in, and what it needs."""

import os
from collections.abc import Callable, Mapping
from importlib import util
from typing import NamedTuple

from segzoo.errors import UsageError, printable

__all__ = [
    "AUTO",
    "OFFERED",
    "PRECISIONS",
    "Graph",
    "Offer",
    "installed",
    "refuse_unoffered",
    "threads",
]

AUTO = "auto"
PRECISIONS = ("fp32", "bf16", "int8")
Graph = Callable[[], bytes]  # reads the ONNX graph that a runtime is to run


class Offer(NamedTuple):
    """A runtime. extra: of segzoo-core, which installs its module; empty for none.

    precisions: what it computes in.
    """

    extra: str
    precisions: tuple[str, ...]


OFFERED: Mapping[str, Offer] = {
    "torch": Offer("", ("fp32", "bf16")),
    "onnxruntime": Offer("onnx", ("fp32", "int8")),
    "openvino": Offer("openvino", PRECISIONS),
}


def refuse_unoffered(runtime: str, precision: str) -> None:
    """UsageError for a runtime or a precision that there is not, or not together."""
    if runtime not in (*OFFERED, AUTO):
        raise UsageError(
            f"no runtime is called '{printable(runtime)}'", expected=", ".join((*OFFERED, AUTO))
        )
    if precision not in PRECISIONS:
        raise UsageError(
            f"no precision is called '{printable(precision)}'", expected=", ".join(PRECISIONS)
        )
    if runtime != AUTO and precision not in OFFERED[runtime].precisions:
        those = [name for name, offer in OFFERED.items() if precision in offer.precisions]
        raise UsageError(
            f"{runtime} does not compute in {precision}",
            expected=", ".join(OFFERED[runtime].precisions),
            next_step=f"Give --runtime {' or '.join(those)}",
        )


def installed(precision: str) -> list[str]:
    """The runtimes besides torch that are here and compute in a precision."""
    return [
        name
        for name, offer in OFFERED.items()
        if offer.extra and precision in offer.precisions and util.find_spec(name) is not None
    ]


def threads() -> int | None:
    """How many threads a runtime may use by OMP_NUM_THREADS; None where it decides itself."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(text) if text.isdecimal() and int(text) > 0 else None
