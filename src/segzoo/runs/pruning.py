"""How much of a network is worth its time: every value of an elastic option, measured.

Zhou et al. 2018, UNet++ (arXiv:1807.10165), section 3.2: a network that was trained with a head at
each of its depths is pruned when it is used, to the depth that a validation set allows.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.data.sample import Dataset
from segzoo.engine.evaluate import evaluate, input_of
from segzoo.errors import DatasetError, UsageError, WeightsMismatchError
from segzoo.model import build, origin, profile
from segzoo.model.load import find_spec, load
from segzoo.model.loaded import Model
from segzoo.predict.runtimes.torch import TorchRuntime
from segzoo.runs.evaluation import measures_for, task_for, to_measure
from segzoo.spec import ModelSpec
from segzoo.zoo import refs, registry
from segzoo.zoo.refs import HUB

__all__ = ["Part", "Pruned", "prune"]

ROUNDS = 9  # of the clock, the first of which does not count


@dataclass(frozen=True, kw_only=True)
class Part:
    """One way to load a network.

    options: the elastic ones, as they are in it. value: of the metric. milliseconds: that the
    network takes for one picture alone, the median of several runs. macs: multiply-accumulates for
    that picture.
    """

    options: Mapping[str, Json]
    value: float
    milliseconds: float
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was found: the parts, the smallest first, and the one to use.

    metric: what `value` is. load: the Python that loads the chosen part. samples: pictures
    measured. size: (h, w) of the whole network's input that was timed; device, threads: what timed.
    """

    metric: str
    parts: Sequence[Part]
    chosen: Part
    load: str
    samples: int
    size: tuple[int, int]
    device: str
    threads: int


def prune(
    model: str,
    data: str | Dataset,
    *,
    weights: str | os.PathLike[str] | None = None,
    within: float = 0.01,
    batch_size: int = 8,
    workers: int = 2,
    device: str = "auto",
) -> Pruned:
    """Measure what an elastic network loses when less of it is used, and choose how much to use.

    model: as `segzoo.load` takes it. weights: a safetensors file, or the folder of a saved model.
    data: as `segzoo.evaluate` takes it; the choice is good for pictures like these.
    within: how much IoU (of one class; else the mean of all) may be lost against the best part. Of
        the parts that lose no more, the one with the fewest parameters is chosen.

    UsageError for a model without elastic options, and for weights that hold no smaller network.
    """
    if not 0 <= within <= 1:
        raise UsageError(f"within={within}", expected="0 to 1")
    found = to_measure(data)
    reference, arguments = _reference(model, weights)
    networks = _networks(reference, arguments, device)
    whole = networks[0]
    metric = "iou" if whole.num_classes == 1 else "mean_iou"
    tasks = [task_for(network, found.info) for network in networks]
    values: list[float] = [
        evaluate(
            network.network,
            found.dataset,
            task=task,
            measures=measures_for(network, found),
            batch_size=batch_size,
            workers=workers,
        ).values[metric]
        for network, task in zip(networks, tasks, strict=True)
    ]
    if all(map(math.isnan, values)):
        raise DatasetError("no picture holds a class to judge by")
    inputs = [input_of(found.first, task) for task in tasks]
    times = _milliseconds(networks, inputs)
    parts = [
        Part(
            options={name: network.config.options[name] for name in network.spec.elastic},
            value=value,
            milliseconds=milliseconds,
            parameters=sum(p.numel() for p in network.parameters()),
            macs=_macs(network, x),
        )
        for network, value, milliseconds, x in zip(networks, values, times, inputs, strict=True)
    ]
    best = max(value for value in values if not math.isnan(value))
    parts.sort(key=lambda part: (part.parameters, part.macs))
    chosen = next(part for part in parts if part.value >= best - within)
    for name, value in chosen.options.items():
        if value != whole.config.options[name]:
            arguments[name] = value
    words = [json.dumps(reference), *(f"{k}={_python(v)}" for k, v in arguments.items())]
    return Pruned(
        metric=metric,
        parts=parts,
        chosen=chosen,
        load=f"segzoo.load({', '.join(words)})",
        samples=len(found),
        size=inputs[0].shape[-2:],
        device=str(next(whole.parameters()).device),
        threads=torch.get_num_threads(),
    )


def _reference(model: str, weights: str | os.PathLike[str] | None) -> tuple[str, dict[str, Any]]:
    """What `segzoo.load` is to be called with."""
    model = expanded(model)
    if weights is None:
        if model.startswith(HUB) or os.path.isdir(model.removeprefix(refs.LOCAL_DIR)):
            return model, {}
        if "." in model and ":" not in model:  # name.tag
            return model, {}
        _refuse_rigid(model, find_spec(model)[1])
        return model, {"pretrained": True}
    path = expanded(weights)
    if not os.path.isdir(path):
        return model, {"weights": path}
    entry, _, _ = origin.saved(Path(path))
    if registry.fold(model.rpartition("/")[2]) != entry.name:
        raise UsageError(
            "the folder is of another model", file=path, found=entry.name, expected=model
        )
    return (path if "/" in path else refs.LOCAL_DIR + path), {}


def _refuse_rigid(name: str, spec: ModelSpec) -> None:
    if not spec.elastic:
        raise UsageError(
            f"{name} cannot be pruned: it has no elastic option, one that may be lowered at load",
            next_step="See what a model has: segzoo info",
        )


def _networks(reference: str, arguments: Mapping[str, Any], device: str) -> list[Model]:
    """The whole network, and what is left of it with each lower value of each elastic option."""
    whole = load(reference, device=device, **arguments)
    _refuse_rigid(whole.config.model, whole.spec)
    networks = [whole]
    for name in whole.spec.elastic:
        option, most = whole.spec.options[name], whole.config.options[name]
        if option.choices is not None:
            lower = [value for value in option.choices if value < most]
        elif isinstance(most, int) and option.min is not None:
            lower = [*range(math.ceil(option.min), most)]
        else:
            raise UsageError(
                f"the values of {name} cannot be listed: it names no least whole number"
            )
        for value in lower:
            try:
                networks.append(load(reference, device=device, **{**arguments, name: value}))
            except WeightsMismatchError as error:
                raise UsageError(
                    f"these weights do not hold the network of {name}={value}: {error.problem}",
                    next_step="Train with a head for each smaller network",
                ) from error
    return networks


def _milliseconds(networks: Sequence[Model], inputs: Sequence[NDArray[np.float32]]) -> list[float]:
    """The median time of each network for its input, in rounds, so that all meet the same load."""
    runtimes = [TorchRuntime(network.network) for network in networks]
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(ROUNDS):
        for runtime, x, taken in zip(runtimes, inputs, times, strict=True):
            began = time.perf_counter()
            runtime(x)  # it ends when the logits are there
            taken.append(1000 * (time.perf_counter() - began))
    return [statistics.median(taken[1:]) for taken in times]


def _macs(network: Model, x: NDArray[np.float32]) -> int:
    builder = build.builder_of(network.spec, network.config)
    n, channels, height, width = x.shape
    return profile.stages(builder, (n, channels, height, width))[-1].macs


def _python(value: Json) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)
