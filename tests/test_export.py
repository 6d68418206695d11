"""What `segzoo data export` writes: read again by our readers, and by pycocotools."""

import io
import json
import sys
import warnings
from array import array
from contextlib import redirect_stdout

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import photo, save, stripes
from pycocotools.coco import COCO

from segzoo.cli.main import run
from segzoo.data.contours import polygons_around
from segzoo.data.export import FORMATS, export
from segzoo.data.outlines import mask_of_runs, polygons_filled, runs_of
from segzoo.data.sample import Info, checked, info_of
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, OutputError, ResourceError, UsageError


class Made:
    """Samples of these targets, called a, b, ..."""

    def __init__(self, *targets, names=None, channels=3, **info):
        self.targets = [np.asarray(target, np.uint8) for target in targets]
        self.names = names or "abcdefgh"
        self.channels = channels
        self.info = Info(**info)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        target = self.targets[index]
        size = (*target.shape[-2:], self.channels)
        image = np.random.default_rng(index).integers(0, 256, size, dtype=np.uint8)
        return {"image": image, "target": target, "id": self.names[index]}


NAMES = ("background", "cell", "wall")
RING = np.zeros((12, 15), np.uint8)
RING[1:11, 2:13] = 1
RING[3:9, 4:11] = 0
RING[4:8, 5:8] = 2
RING[5, 6] = 1
RING[3, 4] = 1  # touches the ring at its sides, and
RING[8, 10] = 2  # at a corner


def drawn(polygons, size):
    mask = np.zeros(size, np.bool_)
    for polygon in polygons:
        mask |= polygons_filled([array("d", polygon.ravel().tolist())], *size)
    return mask


masks = st.builds(
    lambda h, w, seed, share: np.random.default_rng(seed).random((h, w)) < share,
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.9, 1.0]),
)


# --- runs and polygons ----------------------------------------------------------------------------


@settings(max_examples=100)
@given(masks)
def test_d_polygons_hold_exactly_the_pixels(mask):
    """Islands in holes, pixels that touch at corners, holes that touch the border at a corner."""
    np.testing.assert_array_equal(drawn(polygons_around(mask), mask.shape), mask)


@settings(max_examples=60)
@given(masks)
def test_d_runs_hold_exactly_the_pixels(mask):
    np.testing.assert_array_equal(mask_of_runs(array("I", runs_of(mask)), *mask.shape), mask)


def test_d_one_polygon_for_each_piece_and_few_corners():
    mask = np.zeros((9, 9), np.bool_)
    mask[1:4, 1:8] = mask[5:8, 5:8] = True
    found = sorted(polygons_around(mask), key=lambda points: points[0].tolist())
    assert [len(points) for points in found] == [4, 4]
    assert {tuple(point) for point in found[0].tolist()} == {(1, 1), (8, 1), (8, 4), (1, 4)}
    mask[2, 2] = False  # a hole: its four corners, and the two ends of the seam again
    assert sorted(len(points) for points in polygons_around(mask)) == [4, 10]


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0])
def test_d_a_tolerance_saves_corners_and_moves_no_edge_further(tolerance):
    y, x = np.mgrid[:80, :100]
    mask = ((x - 50) ** 2 + (y - 40) ** 2 < 35**2) & ((x - 42) ** 2 + (y - 36) ** 2 > 12**2)
    found, exact = (polygons_around(mask, tolerance=t) for t in (tolerance, 0.0))
    assert sum(map(len, found)) < 0.8 * sum(map(len, exact))
    odd = drawn(found, mask.shape) != mask
    corners = np.concatenate(exact)
    for row, column in np.argwhere(odd):  # every one lies that near to a corner of the border
        gap = np.hypot(*(corners - (column + 0.5, row + 0.5)).T).min()
        assert gap <= tolerance + 1
    assert odd.mean() < 0.05 * tolerance


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_d_there_and_back_is_the_same(tmp_path, format):
    given = Made(RING, np.rot90(RING), np.zeros((4, 5)), RING[:6] // 2, classes=NAMES)
    found = export(given, tmp_path / "out", format=format)
    assert (found.samples, found.classes, found.lost) == (4, ("cell", "wall"), 0)
    again = open_data(found.words)
    assert info_of(again).classes == NAMES
    for number in range(4):
        ours, theirs = checked(again[number]), given[number]
        np.testing.assert_array_equal(ours["target"], theirs["target"])
        np.testing.assert_array_equal(ours["image"], theirs["image"])
    assert [p.name for p in (tmp_path / "out").glob(".*")] == []


def theirs(file):
    """Each picture's (category, crowd) -> mask, as pycocotools reads it."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its decode, by numpy 2
        index = COCO(str(file))
        found = {}
        for number in index.getImgIds():
            annotations = index.loadAnns(index.getAnnIds(number))
            found[index.imgs[number]["file_name"]] = {
                (a["category_id"], a["iscrowd"]): index.annToMask(a).astype(bool)
                for a in annotations
            }
            for a in annotations:
                mask = found[index.imgs[number]["file_name"]][a["category_id"], a["iscrowd"]]
                rows, columns = np.nonzero(mask)
                assert a["area"] == mask.sum()
                assert a["bbox"] == [
                    columns.min(),
                    rows.min(),
                    np.ptp(columns) + 1,
                    np.ptp(rows) + 1,
                ]
    return found


@pytest.mark.parametrize("format", ["coco", "coco-polygons"])
def test_d_pycocotools_reads_the_same(tmp_path, format):
    target = RING.copy()
    target[:, 0] = 255
    export(Made(target, classes=NAMES, ignore_index=255), tmp_path, format=format, split="val")
    file = tmp_path / "annotations/instances_val.json"
    found = theirs(file)["a.png"]
    for category in (1, 2):
        np.testing.assert_array_equal(found[category, 0], target == category)
        np.testing.assert_array_equal(found[category, 1], target == 255)
    content = json.loads(file.read_text())
    assert [c["name"] for c in content["categories"]] == ["cell", "wall"]
    again = open_data(f"coco:{tmp_path}?split=val")
    np.testing.assert_array_equal(again[0]["target"], target)


def test_d_yolo_has_no_word_for_what_does_not_count(tmp_path):
    target = RING.copy()
    target[:, 0] = 255
    found = export(Made(target, classes=NAMES, ignore_index=255), tmp_path, format="yolo")
    assert found.lost == 12
    np.testing.assert_array_equal(open_data(found.words)[0]["target"], RING)


@pytest.mark.parametrize("format", FORMATS)
def test_d_classes_that_overlap(tmp_path, format):
    layers = np.stack([RING > 0, RING == 2]).astype(np.uint8)
    found = export(Made(layers, classes=NAMES[1:]), tmp_path, format=format)
    again = open_data(f"{found.words}&overlap=yes")
    assert info_of(again).classes == NAMES[1:]
    np.testing.assert_array_equal(again[0]["target"], layers)


@pytest.mark.parametrize(
    ("names", "background", "expected"),
    [
        (("cell",), "", ("cell",)),  # of a binary set: 1 is the cell
        (("outside", "cell"), "outside", ("cell",)),
        (("outside", "cell"), "", ("outside", "cell")),
        (("cell", "background"), "", ("cell",)),
    ],
)
def test_d_which_class_is_not_written(tmp_path, names, background, expected):
    target = stripes(0, 1)
    made = Made(target, classes=names)
    found = export(made, tmp_path, format="coco", background=background)
    assert found.classes == expected
    again = open_data(found.words)
    assert info_of(again).classes == ("background", *expected)
    by_name = [("background", *expected)[n] for n in again[0]["target"].ravel()]
    meant = names if len(names) == 2 else ("background", "cell")
    known = [meant[n] if meant[n] in expected else "background" for n in target.ravel()]
    assert by_name == known


@pytest.mark.parametrize("format", FORMATS)
def test_d_splits_share_a_folder_and_nothing_is_written_over(tmp_path, format):
    made = Made(RING, classes=NAMES)
    for split in ("train", "val"):
        export(made, tmp_path, format=format, split=split)
    reader = format.partition("-")[0]
    for split in ("train", "val"):
        assert len(open_data(f"{reader}:{tmp_path}?split={split}")) == 1
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match="it is there already"):
        export(made, tmp_path, format=format, split="val")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_d_a_description_of_other_classes_is_not_changed(tmp_path):
    export(Made(RING, classes=NAMES), tmp_path, format="yolo")
    for other in (("background", "a", "b"), ("background", "cell", "wall", "x")):
        with pytest.raises(OutputError, match=r"data\.yaml: there is another description, of oth"):
            export(Made(RING, classes=other), tmp_path, format="yolo", split="val")
    (tmp_path / "data.yaml").write_text("names: [cell, wall]\n")
    with pytest.raises(OutputError, match="by another program"):
        export(Made(RING, classes=NAMES), tmp_path, format="yolo", split="val")


@pytest.mark.parametrize("format", FORMATS)
def test_d_names_of_classes_and_samples_from_strangers(tmp_path, format):
    names = ("background", '<b>"a\\b"</b>', "\x1b[31mred\x85\u2028\ufeff\x7f: - #", "ä🦊")
    ids = ["../../etc/passwd", "a.png", "A.jpg", "shards.tar/key.x[3]", "\x1b[2J", "." * 300]
    made = Made(*[np.full((3, 4), n % 4) for n in range(6)], names=ids, classes=names)
    found = export(made, tmp_path / "out", format=format)
    again = open_data(found.words)
    assert info_of(again).classes == names
    assert len(again) == 6
    written = sorted(p.relative_to(tmp_path / "out/images/train") for p in tmp_path.rglob("*.png"))
    assert [*map(str, written)] == sorted(
        ["etc_passwd.png", "a.png", "A_2.png", "shards_tar_key_x_3.png", "2J.png", "picture.png"]
    )
    assert {int(again[n]["target"].max()) for n in range(6)} == {0, 1, 2, 3}
    if format == "yolo":
        assert yaml.safe_load((tmp_path / "out/data.yaml").read_text("utf-8"))["names"] == {
            n: name for n, name in enumerate(names[1:])
        }


@pytest.mark.parametrize(
    ("made", "options", "error", "message"),
    [
        (Made(RING), {}, UsageError, "does not say its classes, and both formats name them. Say"),
        (Made(RING, classes=NAMES), {"format": "voc"}, UsageError, "'voc' is no format; expected"),
        (Made(RING, classes=NAMES), {"split": "../x"}, UsageError, "'../x' is no name of a split"),
        (
            Made(RING, classes=NAMES),
            {"background": "b"},
            UsageError,
            "there is no class 'b'; found",
        ),
        (Made(RING, classes=NAMES), {"tolerance": -1.0}, UsageError, "a tolerance of -1.0 pixels"),
        (Made(RING, classes=("background",)), {}, UsageError, "there is no class but the backgrou"),
        (Made(classes=NAMES), {}, DatasetError, "the data set is empty"),
        (Made(RING * 2, classes=NAMES), {}, DatasetError, "a: the target holds values that are no"),
        (Made(RING, classes=NAMES, channels=7), {}, UsageError, "pictures of measured bands have"),
    ],
)
def test_d_what_cannot_be_exported_leaves_nothing(tmp_path, made, options, error, message):
    with pytest.raises(error) as caught:
        export(made, tmp_path / "out", **{"format": "coco", **options})
    assert message in str(caught.value)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@pytest.mark.parametrize("format", FORMATS)
def test_d_a_full_disk_leaves_nothing_and_names_the_folder(tmp_path, format):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # the next best thing
        with pytest.raises(ResourceError) as caught:
            export(Made(RING, classes=NAMES), tmp_path / "out", format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{tmp_path}/out: cannot be written: File too large")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("channels", [1, 4])
def test_d_gray_and_alpha(tmp_path, channels):
    made = Made(RING, classes=NAMES, channels=channels)
    image = open_data(export(made, tmp_path, format="coco").words)[0]["image"]
    np.testing.assert_array_equal(image[..., :1], made[0]["image"][..., :1])


# --- the command ----------------------------------------------------------------------------------


def test_d_the_command(capsys, tmp_path):
    save(tmp_path / "set/images/x.png", photo(0))
    mask = stripes(0, 1)
    mask[0] = 255
    save(tmp_path / "set/masks/x.png", mask)
    words = f"{tmp_path}/set?classes=background,cell&ignore_index=255"
    out = str(tmp_path / "out")
    assert run(["data", "export", words, "--as", "yolo", "-o", out]) == 0
    assert capsys.readouterr().out == (
        f"yolo:{out}?split=train: 1 sample of cell\n"
        "8 pixels that do not count are background there\n"
    )
    assert run(["data", "export", words, "-o", out, "--split", "val"]) == 0
    assert capsys.readouterr().out == f"coco:{out}?split=val: 1 sample of cell\n"
    np.testing.assert_array_equal(open_data(f"coco:{out}?split=val")[0]["target"], mask)
    assert run(["data", "export", words, "-o", out, "--split", "val"]) != 0
    assert "it is there already. Take another folder, or another --split" in capsys.readouterr().err
