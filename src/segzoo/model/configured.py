"""From a spec and a caller's wishes to a config; nothing is built, and torch is not needed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from segzoo.base.records import Json
from segzoo.errors import ConfigError, PluginError
from segzoo.saved import config as configs
from segzoo.saved.config import Config
from segzoo.spec import ARGUMENTS, ModelSpec, Task, Weights
from segzoo.zoo import registry
from segzoo.zoo.options import faults_by_table
from segzoo.zoo.registry import Entry

__all__ = ["adjusted", "config_of", "variant_of"]


def config_of(entry: Entry, spec: ModelSpec, record: Weights | None) -> Config:
    """The config that a spec declares, with what its weights say differently."""
    options = {name: option.default for name, option in spec.options.items()}
    num_classes, in_channels = spec.num_classes, spec.in_channels
    task, preprocess, postprocess = None, spec.preprocess, None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    if record is not None:
        options |= record.options
        num_classes = record.num_classes or num_classes
        in_channels = record.in_channels or in_channels
        task, postprocess = record.task, record.postprocess
        preprocess = record.preprocess or preprocess
        classes, palette = record.classes, record.palette
    task = task or _task_for(spec, num_classes)
    return Config(
        model=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        options=options,
        in_channels=in_channels,
        num_classes=num_classes,
        task=task,
        preprocess=preprocess,
        postprocess=postprocess or spec.tasks[task].postprocess,
        classes=classes,
        palette=palette,
        license=record.license if record else "",
        trained_on=record.trained_on if record else (),
    )


def adjusted(
    config: Config,
    spec: ModelSpec,
    *,
    num_classes: int | None,
    in_channels: int | None,
    task: str | None = None,
    options: Mapping[str, Json],
) -> Config:
    """The config with a caller's own wishes. ConfigError lists every one that cannot be met."""
    faults = faults_by_table(options, spec.options, common=ARGUMENTS)
    if task is not None and task not in spec.tasks:
        faults.append(f"task={task!r} is not one of {', '.join(map(repr, spec.tasks))}")
    for name, value, most in (
        ("num_classes", num_classes, configs.MAX_CLASSES),
        ("in_channels", in_channels, configs.MAX_CHANNELS),
    ):
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            faults.append(f"{name}={value!r} is not a whole number from 1 to {most}")
    if faults:
        raise ConfigError(f"{config.model}: " + "; ".join(faults))

    changes: dict[str, Any] = {"options": dict(config.options) | dict(options)}
    if in_channels is not None:
        changes["in_channels"] = in_channels
    if num_classes is not None and num_classes != config.num_classes:
        changes |= {"num_classes": num_classes, "classes": (), "palette": ()}
        task = task or (config.task if _suits(config.task, num_classes) else None)
        task = task or _task_for(spec, num_classes)
    if task is not None and task != config.task:
        changes |= {"task": task, "postprocess": spec.tasks[task].postprocess}  # type: ignore[index]
    variant = variant_of(spec, changes["options"])
    if variant.preprocess != spec.preprocess and config.preprocess == spec.preprocess:
        changes["preprocess"] = variant.preprocess
    return dataclasses.replace(config, **changes)


def _suits(task: str, num_classes: int) -> bool:
    """binary and saliency are about one class, multiclass about several, multilabel about any."""
    if task in ("binary", "saliency"):
        return num_classes == 1
    return task == "multilabel" or num_classes > 1


def _task_for(spec: ModelSpec, num_classes: int) -> Task:
    return next((t for t in spec.tasks if _suits(t, num_classes)), next(iter(spec.tasks)))


def variant_of(spec: ModelSpec, options: Mapping[str, Json]) -> ModelSpec:
    """The spec as its options change it."""
    if spec.variant is None:
        return spec
    with registry.guarded(lambda why: PluginError(f"the variant {spec.variant} failed: {why}")):
        return dataclasses.replace(spec, **registry.resolve(spec.variant)(**options))
