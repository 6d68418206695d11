"""Polygons and runs as masks. A pixel is of a polygon when its centre lies inside.

Polygons are drawn by pycocotools, whose corners are rounded to a fifth of a pixel; corners on whole
numbers lie between pixels, so that (0, 0), (2, 0), (2, 2), (0, 2) is four pixels. A circle is a
polygon of many corners.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.errors import DependencyMissingError

__all__ = [
    "Polygon",
    "Runs",
    "drawing_library",
    "ellipse",
    "mask_of_runs",
    "polygon_of",
    "polygons_filled",
    "rectangle",
    "runs_of",
]

Polygon: TypeAlias = "array[float]"  # x, y, x, y, ... in pixels
Runs: TypeAlias = "array[int] | bytes"  # lengths, or COCO's packed form of them

FAR = 2  # times the size of the picture: from there on, no corner of a polygon can be meant


def polygon_of(numbers: Sequence[float]) -> Polygon:
    """x, y, x, y, ... as a polygon. ValueError for fewer than three points, and for no numbers."""
    if len(numbers) % 2 or len(numbers) < 6:
        raise ValueError(f"a polygon of {count_of(len(numbers) / 2, 'point')}")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a point that is nowhere")
    return array("d", numbers)


def rectangle(
    left: float, top: float, right: float, bottom: float, degrees: float = 0.0
) -> Polygon:
    """A box, turned about its middle, clockwise as it is seen."""
    x, y = (left + right) / 2, (top + bottom) / 2
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return polygon_of(_turned(x, y, [(cx - x, cy - y) for cx, cy in corners], degrees))


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Polygon:
    """An ellipse, or a circle, as a polygon whose sides are about a pixel long."""
    radius = max(abs(rx), abs(ry))
    if not math.isfinite(radius):
        raise ValueError("a radius that is no number")
    count = min(max(16, round(2 * math.pi * radius)), 720)
    angles = [2 * math.pi * n / count for n in range(count)]
    return polygon_of(
        _turned(x, y, [(rx * math.cos(a), ry * math.sin(a)) for a in angles], degrees)
    )


def _turned(
    x: float, y: float, around: Sequence[tuple[float, float]], degrees: float
) -> list[float]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = ((x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in around)
    return [value for point in turned for value in point]


def polygons_filled(polygons: Sequence[Polygon], height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) of the pixels of any of the polygons. ValueError for one that leads far out."""
    if not polygons:
        return np.zeros((height, width), np.bool_)
    for polygon in polygons:
        points = np.frombuffer(polygon).reshape(-1, 2)
        # pycocotools follows every line pixel by pixel, wherever it leads
        if not (np.abs(points) <= (FAR * width, FAR * height)).all():
            raise ValueError("a polygon leads far out of the picture")
    coco = drawing_library("outlines")
    runs = coco.merge(coco.frPyObjects([*polygons], height, width))
    return mask_of_runs(runs["counts"], height, width)  # its decode warns under numpy 2


def mask_of_runs(runs: Runs, height: int, width: int) -> NDArray[np.bool_]:
    """Runs of 0, 1, 0, ... down the columns, one after the other, as a mask.

    pycocotools leaves pixels as the memory was when runs end too early; here they must fill it:
    ValueError.
    """
    counts = _counts(runs) if isinstance(runs, bytes) else runs.tolist()
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"runs of {sum(counts)} pixels, of {height * width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """The lengths of runs of 0, 1, 0, ... down the columns: what `mask_of_runs` makes a mask of."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff([0, *ends.tolist(), len(flat)]).tolist()
    return [0, *lengths] if flat[0] else lengths


def _counts(text: bytes) -> list[int]:
    """The lengths of runs in COCO's compressed form (maskApi.c, rleFrString).

    Characters hold 5 bits each, the lowest first, above them a bit that says that more follow; from
    the fourth on, a length is told as the difference from the one two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError("a character that no run is written with")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("runs that are cut short")
    return counts


def drawing_library(reader: str) -> Any:
    """pycocotools.mask. DependencyMissingError, which says who needs it."""
    try:
        import pycocotools.mask
    except ImportError as error:
        raise DependencyMissingError(
            f"the reader '{reader}' needs pycocotools",
            next_step="Run: pip install 'segzoo-core[data]'",
        ) from error
    return pycocotools.mask
