"""What a run says while it goes: metrics.jsonl, a progress bar, trackers."""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segzoo.base import files
from segzoo.base.records import Json
from segzoo.base.strictjson import short, strict_json
from segzoo.base.terminal import to_stderr
from segzoo.data.sample import parts_of
from segzoo.engine.checkpoint import RESUME
from segzoo.engine.trackers import Trackers
from segzoo.errors import RunError, printable

__all__ = ["METRICS", "Journal", "read", "trim"]

METRICS = "metrics.jsonl"
LINE_SECONDS = 10.0  # between two lines where there is no terminal to redraw


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
        self.total = total
        self.start = self.step = start
        self.metric = metric
        self.quiet = quiet or silent
        self.silent = silent
        self.trackers = trackers
        self.noted: set[str] = set()
        self.begun = self.spoken = time.monotonic()
        self.values: dict[str, float] = {}  # to show: the loss, the metric
        if not self.quiet and start:
            for record in read(run):
                self._keep(record)
        self.bar = None if self.quiet or not sys.stderr.isatty() else _bar(total, start)
        self._show()

    def write(self, record: Mapping[str, Json]) -> None:
        """Add a record, which holds "step"; shown are its numbers."""
        if self.silent:
            return
        try:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(_plain(record)) + "\n")
        except OSError as error:
            raise files.unwritable(self.path, error, remedy=RESUME) from None
        self._keep(record)
        self.at(int(record["step"]), measured="val" in record)
        if self.trackers is not None:
            self.trackers.log(_numbers(record), int(record["step"]))

    def at(self, step: int, *, loss: float | None = None, measured: bool = False) -> None:
        """Show that the run is here; without a terminal now and then, and what was measured."""
        self.step = step
        if loss is not None:
            self.values["loss"] = loss
        if self.quiet:
            return
        if self.bar is not None:
            self._show()
        elif measured or time.monotonic() - self.spoken > LINE_SECONDS:
            self.spoken = time.monotonic()
            left = [f"{left} left" for left in filter(None, [self._left()])]
            to_stderr("  ".join([f"step {step}/{self.total}", *self._shown(), *left]))

    def say(self, text: str) -> None:
        """A line for a person."""
        if self.bar is not None:
            self.bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        elif not self.quiet:
            to_stderr(text)

    def note(self, notes: Iterable[tuple[str, str]]) -> None:
        """What a person should know of samples, (id, note): each kind of note the first time."""
        for name, text in notes:
            problem = parts_of(text)[0]
            if problem not in self.noted:
                self.noted.add(problem)
                self.say(f"note: {name}: {text}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.trackers is not None:
            self.trackers.close()

    def _keep(self, record: Mapping[str, Json]) -> None:
        """Remember what of a record is shown."""
        found = {"loss": record.get("loss")}
        if self.metric is not None:
            name = "val loss" if self.metric == "loss" else self.metric
            found[name] = (record.get("val") or {}).get(self.metric)
        self.values |= {name: v for name, v in found.items() if isinstance(v, int | float)}

    def _shown(self) -> list[str]:
        return [printable(f"{name} {value:#.4g}") for name, value in self.values.items()]

    def _show(self) -> None:
        if self.bar is not None:
            fields = {"left": self._left() or "-:--:--", "values": " ".join(self._shown())}
            self.bar.update(self.bar.task_ids[0], completed=self.step, **fields)

    def _left(self) -> str:
        """The time until the end as h:mm:ss, at this sitting's pace; "" before its first step."""
        if self.step == self.start:
            return ""
        pace = (time.monotonic() - self.begun) / (self.step - self.start)
        minutes, seconds = divmod(round(pace * (self.total - self.step)), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


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


def _bar(total: int, start: int) -> Any:
    """A line of the terminal's width, in which the bar takes what the words leave."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    counter = Column(no_wrap=True, min_width=2 * len(str(total)) + 1)
    bar = Progress(
        MofNCompleteColumn(table_column=counter),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[left]}", style="progress.remaining", markup=False),
        TextColumn("{task.fields[values]}", markup=False),
        console=Console(stderr=True),
    )
    bar.add_task("", total=total, completed=start, left="", values="")
    bar.start()
    return bar
