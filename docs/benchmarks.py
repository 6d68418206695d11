"""docs/benchmarks.md, from what lies in bench/results/: `page()`.

A result is what its script wrote: numbers by name, some levels deep. Every mapping of names to
numbers becomes a table; a mapping of such mappings becomes one table with a column for each name.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from segzoo.spec import Json

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
MOST_ROWS = 24  # of a table: what is longer is left in the file
BAR = 20  # characters of the longest bar

HEAD = """\
# Benchmarks

How long things take, and how much memory, beside others that do the same: what the scripts in
`bench/` wrote to `bench/results/`, put into tables by `make docs`. Each was measured in one run,
its ways in turn within each round, on the machine that is named: absolute times mean little
elsewhere, ratios more. The line that stands with a result measures it again, and leaves out what is
not installed. What has no result here was not measured to its end.
"""


def page() -> str:
    return "".join(parts())


def parts() -> Iterator[str]:
    yield HEAD
    unmeasured = []
    for script in sorted(BENCH.glob("*.py")):
        says = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
        first = " ".join(says.partition("\n\n")[0].split())
        result = BENCH / "results" / f"{script.stem}.json"
        if result.exists():
            yield f"\n## {script.stem}\n\n{first} ([the script](../bench/{script.name}))\n\n"
            yield from of_result(json.loads(result.read_text("utf-8")))
        elif "bench/results" in says and not result.with_suffix("").is_dir():  # has its own page
            unmeasured.append(f"- [`{script.name}`](../bench/{script.name}): {first}\n")
    if unmeasured:
        yield "\n## Not measured yet\n\n"
        yield from unmeasured


def of_result(result: dict[str, Json]) -> Iterator[str]:
    machine = result.pop("machine")
    yield f"    {result.pop('command')}\n\n"
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    yield (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, load "
        f"{machine['load_average']} as it began; Python {machine['python']}, {versions}.\n"
    )
    yield from tables(result, "")


def tables(value: Mapping[str, Json], title: str) -> Iterator[str]:
    """What is directly in a mapping as one table, and then what lies deeper."""
    plain = {name: v for name, v in value.items() if is_plain(v)}
    if plain and (not title or len(plain) <= MOST_ROWS):
        yield from listed(plain, title)
    for name, inner in value.items():
        below = f"{title}, {in_words(name)}" if title else in_words(name)
        inner = by_words(inner)
        if not isinstance(inner, Mapping) or not inner:
            continue
        if all(
            isinstance(v, Mapping) and v and all(map(is_plain, v.values())) for v in inner.values()
        ):
            yield from crossed(inner, below)
        else:
            yield from tables(inner, below)


def by_words(value: Json) -> Json:
    """Rows by what they say in words, those alike in the word that changes least together.

    All else as it is, and so are rows that words alone do not tell apart.
    """
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        return value
    texts = {name for row in value for name, v in row.items() if isinstance(v, str)}
    if not texts or any(not isinstance(row.get(name), str) for row in value for name in texts):
        return value
    order = [name for name in value[0] if name in texts]
    order.sort(key=lambda name: len({row[name] for row in value}))
    groups: dict[str, dict[str, Json]] = {}
    for row in value:
        first, *rest = (row[name] for name in order)
        group = groups.setdefault(first, {})
        said = ", ".join(rest)
        if said in group:
            return value
        group[said] = {name: v for name, v in row.items() if name not in texts}
    return groups if len(order) > 1 else {first: group[""] for first, group in groups.items()}


def listed(values: Mapping[str, Json], title: str) -> Iterator[str]:
    numbers = {n: v for n, v in values.items() if is_number(v)}
    if not title or len(numbers) < len(values):
        facts = (f"{in_words(name)} {shown(value)}" for name, value in values.items())
        yield f"\n{title}{': ' if title else ''}{'; '.join(facts)}.\n"
        return
    drawn = "second" in title  # all of them are of one kind
    most = max(numbers.values()) or 1
    yield f"\n| {title} | |{' |' if drawn else ''}\n|---|---:|{':---|' if drawn else ''}\n"
    for name, number in numbers.items():
        bar = f" {'█' * max(1, round(BAR * number / most))} |" if drawn else ""
        yield f"| {in_words(name)} | {shown(number)} |{bar}\n"


def crossed(rows: Mapping[str, Mapping[str, Json]], title: str) -> Iterator[str]:
    if len(rows) > MOST_ROWS:
        return
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    yield f"\n| {title} | {' | '.join(map(in_words, columns))} |\n|---|{'---:|' * len(columns)}\n"
    for name, row in rows.items():
        cells = (shown(row.get(column, "")) for column in columns)
        yield f"| {in_words(name)} | {' | '.join(cells)} |\n"


def is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_plain(value: Json) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, list) and len(value) <= 3 and all(map(is_number, value))
    )


def shown(value: Json) -> str:
    if isinstance(value, list):
        pixels = all(isinstance(number, int) for number in value)
        return ("x" if pixels else " to ").join(map(shown, value))
    if is_number(value):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def in_words(name: str) -> str:
    return name.replace("_", " ")
