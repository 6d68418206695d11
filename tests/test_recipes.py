"""Recipes: each seed's against its article, overrides, tables, JSON, and docs/recipes.md."""

import dataclasses
import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segzoo import losses
from segzoo.engine.optim import OPTIMIZERS, optimizer_of
from segzoo.engine.recipes import (
    DEFAULT,
    described,
    from_json,
    loss_of,
    of_spec,
    overridden,
    to_json,
)
from segzoo.engine.schedule import SCHEDULES, rate_at
from segzoo.errors import ConfigError, UsageError
from segzoo.spec import Expect, ModelSpec, Postprocess, Preprocess, Recipe, TaskDefaults
from segzoo.zoo import registry

RECIPE = Recipe(
    epochs=10,
    batch_size=4,
    optimizer=("adam", {"betas": [0.9, 0.999], "eps": 1e-8}),
    lr=1e-3,
    augment=(("flip", {}), ("elastic", {"grid": 3})),
    frozen=("stem.",),
)
SPECS = {row.entry.name: row.spec for row in registry.rows() if row.spec is not None}

# --- the articles' recipes ------------------------------------------------------------------------

U2NET = {
    "optimizer": ("adam", {"betas": [0.9, 0.999], "eps": 1e-8}),
    "lr": 1e-3,
    "weight_decay": 0,
    "batch_size": 10,
    "epochs": 10,
    "head_weights": (1, 1, 1, 1, 1, 1, 1),
    "pixels": ((320, 320), (288, 288)),
    "loss": "segzoo_u2net.loss:deep_bce",
}
SLIM = {"optimizer": ("adam", {}), "weight_decay": 1e-3, "batch_size": 4}
# pixels: the size that pictures are resized to, and the crop of it. loss: of the default task.
SEEDS = {
    "digit_unet": {
        "optimizer": ("adadelta", {"rho": 0.95, "eps": 1e-7}),
        "lr": 1e-3,
        "weight_decay": 0,
        "batch_size": 16,
        "epochs": 200,
        "sampling": "replacement",
        "pixels": (None, None),
        "loss": "segzoo_digit_unet.loss:cross_entropy",
    },
    "unet_dice": {
        "optimizer": ("adam", {}),
        "lr": 1e-5,
        "weight_decay": 0,
        "batch_size": 32,
        "epochs": 20,
        "loss": "segzoo_unet.loss:dice",
    },
    "unet_paper": {
        "optimizer": ("sgd", {"momentum": 0.99}),
        "batch_size": 1,
        "pixel_weight": ("border", {"w0": 10.0, "sigma": 5.0}),
        "augment": (("elastic", {"grid": 3, "sigma": 10.0}),),
        "pixels": (None, (388, 388)),
        "loss": "segzoo_unet.loss:cross_entropy",
    },
    "unet_slim": SLIM,
    "unet_slim_3x": SLIM,
    "unetpp": {
        "optimizer": ("sgd", {"momentum": 0.9}),
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "schedule": ("cosine", {"min_lr": 1e-5}),
        "batch_size": 16,
        "epochs": 100,
        "pixels": (None, (96, 96)),
        "loss": "segzoo_unetpp.loss:bce_dice",
    },
    "unetpp_official": {
        "optimizer": ("adam", {}),
        "lr": 3e-4,
        "weight_decay": 2e-4,
        "loss": "segzoo_unetpp.loss:bce_dice_of_batch",
    },
    "u2net": U2NET,
    "u2netp": U2NET,
    "fcn_vgg16": {"optimizer": ("adam", {"eps": 1e-7}), "lr": 1e-3, "batch_size": 16, "epochs": 5},
}


@pytest.mark.parametrize("model", SEEDS)
def test_the_recipe_of_the_article(model):
    if model not in SPECS:
        pytest.skip(f"no installed plugin has {model}")
    spec = SPECS[model]
    recipe = spec.recipes["seed"]
    found = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    found["pixels"] = (recipe.size or spec.preprocess.size, recipe.crop)
    found["loss"] = (recipe.loss or [next(iter(spec.tasks.values())).loss])[0]
    assert {key: found[key] for key in SEEDS[model]} == SEEDS[model]


def test_every_article_is_in_the_table():
    assert {name for name, spec in SPECS.items() if "seed" in spec.recipes} <= set(SEEDS)


EVERY = {f"{m} {name}": (m, name) for m, spec in SPECS.items() for name in spec.recipes}


@pytest.mark.parametrize(("model", "name"), EVERY.values(), ids=EVERY)
def test_every_installed_recipe_names_what_there_is(model, name):
    spec = SPECS[model]
    found, recipe = of_spec(spec, name)
    assert found == name
    assert optimizer_of(nn.Linear(2, 2), replace(recipe, frozen=())).defaults["lr"] == recipe.lr
    assert rate_at(recipe.warmup, total=1000, recipe=recipe) == recipe.lr
    task = next(iter(spec.tasks.values()))
    assert callable(loss_of(recipe, task, num_classes=spec.num_classes))
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


# --- which recipe ---------------------------------------------------------------------------------


def spec_with(**changes):
    return ModelSpec(
        summary="a test",
        builder="a:b",
        tasks={"binary": TaskDefaults(loss="a:b", postprocess=Postprocess())},
        num_classes=1,
        num_parameters=1,
        **{"preprocess": Preprocess(), **changes},
    )


def test_the_first_recipe_is_the_default():
    spec = spec_with(recipes={"seed": RECIPE, "new": DEFAULT}, frozen=("backbone.",))
    assert of_spec(spec) == ("seed", RECIPE)
    assert of_spec(spec, "new") == ("new", replace(DEFAULT, frozen=("backbone.",)))


def test_without_recipes_there_is_one():
    assert of_spec(spec_with()) == ("default", replace(DEFAULT, crop=(256, 256)))
    sized = spec_with(preprocess=Preprocess(size=(64, 64), resize="stretch"))
    assert of_spec(sized, "default") == ("default", DEFAULT)


def test_an_unknown_recipe():
    spec = spec_with(recipes={"seed": RECIPE, "adamw": DEFAULT})
    with pytest.raises(UsageError) as error:
        of_spec(spec, "adam")
    assert str(error.value) == ("no recipe 'adam'; expected seed or adamw. Did you mean 'adamw'?")
    with pytest.raises(UsageError) as error:
        of_spec(spec, "zzz")
    assert str(error.value) == "no recipe 'zzz'; expected seed or adamw"


# --- overrides ------------------------------------------------------------------------------------

EXPECT = {"data": "d", "metric": "iou", "value": 0.5, "tolerance": 0.1, "source": "s"}
CHANGES = {
    "lr=3e-4": {"lr": 3e-4},
    "lr=1": {"lr": 1},
    "epochs=3": {"epochs": 3},
    "epochs=+2": {"epochs": 12},
    "steps=500": {"epochs": None, "steps": 500},
    "batch-size=8": {"batch_size": 8},
    " seed = 7 ": {"seed": 7},
    "precision=bf16": {"precision": "bf16"},
    "optimizer=adamw": {"optimizer": ("adamw", {})},
    "optimizer=adam": {"optimizer": ("adam", {})},
    "optimizer.betas=[0.9,0.99]": {"optimizer": ("adam", {"betas": [0.9, 0.99], "eps": 1e-8})},
    "optimizer.amsgrad=true": {
        "optimizer": ("adam", {"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": True})
    },
    'optimizer=["sgd", {"momentum": 0.9}]': {"optimizer": ("sgd", {"momentum": 0.9})},
    "schedule=cosine": {"schedule": ("cosine", {})},
    "crop=256": {"crop": (256, 256)},
    "crop=256,320": {"crop": (256, 320)},
    "crop=[256, 320]": {"crop": (256, 320)},
    "augment=none": {"augment": ()},
    "augment=flip,rotate": {"augment": (("flip", {}), ("rotate", {}))},
    'augment=["flip",["rotate",{"degrees":10}]]': {
        "augment": (("flip", {}), ("rotate", {"degrees": 10}))
    },
    'augment=[["flip",{"p":0.3}]]': {"augment": (("flip", {"p": 0.3}),)},
    "ema=0.999": {"ema": 0.999},
    "ema=none": {"ema": None},
    "frozen=encoder.,stem.": {"frozen": ("encoder.", "stem.")},
    "frozen=none": {"frozen": ()},
    "loss=dice": {"loss": ("dice", {})},
    "loss=none": {"loss": None},
    "class_weights=1,2": {"class_weights": (1, 2)},
    "head_weights=1,0.2,0.2": {"head_weights": (1, 0.2, 0.2)},
    "ignore_index=-1": {"ignore_index": -1},
    "eval_metric=none": {"eval_metric": ""},
    f"expect={json.dumps(EXPECT)}": {"expect": Expect(**EXPECT)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_change(change):
    want = replace(RECIPE, **CHANGES[change])
    assert overridden(RECIPE, [change]) == want
    key, _, value = change.partition("=")
    assert overridden(RECIPE, {key: value}) == want


def test_changes_together():
    changes = ["optimizer.momentum=0.9", "optimizer=sgd", "loss.per=picture", "loss=dice"]
    found = overridden(RECIPE, changes)
    assert found.optimizer == ("sgd", {"momentum": 0.9})
    assert found.loss == ("dice", {"per": "picture"})
    assert overridden(RECIPE, []) == RECIPE
    assert RECIPE.optimizer == ("adam", {"betas": [0.9, 0.999], "eps": 1e-8})
    steps = overridden(RECIPE, ["steps=5", "optimizer.eps=none"])
    assert (steps.steps, steps.optimizer[1]["eps"]) == (5, None)
    assert overridden(steps, ["steps=+5"]).steps == 10
    assert overridden(steps, ["epochs=2"]) == replace(steps, steps=None, epochs=2)


WRONG = {
    "unknown": (
        ["learning=1"],
        "'learning' is not a field (there are epochs, steps, minutes, batch_size, ",
    ),
    "near": (["crops=1"], "'crops' is not a field (did you mean 'crop'?)"),
    "no value": (["lr"], "'lr' is not field=value"),
    "twice": (["lr=1", "lr=2"], "lr is given twice"),
    "type": (["lr=fast"], "lr='fast' is not a finite number"),
    "not finite": (["lr=nan"], "lr=nan is not a finite number"),
    "whole": (["batch_size=1.5"], "batch_size='1.5' is not of type int"),
    "literal": (["precision=fp8"], "precision='fp8' is not one of 'fp32', "),
    "both": (["epochs=1", "steps=2"], "give epochs, steps or minutes, one of the three"),
    "neither": (["epochs=none"], "give epochs, steps or minutes, one of the three"),
    "more of nothing": (["steps=+2"], "steps: +2 is more than nothing; the recipe has epochs"),
    "range": (["ema=2"], "ema=2.0 is outside 0..1"),
    "three sides": (["crop=1,2,3"], "crop=(1, 2, 3) is not of type tuple[int, int] | None"),
    "no options": (["lr.x=1"], "lr has no options, so not 'lr.x' either"),
    "no option": (["optimizer.=1"], "optimizer has no options, so not 'optimizer.' either"),
    "options of nothing": (
        ["loss.per=picture"],
        "loss.per is an option of loss, which is none; give loss=NAME too",
    ),
    "JSON": (["optimizer=[1"], "optimizer='[1' is not of type tuple[str, Mapping[str, Any]]"),
    "object": (['expect={"data": "d", "kind": 1}'], "expect: Expect: unknown field 'kind'"),
    "lines": (["l\nr=1"], r"'l\nr' is not a field (did you mean 'lr'?)"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_changes(changes, message):
    with pytest.raises(UsageError) as error:
        overridden(RECIPE, changes)
    text = str(error.value)
    assert text.startswith(f"the recipe cannot be changed: {message}")
    assert text.isprintable()


def test_everything_wrong_is_said_at_once():
    with pytest.raises(UsageError) as error:
        overridden(RECIPE, ["crops=1", "lr", "lr=x", "ema=y", "loss.per=1"])
    assert str(error.value) == (
        "the recipe cannot be changed: 'crops' is not a field (did you mean 'crop'?); "
        "'lr' is not field=value; loss.per is an option of loss, which is none; give loss=NAME "
        "too; lr='x' is not a finite number; ema='y' is not of type float | None"
    )


# --- as a table, and as JSON ----------------------------------------------------------------------

WORDS = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(
    lambda w: w not in ("none", "null")
)
POSITIVE = st.floats(1e-9, 1e9) | st.integers(1, 99)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMED = st.tuples(WORDS, st.dictionaries(WORDS, VALUES, max_size=3))
WEIGHTS = st.none() | st.lists(st.floats(0, 9), min_size=1, max_size=4).filter(any).map(tuple)
SIZES = st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999))
PREFIXES = st.lists(WORDS.map("{}.".format), max_size=3).map(tuple)
LENGTHS = st.sampled_from(["epochs", "steps", "minutes"])
RECIPES = st.builds(
    lambda length, number, parts, batch, **fields: Recipe(
        **{length: number}, batch_size=parts * batch, accumulate=parts, **fields
    ),
    LENGTHS,
    st.integers(1, 500_000),
    st.integers(1, 4),
    st.integers(1, 99),
    optimizer=NAMED,
    lr=POSITIVE,
    weight_decay=st.floats(0, 9),
    decay=st.sampled_from(["all", "weights"]),
    layer_decay=st.none() | st.floats(1e-3, 1),
    schedule=NAMED,
    warmup=st.integers(0, 9999),
    loss=st.none() | NAMED,
    head_weights=WEIGHTS,
    class_weights=WEIGHTS,
    pixel_weight=st.none() | NAMED,
    ignore_index=st.none() | st.integers(-1, 255),
    distil=st.none() | st.floats(0.1, 1),
    temperature=st.none() | st.floats(0.1, 100),
    frozen=PREFIXES,
    size=SIZES,
    crop=SIZES,
    centred=st.none() | st.floats(0, 1),
    augment=st.lists(NAMED, max_size=3).map(tuple),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    ema=st.none() | st.floats(0.1, 0.9999),
    grad_clip=st.none() | POSITIVE,
    eval_metric=st.just("") | WORDS,
    seed=st.integers(0, 2**63),
    expect=st.none() | st.just(Expect(**EXPECT)),
)


@settings(max_examples=20)  # of fifty values each; drawing them is what takes the time
@given(recipe=RECIPES, other=RECIPES)
def test_a_table_says_everything(recipe, other):
    """What `described` gives makes the same recipe of any other."""
    rows = described(recipe)
    assert overridden(other, dict(rows)) == recipe
    assert overridden(other, [f"{key}={value}" for key, value in rows]) == recipe


@settings(max_examples=20)
@given(recipe=RECIPES)
def test_json_says_everything(recipe):
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


def test_the_table_of_a_recipe():
    rows = described(RECIPE)
    assert rows[:7] == [
        ("epochs", "10"),
        ("batch_size", "4"),
        ("accumulate", "1"),
        ("optimizer", "adam"),
        ("optimizer.betas", "[0.9, 0.999]"),
        ("optimizer.eps", "1e-08"),
        ("lr", "0.001"),
    ]
    found = dict(rows)
    assert found["augment"] == '[["flip", {}], ["elastic", {"grid": 3}]]'
    assert found["loss"] == found["crop"] == found["eval_metric"] == "none"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"lr": 1, "speed": 2},
            "this is no recipe: Recipe: unknown field 'speed': needs a newer segzoo; missing field",
        ),
        (
            {**to_json(RECIPE), "lr": "x", "crop": [1, "2"]},
            "this is no recipe: Recipe: lr='x' is not a finite number; crop=(1, '2') is not of "
            "type tuple[int, int] | None",
        ),
        (
            {"lr": 1},
            "this is no recipe: Recipe: missing field 'batch_size'; missing field 'optimizer'",
        ),
    ],
)
def test_json_of_something_else(data, message):
    with pytest.raises(ConfigError) as error:
        from_json(data)
    assert str(error.value).startswith(message)


# --- the page -------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text("utf-8")


def table(heading):
    """The rows of the first table below a heading, without their header."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_page_has_every_field_with_its_default_and_a_change_of_it():
    fields = dataclasses.fields(Recipe)
    rows = {row[0].strip("`"): row[1:] for row in table("Fields")}
    assert list(rows) == [field.name for field in fields]
    hints = get_type_hints(Recipe)
    for field in fields:
        default, examples, meaning = rows[field.name]
        if field.name in ("epochs", "steps", "minutes"):
            assert default == "one of the three"
        elif field.default is dataclasses.MISSING:
            assert default == "required"
        else:
            unchanged = replace(RECIPE, **{field.name: field.default})
            assert default == f"`{dict(described(unchanged))[field.name]}`", field.name
        for change in re.findall(r"`([^`]+)`", examples):
            assert change.startswith(field.name)
            assert overridden(RECIPE, [change]) != RECIPE, change
        if get_origin(hints[field.name]) is Literal:
            assert re.findall(r"`(\w+)`", meaning) == [*get_args(hints[field.name])]


def test_the_page_has_every_name():
    assert [row[0].strip("`") for row in table("Optimisers")] == list(OPTIMIZERS)
    for name, classes in table("Optimisers"):
        assert classes == f"`torch.optim.{OPTIMIZERS[name.strip('`')].__name__}`"
    assert table("Schedules") == [
        [
            f"`{name}`",
            ", ".join(f"`{key}={option.default:.4g}`" for key, option in schedule.options.items())
            or "none",
            schedule.summary,
        ]
        for name, schedule in SCHEDULES.items()
    ]
    shared = ("ignore_index", "class_weights", "head_weights")
    rows = {name.strip("`"): options for name, options, _ in table("Losses")}
    others = {"build", "refuse_weights_of_one"}
    assert set(rows) == {n for n in losses.__all__ if n.islower()} - others
    assert {entry.name for entry in registry.entries(registry.LOSSES)} <= set(rows)
    for name, options in rows.items():
        parameters = inspect.signature(getattr(losses, name)).parameters.values()
        assert all(s in inspect.signature(getattr(losses, name)).parameters for s in shared)
        own = [
            f"`{p.name}`" if p.default is p.empty else f"`{p.name}={json.dumps(p.default)}`"
            for p in parameters
            if p.name not in shared
        ]
        assert options == (", ".join(own) or "none")
