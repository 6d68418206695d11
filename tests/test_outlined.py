"""What all readers of outlines promise: their files, other processes, a fault of one sample."""

import json
import pickle

import numpy as np
import pytest
from layouts import photo, save

from segzoo.data.fingerprint import fingerprint
from segzoo.data.sample import Info
from segzoo.data.source import open_data
from segzoo.errors import DatasetError

H, W = 6, 8  # as of layouts.photo
CORNERS = [[1, 1], [5, 1], [5, 4], [1, 4]]


def coco(root, corners):
    save(root / "a.png", photo(0))
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[value for corner in corners for value in corner]],
    }
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": H, "width": W}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "cell"}],
    }
    save(root / "a.json", json.dumps(content))
    return f"coco:{root}/a.json"


def labelme(root, corners):
    save(root / "a.png", photo(0))
    shape = {"label": "cell", "points": corners, "shape_type": "polygon"}
    save(root / "a.json", json.dumps({"imagePath": "a.png", "shapes": [shape]}))
    return f"labelme:{root}"


def yolo(root, corners):
    save(root / "images/a.png", photo(0))
    line = " ".join(f"{x / W} {y / H}" for x, y in corners)
    save(root / "labels/a.txt", f"0 {line}\n")
    save(root / "data.yaml", "train: images\nnames: [cell]\n")
    return f"yolo:{root}"


def cvat(root, corners):
    save(root / "images/a.png", photo(0))
    points = ";".join(f"{x},{y}" for x, y in corners)
    label = "<meta><labels><label><name>cell</name></label></labels></meta>"
    polygon = f'<polygon label="cell" points="{points}"/>'
    image = f'<image name="a.png" height="{H}" width="{W}">{polygon}</image>'
    save(root / "annotations.xml", f"<annotations>{label}{image}</annotations>")
    return f"cvat:{root}"


@pytest.mark.parametrize("write", [coco, labelme, yolo, cvat])
def test_d_what_all_readers_of_outlines_promise(tmp_path, write):
    words = write(tmp_path, CORNERS)
    dataset = open_data(words)
    expected = np.zeros((H, W), np.uint8)
    expected[1:4, 1:5] = 1
    np.testing.assert_array_equal(dataset[0]["target"], expected)
    assert dataset.info.classes == ("background", "cell")
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again[0]["target"], expected)
    before = fingerprint(dataset)
    assert before.of == "contents"
    write(tmp_path, CORNERS[:3])  # other outlines are other data
    assert fingerprint(open_data(words)) != before
    layers = open_data(f"{words}?overlap=yes")
    assert layers.info.classes == ("cell",)
    assert layers[0]["target"].shape == (1, H, W)


def test_d_names_that_no_file_could_hold_are_refused_whoever_gives_them(tmp_path):
    """Of a set's own files, of options, of arrays, of another's reader: before anything is made."""
    outlined = coco(tmp_path / "coco", CORNERS)
    file = tmp_path / "coco/a.json"
    file.write_text(file.read_text().replace('"cell"', r'"ce\ud800ll"'))
    pictures = np.zeros((2, H, W), np.uint8)
    np.savez(tmp_path / "a.npz", images=pictures, masks=pictures, classes=["a", "\udcff"])
    save(tmp_path / "folder/images/a.png", photo(0))
    save(tmp_path / "folder/masks/a.png", np.zeros((H, W), np.uint8))
    said = f"{tmp_path}/folder?values=0,255&classes=a,b\udcff"
    for words, place in (
        (outlined, file),
        (f"arrays:{tmp_path}/a.npz", "a.npz"),
        (said, "folder"),
    ):
        with pytest.raises(DatasetError, match="a label cannot be written as UTF-8; fo") as error:
            open_data(words)
        assert str(place) in error.value.file
    with pytest.raises(DatasetError, match=r"a label cannot be written as UTF-8; found \\udcff"):
        Info(classes=("a", "\udcff"))
