"""The reader of SUN RGB-D, on small files of its two layouts.

The authors' (README of SUNRGBDtoolbox, https://rgbd.cs.princeton.edu): pictures at the `rgbpath` of
Metadata/SUNRGBDMeta.mat, labels at SUNRGBD2Dseg(i).seglabel of Metadata/SUNRGBD2Dseg.mat (version
7.3, so transposed in HDF5), folders of a split in traintestSUNRGBD/allsplit.mat. The repacked one:
https://github.com/ankurhanda/sunrgbd-meta-data, README.
"""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segzoo.data.readers.sunrgbd import open_sunrgbd
from segzoo.data.sample import checked, info_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, UsageError

WHERE = "/n/fs/sun3d/data/SUNRGBD/"  # of the authors' own disk, in every path
FOLDERS = ["kv2/kinect2data/000002_a", "kv1/NYUdata/NYU0001", "xtion/xtion_align_data/b_resize"]
SIZES = [(6, 9), (5, 4), (3, 7)]
LABELS = [np.random.default_rng(n).integers(0, 38, size) for n, size in enumerate(SIZES)]


def cells(texts: list[str]) -> np.ndarray:
    found = np.empty((1, len(texts)), object)
    found[0] = texts
    return found


def write(
    folder: Path,
    *,
    paths: list[str] | None = None,
    labels: list[np.ndarray] = LABELS,
    train: list[str] | None = None,
) -> None:
    toolbox = folder / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True, exist_ok=True)
    (toolbox / "traintestSUNRGBD").mkdir(exist_ok=True)
    for n, (name, size) in enumerate(zip(FOLDERS, SIZES, strict=True)):
        place = folder / "SUNRGBD" / name / "image"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), 50 * n, np.uint8)).save(place / f"{n}.jpg")
    paths = paths or [f"{WHERE}{name}/image/{n}.jpg" for n, name in enumerate(FOLDERS)]
    meta = np.empty((1, len(paths)), [("rgbpath", object), ("K", object)])
    for n, path in enumerate(paths):
        meta[0, n] = (path, np.eye(3))
    savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", {"SUNRGBDMeta": meta})
    splits = {
        "alltrain": cells(train or [WHERE + FOLDERS[2], WHERE + FOLDERS[0]]),
        "alltest": cells([WHERE + FOLDERS[1]]),
    }
    savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", splits)
    with h5py.File(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", "w") as mat:
        field = mat.create_dataset("SUNRGBD2Dseg/seglabel", (len(labels), 1), h5py.ref_dtype)
        for n, values in enumerate(labels):
            array = values.T.astype(np.float64 if n else np.uint8)
            field[n, 0] = mat.create_dataset(f"#refs#/{n}", data=array).ref


def of_37(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 0, 255, stored.astype(int) - 1)


@pytest.mark.parametrize(
    ("split", "numbers"), [("train", [0, 2]), ("test", [1]), ("all", [0, 1, 2])]
)
def test_the_authors_layout(tmp_path, split, numbers):
    write(tmp_path)
    dataset = open_data(f"sunrgbd:{tmp_path}?split={split}")
    assert len(dataset) == len(numbers)
    for index, number in enumerate(numbers):
        sample = checked(dataset[index])
        np.testing.assert_array_equal(sample["target"], of_37(LABELS[number]))
        assert sample["target"].dtype == np.uint8
        assert abs(int(sample["image"].mean()) - 50 * number) < 2
        name = f"SUNRGBD/{FOLDERS[number]}/image/{number}.jpg"
        assert sample["id"] == id_of(dataset, index) == name
    info = info_of(dataset)
    assert (len(info.classes), info.ignore_index) == (37, 255)
    assert (info.classes[0], info.classes[36]) == ("wall", "bag")
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[0]["target"], dataset[0]["target"])


def write_repacked(folder: Path) -> dict[str, np.ndarray]:
    """Labels 1 and 2 of the test set, and 5051 and 5052, the first two of the training set."""
    labels = {}
    (folder / "sunrgbd_train_test_labels").mkdir()
    for part, first in (("test", 0), ("train", 5050)):
        (folder / f"SUNRGBD-{part}_images").mkdir()
        for n in (1, 2):
            labels[f"{part}/img-{n:06d}"] = stored = LABELS[0] * 0 + n + bool(first)
            name = f"sunrgbd_train_test_labels/img-{first + n:06d}.png"
            Image.fromarray(stored.astype(np.uint8)).save(folder / name)
            image = np.full((*stored.shape, 3), n, np.uint8)
            Image.fromarray(image).save(folder / f"SUNRGBD-{part}_images" / f"img-{n:06d}.jpg")
    return labels


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_the_repacked_layout(tmp_path, split):
    labels = write_repacked(tmp_path)
    dataset = open_data(f"sunrgbd:{tmp_path}?split={split}")
    wanted = {name for name in labels if split in ("all", name.split("/")[0])}
    assert {id_of(dataset, n) for n in range(len(dataset))} == wanted
    for n in range(len(dataset)):
        sample = checked(dataset[n])
        np.testing.assert_array_equal(sample["target"], of_37(labels[sample["id"]]))
    assert info_of(dataset).ignore_index == 255


def test_a_repacked_picture_without_labels(tmp_path):
    write_repacked(tmp_path)
    (tmp_path / "sunrgbd_train_test_labels" / "img-005052.png").unlink()
    with pytest.raises(DatasetError) as caught:
        open_sunrgbd(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: pictures and masks do not make pairs; found no mask for 1 of 2: "
        "train/img-000002. See https://github.com/ankurhanda/sunrgbd-meta-data"
    )
    assert len(open_sunrgbd(tmp_path, split="test")) == 2


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (
            {"labels": LABELS[:2]},
            "",
            "pictures and labels are not as many; "
            "found 3 in SUNRGBDMeta.mat, 2 in SUNRGBD2Dseg.mat. Get SUNRGBD.zip and",
        ),
        (
            {"paths": ["/etc/passwd"] * 3},
            "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat",
            "a path does not lead into SUNRGBD/; found /etc/passwd",
        ),
        (
            {"paths": [f"{WHERE}../../../etc/passwd"] * 3},
            "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat",
            "a path does not lead into SUNRGBD/; found",
        ),
        (
            {"train": [WHERE + FOLDERS[0], WHERE + "kv2/other"]},
            "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat",
            "alltrain lists folders that SUNRGBDMeta.mat has no picture of; "
            "found 2 folders, 1 picture",
        ),
        (
            {"labels": [LABELS[0] + 1, *LABELS[1:]]},
            "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat, picture 1",
            "the mask holds values that the map does not name; found 38 (",
        ),
    ],
)
def test_files_that_do_not_agree(tmp_path, change, file, message):
    write(tmp_path, **change)
    with pytest.raises(DatasetError) as caught:
        open_sunrgbd(tmp_path)[0]
    text = str(caught.value)
    assert text.startswith(str(tmp_path / file)) and f": {message}" in text


def test_files_that_are_missing_or_of_another_kind(tmp_path):
    with pytest.raises(DatasetError) as caught:
        open_sunrgbd(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this is not the layout that the reader knows; found an empty folder, "
        "expected the folders SUNRGBD and SUNRGBDtoolbox. Get SUNRGBD.zip and SUNRGBDtoolbox.zip "
        "from https://rgbd.cs.princeton.edu, and unpack both in one folder"
    )
    write(tmp_path)
    metadata = tmp_path / "SUNRGBDtoolbox" / "Metadata"
    savemat(metadata / "SUNRGBDMeta.mat", {"SUNRGBDMeta": [[1, 2, 3]]})
    with pytest.raises(DatasetError, match="it does not say where the pictures are; expected rgb"):
        open_sunrgbd(tmp_path)
    write(tmp_path)
    with h5py.File(metadata / "SUNRGBD2Dseg.mat", "a") as mat:
        mat["SUNRGBD2Dseg/seglabel"][0, 0] = h5py.Reference()
    (tmp_path / "SUNRGBD" / FOLDERS[2] / "image" / "2.jpg").unlink()
    dataset = open_sunrgbd(tmp_path)
    with pytest.raises(DatasetError, match="SUNRGBD2Dseg/seglabel leads nowhere at 0; found"):
        dataset[0]
    with pytest.raises(DatasetError, match=r"image/2\.jpg: there is no such file"):
        dataset[1]
    other = tmp_path / "other"
    write(other)
    with h5py.File(other / "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat", "w") as mat:
        mat["SUNRGBD2Dseg/seglabel"] = np.zeros((3, 1))
    with pytest.raises(DatasetError, match="SUNRGBD2Dseg/seglabel does not hold references"):
        open_sunrgbd(other)[0]


def test_a_split_that_there_is_not(tmp_path):
    with pytest.raises(UsageError) as caught:
        open_sunrgbd(tmp_path, split="val")
    assert str(caught.value) == "split is 'val', not one of 'train', 'test', 'all'"
