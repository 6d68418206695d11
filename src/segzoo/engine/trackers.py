"""Other programs that record a run: TensorBoard, wandb, trackio, through accelerate's trackers."""

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segzoo.base.records import Json
from segzoo.base.terminal import warn

__all__ = ["Trackers"]


class Trackers:
    """Those of the names that can be started.

    One that is not installed, does not start or fails later is left out from then on, with a
    warning; a training never ends for it. TensorBoard's files are in `run/tensorboard`, wandb's in
    `run/wandb`; the project is "segzoo", the run is called like its folder.
    """

    def __init__(self, names: Sequence[str], *, run: Path, recipe: Mapping[str, Json]) -> None:
        self.active: dict[str, Any] = {}
        title = run.resolve().name
        arguments: dict[str, dict[str, Any]] = {
            "tensorboard": {"run_name": "tensorboard", "logging_dir": str(run)},
            "wandb": {"run_name": "segzoo", "name": title, "dir": str(run)},
            "trackio": {"run_name": "segzoo", "name": title},
        }
        plain = {k: v for k, v in recipe.items() if isinstance(v, bool | int | float | str)}
        for name in names:
            if importlib.util.find_spec(name) is None:
                warn(
                    f"the tracker {name} is not installed and is left out. Run: pip install {name}",
                    stacklevel=2,
                )
                continue
            with self._tolerated(name):
                from accelerate.tracking import LOGGER_TYPE_TO_CLASS

                tracker = LOGGER_TYPE_TO_CLASS[name](**arguments[name])
                tracker.start()
                self.active[name] = tracker
                tracker.store_init_configuration(plain)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, tracker in [*self.active.items()]:
            with self._tolerated(name):
                tracker.log(dict(values), step=step)

    def close(self) -> None:
        for name, tracker in [*self.active.items()]:
            with self._tolerated(name):
                tracker.finish()
        self.active.clear()

    @contextlib.contextmanager
    def _tolerated(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # another's program, and often a network
            self.active.pop(name, None)
            cause = " ".join(str(error).split())[:200]
            warn(
                f"the tracker {name} failed and is left out: {type(error).__name__}: {cause}",
                stacklevel=4,
            )
