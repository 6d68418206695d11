"""Connections that do not say what they want are closed, so that they cannot use up a server.

uvicorn waits for ever for the head of a request, and for who does not take an answer. A `Patient`
stands between it and the connection.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

__all__ = ["Waiting", "patient"]

TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n"
    b"Cache-Control: no-store\r\n\r\n"
)


MOMENT = 0.25  # seconds in which many that come together may all say what they want


class Waiting:
    """The connections without the head of a request, in the order in which they began to wait.

    most: of them; with more, the first ones are closed after a moment. seconds: that each may wait.
    taking: seconds in which an answer has to be taken.
    """

    def __init__(self, most: int, *, seconds: float, taking: float) -> None:
        self.most, self.seconds, self.taking = most, seconds, taking
        self.each: OrderedDict[Patient, asyncio.TimerHandle] = OrderedDict()
        self.looking: asyncio.TimerHandle | None = None  # whether there are too many

    def add(self, connection: "Patient") -> None:
        if connection in self.each:
            return
        loop = asyncio.get_running_loop()
        self.each[connection] = loop.call_later(self.seconds, connection.give_up)
        if len(self.each) > self.most and self.looking is None:
            self.looking = loop.call_later(MOMENT, self.look)

    def look(self) -> None:
        """Close those beyond the most."""
        self.looking = None
        while len(self.each) > self.most:
            next(iter(self.each)).give_up()

    def remove(self, connection: "Patient") -> None:
        timer = self.each.pop(connection, None)
        if timer is not None:
            timer.cancel()


class Patient(asyncio.Protocol):
    """One connection. inner: uvicorn's own protocol of it."""

    def __init__(self, inner: Any, waiting: Waiting) -> None:
        self.inner, self.waiting = inner, waiting
        self.transport: Any = None
        self.sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.waiting.add(self)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)
        cycle = self.inner.cycle
        if cycle is None or cycle.response_complete:  # bytes, but no request yet
            self.waiting.add(self)
        else:
            self.waiting.remove(self)

    def eof_received(self) -> bool | None:
        ended: bool | None = self.inner.eof_received()
        return ended

    def connection_lost(self, error: Exception | None) -> None:
        self.waiting.remove(self)
        self._stop_sending()
        self.inner.connection_lost(error)

    def pause_writing(self) -> None:
        loop = asyncio.get_running_loop()
        self._stop_sending()
        self.sending = loop.call_later(self.waiting.taking, self.transport.abort)
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self._stop_sending()
        self.inner.resume_writing()

    def _stop_sending(self) -> None:
        if self.sending is not None:
            self.sending.cancel()
            self.sending = None

    def give_up(self) -> None:
        self.waiting.remove(self)
        if not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()


def patient(waiting: Waiting) -> Callable[..., asyncio.Protocol]:
    """What makes the protocol of each connection, as uvicorn calls it."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    def make(**given: Any) -> asyncio.Protocol:
        return Patient(H11Protocol(**given), waiting)

    return make
