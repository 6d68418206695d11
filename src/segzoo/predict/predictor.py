"""From pictures to masks: how a model and a runtime are joined, and with which settings.

A `Predictor` joins a runtime (how the network is run) with what a model declares: its preprocess,
its postprocess and its classes. Many pictures go through `stream`, whose memory does not grow with
their number. A picture larger than a tile goes through the network in windows.
"""

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import PluginError, SegzooError, UsageError
from segzoo.pictures import codec
from segzoo.pictures.labels import Palette
from segzoo.pictures.resample import Size
from segzoo.predict import tiling
from segzoo.predict.network import Network, Runtime
from segzoo.predict.prediction import Prediction
from segzoo.predict.stages import Source, Stages
from segzoo.predict.stream import stream
from segzoo.predict.tiling import Grid
from segzoo.spec import Postprocess, Preprocess

__all__ = ["Predictor"]

S = TypeVar("S", bound=Source)

OWN_TILE = 1024  # pixels; the tile of a network whose windows give what the whole gives
SMALLER_TILES = (512, 256, 128)  # what is tried when memory is not enough, one after the other


@dataclass(frozen=True)
class Predictor:
    """Pictures -> masks through one network. Picklable when its runtime is.

    in_channels, num_classes, classes, palette: the network's. batch_size: how many pictures run
    together, at most. max_pixels: pictures with more are refused.
    tile: a picture larger than this, (H, W) or one number for both, is run in windows that answer
        for so many of its pixels. None: no picture is, but by a network with a margin for which
        it is measured to make no difference (`tiling.is_seamless`): then one above OWN_TILE.
    overlap: pixels that neighbouring windows share, at least. None: a quarter of the tile, or none
        where it makes no difference.
    """

    runtime: Runtime
    _: KW_ONLY
    preprocess: Preprocess
    postprocess: Postprocess
    in_channels: int
    num_classes: int
    classes: tuple[str, ...] = ()
    palette: Palette = ()
    batch_size: int = 8
    max_pixels: int = codec.MAX_PIXELS
    tile: int | Size | None = None
    overlap: int | Size | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("max_pixels", 1), ("tile", 1), ("overlap", 0)):
            value = getattr(self, name)
            if name in ("tile", "overlap") and not _is_size(value):
                raise UsageError(f"{name}={value!r} is neither a number of pixels nor (H, W)")
            if value is not None and min(_sides(value)) < least:
                raise UsageError(f"{name}={value} is below {least}")
        if self.tile is not None and self.preprocess.size is not None:
            height, width = self.preprocess.size
            raise UsageError(
                "tiles are for a network that takes pictures at their own size",
                found=f"one that sees every picture at {height}x{width}",
                next_step="Leave the tile (--tile) out",
            )
        if self.overlap is not None:
            if self.tile is None:
                raise UsageError(
                    f"overlap={self.overlap} is of tiles, and none is given",
                    next_step="Give tile (--tile) too",
                )
            if any(o >= t for o, t in zip(_sides(self.overlap), _sides(self.tile), strict=True)):
                raise UsageError(f"overlap={self.overlap} is not below tile={self.tile}")

    def grid(self, height: int, width: int) -> Grid | None:
        """The windows in which a picture of this size is run; None when it is run whole."""
        if self.preprocess.size is not None:
            return None
        tile = _sides(OWN_TILE if self.tile is None else self.tile)
        if height <= tile[0] and width <= tile[1]:
            return None
        if self.tile is None and not self._is_seamless:
            return None
        return self.windows(height, width)

    def windows(self, height: int, width: int) -> Grid:
        """The windows for a picture of this size, also where one is enough for all of it."""
        tile = _sides(OWN_TILE if self.tile is None else self.tile)
        if self.overlap is not None:
            overlap = _sides(self.overlap)
        elif self._is_seamless:
            overlap = (0, 0)
        else:
            overlap = (tile[0] // 4, tile[1] // 4)
        return Grid.of((height, width), self.preprocess, tile=tile, overlap=overlap)

    def smaller_windows(self, height: int, width: int) -> Iterator[tuple[int, Grid]]:
        """What to try when memory is not enough for a picture: a tile, and its windows.

        Nothing where a tile was asked for, or where the network sees no windows.
        """
        if self.tile is None and self.preprocess.size is None:
            for tile in SMALLER_TILES:
                if tile < max(height, width):
                    yield tile, dataclasses.replace(self, tile=tile).windows(height, width)

    @cached_property
    def _is_seamless(self) -> bool:
        """As `tiling.is_seamless`; a network without a margin is not."""
        if self.preprocess.margin == 0 or self.postprocess.scale != 1:
            return False

        network = self._network()

        def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
            return network.logits(x)[0]

        try:
            return tiling.is_seamless(run, self.preprocess, self.in_channels)
        except (PluginError, MemoryError):
            return False  # it will fail for the picture too, and say so there

    @overload
    def predict(self, source: Source, *, all_heads: bool = False) -> Prediction: ...
    @overload
    def predict(
        self, source: list[S] | tuple[S, ...], *, all_heads: bool = False
    ) -> list[Prediction]: ...
    def predict(
        self, source: Source | list[S] | tuple[S, ...], *, all_heads: bool = False
    ) -> Prediction | list[Prediction]:
        """Masks at the pictures' upright size.

        source: a path, bytes, a PIL image or an array (H, W[, 3|4]) uint8 gives a Prediction; a
        list or tuple of these gives a list. all_heads: side outputs too. The first picture that
        fails raises its error, which names its file, or its place in the list when it has none.
        """
        sources: Sequence[Any] = source if isinstance(source, list | tuple) else [source]
        is_one = sources is not source
        found = []
        for place, (_, result) in enumerate(self.stream(sources, all_heads=all_heads)):
            if isinstance(result, SegzooError):
                if not is_one and not result.file:
                    result.file = f"item {place}"
                raise result
            found.append(result)
        return found[0] if is_one else found

    def stream(
        self, sources: Iterable[S], *, all_heads: bool = False, pixels: bool = True
    ) -> Generator[tuple[S, Prediction | SegzooError], None, None]:
        """Each source with its Prediction, or with the error that it alone has; in their order.

        As many as there are sources: one that is no picture at all, None say, has an error too.
        Reads ahead of what it yields. Pictures of one network size run together, whatever stands
        between them. A failure of the plugin is a picture's own error too: for another size it may
        work. What concerns every picture is raised: settings, a network without side outputs.
        pixels=False: the pictures themselves are not wanted. Of a JPEG much larger than what the
        network sees, less is decoded then: the prediction's `picture.image` is smaller than its
        mask, and this differs by a little, as what a network sees is smoother then.
        """
        return stream(sources, self.stages(all_heads, pixels), batch_size=self.batch_size)

    def _network(self, all_heads: bool = False) -> Network:
        return Network(self.runtime, self.preprocess, self.postprocess, self.num_classes, all_heads)

    def stages(self, all_heads: bool = False, pixels: bool = True) -> Stages:
        """What happens to a picture, step by step, for who decides when each step is done."""
        return Stages(
            network=self._network(all_heads),
            in_channels=self.in_channels,
            classes=self.classes,
            batch_size=self.batch_size,
            max_pixels=self.max_pixels,
            grid=self.grid,
            smaller_windows=self.smaller_windows,
            smaller=self._smaller,
            pixels=pixels,
        )

    def _smaller(self, height: int, width: int) -> str:
        """What helps when the network runs out of memory for one picture of this size."""
        tile = 0 if self.tile is None else max(_sides(self.tile)) // 2
        if 0 < tile < max(height, width):
            return f"Run it in smaller pieces: --tile {tile} (tile={tile})"
        return "Make the picture smaller"


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return value is None or all(type(side) is int for side in sides)


def _sides(value: int | Size) -> Size:
    return (value, value) if isinstance(value, int) else value
