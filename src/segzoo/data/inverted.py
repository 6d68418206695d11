"""A data set with the inverted pictures beside its own: what was bright is dark, the answer stays.

To measure whether a network minds which side of a picture is the bright one, where the pictures at
hand are nearly all of one kind.
"""

from collections.abc import Sequence

from segzoo.data.sample import Dataset, Info, Sample, info_of, notes_of
from segzoo.data.source import common_files, files_at, id_of

__all__ = ["Inverted"]


class Inverted:
    """The samples of a data set, then the same once more with their pictures inverted."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def info(self) -> Info:
        return info_of(self.dataset)

    @property
    def notes(self) -> tuple[str, ...]:
        return notes_of(self.dataset)

    @property
    def files(self) -> Sequence[str]:
        return common_files(self.dataset)

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

    def id_of(self, index: int) -> str:
        again, number = divmod(index, len(self.dataset))
        return id_of(self.dataset, number) + ", inverted" * again

    def files_at(self, index: int) -> Sequence[str]:
        return files_at(self.dataset, index % len(self.dataset))
