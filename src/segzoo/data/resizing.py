"""A sample at another size, picture and masks together, by the rules of a Preprocess.

It is `segzoo.pictures.resample.resize` on arrays of uint8, whose results are rounded. Bilinear, the
common rule, goes through torch's own kernel for uint8, which agrees with it within one level.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from segzoo.data.sample import Sample
from segzoo.pictures.resample import Size, resize
from segzoo.spec import Preprocess

__all__ = ["resize_sample"]

Bytes = NDArray[np.uint8]


def resize_sample(sample: Sample, size: Size | None, preprocess: Preprocess) -> Sample:
    """The sample stretched to `size`; as it is when it has that size already, or without one.

    The picture is resized by the interpolation, antialias and border of `preprocess` and rounded;
    target by nearest (Pillow's), so that it keeps its values; weight bilinearly.
    """
    before = sample["image"].shape[:2]
    if size is None or before == tuple(size):
        return sample
    target = sample["target"]
    for axis in (0, 1):
        target = target.take(_nearest(before[axis], size[axis]), axis=axis - 2)
    image = _resized(sample["image"], size, preprocess)
    resized: Sample = sample | {"image": image, "target": target}
    if "weight" in sample:
        resized["weight"] = resize(sample["weight"], size, axes=(0, 1))
    return resized


def _nearest(before: int, after: int) -> NDArray[np.intp]:
    """Which of `before` places each of `after` comes from, by the sum that Pillow rounds."""
    steps = np.full(after, before / after)
    steps[0] /= 2
    return np.minimum(np.cumsum(steps).astype(np.intp), before - 1)


def _resized(image: Bytes, size: Size, preprocess: Preprocess) -> Bytes:
    interpolation, border = preprocess.interpolation, preprocess.border
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    antialias = preprocess.antialias if shrinks else "none"
    if interpolation == "bilinear" and (antialias, border) in TORCH:
        # [None] by torch, not by numpy, whose stride of 0 for it hides from the kernel that
        # channels lie last in memory: a fifth of the time.
        x = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
        y = interpolate(x, tuple(size), mode="bilinear", antialias=antialias == "triangle")
        result: Bytes = y[0].permute(1, 2, 0).numpy()
        return _faded(result, image.shape[:2]) if border == "zero" else result
    values = resize(
        image,
        size,
        axes=(0, 1),
        interpolation=interpolation,
        antialias=preprocess.antialias,
        border=border,
    )
    rounded: Bytes = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


TORCH = {("none", "edge"), ("none", "zero"), ("triangle", "edge")}  # antialias and border


def _faded(image: Bytes, before: tuple[Any, ...]) -> Bytes:
    """What `image`, bilinear with the edge pixel beyond the border, is with zero there.

    Rows and columns whose centre lies beyond the outermost centres of the picture before, which
    growing makes, get that much less of it; changed in place.
    """
    down, across = (_shares(old, new) for old, new in zip(before, image.shape, strict=False))
    rows, columns = down < 1, across < 1
    image[rows] = np.rint(image[rows] * (down[rows, None] * across)[..., None])
    inner = np.ix_(~rows, columns)
    image[inner] = np.rint(image[inner] * across[columns, None])
    return image


def _shares(before: int, after: int) -> NDArray[np.float64]:
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    beyond: NDArray[np.float64] = np.maximum(-centres, centres - (before - 1))
    return 1 - np.maximum(0, beyond)
