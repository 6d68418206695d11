"""What a run says while it goes: metrics.jsonl, a progress bar, trackers."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segzoo.base import files
from segzoo.base.records import Json
from segzoo.base.strictjson import strict_json
from segzoo.engine.checkpoint import RESUME
from segzoo.engine.trackers import Trackers
from segzoo.errors import RunError, printable

__all__ = ["METRICS", "Journal", "read", "trim"]

METRICS = "metrics.jsonl"
LINE_SECONDS = 10.0  # between two lines where there is no terminal to redraw


class Journal:
    """Records of a run, a line of JSON each, and what a person sees of them.

    total: steps of the whole run. silent: of a process that is not the first. trackers: what else
    gets the numbers.
    """

    def __init__(
        self,
        run: Path,
        *,
        total: int,
        batch_size: int,
        quiet: bool,
        silent: bool,
        trackers: Trackers | None = None,
    ) -> None:
        self.path = run / METRICS
        self.total = total
        self.batch_size = batch_size
        self.quiet = quiet or silent
        self.silent = silent
        self.trackers = trackers
        self.last: dict[str, Json] = {}
        self.spoken = time.monotonic()
        self.bar = None if self.quiet or not sys.stderr.isatty() else _bar(total)

    def write(self, record: Mapping[str, Json]) -> None:
        """Add a record, which holds "step"; shown are its numbers."""
        if self.silent:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(_plain(record)) + "\n")
        except OSError as error:
            raise files.unwritable(self.path, error, remedy=RESUME) from None
        self.last.update(record)
        self._show(measured="val" in record)
        if self.trackers is not None:
            self.trackers.log(_numbers(record), int(record["step"]))

    def say(self, text: str) -> None:
        """A line for a person."""
        if not self.quiet:
            (self.bar.console.print if self.bar else _to_stderr)(printable(text))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.trackers is not None:
            self.trackers.close()

    def _show(self, *, measured: bool) -> None:
        text = "  ".join(f"{name} {value:.4g}" for name, value in _numbers(self.last).items())
        if self.bar is not None:
            task = self.bar.task_ids[0]
            self.bar.update(task, completed=self.last["step"], description=text)
        elif not self.quiet and (measured or time.monotonic() - self.spoken > LINE_SECONDS):
            self.spoken = time.monotonic()
            _to_stderr(f"step {self.last['step']}/{self.total}  {text}{self._remaining()}")

    def _remaining(self) -> str:
        rate = self.last.get("images_per_s")
        if not rate:
            return ""
        seconds = (self.total - self.last["step"]) * self.batch_size / rate
        return f"  {int(seconds // 60)} min {int(seconds % 60)} s left"


def read(run: str | os.PathLike[str]) -> list[dict[str, Json]]:
    """The records of a run. A last line that a crash cut short is left out."""
    path = Path(run) / METRICS
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [strict_json(r, path, what="a line", error=RunError, levels=8) for r in lines[:-1]]


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


def _bar(total: int) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
    )
    bar.add_task("", total=total)
    bar.start()
    return bar


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
