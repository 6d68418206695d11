"""Clean edges of a cut-out: how opaque the pixels at its border are, and their colour alone.

A network sees a picture small, so its map is blurred at the picture's own size, and a border pixel
is a mixture of the subject and of what was behind it. Both are mended here from the colours nearby:

opacity: a mixture I = a F + (1 - a) B lies on the line between the colours of the subject and of
    the background; a is where on that line it is. On a small copy F and B are means over the sure
    pixels nearby; what this gives counts as far as the two colours differ and the pixel is near
    their line, else the map does. Around each pixel a is then a linear function of the colour, as
    in closed-form matting (Levin, Lischinski, Weiss 2008) and the guided filter (He, Sun, Tang
    2010); its coefficients are fitted on the small copy and applied to the picture's own pixels
    (He, Sun 2015, arXiv:1505.00996).
colour: F of each soft pixel, by the multi-level method of Germer, Uelwer, Conrad, Harmeling 2020,
    "Fast multi-level foreground estimation", arXiv:2006.14970, solved on a small copy; what is left
    of the mixture at the picture's own size is then added.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["foreground", "refined"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BACKGROUND, FOREGROUND = 0.03, 0.95  # a map below and above is sure
SMALL = 320  # pixels of the longer side of the small copy: about what networks see
REACHES = (1, 2, 4, 8, 24)  # in pixels of the small copy, tried one after the other
NEAR = 8  # of them: the widest edge
ENOUGH = 0.05  # of a window that is sure, for its mean to be believed alone
CONTRAST = 0.005  # squared distance of colours (0 to 1 each) at which they count half
GUESSED, DOUBTED = 0.3, 0.02  # weights beside the 1 of sure pixels
WINDOW, SMOOTH = 3, 1e-5  # of the local lines: reach, and what variance of colours is noise
WIDE, VAGUE = 6, (0.7, 0.95)  # where so much of a window is soft, the map has no edge to be mended
ROWS = 256  # computed at once, so that memory does not grow with the picture
FEW_ROWS = 32  # of the small copy, where each pixel takes hundreds of bytes
LEAST = 1e-6
# Germer et al., section 3: how alike neighbours are, and how much more where alpha changes.
ALIKE, ALIKE_AT_EDGES = 1e-5, 1.0
COARSE, COARSE_STEPS, STEPS = 32, 10, 12  # ours are taken at once, so there are more


def refined(image: Bytes, opacity: Floats) -> Floats:
    """The opacity (H, W), from 0 to 1, at the edges that the picture (H, W, 3) has.

    Where it is surely 0 or 1 it becomes so; a map without one of both is left as it is.
    """
    soft = (opacity >= BACKGROUND) & (opacity <= FOREGROUND)
    small, low = _small(image), _resized(opacity, _small_size(opacity.shape))
    sure = (low > FOREGROUND, low < BACKGROUND)
    if not soft.any() or not all(region.any() for region in sure):
        return opacity
    lines = _local_lines(small, *_first_guess(small, low, sure))
    result = np.where(soft, opacity, (opacity > FOREGROUND).astype(np.float32))
    for rows in _bands(len(image)):
        there = soft[rows]
        if there.any():
            line = _rows_of(lines, image.shape, rows)[there]
            pixels = image[rows][there] / np.float32(255)
            result[rows][there] = np.clip((line[:, :3] * pixels).sum(-1) + line[:, 3], 0, 1)
    return result


def foreground(image: Bytes, opacity: Floats) -> Bytes:
    """The picture (H, W, 3) with the colours of its subject alone where the opacity is soft."""
    soft = (opacity > 0) & (opacity < 1)
    if not soft.any():
        return image
    size = _small_size(opacity.shape)
    subject, behind = _unmixed(_small(image), _resized(opacity, size))
    result = image.copy()
    for rows in _bands(len(image)):
        there = soft[rows]
        if not there.any():
            continue
        f, b = (_rows_of(colours, image.shape, rows)[there] for colours in (subject, behind))
        a = opacity[rows][there][:, None]
        pixels = image[rows][there] / np.float32(255)
        colours = np.clip(f + a * (pixels - a * f - (1 - a) * b), 0, 1)
        result[rows][there] = np.rint(colours * 255).astype(np.uint8)
    return result


def _first_guess(
    image: Floats, opacity: Floats, sure: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> tuple[Floats, Floats]:
    """The opacity (h, w) by the line between the colours nearby, and how much to believe it."""
    (subject, _), (behind, near) = (_spread(image, region) for region in sure)
    known = sure[0] | sure[1]
    vague = _box_mean((~known).astype(np.float32)[..., None], WIDE)[..., 0]
    # An edge has background beside it: what is far from any is a doubt within the subject.
    clear = np.clip((VAGUE[1] - vague) / (VAGUE[1] - VAGUE[0]), 0, 1) * near
    line = subject - behind
    length = (line * line).sum(-1)
    a = np.clip(((image - behind) * line).sum(-1) / np.maximum(length, LEAST), 0, 1)
    off = ((image - behind - a[..., None] * line) ** 2).sum(-1)
    trust = clear * length / (length + CONTRAST) * np.exp(-off / (0.05 * length + 1e-4))
    guess = np.where(known, sure[0], trust * a + (1 - trust) * opacity)
    weight = np.where(known, 1, GUESSED * trust + DOUBTED)
    return guess.astype(np.float32), weight.astype(np.float32)


def _local_lines(image: Floats, opacity: Floats, weight: Floats) -> Floats:
    """(h, w, 4) What to multiply red, green and blue by, and to add, for the opacity around each.

    By weighted least squares in each window, then the mean over the windows that a pixel is in.
    """
    products = [image[..., i] * image[..., j] for i in range(3) for j in range(i, 3)]
    planes = [np.ones_like(opacity), *np.moveaxis(image, -1, 0), *products]
    planes += [opacity, *(opacity * plane for plane in np.moveaxis(image, -1, 0))]
    sums = _box_mean(np.stack(planes, -1) * weight[..., None], WINDOW)
    fitted = np.concatenate([_lines_of(sums[rows]) for rows in _bands(len(sums), FEW_ROWS)])
    shared = _box_mean(fitted, WINDOW)
    return shared[..., :4] / shared[..., 4:]


def _lines_of(sums: Floats) -> Floats:
    """(h, w, 5) The line of each window by its weighted sums, and its weight, times that weight."""
    total = np.maximum(sums[..., :1], LEAST).astype(np.float64)
    means = sums[..., 1:] / total
    colour, squares, mean, mixed = np.split(means, [3, 9, 10], axis=-1)
    covariance = squares[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    covariance = covariance - colour[..., None] * colour[..., None, :] + SMOOTH * np.eye(3)
    slope = np.linalg.solve(covariance, (mixed - mean * colour)[..., None])[..., 0]
    height = mean - (slope * colour).sum(-1, keepdims=True)
    fitted = np.concatenate([slope, height, np.ones_like(height)], -1) * total
    result: Floats = fitted.astype(np.float32)
    return result


def _unmixed(image: Floats, opacity: Floats) -> tuple[Floats, Floats]:
    """Colours (h, w, 3) of subject and background whose mixtures are the picture, and smooth."""
    height, width = opacity.shape
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    f, b = (
        (image[region].mean(0) if region.any() else image.mean((0, 1)))[None, None]
        for region in (opacity > 0.9, opacity < 0.1)
    )
    for level in range(levels + 1):
        size = (round(height ** (level / levels)), round(width ** (level / levels)))
        whole, a = _resized(image, size), _resized(opacity, size)
        f, b = _nearest(f, size), _nearest(b, size)
        bonds = [ALIKE + ALIKE_AT_EDGES * np.abs(a - other) for other in _neighbours(a)]
        total = sum(bonds[1:], bonds[0])
        ff, bb, fb = a * a + total, (1 - a) ** 2 + total, a * (1 - a)
        scale = (1 / (ff * bb - fb * fb))[..., None]
        of_f, of_b = a[..., None] * whole, (1 - a)[..., None] * whole
        for _ in range(COARSE_STEPS if max(size) <= COARSE else STEPS):
            right_f, right_b = of_f.copy(), of_b.copy()
            for bond, near_f, near_b in zip(bonds, _neighbours(f), _neighbours(b), strict=True):
                right_f += bond[..., None] * near_f
                right_b += bond[..., None] * near_b
            f = np.clip((bb[..., None] * right_f - fb[..., None] * right_b) * scale, 0, 1)
            b = np.clip((ff[..., None] * right_b - fb[..., None] * right_f) * scale, 0, 1)
    return f, b


def _spread(image: Floats, sure: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(h, w, 3) The mean colour of the sure pixels around each, as near as there are enough.

    Also (h, w), from 0 to 1, how far there are enough within NEAR.
    """
    weight = sure.astype(np.float32)
    weighed: Floats = np.dstack([image * weight[..., None], weight])
    result: Floats = np.zeros_like(image)
    missing: Floats = np.ones(sure.shape, np.float32)
    near = missing
    for reach in REACHES:
        sums = _box_mean(weighed, reach)
        share = np.minimum(sums[..., 3] / ENOUGH, 1) * missing
        result += sums[..., :3] / np.maximum(sums[..., 3:], LEAST) * share[..., None]
        missing = missing - share
        near = missing if reach <= NEAR else near
    everywhere: Floats = image[sure].mean(0)
    result += everywhere * missing[..., None]
    return result, 1 - near


def _box_mean(values: Floats, reach: int) -> Floats:
    """The mean of (h, w, C) values over the square around each, as much of it as there is."""
    result = np.empty_like(values)
    for c in range(values.shape[2]):  # one after the other: sums are twice as wide as values
        plane = values[..., c]
        for axis in (0, 1):
            length = plane.shape[axis]
            places = np.arange(length)
            ends, begins = np.minimum(places + reach + 1, length), np.maximum(places - reach, 0)
            sums = np.zeros([n + (a == axis) for a, n in enumerate(plane.shape)])
            np.cumsum(plane, axis=axis, out=sums[1:] if axis == 0 else sums[:, 1:])
            parts = sums.take(ends, axis) - sums.take(begins, axis)
            counts = (ends - begins).reshape((-1, 1) if axis == 0 else (1, -1))
            plane = np.asarray(parts / counts, np.float32)
        result[..., c] = plane
    return result


def _small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    shrink = min(1.0, SMALL / max(shape[:2]))
    return max(1, round(shape[0] * shrink)), max(1, round(shape[1] * shrink))


def _small(image: Bytes) -> Floats:
    """(h, w, 3) The picture from 0 to 1, its longer side at most SMALL."""
    size = _small_size(image.shape)
    small = Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _resized(values: Floats, size: tuple[int, int]) -> Floats:
    """(H, W) or (H, W, C) values averaged to another size."""
    if values.shape[:2] == size:
        return values
    return _each_plane(values, size, Image.Resampling.BOX, None)


def _rows_of(small: Floats, shape: tuple[int, ...], rows: slice) -> Floats:
    """Rows of the small map at the picture's size, bilinearly: those of the whole, if cut."""
    scale = small.shape[0] / shape[0]
    box = (0.0, rows.start * scale, float(small.shape[1]), rows.stop * scale)
    size = (rows.stop - rows.start, shape[1])
    return _each_plane(small, size, Image.Resampling.BILINEAR, box)


def _each_plane(values: Floats, size: tuple[int, int], how: Any, box: Any) -> Floats:
    planes = np.moveaxis(values, -1, 0) if values.ndim == 3 else values[None]
    made = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], how, box))
        for plane in planes
    ]
    result: Floats = np.stack(made, -1) if values.ndim == 3 else made[0]
    return result


def _nearest(values: Floats, size: tuple[int, int]) -> Floats:
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, values.shape, strict=False))
    result: Floats = values[rows][:, columns]
    return result


def _neighbours(values: Floats) -> Iterator[Floats]:
    """The values above, below, left and right of each; at the border a pixel is its own."""
    padded = np.pad(values, ((1, 1), (1, 1), *[(0, 0)] * (values.ndim - 2)), mode="edge")
    yield padded[:-2, 1:-1]
    yield padded[2:, 1:-1]
    yield padded[1:-1, :-2]
    yield padded[1:-1, 2:]


def _bands(height: int, rows: int = ROWS) -> Iterator[slice]:
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
