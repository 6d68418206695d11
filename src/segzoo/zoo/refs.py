"""What a reference to a model means: an installed model, a folder, or a repository on the Hub."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from segzoo.base.home import expanded
from segzoo.errors import UsageError, printable
from segzoo.zoo import registry

__all__ = ["HUB", "LOCAL_DIR", "MODEL", "RUN", "Folder", "Hub", "Named", "Ref", "parse", "tagged"]

HUB = "hf-hub:"
LOCAL_DIR = "local-dir:"
RUN = "run.json"  # in the folder of a training run
MODEL = "model"  # the folder in it with its best weights
FOREIGN = (".bin", ".ckpt", ".h5", ".keras", ".onnx", ".pt", ".pth")  # endings of weights

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
    """What `ref` names, without a look at anything but the files and folders that are there.

    `hf-hub:user/name[@revision]`, `local-dir:PATH`, an existing folder that is written with a
    separator (`./saved`), else a model's name, in which `name.tag` chooses weights. A model's full
    name goes before a folder of that name; the folder of a run means the model in it. UsageError
    for what is not spelled like any of them, a file among it, and for a revision of what has none.
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
        return _folder(expanded(ref.removeprefix(LOCAL_DIR)))
    ref = expanded(ref)
    if _is_folder(ref):
        return _folder(ref)
    if ":" not in ref:
        _refuse_file(ref)
    if ":" in ref or "." not in ref.rpartition("/")[2]:
        return Named(ref)
    name, _, tag = ref.rpartition(".")
    return Named(name, tag)


def tagged(ref: str) -> Named:
    """A model's name apart from the tag behind it; the whole where nobody offers such a name."""
    name, dot, tag = ref.rpartition(".")
    own = registry.fold(name.rpartition("/")[2])
    if dot and any(own == entry.name for entry in registry.entries()):
        return Named(name, tag)
    return Named(ref)


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


def _folder(text: str) -> Folder:
    path = Path(text)
    return Folder(path / MODEL if (path / RUN).is_file() and (path / MODEL).is_dir() else path)


def _is_folder(ref: str) -> bool:
    if "/" not in ref and os.sep not in ref:
        return False
    if any(entry.full_name == ref for entry in registry.entries()):
        return False
    return os.path.isdir(ref)


def _refuse_file(ref: str) -> None:
    """UsageError for a file where a model is expected, with the line that was meant."""
    name, ending = os.path.splitext(ref)
    if any(registry.fold(name) == e.name or name == e.full_name for e in registry.entries()):
        return  # name.tag
    if ending.lower() in (*FOREIGN, ".safetensors") and not os.path.isfile(ref):
        raise UsageError(
            "there is no such file",
            file=ref,
            next_step="A model comes first: its name, its folder, or hf-hub:user/name",
        )
    folder, shown = os.path.dirname(ref), shlex.quote(printable(ref)[:200])
    if ending == ".safetensors" and os.path.isfile(os.path.join(folder, "config.json")):
        next_step = f"Give its folder: {printable(folder) if '/' in folder else f'./{folder}'}"
    elif ending == ".safetensors":
        next_step = f"Give the model that it is of, and --weights {shown}"
    elif ending.lower() in FOREIGN:
        next_step = f"Make a model of it first: segzoo convert {shown} --to MODEL"
    elif os.path.isfile(ref):
        next_step = f"The model comes first: segzoo predict MODEL {shown} -o out"
    else:
        return
    raise UsageError("a file, where a model is expected", file=ref, next_step=next_step)
