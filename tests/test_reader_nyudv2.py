"""The reader of NYU Depth v2, on small files of its layout.

https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html describes nyu_depth_v2_labeled.mat: images
HxWx3xN, labels HxWxN of 1..C and 0 for unlabelled, names Cx1. The file is of MATLAB's version 7.3:
HDF5, where the dimensions stand in the reverse order.
"""

import multiprocessing
import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segzoo.data import matlab
from segzoo.data.readers.nyudv2 import UNLABELLED, open_nyudv2
from segzoo.data.sample import checked, info_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, DependencyMissingError, UsageError

N, HEIGHT, WIDTH = 5, 6, 9
NAMES = ["book", "wall", "tête-à-tête", "lamp"]
IMAGES = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3, N), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 5, (HEIGHT, WIDTH, N)).astype(np.uint16)
MAP = [23, 1, 40, 35]  # class of 40, from 1, of each name


def write(folder: Path, *, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> Path:
    """The .mat as MATLAB writes it: dimensions reversed, cells as references to 16-bit texts."""
    file = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(file, "w") as mat:
        mat["images"], mat["labels"] = images.T, labels.T
        mat["depths"] = np.zeros((N, WIDTH, HEIGHT), np.float32)
        names = mat.create_dataset("names", (1, len(NAMES)), h5py.ref_dtype)
        for n, name in enumerate(NAMES):
            text = np.array([[ord(c)] for c in name], np.uint16)
            names[0, n] = mat.create_dataset(f"#refs#/{n}", data=text).ref
    columns = {"trainNdxs": np.array([[1], [4]], np.uint16), "testNdxs": np.array([[2], [3], [5]])}
    savemat(folder / "splits.mat", columns)
    savemat(folder / "classMapping40.mat", {"mapClass": np.array([MAP]), "className": NAMES})
    return file


def in_forty(labels: np.ndarray) -> np.ndarray:
    return np.array([255, *(n - 1 for n in MAP)])[labels]


@pytest.mark.parametrize(
    ("split", "numbers"), [("train", [0, 3]), ("test", [1, 2, 4]), ("all", [0, 1, 2, 3, 4])]
)
def test_pictures_stand_upright_and_their_labels_become_forty(tmp_path, split, numbers):
    write(tmp_path)
    dataset = open_data(f"nyudv2:{tmp_path}?split={split}")
    assert len(dataset) == len(numbers)
    for index, number in enumerate(numbers):
        sample = checked(dataset[index])
        np.testing.assert_array_equal(sample["image"], IMAGES[..., number])
        np.testing.assert_array_equal(sample["target"], in_forty(LABELS[..., number]))
        assert sample["id"] == id_of(dataset, index) == f"{number + 1:04d}"
        assert sample["target"].dtype == np.uint8
    info = info_of(dataset)
    assert (len(info.classes), info.ignore_index) == (40, 255)
    assert (info.classes[0], info.classes[22], info.classes[39]) == ("wall", "books", "otherprop")


def test_all_the_names_with_255_among_them(tmp_path):
    write(tmp_path)
    dataset = open_nyudv2(tmp_path / "nyu_depth_v2_labeled.mat", classes=894, split="all")
    target = checked(dataset[2])["target"].astype(int)
    expected = np.where(LABELS[..., 2] == 0, UNLABELLED, LABELS[..., 2].astype(int) - 1)
    np.testing.assert_array_equal(target, expected)
    assert info_of(dataset).classes == tuple(NAMES)
    assert info_of(dataset).ignore_index == UNLABELLED


def test_labels_from_pngs(tmp_path):
    write(tmp_path)
    (tmp_path / "classMapping40.mat").unlink()
    (tmp_path / "label40").mkdir()
    stored = np.random.default_rng(2).integers(0, 41, (N, HEIGHT, WIDTH), dtype=np.uint8)
    for n in range(N):
        Image.fromarray(stored[n]).save(tmp_path / "label40" / f"{n + 1:05d}.png")
    dataset = open_data(f"nyudv2:{tmp_path}?split=test&labels=label40")
    expected = np.where(stored == 0, 255, stored.astype(int) - 1)
    for index, number in enumerate((1, 2, 4)):
        np.testing.assert_array_equal(checked(dataset[index])["target"], expected[number])
    (tmp_path / "label40" / "00003.png").unlink()
    with pytest.raises(DatasetError) as caught:
        open_nyudv2(tmp_path, split="test", labels="label40")
    assert str(caught.value) == (
        f"{tmp_path}/label40: no labels for 1 of 3 pictures; "
        "found none for picture 3, expected files 0001.png and so on"
    )
    Image.fromarray(stored[0] + 100).save(tmp_path / "label40" / "00001.png")
    with pytest.raises(DatasetError, match=r"label40/00001\.png: the mask holds values that"):
        open_nyudv2(tmp_path, labels="label40")[0]


def _read(dataset: object, results: object) -> None:
    results.put(dataset[1]["image"])


def test_each_process_opens_the_file_for_itself(tmp_path):
    """A handle of HDF5 goes into no pickle, and is not shared over a fork."""
    write(tmp_path)
    dataset = open_nyudv2(tmp_path)
    before = dataset[0]
    again = pickle.loads(pickle.dumps(dataset))
    assert again.mat._opened is None
    np.testing.assert_array_equal(again[0]["image"], before["image"])
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_read, args=(dataset, results))
    child.start()
    np.testing.assert_array_equal(results.get(), IMAGES[..., 3])
    child.join()
    assert child.exitcode == 0
    np.testing.assert_array_equal(dataset[1]["image"], IMAGES[..., 3])


# --- what is refused ------------------------------------------------------------------------------


def damage(folder: Path, what: str) -> None:
    file = write(folder)
    if what == "no file":
        file.unlink()
    elif what == "cut":
        file.write_bytes(file.read_bytes()[:3000])
    elif what == "old":
        savemat(file, {"images": IMAGES, "labels": LABELS})
    elif what == "no labels":
        with h5py.File(file, "a") as mat:
            del mat["labels"]
    elif what == "turned":
        write(folder, labels=LABELS.transpose(1, 0, 2))
    elif what == "huge":
        with h5py.File(file, "a") as mat:
            del mat["images"], mat["labels"]
            mat.create_dataset("images", (N, 3, 10**5, 10**5), np.uint8, chunks=(1, 1, 99, 99))
            mat.create_dataset("labels", (N, 10**5, 10**5), np.uint16, chunks=(1, 99, 99))
    elif what == "no splits":
        (folder / "splits.mat").unlink()
    elif what == "splits of version 7.3":
        (folder / "splits.mat").write_bytes(file.read_bytes())
    elif what == "splits beyond":
        savemat(folder / "splits.mat", {"trainNdxs": [[1], [6]]})
    elif what == "other splits":
        savemat(folder / "splits.mat", {"train": [[1]]})
    elif what == "no map":
        (folder / "classMapping40.mat").unlink()
    elif what == "map beyond":
        savemat(folder / "classMapping40.mat", {"mapClass": [[1, 2, 41, 99]]})
    elif what == "short map":
        savemat(folder / "classMapping40.mat", {"mapClass": [[1, 2, 3]]})


@pytest.mark.parametrize(
    ("what", "file", "message"),
    [
        ("no file", "nyu_depth_v2_labeled", "there is no such file"),
        ("cut", "nyu_depth_v2_labeled", "this is no .mat file of version 7.3; found "),
        ("old", "nyu_depth_v2_labeled", "this is no .mat file of version 7.3; found "),
        (
            "no labels",
            "nyu_depth_v2_labeled",
            "it has no array 'labels'; found #refs#, depths, images, names",
        ),
        (
            "turned",
            "nyu_depth_v2_labeled",
            "pictures and labels are not as the data set has them; found images (5, 3, 9, 6), "
            "labels (5, 6, 9), expected images (N, 3, W, H) and labels (N, W, H)",
        ),
        (
            "huge",
            "nyu_depth_v2_labeled",
            "images is too large to be read; found 30,000,000,000 bytes",
        ),
        (
            "no splits",
            "splits",
            "there is no such file. It comes with the data set (indoor_seg_sup); or say split=all",
        ),
        ("splits of version 7.3", "splits", "this is no .mat file that can be read; found "),
        (
            "splits beyond",
            "splits",
            "trainNdxs does not list pictures of this data set; "
            "found 1 to 6, expected numbers from 1 to 5",
        ),
        ("other splits", "splits", "it has no variable trainNdxs. It comes with"),
        (
            "no map",
            "classMapping40",
            "there is no such file. It goes round with the code of Gupta et al.; "
            "or give labels=, or classes=894",
        ),
        (
            "map beyond",
            "classMapping40",
            "mapClass names classes that there are not; found 41, 99, expected 1 to 40",
        ),
        (
            "short map",
            "nyu_depth_v2_labeled",
            "/0001: the mask holds values that the map does not name; found 4 (",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path, what, file, message):
    damage(tmp_path, what)
    with pytest.raises(DatasetError) as caught:
        open_nyudv2(tmp_path)[0]
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / file}.mat") and message in text


def test_options_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_nyudv2(tmp_path, split="val", classes=13)
    assert str(caught.value) == (
        "split is 'val', not one of 'train', 'test', 'all'; classes is 13, not one of 40, 894"
    )


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "h5py",
            "this file of MATLAB is read with h5py, which is not installed. "
            "Run: pip install 'segzoo-core[data]'",
        ),
        (
            "scipy.io",
            "this file of MATLAB is read with scipy, which is not installed. "
            "Run: pip install 'segzoo-core[train]'",
        ),
    ],
)
def test_without_a_library_the_message_says_what_to_install(tmp_path, monkeypatch, module, message):
    write(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyMissingError) as caught:
        open_nyudv2(tmp_path)
    assert str(caught.value) == message


def test_an_older_file_of_a_gigabyte_is_not_read(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setattr(matlab, "MAX_BYTES", 100)
    with pytest.raises(DatasetError, match=r"splits\.mat: the file is too large; found \d+ bytes"):
        open_nyudv2(tmp_path)
