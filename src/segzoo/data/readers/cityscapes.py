"""Cityscapes: streets of 50 cities, 19 classes, with fine or coarse labels.

    cityscapes:cityscapes?split=val
    cityscapes:cityscapes?split=train_extra&mode=coarse
    cityscapes:cityscapes?labels=trainids             *_labelTrainIds.png, if you have made them

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, 2016; mcordts/
cityscapesScripts: README.md (folders), helpers/labels.py (ids). The files store ids 0..33, of which
19 are trained; the others do not count. Fine labels of the test split hold none of the 19.

torchvision's Cityscapes unpacks archives that it finds, takes whatever lies in the folders, in the
order of the disk, and does not know the files of train ids; a test compares with it.
"""

import os
from dataclasses import replace
from typing import Literal

from segzoo.data.labelmap import OWN, own_classes
from segzoo.data.layout import (
    check_options,
    files_in,
    folder_of,
    labelled,
    of_own_classes,
    pair_up,
)
from segzoo.data.paired import Paired
from segzoo.errors import UsageError
from segzoo.pictures.palettes import CITYSCAPES, IGNORED
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_cityscapes"]

KINDS = {"fine": "gtFine", "coarse": "gtCoarse"}
SPLITS = {"fine": ("train", "val", "test"), "coarse": ("train", "train_extra", "val")}
ENDINGS = {"ids": "labelIds", "trainids": "labelTrainIds"}
# Neither reads pictures in colours: several labels share one.
TABLES = {
    "ids": replace(CITYSCAPES, colours={}),
    "trainids": replace(
        CITYSCAPES, colours={}, values={**{n: n for n in range(19)}, IGNORED: IGNORED}
    ),
}

SPEC = ReaderSpec(
    summary="Cityscapes: 19 classes of streets, fine or coarse",
    open="segzoo.data.readers.cityscapes:open_cityscapes",
    options={
        "split": Option(default="train", choices=("train", "val", "test", "train_extra")),
        "mode": Option(default="fine", choices=tuple(KINDS)),
        "labels": Option(
            default="ids",
            choices=tuple(ENDINGS),
            help="which files to read: *_labelIds.png or *_labelTrainIds.png",
        ),
        **OWN,
    },
    url="https://github.com/mcordts/cityscapesScripts",
    license="non-commercial purposes, with registration (https://www.cityscapes-dataset.com)",
)
ORIGIN = (
    "Unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, for coarse labels also"
    " gtCoarse.zip and leftImg8bit_trainextra.zip, of https://www.cityscapes-dataset.com/downloads/"
)


def open_cityscapes(
    path: str | os.PathLike[str],
    *,
    split: Literal["train", "val", "test", "train_extra"] = "train",
    mode: Literal["fine", "coarse"] = "fine",
    labels: Literal["ids", "trainids"] = "ids",
    classes: str = "",
    palette: str = "",
) -> Paired:
    """The pictures of all cities of a split, with class indices 0..18, and 255.

    path: the folder of leftImg8bit/ and gtFine/ or gtCoarse/. DatasetError for another layout, and
    for pictures and masks without partner; UsageError for a split that the mode does not have.
    """
    check_options(SPEC, split=split, mode=mode, labels=labels)
    if split not in SPLITS[mode]:
        have = ", ".join(SPLITS[mode])
        raise UsageError(f"Cityscapes has no {mode} labels of {split}", expected=f"one of {have}")
    kind = KINDS[mode]
    folders = (f"leftImg8bit/{split}", f"{kind}/{split}")
    root = folder_of(path, folders, within=("cityscapes",), origin=ORIGIN)
    endings = ("_leftImg8bit.png", f"_{kind}_{ENDINGS[labels]}.png")
    images, masks = (
        _of_all_cities(root, folder, ending)
        for folder, ending in zip(folders, endings, strict=True)
    )
    origin = ORIGIN
    if labels == "trainids":
        origin += ". csCreateTrainIdLabelImgs of cityscapesScripts makes *_labelTrainIds.png"
    pairs = pair_up(root, images, masks, origin=origin)
    if own := own_classes(root, classes=classes, palette=palette):
        return of_own_classes(root, pairs, own)
    return labelled(root, pairs, TABLES[labels], origin=origin)


def _of_all_cities(root: str, folder: str, ending: str) -> dict[str, str]:
    """Name -> path of the files that end so, in all folders of a split."""
    with os.scandir(os.path.join(root, folder)) as entries:
        cities = sorted(entry.name for entry in entries if entry.is_dir())
    return {
        name: file
        for city in cities
        for name, file in files_in(root, f"{folder}/{city}", ending).items()
    }
