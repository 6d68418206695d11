"""The network: its encoder is timm's, its size is what it promises, and any picture passes."""

import pytest
import timm
import torch
from segzoo_lite import spec
from segzoo_lite.model import lite0, lite2

from segzoo.engine.optim import optimizer_of
from segzoo.model.profile import stages

ENCODERS = {lite0: "tf_efficientnet_lite0", lite2: "tf_efficientnet_lite2"}


@pytest.mark.parametrize("build", ENCODERS)
def test_the_encoder_is_timms_classifier_without_its_head(build):
    """The names are the classifier's too, so that its published weights fit."""
    torch.manual_seed(0)
    theirs = timm.create_model(ENCODERS[build]).eval()
    network = build().eval()
    own = network.backbone.state_dict()
    network.backbone.load_state_dict({name: theirs.state_dict()[name] for name in own})
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        coarsest = network.backbone(x)[-1]
        torch.testing.assert_close(
            theirs.bn2(theirs.conv_head(coarsest)), theirs.forward_features(x)
        )


def test_it_is_as_light_as_it_says():
    """At most 4 million parameters and a thousand million multiply-accumulates at 320x320."""
    whole = next(row for row in stages(lite0, (1, 3, 320, 320)) if not row.name)
    assert whole.parameters == spec.LITE0.num_parameters <= 4_000_000
    assert whole.macs <= 1_000_000_000
    assert spec.LITE2.num_parameters <= 6_000_000  # 12 MB in 16 bits


@pytest.mark.parametrize("size", [(1, 1), (2, 31), (33, 65), (64, 64)])
def test_any_size(size):
    network = lite0(num_classes=2).eval()
    x = torch.randn(1, 3, *size)
    with torch.inference_mode():
        heads = network(x, all_heads=True)
        assert [head.shape for head in heads] == [(1, 2, *size)] * 5
        assert torch.equal(network(x), heads[0])


def test_in_training_there_are_five_maps_and_two_rates():
    network = lite0().train()
    assert len(network(torch.randn(2, 3, 64, 64))) == 5
    optimizer = optimizer_of(network, spec.DUTS)
    backbone = {id(p) for p in network.backbone.parameters()}
    for group in optimizer.param_groups:
        inside = [id(p) in backbone for p in group["params"]]
        assert all(inside) or not any(inside)
        assert group["lr_scale"] == pytest.approx(0.15 if inside[0] else 1.0)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len([*network.parameters()])
