"""The processes that run networks: they are given pictures, and started again when they end.

Everything here happens in the event loop of the server but for a thread that reads what a process
says and one that writes to it, as pipes block.
"""

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from segzoo.base import children
from segzoo.base.cores import usable_cores
from segzoo.base.records import Json, asdict
from segzoo.base.terminal import to_stderr
from segzoo.errors import DataError, SegzooError
from segzoo.serve.asked import AskedFor
from segzoo.serve.counters import Counters
from segzoo.serve.frames import Frame, read_frame, write_frame
from segzoo.serve.settings import ServerSettings

__all__ = ["Answer", "Gone", "Late", "Overloaded", "Processes", "threads_of_one"]

CODE = "from segzoo.serve.worker import be_a_worker\nbe_a_worker()\n"
AHEAD = 2  # batches that a process holds: one runs, one is opened meanwhile
FEW = 4  # pictures in a batch, where it is not said: some are finished meanwhile
STUCK = 0.9  # of the time that a picture may take, without a word
LONGEST_PAUSE = 30.0  # seconds between two starts of a process that does not come up


class Overloaded(Exception):
    """As many pictures wait as may."""


class Gone(Exception):
    """The process that worked on a picture ended, or none is there."""


class Late(Exception):
    """A picture was not done in the time that it may take."""


@dataclass(frozen=True)
class Answer:
    """What a process says of a picture: the record of its frame, and the pictures made.

    queued: seconds before a process took it.
    """

    record: dict[str, Any]
    content: bytes
    queued: float


@dataclass(eq=False)
class Errand:
    """A picture that somebody waits for."""

    id: int
    asked: AskedFor
    content: bytes
    answer: asyncio.Future[Answer]
    since: float = field(default_factory=time.monotonic)
    sent: float = 0.0


class Processes:
    """As many as the settings say.

    facts: what each model is found to be, by its name, once a process has loaded it.
    """

    def __init__(self, settings: ServerSettings, counters: Counters) -> None:
        self.settings, self.counters = settings, counters
        self.facts: dict[str, Json] = {}
        self.waiting: deque[Errand] = deque()
        self.numbers = itertools.count(1)
        self.each = [Process(self) for _ in range(settings.workers)]
        self.stopping = False

    async def start(self) -> None:
        """Start them, and wait until one is ready. SegzooError where the models cannot be loaded.

        Fetching, if there is any, is done by the first one alone.
        """
        first, *others = self.each
        await first.start(fetch=True)
        for process in others:
            process.keep_up()

    @property
    def are_ready(self) -> bool:
        return not self.stopping and any(process.is_ready for process in self.each)

    @property
    def pending(self) -> int:
        """Pictures that wait, or that a process has."""
        return len(self.waiting) + sum(len(process.errands) for process in self.each)

    @property
    def are_full(self) -> bool:
        return self.pending >= self.settings.limits.queue

    async def ask(self, asked: AskedFor, content: bytes) -> Answer:
        """The answer for a picture. Cancelled, it is forgotten.

        Overloaded, Gone and Late as these say.
        """
        if self.are_full:
            raise Overloaded
        if not self.are_ready:
            raise Gone
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        errand = Errand(next(self.numbers), asked, content, future)
        self.waiting.append(errand)
        self.hand_out()
        try:
            async with asyncio.timeout(self.settings.limits.answer_seconds):
                return await future
        except TimeoutError:
            self._forget(errand)
            if errand.sent:
                raise Late from None
            raise Overloaded from None
        except asyncio.CancelledError:
            self._forget(errand)
            raise

    def hand_out(self) -> None:
        """Give what waits to the processes that have least to do."""
        most = AHEAD * (self.settings.networks.batch_size or FEW)
        while self.waiting:
            free = [p for p in self.each if p.is_ready and len(p.errands) < most]
            if not free:
                return
            min(free, key=lambda p: len(p.errands)).take(self.waiting.popleft())

    def _forget(self, errand: Errand) -> None:
        with contextlib.suppress(ValueError):
            self.waiting.remove(errand)
        for process in self.each:
            if process.errands.pop(errand.id, None) is not None:
                process.cancel(errand)
        self.hand_out()

    async def stop(self) -> None:
        """End them all. What they have is lost."""
        self.stopping = True
        await asyncio.gather(*(process.stop() for process in self.each))
        for errand in self.waiting:
            _fail(errand, Gone())
        self.waiting.clear()


class Process:
    """One of them, which is started again when it ends."""

    def __init__(self, all: Processes) -> None:
        self.all = all
        self.child: children.Child | None = None
        self.writer: ThreadPoolExecutor | None = None
        self.errands: dict[int, Errand] = {}
        self.is_ready = False
        self.heard = 0.0  # when it last said something
        self.ended: asyncio.Future[str] | None = None
        self.keeping: asyncio.Task[None] | None = None

    async def start(self, *, fetch: bool = False) -> None:
        """Start it, wait until it is ready, and keep it up from then on."""
        await self._start(fetch)
        self.keep_up()

    def keep_up(self) -> None:
        self.keeping = asyncio.create_task(self._keep_up())

    def take(self, errand: Errand) -> None:
        errand.sent = time.monotonic()
        self.errands[errand.id] = errand
        record = {"kind": "picture", "id": errand.id, "asked": asdict(errand.asked)}
        self._write(record, errand.content)
        errand.content = b""

    def cancel(self, errand: Errand) -> None:
        """Nobody waits for it any more. A process that has said nothing for long is stuck in it."""
        self._write({"kind": "cancel", "id": errand.id})
        quiet = time.monotonic() - max(self.heard, errand.sent)
        if quiet > STUCK * self.all.settings.limits.answer_seconds:
            self.kill()

    def kill(self) -> None:
        self.is_ready = False
        if self.child is not None:
            self.child.kill()

    async def stop(self) -> None:
        if self.keeping is not None:
            self.keeping.cancel()
        self.kill()
        if self.ended is not None:
            await asyncio.wait([self.ended])

    async def _keep_up(self) -> None:
        pause = 0.5
        while True:
            if self.ended is not None:
                await asyncio.wait([self.ended])
                self.all.counters.restarts.inc()
                to_stderr("segzoo: a worker ended; another one starts")
            try:
                await self._start(fetch=False)
                pause = 0.5
            except SegzooError as error:
                to_stderr(f"segzoo: a worker does not start: {error}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _start(self, fetch: bool) -> None:
        loop = asyncio.get_running_loop()
        child = self.child = children.start_python(CODE, threads_of_one(self.all.settings.workers))
        self.writer = ThreadPoolExecutor(1, "segzoo-to-worker")
        self.ended = loop.create_future()
        ready: asyncio.Future[None] = loop.create_future()

        def told(frame: Frame | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._hear, frame, ready)

        threading.Thread(target=_listen, args=(child, told), daemon=True).start()
        self._write({"networks": asdict(self.all.settings.networks), "fetch": fetch})
        await ready

    def _hear(self, frame: Frame | None, ready: "asyncio.Future[None]") -> None:
        """What the process says; None when it has ended."""
        if frame is None:
            self._mourn(ready)
            return
        record, self.heard = frame.record, time.monotonic()
        match record.get("kind"):
            case "ready":
                self.is_ready = True
                if not ready.done():
                    ready.set_result(None)
                self.all.hand_out()
            case "model":
                self.all.facts[record["name"]] = record["facts"]
            case "failed":
                if not ready.done():
                    ready.set_exception(Failed(record["message"], record["code"]))
            case _:
                errand = self.errands.pop(record["id"], None)
                if errand is not None and not errand.answer.done():
                    queued = errand.sent - errand.since
                    errand.answer.set_result(Answer(record, frame.content, queued))
                self.all.hand_out()

    def _mourn(self, ready: "asyncio.Future[None]") -> None:
        self.is_ready = False
        if self.writer is not None:
            self.writer.shutdown(wait=False, cancel_futures=True)
        if not ready.done():
            ready.set_exception(Failed("the worker ended while it started", 70))
        for errand in self.errands.values():
            _fail(errand, Gone())
        self.errands.clear()
        if self.ended is not None and not self.ended.done():
            self.ended.set_result("")

    def _write(self, record: dict[str, Json], content: bytes = b"") -> None:
        child = self.child
        if child is None or self.writer is None:
            return

        def write() -> None:
            with contextlib.suppress(OSError, ValueError):  # it has ended: that is heard elsewhere
                write_frame(_whole(child), record, [content])

        with contextlib.suppress(RuntimeError):  # shut down
            self.writer.submit(write)


class Failed(SegzooError):
    """A process could not load what it was told to; with the exit code of what it says."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]


def _whole(child: children.Child) -> Callable[[bytes], object]:
    """A pipe without a buffer may take less than it is given."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view and child.stdin is not None:
            view = view[child.stdin.write(view) :]

    return write


def _listen(child: children.Child, told: Callable[[Frame | None], None]) -> None:
    """Hear what a process says until it ends, or says what is no frame."""
    try:
        while child.stdout is not None and (frame := read_frame(child.stdout)) is not None:
            told(frame)
    except (DataError, OSError, ValueError):
        child.kill()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.kill()
    child.wait()
    told(None)


def _fail(errand: Errand, error: Exception) -> None:
    if not errand.answer.done():
        errand.answer.set_exception(error)


def threads_of_one(workers: int) -> dict[str, str]:
    """Variables that share the cores among processes; those that are given are meant."""
    if workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, usable_cores() // workers))}
