"""A data set of pictures and label files that lie beside each other: what most readers return."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, PictureError, printable
from segzoo.pictures import codec, labels

__all__ = ["Pair", "Paired", "part_of_dataset", "read_image"]

Labels: TypeAlias = NDArray[Any]


class Pair(NamedTuple):
    """The files of one sample. id: what names it; both paths are below the data set's folder."""

    id: str
    image: str
    target: str


class Paired:
    """Pictures and label files, read when they are asked for.

    folder: what the paths of the pairs are relative to; the pairs keep no more than that.
    target: makes (H, W) class indices of the values that a label file stores
        (`pictures.read_values`); by default they are the indices.
    in_colours: label files are read as (H, W, 3) colours instead, whatever way they are stored.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        pairs: Sequence[Pair],
        *,
        info: Info,
        target: Callable[[Labels], Labels] | None = None,
        in_colours: bool = False,
    ) -> None:
        self.folder = os.fsdecode(folder)
        self.pairs = pairs
        self.info = info
        self.target = labels.gray if target is None else target
        self.in_colours = in_colours

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        path = os.path.join(self.folder, pair.target)
        with part_of_dataset():
            image = read_image(os.path.join(self.folder, pair.image))
            values = read_image(path) if self.in_colours else codec.read_values(path)
        try:
            if self.in_colours and values.shape[2] != 3:
                raise DatasetError("the mask is transparent in parts", expected="opaque colours")
            target = self.target(values)
        except DatasetError as error:
            error.file = printable(path)
            raise
        return Sample(image=image, target=target, id=pair.id)


@contextlib.contextmanager
def part_of_dataset(file: str = "") -> Iterator[None]:
    """What is wrong with a picture inside, as a DatasetError, about `file` where one is given."""
    try:
        yield
    except PictureError as error:
        raise DatasetError(
            error.problem,
            file=file or error.file,
            found=error.found,
            expected=error.expected,
            next_step=error.next_step,
        ) from error


def read_image(source: str | os.PathLike[str] | bytes) -> NDArray[np.uint8]:
    """A picture as a sample holds it: (H, W, 3) RGB, or (H, W, 4) where some of it is transparent.

    PictureError as `pictures.read` raises it.
    """
    picture = codec.read(source)
    if picture.alpha is None or picture.alpha.min() == 255:
        return picture.image
    return np.concatenate([picture.image, picture.alpha[..., None]], axis=2)
