"""What ends a training from outside, as errors that say what to change."""

import contextlib
import sys
from collections.abc import Iterator

import torch
import torch.distributed as dist

from segzoo.base.files import FULL, unwritable
from segzoo.engine.checkpoint import RESUME
from segzoo.engine.one_value import of_single_values
from segzoo.errors import ResourceError, RunError, SegzooError
from segzoo.spec import Recipe

__all__ = ["explained"]

MEMORY = ("DefaultCPUAllocator", "out of memory", "not enough memory")
WORKERS = ("DataLoader worker", "DataLoader timed out")
OTHERS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")


@contextlib.contextmanager
def explained(recipe: Recipe) -> Iterator[None]:
    """Memory, disk, workers and processes that fail in the block: ResourceError or RunError.

    ConfigError for a normalisation over one value.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise unwritable(error.filename or "", error, remedy=RESUME) from error
    except ValueError as error:
        if told := of_single_values(error, recipe):
            raise told from error
        raise
    except (MemoryError, RuntimeError) as error:
        if found := _explanation(error, recipe):
            raise found from error
        raise


def _explanation(error: MemoryError | RuntimeError, recipe: Recipe) -> SegzooError | None:
    text = _line(error)
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if known or any(word in text for word in MEMORY):
        return ResourceError(
            f"memory is not enough for the training: {text[:200] or 'it ran out'}",
            found=f"batch_size={recipe.batch_size}, {_shape(recipe)}, {_peak()}",
            next_step=_smaller(recipe),
        )
    if any(word in text for word in WORKERS):
        return RunError(
            f"a process that reads the data is gone or hangs: {text[:200]}",
            next_step="Resume with --workers 0 to see what it does; a killed one often means too "
            "little memory or /dev/shm: use fewer workers",
        )
    if isinstance(error, dist.DistError) or any(word in text for word in OTHERS):
        return RunError(
            f"another process of this run is gone or hangs: {text[:200]}",
            next_step="Its own message says why; resume from the last checkpoint",
        )
    if "does not have a deterministic implementation" in text:
        return RunError(
            f"--deterministic is not possible here: {text[:100]}",
            next_step="Resume without it: the samples are the same, the last bits are not",
        )
    return None


def _shape(recipe: Recipe) -> str:
    side = recipe.crop or recipe.size
    return f"accumulate={recipe.accumulate}, {'crop' if recipe.crop else 'size'}=" + (
        ",".join(map(str, side)) if side else "none"
    )


def _smaller(recipe: Recipe) -> str:
    more = next(
        (
            n
            for n in range(recipe.accumulate + 1, recipe.batch_size + 1)
            if not recipe.batch_size % n
        ),
        None,
    )
    parts = f"accumulate={more} for the same batch in smaller parts, " if more else ""
    return (
        f"Try {parts}a smaller crop or batch_size, or precision=bf16 (with --resume, add "
        "--force-resume), or --checkpointing"
    )


def _peak() -> str:
    """The most memory that this process has had so far."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() >> 20} MiB of the GPU at the peak"
    try:
        import resource
    except ImportError:  # Windows
        return "on a CPU"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; on macOS bytes
    return f"{peak >> (20 if sys.platform == 'darwin' else 10)} MiB at the peak"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
