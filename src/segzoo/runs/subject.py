"""What is trained, and how: a model of the zoo or a network of the caller's own, for a data set."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import nn

from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.data.loader import ignore_index_of
from segzoo.data.opened import Data
from segzoo.data.statistics import mean_and_std
from segzoo.engine import recipes
from segzoo.engine.evaluate import Task
from segzoo.engine.settings import Settings
from segzoo.errors import UsageError
from segzoo.model import configured, origin
from segzoo.model.load import find_spec, load
from segzoo.model.loaded import Model
from segzoo.runs.request import Changes, Method, TrainRequest, Wishes
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.spec import ModelSpec, Postprocess, Preprocess, Recipe
from segzoo.zoo import refs

__all__ = ["Subject", "of_network", "of_zoo", "subject_of"]

ONE_CLASS = ("binary", "saliency")  # tasks that tell one class from the rest


class Subject(NamedTuple):
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


def subject_of(model: str | ModelSpec | nn.Module, data: Data, request: TrainRequest) -> Subject:
    """What the request's model is for this data."""
    if isinstance(model, str | ModelSpec | Model):
        return of_zoo(model, data, request.method, request.wishes)
    return of_network(model, data, request.method, request.wishes)


def of_network(network: nn.Module, data: Data, method: Method, wishes: Wishes) -> Subject:
    """A network of the caller's own, of which nothing is known."""
    recipe = method.recipe
    if not isinstance(recipe, Recipe) or wishes.num_classes is None:
        raise UsageError("an nn.Module needs recipe=Recipe(...) and num_classes=")
    if wishes.options or wishes.pretrained or wishes.init_from:
        raise UsageError(
            "pretrained=, init_from= and options are about models that segzoo builds",
            found=", ".join(wishes.options),
            next_step="Build the nn.Module, with its weights, before it is trained",
        )
    recipe = recipes.overridden(recipe, method.changed)
    overlapping = data.overlaps
    suits = "multilabel" if overlapping else "multiclass"
    task = wishes.task or ("binary" if wishes.num_classes == 1 else suits)
    post = Postprocess()
    if task == "multiclass":
        post = Postprocess(activation="softmax", threshold=None)
    about = _task_of(Preprocess(), post, wishes.num_classes, 3, recipe, data, wishes)
    return Subject(network, None, "as it is", "", "", recipe, task, overlapping, about)


def of_zoo(model: str | ModelSpec | Model, data: Data, method: Method, wishes: Wishes) -> Subject:
    """A model of the zoo: by name, by its spec, saved in a folder, or loaded before."""
    reference, file = reference_of(model, wishes)
    if isinstance(reference, Model):
        spec, config, weighs = reference.spec, reference.config, ""
    else:
        spec, config, weighs = origin_of(reference, wishes.pretrained)
        weighs = weighs if file is None else os.fspath(file)
    _refuse_misplaced(config.model, spec, method.changes, wishes.options)
    recipe = method.recipe
    name, chosen = ("", recipe) if isinstance(recipe, Recipe) else recipes.of_spec(spec, recipe)
    chosen = recipes.overridden(chosen, method.changed)
    overlapping = data.overlaps
    if isinstance(reference, Model):
        zoo, begins = reference, "as it is"
    else:
        begins = f"with the weights of {weighs}" if weighs else f"at random, seed {chosen.seed}"
        begins += f"; backbone {wishes.backbone}" if wishes.backbone else ""
        has = config.num_classes if weighs else None
        num_classes, task = suiting(spec, has, data.classes, overlapping, wishes)
        zoo = load(
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
        data,
        wishes,
    )
    return Subject(zoo.network, zoo, begins, weighs, name, chosen, zoo.task, overlapping, about)


def reference_of(
    model: str | ModelSpec | Model, wishes: Wishes
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
    given = expanded(wishes.init_from)
    path = Path(expanded(given.removeprefix(refs.LOCAL_DIR)))
    saved = given if given.startswith(refs.HUB) else f"{refs.LOCAL_DIR}{path}"
    if saved != given and not path.is_dir():
        return model, path
    if saved != given and not configs.read(path / configs.CONFIG_NAME).distribution:
        return model, path / configs.WEIGHTS_NAME  # of a spec that no plugin offers: this one
    config, wanted = (origin_of(each, False)[1] for each in (saved, model))
    if wanted.model != config.model:
        raise UsageError(
            "the weights to begin with are of another model",
            file=given,
            found=config.model,
            expected=wanted.model,
        )
    return saved, None


def origin_of(reference: str | ModelSpec, pretrained: bool) -> tuple[ModelSpec, Config, str]:
    """The spec behind a reference, the config that it begins with, and what has its weights.

    That is a reference too, of a commit where it is on the Hub; empty where there are none.
    """
    if found := origin.find_saved(reference):
        _, spec, config = found
        return spec, config, _exact(str(reference))
    named = refs.parse(reference) if isinstance(reference, str) else None
    tag = named.tag if isinstance(named, refs.Named) else None
    entry, spec = find_spec(named.name if isinstance(named, refs.Named) else reference, tag=tag)
    tag = tag or (spec.default_weights if pretrained else None)
    record = spec.weights.get(tag) if tag else None
    return spec, configured.config_of(entry, spec, record), f"{entry.name}.{tag}" if record else ""


def _exact(saved: str) -> str:
    """The reference of a saved model, with the commit that a branch or tag is."""
    source = refs.parse(saved)
    if not isinstance(source, refs.Hub):
        return os.fspath(source.path) if isinstance(source, refs.Folder) else saved
    from segzoo.hub.fetch import snapshot_of

    return str(snapshot_of(source.repo, source.revision))


def suiting(
    spec: ModelSpec, has: int | None, found: int | None, overlapping: bool, wishes: Wishes
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
    data: Data,
    wishes: Wishes,
) -> Task:
    """What the network's numbers mean in this run, and in what it saves."""
    pre = wishes.preprocess or preprocess
    in_channels = wishes.in_channels or in_channels
    bands = data.bands
    if bands is not None and bands != in_channels:
        raise UsageError(
            "the data set's pictures have not as many bands as the network takes",
            found=f"{count_of(bands, 'band')}, {count_of(in_channels, 'channel')}",
            next_step=f"Give --in-channels {bands} (in_channels= in Python)",
        )
    if bands is not None:
        pre = dataclasses.replace(pre, mode="bands")
    if data.info.peak is not None:
        pre = dataclasses.replace(pre, peak=data.info.peak)
    if recipe.size is not None:
        resize = pre.resize if pre.resize != "none" else "stretch"
        pre = dataclasses.replace(pre, size=recipe.size, resize=resize)
    if recipe.normalize == "dataset" and not wishes.normalized:
        mean, std = mean_and_std(data.dataset, pre, in_channels)
        pre = dataclasses.replace(pre, mean=mean, std=std)
    return Task(
        preprocess=pre,
        postprocess=wishes.postprocess or postprocess,
        in_channels=in_channels,
        num_classes=num_classes,
        ignore_index=ignore_index_of(recipe, data.dataset),
    )


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
