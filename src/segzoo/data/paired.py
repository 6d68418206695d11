"""A data set of pictures and label files that lie beside each other: what most readers return."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, PictureError, UnsafeFormatError, printable
from segzoo.pictures import codec, labels
from segzoo.pictures.codec import Picture
from segzoo.pictures.metadata import UPRIGHT
from segzoo.pictures.stored import LOSSY, Stored, read_colours, read_labels

__all__ = [
    "Pair",
    "Paired",
    "Reading",
    "notes_of_pair",
    "part_of_dataset",
    "read_image",
    "read_mask",
    "read_pixels",
    "read_sample",
]

Labels: TypeAlias = NDArray[Any]
Source: TypeAlias = str | bytes  # a file, or its content

MASK = "mask: "  # what stands before its notes
TURNED = (
    "the picture is turned upright by its EXIF orientation and its mask is not, though their size "
    "would fit both ways: look whether the mask was drawn on the upright picture"
)


class Pair(NamedTuple):
    """The files of one sample. id: what names it; both paths are below the data set's folder."""

    id: str
    image: str
    target: str


class Reading(NamedTuple):
    """How the two files of a sample are read.

    in_colours: masks as (H, W, 3) colours, whatever way they are stored. channel: the one of a
    mask's file that is read. rough: values of masks need not be exact. peak: as of `pictures.read`.
    bands: how many measured bands pictures have; None where they are gray or colours. with_alpha:
    pictures always have their alpha, 255 where the file has none.
    """

    in_colours: bool = False
    channel: str = ""
    rough: bool = False
    peak: float | None = None
    bands: int | None = None
    with_alpha: bool = False


PLAIN = Reading()


class Paired:
    """Pictures and label files, read when they are asked for.

    folder: what the paths of the pairs are relative to; the pairs keep no more than that.
    target: makes (H, W) class indices of the values that a label file stores
        (`segzoo.stored.read_labels`); by default they are the indices.
    notes: what a person should know of the set as a whole. files: that say what all masks mean.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        pairs: Sequence[Pair],
        *,
        info: Info,
        target: Callable[[Labels], Labels] | None = None,
        reading: Reading = PLAIN,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.folder = os.fsdecode(folder)
        self.pairs = pairs
        self.info = info
        self.target = labels.gray if target is None else target
        self.reading = reading
        self.notes = notes
        self.files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def files_at(self, index: int) -> tuple[str, str]:
        """The picture and the mask of a sample."""
        pair = self.pairs[index]
        return os.path.join(self.folder, pair.image), os.path.join(self.folder, pair.target)

    def __getitem__(self, index: int) -> Sample:
        return self.read(*self.files_at(index), self.pairs[index].id)

    def read(self, image: str, mask: str, id: str) -> Sample:
        """The sample of two files, as this set means them."""
        return read_sample(image, mask, id=id, target=self.target, reading=self.reading)


def read_sample(
    image: Source,
    mask: Source,
    *,
    id: str,
    target: Callable[[Labels], Labels],
    reading: Reading,
    names: tuple[str, str] = ("", ""),
) -> Sample:
    """A sample of two files, or of their contents, with the notes of both.

    target: class indices of the values that a mask stores. names: of the two in errors, where they
    are contents. DatasetError says which file it is about.
    """
    names = (names[0] or _name(image), names[1] or _name(mask))
    with part_of_dataset(names[0]):
        picture, pixels = read_pixels(image, reading)
    indices, stored = read_mask(mask, target=target, reading=reading, name=names[1])
    sample = Sample(image=pixels, target=indices, id=id)
    if notes := notes_of_pair(picture, stored, reading):
        sample["notes"] = notes
    return sample


def read_mask(
    mask: Source, *, target: Callable[[Labels], Labels], reading: Reading, name: str
) -> tuple[Labels, Stored]:
    """What `target` makes of the values that a mask stores, and these. name: in errors."""
    with part_of_dataset(name):
        if reading.in_colours:
            stored = read_colours(mask)
        else:
            stored = read_labels(mask, channel=reading.channel)
    try:
        return target(stored.values), stored
    except DatasetError as error:
        error.file = name
        raise stored.advised(error) from None


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
    except UnsafeFormatError as error:
        error.file = file or error.file
        raise


def read_image(source: str | os.PathLike[str] | bytes) -> NDArray[np.uint8]:
    """A picture as a sample holds it: (H, W, 3) RGB, or (H, W, 4) where some of it is transparent.

    PictureError as `pictures.read` raises it.
    """
    return read_pixels(source, PLAIN)[1]


def read_pixels(
    source: str | os.PathLike[str] | bytes | NDArray[Any], reading: Reading
) -> tuple[Picture, NDArray[np.uint8]]:
    """A picture, and what a sample holds of it: its bands, or (H, W, 3) RGB, or with its alpha.

    The alpha is there where some of the picture is transparent, or where it is asked for always.
    PictureError as `pictures.read` raises it, and for another number of bands.
    """
    picture = codec.read(source, peak=reading.peak, bands=reading.bands is not None)
    image, alpha = picture.image, picture.alpha
    if reading.bands is not None and image.shape[2] != reading.bands:
        raise PictureError(
            "the picture has another number of bands",
            file=source if isinstance(source, str | os.PathLike) else "",
            found=str(image.shape[2]),
            expected=f"bands={reading.bands}",
        )
    if reading.with_alpha and alpha is None:
        alpha = np.full(image.shape[:2], 255, np.uint8)
    if alpha is None or (alpha.min() == 255 and not reading.with_alpha):
        return picture, image
    return picture, np.concatenate([image, alpha[..., None]], axis=2)


def _name(source: Source) -> str:
    return printable(source) if isinstance(source, str) else ""


def notes_of_pair(picture: Picture, stored: Stored, reading: Reading) -> tuple[str, ...]:
    """What a person should know of a sample, a line each."""
    notes = [*picture.notes, *(MASK + note for note in stored.notes)]
    if stored.lossy and not reading.rough:
        notes.append(MASK + LOSSY)
    exchanged = picture.turned in UPRIGHT and UPRIGHT[picture.turned][0]
    height, width = picture.image.shape[:2]
    if picture.turned not in (1, stored.turned) and (height == width or not exchanged):
        notes.append(TURNED)
    return tuple(notes)
