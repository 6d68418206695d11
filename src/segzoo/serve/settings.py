"""What a server is told when it starts: which models, and how much it may be asked for."""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from segzoo.base.records import Record
from segzoo.errors import UsageError, printable
from segzoo.zoo import refs

__all__ = [
    "Limits",
    "Networks",
    "ServerSettings",
    "is_loopback",
    "named_models",
    "refuse_open_door",
]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # of a model in an address
LEAST_TOKEN = 16  # characters: what is shorter can be tried out


@dataclass(frozen=True, kw_only=True)
class Networks(Record):
    """What the processes behind a server run.

    models: what `segzoo.load` takes, by the name that requests use; the first is the default.
    at_once: whether all are loaded before the first request; else each at its first one, and the
    `kept` that were asked for last stay in memory. batch_size: pictures run together, at most;
    None for as many as are worth it.
    """

    models: Mapping[str, str]
    at_once: bool = True
    kept: int = 3
    device: str = "auto"
    runtime: str = "torch"
    precision: str = "fp32"
    batch_size: int | None = None
    max_pixels: int = 32_000_000


@dataclass(frozen=True, kw_only=True)
class Limits(Record):
    """How much a server takes on.

    bytes: of a request's body. held: of all bodies together. queue: pictures that wait or run.
    connections: that have not sent the head of a request yet. Seconds: head, body, to receive those
    of a request; answer, for which a picture may wait and be worked on; drain, for what was begun
    when the server is told to end.
    """

    bytes: int = 32 << 20
    held: int = 256 << 20
    queue: int = 32
    connections: int = 256
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 60.0
    drain_seconds: float = 25.0  # below the 30 after which Kubernetes kills


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Record):
    """All of it. workers: processes that run the networks. token: wanted of every request but
    `/health` and `/ready`; empty for none. page: whether `/` is the page for people.
    """

    networks: Networks
    limits: Limits = field(default_factory=Limits)
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str = ""
    page: bool = False
    log_requests: bool = False


def named_models(given: Iterable[str]) -> dict[str, str]:
    """References to models, each by a name for requests: "cells=run/model" or "lite0".

    UsageError for two of one name, and for a reference that cannot be a name and is given none.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, ref = text.partition("=")
        if not equals:
            name = ref = text
        refs.parse(ref)
        if not NAME.fullmatch(name):
            folder = re.sub(r"[^A-Za-z0-9_-]", "", PurePath(ref).name) or "mine"
            raise UsageError(
                f"'{printable(name)[:100]}' cannot be a model's name in a request",
                expected="letters, digits and _.- alone",
                next_step=f"Give it a name: {folder}={printable(ref)[:100]}",
            )
        if name in found:
            raise UsageError(f"two models are called '{name}'", next_step="Write OTHER=MODEL")
        found[name] = ref
    return found


def refuse_open_door(host: str, token: str) -> None:
    """UsageError for a server that others could use, without a token or with one that is short."""
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            "the token cannot be used",
            found=f"{len(token)} characters",
            expected=f"at least {LEAST_TOKEN} letters, digits or signs of ASCII",
            next_step="Make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    if not token and not is_loopback(host):
        raise UsageError(
            f"on {printable(host)} others could use this server, and no token is set",
            next_step="Set SEGZOO_TOKEN, or give --token-file FILE; or leave --host out, "
            "for this machine alone",
        )


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(address).is_loopback for address in found)
