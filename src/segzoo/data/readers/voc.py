"""PASCAL VOC 2012, segmentation of classes, and sets of one's own in its layout.

    voc:VOCdevkit/VOC2012?split=val                                 lists of ImageSets/Segmentation
    voc:VOCdevkit?split=trainaug&masks=SegmentationClassAug         with the masks of SBD
    voc:minerals?classes=background,quartz,mica&val=0.2             a set of one's own
    voc:task_7                                                      with its labelmap.txt

Everingham et al., The PASCAL Visual Object Classes Challenge 2012, development kit, section 2.3.
Pixels along the borders of objects do not count: 255 in the files, which are pictures with a
palette. Masks that a tool has turned into colours are read by that palette.

What tools export in this layout has classes of its own, which classes= and palette= name, or a
file beside its folders (`segzoo.data.labelmap`); its pictures have any ending, and where it has
no lists, all of its masks are taken. Names that are not VOC's without either are refused, because
the classes would be VOC's.

torchvision's VOCSegmentation reads lists too, but only below a folder VOCdevkit/VOC2012, without
the augmented masks, and fails at the first sample whose file is missing; a test compares with it.
"""

import os
import re
from collections.abc import Sequence
from typing import Literal

from segzoo.base import formats
from segzoo.data.labelmap import OWN, own_classes
from segzoo.data.layout import (
    check_options,
    files_in,
    folder_of,
    has,
    labelled,
    names_in,
    of_own_classes,
    pair_up,
)
from segzoo.data.paired import Pair, Paired
from segzoo.errors import DatasetError, printable
from segzoo.pictures.palettes import VOC
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_voc"]

Masks = Literal["SegmentationClass", "SegmentationClassAug", "SegmentationClassPNG"]

SPEC = ReaderSpec(
    summary="PASCAL VOC 2012: 20 classes of objects and background; or one's own in its layout",
    open="segzoo.data.readers.voc:open_voc",
    options={
        "split": Option(
            default="train", help="a list of ImageSets/Segmentation; all where there are no lists"
        ),
        "masks": Option(
            default="SegmentationClass",
            choices=("SegmentationClass", "SegmentationClassAug", "SegmentationClassPNG"),
            help="the folder of the masks; Aug: the 10,582 of SBD, as gray files",
        ),
        **OWN,
    },
    url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html",
    license="pictures: the terms of use of flickr; annotations: not stated",
)
ORIGIN = (
    "Unpack VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/;"
    " masks of its test list are not published"
)
OF_ONES_OWN = "Lists are ImageSets/Segmentation/NAME.txt; val=0.2 parts a set without any"
SAY = "Of a set of your own say the classes in the order of their values: classes=background,A,B"
LISTS = "ImageSets/Segmentation"
YEAR = re.compile(r"VOC\d{4}")
NAME = re.compile(r"(\d{4}_)?\d{6}")  # of 2008 and later, of 2007
UNLISTED = "there are no lists in ImageSets/Segmentation: all pictures with a mask are taken"
SHOWN = 3  # names that a message lists


def open_voc(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    masks: Masks = "SegmentationClass",
    classes: str = "",
    palette: str = "",
) -> Paired:
    """The pictures of one list, with class indices 0..20 and 255, or those of a set of one's own.

    path: the year's folder, or a folder that VOCdevkit/VOC20xx or VOC20xx lies in. DatasetError
    for another layout, a list that is not there, names without picture or mask, and names that
    are not VOC's where nothing says the classes; UsageError.
    """
    check_options(SPEC, masks=masks)
    path = os.fsdecode(path)
    within = _years(path, ("JPEGImages", masks))
    root = folder_of(path, ("JPEGImages", masks), within=within, origin=ORIGIN)
    own = own_classes(root, classes=classes, palette=palette)
    if own is None:
        folder_of(root, ("JPEGImages", LISTS, masks), origin=f"{ORIGIN}. {SAY}")
    origin = ORIGIN if own is None else OF_ONES_OWN
    unlisted = not has(root, [LISTS]) and split == SPEC.options["split"].default
    endings = (*formats.endings(), *map(str.upper, formats.endings()))
    pairs = pair_up(
        root,
        files_in(root, "JPEGImages", *endings),
        files_in(root, masks, ".png", ".npy"),
        names=None if unlisted else names_in(os.path.join(root, LISTS), split, origin=origin),
        origin=origin,
    )
    if own is None:
        _check_names(root, pairs)
        found = labelled(root, pairs, VOC, origin=ORIGIN)
    else:
        found = of_own_classes(root, pairs, own)
    found.notes = (UNLISTED,) if unlisted else ()
    return found


def _years(path: str, parts: Sequence[str]) -> list[str]:
    """The folders of a year below a path that hold these parts, that of 2012 first.

    DatasetError for several others, of which none is meant more than another.
    """
    found = []
    for above in ("", "VOCdevkit"):
        folder = os.path.join(path, above)
        if os.path.isdir(folder):
            years = filter(YEAR.fullmatch, sorted(os.listdir(folder)))
            found += [os.path.join(above, year) for year in years]
    found = [year for year in found if has(os.path.join(path, year), parts)]
    found.sort(key=lambda year: not year.endswith("VOC2012"))
    if len(found) > 1 and not found[0].endswith("VOC2012") and not has(path, parts):
        raise DatasetError(
            "several years lie here",
            file=path,
            found=", ".join(found),
            next_step=f"Say which: voc:{os.path.join(path, found[0])}",
        )
    return found


def _check_names(root: str, pairs: Sequence[Pair]) -> None:
    odd = [pair.id for pair in pairs if not NAME.fullmatch(pair.id)]
    if odd:
        raise DatasetError(
            f"{len(odd)} of {len(pairs)} names are not VOC's, so its classes may not be meant",
            file=root,
            found=", ".join(map(printable, odd[:SHOWN])),
            expected="names such as 2007_000032, or the classes of this set",
            next_step=f"{SAY}. If they are VOC's: palette=voc",
        )
