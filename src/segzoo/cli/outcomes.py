"""What became of each picture, told to a person, to a program and to errors.jsonl."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Self

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.cli.help import Interrupted
from segzoo.cli.jobs import STDIO, Job, Layout
from segzoo.cli.progress import counting
from segzoo.cli.text import progress_bar, tell
from segzoo.cli.writing import Written
from segzoo.errors import OutputError, SegzooError, printable

__all__ = ["Outcomes"]


class Outcomes:
    """Tells a person, a program and errors.jsonl what became of each picture.

    As JSON it is one object, written as the work goes on, so that a million records need no memory.
    """

    def __init__(
        self,
        layout: Layout,
        total: int,
        head: dict[str, Json],
        *,
        as_json: bool,
        quiet: bool,
        sizes: bool,
    ) -> None:
        self.layout, self.total, self.head = layout, total, head
        self.as_json, self.quiet, self.sizes = as_json, quiet, sizes
        self.written = self.skipped = self.failed = 0
        self.first_error: SegzooError | None = None
        self.errors = layout.errors
        self.bar: Any = None

    def __enter__(self) -> Self:
        if self.errors:
            with contextlib.suppress(OSError):
                os.unlink(self.errors)  # of an earlier run
        if self.as_json:
            self._print(json.dumps(self.head)[:-1] + ', "pictures": [')
        elif not self.quiet and self.total > 1 and sys.stderr.isatty():
            self.bar = progress_bar()
            self.bar.add_task("", total=self.total)
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.as_json:
            counts = {"written": self.written, "skipped": self.skipped, "failed": self.failed}
            self._print(f"], {json.dumps(counts)[1:]}")
        if kind is None:
            self._summarize()
        elif issubclass(kind, KeyboardInterrupt) and self.errors:
            done = self.written + self.skipped
            option = "--resume" if self.layout.resumable else "--skip-existing"
            tell(
                f"interrupted; {done} of {self.total} pictures are done, "
                f"{option} goes on from there"
            )
            raise Interrupted(told=True) from None

    @property
    def exit_code(self) -> int:
        """That of a lone picture's error; 1 when some of several failed."""
        return self.first_error.exit_code if self.first_error and self.total == 1 else 1

    def hopeless(self, batch_size: int) -> bool:
        """Whether a whole batch has failed before any picture went well."""
        return self.written == 0 and self.failed >= batch_size

    def write(self, job: Job, record: Written) -> None:
        self.written += 1
        for note in () if self.quiet else record.notes:
            tell(f"{job.source}: {note}")
        if self.sizes and not self.as_json:
            text = (
                f"{job.source}: picture {record.size}, input {record.network_input}, "
                f"logits {record.logits}, mask {record.size}"
            )
            if record.tiles != (1, 1):
                down, across = record.tiles
                text += f" ({down}x{across} windows; input and logits are the largest one's)"
            tell(text) if self.layout.out == STDIO else self._print(printable(text))
        self._tell(job, record._asdict())

    def fail(self, job: Job, error: SegzooError) -> None:
        if job.source == STDIO:
            error.file = error.file or "standard input"
        self.failed += 1
        self.first_error = self.first_error or error
        what = {"error": type(error).__name__, "message": str(error)}
        if self.errors:
            try:
                with open(self.errors, "a", encoding="ascii") as file:
                    file.write(json.dumps({"input": job.source} | what) + "\n")
            except OSError as cause:
                raise OutputError(
                    f"cannot be written: {cause.strerror}", file=self.errors
                ) from None
        elif self.total > 1:
            tell(str(error))
        self._tell(job, what)

    def skip(self, job: Job) -> None:
        self.skipped += 1
        self._tell(job, {"skipped": True})

    def so_far(self) -> None:
        """Tell a person who watches how far it is."""
        if not self.quiet and not self.as_json:
            failed = f", {self.failed} failed" * bool(self.failed)
            tell(f"{self.written} written{failed}; waiting for more, Ctrl-C ends it")

    @contextlib.contextmanager
    def within(self) -> Iterator[Callable[[int, int], object] | None]:
        """Draws how far a large picture is when called with (done, total), where a person watches.

        Below the bar of all pictures, where there is one.
        """
        if self.bar is None:
            with counting(self.quiet or self.as_json) as draw:
                yield draw
            return
        task = self.bar.add_task("", total=None)
        try:
            yield lambda done, total: self.bar.update(task, completed=done, total=total)
        finally:
            self.bar.remove_task(task)

    def _tell(self, job: Job, what: dict[str, Json]) -> None:
        if self.bar is not None:
            self.bar.advance(self.bar.task_ids[0])
        if self.as_json:
            comma = ", " * (self.written + self.failed + self.skipped > 1)
            self._print(comma + json.dumps({"input": job.source} | what))

    def _summarize(self) -> None:
        if self.failed and self.total == 1:
            tell(str(self.first_error))
        elif self.failed:
            where = (
                f"see {self.errors}. The first: {self.first_error}" if self.errors else "see above"
            )
            tell(f"{self.failed} of {self.total} pictures failed; {where}")
        elif not self.quiet and not self.as_json and self.layout.out != STDIO:
            skipped = f", {self.skipped} were there" * bool(self.skipped)
            where = self.layout.out
            if self.layout.beside:
                where = f"NAME{self.layout.beside}.png beside each"
            tell(f"{count_of(self.written, 'picture')} -> {where}{skipped}")

    def _print(self, text: str) -> None:
        """On stdout, for as long as somebody reads it: the work does not depend on that."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
