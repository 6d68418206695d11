"""A plan: what was decided of a training, line by line, each with its reason; plan.json.

A plan is written for people and programs to read. A run that goes on is not told by it what to do:
what decides is in run.json, where it is judged (`segzoo.runs.claims`).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from segzoo.base import files
from segzoo.base.records import Json, Record, asdict, from_dict
from segzoo.base.strictjson import OBJECT, TEXT, JsonKind, kind_faults, strict_json
from segzoo.data.source import parse
from segzoo.data.traits import Traits
from segzoo.errors import RunError, printable
from segzoo.runs import claims

__all__ = [
    "PLAN",
    "AutoRequest",
    "Considered",
    "Kept",
    "Line",
    "Plan",
    "asked_otherwise",
    "change_of",
    "read_plan",
    "write_plan",
]

PLAN = "plan.json"
FORMAT = 1
MOST_BYTES = 1 << 20
LEVELS = 12
LARGEST = 1e12  # of a trait: none counts or measures as much, and a larger one has no square
NAME = re.compile(r"\w+")  # of an installed model; a path or an address would be opened


def _whole(least: int, most: int) -> JsonKind:
    return JsonKind(
        f"a whole number from {least} up to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def _is_number(value: Json) -> bool:
    """Whether it is one, or stands for one or for none as it was typed."""
    return type(value) in (int, float, str, type(None))


def _is_numbers(value: Json) -> bool:
    """The same of several."""
    if not isinstance(value, list):
        return value is None or isinstance(value, str)
    return all(type(item) in (int, float) for item in value)


def _is_loss(value: Json) -> bool:
    """Whether it is a name, or [name, options]; the parts of a sum are [name, factor, ...]."""
    match value:
        case None | str():
            return True
        case [str(), {"parts": list(parts)}]:
            return all(isinstance(part, list) and len(part) >= 2 for part in parts)
        case [str(), dict(options)]:
            return "parts" not in options
    return False


def _is_steps(value: Json) -> bool:
    """Whether it is names, or a list of [name, options]."""
    if not isinstance(value, list):
        return isinstance(value, str)
    return all(isinstance(step, list) and [*map(type, step)] == [str, dict] for step in value)


NUMBER = JsonKind("a number, a text or null", _is_number)
NUMBERS = JsonKind("a list of numbers, a text or null", _is_numbers)
# Lines that a run which goes on has, and what each is.
NEEDED: Mapping[str, JsonKind] = MappingProxyType(
    {
        "threads": _whole(0, 1024),
        "workers": _whole(0, 1024),
        "eval_every": _whole(1, 1 << 31),
        "model": JsonKind(
            "a model's name", lambda value: isinstance(value, str) and bool(NAME.fullmatch(value))
        ),
        "options": OBJECT,
        "begins": TEXT,
        "recipe": TEXT,
        "augment": JsonKind("names, or a list of [name, options]", _is_steps),
    }
)
KINDS: Mapping[str, JsonKind] = MappingProxyType(
    {
        **NEEDED,
        "loss": JsonKind("a name, [name, options] or null", _is_loss),
        **dict.fromkeys(("eval_metric", "normalize", "sampling", "precision"), TEXT),
        **dict.fromkeys(("val", "centred", "batch_size", "lr", "ema", "minutes"), NUMBER),
        **dict.fromkeys(("size", "crop", "class_weights"), NUMBERS),
    }
)


@dataclass(frozen=True, kw_only=True)
class AutoRequest(Record):
    """What was asked for: a run goes on where the same is asked again.

    data, val: words. like: the model, where one is named. backbone: what it begins with, as NAME or
    NAME=FILE. changes: KEY=VALUE. options: of the architecture.
    """

    data: str
    val: str | None = None
    minutes: float
    folds: int | None = None
    like: str | None = None
    backbone: str | None = None
    changes: tuple[str, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Line(Record):
    """One decision. source: who says so; empty for what was asked for."""

    name: str
    value: Json
    why: str
    source: str = ""

    @property
    def text(self) -> str:
        """The value as KEY=VALUE takes it."""
        return _text(self.value)

    @property
    def shown(self) -> str:
        """The value as a person reads it: of steps and losses the names."""
        value = self.value
        if isinstance(value, dict):
            return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
        if self.name == "augment" and isinstance(value, list):
            return ", ".join(name for name, _ in value) or "none"
        if self.name == "loss" and isinstance(value, list) and "parts" in value[1]:
            return " + ".join(str(part[0]) for part in value[1]["parts"])
        return self.text if self.value != "" else "its first"


@dataclass(frozen=True, kw_only=True)
class Considered(Record):
    """A model that was looked at. verdict: taken, or why not."""

    model: str
    why: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Kept(Record):
    """One thing that was tried after the training. before, after: of the metric that it is about,
    on the pictures held out. least: what it had to gain. taken: whether it is in the model."""

    name: str
    value: float | bool
    before: float
    after: float
    taken: bool
    least: float = 0.0

    @property
    def said(self) -> str:
        """The line that a person reads."""
        what = self.name if isinstance(self.value, bool) else f"{self.name} {self.value:g}"
        little = 0 < self.after - self.before < self.least
        no = f"not kept: {self.least:g} is the least to gain" if little else "not kept"
        verdict = "kept" if self.taken else no
        return f"{what}: IoU {self.before:.4f} -> {self.after:.4f}, {verdict}"


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """What was asked, what the data is like, which models were looked at, and what was decided.

    data, val: the words that are trained on and measured on, as they were completed. kept: what was
    tried after the training. done: whether nothing is left to do.
    """

    asked: AutoRequest
    data: str
    val: str
    lines: tuple[Line, ...]
    considered: tuple[Considered, ...]
    traits: Traits
    notes: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    done: bool = False

    def _faults(self) -> list[str]:
        values = {line.name: line.value for line in self.lines}
        faults = kind_faults(values, KINDS)
        counted = Counter(line.name for line in self.lines)
        faults += [f"the line {name} stands more than once" for name, n in counted.items() if n > 1]
        if lacking := [name for name in NEEDED if name not in values]:
            faults.append(f"there is no line {', '.join(lacking)}")
        for name, number in self.traits.numbers.items():
            if abs(number) > LARGEST:
                faults.append(f"the trait {name}={number:g} is larger than {LARGEST:g}")
        return faults

    def __getitem__(self, name: str) -> Json:
        return next(line.value for line in self.lines if line.name == name)


def change_of(line: Line) -> str:
    """The line as a change of a recipe."""
    return f"{line.name}={line.text}"


def write_plan(run: Path, plan: Plan) -> None:
    record = {"format_version": FORMAT, **asdict(plan)}
    files.write(run / PLAN, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def read_plan(run: Path) -> Plan | None:
    """The plan in a folder; None where there is none.

    RunError for one that cannot be read, and for words that name a folder outside the run to write
    to which those that were asked for do not.
    """
    path = run / PLAN
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot be read: {printable(str(error))}", file=path) from None
    if len(raw) > MOST_BYTES:
        raise RunError("the plan is too large", file=path, expected="at most 1 MiB")
    record = strict_json(raw, path, what="the plan", error=RunError, levels=LEVELS)
    found = record.pop("format_version", None)
    if found != FORMAT:
        raise RunError(
            "the plan is of another version", file=path, found=str(found)[:80], expected=str(FORMAT)
        )
    try:
        plan = from_dict(Plan, record)
    except (TypeError, ValueError) as error:
        raise RunError(
            f"this is no plan: {printable(str(error))[:300]}",
            file=path,
            next_step="Put back the file as it was written, or choose another folder with -o",
        ) from None
    _refuse_places(plan, run)
    return plan


def _refuse_places(plan: Plan, run: Path) -> None:
    """RunError for words that would write outside the run, unless the same was asked for.

    What was asked is held against what a person typed before anything is opened.
    """
    asked = [_places(words) for words in (plan.asked.data, plan.asked.val or "")]
    words = {"data": plan.data, "val": plan.val}
    found = claims.of_words(run, words)
    strange = [claim.found for name, claim in found.items() if _places(words[name]) not in asked]
    if strange:
        raise RunError(
            "the plan names a folder outside the run to write to, which nobody asked for",
            file=run / PLAN,
            found=printable("; ".join(strange))[:300],
            next_step="Choose another folder with -o",
        )


def _places(words: str) -> dict[str, str]:
    """The options that name a folder to write to."""
    return {k: v for k, v in parse(words).options.items() if k in claims.WRITTEN}


def _text(value: Json) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return ",".join(f"{item:g}" for item in value)
    return json.dumps(value)


def asked_otherwise(one: AutoRequest, other: AutoRequest) -> Sequence[str]:
    """The names of what was asked otherwise."""
    return [name for name, value in asdict(one).items() if asdict(other)[name] != value]
