"""What a person sees of a run while it goes: a live line at a terminal, else one now and then."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from segzoo.base.records import Json
from segzoo.base.terminal import to_stderr
from segzoo.errors import printable

__all__ = ["Display"]

WAITS = "waits"  # the share of the time in which the network waited for data
NARROW = 72  # characters: a line of fewer has no room for it
LINE_SECONDS = 10.0  # between two lines where there is no terminal to redraw


class Display:
    """Where a run is, when it ends, the loss and the metric.

    total: steps of the whole run. start: the step from which it goes on. metric: of the validation,
    the one to show; None without one. quiet: show nothing. before: records of the run until now.
    """

    def __init__(
        self,
        *,
        total: int,
        start: int,
        metric: str | None,
        quiet: bool,
        before: Iterable[Mapping[str, Json]] = (),
    ) -> None:
        self.total = total
        self.start = self.step = start
        self.metric = metric
        self.quiet = quiet
        self.begun = self.spoken = time.monotonic()
        self.values: dict[str, float] = {}  # to show: the loss, the metric
        for record in before:
            self.keep(record)
        self.bar = None if quiet or not sys.stderr.isatty() else _bar(total, start)
        self._show()

    def keep(self, record: Mapping[str, Json]) -> None:
        """Remember what of a record is shown."""
        found = {"loss": record.get("loss"), WAITS: record.get("data_wait")}
        if self.metric is not None:
            name = "val loss" if self.metric == "loss" else self.metric
            found[name] = (record.get("val") or {}).get(self.metric)
        self.values |= {name: v for name, v in found.items() if isinstance(v, int | float)}

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

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()

    def _shown(self, *, narrow: bool = False) -> list[str]:
        return [
            printable(f"{name} {value:.0%}" if name == WAITS else f"{name} {value:#.4g}")
            for name, value in sorted(self.values.items(), key=lambda item: item[0] == WAITS)
            if not (narrow and name == WAITS)
        ]

    def _show(self) -> None:
        if self.bar is not None:
            shown = self._shown(narrow=self.bar.console.width < NARROW)
            fields = {"left": self._left() or "-:--:--", "values": " ".join(shown)}
            self.bar.update(self.bar.task_ids[0], completed=self.step, total=self.total, **fields)

    def _left(self) -> str:
        """The time until the end as h:mm:ss, at this sitting's pace; "" before its first step."""
        if self.step == self.start:
            return ""
        pace = (time.monotonic() - self.begun) / (self.step - self.start)
        minutes, seconds = divmod(round(pace * (self.total - self.step)), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


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
