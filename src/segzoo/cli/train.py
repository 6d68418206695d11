"""segzoo train: any model on any data set, from a recipe, resumable."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from segzoo.errors import UsageError

if TYPE_CHECKING:
    from segzoo.engine.settings import Settings
    from segzoo.training import Trained

EXIT_TERMINATED = 143  # 128 + SIGTERM, as a shell has it


def train(
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
    option: Annotated[
        list[str] | None,
        typer.Option(help="Of the architecture, as segzoo info shows it: depth=3, width=16."),
    ] = None,
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
        typer.Option(help="Begin with a safetensors file, or a saved model.", metavar="PATH"),
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
    """Train a model; everything goes to the folder of the run.

    RUN/model is what `segzoo predict` takes: the best weights. RUN/metrics.jsonl and curves.png
    tell how it went. Ctrl-C loses what came after the last checkpoint; SIGTERM saves one first.
    """
    model, changes = _split(arguments or [])
    if model is None and resume is None:
        raise UsageError("no model", next_step="Run: segzoo train MODEL --data WORDS")
    if data is None and resume is None:
        raise UsageError("no data", next_step="Add --data reader:path, see docs/data-sets.md")
    from segzoo import training
    from segzoo.engine.settings import Settings

    steps, minutes = _interval(save_every)
    try:
        settings = Settings(
            device=device,
            workers=workers,
            cache=cache,
            compile=compiled,
            channels_last=channels_last,
            checkpointing=checkpointing,
            deterministic=deterministic,
            eval_every=eval_every,
            save_every=steps,
            save_minutes=minutes,
            keep=keep,
            max_minutes=max_minutes,
            patience=patience,
            trackers=tuple(tracker or ()),  # type: ignore[arg-type]  # judged by Settings
            quiet=quiet,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None

    def once(words: str | None, folder: str, settings: "Settings") -> "Trained":
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
            resume=resume,
            force_resume=force_resume,
            num_classes=num_classes,
            in_channels=in_channels,
            task=task,
            **training.options_of(option or ()),
        )

    folder = run or resume or "run"
    if folds is None:
        return _said(once(data, folder, settings), quiet)
    if data is None or val is not None or resume is not None:
        raise UsageError("--folds needs --data, and neither --val nor --resume")
    done = []
    for number in range(folds):
        words = f"{data}{'&' if '?' in data else '?'}fold={number}/{folds}"
        quietly = dataclasses.replace(settings, quiet=quiet)
        trained = once(words, f"{folder}/fold-{number}", quietly)
        done.append(trained)
        if code := _said(trained, quiet):
            return code
    values = [trained.result.best for trained in done if trained.result.best is not None]
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5
    typer.echo(f"{folds} folds: {mean:.4f} +- {spread:.4f} (standard deviation)")
    return 0


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The model, if one is named, and the changes."""
    names = [text for text in arguments if "=" not in text]
    if len(names) > 1:
        raise UsageError(f"one model at a time, not {', '.join(names)}")
    return (names[0] if names else None), [text for text in arguments if "=" in text]


def _interval(text: str | None) -> tuple[int | None, float | None]:
    """ "500" -> 500 steps; "10m" -> 10 minutes."""
    if text is None:
        return None, None
    try:
        if text.endswith("m"):
            return None, float(text[:-1])
        return int(text), None
    except ValueError:
        raise UsageError(f"--save-every {text!r}", expected="steps, or minutes as in 10m") from None


def _said(trained: "Trained", quiet: bool) -> int:
    """A last line for a person, and the exit code."""
    result = trained.result
    if not quiet:
        best = "" if result.best is None else f", best {result.best:.4f} at {result.best_step}"
        typer.echo(f"{trained.run}/model: {result.step} steps{best}")
    return EXIT_TERMINATED if result.stopped in ("SIGTERM", "SIGUSR1") else 0
