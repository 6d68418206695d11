"""segzoo download: weights into the cache, for machines and days without a connection."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.records import Json
from segzoo.cli.options import AsJson
from segzoo.cli.text import print_json, say, size_of
from segzoo.errors import HubNotFoundError, UsageError, printable
from segzoo.model.load import find_spec

if TYPE_CHECKING:
    from segzoo.zoo.refs import Named


def download(
    models: Annotated[
        list[str],
        typer.Argument(help="hf-hub:user/name[@revision], name or name.tag.", metavar="REF..."),
    ],
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The file of weights that a plugin declares by an address, where you have it: it "
            "is checked and converted, and nothing is fetched.",
            metavar="FILE",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch models into the cache, for use offline.

    Every byte is checked; then they load without a connection.

    A branch or tag is looked up anew, and is from then on what it is now. All files of a published
    model are fetched: weights, config, card, manifest. HF_HUB_CACHE says where the cache is.
    """
    done: list[Json] = []
    if file is not None and len(models) != 1:
        raise UsageError("--from FILE is of one model", found=f"{len(models)} of them")
    for ref in models:
        record = _download(ref, None if file is None else Path(file))
        done.append(record)
        if not as_json:
            say(f"{record['model']}: {size_of(record['bytes'])} in {record['path']}")
    if as_json:
        print_json(done)


def _download(ref: str, given: Path | None) -> dict[str, Json]:
    """Fetch one model. What is there and whole is not fetched again."""
    from segzoo.hub.fetch import fetch, files_of, snapshot_of
    from segzoo.zoo import refs

    source = refs.parse(ref)
    if isinstance(source, refs.Folder):
        raise UsageError("a folder is here already", file=source.path)
    if isinstance(source, refs.Named):
        return _of_plugin(ref, source, given)
    if given is not None:
        raise _no_address(ref, given)
    snapshot = snapshot_of(source.repo, source.revision, fresh=True)
    names = list(files_of(snapshot))
    if not any(name.endswith(".safetensors") for name in names):
        raise HubNotFoundError(
            f"{snapshot} holds no weights", next_step="Is it a model published by segzoo?"
        )
    folder = fetch(snapshot, names)
    paths = [os.path.join(folder, name) for name in names]
    return {"model": str(snapshot), "commit": snapshot.commit, **_of(folder, paths)}


def _of_plugin(ref: str, source: "Named", given: Path | None) -> dict[str, Json]:
    from segzoo.model import origin

    entry, spec = find_spec(source.name, tag=source.tag)
    weights = origin.record_of(entry, spec, tag=source.tag, pretrained=True)
    assert weights is not None  # pretrained
    if given is None:
        path, _ = origin.weights_file(entry, spec, weights)
    elif weights.url is None:
        raise _no_address(ref, given)
    else:
        from segzoo.model import converted

        shown = origin.reference_to(entry, spec, weights)
        path, _ = converted.file_of(entry, spec, weights, shown, given=given)
    return {"model": ref, "commit": weights.revision, **_of(path, [os.fspath(path)])}


def _no_address(ref: str, given: Path) -> UsageError:
    return UsageError(
        f"the weights of {printable(ref)} are not declared by an address",
        file=given,
        next_step="Without --from they are fetched, or here already. To use weights of another "
        "program: segzoo convert",
    )


def _of(place: "os.PathLike[str]", paths: list[str]) -> dict[str, Json]:
    return {"path": os.fspath(place), "bytes": sum(map(os.path.getsize, paths))}
