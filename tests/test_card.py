"""The card, the results as the Hub reads them, and Python for a spec."""

import ast
import re
from dataclasses import replace

import pytest
import yaml
from hub_server.cards import LICENSES, judged
from hub_server.cards import metadata as front_matter
from huggingface_hub import ModelCard, parse_eval_result_entries
from hypothesis import given, settings
from hypothesis import strategies as st

from segzoo import spec
from segzoo.publish import card, metadata, vocabulary
from segzoo.publish.facts import Benchmark, Facts
from segzoo.saved.config import Config
from segzoo.spec import Dataset, Metric, Paper, Postprocess, Preprocess, Weights
from segzoo.zoo.licenses import PERMISSIVE

CONFIG = Config(
    model="tiny",
    distribution="acme-seg",
    version="1.2",
    in_channels=3,
    num_classes=2,
    task="multiclass",
    preprocess=Preprocess(size=(32, 48), resize="stretch"),
    postprocess=Postprocess(activation="softmax", threshold=None),
    classes=("sky", "a|b"),
    license="Apache-2.0",
    trained_on=(
        Dataset(name="Sky", license="CC-BY-4.0", url="https://huggingface.co/datasets/acme/sky"),
        Dataset(name="DUTS-TR", license="not stated"),
    ),
    files={"model.safetensors": "ab" * 32},
)
PROTOCOL = "segzoo 0.1.0: semantic; each picture at its own size"
METRICS = (
    Metric(name="mean_iou", value=0.81234567, split="hf:acme/sky?split=test", protocol=PROTOCOL),
    Metric(name="mean_dice", value=0.9, split="hf:acme/sky?split=test", protocol=PROTOCOL),
    Metric(name="max F-beta", value=0.7, split="850 of ECSSD", protocol="beta^2 = 0.3"),
)
FACTS = Facts(
    config=CONFIG,
    summary="a model for tests",
    num_parameters=1234567,
    repo="alice/sky-net",
    tag="r1",
    paper=Paper(title="Skies", authors="Wolke, Blau", year=2020, arxiv="2001.00001"),
    metrics=METRICS,
    intervals={"mean_iou": (0.8, 0.82)},
    measure="segzoo eval hf-hub:alice/sky-net@r1 --data 'hf:acme/sky?split=test'",
    train="segzoo train tiny --data 'hf:acme/sky'",
    recipe=(("steps", "4"), ("lr", "0.1")),
    base_model="acme/base",
    notes="Clouds *at night* are <b>not</b> seen.",
    pictures=frozenset({"preview.jpg", "training/curves.png"}),
)

BENCHMARK = Benchmark("acme/sky", "semantic", "f" * 40)


def test_the_front_matter_says_what_the_hub_asks():
    text = card.readme(FACTS)
    assert judged(text) == ([], [])
    data = front_matter(text)
    assert {k: v for k, v in data.items() if k != "model-index"} == {
        "license": "apache-2.0",
        "library_name": "segzoo",
        "pipeline_tag": "image-segmentation",
        "tags": ["segzoo", "semantic-segmentation", "tiny", "arxiv:2001.00001"],
        "datasets": ["acme/sky"],  # the other one is not on the Hub, which the table has
        "metrics": ["mean_iou"],  # as https://huggingface.co/metrics has it
        "base_model": "acme/base",
    }
    (index,) = data["model-index"]
    assert index["name"] == "sky-net"
    assert [r["dataset"]["name"] for r in index["results"]] == [
        "hf:acme/sky?split=test",
        "850 of ECSSD",
    ]
    assert index["results"][0]["dataset"]["type"] == "acme/sky"
    first, second = index["results"][0]["metrics"]
    assert (second["type"], second["value"]) == ("mean_dice", 0.9)
    assert first == {
        "type": "mean_iou",
        "name": "mean_iou",
        "value": 0.81234567,
        "args": {"protocol": PROTOCOL},
    }


def test_the_hubs_own_client_reads_the_card_back():
    found = ModelCard(card.readme(FACTS)).data
    assert (found.license, found.library_name, found.model_name) == (
        "apache-2.0",
        "segzoo",
        "sky-net",
    )
    assert [r.metric_value for r in found.eval_results] == [m.value for m in METRICS]


def test_the_card_says_what_a_reader_needs():
    text = card.readme(FACTS)
    for words in (
        "# sky-net\n",
        "1,234,567 parameters, for the task multiclass with 2 classes: sky, a\\|b. "
        "Pictures are taken resized to 32x48.",
        "![A picture and the mask that this model gives](preview.jpg)",
        'pip install "acme-seg>=1.2"\nsegzoo predict hf-hub:alice/sky-net@r1 photo.jpg -o out',
        'model = segzoo.load("hf-hub:alice/sky-net@r1")',
        "`segzoo verify hf-hub:alice/sky-net@r1`",
        "| [Sky](https://huggingface.co/datasets/acme/sky) | CC-BY-4.0 |\n| DUTS-TR | not stated |",
        "On hf:acme/sky?split=test, measured so: segzoo 0.1.0: semantic; each picture at its own",
        "| `mean_iou` | 0.8123 | 0.8000 to 0.8200 |\n| `mean_dice` | 0.9000 |  |",
        "| max F-beta | 0.7000 |",
        "```sh\nsegzoo eval hf-hub:alice/sky-net@r1 --data 'hf:acme/sky?split=test'\n```",
        "```sh\nsegzoo train tiny --data 'hf:acme/sky'\n```",
        "It began with the weights of `acme/base`.",
        "steps  4\nlr     0.1\n",
        "(training/curves.png)",
        "Clouds \\*at night\\* are \\<b\\>not\\</b\\> seen.",
        "Wolke, Blau (2020). [Skies](https://arxiv.org/abs/2001.00001).",
        "The weights: Apache-2.0. Not every data set that they were trained on is known to be",
        f"`model.safetensors` holds float32. Its sha256: `{'ab' * 32}`.",
    ):
        assert words in text, words
    assert text.endswith("\n") and not text.endswith("\n\n") and "\n\n\n" not in text


def test_the_card_says_where_the_weights_are_from_that_training_began_with():
    text = card.readme(
        replace(
            FACTS, begun_with="tiny.theirs", base_model="", begun_at="https://example.org/a.onnx"
        )
    )
    assert (
        "\nIt began with the weights of `tiny.theirs`, from https://example.org/a.onnx.\n" in text
    )
    assert "and before what `tiny.theirs` was trained on" in text


def test_the_card_says_whose_code_it_is():
    code = replace(FACTS.paper, code="https://example.org/sky", code_license="GPL-3.0")
    own, other = (
        card.readme(replace(FACTS, paper=replace(code, code_by=who))) for who in ("", "a_fan")
    )
    assert "\nThe authors' code: https://example.org/sky (GPL-3.0).\n" in own
    assert "\nCode by a\\_fan: https://example.org/sky (GPL-3.0).\n" in other
    assert "The authors' code" not in other


def test_numbers_of_one_set_are_one_table_whatever_their_protocols():
    one, two = (replace(METRICS[0], name=n, protocol=p) for n, p in (("iou", "x"), ("mae", "y")))
    text = card.readme(replace(FACTS, metrics=(one, two), intervals={}))
    assert (
        "On hf:acme/sky?split=test:\n\n| metric | value | measured so |\n|---|---|---|\n"
        "| `iou` | 0.8123 | x |\n| `mae` | 0.8123 | y |\n"
    ) in text
    words = (replace(one, name="MAE"), replace(two, name="max F-beta"))  # as records call them
    text = card.readme(replace(FACTS, metrics=words, intervals={}))
    assert "\n| MAE | 0.8123 | x |\n| max F-beta | 0.8123 | y |\n" in text


def test_what_there_is_not_the_card_does_not_speak_of():
    bare = replace(
        FACTS,
        tag="",
        paper=None,
        intervals={},
        measure="",
        train="",
        recipe=(),
        base_model="",
        notes="",
        pictures=frozenset(),
    )
    text = card.readme(bare)
    assert judged(text) == ([], [])
    for words in ("preview", "curves", "## Training", "## Paper", "measure it again", "95 in 100"):
        assert words not in text
    assert "@" not in text.partition("---\n\n")[2]
    assert "arxiv" not in str(front_matter(text)["tags"]) and "base_model" not in front_matter(text)


def test_the_result_of_a_registered_benchmark_is_a_file_that_the_client_reads_back():
    assert metadata.benchmark_results(FACTS) == {}
    found = metadata.benchmark_results(replace(FACTS, benchmark=BENCHMARK))
    assert list(found) == ["acme-sky.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(found["acme-sky.yaml"]))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("acme/sky", "semantic", 0.81234567)
    assert entry.dataset_revision == "f" * 40
    assert entry.notes == f"mean_iou on hf:acme/sky?split=test; {PROTOCOL}"


@pytest.mark.parametrize(
    ("license", "known"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("mit", "mit"),
        ("CC0-1.0", "cc0-1.0"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("PDDL-1.0", "pddl"),
        ("ODbL-1.0", "odbl"),
        ("GPL-3.0-only", "gpl-3.0"),
        ("AGPL-3.0-or-later", "agpl-3.0"),
        ("LGPL-2.1-only", None),  # the Hub has it
        ("0BSD", None),
        ("My own terms (2026)", None),
    ],
)
def test_a_licence_is_the_hubs_or_has_a_name_and_a_link(license, known):
    text = card.readme(replace(FACTS, config=replace(CONFIG, license=license)))
    assert judged(text) == ([], [])
    data = front_matter(text)
    if known is not None:
        assert data["license"] == known
        assert "license_name" not in data
    elif data["license"] == "other":
        assert re.fullmatch(r"[\w.+-]+", data["license_name"])
        assert data["license_link"] in ("README.md", f"https://spdx.org/licenses/{license}.html")
    else:
        assert data["license"] == "lgpl-2.1"


def test_every_name_of_a_licence_is_one_of_the_hub():
    names = {*metadata.SAME_ON_HUB, *metadata.HUB_LICENSES.values()}
    assert names <= set(LICENSES) == vocabulary.LICENSES
    odd = {name for name in PERMISSIVE if metadata.license_fields(name)["license"] == "other"}
    assert odd == {"0BSD"}


LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    str.isprintable
)


@settings(max_examples=60)
@given(name=LINE, licence=LINE, url=LINE, metric=LINE, split=LINE, notes=LINE)
def test_no_text_breaks_the_card(name, licence, url, metric, split, notes):
    data = Dataset(name=name, license=licence, url=url)
    facts = replace(
        FACTS,
        config=replace(CONFIG, license=licence, trained_on=(data,)),
        metrics=(Metric(name=metric, value=0.5, split=split, protocol=notes),),
        notes=notes,
    )
    text = card.readme(facts)
    assert judged(text) == ([], [])
    on_hub = re.fullmatch(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?", url)
    assert front_matter(text).get("datasets", []) == ([on_hub[1]] if on_hub else [])
    body = text.split("\n---\n", 1)[1]
    assert not re.search(r"(?<!\\)<[a-z/!]", body)
    rows = [line for line in body.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} <= {3, 4}
    for text in metadata.benchmark_results(replace(facts, benchmark=BENCHMARK)).values():
        parse_eval_result_entries(yaml.safe_load(text))


# --- Python for a spec ----------------------------------------------------------------------------

RECORD = Weights(
    repo="alice/sky-net",
    revision="0" * 40,
    file="model.safetensors",
    sha256="ab" * 32,
    options={"width": 2, "names": ["a", None, True], "rate": -0.5},
    preprocess=Preprocess(size=(32, 48), resize="letterbox", mean=(0.5,), std=(0.25,)),
    classes=("sky", 'quo"te\\'),
    palette=((0, 0, 0), (255, 128, 1)),
    trained_on=CONFIG.trained_on,
    metrics=METRICS,
    license="Apache-2.0",
    notes="Straße",
)


def test_the_lines_are_formatted_and_say_what_is_not_the_default():
    text = card.lines_for_spec(RECORD)
    assert text.startswith('Weights(\n    repo="alice/sky-net",\n    revision="000')
    assert '    preprocess=Preprocess(size=(32, 48), resize="letterbox", mean=(0.5,),' in text
    assert "dtype" not in text and "retired" not in text and "bundled" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert '"Straße"' in text


def test_the_lines_make_the_record():
    def made(node):
        if isinstance(node, ast.Call):
            return getattr(spec, node.func.id)(**{k.arg: made(k.value) for k in node.keywords})
        if isinstance(node, ast.Tuple):
            return tuple(map(made, node.elts))
        if isinstance(node, ast.Dict):
            return {made(k): made(v) for k, v in zip(node.keys, node.values, strict=True)}
        return ast.literal_eval(node)

    assert made(ast.parse(card.lines_for_spec(RECORD), mode="eval").body) == RECORD
