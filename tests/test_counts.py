"""A number and what it counts: one helper, and nobody who writes a plural by hand."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from segzoo.base.counts import count_of

CORE = Path(__file__).parents[1] / "src" / "segzoo"
# What is counted in lines, pages and errors, and of which there can be one.
NOUNS = {
    *("band", "channel", "class", "colour", "column", "core", "element", "entry"),
    *(
        "epoch",
        "family",
        "fault",
        "file",
        "fold",
        "folder",
        "frame",
        "input",
        "kind",
    ),
    *("layer", "line", "map", "mask", "minute", "model", "note", "output", "part", "picture"),
    *("point", "process", "rule", "sample", "shard", "step", "tensor", "thread", "window"),
}
PLURALS = {count_of(2, noun).partition(" ")[2] for noun in NOUNS}
BETWEEN = {"broken", "different", "more", "other", "random", "usable"}
# A plural by hand, and why there is never one of them.
NEVER_ONE = {
    "automatic/auto.py": {"minutes"},  # too few for several folds
    "cli/outcomes.py": {"windows"},  # a picture in one window is told without
    "cli/done.py": {"pictures"},
    "engine/launch.py": {"processes"},
    "pictures/arrays.py": {"bands"},
    "pictures/metadata.py": {"frames"},
    "predict/preprocess.py": {"channels"},
}


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "picture", "1 picture"),
        (0, "picture", "0 pictures"),
        (3000, "picture", "3,000 pictures"),
        (1.0, "minute", "1 minute"),
        (1.5, "minute", "1.5 minutes"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (2, "more family", "2 more families"),
        (2, "batch", "2 batches"),
        (2, "day", "2 days"),
        (0.5, "epoch", "0.5 epochs"),
    ],
)
def test_a_number_and_what_it_counts(number, noun, said):
    assert count_of(number, noun) == said


def by_hand(source: str) -> Iterator[str]:
    """The plurals that stand behind a number in its strings; "3 of 4 pictures" is one of any."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        before = ""
        for value, after in zip(node.values, [*node.values[1:], None], strict=True):
            if isinstance(value, ast.Constant):
                before = value.value
            elif isinstance(after, ast.Constant) and not (before == " of "):
                words = after.value.split(",")[0].split(";")[0].split()
                words = words[1:] if words[:1] and words[0] in BETWEEN else words
                word = words[0].rstrip(".:)") if words and after.value[0] == " " else ""
                name = ast.unparse(value.value).rpartition(".")[2]
                if word in PLURALS and not name.isupper():
                    yield word


def test_a_plural_by_hand_is_seen():
    assert [*by_hand("f'{n:,} pictures'")] == ["pictures"]
    assert [*by_hand("f'found {len(x)} other files: {y}'")] == ["files"]
    assert [*by_hand("f'{failed} of {total} pictures failed, at most {MOST} files'")] == []


def test_whoever_counts_takes_the_helper():
    found = {}
    for file in CORE.rglob("*.py"):
        if words := {*by_hand(file.read_text("utf-8"))}:
            found[file.relative_to(CORE).as_posix()] = words
    assert found == NEVER_ONE
