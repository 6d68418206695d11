"""segzoo reproduce: weights made again as their record says, and how far the numbers agree."""

import contextlib
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.cli import eval as eval_
from segzoo.cli import train as train_
from segzoo.cli.options import AsJson, Device
from segzoo.cli.text import print_json, say, table, tell
from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.runs.reproduction import Agreement, Reproduction

EXIT_OTHERS = 1
LIBRARIES = ("segzoo-core", "torch", "numpy")


def reproduce(
    weights: Annotated[str, typer.Argument(help="NAME.TAG of a plugin.", metavar="NAME.TAG")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="The folder that the data sets lie in, as the commands name them.",
            metavar="FOLDER",
        ),
    ] = ".",
    run: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="A folder for the run.  [default: NAME.TAG]", metavar="RUN"
        ),
    ] = None,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it takes, and run nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train published weights again and compare figures.

    As their record says. Shows the data sets with their licences, the commands and the versions
    first; runs when the data are there. A run that was stopped goes on, and one that is whole is
    only measured. Exit code 1 when a number is further from the stated one than its tolerance.
    """
    from segzoo.runs.reproduction import agreements_of, is_trained, reproduction_of

    found = reproduction_of(weights, expanded(data))
    place = Path(expanded(run or found.ref)).absolute()
    if not as_json:
        _show(found, place)
    missing = [each.words for each in found.needed if not each.is_there]
    if dry_run:
        if as_json:
            print_json(_record(found, place, []))
        return
    if missing:
        raise UsageError(
            f"the data that {found.ref} is made from are not in {found.home}",
            found=f"no {', no '.join(missing)}",
            next_step="Put them there, or say where they are: --data FOLDER",
        )
    training, *measuring = found.commands(place)
    ours = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with contextlib.chdir(found.home), ours:
        if not is_trained(place):
            again = ["train", "--resume", os.fspath(place)]
            _run([*(again if (place / "run.json").exists() else training), "--device", device])
        for line in measuring:
            _run([*line, "--device", device])
    agreements = agreements_of(found, place)
    if as_json:
        print_json(_record(found, place, agreements))
    else:
        _compare(found, agreements)
    if not all(agreement.holds for agreement in agreements):
        raise typer.Exit(EXIT_OTHERS)


def _run(words: list[str]) -> None:
    """A command line of segzoo's, in this process; what it cannot do ends this one too."""
    tell(f"$ segzoo {shlex.join(words)}")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("train")(train_.train)
    app.command("eval")(eval_.evaluate)
    if code := app(words, standalone_mode=False, prog_name="segzoo"):
        raise typer.Exit(code if isinstance(code, int) else EXIT_OTHERS)


def _show(found: "Reproduction", place: Path) -> None:
    record = found.record
    say(f"{found.ref}, {found.distribution}: {record.source or 'no source is stated'}", "")
    for dataset in record.trained_on:
        say(f"trained on   {dataset.name}, licence {dataset.license}  {dataset.url}".rstrip())
    for needed in found.needed:
        say(f"data         {needed.words}: {'there' if needed.is_there else 'NOT THERE'}")
    say(f"in           {found.home}")
    for line in found.commands(place):
        say(f"run          segzoo {shlex.join(line)}")
    say(f"with         {', '.join(f'{name} {version}' for name, version in _versions().items())}")
    for expect in found.expected:
        say(
            f"expect       {expect.metric} {expect.value:g} within {expect.tolerance:g} on "
            f"{expect.data} ({expect.source})"
        )
    for metric in record.metrics if not found.expected else ():
        say(f"states       {metric.name} {metric.value:g} on {metric.split}; not to be compared")
    if record.notes:
        say(f"notes        {record.notes}")
    say("")


def _compare(found: "Reproduction", agreements: "list[Agreement]") -> None:
    if not agreements:
        say("trained again; the record states no number that could be compared")
        return
    rows = [
        (
            a.expect.metric,
            f"{a.expect.value:.4f}",
            f"{a.found:.4f}",
            f"{a.difference:+.4f}",
            f"{a.expect.tolerance:g}",
            "agrees" if a.holds else "DOES NOT AGREE",
            a.expect.data,
        )
        for a in agreements
    ]
    header = ("METRIC", "STATED", "FOUND", "DIFFERENCE", "TOLERANCE", "VERDICT", "DATA")
    say(*table(header, rows, right=" >>>>"))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"Python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _record(found: "Reproduction", place: Path, agreements: "list[Agreement]") -> dict[str, Json]:
    return {
        "weights": found.ref,
        "plugin": found.distribution,
        "trained_on": [dataset.name for dataset in found.record.trained_on],
        "needed": [each._asdict() for each in found.needed],
        "home": os.fspath(found.home),
        "commands": [["segzoo", *line] for line in found.commands(place)],
        "versions": _versions(),
        "agreements": [
            {
                "metric": a.expect.metric,
                "data": a.expect.data,
                "stated": a.expect.value,
                "tolerance": a.expect.tolerance,
                "found": a.found,
                "agrees": a.holds,
            }
            for a in agreements
        ],
    }
