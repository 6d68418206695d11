"""What is done of a folder, so that a process that was killed goes on: `--resume`, `--shard`.

OUT/done.jsonl (OUT/done-I-of-N.jsonl of a part) begins with what the outputs depend on. A line
follows for each picture whose outputs are all complete: what the picture was, and the sha256 of
each output. Whoever goes on makes the line of a picture again, from what lies there now, and
compares: a picture and outputs that are what the line says are done. So nothing in the file is
ever a path that is opened, and a line that somebody has changed costs a prediction.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, Self

from segzoo.base import files, ours
from segzoo.base.records import Json
from segzoo.base.strictjson import short, strict_json
from segzoo.cli.jobs import Job, Layout
from segzoo.cli.outcomes import Outcomes
from segzoo.cli.writing import Written
from segzoo.errors import DataError, OutputError, SegzooError, UsageError

__all__ = ["Done", "Head", "digests_of", "named"]

FORMAT_VERSION = 1
LINE = 1 << 20  # bytes of a line, at most
LINES = 10_000_000  # of a file, at most
LEVELS = 8  # of the first line's JSON
FILES = re.compile(r"done(-[0-9]{1,7}-of-[0-9]{1,7})?\.jsonl")
SHOWN = 5  # settings that differ, in a message


class Head(NamedTuple):
    """What a process was asked for. settings: all that the bytes of the outputs depend on.

    listed: sha256 of the names of all pictures, those of other parts too. pictures: how many.
    """

    settings: Mapping[str, Json]
    listed: str
    pictures: int


class Done:
    """The file of what is done, which one process writes at a time.

    lines: by the digest of a picture's name that of its line. size: of the file, in whole lines.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.path = layout.done
        self.lines: dict[bytes, bytes] = {}
        self.states: dict[str, tuple[int, int]] = {}  # of the pictures that are on their way
        self.file: BinaryIO | None = None
        self.size = 0
        self.lock = threading.Lock()
        self.resume = False
        self.broken: SegzooError | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to go on with, of this part or of another."""
        if not os.path.isdir(self.layout.out):
            return False
        paths = [path for path in (self.path, *self._others()) if os.path.isfile(path)]
        return any(map(os.path.getsize, paths))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def begin(self, head: Head, *, resume: bool) -> None:
        """Read what was done, or forget it unless `resume`, and write on.

        UsageError where it was done with other settings, where another part is of other pictures,
        and while another process is at this part; DataError for a file that is none of these;
        OutputError and ResourceError where it cannot be written.
        """
        ours.refuse_others([self.path])
        self.resume = resume
        head = Head(json.loads(json.dumps(head.settings)), head.listed, head.pictures)
        try:
            self.file = open(self.path, "a+b", buffering=0)
        except OSError as error:
            raise files.unwritable(self.path, error) from None
        if not files.hold(self.file):
            raise UsageError(
                "another process is at this part of the folder",
                file=self.path,
                next_step="Wait until it ends, or give each process a --shard of its own",
            )
        if resume:
            self.size = self._read(self.path, head, own=True)
        fresh = self.size == 0
        try:
            self._cut()
            if fresh:
                self._append(_line({"format_version": FORMAT_VERSION, **head._asdict()}))
            for path in self._others():
                self._read(path, head, own=False)
        except SegzooError:
            if fresh:  # or a later process would be measured by what was refused
                os.unlink(self.path)
            raise
        self.sweep()

    def left(self, jobs: Iterator[Job], outcomes: Outcomes) -> Iterator[Job]:
        """The jobs that are to be done; what became of the others is told."""
        for job in jobs:
            if self.broken is not None:
                raise self.broken
            state = _state(job.source)
            line = self.lines.get(_key(job))
            if line is not None and state and line == _digest(self._made(job, state)):
                outcomes.skip(job)
            elif self.resume and line is None and (foreign := self._foreign(job)):
                outcomes.fail(job, foreign)
            else:
                if state is not None:
                    self.states[job.source] = state  # before it is read: it may change meanwhile
                yield job

    def add(
        self, job: Job, written: Written, digests: Mapping[str, str | None] | None = None
    ) -> None:
        """All outputs of a picture are complete. May be called in several threads.

        digests: of the outputs, where another process has made them.
        """
        state = self.states.pop(job.source, None)
        outputs = digests_of(written) if digests is None else digests
        if state is not None and None not in outputs.values():
            with self.lock:
                try:
                    self._append(_entry(job, state, outputs))
                except SegzooError as error:
                    self.broken = error
                    raise

    def _made(self, job: Job, state: tuple[int, int]) -> bytes:
        """The line that a picture would have by what lies there now."""
        outputs: dict[str, str | None] = {}
        for number in self.layout.heads_there:
            for kind in self.layout.kinds:
                path = self.layout.path(job, kind, number)
                key = f"head-{number}/{kind}" if self.layout.heads else kind
                if number == 0 or os.path.lexists(path):
                    outputs[key] = _sha256(path)
        return _entry(job, state, outputs)

    def _foreign(self, job: Job) -> OutputError | None:
        """Against an output that was there before, and is not what a killed process left."""
        layout = self.layout
        for number, kind in itertools.product(layout.heads_there, layout.kinds):
            path = layout.path(job, kind, number)
            if os.path.lexists(path) and not ours.is_output(path):
                return OutputError(
                    "is there, and segzoo did not write it",
                    file=path,
                    next_step="Move it away, or choose another folder with -o",
                )
        return None

    def _others(self) -> list[str]:
        """The files of other parts, and of the whole."""
        try:
            names = sorted(filter(FILES.fullmatch, os.listdir(self.layout.out)))
        except OSError as error:
            raise files.unwritable(self.layout.out, error) from None
        own = os.path.basename(self.path)
        return [os.path.join(self.layout.out, name) for name in names if name != own]

    def sweep(self) -> None:
        """Remove half files of killed processes, where it shows that no living one holds them."""
        with open(self.path, "rb") as file:
            if files.hold(file):  # which is held already: there are no locks here
                return
        for place, _, names in os.walk(self.layout.out):
            if any(name.startswith(".segzoo-") for name in names):
                files.sweep_unheld(place)

    # --- the file ---------------------------------------------------------------------------------

    def _append(self, line: bytes) -> None:
        """Add a line, or leave the file as it is and raise."""
        assert self.file is not None
        try:
            if (written := self.file.write(line)) != len(line):
                written += self.file.write(line[written:])  # says why
                if written != len(line):
                    raise OSError("it takes a part of a line alone")
            self.size += len(line)
        except OSError as error:
            with contextlib.suppress(SegzooError):
                self._cut()
            raise files.unwritable(
                self.path, error, remedy="Free some space, and run the same line with --resume"
            ) from None

    def _cut(self) -> None:
        """The file ends behind its last whole line: a process may have been killed in one."""
        assert self.file is not None
        try:
            self.file.truncate(self.size)
        except OSError as error:
            raise files.unwritable(self.path, error) from None

    def _read(self, path: str, head: Head, *, own: bool) -> int:
        """Take over the lines of a file that are whole; how many bytes these are."""
        size = 0
        try:
            with _regular(path) as file:
                while (line := file.readline(LINE + 1)).endswith(b"\n"):
                    if size == 0:
                        self._compare(_parsed(line, path), head, path)
                        if not own and (not self.resume or self._is_part(path)):
                            return len(line)  # its pictures are none of this process
                    elif len(self.lines) >= LINES:
                        raise _damaged(path, f"more than {LINES:,} lines")
                    else:
                        self._take(_parsed(line, path), line, path)
                    size += len(line)
                if len(line) > LINE:
                    raise _damaged(path, "a line of more than a megabyte")
        except OSError as error:
            raise OutputError(f"cannot be read: {error.strerror}", file=path) from None
        return size

    def _is_part(self, path: str) -> bool:
        """Whether a file is of another part of as many as this one's."""
        parts = self.layout.shard.parts
        return parts > 1 and path.endswith(f"-of-{parts}.jsonl")

    def _take(self, entry: dict[str, Json], line: bytes, path: str) -> None:
        picture, outputs = entry.get("picture"), entry.get("outputs")
        if not (
            {*entry} == {"picture", "size", "modified", "outputs"}
            and isinstance(picture, str)
            and isinstance(outputs, dict)
        ):
            raise _damaged(path, f"the line {short(line.decode('ascii', 'replace'))}")
        self.lines[_digest(os.fsencode(picture))] = _digest(line)

    def _compare(self, found: dict[str, Json], head: Head, path: str) -> None:
        """UsageError for a first line of other settings or, of a part, of other pictures."""
        before = found.get("settings")
        if found.get("format_version") != FORMAT_VERSION or not isinstance(before, dict):
            raise _damaged(path, f"the first line {short(json.dumps(found))}")
        names = sorted({*before, *head.settings})
        other = [name for name in names if before.get(name) != head.settings.get(name)]
        if other:
            more = f", and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
            shown = [short(name) for name in other[:SHOWN]]
            values = [(before.get(name), head.settings.get(name)) for name in other[:SHOWN]]
            raise UsageError(
                "this was done with other options or weights",
                file=path,
                found=", ".join(f"{n} {_word(b)}" for n, (b, _) in zip(shown, values, strict=True))
                + more,
                expected=", ".join(
                    f"{n} {_word(v)}" for n, (_, v) in zip(shown, values, strict=True)
                ),
                next_step="Give the same as before, or another folder with -o",
            )
        of_parts = self.layout.shard.parts > 1 and os.path.basename(path) != "done.jsonl"
        if of_parts and found.get("listed") != head.listed:
            raise UsageError(
                "this part is of another list of pictures",
                file=path,
                found=f"{short(found.get('pictures'))} pictures there, {head.pictures} here, and "
                "not the same names",
                next_step="Give every part the same pictures; or, when all have ended, do what is "
                "left by --resume without --shard",
            )


def _word(value: Json) -> str:
    return "not given" if value is None else short(json.dumps(value))


def _parsed(line: bytes, path: str) -> dict[str, Json]:
    try:
        return strict_json(line, path, what="a line", error=DataError, levels=LEVELS)
    except DataError as error:
        raise _damaged(path, error.stated) from None


def _damaged(path: str, found: str) -> DataError:
    return DataError(
        "this is no list of what is done",
        file=path,
        found=found,
        next_step="Remove it; --resume then begins anew, once the outputs are moved away",
    )


def _entry(job: Job, state: tuple[int, int], outputs: Mapping[str, str | None]) -> bytes:
    size, modified = state
    return _line(
        {"picture": named(job), "size": size, "modified": modified, "outputs": {**outputs}}
    )


def _line(record: dict[str, Json]) -> bytes:
    return json.dumps(record, sort_keys=True).encode("ascii") + b"\n"


def named(job: Job) -> str:
    """A picture's name below the folder, whichever machine's path that has."""
    return job.stem.replace(os.sep, "/") + os.path.splitext(job.source)[1]


def digests_of(written: Written) -> dict[str, str | None]:
    """The sha256 of each output as it lies there now."""
    return {key: _sha256(path) for key, path in written.outputs.items()}


def _key(job: Job) -> bytes:
    return _digest(os.fsencode(named(job)))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def _state(path: str) -> tuple[int, int] | None:
    """What changes with a picture; None when it is gone."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _sha256(path: str) -> str | None:
    """Of a regular file; None for anything else."""
    try:
        with _regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _regular(path: str) -> io.BufferedReader:
    """A file to read; OSError for a pipe, which would not end, and whatever else is no file."""
    file = open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(None, "not a regular file")
    return file
