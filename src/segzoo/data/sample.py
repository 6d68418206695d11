"""What a data set is: samples by number, and what its labels mean.

Any object with `__len__` and `__getitem__` that gives such samples works everywhere a reader does;
`info` is optional. A stream has `__iter__` instead: its samples come in one order and are not
counted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segzoo.base.counts import count_of, some_of
from segzoo.errors import DatasetError, printable
from segzoo.pictures.codec import Picture
from segzoo.spec import Preprocess

__all__ = [
    "Dataset",
    "Info",
    "Sample",
    "Stream",
    "checked",
    "info_of",
    "judge_names",
    "notes_of",
    "parts_of",
    "picture_of",
]

SURROGATE = re.compile(r"[\ud800-\udfff]")


class Sample(TypedDict):
    """One picture with its answer.

    image: (H, W, C) uint8, C of 1 (gray), 3 (RGB) or 4 (with alpha); or as many measured bands as
        the data set says (`Info.bands`).
    target: (H, W) integers, class indices or the ignored index; or (K, H, W) uint8 of 0 and 1, one
        map per class, where classes overlap.
    weight: (H, W) float32, how much a pixel counts; absent, each counts 1.
    id: what names the sample to a person: a file, or a file and a number.
    notes: what a person should know of how it was read, a line each; absent, nothing.
    """

    image: NDArray[np.uint8]
    target: NDArray[Any]
    weight: NotRequired[NDArray[np.float32]]
    id: str
    notes: NotRequired[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Info:
    """What the labels of a data set mean; empty where it is not known.

    classes: their names, in the order of their indices. palette: their colours, RGB in 0..255.
    ignore_index: the value in a target that does not count. pixel_values: the values that the
    mask files store, one of each class in their order, where they are not the indices themselves.
    bands: how many measured bands pictures have; None where they are gray or colours. peak: what
    was said to be the largest value in pictures of more than 8 bits.
    """

    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int | None = None
    pixel_values: tuple[int, ...] = ()
    bands: int | None = None
    peak: float | None = None

    def __post_init__(self) -> None:
        judge_names(self.classes)


@runtime_checkable
class Dataset(Protocol):
    """Samples by number, from 0; reading one twice gives the same."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class Stream(Protocol):
    """Samples one after the other; iterating again starts again."""

    def __iter__(self) -> Iterator[Sample]: ...


def picture_of(image: NDArray[np.uint8], preprocess: Preprocess, in_channels: int) -> Picture:
    """A sample's (H, W, C) as a decoded picture, for a network that takes `in_channels`.

    DatasetError where it has not what the network asks for: another number of measured bands, or
    no alpha for a network of four channels.
    """
    found = image.shape[2]
    if preprocess.mode == "bands":
        if found != in_channels:
            raise DatasetError(
                "the picture has not as many bands as the network takes",
                found=str(found),
                expected=str(in_channels),
                next_step=f"Say what the data set has: bands={in_channels}",
            )
        return Picture(image)
    if found not in (1, 3, 4):
        raise DatasetError(
            "the picture is neither gray nor in colours",
            found=count_of(found, "band"),
            expected="1, 3 or 4 channels",
            next_step=f"If each is a measurement, the data set has to say so: bands={found}",
        )
    if found < 4 == in_channels:
        raise DatasetError(
            f"the picture has {found} of the four channels that the network takes",
            next_step="Say bands=rgba for colours with their alpha, bands=4 for four measurements",
        )
    if found == 1:
        image = np.repeat(image, 3, axis=2)
    alpha = np.ascontiguousarray(image[..., 3]) if found == 4 else None
    return Picture(np.ascontiguousarray(image[..., :3]), alpha)


def judge_names(names: Iterable[str], *, file: str = "") -> None:
    """DatasetError for names that no config.json, card or report could hold."""
    if halves := [name for name in names if SURROGATE.search(name)]:
        raise DatasetError(
            "a label cannot be written as UTF-8",
            file=file,
            found=some_of(halves),
            expected="names without a lone half of a pair of UTF-16",
            next_step="Rename it" + " in the file" * bool(file),
        )


def info_of(dataset: object) -> Info:
    """What a data set says of its labels; an empty Info when it says nothing."""
    found = getattr(dataset, "info", None)
    return found if isinstance(found, Info) else Info()


def notes_of(dataset: object) -> tuple[str, ...]:
    """What a person should know of a data set as a whole, a line each (`notes`)."""
    found = getattr(dataset, "notes", ())
    return found if isinstance(found, tuple) else ()


def parts_of(note: str) -> tuple[str, str, str]:
    """What a note says, what was found, and what to do: "PROBLEM; found FOUND. NEXT"."""
    problem, _, rest = note.partition("; found ")
    found, _, next_step = rest.partition(". ")
    return problem, found, next_step


def checked(sample: Any) -> Sample:
    """The sample, once it is seen to be one. DatasetError names the id and what is wrong.

    Values of the target are judged by `segzoo.pictures.labels`, where the number of classes is
    known.
    """
    try:
        name = printable(str(sample["id"]))
        image, target, weight = sample["image"], sample["target"], sample.get("weight")
    except (TypeError, KeyError, AttributeError):
        raise DatasetError(
            "a data set gave something that is not a sample",
            found=type(sample).__name__,
            expected="a mapping with 'image', 'target' and 'id'",
        ) from None
    arrays = {"image": image, "target": target, "weight": weight}
    for key, value in arrays.items():
        absent = key == "weight" and value is None
        if not absent and not isinstance(value, np.ndarray):
            kind = type(value).__name__
            raise DatasetError(f"{key} is not a numpy array", file=name, found=kind)
    if image.dtype != np.uint8 or image.ndim != 3 or image.size == 0:
        raise DatasetError(
            "image has a wrong type or shape",
            file=name,
            found=f"{image.dtype} {image.shape}",
            expected="uint8 (H, W, 1), (H, W, 3) or (H, W, 4), or (H, W, bands)",
        )
    if weight is not None and (weight.dtype != np.float32 or weight.ndim != 2):
        raise DatasetError(
            "weight has a wrong type or shape",
            file=name,
            found=f"{weight.dtype} {weight.shape}",
            expected="float32 (H, W)",
        )
    if not np.issubdtype(target.dtype, np.integer) or target.ndim not in (2, 3):
        raise DatasetError(
            "target has a wrong type or shape",
            file=name,
            found=f"{target.dtype} {target.shape}",
            expected="integers (H, W), or (K, H, W)",
        )
    for key, value in (("target", target), ("weight", weight)):
        if value is not None and value.shape[-2:] != image.shape[:2]:
            height, width = image.shape[:2]
            swapped = ": its height and width are exchanged" * (
                value.shape[-2:] == (width, height) and height != width
            )
            raise DatasetError(
                f"{key} is not as large as the picture{swapped}",
                file=name,
                found=f"{key} {value.shape[-2]}x{value.shape[-1]}",
                expected=f"{height}x{width} (height x width)",
            )
    return sample  # type: ignore[no-any-return]
