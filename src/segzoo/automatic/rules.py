"""How a training is planned: rules, as data. The first of a line's rules that holds decides it.

A condition speaks of numbers by name: those of a data set are in `segzoo.data.traits.TRAITS`, those
of the machine, the time and the model in `FACTS`. No rule knows a data set or a model by its name.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from segzoo.base.conditions import all_hold
from segzoo.base.records import Json

__all__ = [
    "AUGMENTATIONS",
    "FACTS",
    "RULES",
    "Augments",
    "Rule",
    "Situation",
    "augmented",
    "decided",
]

# What rules may speak of beside the traits. Each is a number.
FACTS: Mapping[str, str] = MappingProxyType(
    {
        "given_val": "1 where a set to measure on is given, or the words part theirs",
        "fixed": "1 where the network sees every picture at one size",
        "multiple": "pixels that the network's sides are a multiple of",
        "begins": "1 where it begins with weights that know something",
        "shrink": "how much of a side is left so that enough steps fit: 1, 0.75 or 0.5",
        "cropped": "1 where windows are cut at random",
        "fit": "pictures that can be shown in the time, as a timed warm-up tells",
        "recipe_batch": "samples of a step in the model's recipe",
        "recipe_rate": "rate of the model's recipe",
        "batch": "samples of a step",
        "software": "1 where the processor computes bfloat16 in software",
        "half": "what a step takes in bf16, of what it takes in fp32: work on a CPU, else time",
        "steps": "that fit, as a timed warm-up tells",
        "step": "seconds of a step",
        "measurement": "seconds to measure once",
        "cores": "that this process may use",
    }
)


class Situation(NamedTuple):
    """What rules look at. shares: of the classes, in their order."""

    numbers: Mapping[str, float]
    shares: tuple[float, ...] = ()


Value: TypeAlias = Json | Callable[[Situation], Json]


class Rule(NamedTuple):
    """when: conditions that all hold. value: of the line, or what computes it.

    why: a sentence, with numbers by name. source: who found it, or where it was measured.
    """

    line: str
    when: tuple[str, ...]
    value: Value
    why: str
    source: str


class Augments(NamedTuple):
    """A step of the augmentation, taken where its conditions hold."""

    when: tuple[str, ...]
    step: tuple[str, Mapping[str, Json]]
    why: str
    source: str


OWN = "measured in docs/results.md"
NNUNET = "Isensee et al. 2021, nnU-Net (doi:10.1038/s41592-020-01008-z)"
CHEN = "Chen et al. 2017 (arXiv:1706.05587), section 4.1"

GRID = 32  # pixels: a crop's side is a multiple of it
LEAST_CROP, MOST_CROP, MOST_THIN = 96, 192, 224
OBJECTS, STRIPS = 8, 48  # sides of an object, widths of a thin class, that a crop holds
MOST_SIDE = 384  # of pictures that are seen whole, the longer one


def _grid(value: float, multiple: float, least: float = GRID) -> int:
    step = max(1, int(multiple))
    return int(max(math.ceil(least / step) * step, round(value / step) * step))


def _middle_size(found: Situation) -> Json:
    """(H, W) of the middle picture, made smaller to MOST_SIDE, and as the time asks."""
    n = found.numbers
    factor = min(1.0, MOST_SIDE / max(n["height"], n["width"])) * n["shrink"]
    return [_grid(n[side] * factor, max(n["multiple"], GRID)) for side in ("height", "width")]


def _crop(found: Situation, wanted: float, most: float) -> Json:
    """A square of the wanted side that lies in the middle picture."""
    n = found.numbers
    room = min(n["height"], n["width"]) // GRID * GRID or GRID
    side = min(max(wanted, LEAST_CROP), most, room) * n["shrink"]
    side = max(GRID, round(side / GRID) * GRID)
    return [side, side]


def _object_crop(found: Situation) -> Json:
    return _crop(found, OBJECTS * found.numbers["object"], MOST_CROP)


def _part_crop(found: Situation) -> Json:
    """(H, W): three quarters of each side of the picture as it is seen."""
    return [_grid(0.75 * side, GRID) for side in _middle_size(found)]


def _strip_crop(found: Situation) -> Json:
    return _crop(found, STRIPS * found.numbers["thinnest"], MOST_THIN)


def _large_crop(found: Situation) -> Json:
    return _crop(found, MOST_THIN, MOST_THIN)


def _damped(found: Situation) -> Json:
    """The root of the median share by each class's, from 1/2 to 4; 1 for one that is not there."""
    there = sorted(share for share in found.shares if share)
    median = there[len(there) // 2]
    weights = [math.sqrt(median / share) if share else 1.0 for share in found.shares]
    return [round(min(4.0, max(0.5, weight)), 2) for weight in weights]


def _rate(found: Situation) -> Json:
    n = found.numbers
    return float(f"{n['recipe_rate'] * math.sqrt(n['batch'] / n['recipe_batch']):.2g}")


def _own_rate(found: Situation) -> Json:
    return found.numbers["recipe_rate"]


def _ema(found: Situation) -> Json:
    return round(min(0.999, max(0.8, 1 - 10 / max(1.0, found.numbers["steps"]))), 4)


def _every(found: Situation) -> Json:
    """Steps between measurements: at most a tenth of the time measures, 2 to 20 times."""
    n = found.numbers
    steps = max(1.0, n["steps"])
    dear = n["measurement"] / max(1e-6, 0.1 * n["step"])
    return max(1, round(min(max(steps / 20, dear), steps / 2)))


def _workers(found: Situation) -> Json:
    return int(min(8, found.numbers["cores"] - 2))


# Grounds are now bright, now dark, and not because pictures have colours.
MIXED = ("classes <= 2", "gray >= 0.2", "inverted >= 0.01")

RULES: tuple[Rule, ...] = (
    Rule("val", ("given_val == 1",), "given", "what to measure on is given", ""),
    Rule(
        "val",
        ("pictures < 60",),
        0.25,
        "of {pictures:g} pictures a quarter is held out: fewer would be a number by chance",
        NNUNET + ": a fifth, five times",
    ),
    Rule("val", (), 0.15, "of {pictures:g} pictures 15 % tell enough", OWN),
    Rule(
        "size",
        ("fixed == 1",),
        _middle_size,
        "the network sees whole pictures: at the size of the middle one, its longer side at most "
        f"{MOST_SIDE}",
        OWN,
    ),
    Rule(
        "size",
        ("spread > 1.5", "upright >= 0.5"),
        _middle_size,
        "upright scenes of different sizes ({spread:.1f} times) become alike",
        CHEN,
    ),
    Rule(
        "size",
        ("upright >= 0.5", "shrink < 1"),
        _middle_size,
        "what is in an upright scene tells what its parts are: it is made smaller, and windows "
        "show as much of it",
        NNUNET + ": low resolution, where a patch would show too little",
    ),
    Rule("size", (), None, "a pixel stays a pixel: what is known of size and width holds", NNUNET),
    Rule(
        "crop",
        ("fixed == 1", "classes >= 3", "thinnest < 8"),
        _part_crop,
        "{classes:g} classes, the thinnest {thinnest:.1f} pixels wide: windows of three quarters "
        "of a side, of which more fit into the time",
        OWN + ": streets, mean IoU of those held out 0.588 instead of 0.571",
    ),
    Rule("crop", ("fixed == 1",), None, "where things lie says what they are: whole pictures", OWN),
    Rule(
        "crop",
        ("height <= 128", "width <= 128"),
        None,
        "pictures of {height:g}x{width:g} are small enough to be seen whole",
        OWN,
    ),
    Rule(
        "crop",
        ("upright >= 0.5",),
        _large_crop,
        "upright scenes: a large window",
        NNUNET + ": the largest patch",
    ),
    Rule(
        "crop",
        ("thinnest < 8",),
        _strip_crop,
        f"the thinnest class is {{thinnest:.1f}} pixels wide; a window of {STRIPS} widths shows "
        "what it belongs to",
        OWN,
    ),
    Rule(
        "crop",
        (),
        _object_crop,
        f"things are {{object:.0f}} pixels large; a window holds {OBJECTS} side by side",
        NNUNET + ": patch from shape; " + OWN,
    ),
    Rule(
        "centred",
        ("rarest < 0.1", "cropped == 1"),
        0.33,
        "the rarest class has {rarest:.1%} of the pixels: a third of the windows lie about a class",
        NNUNET + ": a third of each batch",
    ),
    Rule("centred", (), None, "every window has something of every class, or shows all", NNUNET),
    Rule(
        "normalize",
        ("begins == 1",),
        "preprocess",
        "the weights that it begins with know their own range of values",
        "He et al. 2019 (arXiv:1811.08883)",
    ),
    Rule(
        "normalize",
        ("gray >= 0.95",),
        "dataset",
        "values by the mean and spread of this set, the same for every picture: a gray value means "
        "the same in all",
        NNUNET + ": of the set for CT",
    ),
    Rule(
        "normalize",
        (),
        "dataset",
        "values by the mean and spread of this set, the same for every picture: stains keep their "
        "colours",
        NNUNET + ": of the set for CT",
    ),
    Rule(
        "loss",
        ("overlapping == 1",),
        ["combined", {"parts": [["binary_cross_entropy", 1.0], ["dice", 1.0]]}],
        "classes overlap: each is told from the rest by itself, and Dice",
        NNUNET,
    ),
    Rule(
        "loss",
        ("classes <= 2",),
        ["combined", {"parts": [["binary_cross_entropy", 1.0], ["dice", 1.0]]}],
        "one class is told from the rest; Dice makes up for its {rarest:.1%} of the pixels",
        NNUNET + "; " + OWN,
    ),
    Rule(
        "loss",
        (),
        ["combined", {"parts": [["cross_entropy", 1.0], ["dice", 1.0]]}],
        "one of {classes:g} classes a pixel; Dice makes up for the rare ones",
        NNUNET,
    ),
    Rule(
        "class_weights",
        ("classes >= 3", "rarest < 0.01", "overlapping == 0"),
        _damped,
        "the rarest class has {rarest:.2%} of the pixels: the root of the median share by each",
        "Eigen, Fergus 2015 (arXiv:1411.4734), damped by a root",
    ),
    Rule("class_weights", (), None, "Dice does what weights would", OWN),
    Rule(
        "sampling",
        MIXED,
        "kinds",
        "the ground is the other side in {inverted:.1%} of the pictures: a rare kind, as gray on a "
        "bright ground, is seen by the root of its share",
        "measured in docs/auto.md",
    ),
    Rule("sampling", (), "epoch", "every picture is seen as often", NNUNET),
    Rule(
        "precision",
        ("software == 1",),
        "fp32",
        "this processor computes bfloat16 in software",
        OWN + ": ten times the work",
    ),
    Rule(
        "precision",
        ("half < 0.9",),
        "bf16",
        "a step takes {half:.2f} of the work of fp32 on this machine",
        "measured now",
    ),
    Rule("precision", (), "fp32", "bf16 takes {half:.2f} of the work of fp32 here", "measured now"),
    Rule(
        "batch_size",
        ("fit >= 16000",),
        16,
        "{fit:,.0f} pictures fit into the time: 1,000 steps and more of 16",
        OWN + ": steps count more than their size",
    ),
    Rule(
        "batch_size",
        ("fit >= 8000",),
        8,
        "{fit:,.0f} pictures fit into the time: 1,000 steps and more of 8",
        OWN,
    ),
    Rule(
        "batch_size",
        (*MIXED, "fit >= 2000"),
        8,
        "grounds are bright and dark: the means of a few samples are of one kind of them, and not "
        "those that a network has later",
        "measured in docs/auto.md",
    ),
    Rule("batch_size", (), 4, "no more than {fit:,.0f} pictures fit into the time", OWN),
    Rule(
        "lr",
        ("begins == 1", "fit < 8000"),
        _own_rate,
        "the recipe's {recipe_rate:g}, for {recipe_batch:g} samples: what knows something already "
        "bears it, and there are few steps",
        OWN + ": streets, mean IoU of those held out 0.61 instead of 0.59",
    ),
    Rule(
        "lr",
        (),
        _rate,
        "the recipe's {recipe_rate:g} for {recipe_batch:g} samples, by the root of the samples",
        "Malladi et al. 2022 (arXiv:2205.10287)",
    ),
    Rule(
        "ema",
        (),
        _ema,
        "an average over the last tenth or so of about {steps:,.0f} steps",
        OWN,
    ),
    Rule(
        "eval_every",
        (),
        _every,
        "measuring takes {measurement:.1f} s, a step {step:.2f} s: a tenth of the time, or twice "
        "where that is more",
        "",
    ),
    Rule("workers", ("cores >= 4",), _workers, "of {cores:g} cores these read pictures", ""),
    Rule("workers", (), 0, "of {cores:g} cores none is to spare for reading", ""),
)

# In the order in which they are applied.
AUGMENTATIONS: tuple[Augments, ...] = (
    Augments(
        ("upright >= 0.5", "channels == 3", "spread > 0"),
        ("random_resized_crop", {"area": 0.5}),
        "scenes are seen from near and far",
        "Szegedy et al. 2015 (arXiv:1409.4842)",
    ),
    Augments(
        ("sided < 0.33", "named_sides == 0"),
        ("flip", {}),
        "left and right are alike ({sided:.2f})",
        NNUNET,
    ),
    Augments(
        ("upright < 0.2", "turned < 0.2", "sided < 0.33", "named_sides == 0"),
        ("rot90", {}),
        "no way up ({upright:.2f}), nor a quarter turn ({turned:.2f}), is another",
        NNUNET,
    ),
    Augments(
        ("upright < 0.2", "turned < 0.2", "thinnest >= 8", "overlapping == 0"),
        ("scale", {"low": 0.7, "high": 1.4, "p": 0.3}),
        "things of {object:.0f} pixels come in other sizes",
        NNUNET,
    ),
    Augments(
        ("upright < 0.2", "thinnest < 8", "pictures < 60"),
        ("elastic", {"grid": 3, "sigma": 6.0, "p": 0.5}),
        "few pictures ({pictures:g}) of what bends",
        "Ronneberger et al. 2015 (arXiv:1505.04597), section 3.1",
    ),
    Augments(
        MIXED,
        ("gray", {"p": 0.5}),
        "grounds are bright and dark, some in colours, some gray: things on a bright ground look "
        "alike in both",
        "Krizhevsky et al. 2012; " + OWN,
    ),
    Augments(
        ("gray < 0.95", "channels == 3"),
        ("color", {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.02}),
        "colours depend on light and camera",
        OWN,
    ),
    Augments(
        ("gray >= 0.5",),
        ("gamma", {"factor": 1.5}),
        "gray values depend on exposure",
        NNUNET,
    ),
    # After the others: where nearly all is white, more brightness would leave nothing to see.
    Augments(
        MIXED,
        ("invert", {"p": 0.25}),
        "the ground is the other side in {inverted:.1%} of the pictures",
        "measured on inverted pictures held out",
    ),
)


def decided(line: str, found: Situation, rules: tuple[Rule, ...] = RULES) -> tuple[Json, Rule]:
    """The value of a line, and the rule that gave it. LookupError for a line without a rule."""
    for rule in rules:
        if rule.line == line and all_hold(rule.when, found.numbers):
            return (rule.value(found) if callable(rule.value) else rule.value), rule
    raise LookupError(f"no rule for {line}")


def augmented(found: Situation) -> tuple[list[Any], str, str]:
    """The steps of the augmentation, why each is among them, and who says so."""
    taken = [a for a in AUGMENTATIONS if all_hold(a.when, found.numbers)]
    steps = [[name, dict(options)] for name, options in (a.step for a in taken)]
    why = "; ".join(f"{a.step[0]}: {a.why.format(**found.numbers)}" for a in taken)
    sources = dict.fromkeys(a.source for a in taken)
    return steps, why or "nothing about these pictures may be changed", "; ".join(sources)
