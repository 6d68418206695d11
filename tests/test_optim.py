"""Optimisers by name, what they train and at which rate: against torch's and timm's own."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from segzoo.engine.optim import NORMS, OPTIMIZERS, freeze, optimizer_of
from segzoo.errors import DependencyMissingError, UsageError
from segzoo.spec import Recipe

RECIPE = Recipe(steps=1, batch_size=1, optimizer=("adam", {}), lr=0.1, weight_decay=0.01)


class Net(nn.Module):
    """A stem, two stages in a list, a head; a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.pool = nn.MaxPool2d(2)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)) for _ in range(2)
        )
        self.head = nn.Conv2d(4, 2, 1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return self.head(x) * self.scale


def net():
    torch.manual_seed(0)
    return Net()


def recipe(name="adam", options=None, **changes):
    return replace(RECIPE, optimizer=(name, options or {}), **changes)


def trained(network, optimizer, steps=3):
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8).to(network.scale)
    for _ in range(steps):
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def names_of(network, optimizer):
    """The names of each group's parameters."""
    names = {id(p): name for name, p in network.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


#            options                                      the same, written for torch
OPTIONS = {
    "adadelta": {"rho": 0.95, "eps": 1e-7},  # the digits' recipe
    "adagrad": {"lr_decay": 0.1},
    "adam": {"betas": [0.8, 0.9], "eps": 1e-6},
    "adamw": {"betas": [0.8, 0.9]},
    "nadam": {"momentum_decay": 0.01},
    "radam": {"decoupled_weight_decay": True},
    "rmsprop": {"alpha": 0.9, "momentum": 0.5},
    "sgd": {"momentum": 0.99, "nesterov": True},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torchs_own_by_name(name):
    cls, options = OPTIMIZERS[name], OPTIONS[name]
    one, other = net(), net()
    optimizer = optimizer_of(one, recipe(name, options), fused=False)
    assert type(optimizer) is cls
    assert cls.__name__.lower() == name
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    found = trained(one, optimizer)
    wanted = trained(other, cls(other.parameters(), lr=0.1, weight_decay=0.01, **fields))
    for key, value in found.items():
        assert torch.equal(value, wanted[key]), key


@pytest.mark.parametrize("name", ["lion", "lamb", "adafactor", "muon"])
def test_timms_by_name(name):
    timm = pytest.importorskip("timm.optim")
    one, other = net(), net()
    found = trained(one, optimizer_of(one, recipe(name)))
    made = timm.create_optimizer_v2(other.parameters(), opt=name, lr=0.1, weight_decay=0.01)
    wanted = trained(other, made)
    for key, value in found.items():
        assert torch.equal(value, wanted[key]), key


def test_the_weight_decay_is_the_recipes_and_not_the_optimizers():
    assert optimizer_of(net(), recipe("adamw", weight_decay=0)).defaults["weight_decay"] == 0


# --- fused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_where_there_is_one(name):
    one, other = net().double(), net().double()
    optimizer = optimizer_of(one, recipe(name))
    assert bool(optimizer.defaults.get("fused")) == (name in ("adagrad", "adam", "adamw", "sgd"))
    found = trained(one, optimizer)
    wanted = trained(other, optimizer_of(other, recipe(name), fused=False))
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key])


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw", "sgd"])
def test_fused_on_cuda(name):
    one, other = (net().double().to("cuda") for _ in range(2))
    fused = optimizer_of(one, recipe(name))
    assert fused.defaults["fused"]
    wanted = trained(other, optimizer_of(other, recipe(name), fused=False))
    for key, value in trained(one, fused).items():
        torch.testing.assert_close(value, wanted[key])


def test_fused_can_be_chosen():
    assert optimizer_of(net(), recipe(), fused=True).defaults["fused"]
    assert not optimizer_of(net(), recipe(), fused=False).defaults["fused"]
    foreach = optimizer_of(net(), recipe(options={"foreach": True}))
    assert (foreach.defaults["foreach"], foreach.defaults["fused"]) == (True, None)
    with pytest.raises(UsageError) as error:
        optimizer_of(net(), recipe("radam"), fused=True)
    assert str(error.value) == "optimizer 'radam' has no fused kernel for this network"
    assert not optimizer_of(net().to("meta"), recipe()).defaults["fused"]


# --- groups ---------------------------------------------------------------------------------------


def test_one_group_of_everything():
    network = net()
    optimizer = optimizer_of(network, recipe())
    assert names_of(network, optimizer) == [[name for name, _ in network.named_parameters()]]
    assert optimizer.param_groups[0]["weight_decay"] == 0.01


def test_biases_and_norms_are_not_decayed():
    network = net()
    optimizer = optimizer_of(network, recipe(decay="weights"))
    bare, decayed = names_of(network, optimizer)
    assert decayed == [n for n, p in network.named_parameters() if p.ndim >= 2]
    assert sorted(bare + decayed) == sorted(n for n, _ in network.named_parameters())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0.01]


def rate_of(network, optimizer):
    names = names_of(network, optimizer)
    return {
        name: group["lr"]
        for group, members in zip(optimizer.param_groups, names, strict=True)
        for name in members
    }


def test_lower_stages_learn_more_slowly():
    network = net()
    optimizer = optimizer_of(network, recipe(layer_decay=0.5))
    rates = rate_of(network, optimizer)
    assert rates["head.weight"] == rates["head.bias"] == rates["scale"] == 0.1
    assert rates["stages.1.0.weight"] == rates["stages.1.1.bias"] == 0.05
    assert rates["stages.0.0.weight"] == 0.025
    assert rates["stem.weight"] == 0.0125
    assert [g["lr_scale"] * 0.1 for g in optimizer.param_groups] == [
        g["lr"] for g in optimizer.param_groups
    ]
    both = optimizer_of(net(), recipe(layer_decay=0.5, decay="weights"))
    assert {(g["lr_scale"], g["weight_decay"]) for g in both.param_groups} == {
        (scale, decay) for scale in (1, 0.5, 0.25, 0.125) for decay in (0, 0.01)
    }


def test_the_stages_of_timms_networks_are_timms():
    timm = pytest.importorskip("timm")
    network = timm.create_model("vgg11", num_classes=2, pretrained=False)
    optimizer = optimizer_of(network, recipe(layer_decay=0.5, decay="weights"))
    wanted = timm.optim.param_groups_layer_decay(network, 0.01, layer_decay=0.5)
    assert [g["lr_scale"] for g in optimizer.param_groups] == [g["lr_scale"] for g in wanted]
    for group, same in zip(optimizer.param_groups, wanted, strict=True):
        assert [*map(id, group["params"])] == [*map(id, same["params"])]
        assert group["weight_decay"] == same["weight_decay"]
        assert group["lr"] == 0.1 * group["lr_scale"]
    assert len({g["lr_scale"] for g in wanted}) > 5


# --- freezing -------------------------------------------------------------------------------------


def test_what_is_frozen_stays():
    network = net()
    optimizer = optimizer_of(network, recipe(frozen=("stem.", "stages.0.")))
    network.train()
    norms = freeze(network, ("stem.", "stages.0."))
    assert norms == [network.stages[0][1]]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained(network, optimizer)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert not [n for n in changed if n.startswith(("stem.", "stages.0."))]
    assert {"stages.1.1.running_mean", "head.weight", "scale"} <= changed
    assert network.training
    assert network.stages[1][1].training


def test_all_norms_frozen():
    """Their parameters and means stay; what is around them is trained."""
    network = net()
    network.plain = nn.BatchNorm2d(4, affine=False)  # it has a mean and nothing to train
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    optimizer = optimizer_of(network, recipe(frozen=(NORMS,)))
    network.train()
    assert freeze(network, (NORMS,)) == norms
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained(network, optimizer)
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert {"stem.weight", "head.weight", "scale"} <= changed
    assert not [n for n in changed if n.rpartition(".")[0] in {"stages.0.1", "stages.1.1", "plain"}]


def test_nothing_frozen():
    network = net()
    assert freeze(network, ()) == []
    assert all(p.requires_grad for p in network.parameters())


# --- what a user can get wrong --------------------------------------------------------------------

WRONG = {
    "name": (recipe("adamm"), "no optimizer 'adamm'. Did you mean 'adam'"),
    "far": (
        recipe("zzzz"),
        "no optimizer 'zzzz'. There are adadelta, adagrad, adam, adamw, nadam, radam, rmsprop, "
        "sgd, and those of timm.optim",
    ),
    "second order": (
        recipe("adahessian"),
        "optimizer 'adahessian' needs second derivatives, which are not computed here",
    ),
    "options": (
        recipe("sgd", {"momentun": 0.9, "lr": 1, "betas": [1, 2]}),
        "optimizer 'sgd': lr is a field of the recipe, not an option of its optimizer; 'momentun' "
        "is not an option (did you mean 'momentum'?); it has momentum, dampening, nesterov, "
        "maximize, foreach, differentiable, fused; 'betas' is not an option; it has ",
    ),
    "value": (
        recipe("adam", {"betas": [2, 0.9]}),
        "optimizer 'adam' cannot be made: Invalid beta parameter at index 0: 2",
    ),
    "type": (recipe("adam", {"eps": "small"}), "optimizer 'adam': eps is 'small', not a f"),
    "prefix": (
        recipe(frozen=("stem.", "stage.0.")),
        "no parameter begins with 'stage.0.'; expected a prefix such as 'stages.0.'",
    ),
    "far prefix": (
        recipe(frozen=("qqqqqqq", "zzzzzzz")),
        "no parameter begins with 'qqqqqqq', 'zzzzzzz'; expected a prefix such as 'stem.', "
        "'stages.', 'head.'",
    ),
    "all frozen": (
        recipe(frozen=("s", "head.")),
        "no parameter is left to train; found frozen=s,head.",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_wrong_recipes(wrong, message):
    with pytest.raises(UsageError) as error:
        optimizer_of(net(), wrong)
    assert str(error.value).startswith(message)


def test_an_optimizer_of_a_library_that_is_not_there():
    pytest.importorskip("timm")
    if torch.cuda.is_available():
        pytest.skip("with a CUDA device its library may be there")
    with pytest.raises(DependencyMissingError) as error:
        optimizer_of(net(), recipe("fusedlamb"))
    assert str(error.value).startswith("optimizer 'fusedlamb' cannot be used: ")


def test_without_timm(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert optimizer_of(net(), recipe(layer_decay=0.5))
    with pytest.raises(DependencyMissingError) as error:
        optimizer_of(net(), recipe("lion"))
    assert str(error.value) == (
        "optimizers beside adadelta, adagrad, adam, adamw, nadam, radam, rmsprop, sgd, and layers "
        "of timm's networks, need timm. Run: pip install 'segzoo-core[train]'"
    )
