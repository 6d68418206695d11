"""Resizing arrays: one separable resampler for every rule that a model may declare.

A band of weights per output row or column, made in float64 and applied in float32.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Antialias", "Border", "Interpolation", "Size", "enlarged_rows", "resize"]

Floats: TypeAlias = NDArray[np.float32]
Distances: TypeAlias = NDArray[np.float64]
Size: TypeAlias = tuple[int, int]
Interpolation: TypeAlias = Literal["nearest", "bilinear", "bicubic"]
Antialias: TypeAlias = Literal["none", "triangle", "gaussian"]
Border: TypeAlias = Literal["edge", "zero"]

BAND = 32  # input rows that one product of the resampler spans, about, where rows become fewer
MORE = 6  # and where they become more: most weights of such a product are 0
TRUNCATE = 4.0  # a Gaussian ends at this many sigmas, as in scikit-image


def resize(
    values: NDArray[Any],
    size: Size,
    *,
    axes: tuple[int, int],
    interpolation: Interpolation = "bilinear",
    antialias: Antialias = "triangle",
    border: Border = "edge",
    extent: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """`values` with these two axes of this size, float32; `values` itself when they have it.

    Pixels are squares: output i lies at (i + 0.5) * before / after - 0.5. Bicubic is Keys' with
    a = -0.5, as in Pillow. When an axis shrinks by a factor, "triangle" stretches the kernel by it,
    as Pillow does, and "gaussian" blurs first with sigma = (factor - 1) / 2, as scikit-image does;
    nearest does neither. Beyond the border lies the edge pixel or zero; with "triangle" and "edge"
    the kernel is cut there instead and what is left sums to 1, Pillow's rule again.
    extent: how many of the pixels of these axes the result covers, from the first on, where that
    is not a whole number of them. All of them by default.
    """
    covered = extent or tuple(values.shape[axis] for axis in axes)
    steps = zip(axes, size, covered, strict=True)
    # The axis that shrinks most first: it leaves less for the other.
    for axis, after, length in sorted(steps, key=lambda step: step[1] / values.shape[step[0]]):
        if values.shape[axis] == after == length:
            continue
        shape = list(values.shape)
        shape[axis] = after
        result = np.empty(shape, np.float32)
        target = np.moveaxis(result, axis, 0)
        kind = (interpolation, antialias, border)
        for start, rows in _resized(np.moveaxis(values, axis, 0), after, length, *kind):
            target[start : start + len(rows)] = rows
        values = result
    return values


def enlarged_rows(maps: Floats, size: Size) -> Iterator[tuple[int, Floats]]:
    """Maps (K, h, w) at another size (H, W), bilinearly, some rows at a time.

    Gives the first row, and (rows, K, W): the whole is never held. The values are `resize`'s, but
    for the rounding where that takes the axes in the other order.
    """
    height, width = size
    wide = resize(maps, (maps.shape[1], width), axes=(1, 2))
    if maps.shape[1] == height:
        for start in range(0, height, BAND):
            yield start, np.moveaxis(wide[:, start : start + BAND], 1, 0)
        return
    rows_first = np.ascontiguousarray(np.moveaxis(wide, 1, 0))
    yield from _resized(rows_first, height, len(rows_first), "bilinear", "triangle", "edge")


def _resized(
    values: NDArray[Any],
    after: int,
    length: float,
    interpolation: Interpolation,
    antialias: Antialias,
    border: Border,
) -> Iterator[tuple[int, Floats]]:
    """The first axis resized, some of its entries at a time: the first, and (rows, ...)."""
    before = len(values)
    kind = (interpolation, antialias, border)
    for start, first, weights in _bands(before, length, after, *kind):
        used = np.flatnonzero(weights.any(axis=0))  # few of many where nothing is smoothed
        block = values[first + used].astype(np.float32, copy=False)
        yield start, np.tensordot(weights[:, used], block, axes=1)


def _bands(
    before: int,
    length: float,
    after: int,
    interpolation: Interpolation,
    antialias: Antialias,
    border: Border,
) -> Iterator[tuple[int, int, Floats]]:
    """The (after, before) matrix of one axis, as blocks of rows without the zeros beside them.

    length: of the `before` pixels, what is covered. Gives (row, column, block): where the block
    (rows, columns) float32 lies.
    """
    factor = length / after
    kernel, reach = KERNELS[interpolation]
    shrinks = factor > 1 and interpolation != "nearest"
    stretch = factor if shrinks and antialias == "triangle" else 1.0
    sigma = (factor - 1) / 2 if shrinks and antialias == "gaussian" else 0.0
    centres = (np.arange(after) + 0.5) * factor - 0.5
    if interpolation == "nearest":
        # The sum, step by step, is Pillow's: its rounding decides on which side a centre falls that
        # lies on the line between two pixels.
        steps = np.full(after, factor)
        steps[0] /= 2
        centres = np.minimum(np.floor(np.cumsum(steps)), before - 1)
    rows = min(4096, max(1, round((BAND if factor > 1 else MORE) / factor)))
    for start in range(0, after, rows):
        centre = centres[start : start + rows]
        first = math.floor(centre[0] - reach * stretch)
        last = math.ceil(centre[-1] + reach * stretch)
        block = kernel((np.arange(first, last + 1) - centre[:, None]) / stretch)
        if antialias == "triangle" and border == "edge":
            first, block = _folded(first, block, before, "zero")
        block /= block.sum(axis=1, keepdims=True)
        first, block = _folded(first, block, before, border)
        if sigma:
            first, block = _blurred(first, block, sigma)
            first, block = _folded(first, block, before, border)
        yield start, first, block.astype(np.float32)


def _folded(
    first: int, block: NDArray[np.float64], length: int, border: Border
) -> tuple[int, NDArray[np.float64]]:
    """The columns of 0..length - 1 alone; those beyond go to the edge, or weigh nothing."""
    last = first + block.shape[1]
    before, beyond = max(0, -first), max(0, last - length)
    inside = block[:, before : block.shape[1] - beyond].copy()
    if border == "edge":
        inside[:, 0] += block[:, :before].sum(axis=1)
        inside[:, -1] += block[:, block.shape[1] - beyond :].sum(axis=1)
    return max(0, first), inside


def _blurred(
    first: int, block: NDArray[np.float64], sigma: float
) -> tuple[int, NDArray[np.float64]]:
    """The weights on a picture of weights on the same picture blurred by a Gaussian."""
    radius = int(TRUNCATE * sigma + 0.5)
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    gaussian /= gaussian.sum()
    wide = np.zeros((block.shape[0], block.shape[1] + 2 * radius))
    for column, weights in enumerate(block.T):
        wide[:, column : column + 2 * radius + 1] += weights[:, None] * gaussian
    return first - radius, wide


def _same(distance: Distances) -> Distances:
    return np.where(distance == 0, 1.0, 0.0)


def _linear(distance: Distances) -> Distances:
    return np.where(np.abs(distance) < 1, 1 - np.abs(distance), 0.0)


def _cubic(distance: Distances, a: float = -0.5) -> Distances:
    """Keys 1981, equation 15, with a = -0.5, which keeps quadratics."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


KERNELS: dict[str, tuple[Callable[[Distances], Distances], float]] = {  # and how far each reaches
    "nearest": (_same, 0.0),
    "bilinear": (_linear, 1.0),
    "bicubic": (_cubic, 2.0),
}
