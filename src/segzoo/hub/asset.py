"""One file at an https address, such as a release's: fetched in a bounded time, and checked.

It is taken with the declared bytes or not at all. Every step of a redirect is https too, and no
token is sent anywhere. What an answer says of itself is believed no further than its length.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from segzoo.base import files
from segzoo.errors import (
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    IntegrityError,
    OfflineError,
    UnsafeFormatError,
    printable,
)
from segzoo.hub import cache as hubcache
from segzoo.hub.receive import receive, refuse_full
from segzoo.hub.session import (
    Response,
    RetryableError,
    Watchdog,
    bounded,
    in_words,
    retry_after,
    said_wait,
)

__all__ = ["Asset", "fetched"]

MOST_BYTES = 2**32
MOST_HOPS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Asset:
    """A file at an address, with the words for what goes wrong.

    url: https. sha256: of the file, in hex. ref: the weights that it is, as "u2netp.official".
    """

    url: str
    sha256: str
    ref: str

    @property
    def name(self) -> str:
        return printable(unquote(urlsplit(self.url).path).rpartition("/")[2])

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def at_hand(self) -> str:
        """What to do with a file that came by another way."""
        return f"With {self.name} at hand, run: segzoo download {self.ref} --from FILE"

    def offline(self, problem: str) -> OfflineError:
        return OfflineError(
            f"{self.ref} is not in the cache, and {problem}",
            next_step=f"Where there is a connection, run: segzoo download {self.ref}. "
            f"{self.at_hand}",
        )

    def cut(self, how: str) -> OfflineError:
        return self.offline(f"the line to {self.host} was cut: {how}")

    def strange(self) -> HubError:
        return HubError(
            f"{self.host} does not answer with the file {self.name}",
            next_step=f"Is there a login page of this network? {self.at_hand}",
        )

    def said(self, error: object) -> str:
        return in_words(error)[:200]

    def refused(self, response: Response) -> HubError:
        """What a status says, but nothing of the server's own text."""
        status = response.status_code
        if status in (404, 410):
            return HubNotFoundError(f"{self.url} is not there", next_step=self.at_hand)
        if status in (401, 403):
            return HubAccessError(f"{self.host} does not give {self.name} to everybody")
        if status == 429:
            return HubRateLimitError(
                f"{self.host} wants fewer requests",
                found=said_wait(response.headers),
                next_step=f"Try again later. {self.at_hand}",
            )
        return HubError(
            f"{self.host} failed with status {status} for {self.name}",
            next_step=f"Try again later. {self.at_hand}",
        )


@contextlib.contextmanager
def fetched(asset: Asset, folder: Path, *, local_files_only: bool = False) -> Iterator[Path]:
    """The file with its declared bytes, in a folder, for as long as the block runs.

    OfflineError where connections are forbidden or fail, and other HubErrors; IntegrityError for
    other bytes; UnsafeFormatError for a file that is too large, or an address that leads to one
    without https; ResourceError for a disk without room; OSError.
    """
    if local_files_only:
        raise asset.offline("local_files_only=True forbids connections")
    if hubcache.is_offline():
        raise asset.offline("HF_HUB_OFFLINE forbids connections")

    def size_of(response: Response) -> int:
        size = _length(asset, response)
        refuse_full(folder, size, asset.ref, remedy="Free some space, or set SEGZOO_HOME")
        return size

    files.sweep_old(folder, f"*{hubcache.INCOMPLETE}")
    new = folder / f"{asset.sha256}.{secrets.token_hex(4)}{hubcache.INCOMPLETE}"
    try:
        found = receive(
            lambda headers: _opened(asset, headers),
            new,
            name=asset.name,
            peer=asset,
            size_of=size_of,
            hasher=hashlib.sha256,
        )
        if found != asset.sha256:
            raise IntegrityError(
                f"{asset.url} gave other bytes than {asset.ref} declares; nothing was kept",
                found=found,
                expected=asset.sha256,
                next_step="Try again; if it stays so, the file there is another one, or something "
                f"on the way changes it. {asset.at_hand}",
            )
        yield new
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(asset: Asset, headers: Mapping[str, str]) -> Iterator[tuple[Response, Watchdog]]:
    """The answer that has the file, after redirects, whose addresses are never shown in full."""
    address = asset.url
    for _ in range(MOST_HOPS):
        with bounded(address, asset, headers=headers, follow=False) as (response, watchdog):
            status = response.status_code
            if status not in REDIRECTS:
                if status in PASSING:
                    wait = retry_after(response.headers)
                    raise RetryableError(asset.refused(response), wait=wait)
                if status not in (200, 206):
                    raise asset.refused(response)
                if response.headers.get("content-type", "").lower().startswith("text/html"):
                    raise asset.strange()
                yield response, watchdog
                return
            location = response.headers.get("location", "")
        address = _followed(asset, address, location)
    raise UnsafeFormatError(
        f"{asset.url} is redirected more than {MOST_HOPS} times", next_step=asset.at_hand
    )


def _followed(asset: Asset, address: str, location: str) -> str:
    """Where a redirect leads. UnsafeFormatError for anything but https."""
    try:
        address = urljoin(address, location)
        parts = urlsplit(address)
    except ValueError:
        raise asset.strange() from None
    if parts.scheme != "https" or not parts.hostname:
        raise UnsafeFormatError(
            f"{asset.url} is redirected to an address without https",
            found=f"{printable(parts.scheme)[:20]}://{printable(parts.hostname or '')[:100]}",
            next_step=f"Nothing was fetched. {asset.at_hand}",
        )
    return address


def _length(asset: Asset, response: Response) -> int:
    """The bytes that an answer says it has. UnsafeFormatError for too many."""
    text = response.headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        raise asset.strange()
    if len(text) > 20 or int(text) > MOST_BYTES:
        raise UnsafeFormatError(
            f"{asset.url} is too large",
            found=f"{text[:30]} bytes",
            expected=f"at most {MOST_BYTES:,}",
            next_step="Nothing was fetched",
        )
    return int(text)
