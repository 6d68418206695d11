"""What a run says while it goes, to metrics.jsonl, to trackers and to a person."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segzoo.base import files
from segzoo.base.records import Json
from segzoo.base.strictjson import short, strict_json
from segzoo.data.sample import parts_of
from segzoo.engine.checkpoint import RESUME
from segzoo.engine.display import Display
from segzoo.engine.trackers import Trackers
from segzoo.errors import RunError

__all__ = ["METRICS", "Journal", "read", "trim"]

METRICS = "metrics.jsonl"


class Journal:
    """Records of a run, a line of JSON each, and what a person sees of them.

    total: steps of the whole run. start: the step from which it goes on. metric: of the validation,
    the one to show; None without one. silent: of a process that is not the first. trackers: what
    else gets the numbers. A person sees where the run is, when it ends, the loss and the metric;
    the file has the rest.
    """

    def __init__(
        self,
        run: Path,
        *,
        total: int,
        start: int = 0,
        metric: str | None = None,
        quiet: bool,
        silent: bool,
        trackers: Trackers | None = None,
    ) -> None:
        self.path = run / METRICS
        self.silent = silent
        self.trackers = trackers
        self.noted: set[str] = set()
        before = read(run) if start and not (quiet or silent) else ()
        self.display = Display(
            total=total, start=start, metric=metric, quiet=quiet or silent, before=before
        )

    def write(self, record: Mapping[str, Json]) -> None:
        """Add a record, which holds "step"; shown are its numbers."""
        if self.silent:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(_plain(record)) + "\n")
        except OSError as error:
            raise files.unwritable(self.path, error, remedy=RESUME) from None
        self.display.keep(record)
        self.at(int(record["step"]), measured="val" in record)
        if self.trackers is not None:
            self.trackers.log(_numbers(record), int(record["step"]))

    def expect(self, total: int) -> None:
        """The run will have so many steps."""
        self.display.total = total

    def at(self, step: int, *, loss: float | None = None, measured: bool = False) -> None:
        """Show that the run is here."""
        self.display.at(step, loss=loss, measured=measured)

    def say(self, text: str) -> None:
        """A line for a person."""
        self.display.say(text)

    def note(self, notes: Iterable[tuple[str, str]]) -> None:
        """What a person should know of samples, (id, note): each kind of note the first time."""
        for name, text in notes:
            problem = parts_of(text)[0]
            if problem not in self.noted:
                self.noted.add(problem)
                self.say(f"note: {name}: {text}")

    def close(self) -> None:
        self.display.close()
        if self.trackers is not None:
            self.trackers.close()


def read(run: str | os.PathLike[str]) -> list[dict[str, Json]]:
    """The records of a run. A last line that a crash cut short is left out.

    RunError for a line that is no record: each has a step, and a measurement where it has "val".
    """
    path = Path(run) / METRICS
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = [strict_json(r, path, what="a line", error=RunError, levels=8) for r in lines[:-1]]
    for number, record in enumerate(found, 1):
        if type(record.get("step")) is not int or not isinstance(record.get("val") or {}, dict):
            raise RunError(
                f"line {number} is no record of a run",
                file=path,
                found=short(json.dumps(record)),
                expected='a whole number as "step", and an object where there is "val"',
            )
    return found


def trim(run: Path, step: int) -> None:
    """Forget what came after a step, from which a run now goes on."""
    if (run / METRICS).exists():
        kept = [record for record in read(run) if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        files.write(run / METRICS, text.encode())


def _plain(value: Json) -> Json:
    """The value with None for what is no number: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(record: Mapping[str, Json]) -> dict[str, float]:
    """The numbers to show: those of the training, and of the validation with "val " in front."""
    shown = {k: v for k, v in record.items() if isinstance(v, int | float) and k not in HIDDEN}
    values: Mapping[str, Any] = record.get("val") or {}
    return shown | {f"val {k}": v for k, v in values.items() if isinstance(v, int | float)}


HIDDEN: Sequence[str] = ("step", "seconds")
