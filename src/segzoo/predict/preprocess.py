"""From a picture to a network's input and back, as a model declares it.

    x, geometry = prepare(picture, preprocess, in_channels)
    maps = at_picture(network(x), geometry, postprocess)
    mask = mask_of(maps, postprocess)

Sizes are (height, width).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.base.counts import count_of
from segzoo.errors import ConfigError, PictureError, PluginError
from segzoo.pictures import codec
from segzoo.pictures.codec import Picture
from segzoo.pictures.depth import black_and_white
from segzoo.pictures.labels import luma
from segzoo.pictures.pieces import cleaned
from segzoo.pictures.resample import Border, Size, enlarged_rows, resize
from segzoo.spec import Postprocess, Preprocess
from segzoo.zoo import registry

__all__ = [
    "NO_CLASS",
    "Geometry",
    "Maps",
    "as_input",
    "at_picture",
    "channels",
    "custom_values",
    "enough",
    "framed",
    "in_range",
    "input_size",
    "mask_of",
    "mirror_index",
    "network_size",
    "per_channel",
    "placed",
    "prepare",
    "probabilities",
]

Floats: TypeAlias = NDArray[np.float32]

NO_CLASS = 255  # in a mask of several classes: none is above the threshold
TWICE = 2  # of what a network sees: enough of a picture's pixels to decode
ROWS = 64  # of a large map that are computed at once
USUAL = 256  # pixels: a picture's side, where a model takes any
BLACK = 1e-6  # of the brightest value that there can be: a picture below is left as it is


@dataclass(frozen=True)
class Geometry:
    """Where a picture lies in the network's input; undone by `restore`. Sizes in pixels.

    picture: (H, W). inside: the size that the picture was resized to. offset: of its top left
    corner from the first pixel that the network gives an answer for. network: (h, w) of x.
    margin: what valid convolutions eat at each side of x.
    """

    picture: Size
    inside: Size
    offset: Size
    network: Size
    margin: int = 0

    def restore(self, maps: NDArray[Any], *, scale: int = 1) -> Floats:
        """The network's maps at the picture's size.

        maps: (K, scale * (h - 2 * margin), scale * (w - 2 * margin)). Gives (K, H, W) float32:
        padding cut away, then resized bilinearly where the size differs (the values themselves
        where it does not). PluginError for maps of another size.
        """
        whole = np.empty((len(maps), *self.picture), np.float32)
        for top, rows in self.rows(maps, scale=scale):
            whole[:, top : top + len(rows)] = np.moveaxis(rows, 1, 0)
        return whole

    def rows(self, maps: NDArray[Any], *, scale: int = 1) -> Iterator[tuple[int, Floats]]:
        """What `restore` gives, some rows at a time: the first row, and (rows, K, W) float32."""
        maps = np.ascontiguousarray(self.cut(maps, scale=scale), np.float32)
        return enlarged_rows(maps, self.picture)

    def cut(self, maps: NDArray[Any], *, scale: int = 1) -> NDArray[Any]:
        """The network's maps, as for `restore`, without padding."""
        expected = tuple(scale * (side - 2 * self.margin) for side in self.network)
        if maps.ndim != 3 or maps.shape[1:] != expected:
            raise PluginError(
                "the network's maps have a wrong shape",
                found=str(maps.shape),
                expected=f"(K, {expected[0]}, {expected[1]})",
            )
        (top, left), (h, w) = self.offset, self.inside
        return maps[:, scale * top : scale * (top + h), scale * left : scale * (left + w)]


def prepare(
    picture: Picture, preprocess: Preprocess, in_channels: int
) -> tuple[NDArray[np.float32], Geometry]:
    """The network's input for a picture: x (in_channels, h, w) float32, and its geometry.

    Where the picture is transparent, the network sees it laid over white; a network of four
    channels sees the stored colours and the alpha. ConfigError when mode, mean or std do not fit
    `in_channels`; PluginError when a custom function fails.
    """
    image = channels(picture, preprocess.mode, in_channels)
    height, width = picture.size
    inside, offset = placed(height, width, preprocess)
    values = resize(
        image,
        inside,
        axes=(0, 1),
        interpolation=preprocess.interpolation,
        antialias=preprocess.antialias,
        border=preprocess.border,
        extent=_extent(picture),
    )
    if preprocess.size is not None:
        values = framed(values, preprocess.size, offset, preprocess.border)
    if preprocess.custom is None:
        x = as_input(values, preprocess, in_channels)
    else:
        x = custom_values(preprocess.custom, values, in_channels)
    network = network_size(height, width, preprocess)
    x = _mirrored(x, preprocess.margin, network)
    return x, Geometry((height, width), inside, offset, network, preprocess.margin)


def enough(preprocess: Preprocess) -> Size | None:
    """A size (H, W) at which any picture can be decoded as well; None where it must be whole.

    It is TWICE what the network sees: what a decoder then leaves out is finer than that.
    """
    whole = preprocess.mode == "bands" or preprocess.interpolation == "nearest"
    if preprocess.size is None or whole:
        return None
    height, width = preprocess.size
    return TWICE * height, TWICE * width


def _extent(picture: Picture) -> tuple[float, float] | None:
    """How many pixels of a smaller image the picture covers: the last ones may be there in part.

    Decoders divide by 2, 4 or 8, and round up.
    """
    if picture.reduced_from is None:
        return None
    height, width = picture.reduced_from
    found = picture.image.shape[:2]
    by = next(by for by in (2, 4, 8) if (-(-height // by), -(-width // by)) == found)
    return height / by, width / by


def network_size(height: int, width: int, preprocess: Preprocess) -> Size:
    """The (h, w) of the network's input for a picture of this size, without reading one."""
    h, w = preprocess.size or (height, width)
    return _network_side(h, preprocess), _network_side(w, preprocess)


def input_size(preprocess: Preprocess, size: Size | None = None) -> Size:
    """(H, W) of the network's own input for a picture of this size, (H, W).

    Without one, for a picture of the declared size, or else of USUAL pixels a side.
    """
    height, width = size or preprocess.size or (USUAL, USUAL)
    return network_size(height, width, replace(preprocess, size=None, resize="none"))


@dataclass(frozen=True, eq=False)
class Maps:
    """One head's logits of a picture (K, h', w'), brought to its size when that is asked for.

    At the picture's size they may be a thousand times as many; a mask is made of some rows at once.
    """

    logits: Floats
    geometry: Geometry
    postprocess: Postprocess

    @property
    def num_classes(self) -> int:
        return len(self.logits)

    def probability(self) -> Floats:
        """(K, H, W) in 0..1."""
        return at_picture(self.logits, self.geometry, self.postprocess)

    def rows(self) -> Iterator[tuple[int, Floats]]:
        """`probability`, some rows at a time: the first row, and (K, rows, W)."""
        if self.postprocess.resize == "levels":
            yield 0, self.probability()
            return
        stretch = self._stretch()
        for top, rows in self._logits():
            values = np.moveaxis(rows, 1, 0)
            yield top, in_range(_activated(values, self.postprocess), stretch)

    def mask(self) -> NDArray[np.uint8]:
        """(H, W): what `mask_of` makes of the probabilities, without these as a whole."""
        _refuse_too_many(self.num_classes, self.postprocess.threshold)
        if self.postprocess.resize == "levels":
            return mask_of(self.probability(), self.postprocess)
        mask = np.empty(self.geometry.picture, np.uint8)
        if self.num_classes > 1:
            for top, likely in self.rows():
                mask[top : top + likely.shape[1]] = mask_of(likely, self.postprocess)
            return mask
        least = _least(self.postprocess, self._stretch())
        for top, rows in self._logits():
            part = mask[top : top + len(rows)]
            np.greater_equal(rows[:, 0], least, out=part.view(np.bool_))
            part *= 255
        return _cleaned(mask > 0, mask, self.postprocess)

    def _logits(self) -> Iterator[tuple[int, Floats]]:
        return self.geometry.rows(self.logits, scale=self.postprocess.scale)

    def _stretch(self) -> tuple[Floats, Floats] | None:
        """The least and largest of each activated map (K, 1, 1), where these are normalised."""
        if self.postprocess.normalize == "none":
            return None
        low, high = np.full((2, self.num_classes, 1, 1), [[[[np.inf]]], [[[-np.inf]]]], np.float32)
        together = self.postprocess.activation == "softmax"  # of a pixel's classes
        for _, rows in self._logits():
            values = np.moveaxis(rows, 1, 0)
            if together:
                values = _activated(values, self.postprocess)
            low = np.minimum(low, values.min(axis=(1, 2), keepdims=True))
            high = np.maximum(high, values.max(axis=(1, 2), keepdims=True))
        if together:
            return low, high
        # Each logit by itself rises with its probability: those of the two ends are the ends.
        return _activated(low, self.postprocess), _activated(high, self.postprocess)


def at_picture(logits: NDArray[Any], geometry: Geometry, postprocess: Postprocess) -> Floats:
    """The network's logits of one picture -> (K, H, W) float32 in 0..1 at the picture's size."""
    scale = postprocess.scale
    if postprocess.resize == "logits":
        values = geometry.restore(logits, scale=scale)
        for top in range(0, geometry.picture[0], ROWS):  # what is between needs memory too
            part = values[:, top : top + ROWS]
            part[:] = _activated(part, postprocess)
        return _normalized_maps(values, postprocess)
    maps = probabilities(geometry.cut(logits, scale=scale), postprocess)
    levels = (maps * 255).astype(np.uint8)  # Pillow cuts off what is behind the point
    height, width = geometry.picture
    resized = [
        Image.fromarray(each).resize((width, height), Image.Resampling.BILINEAR) for each in levels
    ]
    return np.stack([np.asarray(each, np.float32) for each in resized]) / np.float32(255)


def probabilities(logits: NDArray[Any], postprocess: Postprocess) -> Floats:
    """(K, H, W) logits of one picture -> (K, H, W) float32 in 0..1.

    softmax is over K; "minmax" stretches each of the K maps by itself.
    """
    return _normalized_maps(_activated(np.array(logits, np.float32), postprocess), postprocess)


def _activated(values: Floats, postprocess: Postprocess) -> Floats:
    if postprocess.activation == "sigmoid":
        small = np.exp(-np.abs(values))  # never overflows
        likely: Floats = np.where(values >= 0, np.float32(1), small) / (1 + small)
        return likely
    if postprocess.activation == "softmax":
        powers = np.exp(values - values.max(axis=0))
        shares: Floats = powers / powers.sum(axis=0)
        return shares
    return values


def _normalized_maps(values: Floats, postprocess: Postprocess) -> Floats:
    stretch = None
    if postprocess.normalize == "minmax":
        low = values.min(axis=(1, 2), keepdims=True)
        stretch = low, values.max(axis=(1, 2), keepdims=True)
    return in_range(values, stretch)


def in_range(values: Floats, stretch: tuple[Floats, Floats] | None) -> Floats:
    """Values of 0..1, each map first stretched from its least and largest; in place."""
    if stretch is not None:
        low, high = stretch
        constant = high == low
        np.subtract(values, np.where(constant, np.float32(0), low), out=values)
        np.divide(values, np.where(constant, np.float32(1), high - low), out=values)
    return np.clip(values, 0, 1, out=values)


def _least(postprocess: Postprocess, stretch: tuple[Floats, Floats] | None) -> np.float32:
    """The least logit of one class whose probability is above the threshold.

    The probability rises with the logit, so it is found by halving; infinity where none is.
    """
    threshold = np.float32(0.5 if postprocess.threshold is None else postprocess.threshold)

    def is_above(logit: np.float32) -> bool:
        one = np.full((1, 1, 1), logit, np.float32)
        with np.errstate(over="ignore"):  # the largest numbers, which no network gives
            return bool(in_range(_activated(one, postprocess), stretch)[0, 0, 0] > threshold)

    low, high = -np.finfo(np.float32).max, np.finfo(np.float32).max
    if not is_above(high):
        return np.float32(np.inf)
    if is_above(low):
        return np.float32(-np.inf)
    # Halve the numbers that there are between the two, not their distance.
    below, above = _ordinal(low), _ordinal(high)
    while above - below > 1:
        middle = (below + above) // 2
        if is_above(_of_ordinal(middle)):
            above = middle
        else:
            below = middle
    return _of_ordinal(above)


def _ordinal(value: np.float32) -> int:
    """The place of a float32 among all of them, by size."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _of_ordinal(place: int) -> np.float32:
    bits = np.uint32(place if place >= 0 else -place | 0x80000000)
    return np.float32(bits.view(np.float32))


def mask_of(probabilities: Floats, postprocess: Postprocess) -> NDArray[np.uint8]:
    """(K, H, W) probabilities -> (H, W) mask uint8.

    One class: 255 above the threshold (0.5 when it is None), else 0, without specks and holes where
    the postprocess says so. Several: the index of the most
    likely class; with a threshold, NO_CLASS where not even that one is above it. ConfigError for
    more classes than a mask can hold.
    """
    num_classes, threshold = len(probabilities), postprocess.threshold
    if num_classes == 1:
        above = probabilities[0] > np.float32(0.5 if threshold is None else threshold)
        return _cleaned(above, black_and_white(above), postprocess)
    _refuse_too_many(num_classes, threshold)
    mask: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    if threshold is not None:
        mask[probabilities.max(axis=0) <= np.float32(threshold)] = NO_CLASS
    return mask


def _cleaned(
    above: NDArray[np.bool_], mask: NDArray[np.uint8], postprocess: Postprocess
) -> NDArray[np.uint8]:
    """The mask of what is above the threshold, once more where pieces are to go or be filled."""
    if not (postprocess.smallest or postprocess.holes):
        return mask
    whole = cleaned(above, smallest=postprocess.smallest, holes=postprocess.holes)
    return black_and_white(whole)


def _refuse_too_many(num_classes: int, threshold: float | None) -> None:
    most = 256 if threshold is None else NO_CLASS
    if num_classes > max(most, 1):
        raise ConfigError(
            "a mask of 8 bits cannot hold so many classes",
            found=count_of(num_classes, "class"),
            expected=f"at most {most}",
            next_step="Use the probabilities",
        )


# --- the steps of prepare ------------------------------------------------------------------------


def channels(
    picture: Picture, mode: Literal["RGB", "L", "bands"], in_channels: int
) -> NDArray[np.uint8]:
    """The picture as (H, W, in_channels) uint8; ConfigError where it is not known how.

    PictureError for a picture whose bands are not as many as the network takes.
    """
    found = picture.image.shape[2]
    if mode == "bands":
        if found != in_channels:
            raise PictureError(
                "the picture has not as many bands as the network takes",
                found=f"{found}",
                expected=f"{in_channels}",
            )
        return picture.image
    if found != 3:
        raise PictureError(
            "the picture is neither gray nor in colours",
            found=count_of(found, "band"),
            expected="1 or 3, and perhaps alpha",
            next_step="A network of so many channels reads them with mode='bands'",
        )
    if in_channels == 1:
        return luma(codec.flatten(picture))[..., None]
    if mode == "RGB" and in_channels == 3:
        return codec.flatten(picture)
    if mode == "RGB" and in_channels == 4:
        alpha = picture.alpha
        if alpha is None:
            alpha = np.full(picture.image.shape[:2], 255, np.uint8)
        return np.concatenate([picture.image, alpha[..., None]], axis=2)
    raise ConfigError(
        f"a picture cannot be given to a network of {in_channels} channels in mode {mode!r}",
        expected="1 channel, or in mode 'RGB' 3 or 4" if mode == "RGB" else "1 channel",
        next_step="Pictures of so many bands are read with mode='bands', which data of bands= sets"
        if in_channels not in (1, 3, 4)
        else "",
    )


def placed(height: int, width: int, preprocess: Preprocess) -> tuple[Size, Size]:
    """The size that a picture is resized to, and where it then lies in `preprocess.size`."""
    if preprocess.size is None:
        return (height, width), (0, 0)
    h, w = preprocess.size
    if preprocess.resize == "letterbox":
        factor = min(h / height, w / width)
        inside = tuple(
            min(most, max(1, math.floor(side * factor + 0.5)))
            for side, most in ((height, h), (width, w))
        )
        return (inside[0], inside[1]), ((h - inside[0]) // 2, (w - inside[1]) // 2)
    return (h, w), (0, 0)


def framed(values: NDArray[Any], size: Size, offset: Size, border: Border) -> NDArray[Any]:
    """(h, w, C) in the middle of `size`; around it its edge pixels, or zero."""
    around = [
        (before, whole - before - part)
        for before, whole, part in zip(offset, size, values.shape, strict=False)
    ]
    if not any(map(any, around)):
        return values
    return np.pad(values, [*around, (0, 0)], mode="edge" if border == "edge" else "constant")


def as_input(
    values: NDArray[Any],
    preprocess: Preprocess,
    in_channels: int,
    *,
    brightest: float | None = None,
) -> Floats:
    """(h, w, C) of 0..255 -> (C, h, w): rescaled, less mean, over std.

    brightest: the largest value of the whole picture, where these are a part of it.
    """
    x = np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
    if preprocess.rescale == "255":
        x /= 255
    elif preprocess.rescale == "image_max":
        peak = x.max() if brightest is None else np.float32(brightest)
        x /= peak if peak >= 255 * BLACK else 1
    x -= per_channel("mean", preprocess.mean, in_channels)
    x /= per_channel("std", preprocess.std, in_channels)
    return x


def per_channel(name: str, values: tuple[float, ...], in_channels: int) -> Floats:
    """(C, 1, 1): one value serves every channel.

    Values for RGB serve a network of one or two channels by their mean, and so they do every
    channel from the fourth on.
    """
    average = sum(values) / len(values)
    if len(values) == 1 or in_channels < 3:
        values = (average,) * in_channels
    elif len(values) == 3:
        values = (*values, *(average,) * (in_channels - 3))
    if len(values) != in_channels:
        raise ConfigError(
            f"preprocess.{name} does not fit the network's channels",
            found=count_of(len(values), "value"),
            expected=f"1 or {in_channels}",
        )
    return np.array(values, np.float32).reshape(-1, 1, 1)


def custom_values(path: str, values: NDArray[Any], in_channels: int) -> Floats:
    """What the plugin's own function makes of (h, w, C) uint8."""
    if values.dtype != np.uint8:
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    expected = (in_channels, *values.shape[:2])
    try:
        x = registry.resolve(path)(values)
    except Exception as error:  # a plugin may raise anything
        why = registry.cause(error)
        raise PluginError(f"the preprocess function {path} failed: {why}") from error
    if not isinstance(x, np.ndarray) or x.shape != expected or x.dtype != np.float32:
        kind = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise PluginError(
            f"the preprocess function {path} gave something else",
            found=kind,
            expected=f"float32 of shape {expected}",
        )
    return x


def _network_side(side: int, preprocess: Preprocess) -> int:
    """The smallest multiple_of * m + remainder, m at least 1, that holds a side and its margins."""
    needed = side + 2 * preprocess.margin - preprocess.remainder
    return (
        preprocess.multiple_of * max(1, -(-needed // preprocess.multiple_of)) + preprocess.remainder
    )


def _mirrored(x: Floats, margin: int, network: Size) -> Floats:
    """(C, h, w) extended to `network`: by `margin` at the top and left, by the rest at the others.

    The picture is mirrored about its edge pixels, which are not repeated (Ronneberger et al. 2015,
    figure 2), again and again where it is smaller than what is asked for.
    """
    for axis, length in zip((1, 2), network, strict=True):
        if length != x.shape[axis]:
            x = np.take(x, mirror_index(x.shape[axis], length, margin), axis=axis)
    return np.ascontiguousarray(x)


def mirror_index(side: int, length: int, before: int) -> NDArray[np.intp]:
    """Which of `side` pixels lies at each of `length`, the first of them at `before`.

    The mirror stands on the edge pixels, which are not repeated.
    """
    distance = np.abs(np.arange(length) - before) % max(2 * (side - 1), 1)
    index: NDArray[np.intp] = np.minimum(distance, 2 * (side - 1) - distance)
    return index
