"""Models on the Hub: a revision resolved once, and its files fetched, checked and cached.

What is in the cache costs no connection. What is fetched goes into huggingface_hub's own cache, but
not by its download functions: why is told in docs/adr/0010-what-the-hubs-client-does.md. A file
takes its name in the cache after its bytes were found to be those of the commit's own ids.

Only names that `is_allowed` knows are fetched, and only from repositories whose whole list of files
is one that a publisher can have meant. Nothing of it is code.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segzoo.base import files
from segzoo.errors import (
    HubNotFoundError,
    IntegrityError,
    UnsafeFormatError,
    UsageError,
    printable,
)
from segzoo.hub import cache as hubcache
from segzoo.hub.cache import COMMIT, Id, Snapshot
from segzoo.hub.receive import one_at_a_time, receive, refuse_full
from segzoo.hub.session import MAIN, HubSession

__all__ = [
    "Published",
    "Snapshot",
    "fetch",
    "files_of",
    "is_allowed",
    "listing",
    "published",
    "snapshot_of",
]

TAG = "segzoo"  # what models on the Hub are found by

ALLOWED = re.compile(
    r"config\.json|manifest\.json|README\.md|LICENSE|model\.sig|preview\.(jpg|png)"
    r"|examples/[A-Za-z0-9_][A-Za-z0-9_.-]*\.(jpg|png)"
    r"|([A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors(\.index\.json)?"
    r"|training/[A-Za-z0-9_][A-Za-z0-9_.-]*\.(json|jsonl|csv|png|txt|toml|yaml)"
    r"|\.eval_results/[A-Za-z0-9_][A-Za-z0-9_.-]*\.yaml"
)
MAX_FILES = 2000  # in a repository
MAX_NAME = 500  # characters
MAX_SMALL = 2**20  # bytes of a config or manifest, which are parsed
KEPT = 2**20  # bytes of a file that was cut, from which on the next try takes it up
MAX_SIZE = 10**11  # bytes of any file: 20 billion float32 values, and more


# --- what is asked for ---------------------------------------------------------------------------


def is_allowed(name: str) -> bool:
    """Whether a file of this name is ever fetched."""
    return ALLOWED.fullmatch(name) is not None and len(name) <= MAX_NAME


def snapshot_of(
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
    session = HubSession.to(repo, revision, local_files_only)
    found = session.ask(f"/api/models/{repo}/revision/{quote(name, safe='')}", {"expand": "sha"})
    commit = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise session.strange()
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

    verify: read cached files again although a stamp says that they are whole, and ask the Hub for
    the commit's ids where another program has fetched it, unless connections are forbidden.

    IntegrityError for bytes that are not the commit's; they are then set aside as *.corrupt.
    UsageError for a name that is never fetched, UnsafeFormatError for a repository that no
    publisher meant, HubNotFoundError for a file it does not have, ResourceError and OutputError
    when the cache cannot hold it; else errors as in `snapshot_of`.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if not is_allowed(name):
            raise UsageError(f"'{printable(name)[:200]}' is no file that segzoo fetches")
    ids = hubcache.ids_of(snapshot)
    if verify and not ids and not local_files_only and not hubcache.is_offline():
        ids = _listed(HubSession.to(snapshot.repo, snapshot.commit, False), snapshot)
    left = [name for name in wanted if not _is_ready(snapshot, name, ids, verify)]
    if left:
        session = HubSession.to(snapshot.repo, snapshot.commit, local_files_only)
        listed = _listed(session, snapshot)
        for name in left:
            if name not in listed:
                raise HubNotFoundError(
                    f"{snapshot.repo} has no file {name}",
                    found=", ".join(sorted(filter(is_allowed, listed))) or "none that is fetched",
                    next_step="Is it a model published by segzoo?",
                )
        _refuse_large({name: listed[name] for name in left}, snapshot)
        for name in left:
            _bring(session, snapshot, name, listed[name])
    return snapshot.folder


def files_of(snapshot: Snapshot) -> dict[str, int]:
    """What could be fetched of a commit: names and sizes in bytes. Asks the Hub."""
    listed = listing(snapshot)
    return {name: item.size for name, item in sorted(listed.items()) if is_allowed(name)}


def listing(snapshot: Snapshot) -> dict[str, Id]:
    """Every file of a commit, whatever its name. Asks the Hub."""
    return _listed(HubSession.to(snapshot.repo, snapshot.commit, False), snapshot)


@dataclass(frozen=True)
class Published:
    """A model on the Hub, as its list has it. license: as the card says, or empty."""

    repo: str
    license: str
    downloads: int
    updated: str


def published(word: str = "") -> list[Published]:
    """The models on the Hub that say they are of segzoo, at most 1000, the most used first.

    word: that their names hold; looked for by the Hub.
    """
    session = HubSession.to("", None, False)
    query = {"filter": TAG, "sort": "downloads", "limit": "1000"}
    found = session.ask("/api/models", query | ({"search": word} if word else {}))
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise session.strange()
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


def _is_ready(snapshot: Snapshot, name: str, ids: Mapping[str, Id], verify: bool) -> bool:
    """Whether a file is cached and whole. IntegrityError when it is not whole.

    ids: the commit's, which decide. Where they are not known, as another program has fetched the
    file, the name of its blob is believed.
    """
    path = snapshot.folder / name
    blob = hubcache.blob_of(snapshot, name)
    if not path.is_file():
        return False
    value = ids[name].value if name in ids else blob
    if value is None:  # no link, and fetched by another program
        return _is_listed(snapshot.folder, name)
    if blob not in (None, value):
        raise hubcache.take_away(path)
    try:
        whole = hubcache.is_whole(path, value, verify=verify)
    except OSError as error:
        raise IntegrityError(f"it cannot be read: {error.strerror}", file=path) from None
    if not whole:
        raise hubcache.set_aside(path)
    return True


def _is_listed(folder: Path, name: str) -> bool:
    """Whether a commit's own manifest knows a file; if it does not, the Hub must say."""
    from segzoo.saved import manifest

    if not (folder / manifest.MANIFEST_NAME).is_file():
        return False
    if name not in manifest.read(folder / manifest.MANIFEST_NAME).files:
        return False
    manifest.check(folder, [name])
    return True


def _listed(session: HubSession, snapshot: Snapshot) -> dict[str, Id]:
    """Every file of a commit, asked once. UnsafeFormatError for a list that nobody can mean."""
    if found := hubcache.ids_of(snapshot):
        return found
    cursor, seen = "", 0
    while True:
        query = {"recursive": "true"} | ({"cursor": cursor} if cursor else {})
        page, cursor = session.ask_page(
            f"/api/models/{snapshot.repo}/tree/{snapshot.commit}", query
        )
        for item in page:
            if not isinstance(item, dict) or not isinstance(name := item.get("path"), str):
                raise session.strange()
            if fault := _fault_of(name):
                raise UnsafeFormatError(
                    f"{snapshot} lists a file '{printable(name)[:200]}', which {fault}",
                    next_step="Nothing was fetched; do not trust this repository",
                )
            if item.get("type") == "file":
                found[name] = _id(item, session)
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


def _id(item: dict[str, Any], session: HubSession) -> Id:
    lfs = item.get("lfs")
    source = lfs if isinstance(lfs, dict) else item
    value, size = source.get("oid"), source.get("size")
    digits = 64 if source is lfs else 40
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise session.strange()
    if type(size) is not int or size < 0:
        raise session.strange()
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
    refuse_full(
        snapshot.store,
        sum(item.size for item in listed.values()),
        str(snapshot),
        remedy="Free some space (segzoo cache), or set HF_HUB_CACHE to another disk",
    )


def _bring(session: HubSession, snapshot: Snapshot, name: str, item: Id) -> None:
    """Fetch one file into the cache, unless another process has by now."""
    blob = snapshot.store / "blobs" / item.value
    try:
        hubcache.refuse_links(snapshot.folder / name, blob)
        blob.parent.mkdir(parents=True, exist_ok=True)
        files.sweep_old(blob.parent, f"*{hubcache.INCOMPLETE}")
        with _locked(snapshot, item.value):
            own = hubcache.blob_of(snapshot, name) in (None, item.value)
            if own and _is_there(snapshot.folder / name, item):
                return
            if hubcache.is_blob(blob) and _is_there(blob, item):
                hubcache.place(snapshot, name, item.value, blob)
                return
            new = blob.with_name(f"{item.value}.{secrets.token_hex(4)}{hubcache.INCOMPLETE}")
            goes_on = _takes_up(blob, item, new)
            try:
                found = _transfer(session, snapshot, name, item, new, goes_on)
                if found != item.value and goes_on:  # what was left was not the file's beginning
                    new.unlink()
                    found = _transfer(session, snapshot, name, item, new, False)
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
                _leave(new)
    except OSError as error:
        raise files.unwritable(
            blob.parent, error, remedy="Free some space (segzoo cache), or set HF_HUB_CACHE"
        ) from None


def _takes_up(blob: Path, item: Id, new: Path) -> bool:
    """Make what an earlier try has left of a file the beginning of `new`; False for nothing.

    It is what no living process holds; two that cannot lock the blob could both take it, and then
    the digest tells.
    """
    for left in sorted(blob.parent.glob(f"{item.value}.*{hubcache.INCOMPLETE}")):
        with contextlib.suppress(OSError), open(left, "rb") as file:
            status = os.fstat(file.fileno())
            own = stat.S_ISREG(status.st_mode) and not left.is_symlink()
            if own and KEPT <= status.st_size < item.size and files.hold(file):
                os.replace(left, new)
                return True
    return False


def _leave(new: Path) -> None:
    """Remove what a try has left of a file, unless it is so much that the next one goes on."""
    with contextlib.suppress(OSError):
        if new.stat().st_size < KEPT:
            new.unlink()


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
    """huggingface_hub's own lock of a blob, so that several processes fetch it once."""
    lock = hubcache.root() / ".locks" / snapshot.store.name / f"{value}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    ours = not lock.is_symlink() and hubcache.is_own(lock, hubcache.root())
    with one_at_a_time(lock) if ours else contextlib.nullcontext():
        yield


def _transfer(
    session: HubSession, snapshot: Snapshot, name: str, item: Id, new: Path, goes_on: bool
) -> str:
    """Fetch a file's bytes into `new` and give their id. goes_on: `new` has the first of them."""
    address = f"/{snapshot.repo}/resolve/{snapshot.commit}/{quote(name)}"
    return receive(
        lambda headers: session.opened(address, headers=headers, name=name),
        new,
        name=name,
        peer=session,
        size_of=lambda _: item.size,
        hasher=lambda: hubcache.hasher(item.value, item.size),
        size=item.size if goes_on else 0,
    )
