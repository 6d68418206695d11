"""What the Hub's documentation asks of a published model: rules, each with its page and its date.

A rule looks at a folder and says what breaks it. The Hub itself judges no more than a card's YAML
when a commit comes; whatever else is wrong, it shows badly or not at all.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from segzoo.base.records import Json
from segzoo.base.strictyaml import strict_yaml
from segzoo.errors import ConfigError, printable
from segzoo.publish.vocabulary import (
    ADDING,
    CARDS,
    COUNTED,
    COUNTING,
    LICENCES,
    LICENSES,
    METRICS,
    PICKLES,
    RESULTS,
    SPECIFICATION,
    TASK,
    WIDGETS,
    Page,
)
from segzoo.zoo.refs import HUB, REPO

__all__ = ["RULES", "HubRule", "Sheet", "Verdict", "judged", "sheet_of"]

CARD = "README.md"
BLOCK = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?(?:\n|\Z)", re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)")
ARXIV = re.compile(r"https://arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
DATASET = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
SUFFIXES_OF_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
RELATIONS = ("adapter", "finetune", "merge", "quantized")
MAX_TEXT = 2**20  # bytes of a card or of a file of results
RESULT_FILE = re.compile(r"\.eval_results/[^/]+\.yaml")

Faults = Iterator[str]


@dataclass(frozen=True)
class Sheet:
    """A folder as the rules see it. names: of all its files. text: of its card.

    card: the values of the card's YAML, None where it has none; results: those of each file below
    .eval_results/, or the words for what is wrong with it.
    """

    names: frozenset[str]
    text: str
    card: Mapping[str, Json] | None
    results: Mapping[str, Json | str]

    def value(self, key: str) -> Json:
        """What the card's YAML has under a name; None for nothing."""
        return (self.card or {}).get(key)

    def items(self, key: str) -> list[Json]:
        """The same where one or a list of several may stand."""
        found = self.value(key)
        return found if isinstance(found, list) else [] if found is None else [found]

    def holds(self, place: Json) -> bool:
        """Whether a place that the card names is a file of the folder, or an address."""
        return isinstance(place, str) and (
            place in self.names or bool(re.match(r"https://[^\s]+\Z", place))
        )


@dataclass(frozen=True)
class HubRule:
    """One thing that is asked for. says: in a line. faults: what breaks it, in words."""

    name: str
    says: str
    page: Page
    faults: Callable[[Sheet], Faults]


class Verdict(NamedTuple):
    """What came of a rule; no faults where it holds."""

    rule: HubRule
    faults: tuple[str, ...]


def judged(sheet: Sheet) -> list[Verdict]:
    """What comes of each rule, in their order."""
    return [Verdict(rule, tuple(rule.faults(sheet))) for rule in RULES]


def sheet_of(folder: Path, names: frozenset[str] | None = None) -> Sheet:
    """A folder to judge. names: of its files, where not all of them are here.

    ConfigError for a card that is no text or too large.
    """
    if names is None:
        found = (path for path in folder.rglob("*") if path.is_file())
        names = frozenset(path.relative_to(folder).as_posix() for path in found)
    text = _text(folder / CARD) if CARD in names else ""
    results = {
        name: _yaml(_text(folder / name)) for name in sorted(names) if RESULT_FILE.fullmatch(name)
    }
    block = BLOCK.match(text)
    card = _yaml(block[1]) if block else None
    return Sheet(names, text, card if isinstance(card, dict) else None, results)


def _text(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_TEXT + 1)
        if len(raw) > MAX_TEXT:
            raise ConfigError("it is too large", file=file, expected=f"{MAX_TEXT:,} bytes at most")
        return raw.decode()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from None
    except UnicodeDecodeError:
        raise ConfigError("it is no text in UTF-8", file=file) from None


def _yaml(text: str) -> Json:
    """The value, or the words for what is wrong with it."""
    try:
        return strict_yaml(text)
    except ValueError as error:
        return f"is no YAML that the Hub can read: {error}"


def _record(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _shown(value: Json) -> str:
    return printable(repr(value))[:100]


# --- the card's metadata --------------------------------------------------------------------------


def card_faults(sheet: Sheet) -> Faults:
    if CARD not in sheet.names:
        yield f"there is no {CARD}"
    elif not BLOCK.match(sheet.text):
        yield f"{CARD} does not begin with YAML between two lines of three dashes"
    elif sheet.card is None:
        yield f"what {CARD} begins with is no YAML of names and values"


def library_faults(sheet: Sheet) -> Faults:
    if (found := sheet.value("library_name")) != "segzoo":
        yield f"library_name is {_shown(found)}, not 'segzoo'"


def task_faults(sheet: Sheet) -> Faults:
    if (found := sheet.value("pipeline_tag")) != TASK:
        yield f"pipeline_tag is {_shown(found)}, not '{TASK}'"


def tag_faults(sheet: Sheet) -> Faults:
    tags = sheet.value("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        yield f"tags is {_shown(tags)}, not a list of words"
    elif "segzoo" not in tags:
        yield "'segzoo' is not among the tags"


def licence_faults(sheet: Sheet) -> Faults:
    license = sheet.value("license")
    if license is None:
        yield "there is no license"
        return
    for each in sheet.items("license"):
        if not isinstance(each, str) or each not in LICENSES:
            yield f"license is {_shown(each)}, which the Hub does not list"
    if license == "other":
        name, link = sheet.value("license_name"), sheet.value("license_link")
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
            yield f"license is 'other', and license_name {_shown(name)} is no short name"
        if not sheet.holds(link):
            yield f"license is 'other', and license_link {_shown(link)} leads to no text of it"


def data_faults(sheet: Sheet) -> Faults:
    for each in sheet.items("datasets"):
        if not isinstance(each, str) or not DATASET.fullmatch(each):
            yield f"datasets has {_shown(each)}, which cannot be the name of a data set on the Hub"


def base_faults(sheet: Sheet) -> Faults:
    for each in sheet.items("base_model"):
        if not isinstance(each, str) or not REPO.fullmatch(each):
            yield f"base_model is {_shown(each)}, not user/name of a model on the Hub"
    relation = sheet.value("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f"base_model_relation is {_shown(relation)}, not one of {', '.join(RELATIONS)}"
    if relation is not None and not sheet.items("base_model"):
        yield "base_model_relation is given without a base_model"


def metric_faults(sheet: Sheet) -> Faults:
    known = {*METRICS.values()}
    for each in sheet.items("metrics"):
        if each not in known:
            yield f"metrics has {_shown(each)}; those of huggingface.co/metrics: {', '.join(known)}"


def paper_faults(sheet: Sheet) -> Faults:
    """The Hub makes the tag of the link; one that stands there without it leads nowhere."""
    linked = {f"arxiv:{each}" for each in ARXIV.findall(sheet.text)}
    for tag in sheet.items("tags"):
        if isinstance(tag, str) and tag.startswith("arxiv:") and tag not in linked:
            yield f"the tag {_shown(tag)} is there, and no link to that paper"


# --- results --------------------------------------------------------------------------------------

NEEDED = {"task": ("type",), "dataset": ("type", "name"), "metrics": ("type", "value")}


def index_faults(sheet: Sheet) -> Faults:
    index = sheet.value("model-index")
    if index is None:
        return
    if not isinstance(index, list) or not all(isinstance(each, dict) for each in index):
        yield "model-index is no list of models"
        return
    for model in index:
        if not isinstance(model.get("name"), str) or not isinstance(model.get("results"), list):
            yield "a model of model-index has no name or no results"
            continue
        for number, result in enumerate(model["results"], 1):
            yield from (f"result {number} of model-index {f}" for f in _result_faults(result))


def _result_faults(result: Json) -> Faults:
    if not isinstance(result, dict):
        yield "is no record"
        return
    for part, needed in NEEDED.items():
        found = result.get(part)
        parts = found if part == "metrics" and isinstance(found, list) else [found]
        for each in parts or [None]:
            missing = [n for n in needed if not isinstance(each, dict) or each.get(n) is None]
            if missing:
                yield f"has no {' and no '.join(f'{part}.{name}' for name in missing)}"


def benchmark_faults(sheet: Sheet) -> Faults:
    for name, entries in sheet.results.items():
        if not isinstance(entries, list) or not entries:
            yield f"{name} {entries if isinstance(entries, str) else 'is no list of results'}"
            continue
        for entry in entries:
            yield from (f"{name}: {fault}" for fault in _entry_faults(entry))


def _entry_faults(entry: Json) -> Faults:
    found = _record(entry)
    dataset = _record(found.get("dataset"))
    if not isinstance(dataset.get("id"), str) or not REPO.fullmatch(dataset["id"]):
        yield f"dataset.id is {_shown(dataset.get('id'))}, not user/name of a benchmark"
    if not isinstance(dataset.get("task_id"), str) or not dataset["task_id"]:
        yield "dataset.task_id is missing"
    value = found.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"value is {_shown(value)}, no number"
    when = found.get("date")
    if when is not None and not _is_date(when):
        yield f"date is {_shown(when)}, no text of an ISO 8601 date"
    source = found.get("source")
    if source is not None and not (isinstance(source, dict) and source.get("url")):
        yield "source has no url"


def _is_date(value: Json) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value[:10]))
    except ValueError:
        return False


# --- what the page shows --------------------------------------------------------------------------


def example_faults(sheet: Sheet) -> Faults:
    for each in sheet.items("widget"):
        found = _record(each)
        if not sheet.holds(found.get("src")):
            yield f"the example {_shown(found.get('src'))} is no file of the folder and no address"
        output = found.get("output")
        if output is not None and not (isinstance(output, dict) and sheet.holds(output.get("url"))):
            yield f"the output of an example, {_shown(output)}, leads to no file of the folder"


def picture_faults(sheet: Sheet) -> Faults:
    for place in PICTURE.findall(sheet.text):
        if not sheet.holds(place):
            yield f"the card shows {_shown(place)}, which is not in the folder"


def snippet_faults(sheet: Sheet) -> Faults:
    blocks = PYTHON.findall(sheet.text)
    loads = []
    for block in blocks:
        try:
            tree = ast.parse(block)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            yield "the code in the card is no Python"
            return
        loads += [
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "segzoo.load"
            if node.args and isinstance(node.args[0], ast.Constant)
        ]
    if not any(isinstance(ref, str) and ref.startswith(HUB) for ref in loads):
        yield f'the card has no code that loads it: segzoo.load("{HUB}user/name")'


# --- files ----------------------------------------------------------------------------------------


def counting_faults(sheet: Sheet) -> Faults:
    first, *others = COUNTED
    if first not in sheet.names:
        yield f"there is no {first}, by which a load is counted"
    if doubled := sheet.names.intersection(others):
        yield f"{', '.join(sorted(doubled))} would be counted too"


def pickle_faults(sheet: Sheet) -> Faults:
    for name in sorted(sheet.names):
        if name.lower().endswith(SUFFIXES_OF_PICKLES):
            yield f"{printable(name)} may hold a pickle, which runs code when it is read"
    if not any(name.endswith(".safetensors") for name in sheet.names):
        yield "there are no weights in safetensors"


RULES: tuple[HubRule, ...] = (
    HubRule("card", "the card begins with YAML", CARDS, card_faults),
    HubRule("library", "library_name is segzoo", ADDING, library_faults),
    HubRule("task", f"pipeline_tag is {TASK}", CARDS, task_faults),
    HubRule("tags", "tags are words, segzoo among them", CARDS, tag_faults),
    HubRule("licence", "the licence is listed, or has a name and a text", LICENCES, licence_faults),
    HubRule("data sets", "datasets are names on the Hub", CARDS, data_faults),
    HubRule("base model", "base_model is a model on the Hub", CARDS, base_faults),
    HubRule("metrics", "metrics are of huggingface.co/metrics", SPECIFICATION, metric_faults),
    HubRule(
        "model-index", "each result has task, data set and values", SPECIFICATION, index_faults
    ),
    HubRule("benchmarks", "results name a benchmark and its task", RESULTS, benchmark_faults),
    HubRule("paper", "the paper's tag stands beside its link", CARDS, paper_faults),
    HubRule("examples", "examples and their outputs are in the folder", WIDGETS, example_faults),
    HubRule("pictures", "the card's pictures are in the folder", CARDS, picture_faults),
    HubRule("snippet", "the card has code that loads it", ADDING, snippet_faults),
    HubRule("counting", "one file by which a load is counted", COUNTING, counting_faults),
    HubRule("pickles", "weights in safetensors, and no pickle", PICKLES, pickle_faults),
)
