"""The losses against the original codes' numbers, and what holds for every loss."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from segzoo_unetpp.loss import bce_dice, bce_dice_of_batch, cross_entropy_dice

GOLDENS = Path(__file__).parent / "goldens"


def golden(case):
    results = json.loads((GOLDENS / f"{case}.json").read_text())["results"]
    tensors = load_file(GOLDENS / f"{case}.safetensors")
    return results, {name: tensor.double() for name, tensor in tensors.items()}


def test_bce_dice_equals_that_of_pytorch_nested_unet():
    results, stored = golden("losses_torch")
    want = results["nested_unet_bce_dice"]
    heads, batch = tuple(stored["logits4"]), {"target": stored["y_true"]}
    loss = bce_dice()(heads, batch)
    assert list(loss) == ["loss", "loss_head4", "loss_head3", "loss_head2", "loss_head1"]
    parts = [loss[name].item() for name in list(loss)[1:]]
    assert parts == pytest.approx(want["per_head"], abs=1e-12)
    assert loss["loss"].item() == pytest.approx(want["deep_supervision_mean"], abs=1e-12)

    weighted = bce_dice(head_weights=(1, 0.2, 0, 0.2))(heads, batch)["loss"].item()
    assert weighted == pytest.approx(parts[0] + 0.2 * parts[1] + 0.2 * parts[3])
    alone = bce_dice()(heads[0], batch)
    assert list(alone) == ["loss", "loss_head1"]
    assert alone["loss"].item() == pytest.approx(want["per_head"][0], abs=1e-12)
    in_eval_mode = bce_dice(head_weights=(5, 0.2, 0, 0.2))(heads[0], batch)
    assert in_eval_mode["loss"].item() == alone["loss"].item()


def test_bce_dice_of_batch_equals_that_of_the_authors():
    results, stored = golden("losses_keras")
    # Keras takes probabilities, all of which lie here between 0.06 and 0.95.
    logits = stored["y_pred"].movedim(-1, 1).logit()
    batch = {"target": stored["y_true"].movedim(-1, 1)}
    want = 1 + results["unetpp_bce_dice_loss_mean"]
    assert bce_dice_of_batch()(logits, batch)["loss"].item() == pytest.approx(want, abs=1e-6)
    several = bce_dice_of_batch()((logits, logits, logits), batch)["loss"].item()
    assert several == pytest.approx(3 * want, abs=1e-6)


def test_cross_entropy_dice_is_bce_dice_where_one_class_is_told_from_the_rest():
    """Two logits (0, z) under the softmax are one logit z under the sigmoid."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, 5, 7, generator=generator, dtype=torch.float64)
    target = torch.randint(2, (2, 5, 7), generator=generator)
    batch = {"target": target}
    both = {"target": torch.stack([1 - target, target], 1)}
    loss = cross_entropy_dice()(torch.cat([0 * z, z], 1), batch)["loss"]
    want = bce_dice()(torch.cat([-z, z], 1), both)["loss"]
    assert loss.item() == pytest.approx(want.item(), abs=1e-12)


def test_as_many_head_weights_as_heads():
    logits = torch.zeros(1, 1, 2, 2)
    loss = bce_dice(head_weights=(1, 0.5))
    with pytest.raises(ValueError, match=r"^head_weights has 2 values for 3 heads$"):
        loss((logits,) * 3, {"target": torch.zeros(1, 2, 2)})


# --- what holds for every loss --------------------------------------------------------------------

GENERATOR = torch.Generator().manual_seed(1)
LOGITS = torch.randn(2, 3, 6, 8, generator=GENERATOR, dtype=torch.float64)
MASKS = torch.randint(2, (2, 3, 6, 8), generator=GENERATOR)
CLASSES = torch.randint(3, (2, 6, 8), generator=GENERATOR)

#         loss                  target
LOSSES = {
    "bce_dice": (bce_dice(), MASKS),
    "bce_dice_of_batch": (bce_dice_of_batch(), MASKS),
    "cross_entropy_dice": (cross_entropy_dice(), CLASSES),
}
EACH_LOSS = pytest.mark.parametrize(("loss", "target"), LOSSES.values(), ids=LOSSES)


@EACH_LOSS
def test_pixels_of_weight_0_change_neither_value_nor_gradient(loss, target):
    weight = torch.ones(2, 6, 8)
    weight[:, 3:] = 0
    results = []
    for noise in (0, 9):
        x = LOGITS.clone()
        x[:, :, 3:] += noise
        changed = target.clone()
        changed[..., 3:, :] = (changed[..., 3:, :] + noise) % 2
        value = loss(x.requires_grad_(), {"target": changed, "weight": weight})["loss"]
        value.backward()
        results.append((value.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[0][1][:, :, 3:].any()
    assert results[0][1][:, :, :3].all()
    part = loss(LOGITS[:, :, :3], {"target": target[..., :3, :]})["loss"]
    assert results[0][0].item() == pytest.approx(part.item(), abs=1e-12)


@EACH_LOSS
def test_a_weight_counts_a_pixel_so_many_times(loss, target):
    weight = torch.ones(2, 6, 8)
    weight[:, :, 3] = 2  # as a picture in which this column comes twice
    columns = [0, 1, 2, 3, 3, 4, 5, 6, 7]
    value = loss(LOGITS, {"target": target, "weight": weight})["loss"]
    twice = loss(LOGITS[..., columns], {"target": target[..., columns]})["loss"]
    assert value.item() == pytest.approx(twice.item(), abs=1e-12)


@EACH_LOSS
def test_nothing_that_counts_gives_0(loss, target):
    x = LOGITS.clone().requires_grad_()
    value = loss(x, {"target": target, "weight": torch.zeros(2, 6, 8)})["loss"]
    value.backward()
    assert value.item() == 0
    assert not x.grad.any()


@EACH_LOSS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_give_finite_losses(loss, target, dtype):
    x = (1e4 * LOGITS.sign()).to(dtype).requires_grad_()
    value = loss(x, {"target": target})["loss"]
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()


@EACH_LOSS
def test_the_order_of_classes_does_not_matter(loss, target):
    order = torch.tensor([2, 0, 1])
    mixed = target[:, order] if target.ndim == 4 else order.argsort()[target]
    value = loss(LOGITS, {"target": target})["loss"].item()
    assert loss(LOGITS[:, order], {"target": mixed})["loss"].item() == pytest.approx(value)


@EACH_LOSS
def test_right_and_certain_logits_give_nearly_0(loss, target):
    masks = target if target.ndim == 4 else torch.nn.functional.one_hot(target).movedim(-1, 1)
    certain = 100.0 * (2 * masks - 1)
    assert loss(certain, {"target": target})["loss"].item() == pytest.approx(0, abs=1e-6)
    assert loss(-certain, {"target": target})["loss"].item() > 10


@pytest.mark.parametrize("ignored", [255, -1])
@pytest.mark.parametrize("factory", [bce_dice, bce_dice_of_batch, cross_entropy_dice])
def test_ignored_pixels_do_not_count(factory, ignored):
    whole = CLASSES if factory is cross_entropy_dice else MASKS
    target = whole.clone()
    target[..., 3:, :] = ignored
    loss = factory(ignore_index=ignored)
    part = loss(LOGITS[:, :, :3], {"target": whole[..., :3, :]})["loss"]
    assert loss(LOGITS, {"target": target})["loss"].item() == pytest.approx(part.item(), abs=1e-12)
    nothing = loss(LOGITS, {"target": torch.full_like(target, ignored)})["loss"]
    assert nothing.item() == 0


def test_a_class_of_overlapping_ones_may_be_ignored_alone():
    target = MASKS.clone()
    target[:, 1] = 255
    others = bce_dice()(LOGITS[:, [0, 2]], {"target": MASKS[:, [0, 2]]})["loss"]
    assert bce_dice()(LOGITS, {"target": target})["loss"].item() == pytest.approx(others.item())
