"""The making of a plan: what the data is like, which model suits, what fits into the minutes."""

import dataclasses
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from segzoo.automatic.beginnings import NOTHING, Beginning
from segzoo.automatic.candidates import Suitable, candidates_for
from segzoo.automatic.kept import PASSES
from segzoo.automatic.machine import Capacity, machine, threads_of_torch
from segzoo.automatic.plan import AutoRequest, Considered, Line, Plan, change_of
from segzoo.automatic.rules import Situation, augmented, decided
from segzoo.automatic.words import completed_words, with_part
from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.data.inverted import Inverted
from segzoo.data.looked import Look, look_at, without
from segzoo.data.opened import Data
from segzoo.data.source import held_out
from segzoo.engine import recipes
from segzoo.engine.job import TrainingJob
from segzoo.engine.settings import MOST, Settings
from segzoo.engine.warm_up import Pace, timed
from segzoo.errors import ResourceError, UsageError, printable
from segzoo.metrics.measure import MAIN
from segzoo.model import build, configured
from segzoo.model.profile import activations
from segzoo.predict.preprocess import input_size
from segzoo.runs.request import Method, TrainRequest, Wishes
from segzoo.runs.subject import origin_of, subject_of
from segzoo.runs.training import data_of, plan_of
from segzoo.spec import MAX_BATCH, ModelSpec, Recipe

__all__ = ["Planned", "data_for", "planned", "request_for"]

TRIED = 4  # pictures of a step that is timed
ENOUGH = 8000  # pictures: a larger network is taken where as many fit; below, windows are smaller
LEAST = 4000  # below, pictures are made smaller
KNOWN = 0.5  # of both, where the network knows something
TIMING = 0.1  # of the minutes, at most, to find out how fast networks are
LEAST_TIMING = 10.0  # seconds
AFTER = 0.1  # of the minutes, at most, for what follows the training
# What is left of a side where fewer pictures fit. Windows of three quarters of a side gain by it:
# as many pixels are seen in the time, in more steps; those of half a side show too little.
WINDOWS = ((0.75, ENOUGH), (0.5, LEAST))
WHOLE = ((0.75, LEAST), (0.5, LEAST))
REMEMBER = 256 << 20  # bytes of samples, where no other process reads them meanwhile
KEPT = 3  # checkpoints, at least: their mean is tried
ROOM = 0.7  # of the free memory
GRADIENTS = 2.5  # times the memory of what a network computes, in training
OWN_LINES = ("val", "begins", "threads", "workers", "eval_every")  # and not fields of a recipe
RANDOM = "random"  # what a network begins with that begins with nothing
SHRUNK = ("size", "crop")
DATA_LINES = ("size", "crop", "centred", "normalize", "loss", "class_weights", "sampling")


class Planned(NamedTuple):
    """A plan, with the sets that it was made for."""

    plan: Plan
    data: Data
    val: Data


class _Seen(NamedTuple):
    """The lines of that name, and how many pixels are shown at once."""

    size: Json
    crop: Json
    pixels: float


class _Chosen(NamedTuple):
    """What will be trained. pace: of a step of TRIED pictures; fit: pictures that can be shown.

    pace is of windows, or pictures, as large as they may be; area: how much of that is left.
    """

    candidate: Suitable
    options: Mapping[str, Json]
    begins: Beginning
    pace: Pace
    fit: float
    half: float
    shrink: float
    area: float
    threads: int


def planned(asked: AutoRequest, settings: Settings) -> Planned:
    """What is to be done about what was asked; nothing is written. SegzooError says what to do."""
    began = time.monotonic()
    here = machine(settings.device)
    changes = _changes(asked)
    words = completed_words(asked.data, asked.val)
    data, val, val_line = _opened(words.data, words.val, changes)
    look = look_at(data, val)
    val = without(val, look.shared)
    numbers: dict[str, float] = {
        **look.traits.numbers,
        "minutes": asked.minutes,
        "cores": here.cores,
        "software": float(not here.bf16),
        "given_val": float(words.val is not None),
    }
    shares = tuple(found.share for found in look.traits.classes)
    task, found = _task(numbers), Situation(numbers, shares)
    steps = changes["augment"] if "augment" in changes else augmented(found)[0]
    val = _measured_on(val, steps)
    candidates, considered = candidates_for(numbers, task, asked)
    seconds = 60 * asked.minutes - (time.monotonic() - began)
    search = _Search(asked, settings, here, data, val, task, numbers, shares, changes, seconds)
    chosen, tried = search.chosen(candidates)
    lines = [val_line, *search.lines(chosen, look, began)]
    notes = [*words.notes, *look.notes]
    if look.shared:
        notes.append(
            f"among those to train on are {count_of(len(look.shared), 'picture')} to measure on: "
            "not measured on"
        )
    plan = Plan(
        asked=asked,
        data=data.words or "",
        val=words.val or data.words or "",
        lines=tuple(lines),
        considered=(*tried, *considered),
        traits=look.traits,
        notes=tuple(notes),
    )
    return Planned(plan, data, val)


def data_for(plan: Plan) -> tuple[Data, Data]:
    """The sets of a plan that was made before."""
    data, val = data_of(plan.data, None if held_out(plan.data) else plan.val)
    assert val is not None
    return data, _measured_on(without(val, look_at(data, val).shared), plan["augment"])


def request_for(found: Planned, run: Path, settings: Settings) -> TrainRequest:
    """What to ask of `segzoo.runs.training.trained`."""
    plan = found.plan
    own = {line.name: line.value for line in plan.lines}
    fields = {f.name for f in dataclasses.fields(Recipe)}
    changes = [change_of(x) for x in plan.lines if x.name.partition(".")[0] in fields]
    numbers = plan.traits.numbers
    spec = origin_of(own["model"], False)[0]
    spec = configured.variant_of(spec, {**_defaults(spec), **own["options"]})
    return TrainRequest(
        model=own["model"],
        data=found.data.words or found.data.dataset,
        val=found.val.words or found.val.dataset,
        run=run,
        method=Method(own["recipe"] or None, changes),
        wishes=Wishes(
            task=_task_of(own["model"], _task(numbers)),
            in_channels=found.data.bands,
            pretrained=own["begins"] == f"{own['model']}.{spec.default_weights}",
            backbone=_backbone_in(own["begins"], spec),
            options=own["options"],
        ),
        settings=dataclasses.replace(
            settings,
            workers=own["workers"],
            threads=max(1, own["threads"]),
            eval_every=own["eval_every"],
            remember=0 if own["workers"] else settings.remember or REMEMBER,
            keep=max(settings.keep, KEPT),
            channels_last=True,
        ),
    )


def _defaults(spec: ModelSpec) -> dict[str, Json]:
    return {name: option.default for name, option in spec.options.items()}


def _backbone_in(begins: str, spec: ModelSpec) -> str | None:
    """The backbone that a line of the plan names."""
    return begins if begins.partition("=")[0] in spec.backbone else None


def _measured_on(val: Data, augment: Json) -> Data:
    """The pictures to measure on; where inverting is learnt, inverted ones too."""
    inverts = (
        "invert" in augment
        if isinstance(augment, str)
        else any(step[0] == "invert" for step in augment)
    )
    return Data(Inverted(val.dataset)) if inverts else val  # its words are of the others alone


def _changes(asked: AutoRequest) -> dict[str, str]:
    found = {}
    for change in asked.changes:
        key, equals, value = change.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"{printable(change)!r} is not field=value")
        found[key] = value.strip()
    if "minutes" in found or "steps" in found or "epochs" in found:
        raise UsageError(
            "how long it trains follows from the minutes that there are",
            next_step="Give --minutes instead",
        )
    if found.get("begins", RANDOM) != RANDOM:
        raise UsageError(
            f"begins={printable(found['begins'])}",
            expected=f"begins={RANDOM}",
            next_step="What it is to begin with is named by --backbone NAME=FILE",
        )
    recipe = {name: text for name, text in found.items() if name not in OWN_LINES}
    recipes.overridden(recipes.DEFAULT, recipe)  # which says what is no field, or no value of it
    return found


def _opened(data: str, val: str | None, changes: Mapping[str, str]) -> tuple[Data, Data, Line]:
    """Both sides, the second held out where none is given, and what the plan says of it."""
    if val is None and not held_out(data):
        whole, _ = data_of(data, None)
        count = len(whole)
        if "val" in changes:
            share, why, source = _share(changes["val"]), "as you asked", ""
        else:
            value, rule = decided("val", Situation({"pictures": count, "given_val": 0}))
            share, why, source = value, rule.why.format(pictures=count), rule.source
        data = with_part(data, share, count)
        line = Line(name="val", value=share, why=why, source=source)
    else:
        if "val" in changes:
            raise UsageError(
                f"val={printable(changes['val'])}: what to measure on is given already",
                found=printable(data if val is None else f"--val {val}"),
            )
        line = Line(name="val", value="given", why="what to measure on is given")
    train, held = data_of(data, val)
    assert held is not None
    return train, held, line


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0 < share < 1:
        raise UsageError(f"val={printable(text)}", expected="a share between 0 and 1")
    return share


def _task(numbers: Mapping[str, float]) -> str:
    if numbers["overlapping"]:
        return "multilabel"
    return "binary" if numbers["classes"] <= 2 else "multiclass"


def _task_of(model: str, task: str) -> str:
    """The task, or what the model calls it."""
    spec = origin_of(model, False)[0]
    return "saliency" if task == "binary" and "binary" not in spec.tasks else task


@dataclasses.dataclass
class _Search:
    """What there is to choose from, and how fast each of it is here."""

    asked: AutoRequest
    settings: Settings
    here: Capacity
    data: Data
    val: Data
    task: str
    numbers: dict[str, float]
    shares: tuple[float, ...]
    changes: Mapping[str, str]
    seconds: float

    def chosen(self, candidates: Sequence[Suitable]) -> tuple[_Chosen, list[Considered]]:
        """The first candidate of which enough fits into the time, as large as it may be."""
        told, best = [], None
        until = time.monotonic() + max(LEAST_TIMING, TIMING * self.seconds)
        for candidate in candidates:
            enough = best is not None and best.fit >= _least(best.begins)
            if best is not None and (enough or time.monotonic() > until):
                suits = f"{best.candidate.model} suits as well, or better"
                verdict = suits if enough else "no time was left to find out how fast"
                told.append(_considered(candidate, verdict))
                continue
            found = self._largest(candidate, until)
            size = ", ".join(f"{k}={v}" for k, v in found.options.items())
            verdict = _fits(found) + f" with {size}" * bool(size)
            told.append(_considered(candidate, verdict))
            if best is None or found.fit > best.fit:
                best = found
        assert best is not None
        told = [
            dataclasses.replace(each, verdict=f"taken: {each.verdict}")
            if each.model == best.candidate.model and "fit into" in each.verdict
            else each
            for each in told
        ]
        return best, told

    def _largest(self, candidate: Suitable, until: float) -> _Chosen:
        """The largest way to build it of which enough fits; of the smallest, in both precisions."""
        begins = NOTHING if self.changes.get("begins") == RANDOM else candidate.begins
        smallest, *larger = candidate.ladder
        plain = self._pace(candidate, smallest, "fp32", 1.0)
        half = self._pace(candidate, smallest, "bf16", 1.0) if self.here.bf16 else plain
        ratio = self._work(half) / max(1e-9, self._work(plain))
        precision, pace = ("bf16", half) if ratio < 0.9 else ("fp32", plain)
        threads, pace = self._threaded(candidate, smallest, precision, pace)
        enough = _needed(ENOUGH, begins)
        found = _Chosen(
            candidate, smallest, begins, pace, self._fit(pace), ratio, 1.0, 1.0, threads
        )
        for options in larger:
            if found.fit < 2 * enough or time.monotonic() > until:
                break  # the next one computes twice as much or more
            with threads_of_torch(threads):
                pace = self._pace(candidate, options, precision, 1.0)
            if self._fit(pace) < enough:
                break
            found = found._replace(options=options, pace=pace, fit=self._fit(pace))
        return self._shrunk(found)

    def _shrunk(self, found: _Chosen) -> _Chosen:
        """As much smaller as it takes for enough to fit."""
        size, crop, _ = self._seen(found.candidate, WHOLE[-1][0])
        whole = self._seen(found.candidate, 1.0).pixels
        smaller = found
        for shrink, pictures in WHOLE if crop is None or size is not None else WINDOWS:
            area = self._seen(found.candidate, shrink).pixels / whole
            if smaller.fit < _needed(pictures, found.begins) and area < smaller.area:
                smaller = found._replace(fit=found.fit / area, shrink=shrink, area=area)
        return smaller

    def _seen(self, candidate: Suitable, shrink: float) -> _Seen:
        """What the network is shown at once; of what was asked for only that it does not shrink."""
        found = self._situation(candidate, shrink)
        size, crop = self._line("size", found).value, self._line("crop", found).value
        sides = crop or size or [found.numbers["height"], found.numbers["width"]]
        return _Seen(size, crop, math.prod(sides) if isinstance(sides, list) else 1.0)

    def _work(self, pace: Pace) -> float:
        """What tells precisions apart: on a CPU not the clock, which others move as well."""
        return pace.work if self.here.device.startswith("cpu") else pace.computing

    def _threaded(
        self, candidate: Suitable, options: Mapping[str, Json], precision: str, pace: Pace
    ) -> tuple[int, Pace]:
        """How many threads are the faster ones, all that torch was given or one; with their pace.

        Several hinder each other where a network is small, or others use the cores too.
        """
        given = self.here.threads
        if given == 1 or not self.here.device.startswith("cpu") or "threads" in self.changes:
            return given, pace
        with threads_of_torch(1):
            alone = self._pace(candidate, options, precision, 1.0)
        return (1, alone) if _seconds(alone) < 0.95 * _seconds(pace) else (given, pace)

    def _fit(self, pace: Pace) -> float:
        left = self.seconds - _after(self.asked, pace)
        return max(0.0, 0.9 * left) / (_seconds(pace) / TRIED)

    def _pace(
        self, candidate: Suitable, options: Mapping[str, Json], precision: str, shrink: float
    ) -> Pace:
        found = self._situation(candidate, shrink)
        changes = [f"batch_size={TRIED}", f"precision={precision}", "steps=1", "accumulate=1"]
        changes.append(change_of(self._metric(candidate)))
        for name in ("size", "crop", "loss"):
            changes.append(change_of(self._line(name, found)))
        changes.append(f"augment={Line(name='', value=augmented(found)[0], why='').text}")
        self._refuse_too_large(candidate, options, found)
        return timed(self._job(candidate, options, changes))

    def _job(
        self, candidate: Suitable, options: Mapping[str, Json], changes: Sequence[str]
    ) -> TrainingJob:
        request = TrainRequest(
            model=candidate.model,
            method=Method(candidate.suits.recipe or None, changes),
            wishes=Wishes(
                task=_task_of(candidate.model, self.task),
                in_channels=self.data.bands,
                options=options,
            ),
        )
        subject = subject_of(candidate.model, self.data, request)
        method = plan_of(request, subject, self.data, self.val)
        return TrainingJob(
            network=subject.network,
            loss=method.loss,
            data=self.data,
            val=self.val,
            recipe=method.recipe,
            task=subject.about,
            measures=method.measures,
            run=Path("no run"),
            settings=dataclasses.replace(
                self.settings,
                workers=0,
                threads=torch.get_num_threads(),
                channels_last=True,
                quiet=True,
            ),
        )

    def _refuse_too_large(
        self, candidate: Suitable, options: Mapping[str, Json], found: Situation
    ) -> None:
        """ResourceError where memory holds not one picture, in training or in measuring."""
        if self.here.memory is None:
            return
        crop, size = self._line("crop", found).value, self._line("size", found).value
        n = found.numbers
        whole = size or [n["height"] * max(1.0, n["spread"]), n["width"] * max(1.0, n["spread"])]
        seen = crop if isinstance(crop, list) else whole
        for shape, factor, what in ((seen, GRADIENTS, "train on"), (whole, 0.5, "measure")):
            if not isinstance(shape, list):
                continue
            needed = factor * 4 * self._values(candidate, options, shape)
            if needed > ROOM * self.here.memory:
                height, width = (round(side) for side in shape)
                raise ResourceError(
                    f"memory does not hold one picture to {what}",
                    found=f"{needed / 1e9:.1f} GB for {height}x{width} in {candidate.model}, "
                    f"{self.here.memory / 1e9:.1f} GB free",
                    next_step="Cut the pictures into tiles, or make them smaller: size=512",
                )

    def _values(
        self, candidate: Suitable, options: Mapping[str, Json], shape: Sequence[float]
    ) -> int:
        """What the network computes for one picture, counted for a small one."""
        spec, config, _ = origin_of(candidate.model, False)
        config = dataclasses.replace(config, options={**config.options, **options})
        spec = configured.variant_of(spec, config.options)
        side = input_size(config.preprocess, (128, 128))
        counted = activations(build.builder_of(spec, config), (1, config.in_channels, *side))
        return int(counted * shape[0] * shape[1] / (side[0] * side[1]))

    def _situation(self, candidate: Suitable, shrink: float) -> Situation:
        preprocess = candidate.spec.preprocess
        facts = {
            "fixed": float(preprocess.size is not None),
            "multiple": float(preprocess.multiple_of),
            "begins": float(candidate.begins.knows),
            "shrink": shrink,
        }
        return Situation({**self.numbers, **facts}, self.shares)

    def _line(self, name: str, found: Situation) -> Line:
        """A line as its rule decides it, or as it was asked for."""
        if name in self.changes:
            return Line(name=name, value=_value(name, self.changes[name]), why="as you asked")
        value, rule = decided(name, found)
        why, shrink = rule.why.format(**found.numbers), found.numbers["shrink"]
        if name in SHRUNK and value is not None and shrink < 1:
            why += f"; {shrink:g} of that, so that enough steps fit"
        return Line(name=name, value=value, why=why, source=rule.source)

    def lines(self, chosen: _Chosen, look: Look, began: float) -> list[Line]:
        """The plan, line by line; what a rule decides is known to those after it."""
        candidate, suits = chosen.candidate, chosen.candidate.suits
        found = self._situation(candidate, chosen.shrink)
        numbers = {**found.numbers, "begins": float(chosen.begins.knows), "half": chosen.half}
        lines = self._model_lines(chosen)
        numbers["cropped"] = 0.0
        for name in DATA_LINES:
            lines.append(self._line(name, Situation(numbers, self.shares)))
            if name == "crop":
                numbers["cropped"] = float(lines[-1].value is not None)
        lines.append(self._augment(Situation(numbers, self.shares)))
        lines.append(self._line("precision", Situation(numbers, self.shares)))
        recipe = recipes.of_spec(candidate.spec, suits.recipe or None)[1]
        numbers |= {
            "fit": chosen.fit,
            "recipe_rate": recipe.lr,
            "recipe_batch": float(recipe.batch_size),
        }
        lines.append(self._line("batch_size", Situation(numbers)))
        batch = float(lines[-1].value)
        numbers["batch"] = batch
        lines.append(self._line("lr", Situation(numbers)))
        step = _seconds(chosen.pace) * batch / TRIED * chosen.area
        numbers |= {"step": step, "measurement": chosen.pace.measurement}
        numbers["steps"] = max(1.0, chosen.fit / batch)
        lines += [self._line(name, Situation(numbers)) for name in ("ema", "eval_every", "workers")]
        lines.append(self._threads(chosen))
        return [*lines, self._minutes(chosen.pace, began)]

    def _model_lines(self, chosen: _Chosen) -> list[Line]:
        candidate, suits = chosen.candidate, chosen.candidate.suits
        asked = self.asked.like is not None
        lines = [
            Line(
                name="model",
                value=candidate.model,
                why="as you asked" if asked else suits.why,
                source="" if asked else f"the spec of {candidate.model}",
            ),
            Line(
                name="options",
                value=dict(chosen.options),
                why=_why_so_large(chosen),
                source="measured now",
            ),
        ]
        lines.append(self._begins(chosen))
        name, recipe = recipes.of_spec(candidate.spec, suits.recipe or None)
        lines.append(
            Line(
                name="recipe",
                value=suits.recipe,
                why=f"{name} of {candidate.model}: {recipe.optimizer[0]}, {recipe.schedule[0]}; "
                "the lines below change it",
            )
        )
        lines.append(self._metric(candidate))
        own = {line.name for line in lines} | {*OWN_LINES, *DATA_LINES}
        lines += [
            Line(name=key, value=_value(key, text), why="as you asked")
            for key, text in self.changes.items()
            if key not in own and key not in ("augment", "precision", "batch_size", "lr", "ema")
        ]
        return lines

    def _begins(self, chosen: _Chosen) -> Line:
        begins, model = chosen.begins, chosen.candidate.model
        if begins.weights:
            value = f"{model}.{begins.weights}"
            return Line(name="begins", value=value, why="at hand: it knows pictures already")
        if begins.backbone:
            asked = self.asked.backbone is not None
            why = "as you asked" if asked else "at hand: the encoder knows pictures already"
            return Line(name="begins", value=begins.backbone, why=why)
        if self.changes.get("begins") == RANDOM:
            why = "as you asked"
        elif begins.lacks:
            why = f"without weights that know something, which are not at hand: {begins.lacks}"
        else:
            why = f"{model} has no weights that are meant to begin with"
        return Line(name="begins", value=RANDOM, why=why)

    def _metric(self, candidate: Suitable) -> Line:
        """A recipe's own metric may be of another task than it is used for here."""
        if "eval_metric" in self.changes:
            return Line(name="eval_metric", value=self.changes["eval_metric"], why="as you asked")
        task = _task_of(candidate.model, self.task)
        return Line(name="eval_metric", value=MAIN[task], why=f"what the task {task} is judged by")

    def _augment(self, found: Situation) -> Line:
        if "augment" in self.changes:
            return Line(name="augment", value=self.changes["augment"], why="as you asked")
        steps, why, source = augmented(found)
        return Line(name="augment", value=steps, why=why, source=source)

    def _threads(self, chosen: _Chosen) -> Line:
        if "threads" in self.changes:
            value = _value("threads", self.changes["threads"])
            return Line(name="threads", value=value, why="as you asked")
        given = self.here.threads
        why = f"torch was given {given}"
        if given > 1:
            why += ": one alone was faster" if chosen.threads == 1 else ", faster than one alone"
        return Line(name="threads", value=chosen.threads, why=why, source="measured now")

    def _minutes(self, pace: Pace, began: float) -> Line:
        """What is left of the minutes after planning, and before what follows the training."""
        planning = (time.monotonic() - began) / 60
        after = _after(self.asked, pace) / 60
        left = round(max(0.05, self.asked.minutes - planning - after), 2)
        return Line(
            name="minutes",
            value=left,
            why=f"of {self.asked.minutes:g}: {planning:.1f} went into looking and trying, "
            f"{after:.1f} are for what follows",
            source="measured now",
        )


def _fits(chosen: _Chosen) -> str:
    return f"{count_of(round(chosen.fit), 'picture')} fit into the time"


def _why_so_large(chosen: _Chosen) -> str:
    fits, ladder = _fits(chosen), chosen.candidate.ladder
    if len(ladder) == 1:
        return fits
    if chosen.options == ladder[0]:
        return f"the smallest: {fits}"
    if chosen.options == ladder[-1]:
        return f"the largest: {fits}"
    return f"{fits}, and of the next larger too few"


def _considered(candidate: Suitable, verdict: str) -> Considered:
    return Considered(model=candidate.model, why=candidate.suits.why, verdict=verdict)


def _after(asked: AutoRequest, pace: Pace) -> float:
    """Seconds for what follows the training: for its measurements, or what is left for them."""
    return min(PASSES * pace.measurement, 60 * AFTER * asked.minutes)


def _needed(pictures: int, begins: Beginning) -> float:
    """How many have to fit, where that many do for a network that knows nothing."""
    return pictures * (KNOWN if begins.knows else 1)


def _least(begins: Beginning) -> float:
    """The pictures that have to fit for no other network to be looked at.

    One that knows nothing learns all of it from these, and another may learn it faster.
    """
    return _needed(LEAST if begins.knows else ENOUGH, begins)


def _seconds(pace: Pace) -> float:
    """Of a step whose samples are read in between."""
    return pace.reading + pace.computing


def _value(name: str, text: str) -> Json:
    """What was asked for, as the plan holds it: numbers of lines that are not a recipe's."""
    if name not in ("threads", "workers", "eval_every", "batch_size"):
        return None if text == "none" else text
    least, most = 0 if name == "workers" else 1, MOST.get(name, MAX_BATCH)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        expected = f"a whole number from {least} to {most:,}"
        raise UsageError(f"{name}={printable(text)}", expected=expected)
    return int(text)
