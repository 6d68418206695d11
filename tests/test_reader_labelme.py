"""The reader of labelme's files, on small ones, against labelme's own drawing of them."""

import base64
import io
import json
import sys

import numpy as np
import outlines
import pytest
from PIL import Image

from segzoo.data.readers import labelme
from segzoo.data.readers.labelme import open_labelme
from segzoo.data.sample import checked, info_of, notes_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, DependencyMissingError, UsageError

SQUARE = [[1, 1], [5, 1], [5, 4], [1, 4]]  # x 1..4, y 1..3


def shape(label="cat", points=SQUARE, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def write(folder, name="a", *shapes, size=(8, 9), **changes):
    """A picture and the file of labelme beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(folder / f"{name}.png")
    content = {
        "version": "6.3.1",
        "flags": {},
        "shapes": [*shapes],
        "imagePath": f"{name}.png",
        "imageData": base64.b64encode(b"not even a picture" * 100).decode(),
        "imageHeight": size[0],
        "imageWidth": size[1],
        **changes,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def scene(folder):
    shapes = [shape(label, points, kind) for label, kind, points in outlines.SHAPES]
    return write(folder, "a", *shapes, size=(outlines.HEIGHT, outlines.WIDTH))


def test_d_it_is_drawn_as_labelme_draws_it_but_for_pixels_at_edges(tmp_path):
    dataset = open_data(f"labelme:{scene(tmp_path)}")
    assert info_of(dataset).classes == ("background", *outlines.CLASSES)
    sample = checked(dataset[0])
    assert (sample["id"], id_of(dataset, 0)) == ("a.png", "a.png")
    theirs = outlines.class_map(outlines.LABELME)
    assert outlines.beside_edges(sample["target"], theirs)
    assert np.count_nonzero(sample["target"] != theirs) < 110  # of 1222 that are something
    assert not outlines.beside_edges(np.roll(sample["target"], 2, axis=1), theirs)


def test_d_the_later_lies_over_the_earlier(tmp_path):
    write(tmp_path, "a", shape("cat"), shape("dog", [[3, 0], [9, 0], [9, 8], [3, 8]]))
    assert open_labelme(tmp_path)[0]["target"][2].tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 2]
    write(tmp_path, "a", shape("dog", [[3, 0], [9, 0], [9, 8], [3, 8]]), shape("cat"))
    assert open_labelme(tmp_path)[0]["target"][2].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_d_every_kind_of_area(tmp_path):
    packed = io.BytesIO()
    Image.fromarray(np.eye(3, dtype=np.uint8) * 255).save(packed, "PNG")
    mask = base64.b64encode(packed.getvalue()).decode()
    write(
        tmp_path,
        "a",
        shape("box", [[3, 4], [1, 1]], "rectangle"),
        shape("turned", [[6, 1], [8, 1], [8, 3], [6, 3]], "oriented_rectangle"),
        shape("disk", [[3, 6.5], [4.5, 6.5]], "circle"),
        shape("diagonal", [[5, 4], [7, 6]], "mask", mask=mask),
        shape("old", [[0, 0], [1, 0], [1, 1], [0, 1]], None),
        shape("line", [[0, 0], [1, 0]], "line"),
        shape("dot", [[0, 0]], "point"),
        shape("dot", [[0, 0]], "point"),
    )
    dataset = open_labelme(tmp_path)
    names = info_of(dataset).classes
    assert names == ("background", "box", "diagonal", "disk", "old", "turned")
    found = dataset[0]["target"]
    expected = np.zeros((8, 9), np.uint8)
    expected[1:4, 1:3] = names.index("box")
    expected[1:3, 6:8] = names.index("turned")
    expected[0, 0] = names.index("old")
    expected[[4, 5, 6], [5, 6, 7]] = names.index("diagonal")
    disk = found == names.index("disk")
    assert 4 <= disk.sum() <= 9 and disk[6, 2:4].all()  # pi * 1.5^2 is 7
    np.testing.assert_array_equal(np.where(disk, 0, found), expected)
    assert notes_of(dataset) == ("shapes that are no areas are left out; found 1 line, 2 point",)


def test_d_classes_background_and_what_is_ignored(tmp_path):
    shapes = [
        shape("__ignore__", [[0, 0], [9, 0], [9, 2], [0, 2]]),
        shape("dog"),
        shape("_background_", [[1, 1], [2, 1], [2, 4], [1, 4]]),
        shape("cat", [[4, 1], [5, 1], [5, 4], [4, 4]]),
    ]
    write(tmp_path, "a", *shapes)
    dataset = open_labelme(tmp_path)
    assert info_of(dataset).classes == ("background", "cat", "dog")
    assert dataset[0]["target"][1].tolist() == [255, 0, 2, 2, 1, 255, 255, 255, 255]
    only = open_data(f"labelme:{tmp_path}?classes=dog")
    assert only[0]["target"][1].tolist() == [255, 0, 1, 1, 0, 255, 255, 255, 255]
    assert notes_of(only) == ("labels that classes= does not name are background; found 1 cat",)
    both = open_data(f"labelme:{tmp_path}?overlap=yes")
    assert info_of(both).classes == ("cat", "dog")
    assert both[0]["target"][:, 1].tolist() == [
        [255, 255, 255, 255, 1, 255, 255, 255, 255],
        [255, 1, 1, 1, 1, 255, 255, 255, 255],
    ]


def test_d_labels_txt_gives_the_classes_and_their_order(tmp_path):
    write(tmp_path, "a", shape("dog"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nowl\ndog\ncat\n")
    dataset = open_labelme(tmp_path)
    assert info_of(dataset).classes == ("background", "owl", "dog", "cat")
    assert dataset[0]["target"].max() == 2
    write(tmp_path, "b", shape("d<b>og\x1b"))
    with pytest.raises(DatasetError) as error:
        open_labelme(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: 1 of the files cannot be used; found b.png: shapes[0] is "
        r"'d<b>og\x1b', not in labels.txt, expected the JSON of labelme, whose imagePath lies in "
        "this folder"
    )
    (tmp_path / "b.json").unlink()
    with pytest.raises(UsageError, match=r"no label 'doc'.*found owl, dog, cat. Did you mean 'dog"):
        open_labelme(tmp_path, classes="doc")


def test_d_pictures_are_those_of_image_path_within_the_set(tmp_path):
    write(tmp_path / "images", "a")
    write(tmp_path / "labels", "b", shape(), imagePath="..\\images\\a.png")
    (tmp_path / "images/a.json").unlink()
    dataset = open_labelme(tmp_path)
    assert [id_of(dataset, n) for n in range(len(dataset))] == ["images/a.png"]
    assert dataset.files_at(0) == (f"{tmp_path}/images/a.png", f"{tmp_path}/labels/b.json")
    for number, name in enumerate(("../../a.png", "/etc/passwd", "C:\\a.png", "\\\\host\\a.png")):
        write(tmp_path / "labels", f"c{number}", shape(), imagePath=name)
    with pytest.raises(DatasetError) as error:
        open_labelme(tmp_path)
    assert error.value.problem == "4 of the files cannot be used"
    assert error.value.found.count("is not the name of a file in the set") == 4


def test_d_parts_of_a_set(tmp_path):
    for name in "abcde":
        write(tmp_path, name, shape())
    assert len(open_data(f"labelme:{tmp_path}?val=0.4")) == 3
    assert len(open_data(f"labelme:{tmp_path}?fold=0/5&part=val")) == 1
    assert len(open_data(f"labelme:{tmp_path}?split=1:3")) == 2


def test_d_a_size_that_the_file_does_not_say_and_one_that_is_wrong(tmp_path):
    write(tmp_path, "a", shape(), imageHeight=None, imageWidth=None)
    assert checked(open_labelme(tmp_path)[0])["target"].shape == (8, 9)
    write(tmp_path, "a", shape(), imageHeight=9, imageWidth=8)
    with pytest.raises(DatasetError, match="height and width are exchanged"):
        checked(open_labelme(tmp_path)[0])


def test_d_other_json_files(tmp_path):
    write(tmp_path, "a", shape())
    (tmp_path / "settings.json").write_text("{}")
    assert notes_of(open_labelme(tmp_path)) == ("JSON files of other kinds are left out; found 1",)
    (tmp_path / "a.json").unlink()
    with pytest.raises(DatasetError, match="no files of labelme; found 1 other JSON files"):
        open_labelme(tmp_path)


def test_d_a_mark_of_utf8_in_front_of_a_file(tmp_path):
    write(tmp_path, "a", shape("dög"))
    file = tmp_path / "a.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    dataset = open_labelme(tmp_path)
    assert info_of(dataset).classes == ("background", "dög")
    assert dataset[0]["target"].sum() == 12
    file.write_bytes(b"\xef\xbb\xbf" * 2 + b"{}")
    with pytest.raises(DatasetError, match=r"a\.json: it is not valid JSON"):
        open_labelme(tmp_path)


FAR = [[0, 0], [1e6, 0], [0, 1e6]]
BAD = [
    ([shape(points=[[1, 1], [5, 1]])], "shapes[0]: a polygon of 2 points"),
    ([shape(points=[[1, 1]], kind="circle")], "shapes[0]: a circle of 1 point, not 2"),
    ([shape(points=[[1, 1, 1]] * 3)], "shapes[0]: points are not pairs of numbers"),
    ([shape(points=[[1, None]] * 3)], "shapes[0]: points are not pairs of numbers"),
    ([shape(points=5)], "shapes[0]: points are not pairs of numbers"),
    ([shape(label=7)], "shapes[0]: 7 is no label"),
    ([shape(label=" ")], "shapes[0]: ' ' is no label"),
    ([shape(kind="spiral")], "shapes[0]: a shape of type 'spiral'"),
    ([{"label": "cat"}], "shapes[0]: it has no 'points'"),
    ([3], "shapes[0]: 3, no object"),
    ([[]], "shapes[0]: [], no object"),
    ([shape(kind=["polygon"])], "shapes[0]: a shape of type ['polygon'], no text"),
    ([shape(kind={"a": 1})], "shapes[0]: a shape of type {'a': 1}, no text"),
    ([shape(kind=7)], "shapes[0]: a shape of type 7, no text"),
    ([shape(points=[["1", "x"]] * 3)], "shapes[0]: points are not pairs of numbers"),
    ([shape(points=None)], "shapes[0]: points are not pairs of numbers"),
    ([shape(label="\ud800")], r"a label cannot be written as UTF-8; found \ud800"),
    ([shape(points=[[0, 0], [2, 2]], kind="mask", mask="%%%")], "its mask is not base64"),
    ([shape(points=[[0, 0], [2, 2]], kind="mask", mask="AAAA")], "shapes[0]: "),
]


@pytest.mark.parametrize(("shapes", "message"), BAD)
def test_d_shapes_that_cannot_be_used(tmp_path, shapes, message):
    write(tmp_path, "a", *shapes)
    with pytest.raises(DatasetError) as error:
        open_labelme(tmp_path)
    assert f"found a.json: {message}" in str(error.value) or message in str(error.value)
    assert error.value.file == str(tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"shapes": [', "a.json: it is not valid JSON"),
        (b"[]", "a.json: it is not a JSON object list"),
        (b"\xff", "a.json: it is not UTF-8"),
        (b'{"shapes": NaN}', "NaN is not a number of JSON"),
        (b"[" * 99, "a.json: it is nested too deeply 99 levels"),
        (b'{"shapes": [], "imagePath": 3}', "imagePath and shapes are not a name and a list"),
        (b'{"shapes": [], "imagePath": "b.png"}', "its picture is not there: 'b.png'"),
        (
            b'{"shapes": [], "imagePath": "a.png", "imageHeight": 1e9, "imageWidth": 5}',
            "1000000000.0 x 5 is not a size",
        ),
        (
            b'{"shapes": [], "imagePath": "a.png", "imageHeight": 1000000, "imageWidth": 1000000}',
            "1000000 x 1000000 is too large",
        ),
    ],
)
def test_d_files_that_cannot_be_used(tmp_path, raw, message):
    write(tmp_path, "a", shape())
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(DatasetError) as error:
        open_labelme(tmp_path)
    assert message in str(error.value)


def test_d_all_faults_at_once_and_bounds(tmp_path, monkeypatch):
    for name in "abcdefg":
        write(tmp_path, name, shape(points=[]))
    with pytest.raises(DatasetError, match=r"7 of the files.*e\.json: [^;]*; and 2 more"):
        open_labelme(tmp_path)
    monkeypatch.setattr(labelme, "MAX_BYTES", 10)
    with pytest.raises(DatasetError, match=r"a\.json: it is too large: [\d,]+ bytes"):
        open_labelme(tmp_path)


def test_d_two_files_about_one_picture_and_a_corner_far_out(tmp_path):
    write(tmp_path, "a", shape(points=FAR))
    with pytest.raises(DatasetError) as error:
        open_labelme(tmp_path)[0]
    assert str(error.value) == (
        "a.png: shapes[0] cannot be drawn; found a polygon leads far out of the picture"
    )
    write(tmp_path, "b", shape(), imagePath="a.png")
    with pytest.raises(DatasetError, match=r"b\.json: another file is about 'a\.png' too"):
        open_labelme(tmp_path)


def test_d_a_corner_outside_is_cut_off_at_the_border(tmp_path):
    write(tmp_path, "a", shape(points=[[-4, -4], [4, -4], [4, 4], [-4, 4]]))
    expected = np.zeros((8, 9), np.uint8)
    expected[:4, :4] = 1
    np.testing.assert_array_equal(open_labelme(tmp_path)[0]["target"], expected)


def test_d_no_folder_and_no_library(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="there is no such folder"):
        open_labelme(tmp_path / "x")
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(DependencyMissingError, match="the reader 'labelme' needs pycocotools"):
        open_labelme(tmp_path)
