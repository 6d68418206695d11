"""Many pictures through the stages of a prediction: read ahead, run together, given in order.

However many come, a bounded number is held, and a bounded number of bytes. The network runs in the
caller's thread; pictures are read and finished in others.
"""

from collections import deque
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Generic, Protocol, TypeVar

from segzoo.base.cores import usable_cores
from segzoo.errors import SegzooError

__all__ = ["HELD_BATCHES", "HELD_BYTES", "THREADS", "Held", "Stages", "stream"]

THREADS = 4  # at most, to read, and as many to finish; neither holds the interpreter
HELD_BYTES = 1 << 28  # of pictures that were read or have run; one more may be on its way
HELD_BATCHES = 4  # pictures that wait for others to run with, in batches


class Held(Protocol):
    """A picture between two stages."""

    @property
    def nbytes(self) -> int: ...


S = TypeVar("S")  # a source
R = TypeVar("R", bound=Held)  # a picture that has been read
A = TypeVar("A", bound=Held)  # a picture that the network has answered for
T = TypeVar("T")  # a result
S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class Stages(Protocol[S_contra, R, A, T_co]):
    """What happens to a picture, stage by stage; each may give the picture's own error instead.

    read and finish are called in several threads at once; together and run in one.
    """

    def read(self, source: S_contra, /) -> R | SegzooError: ...

    def together(self, read: R, /) -> Hashable | None:
        """Pictures that give the same are run together; one that gives None is run alone."""

    def run(self, batch: Sequence[R], /) -> list[A | SegzooError]: ...

    def finish(self, ran: A, /) -> T_co | SegzooError: ...


def stream(
    sources: Iterable[S], stages: Stages[S, R, A, T], *, batch_size: int
) -> Generator[tuple[S, T | SegzooError], None, None]:
    """Each source with its result, or with the error that it alone has; as many, in their order.

    batch_size: how many are run together, at most, whatever stands between them. Sources are asked
    for ahead of what is given. What a stage raises is raised here, and ends the work.
    """
    upcoming, threads = iter(sources), min(THREADS, usable_cores())
    reading: deque[tuple[S, Future[R | SegzooError]]] = deque()
    line = _Line(stages, batch_size)
    with _threads("decode", threads) as decoders, _threads("mask", threads) as finishers:
        while True:
            while (
                len(reading) < batch_size + threads
                and line.nbytes + _nbytes(reading) < HELD_BYTES
                and (new := [*islice(upcoming, 1)])
            ):
                reading.append((new[0], decoders.submit(stages.read, new[0])))
            if not reading and not line.sources:
                return
            if reading and line.has_room:
                source, read = reading.popleft()
                line.join(source, read.result())
            else:  # no others are coming, or too many wait: the first has waited longest
                line.run_first()
            yield from line.done(finishers)


class _Line(Generic[S, R, A, T]):
    """The pictures that have been read and are not yet given, by their positions in the stream.

    Each is in one of `read`, `ran` and `ended`. held: bytes of each.
    """

    def __init__(self, stages: Stages[S, R, A, T], batch_size: int) -> None:
        self.stages, self.batch_size = stages, batch_size
        self.first = 0  # the position of the first of `sources`
        self.sources: deque[S] = deque()
        self.held: dict[int, int] = {}
        self.read: dict[int, tuple[Hashable | None, R]] = {}  # with what runs together
        self.ran: dict[int, A] = {}
        self.ended: dict[int, SegzooError | Future[T | SegzooError]] = {}

    @property
    def nbytes(self) -> int:
        return sum(self.held.values())

    @property
    def has_room(self) -> bool:
        return len(self.sources) < HELD_BATCHES * self.batch_size and self.nbytes < HELD_BYTES

    def join(self, source: S, read: R | SegzooError) -> None:
        """A picture comes to the end of the line, and runs if it makes a batch full."""
        position = self.first + len(self.sources)
        self.sources.append(source)
        if isinstance(read, SegzooError):
            self.ended[position] = read
            return
        key = self.stages.together(read)
        self.held[position] = read.nbytes
        self.read[position] = key, read
        batch = self._batch_of(position)
        if key is None or len(batch) == self.batch_size:
            self._run(batch)

    def run_first(self) -> None:
        """Run the first picture, with those that run together with it; it has not run yet."""
        self._run(self._batch_of(self.first))

    def done(self, pool: ThreadPoolExecutor) -> Iterator[tuple[S, T | SegzooError]]:
        """Take the pictures that have run from the front of the line, with their results."""
        while self.sources and self.first not in self.read:
            # A few results are made ahead, not all: they are large.
            for position in range(self.first, self.first + THREADS):
                if position in self.ran:
                    ran = self.ran.pop(position)
                    self.ended[position] = pool.submit(self.stages.finish, ran)
            end = self.ended.pop(self.first)
            result = end if isinstance(end, SegzooError) else end.result()
            self.held.pop(self.first, None)
            self.first += 1
            yield self.sources.popleft(), result

    def _batch_of(self, position: int) -> list[int]:
        wanted, _ = self.read[position]
        if wanted is None:
            return [position]
        return [other for other, (key, _) in self.read.items() if key == wanted]

    def _run(self, positions: list[int]) -> None:
        batch = [self.read.pop(position)[1] for position in positions]
        for position, ran in zip(positions, self.stages.run(batch), strict=True):
            if isinstance(ran, SegzooError):
                self.ended[position] = ran
            else:
                self.ran[position] = ran
                self.held[position] = ran.nbytes


def _nbytes(reading: Iterable[tuple[object, Future[R | SegzooError]]]) -> int:
    """Of those that have been read by now."""
    results = (future.result() for _, future in reading if future.done())
    return sum(0 if isinstance(read, SegzooError) else read.nbytes for read in results)


@contextmanager
def _threads(name: str, count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count, thread_name_prefix=f"segzoo-{name}")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
