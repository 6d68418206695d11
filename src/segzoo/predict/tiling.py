"""A picture in windows: where they lie, and how their maps become the whole picture's.

    grid = Grid.of(picture, preprocess, tile=(512, 512), overlap=(128, 128))
    for top, rows in bands(grid, maps_of):  # (M, h, W): the picture's rows from `top` on
        ...

The overlap-tile strategy of Ronneberger et al. 2015 (section 2, figure 2), for networks with
padding too: windows of the network's input overlap, and what each says counts less towards its
edge. Rows come out as soon as no later window adds to them. Sizes are (height, width).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import lcm
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.pictures.resample import Size
from segzoo.predict.preprocess import Geometry, network_size
from segzoo.spec import Preprocess

__all__ = ["Grid", "Tile", "Window", "bands", "is_seamless"]

Floats: TypeAlias = NDArray[np.float32]

PHASE = 32  # windows start at multiples of it: the network's poolings fall on the same pixels
MANY = 4  # of it there must be in a tile, because the last window may be nearly that much larger
REACH = 32  # pixels beyond a window that `is_seamless` changes
LOUD = 4  # times as large are the values there
SAME = 1e-3  # of the range of the logits


class Tile(NamedTuple):
    """A window of the network's input, its top left corner at (y, x), and how its maps come back.

    geometry.picture: how many of the picture's pixels, from its own (y, x) on, it answers for.
    """

    y: int
    x: int
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Window:
    """One window along one axis.

    start, side: of the network's input. weights: of what it says of each of the picture's pixels,
    from pixel `start` on; those of all windows sum to 1 at every pixel.
    """

    start: int
    side: int
    weights: Floats

    @property
    def answers(self) -> slice:
        return slice(self.start, self.start + len(self.weights))


@dataclass(frozen=True, eq=False)
class Grid:
    """The windows that cover a picture: every row with every column."""

    picture: Size
    rows: tuple[Window, ...]
    columns: tuple[Window, ...]
    margin: int

    @classmethod
    def of(cls, picture: Size, preprocess: Preprocess, *, tile: Size, overlap: Size) -> Self:
        """Windows for a picture (H, W) of a network that keeps its size.

        tile: how many of the picture's pixels a window answers for, at most, but for what the
        network's own sizes and poolings need more. overlap: how many two neighbours share, at
        least. Windows are of one size as far as that is possible.
        """
        rows, columns = (
            _windows(*axis, preprocess) for axis in zip(picture, tile, overlap, strict=True)
        )
        return cls(picture, rows, columns, preprocess.margin)

    @property
    def largest(self) -> Size:
        """The network's largest input."""
        return max(row.side for row in self.rows), max(column.side for column in self.columns)

    def tiles(self, row: Window) -> list[Tile]:
        """From left to right."""
        return [
            Tile(row.start, column.start, self._geometry(row, column)) for column in self.columns
        ]

    def _geometry(self, row: Window, column: Window) -> Geometry:
        answered = len(row.weights), len(column.weights)
        return Geometry(answered, answered, (0, 0), (row.side, column.side), self.margin)


def bands(
    grid: Grid, maps_of: Callable[[list[Tile]], Iterable[Floats]]
) -> Iterator[tuple[int, Floats]]:
    """The picture's maps, band by band from the top: the first row, and (M, rows, W) float32.

    maps_of: the maps of the tiles beside each other, each (M, *tile.geometry.picture). They are
    taken one by one; held are as many rows as a window has.
    """
    ends = [row.start for row in grid.rows[1:]] + [grid.picture[0]]
    begun = np.zeros((1, 0, grid.picture[1]), np.float32)
    for row, end in zip(grid.rows, ends, strict=True):
        band = begun
        maps_of_row = zip(grid.columns, maps_of(grid.tiles(row)), strict=True)
        for n, (column, maps) in enumerate(maps_of_row):
            if n == 0:
                band = np.zeros((len(maps), len(row.weights), grid.picture[1]), np.float32)
                band[:, : begun.shape[1]] = begun
            band[:, :, column.answers] += maps * np.outer(row.weights, column.weights)
        yield row.start, band[:, : end - row.start]
        begun = band[:, end - row.start :]


def is_seamless(run: Callable[[Floats], Floats], preprocess: Preprocess, in_channels: int) -> bool:
    """Whether windows of the network's input give what the whole gives, so that none need overlap.

    run: x (1, C, h, w) -> logits. A margin alone does not say so: some networks eat a few pixels
    and fill up with zeros further in. So it is measured: on noise, a window is run by itself, and
    within an input whose values around it are larger.
    """
    step = preprocess.multiple_of
    around = -(-REACH // step) * step
    side, _ = network_size(REACH, REACH, preprocess)
    inside = slice(around, around + side)
    x = np.random.default_rng(0).random((1, in_channels, *(side + 2 * around,) * 2), np.float32)
    window = x[..., inside, inside].copy()
    x *= LOUD
    x[..., inside, inside] = window
    alone = run(window)
    height, width = alone.shape[2:]
    within = run(x)[..., around : around + height, around : around + width]
    return bool(np.abs(alone - within).max() <= SAME * np.ptp(within))


# --- one axis ------------------------------------------------------------------------------------


def _windows(length: int, tile: int, overlap: int, preprocess: Preprocess) -> tuple[Window, ...]:
    """The windows along one axis of a picture."""
    multiple_of, eaten = preprocess.multiple_of, 2 * preprocess.margin

    def network_side(answered: int) -> int:
        return network_size(answered, answered, preprocess)[0]

    whole, least = network_side(length), network_side(1)
    step = multiple_of
    if tile - overlap >= MANY * lcm(step, PHASE):
        step = lcm(step, PHASE)

    def steps(pixels: int) -> int:
        return pixels // step

    side = network_side(max(tile, overlap + step))
    if tile >= length or steps(whole - side) <= 0:
        return (Window(0, whole, np.ones(length, np.float32)),)
    gaps = -(-steps(whole - side) // steps(side - eaten - overlap))
    while (smaller := side - step) >= least and (  # as many windows, but no larger than need be
        gaps * steps(smaller - eaten - overlap) >= steps(whole - smaller)
    ):
        side = smaller
    starts = [n * steps(whole - side) // gaps * step for n in range(gaps + 1)]
    sides = [side] * gaps + [whole - starts[-1]]  # the last one ends where the picture does
    ends = [min(start + side - eaten, length) for start, side in zip(starts, sides, strict=True)]
    return tuple(map(Window, starts, sides, _weights(starts, ends)))


def _weights(starts: list[int], ends: list[int]) -> list[Floats]:
    """How much each window counts, at each pixel from its start to its end."""
    found = [np.ones(end - start) for start, end in zip(starts, ends, strict=True)]
    for (left, right), start, end in zip(pairwise(found), starts[1:], ends, strict=False):
        shared = end - start
        if shared:
            left[-shared:] *= _rise(shared)[::-1]
            right[:shared] *= _rise(shared)
    total = np.zeros(ends[-1])
    for start, weights in zip(starts, found, strict=True):
        total[start : start + len(weights)] += weights
    return [
        (weights / total[start : start + len(weights)]).astype(np.float32)
        for start, weights in zip(starts, found, strict=True)
    ]


def _rise(shared: int) -> NDArray[np.float64]:
    """From 0 to 1 over the pixels that two windows share, by a squared sine.

    Of these, the quarter at a window's edge does not count: there it sees least of what is around.
    """
    at = (np.arange(shared) + 0.5) / shared
    rise: NDArray[np.float64] = np.sin(np.pi / 2 * np.clip(2 * at - 0.5, 0, 1)) ** 2
    return rise
