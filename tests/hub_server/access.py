"""Requests, replies, and who may do what."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hub_server.store import Refusal, Repo, User

if TYPE_CHECKING:
    from hub_server.server import Hub

FOREIGN = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
READ_ONLY = "Forbidden: you must use a write token to upload to a repository."
LOGIN = "Invalid username or password."


@dataclass
class Request:
    method: str
    path: str  # quoted
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes
    storage: bool  # came to the storage's address

    def json(self) -> Any:
        return json.loads(self.body)

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # where it is not the body's


def says(value: Any, status: int = 200, **headers: str) -> Reply:
    headers = {"Content-Type": "application/json", **headers}
    return Reply(json.dumps(value).encode(), status, headers)


def paged(
    hub: Hub, request: Request, items: list[Any], shape: Callable[[Any], Any] = lambda item: item
) -> Reply:
    """One page of a listing, with the address of the next in a Link header."""
    limit = min(hub.page, int(request.query.get("limit", [str(hub.page)])[0]))
    start = int(request.query.get("cursor", ["0"])[0])
    end = start + limit
    page = [shape(item) for item in items[start:end]]
    if end >= len(items):
        return says(page)
    query = urlencode({**request.query, "cursor": end}, doseq=True)
    return says(page, Link=f'<{hub.url}{request.path}?{query}>; rel="next"')


def sender(hub: Hub, request: Request) -> User | None:
    given = request.headers.get("authorization")
    if given is None:
        return None
    if (user := hub.users.get(given.removeprefix("Bearer "))) is None:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return user


def readable(hub: Hub, request: Request, name: str) -> Repo:
    user = sender(hub, request)
    repo = hub.repos.get(name)
    if repo is not None and not (repo.private and (user is None or user.name != repo.owner)):
        return repo
    # Without the code, the client takes a 401 for a missing repository on https addresses alone.
    if user is None:
        raise Refusal(401, LOGIN, "RepoNotFound")
    raise Refusal(404, "Repository not found", "RepoNotFound")


def opened(hub: Hub, request: Request, name: str) -> Repo:
    """A repository whose files may be read, and not only their names."""
    repo = readable(hub, request, name)
    user = sender(hub, request)
    if not repo.gated or (user is not None and user.name in {repo.owner, *repo.granted}):
        return repo
    if user is None:
        text = "You must have access to it and be authenticated to access it. Please log in."
        raise Refusal(401, f"Access to model {name} is restricted. {text}", "GatedRepo")
    text = f"is restricted and you are not in the authorized list. Visit {hub.url}/{name}"
    raise Refusal(403, f"Access to model {name} {text} to ask for access.", "GatedRepo")


def writable(hub: Hub, request: Request, name: str, *, by_pull: bool = False) -> Repo:
    repo = readable(hub, request, name)
    user = known(hub, request)
    if not user.write:
        raise Refusal(403, READ_ONLY)
    if user.name != repo.owner and not by_pull:
        raise Refusal(403, FOREIGN)
    return repo


def known(hub: Hub, request: Request) -> User:
    user = sender(hub, request)
    if user is None:
        raise Refusal(401, LOGIN)
    return user
