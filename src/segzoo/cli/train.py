"""segzoo train: any model on any data set, from a recipe, resumable."""

import inspect
import json
import math
import os
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.models import OptionInfo

from segzoo.base import files
from segzoo.cli.options import Options, options_of
from segzoo.cli.text import say
from segzoo.errors import UsageError, printable

if TYPE_CHECKING:
    from segzoo.runs.training import Trained

EXITS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143}  # 128 + the signal, as a shell has it
FOLDS = "folds.json"


# The arguments whose names are not those of the settings that they are.
NAMED = {"compile": "compiled", "trackers": "tracker", "save_minutes": "save_every"}


def train(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model's name, or a saved folder; then what to change of its recipe: lr=3e-4, "
            "epochs=+2, crop=256, optimizer.betas=[0.9,0.99] ...",
            metavar="[MODEL] [KEY=VALUE]...",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="What to train on: reader:path?option=value.", metavar="WORDS"),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            help="What to measure on; or let --data part its set: 'folder:cells?val=0.2'.",
            metavar="WORDS",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="A folder of its own for the run.  [default: run]", metavar="RUN"
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="One of the model's recipes.  [default: its first]")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="A loss by name instead of the task's.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Measure this too: boundary, saliency ...")
    ] = None,
    option: Options = None,
    num_classes: Annotated[
        int | None, typer.Option(help="[default: the data's]", show_default=False, min=1)
    ] = None,
    in_channels: Annotated[int | None, typer.Option(help="Of the pictures.", min=1)] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass, multilabel or saliency.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Begin with the model's published weights.")
    ] = False,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Begin with a safetensors file, a saved model or hf-hub:user/name.", metavar="REF"
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Begin with this pretrained part, as segzoo info shows it: imagenet, or "
            "imagenet=FILE from a file or wheel that you have.",
            metavar="NAME",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with this run, to the same bits; with -o, beyond its end in a folder of "
            "its own (epochs=+2).",
            metavar="RUN",
        ),
    ] = None,
    force_resume: Annotated[
        bool, typer.Option("--force-resume", help="Although data or recipe are not the same.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(help="Train as often, each time measuring on another part.", min=2),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that read data.", min=0)] = 2,
    cache: Annotated[
        str, typer.Option(help="Keep decoded pictures in this folder.", metavar="DIR")
    ] = "",
    worker_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one of them; 0 for ever.", min=0)
    ] = 600,
    process_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for another training process.", min=1)
    ] = 600,
    eval_batch_size: Annotated[int, typer.Option(help="Pictures measured at once.", min=1)] = 8,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps.  [default: an epoch]", show_default=False, min=1)
    ] = None,
    save_every: Annotated[
        str | None,
        typer.Option(help="Steps, or minutes: 500, 10m.  [default: when measuring]"),
    ] = None,
    keep: Annotated[int, typer.Option(help="Newest checkpoints that stay.", min=1)] = 2,
    max_minutes: Annotated[
        float | None, typer.Option(help="Save and end after so long.", min=0)
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="End after so many measurements without a better one.", min=1)
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC memory.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Less memory for more time.")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits again on a GPU, too.")
    ] = False,
    tracker: Annotated[
        list[str] | None, typer.Option(help="tensorboard, wandb or trackio.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone.")] = False,
) -> int:
    """Train a model on a data set.

    Everything goes to the folder of the run.

    RUN/model is what `segzoo predict` takes: the best weights. RUN/metrics.jsonl and curves.png
    tell how it went. Ctrl-C and SIGTERM save a checkpoint and say how to go on; a second Ctrl-C
    leaves at once.
    """
    model, changes = _split(arguments or [])
    if model is None and resume is None:
        raise UsageError("no model", next_step="Run: segzoo train MODEL --data WORDS")
    if data is None and resume is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    if folds is not None and (data is None or val is not None):
        raise UsageError("--folds parts what --data names, so it needs that and no --val")
    from segzoo.engine.launch import rank_of_this_process
    from segzoo.engine.record import RUN
    from segzoo.runs import training
    from segzoo.runs.begun import settings_of
    from segzoo.runs.claims import refuse_links

    folder = run or resume or "run"
    steps, minutes = _interval(save_every)
    given: dict[str, object] = {
        "device": device,
        "workers": workers,
        "worker_timeout": worker_timeout,
        "process_timeout": process_timeout,
        "eval_batch_size": eval_batch_size,
        "cache": cache,
        "compile": compiled,
        "channels_last": channels_last,
        "checkpointing": checkpointing,
        "deterministic": deterministic,
        "eval_every": eval_every,
        "save_every": steps,
        "save_minutes": minutes,
        "keep": keep,
        "max_minutes": max_minutes,
        "patience": patience,
        "trackers": tuple(tracker or ()),
        "quiet": quiet,
    }
    if resume is not None:  # what is not typed again is as it was
        refuse_links(Path(resume))
        given = {name: value for name, value in given.items() if _is_typed(context, name)}
    begun_in = resume if resume is None or folds is None else os.path.join(resume, "fold-0")
    try:
        settings = settings_of(begun_in, **given)
    except ValueError as error:
        raise UsageError(str(error)) from None

    def once(words: str | None, folder: str, resume: str | None) -> "Trained":
        return training.train(
            model,
            words,
            run=folder,
            val=val,
            recipe=recipe,
            changes=changes,
            loss=loss,
            metrics=metric or (),
            settings=settings,
            pretrained=pretrained,
            init_from=init_from,
            backbone=backbone,
            resume=resume,
            force_resume=force_resume,
            num_classes=num_classes,
            in_channels=in_channels,
            task=task,
            **options_of(option),
        )

    is_first = rank_of_this_process() == 0
    quiet = quiet or not is_first
    if folds is None:
        return _said(once(data, folder, resume), model, quiet)
    values = []
    for number in range(folds):
        words = f"{data}{'&' if '?' in str(data) else '?'}fold={number}/{folds}"
        part = os.path.join(folder, f"fold-{number}")
        begun = resume is not None and os.path.exists(os.path.join(part, RUN))
        trained = once(words, part, part if begun else None)
        if code := _said(trained, model, quiet):
            return code
        values.append(trained.result.best)
    if is_first:
        _sum_up(values, folder, quiet)
    return 0


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The model, if one is named, and the changes. UsageError for what is a flag."""
    names = [text for text in arguments if "=" not in text]
    if len(names) > 1:
        raise UsageError(
            f"one model at a time, not {printable(', '.join(names))}",
            next_step="What changes the recipe is written field=value",
        )
    changes, flags = [text for text in arguments if "=" in text], _flags()
    for change in changes:
        key, _, value = change.partition("=")
        if flag := flags.get(key.replace("-", "_")):
            raise UsageError(
                f"{printable(key)!r} is not a field of the recipe",
                next_step=f"Write {flag.replace('VALUE', printable(value))}",
            )
    return (names[0] if names else None), changes


def _is_typed(context: typer.Context, setting: str) -> bool:
    source = context.get_parameter_source(NAMED.get(setting, setting))
    return source is not None and source.name != "DEFAULT"


def _flags() -> dict[str, str]:
    """How every argument of `train` is written, by its name and its flag's."""
    flags: dict[str, str] = {}
    for name, parameter in [*inspect.signature(train).parameters.items()][1:]:
        option = parameter.annotation.__metadata__[0]
        if not isinstance(option, OptionInfo) or name == "loss":  # a field of the recipe too
            continue
        # In Annotated, typer has the first of several names as the default until it parses.
        written = (option.default, *(option.param_decls or ()), f"--{name.replace('_', '-')}")
        flag = next(text for text in written if isinstance(text, str) and text[:2] == "--")
        value = "" if parameter.default is False else " VALUE"
        flags |= {name: flag + value, flag.lstrip("-").replace("-", "_"): flag + value}
    return flags | {"save_minutes": "--save-every 10m", "trackers": "--tracker VALUE"}


def _interval(text: str | None) -> tuple[int | None, float | None]:
    """ "500" -> 500 steps; "10m" -> 10 minutes."""
    if text is None:
        return None, None
    try:
        if text.endswith("m"):
            return None, float(text[:-1])
        return int(text), None
    except ValueError:
        raise UsageError(
            f"--save-every {printable(text)!r}", expected="steps, or minutes as in 10m"
        ) from None


def _said(trained: "Trained", reference: str | None, quiet: bool) -> int:
    """What a person reads at the end, and the exit code."""
    from segzoo.runs.begun import measured_by, typed_again

    result, folder = trained.result, trained.run / "model"
    if not quiet:
        step = result.step if result.best_step is None else result.best_step
        metric, words = measured_by(trained.run)
        best = (
            f", the best {metric} in {result.step}: {result.best:.4f}"
            if result.best is not None
            else ""
        )
        say(f"{folder}: the weights of step {step}{best}")
        here = str(folder) if os.sep in str(folder) else f"local-dir:{folder}"
        config = getattr(trained.model, "config", None)
        if config is not None and not config.distribution:  # no plugin offers its spec
            here = f"{reference} --weights {folder / 'model.safetensors'}"
        say(f"segzoo eval {here} --data {shlex.quote(words) if words else 'WORDS'}")
        say(f"segzoo predict {here} PHOTO -o out")
        if result.stopped:
            say(" ".join(["segzoo train --resume", str(trained.run), *typed_again(trained.run)]))
    return EXITS.get(result.stopped, 0)


def _sum_up(values: Sequence[float | None], folder: str, quiet: bool) -> None:
    """Mean and standard deviation over the folds, on the terminal and in folds.json."""
    found = [value for value in values if value is not None]
    mean = statistics.mean(found) if found else math.nan
    spread = statistics.stdev(found) if len(found) > 1 else math.nan
    record = {"values": values, "mean": mean, "standard_deviation": spread}
    text = json.dumps(record, indent=1).replace("NaN", "null")
    files.write(os.path.join(folder, FOLDS), text.encode())
    if not quiet:
        say(f"{len(values)} folds: {mean:.4f} +- {spread:.4f} (standard deviation)")
