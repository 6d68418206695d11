"""A data set that has been opened: its words, its samples, and what they say of themselves."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from segzoo.data.check import classes_of
from segzoo.data.sample import Dataset, Info, Sample, Stream, checked, info_of, notes_of
from segzoo.data.source import Part, open_data

__all__ = ["Data", "opened"]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set and what is known of it; its first sample is decoded once, when it is asked for.

    words: by which it was opened (reader:path?option=value); None for an object of the caller's.
    """

    dataset: Dataset
    words: str | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def name(self) -> str:
        """What a person knows it by."""
        return type(self.dataset).__name__ if self.words is None else self.words

    @cached_property
    def info(self) -> Info:
        return info_of(self.dataset)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it as a whole."""
        return notes_of(self.dataset)

    @cached_property
    def first(self) -> Sample:
        """DatasetError for something that is not a sample."""
        return checked(self.dataset[0])

    @property
    def overlaps(self) -> bool:
        """Whether targets have a map per class, as the first one tells."""
        return self.first["target"].ndim == 3

    @property
    def classes(self) -> int | None:
        """How many classes there are, where the data set knows."""
        return classes_of(self.info) or (len(self.first["target"]) if self.overlaps else None)

    @property
    def bands(self) -> int | None:
        """How many measured bands the pictures have; None where they are gray or colours.

        Pictures of another number of channels than these have say it by themselves.
        """
        count = int(self.first["image"].shape[2])
        return self.info.bands or (count if count not in (1, 3, 4) else None)

    def over(self, dataset: Dataset) -> Self:
        """The same data from elsewhere, from a cache for example."""
        return dataclasses.replace(self, dataset=dataset)


def opened(given: str | Dataset, *, part: Part) -> Data | Stream:
    """The data that a caller names or has; of words that part their set, the given part.

    A stream, whose samples have no numbers, is given back as it is. Errors of `open_data`.
    """
    dataset = open_data(given, part=part) if isinstance(given, str) else given
    if not isinstance(dataset, Dataset):
        return dataset
    return Data(dataset, given if isinstance(given, str) else None)
