"""How much each pixel counts, computed from its target.

"border" is equation 2 of U-Net: Convolutional networks for biomedical image segmentation
(Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, section 3), which makes a network learn the
narrow gaps between cells that touch:

    w(x) = wc(x) + w0 * exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

d1 and d2 are the distances in pixels to the nearest and the second nearest cell, 0 inside a cell.
The paper leaves wc open: here it is what balances the classes of one target.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.data.named import Kind, faults_of, filled
from segzoo.errors import DependencyMissingError, UsageError
from segzoo.spec import Named, Option

__all__ = ["PIXEL_WEIGHTS", "pixel_weight"]

Labels: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]

# Where d1 + d2 is more sigmas than this, exp(-x^2 / 2) is below 1e-10: nothing in float32.
REACH = 7.0


def pixel_weight(named: Named, *, num_classes: int) -> Callable[[Labels], Floats]:
    """The function of a recipe's `pixel_weight`: a target -> its weights (H, W) float32.

    A target is (H, W) class indices, or (K, H, W) maps of 0 and 1 where classes overlap. Values
    that are no class, the ignored index among them, weigh 0. num_classes: as the network's, 1 for
    targets of 0 and 1. UsageError lists what is wrong with the name and its options;
    DependencyMissingError.
    """
    name, options = named
    if faults := faults_of(name, options, PIXEL_WEIGHTS, "a pixel weight"):
        raise UsageError("pixel_weight: " + "; ".join(faults))
    kind = PIXEL_WEIGHTS[name]
    if kind.function is border:
        _ndimage()  # say that it is missing now, not in the middle of an epoch
    return partial(kind.function, num_classes=max(num_classes, 2), **filled(options, kind))


def balanced(target: Labels, *, num_classes: int) -> Floats:
    """Weights by which each class that is there counts as much as any other; their mean is 1.

    A pixel of a class with the share f of the pixels weighs 1 / (f * number of classes there). Maps
    that overlap are foreground, where any of them is 1, and background.
    """
    if target.ndim == 3:
        target, num_classes = np.any(target, axis=0).astype(np.uint8), 2
    counts = np.array([np.count_nonzero(target == k) for k in range(num_classes)])
    there = counts > 0
    weight = np.zeros(target.shape, np.float32)
    for k in np.flatnonzero(there):
        weight[target == k] = counts.sum() / (counts[k] * there.sum())
    return weight


def border(
    target: Labels, *, num_classes: int, w0: float, sigma: float, everywhere: bool, balance: bool
) -> Floats:
    """Equation 2. A cell is one connected piece of a class other than 0, as `_cells` finds them.

    everywhere: add the border term inside the cells too, as the paper states it. balance: wc as
    `balanced` has it, else 1. With fewer than two cells the border term is 0.
    """
    first, second = _two_nearest(target, num_classes, math.ceil(REACH * sigma))
    weight: Floats = w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))
    if not everywhere:
        weight[first == 0] = 0
    weight += balanced(target, num_classes=num_classes) if balance else 1
    if target.ndim == 2:
        weight[(target < 0) | (target >= num_classes)] = 0
    return weight


def _two_nearest(target: Labels, num_classes: int, reach: int) -> tuple[Floats, Floats]:
    """(H, W) distances to the nearest and the second nearest cell; infinite beyond `reach`.

    Each cell's distances are computed in its own surroundings alone, and the two smallest are kept:
    the memory does not grow with the number of cells.
    """
    distances = _ndimage().distance_transform_edt
    first, second = np.full((2, *target.shape[-2:]), np.inf, np.float32)
    for window, cell in _cells(target, num_classes, reach):
        distance = distances(~cell).astype(np.float32)
        nearest, runner_up = first[window], second[window]
        np.minimum(runner_up, np.maximum(nearest, distance), out=runner_up)
        np.minimum(nearest, distance, out=nearest)
    return first, second


def _cells(
    target: Labels, num_classes: int, reach: int
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Every cell in a window that reaches so many pixels beyond it.

    Pixels that touch at a corner alone are two cells: the thin lines that part cells run diagonally
    too.
    """
    ndimage = _ndimage()
    maps = target if target.ndim == 3 else (target == k for k in range(1, num_classes))
    for foreground in maps:
        pieces, _ = ndimage.label(foreground)
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
            window = (
                slice(max(0, rows.start - reach), rows.stop + reach),
                slice(max(0, columns.start - reach), columns.stop + reach),
            )
            yield window, pieces[window] == number


def _ndimage() -> Any:
    try:
        from scipy import ndimage
    except ImportError as error:
        raise DependencyMissingError(
            "the border weights need scipy", next_step="Run: pip install 'segzoo-core[train]'"
        ) from error
    return ndimage


PIXEL_WEIGHTS: Mapping[str, Kind] = MappingProxyType(
    {
        "balanced": Kind("Each class that is there counts as much as any other.", {}, balanced),
        "border": Kind(
            "Gaps between cells count more (Ronneberger et al. 2015, equation 2).",
            {
                "w0": Option(default=10.0, min=0, help="the weight where two cells touch"),
                "sigma": Option(default=5.0, min=0.1, max=1000, help="its width in pixels"),
                "everywhere": Option(default=True, help="inside the cells too, as in the paper"),
                "balance": Option(default=True, help="add what balances the classes, else add 1"),
            },
            border,
        ),
    }
)
