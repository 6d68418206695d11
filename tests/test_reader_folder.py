"""Pictures and masks in folders: how they are paired, what masks may hold, and one report."""

import os
import pickle
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segzoo.data.declared import OPTIONS
from segzoo.data.paired import Pair
from segzoo.data.readers.folder import SPEC, open_folder
from segzoo.data.sample import Info, checked
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError
from segzoo.pictures.labels import decode, judge
from segzoo.pictures.palettes import CAMVID, VOC

RANDOM = np.random.default_rng(0)
INDICES = RANDOM.integers(0, 3, (5, 7), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(path: Path, values=INDICES, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def touch(root: Path, *files: str) -> Path:
    """Files with no content: pairing does not read them."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def pairs(root, **options) -> list[Pair]:
    return list(open_folder(root, **options).pairs)


# --- pairing -------------------------------------------------------------------------------------


def test_pictures_and_masks_by_name(tmp_path):
    """Sub-folders, inner dots and several endings."""
    touch(tmp_path, "images/b.v1.JPG", "images/a.tiff", "images/deep/er/a.webp")
    touch(tmp_path, "masks/b.v1.png", "masks/a.gif", "masks/deep/er/a.bmp")
    assert pairs(tmp_path) == [
        Pair("a", "images/a.tiff", "masks/a.gif"),
        Pair("b.v1", "images/b.v1.JPG", "masks/b.v1.png"),
        Pair("deep/er/a", "images/deep/er/a.webp", "masks/deep/er/a.bmp"),
    ]


def test_the_articles_way_of_a_suffix(tmp_path):
    touch(tmp_path, "images/21_training.tif", "masks/21_training_mask.gif")
    pair = Pair("21_training", "images/21_training.tif", "masks/21_training_mask.gif")
    assert pairs(tmp_path, suffix="_mask") == [pair]


def test_both_in_one_folder(tmp_path):
    touch(tmp_path, "x.tif", "x_mask.gif", "sub/y.tif", "sub/y_mask.gif")
    expected = [Pair("sub/y", "sub/y.tif", "sub/y_mask.gif"), Pair("x", "x.tif", "x_mask.gif")]
    assert pairs(tmp_path, images=".", masks=".", suffix="_mask") == expected
    touch(tmp_path / "both", "x.tif", "x_mask.gif")
    (tmp_path / "images").mkdir()
    assert pairs(tmp_path, images="both", masks="both/", suffix="_mask") == [
        Pair("x", "both/x.tif", "both/x_mask.gif")
    ]


def test_one_folder_inside_the_other(tmp_path):
    touch(tmp_path, "x.jpg", "truth/x.png")
    assert pairs(tmp_path, images=".", masks="truth") == [Pair("x", "x.jpg", "truth/x.png")]
    touch(tmp_path, "truth/photos/x.jpg")
    expected = [Pair("x", "truth/photos/x.jpg", "truth/x.png")]
    assert pairs(tmp_path, images="truth/photos", masks="truth") == expected


def test_what_is_left_out(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png")
    touch(tmp_path, "images/._a.png", "images/.hidden/b.png", "images/Thumbs.db", "masks/readme")
    assert len(pairs(tmp_path)) == 1


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "elsewhere", "b.png")
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/more/b.png")
    (tmp_path / "images/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "images")
    assert [pair.id for pair in pairs(tmp_path)] == ["a", "more/b"]


def test_names_of_any_letters(tmp_path):
    names = ["Æ ü", "日本", os.fsdecode(b"\xff"), "a?b"]
    touch(tmp_path, *(f"{place}/{name}.png" for place in ("images", "masks") for name in names))
    data = open_folder(tmp_path)
    assert sorted(pair.id for pair in data.pairs) == sorted(names)
    assert all(os.path.exists(tmp_path / pair.target) for pair in data.pairs)


def test_pairs_are_a_sequence(tmp_path):
    touch(tmp_path, *(f"{place}/{n}.png" for place in ("images", "masks") for n in range(10)))
    found = open_folder(tmp_path).pairs
    whole = list(found)
    assert [pair.id for pair in whole] == [str(n) for n in range(10)]
    assert (found[-1], found[2:5], found[::-3]) == (whole[-1], whole[2:5], whole[::-3])
    with pytest.raises(IndexError):
        found[10]


def test_a_hundred_thousand_names_take_little_memory(monkeypatch, tmp_path):
    """What is kept is 12 bytes and the name, for each pair; a tuple of strings is 300."""
    touch(tmp_path, "images/x", "masks/x")
    names = [f"{n:07d}.jpg" for n in range(100_000)]
    monkeypatch.setattr("segzoo.data.readers.folder._files", lambda folder, aside: iter(names))
    tracemalloc.start()
    data = open_folder(tmp_path)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(data) == 100_000
    assert kept / len(data) < 30
    assert data.pairs[99_999] == Pair("0099999", "images/0099999.jpg", "masks/0099999.jpg")


# --- what masks hold -----------------------------------------------------------------------------


def test_values_are_indices(tmp_path):
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png")
    sample = checked(open_folder(tmp_path)[0])
    np.testing.assert_array_equal(sample["image"], RGB)
    np.testing.assert_array_equal(sample["target"], INDICES)


def test_stored_values_in_the_order_of_the_classes(tmp_path):
    stored = np.array([7, 0, 200], np.uint8)[INDICES]
    stored[0, 0] = 99
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", stored)
    data = open_data(f"folder:{tmp_path}?values=7,0,200&classes=cat,dog,cow&ignore_index=99")
    expected = INDICES.copy()
    expected[0, 0] = 99
    np.testing.assert_array_equal(data[0]["target"], expected)
    classes = ("cat", "dog", "cow")
    assert data.info == Info(classes=classes, ignore_index=99, pixel_values=(7, 0, 200))
    with pytest.raises(DatasetError, match=f"^{tmp_path}/masks/x.png: the mask holds values that"):
        open_folder(tmp_path, values="7,0")[0]


@pytest.mark.parametrize("name", ["x.gif", "x.png", "x.bmp", "x.tif"])
def test_black_and_white_of_one_bit(name, tmp_path):
    save(tmp_path / "images/x.png", RGB)
    (tmp_path / "masks").mkdir()
    Image.fromarray((INDICES > 0) * np.uint8(255)).convert("1").save(tmp_path / "masks" / name)
    data = open_folder(tmp_path, values="0,255")
    np.testing.assert_array_equal(data[0]["target"], INDICES > 0)


@pytest.mark.parametrize(
    "palette", ["voc", "VOC", "#000000,#800000,#008000", "000000,800000,008000"]
)
@pytest.mark.parametrize("as_palette", [True, False])
def test_colours(palette, as_palette, tmp_path):
    save(tmp_path / "images/x.png", RGB)
    mask = Image.fromarray(decode(INDICES, VOC.palette))
    if as_palette:  # in another order than the classes
        mask = Image.fromarray(2 - INDICES)
        mask.putpalette([v for colour in reversed(VOC.palette[:3]) for v in colour])
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/x.png")
    data = open_folder(tmp_path, palette=palette)
    np.testing.assert_array_equal(data[0]["target"], INDICES)
    if palette == "voc":
        expected = Info(classes=VOC.classes, palette=VOC.palette, ignore_index=255)
    else:
        expected = Info(palette=VOC.palette[:3])
    assert palette == "VOC" or data.info == expected


def test_colours_of_a_table_are_grouped(tmp_path):
    colours = [(128, 0, 0), (64, 192, 0), (0, 0, 0)]  # Building, Wall, Void
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", decode(INDICES, colours))
    data = open_folder(tmp_path, palette="camvid")
    np.testing.assert_array_equal(data[0]["target"], np.array([1, 1, 255])[INDICES])
    assert data.info.classes == CAMVID.classes


def test_other_colours_are_an_error_or_what_does_not_count(tmp_path):
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", decode(INDICES, VOC.palette))
    palette = "#000000,#800000"
    with pytest.raises(
        DatasetError, match=r"masks/x.png: .* no class; found #008000 \(\d+ pixels\)"
    ):
        open_folder(tmp_path, palette=palette)[0]
    data = open_folder(tmp_path, palette=palette, ignore_index=255)
    np.testing.assert_array_equal(data[0]["target"], np.array([0, 1, 255])[INDICES])


def test_a_set_goes_to_workers_whole(tmp_path):
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", decode(INDICES, VOC.palette))
    again = pickle.loads(pickle.dumps(open_folder(tmp_path, palette="voc")))
    np.testing.assert_array_equal(again[0]["target"], INDICES)


def test_m1_masks_without_a_declaration_are_refused_with_the_option_that_mends_it(tmp_path):
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", (INDICES > 0) * np.uint8(255))
    sample = checked(open_folder(tmp_path)[0])
    with pytest.raises(DatasetError, match=r"Masks of black and white: say values=0,255$"):
        judge(sample["target"], num_classes=2, file=sample["id"])
    judge(open_folder(tmp_path, values="0,255")[0]["target"], num_classes=2)
    save(tmp_path / "masks/x.png", RGB)
    with pytest.raises(DatasetError, match=r"x\.png: the mask is a picture in colours; .*palette="):
        open_folder(tmp_path)[0]


# --- M2: files that make no pair -----------------------------------------------------------------

ADD = "Add, remove or rename these files"


@pytest.mark.parametrize(
    ("files", "options", "found", "next_step"),
    [
        pytest.param(
            ["images/a.png", "images/b.png", "images/s/c.jpg", "masks/a.png"],
            {},
            "pictures without a mask: 2 (b.png, s/c.jpg)",
            ADD,
            id="M2-picture-without-mask",
        ),
        pytest.param(
            ["images/a.png", "masks/a.png", "masks/b.png"],
            {},
            "masks without a picture: 1 (b.png)",
            ADD,
            id="M2-mask-without-picture",
        ),
        pytest.param(
            ["images/a.jpg", "images/a.png", "masks/a.bmp", "masks/a.png"],
            {},
            "files of one name: 2 (images/a.png and a.jpg, masks/a.png and a.bmp)",
            ADD,
            id="M2-equal-stems",
        ),
        pytest.param(
            ["images/Ab.png", "images/c.png", "masks/aB.png", "masks/c.png"],
            {},
            "names that differ in case alone: 1 (Ab.png and aB.png)",
            ADD,
            id="M2-case",
        ),
        pytest.param(
            ["images/a.png", "images/A.jpg", "masks/a.png", "masks/A.png"],
            {},
            "names that differ in case alone: 1 (A.jpg and a.png)",
            ADD,
            id="M2-case-of-two-pairs",
        ),
        pytest.param(
            ["images/a.png", "masks/a_mask.png"],
            {},
            "pictures without a mask: 1 (a.png); masks without a picture: 1 (a_mask.png)",
            "If the names of masks end in something of their own, say it: suffix=_mask",
            id="M2-suffix-not-said",
        ),
        pytest.param(
            ["images/a.png", "images/b.png", "masks/a_mask.png", "masks/b.png"],
            {"suffix": "_mask"},
            "pictures without a mask: 1 (b.png); masks without a picture: 1 (b.png)",
            ADD,
            id="M2-suffix-missing",
        ),
    ],
)
def test_files_that_make_no_pair(files, options, found, next_step, tmp_path):
    touch(tmp_path, *files)
    with pytest.raises(DatasetError) as raised:
        open_folder(tmp_path, **options)
    assert str(raised.value) == (
        f"{tmp_path}: pictures and masks do not make pairs; found {found}, "
        f"expected one mask of the same name for each picture. {next_step}"
    )


def test_m2_one_report_lists_twenty_and_counts_all(tmp_path):
    touch(tmp_path, *(f"images/{n:03d}.png" for n in range(30)), "masks/029.png")
    touch(tmp_path, *(f"masks/x{n:03d}.png" for n in range(15)))
    touch(tmp_path, "images/029.jpg")
    with pytest.raises(DatasetError) as raised:
        open_folder(tmp_path)
    text = str(raised.value)
    listed = ", ".join(f"{n:03d}.png" for n in range(20))
    assert f"found pictures without a mask: 29 ({listed} and more); masks without a pic" in text
    assert "picture: 15; files of one name: 1, expected" in text
    assert len(re.findall(r"\w+\.(png|jpg)", text)) == 20


def test_m2_a_mask_of_another_size(tmp_path):
    save(tmp_path / "images/x.png", RGB)
    save(tmp_path / "masks/x.png", INDICES.T)
    message = r"^x: target is not as large as the picture: its height and width are exchanged; "
    with pytest.raises(DatasetError, match=message):
        checked(open_folder(tmp_path)[0])


# --- folders that are not there ------------------------------------------------------------------

WHERE = "Say where they are, below that folder: images=FOLDER&masks=FOLDER"
KINDS = ".png, .jpg, .webp, .tif, .npy"


@pytest.mark.parametrize(
    ("files", "path", "options", "message"),
    [
        (
            [],
            "no",
            {},
            "/no: there is no such folder; expected a folder with the folders images and masks. "
            "A .npz or .npy is read as arrays:PATH, a .tar as shards:PATH",
        ),
        (
            ["set.npz"],
            "set.npz",
            {},
            "/set.npz: is a file, not a folder; expected a folder with the folders images and "
            "masks. A .npz or .npy is read as arrays:PATH, a .tar as shards:PATH",
        ),
        ([], "", {}, f": there is no folder images and no folder masks; found no folders. {WHERE}"),
        (
            ["photos/x.jpg", "images/x.jpg", ".git/x"],
            "",
            {},
            f": there is no folder masks; found the folders images, photos. {WHERE}",
        ),
        (
            ["train/images/x.jpg", "train/masks/x.jpg", "test/images/x.jpg"],
            "",
            {},
            ": there is no folder images and no folder masks; found the folders test, train. "
            "Open one of them: folder:{}/train",
        ),
        (
            ["images/.keep", "masks/x.png"],
            "",
            {},
            f"/images: there are no pictures; found no files, expected files such as {KINDS}. "
            + WHERE,
        ),
        (
            ["images/x.png", "masks/x.mat", "masks/y.mat", "masks/README"],
            "",
            {},
            "/masks: there are no masks; found 3 files of other kinds left out: 2 .mat, 1 without "
            f"an ending, expected files such as {KINDS}. {WHERE}",
        ),
        (
            ["x.png"],
            "",
            {"images": ".", "masks": ".", "suffix": "_mask"},
            f"/.: there are no masks; found no files, expected files such as {KINDS}. {WHERE}",
        ),
    ],
)
def test_folders_that_are_not_there(files, path, options, message, tmp_path):
    touch(tmp_path, *files)
    with pytest.raises(DatasetError) as raised:
        open_folder(tmp_path / path, **options)
    assert str(raised.value) == str(tmp_path) + message.format(tmp_path)


def test_one_folder_needs_a_suffix(tmp_path):
    with pytest.raises(UsageError) as raised:
        open_folder(tmp_path, images="x", masks="./x")
    assert str(raised.value) == (
        "pictures and masks lie in one folder, and nothing tells them apart. "
        "Say what the names of masks end in: suffix=_mask"
    )


def test_the_spec_has_every_option_of_the_function():
    own = open_folder.__kwdefaults__
    assert {n: o.default for n, o in SPEC.options.items() if n not in OPTIONS} == own
    assert {n: SPEC.options[n] for n in OPTIONS} == OPTIONS


# --- real sets -----------------------------------------------------------------------------------


@pytest.fixture
def packs():
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("needs real data: SEGZOO_TEST_DATA=FOLDER")
    return folder


@pytest.mark.parametrize(
    ("words", "count", "num_classes"),
    [
        ("drive/train?values=0,255", 17, 2),
        ("drive/train?masks=fov&values=0,255&classes=field", 17, 1),
        ("camvid/train?ignore_index=11", 312, 11),
        ("nuclei_dsb2018/test?values=0,255", 113, 2),
        ("em_isbi2012/train?values=0,255", 20, 2),
        ("clothing_ccp/test?masks=masks_clothing59", 171, 59),
    ],
)
def test_real_sets(words, count, num_classes, packs):
    data = open_data(f"folder:{packs}/{words}")
    assert len(data) == count
    for index in (0, count - 1):
        sample = checked(data[index])
        judge(sample["target"], num_classes=num_classes, ignore_index=data.info.ignore_index)
