"""PASCAL VOC 2012, segmentation of classes: 20 objects and background.

    voc:VOCdevkit/VOC2012?split=val                                 lists of ImageSets/Segmentation
    voc:VOCdevkit?split=trainaug&masks=SegmentationClassAug         with the masks of SBD

Everingham et al., The PASCAL Visual Object Classes Challenge 2012, development kit, section 2.3.
Pixels along the borders of objects do not count: 255 in the files, which are pictures with a
palette. Masks that a tool has turned into colours are read by that palette.

torchvision's VOCSegmentation reads lists too, but only below a folder VOCdevkit/VOC2012, without
the augmented masks, and fails at the first sample whose file is missing; a test compares with it.
"""

import os
from typing import Literal

from segzoo.data.layout import check_options, files_in, folder_of, labelled, names_in, pair_up
from segzoo.data.paired import Paired
from segzoo.pictures.palettes import VOC
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_voc"]

Masks = Literal["SegmentationClass", "SegmentationClassAug"]

SPEC = ReaderSpec(
    summary="PASCAL VOC 2012: 20 classes of objects and background",
    open="segzoo.data.readers.voc:open_voc",
    options={
        "split": Option(default="train", help="a list of ImageSets/Segmentation"),
        "masks": Option(
            default="SegmentationClass",
            choices=("SegmentationClass", "SegmentationClassAug"),
            help="the folder of the masks; Aug: the 10,582 of SBD, as gray files",
        ),
    },
    url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html",
    license="pictures: the terms of use of flickr; annotations: not stated",
)
ORIGIN = (
    "Unpack VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/;"
    " masks of its test list are not published"
)
LISTS = "ImageSets/Segmentation"


def open_voc(
    path: str | os.PathLike[str], *, split: str = "train", masks: Masks = "SegmentationClass"
) -> Paired:
    """The pictures of one list, with class indices 0..20 and 255.

    path: the year's folder, or a folder that VOCdevkit/VOC2012 or VOC2012 lies in. DatasetError
    for another layout, a list that is not there, and names without picture or mask.
    """
    check_options(SPEC, masks=masks)
    parts = ("JPEGImages", LISTS, masks)
    root = folder_of(path, parts, within=("VOC2012", "VOCdevkit/VOC2012"), origin=ORIGIN)
    pairs = pair_up(
        root,
        files_in(root, "JPEGImages", ".jpg"),
        files_in(root, masks, ".png"),
        names=names_in(os.path.join(root, LISTS), split, origin=ORIGIN),
        origin=ORIGIN,
    )
    return labelled(root, pairs, VOC, origin=ORIGIN)
