"""The reader of CVAT's XML, on small files of its layout, against datumaro's drawing of them."""

import sys

import numpy as np
import outlines
import pytest
from PIL import Image

from segzoo.data.readers import cvat
from segzoo.data.readers.cvat import open_cvat
from segzoo.data.sample import checked, info_of, notes_of
from segzoo.data.source import id_of, open_data
from segzoo.errors import DatasetError, DependencyMissingError, UsageError

LABELS = ("cell", "nucleus", "wall")
# Of a set that CVAT has written: lists of points with semicolons, runs with commas.
SCENE = """
<polygon label="nucleus" source="manual" occluded="0"
 points="30.52,20.52;33.52,25.52;48.52,30.52;34.52,33.52" z_order="2"></polygon>
<polygon label="cell" source="manual" occluded="0"
 points="4.32,3.72;30.22,6.12;35.92,22.42;18.52,30.82;3.22,20.62" z_order="0"></polygon>
<box label="wall" source="manual" occluded="0"
 xtl="28.62" ytl="12.32" xbr="50.72" ybr="35.42" z_order="1"></box>
<polygon label="cell" source="manual" occluded="0"
 points="40.12,2.22;54.82,2.92;45.32,18.72" z_order="1"></polygon>
<mask label="nucleus" source="manual" occluded="0"
 rle="11, 6, 3, 2, 2, 2, 3, 2, 2, 2, 3, 6, 10" left="10" top="12" width="9" height="6" z_order="1">
</mask>
"""


def polygon(label="cell", points="1,1;5,1;5,4;1,4", z=0):  # x 1..4, y 1..3
    return (
        f'<polygon label="{label}" points="{points}" z_order="{z}"><attribute name="x"/></polygon>'
    )


def image(inside="", name="a.png", size=(8, 9), subset=""):
    more = f' subset="{subset}"' if subset else ""
    height, width = size
    return f'<image id="0" name="{name}" width="{width}" height="{height}"{more}>{inside}</image>'


def xml(*images, labels=LABELS, around="task"):
    meta = "".join(
        f"<label><name>{name}</name><color>#fa3253</color><type>any</type><attributes>"
        f"<attribute><name>age</name><input_type>number</input_type></attribute></attributes></label>"
        for name in labels
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>'
        f"<{around}><id>7</id><name>a task</name><labels>{meta}</labels></{around}></meta>"
        f"{''.join(images)}</annotations>"
    )


def write(root, content, *pictures, size=(8, 9)):
    (root / "annotations.xml").write_text(content, "utf-8")
    for name in pictures or ("images/a.png",):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1]).save(root / name)
    return root


SQUARE = np.zeros((8, 9), np.uint8)
SQUARE[1:4, 1:5] = 1


def test_d_it_is_drawn_as_datumaro_draws_it(tmp_path):
    size = (outlines.HEIGHT, outlines.WIDTH)
    write(tmp_path, xml(image(SCENE, size=size)), size=size)
    dataset = open_data(f"cvat:{tmp_path}")
    assert info_of(dataset).classes == ("background", *LABELS)
    assert id_of(dataset, 0) == "images/a.png"
    target = checked(dataset[0])["target"]
    np.testing.assert_array_equal(target, outlines.class_map(outlines.DATUMARO))


def test_d_z_order_counts_and_then_the_place_in_the_file(tmp_path):
    whole = "0,0;9,0;9,8;0,8"
    write(tmp_path, xml(image(polygon("cell", z=1) + polygon("wall", whole))))
    np.testing.assert_array_equal(open_cvat(tmp_path)[0]["target"], np.where(SQUARE, 1, 3))
    write(tmp_path, xml(image(polygon("cell") + polygon("wall", whole))))
    assert (open_cvat(tmp_path)[0]["target"] == 3).all()
    layers = open_data(f"cvat:{tmp_path}?overlap=yes&classes=wall,cell")
    assert info_of(layers).classes == ("wall", "cell")
    np.testing.assert_array_equal(layers[0]["target"], [np.ones((8, 9)), SQUARE])


def test_d_boxes_and_ellipses_turn_clockwise(tmp_path):
    box = '<box label="cell" xtl="1" ytl="3" xbr="7" ybr="5" rotation="90.0" z_order="0"/>'
    write(tmp_path, xml(image(box)))
    expected = np.zeros((8, 9), np.uint8)
    expected[1:7, 3:5] = 1
    np.testing.assert_array_equal(open_cvat(tmp_path)[0]["target"], expected)
    box = '<box label="cell" xtl="1" ytl="3.5" xbr="8" ybr="4.5" rotation="45.0" z_order="0"/>'
    write(tmp_path, xml(image(box)))
    found = open_cvat(tmp_path)[0]["target"]
    assert found[2, 2] and found[6, 6] and not found[6, 2] and not found[2, 6]
    ellipse = '<ellipse label="wall" cx="4.5" cy="4" rx="4" ry="1" rotation="90" z_order="0"/>'
    write(tmp_path, xml(image(ellipse)))
    found = open_cvat(tmp_path)[0]["target"]
    assert found[:, 4].tolist() == [3] * 8 and not found[:, :3].any()


def test_d_classes_background_ignored_and_labels_of_skeletons(tmp_path):
    inside = polygon("ignored", "0,0;9,0;9,2;0,2") + polygon("nucleus") + polygon("background")
    content = xml(image(inside), labels=["background", "nucleus", "ignored", "nose"])
    content = content.replace("<name>nose</name>", "<name>nose</name><parent>face</parent>")
    write(tmp_path, content)
    dataset = open_cvat(tmp_path)
    assert info_of(dataset).classes == ("background", "nucleus")
    expected = np.zeros((8, 9), np.uint8)
    expected[:2] = 255
    expected[SQUARE > 0] = 0
    np.testing.assert_array_equal(dataset[0]["target"], expected)
    with pytest.raises(UsageError, match=r"no label 'nucleos'.*Did you mean 'nucleus'"):
        open_cvat(tmp_path, classes="nucleos")


def test_d_what_is_no_area_is_left_out_and_said(tmp_path):
    inside = (
        '<tag label="cell"/><polyline label="cell" points="1,1;2,2" z_order="0"/>'
        '<points label="cell" points="1,1" z_order="0"/><points label="cell" points="2,1"/>'
        '<skeleton label="cell" z_order="0"><points label="nose" points="1,1"/></skeleton>'
    )
    write(tmp_path, xml(image(inside + polygon())))
    dataset = open_cvat(tmp_path)
    assert notes_of(dataset) == (
        "shapes that are no areas are left out; found 2 points, 1 polyline, 1 skeleton, 1 tag",
    )
    np.testing.assert_array_equal(dataset[0]["target"], SQUARE)


@pytest.mark.parametrize(
    ("place", "name", "subset"),
    [
        ("images/a.png", "a.png", ""),
        ("a.png", "a.png", ""),
        ("images/Train/a.png", "a.png", "Train"),
        ("images/day 1/a.png", "day 1/a.png", ""),
        ("images/a.png", "a.png", "Train"),
    ],
)
def test_d_where_pictures_are(tmp_path, place, name, subset):
    write(tmp_path, xml(image(polygon(), name, subset=subset), around="project"), place)
    dataset = open_cvat(tmp_path / "annotations.xml")
    assert id_of(dataset, 0) == place
    np.testing.assert_array_equal(dataset[0]["target"], SQUARE)


def test_d_subsets_and_parts(tmp_path):
    images = [image("", f"{n}.png", subset=s) for n, s in enumerate(["Train"] * 4 + ["Test"])]
    write(tmp_path, xml(*images), *(f"images/{n}.png" for n in range(5)))
    assert len(open_data(f"cvat:{tmp_path}")) == 5
    assert len(open_data(f"cvat:{tmp_path}?split=Test")) == 1
    assert len(open_data(f"cvat:{tmp_path}?split=Train&val=0.25")) == 3
    with pytest.raises(DatasetError, match="there is no subset 'val'; found Test, Train"):
        open_data(f"cvat:{tmp_path}?split=val")


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>'
OUTSIDE = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>'
MASK = '<mask label="cell" rle="{}" left="{}" top="0" width="3" height="2" z_order="0"/>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "line 1 cannot be used; found a document type, which may name entities, expected"),
        (OUTSIDE, "line 1 cannot be used; found a document type, which may name entities"),
        ("<annotations>&b;</annotations>", "this is not valid XML; found undefined entity: line 1"),
        ("<annotations>", "this is not valid XML; found no element found"),
        ("", "this is not valid XML; found no element found"),
        ("<html/>", "found <html>, not <annotations>"),
        ("<annotations>" + "<a>" * 99, "more than 16 elements within each other"),
        ('<annotations><track id="0"/></annotations>', "a track: this is CVAT's XML for videos"),
        (xml(), "there are no pictures; found no subsets"),
        (xml(image(), labels=[]), "there are no labels; found 0"),
        (xml(image(), labels=["a", "a"]), "labels stand twice; found a"),
        (xml(image(), labels=[" "]), "a label without a name"),
        (xml(image(polygon("dog"))), "a label that the task does not have; found 'dog' in a.png"),
        (
            xml(image(polygon("&lt;b&gt;\u202edog"))),
            r"found '<b>\u202edog' in a.png, expected cell, nucleus, wall",
        ),
        (xml(image(polygon(points="1,1;5,1"))), "found a polygon of 2 points"),
        (xml(image(polygon(points="1,1;5;1,1"))), "points are not pairs of numbers"),
        (xml(image(polygon(points="1,1;5,x;1,1"))), "found 'x' is no number"),
        (xml(image(polygon(points="1,1;5,inf;1,1"))), "a point that is nowhere"),
        (xml(image(polygon(z="up"))), "found z_order='up' is no whole number"),
        (xml(image('<polygon points="1,1;2,2;3,1"/>')), "found it has no 'label'"),
        (xml(image('<blob label="cell"/>')), "a shape <blob>"),
        (xml(image(MASK.format("1, 4", 0))), "runs of 5 pixels, of 6"),
        (xml(image(MASK.format("1, -1, 6", 0))), "runs that are no lengths: '1, -1, 6'"),
        (xml(image(MASK.format("1, x", 0))), "runs that are no lengths: '1, x'"),
        (xml(image(MASK.format("9" * 5000, 0))), "runs that are no lengths: '9999"),
        (xml(image(MASK.format("6", "0.5"))), "found left='0.5' is no whole number"),
        (xml(image(size=(8, "9" * 5000))), f"found width='{'9' * 77}...' is no whole number, exp"),
        (xml(image(size=("", 9))), "found height='' is no whole number"),
        (xml(image(polygon(z="9" * 5000))), f"found z_order='{'9' * 77}...' is no whole number"),
        (xml(image('<box label="cell" xtl="l"/>')), "found 'l' is no number"),
        (
            xml(image(subset="../..", name="etc/x")),
            "'images/../../etc/x' is not the name of a file",
        ),
        (xml(image(MASK.format("6", -1))), "a mask of 2 x 3 at 0, -1"),
        (xml(image(name="../a.png")), "'../a.png' is not the name of a file in the set"),
        (xml(image(name="/etc/passwd")), "'/etc/passwd' is not the name of a file in the set"),
        (xml(image(size=(0, 4))), "0 x 4 is not a size"),
        (xml(image(size=(10**6, 10**6))), "1000000 x 1000000 is too large"),
        (xml(image(name="gone.png")), "1 of 1 pictures are missing; found no images/gone.png. Put"),
    ],
)
def test_d_files_that_cannot_be_used(tmp_path, content, message):
    write(tmp_path, content)
    with pytest.raises(DatasetError) as error:
        open_cvat(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in error.value.file


@pytest.mark.parametrize(
    "images",
    [
        [image(polygon("cell")), image(polygon("wall"))],
        [image(polygon("cell")), image(name="b/../a.png")],
        [image(subset="Train"), image(subset="Val")],
    ],
)
def test_d_two_images_of_one_picture(tmp_path, images):
    file = write(tmp_path, xml(*images)) / "annotations.xml"
    with pytest.raises(DatasetError) as error:
        open_cvat(tmp_path)
    assert str(error.value) == (
        f"{file}: several images are of one picture, and each would deny the other's shapes; found "
        "images/a.png, expected a picture of its own for each, in the folder of its subset"
    )


def test_d_pictures_of_one_name_in_two_subsets(tmp_path):
    content = xml(image(polygon(), subset="Train"), image(subset="Val"))
    write(tmp_path, content, "images/Train/a.png", "images/Val/a.png")
    dataset = open_cvat(tmp_path)
    assert [id_of(dataset, n) for n in (0, 1)] == ["images/Train/a.png", "images/Val/a.png"]
    for name in ("Train", "Val"):
        (tmp_path / f"images/{name}/a.png").unlink()
    write(tmp_path, content)
    assert len(open_data(f"cvat:{tmp_path}?split=Val")) == 1  # the other is not asked for


def test_d_a_mark_of_utf8_in_front_of_the_file(tmp_path):
    write(tmp_path, "\ufeff" + xml(image(polygon())))
    np.testing.assert_array_equal(open_cvat(tmp_path)[0]["target"], SQUARE)


def test_d_the_line_is_told(tmp_path):
    write(tmp_path, xml("\n\n", image(polygon(points="1,1"))))
    with pytest.raises(DatasetError, match=r"annotations\.xml: line 4 cannot be used"):
        open_cvat(tmp_path)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (polygon(points="0,0;1e6,0;0,1e6"), "a polygon leads far out of the picture"),
        (MASK.format("1, 5", 8), "a mask that reaches out of the picture"),
    ],
)
def test_d_shapes_that_cannot_be_drawn(tmp_path, inside, message):
    write(tmp_path, xml(image(inside)))
    with pytest.raises(DatasetError) as error:
        open_cvat(tmp_path)[0]
    assert str(error.value) == f"images/a.png: shape 0 cannot be drawn; found {message}"


def test_d_a_corner_outside_is_cut_off_at_the_border(tmp_path):
    write(tmp_path, xml(image(polygon(points="-4,-4;5,-4;5,4;-4,4"))))
    expected = np.zeros((8, 9), np.uint8)
    expected[:4, :5] = 1
    np.testing.assert_array_equal(open_cvat(tmp_path)[0]["target"], expected)


def test_d_bounds_no_file_and_no_library(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match=r"cannot be read: No such file.*CVAT for images 1\.1"):
        open_cvat(tmp_path)
    write(tmp_path, xml(image()))
    monkeypatch.setattr(cvat, "MAX_BYTES", 9)
    with pytest.raises(DatasetError, match="the file is too large; found"):
        open_cvat(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(DependencyMissingError, match="the reader 'cvat' needs pycocotools"):
        open_cvat(tmp_path)
