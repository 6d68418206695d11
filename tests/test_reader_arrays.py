"""Pictures and masks as arrays: every shape that is known, exactly, and what is refused."""

import io
import os
import pickle
import re
import zipfile

import numpy as np
import pytest

from segzoo.data.declared import OPTIONS
from segzoo.data.readers.arrays import SPEC, open_arrays
from segzoo.data.sample import Info, checked
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UnsafeFormatError, UsageError
from segzoo.pictures.labels import decode
from segzoo.pictures.palettes import DIGITS

N, H, W, K = 6, 5, 7, 11
RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (N, H, W), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (N, H, W, 3), dtype=np.uint8)
MASKS = RANDOM.integers(0, K, (N, H, W), dtype=np.uint8)
ONE_HOT = np.eye(K, dtype=np.uint8)[MASKS]


def npz(path, save=np.savez, **arrays):
    save(path / "set.npz", **arrays)
    return path / "set.npz"


def folder(path, **arrays):
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def targets(data):
    return np.stack([checked(data[n])["target"] for n in range(len(data))])


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [npz, folder])
@pytest.mark.parametrize("images", [GRAY, GRAY[..., None], RGB, RGB[..., [0, 1, 2, 0]]])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pictures(images, order, make, tmp_path):
    data = open_arrays(make(tmp_path, images=np.array(images, order=order), masks=MASKS))
    assert len(data) == N
    for number in range(N):
        sample = checked(data[number])
        np.testing.assert_array_equal(sample["image"], images[number].reshape(H, W, -1))
        np.testing.assert_array_equal(sample["target"], MASKS[number])
        assert sample["image"].flags.writeable and sample["target"].flags.writeable


@pytest.mark.parametrize("make", [npz, folder])
@pytest.mark.parametrize(
    "masks",
    [
        MASKS,
        MASKS[..., None],
        MASKS.astype(np.float64),
        MASKS.astype(">i4"),
        ONE_HOT,
        ONE_HOT.astype(np.float32),
        ONE_HOT > 0,
    ],
    ids=["map", "map of one channel", "floats", "big-endian", "one-hot", "one-hot floats", "bools"],
)
def test_masks(masks, make, tmp_path):
    found = targets(open_arrays(make(tmp_path, images=GRAY, masks=masks)))
    np.testing.assert_array_equal(found, MASKS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, np.uint8, np.int64])
def test_one_class(dtype, tmp_path):
    masks = (MASKS > 5).astype(dtype)
    found = targets(open_arrays(npz(tmp_path, images=GRAY, masks=masks), classes="digit"))
    np.testing.assert_array_equal(found, MASKS > 5)


def test_the_articles_two_files(tmp_path):
    folder(tmp_path, combined=GRAY, segmented=MASKS)
    words = f"arrays:{tmp_path}?images=combined.npy&masks=segmented.npy&split=0:4"
    data = open_data(words)
    assert [data.id_of(n) for n in range(4)] == [f"combined.npy[{n}]" for n in range(4)]
    np.testing.assert_array_equal(targets(data), MASKS[:4])


def test_other_keys_and_a_packed_npz(tmp_path):
    file = npz(tmp_path, np.savez_compressed, x=GRAY, y=MASKS, index=np.arange(N))
    data = open_arrays(file, images="x", masks="y")
    assert data[-1]["id"] == data.id_of(-1) == "set.npz[5]"
    np.testing.assert_array_equal(targets(data), MASKS)


def test_a_npz_may_name_its_classes(tmp_path):
    arrays = {"images": np.zeros((1, 2, 2), np.uint8), "masks": np.array([[[0, 1], [1, 2]]])}
    file = tmp_path / "a.npz"
    np.savez(file, **arrays, classes=np.array(["sky", "cell", "edge"]))
    data = open_arrays(file)
    assert data.info.classes == ("sky", "cell", "edge")
    assert data[0]["target"].tolist() == [[0, 1], [1, 2]]
    # What a person says comes before, and another thing of that name is none of this.
    assert open_arrays(file, classes="a,b,c").info.classes == ("a", "b", "c")
    assert open_arrays(file, values="2,1,0").info.classes == ()
    for other in (np.arange(3), np.array("cell"), np.array([["a", "b"]])):
        np.savez(file, **arrays, classes=other)
        assert open_arrays(file).info.classes == ()
    np.savez(file, **arrays, classes=np.array(["a,b", "c"]))
    with pytest.raises(DatasetError, match="a name that cannot be one") as error:
        open_arrays(file)
    assert "classes=NAME,NAME" in str(error.value)
    np.savez(file, **arrays, classes=np.array(["a", "b", None], object))
    with pytest.raises(UnsafeFormatError):
        open_arrays(file)


def test_declared_values(tmp_path):
    masks = np.where(MASKS > 5, 255, 0).astype(np.uint8)
    masks[0, 0, 0] = 128
    file = npz(tmp_path, images=GRAY, masks=masks)
    data = open_data(f"arrays:{file}?values=0,255&classes=cell&ignore_index=128")
    expected = (MASKS > 5).astype(np.uint8)
    expected[0, 0, 0] = 128
    np.testing.assert_array_equal(targets(data), expected)
    assert data.info == Info(classes=("cell",), ignore_index=128, pixel_values=(0, 255))
    with pytest.raises(DatasetError, match=r"^set\.npz\[0\]: the mask holds values that the map"):
        open_arrays(file, values="0,255")[0]


def test_declared_colours(tmp_path):
    masks = decode(MASKS, DIGITS.palette)
    data = open_arrays(npz(tmp_path, images=GRAY, masks=masks), palette="digits")
    np.testing.assert_array_equal(targets(data), MASKS)
    assert data.info.classes == DIGITS.classes


def test_pixels_of_no_class_may_be_ignored(tmp_path):
    one_hot = ONE_HOT.copy()
    one_hot[0, 0, 0] = 0
    data = open_arrays(npz(tmp_path, images=GRAY, masks=one_hot), ignore_index=255)
    expected = MASKS.copy()
    expected[0, 0, 0] = 255
    np.testing.assert_array_equal(targets(data), expected)


@pytest.mark.parametrize("make", [npz, folder])
def test_workers_can_be_handed_it(make, tmp_path):
    data = open_arrays(make(tmp_path, images=GRAY, masks=MASKS))
    sent = pickle.dumps(data)
    np.testing.assert_array_equal(targets(pickle.loads(sent)), MASKS)
    assert (MASKS.tobytes() in sent) == (make is npz)  # a .npy is read where it is


def test_a_npy_is_read_in_place(tmp_path):
    folder(tmp_path, images=GRAY, masks=MASKS)
    data = open_arrays(tmp_path)
    with open(tmp_path / "masks.npy", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    assert data[-1]["target"][-1, -1] == 7


def test_the_spec_has_every_option_of_the_function():
    own = open_arrays.__kwdefaults__
    assert {n: o.default for n, o in SPEC.options.items() if n not in OPTIONS} == own
    assert {n: SPEC.options[n] for n in OPTIONS} == OPTIONS


# --- M6: Python objects --------------------------------------------------------------------------

OBJECTS = (
    "the array holds Python objects, which run code when they are read; expected numbers. "
    "Store it as numbers: numpy.save(file, array.astype('uint8'))"
)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("which", ["images", "masks"])
@pytest.mark.parametrize("make", [npz, folder], ids=["M6-npz", "M6-npy"])
@pytest.mark.parametrize("structured", [False, True])
def test_python_objects_are_refused_unread(structured, make, which, tmp_path):
    objects = np.array([Canary(str(tmp_path / "alive"))] * N, object)
    if structured:
        objects = np.array([(o,) for o in objects], [("o", object)])
    path = make(tmp_path, **{"images": GRAY, "masks": MASKS} | {which: objects})
    with pytest.raises(UnsafeFormatError, match=f"{re.escape(OBJECTS)}$"):
        open_arrays(path)
    assert not (tmp_path / "alive").exists()


# --- M1, M2: arrays that do not fit --------------------------------------------------------------

SHAPES = (
    "expected (N, H, W) or (N, H, W, channels), and (N, H, W) or (N, H, W, classes). "
    "Say which is which: images=NAME&masks=NAME"
)


@pytest.mark.parametrize(
    ("images", "masks", "problem"),
    [
        pytest.param(GRAY, MASKS[:-1], "there are not as many masks as pictures", id="M2-count"),
        pytest.param(GRAY, MASKS[:, 1:], "masks are not as large as pictures", id="M2-size"),
        pytest.param(
            GRAY,
            MASKS.transpose(0, 2, 1),
            "masks are not as large as pictures: height and width are exchanged",
            id="M2-exchanged",
        ),
        (GRAY[0], MASKS, "the pictures have a wrong shape"),
        (GRAY, MASKS[0], "the masks have a wrong shape"),
        (GRAY[:0], MASKS[:0], "the arrays are empty"),
        (GRAY.astype("S1"), MASKS, "the arrays hold no numbers: |S1 and uint8"),
        (GRAY, MASKS + 0j, "the arrays hold no numbers: uint8 and complex128"),
    ],
)
def test_arrays_that_do_not_fit(images, masks, problem, tmp_path):
    file = npz(tmp_path, images=images, masks=masks)
    with pytest.raises(DatasetError) as raised:
        open_arrays(file)
    found = f"found pictures {images.shape} and masks {masks.shape}"
    assert str(raised.value) == f"{file}: {problem}; {found}, {SHAPES}"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": RGB[..., :2], "masks": MASKS},
            "the pictures have 2 channels; .* If each is a measurement, say so: bands=2$",
        ),
        (
            {"images": RGB.transpose(0, 3, 1, 2), "masks": MASKS},
            r"channels lie before height and width; .* Store them last: images as "
            r"array.transpose\(0, 2, 3, 1\)$",
        ),
        (
            {"images": RGB, "masks": ONE_HOT.transpose(0, 3, 1, 2)},
            r"channels lie before .* Store them last: masks as array.transpose\(0, 2, 3, 1\)$",
        ),
    ],
)
def test_where_channels_are(arrays, message, tmp_path):
    with pytest.raises(DatasetError, match=message):
        open_arrays(npz(tmp_path, **arrays))


def test_colours_have_three_channels(tmp_path):
    file = npz(tmp_path, images=GRAY, masks=ONE_HOT)
    with pytest.raises(DatasetError, match="the masks have a wrong shape"):
        open_arrays(file, palette="digits")


TWO = ONE_HOT.copy()
TWO[0, 0, :2] = [1, 1] + [0] * (K - 2)
NONE = ONE_HOT.copy()
NONE[0, 0, :3] = 0
FRACTIONS = MASKS.astype(np.float32)
FRACTIONS[0, 0, :2] = 0.5, np.nan
HOLES = GRAY.astype(np.float32)
HOLES[0, 0, :3] = np.nan, np.inf, -np.inf


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        pytest.param(
            GRAY,
            FRACTIONS,
            "the mask holds fractions, not whole numbers; found 0.5, nan and so on in 2 places, "
            "expected values of classes. "
            "If all from a value on is one class, say so: threshold=0.5",
            id="M1-float-mask",
        ),
        pytest.param(
            GRAY,
            RGB,
            "the maps of the classes hold other values than 0 and 1; "
            f"found {RGB[0].min()} to {RGB[0].max()}. If the last axis holds colours, say palette=",
            id="M1-colour-mask",
        ),
        (
            GRAY,
            TWO,
            "pixels are not in one class each; found 0 in none and 2 in several, "
            "expected one map with a 1 at each pixel. If classes overlap, say overlap=yes",
        ),
        (
            GRAY,
            NONE,
            "pixels are not in one class each; found 3 in none and 0 in several, "
            "expected one map with a 1 at each pixel. "
            "Pixels of no class are ignored with ignore_index=255",
        ),
        (
            GRAY.astype(np.int16) * 2,
            MASKS,
            f"the picture is not of 8 bits; found values {2 * int(GRAY[0].min())} to "
            f"{2 * int(GRAY[0].max())}, expected whole numbers from 0 to 255. "
            "Say the largest value that there can be: peak=4095, or peak=1 of fractions",
        ),
        (
            HOLES,
            MASKS,
            f"the picture holds values that are not finite; found 3 of {GRAY[0].size:,}. "
            "Leave it out, or replace them where it is made",
        ),
    ],
)
def test_samples_that_cannot_be_meant(images, masks, message, tmp_path):
    data = open_arrays(npz(tmp_path, images=images, masks=masks))
    with pytest.raises(DatasetError) as raised:
        data[0]
    assert str(raised.value) == f"set.npz[0]: {message}"


# --- files that are not there, or damaged --------------------------------------------------------


@pytest.mark.parametrize("make", [npz, folder])
def test_an_array_that_is_not_there(make, tmp_path):
    path = make(tmp_path, combined=GRAY, segmented=MASKS)
    dot = ".npy" if make is folder else ""
    with pytest.raises(DatasetError) as raised:
        open_arrays(path)
    assert str(raised.value) == (
        f"{path}: there is no array 'images{dot}'; found combined{dot}, segmented{dot}. "
        "Say which is which: images=NAME&masks=NAME"
    )


def test_one_npy_is_half_a_set(tmp_path):
    folder(tmp_path, combined=GRAY)
    with pytest.raises(DatasetError) as raised:
        open_arrays(tmp_path / "combined.npy")
    assert str(raised.value) == (
        f"{tmp_path}/combined.npy: is one array, and a data set is two. "
        f"Name both: arrays:{tmp_path}?images=combined.npy&masks=FILE.npy"
    )


def test_a_file_that_is_not_there(tmp_path):
    message = f"{tmp_path}/no.npz: there is no such file; expected a .npz, or a folder of .npy"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        open_arrays(tmp_path / "no.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_npz_cut_short_anywhere(save, tmp_path):
    file = npz(tmp_path, save, images=GRAY, masks=MASKS)
    data = file.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 50)):
        file.write_bytes(data[:length])
        with pytest.raises(DatasetError, match=r"set\.npz: the file is damaged, or is not what"):
            open_arrays(file)


def test_a_npy_cut_short_anywhere(tmp_path):
    folder(tmp_path, images=GRAY, masks=MASKS)
    data = (tmp_path / "masks.npy").read_bytes()
    for length in {*range(0, len(data), 7), len(data) - 1}:
        (tmp_path / "masks.npy").write_bytes(data[:length])
        with pytest.raises(DatasetError, match=r"masks\.npy: (is cut short|the file is damaged)"):
            open_arrays(tmp_path)


def test_a_npy_cut_short_after_it_was_opened(tmp_path):
    data = open_arrays(folder(tmp_path, images=GRAY, masks=MASKS))
    os.truncate(tmp_path / "masks.npy", 130)
    with pytest.raises(DatasetError, match=r"masks\.npy: cannot be read: mmap length is greater"):
        data[0]


def header(text: bytes, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x93NUMPY\x09\x00",
            "the file is damaged, or is not what its name says; found version (9, 0), whi",
        ),
        (b"hello world", "the file is damaged, or is not what its name says; found "),
        (header(b"__import__('os').mkdir('alive')"), "the file is damaged, or is not what its n"),
        (
            header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 5, 7)}"),
            "is cut short; found 79 bytes, expected 350000000044",
        ),
    ],
)
def test_a_npy_that_is_none(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path, images=GRAY)
    (tmp_path / "masks.npy").write_bytes(content)
    with pytest.raises(DatasetError) as raised:
        open_arrays(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/masks.npy: {message}")
    assert not (tmp_path / "alive").exists()


def test_a_member_that_claims_more_than_it_holds(tmp_path):
    file = tmp_path / "set.npz"
    content = io.BytesIO()
    np.save(content, MASKS)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", content.getvalue())
        archive.writestr("masks.npy", content.getvalue()[:-1])
    with pytest.raises(
        DatasetError, match=r"set\.npz: is cut short; found 337 bytes, expected 338"
    ):
        open_arrays(file)


def test_options_are_judged_first(tmp_path):
    with pytest.raises(UsageError, match="values= and palette= exclude each other"):
        open_arrays(tmp_path, values="0,1", palette="voc")


# --- real data -----------------------------------------------------------------------------------


def test_m2nist():
    packs = os.environ.get("SEGZOO_TEST_DATA")
    if not packs:
        pytest.skip("needs real data: SEGZOO_TEST_DATA=FOLDER")
    data = open_data(f"arrays:{packs}/m2nist/val.npz?classes=0,1,2,3,4,5,6,7,8,9,background")
    assert len(data) == 250
    sample = checked(data[17])
    assert (sample["image"].shape, sample["id"]) == ((64, 84, 1), "val.npz[17]")
    background = data.info.classes.index("background")
    np.testing.assert_array_equal(sample["target"] == background, sample["image"][..., 0] == 0)
