"""The losses: against goldens, torch, torchvision and SMP, and what holds for every loss.

"Every" is the core's, of each kind of target, and those that the installed models name.
"""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fake_plugins import install
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from segzoo import losses
from segzoo.engine.recipes import loss_of
from segzoo.errors import PluginError, UsageError
from segzoo.losses import (
    binary_cross_entropy,
    build,
    combined,
    cross_entropy,
    dice,
    focal,
    lovasz,
    structure,
)
from segzoo.spec import Postprocess, Recipe, TaskDefaults
from segzoo.zoo import registry

GOLDENS = Path(__file__).parent / "goldens"
IGNORED = 255


def golden(case):
    results = json.loads((GOLDENS / f"{case}.json").read_text())["results"]
    return results, {k: v.double() for k, v in load_file(GOLDENS / f"{case}.safetensors").items()}


def scalar(value):
    return value if isinstance(value, torch.Tensor) else value["loss"]


def sample(kind, *, seed=0, n=2, size=(6, 7)):
    """Logits float64 and a batch. kind: "one" class, "several" that overlap, or "classes"."""
    generator = torch.Generator().manual_seed(seed)
    k = 1 if kind == "one" else 3
    logits = torch.randn(n, k, *size, generator=generator, dtype=torch.float64)
    shape = (n, k, *size) if kind == "several" else (n, *size)
    target = torch.randint(3 if kind == "classes" else 2, shape, generator=generator)
    return logits, {"target": target.double() if kind == "several" else target}


def graded(loss, logits, batch):
    """Value and gradient."""
    logits = logits.detach().clone().requires_grad_()
    value = scalar(loss(logits, batch))
    value.backward()
    return value.detach(), logits.grad


# --- goldens --------------------------------------------------------------------------------------


def logit(probabilities):
    """As the sources clamp: no logarithm below -100."""
    return probabilities.logit().clamp(-100, 100)


def test_the_sum_of_seven_maps():
    """github.com/xuebinqin/U-2-Net at ac7e1c8, u2net_train.py."""
    results, stored = golden("losses_torch")
    want = results["u2net_multi_bce"]
    maps, batch = tuple(logit(stored["preds"])), {"target": stored["y_true"]}
    found = binary_cross_entropy()(maps, batch)
    assert found["loss"].item() == pytest.approx(want["loss_total"], abs=1e-12)
    assert [found[n].item() for n in list(found)[1:]] == pytest.approx(want["each"], abs=1e-12)
    assert list(found) == ["loss", "loss_final", *(f"loss_side{i}" for i in range(1, 7))]


def test_half_the_entropy_and_the_dice_of_each_picture():
    """github.com/4uiiurz1/pytorch-nested-unet at 557ea02, losses.py."""
    results, stored = golden("losses_torch")
    want = results["nested_unet_bce_dice"]
    heads, batch = tuple(stored["logits4"]), {"target": stored["y_true"]}
    parts = [["binary_cross_entropy", 0.5], ["dice", 1, {"per": "picture", "smooth": 1e-5}]]
    for head, value in zip(heads, want["per_head"], strict=True):
        assert combined(parts=parts)(head, batch)["loss"].item() == pytest.approx(value, abs=1e-9)
    mean = combined(parts=parts, head_weights=[0.25] * 4)(heads, batch)["loss"].item()
    assert mean == pytest.approx(want["deep_supervision_mean"], abs=1e-9)


def test_dice_of_keras():
    results, stored = golden("losses_keras")
    truth, given = (stored[name].movedim(-1, 1) for name in ("y_true", "y_pred"))
    nothing = torch.zeros_like(truth)

    def found(p, t, loss=dice):
        return scalar(loss(logit(p), {"target": t})).item()

    def minus(*args):
        return dice(negative=True)(*args)

    assert found(given, truth, minus) == pytest.approx(results["dice_coef_loss"], abs=1e-7)
    assert found(given, truth, dice()) == pytest.approx(results["unetpp_dice_coef_loss"], abs=1e-7)
    assert found(nothing, nothing, minus) == pytest.approx(-results["empty_both_dice"], abs=1e-7)
    assert found(given, nothing, minus) == pytest.approx(-results["empty_truth_dice"], abs=1e-7)
    both = combined(parts=[["dice", 1, {"negative": True}], ["binary_cross_entropy", 0.5]])
    # Keras adds 1e-7 inside its logarithms.
    want = results["unetpp_bce_dice_loss_mean"]
    assert found(given, truth, both) == pytest.approx(want, abs=1e-6)


def test_cross_entropy_of_keras():
    results, stored = golden("losses_keras")
    logits = stored["probs"].movedim(-1, 1).clamp(1e-7, 1 - 1e-7).log()  # as Keras does
    for labels in ("labels", "labels_float"):  # Keras cuts the decimals off
        value = cross_entropy()(logits, {"target": stored[labels].long()}).item()
        assert value == pytest.approx(results["own_cce_clip_1e-7"], abs=1e-8)
        assert value == pytest.approx(results["sparse_cce_mean"], abs=1e-7)


# --- others' implementations ----------------------------------------------------------------------


@pytest.mark.parametrize("class_weights", [None, (1, 0.2, 3)])
def test_cross_entropy_as_torch(class_weights):
    logits, batch = sample("classes")
    batch["target"][:, 2] = IGNORED
    weights = class_weights and torch.tensor(class_weights, dtype=torch.float64)
    want = F.cross_entropy(logits, batch["target"], weight=weights, ignore_index=IGNORED)
    found = cross_entropy(class_weights=class_weights)(logits, batch)
    torch.testing.assert_close(found, want, rtol=1e-7, atol=0)  # weights are float32


@pytest.mark.parametrize("kind", ["one", "several"])
def test_binary_cross_entropy_as_torch(kind):
    logits, batch = sample(kind)
    target = batch["target"].reshape(logits.shape).double()
    want = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(binary_cross_entropy()(logits, batch), want)


def test_weights_of_classes_that_overlap_and_of_the_background():
    logits, batch = sample("several")
    each = F.binary_cross_entropy_with_logits(logits, batch["target"], reduction="none")
    each = each.mean((0, 2, 3))
    want = (each * torch.tensor([1.0, 2, 5])).sum() / 8
    found = binary_cross_entropy(class_weights=(1, 2, 5))(logits, batch)
    torch.testing.assert_close(found, want, rtol=1e-7, atol=0)

    logits, batch = sample("one")
    target = batch["target"].double()
    want = F.binary_cross_entropy_with_logits(logits[:, 0], target, weight=0.5 + 1.5 * target)
    want = want * target.numel() / (0.5 + 1.5 * target).sum()
    for same in (target, target.long(), target.unsqueeze(1)):
        found = binary_cross_entropy(class_weights=(0.5, 2))(logits, {"target": same})
        torch.testing.assert_close(found, want, rtol=1e-7, atol=0)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_as_torchvision(gamma):
    ops = pytest.importorskip("torchvision.ops")
    logits, batch = sample("several")
    want = ops.sigmoid_focal_loss(logits, batch["target"], -1, gamma, reduction="mean")
    torch.testing.assert_close(focal(gamma=gamma)(logits, batch), want)


@pytest.mark.parametrize("gamma", [1, 2.5])
def test_focal_of_classes_by_its_equation(gamma):
    logits, batch = sample("classes")
    p = logits.softmax(1).gather(1, batch["target"].unsqueeze(1))
    want = (-((1 - p) ** gamma) * p.log()).mean()
    torch.testing.assert_close(focal(gamma=gamma)(logits, batch), want)
    plain = focal(gamma=0, class_weights=(1, 2, 3))(logits, batch)
    torch.testing.assert_close(plain, cross_entropy(class_weights=(1, 2, 3))(logits, batch))


SMP_MODES = {"one": "binary", "several": "multilabel", "classes": "multiclass"}


def smp():
    return pytest.importorskip("segmentation_models_pytorch.losses")


@pytest.mark.parametrize("kind", SMP_MODES)
def test_dice_as_smp(kind):
    logits, batch = sample(kind)
    batch["target"][:, ..., 2, :] = IGNORED
    # Its smooth is added to the overlap once where ours is to twice the overlap.
    theirs = smp().DiceLoss(SMP_MODES[kind], smooth=0.5, ignore_index=IGNORED)
    torch.testing.assert_close(dice()(logits, batch), theirs(logits, batch["target"]))


@pytest.mark.parametrize("per", ["batch", "picture"])
@pytest.mark.parametrize("kind", ["one", "classes"])
def test_lovasz_as_smp(kind, per):
    logits, batch = sample(kind)
    batch["target"][:, 2] = IGNORED
    theirs = smp().LovaszLoss(SMP_MODES[kind], per_image=per == "picture", ignore_index=IGNORED)
    want = theirs(logits.float(), batch["target"])
    torch.testing.assert_close(lovasz(per=per)(logits.float(), batch), want)


def test_lovasz_is_1_less_the_iou_of_a_certain_mask():
    """What the extension extends: at corners it is the set function itself."""
    _, batch = sample("classes")
    other = sample("classes", seed=1)[1]["target"]
    certain = 200.0 * F.one_hot(other, 3).movedim(-1, 1)
    ious = [
        ((batch["target"] == k) & (other == k)).sum()
        / ((batch["target"] == k) | (other == k)).sum()
        for k in range(3)
    ]
    found = lovasz()(certain, batch)
    torch.testing.assert_close(found, 1 - torch.stack(ious).mean())
    found = lovasz(class_weights=(1, 0, 3))(certain, batch)
    torch.testing.assert_close(found, 1 - (ious[0] + 3 * ious[2]) / 4)


def test_dice_of_certain_masks_and_its_classes():
    _, batch = sample("several")
    other = sample("several", seed=1)[1]["target"]
    scores = 2 * (batch["target"] * other).sum((0, 2, 3))
    scores = scores / (batch["target"] + other).sum((0, 2, 3))
    certain = 400 * (other - 0.5)
    torch.testing.assert_close(dice(smooth=0)(certain, batch), 1 - scores.mean())
    want = 1 - (scores * torch.tensor([1, 0, 3])).sum() / 4
    torch.testing.assert_close(dice(smooth=0, class_weights=(1, 0, 3))(certain, batch), want)


def f3net(logits, target, *, side, edge=5.0):
    """The formula written out pixel by pixel, in numpy: the mean over pictures and classes."""
    values = []
    for x, y in zip(logits.flatten(0, 1).numpy(), target.flatten(0, 1).numpy(), strict=True):
        height, width = y.shape
        around = np.empty_like(y)
        for r, c in np.ndindex(height, width):
            rows = slice(max(0, r - side // 2), r + side // 2 + 1)
            columns = slice(max(0, c - side // 2), c + side // 2 + 1)
            around[r, c] = y[rows, columns].mean()
        counts = 1 + edge * np.abs(around - y)
        p = 1 / (1 + np.exp(-x))
        entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
        common, union = (counts * p * y).sum(), (counts * (p + y - p * y)).sum()
        values.append((counts * entropy).sum() / counts.sum() + 1 - (common + 1) / (union + 1))
    return np.mean(values)


@pytest.mark.parametrize(("kind", "reach", "side"), [("one", 0.5, 3), ("several", 0.9, 5)])
def test_structure_as_its_formula(kind, reach, side):
    logits, batch = sample(kind)
    target = batch["target"].double().reshape(logits.shape)
    want = f3net(logits, target, side=side)
    assert structure(reach=reach)(logits, batch).item() == pytest.approx(want, rel=1e-9)


def test_structure_counts_edges_more():
    """The same mistake costs more beside the edge of a square than in its middle."""
    target = torch.zeros(1, 32, 32).long()
    target[:, 8:24, 8:24] = 1
    certain = 20 * (target.double() - 0.5).unsqueeze(1)
    inside, beside = certain.clone(), certain.clone()
    inside[..., 16, 16] *= -1
    beside[..., 8, 16] *= -1
    loss, plain = structure(reach=0.2), structure(edge=0.0)
    batch = {"target": target}
    assert loss(beside, batch) > 2 * loss(inside, batch)
    assert plain(beside, batch).item() == pytest.approx(plain(inside, batch).item())


# --- several outputs, sums ------------------------------------------------------------------------

CORE = (binary_cross_entropy, cross_entropy, dice, focal, lovasz, structure)


@pytest.mark.parametrize("factory", CORE)
def test_several_outputs(factory):
    """Weights (1, 0.2, 0.2), as one of the articles has for three outputs."""
    kind = "one" if factory in (binary_cross_entropy, structure) else "classes"
    outputs = tuple(sample(kind, seed=seed)[0] for seed in range(3))
    _, batch = sample(kind)
    values = [factory()(logits, batch).item() for logits in outputs]
    found = factory(head_weights=(1, 0.2, 0.2))(outputs, batch)
    assert list(found) == ["loss", "loss_final", "loss_side1", "loss_side2"]
    assert [found[n].item() for n in list(found)[1:]] == pytest.approx(values)
    want = values[0] + 0.2 * values[1] + 0.2 * values[2]
    assert found["loss"].item() == pytest.approx(want)
    assert factory()(outputs, batch)["loss"].item() == pytest.approx(sum(values))
    # in eval mode a network gives one output
    alone = factory(head_weights=(5, 0.2, 0.2))(outputs[0], batch)
    assert alone.item() == pytest.approx(values[0])
    assert factory()({"logits": outputs[0]}, batch).item() == pytest.approx(values[0])
    with pytest.raises(UsageError) as error:
        factory(head_weights=(1, 0.5))(outputs, batch)
    assert str(error.value) == (
        "head_weights does not fit the network; found 2 values, expected 3, one per output"
    )


def test_a_sum_of_losses():
    logits, batch = sample("classes")
    batch["target"][:, 2] = 0
    parts = [
        ["dice", 1.0],
        ["focal", 0.5, {"gamma": 1.0}],
        ["segzoo.losses:dice", 2.0],
        ["dice", 1],
    ]
    found = combined(parts=parts, ignore_index=0, class_weights=(1, 2, 3))(logits, batch)
    assert list(found) == ["loss", "dice", "focal", "segzoo.losses:dice", "dice_4"]
    given = {"ignore_index": 0, "class_weights": (1, 2, 3)}
    assert found["dice"] == found["dice_4"] == dice(**given)(logits, batch)
    assert found["focal"] == focal(gamma=1.0, **given)(logits, batch)
    torch.testing.assert_close(found["loss"], 4 * found["dice"] + 0.5 * found["focal"])


# --- what a mean divides by -----------------------------------------------------------------------


@pytest.mark.parametrize("deep", [False, True], ids=["one output", "two outputs"])
@pytest.mark.parametrize(
    ("factory", "kind", "class_weights"),
    [
        (cross_entropy, "classes", None),
        (cross_entropy, "classes", (1, 0.2, 3)),
        (binary_cross_entropy, "one", None),
        (binary_cross_entropy, "one", (0.5, 2)),
        (binary_cross_entropy, "several", (1, 0.2, 3)),
        (focal, "classes", (1, 0.2, 3)),
        (focal, "several", None),
    ],
)
@settings(max_examples=10)
@given(seed=st.integers(0, 99), cut=st.integers(0, 4), ignored=st.floats(0, 1))
def test_parts_of_a_batch_give_the_whole(factory, kind, class_weights, deep, seed, cut, ignored):
    logits, batch = sample(kind, seed=seed, n=4)
    chance = torch.rand(batch["target"].shape, generator=torch.Generator().manual_seed(seed))
    batch["target"][chance < ignored] = IGNORED
    batch["weight"] = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(seed)) * 3
    loss = factory(class_weights=class_weights)

    def met(rows):
        part = {key: value[rows] for key, value in batch.items()}
        outputs = (logits[rows], -logits[rows]) if deep else logits[rows]
        return scalar(loss(outputs, part)), loss.count(part)

    whole, count = met(slice(None))
    parts = [met(slice(None, cut)), met(slice(cut, None))]
    torch.testing.assert_close(sum(c for _, c in parts), count)
    assert count.ndim == 0
    mean = sum(v * c for v, c in parts) / count.clamp_min(1e-9)
    torch.testing.assert_close(mean, whole, rtol=1e-5, atol=1e-9)


def test_a_count_is_the_number_of_pixels_that_count():
    _, batch = sample("classes")
    batch["target"][:, 1:3] = IGNORED
    assert cross_entropy().count(batch) == 2 * 4 * 7
    batch["weight"] = torch.full((2, 6, 7), 0.5)
    assert cross_entropy().count(batch) == 4 * 7
    assert not hasattr(dice(), "count")
    assert not hasattr(lovasz(), "count")


# --- what holds for every loss --------------------------------------------------------------------

KINDS = {"binary": "one", "saliency": "one", "multilabel": "several", "multiclass": "classes"}


def every_loss():
    """(name, options, kind of target): the core's, then those of the installed models."""
    for name in ("binary_cross_entropy", "dice", "focal", "lovasz", "structure"):
        yield name, {}, "one"
        yield name, {}, "several"
    for name in ("cross_entropy", "dice", "focal", "lovasz"):
        yield name, {}, "classes"
        yield name, {"class_weights": [1, 1, 1]}, "classes"
    for name in ("dice", "lovasz"):
        for kind in ("several", "classes"):
            yield name, {"per": "picture"}, kind
    yield "dice", {"negative": True, "smooth": 0.0}, "classes"
    yield "focal", {"gamma": 0.5}, "several"
    yield "segzoo.losses:combined", {"parts": [["dice", 1], ["focal", 0.5]]}, "classes"
    yield from dict.fromkeys(
        (defaults.loss, (), KINDS[task])
        for row in registry.rows()
        if row.spec is not None
        for task, defaults in row.spec.tasks.items()
    )


LOSSES = [(name, dict(options), kind) for name, options, kind in every_loss()]
IDS = [
    f"{name}{''.join(f' {k}={v}' for k, v in opts.items())}-{kind}" for name, opts, kind in LOSSES
]
EVERY = pytest.mark.parametrize(("name", "options", "kind"), LOSSES, ids=IDS)


def takes_ignore_index(name):
    path = name if ":" in name else f"segzoo.losses:{name}"
    return "ignore_index" in inspect.signature(registry.resolve(path)).parameters


IGNORING = pytest.mark.parametrize(
    ("name", "options", "kind"),
    [loss for loss in LOSSES if takes_ignore_index(loss[0])],
    ids=[i for loss, i in zip(LOSSES, IDS, strict=True) if takes_ignore_index(loss[0])],
)


def test_every_loss_is_met():
    met = {name for name, _, _ in LOSSES}
    assert {entry.name for entry in registry.entries(registry.LOSSES)} - met <= {"combined"}
    assert {"segzoo_u2net.loss:deep_bce", "segzoo_unet.loss:dice"} <= met
    others = {"build", "combined", "refuse_weights_of_one"}  # what makes losses, or judges options
    core = {name for name in losses.__all__ if name.islower()} - others
    assert core <= met


def uncounted(kind, how, rows, *, size=(6, 7)):
    """A sample in which some rows do not count: by the target, or by their weight."""
    logits, batch = sample(kind, size=size)
    if how == "weight":
        batch["weight"] = torch.ones(2, *size, dtype=torch.float64)
        batch["weight"][:, rows] = 0
    else:
        batch["target"][..., rows, :] = IGNORED
    return logits, batch


def check_uncounted(name, options, kind, how):
    loss = build(name, options)
    logits, batch = uncounted(kind, how, slice(0, 3))
    value, gradient = graded(loss, logits, batch)
    other = logits.clone()
    other[..., :3, :] = 50 * torch.randn(other[..., :3, :].shape, dtype=other.dtype)
    again, same = graded(loss, other, batch)
    torch.testing.assert_close(again, value, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(same, gradient, rtol=1e-12, atol=1e-15)
    assert not gradient[..., :3, :].any()
    assert gradient[..., 3:, :].any()
    cut = {key: part[..., 3:, :] for key, part in batch.items()}
    torch.testing.assert_close(scalar(loss(logits[..., 3:, :], cut)), value)


@EVERY
def test_pixels_of_weight_0_change_neither_value_nor_gradient(name, options, kind):
    check_uncounted(name, options, kind, "weight")


@IGNORING
def test_ignored_pixels_change_neither_value_nor_gradient(name, options, kind):
    check_uncounted(name, options, kind, "target")


def check_nothing(name, options, kind, how):
    logits, batch = uncounted(kind, how, slice(None))
    value, gradient = graded(build(name, options), logits, batch)
    assert value == 0
    assert not gradient.any()


@EVERY
def test_m3_weights_of_0_give_0(name, options, kind):
    check_nothing(name, options, kind, "weight")


@IGNORING
def test_m3_an_ignored_mask_gives_0(name, options, kind):
    check_nothing(name, options, kind, "target")


@pytest.mark.parametrize("factory", CORE)
def test_m3_an_ignored_picture_changes_nothing(factory):
    """Where the mean is over pictures too."""
    kind = "one" if factory in (binary_cross_entropy, structure) else "classes"
    per = {"per": "picture"} if "per" in inspect.signature(factory).parameters else {}
    logits, batch = sample(kind)
    batch["target"][0] = IGNORED
    rest = {"target": batch["target"][1:]}
    torch.testing.assert_close(factory(**per)(logits, batch), factory(**per)(logits[1:], rest))


@EVERY
def test_a_weight_counts_a_pixel_so_often(name, options, kind):
    loss = build(name, options)
    logits, batch = sample(kind, size=(2, 5))
    times = torch.tensor([1, 3, 0, 2, 1])
    repeated = {"target": batch["target"].repeat_interleave(times, dim=-1)}
    want = scalar(loss(logits.repeat_interleave(times, dim=-1), repeated))
    batch["weight"] = times.expand(2, 2, 5).double()
    torch.testing.assert_close(scalar(loss(logits, batch)), want)


@EVERY
def test_classes_and_pictures_have_no_order(name, options, kind):
    loss = build(name, options)
    logits, batch = sample(kind)
    value = scalar(loss(logits, batch))
    flipped = {"target": batch["target"].flip(0)}
    torch.testing.assert_close(scalar(loss(logits.flip(0), flipped)), value)
    if kind != "one":
        order = torch.tensor([2, 0, 1])
        target = batch["target"]
        moved = target[:, order] if kind == "several" else order.argsort()[target]
        torch.testing.assert_close(scalar(loss(logits[:, order], {"target": moved})), value)


@EVERY
@pytest.mark.parametrize(
    ("dtype", "size"),
    [(torch.float32, 1e4), (torch.bfloat16, 1e4), (torch.bfloat16, 1)],
    ids=["float32 1e4", "bfloat16 1e4", "bfloat16 1"],
)
def test_losses_stay_finite(name, options, kind, dtype, size):
    logits, batch = sample(kind)
    logits = (size * (logits.sign() if size > 1 else logits)).to(dtype)
    value, gradient = graded(build(name, options), logits, batch)
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()
    exact = scalar(build(name, options)(logits.double(), batch))
    rtol = 1e-5 if ":" not in name else 1e-2  # the core's are widened
    torch.testing.assert_close(value.double(), exact, rtol=rtol, atol=1e-5)


@EVERY
def test_a_better_mask_has_a_lower_loss(name, options, kind):
    loss = build(name, options)
    logits, batch = sample(kind)
    target = batch["target"]
    planes = F.one_hot(target, 3).movedim(-1, 1) if kind == "classes" else target
    right = 8.0 * (2 * planes.reshape(logits.shape) - 1)
    values = [scalar(loss(x, batch)).item() for x in (right, logits, -right)]
    assert values == sorted(values)
    assert values[0] < values[1] < values[2]
    gradient = graded(loss, logits, batch)[1]
    assert (gradient * (right - logits)).sum() < 0  # downhill is towards the truth


# --- by name --------------------------------------------------------------------------------------

RECIPE = Recipe(steps=1, batch_size=1, optimizer=("sgd", {}), lr=0.5)
TASK = TaskDefaults(loss="segzoo.losses:dice", postprocess=Postprocess())


def test_the_loss_of_a_recipe():
    logits, batch = sample("classes")
    task = loss_of(RECIPE, TASK, num_classes=3)
    assert task(logits, batch) == dice()(logits, batch)
    named = replace(
        RECIPE,
        loss=("focal", {"gamma": 1.0}),
        head_weights=(1, 0.5),
        class_weights=(1, 2, 3),
        ignore_index=0,
    )
    found = loss_of(named, TASK, num_classes=3)((logits, -logits), batch)["loss"]
    given = {"head_weights": (1, 0.5), "class_weights": (1, 2, 3), "ignore_index": 0}
    assert found == focal(gamma=1.0, **given)((logits, -logits), batch)["loss"]


BROKEN = """
def exits(): raise SystemExit(3)
def plain(*, smooth=1.0): return lambda outputs, batch: outputs.sum()
def nothing(): return None
def everything(**options): return lambda outputs, batch: options
NUMBER = 3
"""


def changed(loss, **changes):
    return replace(RECIPE, loss=loss, **changes)


WRONG = {
    "name": (changed(("dise", {})), UsageError, "no loss 'dise'. Did you mean 'dice'?"),
    "options": (
        changed(("dice", {"smoth": 1, "gamma": 2})),
        UsageError,
        "loss 'dice': 'smoth' is not an option (did you mean 'smooth'?); it has per, smooth, "
        "negative, ignore_index, class_weights, head_weights; 'gamma' is not an option; it has ",
    ),
    "twice": (
        changed(("dice", {"ignore_index": 1}), ignore_index=2),
        UsageError,
        "loss 'dice': ignore_index is given by the recipe and as an option of its loss",
    ),
    "not taken": (
        changed(("broken_losses:plain", {}), class_weights=(1, 2, 3), head_weights=(1,)),
        UsageError,
        "loss 'broken_losses:plain': it takes no head_weights, which the recipe sets; it takes no "
        "class_weights, which the recipe sets",
    ),
    "needed": (
        changed(("segzoo.losses:combined", {})),
        UsageError,
        "loss 'segzoo.losses:combined': it needs the option 'parts'",
    ),
    "part": (
        changed(("segzoo.losses:combined", {"parts": [["dice"]]})),
        UsageError,
        "['dice'] is not [name, factor] or [name, factor, options]",
    ),
    "no list of parts": (
        changed(("segzoo.losses:combined", {"parts": ["dice"]})),
        UsageError,
        "loss 'segzoo.losses:combined': parts is ['dice'], not a list, each a list",
    ),
    "class weights": (
        changed(None, class_weights=(1, 2)),
        UsageError,
        "class_weights does not fit the network; found 2 values, expected 3 for num_classes=3",
    ),
    "per": (
        changed(("dice", {"per": "image"})),
        UsageError,
        "loss 'dice': per is 'image', not one of 'batch', 'picture'",
    ),
    "gamma": (changed(("focal", {"gamma": -1})), UsageError, "gamma=-1 is below 0"),
    "path": (
        changed(("broken_losses:none_such", {})),
        PluginError,
        "the loss 'broken_losses:none_such' cannot be made: AttributeError: module 'broken_losses'",
    ),
    "no path": (
        changed(("a b:c", {})),
        PluginError,
        "the loss 'a b:c' cannot be made: ValueError: 'a b:c' is not 'module:attribute'",
    ),
    "exits": (
        changed(("broken_losses:exits", {})),
        PluginError,
        "the loss 'broken_losses:exits' cannot be made: it called sys.exit(3)",
    ),
    "number": (
        changed(("broken_losses:NUMBER", {})),
        PluginError,
        "the loss 'broken_losses:NUMBER' cannot be made: it is a int, not a function",
    ),
    "nothing": (
        changed(("broken_losses:nothing", {})),
        PluginError,
        "the loss 'broken_losses:nothing' cannot be made: it gives a NoneType, not a function of "
        "(outputs, batch)",
    ),
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    (tmp_path / "broken_losses.py").write_text(BROKEN)
    install(monkeypatch, tmp_path)


@pytest.mark.parametrize(("recipe", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_losses(recipe, kind, message, broken):
    with pytest.raises(kind) as error:
        loss_of(recipe, TASK, num_classes=3)
    assert str(error.value).startswith(message)


def test_a_factory_may_take_everything(broken):
    recipe = changed(("broken_losses:everything", {"new": 1}), ignore_index=2)
    assert loss_of(recipe, TASK, num_classes=3)(None, {}) == {"new": 1, "ignore_index": 2}


MISFITS = {
    "entropy of one": (
        cross_entropy,
        1,
        (2, 4, 4),
        "cross_entropy",
        "class indices (N, H, W), and",
    ),
    "entropy of planes": (cross_entropy, 3, (2, 3, 4, 4), "cross_entropy", "class indices (N, H"),
    "binary of classes": (
        binary_cross_entropy,
        3,
        (2, 4, 4),
        "binary_cross_entropy",
        "(N, H, W) f",
    ),
    "classes": (dice, 3, (2, 2, 4, 4), "the loss", "(N, H, W) or (N, K, H, W)"),
    "size": (lovasz, 3, (2, 4, 5), "the loss", "(N, H, W) or (N, K, H, W)"),
    "batch": (focal, 3, (1, 3, 4, 4), "the loss", "(N, H, W) or (N, K, H, W)"),
}


@pytest.mark.parametrize(
    ("factory", "k", "shape", "who", "expected"), MISFITS.values(), ids=MISFITS
)
def test_targets_of_other_shapes(factory, k, shape, who, expected):
    with pytest.raises(UsageError) as error:
        factory()(torch.zeros(2, k, 4, 4), {"target": torch.zeros(shape)})
    assert str(error.value).startswith(
        f"{who} cannot compare the target with the network's output; found target {shape}, logits "
        f"(2, {k}, 4, 4), expected a target of {expected}"
    )


def test_class_weights_of_another_number_of_classes():
    logits, batch = sample("one")
    with pytest.raises(UsageError) as error:
        dice(class_weights=(1, 2))(logits, batch)
    assert str(error.value).startswith(
        "class_weights weighs classes against each other, and this loss, a mean over classes, has "
        "one. Leave class_weights out, or take a mean over pixels, such as binary_cross_entropy"
    )
    logits, batch = sample("classes")
    with pytest.raises(UsageError) as error:
        dice(class_weights=(1,))(logits, batch)
    assert str(error.value) == (
        f"class_weights does not fit this loss; found 1 value, expected {logits.shape[1]}, one "
        "per class"
    )
