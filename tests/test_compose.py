"""Composed digits: what is drawn is what the masks say, nothing overlaps, and a seed is a seed."""

import gzip
import hashlib
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from torchvision.datasets.mnist import read_image_file, read_label_file

from segzoo.data import compose
from segzoo.data.compose import (
    BACKGROUND,
    Digits,
    compose_digits,
    read_digits,
    share_out,
    sklearn_digits,
    write_digits,
)
from segzoo.data.source import open_data
from segzoo.errors import (
    DatasetError,
    DependencyMissingError,
    OutputError,
    ResourceError,
    UsageError,
)


def blocks(count: int = 40) -> Digits:
    """Solid digits: number n is a block of its own size, of value n + 1, somewhere in 9x9."""
    images = np.zeros((count, 9, 9), np.uint8)
    for n in range(count):
        height, width = 2 + n % 4, 1 + n % 3
        images[n, n % 3 : n % 3 + height, n % 5 : n % 5 + width] = n + 1
    return Digits(images, (np.arange(count) % 10).astype(np.uint8))


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape)
    return header + values.tobytes()


def write_mnist(folder: Path, digits: Digits, ending: str = "") -> Path:
    pack = gzip.compress if ending else bytes
    (folder / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(digits.labels)))
    file = folder / f"train-images-idx3-ubyte{ending}"
    file.write_bytes(pack(idx(digits.images)))
    return file


# --- pictures -------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(5, 40),
    st.integers(3, 60),
    st.integers(1, 5),
    st.integers(0, 2**70),
)
def test_a_picture_holds_whole_digits_and_its_mask_says_where(height, width, most, seed):
    digits = blocks()
    images, masks = compose_digits(
        count=8, digits=digits, seed=seed, size=(height, width), most=most
    )
    assert images.shape == masks.shape == (8, height, width)
    assert images.dtype == masks.dtype == np.uint8
    np.testing.assert_array_equal(images == 0, masks == BACKGROUND)
    drawn = images > 0
    np.testing.assert_array_equal(masks[drawn], digits.labels[images[drawn] - 1])
    for image in images:
        parts, count = ndimage.label(image, np.ones((3, 3)))
        assert 1 <= count <= most  # no two digits touch, so each is a part
        for part in range(1, count + 1):
            [value] = np.unique(image[parts == part])
            source = digits.images[value - 1]
            [box] = ndimage.find_objects((parts == part).astype(int))
            [ink] = ndimage.find_objects((source > 0).astype(int))
            np.testing.assert_array_equal(image[box], source[ink])


def test_every_number_of_digits_every_digit_and_every_place_occur():
    images, masks = compose_digits(count=3000, digits=blocks(), seed=1, size=(30, 40), most=3)
    counts = [ndimage.label(image, np.ones((3, 3)))[1] for image in images]
    np.testing.assert_allclose(np.bincount(counts)[1:] / 3000, 1 / 3, atol=0.03)
    occurrences = np.bincount(masks.ravel(), minlength=11)[:10]
    assert occurrences.min() > 0
    assert (images > 0).any(axis=0).all()  # the corners too
    inner = (images > 0).mean(axis=0)[6:-6, 6:-6]
    for line in (inner.mean(axis=0), inner.mean(axis=1)):
        assert line.max() < 1.5 * line.min()


def test_digits_may_lie_over_each_other_when_asked():
    digits = Digits(np.full((2, 6, 6), [[[10]], [[20]]], np.uint8), np.array([3, 7], np.uint8))
    images, masks = compose_digits(
        count=300, digits=digits, seed=0, size=(7, 7), most=2, overlap=True
    )
    apart, _ = compose_digits(count=300, digits=digits, seed=0, size=(7, 7), most=2)
    both = ((images == 10).any(axis=(1, 2)) & (images == 20).any(axis=(1, 2))).sum()
    assert both > 40
    np.testing.assert_array_equal(masks[images == 10], 3)
    np.testing.assert_array_equal(masks[images == 20], 7)
    # where there is no place for a second one, there is one
    assert {np.count_nonzero(image) for image in apart} == {36}


def test_a_seed_gives_the_same_pictures_everywhere():
    """The bits of PCG64 are fixed by numpy (NEP 19), and so are these."""
    images, masks = compose_digits(count=50, digits=blocks(), seed=2020)
    again, _ = compose_digits(count=20, digits=blocks(), seed=2020)
    other, _ = compose_digits(count=20, digits=blocks(), seed=2021)
    np.testing.assert_array_equal(again, images[:20])
    assert (other != again).any()
    assert hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest() == (
        "7bc4efce941f72a7de03240ecae5003f36e466d4ab4ca761919bc7e0e8b2e0e3"
    )


# --- sources --------------------------------------------------------------------------------------


def test_scikit_learns_digits_look_as_pillow_enlarges_them():
    """Cubic convolution by Pillow, then the same contrast curve in floats."""
    digits, found = sklearn_digits(), load_digits()
    np.testing.assert_array_equal(digits.labels, found.target)
    assert digits.images.shape == (1797, 28, 28)
    for number in range(0, 1797, 97):
        small = np.pad(found.images[number], 2).astype(np.float32)
        large = np.asarray(Image.fromarray(small).resize((30, 30), Image.Resampling.BICUBIC))
        part = np.clip((large[1:29, 1:29] - 6) / 6, 0, 1)
        curve = 255 * part**2 * (3 - 2 * part)
        np.testing.assert_allclose(digits.images[number], curve, rtol=0, atol=1.0)
    assert hashlib.sha256(digits.images.tobytes()).hexdigest() == (
        "e375bad72d228291cbc3d14e34ef7a67f991ce7f8e44e6aaec591ddf814044a0"
    )


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DependencyMissingError) as caught:
        read_digits("sklearn")
    assert str(caught.value) == (
        "these digits come with scikit-learn, which is not installed. "
        "Run: pip install 'segzoo-core[train]', or name a file of MNIST"
    )


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnists_files_are_read_as_torchvision_reads_them(tmp_path, ending):
    file = write_mnist(tmp_path, blocks(), ending)
    images, labels = read_digits(file)
    plain = write_mnist(tmp_path, blocks())
    np.testing.assert_array_equal(images, read_image_file(str(plain)).numpy())
    theirs = read_label_file(str(plain).replace("images-idx3", "labels-idx1"))
    np.testing.assert_array_equal(labels, theirs.numpy())


def test_an_npz_is_read(tmp_path):
    np.savez(tmp_path / "d.npz", images=blocks().images, labels=blocks().labels.astype(np.int64))
    for found, expected in zip(read_digits(tmp_path / "d.npz"), blocks(), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8


class Canary:
    def __reduce__(self):
        return os.mkdir, (os.environ["CANARY"],)


def files_of(folder: Path) -> dict[str, Path]:
    """Files that cannot be used, by name."""
    digits = blocks(10)
    found = {}

    def write(name: str, images: bytes, labels: bytes) -> None:
        place = folder / name
        place.mkdir()
        found[name] = place / "x-images-idx3-ubyte"
        found[name].write_bytes(images)
        (place / "x-labels-idx1-ubyte").write_bytes(labels)

    images, labels = idx(digits.images), idx(digits.labels)
    write("cut", images[:-1], labels)
    write("long", images + b"x", labels)
    write("header", images[:7], labels)
    write("empty", b"", labels)
    write("text", b"<html>it is not here</html>", labels)
    write("huge", struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), labels)
    write("exchanged", labels, images)
    write("fewer", images, idx(digits.labels[:9]))
    write("eleven", images, idx(digits.labels + 2))
    write("none", idx(digits.images[:0]), idx(digits.labels[:0]))
    found["missing"] = folder / "t10k-images-idx3-ubyte"
    write("alone", images, labels)
    (folder / "alone" / "x-labels-idx1-ubyte").unlink()
    found["packed"] = folder / "packed-images.gz"
    found["packed"].write_bytes(gzip.compress(images)[:-20])
    found["other"] = folder / "digits.txt"
    found["npz"] = folder / "text.npz"
    found["npz"].write_bytes(b"text")
    found["keys"] = folder / "keys.npz"
    np.savez(found["keys"], pictures=digits.images)
    found["kind"] = folder / "kind.npz"
    np.savez(found["kind"], images=digits.images / 2, labels=digits.labels)
    found["pickle"] = folder / "pickle.npz"
    pickled = np.array([Canary()] * 10, object)
    np.savez(found["pickle"], images=pickled, labels=digits.labels)
    return found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut", "the file is cut short or too long; expected 810 bytes"),
        ("long", "the file is cut short or too long; expected 810 bytes"),
        ("header", "the file is cut short"),
        ("empty", "the file is cut short"),
        ("text", "this is not a file of MNIST's kind; found it begins with 0x3c68746d"),
        ("huge", "the file is too large; found 79,228,162,458,924,105,385,300,197,375"),
        ("exchanged", "this is not a file of MNIST's kind; found it begins with 0x801"),
        ("fewer", "pictures and labels are not as many, or there are none; found 10 pictures, 9"),
        ("eleven", "a label is not a digit; found 11, expected 0 to 9"),
        ("none", "pictures and labels are not as many, or there are none; found 0 pictures, 0"),
        ("missing", "the file cannot be read; found No such file or directory"),
        ("alone", "the file cannot be read; found No such file or directory"),
        ("packed", "the file cannot be read; found Compressed file ended before"),
        ("other", "this is no file of digits; expected train-images-idx3-ubyte with or without"),
        ("npz", "the file cannot be read; found File is not a zip file"),
        ("keys", "the file cannot be read; found \"There is no item named 'images.npy'"),
        ("kind", "this is no file of digits; found images float64 (10, 9, 9), labels uint8 (10,)"),
        pytest.param("pickle", "the file cannot be read; found Object arrays cannot", id="M6"),
    ],
)
def test_files_that_are_no_digits(tmp_path, monkeypatch, name, message):
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    file = files_of(tmp_path)[name]
    with pytest.raises(DatasetError) as caught:
        read_digits(file)
    text = str(caught.value)
    assert text.startswith(str(file.parent)) and f": {message}" in text
    assert not (tmp_path / "canary").exists()


def test_a_file_of_more_than_half_a_gigabyte_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(compose, "MAX_BYTES", 1000)
    np.savez_compressed(tmp_path / "d.npz", images=blocks().images, labels=blocks().labels)
    with pytest.raises(DatasetError, match=r"d\.npz: the file is too large; found 3,5\d\d bytes"):
        read_digits(tmp_path / "d.npz")


# --- files ----------------------------------------------------------------------------------------


def test_no_digit_is_in_two_parts(tmp_path):
    np.savez(tmp_path / "d.npz", **blocks(40)._asdict())
    paths = write_digits(
        tmp_path / "out", source=tmp_path / "d.npz", count=200, size=(20, 30), val=0.25, test=0.25
    )
    assert [*paths] == ["train", "val", "test"]
    used = {}
    for part, path in paths.items():
        with np.load(path) as arrays:
            images, masks, index = arrays["images"], arrays["masks"], arrays["index"]
            assert arrays["classes"].tolist() == [*"0123456789", "background"]
        assert images.shape == masks.shape == ({"train": 100}.get(part, 50), 20, 30)
        assert index.shape == (len(images), 3) and index.dtype == np.int32
        for image, mask, numbers in zip(images, masks, index, strict=True):
            numbers = numbers[numbers >= 0]
            assert {*numbers.tolist()} == {*(image[image > 0] - 1).tolist()}
            assert {*blocks().labels[numbers].tolist()} == {*mask.ravel().tolist()} - {BACKGROUND}
        used[part] = {*index[index >= 0].tolist()}
    assert not used["train"] & used["val"] and not used["train"] & used["test"]
    assert not used["val"] & used["test"]
    assert [len(used[part]) for part in paths] == [20, 10, 10]


def test_each_part_has_its_share_of_every_digit():
    labels = np.repeat(np.arange(10), 50).astype(np.uint8)
    parts = share_out(labels, val=0.1, test=0.3, seed=3)
    assert {p: np.bincount(labels[n]).tolist() for p, n in parts.items()} == {
        "train": [30] * 10,
        "val": [5] * 10,
        "test": [15] * 10,
    }
    assert {*np.concatenate([*parts.values()]).tolist()} == {*range(500)}
    other = share_out(labels, val=0.1, test=0.3, seed=4)
    assert (other["val"] != parts["val"]).any()
    assert [*share_out(labels, val=0, test=0.3, seed=3)] == ["train", "test"]


def test_what_is_written_is_the_same_bytes_again_and_the_arrays_reader_reads_it(tmp_path):
    for name in ("a", "b"):
        write_digits(tmp_path / name, count=60, seed=5, most=2)
    for part in ("train", "val", "test"):
        first, again = (tmp_path / name / f"{part}.npz" for name in ("a", "b"))
        assert first.read_bytes() == again.read_bytes()
    dataset = open_data(f"arrays:{tmp_path}/a/val.npz")
    with np.load(tmp_path / "a" / "val.npz") as arrays:
        assert len(dataset) == len(arrays["images"]) == 6
        np.testing.assert_array_equal(dataset[3]["image"][..., 0], arrays["images"][3])
        np.testing.assert_array_equal(dataset[3]["target"], arrays["masks"][3])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"count": 0}, UsageError, "there is nothing to compose; found 0 pictures of 64x84"),
        ({"most": 0}, UsageError, "there is nothing to compose; found 3 pictures of 64x84 with up"),
        ({"size": (0, 9)}, UsageError, "there is nothing to compose; found 3 pictures of 0x9"),
        (
            {"size": (4, 30)},
            UsageError,
            "not every digit fits into pictures of 4x30; found digits of up to 5x3",
        ),
        ({"seed": -1}, UsageError, "a seed is 0 or more, not -1"),
        (
            {"count": 10**9, "size": (10**5, 10**5)},
            ResourceError,
            "memory is not enough for 1,000,000,000 pictures of (100000, 100000)",
        ),
        (
            {"digits": Digits(np.eye(3, dtype=np.uint8)[:2, None] * [[[0]], [[1]]], np.zeros(2))},
            DatasetError,
            "digit 0 of the source is black all over",
        ),
    ],
)
def test_what_cannot_be_composed(change, error, message):
    arguments = {"count": 3, "digits": blocks(), "seed": 0, **change}
    with pytest.raises(error) as caught:
        compose_digits(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.5, 0.5), "these shares leave nothing for training; found val=0.5, test=0.5"),
        ((-0.1, 0.5), "these shares leave nothing for training; found val=-0.1, test=0.5"),
        ((float("nan"), 0.1), "these shares leave nothing for training; found val=nan"),
        ((0.01, 0.3), "40 digits: too few to be shared out so; found none for val"),
    ],
)
def test_shares_that_cannot_be(tmp_path, shares, message):
    np.savez(tmp_path / "d.npz", **blocks(40)._asdict())
    with pytest.raises(UsageError) as caught:
        write_digits(tmp_path / "out", source=tmp_path / "d.npz", val=shares[0], test=shares[1])
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_where_one_part_cannot_be(tmp_path):
    np.savez(tmp_path / "d.npz", **blocks(40)._asdict())
    for change, message in (
        ({"count": 1}, "1 picture: too few to be shared out so; found none for val and test"),
        ({"count": 90, "size": (4, 9)}, "not every digit fits into pictures of 4x9"),
    ):
        with pytest.raises(UsageError) as caught:
            write_digits(tmp_path / "out", source=tmp_path / "d.npz", val=0.25, test=0.25, **change)
        assert message in str(caught.value)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_digits(tmp_path / "file", source=tmp_path / "d.npz", count=40, val=0.25, test=0.25)
    assert {*os.listdir(tmp_path)} == {"d.npz", "file"}


def test_real_digits_of_mnist(tmp_path):
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("SEGZOO_TEST_DATA is not set: a folder with mnist_t10k/digits.npz")
    paths = write_digits(tmp_path, source=Path(folder, "mnist_t10k", "digits.npz"), count=1000)
    with np.load(paths["train"]) as arrays:
        images, masks = arrays["images"], arrays["masks"]
    np.testing.assert_array_equal(images == 0, masks == BACKGROUND)
    with np.load(Path(folder, "m2nist", "train.npz")) as real:
        theirs = (real["masks"] < BACKGROUND).mean()
    assert 0.5 < (masks < BACKGROUND).mean() / theirs < 1.5


def test_a_set_from_before_classes_had_names_is_written_anew(tmp_path):
    np.savez(tmp_path / "d.npz", **blocks(40)._asdict())
    made = {"source": tmp_path / "d.npz", "count": 20, "size": (20, 30), "val": 0, "test": 0}
    [path] = write_digits(tmp_path / "out", **made).values()
    with np.load(path) as arrays:
        older = {name: arrays[name] for name in ("images", "masks", "index")}
    np.savez(path, **older)
    write_digits(tmp_path / "out", **made)
    np.savez(path, **older, notes=np.zeros(1))  # somebody else's
    with pytest.raises(OutputError, match="segzoo did not write it"):
        write_digits(tmp_path / "out", **made)
