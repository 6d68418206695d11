"""From names to a lower precision that may be used: made, measured on a data set, and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segzoo.base.counts import count_of
from segzoo.data.opened import Data
from segzoo.engine.evaluate import Task, evaluate, input_of
from segzoo.errors import PluginError, UsageError
from segzoo.metrics.measure import Measure
from segzoo.metrics.saliency import Saliency
from segzoo.model.served import Found, Request, found_by
from segzoo.predict.artefacts import accepted, ready
from segzoo.predict.artefacts.accepted import LIMITS, Accepted
from segzoo.predict.artefacts.identity import version_of
from segzoo.predict.artefacts.quantized import quantize
from segzoo.predict.network import Runtime
from segzoo.predict.preprocess import probabilities
from segzoo.predict.runtimes import libraries, offered
from segzoo.predict.runtimes.offered import Graph
from segzoo.runs.training import data_of, measures_of
from segzoo.spec import Postprocess

__all__ = ["Lowering", "lowered"]

CALIBRATED = 64  # pictures, evenly over the data set


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """What is to be measured. request: of the model. data, val: in words, as of a training."""

    request: Request
    precision: str
    runtimes: Sequence[str]
    data: str
    val: str | None = None


class _Made(NamedTuple):
    """A graph in a lower precision, or that of float32."""

    graph: Graph
    sha256: str
    size: int
    kept: tuple[str, ...] = ()


def lowered(lowering: Lowering) -> list[Accepted]:
    """Measure a lower precision in each runtime beside float32, and keep it where it holds.

    int8 is made of pictures of `data` first. Measured is on `val`, or on the held-out part of
    `data`: what `LIMITS` says may be lost. PluginError, with what was lost, for a runtime that
    loses more; those that hold are kept all the same. UsageError for fp32, for pictures that are
    not held out, and where `segzoo.load` and `open_data` have it.
    """
    precision, tell = lowering.precision, lowering.request.tell
    if precision == "fp32":
        raise UsageError(
            "fp32 loses nothing that could be measured", next_step="Give --precision bf16 or int8"
        )
    for name in lowering.runtimes:
        offered.refuse_unoffered(name, precision)
        libraries.import_library(name)
    train, val = data_of(lowering.data, lowering.val)
    if val is None:
        raise UsageError(
            "what is lost has to be measured on other pictures than int8 is made of",
            next_step="Add val=0.1 to the words of --data, or give --val",
        )
    found = found_by(lowering.request)
    graph, sha256 = ready.graph_for(found.subject)
    if precision == "int8":
        made = _in_eight_bits(found, graph, train, tell)
    else:
        made = _Made(graph, sha256, len(graph()))
    exact_name = next(iter(offered.installed("fp32")), lowering.runtimes[0])
    tell(f"measuring {found.subject.identity.model} on {count_of(len(val), 'picture')} in fp32")
    exact = _measured(found, ready.runtime_for(found.subject, exact_name, "fp32"), val)
    kept, faults = [], []
    for name in lowering.runtimes:
        tell(f"measuring it in {precision}, by {name}")
        record = Accepted(
            identity=found.subject.identity,
            runtime=name,
            version=version_of(name),
            precision=precision,
            sha256=made.sha256,
            size=made.size,
            data=val.name,
            pictures=len(val),
            exact=exact,
            found=_measured(found, ready.started(name, precision, made.graph), val),
            kept=made.kept,
        )
        if record.fault:
            faults.append(f"{name} loses {record.fault}")
            continue
        accepted.write(record)
        kept.append(record)
    if faults:
        raise PluginError(
            f"{found.subject.identity.model} loses too much in {precision}: {'; '.join(faults)}",
            next_step="Give --precision fp32",
        )
    return kept


def _in_eight_bits(found: Found, graph: Graph, train: Data, tell: Callable[[str], None]) -> _Made:
    """The graph in eight bits, kept beside the artefact."""
    numbers = np.linspace(0, len(train) - 1, min(CALIBRATED, len(train))).round().astype(int)
    tell(f"making int8 of {count_of(len(numbers), 'picture')}")
    task = _task(found, train)
    plain = Postprocess(activation=found.config.postprocess.activation)

    def likely(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return probabilities(logits, plain)

    made = quantize(graph(), [input_of(train.dataset[int(n)], task) for n in numbers], likely)
    sha256 = accepted.write_graph(found.subject.identity, made.graph)
    return _Made(lambda: made.graph, sha256, len(made.graph), made.kept)


def _measured(found: Found, runtime: Runtime, val: Data) -> dict[str, float]:
    """The metrics of `LIMITS` that the model's task has."""
    config = found.config
    ignored = val.info.ignore_index
    measures: dict[str, Measure] = {"saliency": Saliency(ignore_index=ignored, curves_alone=True)}
    if config.task != "saliency":
        overlapping = config.num_classes > 1 and val.overlaps
        measures = measures_of(
            config.task, (), config.num_classes, ignored, overlapping=overlapping
        )
    values = evaluate(
        _Network(runtime), val.dataset, task=_task(found, val), measures=measures, batch_size=1
    ).values
    return {name: round(values[name], 6) for name in LIMITS if isinstance(values.get(name), float)}


def _task(found: Found, data: Data) -> Task:
    config = found.config
    return Task(
        preprocess=config.preprocess,
        postprocess=config.postprocess,
        in_channels=config.in_channels,
        num_classes=config.num_classes,
        ignore_index=data.info.ignore_index,
    )


class _Network(nn.Module):
    """A runtime as the network that is measured."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.runtime(x.contiguous().numpy())[0])
