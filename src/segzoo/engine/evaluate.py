"""Measuring a network on a data set: pictures in, numbers out, the way that `predict` goes.

Every picture is judged at its own size. What a metric adds up is added over all pictures, and over
all processes, before any number is made of it.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.data.loader import Prepared, read
from segzoo.data.sample import Dataset, Sample, checked, picture_of
from segzoo.engine.maps import activated, mask_of, restored, stretched
from segzoo.engine.reduce import Loss, each_tensor
from segzoo.errors import DatasetError, PluginError, ResourceError, SegzooError, printable
from segzoo.metrics.measure import Measure, Numbers, added, needed
from segzoo.metrics.overlapping import Overlapping
from segzoo.pictures import labels
from segzoo.pictures.codec import visible
from segzoo.predict.network import logits_size
from segzoo.predict.preprocess import Geometry, at_picture, prepare
from segzoo.predict.runtimes.torch import (
    evaluating,
    is_out_of_memory,
    logits_of,
    offers_all_heads,
    run,
)
from segzoo.spec import Postprocess, Preprocess, Recipe
from segzoo.zoo.registry import cause

__all__ = [
    "Evaluation",
    "Judged",
    "Looks",
    "Row",
    "Share",
    "Task",
    "distinct",
    "evaluate",
    "input_of",
    "judged",
    "numbers_of",
]

Sums: TypeAlias = Mapping[str, Mapping[str, Tensor]]  # measure -> what it adds up
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network's numbers mean: from a picture to x, and from logits to a mask."""

    preprocess: Preprocess
    postprocess: Postprocess
    in_channels: int
    num_classes: int
    ignore_index: int | None = None


class Looks(NamedTuple):
    """How each picture is looked at; what counts is the mean of the probabilities.

    flip: mirrored too. scales: at these factors of its size too.
    """

    flip: bool = False
    scales: tuple[float, ...] = ()


class Share(NamedTuple):
    """Which pictures are this process's: every `world`-th, from number `rank` on."""

    rank: int = 0
    world: int = 1


PLAIN, ALL = Looks(), Share()


class Row(NamedTuple):
    """One picture's measurements. number: in the data set."""

    number: int
    id: str
    sums: Sums


@dataclass(frozen=True)
class Evaluation:
    """What was found. values: every metric's numbers of the whole set, and "loss" where asked for.

    count: of the pictures. totals: the sums that the values are made of. rows: picture by picture,
    where asked for. batch_size: how many pictures went through the network at once in the end,
    fewer than asked for where memory was short.
    """

    values: dict[str, Any]
    count: int
    totals: Sums
    rows: list[Row] = field(default_factory=list)
    batch_size: int = 1


class Judged(NamedTuple):
    """One picture with its target and the network's answer, at its own size, on the CPU.

    target, mask: (H, W) int64, 0 and 1 for one class, NO_LABEL where there is no answer; (K, H, W)
    of 0 and 1 where classes overlap. probabilities: (K, H, W) float32 in 0..1.
    """

    image: NDArray[np.uint8]
    target: Tensor
    probabilities: Tensor
    mask: Tensor
    id: str


class _View(NamedTuple):
    """A picture as the network's input: x (C, h, w), and where the picture lies in it."""

    x: NDArray[np.float32]
    geometry: Geometry


class _Item(NamedTuple):
    """One picture on its way through the network, at each of the scales asked for."""

    number: int
    id: str
    views: list[_View]
    image: NDArray[np.uint8]
    target: Tensor
    answer: Tensor | None  # the target at the size of the logits
    weight: Tensor | None

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [view.x.shape for view in self.views]


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    *,
    task: Task,
    measures: Mapping[str, Measure],
    loss: Loss | None = None,
    batch_size: int = 8,
    workers: int = 0,
    views: Looks = PLAIN,
    keep_rows: bool = False,
    share: Share = ALL,
    precision: str = "fp32",
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Measure a network on a data set, where its parameters are. Its mode stays what it was.

    measures: by name; their numbers get that name in front where two are called alike.
    loss: averaged over the pictures, at the network's size. batch_size: halved, and tried again,
    when memory runs out. views: how each picture is looked at.
    share: this process's pictures; all processes get the result, or raise what one of them does.
    progress: called with the number of pictures that were just measured.

    DatasetError for an empty set, for labels outside the classes and for what a data set raises;
    PluginError when the network fails; ResourceError when a single picture does not fit.
    """
    if len(dataset) == 0:
        raise DatasetError("the data set to measure on is empty", expected="at least one sample")
    source = _Pictures(dataset, task, scales=views.scales, with_loss=loss is not None)
    look = partial(_answers, network, task, views.flip, precision, all_heads=loss is not None)
    rows: list[Row] = []
    losses: list[float] = []
    totals: dict[str, dict[str, Tensor]] = {name: {} for name in measures}
    failed: SegzooError | None = None
    try:
        # not inference_mode: what a network keeps for later could then never be trained with
        with evaluating(network), torch.no_grad():
            for items in _groups(source, batch_size, workers, share):
                while items:
                    found = _measured(items[:batch_size], look, task.postprocess, measures, loss)
                    if found is None:
                        batch_size = (min(batch_size, len(items)) + 1) // 2
                        continue
                    for row, value in found:
                        losses.append(value)
                        for name, sums in row.sums.items():
                            totals[name] = added([totals[name], sums] if totals[name] else [sums])
                        if keep_rows:
                            kept = {n: needed(m, row.sums[n]) for n, m in measures.items()}
                            rows.append(row._replace(sums=kept))
                    if progress is not None:
                        progress(len(found))
                    items = items[batch_size:]
    except SegzooError as error:
        if share.world == 1:
            raise
        failed = error
    if share.world > 1:
        parts = _gathered((failed, totals, losses, rows))
        faults = [part[0] for part in parts if part[0] is not None]
        if faults:
            raise faults[0]
        totals = {name: added(p[1][name] for p in parts if p[1][name]) for name in measures}
        losses = [value for part in parts for value in part[2]]
        rows = [row for part in parts for row in part[3]]
    values: dict[str, Any] = numbers_of(measures, totals)
    if loss is not None:
        values["loss"] = sum(losses) / len(losses)
    rows.sort(key=lambda row: row.number)
    return Evaluation(values, len(dataset), totals, rows, batch_size)


def numbers_of(measures: Mapping[str, Measure], sums: Sums) -> Numbers:
    """The numbers of all measures, of a set or of a picture."""
    numbers: Numbers = {}
    for name, measure in measures.items():
        numbers |= distinct(name, measure.result(sums[name]), numbers)
    return numbers


def distinct(name: str, numbers: Mapping[str, T], others: Mapping[str, T]) -> dict[str, T]:
    """A measure's numbers, with its name in front of those that others are called like."""
    return {f"{name}.{key}" if key in others else key: value for key, value in numbers.items()}


def judged(
    network: nn.Module,
    dataset: Dataset,
    numbers: Sequence[int],
    *,
    task: Task,
    views: Looks = PLAIN,
) -> Iterator[Judged]:
    """Some of the pictures with the network's answers, one by one, as `evaluate` sees them."""
    source = _Pictures(dataset, task, scales=views.scales, with_loss=False)
    for number in numbers:
        item = source[number]
        if isinstance(item, SegzooError):
            raise item
        with evaluating(network), torch.no_grad():
            answers = _answers(network, task, views.flip, "fp32", [item], all_heads=False)
            probabilities = _probabilities(answers, 0, item, task.postprocess)
        mask = mask_of(probabilities, task.postprocess, overlapping=item.target.ndim == 3)
        yield Judged(item.image, item.target, probabilities.cpu(), mask.cpu(), item.id)


def input_of(sample: Sample, task: Task) -> NDArray[np.float32]:
    """The network's input for one sample: (1, C, h, w) float32."""
    picture = picture_of(sample["image"], task.preprocess, task.in_channels)
    x, _ = prepare(picture, task.preprocess, task.in_channels)
    return x[None]


# --- pictures -------------------------------------------------------------------------------------


class _Pictures:
    """A data set's samples as items, by number; or why there is none.

    An error is given back: torch garbles what a worker raises.
    """

    def __init__(
        self, dataset: Dataset, task: Task, *, scales: Sequence[float], with_loss: bool
    ) -> None:
        recipe = Recipe(
            steps=1, batch_size=1, optimizer=("", {}), lr=1.0, ignore_index=task.ignore_index
        )
        self.dataset = dataset
        self.task = task
        self.scales = (1.0, *scales)
        self.with_loss = with_loss
        self.prepared = Prepared(
            dataset,
            recipe=recipe,
            preprocess=task.preprocess,
            in_channels=task.in_channels,
            num_classes=task.num_classes,
            scale=task.postprocess.scale,
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> "_Item | SegzooError":
        try:
            return self.item(number)
        except SegzooError as error:
            return error
        except Exception as error:  # a user's data set may raise anything
            return DatasetError(f"sample {number} of the data set cannot be read: {cause(error)}")

    def item(self, number: int) -> _Item:
        task = self.task
        sample = checked(self.dataset[number])
        name = printable(str(sample["id"]))
        target = labels.judged(
            sample["target"],
            num_classes=task.num_classes,
            ignore_index=self.prepared.ignore_index,
            file=name,
        )
        if target.ndim == 3 and len(target) == 1:
            target = target[0]
        picture = picture_of(sample["image"], task.preprocess, task.in_channels)
        views = [
            _View(*prepare(picture, _scaled(task.preprocess, scale, target), task.in_channels))
            for scale in self.scales
        ]
        answer = weight = None
        if self.with_loss:
            arrays = self.prepared.arrays(self.prepared.whole(sample | {"target": target}))
            answer, weight = arrays["target"], arrays["weight"]
        wide = torch.from_numpy(target.astype(np.int64))
        return _Item(number, name, views, visible(picture), wide, answer, weight)


def _groups(
    source: _Pictures, batch_size: int, workers: int, share: Share
) -> Iterator[list[_Item]]:
    """This process's pictures, at most `batch_size` at once, those of the same sizes together."""
    mine = range(share.rank, len(source), share.world)
    try:
        for items in read(
            source, workers=workers, sampler=mine, batch_size=batch_size, collate_fn=list
        ):
            for item in items:
                if isinstance(item, SegzooError):
                    raise item
            ordered = sorted(items, key=lambda item: item.shapes)
            for _, group in groupby(ordered, key=lambda item: item.shapes):
                yield list(group)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if "DataLoader worker" not in text:
            raise
        raise ResourceError(
            f"a process that reads the data is gone: {text[:200]}",
            next_step="Use workers=0 to see what it does; a killed one often means too little "
            "memory or /dev/shm: use fewer workers",
        ) from error


def _scaled(preprocess: Preprocess, scale: float, target: NDArray[Any]) -> Preprocess:
    """The way to a network's input that is this much larger. target: of the picture's size."""
    if scale == 1:
        return preprocess
    height, width = preprocess.size or target.shape[-2:]
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    resize = "stretch" if preprocess.size is None else preprocess.resize
    return dataclasses.replace(preprocess, size=size, resize=resize)


# --- batches --------------------------------------------------------------------------------------


def _measured(
    items: Sequence[_Item],
    look: "Callable[[Sequence[_Item]], list[_Answer]]",
    post: Postprocess,
    measures: Mapping[str, Measure],
    loss: Loss | None,
) -> list[tuple[Row, float]] | None:
    """Every picture's sums and loss; None where memory does not hold so many at once.

    ResourceError where it does not hold one.
    """
    try:
        answers, found = look(items), []
        for number, item in enumerate(items):
            probabilities = _probabilities(answers, number, item, post)
            mask = mask_of(probabilities, post, overlapping=item.target.ndim == 3)
            target = item.target.to(mask.device)
            sums = {
                name: _judging(measure, item).sums(probabilities, mask, target)
                for name, measure in measures.items()
            }
            value = 0.0 if loss is None else _loss_of(loss, answers[0].outputs, number, item)
            found.append((Row(item.number, item.id, sums), value))
        return found
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(items) > 1:
            return None
        raise ResourceError(
            "memory ran out while this picture was measured, by itself",
            file=items[0].id,
            found=f"a network input of {max(items[0].shapes)}",
            next_step="Use smaller pictures, or another device",
        ) from error


# --- the network ----------------------------------------------------------------------------------


class _Answer(NamedTuple):
    """What the network said of one view of some pictures. outputs: all of it, for a loss."""

    view: int
    mirrored: bool
    logits: Tensor
    outputs: Any


def _answers(
    network: nn.Module,
    task: Task,
    flip: bool,
    precision: str,
    items: Sequence[_Item],
    *,
    all_heads: bool,
) -> list[_Answer]:
    """Every view of some pictures through the network; the first view first, and not mirrored."""
    values = next(network.parameters(), torch.empty(0))
    arguments = {"all_heads": True} if all_heads and offers_all_heads(network) else {}
    answers = []
    for view in range(len(items[0].views)):
        x = torch.from_numpy(np.stack([item.views[view].x for item in items]))
        x = x.to(values.device, values.dtype if values.is_floating_point() else None)
        for mirrored in (False, True)[: 1 + flip]:
            wanted = arguments if view == 0 and not mirrored else {}
            with _autocast(values.device, precision):
                outputs = _run(network, x.flip(-1) if mirrored else x, wanted)
            logits = logits_of(outputs)[0]
            _check(logits, x, task)
            if task.postprocess.flips:
                with _autocast(values.device, precision):
                    other = logits_of(_run(network, x if mirrored else x.flip(-1), {}))[0]
                _check(other, x, task)
                logits = (logits + other.flip(-1)) / 2
            answers.append(_Answer(view, mirrored, logits, outputs))
    return answers


def _run(network: nn.Module, x: Tensor, arguments: dict[str, bool]) -> Any:
    try:
        return run(network, x, arguments)
    except Exception as error:  # a plugin may raise anything
        if is_out_of_memory(error):
            raise
        shape = tuple(x.shape)
        raise PluginError(f"the network failed for an input {shape}: {cause(error)}") from error


def _check(logits: Any, x: Tensor, task: Task) -> None:
    """PluginError for logits of another shape than the contract's."""
    n, _, h, w = x.shape
    expected = (n, task.num_classes, *logits_size(h, w, task.preprocess, task.postprocess))
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != expected:
        raise PluginError(
            f"the network's logits have a wrong shape for an input {tuple(x.shape)}",
            found=str(found),
            expected=str(expected),
            next_step="Run `segzoo check` on the model",
        )


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, kind) if kind else nullcontext()


# --- maps -----------------------------------------------------------------------------------------


def _probabilities(
    answers: Sequence[_Answer], number: int, item: _Item, post: Postprocess
) -> Tensor:
    """(K, H, W) float32 in 0..1 of one picture, at its own size: the mean of its views."""
    views = []
    for answer in answers:
        logits = answer.logits[number].float()
        if not logits.isfinite().all():
            raise PluginError("the network gave numbers that are not finite", file=item.id)
        if answer.mirrored:
            logits = logits.flip(-1)
        geometry = item.views[answer.view].geometry
        if post.resize == "levels":
            views.append(torch.from_numpy(at_picture(logits.cpu().numpy(), geometry, post)))
        else:
            views.append(activated(restored(logits, geometry, scale=post.scale), post))
    mean = views[0] if len(views) == 1 else torch.stack(views).mean(0)
    return mean if post.resize == "levels" else stretched(mean, post)


# --- sums -----------------------------------------------------------------------------------------


def _judging(measure: Measure, item: _Item) -> Measure:
    """The measure, once it is seen to suit the target: one class per pixel, or a map per class."""
    overlap = item.target.ndim == 3
    if overlap != isinstance(measure, Overlapping):
        kinds = ("one class per pixel", "a map of each class")
        raise DatasetError(
            "the target is of another kind than the metrics are of",
            file=item.id,
            found=kinds[overlap],
            expected=kinds[not overlap],
        )
    return measure


def _loss_of(loss: Loss, outputs: Any, number: int, item: _Item) -> float:
    """The loss of one picture by itself.

    A loss of a batch need not be the mean of its pictures'; this one does not depend on which
    pictures go through the network together.
    """
    assert item.answer is not None
    own = each_tensor(outputs, lambda maps: maps[number : number + 1].float())
    device = logits_of(own)[0].device
    target = item.answer.to(device)[None]
    batch = {"target": target.long() if target.ndim == 3 else target.float()}
    if item.weight is not None:
        batch["weight"] = item.weight.to(device)[None]
    value = loss(own, batch)
    return float(value["loss"] if isinstance(value, Mapping) else value)


def _gathered(value: Any) -> list[Any]:
    """One value of each process."""
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, value)
    return parts
