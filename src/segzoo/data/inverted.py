"""A data set with the inverted pictures beside its own: what was bright is dark, the answer stays.

To measure whether a network minds which side of a picture is the bright one, where the pictures at
hand are nearly all of one kind.
"""

from segzoo.data.sample import Sample
from segzoo.data.source import Over

__all__ = ["Inverted"]


class Inverted(Over):
    """The samples of a data set, then the same once more with their pictures inverted."""

    def __len__(self) -> int:
        return 2 * len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        again, number = divmod(index, len(self.dataset))
        sample = self.dataset[number]
        if not again:
            return sample
        image = sample["image"]
        alpha = image.shape[2] == 4 and self.info.bands is None
        inverted = 255 - image
        if alpha:
            inverted[..., 3] = image[..., 3]
        return sample | {"image": inverted, "id": f"{sample['id']}, inverted"}

    def number(self, index: int) -> int:
        return index % len(self.dataset)

    def id_of(self, index: int) -> str:
        return super().id_of(index) + ", inverted" * (index // len(self.dataset))
