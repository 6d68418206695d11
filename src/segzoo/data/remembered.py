"""A data set whose samples stay in memory once they were read, as far as there is room.

Thirteen pictures of 0.3 megapixels were decoded 600 times each in ten minutes of training, which
took a third of them.
"""

from typing import Any

from segzoo.data.sample import Dataset, Sample
from segzoo.data.source import Over

__all__ = ["Remembered"]

ARRAYS = ("image", "target", "weight")


class Remembered(Over):
    """The samples of a data set that gives the same ones each time.

    most: bytes that are kept; what comes when they are used up is read each time.
    """

    def __init__(self, dataset: Dataset, most: int) -> None:
        super().__init__(dataset)
        self.room = most
        self.kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        """The caller's own: it may change the arrays."""
        if index not in self.kept:
            sample = self.dataset[index]
            size = sum(getattr(sample.get(name), "nbytes", 0) for name in ARRAYS)
            if size > self.room:
                return sample
            self.room -= size
            self.kept[index] = sample
        kept: Any = self.kept[index]
        own: Any = {name: kept[name].copy() for name in ARRAYS if name in kept}
        found: Sample = kept | own
        return found
