"""segzoo publish: weights to the Hub, with a card that says what they are."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.text import print_json, say
from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.publish.folder import Folder
    from segzoo.publish.publish import Published


def publish(
    source: Annotated[
        str,
        typer.Argument(
            help="The folder of a run or of a saved model, or name.tag of a plugin's weights.",
            metavar="RUN_OR_WEIGHTS",
        ),
    ],
    repo: Annotated[str, typer.Argument(help="Where to.", metavar="USER/NAME")],
    license: Annotated[
        str, typer.Option(help="Of the weights: Apache-2.0, CC-BY-4.0 ...", metavar="SPDX")
    ] = "",
    trained_on: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set with its licence, 'not stated' where there is none.",
            metavar="NAME=LICENCE[=URL]",
        ),
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option("--eval", help="What segzoo eval -o wrote.", metavar="FOLDER"),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(help="To show with its mask on the card.", metavar="FILE")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="Store as float32, float16 or bfloat16.  [default: as it is]"),
    ] = None,
    base_model: Annotated[
        str, typer.Option(help="Whose weights the training began with.", metavar="USER/NAME")
    ] = "",
    notes: Annotated[str, typer.Option(help="Limits that a user should know.")] = "",
    tag: Annotated[str, typer.Option(help="Tag the commit: r1.")] = "",
    private: Annotated[bool, typer.Option("--private", help="Make the repository so.")] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request; main stays as it is.")
    ] = False,
    dry_run: Annotated[
        str | None,
        typer.Option(help="Make the folder here and send nothing.", metavar="FOLDER"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Publish weights on the Hub.

    Everything in one commit, then a tag.

    Without a licence, the data and numbers with their protocol nothing is published. The last
    lines are the record that a plugin's spec takes. The token is that of `hf auth login`, or
    HF_TOKEN.
    """
    from segzoo.publish.folder import build_folder, dataset_of
    from segzoo.publish.publish import publish

    if dtype not in (None, "float32", "float16", "bfloat16"):
        raise UsageError(f"no dtype {dtype!r}", expected="float32, float16 or bfloat16")
    data = [dataset_of(text) for text in trained_on or ()]
    if dry_run is not None:
        folder = build_folder(
            source,
            dry_run,
            repo=repo,
            license=license,
            trained_on=data,
            evaluation=evaluation,
            picture=picture,
            dtype=dtype,  # type: ignore[arg-type]  # one of them, as was looked at above
            base_model=base_model,
            notes=notes,
            tag=tag,
        )
        _tell_folder(folder, as_json)
        return
    published = publish(
        source,
        repo,
        license=license,
        trained_on=data,
        evaluation=evaluation,
        picture=picture,
        dtype=dtype,  # type: ignore[arg-type]
        base_model=base_model,
        notes=notes,
        tag=tag,
        private=private,
        create_pr=create_pr,
    )
    _tell(published, as_json)


def _tell_folder(folder: "Folder", as_json: bool) -> None:
    sizes = {name: file.size for name, file in folder.manifest.files.items()}
    if as_json:
        print_json({"folder": os.fspath(folder.path), "digest": folder.manifest.digest} | sizes)
        return
    for name, size in sizes.items():
        say(f"{size:>12,}  {name}")
    say(f"{folder.path}: {sum(sizes.values()):,} bytes; nothing was sent")
    say(f"read {folder.path / 'README.md'}, and publish without --dry-run")


def _tell(published: "Published", as_json: bool) -> None:
    if as_json:
        fields = ("repo", "commit", "tag", "created", "url", "lines")
        print_json({name: getattr(published, name) for name in fields})
        return
    made = "" if published.created else "nothing has changed: "
    say(f"{made}{published.url}")
    if "/tree/" in published.url:
        tag = f"@{published.tag}" if published.tag else ""
        say(f"segzoo predict hf-hub:{published.repo}{tag} PHOTO -o out")
    say("", "For a plugin's spec.py:", "", *published.lines.split("\n"))
