"""The page for people: its files, read once, each at a path of its own."""

import html
from collections.abc import Iterable
from importlib.resources import files
from string import Template

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from segzoo.serve.settings import ServerSettings

__all__ = ["page_routes"]

FOLDER = "page"
TYPES = {
    "astronaut.jpg": "image/jpeg",
    "cat.jpg": "image/jpeg",
    "coffee.jpg": "image/jpeg",
    "icon.svg": "image/svg+xml",
    "script.js": "text/javascript",
    "style.css": "text/css",
}
INDEX = "index.html"
FRESH = {"Cache-Control": "no-cache"}  # asked for anew after an update of segzoo


def page_routes(settings: ServerSettings) -> list[Route]:
    """Routes to the page at `/` and to what it shows. No path is made of what a request says."""
    folder = files("segzoo.serve").joinpath(FOLDER)
    index = Template(folder.joinpath(INDEX).read_text("utf-8")).substitute(
        models=_options(settings.networks.models),
        max_bytes=settings.limits.bytes,
        max_pixels=settings.networks.max_pixels,
    )
    found = [_route("/", index.encode(), "text/html")]
    for name, media_type in TYPES.items():
        found.append(_route(f"/{name}", folder.joinpath(name).read_bytes(), media_type))
    return found


def _route(path: str, content: bytes, media_type: str) -> Route:
    async def answer(_: Request) -> Response:
        return Response(content, headers=FRESH, media_type=media_type)

    return Route(path, answer)


def _options(names: Iterable[str]) -> str:
    escaped = [html.escape(name) for name in names]
    return "".join(f'<option value="{name}">{name}</option>' for name in escaped)
