"""Processes that segzoo starts: none of them runs a file because it lies in the current folder.

Python puts the current folder on the path of modules for `python -c` and `python -m`, so that a
json.py in a folder of downloads would run. Every process of segzoo is started here: an interpreter
looks for modules where this one does, the installed ones first; a program is taken from a folder of
PATH that is given in full.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

__all__ = ["Child", "program", "run_program", "run_python", "start_python", "workers_may_start"]

Child: TypeAlias = subprocess.Popen[bytes]  # a process that goes on beside this one

SAFE_PATH = "PYTHONSAFEPATH"  # as -P, for interpreters whose command line is not ours
FIND_MODULES = """import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
"""


def run_python(
    code: str,
    *arguments: str,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    **streams: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run code in another interpreter; its sys.argv has the arguments from number 1 on.

    timeout: in seconds. environment: all of its variables, and then none of Python's own is heard;
    None for those of this process. streams: stdin, stdout, cwd and so on of subprocess.run, which
    says what is raised.
    """
    switch = "-P" if environment is None else "-I"
    command = [*_python(switch, code), *arguments]
    return subprocess.run(command, timeout=timeout, env=environment, **streams)


def start_python(code: str, more: Mapping[str, str] | None = None) -> Child:
    """Start code in another interpreter that goes on beside this one.

    more: variables of its environment, beside those of this process.

    Its standard input and output are pipes, its errors go where ours go. Ctrl-C at a terminal does
    not reach it: whoever started it says when it ends.
    """
    return subprocess.Popen(
        _python("-P", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, **(more or {})},
        start_new_session=True,
    )


def run_program(name: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program of PATH and keep what it prints. FileNotFoundError when there is none."""
    found = program(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=timeout)


def program(name: str) -> str | None:
    """Where a program is, in a folder of PATH that does not depend on the current one."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in filter(os.path.isabs, folders):
        # With a folder in its name Windows does not look into the current one first.
        if found := shutil.which(os.path.join(folder, name)):
            return found
    return None


@contextlib.contextmanager
def workers_may_start() -> Iterator[None]:
    """Within the block, interpreters that a library starts leave the current folder alone.

    multiprocessing starts its processes by `python -c`, but where it forks.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _python(switch: str, code: str) -> list[str]:
    return [sys.executable, switch, "-c", FIND_MODULES + code, json.dumps(_module_path())]


def _module_path() -> list[str]:
    """This process's path of modules; what stands for the current folder comes last."""
    given = [place for place in sys.path if os.path.isabs(place)]
    here = [os.path.abspath(place) for place in sys.path if not os.path.isabs(place)]
    return [*given, *here]
