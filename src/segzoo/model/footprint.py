"""The memory that one picture takes: of a process that does nothing else, from start to mask.

A process that has done other things before has had other peaks, so each measurement has one of its
own; what the interpreter and the runtime's libraries take counts, as it does for a user.
"""

import contextlib
import json
import sys

from segzoo.base import children
from segzoo.errors import ResourceError, printable

__all__ = ["footprint"]

SIDE = 320  # of the picture; a network of one size resizes it
SECONDS = 600.0
CHILD = """
import json, sys
from segzoo.model import footprint
print(json.dumps(footprint.peak_after(*json.loads(sys.argv[1]))))
"""


def footprint(ref: str, runtime: str, precision: str) -> int:
    """Bytes, at the most at any time, for the weights that a reference names; they are here.

    ResourceError where the process ends badly or this system does not tell.
    """
    import subprocess

    given = json.dumps([ref, runtime, precision])
    try:
        done = children.run_python(
            CHILD, given, timeout=SECONDS, capture_output=True, text=True, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(f"its memory was not measured within {SECONDS:g} s") from None
    said = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not said or not said[0].isdecimal():
        [why] = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ResourceError(f"its memory could not be measured: {printable(why)[:200]}")
    return int(said[0])


def peak_after(ref: str, runtime: str, precision: str) -> int:
    """The peak of this process after one picture, in bytes."""
    import numpy as np

    from segzoo.model.served import Request, serve

    served = serve(
        Request(
            ref=ref,
            pretrained=True,
            device="cpu",
            local_files_only=True,
            runtime=runtime,
            precision=precision,
        )
    )
    served.predictor.predict(np.zeros((SIDE, SIDE, 3), np.uint8))
    return peak()


def peak() -> int:
    """The most memory that this process has had at a time, in bytes.

    From /proc where it is: what getrusage tells there began with the process that started this one.
    """
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise ResourceError("this system does not tell the peak of a process's memory") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
