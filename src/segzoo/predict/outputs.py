"""From a prediction to the pictures a person wants: masks, cut-outs, overlays.

`KINDS` names them. Each is a function of a prediction and a palette, and gives an `Output` at the
picture's upright size. Which of several classes is the background, the prediction says.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

from segzoo.errors import UsageError, printable
from segzoo.pictures import codec
from segzoo.pictures.labels import Colour, Palette, default_palette
from segzoo.predict import edges as clean

if TYPE_CHECKING:
    from segzoo.pictures.codec import Picture
    from segzoo.predict.prediction import Prediction

__all__ = [
    "KINDS",
    "SHOWING",
    "Background",
    "Box",
    "Edges",
    "Output",
    "background_of",
    "color",
    "confidence",
    "cutout",
    "encode",
    "mask",
    "overlay",
    "probability",
    "render",
    "subject_box",
]

Background: TypeAlias = Colour | NDArray[np.uint8]  # one colour, or a picture (H, W, 3)
Edges: TypeAlias = Literal["clean", "raw"]
FOREGROUND: Colour = (255, 0, 144)  # of a single class that declares no colour: rare in photos
TINT = 120  # of 255: how much of an overlay's colour covers the picture
ROWS = 64  # that are worked on at once: they stay within the processor's cache
LINES = 200  # an outline is as wide as the picture's shorter side divided by this


class Box(NamedTuple):
    """A part of a picture: rows top to bottom, columns left to right; the ends are not in it."""

    top: int
    left: int
    bottom: int
    right: int


class Output(NamedTuple):
    """A picture to be written: what `pictures.encode` takes.

    image: (H, W) uint8, with a palette if they are class indices; (H, W) uint16; (H, W, 3) or
        (H, W, 4) uint8. icc_profile, dpi, exif: the picture's, where its colours are kept.
    """

    image: NDArray[Any]
    palette: Palette = ()
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None


def mask(prediction: "Prediction", palette: Palette = ()) -> Output:
    """One class: 0 and 255. Several: a picture whose values are the classes, with the palette."""
    if prediction.num_classes == 1:
        return Output(prediction.mask)
    return Output(prediction.mask, palette=_colours(prediction, palette))


def cutout(
    prediction: "Prediction",
    palette: Palette = (),
    *,
    background: Background | None = None,
    edges: Edges = "clean",
) -> Output:
    """The subject with soft edges on transparency: RGBA; on a background: RGB.

    edges: "clean" follows the picture's own edges and takes what was behind the subject out of its
    border pixels (`segzoo.predict.edges`); "raw" is the network's map and the picture's pixels.

    A pixel is as opaque as its probability and its own opacity in the picture say. With several
    classes it is that of not being background; where none is the background, of the likeliest.
    Where a pixel is fully transparent its colour is removed too. A background that is a picture is
    resized to cover, and cut evenly at its edges.
    """
    picture = _whole(prediction)
    colours, opacity = codec.visible(picture), _subject(prediction)
    if edges == "clean":
        refined = clean.refined(colours, _joined(opacity, picture.size))
        colours, opacity = clean.foreground(colours, refined), iter([refined])
    levels = _levels(opacity, picture)
    if background is None:
        image = _transparent(colours, levels)
    else:
        image = _composite(colours, _fitted(background, *levels.shape), levels)
    return Output(image, icc_profile=picture.icc_profile, dpi=picture.dpi, exif=picture.exif)


def color(prediction: "Prediction", palette: Palette = ()) -> Output:
    """Every pixel in the colour of its class: RGB."""
    table = np.array(_colours(prediction, palette), np.uint8)
    return Output(table[_index(prediction)])


def overlay(prediction: "Prediction", palette: Palette = ()) -> Output:
    """The picture, with what was found tinted and outlined in its class's colour: RGB."""
    picture, found = _whole(prediction), prediction.found
    cover = np.where(found, np.uint8(TINT), np.uint8(0))
    cover[found & _borders(prediction.mask, max(1, round(min(found.shape) / LINES)))] = 255
    image = _composite(color(prediction, palette).image, codec.flatten(picture), cover)
    return Output(image, icc_profile=picture.icc_profile, dpi=picture.dpi, exif=picture.exif)


def probability(prediction: "Prediction", palette: Palette = ()) -> Output:
    """16-bit gray, 65535 for 1. Several classes: of the likeliest, the one in the mask."""
    likely = prediction.probability
    if prediction.num_classes > 1:
        likely = likely.max(axis=0)
    return Output(np.rint(likely * np.float32(65535)).astype(np.uint16))


def confidence(prediction: "Prediction", palette: Palette = ()) -> Output:
    """8-bit gray: the probability of what the mask says, less that of the next likely class.

    255 for 1. With one class the other one is the background, so that mask and confidence together
    are the probability: half of 1 more, or less, than the half.
    """
    likely = prediction.probability
    if prediction.num_classes == 1:
        apart = np.abs(2 * likely - 1)
    else:
        most = np.partition(likely, -2, axis=0)
        apart = most[-1] - most[-2]
    return Output(np.rint(apart * np.float32(255)).astype(np.uint8))


SHOWING = frozenset({"cutout", "overlay"})  # of the kinds, those in which the picture is seen
KINDS: Mapping[str, Callable[..., Output]] = {
    "mask": mask,
    "cutout": cutout,
    "color": color,
    "overlay": overlay,
    "probability": probability,
    "confidence": confidence,
}


def render(
    kind: str,
    prediction: "Prediction",
    *,
    palette: Palette = (),
    background: Background | None = None,
    edges: Edges = "clean",
    box: Box | None = None,
) -> Output:
    """An output of one of `KINDS`, cut to a box. background, edges: of a cut-out."""
    if kind == "cutout":
        output = cutout(prediction, palette, background=background, edges=edges)
    else:
        output = KINDS[kind](prediction, palette)
    if box is None:
        return output
    part = output.image[box.top : box.bottom, box.left : box.right]
    return output._replace(image=np.ascontiguousarray(part))


def encode(output: Output, format: Literal["PNG", "WEBP"] = "PNG") -> bytes:
    """An output as a file's content, without loss. UsageError for what WebP cannot hold."""
    image = output.image
    if format == "WEBP" and image.ndim == 2 and image.dtype == np.uint8 and not output.palette:
        image = np.repeat(image[..., None], 3, axis=2)  # WebP has no gray
    return codec.encode(
        image,
        palette=output.palette or None,
        icc_profile=output.icc_profile,
        dpi=None if format == "WEBP" else output.dpi,
        exif=output.exif,
        format=format,
    )


def subject_box(prediction: "Prediction") -> Box | None:
    """The smallest box around all that was found, or None if nothing was."""
    found = prediction.found
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    if not rows.size:
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def background_of(text: str, *, max_pixels: int = codec.MAX_PIXELS) -> Background:
    """A background from a colour ("#ffcc00", "white", "rgb(0, 128, 0)") or a picture's path.

    A name of a colour is that colour; a file of that name is written "./white". UsageError for
    neither; PictureError for a picture that cannot be read.
    """
    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        colour = None
    if colour is not None:
        if len(colour) == 4 and colour[3] != 255:
            raise UsageError(
                f"the background '{printable(text)}' is transparent",
                next_step="Leave out the background to keep the cut-out transparent",
            )
        return colour[:3]
    if not os.path.exists(text):
        raise UsageError(
            f"the background '{printable(text)}' is neither a colour nor a file",
            expected="#ffcc00, a name such as white, or the path of a picture",
        )
    return codec.flatten(codec.read(text, max_pixels=max_pixels))


def _whole(prediction: "Prediction") -> "Picture":
    """The picture at its own size; UsageError where less of it was decoded."""
    if prediction.picture.reduced_from is not None:
        raise UsageError(
            "the picture was decoded smaller, so it cannot be shown",
            found=f"{prediction.picture.image.shape[:2]} of {prediction.picture.size}",
            next_step="Predict with pixels=True",
        )
    return prediction.picture


def _transparent(colours: NDArray[np.uint8], levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4): the colours, and how opaque they are; nothing at all where that is 0."""
    image = np.empty((*levels.shape, 4), np.uint8)
    pixels = image.view(np.uint32)[..., 0]
    for top in range(0, len(image), ROWS):
        rows = slice(top, top + ROWS)
        for channel, values in enumerate((*np.moveaxis(colours[rows], -1, 0), levels[rows])):
            image[rows, :, channel] = values  # one by one: a third of the time of all at once
        pixels[rows] *= levels[rows] > 0
    return image


def _levels(opacity: Iterator[NDArray[np.float32]], picture: "Picture") -> NDArray[np.uint8]:
    """(H, W) of 0..255: opacities of 0..1, rows after rows, times the picture's own."""
    levels, top = np.empty(picture.size, np.uint8), 0
    for part in opacity:
        rows = slice(top, (top := top + len(part)))
        if picture.alpha is not None:
            part = np.multiply(part, picture.alpha[rows] / np.float32(255), dtype=np.float32)
        levels[rows] = np.rint(part * np.float32(255))
    return levels


def _colours(prediction: "Prediction", palette: Palette) -> Palette:
    """A colour for every value of `_index`."""
    if prediction.num_classes == 1:
        return ((0, 0, 0), palette[0] if palette else FOREGROUND)
    return palette + default_palette(256)[len(palette) :]


def _index(prediction: "Prediction") -> NDArray[np.uint8]:
    """The class of each pixel; with one class, 1 for its foreground."""
    return np.minimum(prediction.mask, 1) if prediction.num_classes == 1 else prediction.mask


def _subject(prediction: "Prediction") -> Iterator[NDArray[np.float32]]:
    """(rows, W), rows after rows: the probability of anything but background."""
    background = prediction.background
    for _, likely in prediction.rows():
        if len(likely) == 1:
            yield likely[0]
        else:
            yield likely.max(axis=0) if background is None else 1 - likely[background]


def _joined(parts: Iterator[NDArray[np.float32]], size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) of rows after rows."""
    whole, top = np.empty(size, np.float32), 0
    for part in parts:
        whole[top : (top := top + len(part))] = part
    return whole


def _borders(mask: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """(H, W) True at pixels that have another value beside them, or `width` away."""
    border = np.zeros(mask.shape, bool)
    for step in {1, width}:
        differs = mask[step:] != mask[:-step]
        border[step:] |= differs
        border[:-step] |= differs
        differs = mask[:, step:] != mask[:, :-step]
        border[:, step:] |= differs
        border[:, :-step] |= differs
    return border


def _fitted(background: Background, height: int, width: int) -> NDArray[np.uint8]:
    if isinstance(background, tuple):
        return np.full((height, width, 3), background, np.uint8)
    return np.asarray(ImageOps.fit(Image.fromarray(background), (width, height)))


def _composite(
    above: NDArray[np.uint8], below: NDArray[np.uint8], opacity: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """`above` over `below` (H, W, 3) as far as `opacity` (H, W) says; exact at 0 and 255."""
    layers = (Image.fromarray(array) for array in (above, below, opacity))
    return np.asarray(Image.composite(*layers))
