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
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from segzoo.base import ours
from segzoo.base.counts import count_of
from segzoo.base.files import make_folder
from segzoo.base.home import expanded
from segzoo.base.records import Json, asdict
from segzoo.base.terminal import warn
from segzoo.data.agreement import in_other_order, suit
from segzoo.data.check import classes_of
from segzoo.data.fingerprint import fingerprint
from segzoo.data.opened import Data, opened
from segzoo.data.sample import Dataset, Info
from segzoo.data.source import held_out
from segzoo.engine import evaluate as engine
from segzoo.engine.evaluate import Evaluation, Judged, Looks, Share, Task
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
from segzoo.report.evaluation_page import page_of_evaluation, shown_places
from segzoo.report.evaluation_report import (
    draw_judged,
    write_confusion,
    write_metrics,
    write_rows,
)
from segzoo.report.exhibits import LabelLook, looked_at, write_pictures
from segzoo.report.page import REPORT, write_page
from segzoo.report.panels import background_class, palette_of
from segzoo.runs.training import measures_of
from segzoo.saved.config import WEIGHTS_NAME
from segzoo.spec import ModelSpec
from segzoo.zoo import registry

__all__ = [
    "SEED",
    "EvaluateRequest",
    "Evaluated",
    "Machine",
    "Measurement",
    "evaluate",
    "evaluated",
    "measurement",
    "measures_for",
    "task_for",
    "to_measure",
]

SHOWN = 6  # pictures of the data set on panels.png
SEED = 0  # of the bootstrap
LARGEST_SCALE = 8.0


class Machine(NamedTuple):
    """How the machine is used. workers: processes that read pictures."""

    device: str = "auto"
    batch_size: int = 8
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """What to measure, on what, and how. See `evaluate`, whose arguments these are."""

    model: str | ModelSpec | Model
    weights: str | os.PathLike[str] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    data: str | Dataset
    metrics: Sequence[str] = ()
    views: Looks = engine.PLAIN
    machine: Machine = field(default_factory=Machine)
    bootstrap: int = 1000
    out: Path | None = None
    num_worst: int = 16
    progress: Callable[[int, int], object] | None = None


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
    metrics: names beside "semantic" and, for the task of that name, "saliency".
    batch_size: pictures at once, at most; fewer where memory is short. workers: processes that
        read them. Processes that torchrun starts share the pictures and all get the result.
    flip, scales: also look at the mirrored picture, and at it at these factors of its size, and
        take the mean of the probabilities.
    bootstrap: rounds for the intervals; 0 for none.
    out: a folder for report.html and what it is made of: metrics.json, rows.csv, confusion.csv
        and pictures.zip; also panels.png, worst.png (of num_worst pictures) and confusion.png.
    progress: called with the pictures measured, and to be measured, by this process.
    options: of the architecture, as `segzoo.load` takes them: depth=2.

    SegzooError says what to do.
    """
    request = EvaluateRequest(
        model=model,
        weights=None if weights is None else expanded(weights),
        options=options,
        data=data,
        metrics=metrics,
        views=Looks(flip, tuple(scales)),
        machine=Machine(device, batch_size, workers),
        bootstrap=bootstrap,
        out=None if out is None else Path(expanded(out)),
        num_worst=num_worst,
        progress=progress,
    )
    return evaluated(request)


class Measurement(NamedTuple):
    """A measurement with what it was made of, for what looks at pictures after it.

    zoo: the model. found: with the sums of every picture. look: the pictures of these numbers with
    the model's answers. colours: how labels are shown.
    """

    result: Evaluated
    zoo: Model
    data: Data
    measures: Mapping[str, Measure]
    found: Evaluation
    look: Callable[[Sequence[int]], Iterator[Judged]]
    colours: LabelLook


def evaluated(request: EvaluateRequest) -> Evaluated:
    """Do what `evaluate` says, whose arguments the request holds."""
    return measurement(request).result


def measurement(request: EvaluateRequest) -> Measurement:
    """Do what `evaluate` says, and keep what the numbers were made of."""
    _refuse_out_of_range(request)
    if request.out is not None:
        names = (*ours.known_by("metrics.json"), REPORT)
        ours.refuse_others(request.out / name for name in names)
    data, wanted = to_measure(request.data), request.machine.batch_size
    for note in data.notes:
        warn(note, stacklevel=4)
    with _processes(request.machine.device) as (share, device):
        candidate = _candidate_of(request, data, device)
        zoo, info = candidate.zoo, data.info
        folder = request.out if share.rank == 0 else None
        if folder is not None:
            make_folder(folder)
            if not candidate.overlapping:
                refuse_missing()
        found = engine.evaluate(
            zoo.network,
            data.dataset,
            task=candidate.task,
            measures=candidate.measures,
            batch_size=wanted,
            workers=request.machine.workers,
            views=request.views,
            keep_rows=True,
            share=share,
            progress=_counting(request.progress, len(range(share.rank, len(data), share.world))),
        )
        if found.batch_size < wanted:
            warn(f"memory held {count_of(found.batch_size, 'picture')} at once", stacklevel=4)
        rows, overlapping = _rows(found, candidate.measures), candidate.overlapping
        result = Evaluated(
            values=found.values,
            intervals=_intervals(found, candidate.measures, request.bootstrap),
            rows=rows,
            worst=_worst(rows, candidate.main, candidate.measures)[: request.num_worst],
            classes=_labels(zoo, info),
            confusion=None if overlapping else confusion_matrix(found.totals["semantic"]),
            protocol=_protocol(request, data, candidate, processes=share.world),
        )
        of = partial(engine.judged, task=candidate.task, views=request.views)
        whole = Measurement(
            result=result,
            zoo=zoo,
            data=data,
            measures=candidate.measures,
            found=found,
            look=partial(of, zoo.network, data.dataset),
            colours=LabelLook(
                _palette(zoo, info, overlapping=overlapping),
                info.ignore_index,
                background_class(info),
            ),
        )
        if folder is not None:
            _report(folder, whole)
    return whole


def to_measure(given: str | Dataset) -> Data:
    """The data set to measure on; of words that part theirs, the held-out part.

    UsageError for a stream.
    """
    found = opened(given, part="val")
    if not isinstance(found, Data):
        raise UsageError(
            "a stream cannot be measured on: its samples have no numbers",
            next_step="Download its shards, or write samples to a folder first",
        )
    return found


def task_for(zoo: Model, info: Info) -> Task:
    """What the model's numbers mean on this data.

    UsageError when the data has another number of classes, or has them in another order; a warning
    for other names.
    """
    there, here = classes_of(info), zoo.num_classes
    if there not in (None, here) and {there, here} != {1, 2}:
        raise UsageError(
            "the data set has not as many classes as the model",
            found=f"{there}: {', '.join(info.classes)[:200]}".removesuffix(": "),
            expected=str(here),
        )
    if in_other_order(info.classes, zoo.classes):
        raise UsageError(
            "the data set has its classes in another order than the model",
            found=", ".join(info.classes)[:200],
            expected=", ".join(zoo.classes)[:200],
            next_step="Say values= and classes= of the data set in the model's order",
        )
    if here > 1 and len(info.classes) == len(zoo.classes):
        for number, names in enumerate(zip(info.classes, zoo.classes, strict=True)):
            if len({registry.fold(name) for name in names}) > 1:
                warn(
                    f"class {number} is {names[0]!r} in the data set, {names[1]!r} to the model",
                    stacklevel=6,
                )
    return Task(
        preprocess=zoo.preprocess,
        postprocess=zoo.postprocess,
        in_channels=zoo.in_channels,
        num_classes=zoo.num_classes,
        ignore_index=info.ignore_index,
    )


def measures_for(zoo: Model, data: Data, names: Sequence[str] = ()) -> dict[str, Measure]:
    """Those of the model's task first, then others; of each class by itself where they overlap."""
    overlapping = zoo.num_classes > 1 and len(data) > 0 and data.overlaps
    return measures_of(
        zoo.task, names, zoo.num_classes, data.info.ignore_index, overlapping=overlapping
    )


# --- what is measured -----------------------------------------------------------------------------


def _refuse_out_of_range(request: EvaluateRequest) -> None:
    for name, value, least in (
        ("batch_size", request.machine.batch_size, 1),
        ("workers", request.machine.workers, 0),
        ("bootstrap", request.bootstrap, 0),
        ("num_worst", request.num_worst, 0),
    ):
        if value < least:
            raise UsageError(f"{name}={value} is below {least}")
    scales = request.views.scales
    if not all(0 < scale <= LARGEST_SCALE for scale in scales):
        raise UsageError(f"scales={scales}", expected=f"above 0, at most {LARGEST_SCALE:g}")


@contextlib.contextmanager
def _processes(device: str) -> Iterator[tuple[Share, str]]:
    """This process among those that torchrun started, and its device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        here = dist.is_available() and dist.is_initialized()
        yield Share(dist.get_rank(), dist.get_world_size()) if here else Share(), device
        return
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Share(dist.get_rank(), world), device
    finally:
        dist.destroy_process_group()


class _Candidate(NamedTuple):
    """What is measured, and how. origin: the model's name, options and weights, as JSON values."""

    zoo: Model
    origin: dict[str, Json]
    task: Task
    measures: Mapping[str, Measure]

    @property
    def overlapping(self) -> bool:
        return isinstance(self.measures["semantic"], Overlapping)

    @property
    def main(self) -> str:
        """The metric that pictures are sorted by."""
        return "mean_iou" if self.overlapping else MAIN[self.zoo.task]


def _candidate_of(request: EvaluateRequest, data: Data, device: str) -> _Candidate:
    zoo, origin = _loaded(request, device)
    suit(zoo.preprocess, zoo.in_channels, data.info, by_words=data.words is not None)
    task = task_for(zoo, data.info)
    return _Candidate(zoo, origin, task, measures_for(zoo, data, request.metrics))


def _loaded(request: EvaluateRequest, device: str) -> tuple[Model, dict[str, Json]]:
    """The model, and what it is: its name, options and weights."""
    model, weights, options = request.model, request.weights, request.options
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


def _protocol(
    request: EvaluateRequest, data: Data, candidate: _Candidate, *, processes: int
) -> dict[str, Json]:
    """What one needs to know to measure the same again."""
    words, zoo, task = data.words, candidate.zoo, candidate.task
    found = fingerprint(data.dataset)
    return {
        "model": candidate.origin,
        "data": {
            "words": words,
            "part": "val" if words is not None and held_out(words) else None,
            "samples": len(data),
            "sha256": found.sha256,
            "of": found.of,
            "ignore_index": data.info.ignore_index,
        },
        "metrics": {
            name: registry.find(name, registry.METRICS).value for name in candidate.measures
        },
        "metrics_version": VERSION,
        "main": candidate.main,
        "overlapping": candidate.overlapping,
        "preprocess": asdict(task.preprocess),
        "postprocess": asdict(task.postprocess),
        "flip": request.views.flip,
        "scales": [*request.views.scales],
        "bootstrap": {"rounds": request.bootstrap, "seed": SEED, "confidence": 0.95},
        "versions": _versions(zoo),
        "device": str(next(zoo.parameters(), torch.empty(0)).device),
        "processes": processes,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


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


def _report(folder: Path, whole: Measurement) -> None:
    """Files of the folder: numbers first, then pictures, then the page that shows them."""
    result, colours = whole.result, whole.colours
    write_metrics(folder, result.as_json() | {"palette": [list(c) for c in colours.palette]})
    write_rows(folder, result.rows)
    main, count = result.protocol["main"], len(result.rows)
    few = range(0, count, -(-count // SHOWN))
    kept = [*chain(*shown_places([row[main] for row in result.rows]))] if result.worst else []
    wanted = sorted({*few, *result.worst, *kept})
    looked = dict(zip(wanted, map(looked_at, whole.look(wanted)), strict=True))
    for name, numbers, across in (("panels.png", few, 1), ("worst.png", result.worst, 2)):
        if numbers:
            captions = [
                f"{result.rows[n]['id']}  {main} {result.rows[n][main]:.4f}" for n in numbers
            ]
            draw_judged(
                folder / name,
                [looked[n] for n in numbers],
                captions=captions,
                classes=result.classes,
                palette=colours.palette,
                ignore_index=colours.ignore_index,
                across=across,
            )
    write_pictures(folder, {n: looked[n] for n in kept}, colours)
    if result.confusion is not None:
        pixels, path = whole.found.totals["semantic"]["targets"], folder / "confusion.png"
        write_confusion(folder, result.confusion, pixels=pixels, classes=result.classes)
        draw_confusion(path, result.confusion, pixels=pixels, classes=result.classes)
    write_page(folder / REPORT, page_of_evaluation(folder))
