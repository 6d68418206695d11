"""From pictures to masks: decoding, batches, and every mask back at its picture's size.

A `Predictor` joins a runtime (how the network is run) with what a model declares: its preprocess,
its postprocess and its classes. Many pictures go through `stream`, which decodes ahead, runs
pictures of one network size together, and holds a bounded number of them, so its memory does not
grow with their number. A picture larger than a tile goes through the network in windows.
"""

import copy
import dataclasses
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.errors import (
    DataError,
    PictureError,
    PictureTooLargeError,
    PluginError,
    SegzooError,
    UsageError,
    printable,
)
from segzoo.pictures import codec
from segzoo.pictures.codec import Picture
from segzoo.pictures.labels import Palette
from segzoo.pictures.resample import Size
from segzoo.predict import tiling
from segzoo.predict.prediction import Prediction
from segzoo.predict.preprocess import Geometry, mask_of, prepare, probabilities
from segzoo.predict.tiling import Grid, Tile
from segzoo.spec import Postprocess, Preprocess

__all__ = ["Predictor", "Runtime", "Source", "logits_size"]

Source: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
S = TypeVar("S", bound=Source)

THREADS = 4  # to decode, and as many to make masks; neither holds the interpreter
HELD_BYTES = 1 << 30  # of decoded pictures and network inputs that wait; one more may be on its way
HELD_BATCHES = 4  # pictures that wait for others of their network size, in batches
OWN_TILE = 1024  # pixels; the tile of a network whose windows give what the whole gives
SMALL_TILE = 512  # what to try when memory runs out
TOGETHER = 1 << 20  # pixels of the windows of one picture that run together, at most


class Runtime(Protocol):
    """How a network is run: x (N, C, h, w) float32 -> logits, each (N, K, h', w') float32.

    The final prediction comes first and is alone unless `all_heads` asks for the side outputs too.
    MemoryError when this many pictures of this size do not fit the device.
    """

    def __call__(
        self, x: NDArray[np.float32], *, all_heads: bool = False
    ) -> tuple[NDArray[np.float32], ...]: ...


@dataclass(kw_only=True)
class _Waiting(Generic[S]):
    """A picture on its way through a stream; x (C, h, w) until its batch has run.

    grid: the windows that it runs in, by itself; None for a picture that runs whole, in a batch.
    Then logits are what the network gave; of windows, their probabilities at the picture's size.
    """

    source: S
    picture: Picture | None = None
    geometry: Geometry | None = None
    x: NDArray[np.float32] | None = None
    grid: Grid | None = None
    logits: tuple[NDArray[np.float32], ...] = ()
    likely: tuple[NDArray[np.float32], ...] = ()
    error: SegzooError | None = None
    result: "Future[Prediction | SegzooError] | None" = None

    @property
    def nbytes(self) -> int:
        held = 0 if self.picture is None else self.picture.image.nbytes
        return held if self.x is None else held + self.x.nbytes

    def joins(self, other: "_Waiting[S]") -> bool:
        """Whether this one waits for a batch, and for the same as the other."""
        if self.x is None or other.x is None:
            return False
        together = self.grid is None and other.grid is None and self.x.shape == other.x.shape
        return together or self is other


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
        if self.overlap is not None:
            overlap = _sides(self.overlap)
        elif self._is_seamless:
            overlap = (0, 0)
        elif self.tile is None:
            return None
        else:
            overlap = (tile[0] // 4, tile[1] // 4)
        return Grid.of((height, width), self.preprocess, tile=tile, overlap=overlap)

    @cached_property
    def _is_seamless(self) -> bool:
        """As `tiling.is_seamless`; a network without a margin is not."""
        if self.preprocess.margin == 0 or self.postprocess.scale != 1:
            return False

        def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
            return self._logits(x, False)[0]

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
        fails raises its error.
        """
        if not isinstance(source, list | tuple):
            return self.predict([source], all_heads=all_heads)[0]
        found = []
        for _, result in self.stream(source, all_heads=all_heads):
            if isinstance(result, SegzooError):
                raise result
            found.append(result)
        return found

    def stream(
        self, sources: Iterable[S], *, all_heads: bool = False
    ) -> Generator[tuple[S, Prediction | SegzooError], None, None]:
        """Each source with its Prediction, or with the error that it alone has; in their order.

        Reads ahead of what it yields. Pictures of one network size run together, whatever stands
        between them. A failure of the plugin is a picture's own error too: for another size it may
        work. What concerns every picture is raised: settings, a network without side outputs.
        """
        upcoming = iter(sources)
        reading: deque[Future[_Waiting[S]]] = deque()
        waiting: deque[_Waiting[S]] = deque()

        def batch_of(item: _Waiting[S]) -> list[_Waiting[S]]:
            return [other for other in waiting if other.joins(item)]

        decoders = ThreadPoolExecutor(THREADS, thread_name_prefix="segzoo-decode")
        finishers = ThreadPoolExecutor(THREADS, thread_name_prefix="segzoo-mask")
        try:
            while True:
                while len(reading) < self.batch_size + THREADS and HELD_BYTES > sum(
                    item.nbytes for item in (*waiting, *(f.result() for f in reading if f.done()))
                ):
                    source = next(upcoming, None)
                    if source is None:
                        break
                    reading.append(decoders.submit(self._read, source))
                if not reading and not waiting:
                    return
                if (
                    reading
                    and len(waiting) < HELD_BATCHES * self.batch_size
                    and sum(item.nbytes for item in waiting) < HELD_BYTES
                ):
                    item = reading.popleft().result()
                    if item.geometry is not None:
                        item.grid = self.grid(*item.geometry.picture)
                    waiting.append(item)
                    batch = batch_of(item)
                    if len(batch) == self.batch_size or item.grid is not None:
                        self._run(batch, all_heads)
                else:  # no others are coming, or too many wait: the first has waited longest
                    self._run(batch_of(waiting[0]), all_heads)
                while waiting and waiting[0].x is None:
                    for item in islice(waiting, THREADS):  # a few masks are made ahead, not all:
                        if item.x is None and item.result is None:  # they are large
                            item.result = finishers.submit(self._finish, item)
                    item = waiting.popleft()
                    assert item.result is not None
                    yield item.source, item.result.result()
        finally:
            decoders.shutdown(cancel_futures=True)
            finishers.shutdown(cancel_futures=True)

    def _read(self, source: S) -> _Waiting[S]:
        try:
            picture = codec.read(
                source,
                max_pixels=self.max_pixels,
                peak=self.preprocess.peak,
                bands=self.preprocess.mode == "bands",
            )
            x, geometry = prepare(picture, self.preprocess, self.in_channels)
        except (DataError, PluginError) as error:
            if isinstance(error, PictureError) and isinstance(source, str | os.PathLike):
                error.file = error.file or printable(os.fsdecode(source))
            return _Waiting(source=source, error=error)
        except MemoryError:
            return _Waiting(source=source, error=_too_large("it was read"))
        return _Waiting(source=source, picture=picture, geometry=geometry, x=x)

    def _run(self, batch: list[_Waiting[S]], all_heads: bool) -> None:
        """Give each of the batch its logits, or the probabilities of its windows, or its error."""
        try:
            if batch[0].grid is not None:
                batch[0].likely = self._in_tiles(batch[0], batch[0].grid, all_heads)
            else:
                x = np.stack([item.x for item in batch if item.x is not None])
                outputs = self._logits(x, all_heads)
                for n, item in enumerate(batch):
                    item.logits = tuple(output[n] for output in outputs)
        except PluginError as error:
            for item in batch:
                item.error = error
        except MemoryError:
            if len(batch) > 1:
                half = len(batch) // 2
                self._run(batch[:half], all_heads)
                self._run(batch[half:], all_heads)
                return
            batch[0].error = _too_large("the network ran", self._smaller(batch[0]))
        for item in batch:
            item.x = None

    def _smaller(self, item: _Waiting[S]) -> str:
        """What helps when the network runs out of memory for one picture."""
        assert item.geometry is not None
        tile = SMALL_TILE if item.grid is None else max(_sides(self.tile or OWN_TILE)) // 2
        if self.preprocess.size is None and 0 < tile < max(item.geometry.picture):
            return f"Run it in smaller pieces: --tile {tile} (tile={tile})"
        return "Make the picture smaller"

    def _in_tiles(
        self, item: _Waiting[S], grid: Grid, all_heads: bool
    ) -> tuple[NDArray[np.float32], ...]:
        """Each head's probabilities (K, H, W) of one picture, put together from its windows.

        Probabilities, not logits, are averaged: an answer near a window's edge, where it is worst,
        then counts by its weight alone, however large its logits are.
        """
        assert item.x is not None
        x, whole = item.x, None

        def maps_of(tiles: list[Tile]) -> Iterator[NDArray[np.float32]]:
            return self._maps(x, tiles, all_heads)

        for top, rows in tiling.bands(grid, maps_of):
            if whole is None:
                whole = np.empty((len(rows), *grid.picture), np.float32)
            whole[:, top : top + rows.shape[1]] = np.minimum(rows, 1)  # weights are rounded
        assert whole is not None
        if self.postprocess.normalize == "minmax":  # of the whole picture, not of each window
            whole = probabilities(whole, Postprocess(activation="none", normalize="minmax"))
        return tuple(np.split(whole, len(whole) // self.num_classes))

    def _maps(
        self, x: NDArray[np.float32], tiles: list[Tile], all_heads: bool
    ) -> Iterator[NDArray[np.float32]]:
        """Of each tile the probabilities of all heads, one after the other: (heads * K, h, w)."""
        part = dataclasses.replace(self.postprocess, normalize="none")
        for (h, w), alike in groupby(tiles, lambda tile: tile.geometry.network):
            waiting = list(alike)
            most = max(1, min(self.batch_size, TOGETHER // (h * w)))
            while waiting:
                batch = waiting[:most]
                try:
                    windows = np.stack([x[:, t.y : t.y + h, t.x : t.x + w] for t in batch])
                    outputs = self._logits(windows, all_heads)
                except MemoryError:
                    if len(batch) == 1:
                        raise
                    most = len(batch) // 2
                    continue
                for n, tile in enumerate(batch):
                    yield np.concatenate(
                        [self._likely(logits[n], tile.geometry, part) for logits in outputs]
                    )
                waiting = waiting[most:]

    def _logits(self, x: NDArray[np.float32], all_heads: bool) -> tuple[NDArray[np.float32], ...]:
        outputs = self.runtime(x, all_heads=all_heads)
        self._check(outputs, x)
        return outputs

    def _check(self, outputs: tuple[NDArray[np.float32], ...], x: NDArray[np.float32]) -> None:
        n, _, h, w = x.shape
        expected = (n, self.num_classes, *logits_size(h, w, self.preprocess, self.postprocess))
        wrong = [output.shape for output in outputs if output.shape != expected]
        if wrong or not outputs:
            raise PluginError(
                f"the network's logits have a wrong shape for an input {x.shape}",
                found=str(wrong[0]) if wrong else "none",
                expected=str(expected),
                next_step="Run `segzoo check` on the model",
            )

    def _finish(self, item: _Waiting[S]) -> Prediction | SegzooError:
        if item.error is None:
            try:
                final, *heads = (self._prediction(item, likely) for likely in self._heads(item))
                return dataclasses.replace(final, heads=tuple(heads))
            except PluginError as error:
                item.error = error
            except MemoryError:
                item.error = _too_large("its mask was made")
        own = copy.copy(item.error)  # the pictures of a batch may share one
        own.__cause__ = item.error.__cause__
        source: Source = item.source
        if not own.file and isinstance(source, str | os.PathLike):
            own.file = printable(os.fspath(source))
        return own

    def _heads(self, item: _Waiting[S]) -> Iterator[NDArray[np.float32]]:
        """Each head's probabilities (K, H, W)."""
        assert item.geometry is not None
        yield from item.likely
        for logits in item.logits:
            yield self._likely(logits, item.geometry, self.postprocess)

    def _likely(
        self, logits: NDArray[np.float32], geometry: Geometry, postprocess: Postprocess
    ) -> NDArray[np.float32]:
        wrong = logits.size - int(np.isfinite(logits).sum())
        if wrong:
            raise PluginError(
                "the network gave numbers that are not finite",
                found=f"NaN or infinity in {wrong} of {logits.size} logits",
            )
        return probabilities(geometry.restore(logits, scale=postprocess.scale), postprocess)

    def _prediction(self, item: _Waiting[S], likely: NDArray[np.float32]) -> Prediction:
        assert item.picture is not None
        return Prediction(
            mask=mask_of(likely, self.postprocess),
            probability=likely[0] if self.num_classes == 1 else likely,
            picture=item.picture,
            classes=self.classes,
        )


def logits_size(
    h: int, w: int, preprocess: Preprocess, postprocess: Postprocess
) -> tuple[int, int]:
    """The size of the logits that the contract wants for a network input of (h, w)."""
    eaten = 2 * preprocess.margin
    return postprocess.scale * (h - eaten), postprocess.scale * (w - eaten)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return value is None or all(type(side) is int for side in sides)


def _sides(value: int | Size) -> Size:
    return (value, value) if isinstance(value, int) else value


def _too_large(when: str, next_step: str = "Make the picture smaller") -> PictureTooLargeError:
    return PictureTooLargeError(f"memory ran out while {when}", next_step=next_step)
