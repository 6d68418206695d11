"""Requests, each in a bounded time: those to the Hub, and the words for what goes wrong there.

They go over huggingface_hub's own client, whose HTTP library differs between its releases and is
therefore never named here. What may go well another time is raised as `RetryableError`; everything
else is one of our errors, in which nothing secret stands.
"""

import contextlib
import json
import math
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

from segzoo.errors import (
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    OfflineError,
    UnsafeFormatError,
    UsageError,
    printable,
)
from segzoo.hub import cache as hubcache

__all__ = [
    "MAIN",
    "TRIES",
    "HubSession",
    "Peer",
    "Response",
    "RetryableError",
    "Watchdog",
    "backoff",
    "bounded",
    "flow",
    "http",
    "in_words",
    "persistently",
    "retry_after",
    "said_wait",
    "token",
]

Response: TypeAlias = Any  # of the HTTP library that huggingface_hub uses

MAIN = "main"
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
ANSWER_SECONDS = 30.0  # from the request to the end of an answer's headers, and of all its JSON
T = TypeVar("T")
TRIES = 3  # of one request, or in a row without progress
MAX_WAIT = 8.0  # seconds before another try, whatever the server asks for
SLOWEST = 256  # bytes a second, over READ_SECONDS; what is slower is as good as cut
MAX_ANSWER = 2**22  # bytes of JSON


class RetryableError(Exception):
    """What may go well another time. wait: seconds that the server asks for.

    is_final: there is no way to the Hub at all, so that another try is of no use.
    """

    def __init__(self, error: HubError, *, wait: float = 0.0, is_final: bool = False) -> None:
        super().__init__(error.problem)
        self.error = error
        self.wait = wait
        self.is_final = is_final

    @property
    def is_too_long(self) -> bool:
        """Whether the server asks for a longer wait than it gets."""
        return self.wait > MAX_WAIT


class Peer(Protocol):
    """Who is asked, as the words for what goes wrong on the way."""

    def offline(self, problem: str) -> OfflineError:
        """There is no way to it."""

    def cut(self, how: str) -> OfflineError:
        """There was one."""

    def strange(self) -> HubError:
        """Something else answers."""

    def said(self, error: object) -> str:
        """An error of the HTTP library on one line, without what is secret."""


@contextlib.contextmanager
def bounded(
    address: str,
    peer: Peer,
    *,
    headers: Mapping[str, str],
    query: Mapping[str, str] | None = None,
    follow: bool,
) -> "Iterator[tuple[Response, Watchdog]]":
    """An answer of any status whose body is still to be read, in one try.

    The watchdog that comes with it ends the connection ANSWER_SECONDS after the request, unless its
    time is moved. follow: go where it is redirected to. `RetryableError` for what may pass; else a
    HubError, in the words of `peer`.
    """
    from huggingface_hub import get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    # A connection of our own, which the watchdog may end: nobody else's request is on it.
    sent = {"accept-encoding": "identity", "connection": "close"}
    sent["user-agent"] = f"segzoo/{version('segzoo-core')}"
    library = http()
    watchdog = Watchdog(ANSWER_SECONDS)
    try:
        with (
            watchdog,
            get_session().stream(
                "GET",
                address,
                params=query,
                headers={**sent, **headers},
                timeout=(CONNECT_SECONDS, READ_SECONDS, READ_SECONDS, READ_SECONDS),
                follow_redirects=follow,
                extensions={"trace": watchdog.trace},
            ) as response,
        ):
            yield response, watchdog
    except OfflineModeIsEnabled:
        raise peer.offline("HF_HUB_OFFLINE forbade connections when Python began") from None
    except library.TransportError as error:
        if watchdog.has_ended:
            raise RetryableError(peer.cut(watchdog.reason)) from None
        final = ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol")
        if isinstance(error, tuple(getattr(library, kind) for kind in final)):
            parts = urlsplit(address)
            problem = f"{parts.scheme}://{parts.netloc} cannot be reached: {peer.said(error)}"
            raise RetryableError(peer.offline(problem), is_final=True) from None
        raise RetryableError(peer.cut(peer.said(error))) from None
    except (library.HTTPError, library.InvalidURL):
        raise peer.strange() from None


@dataclass(frozen=True)
class HubSession:
    """Requests about one repository, with the words for what goes wrong."""

    endpoint: str
    token: str | None = field(repr=False)
    repo: str
    revision: str | None

    @classmethod
    def to(cls, repo: str, revision: str | None, local_files_only: bool) -> "HubSession":
        """The session that the environment says. OfflineError where it forbids one."""
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        session = cls(endpoint, token(), repo, revision)
        if local_files_only:
            raise session.offline("local_files_only=True forbids connections")
        if hubcache.is_offline():
            raise session.offline("HF_HUB_OFFLINE forbids connections")
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise UsageError(
                "HF_ENDPOINT is no address", found=printable(endpoint), expected="https://..."
            )
        return session

    def ask(self, path: str, query: Mapping[str, str]) -> Any:
        """The JSON that the Hub answers."""
        return self.ask_page(path, query, whole=False)[0]

    def ask_page(
        self, path: str, query: Mapping[str, str], *, whole: bool = True
    ) -> tuple[Any, str]:
        """A page of a list, and the cursor of the next one; empty when there is none."""

        def answered() -> tuple[Any, str]:
            with self.opened(path, query=query) as (response, watchdog):
                found = self._json(response, watchdog)
                following = response.links.get("next", {}).get("url", "")
            if whole and not isinstance(found, list):
                raise self.strange()
            # The Hub names its own address there, also when it was asked through a mirror.
            return found, parse_qs(urlsplit(following).query).get("cursor", [""])[0]

        return persistently(answered)

    def _json(self, response: Response, watchdog: "Watchdog") -> Any:
        raw = bytearray()
        for block in response.iter_raw():
            raw += block
            if len(raw) > MAX_ANSWER:
                raise UnsafeFormatError(
                    f"the Hub's answer about {self.repo} is too long",
                    expected=f"at most {MAX_ANSWER:,} bytes",
                    next_step="Nothing was fetched",
                )
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise self.strange() from None

    @contextlib.contextmanager
    def opened(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "",
    ) -> "Iterator[tuple[Response, Watchdog]]":
        """An answer whose status is good and whose body is still to be read, as in `bounded`.

        A token goes to the endpoint alone: the client takes it off when it is sent elsewhere.
        """
        sent = {**(headers or {})}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        address = self.endpoint + path
        with bounded(address, self, headers=sent, query=query, follow=True) as (answer, watchdog):
            self._judge(answer, name)
            yield answer, watchdog

    def _judge(self, response: Response, name: str) -> None:
        status = response.status_code
        if status in (200, 206):
            if response.headers.get("content-type", "").lower().startswith("text/html"):
                raise self.strange()
            return
        error = self._refused(response, name)
        if status in (408, 429, 500, 502, 503, 504):
            raise RetryableError(error, wait=retry_after(response.headers))
        raise error

    def _refused(self, response: Response, name: str) -> HubError:
        """What a status says. Nothing of the server's own text is shown: it may hold a token."""
        status, code = response.status_code, response.headers.get("x-error-code", "")
        page = f"{self.endpoint}/{self.repo}"
        of = f"{name} of {self.repo}" if name else self.repo or "the list of models"
        if code == "GatedRepo":
            return HubAccessError(
                f"{self.repo} asks for its terms to be accepted",
                next_step=f"Accept them at {page}, then run: hf auth login",
            )
        if status == 401 and self.token:
            return HubAccessError(
                f"the Hub does not take the token that was sent for {of}",
                next_step="Make another one and run: hf auth login (or set HF_TOKEN)",
            )
        if status == 401:
            return HubAccessError(
                f"the Hub wants a token for {of}, or there is no such repository",
                next_step="Check the spelling, or run: hf auth login (or set HF_TOKEN)",
            )
        if status == 403:
            return HubAccessError(
                f"the token does not allow reading {of}",
                next_step="Make one that may read it and run: hf auth login (or set HF_TOKEN)",
            )
        if status == 404 and code == "RevisionNotFound":
            return HubNotFoundError(
                f"{self.repo} has no revision '{self.revision}'",
                next_step=f"See: {page}/tree/{MAIN}",
            )
        if status == 404 and name:
            return HubNotFoundError(f"{self.repo} has no file {name}", next_step=f"See: {page}")
        if status == 404:
            return HubNotFoundError(
                f"there is no repository {self.repo} on the Hub, or this token may not see it",
                next_step="Check the spelling; for a private one run: hf auth login",
            )
        if status == 407:
            return HubError(
                "the proxy wants a login", next_step="Set HTTPS_PROXY to http://user:password@host"
            )
        if status == 429:
            return HubRateLimitError(
                "the Hub wants fewer requests",
                found=said_wait(response.headers),
                next_step="Try again later, or log in, which allows more: hf auth login",
            )
        return HubError(
            f"the Hub failed with status {status} for {of}",
            next_step="Try again later; see https://status.huggingface.co",
        )

    def offline(self, problem: str) -> OfflineError:
        """For what is not in the cache and cannot be fetched, with the command that would."""
        if not self.repo:
            return OfflineError(problem, next_step="The list of models needs a connection")
        ref = f"hf-hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")
        known = hubcache.refs_of(self.repo)
        if (self.revision or MAIN) in known:  # only what it is now was asked for
            return OfflineError(
                f"what {ref} is now cannot be looked up, as {problem}",
                next_step="What it was is in the cache, and loads without a connection",
            )
        return OfflineError(
            f"{ref} is not in the cache, and {problem}",
            found=f"in the cache: {', '.join(known)}" if known else "",
            next_step=f"Where there is a connection, run: segzoo download {ref}",
        )

    def cut(self, how: str) -> OfflineError:
        return self.offline(f"the line to {self.endpoint} was cut: {how}")

    def strange(self) -> HubError:
        return HubError(
            f"{self.endpoint} does not answer as the Hub does",
            next_step="Is there a login page of this network, or a wrong HF_ENDPOINT?",
        )

    def said(self, error: object) -> str:
        text = in_words(error)
        return (text.replace(self.token, "***") if self.token else text)[:200]


class Watchdog:
    """Ends a request's connections when its time is up, in whatever state they are.

    The client's own timeouts are of one read each: headers that come a byte at a time, or one "100
    Continue" after the other, never meet them.
    """

    def __init__(self, seconds: float) -> None:
        self.has_ended = False
        self.reason = ""
        self._streams: list[Any] = []
        self._changed = threading.Condition()
        self._is_done = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.move(seconds, f"no whole answer came in {seconds:g} s")

    def move(self, seconds: float, reason: str) -> None:
        """Let the time end so many seconds from now, and say then why."""
        with self._changed:
            self._until, self._next_reason = time.monotonic() + seconds, reason
            self._changed.notify()  # it may be earlier than what is waited for

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What the HTTP library calls at each step of a request ("trace", an extension of it)."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._streams.append(info["return_value"])

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_done = True
            self._changed.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_done:
                left = self._until - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                if not self.has_ended:
                    self.has_ended, self.reason = True, self._next_reason
                for stream in self._streams:
                    with contextlib.suppress(OSError, AttributeError):  # it may be closed already
                        stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
                self._changed.wait(0.05)  # another connection may be on its way


def in_words(error: object) -> str:
    """An error of the HTTP library on one line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return printable(" ".join(text.split()))


def http() -> Any:
    """The HTTP library under huggingface_hub's client: the one that its errors are made of."""
    from huggingface_hub.errors import HfHubHTTPError

    [base] = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]
    return sys.modules[base.__module__.partition(".")[0]]


def flow(response: Response, watchdog: Watchdog) -> Iterator[bytes]:
    """The body as it comes, as long as each READ_SECONDS bring SLOWEST bytes a second."""
    count = 0
    wanted = f"it gave less than {SLOWEST} bytes a second for {READ_SECONDS:g} s"
    watchdog.move(READ_SECONDS, wanted)
    for block in response.iter_raw():
        yield block
        count += len(block)
        if count >= SLOWEST * READ_SECONDS:
            count = 0
            watchdog.move(READ_SECONDS, wanted)


def token() -> str | None:
    """The token of the environment, else the one that `hf auth login` kept; None for neither."""
    environ = os.environ
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in hubcache.TRUE:
        return None
    text = environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN")
    if not text:
        place = environ.get("HF_TOKEN_PATH") or hubcache.home() / "token"
        try:
            text = Path(place).expanduser().read_text("utf-8")
        except (OSError, ValueError):
            return None
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError("the Hub's token holds characters that no token has: see HF_TOKEN")
    return text or None


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, 0 when it does not say: a number, or a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:20])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def said_wait(headers: Mapping[str, str]) -> str:
    """How long a server asks to wait, for a person; empty when it does not say."""
    wait = retry_after(headers)
    return f"it asks to wait {wait:,.0f} s" if wait and math.isfinite(wait) else ""


def persistently(request: Callable[[], T]) -> T:
    """What a request gives, asked again after failures that pass; the error of the last."""
    for attempt in range(TRIES):
        try:
            return request()
        except RetryableError as caught:
            failed = caught
        if failed.is_final or failed.is_too_long:
            break
        if attempt + 1 < TRIES:
            backoff(attempt, failed)
    raise failed.error


def backoff(attempt: int, failed: RetryableError) -> None:
    """Wait before another try, unevenly, so that many clients do not come back at once."""
    time.sleep(max(failed.wait, min(MAX_WAIT, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)))
