"""What a reference to a model means: an installed model, a folder, or a repository on the Hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from segzoo.errors import UsageError, printable
from segzoo.zoo import registry

__all__ = ["HUB", "LOCAL_DIR", "Folder", "Hub", "Named", "Ref", "parse"]

HUB = "hf-hub:"
LOCAL_DIR = "local-dir:"

# Stricter than the Hub, as both become parts of paths and addresses here.
PART = r"(?!.*(--|\.\.))[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
REPO = re.compile(rf"{PART}/{PART}")
REVISION = re.compile(r"(?!.*(\.\.|//|/\.|\./))[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,198}(?<![./])")


@dataclass(frozen=True)
class Named:
    """A model by its name, or by `distribution/name` or `module:ATTR`; tag: of its weights."""

    name: str
    tag: str | None = None


@dataclass(frozen=True)
class Folder:
    """A saved model on this machine."""

    path: Path


@dataclass(frozen=True)
class Hub:
    """A saved model on the Hub: `user/name`, at a branch, tag or commit; None for its "main"."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{HUB}{self.repo}" + (f"@{self.revision}" if self.revision else "")


Ref: TypeAlias = Named | Folder | Hub


def parse(ref: str, revision: str | None = None) -> Ref:
    """What `ref` names, without a look at anything but the folders that are there.

    `hf-hub:user/name[@revision]`, `local-dir:PATH`, an existing folder that is written with a
    separator (`./saved`), else a model's name, in which `name.tag` chooses weights. A model's full
    name goes before a folder of that name. UsageError for what is not spelled like any of them, and
    for a revision of what has none.
    """
    if ref.startswith(HUB):
        return _hub(ref, revision)
    if revision is not None:
        raise UsageError(
            f"{printable(ref)[:200]} has no revisions",
            found=f"revision={printable(revision)[:200]}",
            expected=f"a model on the Hub, {HUB}user/name",
        )
    if ref.startswith(LOCAL_DIR):
        return Folder(Path(ref.removeprefix(LOCAL_DIR)))
    if _is_folder(ref):
        return Folder(Path(ref))
    if ":" in ref or "." not in ref.rpartition("/")[2]:
        return Named(ref)
    name, _, tag = ref.rpartition(".")
    return Named(name, tag)


def _hub(ref: str, revision: str | None) -> Hub:
    repo, at, own = ref.removeprefix(HUB).partition("@")
    if at and revision is not None and own != revision:
        raise UsageError(
            "two revisions are asked for", found=f"{printable(own)} and {printable(revision)}"
        )
    wanted = own if at else revision
    if not REPO.fullmatch(repo):
        raise UsageError(
            f"'{printable(repo)[:200]}' is not the name of a repository",
            expected=f"{HUB}user/name or {HUB}user/name@revision",
        )
    if wanted is not None and not REVISION.fullmatch(wanted):
        raise UsageError(
            f"'{printable(wanted)[:200]}' is not a revision",
            expected="a branch, a tag or a commit",
        )
    return Hub(repo, wanted)


def _is_folder(ref: str) -> bool:
    if "/" not in ref and os.sep not in ref:
        return False
    if any(entry.full_name == ref for entry in registry.entries()):
        return False
    return os.path.isdir(ref)
