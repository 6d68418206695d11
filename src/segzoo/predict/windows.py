"""One picture through a network in windows, put together to maps of the whole."""

import dataclasses
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from segzoo.predict import tiling
from segzoo.predict.network import Network
from segzoo.predict.preprocess import probabilities
from segzoo.predict.tiling import Grid, Tile
from segzoo.spec import Postprocess

__all__ = ["in_windows"]

TOGETHER = 1 << 20  # pixels of the windows of one picture that run together, at most


def in_windows(
    network: Network, x: NDArray[np.float32], grid: Grid, *, batch_size: int
) -> tuple[NDArray[np.float32], ...]:
    """Each head's probabilities (K, H, W) of the picture whose network input is x (C, h, w).

    batch_size: how many windows run together, at most. Probabilities, not logits, are averaged: an
    answer near a window's edge, where it is worst, then counts by its weight alone, however large
    its logits are. "levels" are of a network's whole map, and no window's. PluginError as the
    network's; MemoryError when one window does not fit.
    """

    def maps_of(tiles: list[Tile]) -> Iterator[NDArray[np.float32]]:
        return _maps(network, x, tiles, batch_size)

    whole = np.empty((0, *grid.picture), np.float32)
    for top, rows in tiling.bands(grid, maps_of):
        if not len(whole):  # how many heads there are, the network says
            whole = np.empty((len(rows), *grid.picture), np.float32)
        whole[:, top : top + rows.shape[1]] = np.minimum(rows, 1)  # weights are rounded
    if network.postprocess.normalize == "minmax":  # of the whole picture, not of each window
        whole = probabilities(whole, Postprocess(activation="none", normalize="minmax"))
    return tuple(np.split(whole, len(whole) // network.num_classes))


def _maps(
    network: Network, x: NDArray[np.float32], tiles: list[Tile], batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """Of each tile the probabilities of all heads, one after the other: (heads * K, h, w)."""
    of_a_window = dataclasses.replace(network.postprocess, normalize="none", resize="logits")
    for (h, w), alike in groupby(tiles, lambda tile: tile.geometry.network):
        waiting = list(alike)
        most = max(1, min(batch_size, TOGETHER // (h * w)))
        while waiting:
            batch = waiting[:most]
            try:
                outputs = network.logits(
                    np.stack([x[:, t.y : t.y + h, t.x : t.x + w] for t in batch])
                )
            except MemoryError:
                if len(batch) == 1:
                    raise
                most = len(batch) // 2
                continue
            for n, tile in enumerate(batch):
                heads = (
                    network.probabilities(logits[n], tile.geometry, of_a_window)
                    for logits in outputs
                )
                yield np.concatenate([*heads])
            waiting = waiting[most:]
