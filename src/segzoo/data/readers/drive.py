"""DRIVE: vessels of the retina, and the field of view of the camera.

    drive:DRIVE?split=test
    drive:DRIVE?split=test&observer=2                 the second person's vessels
    drive:DRIVE?target=fov                            the field of view

Staal et al., Ridge-based vessel segmentation in color images of the retina, 2004. Two layouts are
told by their folders: the original, where the number alone joins 21_training.tif, 21_manual1.gif
and 21_training_mask.gif; and {split}/images, masks, fov and masks_2nd_observer, where files of one
picture have one name. Masks store 0 and 255; the original ones of the second observer are numbered
by a palette of two colours, nearly black and nearly white, so they store 0 and 1.
"""

import os
from dataclasses import replace
from typing import Literal

from segzoo.data.layout import check_options, files_in, folder_of, has, labelled, pair_up
from segzoo.data.paired import Paired
from segzoo.pictures.palettes import Table
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_drive"]

Target = Literal["vessels", "fov"]

VESSELS = Table(
    classes=("background", "vessel"),
    palette=((0, 0, 0), (255, 255, 255)),
    values={0: 0, 255: 1},
)
TABLES = {"vessels": VESSELS, "fov": replace(VESSELS, classes=("outside", "field of view"))}
SECOND = replace(VESSELS, values={0: 0, 1: 1})  # as the original has them
FOLDERS = {"train": "training", "test": "test"}  # of the original

SPEC = ReaderSpec(
    summary="DRIVE: vessels of the retina, or the field of view",
    open="segzoo.data.readers.drive:open_drive",
    options={
        "split": Option(default="train", choices=tuple(FOLDERS)),
        "target": Option(default="vessels", choices=tuple(TABLES)),
        "observer": Option(
            default=1, choices=(1, 2), help="who drew the vessels; the second the test split alone"
        ),
    },
    url="https://drive.grand-challenge.org/",
    license="research and education, no redistribution (https://www.isi.uu.nl/Research/Databases/DRIVE/)",
)
ORIGIN = (
    "Unpack training.zip and test.zip of https://drive.grand-challenge.org/; copies without manual"
    " folders in test/ are for the challenge alone"
)
MANUALS = {1: ("1st_manual", "_manual1.gif"), 2: ("2nd_manual", "_manual2.gif")}
RENAMED = {1: "masks", 2: "masks_2nd_observer"}
PICTURES: tuple[str, ...] = (".tif", ".png", ".jpg", ".webp")


def open_drive(
    path: str | os.PathLike[str],
    *,
    split: Literal["train", "test"] = "train",
    target: Target = "vessels",
    observer: Literal[1, 2] = 1,
) -> Paired:
    """The pictures of a split, with indices 0 and 1: vessels, or the field of view.

    path: the folder of training/ and test/, or of train/ and test/. DatasetError for another
    layout, masks that this copy lacks, and files without partner.
    """
    check_options(SPEC, split=split, target=target, observer=observer)
    table = TABLES[target]
    if has(os.fsdecode(path), (f"{split}/masks",)):
        images, pictures = f"{split}/images", PICTURES
        masks, ending = "fov" if target == "fov" else RENAMED[observer], ".png"
        masks = f"{split}/{masks}"
    else:
        folder = FOLDERS[split]
        images, pictures = f"{folder}/images", (f"_{folder}.tif",)
        masks, ending = ("mask", f"_{folder}_mask.gif") if target == "fov" else MANUALS[observer]
        masks = f"{folder}/{masks}"
        if (target, observer) == ("vessels", 2):
            table = SECOND
    root = folder_of(path, (images, masks), within=("DRIVE",), origin=ORIGIN)
    pairs = pair_up(
        root, files_in(root, images, *pictures), files_in(root, masks, ending), origin=ORIGIN
    )
    return labelled(root, pairs, table, origin=ORIGIN)
