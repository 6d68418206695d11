"""How often each picture of a set is to be seen, so that no kind of them is rare.

A kind is: in colours or without, and bright or dark. A network that sees a kind in one picture of
fifty has learnt the others by the time that is there; by the root of how many there are, a kind of
2 % becomes one of about 10 %, while the most frequent one stays that.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.data.sample import Dataset, checked

__all__ = ["MOST", "PictureKind", "copies_of", "kind_of_picture"]

MOST = 8  # times: a picture that is alone of its kind may be a fault
HALF = 128  # of 0..255: the middle pixel of a bright picture has more


class PictureKind(NamedTuple):
    colours: bool
    bright: bool

    @property
    def words(self) -> str:
        return f"{'bright' if self.bright else 'dark'} {'in colours' if self.colours else 'gray'}"


def kind_of_picture(image: NDArray[np.uint8]) -> PictureKind:
    """The kind of a picture (H, W, C); transparency is no colour, and measured bands are none."""
    shown = image[..., :3] if image.shape[2] in (3, 4) else image
    colours = image.shape[2] in (3, 4) and bool((shown != shown[..., :1]).any())
    return PictureKind(colours, float(np.median(shown)) >= HALF)


def copies_of(dataset: Dataset) -> list[int]:
    """How often each sample is there, so that its kind has the root of its share: 1 to MOST.

    Every picture is read once.
    """
    kinds = [kind_of_picture(checked(dataset[number])["image"]) for number in range(len(dataset))]
    count = Counter(kinds)
    most = max(count.values(), default=1)
    return [min(MOST, round(math.sqrt(most / count[kind]))) for kind in kinds]
