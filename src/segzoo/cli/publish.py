"""segzoo publish: weights to the Hub, with a card that says what they are."""

import contextlib
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.cli.options import AsJson, spelled_out
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say
from segzoo.errors import UsageError
from segzoo.zoo.refs import HUB

if TYPE_CHECKING:
    from segzoo.publish.folder import BuiltFolder
    from segzoo.publish.publish import Published
    from segzoo.publish.rules import Verdict
    from segzoo.publish.space import BuiltSpace

EXIT_BROKEN = 3


@dataclass(frozen=True, kw_only=True)
class _What:
    """What the card says."""

    source: Annotated[
        str,
        typer.Argument(
            help="The folder of a run or of a saved model, or name.tag of a plugin's weights; with "
            "--check also a folder that was made, or hf-hub:user/name.",
            metavar="RUN_OR_WEIGHTS",
        ),
    ]
    repo: Annotated[
        str, typer.Argument(help="Where to.", metavar="USER/NAME", show_default=False)
    ] = ""
    license: Annotated[
        str, typer.Option(help="Of the weights: Apache-2.0, CC-BY-4.0 ...", metavar="SPDX")
    ] = ""
    trained_on: Annotated[
        list[str] | None,
        typer.Option(
            help="A data set with its licence, 'not stated' where there is none.",
            metavar="NAME=LICENCE[=URL]",
        ),
    ] = None
    evaluation: Annotated[
        str | None,
        typer.Option("--eval", help="What segzoo eval -o wrote.", metavar="FOLDER"),
    ] = None
    picture: Annotated[
        str | None,
        typer.Option(
            help="To show with its mask on the card.  [default: for weights that cut out of "
            "photos, one that is CC0]",
            metavar="FILE",
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(help="Store as float32, float16 or bfloat16.  [default: as it is]"),
    ] = None
    base_model: Annotated[
        str, typer.Option(help="Whose weights the training began with.", metavar="USER/NAME")
    ] = ""
    benchmark: Annotated[
        str,
        typer.Option(
            help="That the Hub has registered, for the main number.", metavar="USER/DATASET:TASK"
        ),
    ] = ""
    notes: Annotated[str, typer.Option(help="Limits that a user should know.")] = ""


@dataclass(frozen=True, kw_only=True)
class _How:
    """How it is sent."""

    tag: Annotated[str, typer.Option(help="Tag the commit: r1.")] = ""
    private: Annotated[bool, typer.Option("--private", help="Make the repository so.")] = False
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request; main stays as it is.")
    ] = False
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Write over a card that was edited on the Hub.")
    ] = False
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with what the Hub's documentation asks for, rule by rule; send nothing.",
        ),
    ] = False
    dry_run: Annotated[
        str | None,
        typer.Option(help="Make the folder here and send nothing.", metavar="FOLDER"),
    ] = None
    space: Annotated[
        str | None,
        typer.Option(
            help="Make a folder here that can be a Space of the Hub, with the page of segzoo demo; "
            "send nothing.",
            metavar="FOLDER",
        ),
    ] = None


@spelled_out
def publish(what: _What, how: _How, as_json: AsJson = False) -> None:
    """Publish weights on the Hub.

    Everything in one commit, then a tag.

    Without a licence, the data and numbers with their protocol nothing is published. The last
    lines are the record that a plugin's spec takes. The token is that of `hf auth login`, or
    HF_TOKEN.
    """
    from segzoo.publish.checked import verdicts_on
    from segzoo.publish.folder import build_folder, dataset_of
    from segzoo.publish.publish import publish
    from segzoo.publish.request import PublishRequest
    from segzoo.publish.space import build_space

    if what.dtype not in (None, "float32", "float16", "bfloat16"):
        raise UsageError(f"no dtype {what.dtype!r}", expected="float32, float16 or bfloat16")
    request = PublishRequest(
        what.source,
        what.repo,
        license=what.license,
        trained_on=[dataset_of(text) for text in what.trained_on or ()],
        evaluation=what.evaluation,
        picture=what.picture,
        dtype=what.dtype,  # type: ignore[arg-type]  # one of them, as was looked at above
        base_model=what.base_model,
        benchmark=what.benchmark,
        notes=what.notes,
        tag=how.tag,
        private=how.private,
        create_pr=how.create_pr,
        replace_card=how.replace_card,
    )
    instead = {"--check": how.check, "--dry-run": how.dry_run, "--space": how.space}
    given = [name for name, value in instead.items() if value not in (None, False)]
    if len(given) > 1:
        raise UsageError(f"give one of {' and '.join(given)}")
    # What comes from the Hub has a bar of its own.
    seen = contextlib.nullcontext() if what.source.startswith(HUB) else working("making the folder")
    if how.check:
        with seen:
            verdicts = verdicts_on(request)
        _tell_verdicts(verdicts, as_json)
    elif how.space is not None:
        with seen:
            space = build_space(request, how.space)
        _tell_space(space, as_json)
    elif how.dry_run is not None:
        with seen:
            folder = build_folder(request, how.dry_run)
        _tell_folder(folder, as_json)
    else:
        with working(f"publishing {what.repo}"):
            published = publish(request)
        _tell(published, as_json)


def _tell_verdicts(verdicts: "list[Verdict]", as_json: bool) -> None:
    """A line for each rule, and for one that is broken what breaks it. Exit code 3 for any."""
    broken = sum(bool(faults) for _, faults in verdicts)
    if as_json:
        rules: list[Json] = [
            {
                "rule": rule.name,
                "says": rule.says,
                "page": rule.page.address,
                "date": rule.page.date,
                "faults": list(faults),
            }
            for rule, faults in verdicts
        ]
        print_json({"ok": not broken, "rules": rules})
    else:
        width = max(len(rule.name) for rule, _ in verdicts)
        for rule, faults in verdicts:
            page = f"{rule.page.name}, {rule.page.date}"
            say(f"{'FAIL' if faults else 'ok':<6}{rule.name:<{width}}  {rule.says} ({page})")
            for fault in faults:
                say(f"{'':<{8 + width}}{fault}")
        for at in dict.fromkeys(rule.page for rule, faults in verdicts if faults):
            say(f"see {at.address}, as of {at.date}")
        say(f"{count_of(len(verdicts) - broken, 'rule')} hold, {broken} broken; nothing was sent")
    if broken:
        raise typer.Exit(EXIT_BROKEN)


def _tell_folder(folder: "BuiltFolder", as_json: bool) -> None:
    sizes = {name: file.size for name, file in folder.manifest.files.items()}
    if as_json:
        print_json({"folder": os.fspath(folder.path), "digest": folder.manifest.digest} | sizes)
        return
    for name, size in sizes.items():
        say(f"{size:>12,}  {name}")
    total = sum(sizes.values())
    say(f"{folder.path}: {total:,} bytes and manifest.json, which lists them; nothing was sent")
    say(f"read {folder.path / 'README.md'}, and publish without --dry-run")


def _tell_space(space: "BuiltSpace", as_json: bool) -> None:
    if as_json:
        print_json({"folder": os.fspath(space.path)} | dict(space.sizes))
        return
    for name, size in space.sizes.items():
        say(f"{size:>12,}  {name}")
    folder = shlex.quote(os.fspath(space.path))
    say(f"{space.path}: nothing was sent. A Space it becomes by")
    say(f"hf upload USER/NAME {folder} . --repo-type space")


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
