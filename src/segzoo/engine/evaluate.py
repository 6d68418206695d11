"""Measuring a network on a data set: pictures in, numbers out, the way that `predict` goes.

Every picture is judged at its own size. What a metric adds up is added over all pictures, and over
all processes, before any number is made of it.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segzoo import labels
from segzoo.data.loader import Prepared, ignore_index_of
from segzoo.data.sample import Dataset, Sample, checked
from segzoo.engine.reduce import Loss, mapped
from segzoo.errors import DatasetError
from segzoo.metrics.measure import Measure, needed
from segzoo.pictures import Picture
from segzoo.preprocess import Geometry, prepare
from segzoo.spec import Postprocess, Preprocess, Recipe

__all__ = ["Evaluation", "Row", "Task", "evaluate", "probabilities_of", "restored"]

Sums: TypeAlias = dict[str, dict[str, Tensor]]  # measure -> what it adds up


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network's numbers mean: from a picture to x, and from logits to a mask."""

    preprocess: Preprocess
    postprocess: Postprocess
    in_channels: int
    num_classes: int
    ignore_index: int | None = None


class Row(NamedTuple):
    """One picture's measurements. number: in the data set."""

    number: int
    id: str
    sums: Sums


@dataclass
class Evaluation:
    """What was found. values: every metric's numbers of the whole set, and "loss" where asked for.

    rows: picture by picture, where asked for. totals: the sums that the values are made of.
    """

    values: dict[str, Any]
    count: int
    totals: Sums
    rows: list[Row] = field(default_factory=list)


class _Item(NamedTuple):
    """One picture on its way through the network."""

    number: int
    id: str
    x: NDArray[np.float32]
    geometry: Geometry
    target: NDArray[Any]
    answer: Tensor | None  # the target at the size of the logits
    weight: Tensor | None


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    *,
    task: Task,
    measures: Mapping[str, Measure],
    loss: Loss | None = None,
    batch_size: int = 8,
    workers: int = 0,
    flip: bool = False,
    scales: Sequence[float] = (),
    keep_rows: bool = False,
    rank: int = 0,
    world: int = 1,
    precision: str = "fp32",
) -> Evaluation:
    """Measure a network on a data set. The network is in eval mode afterwards.

    measures: by name; their numbers get that name in front where two are called alike.
    loss: averaged over the pictures, at the network's size. flip, scales: also measure the
    mirrored picture, and it at these factors of the network's size, and average the probabilities.
    rank, world: this process takes every `world`-th picture; all of them get the result.
    DatasetError for an empty set and for labels outside the classes.
    """
    if len(dataset) == 0:
        raise DatasetError("the data set to measure on is empty", expected="at least one sample")
    device = next(network.parameters()).device
    network.eval()
    totals: Sums = {name: {} for name in measures}
    rows: list[Row] = []
    lost = torch.zeros(2, dtype=torch.float64, device=device)
    with torch.inference_mode(), _autocast(device, precision):
        for group in _groups(dataset, task, loss is not None, batch_size, workers, rank, world):
            x = torch.from_numpy(np.stack([item.x for item in group])).to(device)
            outputs = _outputs_of(network, x, all_heads=loss is not None)
            if loss is not None:
                lost += _loss_of(loss, outputs, group, device)
            maps = probabilities_of(
                network,
                x,
                [item.geometry for item in group],
                task,
                outputs=outputs,
                flip=flip,
                scales=scales,
            )
            for item, probabilities in zip(group, maps, strict=True):
                mask = _mask_of(probabilities, task.postprocess)
                target = torch.from_numpy(item.target).to(device, torch.int64)
                sums = {
                    name: measure.sums(probabilities, mask, target)
                    for name, measure in measures.items()
                }
                for name, parts in sums.items():
                    _add(totals[name], parts)
                if keep_rows:
                    kept = {name: needed(m, sums[name]) for name, m in measures.items()}
                    rows.append(Row(item.number, item.id, _on_cpu(kept)))
    if world > 1:
        totals = _over_processes(totals)
        dist.all_reduce(lost)
        rows = [row for part in _gathered(rows) for row in part]
    values: dict[str, Any] = {}
    for name, measure in measures.items():
        for key, value in measure.result(totals[name]).items():
            values[key if key not in values else f"{name}.{key}"] = value
    if loss is not None:
        values["loss"] = float(lost[0] / lost[1])
    rows.sort(key=lambda row: row.number)
    return Evaluation(values, len(dataset), _on_cpu(totals), rows)


def probabilities_of(
    network: nn.Module,
    x: Tensor,
    geometries: Sequence[Geometry],
    task: Task,
    *,
    outputs: Any = None,
    flip: bool = False,
    scales: Sequence[float] = (),
) -> list[Tensor]:
    """x (N, C, h, w) -> of each picture (K, H, W) float32 in 0..1, at its own size.

    outputs: the network's of x, where they are known already. flip, scales: as in `evaluate`.
    """
    post = task.postprocess
    views: list[list[Tensor]] = [[] for _ in geometries]
    for scale in (1.0, *scales):
        seen = _scaled(x, scale, task.preprocess)
        for turn in (False, True)[: 1 + flip]:
            plain = scale == 1.0 and not turn
            given = outputs if plain and outputs is not None else None
            given = network(seen.flip(-1) if turn else seen) if given is None else given
            logits: Tensor = given if isinstance(given, Tensor) else given[0]
            if scale != 1.0:
                size = tuple(post.scale * side for side in x.shape[-2:])
                logits = F.interpolate(logits, size, mode="bilinear", antialias=True)
            if turn:
                logits = logits.flip(-1)
            for view, maps, geometry in zip(views, logits.float(), geometries, strict=True):
                view.append(_activated(restored(maps, geometry, scale=post.scale), post))
    means = (view[0] if len(view) == 1 else torch.stack(view).mean(0) for view in views)
    return [_stretched(mean, post) for mean in means]


def restored(maps: Tensor, geometry: Geometry, *, scale: int = 1) -> Tensor:
    """The network's maps (K, ...) at the picture's size, as `Geometry.restore`, on any device."""
    (top, left), (height, width) = geometry.offset, geometry.inside
    maps = maps[:, scale * top : scale * (top + height), scale * left : scale * (left + width)]
    if tuple(maps.shape[1:]) == geometry.picture:
        return maps
    return F.interpolate(maps[None], geometry.picture, mode="bilinear", antialias=True)[0]


# --- pictures -------------------------------------------------------------------------------------


class _Pictures:
    """A data set's samples as items, by number."""

    def __init__(self, dataset: Dataset, task: Task, with_loss: bool) -> None:
        self.dataset = dataset
        self.task = task
        recipe = Recipe(
            steps=1, batch_size=1, optimizer=("", {}), lr=1.0, ignore_index=task.ignore_index
        )
        self.prepared = Prepared(
            dataset,
            recipe=recipe,
            preprocess=task.preprocess,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
            scale=task.postprocess.scale,
        )
        self.with_loss = with_loss

    def __getitem__(self, number: int) -> _Item:
        task = self.task
        sample = checked(self.dataset[number])
        target = labels.judged(
            sample["target"],
            num_classes=task.num_classes,
            ignore_index=ignore_index_of(self.prepared.recipe, self.dataset),
            file=sample["id"],
        )
        sample["target"] = target
        x, geometry = prepare(_picture_of(sample), task.preprocess, task.in_channels)
        answer = weight = None
        if self.with_loss:
            arrays = self.prepared.arrays(self.prepared.whole(sample))
            answer, weight = arrays["target"], arrays["weight"]
        return _Item(number, sample["id"], x, geometry, target, answer, weight)


def _groups(
    dataset: Dataset,
    task: Task,
    with_loss: bool,
    batch_size: int,
    workers: int,
    rank: int,
    world: int,
) -> Iterator[list[_Item]]:
    """This process's pictures, at most `batch_size` at once, those of one x size together."""
    loader: DataLoader[Any] = DataLoader(
        _Pictures(dataset, task, with_loss),  # type: ignore[arg-type]
        sampler=range(rank, len(dataset), world),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for items in loader:
        ordered = sorted(items, key=lambda item: item.x.shape)
        for _, group in groupby(ordered, key=lambda item: item.x.shape):
            yield list(group)


def _picture_of(sample: Sample) -> Picture:
    image = sample["image"]
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    alpha = np.ascontiguousarray(image[..., 3]) if image.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(image[..., :3]), alpha)


# --- maps -----------------------------------------------------------------------------------------


def _activated(logits: Tensor, post: Postprocess) -> Tensor:
    if post.activation == "sigmoid":
        return logits.sigmoid()
    return logits.softmax(0) if post.activation == "softmax" else logits


def _stretched(maps: Tensor, post: Postprocess) -> Tensor:
    if post.normalize == "minmax":
        low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
        constant = high == low
        maps = torch.where(constant, maps, (maps - low) / torch.where(constant, 1, high - low))
    return maps.clamp(0, 1)


def _mask_of(probabilities: Tensor, post: Postprocess) -> Tensor:
    """(K, H, W) -> (H, W) int64 class indices; 1 where the only class is above the threshold.

    Every pixel gets a class: one that no class is sure of counts as its likeliest one's.
    """
    if len(probabilities) == 1:
        threshold = 0.5 if post.threshold is None else post.threshold
        return (probabilities[0] > threshold).long()
    return probabilities.argmax(0)


def _scaled(x: Tensor, scale: float, preprocess: Preprocess) -> Tensor:
    """x at about this factor of its size, at a size that the network takes."""
    if scale == 1.0:
        return x
    step, rest = preprocess.multiple_of, preprocess.remainder
    size = [max(step, round((side * scale - rest) / step) * step) + rest for side in x.shape[-2:]]
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def _outputs_of(network: nn.Module, x: Tensor, *, all_heads: bool) -> Any:
    """Logits, or a tuple with them first where the network has side outputs and these are asked."""
    if all_heads and "all_heads" in inspect.signature(network.forward).parameters:
        return network(x, all_heads=True)
    return network(x)


def _loss_of(loss: Loss, outputs: Any, group: Sequence[_Item], device: torch.device) -> Tensor:
    """The sum of the losses of some pictures, each by itself, and their number.

    A loss of a batch need not be the mean of its pictures'; this one does not depend on which
    pictures go through the network together.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    for number, item in enumerate(group):
        assert item.answer is not None
        target = item.answer.to(device)[None]
        batch = {"target": target.long() if target.ndim == 3 else target.float()}
        if item.weight is not None:
            batch["weight"] = item.weight.to(device)[None]
        value = loss(mapped(outputs, partial(_one_of, number)), batch)
        total += value["loss"] if isinstance(value, Mapping) else value
    return torch.stack([total, torch.full_like(total, len(group))])


def _one_of(number: int, maps: Tensor) -> Tensor:
    return maps[number : number + 1]


# --- sums -----------------------------------------------------------------------------------------


def _add(total: dict[str, Tensor], sums: Mapping[str, Tensor]) -> None:
    for key, value in sums.items():
        total[key] = total[key] + value if key in total else value


def _on_cpu(sums: Sums) -> Sums:
    return {name: {k: v.cpu() for k, v in values.items()} for name, values in sums.items()}


def _gathered(value: Any) -> list[Any]:
    """One value of each process."""
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, value)
    return parts


def _over_processes(totals: Sums) -> Sums:
    """The sums of all processes, some of which may have had no picture."""
    added: Sums = {name: {} for name in totals}
    for part in _gathered(_on_cpu(totals)):
        for name, sums in part.items():
            _add(added[name], sums)
    return added


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()
