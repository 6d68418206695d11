"""What is said of published weights: the card README.md, and the lines that a spec.py takes."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segzoo.base.counts import count_of
from segzoo.base.records import Record
from segzoo.errors import printable
from segzoo.publish import metadata
from segzoo.publish.facts import PREVIEW, Facts
from segzoo.spec import Weights
from segzoo.zoo.licenses import PERMISSIVE

__all__ = ["lines_for_spec", "readme"]

WIDTH = 100  # characters of a line of Python


# --- README.md ------------------------------------------------------------------------------------


def readme(facts: Facts) -> str:
    """The text of README.md, its front matter first."""
    sections = (_head(facts), _use(facts), _data(facts), _results(facts), _training(facts))
    body = [line for part in (*sections, _limits(facts), _end(facts)) for line in (*part, "")]
    return f"---\n{metadata.front_matter(facts)}\n---\n\n" + "\n".join(body).rstrip("\n") + "\n"


def _head(facts: Facts) -> Iterator[str]:
    config = facts.config
    side = config.preprocess.size
    size = f"resized to {side[0]}x{side[1]}" if side else "at their own size"
    classes = count_of(config.num_classes, "class")
    names = f": {', '.join(config.classes[:20])}" if config.classes else ""
    more = f" and {len(config.classes) - 20} more" if len(config.classes) > 20 else ""
    yield f"# {_text(facts.repo.rpartition('/')[2])}"
    yield ""
    yield (
        f"`{config.model}` ({_text(facts.summary)}), {facts.num_parameters:,} parameters, for the "
        f"task {config.task} with {classes}{_text(names + more)}. Pictures are taken {size}."
    )
    if PREVIEW in facts.pictures:
        yield ""
        yield f"![A picture and the mask that this model gives]({PREVIEW})"
        if facts.example_terms:
            yield ""
            yield facts.example_terms


def _use(facts: Facts) -> Iterator[str]:
    config = facts.config
    plugin = config.distribution + (f">={config.version}" if config.version else "")
    yield "## Use"
    yield ""
    yield "```sh"
    yield f'pip install "{plugin}"'
    yield f"segzoo predict {facts.reference} photo.jpg -o out"
    yield "```"
    yield ""
    yield "```python"
    yield "import segzoo"
    yield ""
    yield f'model = segzoo.load("{facts.reference}")'
    yield 'prediction = model.predict("photo.jpg")'
    yield "prediction.mask  # (H, W) uint8, at the picture's size"
    yield "```"
    yield ""
    yield (
        "No code is loaded from this repository: `config.json` names the architecture, and the "
        f"installed plugin `{config.distribution}` has it. `segzoo verify {facts.reference}` "
        "checks every file and computes the logits in `golden.safetensors` again."
    )


def _data(facts: Facts) -> Iterator[str]:
    yield "## Data"
    yield ""
    yield "Trained on:"
    yield ""
    yield from _table(
        ("data set", "its licence"),
        ((_link(data.name, data.url), _text(data.license)) for data in facts.config.trained_on),
    )


def _results(facts: Facts) -> Iterator[str]:
    yield "## Results"
    for split in dict.fromkeys(m.split for m in facts.metrics):
        metrics = [m for m in facts.metrics if m.split == split]
        protocols = {m.protocol for m in metrics}
        columns = {
            "metric": [_metric(m.name) for m in metrics],
            "value": [f"{m.value:.4f}" for m in metrics],
        }
        pairs = [facts.intervals.get(m.name) for m in metrics]
        if any(pairs):
            columns["95 in 100 bootstrap samples"] = [
                f"{pair[0]:.4f} to {pair[1]:.4f}" if pair else "" for pair in pairs
            ]
        if len(protocols) == 1:
            yield from ("", f"On {_text(split)}, measured so: {_text(protocols.pop())}.", "")
        else:
            columns["measured so"] = [_text(m.protocol) for m in metrics]
            yield from ("", f"On {_text(split)}:", "")
        yield from _table([*columns], zip(*columns.values(), strict=True))
    if facts.measure:
        yield from ("", "To measure it again, with the data where the words say:", "")
        yield from ("```sh", facts.measure, "```")


def _metric(name: str) -> str:
    """A name of `segzoo eval` as code; a record's own words, "MAE" say, as text."""
    return f"`{name}`" if name.isidentifier() and name.islower() else _text(name)


def _training(facts: Facts) -> Iterator[str]:
    before = facts.begun_with or facts.base_model
    if not (facts.recipe or facts.train or facts.source or before or facts.taught_by):
        return
    yield "## Training"
    yield ""
    if facts.source:
        yield f"{_text(facts.source[:1].upper() + facts.source[1:])}."
        yield ""
    if before:
        where = f", from {facts.begun_at}" if facts.begun_at else ""
        yield f"It began with the weights of `{before}`{where}."
        yield ""
    if facts.taught_by is not None:
        name, license = facts.taught_by
        yield (
            f"It is distilled: it learned from what `{name}` says of the pictures, too. The "
            f"licence of that model's weights: {_text(license)}."
        )
        yield ""
    if facts.lasted:
        yield from (facts.lasted, "")
    if facts.train:
        yield from ("To train it again:", "", "```sh", facts.train, "```")
    if facts.recipe:
        width = max(len(name) for name, _ in facts.recipe)
        yield from ("", "The recipe, with every default:", "", "```text")
        yield from (f"{name:{width}}  {printable(value)}" for name, value in facts.recipe)
        yield "```"
    if "training/curves.png" in facts.pictures:
        yield from ("", "![Loss and metrics over the steps](training/curves.png)")


def _limits(facts: Facts) -> Iterator[str]:
    names = ", ".join(data.name for data in facts.config.trained_on)
    yield "## Limits"
    yield ""
    if facts.notes:
        yield _text(facts.notes)
        yield ""
    began = facts.begun_with or facts.base_model
    before = f", and before what `{began}` was trained on" if began else ""
    if facts.taught_by is not None:
        before += f", and what `{facts.taught_by[0]}` learned from"
    yield (
        f"It has seen {_text(names)}{before}. The numbers above hold for the pictures that they "
        "were measured on; on other kinds of pictures it was not measured."
    )


def _end(facts: Facts) -> Iterator[str]:
    config, paper = facts.config, facts.paper
    if paper is not None:
        yield "## Paper"
        yield ""
        where = f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else ""
        yield f"{_text(paper.authors)} ({paper.year}). {_link(paper.title, where)}."
        if paper.code:
            yield ""
            terms = f" ({_text(paper.code_license)})" if paper.code_license else ""
            whose = f"Code by {_text(paper.code_by)}" if paper.code_by else "The authors' code"
            yield f"{whose}: {paper.code}{terms}."
        yield ""
    yield "## Licence"
    yield ""
    open_data = all(data.license in PERMISSIVE for data in config.trained_on)
    yield f"The weights: {_text(config.license)}. " + (
        "The data sets' licences are permissive."
        if open_data
        else "Not every data set that they were trained on is known to be under a permissive "
        "licence; see the table above."
    )
    yield ""
    sha256 = config.files.get("model.safetensors", "")
    stored = f"`model.safetensors` holds {config.dtype}"
    if config.dtype != "float32":
        stored += ", widened to float32 when it is loaded"
    yield f"{stored}. Its sha256: `{sha256}`."


def _table(header: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _text(text: str) -> str:
    """Text on one line in which Markdown and HTML find nothing to do."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", printable(text)).strip()


def _link(text: str, url: str) -> str:
    safe = re.fullmatch(r"https?://[^\s<>()\[\]\\`|]+", url)
    return f"[{_text(text)}]({url})" if safe else _text(text)


# --- spec.py --------------------------------------------------------------------------------------


def lines_for_spec(record: Weights) -> str:
    """The record as Python that makes it, of what is not the default; to paste into a spec."""
    return _python(record, 0)


def _python(value: Any, indent: int) -> str:
    """A value as an expression that begins in column `indent`, over several lines when long."""
    flat = _flat(value)
    if indent + len(flat) < WIDTH:
        return flat
    opening, items, closing = _parts(value, indent + 4)
    if not items:
        return flat
    pad = " " * (indent + 4)
    inside = "".join(f"{pad}{item},\n" for item in items)
    return f"{opening}\n{inside}{' ' * indent}{closing}"


def _flat(value: Any) -> str:
    opening, items, closing = _parts(value, None)
    if isinstance(value, str) and value.isprintable():
        return json.dumps(value, ensure_ascii=False)  # Python too, with the quotes of this house
    if not opening:
        return repr(value)
    comma = "," if isinstance(value, tuple) and len(items) == 1 else ""
    return f"{opening}{', '.join(items)}{comma}{closing}"


def _parts(value: Any, indent: int | None) -> tuple[str, list[str], str]:
    """How an expression begins, its items, and how it ends; ("", [], "") for one in one piece."""

    def spelled(label: str, item: Any) -> str:
        text = _flat(item) if indent is None else _python(item, indent)
        return label + text

    if isinstance(value, Record):
        fields = [
            (f.name, getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) != _default(f)
        ]
        items = [spelled(f"{name}=", item) for name, item in fields]
        return f"{type(value).__name__}(", items, ")"
    if isinstance(value, tuple | list):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return brackets[0], [spelled("", item) for item in value], brackets[1]
    if isinstance(value, Mapping):
        return "{", [spelled(f"{_flat(key)}: ", item) for key, item in value.items()], "}"
    return "", [], ""


def _default(f: "dataclasses.Field[Any]") -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default
