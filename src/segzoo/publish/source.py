"""What can be published: a run, a saved model, a plugin's weights, a model in hand."""

import os
from pathlib import Path
from typing import NamedTuple

from segzoo.base.home import expanded
from segzoo.engine.record import MODEL, RUN
from segzoo.errors import ConfigError, UnknownModelError, UsageError, printable
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.saved import config as configs
from segzoo.zoo import refs

__all__ = ["Publishable", "publishable"]


class Publishable(NamedTuple):
    """What is to be published. run: its folder, where a training run left it.

    sha256: of the file that the weights came from; empty where there is none.
    """

    model: Model
    run: Path | None
    place: Path | None
    sha256: str


def publishable(source: str | os.PathLike[str] | Model) -> Publishable:
    """The model, with the values to publish, on the CPU."""
    if isinstance(source, Model):
        return Publishable(source, None, None, "")
    place = Path(expanded(source))
    if (place / RUN).is_file():
        if not (place / MODEL / configs.CONFIG_NAME).is_file():
            raise ConfigError(
                "the run has saved no model that a plugin offers",
                file=place,
                expected=f"{MODEL}/{configs.CONFIG_NAME}",
            )
        found = publishable(place / MODEL)
        return found._replace(run=place, place=place)
    if (place / configs.CONFIG_NAME).is_file():
        sha256 = configs.read(place / configs.CONFIG_NAME).files.get(configs.WEIGHTS_NAME, "")
        return Publishable(load(f"{refs.LOCAL_DIR}{place}"), None, place, sha256)
    try:
        model = load(os.fspath(source), pretrained=True)
    except UnknownModelError as error:
        raise UsageError(
            f"there is no folder {printable(os.fspath(source))!r}, and no plugin's weights are "
            "called so",
            next_step=error.next_step,
        ) from None
    return Publishable(model, None, None, model.weights.sha256 if model.weights else "")
