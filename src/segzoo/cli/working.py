"""Pictures are predicted, written and told of, with a bounded number on their way."""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from segzoo.base.cores import usable_cores
from segzoo.cli.jobs import STDIO, Job
from segzoo.cli.writing import Writer, Written, probe
from segzoo.errors import OutputError, PluginError, ResourceError, SegzooError

if TYPE_CHECKING:
    from segzoo.predict.prediction import Prediction
    from segzoo.predict.stages import Source

__all__ = ["MOST", "Heard", "Noted", "work"]

WRITERS = 4  # threads, at most; PNG is compressed without holding the interpreter
MOST = 8  # pictures that run together


class Heard(Protocol):
    """Who is told what became of each picture: `segzoo.cli.outcomes.Outcomes`, say."""

    def write(self, job: Job, record: Written) -> None: ...
    def fail(self, job: Job, error: SegzooError) -> None: ...
    def skip(self, job: Job) -> None: ...
    def hopeless(self, batch_size: int) -> bool: ...
    def within(
        self,
    ) -> contextlib.AbstractContextManager[Callable[[int, int], object] | None]: ...


class Noted(Protocol):
    """Where it is noted what is written: `segzoo.cli.done.Done`, say."""

    def add(self, job: Job, written: Written) -> None: ...


def work(
    todo: Iterator[Job],
    writer: Writer,
    outcomes: Heard,
    *,
    skip_existing: bool,
    pixels: bool,
    done: Noted | None = None,
) -> None:
    """Predict, write and tell of every job, in order, with a bounded number on their way.

    done: where it is noted what is written.
    """
    layout, predictor = writer.layout, writer.predictor
    writers = min(WRITERS, usable_cores())
    predicted: deque[Job] = deque()
    writing: deque[tuple[Job, Future[Written]]] = deque()

    def sources() -> "Iterator[Source]":
        for job in todo:
            if skip_existing and all(map(os.path.exists, layout.paths(job))):
                outcomes.skip(job)
            else:
                predicted.append(job)
                if job.in_parts:
                    yield b""  # its turn; it is read then
                else:
                    yield sys.stdin.buffer.read() if job.source == STDIO else job.source

    def write(job: Job, result: "Prediction | SegzooError") -> Written:
        written = writer(job, result)
        if done is not None:
            done.add(job, written)
        return written

    def in_parts(job: Job) -> Future[Written]:
        """Done here and now: the network runs in this thread alone."""
        future: Future[Written] = Future()
        try:
            with outcomes.within() as progress:
                written = writer.in_parts(job, progress)
            if done is not None:
                done.add(job, written)
            future.set_result(written)
        except SegzooError as error:
            future.set_exception(error)
        return future

    def settle() -> None:
        job, future = writing.popleft()
        try:
            outcomes.write(job, future.result())
        except SegzooError as error:
            if isinstance(error, OutputError | ResourceError):
                probe(layout)  # a full disk stops the work; a name that is too long does not
            outcomes.fail(job, error)
            several = predictor.batch_size if predictor.batch_size > 1 else MOST
            if isinstance(error, PluginError) and outcomes.hopeless(several):
                raise

    with (
        contextlib.closing(
            predictor.stream(sources(), all_heads=layout.heads, pixels=pixels)
        ) as stream,
        ThreadPoolExecutor(writers, thread_name_prefix="segzoo-write") as pool,
    ):
        try:
            for _, result in stream:
                job = predicted.popleft()
                future = in_parts(job) if job.in_parts else pool.submit(write, job, result)
                del result  # its pixels are let go when they are written
                writing.append((job, future))
                if len(writing) > writers:
                    settle()
        except KeyboardInterrupt:
            while writing:
                settle()
            raise
        while writing:
            settle()
