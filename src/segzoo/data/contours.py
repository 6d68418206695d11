"""Polygons around the pixels of a mask, on the lines between pixels.

Each piece of a mask, of pixels that touch at their sides, is one polygon. A hole is cut out by a
seam of no width, which leads to it from the outline and back, because the formats that polygons are
written in have no holes. Without a tolerance the polygons hold exactly the mask's pixels.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["polygons_around"]

Side: TypeAlias = tuple[tuple[int, int], int]  # where it begins, and which way
Points: TypeAlias = NDArray[np.float64]  # (N, 2) of x and y

# Of the sides of a pixel, walked with the pixel on the right: where each begins, and its step.
STARTS = ((0, 0), (1, 0), (1, 1), (0, 1))  # its top, right, bottom and left side
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
DOWN, UP = 1, 3  # walked along a right side, along a left side


class _Loop(NamedTuple):
    """A closed line around a piece, or around a hole in one. corners: (N, 2) whole x and y.

    leftmost: (x, y) of a side that is walked downwards as far to the left as any.
    """

    corners: NDArray[np.int64]
    hole: bool
    leftmost: tuple[int, int]


def polygons_around(mask: NDArray[np.bool_], *, tolerance: float = 0.0) -> list[Points]:
    """A polygon (N, 2) of x and y for each piece of a mask (H, W), in no certain order.

    tolerance: how far a line may leave the border of the pixels, in pixels; with 0.5 the stairs of
    a slanting border become a line.
    """
    loops, left_sides = _loops(mask)
    holes: dict[int, list[Points]] = {n: [] for n, loop in enumerate(loops) if not loop.hole}
    for loop in loops:
        if loop.hole:
            holes[_piece_of(loop, loops, left_sides)].append(_simple(loop.corners, tolerance))
    return [_joined(_simple(loops[n].corners, tolerance), found) for n, found in holes.items()]


def _loops(mask: NDArray[np.bool_]) -> tuple[list[_Loop], dict[int, list[tuple[int, int]]]]:
    """All closed lines; and in each row the left sides of pixels, as x and the line's number."""
    sides = _sides(mask)
    left_sides: dict[int, list[tuple[int, int]]] = {}
    loops: list[_Loop] = []
    for start in [*sides]:
        if start not in sides:
            continue
        (x, y), way = start
        corners: list[tuple[int, int]] = []
        area, leftmost = 0, (mask.shape[1] + 1, 0)
        before = -1
        while ((x, y), way) in sides:
            sides.remove(((x, y), way))
            if way != before:
                corners.append((x, y))
            if way == DOWN:
                leftmost = min(leftmost, (x, y))
                area += x
            elif way == UP:
                left_sides.setdefault(y - 1, []).append((x, len(loops)))
                area -= x
            before = way
            x, y = x + STEPS[way][0], y + STEPS[way][1]
            # to the right first: where pixels touch at a corner alone, a line stays with its own
            for way in ((before + 1) % 4, before, (before + 3) % 4):
                if ((x, y), way) in sides or ((x, y), way) == start:
                    break
        if before == start[1]:
            del corners[0]  # it begins within a straight line
        loops.append(_Loop(np.array(corners), area < 0, leftmost))
    return loops, left_sides


def _sides(mask: NDArray[np.bool_]) -> set[Side]:
    """Each side of a pixel of the mask with none of it beyond."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    found: set[Side] = set()
    for way, (outside, (dx, dy)) in enumerate(zip(beyond, STARTS, strict=True)):
        rows, columns = np.nonzero(inside & ~outside)
        starts = zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True)
        found.update((start, way) for start in starts)
    return found


def _piece_of(hole: _Loop, loops: list[_Loop], left_sides: dict[int, list[tuple[int, int]]]) -> int:
    """The number of the line around the piece that a hole is in.

    To the left of a hole's leftmost side are pixels of its piece, up to a left side: of the line
    around the piece, or of another hole, which begins further to the left.
    """
    while True:
        x, y = hole.leftmost
        _, number = max(side for side in left_sides[y] if side[0] < x)
        if not loops[number].hole:
            return number
        hole = loops[number]


def _joined(outline: Points, holes: list[Points]) -> Points:
    """One polygon: from the nearest corner to each hole, around it, and back."""
    for hole in sorted(holes, key=lambda points: float(points[:, 0].min())):
        distances = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.roll(hole, -int(there), axis=0)
        outline = np.concatenate([outline[: here + 1], around, around[:1], outline[here:]])
    return outline


def _simple(corners: NDArray[np.int64], tolerance: float) -> Points:
    """The corners that are needed: Douglas and Peucker 1973, on the two halves of the loop.

    All of them where fewer than three would be left.
    """
    points = corners.astype(np.float64)
    if tolerance <= 0 or len(points) < 5:
        return points
    far = int(((points - points[0]) ** 2).sum(axis=1).argmax())
    closed = np.concatenate([points, points[:1]])
    halves = (0, far), (far, len(points))
    kept = {0, far, *(n for half in halves for n in _needed(closed, *half, tolerance))}
    return points[sorted(kept)] if len(kept) > 2 else points


def _needed(points: Points, first: int, last: int, tolerance: float) -> Iterator[int]:
    """The points between two that lie off the line by more than the tolerance, one by one."""
    waiting = [(first, last)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        start, along = points[first], points[last] - points[first]
        offset = points[first + 1 : last] - start
        length = float(np.hypot(*along))
        if length:
            at = np.clip(offset @ along / length**2, 0, 1)[:, None] * along
            distances = np.hypot(*(offset - at).T)
        else:
            distances = np.hypot(*offset.T)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            yield middle
            waiting += [(first, middle), (middle, last)]
