"""ADE20K as cut for the scene parsing challenge of 2016: 150 classes.

    ade20k:ADEChallengeData2016?split=val

Zhou et al., Scene Parsing through ADE20K Dataset, 2017; CSAILVision/sceneparsing, README.md. The
masks store 1..150, and 0 for "other objects", which do not count.
"""

import os
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
from segzoo.pictures.palettes import ADE20K
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_ade20k"]

FOLDERS = {"train": "training", "val": "validation"}

SPEC = ReaderSpec(
    summary="ADE20K of the scene parsing challenge 2016: 150 classes",
    open="segzoo.data.readers.ade20k:open_ade20k",
    options={"split": Option(default="train", choices=tuple(FOLDERS)), **OWN},
    url="https://github.com/CSAILVision/sceneparsing",
    license="pictures: non-commercial research and education; annotations: BSD-3-Clause",
)
ORIGIN = "Unpack ADEChallengeData2016.zip of http://sceneparsing.csail.mit.edu/"


def open_ade20k(
    path: str | os.PathLike[str],
    *,
    split: Literal["train", "val"] = "train",
    classes: str = "",
    palette: str = "",
) -> Paired:
    """The pictures of a split, with class indices 0..149, and 255 for "other objects".

    path: the folder ADEChallengeData2016, or the one that it lies in. DatasetError for another
    layout, and for pictures and masks without partner.
    """
    check_options(SPEC, split=split)
    images, masks = (f"{kind}/{FOLDERS[split]}" for kind in ("images", "annotations"))
    root = folder_of(path, (images, masks), within=("ADEChallengeData2016",), origin=ORIGIN)
    pairs = pair_up(
        root, files_in(root, images, ".jpg"), files_in(root, masks, ".png"), origin=ORIGIN
    )
    if own := own_classes(root, classes=classes, palette=palette, first=1):
        return of_own_classes(root, pairs, own)
    return labelled(root, pairs, ADE20K, origin=ORIGIN)
