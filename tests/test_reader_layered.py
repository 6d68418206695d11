"""C9: classes that overlap, a folder of masks for each; as files, and through a training."""

import numpy as np
import pytest
from cells import QUIET
from PIL import Image

from segzoo.data.check import check
from segzoo.data.fingerprint import fingerprint
from segzoo.data.readers.arrays import open_arrays
from segzoo.data.readers.folder import open_folder
from segzoo.data.readers.layered import Layered
from segzoo.data.sample import checked
from segzoo.errors import DatasetError, UsageError
from segzoo.runs.evaluation import evaluate
from segzoo.runs.training import train

RANDOM = np.random.default_rng(9)
CLASSES = ("cell", "nucleus")
MAPS = RANDOM.random((4, 2, 32, 32)) > 0.4


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    for number, maps in enumerate(MAPS):
        picture = RANDOM.integers(0, 256, (32, 32, 3), np.uint8)
        save(tmp_path / "images" / f"s{number}.png", picture)
        for name, layer in zip(CLASSES, maps, strict=True):
            save(tmp_path / "masks" / name / f"s{number}.png", layer * np.uint8(255))
    return tmp_path


def test_c9_a_map_for_each_class_in_the_order_that_is_said(folder):
    data = open_folder(folder, overlap=True, classes="cell,nucleus")
    assert isinstance(data, Layered)
    assert data.info.classes == CLASSES
    for number, maps in enumerate(MAPS):
        sample = checked(data[number])
        np.testing.assert_array_equal(sample["target"], maps)
        assert sample["target"].dtype == np.uint8
    turned = open_folder(folder, overlap=True, classes="nucleus,cell")
    np.testing.assert_array_equal(turned[0]["target"], MAPS[0, ::-1])
    report = check(data)
    assert report.ok
    assert [c.pixels for c in report.classes] == MAPS.sum(axis=(0, 2, 3)).tolist()
    assert fingerprint(data).of == "contents"


def test_c9_values_thresholds_and_notes_of_each_mask(folder):
    save(folder / "masks" / "cell" / "s0.png", MAPS[0, 0] * np.uint8(7) + np.uint8(1))
    with pytest.raises(DatasetError, match=r"cell/s0\.png: the map of a class holds other values"):
        open_folder(folder, overlap=True, classes="cell,nucleus")[0]
    for number in range(4):
        for name, layer in zip(CLASSES, MAPS[number], strict=True):
            (folder / "masks" / name / f"s{number}.png").unlink()
            blocks = np.kron(layer[::8, ::8], np.ones((8, 8), np.uint8)) * np.uint8(255)
            save(folder / "masks" / name / f"s{number}.jpg", blocks)
    data = open_folder(folder, overlap=True, classes="cell,nucleus", threshold="128")
    expected = np.kron(MAPS[2, 1, ::8, ::8], np.ones((8, 8), np.uint8))
    np.testing.assert_array_equal(data[2]["target"][1], expected)
    assert "notes" not in data[2]


def test_c9_a_picture_without_a_mask_of_a_class(folder):
    (folder / "masks" / "nucleus" / "s1.png").unlink()
    with pytest.raises(
        DatasetError, match=r"no mask of nucleus for 1 \(s1\), .* say missing=empty"
    ):
        open_folder(folder, overlap=True, classes="cell,nucleus")
    data = open_folder(folder, overlap=True, classes="cell,nucleus", missing="empty")
    np.testing.assert_array_equal(data[1]["target"][0], MAPS[1, 0])
    assert not data[1]["target"][1].any()
    (folder / "masks" / "cell" / "s1.png").unlink()
    data = open_folder(folder, overlap=True, classes="cell,nucleus", missing="empty")
    assert not data[1]["target"].any()
    save(folder / "masks" / "cell" / "s9.png", MAPS[1, 0] * np.uint8(255))
    with pytest.raises(DatasetError, match=r"masks of cell without a picture: 1 \(s9\)"):
        open_folder(folder, overlap=True, classes="cell,nucleus", missing="empty")


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({}, UsageError, r"found cell, nucleus\. Say which, in their order: classes=A,B"),
        (
            {"classes": "cell,dog"},
            DatasetError,
            "there is no folder dog; found the folders cell, n",
        ),
        ({"classes": "cell", "palette": "voc"}, UsageError, "are about masks of all classes"),
        ({"classes": "cell", "ignore_index": 255}, UsageError, "are about masks of all classes"),
        ({"classes": "cell", "values": "0,1,2"}, UsageError, "a mask of one class holds two val"),
        (
            {"classes": "cell", "suffix": "_mask"},
            DatasetError,
            "or without the suffix; found s0.png",
        ),
    ],
)
def test_c9_what_cannot_be_meant(said, error, message, folder):
    with pytest.raises(error, match=message):
        open_folder(folder, overlap=True, **said)


def test_c9_missing_without_overlap(folder):
    with pytest.raises(UsageError, match=r"missing= is of classes that overlap. Add overlap=yes"):
        open_folder(folder, missing="empty")


def test_c9_masks_of_several_sizes(folder):
    save(folder / "masks" / "nucleus" / "s0.png", np.zeros((30, 32), np.uint8))
    with pytest.raises(DatasetError, match=r"nucleus/s0\.png: the masks of a picture have several"):
        open_folder(folder, overlap=True, classes="cell,nucleus")[0]


def test_c9_maps_of_an_array(tmp_path):
    """The report's own: one pixel in several classes, or in none."""
    images = RANDOM.integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, masks=MAPS.transpose(0, 2, 3, 1))
    data = open_arrays(tmp_path / "a.npz", overlap=True, classes="cell,nucleus")
    np.testing.assert_array_equal(checked(data[3])["target"], MAPS[3])
    with pytest.raises(DatasetError, match=r"in several, .* If classes overlap, say overlap=yes"):
        open_arrays(tmp_path / "a.npz")[0]
    np.savez(tmp_path / "b.npz", images=images, masks=MAPS[:, 0])
    with pytest.raises(DatasetError, match="classes that overlap need a map for each"):
        open_arrays(tmp_path / "b.npz", overlap=True)


def test_c9_from_a_folder_to_a_measured_model(folder, tmp_path):
    words = f"folder:{folder}?overlap=yes&classes=cell,nucleus"
    changes = ["steps=1", "epochs=none", "batch_size=2", "crop=16", "warmup=0", "ema=none"]
    run = tmp_path / "run"
    made = train(
        "unetpp", words, val=words, run=run, width=2, depth=1, changes=changes, settings=QUIET
    )
    assert made.model.task == "multilabel"
    assert made.model.classes == CLASSES
    found = evaluate(str(run / "model"), words, device="cpu", workers=0, bootstrap=0)
    assert set(found.classes) == set(CLASSES)
    assert len(found.values["iou"]) == 2
