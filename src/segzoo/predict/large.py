"""A picture larger than memory through a network: what is found in it, some rows at a time.

    predictor = in_pieces(predictor)[0]
    with parts.on_disk("scan.tif") as picture:
        for top, prediction in found_in(predictor, picture):
            ...  # a Prediction of the rows from `top` on

The windows are those of a picture in memory, and what they say is put together in the same way, so
that the result is the same. As many rows are held as two windows have.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import UsageError
from segzoo.pictures.codec import Picture
from segzoo.pictures.parts import OnDisk
from segzoo.predict.prediction import Prediction
from segzoo.predict.predictor import SMALLER_TILES, Predictor
from segzoo.predict.preprocess import (
    as_input,
    channels,
    in_range,
    mask_of,
    mirror_index,
    network_size,
)
from segzoo.predict.tiling import Tile
from segzoo.predict.windows import AtOnce, in_bands
from segzoo.spec import Preprocess

__all__ = ["KINDS", "found_in", "in_pieces"]

Floats: TypeAlias = NDArray[np.float32]

KINDS = frozenset({"mask", "color", "probability", "confidence"})  # outputs made row by row
ROWS = 512  # that are looked at together for the largest value of a picture


def in_pieces(predictor: Predictor) -> list[Predictor]:
    """The same predictor with its tile; without one, with those to try, the largest first.

    UsageError for a network that has to see a whole picture.
    """
    why = ""
    if predictor.preprocess.size is not None:
        height, width = predictor.preprocess.size
        why = f"one that sees every picture at {height}x{width}"
    elif predictor.preprocess.custom is not None:
        why = "one with a preprocess function of its own"
    elif predictor.postprocess.smallest or predictor.postprocess.holes:
        why = "one whose masks lose specks or holes, which only a whole mask tells"
    if why:
        raise UsageError(
            "pictures larger than memory are for a network that takes them at their own size",
            found=why,
            next_step="Make the picture smaller, or read it whole: --max-pixels",
        )
    if predictor.tile is not None:
        return [predictor]
    return [dataclasses.replace(predictor, tile=tile) for tile in SMALLER_TILES]


def found_in(
    predictor: Predictor, picture: OnDisk, *, at_once: AtOnce | None = None
) -> Iterator[tuple[int, Prediction]]:
    """What is found, from the top of the picture down: the first row, and a Prediction of some.

    Their pictures are not kept. predictor: of `in_pieces`. at_once: how many windows run together,
    to be asked for its notes afterwards. Errors of the picture and the network are raised;
    MemoryError when one window does not fit.
    """
    at_once = at_once or AtOnce(predictor.batch_size)
    stages, postprocess = predictor.stages(), predictor.postprocess
    grid = predictor.windows(*picture.size)
    cut = _Cut(picture, predictor.preprocess, predictor.in_channels)

    def found() -> Iterator[tuple[int, Floats]]:
        return in_bands(stages.network, cut, grid, at_once)

    stretch = _stretch(found()) if postprocess.normalize == "minmax" else None
    for top, rows in found():
        likely = in_range(rows, stretch)
        mask = mask_of(likely, postprocess)
        unseen = Picture(np.zeros((1, 1, 3), np.uint8), reduced_from=(len(mask), mask.shape[1]))
        yield top, Prediction(mask, likely, unseen, predictor.classes)


class _Cut:
    """The network's input of a window, from the rows of the picture that it needs.

    Those of the windows beside each other are read once.
    """

    def __init__(self, picture: OnDisk, preprocess: Preprocess, in_channels: int) -> None:
        self.picture, self.preprocess, self.in_channels = picture, preprocess, in_channels
        network, margin = network_size(*picture.size, preprocess), preprocess.margin
        self.rows, self.columns = (
            mirror_index(side, length, margin)
            for side, length in zip(picture.size, network, strict=True)
        )
        self.held: tuple[tuple[int, int], NDArray[np.uint8]] | None = None
        self.brightest: float | None = None
        if preprocess.rescale == "image_max":
            tops = range(0, picture.size[0], ROWS)
            self.brightest = max(float(self._read(top, top + ROWS).max()) for top in tops)

    def __call__(self, tile: Tile) -> Floats:
        h, w = tile.geometry.network
        place = tile.y, tile.y + h
        if self.held is None or self.held[0] != place:
            self.held = None  # before the next ones are read
            wanted = self.rows[slice(*place)]
            first = int(wanted.min())
            self.held = place, self._read(first, int(wanted.max()) + 1)[wanted - first]
        values = self.held[1][:, self.columns[tile.x : tile.x + w]]
        return as_input(values, self.preprocess, self.in_channels, brightest=self.brightest)

    def _read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """(rows, W, C) as the network sees them."""
        part = self.picture.rows(top, min(bottom, self.picture.size[0]))
        return channels(part, self.preprocess.mode, self.in_channels)


def _stretch(found: Iterable[tuple[int, Floats]]) -> tuple[Floats, Floats]:
    """The least and the largest of each map (K, 1, 1)."""
    pairs = [
        (rows.min(axis=(1, 2), keepdims=True), rows.max(axis=(1, 2), keepdims=True))
        for _, rows in found
    ]
    low, high = zip(*pairs, strict=True)
    return np.minimum.reduce(low), np.maximum.reduce(high)
