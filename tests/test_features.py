"""Named outputs of the stages of any network."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn

import segzoo
from segzoo.model import build, profile
from segzoo.model.features import features, shapes
from segzoo.model.load import find_spec
from segzoo.predict.preprocess import network_size


def hooks_of(network):
    return [h for module in network.modules() for h in module._forward_hooks.values()]


def test_the_outputs_are_those_of_the_modules_of_that_name():
    model = segzoo.load("u2netp", seed=0)
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.features(x)
        assert torch.equal(found["fuse"], model(x))
        assert torch.equal(found["encoder.0"], model.network.encoder[0](x))
    assert list(found)[:3] == ["encoder.0", "encoder.1", "encoder.2"]
    assert found["encoder.5"].shape == (2, 64, 2, 3)


ENCODERS = ("backbone", "segformer")  # what those are called that other libraries build


@pytest.mark.parametrize("name", segzoo.list_models())
def test_every_model_names_the_stages_that_info_lists(name):
    _, spec = find_spec(name)
    size = network_size(64, 64, replace(spec.preprocess, size=None, resize="none"))
    shape = (1, spec.in_channels, *size)
    found = shapes(lambda: build.build(spec), shape, multiple_of=spec.preprocess.multiple_of)
    stages = profile.stages(lambda: build.build(spec), shape)
    names = [stage.name for stage in stages[:-1]]
    given = {name: [f.name for f in found if f"{f.name}.".startswith(f"{name}.")] for name in names}
    assert sorted(f.name for f in found) == sorted(n for several in given.values() for n in several)
    # an encoder whose layers the network calls one by one, or that gives a list or a record, has no
    # output of its own; heads of side outputs rest in eval mode
    silent = [n for n, several in given.items() if not several and n not in ENCODERS]
    within = {f"{name}.": [h for h in spec.head if h.startswith(f"{name}.")] for name in silent}
    assert all(name.startswith(spec.head) or heads for name, heads in within.items())
    heads = [name for name in names if f"{name}.".startswith(spec.head)]
    assert not heads or {*heads} - {*silent}
    for feature in found:
        if len(feature.shape) == 2 or 0 in feature.shape:
            continue  # a transformer's tokens; a stage that a mixed transformer leaves empty
        channels, height, width = feature.shape
        down, across = feature.stride
        assert down == across
        assert down >= 1 or down == Fraction(1, 3)
        assert channels >= 1
        # valid convolutions eat from the size, never add to it
        assert 1 <= height <= -(-size[0] // down)
        assert 1 <= width <= -(-size[1] // down)


class Several(nn.Module):
    """Gives a tuple, a mapping within a list, and nothing."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        return y, [{"fine": y[:, :1], "coarse": y[..., ::2, ::4]}, None]


class Odd(nn.Module):
    """Stages of all kinds: several outputs, one that runs twice, one that is not run, no map."""

    def __init__(self):
        super().__init__()
        self.several = Several()
        self.blocks = nn.ModuleDict({"a": nn.Conv2d(2, 2, 1), "unused": nn.Conv2d(2, 2, 1)})
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 3, 1))
        self.tokens = nn.Sequential(nn.Flatten(2), nn.ReLU(), Scale())
        self.relu = nn.ReLU()

    def forward(self, x):
        y, _ = self.several(x)
        y = self.blocks["a"](self.relu(self.blocks["a"](y)))
        self.tokens(y)
        return y + self.pooled(y)[:, :1]


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return x * self.scale


def test_outputs_of_all_kinds():
    network, x = Odd(), torch.rand(2, 1, 8, 12)
    found = features(network, x)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "several.0": (2, 2, 8, 12),
        "several.1.0.fine": (2, 1, 8, 12),
        "several.1.0.coarse": (2, 2, 4, 3),
        "blocks.a": (2, 2, 8, 12),
        "pooled": (2, 3, 1, 1),
        "tokens": (2, 2, 96),
    }
    last = network.blocks["a"](network.blocks["a"](found["several.0"]).relu())
    assert torch.equal(found["blocks.a"], last)


def test_strides():
    found = {f.name: (f.shape, f.stride) for f in shapes(Odd, (1, 1, 8, 12))}
    assert found["several.0"] == ((2, 8, 12), (1, 1))
    assert found["several.1.0.coarse"] == ((2, 4, 3), (2, 4))
    assert found["pooled"] == ((3, 1, 1), None)
    assert found["tokens"] == ((2, 96), None)


def test_a_stride_is_not_falsified_by_what_valid_convolutions_eat():
    def network():
        return nn.Sequential(nn.Conv2d(3, 4, 9), nn.Conv2d(4, 5, 3, stride=2), nn.Upsample(None, 6))

    found = shapes(network, (1, 3, 24, 24))
    assert [(f.name, f.shape, f.stride) for f in found] == [
        ("0", (4, 16, 16), (1, 1)),
        ("1", (5, 7, 7), (2, 2)),
    ]


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(training):
    model = segzoo.load("unetpp", width=4).train(training)
    model.network.heads.eval()
    modes = [module.training for module in model.modules()]
    model.features(torch.rand(2, 3, 32, 32))
    assert [module.training for module in model.modules()] == modes
    assert hooks_of(model) == []


def test_no_hook_stays_when_the_network_fails():
    model = segzoo.load("unetpp", width=4)
    with pytest.raises(ValueError, match="multiples of 16"):
        model.features(torch.rand(1, 3, 30, 30))
    assert hooks_of(model) == []


def test_gradients_flow_to_the_parameters_and_from_the_logits_to_a_stage():
    """The second is what a map of influence (Grad-CAM) is made of."""
    model = segzoo.load("unet", width=4)
    found = model.features(torch.rand(1, 3, 32, 32))
    (influence,) = torch.autograd.grad(found["head"].sum(), found["encoder.4"], retain_graph=True)
    assert influence.shape == found["encoder.4"].shape
    assert influence.abs().sum() > 0
    found["encoder.1"].sum().backward()
    first = next(model.network.encoder[0].parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
