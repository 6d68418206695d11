"""What a run takes of this machine where nobody says it: threads, and the memory format.

Threads of one step wait for each other many times. Where other work uses a core too, each wait may
last until that work lets go, so a run takes no more threads than cores are idle when it begins.
"""

import copy
import os
import time
from dataclasses import replace

import torch
from torch import nn

from segzoo.base.cores import usable_cores
from segzoo.data.draws import drawn
from segzoo.engine.evaluate import Task
from segzoo.engine.settings import Settings
from segzoo.predict.preprocess import network_size
from segzoo.predict.runtimes.torch import device_of, logits_of
from segzoo.spec import Recipe

__all__ = ["fitting_threads", "idle_cores", "suited_to_machine"]

LOOK = 0.25  # seconds in which the cores are watched
MANY = 5_000  # samples: below that, trying what is faster costs more than it gives
ROUNDS = 3
GAIN = 0.95  # of the time of the usual format, at most
PICTURES = 2  # that are tried at once
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def suited_to_machine(
    settings: Settings, network: nn.Module, task: Task, recipe: Recipe, *, samples: int | None
) -> Settings:
    """The settings, with a number of threads and a memory format where they have none.

    samples: that the run will see, None where the clock decides. The format is tried on a copy of
    the network, for a long run of one process whose pictures have one size; the usual one else.
    Under a launcher of several processes the threads are what it says.
    """
    alone = "RANK" not in os.environ
    if settings.threads is None and alone:
        settings = replace(settings, threads=fitting_threads())
    if settings.channels_last is None:
        many = samples is None or samples >= MANY
        sides = recipe.crop or recipe.size or task.preprocess.size
        last = False
        if alone and many and sides is not None:
            margin = 2 * task.preprocess.margin
            rule = replace(task.preprocess, size=None, resize="none", margin=0)
            height, width = network_size(sides[0] + margin, sides[1] + margin, rule)
            last = _is_faster_last(network, (task.in_channels, height, width), recipe, settings)
        settings = replace(settings, channels_last=last)
    return settings


def fitting_threads() -> int:
    """As many as torch has, but no more than there are idle cores, and at least one.

    What OMP_NUM_THREADS says is meant.
    """
    most = torch.get_num_threads()
    if most == 1 or "OMP_NUM_THREADS" in os.environ:
        return most
    return max(1, min(most, round(idle_cores())))


def idle_cores() -> float:
    """How many of the cores that this process may use are idle, watched for a moment."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    before = _times(usable)
    if before is None:  # not Linux: the load of the last minute
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        return max(0.0, usable_cores() - load)
    time.sleep(LOOK)
    idle, whole = (b - a for a, b in zip(before, _times(usable) or before, strict=True))
    cores = usable_cores()
    return cores * idle / whole if whole else float(cores)


def _times(usable: set[int] | None) -> tuple[float, float] | None:
    """Of the usable cores together, the ticks that they were idle, and all; None: not known."""
    try:
        with open("/proc/stat", encoding="ascii") as stream:
            rows = [line.split() for line in stream if line[:3] == "cpu" and line[3].isdigit()]
    except OSError:
        return None
    mine = [row for row in rows if usable is None or int(row[0][3:]) in usable]
    ticks = [[float(value) for value in row[1:9]] for row in mine]  # without guests, counted twice
    return sum(each[3] + each[4] for each in ticks), sum(map(sum, ticks))


def _is_faster_last(
    network: nn.Module, shape: tuple[int, int, int], recipe: Recipe, settings: Settings
) -> bool:
    """Whether forward and backward take less time with channels last."""
    device = device_of(settings.device)
    half = HALVES.get(recipe.precision)
    formats = {False: torch.contiguous_format, True: torch.channels_last}
    best = dict.fromkeys(formats, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), drawn(0):
            count = min(PICTURES, recipe.batch_size // recipe.accumulate)
            x = torch.rand(count, *shape, device=device)
            for _ in range(1 + ROUNDS):  # the first ones prepare much
                for last, layout in formats.items():
                    tried = copy.deepcopy(network).train().to(device, memory_format=layout)  # type: ignore[call-overload]
                    begun = time.perf_counter()
                    with torch.autocast(device.type, half, enabled=half is not None):
                        outputs = tried(x.contiguous(memory_format=layout))
                    logits = logits_of(outputs)
                    total = torch.stack([each.float().mean() for each in logits]).sum()
                    total.backward()  # type: ignore[no-untyped-call]
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    best[last] = min(best[last], time.perf_counter() - begun)
    except Exception:  # a network may refuse the format, the copy or the memory: the run will say
        return False
    finally:
        torch.set_num_threads(threads)
    return best[True] < GAIN * best[False]
