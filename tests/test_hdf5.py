"""Keras's HDF5 files: the same arrays from each layout; no link, no bomb, no file beside it."""

import io

import h5py
import numpy as np
import pytest
from originals import write_keras2, write_keras3

from segzoo.errors import UnsafeFormatError, WeightsFormatError
from segzoo.weights.keras import read_keras

ARRAYS = {
    f"{layer}/{variable}": np.full((2, number), number, "f4")
    for number, layer in enumerate(["conv2d", "conv2d_1", "conv2d_2", "conv2d_10"], start=1)
    for variable in ("kernel", "bias")
} | {
    f"batch_normalization/{variable}": np.full(3, number, "f4")
    for number, variable in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))
}
# Numbered from 0 in their order, with whatever numbers they had.
WANTED = {
    "conv2d_0": "conv2d",
    "conv2d_1": "conv2d_1",
    "conv2d_2": "conv2d_2",
    "conv2d_3": "conv2d_10",
    "batch_normalization_0": "batch_normalization",
}


def read(write, **options):
    stream = io.BytesIO()
    write(stream, **options)
    return read_keras(stream, max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("write", "options", "left_out"),
    [
        (write_keras2, {}, {"optimizer_weights/Adam/conv2d/kernel/m:0"}),
        (write_keras2, {"root": ""}, {"optimizer_weights/Adam/conv2d/kernel/m:0"}),
        (write_keras2, {"first": 19}, {"optimizer_weights/Adam/conv2d/kernel/m:0"}),
        (write_keras3, {}, {"optimizer/vars/0", "layers/dropout/seed_generator/vars/0"}),
        (
            write_keras3,
            {"container": "_layer_checkpoint_dependencies"},
            {"optimizer/vars/0", "layers/dropout/seed_generator/vars/0"},
        ),
    ],
)
def test_every_layout_gives_the_same(write, options, left_out):
    arrays, others = read(write, arrays=ARRAYS, **options)
    assert set(others) == left_out
    wanted = {
        f"{new}/{name.rpartition('/')[2]}": array
        for new, old in WANTED.items()
        for name, array in ARRAYS.items()
        if name.rpartition("/")[0] == old
    }
    assert arrays.keys() == wanted.keys()
    assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)


def test_names_that_people_gave_stay():
    arrays, _ = read(write_keras2, arrays={"conv11_1/kernel": np.ones(2, "f4")})
    assert arrays.keys() == {"conv11_1/kernel"}


def test_numbers_of_another_byte_order_are_the_same_numbers():
    arrays, _ = read(write_keras2, arrays={"a/kernel": np.array([1, 2], ">f4")})
    assert arrays["a/kernel"].dtype == np.float32
    assert arrays["a/kernel"].dtype.isnative
    assert arrays["a/kernel"].tolist() == [1, 2]


def soft_link(file):
    file["a/kernel"] = h5py.SoftLink("/b")


def external_link(file):
    file["a/kernel"] = h5py.ExternalLink("/etc/other.h5", "/x")


def circle(file):
    file["a/b"] = file.create_group("c")
    file["c/d"] = file["a"]


def virtual(file):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    file.create_virtual_dataset("a/kernel", layout)


def external(file):
    file.create_dataset("a/kernel", (2,), "f4", external=[("/etc/hostname", 0, 8)])


def giant(file):
    """2 TB that take no place in the file."""
    file.create_dataset("a/kernel", (2**39,), "f4")


def bomb(file):
    file.create_dataset("a/kernel", data=np.zeros(2**19, "f4"), compression="gzip")


def deep(file):
    file.create_dataset("/".join("x" * 40), data=np.zeros(1, "f4"))


def many(file):
    for number in range(20_001):
        file.create_group(str(number))


def twice(file):
    file.create_dataset("a/kernel:0", data=np.zeros(1, "f4"))
    file.create_dataset("b/a/kernel:0", data=np.zeros(1, "f4"))


def loose(file):
    file.create_dataset("kernel", data=np.zeros(1, "f4"))


@pytest.mark.parametrize(
    ("write", "error", "text"),
    [
        (soft_link, UnsafeFormatError, "the HDF5 file holds a link; found a/kernel"),
        (external_link, UnsafeFormatError, "the HDF5 file holds a link; found a/kernel"),
        (circle, UnsafeFormatError, "the HDF5 file has one object in two places; found "),
        (virtual, UnsafeFormatError, "an array of the HDF5 file lies in other files; found a/ker"),
        (external, UnsafeFormatError, "an array of the HDF5 file lies in other files; found a/k"),
        (giant, WeightsFormatError, "its arrays are larger than the file allows; found more than"),
        (bomb, WeightsFormatError, "its arrays are larger than the file allows; found more than"),
        (deep, WeightsFormatError, "the HDF5 file has too many objects; expected at most 20,000,"),
        (many, WeightsFormatError, "the HDF5 file has too many objects; expected at most 20,000,"),
        (twice, WeightsFormatError, "two arrays of the HDF5 file have one name; found a/kernel"),
        (loose, WeightsFormatError, "this is not a Keras file: an array is in no layer; found ker"),
    ],
)
def test_what_is_not_a_tree_of_arrays_is_refused(write, error, text):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        write(file)
    with pytest.raises(error) as caught:
        read_keras(stream, max_bytes=1 << 20)
    assert str(caught.value).startswith(text)


def test_a_damaged_file(tmp_path):
    stream = io.BytesIO()
    write_keras2(stream, ARRAYS)
    with pytest.raises(WeightsFormatError) as caught:
        read_keras(io.BytesIO(stream.getvalue()[:1000]), max_bytes=1 << 20)
    assert str(caught.value).startswith("this HDF5 file cannot be read; found ")
