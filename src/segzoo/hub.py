"""Models on the Hub: a revision resolved once, and its files fetched, checked and cached.

What is in the cache costs no connection. What is fetched goes over huggingface_hub's own session
into huggingface_hub's own cache, but not by its download functions: those check a file's size and
not its bytes, wait for as long as a server likes ("Retry-After"), follow a line that gives a byte
a second for ever, and try five times, 23 s, where there is no way to the Hub. Here a file takes
its name in the cache after its bytes were found to be those of the commit's own ids.

Only names that `is_allowed` knows are fetched, and only from repositories whose whole list of files
is one that a publisher can have meant. Nothing of it is code.
"""

import contextlib
import json
import math
import os
import random
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from segzoo import files, hubcache
from segzoo.errors import (
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    IntegrityError,
    OfflineError,
    ResourceError,
    UnsafeFormatError,
    UsageError,
    printable,
)
from segzoo.hubcache import COMMIT, Id, Snapshot

if TYPE_CHECKING:
    import httpx2

__all__ = ["Published", "Snapshot", "fetch", "files_of", "is_allowed", "published", "resolve"]

MAIN = "main"
TAG = "segzoo"  # what models on the Hub are found by

ALLOWED = re.compile(
    r"config\.json|manifest\.json|README\.md|LICENSE|model\.sig|preview\.(jpg|png)"
    r"|([A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors(\.index\.json)?"
    r"|training/[A-Za-z0-9_][A-Za-z0-9_.-]*\.(json|jsonl|csv|png|txt|toml|yaml)"
    r"|\.eval_results/[A-Za-z0-9_][A-Za-z0-9_.-]*\.yaml"
)
MAX_FILES = 2000  # in a repository
MAX_NAME = 500  # characters
MAX_SMALL = 2**20  # bytes of a config or manifest, which are parsed
MAX_SIZE = 10**11  # bytes of any file: 20 billion float32 values, and more
MAX_ANSWER = 2**22  # bytes of JSON

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
TRIES = 3  # of one request, or in a row without progress
MAX_TRIES = 40  # of one file, however it goes on
MAX_WAIT = 8.0  # seconds before another try, whatever the server asks for
SLOWEST = 256  # bytes a second, over READ_SECONDS; what is slower is as good as cut
LOCK_SECONDS = 600.0


# --- what is asked for ---------------------------------------------------------------------------


def is_allowed(name: str) -> bool:
    """Whether a file of this name is ever fetched."""
    return ALLOWED.fullmatch(name) is not None and len(name) <= MAX_NAME


def resolve(
    repo: str, revision: str | None = None, *, local_files_only: bool = False, fresh: bool = False
) -> Snapshot:
    """The commit that a branch or tag is; None is the branch "main".

    A commit is itself, and a name that was looked up before is what it was then: neither needs a
    connection. fresh: look it up again. local_files_only: or fail, as with HF_HUB_OFFLINE=1.

    OfflineError, or another HubError, when the Hub is needed and cannot tell.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return Snapshot(repo, revision)
    name = revision or MAIN
    if not fresh and (known := hubcache.commit_of(repo, name)):
        return Snapshot(repo, known)
    line = _Line.to(repo, revision, local_files_only)
    found = line.ask(f"/api/models/{repo}/revision/{quote(name, safe='')}", {"expand": "sha"})
    commit = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise line.not_a_hub()
    hubcache.keep_ref(repo, name, commit)
    return Snapshot(repo, commit)


def fetch(
    snapshot: Snapshot,
    names: Iterable[str],
    *,
    local_files_only: bool = False,
    verify: bool = False,
) -> Path:
    """The folder that holds these files of a commit, whole: from the cache, or from the Hub.

    verify: read cached files again although a stamp says that they are whole.

    IntegrityError for bytes that are not the commit's; they are then set aside as *.corrupt.
    UsageError for a name that is never fetched, UnsafeFormatError for a repository that no
    publisher meant, HubNotFoundError for a file it does not have, ResourceError and OutputError
    when the cache cannot hold it; else errors as in `resolve`.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if not is_allowed(name):
            raise UsageError(f"'{printable(name)[:200]}' is no file that segzoo fetches")
    left = [name for name in wanted if not _is_ready(snapshot, name, verify)]
    if left:
        line = _Line.to(snapshot.repo, snapshot.commit, local_files_only)
        listed = _listed(line, snapshot)
        for name in left:
            if name not in listed:
                raise HubNotFoundError(
                    f"{snapshot.repo} has no file {name}",
                    found=", ".join(sorted(filter(is_allowed, listed))) or "none that is fetched",
                    next_step="Is it a model published by segzoo?",
                )
        _refuse_large({name: listed[name] for name in left}, snapshot)
        for name in left:
            _bring(line, snapshot, name, listed[name])
    return snapshot.folder


def files_of(snapshot: Snapshot) -> dict[str, int]:
    """What could be fetched of a commit: names and sizes in bytes. Asks the Hub."""
    listed = _listed(_Line.to(snapshot.repo, snapshot.commit, False), snapshot)
    return {name: item.size for name, item in sorted(listed.items()) if is_allowed(name)}


@dataclass(frozen=True)
class Published:
    """A model on the Hub, as its list has it. license: as the card says, or empty."""

    repo: str
    license: str
    downloads: int
    updated: str


def published() -> list[Published]:
    """The models on the Hub that say they are of segzoo, at most 1000, the most used first."""
    line = _Line.to("", None, False)
    found = line.ask("/api/models", {"filter": TAG, "sort": "downloads", "limit": "1000"})
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise line.not_a_hub()
    return [_published(item) for item in found]


def _published(item: dict[str, Any]) -> Published:
    tags = item.get("tags")
    said = (str(tag).partition("license:") for tag in (tags if isinstance(tags, list) else ()))
    downloads = item.get("downloads")
    return Published(
        repo=printable(str(item.get("id", "")))[:200],
        license=next((printable(text)[:100] for before, at, text in said if at and not before), ""),
        downloads=downloads if isinstance(downloads, int) else 0,
        updated=printable(str(item.get("lastModified", "")))[:10],
    )


# --- a commit's files ----------------------------------------------------------------------------


def _is_ready(snapshot: Snapshot, name: str, verify: bool) -> bool:
    """Whether a file is cached and whole. IntegrityError when it is not whole."""
    path = snapshot.folder / name
    if not path.is_file():
        return False
    value = hubcache.id_of(snapshot, name)
    if value is None:  # no link, and fetched by another program
        return _is_listed(snapshot.folder, name)
    try:
        whole = hubcache.is_whole(path, value, verify=verify)
    except OSError as error:
        raise IntegrityError(f"it cannot be read: {error.strerror}", file=path) from None
    if not whole:
        raise hubcache.set_aside(path)
    return True


def _is_listed(folder: Path, name: str) -> bool:
    """Whether a commit's own manifest knows a file; if it does not, the Hub must say."""
    from segzoo import manifest

    if not (folder / manifest.MANIFEST_NAME).is_file():
        return False
    if name not in manifest.read(folder / manifest.MANIFEST_NAME).files:
        return False
    manifest.check(folder, [name])
    return True


def _listed(line: "_Line", snapshot: Snapshot) -> dict[str, Id]:
    """Every file of a commit, asked once. UnsafeFormatError for a list that nobody can mean."""
    if found := hubcache.ids_of(snapshot):
        return found
    cursor, seen = "", 0
    while True:
        query = {"recursive": "true"} | ({"cursor": cursor} if cursor else {})
        page, cursor = line.ask_page(f"/api/models/{snapshot.repo}/tree/{snapshot.commit}", query)
        for item in page:
            if not isinstance(item, dict) or not isinstance(name := item.get("path"), str):
                raise line.not_a_hub()
            if fault := _fault_of(name):
                raise UnsafeFormatError(
                    f"{snapshot} lists a file '{printable(name)[:200]}', which {fault}",
                    next_step="Nothing was fetched; do not trust this repository",
                )
            if item.get("type") == "file":
                found[name] = _id(item, line)
        seen += len(page)
        if seen > MAX_FILES:
            raise UnsafeFormatError(
                f"{snapshot} lists too many files",
                found=f"more than {MAX_FILES:,}",
                expected="a published model",
                next_step="Nothing was fetched",
            )
        if not cursor or not page:
            break
    hubcache.keep_ids(snapshot, found)
    return found


def _id(item: dict[str, Any], line: "_Line") -> Id:
    lfs = item.get("lfs")
    source = lfs if isinstance(lfs, dict) else item
    value, size = source.get("oid"), source.get("size")
    digits = 64 if source is lfs else 40
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise line.not_a_hub()
    if type(size) is not int or size < 0:
        raise line.not_a_hub()
    return Id(value, size)


def _fault_of(name: str) -> str:
    """Why a file of this name may lie elsewhere than in its folder; empty when it may not."""
    if len(name) > MAX_NAME or not name.isprintable():
        return "is too long or holds a control character"
    if "\\" in name or ":" in name:
        return "holds a backslash or a colon"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a path inside the repository"
    return ""


def _refuse_large(listed: Mapping[str, Id], snapshot: Snapshot) -> None:
    for name, item in listed.items():
        most = MAX_SIZE if name.endswith(".safetensors") else 16 * MAX_SMALL
        most = MAX_SMALL if name in ("config.json", "manifest.json") else most
        if item.size > most:
            raise UnsafeFormatError(
                f"{name} of {snapshot} is too large",
                found=f"{item.size:,} bytes",
                expected=f"at most {most:,}",
                next_step="Nothing was fetched",
            )
    total = sum(item.size for item in listed.values())
    place = next(p for p in (snapshot.store, *snapshot.store.parents) if p.exists())
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(place).free
        if total > free:
            raise ResourceError(
                f"there is no room for {snapshot}",
                file=place,
                found=f"{free:,} bytes free",
                expected=f"{total:,}",
                next_step="Free some space (segzoo cache), or set HF_HUB_CACHE to another disk",
            )


def _bring(line: "_Line", snapshot: Snapshot, name: str, item: Id) -> None:
    """Fetch one file into the cache, unless another process has by now."""
    blob = snapshot.store / "blobs" / item.value
    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        with _locked(snapshot, item.value):
            if _is_there(snapshot.folder / name, item):
                return
            if _is_there(blob, item):
                hubcache.place(snapshot, name, item.value, blob)
                return
            new = blob.with_name(f"{item.value}.{secrets.token_hex(4)}{hubcache.INCOMPLETE}")
            try:
                found = _transfer(line, snapshot, name, item, new)
                if found != item.value:
                    bad = blob.with_name(blob.name + hubcache.CORRUPT)
                    os.replace(new, bad)
                    raise IntegrityError(
                        f"{name} of {snapshot} came with bytes that are not the commit's",
                        found=found,
                        expected=item.value,
                        next_step=f"They are set aside as {bad}. Try again; if it stays so, "
                        "a proxy or mirror changes files",
                    )
                hubcache.place(snapshot, name, item.value, new)
            finally:
                new.unlink(missing_ok=True)
    except OSError as error:
        raise files.unwritable(
            blob.parent, error, remedy="Free some space (segzoo cache), or set HF_HUB_CACHE"
        ) from None


def _is_there(path: Path, item: Id) -> bool:
    """Whether a file is in the cache, whole; one that is not whole is set aside."""
    if not path.is_file():
        return False
    if not hubcache.is_whole(path, item.value):
        hubcache.set_aside(path)
        return False
    return True


@contextlib.contextmanager
def _locked(snapshot: Snapshot, value: str) -> Iterator[None]:
    """huggingface_hub's own lock of a blob, so that several processes fetch it once.

    It spares work and keeps nothing safe: a process that cannot have it goes on without.
    """
    from filelock import FileLock, Timeout

    lock = hubcache.root() / ".locks" / snapshot.store.name / f"{value}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Timeout, NotImplementedError):  # no locks on this file system
            stack.enter_context(FileLock(lock, timeout=LOCK_SECONDS, mode=0o664))
        yield


def _transfer(line: "_Line", snapshot: Snapshot, name: str, item: Id, new: Path) -> str:
    """Fetch a file's bytes into `new` and give their id. A line that is cut is taken up again."""
    address = f"/{snapshot.repo}/resolve/{snapshot.commit}/{quote(name)}"
    digest, have, idle = hubcache.hasher(item.value, item.size), 0, 0
    with open(new, "xb") as file:
        for _ in range(MAX_TRIES):
            before = have
            headers = {"Range": f"bytes={have}-"} if have else {}
            try:
                with line.opened(address, headers=headers, name=name) as response:
                    if have and response.status_code != 206:  # it sends all of it again
                        file.seek(0)
                        file.truncate()
                        digest, have = hubcache.hasher(item.value, item.size), 0
                    for block in _flow(response, line):
                        have += len(block)
                        if have > item.size:
                            raise line.not_a_hub()
                        digest.update(block)
                        file.write(block)
                if have == item.size:
                    file.flush()
                    os.fsync(file.fileno())
                    return digest.hexdigest()
                again = _Again(line.cut(f"it ended after {have:,} of {item.size:,} bytes"))
            except _Again as caught:
                again = caught
            idle = idle + 1 if have <= before else 0
            if idle >= TRIES or (again.is_final and not have) or again.wait > MAX_WAIT:
                break
            _pause(idle, again)
    raise again.error


def _flow(response: "httpx2.Response", line: "_Line") -> Iterator[bytes]:
    """The body as it comes. `_Again` for a line that gives less than SLOWEST over READ_SECONDS."""
    since, count = time.monotonic(), 0
    for block in response.iter_raw():
        yield block
        count += len(block)
        if (passed := time.monotonic() - since) > READ_SECONDS:
            if count < SLOWEST * passed:
                raise _Again(line.cut(f"it gave {count} bytes in {passed:.0f} s"))
            since, count = time.monotonic(), 0


# --- one line to the Hub -------------------------------------------------------------------------


class _Again(Exception):
    """What may go well another time. wait: seconds that the server asks for.

    is_final: there is no way to the Hub at all, so that another try is of no use.
    """

    def __init__(self, error: HubError, *, wait: float = 0.0, is_final: bool = False) -> None:
        super().__init__(error.problem)
        self.error = error
        self.wait = wait
        self.is_final = is_final


@dataclass(frozen=True)
class _Line:
    """The way to the Hub for one repository, with the words for what goes wrong on it."""

    endpoint: str
    token: str | None = field(repr=False)
    repo: str
    revision: str | None

    @classmethod
    def to(cls, repo: str, revision: str | None, local_files_only: bool) -> "_Line":
        """The line that the environment says. OfflineError where it says that there is none."""
        endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        line = cls(endpoint, _token(), repo, revision)
        if local_files_only:
            raise line.offline("local_files_only=True forbids connections")
        if hubcache.is_offline():
            raise line.offline("HF_HUB_OFFLINE forbids connections")
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise UsageError(
                "HF_ENDPOINT is no address", found=printable(endpoint), expected="https://..."
            )
        return line

    def ask(self, path: str, query: Mapping[str, str]) -> Any:
        """The JSON that the Hub answers."""
        return self.ask_page(path, query, whole=False)[0]

    def ask_page(
        self, path: str, query: Mapping[str, str], *, whole: bool = True
    ) -> tuple[Any, str]:
        """A page of a list, and the cursor of the next one; empty when there is none."""
        for attempt in range(TRIES):
            try:
                with self.opened(path, query=query) as response:
                    found = self._json(response)
                    following = response.links.get("next", {}).get("url", "")
                if whole and not isinstance(found, list):
                    raise self.not_a_hub()
                # The Hub names its own address there, also when it was asked through a mirror.
                return found, parse_qs(urlsplit(following).query).get("cursor", [""])[0]
            except _Again as caught:
                again = caught
            if again.is_final or again.wait > MAX_WAIT:
                break
            if attempt + 1 < TRIES:
                _pause(attempt, again)
        raise again.error

    def _json(self, response: "httpx2.Response") -> Any:
        raw = bytearray()
        for block in _flow(response, self):
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
            raise self.not_a_hub() from None

    @contextlib.contextmanager
    def opened(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        name: str = "",
    ) -> "Iterator[httpx2.Response]":
        """An answer whose status is good and whose body is still to be read, in one try.

        A token goes to the endpoint alone: the session takes it off when it is sent elsewhere.
        `_Again` for what may pass; else a HubError.
        """
        import httpx2
        from huggingface_hub import get_session
        from huggingface_hub.errors import OfflineModeIsEnabled

        sent = {"accept-encoding": "identity", "user-agent": f"segzoo/{version('segzoo-core')}"}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        try:
            with get_session().stream(
                "GET",
                self.endpoint + path,
                params=query,
                headers={**sent, **(headers or {})},
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                follow_redirects=True,
            ) as response:
                self._judge(response, name)
                yield response
        except OfflineModeIsEnabled:
            raise self.offline("HF_HUB_OFFLINE forbade connections when Python began") from None
        except (
            httpx2.ConnectError,
            httpx2.ConnectTimeout,
            httpx2.ProxyError,
            httpx2.UnsupportedProtocol,
        ) as error:
            problem = f"{self.endpoint} cannot be reached: {self._said(error)}"
            raise _Again(self.offline(problem), is_final=True) from None
        except httpx2.TransportError as error:
            raise _Again(self.cut(self._said(error))) from None
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise self.not_a_hub() from None

    def _judge(self, response: "httpx2.Response", name: str) -> None:
        status = response.status_code
        if status in (200, 206):
            if response.headers.get("content-type", "").lower().startswith("text/html"):
                raise self.not_a_hub()
            return
        error = self._refused(response, name)
        if status in (408, 429, 500, 502, 503, 504):
            raise _Again(error, wait=_asked_wait(response.headers))
        raise error

    def _refused(self, response: "httpx2.Response", name: str) -> HubError:
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
            wait = _asked_wait(response.headers)
            known = wait and math.isfinite(wait)
            return HubRateLimitError(
                "the Hub wants fewer requests",
                found=f"it asks to wait {wait:,.0f} s" if known else "",
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
        known = ", ".join(hubcache.refs_of(self.repo))
        return OfflineError(
            f"{ref} is not in the cache, and {problem}",
            found=f"in the cache: {known}" if known else "",
            next_step=f"Where there is a connection, run: segzoo download {ref}",
        )

    def cut(self, how: str) -> OfflineError:
        return self.offline(f"the line to {self.endpoint} was cut: {how}")

    def not_a_hub(self) -> HubError:
        return HubError(
            f"{self.endpoint} does not answer as the Hub does",
            next_step="Is there a login page of this network, or a wrong HF_ENDPOINT?",
        )

    def _said(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        text = text.replace(self.token, "***") if self.token else text
        return printable(" ".join(text.split()))[:200]


def _token() -> str | None:
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


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, 0 when it does not say: a number, or a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:20])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _pause(attempt: int, again: _Again) -> None:
    """Wait before another try, unevenly, so that many clients do not come back at once."""
    time.sleep(max(again.wait, min(MAX_WAIT, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)))
