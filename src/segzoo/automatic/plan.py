"""A plan: what was decided of a training, line by line, each with its reason; plan.json.

A plan is written for people and programs to read. A run that goes on is not told by it what to do:
what decides is in run.json, where it is judged (`segzoo.runs.claims`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segzoo.base import files
from segzoo.base.records import Json, Record, asdict, from_dict
from segzoo.base.strictjson import strict_json
from segzoo.data.traits import Traits
from segzoo.errors import RunError, printable

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
# Lines that are such numbers.
WHOLE = {"threads": 1024, "workers": 1024, "eval_every": 1 << 31}


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
    on the pictures held out. taken: whether it is in the model."""

    name: str
    value: Json
    before: float
    after: float
    taken: bool


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
        numbers = {x.name: x.value for x in self.lines if x.name in WHOLE}
        return [
            f"{name}={number} is not a whole number up to {most}"
            for name, most in WHOLE.items()
            if not _is_whole(number := numbers.get(name), most)
        ]

    def __getitem__(self, name: str) -> Json:
        return next(line.value for line in self.lines if line.name == name)


def _is_whole(value: Json, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def change_of(line: Line) -> str:
    """The line as a change of a recipe."""
    return f"{line.name}={line.text}"


def write_plan(run: Path, plan: Plan) -> None:
    record = {"format_version": FORMAT, **asdict(plan)}
    files.write(run / PLAN, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def read_plan(run: Path) -> Plan | None:
    """The plan in a folder; None where there is none. RunError for one that cannot be read."""
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
        return from_dict(Plan, record)
    except (TypeError, ValueError) as error:
        raise RunError(f"this is no plan: {printable(str(error))[:300]}", file=path) from None


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
