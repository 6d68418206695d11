"""What a caller asks of a publication, as one record."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from segzoo.model.loaded import Model
from segzoo.spec import Dataset
from segzoo.weights.safetensors import StoredDtype

__all__ = ["PublishRequest"]


@dataclass(frozen=True)
class PublishRequest:
    """What to publish, where to, and what to say of it.

    source: the folder of a finished run; the folder of a saved model; `name` or `name.tag` of
        weights that a plugin has; or a Model.
    repo: "user/name"; tag: as what.
    license: of the weights, an SPDX identifier. trained_on: the data sets with their licences.
        Both are the record's where the weights have one.
    evaluation: the folder that `segzoo eval -o` wrote, or its metrics.json. Without it a run's own
        measurements are taken, or the record's.
    picture: to show with its mask on the card, and as an example that the page offers; None takes
        one of ours, which is CC0, for weights that cut out of photos.
    dtype: how to store floats; None as the source.
    base_model: the repository whose weights the training began with, where the run does not know.
    benchmark: "user/dataset:task" of a benchmark that the Hub has registered, for the main number;
        it was measured on that data set.
    replace_card: write over a card that was edited by hand on the Hub.
    notes: limits, for a person.
    private: make the repository so. create_pr: open a pull request instead of writing to main.
    """

    source: str | os.PathLike[str] | Model
    repo: str
    license: str = ""
    trained_on: Sequence[Dataset] = ()
    evaluation: str | os.PathLike[str] | None = None
    picture: str | os.PathLike[str] | None = None
    dtype: StoredDtype | None = None
    base_model: str = ""
    benchmark: str = ""
    notes: str = ""
    tag: str = ""
    private: bool = False
    create_pr: bool = False
    replace_card: bool = False
