"""Pictures of a few handwritten digits, as M2NIST has them, from any set of single digits.

    write_digits("digits", source="train-images-idx3-ubyte.gz", count=5000, seed=0)
    write_digits("digits")                        # from the digits that scikit-learn brings along

A picture is black where its mask says background (10); every other pixel belongs to a digit (0 to
9), as in M2NIST (https://www.kaggle.com/datasets/farhanhubble/multimnistm2nist). The same seed
gives the same pictures on every platform and with every version of numpy: draws are taken from the
bits of PCG64 itself, which numpy keeps (NEP 19), and all arithmetic is of integers.
"""

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segzoo.base import files, ours
from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.errors import DatasetError, DependencyMissingError, ResourceError, UsageError, printable

__all__ = [
    "BACKGROUND",
    "Digits",
    "compose_digits",
    "read_digits",
    "share_out",
    "sklearn_digits",
    "write_digits",
]

Bytes: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int32]

BACKGROUND = 10
NAMES = np.array([*map(str, range(BACKGROUND)), "background"])
GAP = 1  # black pixels between digits: two equal ones side by side stay two
PARTS = ("train", "val", "test")
MAX_BYTES = 512 << 20  # of a source; MNIST has 47 MB, EMNIST 220
IDX_IMAGES, IDX_LABELS = 0x0803, 0x0801  # unsigned bytes of three dimensions, and of one
DAMAGED = (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile, MemoryError)


class Digits(NamedTuple):
    """Single digits. images: (N, h, w) uint8, black without ink. labels: (N,) uint8, 0 to 9."""

    images: Bytes
    labels: Bytes


def compose_digits(
    *,
    count: int,
    digits: tuple[Bytes, Bytes],
    seed: int | Sequence[int],
    size: tuple[int, int] = (64, 84),
    most: int = 3,
    overlap: bool = False,
) -> tuple[Bytes, Bytes]:
    """Pictures (count, H, W) uint8 and class maps (count, H, W) uint8 of 0 to 9 and BACKGROUND.

    Each picture has 1 to `most` digits, each number as likely; fewer where no place is left.
    digits: (N, h, w) uint8 and their labels. overlap: digits may lie over those before them; else
    there is a black pixel at least between the boxes of two. The first pictures do not depend on
    `count`. UsageError for a size that not every digit fits in, and for counts below 1.
    """
    images, masks, _ = _composed(count, Digits(*digits), seed, size, most, overlap)
    return images, masks


def write_digits(
    folder: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] = "sklearn",
    count: int = 5000,
    size: tuple[int, int] = (64, 84),
    seed: int = 0,
    most: int = 3,
    overlap: bool = False,
    val: float = 0.1,
    test: float = 0.1,
) -> dict[str, str]:
    """Write train.npz, val.npz and test.npz into `folder`; gives their paths by part.

    val, test: shares of the `count` pictures, and of the source's digits: no digit is in two
    files, and none is written for a share of 0. Keys: images and masks as `compose_digits` gives
    them, classes, what these are called, and index (n, most) int32, which of the source's digits
    are in a picture, then -1.
    Raises what `read_digits`, `share_out` and `compose_digits` raise, and OutputError.
    """
    folder = expanded(folder)
    paths = {part: os.path.join(folder, f"{part}.npz") for part in PARTS}
    ours.refuse_others(paths.values(), next_step="choose another folder")
    digits = read_digits(source)
    parts = share_out(digits.labels, val=val, test=test, seed=seed)
    counts = {"val": round(val * count), "test": round(test * count)}
    counts["train"] = count - sum(counts.values())
    if empty := [part for part in parts if counts[part] < 1]:
        raise UsageError(
            f"{count_of(count, 'picture')}: too few to be shared out so",
            found=f"none for {' and '.join(empty)}",
        )
    composed: dict[str, dict[str, NDArray[Any]]] = {}
    for part, chosen in parts.items():
        some = Digits(digits.images[chosen], digits.labels[chosen])
        draws = [seed, 1 + PARTS.index(part)]  # [seed] has served to share out the digits
        images, masks, index = _composed(counts[part], some, draws, size, most, overlap)
        index = np.where(index < 0, np.int32(-1), chosen[index])
        composed[part] = {"images": images, "masks": masks, "index": index, "classes": NAMES}
    files.make_folder(folder)
    paths = {part: path for part, path in paths.items() if part in composed}
    for part, arrays in composed.items():
        with files.replacing(paths[part]) as stream:
            _write_npz(stream, arrays)
    return paths


def share_out(labels: Bytes, *, val: float, test: float, seed: int) -> dict[str, Numbers]:
    """The numbers of the digits for each part: drawn, and of every label its share.

    A part whose share is 0 is left out. UsageError for shares that leave another without digits.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise UsageError(
            "these shares leave nothing for training",
            found=f"val={val:g}, test={test:g}",
            expected="0 or more each, and less than 1 together",
        )
    draw = _draws([seed])
    order = np.arange(len(labels), dtype=np.int32)
    for last in range(len(order) - 1, 0, -1):
        other = draw(last + 1)
        order[last], order[other] = order[other], order[last]
    pieces: dict[str, list[Numbers]] = {"val": [], "test": [], "train": []}
    for label in range(BACKGROUND):
        of_label = order[labels[order] == label]
        first, second = round(val * len(of_label)), round((val + test) * len(of_label))
        for part, piece in zip(pieces, np.split(of_label, [first, second]), strict=True):
            pieces[part].append(piece)
    shares = {"train": 1.0, "val": val, "test": test}
    parts = {part: np.sort(np.concatenate(pieces[part])) for part in PARTS if shares[part]}
    if empty := [part for part, chosen in parts.items() if not len(chosen)]:
        raise UsageError(
            f"{count_of(len(labels), 'digit')}: too few to be shared out so",
            found=f"none for {' and '.join(empty)}",
        )
    return parts


def read_digits(source: str | os.PathLike[str]) -> Digits:
    """Single digits from "sklearn", from MNIST's own files, or from an .npz.

    MNIST: the file of pictures (train-images-idx3-ubyte, or the same with .gz), beside it the file
    of labels (http://yann.lecun.com/exdb/mnist/). npz: keys images (N, h, w) uint8 and labels (N,)
    of integers. DatasetError for a file of another kind, cut short, damaged or larger than half a
    gigabyte; DependencyMissingError.
    """
    file = expanded(source)
    if file == "sklearn":
        return sklearn_digits()
    digits = _read_npz(file) if file.endswith(".npz") else _read_mnist(file)
    if not len(digits.images) or not len(digits.images) == len(digits.labels):
        raise DatasetError(
            "pictures and labels are not as many, or there are none",
            file=file,
            found=f"{count_of(len(digits.images), 'picture')}, "
            f"{count_of(len(digits.labels), 'label')}",
        )
    if digits.labels.max() >= BACKGROUND:
        raise DatasetError(
            "a label is not a digit", file=file, found=str(digits.labels.max()), expected="0 to 9"
        )
    return digits


def sklearn_digits() -> Digits:
    """The 1797 digits of scikit-learn, 8x8 pixels in 17 shades, drawn anew as 28x28 as MNIST's are.

    They come from bitmaps of 32x32 whose pixels were counted in blocks of 4x4 (E. Alpaydin and
    C. Kaynak 1998, https://archive.ics.uci.edu/dataset/80). Enlarged to 20x20 by cubic convolution
    (R. Keys 1981, a = -1/2); a contrast curve then makes strokes of what was counted, about as wide
    as MNIST's. DependencyMissingError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DependencyMissingError(
            "these digits come with scikit-learn, which is not installed",
            next_step="Run: pip install 'segzoo-core[train]', or name a file of MNIST",
        ) from error
    found = load_digits()
    return Digits(_enlarged(found.images.astype(np.int64)), found.target.astype(np.uint8))


# --- composing ------------------------------------------------------------------------------------


def _composed(
    count: int,
    digits: Digits,
    seed: int | Sequence[int],
    size: tuple[int, int],
    most: int,
    overlap: bool,
) -> tuple[Bytes, Bytes, Numbers]:
    """Pictures, masks, and (count, most) which digits are in each, then -1."""
    if count < 1 or most < 1 or min(size) < 1:
        raise UsageError(
            "there is nothing to compose",
            found=f"{count_of(count, 'picture')} of {size[0]}x{size[1]} with up to {most} digits",
        )
    boxes = _boxes(digits.images)
    height, width = size
    tallest, widest = (boxes[:, 2:] - boxes[:, :2]).max(axis=0).tolist()
    if tallest > height or widest > width:
        raise UsageError(
            f"not every digit fits into pictures of {height}x{width}",
            found=f"digits of up to {tallest}x{widest} (height x width)",
        )
    try:
        images = np.zeros((count, height, width), np.uint8)
        masks = np.full((count, height, width), BACKGROUND, np.uint8)
        index = np.full((count, most), -1, np.int32)
    except (MemoryError, ValueError):  # ValueError: more than an address can say
        raise ResourceError(
            f"memory is not enough for {count_of(count, 'picture')} of {size}"
        ) from None
    draw = _draws(seed)
    for image, mask, numbers in zip(images, masks, index, strict=True):
        placed: list[tuple[int, int, int, int]] = []
        for slot in range(1 + draw(most)):
            number = draw(len(boxes))
            top, left, bottom, right = boxes[number].tolist()
            h, w = bottom - top, right - left
            free = _free(size, (h, w), () if overlap else placed)
            if not len(free):
                break
            y, x = divmod(int(free[draw(len(free))]), width - w + 1)
            ink = digits.images[number, top:bottom, left:right]
            np.copyto(image[y : y + h, x : x + w], ink, where=ink > 0)
            np.copyto(mask[y : y + h, x : x + w], digits.labels[number], where=ink > 0)
            numbers[slot] = number
            placed.append((y, x, y + h, x + w))
    return images, masks, index


def _free(
    size: tuple[int, int], box: tuple[int, int], placed: Sequence[tuple[int, int, int, int]]
) -> NDArray[np.intp]:
    """Where the corner of a box may lie, as numbers in (H - h + 1, W - w + 1), row by row."""
    h, w = box
    free = np.ones((size[0] - h + 1, size[1] - w + 1), bool)
    for top, left, bottom, right in placed:
        above, before = max(0, top - h - GAP + 1), max(0, left - w - GAP + 1)
        free[above : bottom + GAP, before : right + GAP] = False
    return np.flatnonzero(free)


def _boxes(images: Bytes) -> NDArray[np.int64]:
    """(N, 4) of the ink of each digit: top, left, bottom, right; DatasetError for one without."""
    ink = images > 0
    rows: NDArray[np.bool_] = np.any(ink, axis=2)
    columns: NDArray[np.bool_] = np.any(ink, axis=1)
    blank = ~rows.any(axis=1)
    if blank.any():
        raise DatasetError(f"digit {int(blank.argmax())} of the source is black all over")
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    bottom = rows.shape[1] - rows[:, ::-1].argmax(axis=1)
    right = columns.shape[1] - columns[:, ::-1].argmax(axis=1)
    return np.stack([top, left, bottom, right], axis=1)


def _draws(seed: int | Sequence[int]) -> Callable[[int], int]:
    """A function that draws whole numbers from 0 to below its argument, each as likely."""
    try:
        raw = np.random.PCG64(seed).random_raw
    except ValueError:
        raise UsageError(f"a seed is 0 or more, not {seed}") from None
    return lambda below: int(raw()) * below >> 64


def _enlarged(counts: NDArray[np.int64]) -> Bytes:
    """(N, 8, 8) of 0 to 16 -> (N, 28, 28), in integers: 2.5 times as large, in the middle."""
    # Distances in tenths of a pixel of 8x8: the one under column i of 28 is at (4 i - 19) / 10.
    t = np.abs(4 * np.arange(28)[:, None] - 19 - 10 * np.arange(8))
    near = 3 * t**3 - 50 * t**2 + 2000
    far = -(t**3) + 50 * t**2 - 800 * t + 4000
    weights = np.where(t < 10, near, np.where(t < 20, far, 0))  # of 2000
    shades = weights @ counts @ weights.T  # of 2000 * 2000
    # Below 6 of 16 is black and above 12 white: with these the strokes cover as much as MNIST's.
    low, high = 6 * 2000**2, 12 * 2000**2
    part = np.clip(shades - low, 0, high - low) * 1024 // (high - low)
    curve = part**2 * (3 * 1024 - 2 * part)  # of 1024 ** 3; level at both ends
    return ((255 * curve + 1024**3 // 2) // 1024**3).astype(np.uint8)


# --- files ----------------------------------------------------------------------------------------


def _read_mnist(file: str) -> Digits:
    folder, name = os.path.split(file)
    if "images" not in name:
        raise DatasetError(
            "this is no file of digits",
            file=file,
            expected="train-images-idx3-ubyte with or without .gz, an .npz, or the word sklearn",
        )
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    images = _read_idx(file, IDX_IMAGES)
    return Digits(images, _read_idx(os.path.join(folder, beside), IDX_LABELS))


def _read_idx(file: str, magic: int) -> Bytes:
    """An array of bytes as MNIST's files hold it: magic number, sizes, values; all big-endian."""
    dimensions = magic & 0xFF
    try:
        with gzip.open(file) if file.endswith(".gz") else open(file, "rb") as stream:
            start, *sizes = struct.unpack(f">{1 + dimensions}I", stream.read(4 + 4 * dimensions))
            expected = prod(sizes)
            if start != magic:
                found = f"it begins with {start:#x}"
                raise DatasetError("this is not a file of MNIST's kind", file=file, found=found)
            if expected > MAX_BYTES:
                raise DatasetError("the file is too large", file=file, found=f"{expected:,} bytes")
            values = stream.read(expected + 1)
    except struct.error as error:
        raise DatasetError("the file is cut short", file=file) from error
    except DAMAGED as error:
        raise DatasetError("the file cannot be read", file=file, found=_cause(error)) from error
    if len(values) != expected:
        raise DatasetError(
            "the file is cut short or too long", file=file, expected=f"{expected:,} bytes"
        )
    return np.frombuffer(values, np.uint8).reshape(sizes)


def _read_npz(file: str) -> Digits:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [archive.getinfo(f"{key}.npy") for key in ("images", "labels")]
            size = sum(member.file_size for member in members)
            if size > MAX_BYTES:
                raise DatasetError("the file is too large", file=file, found=f"{size:,} bytes")
            images, labels = (_read_npy(archive, member) for member in members)
    except DAMAGED as error:
        raise DatasetError("the file cannot be read", file=file, found=_cause(error)) from error
    whole = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    if images.dtype != np.uint8 or images.ndim != 3 or not whole or labels.min(initial=0) < 0:
        raise DatasetError(
            "this is no file of digits",
            file=file,
            found=f"images {images.dtype} {images.shape}, labels {labels.dtype} {labels.shape}",
            expected="images uint8 (N, h, w) and labels (N,) of 0 to 9",
        )
    return Digits(images, np.minimum(labels, 255).astype(np.uint8))


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as content:
        array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
        return array


def _cause(error: BaseException) -> str:
    text = isinstance(error, OSError) and error.strerror
    return printable(str(text or error or type(error).__name__))


def _write_npz(stream: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An .npz, compressed, without the time of day: the same arrays are the same bytes."""
    with zipfile.ZipFile(stream, "w") as archive:
        for key, values in arrays.items():
            member = zipfile.ZipInfo(f"{key}.npy")  # of 1 January 1980
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as content:
                np.lib.format.write_array(content, values, allow_pickle=False)
