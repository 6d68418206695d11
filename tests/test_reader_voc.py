"""The reader of PASCAL VOC 2012, on small files of the documented layout."""

import os
import pickle
import shutil

import layouts
import numpy as np
import pytest
from layouts import stripes
from PIL import Image
from torchvision.datasets import VOCSegmentation

from segzoo.data.readers.voc import SPEC, open_voc
from segzoo.data.sample import notes_of
from segzoo.data.source import open_data
from segzoo.errors import DatasetError, UsageError
from segzoo.pictures.labels import default_palette


@pytest.fixture
def made(tmp_path):
    return layouts.voc(tmp_path)


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_lists(made, split):
    dataset = open_voc(made.path, split=split)
    assert [pair.id for pair in dataset.pairs] == layouts.VOC_SPLITS[split]
    layouts.same(dataset, made)


def test_void_is_ignored(made):
    dataset = open_voc(made.path)
    assert dataset.info.ignore_index == 255
    assert [int(v) for v in np.unique(dataset[0]["target"])] == [0, 1, 15, 255]


def test_the_labels(made):
    info = open_voc(made.path).info
    assert len(info.classes) == len(info.palette) == 21
    assert (info.classes[0], info.classes[15]) == ("background", "person")
    assert info.palette[15] == layouts.VOC_PALETTE[15]
    assert info.pixel_values == ()


@pytest.mark.parametrize("above", [0, 1, 2], ids=["year", "VOCdevkit", "folder of VOCdevkit"])
def test_where_the_path_may_point(made, above):
    path = [made.path, *made.path.parents][above]
    layouts.same(open_voc(path, split="trainval"), made)


def test_masks_in_colours_are_read_by_the_palette(made):
    for file in (made.path / "SegmentationClass").iterdir():
        Image.open(file).convert("RGB").save(file)
    layouts.same(open_voc(made.path, split="trainval"), made)


def test_augmented_masks_and_their_list(made):
    dataset = open_voc(made.path, split="trainaug", masks="SegmentationClassAug")
    assert [pair.id for pair in dataset.pairs] == ["2007_000032", "2007_000033", "2007_000039"]
    for sample in dataset:
        np.testing.assert_array_equal(sample["target"], made.targets[sample["id"]][::-1])


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_torchvision_finds_the_same_files(made, split):
    theirs = VOCSegmentation(str(made.path.parents[1]), image_set=split)
    ours = open_voc(made.path, split=split)
    assert [str(made.path / pair.image) for pair in ours.pairs] == theirs.images
    assert [str(made.path / pair.target) for pair in ours.pairs] == theirs.masks
    for sample, (image, mask) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["target"], mask)


def test_by_words(made):
    dataset = open_data(f"voc:{made.path}?split=val")
    layouts.same(dataset, made)
    assert len(dataset) == 1


def test_workers_can_be_handed_it(made):
    layouts.same(pickle.loads(pickle.dumps(open_voc(made.path))), made)


def without(folder):
    return lambda root: shutil.rmtree(root / folder)


def nothing(root):
    pass


LISTS = "ImageSets/Segmentation"
WRONG = {
    "M2-a list names a missing picture": (
        lambda root: (root / "JPEGImages/2007_000039.jpg").unlink(),
        "train",
        "pictures and masks do not make pairs; found no picture for 1 of 2: 2007_000039. Unpack"
        " VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    ),
    "M2-case-only difference": (
        lambda root: (root / LISTS / "train.txt").write_text("2007_000032\n2007_000039\nX_1\nx_1"),
        "train",
        "no picture for 2 of 4: X_1, x_1; no mask for 2 of 4: X_1, x_1",
    ),
    "M2-the test list has no masks": (
        nothing,
        "test",
        "no mask for 1 of 1: 2008_000006. Unpack VOCtrainval_11-May-2012.tar of"
        " http://host.robots.ox.ac.uk/pascal/VOC/voc2012/; masks of its test list are not",
    ),
    "M4-an empty list": (
        lambda root: (root / LISTS / "val.txt").write_text("\n"),
        "val",
        "there are no pictures. Unpack",
    ),
    "a list that is not there": (
        nothing,
        "validation",
        "there is no split 'validation'; found test, train, trainaug, trainval, val, expected"
        " validation.txt. Unpack",
    ),
    "a list elsewhere": (nothing, "../Main/train", "there is no split '../Main/train'; found"),
    "no lists": (
        without(LISTS),
        "train",
        "not the layout that the reader knows; found ImageSets, JPEGImages, SegmentationClass,"
        " SegmentationClassAug, expected the folders JPEGImages and ImageSets/Segmentation and"
        " SegmentationClass. Unpack",
    ),
    "an empty folder": (
        lambda root: [shutil.rmtree(p) for p in root.iterdir()],
        "train",
        "found an empty folder",
    ),
    "a file": (
        lambda root: [shutil.rmtree(root), root.write_bytes(b"tar")],
        "train",
        "found a file, not a folder, expected the folders JPEGImages",
    ),
    "no folder": (shutil.rmtree, "train", "found nothing: there is no such folder"),
}


@pytest.mark.parametrize(("damage", "split", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(made, damage, split, message):
    damage(made.path)
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split=split)
    assert message in str(error.value)
    assert str(made.path) in error.value.file


def test_a_name_cannot_write_into_the_terminal(made):
    (made.path / LISTS / "val.txt").write_text("\x1b[31m2007\n")
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split="val")
    assert r"no mask for 1 of 1: \x1b[31m2007" in str(error.value)


def test_a_list_that_is_a_folder(made):
    (made.path / LISTS / "mine.txt").mkdir()
    with pytest.raises(DatasetError, match=r"mine\.txt: cannot be read: Is a directory"):
        open_voc(made.path, split="mine")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read(made):
    (made.path / "JPEGImages").chmod(0)
    with pytest.raises(DatasetError, match="JPEGImages: cannot be read: Permission denied"):
        open_voc(made.path)


def test_a_long_list_of_what_misses_is_cut(made):
    names = [f"2009_{n:06}" for n in range(25)]
    layouts.save(made.path / LISTS / "long.txt", "\n".join(names))
    with pytest.raises(DatasetError, match=r"no mask for 25 of 25: .*, 2009_000019 and 5 more"):
        open_voc(made.path, split="long")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        pytest.param(
            layouts.stripes(0, 21),
            "the mask holds values that the map does not name; found 21 (24 pixels), expected 0, 1,"
            " 2, 3, 4, 5, 6, 7 and 14 more. The files were changed, or are of another set. Unpack",
            id="M1-a value that is no class",
        ),
        pytest.param(
            np.dstack([layouts.stripes(1, 128)] * 3),
            "the mask has colours that stand for no class; found #010101 (24 pixels), expected the"
            " 22 colours of the palette. The files were changed, or are of another set. Unpack",
            id="M1-a colour that is no class",
        ),
        pytest.param(b"", "2007_000033.png: the file is empty", id="M1-an empty file"),
    ],
)
def test_masks_that_are_not_of_this_set(made, mask, message):
    file = made.path / "SegmentationClass/2007_000033.png"
    layouts.save(file, mask)
    with pytest.raises(DatasetError) as error:
        open_voc(made.path, split="val")[0]
    assert message in str(error.value)
    assert error.value.file == str(file)


def test_options():
    with pytest.raises(UsageError, match="masks is 'Masks', not one of 'SegmentationClass'"):
        open_voc("x", masks="Masks")
    assert SPEC.options["masks"].choices[0] == SPEC.options["masks"].default


# --- a set of one's own in this layout ------------------------------------------------------------
# labelme's examples/semantic_segmentation/labelme2voc.py writes JPEGImages, SegmentationClass or
# SegmentationClassPNG (palette files of VOC's colours; -1 is 255), .npy beside, class_names.txt and
# no lists. CVAT's "Segmentation mask 1.1" (docs.cvat.ai, format-smask) writes labelmap.txt, the
# list default.txt and masks in colours.

MINERALS = ("background", "quartz", "mica", "feldspar")
COLOURS = ((0, 0, 0), (250, 50, 83), (51, 221, 255), (250, 250, 55))
STORED = {"a.v1": stripes(0, 1, 2), "b": stripes(3, 255, 0)}


def minerals(
    root, masks=STORED, *, folder="SegmentationClass", ending="png", listed="", colours=()
):
    """The set in a folder; its masks are palette files of VOC's colours, arrays, or colours."""
    for seed, (name, stored) in enumerate(masks.items()):
        layouts.save(root / f"JPEGImages/{name}{('.png', '.JPG')[seed % 2]}", layouts.photo(seed))
        file = root / folder / f"{name}.{ending}"
        if ending == "npy":
            file.parent.mkdir(exist_ok=True)
            np.save(file, np.where(stored == 255, -1, stored.astype(np.int32)))
        elif colours:
            table = np.zeros((256, 3), np.uint8)
            table[: len(colours)], table[255] = colours, (224, 224, 192)
            layouts.save(file, table[stored])
        else:
            image = Image.fromarray(stored)
            image.putpalette(np.array(default_palette(256), np.uint8).tobytes())
            layouts.save(file, image)
    if listed:
        layouts.save(root / f"ImageSets/Segmentation/{listed}.txt", "\n".join(masks))
    return layouts.Made(root, dict(masks))


def label_map(colours=COLOURS, names=MINERALS):
    lines = [f"{name}:{','.join(map(str, c))}::" for name, c in zip(names, colours, strict=False)]
    return "\n".join(["# label:color_rgb:parts:actions", *lines, ""])


def test_d_minerals_are_not_aeroplanes(tmp_path):
    made = minerals(tmp_path, listed="train")
    with pytest.raises(DatasetError) as error:
        open_voc(made.path)
    assert str(error.value) == (
        f"{tmp_path}: 2 of 2 names are not VOC's, so its classes may not be meant; found a.v1, b, "
        "expected names such as 2007_000032, or the classes of this set. Of a set of your own say "
        "the classes in the order of their values: classes=background,A,B. If they are VOC's: "
        "palette=voc"
    )
    dataset = open_data(f"voc:{tmp_path}?classes={','.join(MINERALS)}")
    assert dataset.info.classes == MINERALS
    assert dataset.info.palette == default_palette(4)
    layouts.same(dataset, made)
    assert open_voc(made.path, palette="voc").info.classes[:2] == ("background", "aeroplane")


@pytest.mark.parametrize("above", ["", "VOCdevkit/VOC2012", "VOCdevkit/VOC2007", "VOC2031"])
def test_d_the_folder_above_is_looked_into(tmp_path, above):
    made = minerals(tmp_path / above, listed="train")
    dataset = open_voc(tmp_path, classes=",".join(MINERALS))
    layouts.same(dataset, made)


def test_d_several_years_are_not_guessed_but_that_of_2012(tmp_path):
    for year in (2007, 2010):
        minerals(tmp_path / f"VOCdevkit/VOC{year}")
    with pytest.raises(DatasetError) as error:
        open_voc(tmp_path, classes="a,b,c,d")
    assert (
        "several years lie here; found VOCdevkit/VOC2007, VOCdevkit/VOC2010. Say which: voc:"
        in (str(error.value))
    )
    made = minerals(tmp_path / "VOCdevkit/VOC2012")
    assert open_voc(tmp_path, classes="a,b,c,d").folder == str(made.path)


@pytest.mark.parametrize(
    ("folder", "ending", "option"),
    [
        ("SegmentationClass", "png", ""),
        ("SegmentationClass", "npy", ""),
        ("SegmentationClassPNG", "png", "&masks=SegmentationClassPNG"),
    ],
)
def test_d_what_labelme2voc_writes(tmp_path, folder, ending, option):
    """Without lists: all of it, which is said."""
    made = minerals(tmp_path, folder=folder, ending=ending)
    layouts.save(tmp_path / "class_names.txt", "\n".join(["_background_", *MINERALS[1:]]))
    dataset = open_data(f"voc:{tmp_path}?{option.removeprefix('&')}")
    assert dataset.info.classes == MINERALS
    assert notes_of(dataset) == (
        "there are no lists in ImageSets/Segmentation: all pictures with a mask are taken",
    )
    layouts.same(dataset, made)
    with pytest.raises(DatasetError, match=r"no split 'val'.*Lists are .* val=0\.2 parts a set"):
        open_data(f"voc:{tmp_path}?split=val{option}")
    assert len(open_data(f"voc:{tmp_path}?val=0.5{option}")) == 1


def test_d_labels_txt_of_labelme_begins_with_what_is_ignored(tmp_path):
    made = minerals(tmp_path)
    lines = ["__ignore__", "_background_", *MINERALS[1:]]
    layouts.save(tmp_path / "labels.txt", "\n".join(lines))
    dataset = open_voc(tmp_path)
    assert dataset.info.classes == MINERALS
    layouts.same(dataset, made)


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(lambda image: image, id="RGB"),
        pytest.param(lambda image: image.quantize(8, dither=0), id="a palette in any order"),
        pytest.param(lambda image: image.convert("RGBA"), id="RGBA"),
    ],
)
def test_d_what_cvat_writes_is_read_by_the_colours_it_shows(tmp_path, store):
    made = minerals(tmp_path, listed="default", colours=COLOURS)
    layouts.save(tmp_path / "labelmap.txt", label_map())
    for file in (tmp_path / "SegmentationClass").iterdir():
        store(Image.open(file)).save(file)
    dataset = open_data(f"voc:{tmp_path}?split=default")
    assert (dataset.info.classes, dataset.info.palette) == (MINERALS, COLOURS)
    layouts.same(dataset, made)


def test_d_gray_masks_beside_a_label_map_are_indices(tmp_path):
    made = minerals(tmp_path)
    layouts.save(tmp_path / "labelmap.txt", label_map())
    for name, stored in STORED.items():
        layouts.save(tmp_path / f"SegmentationClass/{name}.png", stored)
    layouts.same(open_voc(tmp_path), made)
    # black and white that are colours of the list are these colours
    layouts.save(tmp_path / "labelmap.txt", label_map([(255, 255, 255), (0, 0, 0)]))
    layouts.save(tmp_path / "SegmentationClass/b.png", stripes(0, 255))
    np.testing.assert_array_equal(open_voc(tmp_path)[1]["target"], stripes(1, 0))


def test_d_a_label_map_in_voc_s_own_words(tmp_path):
    """As datumaro writes it: void is a label there, and its pixels do not count."""
    made = minerals(tmp_path, colours=COLOURS)
    lines = label_map() + "ignored:224,224,192::\n"
    layouts.save(tmp_path / "labelmap.txt", lines)
    dataset = open_voc(tmp_path)
    assert (dataset.info.classes, dataset.info.ignore_index) == (MINERALS, 255)
    layouts.same(dataset, made)


def test_d_what_is_said_comes_before_what_a_file_says(tmp_path):
    made = minerals(tmp_path, colours=COLOURS)
    layouts.save(tmp_path / "labelmap.txt", "nonsense:1:2\n")
    colours = ",".join(f"#{bytes(c).hex()}" for c in COLOURS)
    dataset = open_data(f"voc:{tmp_path}?classes=a,b,c,d&palette={colours}")
    assert dataset.info.classes == ("a", "b", "c", "d")
    layouts.same(dataset, made)


def test_d_names_with_colons_html_and_escapes(tmp_path):
    minerals(tmp_path, colours=COLOURS)
    names = ["background", "<b>quartz</b>", "mi:ca", "\x1b[31mfel\u202edspar"]
    layouts.save(tmp_path / "labelmap.txt", label_map(names=names))
    assert [*open_voc(tmp_path).info.classes] == names  # who prints them makes them harmless


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "labelmap.txt",
            label_map([(0, 0, 0), (9, 9, 9), (9, 9, 9)]),
            "one colour stands for two labels, so masks cannot be read by it; found #090909. Give "
            "each label a colour of its own, or say classes= and palette=",
        ),
        ("labelmap.txt", "a:0,0,0::\na:1,1,1::", "one name stands for two labels, so masks"),
        (
            "labelmap.txt",
            "a:0,0,0::\nb:0,0::\nc:0,0,256::\n\x1b[2J:x::",
            "lines that are no label with its colour; found line 2: 'b:0,0::'; line 3: "
            r"'c:0,0,256::'; line 4: '\\x1b[2J:x::', expected name:red,green,blue:: with 0 to 255",
        ),
        (
            "labelmap.txt",
            "a:0,0,0::\nb:::",
            "some labels have a colour and others have none; found none for b",
        ),
        ("labelmap.txt", "# only\n", "the file lists no classes; found 0, expected 1 to 255 names"),
        ("labelmap.txt", ":1,2,3::", "the classes cannot be used; found 1, one without a name"),
        ("class_names.txt", b"caf\xe9", "the file is not UTF-8"),
        ("class_names.txt", "x" * (2 << 20), "the file is too large for a list of classes"),
        (
            "class_names.txt",
            "\n".join(map(str, range(300))),
            "the classes cannot be used; found 300",
        ),
        ("_classes.csv", "Pixel Value, Class\n0, a\nb", "a line is no value with its class; found"),
        ("_classes.csv", "0, a\n0, b", "one value stands for two labels"),
    ],
)
def test_d_label_maps_that_cannot_be_used(tmp_path, name, content, message):
    minerals(tmp_path)
    layouts.save(tmp_path / name, content)
    with pytest.raises(DatasetError) as error:
        open_voc(tmp_path)
    assert message in str(error.value)
    assert error.value.file == str(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "a,b", "palette": "#000000"}, "classes= names 2, and palette= has 1 colour"),
        ({"classes": "a,a"}, "classes= names one of them twice"),
        ({"palette": "#000000,#ffffff"}, "palette= gives colours, and nothing their names"),
        ({"classes": "a,b", "palette": "#000000,#000000"}, "palette= has one colour twice"),
        ({"classes": ",".join(map(str, range(256)))}, "classes= names 256, and 255 are the most"),
    ],
)
def test_d_own_classes_that_cannot_be_used(tmp_path, options, message):
    minerals(tmp_path)
    with pytest.raises(UsageError) as error:
        open_voc(tmp_path, **options)
    assert message in str(error.value)


def test_d_a_value_that_no_name_stands_for(tmp_path):
    minerals(tmp_path)
    dataset = open_voc(tmp_path, classes="a,b,c")
    with pytest.raises(DatasetError) as error:
        dataset[1]
    assert "found 3 (16 pixels), expected 0, 1, 2, 255" in str(error.value)
    assert "The classes are those of classes= and palette=" in str(error.value)


def test_d_roboflow_s_list_of_values(tmp_path):
    masks = {"a": stripes(0, 1, 7)}
    minerals(tmp_path, masks)
    layouts.save(tmp_path / "_classes.csv", "Pixel Value, Class\n0, background\n1, ore\n7, rock\n")
    dataset = open_voc(tmp_path)
    assert dataset.info.classes == ("background", "ore", "rock")
    np.testing.assert_array_equal(dataset[0]["target"], stripes(0, 1, 2))
