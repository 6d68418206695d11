"""Pictures side by side: photographs, masks and overlays on one sheet, to be looked at.

rows = [(rgb(image), coloured(target, palette), overlaid(image, target, palette))]
picture = sheet(rows, titles=("picture", "mask", "overlay"), captions=["0001"])
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segzoo.data.check import classes_of
from segzoo.data.sample import Info, Sample
from segzoo.errors import UsageError, printable
from segzoo.pictures import codec
from segzoo.pictures.labels import Colour, Palette, binary, decode, default_palette
from segzoo.predict.outputs import FOREGROUND, LINES, TINT

__all__ = [
    "Drawn",
    "background_class",
    "coloured",
    "draw_samples",
    "of_samples",
    "overlaid",
    "palette_of",
    "rgb",
    "sheet",
]

Bytes: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[Any]
Key: TypeAlias = tuple[str, Colour | None]  # a class and its colour; None: the ignored pixels

MARGIN, GAP, BETWEEN = 16, 4, 20  # pixels: around the sheet, between pictures, between blocks
WIDEST = 2  # heights; a wider picture is shown lower
TEXT, SMALL = 14, 12  # pixels: sizes of titles and captions
LINE = 18  # pixels that a line of text takes
INK, FAINT, WHITE = (32, 32, 32), (110, 110, 110), (255, 255, 255)
STRIPES = ((236, 236, 236), (188, 188, 188))  # of pixels that do not count: no class is striped
STRIPE = 40  # a picture's shorter side holds about as many stripes
LONGEST = 300  # characters of a text


# --- one picture ---------------------------------------------------------------------------------


def rgb(image: Bytes, *, bands: bool = False) -> Bytes:
    """(H, W, C) as a sample holds it -> (H, W, 3); transparent pixels are white.

    bands: its channels are measurements; then, and where there are other than 1, 3 or 4, it is what
    `pictures.visible` shows of them.
    """
    if bands or image.shape[2] not in (1, 3, 4):
        return codec.visible(codec.Picture(image))
    return codec.flatten(codec.read(image))


def palette_of(info: Info, num_classes: int) -> Palette:
    """A colour for each class: the data set's, else VOC's with black for the background.

    Of two classes without colours the second is pink, which few photographs have.
    """
    if info.palette:
        return info.palette
    if num_classes <= 2:
        return ((0, 0, 0), FOREGROUND)
    black, *colours = default_palette(num_classes + 1)
    background = background_class(info)
    if background is not None:
        colours.insert(background, black)
    return tuple(colours[:num_classes])


def background_class(info: Info) -> int | None:
    """The class that is called background; 0 where classes have no names; else None."""
    names = [name.strip("_ ").lower() for name in info.classes]
    if len(names) < 2:
        return 0
    return names.index("background") if "background" in names else None


def coloured(target: Labels, palette: Palette, *, ignore_index: int | None = None) -> Bytes:
    """(H, W) indices, or (K, H, W) maps -> (H, W, 3) in the colours of the classes.

    Ignored pixels are striped in gray; a class beyond the palette has VOC's colour. Where maps
    overlap colours are mixed; where there is none it is black. UsageError for an index below 0.
    """
    ignored = _ignored(target, ignore_index)
    if target.ndim == 3:
        found = target * ~ignored
        colours = np.array(_extended(palette, len(target)), np.float64)
        mixed = np.tensordot(found, colours[: len(target)], axes=(0, 0))
        image: Bytes = np.rint(mixed / np.maximum(found.sum(axis=0), 1)[..., None]).astype(np.uint8)
    else:
        indices = np.where(ignored, 0, target)
        image = decode(indices, _extended(palette, int(indices.max(initial=0)) + 1))
    image[ignored] = _striped(ignored.shape)[ignored]
    return image


def overlaid(
    image: Bytes,
    target: Labels,
    palette: Palette,
    *,
    ignore_index: int | None = None,
    background: int | None = 0,
) -> Bytes:
    """The picture with its classes tinted and outlined, ignored pixels striped: (H, W, 3).

    background: the class that is left as it is; of (K, H, W) maps it is what no class has.
    """
    ignored = _ignored(target, ignore_index)
    if target.ndim == 3:
        found = target.any(axis=0)
    else:
        found = ~ignored if background is None else (target != background) & ~ignored
    edges = _edges(target, max(1, round(min(found.shape) / LINES)))
    cover = np.where(found | ignored, np.uint8(TINT), np.uint8(0))
    cover[found & edges] = 255
    layers = (coloured(target, palette, ignore_index=ignore_index), rgb(image), cover)
    return np.asarray(Image.composite(*map(Image.fromarray, layers)))


def _ignored(target: Labels, ignore_index: int | None) -> NDArray[np.bool_]:
    """(H, W) True where a pixel does not count."""
    if ignore_index is None:
        return np.zeros(target.shape[-2:], np.bool_)
    layers = target.reshape(-1, *target.shape[-2:])
    ignored: NDArray[np.bool_] = np.all(layers == ignore_index, axis=0)
    return ignored


def _extended(palette: Palette, length: int) -> Palette:
    return palette + default_palette(length)[len(palette) :]


def _striped(shape: tuple[int, ...]) -> Bytes:
    """(H, W, 3) diagonal stripes."""
    wide = max(2, round(min(shape) / STRIPE))
    place = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) // wide % 2
    return np.array(STRIPES, np.uint8).take(place, axis=0)


def _edges(target: Labels, width: int) -> NDArray[np.bool_]:
    """(H, W) True where a class has another beside it, or `width` pixels away."""
    layers = target.reshape(-1, *target.shape[-2:])
    edges = np.zeros(layers.shape[1:], np.bool_)
    for step in {1, width}:
        down = (layers[:, step:] != layers[:, :-step]).any(axis=0)
        across = (layers[..., step:] != layers[..., :-step]).any(axis=0)
        edges[step:] |= down
        edges[:-step] |= down
        edges[:, step:] |= across
        edges[:, :-step] |= across
    return edges


# --- samples -------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """Samples as pictures. legend: the classes that occur, where they have names.

    rows: of each "picture", "mask", "overlay", and "weight" where pixels are weighed.
    """

    rows: list[dict[str, Bytes]]
    legend: list[Key]


def of_samples(samples: Sequence[Sample], *, info: Info, ignore_index: int | None) -> Bytes:
    """A sheet with picture, mask and overlay of each sample, and what its pixels weigh.

    info: of their data set. Below stand the classes that occur, where they have names.
    """
    drawn = draw_samples(samples, info=info, ignore_index=ignore_index)
    return sheet(
        [[*row.values()] for row in drawn.rows],
        titles=("picture", "mask", "overlay", "weight"),
        captions=[sample["id"] for sample in samples],
        legend=drawn.legend,
        across=1 if len(samples) < 4 else 2,
    )


def draw_samples(samples: Sequence[Sample], *, info: Info, ignore_index: int | None) -> Drawn:
    """Picture, mask and overlay of each sample, and what its pixels weigh."""
    targets = [sample["target"] for sample in samples]
    num_classes = classes_of(info)
    if num_classes is None and not any(((t != 0) & (t != 255)).any() for t in targets):
        targets, num_classes = [binary(t, ignore_index) for t in targets], 2
    present = {value for target in targets for value in _present(target)}
    palette = palette_of(info, num_classes or max(present, default=0) + 1)
    weighed = any("weight" in sample for sample in samples)
    rows: list[dict[str, Bytes]] = []
    for sample, target in zip(samples, targets, strict=True):
        image = rgb(sample["image"], bands=info.bands is not None)
        mask = coloured(target, palette, ignore_index=ignore_index)
        tinted = overlaid(
            image,
            target,
            palette,
            ignore_index=ignore_index,
            background=background_class(info),
        )
        rows.append({"picture": image, "mask": mask, "overlay": tinted})
        if weighed:
            rows[-1]["weight"] = _shaded(sample.get("weight", np.ones(target.shape[-2:])))
    names = info.classes if len(info.classes) != 1 else ("background", *info.classes)
    legend: list[Key] = [
        (name, colour)
        for index, (name, colour) in enumerate(zip(names, palette, strict=False))
        if index in present
    ]
    if ignore_index in present:
        legend.append(("ignored", None))
    return Drawn(rows, legend)


def _present(target: Labels) -> list[int]:
    """The values of (H, W), or the classes of (K, H, W) that have a pixel."""
    if target.ndim == 2:
        return [int(value) for value in np.unique(target)]
    return [k for k, layer in enumerate(target) if (layer == 1).any()]


def _shaded(weight: NDArray[Any]) -> Bytes:
    """(H, W) weights -> (H, W, 3) gray, white for the largest."""
    shades = np.rint(weight * (255 / max(float(weight.max()), 1e-9))).astype(np.uint8)
    return np.repeat(shades[..., None], 3, axis=2)


# --- the sheet -----------------------------------------------------------------------------------


def sheet(
    rows: Sequence[Sequence[Bytes]],
    *,
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
    legend: Sequence[Key] = (),
    height: int = 192,
    across: int = 1,
) -> Bytes:
    """Rows of pictures (H, W, 3) of any sizes as one picture (H, W, 3) on white.

    titles: one above each column. captions: one below each row, cut where it is too long. legend:
    classes and their colours, below all. height: of each picture in pixels: larger ones shrink to
    it, smaller ones grow by a whole factor, so that their pixels stay squares. across: how many
    rows lie side by side. UsageError without a picture.
    """
    if not any(rows):
        raise UsageError("there are no pictures to show")
    fitted = [[_fitted(picture, height) for picture in row] for row in rows]
    columns = max(map(len, fitted))
    widths = [max(row[c].width for row in fitted if c < len(row)) for c in range(columns)]
    whole = sum(widths) + GAP * (columns - 1)
    lines = [fitted[n : n + across] for n in range(0, len(fitted), across)]
    heights = [max(picture.height for row in line for picture in row) for line in lines]
    below = (LINE if captions else 0) + GAP * 2

    width = 2 * MARGIN + min(across, len(rows)) * (whole + BETWEEN) - BETWEEN
    keys = _rows_of_keys(legend, width - 2 * MARGIN)
    top = MARGIN + (LINE + GAP if titles else 0)
    total = top + sum(heights) + below * len(lines) + LINE * len(keys) + MARGIN
    canvas = Image.new("RGB", (width, total), WHITE)
    draw = ImageDraw.Draw(canvas)
    for block in range(min(across, len(rows))):
        x = MARGIN + block * (whole + BETWEEN)
        for column, title in enumerate(titles[:columns]):
            at = x + sum(widths[:column]) + GAP * column
            _write(draw, (at, MARGIN), title, widths[column], TEXT, INK)
    for number, row in enumerate(fitted):
        line, block = divmod(number, across)
        x = MARGIN + block * (whole + BETWEEN)
        y = top + sum(heights[:line]) + below * line
        for column, picture in enumerate(row):
            at = x + sum(widths[:column]) + GAP * column
            canvas.paste(picture, (at, y + heights[line] - picture.height))
        if number < len(captions):
            _write(draw, (x, y + heights[line] + 2), captions[number], whole, SMALL, FAINT)
    for place, line_of_keys in enumerate(keys):
        y = top + sum(heights) + below * len(lines) + LINE * place
        for key in line_of_keys:
            _draw_key(canvas, draw, key, y)
    return np.asarray(canvas)


def _fitted(picture: Bytes, height: int) -> Image.Image:
    """The picture at `height`, or lower where it would be too wide."""
    rows, columns = picture.shape[:2]
    factor = min(height / rows, WIDEST * height / columns)
    if factor >= 1:
        size, kernel = (columns * int(factor), rows * int(factor)), Image.Resampling.NEAREST
    else:
        size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
        kernel = Image.Resampling.HAMMING  # sharp, and without the halos of its wider relatives
    return Image.fromarray(np.ascontiguousarray(picture)).resize(size, kernel)


class _Key(NamedTuple):
    """An entry of the legend. x: where it begins; width: of its text."""

    text: str
    colour: Colour | None
    x: int
    width: int


def _rows_of_keys(legend: Sequence[Key], width: int) -> list[list[_Key]]:
    """The legend's entries in lines that are not wider than the sheet."""
    lines: list[list[_Key]] = []
    x = width
    for text, colour in legend:
        room = min(width - LINE, int(_font(SMALL).getbbox(printable(text)[:LONGEST])[2]))
        if x + LINE + room > width:
            lines.append([])
            x = 0
        lines[-1].append(_Key(text, colour, MARGIN + x, room))
        x += LINE + room + MARGIN
    return lines


def _draw_key(canvas: Image.Image, draw: ImageDraw.ImageDraw, key: _Key, y: int) -> None:
    box = (key.x, y + 2, key.x + 12, y + 14)
    if key.colour is None:
        canvas.paste(Image.fromarray(_striped((12, 12))), box[:2])
    else:
        draw.rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=key.colour, outline=FAINT)
    _write(draw, (key.x + LINE, y), key.text, key.width, SMALL, INK)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    size: int,
    colour: Colour,
) -> None:
    """One line of text, no wider than `width`."""
    font = _font(size)
    shown = next(_shorter(printable(text)[:LONGEST], font, width), "")
    draw.text(at, shown, fill=colour, font=font)


def _shorter(text: str, font: Any, width: int) -> Iterator[str]:
    """The text where it fits, then it with ever more of its middle left out, as far as that fits.

    Names differ at their ends: 0001TP_008550 and 0001TP_008580.
    """
    for left_out in range(len(text)):
        keep = len(text) - left_out - bool(left_out)
        head, tail = text[: keep // 2], text[len(text) - (keep - keep // 2) :]
        cut = f"{head}…{tail}" if left_out else text
        if font.getbbox(cut)[2] <= width:
            yield cut


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
