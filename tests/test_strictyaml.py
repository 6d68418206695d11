"""YAML is met through its callers too: test_reader_yolo.py and test_publish.py have rows of it."""

import pytest

from segzoo.base.strictyaml import strict_yaml


def test_plain_values():
    text = "train: images\nnames: {0: cat, 1: dog}\nof:\n- {names: 1}\n- {names: 2}\n"
    assert strict_yaml(text) == {
        "train": "images",
        "names": {0: "cat", 1: "dog"},
        "of": [{"names": 1}, {"names": 2}],
    }
    assert strict_yaml("") is None


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("names: {0: cat, 0: dog}", "0", 1),
        ("names:\n  0: cat\n  1: dog\n  0x0: owl", "0", 4),  # one number, written otherwise
        ("train: a\nval: b\ntrain: c", "train", 3),
        ("train: a\n'train': a", "train", 2),
        ("- names:\n  - {a: {b: 1, c: 2, b: 1}}", "b", 2),
        ("{1: cat, true: dog}", "True", 1),  # to Python these are one key
        ("a: 1\n<<: {b: 2}\nb: 3", "b", 3),
        ("!!set {a, a}", "a", 1),
    ],
)
def test_a_key_that_stands_twice(text, key, line):
    """PyYAML keeps the last, so that a class would be lost."""
    with pytest.raises(ValueError, match=f"^the key '{key}' stands twice, again in line {line}$"):
        strict_yaml(text)


@pytest.mark.parametrize(
    "text", ["2026-13-01", "1" * 5000, "!!int x", "!!float x", "!!bool x", "!!timestamp x"]
)
def test_values_that_python_has_words_of_its_own_for(text):
    with pytest.raises(ValueError, match="a number, a date or a value with a tag in it"):
        strict_yaml(f"a: {text}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x 1", "it holds anchors"),
        ("a: *x", "it holds anchors"),
        ("a: [", "while parsing"),
        ("? [1]\n: 2", "unhashable key"),
        ("!!python/name:os.system x", "could not determine a constructor"),
        ("[" * 9999, "it is nested too deeply"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        strict_yaml(text)
