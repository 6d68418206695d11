"""Mean and spread of a data set's pictures, for recipes that normalise by them."""

import numpy as np

from segzoo.data.loader import as_channels
from segzoo.data.sample import Dataset, checked
from segzoo.errors import DatasetError
from segzoo.spec import Preprocess

__all__ = ["mean_and_std"]

LEAST = 1e-3  # of a set of pictures that are all alike


def mean_and_std(
    dataset: Dataset, preprocess: Preprocess, in_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, over all pixels at the pictures' own sizes, in the units of `rescale`.

    DatasetError for an empty set.
    """
    count = 0
    total, squares = np.zeros(in_channels), np.zeros(in_channels)
    for index in range(len(dataset)):
        image = as_channels(checked(dataset[index])["image"], preprocess, in_channels)
        values = image.reshape(-1, in_channels).astype(np.float64)
        if preprocess.rescale == "255":
            values /= 255
        elif preprocess.rescale == "image_max":
            values /= max(values.max(), 1)
        count += len(values)
        total += values.sum(0)
        squares += (values**2).sum(0)
    if not count:
        raise DatasetError("the data set is empty", expected="pictures to take a mean of")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, LEAST**2))
    return tuple(map(float, mean)), tuple(map(float, std))
