"""segzoo cache: what is kept on this machine between runs, and how to be rid of it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from segzoo import cache as own
from segzoo.cli.text import amount, print_json, table
from segzoo.errors import OutputError, UsageError, printable
from segzoo.spec import Json

app = typer.Typer(
    help="What is kept on this machine: segzoo's own folder, and its models in the Hub's cache.",
    no_args_is_help=True,
)
LEFT_SECONDS = 86_400.0  # a download that nothing was added to for a day is nobody's any more


@dataclass(frozen=True)
class _Kept:
    """One thing that is kept. kind: "model" of the Hub, "leftover" or "own". path: to remove."""

    kind: str
    name: str
    detail: str
    size: int
    path: Path

    def record(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "name": self.name,
            "detail": self.detail,
            "bytes": self.size,
            "path": os.fspath(self.path),
        }


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> None:
    """Show everything that is kept, with its size."""
    found = list(_kept())
    if as_json:
        print_json([each.record() for each in found])
        return
    cells = [(k.kind, k.name, k.detail, f"{amount(k.size)}B") for k in found]
    if cells:
        typer.echo(table(("KIND", "NAME", "DETAIL", "SIZE"), cells, right="   >"))
    typer.echo("\n".join(_places()))


@app.command()
def size(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> None:
    """Show how many bytes are kept, and where."""
    found = list(_kept())
    kinds = {kind: sum(k.size for k in found if k.kind == kind) for kind in ("model", "own")}
    kinds["leftover"] = sum(k.size for k in found if k.kind == "leftover")
    if as_json:
        print_json({"bytes": sum(kinds.values()), **kinds})
        return
    total = f"{amount(sum(kinds.values()))}B"
    typer.echo(f"{total}: " + ", ".join(f"{kind} {amount(n)}B" for kind, n in kinds.items()))
    typer.echo("\n".join(_places()))


@app.command()
def prune(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="user/name or user/name@commit of models to remove; leftovers go always.",
            metavar="[MODEL]...",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All models of segzoo, and its own folder too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout; needs --yes.")] = False,
) -> None:
    """Remove what broken downloads left, and the models that are named.

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
    total = sum(each.size for each in chosen)
    if not as_json:
        for each in chosen:
            typer.echo(f"{each.kind}  {each.name}  {amount(each.size)}B")
    if chosen and not yes and not _agreed(f"Remove these {len(chosen)} ({amount(total)}B)?"):
        typer.echo("Nothing was removed")
        return
    for each in chosen:
        _remove(each)
    if as_json:
        print_json({"bytes": total, "removed": [each.record() for each in chosen]})
    else:
        typer.echo(f"{amount(total)}B removed" if chosen else "There is nothing to remove")


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:
        raise UsageError("nobody answered", next_step="Add --yes") from None


def _is_named(each: _Kept, name: str) -> bool:
    return each.kind == "model" and name in (each.name, each.name.partition("@")[0])


def _kept() -> Iterator[_Kept]:
    """Models in the Hub's cache, what downloads left there, and segzoo's own folders."""
    from segzoo import hubcache

    for item in hubcache.cached():
        name = f"{item.snapshot.repo}@{item.snapshot.commit}"
        yield _Kept("model", name, ", ".join(item.refs), item.size, item.snapshot.folder)
    for path, age in hubcache.leftovers():
        if path.suffix == hubcache.CORRUPT or age > LEFT_SECONDS:
            yield _Kept("leftover", path.name, path.parents[1].name, _size(path), path)
    home = own.home()
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        yield _Kept("own", path.name, "", _size(path), path)


def _size(path: Path) -> int:
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(p.lstat().st_size for p in paths if not p.is_dir())


def _remove(each: _Kept) -> None:
    from segzoo import hubcache

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
    from segzoo import hubcache

    return [f"models of the Hub   {hubcache.root()}", f"segzoo's own        {own.home()}"]
