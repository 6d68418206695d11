"""Pictures that come into a folder while `segzoo predict --watch` runs.

The folder is looked at again and again, which works on every system and for folders of other
machines too. A picture is taken when it has not changed between two looks: it is complete then.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence

from segzoo.cli.jobs import InputFolder, Job, Layout, jobs_of
from segzoo.cli.outcomes import Outcomes
from segzoo.errors import OutputError, SegzooError, UsageError

__all__ = ["Claims", "arrivals"]

PAUSE = 1.0  # seconds between two looks


def arrivals(find: Callable[[], Sequence[InputFolder]]) -> Iterator[list[Job]]:
    """The pictures that are there, then those that come or change, as often as there are some.

    find: looks once.
    """
    known: dict[str, tuple[int, int]] = {}
    coming: dict[str, tuple[int, int]] = {}
    while True:
        new, found = [], {}
        for job in jobs_of(find()):
            state = _state(job.source)
            if state is None:
                continue
            found[job.source] = state
            if known.get(job.source) != state and coming.get(job.source) == state:
                known[job.source] = state
                new.append(job)
        known = {source: state for source, state in known.items() if source in found}
        coming = found
        if new:
            yield new
        time.sleep(PAUSE)


def _state(path: str) -> tuple[int, int] | None:
    """What changes while a file is written; None when it is gone again."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class Claims:
    """Which picture each output is of, so that none that comes later is written over another's.

    A picture that has changed is predicted anew, and its own outputs are replaced.
    """

    def __init__(self, layout: Layout, *, overwrite: bool, skip_existing: bool) -> None:
        self.layout = layout
        self.overwrite, self.skip_existing = overwrite, skip_existing
        self.owner: dict[str, str] = {}

    def allowed(self, jobs: Sequence[Job], outcomes: Outcomes) -> Iterator[Job]:
        """The jobs that may be done; what became of the others is told."""
        for job in jobs:
            paths = self.layout.paths(job)
            others = [path for path in paths if self.owner.get(path, job.source) != job.source]
            there = [path for path in paths if path not in self.owner and os.path.lexists(path)]
            if others:
                outcomes.fail(job, self._shared(job, others[0]))
            elif there and self.skip_existing and len(there) == len(paths):
                outcomes.skip(job)
            elif there and not self.overwrite and not self.skip_existing:
                outcomes.fail(job, OutputError("already there", file=there[0]))
            else:
                self.owner |= dict.fromkeys(paths, job.source)
                yield job

    def _shared(self, job: Job, path: str) -> SegzooError:
        return UsageError(
            "another picture has this one's output",
            file=job.source,
            found=f"{path}, which is of {self.owner[path]}",
            next_step="Rename one of the two",
        )
