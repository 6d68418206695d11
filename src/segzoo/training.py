"""From names to a training run: `segzoo.train`."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from segzoo import api, build, files, registry, weights
from segzoo import config as configs
from segzoo.config import Config
from segzoo.data.sample import Dataset, Info, info_of
from segzoo.data.source import held_out, open_data
from segzoo.data.statistics import mean_and_std
from segzoo.engine import recipes
from segzoo.engine.evaluate import Task
from segzoo.engine.reduce import Loss
from segzoo.engine.settings import Settings
from segzoo.engine.train import RUN, Result
from segzoo.engine.train import train as run_engine
from segzoo.errors import RunError, UsageError
from segzoo.files import make_folder
from segzoo.metrics.measure import Measure
from segzoo.model import Model
from segzoo.report.curves import draw_curves
from segzoo.spec import Json, ModelSpec, Postprocess, Preprocess, Recipe, TaskDefaults, asdict

__all__ = ["MODEL", "Trained", "measures_of", "options_of", "train"]

MODEL = "model"  # the folder in a run that holds its best weights, ready for `segzoo predict`
MAIN = {"saliency": "max_f", "binary": "iou", "multiclass": "mean_iou", "multilabel": "mean_iou"}


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
    changes: Sequence[str] = (),
    loss: Loss | str | None = None,
    metrics: Sequence[str] = (),
    settings: Settings | None = None,
    pretrained: bool = False,
    init_from: str | os.PathLike[str] | None = None,
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
    pretrained, init_from: begin with published weights, or with a file or folder of them; another
        class count is allowed and replaces the head.
    resume: the folder of a run to go on from; the same as `run` to finish it. What is not given
        (model, data, val, recipe, metrics) is as it was there.
    num_classes: by default the data's classes. preprocess, postprocess: for an nn.Module.
    transform: an augmentation of one's own, (image, mask) -> (image, mask).
    options: of the architecture.

    SegzooError says what to do. The folder `run/model` holds the best weights; load it by name.
    """
    if resume is not None:
        then = _begun(Path(resume))
        data = data or then.data
        val = val or then.val
        recipe = recipe or then.recipe
        metrics = metrics or then.metrics
        model = model or _rebuilt(Path(resume))
    if model is None or data is None:
        raise UsageError("nothing to train, or to train on", expected="a model and data")
    dataset = open_data(data, part="train") if isinstance(data, str) else data
    if not isinstance(dataset, Dataset):
        raise UsageError(
            "a stream cannot be trained on: its samples have no numbers to resume by",
            next_step="Download its shards, or write samples to a folder first",
        )
    held = val if val is not None else data if isinstance(data, str) and held_out(data) else None
    measured = open_data(held, part="val") if isinstance(held, str) else held
    assert measured is None or isinstance(measured, Dataset)
    info = info_of(dataset)

    if isinstance(model, nn.Module) and not isinstance(model, Model):
        zoo, network, defaults, spec = None, model, None, None
        name, chosen = "", recipe
        if not isinstance(chosen, Recipe) or num_classes is None:
            raise UsageError("an nn.Module needs recipe=Recipe(...) and num_classes=")
    else:
        zoo = _loaded(
            model,
            pretrained=pretrained,
            init_from=init_from,
            num_classes=num_classes or _classes_of(info),
            in_channels=in_channels,
            task=task,
            **options,
        )
        network, spec, defaults = zoo.network, zoo.spec, zoo.spec.tasks[zoo.task]
        name, chosen = zoo.config.model, recipe
        if not isinstance(chosen, Recipe):
            _, chosen = recipes.of_spec(spec, chosen)
    chosen = recipes.overridden(chosen, changes)
    about = _task_of(zoo, chosen, dataset, num_classes, in_channels, preprocess, postprocess)
    if not chosen.frozen and spec is not None and (pretrained or init_from):
        chosen = dataclasses.replace(chosen, frozen=spec.frozen)
    kind = zoo.task if zoo is not None else task or ("binary" if num_classes == 1 else "multiclass")
    measures = measures_of(
        metrics or ([kind] if kind == "saliency" else []), about.num_classes, about.ignore_index
    )
    if measured is not None and not chosen.eval_metric:
        chosen = dataclasses.replace(chosen, eval_metric=MAIN[kind])
    function = _loss(loss, chosen, defaults, about)

    folder = Path(run)
    source = None if zoo is None else _config_for(zoo, about, info)
    if source is not None and _is_first_process() and not (folder / RUN).exists():
        make_folder(folder)
        files.write(folder / configs.CONFIG_NAME, configs.dump(source).encode())

    def keep(best: nn.Module) -> None:
        _save(best, folder / MODEL, zoo, source)

    result = run_engine(
        network,
        loss=function,
        data=dataset,
        val=measured,
        recipe=chosen,
        task=about,
        run=folder,
        measures=measures,
        settings=settings,
        identity=_identity(name, zoo, about, data, val, metrics),
        resume=None if resume is None else Path(resume),
        force_resume=force_resume,
        transform=transform,
        on_best=keep,
        after_measuring=draw_curves,
    )
    if result.best_step is None and _is_first_process():
        keep(network)
        draw_curves(folder)
    finished: nn.Module = network
    if zoo is not None and source is not None:
        finished = Model(network, spec=zoo.spec, config=source).eval()
    return Trained(finished, result, folder)


def options_of(items: Sequence[str]) -> dict[str, Json]:
    """Options of an architecture from a command line, "depth=3": JSON values, else text."""
    options: dict[str, Json] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"cannot read the option {item!r}", expected="name=value")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def measures_of(
    names: Sequence[str], num_classes: int, ignore_index: int | None
) -> dict[str, Measure]:
    """Metrics by name, "semantic" always among them and the last."""
    found = {}
    for name in dict.fromkeys([*names, "semantic"]):
        factory = registry.find(name, registry.METRICS).load_as(object)
        found[name] = factory(num_classes=num_classes, ignore_index=ignore_index)  # type: ignore[operator]
    return found


def _loaded(
    model: str | ModelSpec | Model,
    *,
    pretrained: bool,
    init_from: str | os.PathLike[str] | None,
    num_classes: int | None,
    **wishes: Any,
) -> Model:
    """The model to train, with as many classes as the data unless its spec means one by two."""
    if isinstance(model, Model):
        return model
    reference: str | ModelSpec = model
    file = None
    if init_from is not None:
        path = os.fspath(init_from)
        if os.path.isdir(path):
            reference = api.LOCAL_DIR + path
        else:
            file = path
    if (
        num_classes == 2
        and isinstance(reference, str | ModelSpec)
        and os.path.sep not in str(model)
    ):
        _, spec = api.find_spec(model)
        num_classes = 1 if spec.num_classes == 1 else 2
    return api.load(
        reference, pretrained=pretrained, weights=file, num_classes=num_classes, **wishes
    )


def _classes_of(info: Info) -> int | None:
    return len(info.classes) or None


def _task_of(
    zoo: Model | None,
    recipe: Recipe,
    dataset: Dataset,
    num_classes: int | None,
    in_channels: int | None,
    preprocess: Preprocess | None,
    postprocess: Postprocess | None,
) -> Task:
    """What the network's numbers mean in this run, and in what it saves."""
    from segzoo.data.loader import ignore_index_of

    if zoo is not None:
        num_classes, in_channels = zoo.num_classes, zoo.in_channels
    assert num_classes is not None
    pre = preprocess or (zoo.preprocess if zoo is not None else Preprocess())
    post = postprocess or (zoo.postprocess if zoo is not None else _postprocess(num_classes))
    if recipe.size is not None:
        resize = pre.resize if pre.resize != "none" else "stretch"
        pre = dataclasses.replace(pre, size=recipe.size, resize=resize)
    if recipe.normalize == "dataset":
        mean, std = mean_and_std(dataset, pre, in_channels or 3)
        pre = dataclasses.replace(pre, mean=mean, std=std)
    return Task(
        preprocess=pre,
        postprocess=post,
        in_channels=in_channels or 3,
        num_classes=num_classes,
        ignore_index=ignore_index_of(recipe, dataset),
    )


def _postprocess(num_classes: int) -> Postprocess:
    if num_classes == 1:
        return Postprocess()
    return Postprocess(activation="softmax", threshold=None)


def _loss(
    loss: Loss | str | None, recipe: Recipe, defaults: TaskDefaults | None, task: Task
) -> Loss:
    if callable(loss):
        return loss
    num_classes = task.num_classes
    recipe = dataclasses.replace(recipe, ignore_index=task.ignore_index)
    if loss is not None:
        recipe = dataclasses.replace(recipe, loss=(loss, {}))
    if defaults is None:
        name = "binary_cross_entropy" if num_classes == 1 else "cross_entropy"
        defaults = TaskDefaults(loss=f"segzoo.losses:{name}", postprocess=Postprocess())
    found: Loss = recipes.loss_of(recipe, defaults, num_classes=num_classes)
    return found


def _config_for(zoo: Model, task: Task, info: Info) -> Config:
    """The config of what the run saves: the model's, with what this run decided."""
    changes: dict[str, Any] = {"preprocess": task.preprocess, "postprocess": task.postprocess}
    classes = info.classes
    if task.num_classes == 1 and len(classes) == 2:
        classes = classes[1:]
    if len(classes) == task.num_classes:
        changes["classes"] = classes
        palette = info.palette[1:] if len(info.palette) == len(classes) + 1 else info.palette
        changes["palette"] = palette if len(palette) == len(classes) else ()
    return dataclasses.replace(zoo.config, **changes, files={})


def _save(network: nn.Module, folder: Path, zoo: Model | None, config: Config | None) -> None:
    if zoo is not None and config is not None:
        Model(network, spec=zoo.spec, config=config).save_pretrained(folder)
    else:
        make_folder(folder)
        weights.save(network.state_dict(), folder / "model.safetensors")


def _identity(
    name: str,
    zoo: Model | None,
    task: Task,
    data: str | Dataset,
    val: str | Dataset | None,
    metrics: Sequence[str],
) -> dict[str, Json]:
    """What a resumed run must have in common with the one before, besides its recipe."""
    words = {"data": data, "val": val}
    identity: dict[str, Json] = {k: v for k, v in words.items() if isinstance(v, str)}
    options = dict(zoo.config.options) if zoo is not None else {}
    identity["model"] = {
        "name": name,
        "options": options,
        "num_classes": task.num_classes,
        "in_channels": task.in_channels,
    }
    identity["metrics"] = [*metrics]
    identity["preprocess"] = asdict(task.preprocess)
    return identity


class _Begun(NamedTuple):
    """What a run was begun with."""

    data: str | None
    val: str | None
    recipe: Recipe
    metrics: tuple[str, ...]


def _begun(run: Path) -> _Begun:
    if not (run / RUN).exists():
        raise RunError("there is no run to go on with", file=run, expected=f"a folder with {RUN}")
    record = configs.read_json(run / RUN)
    identity = record["identity"]
    return _Begun(
        identity.get("data"),
        identity.get("val"),
        recipes.from_json(record["recipe"]),
        tuple(identity.get("metrics") or ()),
    )


def _rebuilt(run: Path) -> Model:
    """The model of a run as it was built; its values are in the checkpoints."""
    _, spec, config = api.saved(run)
    spec = build.variant_of(spec, config.options)
    network = build.builder_of(spec, config)()
    return Model(network, spec=spec, config=config)


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
