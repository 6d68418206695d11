"""One picture through a network in windows, put together to maps of the whole."""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.predict import tiling
from segzoo.predict.network import Network
from segzoo.predict.preprocess import probabilities
from segzoo.predict.tiling import Grid, Tile
from segzoo.spec import Postprocess

__all__ = ["AtOnce", "in_bands", "in_windows"]

TOGETHER = 1 << 20  # pixels of the windows of one picture that run together, at most


@dataclasses.dataclass
class AtOnce:
    """How many windows of a picture run together: fewer, once memory has run out.

    fewer: how many memory was enough for, when it was not for all; 0 as long as it was.
    """

    most: int
    fewer: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.fewer:
            return ()
        several = count_of(self.fewer, "window")
        return (f"memory ran out, so it was run with {several} at once",)


def in_windows(
    network: Network, x: NDArray[np.float32], grid: Grid, at_once: AtOnce
) -> tuple[NDArray[np.float32], ...]:
    """Each head's probabilities (K, H, W) of the picture whose network input is x (C, h, w).

    "levels" are of a network's whole map, and no window's. PluginError as the network's;
    MemoryError when one window does not fit.
    """

    def cut(tile: Tile) -> NDArray[np.float32]:
        h, w = tile.geometry.network
        return x[:, tile.y : tile.y + h, tile.x : tile.x + w]

    whole = np.empty((0, *grid.picture), np.float32)
    for top, rows in in_bands(network, cut, grid, at_once):
        if not len(whole):  # how many heads there are, the network says
            whole = np.empty((len(rows), *grid.picture), np.float32)
        whole[:, top : top + rows.shape[1]] = rows
    if network.postprocess.normalize == "minmax":  # of the whole picture, not of each window
        whole = probabilities(whole, Postprocess(activation="none", normalize="minmax"))
    return tuple(np.split(whole, len(whole) // network.num_classes))


def in_bands(
    network: Network,
    cut: Callable[[Tile], NDArray[np.float32]],
    grid: Grid,
    at_once: AtOnce,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """All heads' probabilities (heads * K, rows, W), from the top down, with their first row.

    Before any "minmax", which is of the whole picture. cut: the network's input (C, h, w) of a
    window. Probabilities, not logits, are averaged: an answer near a window's edge, where it is
    worst, then counts by its weight alone, however large its logits are.
    """

    def maps_of(tiles: list[Tile]) -> Iterator[NDArray[np.float32]]:
        return _maps(network, cut, tiles, at_once)

    for top, rows in tiling.bands(grid, maps_of):
        yield top, np.minimum(rows, 1)  # weights are rounded


def _maps(
    network: Network,
    cut: Callable[[Tile], NDArray[np.float32]],
    tiles: list[Tile],
    at_once: AtOnce,
) -> Iterator[NDArray[np.float32]]:
    """Of each tile the probabilities of all heads, one after the other: (heads * K, h, w)."""
    of_a_window = dataclasses.replace(network.postprocess, normalize="none", resize="logits")
    for (h, w), alike in groupby(tiles, lambda tile: tile.geometry.network):
        waiting = list(alike)
        while waiting:
            batch = waiting[: max(1, min(at_once.most, TOGETHER // (h * w)))]
            try:
                outputs = network.logits(np.stack([cut(tile) for tile in batch]))
            except MemoryError:
                if len(batch) == 1:
                    raise
                at_once.most = at_once.fewer = len(batch) // 2
                continue
            for n, tile in enumerate(batch):
                heads = (
                    network.probabilities(logits[n], tile.geometry, of_a_window)
                    for logits in outputs
                )
                yield np.concatenate([*heads])
            waiting = waiting[len(batch) :]
