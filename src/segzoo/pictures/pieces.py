"""Connected pieces of a mask: small ones taken away, small holes filled; in numpy alone.

Pixels are connected by their sides. A piece is made of runs, stretches of a row: what takes time is
how many edges a mask has, not its pixels alone.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["cleaned", "with_holes_filled", "without_specks"]

Mask: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = NDArray[np.intp]


class _Runs(NamedTuple):
    """Runs of True in the order of rows. starts, ends: in a mask whose rows have one more column,
    which is False. piece: the number of the piece that a run is of."""

    starts: Numbers
    ends: Numbers
    piece: Numbers

    @property
    def areas(self) -> Numbers:
        """Of the piece of each run."""
        return np.bincount(self.piece, weights=self.ends - self.starts).astype(np.intp)[self.piece]


def cleaned(mask: Mask, *, smallest: int = 0, holes: int = 0) -> Mask:
    """(H, W) bool: pieces of fewer than `smallest` pixels gone, then holes of fewer filled."""
    if smallest > 1:
        mask = without_specks(mask, smallest)
    return with_holes_filled(mask, holes) if holes > 1 else mask


def without_specks(mask: Mask, smallest: int) -> Mask:
    """Without pieces of fewer pixels."""
    runs = _runs_of(mask)
    return _but(mask, runs, runs.areas < smallest)


def with_holes_filled(mask: Mask, smallest: int) -> Mask:
    """With holes of fewer pixels filled; what reaches the picture's edge is none."""
    height, width = mask.shape
    runs = _runs_of(~mask)
    row, at = np.divmod(runs.starts, width + 1)
    edge = (row == 0) | (row == height - 1) | (at == 0) | (at + runs.ends - runs.starts == width)
    open_ones = np.zeros(runs.piece.max(initial=-1) + 1, bool)
    open_ones[runs.piece[edge]] = True
    return ~_but(~mask, runs, (runs.areas < smallest) & ~open_ones[runs.piece])


def _runs_of(mask: Mask) -> _Runs:
    height, width = mask.shape
    framed = np.zeros(height * (width + 1) + 1, np.int8)
    framed[1:].reshape(height, width + 1)[:, :width] = mask
    edges = np.flatnonzero(np.diff(framed))
    starts, ends = edges[::2], edges[1::2]
    # A run of the next row, moved up, touches from the first that ends behind its beginning on.
    first = np.searchsorted(ends, starts + width + 1, "right")
    last = np.searchsorted(starts, ends + width + 1, "left")
    counts = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(above)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Runs(starts, ends, _joined(len(starts), above, np.repeat(first, counts) + within))


def _joined(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The least number that is connected with each of `count`, by pairs that are."""
    least = np.arange(count)
    while True:
        low = np.minimum(least[one], least[other])
        high = np.maximum(least[one], least[other])
        open_ones = low != high
        if not open_ones.any():
            return least
        np.minimum.at(least, high[open_ones], low[open_ones])
        while (shorter := least[least]).tobytes() != least.tobytes():
            least = shorter


def _but(mask: Mask, runs: _Runs, gone: Mask) -> Mask:
    """The mask without some of its runs."""
    if not gone.any():
        return mask
    height, width = mask.shape
    steps = np.zeros(height * (width + 1) + 1, np.int8)
    steps[runs.starts[~gone]] = 1
    steps[runs.ends[~gone]] -= 1
    kept = np.cumsum(steps[:-1], dtype=np.int8).astype(bool)
    return kept.reshape(height, width + 1)[:, :width]
