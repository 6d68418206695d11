"""NYU Depth v2: 1449 rooms, of 894 kinds of things or the 40 classes of Gupta et al. (2013).

    nyudv2:nyu?split=train                nyu_depth_v2_labeled.mat, splits.mat, classMapping40.mat
    nyudv2:nyu?split=test&labels=label40  the labels from a folder of PNGs instead
    nyudv2:nyu?split=all&classes=894

Silberman, Hoiem, Kohli, Fergus: Indoor Segmentation and Support Inference from RGBD Images, 2012.
The .mat is of version 7.3 and of 2.8 GB; a picture and its labels are read when they are asked for.
Depths are not read. The classes that 894 become are in mapClass of classMapping40.mat, which goes
round with Gupta's code; it is not in the official toolbox. Tested on small files of the documented
layout, not on the data set.
"""

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np

from segzoo.data.layout import check_options, files_in
from segzoo.data.matlab import MatFile, load_mat
from segzoo.data.paired import part_of_dataset
from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError
from segzoo.pictures import palettes
from segzoo.pictures.labels import apply_map, gray
from segzoo.pictures.stored import read_labels
from segzoo.spec import Option, ReaderSpec

__all__ = ["SPEC", "NyuDepth", "open_nyudv2"]

SPEC = ReaderSpec(
    summary="NYU Depth v2: rooms in 40 classes, or 894",
    open="segzoo.data.readers.nyudv2:open_nyudv2",
    options={
        "split": Option(
            default="train",
            choices=("train", "test", "all"),
            help="795 and 654 pictures, as splits.mat tells; all needs no splits.mat",
        ),
        "classes": Option(default=40, choices=(40, 894)),
        "class_map": Option(
            default="classMapping40.mat", help="how 894 become 40, beside the pictures' file"
        ),
        "labels": Option(
            default="",
            help="a folder of PNGs 0001.png and so on, of 1 to 40 and 0 for unlabelled",
        ),
    },
    url="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    license="not stated",
    requires={"h5py": "segzoo-core[data]"},
)

FILE = "nyu_depth_v2_labeled.mat"
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
UNLABELLED = 65535  # the ignored index of 894 classes: 255 is one of them
NUMBER = re.compile(r"(?<!\d)(\d+)$")  # at the end of a name


class NyuDepth:
    """Pictures of the .mat, by their numbers in it from 0.

    mapping: stored label -> class index. pngs: number -> file, where labels are read from those.
    class_map: the file that the mapping is from, where there is one.
    """

    def __init__(
        self,
        mat: MatFile,
        numbers: Sequence[int],
        *,
        info: Info,
        mapping: Mapping[int, int],
        pngs: Mapping[int, str] | None = None,
        class_map: str = "",
    ) -> None:
        self.mat = mat
        self.numbers = numbers
        self.info = info
        self.mapping = mapping
        self.pngs = pngs
        self.files = [mat.file, *filter(None, [class_map])]

    def __len__(self) -> int:
        return len(self.numbers)

    def files_at(self, index: int) -> tuple[str, ...]:
        return () if self.pngs is None else (self.pngs[self.numbers[index]],)

    def __getitem__(self, index: int) -> Sample:
        number, name = self.numbers[index], self.id_of(index)
        # MATLAB's H x W x 3 x N is (N, 3, W, H) in HDF5
        image = np.ascontiguousarray(self.mat.read("images", number).transpose(2, 1, 0))
        if self.pngs is None:
            values, file = self.mat.read("labels", number).T, f"{self.mat.file}/{number + 1:04d}"
        else:
            file = self.pngs[number]
            with part_of_dataset(file):
                values = gray(read_labels(file).values)
        return Sample(image=image, target=apply_map(values, self.mapping, file=file), id=name)

    def id_of(self, index: int) -> str:
        """The number as the official lists have it: from 1, of four digits."""
        return f"{self.numbers[index] + 1:04d}"


def open_nyudv2(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    classes: int = 40,
    class_map: str = "classMapping40.mat",
    labels: str = "",
) -> NyuDepth:
    """The data set in a folder, or at the .mat itself; the module says how it is laid out.

    Paths in options are relative to that folder. Stored 0 is unlabelled, and ignored: index 255 of
    40 classes, 65535 of 894. DatasetError for files that are missing or not of this layout;
    UsageError, DependencyMissingError.
    """
    check_options(SPEC, split=split, classes=classes)
    path = os.fsdecode(path)
    folder, file = os.path.split(path) if path.endswith(".mat") else (path, FILE)
    mat = MatFile(os.path.join(folder, file))
    shape = mat.shape("images")
    count = shape[0]
    if len(shape) != 4 or shape[1] != 3 or mat.shape("labels") != (count, *shape[2:]):
        raise DatasetError(
            "pictures and labels are not as the data set has them",
            file=mat.file,
            found=f"images {shape}, labels {mat.shape('labels')}",
            expected="images (N, 3, W, H) and labels (N, W, H)",
        )
    numbers: Sequence[int] = range(count)
    if split != "all":
        numbers = _split(os.path.join(folder, "splits.mat"), split, count)
    if classes == 894:
        names = mat.texts("names")
        info = Info(classes=names, ignore_index=UNLABELLED)
        mapping = {0: UNLABELLED, **{label: label - 1 for label in range(1, len(names) + 1)}}
        return NyuDepth(mat, numbers, info=info, mapping=mapping)
    table = palettes.NYUDV2
    info = Info(classes=table.classes, ignore_index=table.ignore_index)
    if labels:
        pngs = _pngs(os.path.join(folder, labels), numbers)
        return NyuDepth(mat, numbers, info=info, mapping=table.values, pngs=pngs)
    map_file = os.path.join(folder, class_map)
    return NyuDepth(mat, numbers, info=info, mapping=_map(map_file), class_map=map_file)


def _split(file: str, split: str, count: int) -> list[int]:
    """The numbers, from 0, that splits.mat lists from 1."""
    try:
        [found] = load_mat(file, SPLITS[split])
    except DatasetError as error:
        error.next_step = "It comes with the data set (indoor_seg_sup); or say split=all"
        raise
    listed = np.atleast_1d(found).astype(np.int64)
    if listed.ndim != 1 or not listed.size or listed.min() < 1 or listed.max() > count:
        raise DatasetError(
            f"{SPLITS[split]} does not list pictures of this data set",
            file=file,
            found=f"{listed.min()} to {listed.max()}" if listed.size else "none",
            expected=f"numbers from 1 to {count}",
        )
    return [number - 1 for number in listed.tolist()]


def _map(file: str) -> dict[int, int]:
    """Stored label, from 1 -> index of the 40 classes, by mapClass; 0 -> ignored."""
    try:
        [found] = load_mat(file, "mapClass")
    except DatasetError as error:
        error.next_step = (
            "It goes round with the code of Gupta et al.; or give labels=, or classes=894"
        )
        raise
    values = palettes.NYUDV2.values
    mapped = np.atleast_1d(found).astype(np.int64).ravel().tolist()
    if wrong := {*mapped} - {*values}:
        raise DatasetError(
            "mapClass names classes that there are not",
            file=file,
            found=", ".join(map(str, sorted(wrong)[:8])),
            expected="1 to 40",
        )
    return {0: values[0], **{label: values[index] for label, index in enumerate(mapped, 1)}}


def _pngs(folder: str, numbers: Sequence[int]) -> dict[int, str]:
    """The files of labels by the pictures' numbers; a name ends in the number from 1."""
    files = {
        int(found[1]) - 1: os.path.join(folder, os.path.basename(file))
        for name, file in files_in(folder, "", ".png").items()
        if (found := NUMBER.search(name))
    }
    if missing := [number for number in numbers if number not in files]:
        raise DatasetError(
            f"no labels for {len(missing)} of {len(numbers)} pictures",
            file=folder,
            found=f"none for picture {missing[0] + 1}",
            expected="files 0001.png and so on",
        )
    return files
