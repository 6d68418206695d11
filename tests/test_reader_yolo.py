"""The reader of YOLO's sets, on small ones, against ultralytics' own drawing of them."""

import numpy as np
import outlines
import pytest
from PIL import Image

from segzoo.data.readers import yolo
from segzoo.data.readers.yolo import labels_of, open_yolo
from segzoo.data.sample import checked, info_of, notes_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, UsageError

H, W = 10, 20
BOX = "0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8"  # x 2..9, y 2..7
YAML = "train: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"


def picture(file, size=(H, W)):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1]).save(file)


def write(root, *lines, description=YAML, name="a", split="train"):
    picture(root / f"images/{split}/{name}.jpg")
    label = root / f"labels/{split}/{name}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("".join(f"{line}\n" for line in lines))
    (root / "data.yaml").write_text(description)
    return root


def square(value):
    expected = np.zeros((H, W), np.uint8)
    expected[2:8, 2:10] = value
    return expected


def test_d_it_is_drawn_as_ultralytics_draws_it_but_for_pixels_at_edges(tmp_path):
    lines = []
    for label, kind, points in outlines.SHAPES:
        if kind == "rectangle":
            (x0, y0), (x1, y1) = points
            points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
        if kind != "circle":
            scaled = [f"{x / outlines.WIDTH:.6f} {y / outlines.HEIGHT:.6f}" for x, y in points]
            lines.append(" ".join([str(outlines.CLASSES.index(label)), *scaled]))
    write(tmp_path, *lines, description=f"train: images/train\nnames: {[*outlines.CLASSES]}\n")
    picture(tmp_path / "images/train/a.jpg", (outlines.HEIGHT, outlines.WIDTH))
    dataset = open_data(f"yolo:{tmp_path}")
    assert info_of(dataset).classes == ("background", *outlines.CLASSES)
    target = checked(dataset[0])["target"]
    theirs = outlines.class_map(outlines.ULTRALYTICS)
    assert outlines.beside_edges(target, theirs)
    assert np.count_nonzero(target != theirs) < 130  # of 1216 that are something


def test_d_the_smaller_is_on_top_wherever_it_stands(tmp_path):
    whole = "0 0 0 1 0 1 1 0 1"
    for lines in ([whole, f"1 {BOX}"], [f"1 {BOX}", whole]):
        target = open_yolo(write(tmp_path, *lines))[0]["target"]
        np.testing.assert_array_equal(target, np.where(square(1), 2, 1))
    layers = open_data(f"yolo:{tmp_path}?overlap=yes")
    assert info_of(layers).classes == ("cat", "dog")
    np.testing.assert_array_equal(layers[0]["target"], [np.ones((H, W)), square(1)])


def test_d_classes(tmp_path):
    dataset = open_data(f"yolo:{write(tmp_path, f'1 {BOX}', '')}?classes=dog")
    assert info_of(dataset).classes == ("background", "dog")
    np.testing.assert_array_equal(dataset[0]["target"], square(1))
    assert not open_yolo(tmp_path, classes="cat")[0]["target"].any()
    with pytest.raises(UsageError, match=r"no label 'owl'.*found cat, dog"):
        open_yolo(tmp_path, classes="owl")


@pytest.mark.parametrize(
    ("description", "place"),
    [
        ("train: images/train/\nnames: [cat, dog]", "images/train"),
        ("train: [images/one, images/train]\nnames: [cat, dog]", "images/train"),
        ("train: ../train/images\nnc: 2\nnames: ['cat', 'dog']", "train/images"),  # Roboflow
        ("path: /home/me/sets/x\ntrain: images/train\nnames: [cat, dog]", "images/train"),
        ("path: part\ntrain: images\nnames: [cat, dog]", "part/images"),
        ("train: photos\nnc: 2", "photos"),
        ("path: .\ntrain: train.txt\nnames: [cat, dog]", "images/train"),
    ],
)
def test_d_where_pictures_are(tmp_path, description, place):
    picture(tmp_path / place / "deep/a.JPG")
    (tmp_path / "images/one").mkdir(parents=True, exist_ok=True)
    label = tmp_path / labels_of(f"{place}/deep/a.JPG")
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(f"0 {BOX}")
    (tmp_path / "train.txt").write_text(f"./{place}/deep/a.JPG\n")
    (tmp_path / "data.yaml").write_text(description)
    dataset = open_yolo(tmp_path)
    assert [id_of(dataset, n) for n in range(len(dataset))] == [f"{place}/deep/a.JPG"]
    np.testing.assert_array_equal(dataset[0]["target"], square(1))
    assert dataset.files_at(0) == (str(tmp_path / place / "deep/a.JPG"), str(label))


def test_d_pictures_of_nothing(tmp_path):
    write(tmp_path, f"0 {BOX}")
    picture(tmp_path / "images/train/b.jpg")
    dataset = open_yolo(tmp_path)
    assert notes_of(dataset) == ("pictures without a file of labels are background; found 1",)
    assert not dataset[1]["target"].any()
    (tmp_path / "labels/train/a.txt").unlink()
    with pytest.raises(DatasetError, match=r"no picture has a file of labels; found no labels/tra"):
        open_yolo(tmp_path)


def test_d_splits(tmp_path):
    write(tmp_path, f"0 {BOX}")
    write(tmp_path, f"1 {BOX}", split="val")
    np.testing.assert_array_equal(open_data(f"yolo:{tmp_path}?split=val")[0]["target"], square(2))
    with pytest.raises(DatasetError) as error:
        open_data(f"yolo:{tmp_path}?split=test")
    assert str(error.value) == (
        f"{tmp_path}/data.yaml: there is no split 'test'; found train, val, expected a folder, or "
        "a list of folders"
    )
    (tmp_path / "data.yaml").write_text(YAML.replace("val:", "validation:"))
    assert len(open_yolo(tmp_path, split="val")) == 1
    for name in "bcd":
        write(tmp_path, f"0 {BOX}", name=name)
    assert len(open_data(f"yolo:{tmp_path}?val=0.25")) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "four numbers: a box, or two points"),
        ("0 0.5 0.5", "a polygon of 1 point"),
        ("0 0.1 0.2 0.5 0.2 0.5 0.8 0.1", "a polygon of 3.5 points"),
        ("2 " + BOX, "class 2 of 2"),
        ("-1 " + BOX, "class -1 of 2"),
        ("0.5 " + BOX, "class 0.5 of 2"),
        ("nan " + BOX, "class nan of 2"),
        ("cat " + BOX, "'cat' is no number"),
        ("0 0.1 0.2 0.5 0.2 12 0.8", "12 is not in 0..1"),
        ("0 0.1 0.2 -0.5 0.2 0.1 0.8", "-0.5 is not in 0..1"),
        ("0 0.1 0.2 nan 0.2 0.1 0.8", "nan is not in 0..1"),
        ("0 \x1b[2J 0.2 1 0.2 0.1 0.8", r"'\x1b[2J' is no number"),
    ],
)
def test_d_lines_that_cannot_be_used(tmp_path, line, message):
    dataset = open_yolo(write(tmp_path, f"0 {BOX}", line))
    with pytest.raises(DatasetError) as error:
        dataset[0]
    assert str(error.value) == (
        f"{tmp_path}/labels/train/a.txt: line 2 cannot be used; found {message}, expected the "
        "number of a class, and x and y of three points or more in 0..1"
    )


def test_d_coordinates_a_hair_outside_are_of_the_border(tmp_path):
    dataset = open_yolo(write(tmp_path, "1 -0.009 0 1.009 0 1.009 1.005 -0.009 1"))
    np.testing.assert_array_equal(dataset[0]["target"], np.full((H, W), 2))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("train: [", "this is not valid YAML; found while parsing"),
        ("- a\n- b", "this is no description of a set; found list, expected train:"),
        ("a: &a [x]\nb: *a", "this is not valid YAML; found it holds anchors"),
        (
            "train: images/train\nnames: {0: cat, 0: dog}",
            "this is not valid YAML; found the key '0' stands twice, again in line 2",
        ),
        (
            "train: images/none\ntrain: images/train\nnames: [cat]",
            "this is not valid YAML; found the key 'train' stands twice, again in line 2",
        ),
        (f"train: images/train\nnc: {'9' * 5000}", "found a number, a date or a value with a tag"),
        (
            'train: images/train\nnames: ["\\ud800"]',
            r"a label cannot be written as UTF-8; found \ud800",
        ),
        ("train: images/train\nnames: [cat, no]", "a name is False; write it in quotes"),
        ("train: images/train\nnames: {1: cat}", "neither a list, nor numbered from 0"),
        ("train: images/train\nnames: [a]\nnc: 2", "nc: is 2, and there are 1 names"),
        ("train: images/train\nnames: [a, a]", "labels stand twice; found a"),
        ("train: images/train", "names: is neither a list, nor numbered from 0"),
        ("train: images/none\nnames: [a]", "the pictures are not there; found images/none"),
        ("train: ../../etc\nnames: [a]", "the pictures lie outside of the set; found ../../etc"),
        ("train: /etc\nnames: [a]", "the pictures lie outside of the set; found /etc"),
        ("train: list.txt\nnames: [a]", "the list names what is not in the set; found '../x.jpg'"),
        ("train: gone.txt\nnames: [a]", "1 of 1 pictures are missing; found no images/gone.jpg"),
        ("x: !!python/object/apply:os.system ['true']", "this is not valid YAML; found could not"),
        ("x: " + "y" * (1 << 18), "the file is too large for a description"),
        ("names: \xff\x00", "this is not valid YAML"),
    ],
)
def test_d_descriptions_that_cannot_be_used(tmp_path, description, message):
    write(tmp_path, f"0 {BOX}", description=description)
    (tmp_path / "list.txt").write_text("../x.jpg\n")
    (tmp_path / "gone.txt").write_text("images/gone.jpg\n")
    with pytest.raises(DatasetError) as error:
        open_yolo(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in error.value.file


def test_d_labels_without_a_picture_and_two_pictures_of_one_name(tmp_path):
    write(tmp_path, f"0 {BOX}")
    (tmp_path / "labels/train/classes.txt").write_text("cat\ndog\n")  # labelImg's
    assert len(open_yolo(tmp_path)) == 1
    (tmp_path / "labels/train/gone.txt").write_text("")
    with pytest.raises(DatasetError, match=r"without a picture; found labels/train/gone\.txt"):
        open_yolo(tmp_path)
    (tmp_path / "labels/train/gone.txt").unlink()
    picture(tmp_path / "images/train/a.png")
    shared = r"two pictures share a file of labels; found labels/train/a\.txt"
    with pytest.raises(DatasetError, match=shared):
        open_yolo(tmp_path)
    listed = "train: [images/train, list.txt]\nnames: [a]"
    (tmp_path / "images/train/a.png").rename(tmp_path / "images/a.png")
    (tmp_path / "data.yaml").write_text(listed)
    (tmp_path / "list.txt").write_text("images/a.png\n")
    assert len(open_yolo(tmp_path)) == 2
    (tmp_path / "images/a.png").rename(tmp_path / "images/train/a.png")
    (tmp_path / "list.txt").write_text("images/train/a.jpg\nimages/train/a.png\n")
    for description in (listed, listed.replace("images/train, ", "")):
        (tmp_path / "data.yaml").write_text(description)
        with pytest.raises(DatasetError, match=shared):
            open_yolo(tmp_path)


def test_d_which_description(tmp_path):
    with pytest.raises(DatasetError, match="there is no description of the set; expected data"):
        open_yolo(tmp_path)
    write(tmp_path, f"0 {BOX}")
    (tmp_path / "data.yaml").rename(tmp_path / "mine.yaml")
    assert len(open_yolo(tmp_path)) == len(open_yolo(tmp_path / "mine.yaml")) == 1
    (tmp_path / "other.yml").write_text(YAML)
    with pytest.raises(DatasetError, match=r"several descriptions lie here; found mine.yaml, othe"):
        open_yolo(tmp_path)


def test_d_bounds_and_libraries(tmp_path, monkeypatch):
    dataset = open_yolo(write(tmp_path, f"0 {BOX}"))
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="the file is no text"):
        dataset[0]
    monkeypatch.setattr(yolo, "MAX_BYTES", 1)
    (tmp_path / "labels/train/a.txt").write_text("0 1")
    with pytest.raises(DatasetError, match="too large for the polygons of a picture"):
        dataset[0]
