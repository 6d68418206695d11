"""The files of a new plugin: those of `_template`, under a name of its own.

The template is a whole plugin called my_net, and what `segzoo new my-net` writes. Its files end in
".in", so that no tool takes them for files of ours.
"""

import keyword
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from segzoo.base.files import unwritable
from segzoo.base.home import expanded
from segzoo.errors import OutputError, UsageError, printable
from segzoo.zoo import registry

__all__ = ["NewPlugin", "new_plugin"]

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # of a model, and with hyphens of a distribution
SPELLINGS = re.compile("my_net|my-net|MyNet|MY_NET")
SUFFIX = ".in"


class NewPlugin(NamedTuple):
    """model: its name. folder: of the distribution. files: the paths in it."""

    model: str
    folder: Path
    files: tuple[str, ...]


def new_plugin(name: str, parent: str | PathLike[str] = ".") -> NewPlugin:
    """Write a distribution with one model, which keeps the contract, into `parent`/name.

    name: "my-net" and "my_net" are the same: the folder is my-net, the distribution segzoo-my-net,
    the package segzoo_my_net, the model my_net.

    UsageError with everything that speaks against the name; OutputError when the folder is there
    already or cannot be written. Then nothing is left on the disk.
    """
    model = registry.fold(name)
    template = dict(_files(resources.files("segzoo") / "_template"))
    spelled = _spellings(model)
    if faults := [*_faults(model, spelled, template)]:
        what = f"no plugin can be called {printable(name)[:100]!r}: {'; '.join(faults)}"
        raise UsageError(what, next_step="Choose another name")

    def renamed(text: str) -> str:
        return SPELLINGS.sub(lambda match: spelled[match[0]], text)

    written = {renamed(path): renamed(text) for path, text in template.items()}
    folder = Path(expanded(parent), spelled["my-net"])
    _write_folder(folder, written)
    return NewPlugin(model, folder, tuple(written))


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The template's paths, without ".in", and texts."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files(item, f"{prefix}{item.name}/")
        elif item.name.endswith(SUFFIX):
            yield prefix + item.name.removesuffix(SUFFIX), item.read_text("utf-8")


def _spellings(model: str) -> dict[str, str]:
    """How the name is spelled wherever the template says my_net: u2_net -> U2Net."""
    words = model.split("_")
    return {
        "my_net": model,
        "my-net": "-".join(words),
        "MyNet": "".join(map(str.capitalize, words)),
        "MY_NET": model.upper(),
    }


def _faults(model: str, spelled: Mapping[str, str], template: Mapping[str, str]) -> Iterator[str]:
    if not NAME.fullmatch(model):
        yield "expected words of a-z and 0-9, the first with a letter in front, joined by '-'"
        return
    if model.partition("_")[0] == "segzoo":
        yield "the distribution gets 'segzoo-' in front by itself"
    code = "\n".join(text for path, text in template.items() if path.endswith(".py"))
    words = {*re.findall(r"\w+", SPELLINGS.sub("", code)), *keyword.kwlist}
    taken = [name for name in dict.fromkeys(spelled.values()) if name in words]
    if taken:
        yield f"{taken[0]!r} is a word of Python or of the plugin's own code"
    for entry in registry.entries():
        if entry.name == model:
            yield f"{entry.full_name} has that name"
    distribution = f"segzoo-{spelled['my-net']}"
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return
    yield f"the distribution {distribution} is installed"


def _write_folder(folder: Path, texts: Mapping[str, str]) -> None:
    """A folder with these files, whole or not at all."""
    if os.path.lexists(folder):
        raise OutputError("is there already", file=folder, next_step="Choose another name")
    temporary = folder.with_name(f".segzoo-{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir()
        for path, text in texts.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
        os.rename(temporary, folder)
    except (OSError, ValueError) as error:
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
