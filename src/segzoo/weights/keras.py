"""The tensors of a Keras file, read with h5py alone: no Keras, and nothing of its config is run.

Three layouts of HDF5 are known: that of Keras 2 (`layer/layer/kernel:0`, also below
`model_weights`), and those of Keras 2.12 on and of Keras 3 (`.../layer/vars/0`). Layers that Keras
numbers itself are numbered anew from 0, since its own numbers depend on what else the session had
built: `conv2d_7/kernel` is the eighth convolution of the file, whatever it was called there.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from segzoo.errors import UnsafeFormatError, WeightsFormatError

__all__ = ["read_keras"]

MAX_OBJECTS = 20_000
MAX_DEPTH = 32

# The variables of a layer in their order, where the file numbers them.
VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
NUMBERED = re.compile(rf"({'|'.join(VARIABLES)})(?:_(\d{{1,6}}))?")
OPTIMIZER = ("optimizer", "optimizer_weights")


def read_keras(
    stream: BinaryIO, *, max_bytes: int
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The arrays of floating-point numbers in a file, by "layer/variable", and what is left out.

    max_bytes: of all arrays together. Left out: the optimizer, and arrays of anything else.
    UnsafeFormatError for links out of the file or of one place to another, and for arrays that lie
    in other files; WeightsFormatError for a file that is damaged, too large, or of no known layout.
    """
    import h5py

    try:
        with h5py.File(stream, "r") as file:
            arrays, left_out, total = {}, [], 0
            for path, dataset in _datasets(file):
                if path[0] in OPTIMIZER or dataset.dtype.kind != "f":
                    left_out.append("/".join(path))
                    continue
                total += int(dataset.size or 0) * dataset.dtype.itemsize
                if total > max_bytes:
                    raise WeightsFormatError(
                        "its arrays are larger than the file allows",
                        found=f"more than {max_bytes:,} bytes",
                    )
                arrays[path] = dataset
            named = _named(arrays)
            native = {
                name: np.asarray(array[()], array.dtype.newbyteorder("="))
                for name, array in named.items()
            }
            return native, tuple(left_out)
    except (WeightsFormatError, UnsafeFormatError):
        raise
    except Exception as error:  # h5py raises whatever the C library says
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsFormatError("this HDF5 file cannot be read", found=text) from error


def _datasets(file: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every array with its path. A file is a tree here: groups that are met twice are refused."""
    import h5py

    seen: set[Any] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), file)]
    while waiting:
        path, group = waiting.pop()
        for name in group:
            where = (*path, name)
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsafeFormatError("the HDF5 file holds a link", found="/".join(where)[:200])
            item = group[name]
            info = h5py.h5o.get_info(item.id)
            address = (info.fileno, info.addr)
            if address in seen:
                raise UnsafeFormatError(
                    "the HDF5 file has one object in two places", found="/".join(where)[:200]
                )
            seen.add(address)
            if len(seen) > MAX_OBJECTS or len(where) > MAX_DEPTH:
                raise WeightsFormatError(
                    "the HDF5 file has too many objects",
                    expected=f"at most {MAX_OBJECTS:,}, {MAX_DEPTH} deep",
                )
            if isinstance(item, h5py.Group):
                waiting.append((where, item))
            elif isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    raise UnsafeFormatError(
                        "an array of the HDF5 file lies in other files",
                        found="/".join(where)[:200],
                    )
                yield where, item


def _named(arrays: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """The arrays by "layer/variable"."""
    pairs = {path: _layer_and_variable(path) for path in arrays}
    numbers = defaultdict(set)
    for layer, _ in pairs.values():
        if match := NUMBERED.fullmatch(layer):
            numbers[match[1]].add(int(match[2] or 0))
    places = {
        (family, number): place
        for family, found in numbers.items()
        for place, number in enumerate(sorted(found))
    }
    named = {}
    for path, (layer, variable) in pairs.items():
        if match := NUMBERED.fullmatch(layer):
            layer = f"{match[1]}_{places[match[1], int(match[2] or 0)]}"
        name = f"{layer}/{variable}"
        if name in named:
            raise WeightsFormatError("two arrays of the HDF5 file have one name", found=name[:200])
        named[name] = arrays[path]
    return named


def _layer_and_variable(path: tuple[str, ...]) -> tuple[str, str]:
    if len(path) >= 3 and path[-2] == "vars" and path[-1].isdecimal():
        layer, number = path[-3], int(path[-1][:6])
        match = NUMBERED.fullmatch(layer)
        known = VARIABLES[match[1]] if match else ()
        return layer, known[number] if number < len(known) else str(number)
    if len(path) >= 2:
        return path[-2], path[-1].removesuffix(":0")
    raise WeightsFormatError(
        "this is not a Keras file: an array is in no layer", found=path[-1][:200]
    )
