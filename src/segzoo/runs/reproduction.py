"""From published weights back to what makes them again: data, commands, and how far both agree.

The record of weights holds the command that trained them (`recipe`) and what measuring again should
give (`expect`), both in words that name data sets by relative paths.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from segzoo.data.source import parse
from segzoo.engine import journal
from segzoo.engine.record import MODEL, RUN, begun_as
from segzoo.errors import ConfigError, UsageError, printable
from segzoo.model import origin
from segzoo.model.load import find_spec
from segzoo.saved.config import read_json
from segzoo.spec import Expect, Weights
from segzoo.zoo import refs

__all__ = ["Agreement", "Needed", "Reproduction", "agreements_of", "is_trained", "reproduction_of"]

WITH_WORDS = ("--data", "--val")  # the options of `segzoo train` that name data
REPORT = "metrics.json"


class Needed(NamedTuple):
    """A data set in words, and whether it is there; one that is fetched is."""

    words: str
    is_there: bool


class Reproduction(NamedTuple):
    """What makes weights again. train: the words after `segzoo train`. home: of relative paths.

    expected: what `segzoo eval` on each data set should give.
    """

    ref: str
    distribution: str
    record: Weights
    train: tuple[str, ...]
    expected: tuple[Expect, ...]
    home: Path

    @property
    def needed(self) -> list[Needed]:
        """The data sets that training and measuring name, each once."""
        pairs = zip(self.train, self.train[1:], strict=False)
        words = [value for option, value in pairs if option in WITH_WORDS]
        words += [expect.data for expect in self.expected]
        return [Needed(each, _is_there(each, self.home)) for each in dict.fromkeys(words)]

    def commands(self, run: Path) -> list[list[str]]:
        """What follows `segzoo`: the training into the folder `run`, then each measuring."""
        line = ["train", *self.train, "-o", os.fspath(run)]
        return [line, *(self.measuring(run, data) for data in self.measured)]

    @property
    def measured(self) -> list[str]:
        """The data sets that are measured on, in words."""
        return [*dict.fromkeys(expect.data for expect in self.expected)]

    def measuring(self, run: Path, data: str) -> list[str]:
        report = self.report_of(run, data)
        return ["eval", os.fspath(run / MODEL), "--data", data, "-o", os.fspath(report)]

    def report_of(self, run: Path, data: str) -> Path:
        """The folder beside the run that the numbers on a data set go to."""
        number = self.measured.index(data)
        return run.with_name(f"{run.name}-measured{f'-{number + 1}' if number else ''}")


class Agreement(NamedTuple):
    """A number that was stated, and the one that was found. difference: found less stated."""

    expect: Expect
    found: float

    @property
    def difference(self) -> float:
        return self.found - self.expect.value

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.difference) <= self.expect.tolerance


def reproduction_of(ref: str, home: str | os.PathLike[str] = ".") -> Reproduction:
    """What the record of `name.tag` says of how its weights are made. home: the data's folder.

    WeightsMissingError for a model without such weights; UsageError for weights whose record has no
    command of segzoo's.
    """
    named = refs.tagged(ref)
    entry, spec = find_spec(named.name, tag=named.tag)
    record = origin.record_of(entry, spec, tag=named.tag, pretrained=True)
    assert record is not None  # pretrained
    shown = origin.reference_to(entry, spec, record)
    words = _split(record.recipe)
    if words[:2] != ["segzoo", "train"] or {"-o", "--out"} & {*words}:
        raise UsageError(
            f"the record of {shown} has no command that trains them again",
            found=record.recipe or record.source,
            expected="segzoo train ...",
            next_step=f"See: segzoo info {entry.name} --full",
        )
    return Reproduction(
        shown,
        f"{entry.distribution} {entry.version}".strip(),
        record,
        tuple(words[2:]),
        record.expect,
        Path(home).absolute(),
    )


def is_trained(run: Path) -> bool:
    """Whether a run is there and whole, so that it is only measured."""
    if not (run / RUN).is_file() or not (run / MODEL).is_dir():
        return False
    steps = begun_as(run).get("recipe", {}).get("steps")
    records = journal.read(run)
    return bool(records) and "val" in records[-1] and records[-1].get("step") == steps


def agreements_of(reproduction: Reproduction, run: Path) -> list[Agreement]:
    """Every stated number beside the one that was measured now. ConfigError for no report."""
    found: list[Agreement] = []
    for expect in reproduction.expected:
        file = reproduction.report_of(run, expect.data) / REPORT
        value = (read_json(file).get("values") or {}).get(expect.metric)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{printable(expect.metric)} was not measured", file=file)
        found.append(Agreement(expect, float(value)))
    return found


def _is_there(words: str, home: Path) -> bool:
    source = parse(words)
    return "://" in source.path or source.reader == "hf" or (home / source.path).exists()


def _split(line: str) -> Sequence[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []
