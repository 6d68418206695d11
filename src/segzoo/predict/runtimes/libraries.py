"""A runtime's library, imported once it is needed, and nothing of it that segzoo has no use for."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from segzoo.base.extras import imported
from segzoo.predict.runtimes.offered import OFFERED

__all__ = ["import_library"]

# OpenVINO's converters tell Google Analytics that they were imported, without asking, and are
# imported with the library. They take more than half of the time of that, too.
TOOLS = "openvino.tools"

# From 1.32 on onnxruntime tells Microsoft of each process and session, without asking, and keeps a
# number for the machine in the user's cache. It reads this when it is imported. On Windows, where
# it is the system that is told, there is a call.
NOT_TOLD = "ORT_DISABLE_TELEMETRY"


def import_library(runtime: str) -> Any:
    """Import a runtime's library; None for torch, which is imported where a network is built.

    DependencyMissingError with the line that installs it.

    OpenVINO comes without its converters; `openvino.convert_model` imports them when it is used.
    onnxruntime tells nobody that it is used, unless its variable in the environment says so.
    """
    needed, extra = f"the runtime {runtime} needs {runtime}", OFFERED[runtime].extra
    if runtime == "torch":
        return None
    if runtime == "onnxruntime":
        said = os.environ.setdefault(NOT_TOLD, "1")
        library = imported("onnxruntime", needed=needed, extra=extra)
        if said == "1":
            library.disable_telemetry_events()
        return library
    with _left_out(TOOLS):
        library = imported("openvino", needed=needed, extra=extra)
    if not hasattr(library, "convert_model") and "__getattr__" not in vars(library):
        vars(library)["__getattr__"] = _converter
    return library


@contextlib.contextmanager
def _left_out(module: str) -> Iterator[None]:
    """Whoever tries to import it inside is told that it is not there; unless it was before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # as Python's documentation has it
    try:
        yield
    finally:
        sys.modules.pop(module, None)


def _converter(name: str) -> Any:
    """What others in this process may ask openvino for, as if it had been imported by them."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    from openvino.tools.ovc import convert_model

    return convert_model
