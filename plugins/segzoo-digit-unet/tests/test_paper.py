"""The network against the original code's numbers, on the module that users get.

The goldens hold what the article's Keras code gives in float64 on weights that a formula recreates
(tests/support/filler.py): logits and probabilities for two pictures of 64x84, and its loss.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from originals import Goldens
from segzoo_digit_unet.loss import binary_cross_entropy, cross_entropy
from segzoo_digit_unet.spec import CLASSES, PALETTE

import segzoo
from segzoo.model import build, profile
from segzoo.model.load import find_spec

GOLDENS = Goldens(Path(__file__).parent / "goldens")


@cache
def filled(base):
    network = segzoo.load("digit_unet", pretrained=False).network
    return GOLDENS.filled(network, "digit_unet", base)


@pytest.mark.parametrize("base", ["mix", "sin"])
def test_the_output_equals_the_original_code(base):
    own_error = GOLDENS.manifest("digit_unet")["fillers"][base]["2x1x64x84"]
    with torch.inference_mode():
        logits = filled(base)(GOLDENS.input("2x1x64x84"))

    # The original's own loss in float32, times three, is a fair bound; 1e-5 at least.
    for output, got, error in (
        ("logits", logits, own_error["logits_fp32_vs_fp64_max_abs_diff"]),
        ("out", logits.softmax(1), own_error["fp32_vs_fp64_max_abs_diff"]),
    ):
        GOLDENS.assert_close("digit_unet", "2x1x64x84", output, got, max(1e-5, 3 * error), base)


def test_parameters_and_macs():
    rows = GOLDENS.manifest("digit_unet")
    _, spec = find_spec("digit_unet")
    *_, whole = profile.stages(lambda: build.build(spec), (2, 1, 64, 84))
    assert whole.parameters == rows["param_count"]["trainable"] == spec.num_parameters
    assert whole.macs == rows["macs"]["2x1x64x84"]


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 96)])
def test_any_size_is_that_size_with_zeros_at_the_right_and_the_bottom(size):
    height, width = size
    x = torch.rand(2, 1, height, width)
    canvas = torch.zeros(2, 1, -(-height // 32) * 32, -(-width // 32) * 32)
    canvas[:, :, :height, :width] = x
    with torch.inference_mode():
        logits = filled("mix")(x)
        assert torch.equal(logits, filled("mix")(canvas)[:, :, :height, :width])
    assert logits.shape == (2, 11, height, width)


def test_weights_begin_as_those_of_keras():
    network = segzoo.load("digit_unet", seed=0).network
    kernel = network.encoder[1][0].weight  # 32 -> 64 channels, 5x5
    assert kernel.abs().max().item() == pytest.approx((6 / (25 * (32 + 64))) ** 0.5, rel=1e-3)
    biases = [p for n, p in network.named_parameters() if n.endswith("bias")]
    assert len(biases) == 30
    assert not any(b.any() for b in biases)


# --- the loss -------------------------------------------------------------------------------------


def test_the_loss_equals_that_of_keras():
    stored, results = GOLDENS.tensors("losses_keras"), GOLDENS.manifest("losses_keras")["results"]
    # Keras takes probabilities, and keeps them off 0 and 1 by 1e-7.
    probabilities = stored["probs"].double().clamp(1e-7, 1 - 1e-7).movedim(-1, 1)
    batch = {"target": stored["labels"].long()}
    loss = cross_entropy()(probabilities.log(), batch).item()
    assert loss == pytest.approx(results["categorical_crossentropy_mean"], abs=1e-6)


def test_a_label_without_a_class_is_refused():
    """The article's `img_to_cuboid` gives such pixels no class; its labels hold 11 and 12."""
    stored = GOLDENS.tensors("labels_digit")
    target = stored["annotation"].long()
    logits = torch.zeros(*target.shape, 11).movedim(-1, 1)
    with pytest.raises(IndexError, match="Target 12 is out of bounds"):
        cross_entropy()(logits, {"target": target})

    known = stored["cuboid"].sum(-1) == 1
    assert (~known).sum().item() == GOLDENS.manifest("labels_digit")["results"]["unknown_pixels"]
    ignored = {"target": target.where(known, 255)}
    certain = 100 * stored["cuboid"].float().movedim(-1, 1)  # logits that are right wherever known
    assert cross_entropy()(certain, ignored).item() < 1e-6


RANDOM = np.random.default_rng(0)
LOGITS = torch.from_numpy(RANDOM.normal(size=(2, 3, 5, 7)))
TARGET = torch.from_numpy(RANDOM.integers(3, size=(2, 5, 7)))
WEIGHT = torch.from_numpy(RANDOM.integers(1, 4, size=(2, 5, 7)))

#         loss                     logits          target
LOSSES = {
    "cross_entropy": (cross_entropy(), LOGITS, TARGET),
    "binary_cross_entropy": (binary_cross_entropy(), LOGITS[:, :1], TARGET % 2),
}
EACH_LOSS = pytest.mark.parametrize(("loss", "logits", "target"), LOSSES.values(), ids=LOSSES)


@EACH_LOSS
def test_pixels_of_weight_0_change_neither_value_nor_gradient(loss, logits, target):
    weight = torch.ones(target.shape)
    weight[:, 2:] = 0
    results = []
    for noise in (0, 9):
        x = (logits + noise * (1 - weight).unsqueeze(1)).requires_grad_()
        changed = target.where(weight > 0, (target + noise) % 2)
        value = loss(x, {"target": changed, "weight": weight})
        value.backward()
        results.append((value.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[0][1][:, :, 2:].any()
    assert results[0][1][:, :, :2].all()
    part = loss(logits[:, :, :2], {"target": target[:, :2]})
    assert results[0][0].item() == pytest.approx(part.item(), rel=1e-6)


@EACH_LOSS
def test_a_weight_counts_a_pixel_so_many_times(loss, logits, target):
    ones = torch.ones(1, 1, 1)
    total = sum(
        int(WEIGHT[n, h, w])
        * loss(logits[n, :, h, w].reshape(1, -1, 1, 1), {"target": target[n, h, w] * ones.long()})
        for n, h, w in np.ndindex(target.shape)
    )
    value = loss(logits, {"target": target, "weight": WEIGHT})
    assert value.item() == pytest.approx((total / WEIGHT.sum()).item(), rel=1e-6)


@EACH_LOSS
def test_nothing_that_counts_gives_0(loss, logits, target):
    x = logits.clone().requires_grad_()
    value = loss(x, {"target": target, "weight": torch.zeros(target.shape)})
    value.backward()
    assert value.item() == 0
    assert not x.grad.any()


@EACH_LOSS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_losses(loss, logits, target, dtype):
    x = (1e4 * logits.sign()).to(dtype).requires_grad_()
    value = loss(x, {"target": target})
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


def test_the_order_of_classes_does_not_matter():
    order = torch.tensor([2, 0, 1])
    mixed = {"target": order.argsort()[TARGET]}
    value = cross_entropy()(LOGITS, {"target": TARGET})
    assert cross_entropy()(LOGITS[:, order], mixed).item() == pytest.approx(value.item())


@pytest.mark.parametrize("factory", [cross_entropy, binary_cross_entropy])
@pytest.mark.parametrize("ignored", [255, -1])
def test_ignored_pixels_do_not_count(factory, ignored):
    _, logits, target = LOSSES[factory.__name__]
    loss = factory(ignore_index=ignored)
    changed = target.clone()
    changed[:, 2:] = ignored
    part = loss(logits[:, :, :2], {"target": target[:, :2]})
    assert loss(logits, {"target": changed}).item() == pytest.approx(part.item())
    assert loss(logits, {"target": torch.full_like(target, ignored)}).item() == 0


# --- what the spec says ---------------------------------------------------------------------------


def test_a_colour_for_each_class():
    named = dict(zip(CLASSES, PALETTE, strict=True))
    assert len(set(PALETTE)) == find_spec("digit_unet")[1].num_classes == 11
    assert named["0"] == (255, 0, 255)  # purplish red
    assert named["6"] == (255, 255, 0)  # yellow
    assert named["8"] == (0, 0, 255)  # dark blue
    assert named["background"] == (0, 255, 255)  # light blue


def test_the_recipe_is_the_articles():
    recipe = find_spec("digit_unet")[1].recipes["seed"]
    results = GOLDENS.manifest("losses_keras")["results"]
    assert recipe.lr == pytest.approx(results["tf_keras_adadelta_default_lr"])
    name, options = recipe.optimizer
    assert (name, [options["rho"], options["eps"]]) == ("adadelta", results["adadelta_rho_eps"])
    assert (recipe.epochs, recipe.batch_size, recipe.sampling) == (200, 16, "replacement")
