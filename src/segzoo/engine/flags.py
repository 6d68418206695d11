"""Switches of the whole process that a run needs, set while it runs and then put back."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["CUBLAS", "process_flags"]

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # cuBLAS gives the same bits with a fixed workspace alone


@contextlib.contextmanager
def process_flags(*, deterministic: bool, fp32: bool) -> Iterator[None]:
    """Determinism and the precision of float32 products, and afterwards as they were.

    deterministic: an operation without a deterministic form raises. fp32: products of float32 are
    exact; otherwise a GPU may round their factors to TF32.
    """
    cudnn: Any = torch.backends.cudnn  # its typing lacks what torch 2.9 added
    products = torch.get_float32_matmul_precision()
    before = (cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision)
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(CUBLAS)
    try:
        if deterministic:
            os.environ.setdefault(CUBLAS, ":4096:8")
        torch.use_deterministic_algorithms(deterministic)
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
        torch.set_float32_matmul_precision("highest" if fp32 else "high")
        cudnn.conv.fp32_precision = "ieee" if fp32 else "tf32"
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision = before
        torch.set_float32_matmul_precision(products)
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(CUBLAS, None)
