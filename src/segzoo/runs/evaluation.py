"""From names to numbers: `segzoo.evaluate`."""

import contextlib
import hashlib
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segzoo.base.files import make_folder
from segzoo.base.records import Json, asdict
from segzoo.base.terminal import warn
from segzoo.data.agreement import in_other_order, suit
from segzoo.data.fingerprint import fingerprint
from segzoo.data.sample import Dataset, Info, checked, info_of
from segzoo.data.source import held_out, open_data
from segzoo.engine import evaluate as engine
from segzoo.engine.evaluate import Evaluation, Judged, Task
from segzoo.errors import UsageError
from segzoo.metrics.bootstrap import intervals
from segzoo.metrics.measure import MAIN, Measure
from segzoo.metrics.overlapping import Overlapping
from segzoo.metrics.semantic import confusion_matrix
from segzoo.metrics.versions import VERSION
from segzoo.model.load import load
from segzoo.model.loaded import Model
from segzoo.pictures.labels import Palette, default_classes, default_palette
from segzoo.predict.runtimes.torch import device_of
from segzoo.report.confusion import draw_confusion, refuse_missing
from segzoo.report.evaluation_report import draw_judged, write_metrics, write_rows
from segzoo.report.panels import palette_of
from segzoo.runs.training import measures_of
from segzoo.saved.config import WEIGHTS_NAME
from segzoo.spec import ModelSpec
from segzoo.zoo import registry

__all__ = ["Evaluated", "evaluate", "measures_for", "opened", "task_for"]

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
    **options: Json,
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
    options: of the architecture, as `segzoo.load` takes them: depth=2.

    SegzooError says what to do.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("workers", workers, 0),
        ("bootstrap", bootstrap, 0),
        ("num_worst", num_worst, 0),
    ):
        if value < least:
            raise UsageError(f"{name}={value} is below {least}")
    if not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise UsageError(f"scales={tuple(scales)}", expected=f"above 0, at most {LARGEST_SCALE:g}")
    dataset = opened(data)
    with _processes(device) as (rank, world, place):
        zoo, origin = _loaded(model, weights, place, options)
        info = info_of(dataset)
        suit(zoo.preprocess, zoo.in_channels, info, by_words=isinstance(data, str))
        task = task_for(zoo, info)
        default = ["saliency"] if zoo.task in SALIENT else []
        measures = measures_for(zoo, dataset, [*default, *metrics])
        overlapping = isinstance(measures["semantic"], Overlapping)
        folder = Path(out) if out is not None and rank == 0 else None
        if folder is not None:
            make_folder(folder)
            if not overlapping:
                refuse_missing()
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
            warn(f"memory held {found.batch_size} pictures at once", stacklevel=2)
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
            "metrics_version": VERSION,
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
            look = partial(engine.judged, zoo.network, dataset, task=task, flip=flip, scales=scales)
            _report(folder, result, found, look, _palette(zoo, info, overlapping=overlapping))
    return result


def opened(data: str | Dataset) -> Dataset:
    """The data set to measure on; of words that part theirs, the held-out part.

    UsageError for a stream.
    """
    dataset = open_data(data, part="val") if isinstance(data, str) else data
    if not isinstance(dataset, Dataset):
        raise UsageError(
            "a stream cannot be measured on: its samples have no numbers",
            next_step="Download its shards, or write samples to a folder first",
        )
    return dataset


def task_for(zoo: Model, info: Info) -> Task:
    """What the model's numbers mean on this data.

    UsageError when the data has another number of classes, or has them in another order; a warning
    for other names.
    """
    there, here = len(info.classes), zoo.num_classes
    if there not in (0, here) and {there, here} != {1, 2}:
        raise UsageError(
            "the data set has not as many classes as the model",
            found=f"{there}: {', '.join(info.classes)[:200]}",
            expected=str(here),
        )
    if in_other_order(info.classes, zoo.classes):
        raise UsageError(
            "the data set has its classes in another order than the model",
            found=", ".join(info.classes)[:200],
            expected=", ".join(zoo.classes)[:200],
            next_step="Say values= and classes= of the data set in the model's order",
        )
    if here > 1 and there == len(zoo.classes):
        for number, names in enumerate(zip(info.classes, zoo.classes, strict=True)):
            if len({registry.fold(name) for name in names}) > 1:
                warn(
                    f"class {number} is {names[0]!r} in the data set, {names[1]!r} to the model",
                    stacklevel=3,
                )
    return Task(
        preprocess=zoo.preprocess,
        postprocess=zoo.postprocess,
        in_channels=zoo.in_channels,
        num_classes=zoo.num_classes,
        ignore_index=info.ignore_index,
    )


def measures_for(zoo: Model, dataset: Dataset, names: Sequence[str] = ()) -> dict[str, Measure]:
    """Metrics by name, "semantic" always the last; of each class by itself where classes overlap.

    Whether they do, the first target tells: it then is a map per class.
    """
    several = zoo.num_classes > 1 and len(dataset) > 0
    overlapping = several and checked(dataset[0])["target"].ndim == 3
    ignore_index = info_of(dataset).ignore_index
    return measures_of(names, zoo.num_classes, ignore_index, overlapping=overlapping)


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
    model: str | ModelSpec | Model,
    weights: str | os.PathLike[str] | None,
    device: str,
    options: Mapping[str, Json],
) -> tuple[Model, dict[str, Json]]:
    """The model, and what it is: its name, options and weights."""
    name: str | None = None
    sha256: str | None = None
    if isinstance(model, Model):
        if weights is not None or options:
            raise UsageError("a Model has its weights and options already", file=weights or "")
        zoo = model if device == "auto" else model.to(device_of(device))
    else:
        zoo = load(model, pretrained=weights is None, weights=weights, device=device, **options)
        tags = (tag for tag, record in zoo.spec.weights.items() if record is zoo.weights)
        if zoo.weights is not None:
            name, sha256 = f"{zoo.config.model}.{next(tags)}", zoo.weights.sha256
        elif weights is not None:
            with open(weights, "rb") as stream:
                name, sha256 = (
                    os.fsdecode(weights),
                    hashlib.file_digest(stream, "sha256").hexdigest(),
                )
        else:
            name, sha256 = str(model), zoo.config.files.get(WEIGHTS_NAME)
    return zoo, {
        "name": zoo.config.model,
        "plugin": zoo.config.distribution,
        "options": dict(zoo.config.options),
        "task": zoo.task,
        "num_classes": zoo.num_classes,
        "weights": name,
        "sha256": sha256,
    }


def _counting(
    progress: Callable[[int, int], object] | None, total: int
) -> Callable[[int], object] | None:
    """What adds up the pictures that were measured."""
    if progress is None:
        return None
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return tell


# --- what was found -------------------------------------------------------------------------------


def _rows(found: Evaluation, measures: Mapping[str, Measure]) -> list[dict[str, Any]]:
    """Every picture's numbers, but for those of single classes."""
    rows = []
    for number, name, sums in found.rows:
        numbers = engine.numbers_of(measures, sums)
        single = {key: value for key, value in numbers.items() if isinstance(value, float)}
        rows.append({"number": number, "id": name, **single})
    return rows


def _intervals(
    found: Evaluation, measures: Mapping[str, Measure], rounds: int
) -> dict[str, tuple[float, float]]:
    """Of every number of the whole set that is defined, and is not one class's."""
    result: dict[str, tuple[float, float]] = {}
    for name, measure in measures.items() if rounds else ():
        numbers = measure.result(found.totals[name])
        names = [k for k, v in numbers.items() if isinstance(v, float) and not math.isnan(v)]
        sums = [row.sums[name] for row in found.rows]
        pairs = intervals(measure, sums, names=names, rounds=rounds, seed=SEED)
        result |= engine.distinct(name, pairs, result)
    return result


def _worst(
    rows: Sequence[Mapping[str, Any]], main: str, measures: Mapping[str, Measure]
) -> list[int]:
    """The pictures for which the main metric is defined, the worst first."""
    sign = -1 if any(main in measure.lower_is_better for measure in measures.values()) else 1
    known = [row for row in rows if not math.isnan(row[main])]
    return [row["number"] for row in sorted(known, key=lambda row: sign * row[main])]


def _labels(zoo: Model, info: Info) -> tuple[str, ...]:
    """A name for every label: one class has two, background and foreground."""
    names = zoo.classes or info.classes
    if max(zoo.num_classes, len(names)) <= 2:
        if zoo.num_classes == 1 or len(names) == 1:
            return ("background", names[-1] if names else "foreground")
    return names or default_classes(zoo.num_classes)


def _palette(zoo: Model, info: Info, *, overlapping: bool) -> Palette:
    """A colour for every label."""
    if zoo.palette:
        return zoo.palette if zoo.num_classes > 1 else ((0, 0, 0), *zoo.palette)
    if overlapping and not info.palette:
        return default_palette(zoo.num_classes + 1)[1:]  # without the background's black
    return palette_of(info, zoo.num_classes)


def _versions(zoo: Model) -> dict[str, str]:
    names = ["segzoo-core", "torch", "numpy", "pillow"]
    found = {name: version(name) for name in names} | {"python": platform.python_version()}
    if zoo.config.distribution:
        found[zoo.config.distribution] = zoo.config.version
    return found


def _defined(value: float | list[float]) -> Json:
    """Numbers as JSON has them: null for nan."""
    if isinstance(value, list):
        return [_defined(one) for one in value]
    return None if math.isnan(value) else value


def _report(
    folder: Path,
    result: Evaluated,
    found: Evaluation,
    look: Callable[[Sequence[int]], Iterator[Judged]],
    palette: Palette,
) -> None:
    """Files of the folder: numbers first, then pictures."""
    write_metrics(folder, result.as_json())
    write_rows(folder, result.rows)
    main, count = result.protocol["main"], len(result.rows)
    few = range(0, count, -(-count // SHOWN))
    for name, numbers, across in (("panels.png", few, 1), ("worst.png", result.worst, 2)):
        if numbers:
            captions = [
                f"{result.rows[n]['id']}  {main} {result.rows[n][main]:.4f}" for n in numbers
            ]
            draw_judged(
                folder / name,
                look(numbers),
                captions=captions,
                classes=result.classes,
                palette=palette,
                ignore_index=result.protocol["data"]["ignore_index"],
                across=across,
            )
    if result.confusion is not None:
        draw_confusion(
            folder / "confusion.png",
            result.confusion,
            pixels=found.totals["semantic"]["targets"],
            classes=result.classes,
        )
