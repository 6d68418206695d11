"""segzoo check: does a model keep what its plugin promises?"""

import dataclasses
import os
import traceback
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.cli.options import AsJson
from segzoo.cli.progress import working
from segzoo.cli.text import print_json, say
from segzoo.errors import PluginError, UnknownModelError, printable
from segzoo.model.load import find_spec
from segzoo.zoo import registry

if TYPE_CHECKING:
    from segzoo.testing import Result


def check(
    model: Annotated[
        str, typer.Argument(help="A model's name, the folder of a saved model, or module:ATTR.")
    ],
    slow: Annotated[bool, typer.Option("--slow", help="Also what takes minutes.")] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="Also what needs a CUDA device.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a plugin keeps the contract.

    Its promises one by one, with a line for each.

    Exit code 1 when one is broken; its line says how to mend it. A plugin that cannot be loaded is
    shown with its whole error and where in its files that came from.
    """
    from segzoo import testing
    from segzoo.zoo import refs

    title, notes, error = model, list[str](), list[str]()
    results: tuple[Result, ...] = ()
    try:
        entry, _ = find_spec(model)
        title = f"{entry.full_name} {entry.version}".strip()
        notes = _changed_since(entry.distribution)
    except PluginError as broken:
        error = _whole(broken)
    except UnknownModelError as unknown:
        folder = model.removeprefix(refs.LOCAL_DIR)
        if not os.path.isdir(folder):
            unknown.next_step = _install_again(model) or unknown.next_step
            raise
        results = testing.check_folder(folder)
    if not results:
        with working(f"checking {model}"):
            results = testing.check_model(model, slow=slow, gpu=gpu)

    broken_ones = sum(not result.ok for result in results)
    if as_json:
        promises = [dataclasses.asdict(result) for result in results]
        record = {"model": title, "ok": not broken_ones, "error": error, "notes": notes}
        print_json(record | {"promises": promises})
    else:
        skipped = sum(bool(result.skipped) for result in results)
        kept = len(results) - broken_ones - skipped
        count = f"{kept} kept, {broken_ones} broken, {skipped} skipped"
        say(title, *(error or (result.line for result in results)), *notes, count)
    if broken_ones:
        raise typer.Exit(1)


def _whole(error: PluginError) -> list[str]:
    """Why a plugin cannot be loaded, with its steps from the outermost to the fault."""
    from segzoo.checks.blame import frames

    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if cause is error:
        return [f"FAIL     {error.problem}"]
    text = "".join(traceback.format_exception_only(cause)).rstrip()
    return [
        f"FAIL     {error.problem}",
        *(f"         at {frame}" for frame in frames(error)),
        *(f"         {printable(line)}" for line in text.splitlines()),
    ]


def _changed_since(distribution: str) -> list[str]:
    """A note when the editable install of a distribution is older than its pyproject.toml."""
    from segzoo.checks.doctor import stale_installs

    return [
        f"note     {stale.what}. {stale.next_step}"
        for stale in stale_installs()
        if registry.same_distribution(stale.distribution, distribution)
    ]


def _install_again(model: str) -> str:
    """What to do when a pyproject.toml offers the model and its editable install does not yet."""
    from segzoo.checks.doctor import stale_installs

    name = registry.fold(model.rpartition("/")[2])
    for stale in stale_installs():
        if name in stale.declared:
            return f"{stale.what}. {stale.next_step}"
    return ""
