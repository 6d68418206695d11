"""A folder's pictures through Ray: `segzoo predict --on ray`.

The predictor is sent to a pool of processes once, on this machine or on those of a cluster (Ray
Data's `map_batches` with actors). Then names of files go out, a few at a time, and what became of
them comes back: a picture is read, seen and written where it is worked on. One process, this one,
notes what is done. A process of the pool that ends is started again, and what it was at is done
again; outputs are whole or not there, so that this changes none of them.
"""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from segzoo import errors
from segzoo.base.cores import usable_cores
from segzoo.base.counts import count_of
from segzoo.base.extras import imported
from segzoo.base.records import Json
from segzoo.cli.done import Done, digests_of
from segzoo.cli.jobs import Job
from segzoo.cli.outcomes import Outcomes
from segzoo.cli.working import MOST, work
from segzoo.cli.writing import Writer, Written
from segzoo.errors import PluginError, ResourceError, SegzooError, UsageError, printable

if TYPE_CHECKING:
    from segzoo.model.served import Served

__all__ = ["InPool", "by_ray", "refuse_devices", "require_ray"]

TOGETHER = 32  # pictures that go out together, at most
SHARE = 100  # and at most one of so many of a process's share: so few are done again after a kill
AGAIN = 3  # times that pictures are begun again whose process ended
STARTS = 4  # Ray waits 30 s for itself, which may not be enough on a machine that has other work
SLOW = "timed out during startup"  # what it says then
STORE = 100 << 20  # bytes of Ray's own memory, beside the predictor
SAID = "said"  # the column of what goes out, and of what comes back


def require_ray() -> None:
    """DependencyMissingError where Ray is not installed, with the line that installs it."""
    imported("ray", needed="--on ray needs Ray", extra="ray")
    imported("ray.data", needed="--on ray needs Ray's part for data", extra="ray")


def refuse_devices(served: "Served") -> None:
    """UsageError for a predictor that is on another device than the CPU."""
    if served.device != "cpu":
        raise UsageError(
            "--on ray runs on CPUs",
            found=f"a network on {served.device}",
            next_step="Give --device cpu; for several GPUs a --shard to each",
        )


class InPool(NamedTuple):
    """How the work is done. workers: processes; None is one for each CPU. The rest as in `work`."""

    workers: int | None
    skip_existing: bool
    pixels: bool


def by_ray(
    todo: Iterator[Job], writer: Writer, outcomes: Outcomes, request: InPool, done: Done
) -> None:
    """Predict, write and tell of every job, as `work` does, in whichever order they end.

    ResourceError when the pool gives up.
    """
    jobs = []
    for job in todo:
        if request.skip_existing and all(map(os.path.exists, writer.layout.paths(job))):
            outcomes.skip(job)
        else:
            jobs.append(job)
    if not jobs:
        return
    waiting = {job.source: job for job in jobs}
    with _pool(request.workers) as (ray, count):
        for record in _records(ray, jobs, writer, count=count, pixels=request.pixels):
            _take(record, waiting, outcomes, done)
    done.sweep()
    if waiting:
        raise _given_up(f"{count_of(len(waiting), 'picture')} of which nothing was heard")


def _take(record: dict[str, Any], waiting: dict[str, Job], outcomes: Outcomes, done: Done) -> None:
    """Note and tell what became of one picture, or raise what ended the work."""
    error = _error_of(record["error"]) if "error" in record else None
    if record["source"] is None:
        assert error is not None
        raise error
    job = waiting.pop(record["source"], None)
    if job is None:  # told twice: its process ended before it was known that it had told
        return
    if error is not None:
        outcomes.fail(job, error)
        if isinstance(error, PluginError) and outcomes.hopeless(MOST):
            raise error
        return
    written = _written_of(record["written"])
    done.add(job, written, record["sha256"])
    outcomes.write(job, written)


# --- Ray -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _pool(workers: int | None) -> Iterator[tuple[Any, int]]:
    """Ray, running, and how many processes to ask of it.

    RAY_ADDRESS names a cluster that runs; else one is started on this machine, and ended.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    # One line says so on stderr; otherwise one says there that actors may not start again.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_worker_niceness", "0")  # they are the work, not beside it
    ray = imported("ray", needed="--on ray needs Ray", extra="ray")
    data = imported("ray.data", needed="--on ray needs Ray's part for data", extra="ray")
    begun = not ray.is_initialized()
    try:
        count = _started(ray, workers) if begun else workers or _cpus(ray)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        yield ray, count
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "ray":
            raise
        raise _given_up(f"{type(error).__name__}: {error}") from error
    finally:
        if begun:
            ray.shutdown()


def _started(ray: Any, workers: int | None) -> int:
    """Ray begins; how many processes to ask of it."""
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        workers = workers or usable_cores()
        settings |= {"address": "local", "num_cpus": workers}
        settings |= {"include_dashboard": False, "object_store_memory": STORE}
    for more in reversed(range(STARTS)):
        try:
            ray.init(**settings)
            break
        except Exception as error:  # of many kinds: no cluster there, no room, no permission
            ray.shutdown()
            if SLOW not in str(error) or not more:
                raise _given_up(f"{type(error).__name__}: {error}") from error
    return workers or _cpus(ray)


def _cpus(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _records(
    ray: Any, jobs: list[Job], writer: Writer, *, count: int, pixels: bool
) -> Iterator[dict[str, Any]]:
    """What the pool says of each picture, as it comes."""
    together = max(1, min(TOGETHER, len(jobs) // (count * SHARE)))
    rows = [{SAID: json.dumps(job).encode("ascii")} for job in jobs]
    held = ray.put(writer)  # for as long as a process may have to be started again
    tries = ray.remote(num_cpus=0)(_Tries).remote()

    def begun(source: str) -> int:
        number: int = ray.get(tries.begin.remote(source))
        return number

    pictures = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // together))
    answers = pictures.map_batches(
        _Worker,
        fn_constructor_args=(lambda: ray.get(held), begun, pixels, os.getcwd()),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
        batch_size=None,
        batch_format="numpy",
    )
    for batch in answers.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
        for said in batch[SAID]:
            yield json.loads(said)


class _Tries:
    """How often some pictures have been begun: Ray itself would begin them without an end."""

    def __init__(self) -> None:
        self.begun = Counter[str]()

    def begin(self, source: str) -> int:
        self.begun[source] += 1
        return self.begun[source]


class _Worker:
    """A process of the pool. writer: gives the Writer, and the predictor in it.

    begun: how often pictures have been begun, this time too, by the name of the first of them.
    folder: where the line was typed. Names of files mean the same there, on machines that share it.
    """

    def __init__(
        self,
        writer: Callable[[], Writer],
        begun: Callable[[str], int],
        pixels: bool,
        folder: str,
    ) -> None:
        os.chdir(folder)
        self.writer, self.begun, self.pixels = writer(), begun, pixels

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        told = _Told()
        jobs = [Job(*json.loads(said)) for said in batch[SAID]]
        before = self.begun(jobs[0].source) - 1
        try:
            if before > AGAIN:
                for job in jobs:
                    told.fail(job, _ended(job, before, of=len(jobs)))
                jobs = []
            work(iter(jobs), self.writer, told, skip_existing=False, pixels=self.pixels, done=told)
        except SegzooError as error:  # of all pictures: a full disk, say
            told.records.append({"source": None, "error": _record_of(error)})
        return {SAID: [json.dumps(record).encode("ascii") for record in told.records]}


class _Told:
    """What became of some pictures, to be sent."""

    def __init__(self) -> None:
        self.records: list[dict[str, Json]] = []
        self.digests: dict[Job, dict[str, Json]] = {}

    def add(self, job: Job, written: Written) -> None:
        self.digests[job] = digests_of(written)

    def write(self, job: Job, record: Written) -> None:
        digests = self.digests.pop(job)
        self.records.append({"source": job.source, "written": record._asdict(), "sha256": digests})

    def fail(self, job: Job, error: SegzooError) -> None:
        self.records.append({"source": job.source, "error": _record_of(error)})

    def skip(self, job: Job) -> None:
        raise AssertionError("whoever sends a job has looked")

    def hopeless(self, batch_size: int) -> bool:
        return False  # whoever hears of all pictures knows

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        yield None


# --- what is sent --------------------------------------------------------------------------------

PARTS = ("problem", "file", "found", "expected", "next_step")  # of an error


def _record_of(error: SegzooError) -> dict[str, Json]:
    return {"kind": type(error).__name__} | {name: getattr(error, name) for name in PARTS}


def _error_of(record: dict[str, Any]) -> SegzooError:
    kind = getattr(errors, record["kind"], None)
    if not (isinstance(kind, type) and issubclass(kind, SegzooError)):
        kind = SegzooError
    problem, *rest = (str(record[name]) for name in PARTS)
    file, found, expected, next_step = rest
    return kind(problem, file=file, found=found, expected=expected, next_step=next_step)


def _written_of(record: dict[str, Any]) -> Written:
    sides = ("size", "tiles", "network_input", "logits", "notes")
    values: dict[str, Any] = {k: tuple(v) if k in sides else v for k, v in record.items()}
    return Written(**values)


def _ended(job: Job, times: int, *, of: int) -> ResourceError:
    return ResourceError(
        f"the process that was at it ended, {times} times",
        file=job.source,
        found=f"it among {count_of(of, 'picture')} that were done together" if of > 1 else "",
        next_step="Run the same line with --resume, without --on ray",
    )


def _given_up(found: str) -> ResourceError:
    return ResourceError(
        "Ray has given up",
        found=printable(" ".join(found.split()))[:300].rstrip("."),
        next_step="Run the same line with --resume; without --on ray it says what is in the way",
    )
