"""SUN RGB-D: 10,335 rooms in 37 classes, seen by four kinds of depth cameras.

    sunrgbd:sun?split=train        SUNRGBD/ and SUNRGBDtoolbox/, as the authors publish them
    sunrgbd:sun?split=test         SUNRGBD-test_images/ and sunrgbd_train_test_labels/, repacked

Song, Lichtenberg, Xiao: SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite, 2015. The official
labels are one file of version 7.3, SUNRGBD2Dseg.mat, which MATLAB needs 64 GB to load; here a
picture's labels are read when they are asked for. The repacked ones are PNGs by A. Handa
(https://github.com/ankurhanda/sunrgbd-meta-data): 1 to 5050 the test set, then the training set.

Depths are not read, nor the seg.mat beside each picture, whose labels are names of its own and not
the 37 classes, nor Handa's 13 classes (the reader `folder` can read those). Tested on small files
of these layouts, not on the data set.
"""

import os
import posixpath
import re
from collections.abc import Sequence
from math import prod

import numpy as np

from segzoo.base.counts import count_of
from segzoo.data.layout import check_options, files_in, folder_of, has, labelled, pair_up
from segzoo.data.matlab import MatFile, load_mat
from segzoo.data.paired import Paired, part_of_dataset, read_image
from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, printable
from segzoo.pictures import palettes
from segzoo.pictures.labels import apply_map
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "SunRgbd", "open_sunrgbd"]

SPEC = ReaderSpec(
    summary="SUN RGB-D: rooms in 37 classes",
    open="segzoo.data.readers.sunrgbd:open_sunrgbd",
    options={
        "split": Option(
            default="train", choices=("train", "test", "all"), help="5285 and 5050 pictures"
        )
    },
    url="https://rgbd.cs.princeton.edu",
    license="not stated",
)

TOOLBOX = "SUNRGBDtoolbox"
META = f"{TOOLBOX}/Metadata/SUNRGBDMeta.mat"
LABELS = f"{TOOLBOX}/Metadata/SUNRGBD2Dseg.mat"
ALL_SPLITS = f"{TOOLBOX}/traintestSUNRGBD/allsplit.mat"
SPLITS = {"train": "alltrain", "test": "alltest"}
REPACKED_ORIGIN = "https://github.com/ankurhanda/sunrgbd-meta-data"
REPACKED = "sunrgbd_train_test_labels"
REPACKED_NAME = re.compile(r"img-(\d{6})")
NUM_TEST = 5050  # of the repacked labels, which come before those of the training set
ORIGIN = f"Get SUNRGBD.zip and SUNRGBDtoolbox.zip from {SPEC.url}, and unpack both in one folder"


class SunRgbd:
    """Pictures of SUNRGBD/ with their labels in SUNRGBD2Dseg.mat.

    pictures: each with its number there and its path below `folder`.
    """

    def __init__(
        self, folder: str, labels: MatFile, pictures: Sequence[tuple[int, str]], *, info: Info
    ) -> None:
        self.folder = folder
        self.labels = labels
        self.pictures = pictures
        self.info = info
        self.files = [labels.file]

    def __len__(self) -> int:
        return len(self.pictures)

    def files_at(self, index: int) -> tuple[str]:
        return (os.path.join(self.folder, self.pictures[index][1]),)

    def __getitem__(self, index: int) -> Sample:
        number, path = self.pictures[index]
        with part_of_dataset():
            image = read_image(os.path.join(self.folder, path))
        # MATLAB's H x W is (W, H) in HDF5
        values = self.labels.cell("SUNRGBD2Dseg/seglabel", number).T
        file = f"{self.labels.file}, picture {number + 1}"
        target = apply_map(values, palettes.SUNRGBD.values, file=file)
        return Sample(image=image, target=target, id=path)

    def id_of(self, index: int) -> str:
        return self.pictures[index][1]


def open_sunrgbd(path: str | os.PathLike[str], *, split: str = "train") -> SunRgbd | Paired:
    """The data set in a folder; the module says in which layouts.

    Stored 1 to 37 become 0 to 36; 0 is unlabelled, and ignored as 255. DatasetError for files that
    are missing or not of these layouts; UsageError, DependencyMissingError.
    """
    check_options(SPEC, split=split)
    folder = os.fsdecode(path)
    if has(folder, [REPACKED]):
        return _repacked(folder, split)
    folder = folder_of(folder, ["SUNRGBD", TOOLBOX], origin=ORIGIN)
    labels = MatFile(os.path.join(folder, LABELS))
    paths = _paths(os.path.join(folder, META))
    count = prod(labels.shape("SUNRGBD2Dseg/seglabel"))
    if count != len(paths):
        raise DatasetError(
            "pictures and labels are not as many",
            file=folder,
            found=f"{len(paths)} in SUNRGBDMeta.mat, {count} in SUNRGBD2Dseg.mat",
            next_step=ORIGIN,
        )
    numbers: Sequence[int] = range(count)
    if split != "all":
        numbers = _split(os.path.join(folder, ALL_SPLITS), split, paths)
    table = palettes.SUNRGBD
    info = Info(classes=table.classes, ignore_index=table.ignore_index)
    return SunRgbd(folder, labels, [(number, paths[number]) for number in numbers], info=info)


def _paths(file: str) -> list[str]:
    """SUNRGBD/KIND/.../image/NAME.jpg of every picture, in the order of the labels."""
    [meta] = load_mat(file, "SUNRGBDMeta")
    names = meta.dtype.names if isinstance(meta, np.ndarray) else None
    if "rgbpath" not in (names or ()):
        raise DatasetError("it does not say where the pictures are", file=file, expected="rgbpath")
    return [_below(str(path), file) for path in np.atleast_1d(meta)["rgbpath"]]


def _below(path: str, file: str) -> str:
    """A path from SUNRGBD/ on: they were written where the authors' files lay."""
    parts = posixpath.normpath(path).split("/")
    if "SUNRGBD" not in parts:
        raise DatasetError("a path does not lead into SUNRGBD/", file=file, found=printable(path))
    return "/".join(parts[parts.index("SUNRGBD") :])


def _split(file: str, split: str, paths: Sequence[str]) -> list[int]:
    """The numbers of the pictures whose folders allsplit.mat lists."""
    [found] = load_mat(file, SPLITS[split])
    listed = {_below(str(folder), file) for folder in np.atleast_1d(found)}
    numbers = [
        n for n, path in enumerate(paths) if posixpath.dirname(posixpath.dirname(path)) in listed
    ]
    if len(numbers) != len(listed):
        raise DatasetError(
            f"{SPLITS[split]} lists folders that SUNRGBDMeta.mat has no picture of",
            file=file,
            found=f"{count_of(len(listed), 'folder')}, {count_of(len(numbers), 'picture')}",
        )
    return numbers


def _repacked(folder: str, split: str) -> Paired:
    """Both sets of pictures are numbered from 1; the labels go on where those of the first end."""
    parts = ["test", "train"] if split == "all" else [split]
    images = {
        f"{part}/{name}": file
        for part in parts
        for name, file in files_in(folder, f"SUNRGBD-{part}_images", ".jpg").items()
    }
    targets = {}
    for name, file in files_in(folder, REPACKED, ".png").items():
        if found := REPACKED_NAME.fullmatch(name):
            number = int(found[1])
            part, first = ("test", 0) if number <= NUM_TEST else ("train", NUM_TEST)
            if part in parts:
                targets[f"{part}/img-{number - first:06d}"] = file
    origin = f"See {REPACKED_ORIGIN}"
    pairs = pair_up(folder, images, targets, origin=origin)
    return labelled(folder, pairs, palettes.SUNRGBD, origin=origin)
