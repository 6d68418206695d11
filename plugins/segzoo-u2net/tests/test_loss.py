"""The loss against the authors' numbers, and the weights of its maps.

What holds for every loss (pixels that do not count, extreme logits) is tested with the core.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from segzoo_u2net.loss import deep_bce, deep_cross_entropy

import segzoo

GOLDENS = Path(__file__).parent / "goldens"
STORED = {k: v.double() for k, v in load_file(GOLDENS / "losses_torch.safetensors").items()}
WANT = json.loads((GOLDENS / "losses_torch.json").read_text())["results"]["u2net_multi_bce"]
# The stored maps are probabilities, 0 and 1 among them: the authors' logarithms end at -100.
MAPS = tuple(STORED["preds"].logit().clamp(-100, 100))
BATCH = {"target": STORED["y_true"]}
NAMES = ["loss", "loss_fused", *(f"loss_side{i}" for i in range(1, 7))]


def test_the_sum_over_the_maps_equals_the_authors():
    found = deep_bce()(MAPS, BATCH)
    assert list(found) == NAMES
    assert [found[name].item() for name in NAMES[1:]] == pytest.approx(WANT["each"], abs=1e-12)
    assert found["loss"].item() == pytest.approx(WANT["loss_total"], abs=1e-12)
    single = deep_bce()([m.float() for m in MAPS], {"target": BATCH["target"].float()})
    assert single["loss"].item() == pytest.approx(WANT["fp32"]["loss_total"], abs=1e-6)


def test_the_maps_have_weights():
    each = WANT["each"]
    seven = deep_bce(head_weights=(1,) * 7)(MAPS, BATCH)["loss"].item()
    assert seven == pytest.approx(WANT["loss_total"], abs=1e-12)
    three = deep_bce(head_weights=(1, 0.2, 0.2))(MAPS[:3], BATCH)
    want = each[0] + 0.2 * each[1] + 0.2 * each[2]
    assert three["loss"].item() == pytest.approx(want, abs=1e-12)
    assert three["loss_side1"].item() == pytest.approx(each[1], abs=1e-12)
    with pytest.raises(ValueError, match=r"^head_weights has 3 values for 7 maps$"):
        deep_bce(head_weights=(1, 0.2, 0.2))(MAPS, BATCH)


def test_the_fused_map_alone():
    """As the network gives it in eval mode, whatever the weights of the seven."""
    for loss in (deep_bce(), deep_bce(head_weights=(1,) * 7)):
        found = loss(MAPS[0], BATCH)
        assert list(found) == ["loss", "loss_fused"]
        assert found["loss"].item() == pytest.approx(WANT["loss0"], abs=1e-12)


def test_two_classes_under_the_softmax_are_one_under_the_sigmoid():
    logits = [torch.cat([0 * m, m], 1) for m in MAPS[:6]]  # the last has an exact 0 and 1
    batch = {"target": BATCH["target"][:, 0].round()}
    found = deep_cross_entropy()(logits, {"target": batch["target"].long()})["loss"].item()
    assert found == pytest.approx(deep_bce()(MAPS[:6], batch)["loss"].item(), abs=1e-12)


def test_the_loss_of_the_network_in_training_and_in_eval_mode():
    network = segzoo.load("u2netp", pretrained=False).network
    x, batch = torch.rand(2, 3, 32, 32), {"target": torch.randint(2, (2, 32, 32))}
    assert list(deep_bce()(network.train()(x), batch)) == NAMES
    with torch.inference_mode():
        assert list(deep_bce()(network.eval()(x), batch)) == NAMES[:2]
