"""From the folder of a run or of an evaluation to a page that a person looks at."""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segzoo.base import ours
from segzoo.base.counts import count_of
from segzoo.base.records import Json
from segzoo.data.source import held_out
from segzoo.engine import journal
from segzoo.engine.record import MODEL, RUN
from segzoo.errors import SegzooError, UsageError
from segzoo.report.charts import lines
from segzoo.report.evaluation_page import (
    EvaluationPart,
    evaluation_part,
    facts_of,
    foot,
    mapping,
    page_of_evaluation,
    tried,
)
from segzoo.report.page import REPORT, Headline, PageBlock, Section, WebPage, write_page
from segzoo.report.series import FEW, best_step, series_of, smooth
from segzoo.runs import claims
from segzoo.runs.evaluation import EvaluateRequest, Machine, evaluated
from segzoo.saved import config
from segzoo.zoo.refs import LOCAL_DIR

__all__ = ["ReportRequest", "Reported", "reported"]

MOST_METRICS = 6  # lines on a chart
METRICS = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """place: a run's folder, or an evaluation's. out: the page; by default report.html in it.

    measure: whether a run's weights are measured for it. data: on what; by default on what the run
    measured itself on. progress: as `segzoo.evaluate` has it.
    """

    place: Path
    out: Path | None = None
    measure: bool = True
    data: str | None = None
    machine: Machine = field(default_factory=Machine)
    progress: Callable[[int, int], object] | None = None


class Reported(NamedTuple):
    """path: of the page. notes: what it could not show, and why."""

    path: Path
    notes: tuple[str, ...]


def reported(request: ReportRequest) -> Reported:
    """Write the page of a run or an evaluation.

    A run that is damaged has a page of what can be read. UsageError for a folder that is neither;
    OutputError.
    """
    place, out = request.place, request.out or request.place / REPORT
    if not place.is_dir():
        raise UsageError("there is no such folder", file=place)
    ours.refuse_others([out], next_step="choose another name with -o")
    if any((place / name).exists() for name in (RUN, METRICS)):
        page = _page_of_run(request)
    elif (place / "metrics.json").exists():
        if request.data is not None:
            raise UsageError("--data is for runs: an evaluation has been measured already")
        page = page_of_evaluation(place)
    else:
        raise UsageError(
            "this is the folder of no run and of no evaluation",
            file=place,
            expected=f"{RUN} of segzoo train, or metrics.json of segzoo eval -o",
        )
    write_page(out, page)
    return Reported(out, tuple(page.notes))


def _page_of_run(request: ReportRequest) -> WebPage:
    place, notes = request.place, list[str]()
    unknown: dict[str, Json] = {}
    unwritten: list[dict[str, Json]] = []
    about = tried(notes, lambda: config.read_json(place / RUN), unknown)
    records = tried(notes, lambda: journal.read(place), unwritten)
    recipe, identity = mapping(about.get("recipe")), mapping(about.get("identity"))
    model = mapping(identity.get("model"))
    name = str(model.get("name") or mapping(_config(place)).get("model") or "a network")
    measured = _measured(request, about, notes) if request.measure else None
    sections = [
        _curves(records, recipe),
        *(measured.sections if measured else ()),
        Section("recipe", "Recipe", [facts_of(recipe)] if recipe else (), empty="It is not known."),
        _data_card(about),
        Section(
            "machine",
            "Machine and versions",
            _machine(about),
            pairs=True,
            empty="They are not known.",
        ),
        *([measured.how] if measured else ()),
    ]
    return WebPage(
        kicker="segzoo · training run",
        title=name,
        lead=_lead(place, identity, records),
        tiles=measured.tiles if measured else _tiles(records, recipe),
        notes=notes,
        sections=sections,
        foot=foot(),
    )


def _config(place: Path) -> Mapping[str, Json]:
    """What the saved model says of itself, where it can be read."""
    unknown: dict[str, Json] = {}
    return tried([], lambda: config.read_json(place / config.CONFIG_NAME), unknown)


def _lead(place: Path, identity: Mapping[str, Json], records: list[dict[str, Json]]) -> str:
    step = max((record["step"] for record in records), default=0)
    best = best_step(records)
    words = identity.get("data")
    parts = [
        place.resolve().name,
        f"trained on {words}" if isinstance(words, str) else "",
        count_of(step, "step") if step else "no step was written down",
        f"weights of step {best:,}" if best is not None else "",
    ]
    return " · ".join(filter(None, parts))


def _curves(records: list[dict[str, Json]], recipe: Mapping[str, Json]) -> Section:
    main = recipe.get("eval_metric")
    found = series_of(records, main=main if isinstance(main, str) else None)
    best = best_step(records)
    mark = None if best is None else (best, f"kept: step {best:,}")
    losses = {"training": found.training, "validation": found.validation}
    smoothed = {"training": smooth(found.training)} if len(found.training) > FEW else {}
    blocks: list[PageBlock] = [lines("Loss", losses, smooth=smoothed, mark=mark)]
    if found.metrics:
        shown = dict([*found.metrics.items()][:MOST_METRICS])
        blocks.append(lines("On the validation set", shown, mark=mark, even=True))
    return Section(
        "curves",
        "Curves",
        blocks if records else (),
        note=""
        if found.metrics
        else "The run measured nothing while it trained: it had no validation set.",
        empty=f"There is no {METRICS} that can be read.",
        pairs=True,
    )


def _tiles(records: list[dict[str, Json]], recipe: Mapping[str, Json]) -> list[Headline]:
    """Of a run that was not measured anew: how it ended, by its own words."""
    best = [record for record in records if record.get("best") and record.get("val")]
    tiles = []
    if best:
        values = {k: v for k, v in best[-1]["val"].items() if isinstance(v, int | float)}
        main = recipe.get("eval_metric")
        for name in sorted(values, key=lambda name: name != main)[:4]:
            note = f"while training, step {best[-1]['step']:,}"
            tiles.append(Headline(name, f"{values[name]:.4f}", note))
    losses = [record["loss"] for record in records if isinstance(record.get("loss"), int | float)]
    if losses:
        tiles.append(Headline("last training loss", f"{losses[-1]:.4f}"))
    times = [r["seconds"] for r in records if isinstance(r.get("seconds"), int | float)]
    if times:
        tiles.append(Headline("time", _duration(max(times)), "of the last sitting"))
    return tiles


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _data_card(about: Mapping[str, Json]) -> Section:
    identity = mapping(about.get("identity"))
    blocks = []
    for name, title in (("data", "Trained on"), ("val", "Measured on")):
        facts = {k: v for k, v in mapping(about.get(name)).items() if k != "names"}
        words = identity.get(name)
        if name == "val" and facts and words is None:
            words = f"{identity.get('data')}, its held-out part"
        if facts or words:
            blocks.append(facts_of({"words": words, **facts}, title=title))
    return Section("data", "Data", blocks, empty="It is not known.", pairs=True)


def _machine(about: Mapping[str, Json]) -> list[PageBlock]:
    machine, settings = mapping(about.get("machine")), mapping(about.get("settings"))
    sittings = about.get("sittings")
    count = len(sittings) if isinstance(sittings, list) else 0
    more = {"sittings": count} if count > 1 else {}
    found = [
        facts_of({**machine, **more}, title="Machine and versions"),
        facts_of(settings, title="Settings"),
    ]
    return [facts for facts in found if facts.rows]


def _measured(
    request: ReportRequest, about: Mapping[str, Json], notes: list[str]
) -> EvaluationPart | None:
    """The run's best weights, measured now; None, and a note of why, where that cannot be."""
    place, identity = request.place, mapping(about.get("identity"))
    words = request.data or _words_of(identity)
    if words is None:
        notes.append(
            "Nothing was measured for this page: the run names no validation set. "
            f"Run: segzoo report {place} --data WORDS"
        )
        return None
    if not (place / MODEL / config.CONFIG_NAME).is_file():
        notes.append(f"Nothing was measured for this page: there is no {MODEL} that can be loaded")
        return None
    try:
        if request.data is None:
            found = claims.of_words(place, {"data": words})
            claims.refuse(place / RUN, "a folder outside of the run to write to", found)
        with tempfile.TemporaryDirectory() as folder:
            evaluated(
                EvaluateRequest(
                    model=f"{LOCAL_DIR}{place / MODEL}",
                    data=words,
                    machine=request.machine,
                    out=Path(folder),
                    progress=request.progress,
                )
            )
            part = evaluation_part(folder)
    except SegzooError as error:
        notes.append(f"Nothing was measured for this page: {error}")
        return None
    notes.extend(part.notes)
    model = facts_of(
        {"weights": f"{place.name}/{MODEL}", "on": words}, title="Measured for this page"
    )
    how = dataclasses.replace(part.how, blocks=[model, *part.how.blocks[2:]])
    return part._replace(how=how)


def _words_of(identity: Mapping[str, Json]) -> str | None:
    """What a run measured itself on."""
    val, data = identity.get("val"), identity.get("data")
    if isinstance(val, str):
        return val
    return data if isinstance(data, str) and held_out(data) else None
