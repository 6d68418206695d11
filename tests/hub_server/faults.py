"""What can go wrong between a client and the Hub, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

PORTAL = b"<!DOCTYPE html><html><body>Welcome to the airport's network</body></html>"

# An answer that never comes whole: what it begins with, and what follows again and again.
DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"a"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5;",
        b"a",
    ),
}


@dataclass
class Fault:
    """Strikes the requests whose "METHOD /path" matches `where`, a pattern with * and ?.

    A file of LFS is fetched in two steps: HEAD /user/name/resolve/REVISION/FILE redirects to GET
    /lfs/user/name/SHA256/FILE; another file is a GET /user/name/resolve/REVISION/FILE. An upload is
    a PUT /lfs/user/name/SHA256. Of several faults that match, the first strikes.
    """

    where: str
    times: int | None = 1  # None for ever
    status: int | None = None  # answered at once: nothing is carried out
    late: bool = False  # ... but after all: what was asked for has been done
    headers: Mapping[str, str | None] = field(default_factory=dict)  # None takes one away
    body: bytes | None = None  # instead of the real one
    flip: bool = False  # the last bit of the real body is another one
    cut: float | None = None  # part of the body after which the line is cut; 0.0: no answer at all
    stall: float | None = None  # the same, but the line stays open and silent
    pace: float | None = None  # seconds for each byte that follows a stall, instead of silence
    drip: str | None = None  # what comes for ever, at `pace`: one of DRIPS
    cut_upload: float | None = None  # part of the request's body after which the line is cut

    def strikes(self, method: str, path: str) -> bool:
        return self.times != 0 and fnmatchcase(f"{method} {path}", self.where)


def portal(where: str, *, times: int | None = None) -> Fault:
    """A captive portal: HTML with status 200 and nothing that the Hub says in headers."""
    return Fault(where, times=times, status=200, body=PORTAL, headers={"Content-Type": "text/html"})
