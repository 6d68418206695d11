"""What the Hub's documentation asks for: every rule holds for our folders, each can be broken."""

import json
import re
from dataclasses import replace
from datetime import date

import pytest
from test_card import BENCHMARK, FACTS

from segzoo.cli.main import run
from segzoo.errors import ConfigError
from segzoo.publish import card, metadata, rules
from segzoo.publish.facts import EXAMPLE, EXAMPLE_MASK, PREVIEW
from segzoo.publish.rules import RULES, judged, sheet_of

SHOWN = frozenset({PREVIEW, EXAMPLE, "training/curves.png"})
WHOLE = replace(FACTS, pictures=SHOWN, benchmark=BENCHMARK)
EMPTY = ("config.json", "manifest.json", "model.safetensors", EXAMPLE, EXAMPLE_MASK, *SHOWN)


@pytest.fixture
def folder(tmp_path):
    """A folder as we make it, of which the rules read the card and the results."""
    for name in EMPTY:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "README.md").write_text(card.readme(WHOLE), "utf-8")
    (tmp_path / ".eval_results").mkdir()
    for name, text in metadata.benchmark_results(WHOLE).items():
        (tmp_path / ".eval_results" / name).write_text(text)
    return tmp_path


def broken_in(folder):
    return {rule.name: faults for rule, faults in judged(sheet_of(folder)) if faults}


def test_what_we_write_keeps_every_rule(folder):
    assert broken_in(folder) == {}


RESULT = ".eval_results/acme-sky.yaml"
# Of each rule, how the folder is changed (a pattern in a file, and what takes its place; a file to
# make; a file to remove), and what is said of it.
BROKEN = [
    ("card", ("README.md", r"\A---\n", ""), "does not begin with YAML between two lines"),
    ("card", ("README.md", r"\A---\n", "---\n{: ]\n"), "no YAML of names and values"),
    ("card", ("README.md", r"\A---\n", "---\na: &a [x]\nb: *a\n"), "no YAML of names and values"),
    ("card", ("README.md", None, None), "there is no README.md"),
    ("library", ("README.md", "library_name: segzoo", "library_name: timm"), "is 'timm', not"),
    ("library", ("README.md", "library_name: segzoo\n", ""), "library_name is None, not 'segzoo'"),
    (
        "task",
        ("README.md", "pipeline_tag: image-segmentation", "pipeline_tag: segmentation"),
        "pipeline_tag is 'segmentation', not 'image-segmentation'",
    ),
    ("tags", ("README.md", "tags:\n- segzoo\n", "tags:\n"), "'segzoo' is not among the tags"),
    ("tags", ("README.md", "- tiny\n", "- 3\n"), "not a list of words"),
    ("licence", ("README.md", "license: apache-2.0", "license: Apache-2.0"), "does not list"),
    ("licence", ("README.md", "license: apache-2.0\n", ""), "there is no license"),
    ("licence", ("README.md", "license: apache-2.0", "license: other"), "is no short name"),
    (
        "licence",
        (
            "README.md",
            "license: apache-2.0",
            "license: other\nlicense_name: ours\nlicense_link: LICENSE",
        ),
        "license_link 'LICENSE' leads to no text of it",
    ),
    ("data sets", ("README.md", "- acme/sky\n", "- Skies (2020)\n"), "cannot be the name of a"),
    ("base model", ("README.md", "base_model: acme/base", "base_model: base"), "not user/name"),
    (
        "base model",
        ("README.md", "base_model: acme/base", "base_model: acme/base\nbase_model_relation: child"),
        "base_model_relation is 'child', not one of adapter, finetune",
    ),
    ("metrics", ("README.md", "metrics:\n- mean_iou", "metrics:\n- jaccard"), "has 'jaccard'"),
    ("model-index", ("README.md", "type: mean_dice", "kind: mean_dice"), "has no metrics.type"),
    (
        "model-index",
        ("README.md", "type: acme/sky\n", "kind: acme/sky\n"),
        "result 1 of model-index has no dataset.type",
    ),
    ("benchmarks", (RESULT, "task_id: semantic", "task: semantic"), "task_id is missing"),
    ("benchmarks", (RESULT, "id: acme/sky", "id: acme"), "dataset.id is 'acme', not user/name"),
    ("benchmarks", (RESULT, r"value: [\d.]+", "value: high"), "value is 'high', no number"),
    ("benchmarks", (RESULT, r"\Z", "\n  date: 2026-01-02\n"), "no text of an ISO 8601 date"),
    ("benchmarks", (RESULT, r"\Z", "\n  source: {name: ours}\n"), "source has no url"),
    ("benchmarks", (RESULT, r"\A.*\Z", "a: &a [x]\nb: *a\n"), "it holds anchors"),
    ("paper", ("README.md", r"\(https://arxiv.org/abs/[^)]*\)", ""), "and no link to that paper"),
    ("examples", (EXAMPLE, None, None), f"the example '{EXAMPLE}' is no file of the folder"),
    ("examples", (EXAMPLE_MASK, None, None), "leads to no file of the folder"),
    ("pictures", (PREVIEW, None, None), "the card shows 'preview.jpg', which is not in the folder"),
    ("snippet", ("README.md", "segzoo.load", "segzoo.open"), "no code that loads it"),
    ("snippet", ("README.md", "import segzoo\n", "import segzoo segzoo\n"), "is no Python"),
    ("counting", ("config.json", None, None), "there is no config.json, by which a load"),
    ("counting", ("params.json", "", ""), "params.json would be counted too"),
    ("pickles", ("pytorch_model.bin", "", ""), "pytorch_model.bin may hold a pickle"),
    ("pickles", ("model.safetensors", None, None), "there are no weights in safetensors"),
]


def change(folder, name, pattern, text):
    if pattern is None:
        (folder / name).unlink()
    elif not (folder / name).exists():
        (folder / name).touch()
    else:
        before = (folder / name).read_text("utf-8")
        after = re.sub(pattern, text, before, count=1, flags=re.DOTALL)
        assert after != before, "the change changes nothing"
        (folder / name).write_text(after, "utf-8")


@pytest.mark.parametrize(("rule", "changed", "words"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_card_breaks_the_rule(folder, rule, changed, words):
    change(folder, *changed)
    broken = broken_in(folder)
    assert words in " ".join(broken[rule])
    if rule not in ("card", "counting"):  # a card without YAML breaks what is asked of its YAML
        assert broken.keys() == {rule}


def test_every_rule_is_broken_by_a_card_and_has_a_page_with_a_date():
    assert {row[0] for row in BROKEN} == {rule.name for rule in RULES}
    for rule in RULES:
        assert re.match(
            r"https://(huggingface\.co/docs/hub|github\.com/huggingface)/", rule.page.address
        )
        assert date(2024, 1, 1) < date.fromisoformat(rule.page.date) < date(2027, 1, 1)


@pytest.mark.parametrize("content", [b"---\n\xff\n---\n", b"x" * (rules.MAX_TEXT + 1)])
def test_a_card_that_is_no_text(folder, content):
    (folder / "README.md").write_bytes(content)
    with pytest.raises(ConfigError, match=r"no text in UTF-8|too large"):
        sheet_of(folder)


def test_the_command_says_what_is_broken_and_where_that_stands(folder, capsys):
    assert run(["publish", str(folder), "--check"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ok    card         the card begins with YAML (model-cards, 2026-04-08)"
    assert said[-1] == f"{len(RULES)} rules hold, 0 broken; nothing was sent"
    change(folder, "README.md", "license: apache-2.0", "license: mine")
    assert run(["publish", str(folder), "--check"]) == 3
    said = capsys.readouterr().out
    assert "\nFAIL  licence      the licence is listed, or has a name and a text (" in said
    assert "\n                   license is 'mine', which the Hub does not list\n" in said
    assert "\nsee https://huggingface.co/docs/hub/repositories-licenses, as of 2026-06-06\n" in said
    assert run(["publish", str(folder), "--check", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [r["rule"] for r in found["rules"] if r["faults"]] == ["licence"] and not found["ok"]


def test_to_check_and_to_make_a_folder_are_two_things(folder, capsys):
    assert run(["publish", str(folder), "--check", "--dry-run", "x"]) == 2
    assert "give one of --check and --dry-run" in capsys.readouterr().err
