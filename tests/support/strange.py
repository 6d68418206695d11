"""A file of JSON with one value of another kind, at every depth, or without it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

__all__ = ["strangely", "texts_of_strange"]

# "1e400" is of no JSON that Python itself writes: it stands as it is in the text.
HUGE = "1e400"
STRANGE: tuple[Any, ...] = (5, "x", None, [], {}, [5], True, -1e308, 10**19, HUGE)


def strangely(record: Any, path: tuple = ()) -> Iterator[tuple[str, Any]]:
    """(where and what, the whole record with it) for every value below the record's top."""
    items = record.items() if isinstance(record, dict) else enumerate(record)
    for key, value in items:
        where = (*path, key)
        name = ".".join(map(str, where))
        for strange in STRANGE:
            changed = copy.copy(record)
            changed[key] = strange
            yield f"{name}={strange!r}", changed
        changed = copy.copy(record)
        del changed[key]
        yield f"{name} removed", changed
        if isinstance(value, dict | list):
            for said, below in strangely(value, where):
                changed = copy.copy(record)
                changed[key] = below
                yield said, changed


def texts_of_strange(record: Any) -> Iterator[tuple[str, str]]:
    """The same as texts."""
    for said, changed in strangely(record):
        yield said, json.dumps(changed).replace(f'"{HUGE}"', HUGE)
