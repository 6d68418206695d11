"""The recipes that models declare: each trains, and the articles' have the articles' numbers."""

import math
from dataclasses import replace

import pytest
from layouts import voc
from squares import Squares

import segzoo
from segzoo.engine import journal
from segzoo.engine.schedule import rate_at, steps_of
from segzoo.engine.settings import Settings
from segzoo.model.load import find_spec
from segzoo.runs.training import train

QUIET = Settings(device="cpu", workers=0, quiet=True)
SMALL = {"width": 2}  # of options: what is asked here does not depend on the number of channels
SLOW = pytest.mark.slow
LARGE = 5_000_000  # parameters from which a model without such an option is left to slow tests
SIDE = 32


def of_every_model():
    """A parameter for every recipe of every installed model."""
    for model in segzoo.list_models():
        _, spec = find_spec(model)
        is_large = spec.num_parameters > LARGE and "width" not in spec.options
        for name in spec.recipes:
            marks = [SLOW] if is_large else []
            yield pytest.param(model, name, id=f"{model}-{name}", marks=marks)


RECIPES = [*of_every_model()]
EACH = [pytest.param(*recipe.values, id=recipe.id) for recipe in RECIPES]


def small(spec, recipe):
    """The recipe on few and small pictures; all else is as it was."""
    side = (SIDE, SIDE)
    return replace(
        recipe,
        epochs=None,
        steps=2,
        batch_size=2,
        size=side if recipe.size or spec.preprocess.size else None,
        crop=side if recipe.crop else None,
        eval_metric=recipe.eval_metric or "loss",
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("model", "name"), RECIPES)
def test_every_recipe_trains(model, name, tmp_path):
    """Two steps on squares, and a measurement by the metric that the recipe names."""
    _, spec = find_spec(model)
    found = train(
        model,
        Squares(4, side=40),
        val=Squares(2, side=40),
        run=tmp_path / "run",
        recipe=small(spec, spec.recipes[name]),
        settings=QUIET,
        **{key: value for key, value in SMALL.items() if key in spec.options},
    )
    assert found.result.step == 2
    values = [r["loss"] for r in journal.read(tmp_path / "run") if "loss" in r]
    assert values
    assert all(math.isfinite(value) for value in values)
    assert found.result.best is not None


@pytest.mark.parametrize(("model", "name"), EACH)
def test_every_recipe_has_a_rate_for_each_step(model, name):
    recipe = find_spec(model)[1].recipes[name]
    total = steps_of(recipe, 1000)
    rates = [rate_at(step, total=total, recipe=recipe) for step in (0, total // 2, total - 1)]
    assert all(0 < rate <= recipe.lr for rate in rates)
    assert recipe.warmup < total / 2


@pytest.mark.parametrize(
    "model", ["unet", *(pytest.param(f"smp_{n}", marks=SLOW) for n in ("pspnet", "deeplabv3plus"))]
)
def test_pascal_voc(model, tmp_path):
    """On files of its layout: 21 classes, and a border that does not count."""
    made = voc(tmp_path)
    _, spec = find_spec(model)
    found = train(
        model,
        f"voc:{made.path}?split=train",
        val=f"voc:{made.path}?split=val",
        run=tmp_path / "run",
        recipe=small(spec, spec.recipes["voc"]),
        settings=QUIET,
        **{key: value for key, value in SMALL.items() if key in spec.options},
    )
    assert (found.model.num_classes, found.model.task) == (21, "multiclass")
    assert found.model.classes[15] == "person"
    assert found.model.palette[15] == (192, 128, 128)
    assert 0 <= found.result.values["mean_iou"] <= 1
    assert found.result.best is not None


# What the articles, or the codes that they show, say. A field that they do not name is not here.
SEEDS = {
    "digit_unet": {  # Keras: fit_generator(optimizer="adadelta"), batches drawn at random
        "optimizer": ("adadelta", {"rho": 0.95, "eps": 1e-7}),
        "lr": 1e-3,
        "batch_size": 16,
        "epochs": 200,
        "sampling": "replacement",
        "schedule": ("constant", {}),
    },
    "unet_dice": {"optimizer": ("adam", {}), "lr": 1e-5},
    "unet_paper": {
        "optimizer": ("sgd", {"momentum": 0.99}),
        "batch_size": 1,
        "pixel_weight": ("border", {"w0": 10.0, "sigma": 5.0}),
        "augment": (("elastic", {"grid": 3, "sigma": 10.0}),),
    },
    "unet_slim": {"weight_decay": 1e-3, "decay": "weights"},
    "u2net": {
        "optimizer": ("adam", {"betas": [0.9, 0.999], "eps": 1e-8}),
        "lr": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 10,
        "epochs": 10,
        "crop": (288, 288),
        "head_weights": (1,) * 7,
    },
    "unetpp": {
        "optimizer": ("sgd", {"momentum": 0.9}),
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "schedule": ("cosine", {"min_lr": 1e-5}),
        "batch_size": 16,
    },
    "unetpp_official": {"optimizer": ("adam", {}), "lr": 3e-4},
}
LOSSES = {  # of the task that the article trains
    "digit_unet": ("multiclass", "segzoo_digit_unet.loss:cross_entropy"),
    "unet_dice": ("binary", "segzoo_unet.loss:dice"),
    "unet_paper": ("multiclass", "segzoo_unet.loss:cross_entropy"),
    "u2net": ("saliency", "segzoo_u2net.loss:deep_bce"),
    "unetpp": ("binary", "segzoo_unetpp.loss:bce_dice"),
    "unetpp_official": ("binary", "segzoo_unetpp.loss:bce_dice_of_batch"),
}


@pytest.mark.parametrize("model", SEEDS)
def test_the_articles_recipes_have_the_articles_numbers(model):
    _, spec = find_spec(model)
    recipe = spec.recipes["seed"]
    assert {field: getattr(recipe, field) for field in SEEDS[model]} == SEEDS[model]
    if model in LOSSES:
        task, loss = LOSSES[model]
        assert recipe.loss is None
        assert spec.tasks[task].loss == loss


def test_u2net_sees_320_pixels_of_which_288_are_cut():
    _, spec = find_spec("u2net")
    assert (spec.preprocess.size, spec.recipes["seed"].crop) == ((320, 320), (288, 288))
    assert find_spec("u2netp")[1].recipes == spec.recipes
