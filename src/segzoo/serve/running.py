"""A server on this machine: its socket, its signals, and its end."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable
from typing import Any

from segzoo.errors import UsageError, printable
from segzoo.serve.app import Server
from segzoo.serve.patience import Waiting, patient
from segzoo.serve.settings import ServerSettings, is_loopback, refuse_open_door

__all__ = ["run_server"]

BACKLOG = 256
KEEP_ALIVE_SECONDS = 15


def run_server(settings: ServerSettings, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was begun, and return.

    ready: told the address, once requests are answered. UsageError for a port that is in use, and
    for an address that is open to others without a token; what the models raise when they are
    loaded.
    """
    refuse_open_door(settings.host, settings.token)
    with _listening(settings.host, settings.port) as listening:
        _allow_files()
        asyncio.run(_serve(settings, listening, ready))


async def _serve(
    settings: ServerSettings, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    import uvicorn

    server, limits = Server(settings), settings.limits
    waiting = Waiting(limits.connections, seconds=limits.head_seconds, taking=limits.answer_seconds)
    http: Any = patient(waiting)  # called as a class would be
    config = uvicorn.Config(
        server.app(local=is_loopback(settings.host)),
        http=http,
        ws="none",
        lifespan="on",
        log_level="info" if settings.log_requests else "warning",
        access_log=settings.log_requests,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.drain_seconds),
        backlog=BACKLOG,
    )
    runs = uvicorn.Server(config)
    stop = asyncio.Event()
    with _ended_by(stop):
        begun = asyncio.create_task(server.processes.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({begun, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():  # told to end before there was anything to serve
            begun.cancel()
            await server.processes.stop()
            return
        stopping.cancel()
        try:
            await begun
            listening.listen(BACKLOG)  # whoever hears of the address now is not turned away
            ready(_address(settings.host, listening))
            # uvicorn hears the signals from here on, and gives them on when it has ended.
            await runs.serve(sockets=[listening])
        finally:
            await server.processes.stop()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, before anything that takes long is done."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except BaseException:
            found.close()
            raise
        return found
    except OSError as error:
        if isinstance(error, socket.gaierror):
            problem = "there is no such address on this machine"
        elif error.errno == errno.EADDRINUSE:
            problem = "another program uses this port"
        else:
            problem = f"cannot listen: {error.strerror}"
        raise UsageError(
            problem,
            found=f"{printable(host)} port {port}",
            next_step="Give another with --port; --port 0 takes any that is free",
        ) from None


@contextlib.contextmanager
def _ended_by(stop: asyncio.Event) -> Any:
    """SIGTERM and Ctrl-C set an event, and end nothing by themselves."""
    loop = asyncio.get_running_loop()

    def hear(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {n: signal.signal(n, hear) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(host: str, listening: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}"


def _allow_files() -> None:
    """As many open connections as the system lets this user have."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
