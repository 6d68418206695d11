"""What happens to a picture on its way to a mask: it is read, the network runs, it is finished.

    Read -> Ran -> Prediction

At each stage a picture may get an error of its own instead, a `SegzooError` that is given and not
raised. What is raised concerns every picture: settings that do not fit, say.
"""

import copy
import dataclasses
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.errors import (
    DataError,
    PictureError,
    PictureTooLargeError,
    PluginError,
    SegzooError,
    printable,
)
from segzoo.pictures import codec
from segzoo.pictures.codec import Picture
from segzoo.predict.network import Network
from segzoo.predict.prediction import Prediction
from segzoo.predict.preprocess import Geometry, Maps, enough, mask_of, prepare
from segzoo.predict.tiling import Grid
from segzoo.predict.windows import AtOnce, in_windows

__all__ = ["Ran", "Read", "Source", "Stages"]

Source: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
PICTURES = (str, os.PathLike, bytes, Image.Image, np.ndarray)  # the same, for isinstance


@dataclass(frozen=True, eq=False)
class Read:
    """A decoded picture that waits for the network.

    name: of its file, as messages show it; empty when it has none. x: the network's input,
    (C, h, w).
    """

    name: str
    picture: Picture
    geometry: Geometry
    x: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        return self.picture.image.nbytes + self.x.nbytes


@dataclass(frozen=True, eq=False)
class Ran:
    """A picture that the network has seen.

    maps: of each head the logits (K, h', w'), which geometry brings back to the picture; or, when
    it is None, the probabilities (K, H, W) of the picture that its windows gave.
    """

    name: str
    picture: Picture
    maps: tuple[NDArray[np.float32], ...]
    geometry: Geometry | None

    @property
    def nbytes(self) -> int:
        return self.picture.image.nbytes + sum(maps.nbytes for maps in self.maps)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages for one network; `stream.stream` says when and in which thread each is called.

    grid: the windows in which a picture of a size is run, or None. batch_size: of windows.
    classes: of the predictions. smaller_windows: what to try when memory runs out for a picture of
    a size; smaller: what a person can do then.
    pixels: whether the predictions' pictures are wanted too, and not only what is found in them.
    """

    network: Network
    in_channels: int
    classes: tuple[str, ...]
    batch_size: int
    max_pixels: int
    grid: Callable[[int, int], Grid | None]
    smaller_windows: Callable[[int, int], Iterable[tuple[int, Grid]]]
    smaller: Callable[[int, int], str]
    pixels: bool = True

    def read(self, source: object) -> Read | SegzooError:
        """Decode a `Source` and prepare it. Anything else is an error too."""
        if not isinstance(source, PICTURES):
            return PictureError(
                "this is not a picture",
                found=type(source).__name__,
                expected="a path, bytes, a PIL image or a numpy array",
            )
        name = printable(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else ""
        preprocess = self.network.preprocess
        try:
            picture = codec.read(
                source,
                max_pixels=self.max_pixels,
                peak=preprocess.peak,
                bands=preprocess.mode == "bands",
                enough=None if self.pixels else enough(preprocess),
            )
            x, geometry = prepare(picture, preprocess, self.in_channels)
        except (DataError, PluginError) as error:
            return _of_its_own(error, name)
        except MemoryError:
            return self._too_large("it was read", name)
        return Read(name, picture, geometry, x)

    def together(self, read: Read) -> Hashable | None:
        """What pictures that can run together have in common; None for one that runs alone."""
        return None if self._grid(read) else read.x.shape

    def run(self, batch: Sequence[Read]) -> list[Ran | SegzooError]:
        """Run the network for one picture that runs alone, or for some that run together.

        A batch that does not fit the device is halved, again and again.
        """
        try:
            if grid := self._grid(batch[0]):
                return [self._in_windows(batch[0], grid)]
            outputs = self.network.logits(np.stack([read.x for read in batch]))
        except PluginError as error:
            return [_of_its_own(error, read.name) for read in batch]
        except MemoryError:
            if len(batch) > 1:
                half = len(batch) // 2
                return self.run(batch[:half]) + self.run(batch[half:])
            return [self._in_smaller_windows(batch[0])]
        return [
            Ran(read.name, read.picture, tuple(output[n] for output in outputs), read.geometry)
            for n, read in enumerate(batch)
        ]

    def finish(self, ran: Ran) -> Prediction | SegzooError:
        """Masks at the picture's size."""
        try:
            final, *heads = (self._prediction(ran, maps) for maps in self._heads(ran))
        except PluginError as error:
            return _of_its_own(error, ran.name)
        except MemoryError:
            return self._too_large("its mask was made", ran.name)
        return dataclasses.replace(final, heads=tuple(heads))

    def _too_large(
        self, when: str, name: str, next_step: str = "Make the picture smaller"
    ) -> PictureTooLargeError:
        """Memory has run out for a picture, or for what the model makes of every one."""
        if self.network.preprocess.size is not None:
            height, width = self.network.preprocess.size
            next_step = f"It is the model that makes {height}x{width} of every picture"
        return PictureTooLargeError(f"memory ran out while {when}", file=name, next_step=next_step)

    def _grid(self, read: Read) -> Grid | None:
        return self.grid(*read.geometry.picture)

    def _in_windows(self, read: Read, grid: Grid, note: str = "") -> Ran:
        at_once = AtOnce(self.batch_size)
        maps = in_windows(self.network, read.x, grid, at_once)
        notes = (*read.picture.notes, *([note] if note else []), *at_once.notes)
        return Ran(read.name, dataclasses.replace(read.picture, notes=notes), maps, None)

    def _in_smaller_windows(self, read: Read) -> Ran | SegzooError:
        """A picture for which memory was not enough, in windows for which it is; which is said."""
        for tile, grid in self.smaller_windows(*read.geometry.picture):
            note = f"memory ran out, so it was run in windows (tile={tile})"
            try:
                return self._in_windows(read, grid, note)
            except PluginError as error:
                return _of_its_own(error, read.name)
            except MemoryError:
                continue
        next_step = self.smaller(*read.geometry.picture)
        return self._too_large("the network ran", read.name, next_step)

    def _heads(self, ran: Ran) -> Iterator[Maps | NDArray[np.float32]]:
        """What each head's probabilities are made of, or these."""
        for maps in ran.maps:
            if ran.geometry is None:
                yield maps
            else:
                yield self.network.maps(maps, ran.geometry, self.network.postprocess)

    def _prediction(self, ran: Ran, maps: Maps | NDArray[np.float32]) -> Prediction:
        if isinstance(maps, Maps):
            mask = maps.mask()
        else:
            mask = mask_of(maps, self.network.postprocess)
        return Prediction(mask, maps, ran.picture, self.classes)


def _of_its_own(error: SegzooError, name: str) -> SegzooError:
    """The error as this picture's: those that run together would share one."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.file = error.file or name
    return own
