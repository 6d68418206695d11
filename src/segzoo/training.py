"""From names to a training run: `segzoo.train`."""

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from segzoo import api, build, files, origin, refs, registry, weights
from segzoo import config as configs
from segzoo.config import Config
from segzoo.data.check import classes_of
from segzoo.data.decoded import Decoded
from segzoo.data.loader import ignore_index_of
from segzoo.data.sample import Dataset, Info, checked, info_of
from segzoo.data.source import held_out, open_data, parse
from segzoo.data.statistics import mean_and_std
from segzoo.engine import recipes
from segzoo.engine.evaluate import Task
from segzoo.engine.launch import rank_of_this_process
from segzoo.engine.record import RUN
from segzoo.engine.reduce import Loss
from segzoo.engine.schedule import steps_of
from segzoo.engine.settings import OF_ONE_OCCASION, Settings
from segzoo.engine.train import Result
from segzoo.engine.train import train as run_engine
from segzoo.errors import DatasetError, RunError, UsageError, printable
from segzoo.files import make_folder
from segzoo.metrics.measure import Measure
from segzoo.metrics.overlapping import Overlapping
from segzoo.model import Model
from segzoo.report.curves import draw_curves
from segzoo.runtimes.torch import device_of
from segzoo.spec import (
    Json,
    ModelSpec,
    Postprocess,
    Preprocess,
    Recipe,
    TaskDefaults,
    asdict,
    from_dict,
)

__all__ = ["MAIN", "MODEL", "Trained", "measures_of", "options_of", "train"]

MODEL = "model"  # the folder in a run that holds its best weights, ready for `segzoo predict`
MAIN = {"saliency": "max_f", "binary": "iou", "multiclass": "mean_iou", "multilabel": "mean_iou"}
ONE_CLASS = ("binary", "saliency")  # tasks that tell one class from the rest

Changes: TypeAlias = Mapping[str, str] | Iterable[str]
Rows: TypeAlias = list[tuple[str, str]]  # of a table of two columns


@dataclass(frozen=True)
class Trained:
    """model: with its best weights, in eval mode. result: how the run ended. run: its folder."""

    model: nn.Module
    result: Result
    run: Path


def train(
    model: str | ModelSpec | nn.Module | None = None,
    data: str | Dataset | None = None,
    *,
    run: str | os.PathLike[str] = "run",
    val: str | Dataset | None = None,
    recipe: str | Recipe | None = None,
    changes: Changes = (),
    loss: Loss | str | None = None,
    metrics: Sequence[str] = (),
    settings: Settings | None = None,
    pretrained: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    resume: str | os.PathLike[str] | None = None,
    force_resume: bool = False,
    num_classes: int | None = None,
    in_channels: int | None = None,
    task: str | None = None,
    preprocess: Preprocess | None = None,
    postprocess: Postprocess | None = None,
    transform: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    **options: Json,
) -> Trained:
    """Train a model of the zoo, or any network, on a data set; checkpoints and curves go to `run`.

    model: as `segzoo.load` takes it, or an nn.Module; then `recipe` and `num_classes` are needed.
    data, val: words (reader:path?option=value) or a data set. Without `val`, words that part their
        set (val=0.2) give both sides; else nothing is measured.
    recipe: a name of the spec's, or a Recipe; changes: "lr=3e-4", "epochs=+2", and so on.
    loss: instead of the task's; a callable (outputs, batch), or a name. metrics: names beside
        those of the task.
    pretrained, init_from: begin with published weights, or with a file or folder of them or with
        those of "hf-hub:user/name"; another class count is allowed and replaces the head.
    backbone: begin with a pretrained part that the model declares, the rest at random.
    resume: the folder of a run to go on from; the same as `run` to finish it. What is not given
        (model, data, val, recipe, metrics, settings) is as it was there.
    num_classes: by default the data's classes; a model that can tell one class from the rest has
        one where the data has two. task: by default the first of the model's that suits.
    preprocess, postprocess: instead of the model's own.
    transform: an augmentation of one's own, (image, mask) -> (image, mask).
    options: of the architecture.

    SegzooError says what to do. The folder `run/model` holds the best weights; load it by name.
    """
    settings = settings or settings_of(resume)
    rebuilt = False
    begun = None if resume is None else _begun(Path(resume))
    if resume is not None and begun is not None:
        data, val = data or begun.data, val or begun.val
        recipe, metrics = recipe or begun.recipe, metrics or begun.metrics
        if model is None:
            model, rebuilt = _rebuilt(Path(resume)), True
    if data is None or model is None:
        raise UsageError("nothing to train, or to train on", expected="a model and data")
    dataset = _opened(data, "train")
    held = val if val is not None else data if isinstance(data, str) and held_out(data) else None
    measured = None if held is None else _opened(held, "val")

    wishes = _Wishes(
        num_classes=num_classes,
        in_channels=in_channels,
        task=task,
        preprocess=preprocess,
        postprocess=postprocess,
        pretrained=pretrained,
        init_from=init_from,
        backbone=backbone,
        options=options,
        normalized=rebuilt,
    )
    if isinstance(model, str | ModelSpec | Model):
        subject = _of_zoo(model, dataset, recipe, changes, wishes)
    else:
        subject = _of_network(model, dataset, recipe, changes, wishes)
    about, chosen = subject.about, subject.recipe
    kind = [subject.task] if subject.task == "saliency" else []
    measures = measures_of(
        [*kind, *metrics], about.num_classes, about.ignore_index, overlapping=subject.overlapping
    )
    if measured is not None:
        chosen = dataclasses.replace(chosen, eval_metric=chosen.eval_metric or MAIN[subject.task])
        _refuse_unmeasured(chosen.eval_metric, measures, subject)
    if isinstance(loss, str):
        chosen = dataclasses.replace(chosen, loss=(loss, {}))
    function = _loss(chosen, subject) if loss is None or isinstance(loss, str) else loss

    folder, is_first = Path(run), rank_of_this_process() == 0
    config = _config_for(subject, info_of(dataset))
    if is_first and config is not None and not (folder / RUN).exists():
        make_folder(folder)
        files.write(folder / configs.CONFIG_NAME, configs.dump(config).encode())
    if is_first and not settings.quiet:
        begins = subject.begins if resume is None else f"as {os.fspath(resume)} ended"
        _show(
            [
                *_rows_of_model(subject, begins),
                *_rows_of_data(data, dataset, held, measured),
                *_rows_of_run(folder, chosen, dataset, settings),
                *_rows_of_recipe(subject.recipe_name, chosen),
            ]
        )
    if settings.cache:
        stretched = about.preprocess.resize == "stretch"
        kept = about.preprocess if stretched else dataclasses.replace(about.preprocess, **UNSIZED)
        dataset = _decoded(dataset, data, settings.cache, kept)
        kept = dataclasses.replace(kept, **UNSIZED)  # each is judged at its own size
        measured = measured and _decoded(measured, held, settings.cache, kept)

    def keep(best: nn.Module) -> None:
        _save(best, folder / MODEL, subject, config)

    draw = _drawing() if is_first else None
    result = run_engine(
        subject.network,
        loss=function,
        data=dataset,
        val=measured,
        recipe=chosen,
        task=about,
        run=folder,
        measures=measures,
        settings=settings,
        identity=_identity(
            subject, data, val, metrics, begun.weights if begun else subject.weights
        ),
        resume=None if resume is None else Path(resume),
        force_resume=force_resume,
        transform=transform,
        on_best=keep,
        after_measuring=draw,
    )
    if is_first and result.best_step is None:
        keep(subject.network)
        if draw is not None:
            draw(folder)
    finished = subject.network
    if subject.zoo is not None and config is not None:
        finished = Model(finished, spec=subject.zoo.spec, config=config).eval()
    return Trained(finished, result, folder)


def settings_of(run: str | os.PathLike[str] | None, **changes: Any) -> Settings:
    """How a run used the machine, with changes; the defaults where there was none.

    Its device, its time and its silence were of one occasion. ValueError for changes that are none.
    """
    if run is None or not (Path(run) / RUN).exists():
        return Settings(**changes)
    begun = _begun(Path(run)).settings
    return dataclasses.replace(begun, **changes)


def options_of(items: Sequence[str]) -> dict[str, Json]:
    """Options of an architecture from a command line, "depth=3": JSON values, else text."""
    options: dict[str, Json] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"cannot read the option {printable(item)!r}", expected="name=value")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def measures_of(
    names: Sequence[str],
    num_classes: int,
    ignore_index: int | None,
    *,
    overlapping: bool = False,
) -> dict[str, Measure]:
    """Metrics by name, "semantic" always among them and the last.

    overlapping: targets have a map per class; each class is then judged by itself.
    """
    found: dict[str, Measure] = {}
    for name in dict.fromkeys([*names, "semantic"]):
        factory: Any = registry.find(name, registry.METRICS).load_as(object)
        each = factory(num_classes=1 if overlapping else num_classes, ignore_index=ignore_index)
        found[name] = Overlapping(each, num_classes) if overlapping else each
    return found


# --- the data -------------------------------------------------------------------------------------

UNSIZED: Mapping[str, Any] = {"size": None, "resize": "none"}


def _opened(data: str | Dataset, part: Any) -> Dataset:
    """A data set whose samples are numbered."""
    dataset = open_data(data, part=part) if isinstance(data, str) else data
    if not isinstance(dataset, Dataset):
        raise UsageError(
            "a stream cannot be trained on: its samples have no numbers to resume by",
            found=type(dataset).__name__,
            next_step="Download its shards, or write samples to a folder first",
        )
    if len(dataset) == 0:
        raise DatasetError("the data set is empty", expected="at least one sample")
    return dataset


def _decoded(dataset: Dataset, words: Any, folder: str, preprocess: Preprocess) -> Decoded:
    """The data set with its samples decoded, and resized as the preprocess says, in a file."""
    key = ""
    if isinstance(words, str) and os.path.isfile(path := os.path.expanduser(parse(words).path)):
        status = os.stat(path)
        key = f"{words} {status.st_size} {status.st_mtime_ns}"
    return Decoded(dataset, size=preprocess.size, preprocess=preprocess, folder=folder, key=key)


def _overlaps(dataset: Dataset) -> bool:
    """Whether targets have a map per class."""
    return bool(checked(dataset[0])["target"].ndim == 3)


def _classes_in(dataset: Dataset) -> int | None:
    """How many classes there are, where the data set knows."""
    target = checked(dataset[0])["target"]
    return classes_of(info_of(dataset)) or (len(target) if target.ndim == 3 else None)


# --- what is trained ------------------------------------------------------------------------------


class _Wishes(NamedTuple):
    """What a caller asks for, of `train`'s arguments.

    normalized: mean and std are the data set's already.
    """

    num_classes: int | None
    in_channels: int | None
    task: str | None
    preprocess: Preprocess | None
    postprocess: Postprocess | None
    pretrained: bool
    init_from: str | os.PathLike[str] | None
    backbone: str | None
    options: Mapping[str, Json]
    normalized: bool


class _Subject(NamedTuple):
    """What trains, and how. zoo: its model; None for a network of the caller's own.

    begins: with which values, for a person. weights: what they are, as `segzoo.load` takes it;
    empty for random ones.
    """

    network: nn.Module
    zoo: Model | None
    begins: str
    weights: str
    recipe_name: str
    recipe: Recipe
    task: str
    overlapping: bool
    about: Task


def _of_network(
    network: nn.Module,
    dataset: Dataset,
    recipe: str | Recipe | None,
    changes: Changes,
    wishes: _Wishes,
) -> _Subject:
    """A network of the caller's own, of which nothing is known."""
    if not isinstance(recipe, Recipe) or wishes.num_classes is None:
        raise UsageError("an nn.Module needs recipe=Recipe(...) and num_classes=")
    if wishes.options or wishes.pretrained or wishes.init_from:
        raise UsageError(
            "pretrained=, init_from= and options are about models that segzoo builds",
            found=", ".join(wishes.options),
            next_step="Build the nn.Module, with its weights, before it is trained",
        )
    recipe = recipes.overridden(recipe, changes)
    overlapping = _overlaps(dataset)
    suits = "multilabel" if overlapping else "multiclass"
    task = wishes.task or ("binary" if wishes.num_classes == 1 else suits)
    post = Postprocess()
    if task == "multiclass":
        post = Postprocess(activation="softmax", threshold=None)
    about = _task_of(Preprocess(), post, wishes.num_classes, 3, recipe, dataset, wishes)
    return _Subject(network, None, "as it is", "", "", recipe, task, overlapping, about)


def _of_zoo(
    model: str | ModelSpec | Model,
    dataset: Dataset,
    recipe: str | Recipe | None,
    changes: Changes,
    wishes: _Wishes,
) -> _Subject:
    """A model of the zoo: by name, by its spec, saved in a folder, or loaded before."""
    reference, file = _reference(model, wishes)
    if isinstance(reference, Model):
        spec, config, weighs = reference.spec, reference.config, ""
    else:
        spec, config, weighs = _origin(reference, wishes.pretrained)
        weighs = weighs if file is None else os.fspath(file)
    changes = changes if isinstance(changes, Mapping) else [*changes]
    _refuse_misplaced(config.model, spec, changes, wishes.options)
    name, chosen = ("", recipe) if isinstance(recipe, Recipe) else recipes.of_spec(spec, recipe)
    chosen = recipes.overridden(chosen, changes)
    overlapping = _overlaps(dataset)
    if isinstance(reference, Model):
        zoo, begins = reference, "as it is"
    else:
        begins = f"with the weights of {weighs}" if weighs else f"at random, seed {chosen.seed}"
        begins += f"; backbone {wishes.backbone}" if wishes.backbone else ""
        has = config.num_classes if weighs else None
        num_classes, task = _suiting(spec, has, _classes_in(dataset), overlapping, wishes)
        zoo = api.load(
            reference,
            pretrained=wishes.pretrained,
            weights=file,
            backbone=wishes.backbone,
            num_classes=num_classes,
            in_channels=wishes.in_channels,
            task=task,
            seed=chosen.seed,
            **wishes.options,
        )
    if zoo.task == "multilabel" and zoo.num_classes > 1 and not overlapping:
        raise UsageError(
            "the targets have one class per pixel, and the task multilabel a map per class",
            expected="task=multiclass" if "multiclass" in spec.tasks else "(K, H, W) targets",
        )
    about = _task_of(
        zoo.preprocess,
        zoo.postprocess,
        zoo.num_classes,
        zoo.in_channels,
        chosen,
        dataset,
        wishes,
    )
    return _Subject(zoo.network, zoo, begins, weighs, name, chosen, zoo.task, overlapping, about)


def _reference(
    model: str | ModelSpec | Model, wishes: _Wishes
) -> tuple[str | ModelSpec | Model, Path | None]:
    """What to load, and the file of weights to load into it."""
    if isinstance(model, Model):
        built = (wishes.num_classes, wishes.in_channels, wishes.task)
        begun = (wishes.init_from, wishes.backbone)
        asked = any(value is not None for value in (*built, *begun))
        if wishes.options or wishes.pretrained or asked:
            raise UsageError(
                f"this {model.config.model} is built already, with its classes, channels, task, "
                "options and weights",
                next_step="Give those to segzoo.load, or train it by its name",
            )
        return model, None
    if wishes.init_from is None:
        return model, None
    given = os.fspath(wishes.init_from)
    path = Path(given.removeprefix(refs.LOCAL_DIR))
    saved = given if given.startswith(refs.HUB) else f"{refs.LOCAL_DIR}{path}"
    if saved != given and not path.is_dir():
        return model, path
    if saved != given and not configs.read(path / configs.CONFIG_NAME).distribution:
        return model, path / configs.WEIGHTS_NAME  # of a spec that no plugin offers: this one
    config, wanted = (_origin(each, False)[1] for each in (saved, model))
    if wanted.model != config.model:
        raise UsageError(
            "the weights to begin with are of another model",
            file=given,
            found=config.model,
            expected=wanted.model,
        )
    return saved, None


def _origin(reference: str | ModelSpec, pretrained: bool) -> tuple[ModelSpec, Config, str]:
    """The spec behind a reference, the config that it begins with, and what has its weights.

    That is a reference too, of a commit where it is on the Hub; empty where there are none.
    """
    if found := origin.find_saved(reference):
        _, spec, config = found
        return spec, config, _exact(str(reference))
    named = refs.parse(reference) if isinstance(reference, str) else None
    tag = named.tag if isinstance(named, refs.Named) else None
    entry, spec = api.find_spec(named.name if isinstance(named, refs.Named) else reference)
    tag = tag or (spec.default_weights if pretrained else None)
    record = spec.weights.get(tag) if tag else None
    return spec, build.config_of(entry, spec, record), f"{entry.name}.{tag}" if record else ""


def _exact(saved: str) -> str:
    """The reference of a saved model, with the commit that a branch or tag is."""
    source = refs.parse(saved)
    if not isinstance(source, refs.Hub):
        return os.fspath(source.path) if isinstance(source, refs.Folder) else saved
    from segzoo import hub

    return str(hub.resolve(source.repo, source.revision))


def _suiting(
    spec: ModelSpec, has: int | None, found: int | None, overlapping: bool, wishes: _Wishes
) -> tuple[int | None, str | None]:
    """The number of classes and the task; None where the model's own will do.

    has: classes of the weights that it begins with. found: classes of the data set.
    """
    number, task = wishes.num_classes or found, wishes.task
    one = any(name in spec.tasks for name in ONE_CLASS) if task is None else task in ONE_CLASS
    if wishes.num_classes is None and found == 2 != has and one and not overlapping:
        number = 1
    if task is None and (number or spec.num_classes) > 1:
        task = "multilabel" if overlapping else "multiclass"
        task = task if task in spec.tasks else None
    return number, task


def _task_of(
    preprocess: Preprocess,
    postprocess: Postprocess,
    num_classes: int,
    in_channels: int,
    recipe: Recipe,
    dataset: Dataset,
    wishes: _Wishes,
) -> Task:
    """What the network's numbers mean in this run, and in what it saves."""
    pre = wishes.preprocess or preprocess
    in_channels = wishes.in_channels or in_channels
    if recipe.size is not None:
        resize = pre.resize if pre.resize != "none" else "stretch"
        pre = dataclasses.replace(pre, size=recipe.size, resize=resize)
    if recipe.normalize == "dataset" and not wishes.normalized:
        mean, std = mean_and_std(dataset, pre, in_channels)
        pre = dataclasses.replace(pre, mean=mean, std=std)
    return Task(
        preprocess=pre,
        postprocess=wishes.postprocess or postprocess,
        in_channels=in_channels,
        num_classes=num_classes,
        ignore_index=ignore_index_of(recipe, dataset),
    )


def _loss(recipe: Recipe, subject: _Subject) -> Loss:
    """The recipe's loss, else the task's."""
    recipe = dataclasses.replace(recipe, ignore_index=subject.about.ignore_index)
    if subject.zoo is not None:
        defaults = subject.zoo.spec.tasks[subject.zoo.task]
    else:
        name = "cross_entropy" if subject.task == "multiclass" else "binary_cross_entropy"
        defaults = TaskDefaults(loss=f"segzoo.losses:{name}", postprocess=Postprocess())
    return recipes.loss_of(recipe, defaults, num_classes=subject.about.num_classes)


def _refuse_misplaced(
    model: str, spec: ModelSpec, changes: Changes, options: Mapping[str, Json]
) -> None:
    """UsageError for what is given in the wrong place, with the right one."""
    fields, settings = (
        {field.name for field in dataclasses.fields(cls)} for cls in (Recipe, Settings)
    )
    for change in changes:
        key, _, value = change.partition("=")
        if key in fields:
            continue
        if key in spec.options:
            raise UsageError(
                f"{key!r} is an option of {model}, not of its recipe",
                next_step=f"Write --option {change}, in Python train(..., {key}={value or '...'})",
            )
        if key in settings:
            raise UsageError(
                f"{key!r} is a setting, not a field of the recipe",
                next_step=f"In Python: settings=Settings({key}={value or '...'})",
            )
    for key, given in options.items():
        if key not in spec.options and key in fields | settings:
            right = f"changes=['{key}={given}']"
            right = right if key in fields else f"settings=Settings({key}={given!r})"
            raise UsageError(f"{key!r} is not an option of {model}", next_step=f"Give {right}")


def _refuse_unmeasured(metric: str, measures: Mapping[str, Measure], subject: _Subject) -> None:
    """UsageError for a metric that none of the measures gives: the run would end at its first."""
    side, k = 8, subject.about.num_classes
    nothing = torch.zeros((k, side, side) if subject.overlapping else (side, side)).long()
    names = {"loss": None}
    for name, measure in measures.items():
        numbers = measure.result(measure.sums(torch.zeros(k, side, side), nothing, nothing))
        for key, value in numbers.items():
            if isinstance(value, float):
                names[key if key not in names else f"{name}.{key}"] = None
    if metric not in names:
        raise UsageError(
            f"eval_metric={printable(metric)!r} is not measured here",
            expected=", ".join(names),
            next_step="More are measured with --metric saliency or --metric boundary",
        )


# --- what is saved --------------------------------------------------------------------------------


def _config_for(subject: _Subject, info: Info) -> Config | None:
    """The config of what the run saves: the model's, with what this run decided."""
    if subject.zoo is None:
        return None
    classes, palette = info.classes, info.palette
    if subject.about.num_classes == 1 and len(classes) == 2:
        classes = classes[1:]
    if len(palette) == subject.about.num_classes + 1 == 2:
        palette = palette[1:]
    fits = len(classes) == subject.about.num_classes
    return dataclasses.replace(
        subject.zoo.config,
        preprocess=subject.about.preprocess,
        postprocess=subject.about.postprocess,
        classes=classes if fits else (),
        palette=palette if fits and len(palette) == len(classes) else (),
        license="",  # what the old weights said is not said of the new ones; their data holds
        files={},
    )


def _save(network: nn.Module, folder: Path, subject: _Subject, config: Config | None) -> None:
    if subject.zoo is not None and config is not None:
        Model(network, spec=subject.zoo.spec, config=config).save_pretrained(folder)
    else:
        make_folder(folder)
        weights.save(network.state_dict(), folder / configs.WEIGHTS_NAME)


def _identity(
    subject: _Subject,
    data: str | Dataset,
    val: str | Dataset | None,
    metrics: Sequence[str],
    begun_with: str,
) -> dict[str, Json]:
    """What a resumed run must have in common with the one before, besides its recipe.

    begun_with: the weights that its first sitting began with; empty for random ones.
    """
    words = {"data": data, "val": val, "weights": begun_with or None}
    identity: dict[str, Json] = {k: v for k, v in words.items() if isinstance(v, str)}
    config = None if subject.zoo is None else subject.zoo.config
    return identity | {
        "model": {
            "name": "" if config is None else config.model,
            "options": {} if config is None else dict(config.options),
            "num_classes": subject.about.num_classes,
            "in_channels": subject.about.in_channels,
        },
        "metrics": [*metrics],
        "preprocess": asdict(subject.about.preprocess),
    }


class _Begun(NamedTuple):
    """What a run was begun with."""

    data: str | None
    val: str | None
    recipe: Recipe
    metrics: tuple[str, ...]
    weights: str
    settings: Settings


def _begun(run: Path) -> _Begun:
    if not (run / RUN).exists():
        raise RunError("there is no run to go on with", file=run, expected=f"a folder with {RUN}")
    record = configs.read_json(run / RUN)
    identity = record.get("identity") or {}
    return _Begun(
        identity.get("data"),
        identity.get("val"),
        recipes.from_json(record.get("recipe") or {}),
        tuple(identity.get("metrics") or ()),
        str(identity.get("weights") or ""),
        _settings(record.get("settings") or {}, run / RUN),
    )


def _settings(record: Mapping[str, Json], file: Path) -> Settings:
    """Those of run.json that the next sitting has too."""
    lasting = {f.name for f in dataclasses.fields(Settings)}.difference(OF_ONE_OCCASION)
    try:
        return from_dict(Settings, {k: v for k, v in record.items() if k in lasting})
    except ValueError as error:
        raise RunError("the settings cannot be read", file=file, found=str(error)) from None


def _rebuilt(run: Path) -> Model:
    """The model of a run as it was built; its values are in the checkpoints."""
    file = run / configs.CONFIG_NAME
    if not file.exists() or not configs.read(file).distribution:
        raise UsageError(
            "the run is of a network or spec of your own, which it cannot name",
            file=run,
            next_step="Give it again: segzoo.train(NETWORK, resume=...)",
        )
    _, spec, config = origin.saved(run)
    spec = build.variant_of(spec, config.options)
    network = build.builder_of(spec, config)()
    return Model(network, spec=spec, config=config)


def _drawing() -> Callable[[Path], object] | None:
    """What draws the curves; nothing where matplotlib is not installed."""
    if util.find_spec("matplotlib") is not None:
        return draw_curves
    warnings.warn(
        "no curves.png: matplotlib is not installed; run: pip install 'segzoo-core[train]'",
        stacklevel=3,
    )
    return None


# --- what a person sees at the start --------------------------------------------------------------


def _show(rows: Rows) -> None:
    """Two columns on standard error, in colours where it is a terminal."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, value in rows:
            table.add_row(Text(name, "bold"), Text(printable(value)))
        Console(stderr=True).print(table)
    else:
        width = max(len(name) for name, _ in rows)
        lines = (f"{name:{width}}  {printable(value)}" for name, value in rows)
        print("\n".join(lines), file=sys.stderr, flush=True)


def _rows_of_model(subject: _Subject, begins: str) -> Rows:
    zoo, about = subject.zoo, subject.about
    name = type(subject.network).__name__ if zoo is None else zoo.config.model
    if zoo is not None and zoo.config.options:
        name += f" ({', '.join(f'{k}={v}' for k, v in zoo.config.options.items())})"
    sizes = {n: p.numel() for n, p in subject.network.named_parameters()}
    total = sum(sizes.values())
    trained = total - sum(v for n, v in sizes.items() if n.startswith(subject.recipe.frozen))
    part = "" if trained == total else f", {trained:,} of them trained"
    classes = f"{about.num_classes} class{'es' * (about.num_classes > 1)}"
    task = f"{subject.task}, {classes}, {about.in_channels} channels"
    return [
        ("model", f"{name}: {total:,} parameters{part}"),
        ("begins", begins),
        ("task", task.replace("1 channels", "1 channel")),
    ]


def _rows_of_data(
    data: str | Dataset, dataset: Dataset, held: str | Dataset | None, measured: Dataset | None
) -> Rows:
    def told(words: str | Dataset | None, found: Dataset) -> str:
        name = words if isinstance(words, str) else type(found).__name__
        return f"{name}: {len(found):,} samples"

    val = "nothing: no --val" if measured is None else told(held, measured)
    return [("trains on", told(data, dataset)), ("measures on", val)]


def _rows_of_run(folder: Path, recipe: Recipe, dataset: Dataset, settings: Settings) -> Rows:
    steps = steps_of(recipe, len(dataset))
    samples, epochs = recipe.batch_size, f"{steps * recipe.batch_size / len(dataset):.3g}"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    many = f"{processes} process{'es' * (processes > 1)}"
    return [
        (
            "takes",
            f"{steps:,} steps of {samples} samples: {epochs} epoch{'s' * (epochs != '1')}",
        ),
        ("runs on", f"{device_of(settings.device)}, {many}, {recipe.precision}"),
        ("writes to", f"{folder}"),
    ]


def _rows_of_recipe(name: str, recipe: Recipe) -> Rows:
    """What the recipe says where it differs from a recipe that says nothing."""
    plain = Recipe(epochs=1, batch_size=1, optimizer=("", {}), lr=1.0)
    usual = dict(recipes.described(plain))
    hidden = ("expect", "epochs", "steps", "batch_size", "precision")
    told = [
        f"{key}={value}"
        for key, value in recipes.described(recipe)
        if usual.get(key) != value and key not in hidden
    ]
    return [(f"recipe {name}".rstrip(), " ".join(told))]
