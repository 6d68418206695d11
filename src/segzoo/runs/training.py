"""From names to a training run: `segzoo.train`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segzoo.base import files
from segzoo.base.files import make_folder
from segzoo.base.records import Json
from segzoo.base.terminal import warn
from segzoo.data.agreement import agree, suit
from segzoo.data.decoded import Decoded
from segzoo.data.sample import Dataset, Info, info_of
from segzoo.data.source import held_out, open_data, parse
from segzoo.engine import recipes
from segzoo.engine.launch import rank_of_this_process, refuse_without_accelerate
from segzoo.engine.record import MODEL, RUN
from segzoo.engine.reduce import Loss
from segzoo.engine.settings import Settings
from segzoo.engine.train import Result
from segzoo.engine.train import train as run_engine
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.metrics.measure import MAIN, Measure
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.versions import VERSION, as_in
from segzoo.model.load import find_spec
from segzoo.model.loaded import Model
from segzoo.report.curves import draw_curves
from segzoo.runs import opening
from segzoo.runs.begun import begun_of, identity_of, rebuilt_of, settings_of
from segzoo.runs.subject import Changes, Subject, Wishes, of_network, of_zoo
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.spec import IMPORT_PATH, ModelSpec, Postprocess, Preprocess, Recipe, TaskDefaults
from segzoo.weights import safetensors as weights
from segzoo.zoo import registry

__all__ = ["Trained", "measures_of", "train"]


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
        (model, data, val, recipe, metrics, settings) is as it was there, but for code that nothing
        installed declares and folders outside it, which must be given again. So are the names of
        its numbers, where an earlier version called them otherwise.
    num_classes: by default the data's classes; a model that can tell one class from the rest has
        one where the data has two. task: by default the first of the model's that suits.
    preprocess, postprocess: instead of the model's own.
    transform: an augmentation of one's own, (image, mask) -> (image, mask).
    options: of the architecture.

    SegzooError says what to do. The folder `run/model` holds the best weights; load it by name.
    """
    refuse_without_accelerate()
    settings = settings or settings_of(resume)
    rebuilt = False
    changes = changes if isinstance(changes, Mapping) else [*changes]
    begun, version = None, VERSION
    if resume is not None:
        given = {"data": data, "val": val, "loss": loss}
        typed = {name for name, value in given.items() if value is not None}
        typed |= recipes.fields_of(recipe, changes)
        begun = begun_of(Path(resume), typed=typed, specs=_specs_of(model))
        data, val = (begun.data if data is None else data), (begun.val if val is None else val)
        version = begun.metrics_version
        recipe, metrics = (begun.recipe if recipe is None else recipe), metrics or begun.metrics
        if model is None:
            model, rebuilt = rebuilt_of(Path(resume)), True
    if data is None or model is None:
        raise UsageError("nothing to train, or to train on", expected="a model and data")
    dataset = _opened(data, "train")
    held = val if val is not None else data if isinstance(data, str) and held_out(data) else None
    measured = None if held is None else _opened(held, "val")

    wishes = Wishes(
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
        subject = of_zoo(model, dataset, recipe, changes, wishes)
    else:
        subject = of_network(model, dataset, recipe, changes, wishes)
    about, chosen = subject.about, subject.recipe
    suit(about.preprocess, about.in_channels, info_of(dataset), by_words=isinstance(data, str))
    if measured is not None:
        agree(info_of(dataset), info_of(measured), ignore_index=about.ignore_index)
    kind = [subject.task] if subject.task == "saliency" else []
    measures = measures_of(
        [*kind, *metrics],
        about.num_classes,
        about.ignore_index,
        overlapping=subject.overlapping,
        version=version,
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
        opening.show(
            [
                *opening.rows_of_model(subject, begins),
                *opening.rows_of_data(data, dataset, held, measured, version),
                *opening.rows_of_run(folder, chosen, dataset, settings),
                *opening.rows_of_recipe(subject.recipe_name, chosen),
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
        identity=identity_of(
            subject, data, val, metrics, version, begun.weights if begun else subject.weights
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


def _specs_of(model: str | ModelSpec | nn.Module | None) -> tuple[ModelSpec, ...]:
    """The spec that a caller names or has himself, beside those that are installed."""
    if isinstance(model, str) and IMPORT_PATH.fullmatch(model):
        return (find_spec(model)[1],)
    if isinstance(model, Model):
        return (model.spec,)
    return (model,) if isinstance(model, ModelSpec) else ()


def measures_of(
    names: Sequence[str],
    num_classes: int,
    ignore_index: int | None,
    *,
    overlapping: bool = False,
    version: int = VERSION,
) -> dict[str, Measure]:
    """Metrics by name, "semantic" always among them and the last.

    overlapping: targets have a map per class; each class is then judged by itself. version: of the
    metrics, by whose names the numbers are called.
    """
    found: dict[str, Measure] = {}
    for name in dict.fromkeys([*names, "semantic"]):
        factory: Any = registry.find(name, registry.METRICS).load_as(object)
        each = factory(num_classes=1 if overlapping else num_classes, ignore_index=ignore_index)
        each = as_in(version, each)
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


# --- what is trained ------------------------------------------------------------------------------


def _loss(recipe: Recipe, subject: Subject) -> Loss:
    """The recipe's loss, else the task's."""
    recipe = dataclasses.replace(recipe, ignore_index=subject.about.ignore_index)
    if subject.zoo is not None:
        defaults = subject.zoo.spec.tasks[subject.zoo.task]
    else:
        name = "cross_entropy" if subject.task == "multiclass" else "binary_cross_entropy"
        defaults = TaskDefaults(loss=f"segzoo.losses:{name}", postprocess=Postprocess())
    return recipes.loss_of(recipe, defaults, num_classes=subject.about.num_classes)


def _refuse_unmeasured(metric: str, measures: Mapping[str, Measure], subject: Subject) -> None:
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


def _config_for(subject: Subject, info: Info) -> Config | None:
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


def _save(network: nn.Module, folder: Path, subject: Subject, config: Config | None) -> None:
    if subject.zoo is not None and config is not None:
        Model(network, spec=subject.zoo.spec, config=config).save_pretrained(folder)
    else:
        make_folder(folder)
        weights.save(network.state_dict(), folder / configs.WEIGHTS_NAME)


def _drawing() -> Callable[[Path], object] | None:
    """What draws the curves; nothing where matplotlib is not installed."""
    if util.find_spec("matplotlib") is not None:
        return draw_curves
    warn(
        "no curves.png: matplotlib is not installed; run: pip install 'segzoo-core[train]'",
        stacklevel=3,
    )
    return None
