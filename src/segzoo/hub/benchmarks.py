"""Benchmarks on the Hub: data sets that it has registered, and the tasks that they define.

A result is taken for one by the data set's id and the task's (https://huggingface.co/docs/hub/
eval-results, 2026-06-24). An id that was made up is shown nowhere, so it is looked up first.
"""

from typing import Any

from segzoo.base.strictyaml import strict_yaml
from segzoo.errors import HubError, HubNotFoundError, UnsafeFormatError, printable
from segzoo.hub.cache import COMMIT
from segzoo.hub.session import HubSession, persistently

__all__ = ["registered"]

REGISTERED = "benchmark:official"  # the Hub's tag of data sets on its allow-list
TASKS = "eval.yaml"  # in such a data set
MAX_TASKS = 2**20  # bytes of it


def registered(dataset: str, task: str) -> str:
    """The commit of a data set that the Hub has registered as a benchmark with this task.

    HubNotFoundError for a data set that is not there or not registered, and for a task that it
    does not define; another HubError when the Hub cannot tell.
    """
    session = HubSession.to(f"datasets/{dataset}", None, False)
    about = session.ask(f"/api/datasets/{dataset}", {})
    if not isinstance(about, dict) or not isinstance(commit := about.get("sha"), str):
        raise session.strange()
    tags = about.get("tags")
    if REGISTERED not in (tags if isinstance(tags, list) else ()) or not COMMIT.fullmatch(commit):
        raise HubNotFoundError(
            f"the data set {dataset} is not registered on the Hub as a benchmark",
            next_step="Publish without --benchmark: the numbers stand in the card all the same",
        )
    known = _tasks(session, dataset, commit)
    if task not in known:
        raise HubNotFoundError(
            f"the benchmark {dataset} has no task '{printable(task)[:100]}'",
            expected=", ".join(known) or "none: it defines none",
            next_step=f"See: {session.endpoint}/datasets/{dataset}/blob/main/{TASKS}",
        )
    return commit


def _tasks(session: HubSession, dataset: str, commit: str) -> list[str]:
    """The ids of the tasks that a benchmark defines."""
    try:
        found = strict_yaml(_text(session, f"/datasets/{dataset}/resolve/{commit}/{TASKS}"))
        tasks = found["tasks"]
        return [printable(str(each["id"]))[:200] for each in tasks]
    except (ValueError, TypeError, KeyError):
        raise HubError(f"{TASKS} of {dataset} does not say which tasks there are") from None


def _text(session: HubSession, path: str) -> str:
    """A small file as text. UnicodeDecodeError, a ValueError, for one that is none."""

    def answered() -> str:
        with session.opened(path, name=TASKS) as (response, _):
            return _bounded(response).decode()

    return persistently(answered)


def _bounded(response: Any) -> bytes:
    raw = bytearray()
    for block in response.iter_raw():
        raw += block
        if len(raw) > MAX_TASKS:
            raise UnsafeFormatError(f"{TASKS} is too large", expected=f"{MAX_TASKS:,} bytes")
    return bytes(raw)
