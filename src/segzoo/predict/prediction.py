"""What a model sees in one picture."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.pictures.codec import Picture
from segzoo.pictures.labels import default_classes
from segzoo.predict.preprocess import NO_CLASS, Maps

__all__ = ["Prediction"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model sees in one picture, at the picture's upright size (H, W).

    mask: (H, W) uint8. One class: 255 where the probability is above the threshold, else 0; several
        classes: the index of the class, or `preprocess.NO_CLASS` where a threshold rejects all.
    maps: what `probability` is made of: logits that are brought to the picture's size when it is
        first asked for, or the probabilities, (K, H, W) or (H, W), themselves.
    picture: the decoded picture, upright, with its notes (a first frame, a reduced depth).
    classes: a name per class, or empty.
    heads: the same of every side output, when asked for.
    """

    mask: NDArray[np.uint8]
    maps: Maps | NDArray[np.float32] = field(repr=False)
    picture: Picture = field(repr=False)
    classes: tuple[str, ...] = ()
    heads: tuple["Prediction", ...] = field(default=(), repr=False)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """(H, W) float32 for one class, (K, H, W) for several, in 0..1."""
        likely = self.maps.probability() if isinstance(self.maps, Maps) else self.maps
        return likely[0] if likely.ndim == 3 and len(likely) == 1 else likely

    def rows(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The probabilities, some rows at a time: the first row, and (K, rows, W), for K = 1 too.

        Of a large picture that takes a few megabytes, where `probability` takes four bytes a pixel.
        """
        if isinstance(self.maps, Maps):
            yield from self.maps.rows()
        else:
            yield 0, self.maps if self.maps.ndim == 3 else self.maps[None]

    @property
    def num_classes(self) -> int:
        if isinstance(self.maps, Maps):
            return self.maps.num_classes
        return 1 if self.maps.ndim == 2 else len(self.maps)

    @property
    def background(self) -> int | None:
        """Which of several classes is the background: the one named so; class 0 if none has a name.

        None with one class, and where other names alone are given.
        """
        if self.num_classes == 1:
            return None
        names = [name.strip("_ ").lower() for name in self.classes or ("background",)]
        return names.index("background") if "background" in names else None

    @property
    def found(self) -> NDArray[np.bool_]:
        """(H, W) True where the mask has something else than background."""
        if self.num_classes == 1:
            return self.mask > 0
        nothing = (NO_CLASS, self.background)
        return ~np.isin(self.mask, [value for value in nothing if value is not None])

    @property
    def present(self) -> dict[str, int]:
        """Pixels of each class that is in the mask, by the class's name or else its index.

        One class: the pixels of its foreground, under its name or "foreground".
        """
        names = self.classes or default_classes(self.num_classes)
        counts = Image.fromarray(self.mask).histogram()  # a quarter of bincount's time
        if self.num_classes == 1:
            counts = counts[255:]
        return {name: int(n) for name, n in zip(names, counts, strict=False) if n}
