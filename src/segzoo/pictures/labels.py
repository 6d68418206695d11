"""What the values of a mask mean: classes, their colours, and values that cannot be meant.

    indices = encode(colours, VOC.palette, ignore={(224, 224, 192): 255})
    picture = decode(indices, VOC.palette)

Nothing here guesses: a colour or a value that was not declared is a DatasetError that lists it.
The tables of well-known data sets are in `segzoo.pictures.palettes`.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of
from segzoo.errors import DatasetError, UsageError

__all__ = [
    "Colour",
    "Palette",
    "apply_map",
    "binary",
    "decode",
    "default_classes",
    "default_palette",
    "encode",
    "gray",
    "judge",
    "judged",
    "layer",
    "luma",
    "parted",
    "whole",
]

Colour = tuple[int, int, int]  # red, green, blue in 0..255
Palette = tuple[Colour, ...]
Labels: TypeAlias = NDArray[Any]

SHOWN = 8  # values that a message lists, the most frequent first
MANY = 8  # odd values: more than a person draws by hand
NEAR = (
    40  # of 0 or of 255: what a lossy JPEG, or the smoothed edge of a line, makes of black, white
)


def default_palette(num_classes: int) -> Palette:
    """The colour map of PASCAL VOC: black for class 0, then colours that are easy to tell apart.

    The bits of the index go in turn to red, green and blue, the lowest into the highest bit of a
    colour (Everingham et al., The PASCAL Visual Object Classes Challenge, development kit,
    VOClabelcolormap.m). Index 255 is (224, 224, 192), the border that VOC does not judge.
    """
    return tuple(
        (_spread(index), _spread(index >> 1), _spread(index >> 2)) for index in range(num_classes)
    )


def default_classes(num_classes: int) -> tuple[str, ...]:
    """ "foreground" for one class, else the indices as text."""
    return ("foreground",) if num_classes == 1 else tuple(map(str, range(num_classes)))


# --- colours <-> indices -------------------------------------------------------------------------


def encode(
    colours: NDArray[np.uint8],
    palette: Sequence[Colour],
    *,
    ignore: Mapping[Colour, int] | None = None,
    unknown: int | None = None,
    file: str | PathLike[str] = "",
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W, 3) uint8 RGB -> (H, W) indices: a colour's place in the palette, exactly.

    ignore: further colours and their indices. unknown: the index of every other colour; without
    it they are a DatasetError about `file`, which lists the most frequent ones. uint8 where every
    index fits, else uint16. UsageError when one colour stands for two indices.
    """
    indices: dict[Colour, int] = {}
    for colour, index in [*((c, i) for i, c in enumerate(palette)), *(ignore or {}).items()]:
        if indices.setdefault(colour, index) != index:
            raise UsageError(
                "a palette has one colour for two indices, so it cannot be read backwards",
                found=f"{_hex(colour)} for {indices[colour]} and {index}",
            )
    # 2^24 entries of index + 1, made anew: pages of zeros are not allocated until they are written
    # to, so that a palette of 21 costs 0.1 MB and 0.1 ms. On 480x640 pixels the look-up took 0.6 ms
    # where a binary search in the sorted palette took 2.0 to 7.3 ms.
    table = np.zeros(1 << 24, np.uint16)
    table[_codes(np.array([*indices], np.uint8).reshape(-1, 3))] = [
        index + 1 for index in indices.values()
    ]
    found = table[_codes(colours)]
    if not found.all():
        if unknown is None:
            raise DatasetError(
                "the mask has colours that stand for no class",
                file=file,
                found=_counted(_codes(colours)[found == 0], _hex_of_code),
                expected=f"the {count_of(len(indices), 'colour')} of the palette",
                next_step="Give the palette of these masks; a lossy JPEG cannot hold labels",
            )
        found[found == 0] = unknown + 1
    found -= 1
    return found.astype(np.uint8) if found.size == 0 or found.max() < 256 else found


def decode(indices: Labels, palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """(H, W) indices -> (H, W, 3) uint8 RGB. UsageError for an index without a colour."""
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < len(palette):
        raise UsageError(
            "the palette does not fit the mask",
            found=f"indices {indices.min()} to {indices.max()}",
            expected=f"0 to {len(palette) - 1}",
        )
    return np.array(palette, np.uint8).reshape(-1, 3).take(indices, axis=0)


def gray(values: Labels, *, file: str | PathLike[str] = "") -> Labels:
    """(H, W) whole numbers as they are, of any type; (H, W, 3) that are gray as (H, W).

    DatasetError for colours and for fractions.
    """
    if values.ndim == 2:
        return whole(values, file=file)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    coloured = (red != green) | (green != blue)
    if coloured.any():
        raise DatasetError(
            "the mask is a picture in colours",
            file=file,
            found=_counted(_codes(values), _hex_of_code),
            expected="values of classes",
            next_step="Say what the colours mean: palette=#000000,#ff0000 in the order of classes",
        )
    return red


def whole(values: Labels, *, file: str | PathLike[str] = "") -> Labels:
    """The values as integers, exactly. DatasetError for fractions."""
    if values.dtype.kind in "ui":
        return values
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    odd = ~np.isfinite(values) | (values != np.rint(values))
    if odd.any():
        examples = ", ".join(f"{v:.4g}" for v in np.unique(values[odd])[:SHOWN])
        raise DatasetError(
            "the mask holds fractions, not whole numbers",
            file=file,
            found=f"{examples} and so on in {count_of(int(odd.sum()), 'place')}",
            expected="values of classes",
            next_step="If all from a value on is one class, say so: threshold=0.5",
        )
    return values.astype(np.int64)


def parted(
    values: Labels, threshold: float, *, ignore_index: int | None = None
) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) -> (H, W): 1 where the brightness is at least `threshold`, else 0.

    The brightness of colours is Pillow's gray. ignore_index: a brightness that stays what it is.
    """
    if values.ndim == 3:
        values = luma(values)
    found = (values >= threshold).astype(np.uint8)
    if ignore_index is not None:
        found[values == ignore_index] = ignore_index
    return found


def layer(indices: Labels) -> NDArray[np.uint8]:
    """(H, W) of 0 and 1, or of 0 and 255, as uint8 of 0 and 1: a class that others may overlap.

    DatasetError for other values.
    """
    found = binary(indices)
    if (found > 1).any() or (found.dtype.kind == "i" and (found < 0).any()):
        raise DatasetError(
            "the map of a class holds other values than 0 and 1",
            found=_counted(indices),
            expected="0 and 1, or 0 and 255",
            next_step="Say what its values mean: values=A,B, or threshold=128",
        )
    return found.astype(np.uint8)


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB -> (H, W) gray, by the weights and the rounding of Pillow's mode L.

    They are 0.299, 0.587 and 0.114 of ITU-R BT.601 as integers over 65536.
    """
    red, green, blue = np.moveaxis(image.astype(np.uint32), -1, 0)
    gray: NDArray[np.uint32] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    return gray.astype(np.uint8)


# --- values -> indices ---------------------------------------------------------------------------


def apply_map(
    values: Labels,
    mapping: Mapping[int, int],
    *,
    rest: int | None = None,
    ignore_index: int | None = None,
    file: str | PathLike[str] = "",
) -> NDArray[np.uint8] | NDArray[np.int64]:
    """(H, W) stored values -> indices, by a map that names every value.

    rest: the index of values that the map does not name; without it they are a DatasetError that
    lists them. ignore_index: a stored value that stays what it is, unless the map says otherwise.
    uint8 where every index fits, else int64.
    """
    known = dict(mapping) if ignore_index is None else {ignore_index: ignore_index, **mapping}
    bytewise = values.dtype == np.uint8 and 0 <= min(known) <= max(known) < 256
    # otherwise both ends stand for all values beyond
    first, last = (0, 255) if bytewise else (min(known) - 1, max(known) + 1)
    table = np.zeros(last - first + 1, np.int64)
    listed = np.zeros(len(table), np.bool_)
    places = np.array([*known], np.int64) - first
    if rest is not None:
        table[:], listed[:] = rest, True
    table[places], listed[places] = [*known.values()], True
    if table.min() >= 0 and table.max() < 256:
        table = table.astype(np.uint8)
    if bytewise and table.dtype == np.uint8:  # bytes.translate: a tenth of numpy's time
        raw = values.tobytes()
        if 0 not in raw.translate(listed.tobytes()):
            indices = np.frombuffer(bytearray(raw.translate(table.tobytes())), np.uint8)
            return indices.reshape(values.shape)
    chosen = values if bytewise else np.clip(values.astype(np.int64), first, last) - first
    fine = listed[chosen]
    if not fine.all():
        raise DatasetError(
            "the mask holds values that the map does not name",
            file=file,
            found=_counted(values[~fine]),
            expected=_series(sorted(known)),
            next_step="Give every stored value in values=, or the one to ignore in ignore_index=",
        )
    return table[chosen]


def binary(
    target: Labels, ignore_index: int | None = None, *, file: str | PathLike[str] = ""
) -> Labels:
    """The target of one class as 0 and 1, where it is written as 0 and 255, as predictions are.

    A target of 0 and 1 is returned as it is, and so is one where 255 is the ignored index.
    DatasetError when 1 and 255 both occur and neither is ignored: one of them is no class.
    """
    white = target == 255
    if ignore_index == 255 or not white.any():
        return target
    ignored = _ignored(target, ignore_index)
    ones = (target == 1) & ~ignored
    if not (white | ones | ignored | (target == 0)).all():
        return target  # for `judge` to list
    if ones.any():
        raise DatasetError(
            "the mask holds both 1 and 255",
            file=file,
            found=_counted(target),
            expected="0 and 1, or 0 and 255",
            next_step="If 255 does not count, say ignore_index=255",
        )
    return np.where(white, target.dtype.type(1), target)


def judge(
    target: Labels,
    *,
    num_classes: int,
    ignore_index: int | None = None,
    file: str | PathLike[str] = "",
) -> None:
    """DatasetError for values of a target that are neither a class nor the ignored index.

    target: (H, W) of class indices, 0 and 1 for one class; or (K, H, W) of 0 and 1, a map for each
    class. The error lists the values and says what they may mean.
    """
    most = num_classes
    if num_classes == 1 or target.ndim == 3:
        most = 2
    if target.ndim == 3 and len(target) != num_classes:
        raise DatasetError(
            "the target has not one map for each class",
            file=file,
            found=count_of(len(target), "map"),
            expected=str(num_classes),
        )
    wrong = target >= most
    if target.dtype.kind == "i":
        wrong |= target < 0
    wrong &= ~_ignored(target, ignore_index)
    if not wrong.any():
        return
    also = "" if ignore_index is None else f", or {ignore_index}, which is ignored"
    raise DatasetError(
        "the target holds values that are no class",
        file=file,
        found=_counted(target[wrong]),
        expected=f"0 to {most - 1}{also}",
        next_step=_hint(target, num_classes, ignore_index),
    )


def judged(
    target: Labels,
    *,
    num_classes: int,
    ignore_index: int | None = None,
    file: str | PathLike[str] = "",
) -> Labels:
    """The target, seen by `judge`; that of one class first made 0 and 1, as `binary` does."""
    if num_classes == 1:
        target = binary(target, ignore_index, file=file)
    judge(target, num_classes=num_classes, ignore_index=ignore_index, file=file)
    return target


def _hint(target: Labels, num_classes: int, ignore_index: int | None) -> str:
    """What values that are no class most likely mean."""
    values, counts = np.unique(target, return_counts=True)
    present = {int(v) for v in values} - {ignore_index}
    near = (values <= NEAR) | ((values >= 255 - NEAR) & (values <= 255))
    if present <= {0, 255}:
        return "Masks of black and white: say values=0,255"
    if len(present) > MANY and counts[near].sum() > 0.8 * target.size:
        return (
            "A mask that was compressed with loss, or smoothed? If it is black and white, say "
            "threshold=128"
        )
    strange = {value for value in present if not 0 <= value < max(num_classes, 2)}
    if ignore_index is None and len(strange) == 1 and (strange == {255} or min(strange) < 0):
        return "If {0} does not count, say ignore_index={0}".format(*strange)
    if present - {255} <= {*range(1, num_classes + 1)}:
        return "If the classes are stored from 1 on, say so: values=1,2,3 and so on"
    return "Give the right number of classes, or their stored values in their order: values=A,B,C"


# --- words for messages --------------------------------------------------------------------------


def _ignored(target: Labels, ignore_index: int | None) -> NDArray[np.bool_]:
    return np.zeros(target.shape, np.bool_) if ignore_index is None else target == ignore_index


def _codes(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(..., 3) RGB -> (...) 0xRRGGBB."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    codes: NDArray[np.uint32] = red.astype(np.uint32) << 16
    codes |= green.astype(np.uint32) << 8
    codes |= blue
    return codes


def _hex(colour: Sequence[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _hex_of_code(code: int) -> str:
    return f"#{code:06x}"


def _counted(values: NDArray[Any], word: Callable[[int], str] = str) -> str:
    """The values with how often they occur, the most frequent first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{word(int(found[n]))} ({count_of(counts[n], 'pixel')})" for n in order[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(shown) + more


def _series(values: Sequence[int]) -> str:
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def _spread(index: int) -> int:
    """Bits 0, 3, 6, ... of an index as bits 7, 6, 5, ... of a colour."""
    return sum((index >> 3 * n & 1) << 7 - n for n in range(8))
