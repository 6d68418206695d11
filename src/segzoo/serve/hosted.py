"""The server and its page inside of another program's server, such as Gradio's."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, Protocol

from starlette.routing import Route

from segzoo.base.terminal import to_stderr
from segzoo.errors import SegzooError
from segzoo.serve.app import Server
from segzoo.serve.settings import Networks, ServerSettings

__all__ = ["Hosted", "Lifespan", "hosted"]


class Lifespan(Protocol):
    """What a host enters while it serves."""

    def __call__(self, app: object) -> AbstractAsyncContextManager[None]: ...


class Hosted(NamedTuple):
    """What a host takes in. routes: to come before its own. lifespan: to be within its own."""

    routes: list[Route]
    lifespan: Lifespan


def hosted(
    models: Mapping[str, str], *, frames: str = "'none'", max_pixels: int = 32_000_000
) -> Hosted:
    """The page for these models, at `/`, with all that it asks for.

    models: what `segzoo.load` takes, by the names that a visitor chooses from. frames: the sites
    whose pages may show it in a frame. max_pixels: of a picture; browsers make larger ones smaller.

    Who may come in, how long a request may take to arrive and how many may be open is the host's
    business. The models are loaded while the host already answers; why one could not be is written
    to standard error, and `/ready` says 503.
    """
    networks = Networks(models=models, max_pixels=max_pixels)
    server = Server(ServerSettings(networks=networks, page=True))
    door = server.app(local=False, ancestors=frames)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        begun = asyncio.create_task(_start(server))
        try:
            yield
        finally:
            begun.cancel()
            await server.processes.stop()

    return Hosted([Route(route.path, door) for route in server.routes()], lifespan)


async def _start(server: Server) -> None:
    try:
        await server.processes.start()
    except SegzooError as error:
        to_stderr(f"segzoo: {error}")
