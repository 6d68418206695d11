"""Pixels that count as much as a gray picture says, beside the masks; who labelled a set.

What `segzoo label` writes is read so: a model's masks, and how sure it was.
"""

import os
from collections.abc import Sequence

import numpy as np

from segzoo.base.strictjson import short, strict_json
from segzoo.data.paired import Pair, Paired, part_of_dataset
from segzoo.data.sample import Sample
from segzoo.errors import DatasetError
from segzoo.pictures.stored import read_labels

__all__ = ["Weighed", "provenance_of"]

LABELS = "labels.json"  # of a set that a model labelled
MOST = 1 << 20  # bytes of it


class Weighed(Paired):
    """Samples of another set with a weight each. weights: files below `folder`, in their order."""

    def __init__(
        self, folder: str, pairs: Sequence[Pair], dataset: Paired, weights: Sequence[str]
    ) -> None:
        super().__init__(
            folder, pairs, info=dataset.info, target=dataset.target, reading=dataset.reading
        )
        self.files = dataset.files
        self.weights = weights

    def files_at(self, index: int) -> tuple[str, ...]:  # type: ignore[override]  # one more
        """The picture, the mask and the weight of a sample."""
        return *super().files_at(index), os.path.join(self.folder, self.weights[index])

    def __getitem__(self, index: int) -> Sample:
        sample = self.read(*super().files_at(index), self.pairs[index].id)
        file = os.path.join(self.folder, self.weights[index])
        with part_of_dataset(file):
            stored = read_labels(file).values
        if stored.shape != sample["target"].shape or stored.dtype != np.uint8:
            raise DatasetError(
                "this is no weight of its picture",
                file=file,
                found=f"{stored.dtype} {stored.shape}",
                expected=f"gray of 8 bits, {sample['target'].shape}",
            )
        sample["weight"] = stored.astype(np.float32) / np.float32(255)
        return sample


def provenance_of(folder: str) -> str:
    """That a model labelled the set in a folder, for a person; empty where nobody says so."""
    path = os.path.join(folder, LABELS)
    if not os.path.isfile(path) or os.path.getsize(path) > MOST:
        return ""
    with open(path, "rb") as stream:
        about = strict_json(stream.read(), path, what="the record", error=DatasetError, levels=8)
    model, license = (short(str(about.get(key, "?"))) for key in ("model", "license"))
    return f"its masks are what {model} says (licence of its weights: {license}), drawn by nobody"
