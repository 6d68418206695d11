"""docs/data-sets.md knows every reader with its options, and says no more than the readers do."""

import re
from pathlib import Path

import layouts
import numpy as np
import pytest

from segzoo.data.declared import OPTIONS
from segzoo.data.outlined import OPTIONS as OUTLINES
from segzoo.data.sample import checked
from segzoo.data.source import COMMON, open_data, parse
from segzoo.spec import ReaderSpec
from segzoo.zoo import registry

PAGE = (Path(__file__).parents[1] / "docs" / "data-sets.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"(?:^| )(\w+:[\w./{}-]+\?\S+)", PAGE, re.MULTILINE)
READERS = [e.name for e in registry.entries(registry.READERS) if e.distribution == "segzoo-core"]
MEANING = set(OPTIONS)
TOOLS = ("labelme", "cvat", "yolo")  # below the section that gives their common options
TOOLS_SAY = PAGE.partition("## What annotation tools write")[2].partition("\n### ")[0]


def spec_of(reader: str) -> ReaderSpec:
    return registry.find(reader, registry.READERS).load_as(ReaderSpec)


def test_every_reader_has_a_section():
    assert sorted(SECTIONS) == sorted(READERS)


@pytest.mark.parametrize("name", READERS)
def test_every_option_is_named(name):
    options = set(spec_of(name).options)
    if options >= MEANING and name != "folder":
        options -= MEANING
    if name in (*TOOLS, "coco"):
        options -= set(OUTLINES)
        assert name in TOOLS or "](#what-annotation-tools-write)" in SECTIONS[name]
        assert {option for option in OUTLINES if f"`{option}`" not in TOOLS_SAY} == set()
    assert {option for option in options if f"`{option}" not in SECTIONS[name]} == set()


@pytest.mark.parametrize("name", READERS)
def test_tables_give_the_defaults(name):
    options = spec_of(name).options
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]+)` )?\| ", SECTIONS[name], re.MULTILINE)
    assert rows or name in ("arrays", "labelme", "shards")
    for option, default in rows:
        assert default == str(options[option].default).lower() or default == options[option].default


@pytest.mark.parametrize("words", EXAMPLES)
def test_examples_name_options_that_there_are(words):
    source = parse(words)
    if source.reader != "reader":
        options = spec_of(source.reader).options
        assert set(source.options) <= {*options, *COMMON, "split"}
        for name, value in source.options.items():
            choices = options[name].choices if name in options else None
            assert choices is None or value in map(str, choices)


@pytest.mark.parametrize("name", READERS)
def test_the_licence_and_the_description_are_there(name):
    spec = spec_of(name)
    if spec.license:
        assert "\nLicence: " in SECTIONS[name]
        assert f"]({spec.url})" in SECTIONS[name]


@pytest.mark.parametrize(
    ("words", "pack", "length", "values"),
    [
        ("folder:{}/test?values=0,255", "nuclei_dsb2018", 113, {0, 1}),
        ("arrays:{}/val.npz", "m2nist", 250, {*range(11)}),
        ("shards:{}?values=0,255", "duts-tr", 10553, {0, 1}),
        ("camvid:{}?split=val", "camvid", 86, {*range(11), 255}),
        ("drive:{}?split=test", "drive", 17, {0, 1}),
    ],
)
def test_the_readers_that_met_real_data(words, pack, length, values):
    dataset = open_data(words.format(layouts.real(pack)))
    assert len(dataset) == length
    seen = {int(v) for n in (0, length // 2) for v in np.unique(checked(dataset[n])["target"])}
    assert len(seen) > 1
    assert seen <= values
