"""The rules by which segzoo plans: each with data sets on either side of its conditions."""

import pytest

from segzoo.automatic.rules import (
    AUGMENTATIONS,
    FACTS,
    RULES,
    Situation,
    augmented,
    decided,
)
from segzoo.base.conditions import parsed
from segzoo.data.traits import TRAITS
from segzoo.engine import recipes
from segzoo.spec import Recipe

# What seven real sets are like, as `segzoo data traits` shows them; what a machine made of them.
FIELDS = (
    *("pictures", "height", "width", "spread", "channels", "gray", "classes", "ground"),
    *("rarest", "object", "thinnest", "sided", "upright", "turned", "inverted", "given_val"),
    *("fixed", "begins", "fit", "recipe_rate", "recipe_batch"),
)
SEVEN = {
    "nuclei": (383, 256, 256, 1.45, 3, 0.86, 2, 0.85, 0.15, 23, 10.7, 0, 0, 0, 0.17, 0),
    "vessels": (13, 584, 565, 1, 3, 0, 2, 0.913, 0.087, 157, 3.2, 0.11, 0.01, 0.10, 0, 0),
    "wide vessels": (14, 960, 999, 1, 3, 0, 2, 0.924, 0.076, 268, 6.1, 0.05, 0.05, 0.19, 0, 0),
    "membranes": (15, 512, 512, 1, 1, 1, 2, 0.773, 0.227, 60, 7.1, 0.09, 0.07, 0.1, 0, 0),
    "clothes": (349, 320, 213, 1.04, 3, 0, 2, 0.975, 0.025, 79, 23.4, 0.17, 0.56, 0.49, 0.167, 0),
    "streets": (312, 288, 384, 1, 3, 0, 11, 0.33, 0.0023, 60, 2.4, 0.29, 0.9, 0.73, 0.1, 1),
    "digits": (3500, 64, 84, 1, 1, 1, 11, 0.943, 0.0035, 12, 3.4, 0.39, 0.27, 0.3, 0, 1),
}
MADE = {
    "nuclei": (0, 0, 30000, 1e-3, 8),
    "vessels": (0, 0, 20000, 1e-3, 8),
    "wide vessels": (0, 0, 12000, 1e-3, 8),
    "membranes": (0, 0, 18000, 1e-3, 8),
    "clothes": (1, 1, 9000, 2e-3, 16),
    "streets": (1, 1, 6000, 2e-3, 16),
    "digits": (0, 0, 25000, 4e-3, 8),
}
PLAIN = {
    "overlapping": 0,
    "named_sides": 0,
    "multiple": 32,
    "shrink": 1,
    "cropped": 1,
    "cores": 2,
    "half": 0.6,
    "software": 0,
    "steps": 1500,
    "step": 0.3,
    "measurement": 4,
    "batch": 16,
    "minutes": 30,
    "objects": 4,
    "border": 0.05,
    "ignored": 0,
    "contrast": 200,
    "repeats": 0,
    "shared": 0,
}
STREETS = (0.18, 0.24, 0.01, 0.33, 0.045, 0.098, 0.012, 0.011, 0.064, 0.0056, 0.0023)


def of(name, **changed):
    numbers = PLAIN | dict(zip(FIELDS, (*SEVEN[name], *MADE[name]), strict=True)) | changed
    shares = STREETS if numbers["classes"] == 11 else (numbers["ground"], numbers["rarest"])
    return Situation(numbers, shares)


def value(line, name, **changed):
    return decided(line, of(name, **changed))[0]


# The line, a set on which it is decided so, and what must change for another rule to decide it.
SIDES = [
    ("val", "streets", "given", {"given_val": 0}, 0.15),
    ("val", "vessels", 0.25, {"pictures": 60}, 0.15),
    ("val", "nuclei", 0.15, {"pictures": 59}, 0.25),
    ("size", "streets", [288, 384], {"fixed": 0}, None),
    ("size", "streets", [288, 384], {"shrink": 0.5}, [128, 192]),
    ("size", "membranes", None, {"spread": 1.6, "upright": 0.5}, [384, 384]),
    ("size", "vessels", None, {"upright": 0.5, "shrink": 0.75}, [288, 288]),
    ("crop", "streets", [224, 288], {"fixed": 0}, [224, 224]),
    ("crop", "streets", [224, 288], {"fixed": 0, "upright": 0.4, "thinnest": 30}, [192, 192]),
    ("crop", "streets", [224, 288], {"thinnest": 8}, None),
    ("crop", "streets", [224, 288], {"classes": 2}, None),
    ("crop", "streets", [224, 288], {"shrink": 0.5}, [96, 128]),
    ("crop", "digits", None, {"height": 129}, [64, 64]),
    ("crop", "vessels", [160, 160], {"thinnest": 8}, [192, 192]),
    ("crop", "vessels", [160, 160], {"shrink": 0.75}, [128, 128]),
    ("crop", "wide vessels", [224, 224], {"thinnest": 4.1}, [192, 192]),
    ("crop", "nuclei", [192, 192], {"object": 20}, [160, 160]),
    ("crop", "nuclei", [192, 192], {"height": 100}, [96, 96]),
    ("centred", "vessels", 0.33, {"rarest": 0.1}, None),
    ("centred", "vessels", 0.33, {"cropped": 0}, None),
    ("sampling", "nuclei", "kinds", {"inverted": 0.009}, "epoch"),
    ("sampling", "nuclei", "kinds", {"gray": 0.1}, "epoch"),
    ("normalize", "nuclei", "dataset", {"begins": 1}, "preprocess"),
    ("precision", "nuclei", "bf16", {"half": 0.9}, "fp32"),
    ("precision", "nuclei", "bf16", {"software": 1}, "fp32"),
    ("batch_size", "vessels", 16, {"fit": 15999}, 8),
    ("batch_size", "vessels", 16, {"fit": 7999}, 4),
    ("batch_size", "nuclei", 16, {"fit": 7999}, 8),
    ("batch_size", "nuclei", 16, {"fit": 1999}, 4),
    ("lr", "nuclei", 1.4e-3, {"batch": 8}, 1e-3),
    ("lr", "streets", 2e-3, {"begins": 0, "batch": 4}, 1e-3),
    ("lr", "streets", 2e-3, {"fit": 8000, "batch": 4}, 1e-3),
    ("ema", "nuclei", 0.9933, {"steps": 30}, 0.8),
    ("eval_every", "nuclei", 133, {"measurement": 1}, 75),
    ("eval_every", "nuclei", 133, {"measurement": 100}, 750),
    ("workers", "nuclei", 0, {"cores": 4}, 2),
]


@pytest.mark.parametrize(("line", "name", "here", "changed", "there"), SIDES)
def test_a_rule_decides_on_its_side_and_another_on_the_other(line, name, here, changed, there):
    assert value(line, name) == here
    assert value(line, name, **changed) == there


def parts(name, **changed):
    return [part[0] for part in value("loss", name, **changed)[1]["parts"]]


def test_the_loss_is_of_the_kind_of_answer():
    assert parts("nuclei") == ["binary_cross_entropy", "dice"]
    assert parts("nuclei", classes=3) == ["cross_entropy", "dice"]
    assert parts("streets", overlapping=1) == ["binary_cross_entropy", "dice"]


def test_rare_classes_weigh_more_within_bounds():
    weights = value("class_weights", "streets")
    assert len(weights) == 11 and min(weights) == 0.5
    assert weights[10] == max(weights) == 4
    assert weights[6] == pytest.approx((0.045 / 0.012) ** 0.5, abs=0.01)
    assert value("class_weights", "streets", rarest=0.01) is None
    assert value("class_weights", "streets", classes=2) is None
    assert value("class_weights", "streets", overlapping=1) is None


def steps(name, **changed):
    return [step for step, _ in augmented(of(name, **changed))[0]]


@pytest.mark.parametrize(
    ("step", "name", "changed"),
    [
        ("random_resized_crop", "streets", {"upright": 0.4}),
        ("flip", "streets", {"sided": 0.34}),
        ("flip", "streets", {"named_sides": 1}),
        ("rot90", "nuclei", {"upright": 0.2}),
        ("rot90", "nuclei", {"turned": 0.2}),
        ("scale", "nuclei", {"thinnest": 7.9}),
        ("elastic", "vessels", {"pictures": 60}),
        ("invert", "nuclei", {"inverted": 0.009}),
        ("invert", "nuclei", {"gray": 0.1}),
        ("gray", "nuclei", {"classes": 3}),
        ("color", "streets", {"gray": 0.95}),
        ("gamma", "membranes", {"gray": 0.4}),
    ],
)
def test_a_step_of_the_augmentation_is_taken_on_one_side(step, name, changed):
    assert step in steps(name)
    assert step not in steps(name, **changed)


def test_what_was_made_brighter_is_inverted_and_not_the_other_way_round():
    """Values 0..30 are 225..255 when inverted, and white when those are 1.3 times as bright."""
    assert steps("nuclei")[-1] == "invert"


def test_digits_and_lungs_are_never_mirrored():
    assert not {"flip", "rot90", "flip_vertical"} & {*steps("digits")}
    assert not {"flip", "rot90"} & {*steps("nuclei", named_sides=1)}


LINES = dict.fromkeys(rule.line for rule in RULES)
OF_THE_MACHINE = {"precision", "workers"}


@pytest.mark.parametrize("line", [line for line in LINES if line not in OF_THE_MACHINE])
def test_every_line_of_the_plan_changes_on_one_of_seven_sets(line):
    found = {}
    for name in SEVEN:
        batch = value("batch_size", name)
        fit = of(name).numbers["fit"]
        crop = value("crop", name)
        more = {"batch": batch, "steps": fit / batch, "cropped": float(crop is not None)}
        more["measurement"] = of(name).numbers["pictures"] / 100
        found[name] = str(value(line, name, **more))
    assert len({*found.values()}) > 1, found


def test_the_augmentation_changes_too():
    assert len({str(steps(name)) for name in SEVEN}) >= 4


# --- rules as data --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [*RULES, *AUGMENTATIONS], ids=lambda r: str(r[:2])[:60])
def test_a_rule_speaks_of_numbers_that_there_are(rule):
    assert {parsed(text).name for text in rule.when} <= {*TRAITS, *FACTS}
    assert rule.why.format(**of("nuclei").numbers)


@pytest.mark.parametrize("line", LINES)
def test_the_last_rule_of_a_line_always_holds(line):
    assert next(rule for rule in reversed(RULES) if rule.line == line).when == ()


def test_a_line_without_a_rule():
    with pytest.raises(LookupError, match="no rule for colour"):
        decided("colour", of("nuclei"))


@pytest.mark.parametrize("name", SEVEN)
def test_what_is_decided_is_a_recipe(name):
    from segzoo.automatic.plan import Line, change_of

    fields = {*Recipe.__dataclass_fields__}
    lines = [Line(name=n, value=value(n, name), why="w") for n in LINES if n in fields]
    lines.append(Line(name="augment", value=augmented(of(name))[0], why="w"))
    recipe = recipes.overridden(recipes.DEFAULT, map(change_of, lines))
    assert recipe.batch_size == value("batch_size", name)
    assert [step for step, _ in recipe.augment] == steps(name)
    assert recipe.loss[0] == "combined" and recipe.crop == (
        None if value("crop", name) is None else tuple(value("crop", name))
    )


def test_no_rule_knows_a_set_by_its_name():
    text = str(RULES) + str(AUGMENTATIONS)
    for name in ("nuclei", "dsb", "drive", "chase", "em_isbi", "camvid", "m2nist", "clothing"):
        assert name not in text.lower()
