"""A picture and its mask for the card and the page: the caller's, or one of ours, which is CC0."""

import os
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.model.loaded import Model
from segzoo.pictures import codec
from segzoo.pictures.resample import resize
from segzoo.predict import outputs
from segzoo.report.panels import sheet

__all__ = ["Example", "example_of"]

HEIGHT = 384  # pixels of the pictures on the preview
LONGEST = 1024  # pixels of the example's longer side
OURS = "cat.jpg"  # beside this file; demo/ORIGIN.md says where it is from
TITLE = "A cat"
TERMS = "The picture is CC0 by its photographer, Stefan van der Walt."


class Example(NamedTuple):
    """Files' contents: the picture (JPEG), its mask (PNG), and both beside each other (JPEG).

    title: what it shows. terms: its licence in a sentence; empty for the caller's.
    """

    picture: bytes
    mask: bytes
    preview: bytes
    title: str = ""
    terms: str = ""


def example_of(model: Model, picture: str | os.PathLike[str] | None) -> Example | None:
    """What a model makes of a picture; None where there is none that says anything of it.

    Without one, weights that find what stands out in a photo are shown ours. The picture is encoded
    anew: nothing else of its file is published.
    """
    if picture is not None:
        return _example(model, os.fspath(picture))
    if model.task != "saliency" or model.preprocess.mode != "RGB" or model.in_channels != 3:
        return None
    ours = files(__package__).joinpath(OURS).read_bytes()
    return _example(model, ours)._replace(title=TITLE, terms=TERMS)


def _example(model: Model, source: str | bytes) -> Example:
    found = model.predict(source)
    image = codec.flatten(found.picture)
    if found.num_classes == 1:
        mask = np.repeat(found.mask[..., None], 3, axis=2)
    else:
        mask = outputs.color(found, model.palette).image
    both = sheet([(image, mask)], titles=("picture", "mask"), height=HEIGHT)
    image, mask = _fitted(image, "bilinear"), _fitted(mask, "nearest")
    jpeg = [codec.encode(each, format="JPEG") for each in (image, both)]
    return Example(jpeg[0], codec.encode(mask), jpeg[1])


def _fitted(
    image: NDArray[np.uint8], interpolation: Literal["bilinear", "nearest"]
) -> NDArray[np.uint8]:
    """The picture, no longer than LONGEST."""
    height, width = image.shape[:2]
    factor = LONGEST / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(height * factor)), max(1, round(width * factor))
    smaller = resize(image, size, axes=(0, 1), interpolation=interpolation)
    fitted: NDArray[np.uint8] = np.clip(np.rint(smaller), 0, 255).astype(np.uint8)
    return fitted
