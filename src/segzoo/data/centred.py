"""A pixel of one of a picture's classes, for a crop that lies about it.

Rare and small classes are then met more often than windows that lie anywhere would meet them, as
nnU-Net does for a third of its patches (Isensee et al. 2021, Nature Methods 18, 203-211).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["pixel_of_a_class"]


def pixel_of_a_class(
    target: NDArray[Any], *, num_classes: int, ignore_index: int | None
) -> tuple[int, int] | None:
    """The (row, column) of a pixel of a class that is drawn from those of the picture; None: none.

    target: (H, W) class indices, or (K, H, W) a map per class. Each class is as likely, and each of
    its pixels. Where there are one class or two, those of index 0 are the background.
    """
    if target.ndim == 3:
        present = [number for number, each in enumerate(target) if each.any()]
    else:
        counts = np.bincount(target[target >= 0].ravel(), minlength=num_classes + 1)
        first = 1 if num_classes <= 2 else 0
        present = [n for n in range(first, len(counts)) if counts[n] and n != ignore_index]
    if not present:
        return None
    chosen = present[_below(len(present))]
    places = np.flatnonzero(target[chosen] if target.ndim == 3 else target == chosen)
    row, column = divmod(int(places[_below(len(places))]), target.shape[-1])
    return row, column


def _below(end: int) -> int:
    """A whole number from 0 to `end` - 1, from torch's generator as all that is drawn."""
    return int(torch.randint(end, ()).item())
