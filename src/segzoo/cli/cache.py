"""segzoo cache: what is kept on this machine between runs, and how to be rid of it."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from segzoo.base import cache as own
from segzoo.base import files
from segzoo.base.records import Json
from segzoo.cli.help import Command, Group
from segzoo.cli.options import AsJson
from segzoo.cli.text import print_json, say, size_of, table
from segzoo.errors import OutputError, UsageError, printable
from segzoo.saved import kept as conversions

app = typer.Typer(
    cls=Group,
    help="Show or remove what is kept on this machine.",
)
KINDS = {
    "model": "models of the Hub",
    "converted": "weights of other programs",
    "own": "segzoo's own",
    "leftover": "left by downloads",
}
OWN = {
    "artefacts": "networks made ready for runtimes",
    "decoded": "samples of data sets, decoded",
    "fingerprints": "hashes of data sets",
    "hub": "which files commits on the Hub have",
    "stamps": "which files were found whole",
    "told": "what is told once",
    "traits": "what data sets are like",
}


@dataclass(frozen=True)
class _Kept:
    """One thing that is kept. kind: one of KINDS. path: to remove.

    files: with their sizes in bytes. Commits of one model share those that they have in common.
    """

    kind: str
    name: str
    detail: str
    files: Mapping[Path, int]
    path: Path

    @property
    def size(self) -> int:
        return sum(self.files.values())

    def record(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "name": self.name,
            "detail": self.detail,
            "bytes": self.size,
            "path": os.fspath(self.path),
        }


@app.command("list", cls=Command)
def list_(as_json: AsJson = False) -> None:
    """Show everything that is kept, with its size.

    What commits of one model have in common is kept once, and counts for each of them here.
    """
    found = list(_kept())
    if as_json:
        print_json([each.record() for each in found])
        return
    cells = [(k.kind, k.name, k.detail, size_of(k.size)) for k in found]
    if cells:
        say(*table(("KIND", "NAME", "DETAIL", "SIZE"), cells, right="   >"))
    say(*_places())


@app.command(cls=Command)
def size(as_json: AsJson = False) -> None:
    """Show how many bytes are kept, and where."""
    from segzoo.hub import cache as hubcache

    found = list(_kept())
    kinds = {k: _total(each for each in found if each.kind == k) for k in KINDS}
    if as_json:
        print_json({"bytes": sum(kinds.values()), **kinds})
        return
    hub, home = hubcache.root(), own.home()
    places = {"model": hub, "converted": home / conversions.FOLDER, "own": home, "leftover": hub}
    cells = [(KINDS[k], size_of(n), os.fspath(places[k])) for k, n in kinds.items()]
    cells.append(("all", size_of(sum(kinds.values())), ""))
    say(*table(("KIND", "SIZE", "FOLDER"), cells, right=" >"))


@app.command(cls=Command)
def prune(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="user/name, user/name@commit or name.tag to remove; leftovers go always.",
            metavar="[MODEL]...",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All models of segzoo, and its own folder too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout; needs --yes.")] = False,
) -> None:
    """Remove models, and what broken downloads left.

    Asks first. Models of other libraries in the Hub's cache are never touched.
    """
    if as_json and not yes:
        raise UsageError("--json asks nothing", next_step="Add --yes")
    kept = list(_kept())
    wanted = [name.removeprefix("hf-hub:") for name in models or ()]
    for name in wanted:
        if not any(_is_named(each, name) for each in kept):
            raise UsageError(
                f"{printable(name)} is not in the cache", next_step="See: segzoo cache list"
            )
    chosen = [
        each
        for each in kept
        if everything or each.kind == "leftover" or any(_is_named(each, name) for name in wanted)
    ]
    total = _total(kept) - _total(each for each in kept if each not in chosen)
    if not as_json:
        for each in chosen:
            say(f"{each.kind}  {each.name}  {size_of(each.size)}")
    if chosen and not yes and not _agreed(f"Remove these {len(chosen)} ({size_of(total)})?"):
        say("Nothing was removed")
        return
    for each in chosen:
        _remove(each)
    if as_json:
        print_json({"bytes": total, "removed": [each.record() for each in chosen]})
    else:
        say(f"{size_of(total)} removed" if chosen else "There is nothing to remove")


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:
        raise UsageError("nobody answered", next_step="Add --yes") from None


def _is_named(each: _Kept, name: str) -> bool:
    named = each.kind in ("model", "converted")
    return named and name in (each.name, each.name.partition("@")[0])


def _kept() -> Iterator[_Kept]:
    """Models in the Hub's cache, what downloads left there, and segzoo's own folders."""
    from segzoo.hub import cache as hubcache

    for item in hubcache.cached():
        name = f"{item.snapshot.repo}@{item.snapshot.commit}"
        yield _Kept("model", name, ", ".join(item.refs), item.blobs, item.snapshot.folder)
    for path, age in hubcache.leftovers():
        if path.suffix == hubcache.CORRUPT or age > files.LEFT_SECONDS:
            yield _Kept("leftover", path.name, path.parents[1].name, _files(path), path)
    home = own.home()
    for name, detail in sorted(OWN.items()):  # SEGZOO_HOME may hold what is not ours
        if (path := home / name).is_dir():
            yield _Kept("own", name, detail, _files(path), path)
    yield from _converted()


def _converted() -> Iterator[_Kept]:
    """Weights that were fetched by an address and converted, and what was left beside them."""
    from segzoo.hub import cache as hubcache

    now = time.time()
    for ref, path in conversions.kept_files():
        yield _Kept("converted", ref, path.name[:8], _files(path), path)
    for path in sorted((own.home() / conversions.FOLDER).glob("*/*")):
        old = (
            path.suffix == hubcache.INCOMPLETE and now - path.lstat().st_mtime > files.LEFT_SECONDS
        )
        if old or path.suffix == hubcache.CORRUPT:
            yield _Kept("leftover", path.name, path.parent.name, _files(path), path)


def _files(path: Path) -> dict[Path, int]:
    paths = path.rglob("*") if path.is_dir() else [path]
    return {p: p.lstat().st_size for p in paths if not p.is_dir()}


def _total(kept: Iterable[_Kept]) -> int:
    """Bytes on the disk."""
    files: dict[Path, int] = {}
    for each in kept:
        files |= each.files
    return sum(files.values())


def _remove(each: _Kept) -> None:
    from segzoo.hub import cache as hubcache

    try:
        if each.kind == "model":
            repo, _, commit = each.name.partition("@")
            hubcache.remove(hubcache.Snapshot(repo, commit))
        elif each.path.is_dir():
            shutil.rmtree(each.path)
        else:
            each.path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be removed: {error.strerror}", file=each.path) from None


def _places() -> list[str]:
    from segzoo.hub import cache as hubcache

    return [f"models of the Hub   {hubcache.root()}", f"segzoo's own        {own.home()}"]
