"""Pixels moved to other places: where each comes from, and how pictures and labels are read there.

A source is a (2, H, W) float32 tensor: the row and the column, in pixels and fractions of them,
that a pixel of the result is taken from. Beyond the border a picture goes on as its mirror image
about the edge pixels, which are not repeated.
"""

from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

__all__ = ["Size", "affine", "displacements", "identity", "interpolated", "nearest", "window"]

Size: TypeAlias = tuple[int, int]


def identity(size: Size) -> Tensor:
    """The source that leaves every pixel where it is."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in size)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def affine(
    size: Size,
    *,
    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1, 0), (0, 1)),
    shift: tuple[float, float] = (0, 0),
) -> Tensor:
    """The source of a picture that is moved down and right by `shift` pixels.

    matrix: what takes a pixel's (row, column) from the centre to those of its source.
    """
    centre = (torch.tensor(size, dtype=torch.float32) - 1)[:, None, None] / 2
    moved = identity(size) - centre - torch.tensor(shift, dtype=torch.float32)[:, None, None]
    return torch.einsum("ij,jhw->ihw", torch.tensor(matrix, dtype=torch.float32), moved) + centre


def window(size: Size, *, corner: Size, inside: Size) -> Tensor:
    """The source of a window, from its top left `corner` on, enlarged from `inside` to `size`."""
    steps = [part / whole for part, whole in zip(inside, size, strict=True)]
    source = identity(size)
    for axis, (first, step) in enumerate(zip(corner, steps, strict=True)):
        source[axis] = (source[axis] + 0.5) * step - 0.5 + first
    return source


def displacements(size: Size, vectors: Tensor) -> Tensor:
    """Vectors on a coarse grid (2, n, n) -> a vector for every pixel, (2, H, W), by cubics.

    The grid's outer nodes lie on the centres of the picture's corner pixels (torch's
    `align_corners`), so that the picture is spanned and the field equals each vector at its node.
    The cubic is Keys' with torch's a = -0.75; beyond the grid its outer nodes are repeated.
    """
    return interpolate(vectors[None], size, mode="bicubic", align_corners=True)[0]


def interpolated(image: Tensor, source: Tensor) -> Tensor:
    """(C, H, W) uint8 read at `source` between its pixels, bilinearly; beyond them mirrored."""
    places = [
        _mirrored(at, side) * (2 / max(side - 1, 1)) - 1
        for at, side in zip(source, image.shape[1:], strict=True)
    ]
    grid = torch.stack(places[::-1], dim=-1)[None]  # columns first, -1..1 from edge to edge
    values = grid_sample(image[None].float(), grid, padding_mode="border", align_corners=True)[0]
    return values.round_().to(torch.uint8)


def nearest(values: Tensor, source: Tensor, *, beyond: int | None = None) -> Tensor:
    """(..., H, W) read at the pixel that is nearest to `source`; outside it is `beyond`.

    beyond: None goes on mirrored, as a picture does.
    """
    sides = values.shape[-2:]
    rows, columns = (
        _mirrored(at, side).round().long() for at, side in zip(source, sides, strict=True)
    )
    moved = values[..., rows, columns]
    if beyond is not None:
        (y, x), (height, width) = source, sides
        inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
        moved = moved.masked_fill(~inside, beyond)
    return moved


def _mirrored(at: Tensor, side: int) -> Tensor:
    """Places on an endless row of pixels and their mirror images -> places in 0..side - 1."""
    distance = at.abs() % max(2 * (side - 1), 1)
    return torch.minimum(distance, 2 * (side - 1) - distance).clamp_(min=0)
