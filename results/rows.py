"""The rows of docs/results.md: what is run, read from results/NAME/row.toml, and the page.

    what = "one paragraph: the data, the split, what others reach"
    license, trained_on = of the weights, as `segzoo publish` takes them
    data = ["where each data set comes from"]
    notes = "what came out, in words"

    [words]                    # $NAME in what follows
    [metrics]                  # a column each: a value of metrics.json, or of a list in it
    "Dice" = "dice"            # [NAME, FIRST, LAST], the mean of these classes
    [runs.NAME]
    what = "what is special about it"
    train = "what follows `segzoo train`; none for weights that exist"
    auto = "what follows `segzoo auto`, where that makes the run"
    after = "the run of this row whose model it begins with"
    model = "what is measured, where it is not what the run left"
    measured = { LABEL = "data set, then what else `segzoo eval` is told" }
    pruned = "a data set for `segzoo prune`"
    steps = [100, 200]         # whose held-out numbers the page shows
    minutes = 92               # of a training that is not a run of these
    [spread]
    "three seeds" = ["RUN", "RUN", "RUN"]

results/run.py carries out a run and leaves in results/ROW/RUN/ what is kept of it: the files of
training/ as they are published, LABEL.json as `segzoo eval` wrote it, prune.json, and run.json with
the minutes and the machine.
"""

import json
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from segzoo.errors import ConfigError
from segzoo.metrics.versions import FIRST, named_now, version_in

HERE = Path(__file__).parent
HEAD = """\
# Results

What the zoo's own training reaches, on which data, in how many minutes, and the commands that make
it again. Written by `make docs` from `results/`: `row.toml` says what is run, and a folder for each
run holds its resolved recipe, curves, versions and what `segzoo eval` measured. A row without
numbers was not run.

`python results/run.py ROW --data FOLDER` types a row's commands and keeps what came out; the data
sets lie in FOLDER as the words in the commands say, and [data-sets.md](data-sets.md) shows.

Minutes are those of the training alone, on the machine that stands beside them, which had other
work too. The sets are not always those of the papers; each row says which pictures were measured.
No picture that is measured on was trained on, and the step was chosen on pictures held out of the
training set.
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, or weights that exist, and what is measured of them."""

    name: str
    what: str
    train: str = ""
    auto: str = ""
    after: str = ""
    model: str = ""
    measured: Mapping[str, str] = field(default_factory=dict)
    pruned: str = ""
    steps: Sequence[int] = ()
    minutes: float | None = None

    @property
    def weights(self) -> str:
        return self.model or f"{self.name}/model"

    def commands(self) -> Iterator[str]:
        """What a person types for it, in the folder that the data sets are in."""
        if self.train:
            begins = f" --init-from {self.after}/model" if self.after else ""
            yield f"segzoo train {self.train}{begins} -o {self.name}"
        if self.auto:
            yield f"segzoo auto {self.auto} -o {self.name}"
        for label, data in self.measured.items():
            yield f"segzoo eval {self.weights} --data {data} -o {self.name}-{label}"
        if self.pruned:
            model = self.train.partition(" ")[0]
            yield (
                f"segzoo prune {model} --weights {self.weights} --data {self.pruned} "
                f"-o {self.name}-pruned"
            )


@dataclass(frozen=True, kw_only=True)
class Row:
    """A section of the page; the module says what its fields are."""

    name: str
    what: str
    license: str
    trained_on: Sequence[str]
    data: Sequence[str]
    notes: str
    metrics: Mapping[str, Any]
    runs: Sequence[Run]
    spread: Mapping[str, Sequence[str]]

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def main(self) -> Run:
        """The first that is measured; what runs before it are its earlier stages."""
        return next(run for run in self.runs if run.measured)

    def run(self, name: str) -> Run:
        return next(run for run in self.runs if run.name == name)


def read(name: str) -> Row:
    said = tomllib.loads((HERE / name / "row.toml").read_text("utf-8"))
    words = said.get("words", {})

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        return Template(value).substitute(words) if isinstance(value, str) else value

    return Row(
        name=name,
        what=said["what"].strip(),
        license=said.get("license", "Apache-2.0"),
        trained_on=said["trained_on"],
        data=said["data"],
        notes=said.get("notes", "").strip(),
        metrics=said["metrics"],
        runs=[Run(name=key, **filled(run)) for key, run in said["runs"].items()],
        spread=said.get("spread", {}),
    )


# --- the page -------------------------------------------------------------------------------------


def page() -> str:
    """docs/results.md: an overview, then a section per row, in the order of their names."""
    rows = [read(name) for name in sorted(file.parent.name for file in HERE.glob("*/row.toml"))]
    parts = [overview(rows), *map(section, rows)]
    return HEAD + "".join("\n".join(part) + "\n" for part in parts)


def overview(rows: Sequence[Row]) -> Iterator[str]:
    """What the main run of each row reached."""
    yield from ("", *table_head("row", "measured on", "reached", "minutes", "machine"))
    for row in rows:
        link = f"[{row.name}](#{row.name.replace('.', '').lower()})"
        if row.main not in done(row):
            yield line(link, "", "not run", "", "")
            continue
        minutes, machine = made_in(row, row.main)
        for label in row.main.measured:
            values = measured(row, row.main, label)
            told = (f"{name} {value:.4f}" for name, value in zip(row.metrics, values, strict=True))
            yield line(link, label, ", ".join(told), minutes, machine)


def section(row: Row) -> Iterator[str]:
    yield f"\n## {row.name}\n"
    yield row.what
    yield from numbers(row)
    for run in row.runs:
        yield from smaller_networks(row, run)
        yield from after_steps(row, run)
    if row.notes:
        yield f"\n{row.notes}"
    yield "\n```text"
    yield from (f"# {origin}" for origin in row.data)
    for run in row.runs:
        yield from run.commands()
    yield "```"
    kept = [f"[{run.name}](../results/{row.name}/{run.name})" for run in done(row)]
    if kept:
        yield f"\nKept: {', '.join(kept)}."


def done(row: Row) -> list[Run]:
    return [run for run in row.runs if (row.folder / run.name).is_dir()]


def numbers(row: Row) -> Iterator[str]:
    """The table of what was measured, and of runs that were not made."""
    yield from ("", *table_head("run", "measured on", *row.metrics, "minutes", "machine"))
    found: dict[tuple[str, str], list[float]] = {}
    for run in row.runs:
        if run not in done(row):
            yield line(run.what, "not run", *("" for _ in row.metrics), "", "")
            continue
        for label in run.measured:
            found[run.name, label] = values = measured(row, run, label)
            yield line(run.what, label, *(f"{v:.4f}" for v in values), *made_in(row, run))
    for what, names in row.spread.items():
        for label in dict.fromkeys(label for name, label in found if name in names):
            if any((name, label) not in found for name in names):
                continue
            columns = zip(*(found[name, label] for name in names), strict=True)
            yield line(f"{what}, mean and spread", label, *map(spread, columns), "", "")


def made_in(row: Row, run: Run) -> tuple[str, str]:
    """Minutes of the training and its earlier stages, and the machine."""
    about = made(row, run)
    minutes = about["minutes"] or run.minutes or 0.0
    while run.after:
        run = row.run(run.after)
        minutes += made(row, run)["minutes"]
    return (f"{minutes:.1f}" if minutes else ""), about["machine"]


def made(row: Row, run: Run) -> dict[str, Any]:
    """What results/run.py wrote of a run: minutes, machine and hashes."""
    about: dict[str, Any] = json.loads((row.folder / run.name / "run.json").read_text("utf-8"))
    return about


def measured(row: Row, run: Run, label: str) -> list[float]:
    """The row's metrics, as `segzoo eval` found them."""
    values = values_of(row.folder / run.name / f"{label}.json")
    return [number(values, metric) for metric in row.metrics.values()]


def values_of(file: Path) -> dict[str, Any]:
    """What `segzoo eval` wrote, whenever it did, by today's names."""
    record = json.loads(file.read_text("utf-8"))
    by = version_in(record["protocol"], file=file, error=ConfigError)
    return named_now(record["values"], by)


def number(values: Mapping[str, Any], metric: Any) -> float:
    """A metric of `values_of` a report."""
    if isinstance(metric, str):
        return float(values[metric])
    name, first, last = metric
    return statistics.fmean(values[name][first : last + 1])


def spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def smaller_networks(row: Row, run: Run) -> Iterator[str]:
    """What `segzoo prune` found."""
    file = row.folder / run.name / "prune.json"
    if not file.is_file():
        return
    record = json.loads(file.read_text("utf-8"))
    height, width = record["size"]
    timed = f"ms for one input of {height}x{width}, {record['threads']} threads"
    yield f"\nThe smaller networks in *{run.what}*, {record['samples']} pictures of {run.pruned}:"
    names = list(record["parts"][0]["options"])
    yield from ("", *table_head(*names, record["metric"], timed, "parameters", "MACs"))
    for part in record["parts"]:
        yield line(
            *(str(value) for value in part["options"].values()),
            f"{part['value']:.4f}",
            f"{part['milliseconds']:.1f}",
            f"{part['parameters']:,}",
            f"{part['macs'] / 1e9:.2f} G",
        )


def after_steps(row: Row, run: Run) -> Iterator[str]:
    """The held-out numbers of some steps."""
    file = row.folder / run.name / "metrics.jsonl"
    if not (run.steps and file.is_file()):
        return
    records = map(json.loads, file.read_text("utf-8").splitlines())
    versions = json.loads((row.folder / run.name / "versions.json").read_text("utf-8"))
    by = versions.get("metrics", FIRST)
    at = {r["step"]: named_now(r["val"], by) for r in records if "val" in r}
    single = [(name, metric) for name, metric in row.metrics.items() if metric in at[run.steps[0]]]
    yield f"\nOn held-out pictures, while *{run.what}* was trained:"
    yield from ("", *table_head("step", *(name for name, _ in single)))
    for step in run.steps:
        yield line(str(step), *(f"{at[step][metric]:.4f}" for _, metric in single))


def table_head(*cells: str) -> tuple[str, str]:
    return line(*cells), f"|{'---|' * len(cells)}"


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
