"""Classes that may overlap: a folder of masks for each, what `folder:` reads with overlap=yes.

    cells/images/a.png              folder:cells?overlap=yes&classes=cell,nucleus
    cells/masks/cell/a.png
    cells/masks/nucleus/a.png

A mask is of its class alone: 0 and 1, 0 and 255, or what values= or threshold= say.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.data.declared import Declared, Said, declared
from segzoo.data.paired import notes_of_pair, part_of_dataset, read_mask, read_pixels
from segzoo.data.sample import Info, Sample
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.pictures import labels

__all__ = ["Layered", "Layers", "meaning_of", "pair_layers"]

SHOWN = 20  # names that an error lists


class Layers(NamedTuple):
    """The files of one sample, below the data set's folder. masks: of each class; None for none."""

    id: str
    image: str
    masks: tuple[str | None, ...]


class Layered:
    """Pictures with a mask for each class, read when they are asked for."""

    def __init__(
        self,
        folder: str,
        samples: Sequence[Layers],
        *,
        meaning: Declared,
        classes: tuple[str, ...],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.samples = samples
        self.meaning = meaning
        self.info = Info(classes=classes, bands=meaning.info.bands, peak=meaning.info.peak)
        self.notes = notes

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """The target is (K, H, W) uint8 of 0 and 1."""
        found, reading = self.samples[index], self.meaning.reading
        image = os.path.join(self.folder, found.image)
        with part_of_dataset(printable(image)):
            picture, pixels = read_pixels(image, reading)
        layers: dict[int, NDArray[np.uint8]] = {}
        notes = dict.fromkeys(picture.notes)
        for number, mask in enumerate(found.masks):
            if mask is not None:
                file = os.path.join(self.folder, mask)
                layer, stored = read_mask(
                    file, target=self._layer, reading=reading, name=printable(file)
                )
                layers[number] = layer
                notes |= dict.fromkeys(notes_of_pair(picture, stored, reading))
        size = next((layer.shape for layer in layers.values()), pixels.shape[:2])
        if odd := [n for n, layer in layers.items() if layer.shape != size]:
            raise DatasetError(
                "the masks of a picture have several sizes",
                file=os.path.join(self.folder, str(found.masks[odd[0]])),
                found=f"{layers[odd[0]].shape}",
                expected=f"{size}, as the other",
            )
        empty = np.zeros(size, np.uint8)
        target = np.stack([layers.get(n, empty) for n in range(len(found.masks))])
        made = Sample(image=pixels, target=target, id=found.id)
        if notes:
            made["notes"] = tuple(notes)
        return made

    def _layer(self, stored: labels.Labels) -> NDArray[np.uint8]:
        return labels.layer(self.meaning(stored))

    def id_of(self, index: int) -> str:
        return self.samples[index].id

    def files_at(self, index: int) -> tuple[str, ...]:
        found = self.samples[index]
        masks = (mask for mask in found.masks if mask is not None)
        return tuple(os.path.join(self.folder, file) for file in (found.image, *masks))


def meaning_of(said: Said, folders: Sequence[str]) -> tuple[tuple[str, ...], Declared]:
    """The classes, and what the values of one class's mask mean. folders: those that there are.

    UsageError where no class is named, and for what is about masks of all classes.
    """
    names = tuple(name.strip() for name in said.get("classes", "").split(",") if name.strip())
    if not names:
        raise UsageError(
            "classes that overlap are called as the folders of their masks",
            found=", ".join(map(printable, folders[:SHOWN])) or "no folders",
            next_step="Say which, in their order: classes=A,B",
        )
    if said.get("palette") or said.get("ignore_index") is not None:
        raise UsageError("palette= and ignore_index= are about masks of all classes together")
    rest = Said(**{k: v for k, v in said.items() if k != "classes"})  # type: ignore[typeddict-item]
    meaning = declared(**rest)
    if len(meaning.info.pixel_values) not in (0, 2):
        raise UsageError(
            "a mask of one class holds two values",
            found=f"values={printable(said.get('values', ''))}",
            expected="what is not of the class, what is: values=0,255",
        )
    return names, meaning


def pair_layers(
    root: str,
    images: Mapping[str, str],
    masks: Mapping[str, Mapping[str, str]],
    *,
    missing: str,
) -> list[Layers]:
    """The samples by name. masks: of each class; all paths by name, below `root`.

    missing: "empty" takes a picture without a mask of a class for one without that class. One
    DatasetError about every picture without a mask, and mask without a picture.
    """
    lacking = []
    for name, files in masks.items():
        if missing == "error" and (without := sorted({*images} - {*files})):
            lacking.append(f"no mask of {printable(name)} for {_series(without)}")
        if strays := sorted({*files} - {*images}):
            lacking.append(f"masks of {printable(name)} without a picture: {_series(strays)}")
    if lacking:
        raise DatasetError(
            "pictures and masks do not belong together",
            file=root,
            found="; ".join(lacking),
            expected="a mask of each class for each picture",
            next_step="If a picture without a file has none of that class, say missing=empty",
        )
    return [
        Layers(stem, images[stem], tuple(files.get(stem) for files in masks.values()))
        for stem in sorted(images)
    ]


def _series(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(map(printable, names[:SHOWN]))}{more})"
