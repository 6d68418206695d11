"""Who may come in: a token, the names of this machine, no other site's page; some headers."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segzoo.serve.problems import Problem, problem_response

__all__ = ["Door", "request_id_of"]

OPEN = ("/health", "/ready")  # for what watches over the server
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# One's own page may load its own files and pictures that it makes, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
)


class Door:
    """Stands before an application.

    token: wanted of every request but OPEN, as a bearer's or as the password of any name; empty for
    none. local: answer to the names of this machine alone, so that no foreign name leads here.
    ancestors: which pages may show ours in a frame, as the policy has it.
    """

    def __init__(self, app: ASGIApp, *, token: str, local: bool, ancestors: str = "'none'") -> None:
        self.app, self.token, self.local = app, token.encode(), local
        self.policy = POLICY.format(ancestors=ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["state"] = dict(scope.get("state") or {})
        scope["state"]["request_id"] = secrets.token_hex(8)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), scope)
            await send(message)

        try:
            self._refuse(scope)
        except Problem as problem:
            response = problem_response(problem, request_id=request_id_of(scope))
            await response(scope, receive, sent)
            return
        await self.app(scope, receive, sent)

    def _refuse(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self.local and _host_of(headers.get("host", "")) not in LOCAL_NAMES:
            raise Problem(421, "this server answers to localhost alone")
        if self.token and scope["path"] not in OPEN and not self._knows(headers):
            wanted = {"WWW-Authenticate": 'Basic realm="segzoo", charset="UTF-8"'}
            raise Problem(401, "a token is wanted: Authorization: Bearer TOKEN", wanted)
        if scope["method"] not in SAFE and _is_another_sites(headers):
            raise Problem(403, "a page of another site may not ask this server")

    def _knows(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        given = value.strip().encode("latin-1", "replace")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self.token)

    def _add(self, headers: MutableHeaders, scope: Scope) -> None:
        headers["X-Request-ID"] = request_id_of(scope)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Content-Security-Policy"] = self.policy
        # Not "no-referrer": then a browser says of a form of ours that it comes from nowhere.
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.setdefault("Cache-Control", "no-store")


def request_id_of(scope: Scope) -> str:
    found: str = scope["state"]["request_id"]
    return found


def _host_of(text: str) -> str:
    """ "[::1]:8000" -> "::1"."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


def _is_another_sites(headers: Headers) -> bool:
    """Whether a browser says that a page of another site sends this.

    What it says of the site itself goes first: behind a proxy the host may have another name.
    """
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin: Iterable[str] = headers.getlist("origin")
    host = headers.get("host", "").lower()
    return any(urlsplit(o).netloc.lower() != host for o in origin)
