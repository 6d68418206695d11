"""From names to numbers: `segzoo.evaluate`."""

import contextlib
import hashlib
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from segzoo import api, registry
from segzoo.config import WEIGHTS_NAME
from segzoo.data.fingerprint import fingerprint
from segzoo.data.sample import Dataset, Info, checked, info_of
from segzoo.data.source import held_out, open_data
from segzoo.engine import evaluate as engine
from segzoo.engine.evaluate import Evaluation, Task
from segzoo.errors import UsageError
from segzoo.files import make_folder
from segzoo.labels import Palette, default_classes, default_palette
from segzoo.metrics.bootstrap import intervals
from segzoo.metrics.measure import Measure
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.semantic import confusion_matrix
from segzoo.model import Model
from segzoo.report.confusion import draw_confusion, refuse_missing
from segzoo.report.evaluation_report import draw_judged, write_metrics, write_rows
from segzoo.report.panels import palette_of
from segzoo.spec import Json, ModelSpec, asdict
from segzoo.training import MAIN, measures_of

__all__ = ["Evaluated", "evaluate"]

SALIENT = ("saliency", "binary")  # tasks that the saliency metrics are made for
SHOWN = 6  # pictures of the data set on panels.png
SEED = 0  # of the bootstrap
LARGEST_SCALE = 8.0


@dataclass(frozen=True)
class Evaluated:
    """What was measured.

    values: numbers of the whole set by name, a list for one per class; nan where it is not defined.
    intervals: the lowest and highest of 95 in 100 bootstrap samples, by name.
    rows: picture by picture, "number" and "id" and its own numbers. worst: the numbers of the
        pictures with the worst value of the main metric, the worst first.
    classes: a name per label. confusion: (labels, labels) pixels of the row's class that were
        called the column's, or None where classes overlap.
    protocol: what one needs to know to measure the same again, as JSON values.
    """

    values: Mapping[str, float | list[float]]
    intervals: Mapping[str, tuple[float, float]]
    rows: Sequence[Mapping[str, Any]] = field(repr=False)
    worst: Sequence[int] = field(repr=False)
    classes: tuple[str, ...]
    confusion: Tensor | None = field(repr=False)
    protocol: Mapping[str, Json] = field(repr=False)

    def as_json(self) -> dict[str, Json]:
        """Values, intervals, classes and protocol; null for nan."""
        return {
            "values": {name: _defined(value) for name, value in self.values.items()},
            "intervals": {name: _defined([*pair]) for name, pair in self.intervals.items()},
            "classes": [*self.classes],
            "protocol": dict(self.protocol),
        }


def evaluate(
    model: str | ModelSpec | Model,
    data: str | Dataset,
    *,
    metrics: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    batch_size: int = 8,
    workers: int = 2,
    device: str = "auto",
    flip: bool = False,
    scales: Sequence[float] = (),
    bootstrap: int = 1000,
    out: str | os.PathLike[str] | None = None,
    num_worst: int = 16,
    progress: Callable[[int, int], object] | None = None,
) -> Evaluated:
    """Measure a model on a data set, each picture at its own size, as `predict` sees it.

    model: a name (then its default weights), name.tag, a saved folder, or a Model, which stays on
        its device unless one is given. weights: a safetensors file for a name.
    data: words (reader:path?option=value) or a data set. Words that part their set (val=0.2) mean
        its held-out part, unless they say part=train.
    metrics: names beside "semantic" and, for saliency and binary tasks, "saliency".
    batch_size: pictures at once, at most; fewer where memory is short. workers: processes that
        read them. Processes that torchrun starts share the pictures and all get the result.
    flip, scales: also look at the mirrored picture, and at it at these factors of its size, and
        take the mean of the probabilities.
    bootstrap: rounds for the intervals; 0 for none.
    out: a folder for metrics.json, rows.csv, panels.png, worst.png (of num_worst pictures) and
        confusion.png.
    progress: called with the pictures measured, and to be measured, by this process.

    SegzooError says what to do.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if value < least:
            raise UsageError(f"{name}={value} is below {least}")
    if not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise UsageError(f"scales={tuple(scales)}", expected=f"above 0, at most {LARGEST_SCALE:g}")
    dataset = open_data(data, part="val") if isinstance(data, str) else data
    if not isinstance(dataset, Dataset):
        raise UsageError(
            "a stream cannot be measured on: its samples have no numbers",
            next_step="Download its shards, or write samples to a folder first",
        )
    with _processes(device) as (rank, world, place):
        zoo, origin = _loaded(model, weights, place)
        info = info_of(dataset)
        _refuse_other_classes(zoo, info)
        overlapping = zoo.num_classes > 1 and _overlaps(dataset)
        folder = Path(out) if out is not None and rank == 0 else None
        if folder is not None:
            make_folder(folder)
            if not overlapping:
                refuse_missing()
        task = Task(
            preprocess=zoo.preprocess,
            postprocess=zoo.postprocess,
            in_channels=zoo.in_channels,
            num_classes=zoo.num_classes,
            ignore_index=info.ignore_index,
        )
        measures = _measures(zoo, metrics, info.ignore_index, overlapping=overlapping)
        found = engine.evaluate(
            zoo.network,
            dataset,
            task=task,
            measures=measures,
            batch_size=batch_size,
            workers=workers,
            flip=flip,
            scales=scales,
            keep_rows=True,
            rank=rank,
            world=world,
            progress=_counting(progress, len(range(rank, len(dataset), world))),
        )
        if found.batch_size < batch_size:
            warnings.warn(f"memory held {found.batch_size} pictures at once", stacklevel=2)
        main = "mean_iou" if overlapping else MAIN[zoo.task]
        rows = _rows(found, measures)
        protocol = {
            "model": origin,
            "data": {
                "words": data if isinstance(data, str) else None,
                "part": "val" if isinstance(data, str) and held_out(data) else None,
                "samples": len(dataset),
                "sha256": fingerprint(dataset),
                "ignore_index": info.ignore_index,
            },
            "metrics": {name: registry.find(name, registry.METRICS).value for name in measures},
            "main": main,
            "overlapping": overlapping,
            "preprocess": asdict(task.preprocess),
            "postprocess": asdict(task.postprocess),
            "flip": flip,
            "scales": [*scales],
            "bootstrap": {"rounds": bootstrap, "seed": SEED, "confidence": 0.95},
            "versions": _versions(zoo),
            "device": str(next(zoo.parameters(), torch.empty(0)).device),
            "processes": world,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        result = Evaluated(
            values=found.values,
            intervals=_intervals(found, measures, bootstrap),
            rows=rows,
            worst=_worst(rows, main, measures)[:num_worst],
            classes=_labels(zoo, info),
            confusion=None if overlapping else confusion_matrix(found.totals["semantic"]),
            protocol=protocol,
        )
        if folder is not None:
            look = partial(
                engine.judged, zoo.network, dataset, task=task, flip=flip, scales=scales
            )
            _report(folder, result, found, look, _palette(zoo, info, overlapping=overlapping))
    return result


# --- what is measured -----------------------------------------------------------------------------


@contextlib.contextmanager
def _processes(device: str) -> Iterator[tuple[int, int, str]]:
    """This process's number, how many there are, and its device; as torchrun started them."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        here = dist.is_available() and dist.is_initialized()
        yield (dist.get_rank(), dist.get_world_size(), device) if here else (0, 1, device)
        return
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.get_rank(), world, device
    finally:
        dist.destroy_process_group()


def _loaded(
    model: str | ModelSpec | Model, weights: str | os.PathLike[str] | None, device: str
) -> tuple[Model, dict[str, Json]]:
    """The model, and where it comes from."""
    origin: dict[str, Json] = {"reference": None, "weights": None, "sha256": None}
    if isinstance(model, Model):
        if weights is not None:
            raise UsageError("a Model has its weights already", file=weights)
        zoo = model if device == "auto" else model.to(api_device(device))
    else:
        zoo = api.load(model, pretrained=weights is None, weights=weights, device=device)
    ...
