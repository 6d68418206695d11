"""From names to a training run: `segzoo.train`."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from segzoo.base import files
from segzoo.base.files import make_folder
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.base.terminal import warn
from segzoo.data.agreement import agree, suit
from segzoo.data.decoded import Decoded
from segzoo.data.opened import Data, opened
from segzoo.data.remembered import Remembered
from segzoo.data.sample import Dataset, Info
from segzoo.data.source import Part, held_out, parse
from segzoo.engine import recipes
from segzoo.engine.distil import Distilled, agreement
from segzoo.engine.job import Hooks, Start, TrainingJob, TrainingResult
from segzoo.engine.launch import rank_of_this_process, refuse_without_accelerate
from segzoo.engine.machine import suited_to_machine
from segzoo.engine.record import MODEL, refuse_used
from segzoo.engine.reduce import Loss
from segzoo.engine.schedule import rate_at, steps_of
from segzoo.engine.settings import Settings
from segzoo.engine.train import train as run_engine
from segzoo.errors import DatasetError, UsageError, printable
from segzoo.metrics.measure import MAIN, Measure
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.versions import FIRST, VERSION, as_in
from segzoo.model.load import find_spec
from segzoo.model.loaded import Model
from segzoo.report.curves import draw_curves
from segzoo.runs import opening
from segzoo.runs.begun import Begun, begun_of, identity_of, rebuilt_of, settings_of
from segzoo.runs.request import Method, TrainRequest, Wishes
from segzoo.runs.subject import Subject, subject_of
from segzoo.runs.teaching import SHARE, Taught, taught_by
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.spec import IMPORT_PATH, ModelSpec, Postprocess, Preprocess, Recipe, TaskDefaults
from segzoo.weights import safetensors as weights
from segzoo.zoo import registry

__all__ = [
    "Plan",
    "Trained",
    "data_of",
    "measures_of",
    "plan_of",
    "resumed",
    "train",
    "trained",
]


@dataclass(frozen=True)
class Trained:
    """model: with its best weights, in eval mode. result: how the run ended. run: its folder."""

    model: nn.Module
    result: TrainingResult
    run: Path


def train(
    model: str | ModelSpec | nn.Module | None = None,
    data: str | Dataset | None = None,
    *,
    run: str | os.PathLike[str] = "run",
    val: str | Dataset | None = None,
    recipe: str | Recipe | None = None,
    changes: Mapping[str, str] | Iterable[str] = (),
    loss: Loss | str | None = None,
    metrics: Sequence[str] = (),
    settings: Settings | None = None,
    pretrained: bool = False,
    init_from: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    teacher: str | Model | None = None,
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
    teacher: learn from what this model says of the samples too: one that `segzoo.load` takes, with
        its weights, or a Model. A part of the loss is then the agreement with it (`distil`).
    resume: the folder of a run to go on from; the same as `run` to finish it. What is not given
        (model, data, val, recipe, metrics, teacher, settings) is as it was there, but for code that
        nothing installed declares and folders outside it, which must be given again. So are the
        names of its numbers, where an earlier version called them otherwise.
    num_classes: by default the data's classes; a model that can tell one class from the rest has
        one where the data has two. task: by default the first of the model's that suits.
    preprocess, postprocess: instead of the model's own.
    transform: an augmentation of one's own, (image, mask) -> (image, mask).
    options: of the architecture.

    SegzooError says what to do. The folder `run/model` holds the best weights; load it by name.
    """
    changes = changes if isinstance(changes, Mapping) else [*changes]
    request = TrainRequest(
        model=model,
        data=data,
        val=val,
        run=Path(expanded(run)),
        method=Method(recipe, changes, loss, metrics, VERSION, transform),
        wishes=Wishes(
            num_classes=num_classes,
            in_channels=in_channels,
            task=task,
            preprocess=preprocess,
            postprocess=postprocess,
            pretrained=pretrained,
            init_from=init_from,
            backbone=backbone,
            options=options,
        ),
        settings=settings,
        resume=None if resume is None else Path(expanded(resume)),
        force_resume=force_resume,
        teacher=teacher,
    )
    return trained(request)


def trained(request: TrainRequest) -> Trained:
    """Do what `train` says, whose arguments the request holds."""
    refuse_without_accelerate()
    settings = request.settings or settings_of(request.resume)
    request, begun = resumed(request)
    if request.data is None or request.model is None:
        raise UsageError("nothing to train, or to train on", expected="a model and data")
    data, val = data_of(request.data, request.val)
    subject = subject_of(request.model, data, request)
    plan = plan_of(request, subject, data, val)
    if request.resume is None or request.resume.resolve() != request.run.resolve():
        refuse_used(request.run)
    steps = steps_of(plan.recipe, len(data))
    samples = None if steps is None else steps * plan.recipe.batch_size
    settings = suited_to_machine(
        settings, subject.network, subject.about, plan.recipe, samples=samples
    )
    is_first = rank_of_this_process() == 0
    if is_first and not settings.quiet:
        _tell(request, plan, settings, data, val)
    if settings.cache:
        data, val = _cached(data, val, expanded(settings.cache), subject.about.preprocess)
    if settings.remember:
        data = data.over(Remembered(data.dataset, settings.remember))

    def begin() -> None:
        if plan.config is not None:
            files.write(request.run / configs.CONFIG_NAME, configs.dump(plan.config).encode())

    def keep(best: nn.Module) -> None:
        _save(best, request.run / MODEL, plan)

    draw = _drawing() if is_first else None
    job = TrainingJob(
        network=subject.network,
        loss=plan.loss,
        data=data,
        val=val,
        recipe=plan.recipe,
        task=subject.about,
        measures=plan.measures,
        run=request.run,
        settings=settings,
        start=Start(
            identity=identity_of(
                request,
                subject,
                begun.weights if begun else subject.weights,
                None if plan.taught is None else plan.taught.about,
            ),
            resume=request.resume,
            force=request.force_resume,
        ),
        hooks=Hooks(
            transform=request.method.transform,
            on_begin=begin,
            on_best=keep,
            after_measuring=draw,
        ),
        teacher=None if plan.taught is None else plan.taught.teacher,
    )
    result = run_engine(job)
    if is_first and result.best_step is None:
        keep(subject.network)
        if draw is not None:
            draw(request.run)
    finished = subject.network
    if subject.zoo is not None and plan.config is not None:
        finished = Model(finished, spec=subject.zoo.spec, config=plan.config).eval()
    return Trained(finished, result, request.run)


def resumed(request: TrainRequest) -> tuple[TrainRequest, Begun | None]:
    """The request with what it does not say as it was in the run to go on from.

    Also what that run was begun with; None where there is none.
    """
    run, method = request.resume, request.method
    if run is None:
        return request, None
    given = {"data": request.data, "val": request.val, "loss": method.loss}
    given |= {"teacher": request.teacher}
    typed = {name for name, value in given.items() if value is not None}
    typed |= recipes.fields_of(method.recipe, method.changes)
    begun = begun_of(run, typed=typed, specs=_specs_of(request.model))
    request = dataclasses.replace(
        request,
        data=begun.data if request.data is None else request.data,
        val=begun.val if request.val is None else request.val,
        teacher=begun.teacher if request.teacher is None else request.teacher,
        method=method._replace(
            recipe=begun.recipe if method.recipe is None else method.recipe,
            metrics=method.metrics or begun.metrics,
            metrics_version=begun.metrics_version,
        ),
    )
    if request.model is None:
        rebuilt, wishes = rebuilt_of(run), request.wishes._replace(normalized=True)
        request = dataclasses.replace(request, model=rebuilt, wishes=wishes)
    return request, begun


def _specs_of(model: str | ModelSpec | nn.Module | None) -> tuple[ModelSpec, ...]:
    """The spec that a caller names or has himself, beside those that are installed."""
    if isinstance(model, str) and IMPORT_PATH.fullmatch(model):
        return (find_spec(model)[1],)
    if isinstance(model, Model):
        return (model.spec,)
    return (model,) if isinstance(model, ModelSpec) else ()


def measures_of(
    task: str,
    names: Sequence[str],
    num_classes: int,
    ignore_index: int | None,
    *,
    overlapping: bool = False,
    version: int = VERSION,
) -> dict[str, Measure]:
    """Metrics by name: those of the task first, of which "semantic" always is one, then `names`.

    overlapping: targets have a map per class; each class is then judged by itself. version: of the
    metrics, by whose names the numbers are called.
    """
    found: dict[str, Measure] = {}
    own = ["saliency"] if task == "saliency" else []
    # of two numbers of one name the later one's measure stands in front of it
    ordered = [*own, *names, "semantic"] if version == FIRST else [*own, "semantic", *names]
    for name in dict.fromkeys(ordered):
        factory: Any = registry.find(name, registry.METRICS).load_as(object)
        each = factory(num_classes=1 if overlapping else num_classes, ignore_index=ignore_index)
        each = as_in(version, each)
        found[name] = Overlapping(each, num_classes) if overlapping else each
    return found


# --- the data -------------------------------------------------------------------------------------

UNSIZED: Mapping[str, Any] = {"size": None, "resize": "none"}


def data_of(data: str | Dataset, val: str | Dataset | None) -> tuple[Data, Data | None]:
    """What to train on, and what to measure on, if anything.

    Without `val`, words that part their set give both sides. UsageError for a stream; DatasetError
    for an empty set.
    """
    if val is None and isinstance(data, str) and held_out(data):
        val = data
    return _opened(data, "train"), None if val is None else _opened(val, "val")


def _opened(given: str | Dataset, part: Part) -> Data:
    found = opened(given, part=part)
    if not isinstance(found, Data):
        raise UsageError(
            "a stream cannot be trained on: its samples have no numbers to resume by",
            found=type(found).__name__,
            next_step="Download its shards, or write samples to a folder first",
        )
    if len(found) == 0:
        raise DatasetError("the data set is empty", expected="at least one sample")
    return found


def _cached(
    data: Data, val: Data | None, folder: str, preprocess: Preprocess
) -> tuple[Data, Data | None]:
    """Both sets with their samples decoded, and resized as the preprocess says, in files."""
    whole = dataclasses.replace(preprocess, **UNSIZED)
    data = _decoded(data, folder, preprocess if preprocess.resize == "stretch" else whole)
    return data, None if val is None else _decoded(val, folder, whole)  # each at its own size


def _decoded(data: Data, folder: str, preprocess: Preprocess) -> Data:
    key = ""
    if data.words is not None:
        path = expanded(parse(data.words).path)
        if os.path.isfile(path):
            status = os.stat(path)
            key = f"{data.words} {status.st_size} {status.st_mtime_ns}"
    decoded = Decoded(
        data.dataset, size=preprocess.size, preprocess=preprocess, folder=folder, key=key
    )
    return data.over(decoded)


# --- what is trained ------------------------------------------------------------------------------


class Plan(NamedTuple):
    """How the subject is trained and measured. config: of what is saved, for a model of the zoo.

    taught: by which teacher, if by one.
    """

    subject: Subject
    recipe: Recipe
    loss: Loss
    measures: Mapping[str, Measure]
    config: Config | None
    taught: Taught | None = None


def plan_of(request: TrainRequest, subject: Subject, data: Data, val: Data | None) -> Plan:
    """The recipe, loss and measures of the run. UsageError for a metric that none of them gives."""
    recipe, loss, about = subject.recipe, request.method.loss, subject.about
    suit(about.preprocess, about.in_channels, data.info, by_words=data.words is not None)
    if val is not None:
        agree(data.info, val.info, ignore_index=about.ignore_index)
    measures = measures_of(
        subject.task,
        request.method.metrics,
        about.num_classes,
        about.ignore_index,
        overlapping=subject.overlapping,
        version=request.method.metrics_version,
    )
    if val is not None:
        recipe = dataclasses.replace(recipe, eval_metric=recipe.eval_metric or MAIN[subject.task])
        _refuse_unmeasured(recipe.eval_metric, measures, subject)
    rate_at(0, total=1, recipe=recipe)  # a schedule that cannot be used is said now
    function = _loss(recipe, subject) if loss is None or isinstance(loss, str) else loss
    config = _config_for(subject, data.info)
    if request.teacher is None:
        if recipe.distil is not None or recipe.temperature is not None:
            raise UsageError(
                "distil and temperature are of a teacher, and there is none",
                next_step="Give --teacher MODEL (teacher= in Python), or distil=none",
            )
        return Plan(subject, recipe, function, measures, config)
    taught = taught_by(request.teacher, subject, data.info)
    function = _distilled(recipe, function)
    if config is not None:  # what the teacher has learned from teaches the student too
        known = dict.fromkeys((*config.trained_on, *taught.trained_on))
        config = dataclasses.replace(config, trained_on=tuple(known))
    return Plan(subject, recipe, function, measures, config, taught)


def _distilled(recipe: Recipe, function: Loss) -> Loss:
    share = SHARE if recipe.distil is None else recipe.distil
    softened = agreement(temperature=recipe.temperature or 1.0, head_weights=recipe.head_weights)
    return Distilled(function, share, softened)


def _tell(
    request: TrainRequest, plan: Plan, settings: Settings, data: Data, val: Data | None
) -> None:
    """Tell a person what is about to happen."""
    resume, subject = request.resume, plan.subject
    begins = subject.begins if resume is None else f"as {os.fspath(resume)} ended"
    opening.show(
        [
            *opening.rows_of_model(subject, begins),
            *opening.rows_of_teacher(plan.taught, plan.recipe),
            *opening.rows_of_data(data, val, request.method.metrics_version),
            *opening.rows_of_run(request.run, plan.recipe, data, settings),
            *opening.rows_of_recipe(subject.recipe_name, plan.recipe),
        ]
    )


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


def _save(network: nn.Module, folder: Path, plan: Plan) -> None:
    zoo, config = plan.subject.zoo, plan.config
    if zoo is not None and config is not None:
        Model(network, spec=zoo.spec, config=config).save_pretrained(folder, overwrite=True)
    else:
        make_folder(folder)
        weights.save(network.state_dict(), folder / configs.WEIGHTS_NAME)


def _drawing() -> Callable[[Path], object] | None:
    """What draws the curves; nothing where matplotlib is not installed."""
    if util.find_spec("matplotlib") is not None:
        return draw_curves
    warn(
        "no curves.png: matplotlib is not installed; run: pip install 'segzoo-core[train]'",
        stacklevel=4,
    )
    return None
