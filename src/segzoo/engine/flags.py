"""Switches of the whole process that a run needs, set while it runs and then put back."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from segzoo.base.memory import keeping_memory
from segzoo.model.build import in_float32

__all__ = ["CUBLAS", "process_flags"]

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS gives the same bits with a fixed workspace alone


@contextlib.contextmanager
def process_flags(*, deterministic: bool, fp32: bool, threads: int | None = None) -> Iterator[None]:
    """Determinism, the precision of float32 products, threads, float32 as torch's default, memory.

    Afterwards all is as it was.

    deterministic: an operation without a deterministic form raises. fp32: products of float32 are
    exact; otherwise a GPU may round their factors to TF32. threads: None for those that there are.
    """
    cudnn: Any = torch.backends.cudnn  # its typing lacks what torch 2.9 added
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.benchmark, cudnn.deterministic
    workspace = os.environ.get(CUBLAS)
    had = torch.get_num_threads()
    try:
        if threads is not None and threads != had:
            torch.set_num_threads(threads)
        if deterministic:
            os.environ.setdefault(CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(deterministic)
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
        with _products(exact=fp32), in_float32(), keeping_memory():
            yield
    finally:
        if torch.get_num_threads() != had:
            torch.set_num_threads(had)
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(CUBLAS, None)


@contextlib.contextmanager
def _products(*, exact: bool) -> Iterator[None]:
    """torch has an older and a newer set of switches for this, and raises where they disagree.

    Inside both say the same, as the compiler reads one or the other.
    """
    cudnn: Any = torch.backends.cudnn
    switches: tuple[Any, ...] = (
        cudnn.conv,
        cudnn.rnn,
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    )
    newer = [switch.fp32_precision for switch in switches]
    older: tuple[str, bool] | None = None
    with contextlib.suppress(RuntimeError):  # the caller has set newer ones otherwise
        older = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest" if exact else "high")
        cudnn.allow_tf32 = not exact
        for switch in switches:
            switch.fp32_precision = "ieee" if exact else "tf32"
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            cudnn.allow_tf32 = older[1]
        for switch, precision in zip(switches, newer, strict=True):
            switch.fp32_precision = precision
