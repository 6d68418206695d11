"""From a picture to a network's input and back, as a model declares it.

    x, geometry = prepare(picture, preprocess, in_channels)
    maps = at_picture(network(x), geometry, postprocess)
    mask = mask_of(maps, postprocess)

Sizes are (height, width).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segzoo.errors import ConfigError, PictureError, PluginError
from segzoo.pictures import codec
from segzoo.pictures.codec import Picture
from segzoo.pictures.depth import black_and_white
from segzoo.pictures.labels import luma
from segzoo.pictures.resample import Border, Size, resize
from segzoo.spec import Postprocess, Preprocess
from segzoo.zoo import registry

__all__ = [
    "NO_CLASS",
    "Geometry",
    "at_picture",
    "channels",
    "custom_values",
    "framed",
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
        maps = self.cut(maps, scale=scale)
        return resize(np.ascontiguousarray(maps, np.float32), self.picture, axes=(1, 2))

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
    height, width = image.shape[:2]
    inside, offset = placed(height, width, preprocess)
    values = resize(
        image,
        inside,
        axes=(0, 1),
        interpolation=preprocess.interpolation,
        antialias=preprocess.antialias,
        border=preprocess.border,
    )
    if preprocess.size is not None:
        values = framed(values, preprocess.size, offset, preprocess.border)
    if preprocess.custom is None:
        x = _normalized(values, preprocess, in_channels)
    else:
        x = custom_values(preprocess.custom, values, in_channels)
    network = network_size(height, width, preprocess)
    x = _mirrored(x, preprocess.margin, network)
    return x, Geometry((height, width), inside, offset, network, preprocess.margin)


def network_size(height: int, width: int, preprocess: Preprocess) -> Size:
    """The (h, w) of the network's input for a picture of this size, without reading one."""
    h, w = preprocess.size or (height, width)
    return _network_side(h, preprocess), _network_side(w, preprocess)


def at_picture(logits: NDArray[Any], geometry: Geometry, postprocess: Postprocess) -> Floats:
    """The network's logits of one picture -> (K, H, W) float32 in 0..1 at the picture's size."""
    scale = postprocess.scale
    if postprocess.resize == "logits":
        return probabilities(geometry.restore(logits, scale=scale), postprocess)
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
    values = np.asarray(logits, np.float32)
    if postprocess.activation == "sigmoid":
        small = np.exp(-np.abs(values))  # never overflows
        values = np.where(values >= 0, np.float32(1), small) / (1 + small)
    elif postprocess.activation == "softmax":
        powers = np.exp(values - values.max(axis=0))
        values = powers / powers.sum(axis=0)
    if postprocess.normalize == "minmax":
        low = values.min(axis=(1, 2), keepdims=True)
        high = values.max(axis=(1, 2), keepdims=True)
        constant = high == low
        values = np.where(constant, values, (values - low) / np.where(constant, 1, high - low))
    return np.clip(values, 0, 1)


def mask_of(probabilities: Floats, postprocess: Postprocess) -> NDArray[np.uint8]:
    """(K, H, W) probabilities -> (H, W) mask uint8.

    One class: 255 above the threshold (0.5 when it is None), else 0. Several: the index of the most
    likely class; with a threshold, NO_CLASS where not even that one is above it. ConfigError for
    more classes than a mask can hold.
    """
    num_classes, threshold = len(probabilities), postprocess.threshold
    if num_classes == 1:
        return black_and_white(probabilities[0] > (0.5 if threshold is None else threshold))
    most = 256 if threshold is None else NO_CLASS
    if num_classes > most:
        raise ConfigError(
            "a mask of 8 bits cannot hold so many classes",
            found=f"{num_classes} classes",
            expected=f"at most {most}",
            next_step="Use the probabilities",
        )
    mask: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    if threshold is not None:
        mask[probabilities.max(axis=0) <= threshold] = NO_CLASS
    return mask


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
            found=f"{found} bands",
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


def _normalized(values: NDArray[Any], preprocess: Preprocess, in_channels: int) -> Floats:
    """(h, w, C) of 0..255 -> (C, h, w): rescaled, less mean, over std."""
    x = np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
    if preprocess.rescale == "255":
        x /= 255
    elif preprocess.rescale == "image_max":
        peak = x.max()
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
            found=f"{len(values)} values",
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
