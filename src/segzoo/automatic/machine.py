"""What this machine has: cores that the process may use, memory that is free."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from segzoo.base.cores import usable_cores
from segzoo.predict.runtimes.processor import lacks_bf16
from segzoo.predict.runtimes.torch import device_of

__all__ = ["Capacity", "machine", "threads_of_torch"]

MEMINFO = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


class Capacity(NamedTuple):
    """cores: that this process may use. threads: that torch was given. memory: free bytes, None
    where nobody says. device: that a training runs on. bf16: whether it may have bfloat16."""

    cores: int
    threads: int
    memory: int | None
    device: str
    bf16: bool


def machine(device: str = "auto") -> Capacity:
    """DeviceError for a device that is not there."""
    found = device_of(device)
    cores = usable_cores()
    threads = torch.get_num_threads()
    if found.type == "cuda":
        return Capacity(cores, threads, torch.cuda.mem_get_info(found)[0], str(found), bf16=True)
    bf16 = found.type != "cpu" or not lacks_bf16()
    return Capacity(min(cores, max(1, threads)), threads, _free(), str(found), bf16)


@contextlib.contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """So many threads of torch; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _free() -> int | None:
    """Bytes that the system says are available, or those that a container's limit leaves."""
    values = []
    try:
        for line in MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                values.append(1024 * int(line.split()[1]))
    except (OSError, ValueError):
        pass
    try:
        most, used = (path.read_text("ascii").strip() for path in LIMITS)
        values.append(int(most) - int(used))
    except (OSError, ValueError):  # no limit is the word "max"
        pass
    return max(0, min(values)) if values else None
