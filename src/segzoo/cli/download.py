"""segzoo download: weights into the cache, for machines and days without a connection."""

import os
from typing import Annotated

import typer

from segzoo.base.records import Json
from segzoo.cli.options import AsJson
from segzoo.cli.text import print_json, say, size_of
from segzoo.errors import HubNotFoundError, UsageError
from segzoo.model.load import find_spec


def download(
    models: Annotated[
        list[str],
        typer.Argument(help="hf-hub:user/name[@revision], name or name.tag.", metavar="REF..."),
    ],
    as_json: AsJson = False,
) -> None:
    """Fetch models into the cache, for use offline.

    Every byte is checked; then they load without a connection.

    A branch or tag is looked up anew, and is from then on what it is now. All files of a published
    model are fetched: weights, config, card, manifest. HF_HUB_CACHE says where the cache is.
    """
    done: list[Json] = []
    for ref in models:
        record = _download(ref)
        done.append(record)
        if not as_json:
            say(f"{record['model']}: {size_of(record['bytes'])} in {record['path']}")
    if as_json:
        print_json(done)


def _download(ref: str) -> dict[str, Json]:
    """Fetch one model. What is there and whole is not fetched again."""
    from segzoo.hub.fetch import fetch, files_of, snapshot_of
    from segzoo.model import origin
    from segzoo.zoo import refs

    source = refs.parse(ref)
    if isinstance(source, refs.Folder):
        raise UsageError("a folder is here already", file=source.path)
    if isinstance(source, refs.Named):
        entry, spec = find_spec(source.name, tag=source.tag)
        weights = origin.record_of(entry, spec, tag=source.tag, pretrained=True)
        assert weights is not None  # pretrained
        path = origin.file_of_record(weights)
        return {"model": ref, "commit": weights.revision, **_of(path, [os.fspath(path)])}
    snapshot = snapshot_of(source.repo, source.revision, fresh=True)
    names = list(files_of(snapshot))
    if not any(name.endswith(".safetensors") for name in names):
        raise HubNotFoundError(
            f"{snapshot} holds no weights", next_step="Is it a model published by segzoo?"
        )
    folder = fetch(snapshot, names)
    paths = [os.path.join(folder, name) for name in names]
    return {"model": str(snapshot), "commit": snapshot.commit, **_of(folder, paths)}


def _of(place: "os.PathLike[str]", paths: list[str]) -> dict[str, Json]:
    return {"path": os.fspath(place), "bytes": sum(map(os.path.getsize, paths))}
