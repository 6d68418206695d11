"""The numbers of what is published: of an evaluation, of the run, or of the record."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segzoo.base.counts import count_of
from segzoo.base.home import expanded
from segzoo.base.records import Json
from segzoo.data.source import COMMON, parse
from segzoo.engine import journal
from segzoo.engine.record import MODEL, RUN, begun_as
from segzoo.errors import ConfigError, UsageError, printable
from segzoo.metrics.measure import MAIN
from segzoo.metrics.versions import VERSION, name_now, named_now, version_in
from segzoo.model.loaded import Model
from segzoo.publish.privacy import public, public_words
from segzoo.publish.source import Publishable
from segzoo.saved import config as configs
from segzoo.spec import Metric
from segzoo.zoo.refs import Hub

__all__ = ["Measured", "measured_of"]


class Measured(NamedTuple):
    """Numbers, the main one first, and how they came about; record: for training/metrics.json."""

    metrics: tuple[Metric, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = {}
    command: str = ""
    record: Mapping[str, Json] = {}


def measured_of(
    origin: Publishable, evaluation: str | os.PathLike[str] | None, repo: str, tag: str
) -> Measured:
    """The numbers of an evaluation, else of the run, else of the record."""
    if evaluation is not None:
        path = Path(expanded(evaluation))
        path = path / "metrics.json" if path.is_dir() else path
        return _of_evaluation(configs.read_json(path), path, origin, repo, tag)
    if origin.run is not None:
        return _of_run(origin.run, origin.model)
    return Measured(origin.model.weights.metrics if origin.model.weights else ())


def _of_evaluation(
    found: Mapping[str, Json], path: Path, origin: Publishable, repo: str, tag: str
) -> Measured:
    try:
        values, protocol = found["values"], found["protocol"]
        about, data = protocol["model"], protocol["data"]
        main, names = protocol["main"], sorted(protocol["metrics"])
        words, samples = data["words"], int(data["samples"])
        measured_with = str(protocol["versions"]["segzoo-core"])
        flip, scales = bool(protocol["flip"]), [float(scale) for scale in protocol["scales"]]
        by = version_in(protocol, file=path, error=ConfigError)
        values, main = named_now(values, by), name_now(main, by)
        ranges = named_now(found["intervals"], by)
        intervals = {k: (float(low), float(high)) for k, (low, high) in ranges.items()}
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        if main not in numbers or not isinstance(about, dict):
            raise KeyError(main)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(
            "this is not what segzoo eval writes", file=path, next_step="Run: segzoo eval -o FOLDER"
        ) from None
    config = origin.model.config
    if about.get("name") != config.model or about.get("num_classes") != config.num_classes:
        raise UsageError(
            "the numbers are of another model",
            file=path,
            found=f"{printable(str(about.get('name')))}, num_classes={about.get('num_classes')}",
            expected=f"{config.model}, num_classes={config.num_classes}",
        )
    if origin.sha256 and about.get("sha256") and about["sha256"] != origin.sha256:
        raise UsageError(
            "the numbers are of other weights",
            file=path,
            found=printable(str(about["sha256"])),
            expected=origin.sha256,
        )
    told = public_words(words) if isinstance(words, str) else f"data set {data.get('sha256')}"
    part = ", held-out part" if data.get("part") else ""
    split = f"{told}{part}, {count_of(samples, 'picture')}"
    also = [*(["mirrored too"] if flip else []), *(f"at {s:g} of the size too" for s in scales)]
    tool = f"segzoo {measured_with}, version {VERSION} of the metrics"
    known = _known(words, origin) if isinstance(words, str) else []
    text = "; ".join([f"{tool}: {', '.join(names)}", "each picture at its own size", *also, *known])
    ordered = [main, *(name for name in numbers if name != main)]
    metrics = tuple(
        Metric(name=name, value=float(numbers[name]), split=split, protocol=text)
        for name in ordered
    )
    command = ""
    if isinstance(words, str):
        reference = Hub(repo, tag or None)
        usual = {"semantic", "saliency"} if config.task == "saliency" else {"semantic"}
        more = [f"--metric {shlex.quote(n)}" for n in names if n not in usual]
        more += ["--flip"] if flip else []
        more += [f"--scale {scale:g}" for scale in scales]
        command = " ".join([f"segzoo eval {reference} --data {shlex.quote(told)}", *more])
    named = {"values": values, "intervals": ranges, "classes": found["classes"]}
    record = public({**named, "protocol": {**protocol, "main": main, "metrics_version": VERSION}})
    record["protocol"]["model"].pop("weights", None)
    if isinstance(words, str):
        record["protocol"]["data"]["words"] = told
    return Measured(metrics, intervals, command, record)


def _known(words: str, origin: Publishable) -> list[str]:
    """What the training had to do with the pictures measured on: it chose by them, or saw them."""
    run = origin.run
    if run is None and origin.place is not None and origin.place.resolve().name == MODEL:
        run = origin.place.resolve().parent  # the model of a run, without the rest of it
    if run is None or not (run / RUN).is_file():
        return []
    about = begun_as(run)
    identity = about.get("identity") or {}
    trained, held = identity.get("data"), identity.get("val") or identity.get("data")
    here, said = _side(words, "val"), []
    if isinstance(held, str) and any(record.get("best") for record in journal.read(run)):
        chosen = _side(held, "val")
        if here.overlaps(chosen):
            by = version_in(identity, file=run / RUN, error=ConfigError)
            main = name_now(about.get("recipe", {}).get("eval_metric") or "loss", by)
            part = "this set" if here == chosen else "a part of this set"
            said.append(f"the step was chosen by {main} on {part}")
    if isinstance(trained, str) and here.overlaps(_side(trained, "train")):
        said.append("the network was trained on pictures of this set")
    return said


class _Side(NamedTuple):
    """Which samples words name. base: without what parts the set; parting, side: val=0.2, train."""

    base: tuple[str, str, tuple[tuple[str, str], ...]]
    parting: Mapping[str, str]
    side: str

    def overlaps(self, other: "_Side") -> bool:
        """Whether both may name the same samples."""
        return self.base == other.base and (
            self.parting != other.parting or self.side == other.side
        )


def _side(words: str, part: str) -> _Side:
    """part: the side that words mean which part a set and name none."""
    source = parse(words)
    options = dict(source.options)
    parting = {name: options.pop(name) for name in COMMON if name in options}
    side = parting.pop("part", part) if parting else ""
    if parting:
        parting.setdefault("seed", "0")
    path = source.path
    if "://" not in path:
        path = os.path.abspath(expanded(path))
    return _Side((source.reader, path, tuple(sorted(options.items()))), parting, side)


def _of_run(run: Path, model: Model) -> Measured:
    """What the run measured while it trained, at the step whose weights it kept."""
    about = begun_as(run)
    best = [record for record in journal.read(run) if record.get("best") and record.get("val")]
    words = about.get("identity", {}).get("val") or about.get("identity", {}).get("data")
    if not best or not isinstance(words, str):
        return Measured()
    by = version_in(about["identity"], file=run / RUN, error=ConfigError)
    measured = named_now(best[-1]["val"], by)
    numbers = {k: v for k, v in measured.items() if isinstance(v, int | float)}
    main = name_now(about.get("recipe", {}).get("eval_metric") or MAIN[model.task], by)
    measured_with = about.get("machine", {}).get("segzoo-core", "")
    held = "" if about["identity"].get("val") else ", held-out part"
    text = (
        f"segzoo {measured_with}, version {VERSION} of the metrics, while training; the step was "
        f"chosen by {main} on this set"
    )
    metrics = tuple(
        Metric(name=k, value=float(v), split=f"{public_words(words)}{held}", protocol=text)
        for k, v in sorted(numbers.items(), key=lambda item: item[0] != main)
        if k != "loss"
    )
    return Measured(metrics, record={"step": best[-1]["step"], "values": numbers})
