"""How far a transfer is, told to whoever listens: a command line that a person watches, say."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeAlias

__all__ = ["Listener", "heard", "tell"]

Listener: TypeAlias = Callable[[str, int, int], object]  # a file's name, bytes so far, all bytes

_listener: ContextVar[Listener | None] = ContextVar("segzoo_transfer", default=None)


@contextlib.contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Let a listener hear of every transfer inside."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(name: str, done: int, total: int) -> None:
    """Say that so many bytes of a file are here."""
    if (listener := _listener.get()) is not None:
        listener(name, done, total)
