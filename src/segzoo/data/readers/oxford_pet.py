"""Oxford-IIIT Pet: cats and dogs, cut out by trimaps.

    oxford_pet:pets?split=test                        foreground, background, border
    oxford_pet:pets?split=all&target=pet              background, pet; the border is ignored

Parkhi et al., Cats and Dogs, 2012; annotations/README of the data set. A trimap stores 1
foreground, 2 background, 3 not classified, which is the animal's border. A few pictures called .jpg
are GIF or PNG; they are read by content. Hidden files of macOS and .mat files are left out.

torchvision's OxfordIIITPet keeps its files in private attributes, and knows neither the list of all
pictures nor which of them are missing; a test compares with it.
"""

import os
from typing import Literal

from segzoo.data.layout import check_options, files_in, folder_of, labelled, names_in, pair_up
from segzoo.data.paired import Paired
from segzoo.pictures.palettes import IGNORED, OXFORD_PET, Table
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "open_oxford_pet"]

LISTS = {"trainval": "trainval", "test": "test", "all": "list"}
TABLES = {
    "trimap": OXFORD_PET,
    "pet": Table(
        classes=("background", "pet"), ignore_index=IGNORED, values={1: 1, 2: 0, 3: IGNORED}
    ),
}

SPEC = ReaderSpec(
    summary="Oxford-IIIT Pet: trimaps of cats and dogs",
    open="segzoo.data.readers.oxford_pet:open_oxford_pet",
    options={
        "split": Option(default="trainval", choices=tuple(LISTS)),
        "target": Option(
            default="trimap",
            choices=tuple(TABLES),
            help="three classes, or the pet against the background with the border ignored",
        ),
    },
    url="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    license="CC BY-SA 4.0; pictures: copyright of their owners",
)
ORIGIN = (
    "Unpack images.tar.gz and annotations.tar.gz of https://www.robots.ox.ac.uk/~vgg/data/pets/"
)


def open_oxford_pet(
    path: str | os.PathLike[str],
    *,
    split: Literal["trainval", "test", "all"] = "trainval",
    target: Literal["trimap", "pet"] = "trimap",
) -> Paired:
    """The pictures of a list. trimap: 0 foreground, 1 background, 2 border; pet: 0, 1 and 255.

    path: the folder of images/ and annotations/, or the one that oxford-iiit-pet lies in.
    DatasetError for another layout, a missing list, and names without picture or trimap.
    """
    check_options(SPEC, split=split, target=target)
    trimaps = "annotations/trimaps"
    root = folder_of(path, ("images", trimaps), within=("oxford-iiit-pet",), origin=ORIGIN)
    pairs = pair_up(
        root,
        files_in(root, "images", ".jpg"),
        files_in(root, trimaps, ".png"),
        names=names_in(os.path.join(root, "annotations"), LISTS[split], origin=ORIGIN),
        origin=ORIGIN,
    )
    return labelled(root, pairs, TABLES[target], origin=ORIGIN)
