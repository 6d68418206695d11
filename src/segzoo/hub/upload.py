"""A folder to the Hub: one commit, or none, and a tag that is never moved.

huggingface_hub's client does it; what it raises becomes one of our errors, in words that hold
nothing secret. Every try begins with a look at what is there, so that a commit whose answer was
lost on the way is found and not made twice.
"""

import contextlib
import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from segzoo.errors import (
    ConfigError,
    HubAccessError,
    HubError,
    HubNotFoundError,
    HubRateLimitError,
    IntegrityError,
    OfflineError,
    SegzooError,
    UsageError,
    printable,
)
from segzoo.hub import cache as hubcache
from segzoo.hub import session as hubsession
from segzoo.hub.cache import Snapshot
from segzoo.hub.fetch import fetch
from segzoo.saved import manifest
from segzoo.saved.manifest import MANIFEST_NAME, Manifest

__all__ = ["Repository"]

WAITS = (1.0, 3.0)  # seconds before another try, about
CARD = "README.md"
LONGEST_WAIT = 30.0  # seconds that the Hub may ask for and get

T = TypeVar("T")


class Repository:
    """One repository of models, to write to. Errors are HubError and its kinds."""

    def __init__(self, name: str) -> None:
        from huggingface_hub import HfApi

        if hubcache.is_offline():
            raise OfflineError("HF_HUB_OFFLINE is set", next_step="Unset it to publish")
        self.name = name
        self.sent = False  # whether a commit was, whatever came back
        self.token = hubsession.token()
        self.client = HfApi(
            endpoint=os.environ.get("HF_ENDPOINT") or None,
            token=self.token or False,
            library_name="segzoo",
            library_version=version("segzoo-core"),
        )

    def create(self, *, private: bool) -> None:
        """Make the repository where there is none. UsageError for one that is not as private."""
        self._trying(lambda: self._create(private))

    def put(
        self,
        folder: Path,
        listed: Manifest,
        *,
        message: str,
        tag: str,
        create_pr: bool,
        replace_card: bool,
    ) -> tuple[str, bool, str]:
        """Commit a folder; gives the commit that holds it, whether it is new, and its address.

        What an earlier manifest lists and this one does not is deleted in the same commit.
        create_pr: in a pull request. replace_card: also where the card was edited on the Hub.
        HubError when it was, and when the tag is of another commit.
        """
        keep = not (replace_card or create_pr)
        return self._trying(lambda: self._put(folder, listed, message, tag, create_pr, keep))

    def tag(self, tag: str, commit: str) -> None:
        """Tag a commit. HubError when the tag is of another."""
        self._trying(lambda: self._tag(tag, commit))

    def _create(self, private: bool) -> None:
        self.client.create_repo(self.name, private=private or None, exist_ok=True)
        if private and self.client.repo_info(self.name).private is False:
            raise UsageError(
                f"{self.name} is there already, and public",
                next_step="Make it private in its settings, or choose another name",
            )

    def _put(
        self,
        folder: Path,
        listed: Manifest,
        message: str,
        tag: str,
        create_pr: bool,
        keep_card: bool,
    ) -> tuple[str, bool, str]:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        head = str(self.client.repo_info(self.name).sha)
        refs = self.client.list_repo_refs(self.name, include_pull_requests=create_pr)
        tagged = {ref.name: ref.target_commit for ref in refs.tags}
        page = f"{self.client.endpoint}/{self.name}"
        pulls = [ref.target_commit for ref in refs.pull_requests or ()]
        before = self._manifest(head)
        for commit in [tagged[tag]] if tag in tagged else [head, *pulls]:
            found = before if commit == head else self._manifest(commit)
            if found is not None and found.digest == listed.digest:
                return commit, self.sent, f"{page}/tree/{commit}"
        if tag in tagged:
            raise self._moved(tag, tagged[tag])
        if keep_card and before is not None:
            self._refuse_edited(head, before)
        names = [*listed.files, MANIFEST_NAME]
        gone = sorted(set(before.files) - set(names)) if before else []
        self.sent = True
        done = self.client.create_commit(
            self.name,
            [
                *(CommitOperationAdd(name, os.fspath(folder / name)) for name in names),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=message,
            parent_commit=head,
            create_pr=create_pr,
        )
        return done.oid, True, done.pr_url or f"{page}/tree/{done.oid}"

    def _tag(self, tag: str, commit: str) -> None:
        refs = self.client.list_repo_refs(self.name)
        there = {ref.name: ref.target_commit for ref in refs.tags}.get(tag)
        if there is None:
            self.client.create_tag(self.name, tag=tag, revision=commit)
        elif there != commit:
            raise self._moved(tag, there)

    def _manifest(self, commit: str) -> Manifest | None:
        """What a commit's manifest lists; None where there is none that could be used."""
        with contextlib.suppress(HubNotFoundError, ConfigError, IntegrityError):
            folder = fetch(Snapshot(self.name, commit), [MANIFEST_NAME])
            return manifest.read(folder / MANIFEST_NAME)
        return None

    def _refuse_edited(self, head: str, before: Manifest) -> None:
        """HubError where the card is not the one that was published with the manifest."""
        if (published := before.files.get(CARD)) is None:
            return
        try:
            file = fetch(Snapshot(self.name, head), [CARD]) / CARD
        except HubNotFoundError:
            return
        if hashlib.sha256(file.read_bytes()).hexdigest() != published.sha256:
            raise HubError(
                f"the card of {self.name} was edited since it was published, and would be lost",
                next_step=f"See {self.client.endpoint}/{self.name}/commits/main. Say it with "
                "--notes or --license, or offer yours beside it with --create-pr; to write over "
                "what was edited: --replace-card",
            )

    def _moved(self, tag: str, commit: str) -> HubError:
        return HubError(
            f"the tag {tag} of {self.name} is of something else, and no published tag is moved",
            found=commit,
            next_step="Choose another tag",
        )

    def _trying(self, do: Callable[[], T]) -> T:
        """What `do` gives; once more where the trouble may pass. Each time begins with a look."""
        for wait in (*WAITS, None):
            try:
                return do()
            except SegzooError:
                raise
            except Exception as error:
                trouble = _trouble(error)
                if trouble is None:
                    raise  # a defect
                seconds = _seconds(trouble, wait)
                if seconds is None:
                    raise _told(trouble, self.name, self.token) from None
                time.sleep(seconds)
        raise AssertionError("the last wait is None")


def _trouble(error: BaseException | None) -> BaseException | None:
    """What the Hub or the network has raised, at the bottom of what the client made of it."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    kinds = (
        HfHubHTTPError,
        hubsession.http().TransportError,
        ConnectionError,
        LocalTokenNotFoundError,
    )
    while error is not None and not isinstance(error, kinds):
        if isinstance(error, ValueError) and "README.md" in str(error):
            return error  # the card does not please the Hub
        error = error.__cause__ or error.__context__
    return error


def _status(error: BaseException) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _headers(error: BaseException) -> Mapping[str, str]:
    return getattr(getattr(error, "response", None), "headers", {})


def _seconds(error: BaseException, wait: float | None) -> float | None:
    """How long to wait before another try; None when there is to be none."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    final = (hubsession.http().ConnectError, OfflineModeIsEnabled)
    broke = isinstance(error, hubsession.http().TransportError | ConnectionError)
    broke = broke and not isinstance(error, final)
    asked = hubsession.retry_after(_headers(error))
    passing = broke or status in (408, 429, 500, 502, 503, 504)
    if wait is None or not passing or asked > LONGEST_WAIT:
        return None
    return max(asked, wait * random.uniform(0.8, 1.2))


def _told(error: BaseException, repo: str, token: str | None) -> HubError:
    """The error for a person. What the Hub says is kept, a token is not."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    said = str(getattr(error, "server_message", None) or "")
    said = printable(said.replace(token, "***") if token else said)[:300]
    status = _status(error)
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        problem = "does not know this token" if token else "wants a token"
        return HubAccessError(f"the Hub {problem}", next_step="Run: hf auth login")
    if status == 403:
        return HubAccessError(
            f"this token may not write to {repo}",
            found=said,
            next_step="Take one with the right to write there: hf auth login; or offer it as a "
            "pull request: --create-pr",
        )
    if status == 404:
        return HubNotFoundError(
            f"the Hub has no repository {repo}, or not for this token",
            found=said,
            next_step="Look at its name, or run: hf auth login",
        )
    again = "Publish again: nothing is there by half, and what is there is not sent again"
    if status in (409, 412):
        return HubError(f"{repo} was changed meanwhile", found=said, next_step=again)
    if status == 429:
        return HubRateLimitError(
            "the Hub wants fewer requests",
            found=hubsession.said_wait(_headers(error)),
            next_step="Publish again later",
        )
    if status:
        return HubError(f"the Hub refuses: HTTP {status}", found=said, next_step=again)
    if isinstance(error, OfflineModeIsEnabled):
        problem = "HF_HUB_OFFLINE was set when Python began"
        return OfflineError(problem, next_step="Unset it to publish")
    if isinstance(error, hubsession.http().ConnectError):
        return OfflineError(
            f"the Hub cannot be reached: {type(error).__name__}",
            found=printable(os.environ.get("HF_ENDPOINT", ""))[:200],
            next_step=again,
        )
    if isinstance(error, ValueError):
        text = printable(str(error).replace(token, "***") if token else str(error))[:300]
        return HubError("the Hub does not take the card", found=text)
    return HubError("the connection to the Hub broke", found=type(error).__name__, next_step=again)
