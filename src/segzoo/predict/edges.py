"""Clean edges of a cut-out: how opaque the pixels at its border are, and their colour alone.

A network sees a picture small, so its map is blurred at the picture's own size, and a border pixel
is a mixture of the subject and of what was behind it. Both are mended here from the colours nearby:

opacity: a mixture I = a F + (1 - a) B lies on the line between the colours of the subject and of
    the background; a is where on that line it is. On a small copy F and B are means over the sure
    pixels nearby; what this gives counts as far as the two colours differ and the pixel is near
    their line, else the map does. Around each pixel a is then a linear function of the colour, as
    in closed-form matting (Levin, Lischinski, Weiss 2008) and the guided filter (He, Sun, Tang
    2010); its coefficients are fitted on the small copy, again and again to what they gave, and
    applied to the picture's own pixels (He, Sun 2015, arXiv:1505.00996).
colour: F of each soft pixel, by the multi-level method of Germer, Uelwer, Conrad, Harmeling 2020,
    "Fast multi-level foreground estimation", arXiv:2006.14970, solved on a small copy; what is left
    of the mixture at the picture's own size is then added.

What is computed on the small copy has its planes first, (C, h, w): numpy is quick along long rows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["foreground", "refined"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BACKGROUND, FOREGROUND = 0.04, 0.94  # a map below and above is sure
# Pixels of the small copy's longer side, for the opacity and for the colours: about what networks
# see. A larger one takes more time, and of the opacity it knew less: an edge is wide then.
OPACITY_SIDE, COLOUR_SIDE = 240, 320
REACHES = (1, 2, 4, 8, 24)  # in pixels of the small copy, tried one after the other
NEAR = 8  # of them: the widest edge
ENOUGH = 0.05  # of a window that is sure, for its mean to be believed alone
CONTRAST = 0.005  # squared distance of colours (0 to 1 each) at which they count half
WINDOW, SMOOTH = 3, 1e-6  # of the local lines: reach, and what variance of colours is noise
FITTED = 7  # times; thin strokes still gain by the last
NONE, ALL = 0.02, 0.98  # what the small copy gives below and above is one side alone
WIDE, VAGUE = 6, (0.7, 0.95)  # where so much of a window is soft, the map has no edge to be mended
ROWS = 256  # computed at once, so that memory does not grow with the picture
FEW_PLANES = 4  # summed together: sums are twice as wide as values
CACHED_ROWS = 16  # of sums, which stay in the processor's cache
LEAST = 1e-6
# Germer et al., section 3: how alike neighbours are, and how much more where alpha changes.
ALIKE, ALIKE_AT_EDGES = 1e-5, 1.0
COARSE, COARSE_STEPS, STEPS = 32, 10, 12  # ours are taken at once, so there are more


def refined(image: Bytes, opacity: Floats) -> Floats:
    """The opacity (H, W), from 0 to 1, at the edges that the picture (H, W, 3) has.

    Where it is surely 0 or 1 it becomes so; a map without one of both is left as it is.
    """
    soft = (opacity >= BACKGROUND) & (opacity <= FOREGROUND)
    small, low = _smaller(image, opacity, OPACITY_SIDE)
    sure = (low > FOREGROUND, low < BACKGROUND)
    if not soft.any() or not all(region.any() for region in sure):
        return opacity
    lines = _local_lines(small, _first_guess(small, low, sure), sure)
    result = np.where(soft, opacity, (opacity > FOREGROUND).astype(np.float32))
    for rows in _bands(len(image)):
        there = soft[rows]
        if there.any():
            line = _rows_of(lines, image.shape, rows)[:, there]
            found = (line[:3] * _colours_at(image[rows], there)).sum(0) + line[3]
            found[line[4] < NONE], found[line[4] > ALL] = 0, 1
            result[rows][there] = np.clip(found, 0, 1)
    return result


def foreground(image: Bytes, opacity: Floats) -> Bytes:
    """The picture (H, W, 3) with the colours of its subject alone where the opacity is soft."""
    soft = (opacity > 0) & (opacity < 1)
    if not soft.any():
        return image
    subject, behind = _unmixed(*_smaller(image, opacity, COLOUR_SIDE))
    result = image.copy()
    for rows in _bands(len(image)):
        there = soft[rows]
        if not there.any():
            continue
        f, b = (_rows_of(colours, image.shape, rows)[:, there] for colours in (subject, behind))
        a = opacity[rows][there]
        pixels = _colours_at(image[rows], there)
        colours = np.clip(f + a * (pixels - a * f - (1 - a) * b), 0, 1)
        result[rows][there] = np.rint(colours * 255).astype(np.uint8).T
    return result


def _colours_at(image: Bytes, there: NDArray[np.bool_]) -> Floats:
    """(3, n) The colours of some pixels, from 0 to 1."""
    return np.ascontiguousarray(image[there].T, np.float32) / np.float32(255)


def _first_guess(
    image: Floats, opacity: Floats, sure: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> Floats:
    """The opacity (h, w) by the line between the colours nearby, as far as that is to be believed.

    Else it is the map's.
    """
    unsure = ~(sure[0] | sure[1])
    (subject, _), (behind, near) = (_spread(image, region, unsure) for region in sure)
    vague = _box_mean(unsure.astype(np.float32)[None], WIDE)[0, unsure]
    # An edge has background beside it: what is far from any is a doubt within the subject.
    clear = np.clip((VAGUE[1] - vague) / (VAGUE[1] - VAGUE[0]), 0, 1) * near
    line, pixels = subject - behind, image[:, unsure] - behind
    length = (line * line).sum(0)
    a = np.clip((pixels * line).sum(0) / np.maximum(length, LEAST), 0, 1)
    off = ((pixels - a * line) ** 2).sum(0)
    trust = clear * length / (length + CONTRAST) * np.exp(-off / (0.05 * length + 1e-4))
    guess = sure[0].astype(np.float32)
    guess[unsure] = trust * a + (1 - trust) * opacity[unsure]
    return guess


def _local_lines(
    image: Floats, opacity: Floats, sure: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> Floats:
    """(5, h, w) What to multiply red, green and blue by, and to add, for the opacity around each.

    By least squares in each window, then the mean over the windows that a pixel is in; fitted to
    `opacity`, then to what that gave beside the sure pixels. The last plane is what it came to.
    """
    colour, inverse = _colours_around(image)
    for _ in range(FITTED):
        mean, *mixed = _box_mean(np.stack([opacity, *(opacity * image)]), WINDOW)
        slope = np.einsum("hwij,jhw->ihw", inverse, mixed - mean * colour)
        height = mean - (slope * colour).sum(0)
        lines = _box_mean(np.stack([*slope, height]).astype(np.float32), WINDOW)
        found = np.clip((lines[:3] * image).sum(0) + lines[3], 0, 1)
        opacity = np.where(sure[0], np.float32(1), np.where(sure[1], np.float32(0), found))
    return np.stack([*lines, opacity])


def _colours_around(image: Floats) -> tuple[Floats, NDArray[np.float64]]:
    """Of each window the mean colour (3, h, w), and the inverse (h, w, 3, 3) of its covariance.

    Of gray pictures that is nearly singular, so it is in double precision.
    """
    products = [image[i] * image[j] for i in range(3) for j in range(i, 3)]
    means = _box_mean(np.stack([*image, *products]), WINDOW)
    colour, squares = means[:3], means[3:].astype(np.float64)
    covariance = squares[[[0, 1, 2], [1, 3, 4], [2, 4, 5]]] - colour[:, None] * colour
    covariance += SMOOTH * np.eye(3)[..., None, None]
    return colour, np.linalg.inv(np.ascontiguousarray(covariance.transpose(2, 3, 0, 1)))


def _unmixed(image: Floats, opacity: Floats) -> tuple[Floats, Floats]:
    """Colours (3, h, w) of subject and background whose mixtures are the picture, and smooth."""
    height, width = opacity.shape
    levels = max(1, int(np.ceil(np.log2(max(height, width)))))
    first = [_mean_of(image, region) for region in (opacity > 0.9, opacity < 0.1)]
    both = np.stack(first)[..., None, None]
    for level in range(levels + 1):
        size = (round(height ** (level / levels)), round(width ** (level / levels)))
        steps = COARSE_STEPS if max(size) <= COARSE else STEPS
        whole, a = _resized(image, size), _resized(opacity, size)
        both = _smoothed(_nearest(both, size), whole, a, steps)
    return both[0], both[1]


def _smoothed(both: Floats, image: Floats, opacity: Floats, steps: int) -> Floats:
    """(2, 3, h, w) The colours of subject and background after some steps towards a mixture.

    Each step solves, for every pixel alone, what its colours are beside those of its neighbours.
    """
    a = opacity
    bonds = [ALIKE + ALIKE_AT_EDGES * np.abs(a - other) for other in _neighbours(_padded(a))]
    total = sum(bonds[1:], bonds[0])
    ff, bb, fb = a * a + total, (1 - a) ** 2 + total, a * (1 - a)
    scale = 1 / (ff * bb - fb * fb)
    mixed = np.stack([a * image, (1 - a) * image])
    padded = _padded(both)
    inner = padded[..., 1:-1, 1:-1]
    right, near, cross = np.empty_like(mixed), np.empty_like(mixed), np.empty_like(image)
    own = np.stack([bb, ff])[:, None]
    for _ in range(steps):
        np.copyto(right, mixed)
        for bond, other in zip(bonds, _neighbours(padded), strict=True):
            np.multiply(bond, other, out=near)
            right += near
        np.multiply(own, right, out=near)
        for one, the_other in ((0, 1), (1, 0)):
            near[one] -= np.multiply(fb, right[the_other], out=cross)
        near *= scale
        np.clip(near, 0, 1, out=inner)
        _pad(padded)
    return inner


def _mean_of(image: Floats, region: NDArray[np.bool_]) -> Floats:
    """(3,) The mean colour of a region, or of everything where it is empty."""
    pixels = np.moveaxis(image, 0, -1)
    within = pixels[region] if region.any() else pixels.reshape(-1, 3)
    result: Floats = np.ascontiguousarray(within).mean(0)
    return result


def _spread(
    image: Floats, sure: NDArray[np.bool_], there: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """(3, n) The mean colour of the sure pixels around n others, as near as there are enough.

    Also (n,), from 0 to 1, how far there are enough within NEAR.
    """
    weight = sure.astype(np.float32)[None]
    weighed = np.concatenate([image * weight, weight])
    missing: Floats = np.ones(np.count_nonzero(there), np.float32)
    result: Floats = np.zeros((3, len(missing)), np.float32)
    near = missing
    for reach, sums in zip(REACHES, _box_means_at(weighed, REACHES, there), strict=True):
        share = np.minimum(sums[3] / ENOUGH, 1) * missing
        result += sums[:3] / np.maximum(sums[3], LEAST) * share
        missing = missing - share
        near = missing if reach <= NEAR else near
    result += _mean_of(image, sure)[:, None] * missing
    return result, 1 - near


def _box_mean(values: Floats, reach: int) -> Floats:
    """The mean of (C, h, w) values over the square around each, as much of it as there is."""
    result = np.empty_like(values)
    for first in range(0, len(values), FEW_PLANES):
        part = slice(first, first + FEW_PLANES)
        down = _means(_running(values[part].transpose(1, 0, 2), reach), reach, reach)
        across = _running(np.ascontiguousarray(down.transpose(2, 1, 0)), reach)
        result[part] = _means(across, reach, reach).transpose(1, 2, 0)
    return result


def _box_means_at(
    values: Floats, reaches: tuple[int, ...], there: NDArray[np.bool_]
) -> Iterator[Floats]:
    """(C, n) For each reach what `_box_mean` gives, at n places alone."""
    rows, columns = np.nonzero(there)
    margin = max(reaches)
    down = _running(values.transpose(1, 0, 2), margin)
    for reach in reaches:
        means = _means(down, margin, reach)
        across = _running(np.ascontiguousarray(means.transpose(2, 1, 0)), reach)
        ends, begins = across[columns + 2 * reach + 1, :, rows], across[columns, :, rows]
        counts = _counts(there.shape[1], reach)[columns]
        yield np.ascontiguousarray(((ends - begins) / counts[:, None]).T, np.float32)


def _running(values: Floats, margin: int) -> NDArray[np.float64]:
    """(n + 2 margin + 1, C, m) The sums along n before each place, also of places outside."""
    length = len(values)
    sums = np.zeros((length + 2 * margin + 1, *values.shape[1:]))
    for so_far, value, total in zip(sums[margin:], values, sums[margin + 1 :], strict=False):
        np.add(so_far, value, out=total)
    sums[length + margin + 1 :] = sums[length + margin]
    return sums


def _means(sums: NDArray[np.float64], margin: int, reach: int) -> Floats:
    """(n, C, m) By the sums of `_running`: the means over those up to `reach` before and after."""
    length = len(sums) - 2 * margin - 1
    ends, begins = sums[margin + reach + 1 :], sums[margin - reach :]
    counts = _counts(length, reach)[:, None, None]
    result = np.empty((length, *sums.shape[1:]), np.float32)
    for rows in _bands(length, CACHED_ROWS):
        result[rows] = (ends[rows] - begins[rows]) / counts[rows]
    return result


def _counts(length: int, reach: int) -> NDArray[np.float64]:
    """How many are up to `reach` before and after each of so many."""
    places = np.arange(length)
    ends, begins = np.minimum(places + reach + 1, length), np.maximum(places - reach, 0)
    return (ends - begins).astype(np.float64)


def _smaller(image: Bytes, opacity: Floats, side: int) -> tuple[Floats, Floats]:
    """The picture (3, h, w) from 0 to 1 and the opacity (h, w), the longer side at most `side`."""
    shrink = min(1.0, side / max(opacity.shape))
    height, width = (max(1, round(n * shrink)) for n in opacity.shape)
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    planes = np.ascontiguousarray(small.transpose(2, 0, 1), np.float32) / np.float32(255)
    return planes, _resized(opacity, (height, width))


def _resized(values: Floats, size: tuple[int, int]) -> Floats:
    """(H, W) or (C, H, W) values averaged to another size."""
    if values.shape[-2:] == size:
        return values
    return _each_plane(values, size, Image.Resampling.BOX, None)


def _rows_of(small: Floats, shape: tuple[int, ...], rows: slice) -> Floats:
    """Rows of small maps (C, h, w) at the picture's size, bilinearly: as the whole has them."""
    scale = small.shape[1] / shape[0]
    box = (0.0, rows.start * scale, float(small.shape[2]), rows.stop * scale)
    size = (rows.stop - rows.start, shape[1])
    return _each_plane(small, size, Image.Resampling.BILINEAR, box)


def _each_plane(values: Floats, size: tuple[int, int], how: Any, box: Any) -> Floats:
    planes = values if values.ndim == 3 else values[None]
    made = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], how, box))
        for plane in planes
    ]
    result: Floats = np.stack(made) if values.ndim == 3 else made[0]
    return result


def _nearest(values: Floats, size: tuple[int, int]) -> Floats:
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, values.shape[-2:], strict=True))
    result: Floats = values[..., rows, :][..., columns]
    return result


def _padded(values: Floats) -> Floats:
    """(..., h + 2, w + 2) Values with a border in which each pixel at the edge is once more."""
    height, width = values.shape[-2:]
    result = np.empty((*values.shape[:-2], height + 2, width + 2), values.dtype)
    result[..., 1:-1, 1:-1] = values
    _pad(result)
    return result


def _pad(padded: Floats) -> None:
    """Make the border anew."""
    padded[..., 0, 1:-1], padded[..., -1, 1:-1] = padded[..., 1, 1:-1], padded[..., -2, 1:-1]
    padded[..., 1:-1, 0], padded[..., 1:-1, -1] = padded[..., 1:-1, 1], padded[..., 1:-1, -2]


def _neighbours(padded: Floats) -> Iterator[Floats]:
    """Of padded values those above, below, left and right of each."""
    yield padded[..., :-2, 1:-1]
    yield padded[..., 2:, 1:-1]
    yield padded[..., 1:-1, :-2]
    yield padded[..., 1:-1, 2:]


def _bands(height: int, rows: int = ROWS) -> Iterator[slice]:
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))
