"""An optimiser goes on from a checkpoint as if it had never stopped: of torch and of timm."""

import random
import re
import warnings

import numpy as np
import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from segzoo.engine import checkpoint
from segzoo.engine.optimizer_state import flatten, refuse_unknown, restore
from segzoo.errors import CheckpointError, RunError

ANOTHER = "Choose another optimiser"
X = torch.randn(5, 2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.Conv2d(4, 4, 3),
    )
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def names_of(network: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in network.named_parameters()}


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: torch.Tensor) -> None:
    for x in batches:
        optimizer.zero_grad()
        x = x.contiguous(memory_format=torch.channels_last)
        network(x).square().mean().backward()
        optimizer.step()


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {
        name: t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, t in tensors.items()
    }


def layout(tensor: torch.Tensor) -> list[int]:
    """The strides that matter: those of sides longer than one."""
    return [n for n, side in zip(tensor.stride(), tensor.shape, strict=True) if side > 1]


def assert_goes_on(build, tmp_path) -> None:
    """Five steps are three, a checkpoint, another process's network and optimiser, and two."""
    straight = network()
    one = build(straight)
    train(straight, one, X)

    before = network()
    two = build(before)
    train(before, two, X[:3])
    tensors, rest = flatten(two, names_of(before))
    folder = checkpoint.begin(tmp_path, 3)
    checkpoint.write_tensors(folder, "model", before.state_dict())
    checkpoint.write_tensors(folder, "optimizer", tensors)
    checkpoint.write_json(folder, "optimizer", rest)
    checkpoint.publish(folder, about={})

    found, after = checkpoint.find(tmp_path), network()
    three = build(after)
    after.load_state_dict(found.tensors("model"))
    kept = found.tensors("optimizer"), found.json("optimizer")
    restore(three, names_of(after), *kept, judged=True)
    for (parameter, name), theirs in zip(names_of(after).items(), before.parameters(), strict=True):
        for key, value in two.state[theirs].items():
            if isinstance(value, torch.Tensor):
                assert layout(three.state[parameter][key]) == layout(value), (name, key)
                assert three.state[parameter][key].dtype == value.dtype
    train(after, three, X[3:])

    expected, expected_rest = flatten(one, names_of(straight))
    actual, actual_rest = flatten(three, names_of(after))
    assert bits(actual) == bits(expected)
    assert actual_rest == expected_rest
    assert bits(after.state_dict()) == bits(straight.state_dict())
    assert bits(straight.state_dict()) != bits(before.state_dict())


def groups(network: nn.Module) -> list[dict]:
    """Two groups with rates of their own, and a parameter that is not trained."""
    parameters = list(network.parameters())
    parameters[0].requires_grad_(False)
    return [{"params": parameters[:3], "lr": 1e-4}, {"params": parameters[3:]}]


TORCH = {
    "adam": lambda n: torch.optim.Adam(n.parameters(), lr=1e-3, foreach=False),
    "adam-foreach": lambda n: torch.optim.Adam(n.parameters(), lr=1e-3, foreach=True),
    "adam-fused": lambda n: torch.optim.Adam(n.parameters(), lr=1e-3, fused=True),
    "adam-amsgrad": lambda n: torch.optim.Adam(n.parameters(), lr=1e-3, amsgrad=True),
    "adam-fused-amsgrad": lambda n: torch.optim.Adam(
        n.parameters(), lr=1e-3, fused=True, amsgrad=True
    ),
    "adam-tensor-rate": lambda n: torch.optim.Adam(n.parameters(), lr=torch.tensor(1e-3)),
    "adamw": lambda n: torch.optim.AdamW(n.parameters(), lr=1e-3, weight_decay=0.1, foreach=False),
    "adamw-foreach": lambda n: torch.optim.AdamW(n.parameters(), lr=1e-3, foreach=True),
    "adamw-fused": lambda n: torch.optim.AdamW(n.parameters(), lr=1e-3, fused=True),
    "adamw-groups": lambda n: torch.optim.AdamW(groups(n), lr=1e-3, fused=True),
    "adamw-amsgrad": lambda n: torch.optim.AdamW(n.parameters(), lr=1e-3, amsgrad=True),
    "sgd": lambda n: torch.optim.SGD(n.parameters(), lr=0.01),
    "sgd-momentum": lambda n: torch.optim.SGD(n.parameters(), lr=0.01, momentum=0.99),
    "sgd-fused": lambda n: torch.optim.SGD(n.parameters(), lr=0.01, momentum=0.9, fused=True),
    "rmsprop": lambda n: torch.optim.RMSprop(n.parameters(), lr=1e-3, momentum=0.9, centered=True),
    "adadelta": lambda n: torch.optim.Adadelta(n.parameters(), lr=1.0),
    "adagrad-fused": lambda n: torch.optim.Adagrad(n.parameters(), lr=0.01, fused=True),
    "asgd": lambda n: torch.optim.ASGD(n.parameters(), lr=0.01),
    "rprop": lambda n: torch.optim.Rprop(n.parameters(), lr=0.01),
}


@pytest.mark.parametrize("name", TORCH)
def test_an_optimiser_of_torch_goes_on_to_the_same_bits(name, tmp_path):
    refuse_unknown(TORCH[name](network()))
    assert_goes_on(TORCH[name], tmp_path)


REFUSED = {
    "adahessian": "the optimiser Adahessian cannot be tried out: AttributeError: "
    f"'Parameter' object has no attribute 'hess'. {ANOTHER}",
    **dict.fromkeys(
        ("kron", "kronc", "kronw"),
        "a checkpoint cannot hold the state of the optimiser Kron; found Tensor in 'state.0.Q', "
        f"expected a tensor, number, string, boolean, None, or a list without tensors. {ANOTHER}",
    ),
    **dict.fromkeys(
        ("lookahead_adamw", "lookahead_sgd"),
        "the optimiser Lookahead keeps something that a checkpoint does not hold: "
        f"it goes on to other values. {ANOTHER}",
    ),
}


@pytest.mark.parametrize("name", [*list_optimizers(), "lookahead_adamw", "lookahead_sgd"])
def test_an_optimiser_of_timm_goes_on_to_the_same_bits_or_is_refused(name, tmp_path):
    if name.startswith(("bnb", "fused")) and not torch.cuda.is_available():
        pytest.skip("timm builds this one on CUDA alone")

    def build(network: nn.Module) -> torch.optim.Optimizer:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "It is highly recommended to have 'opt_einsum'")
            return create_optimizer_v2(network, opt=name, lr=1e-3, weight_decay=0.01)

    if name not in REFUSED:
        refuse_unknown(build(network()))
        assert_goes_on(build, tmp_path)
        return
    optimizer = build(network())
    with torch.compiler.set_stance("force_eager"), pytest.raises(RunError) as caught:
        refuse_unknown(optimizer)
    assert str(caught.value) == REFUSED[name]


# --- what the trial leaves alone, and what it sees ------------------------------------------------


def test_the_trial_changes_nothing():
    model = network()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)  # has a state from the start
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    tensors, rest = flatten(optimizer, names_of(model))
    before = bits({**tensors, **model.state_dict()})
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    refuse_unknown(optimizer)
    tensors, rest_after = flatten(optimizer, names_of(model))
    assert bits({**tensors, **model.state_dict()}) == before
    assert rest_after == rest
    assert calls == []
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_the_trial_is_small_whatever_the_network_is():
    large = nn.Linear(3000, 3000)
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            seen.extend(p.shape for group in self.param_groups for p in group["params"])
            return super().step(closure)

    refuse_unknown(Watched(large.parameters(), lr=0.1, momentum=0.9))
    assert set(seen) == {(16, 15), (16,)}


class Odd(torch.optim.SGD):
    """Keeps `value()` beside the momentum."""

    value = staticmethod(lambda: None)

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter].setdefault("odd", self.value())


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (lambda: {"a": 1}, "dict in 'state.0.odd'"),
        (lambda: [torch.zeros(2)], "Tensor in 'state.0.odd'"),
        (lambda: [[1, 2]], "list in 'state.0.odd'"),
        (lambda: {1, 2}, "set in 'state.0.odd'"),
        (lambda: np.float32(1), "float32 in 'state.0.odd'"),
        (object, "object in 'state.0.odd'"),
        (lambda: print, "builtin_function_or_method in 'state.0.odd'"),
    ],
)
def test_a_state_of_another_kind_is_refused_before_the_first_step(value, found):
    model = nn.Linear(2, 2)
    optimizer = Odd(model.parameters(), lr=0.1)
    optimizer.value = value
    with pytest.raises(RunError) as caught:
        refuse_unknown(optimizer)
    assert str(caught.value) == (
        f"a checkpoint cannot hold the state of the optimiser Odd; found {found}, "
        f"expected a tensor, number, string, boolean, None, or a list without tensors. {ANOTHER}"
    )
    assert not optimizer.state


@pytest.mark.parametrize(
    "value",
    [None, True, 7, -0.0, float("inf"), float("-inf"), "word", (1, 2.5, None), [1, "a"], [], ()],
    ids=repr,
)
def test_a_plain_entry_comes_back_as_it_was(value, tmp_path):
    model = nn.Linear(2, 2)
    optimizer = Odd(model.parameters(), lr=0.1)
    optimizer.value = lambda: value
    refuse_unknown(optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors, rest = flatten(optimizer, names_of(model))
    folder = checkpoint.begin(tmp_path, 0)
    checkpoint.write_tensors(folder, "optimizer", tensors)
    checkpoint.write_json(folder, "optimizer", rest)
    checkpoint.publish(folder, about={})
    found = checkpoint.find(tmp_path)
    other = Odd(model.parameters(), lr=0.2)
    restore(other, names_of(model), found.tensors("optimizer"), found.json("optimizer"))
    back = other.state[model.weight]["odd"]
    assert (repr(back), type(back)) == (repr(value), type(value))
    assert other.param_groups[0]["lr"] == 0.1


class Hidden(torch.optim.SGD):
    """Counts its steps where no checkpoint looks."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            group["lr"] = 0.1 / self.count
        super().step(closure)


def test_what_is_kept_outside_the_state_is_seen():
    optimizer = Hidden(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(RunError, match=r"^the optimiser Hidden keeps something that a checkpoint"):
        refuse_unknown(optimizer)
    assert optimizer.count == 0


def test_an_optimiser_that_needs_more_than_gradients_is_refused():
    optimizer = torch.optim.LBFGS(nn.Linear(2, 2).parameters())
    with pytest.raises(RunError, match=r"^the optimiser LBFGS cannot be tried out: TypeError: .*"):
        refuse_unknown(optimizer)


def test_a_parameter_that_the_network_has_not_is_refused():
    optimizer = torch.optim.SGD([*nn.Linear(2, 2).parameters()], lr=0.1)
    with pytest.raises(RunError) as caught:
        flatten(optimizer, {})
    assert str(caught.value) == "the optimiser SGD holds what is no parameter of the network"
    optimizer.state["global"] = {"step": 1}
    with pytest.raises(RunError, match="holds what is no parameter"):
        flatten(optimizer, names_of(nn.Linear(2, 2)))


# --- restoring ------------------------------------------------------------------------------------


def saved() -> tuple[nn.Module, dict[str, torch.Tensor], dict]:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, *flatten(optimizer, names_of(model))


def test_the_form_of_a_saved_state():
    """Checkpoints outlive a version of segzoo: names and forms are a promise."""
    _, tensors, rest = saved()
    assert sorted(tensors) == ["state.bias.momentum_buffer", "state.weight.momentum_buffer"]
    assert rest["optimizer"] == "SGD"
    assert rest["state"] == {
        name: {"momentum_buffer": {"tensor": f"state.{name}.momentum_buffer"}}
        for name in ("weight", "bias")
    }
    [group] = rest["groups"]
    assert group["params"] == ["weight", "bias"]
    assert group["options"] == {
        "lr": 0.1,
        "momentum": 0.9,
        "dampening": 0,
        "weight_decay": 0,
        "nesterov": False,
        "maximize": False,
        "differentiable": False,
    }


def test_how_to_compute_stays_this_machines_own():
    model, tensors, rest = saved()
    rest["groups"][0]["options"] |= {"fused": True, "foreach": True, "params": ["weight"]}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5, foreach=False)
    restore(optimizer, names_of(model), tensors, rest)
    [group] = optimizer.param_groups
    assert (group["fused"], group["foreach"], group["momentum"]) == (None, False, 0.9)
    assert group["params"] == [*model.parameters()]


@pytest.mark.parametrize(
    ("kept", "now"),
    [
        ("sgd", "sgd-momentum"),
        ("sgd-momentum", "sgd"),
        ("adam", "adam-amsgrad"),
        ("adam-amsgrad", "adam"),
    ],
)
def test_what_is_kept_is_judged_by_the_options_it_was_kept_with(kept, now):
    """A run may go on from what another recipe's options left; they hold from then on."""
    before, after = network(), network()
    one, other = TORCH[kept](before), TORCH[now](after)
    train(before, one, X[:3])
    after.load_state_dict(before.state_dict())
    restore(other, names_of(after), *flatten(one, names_of(before)), judged=True)
    train(before, one, X[3:])
    train(after, other, X[3:])
    for ours, theirs in zip(after.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_restored_state_is_a_copy():
    model, tensors, rest = saved()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    restore(optimizer, names_of(model), tensors, rest)
    before = bits(tensors)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"].fill_(7)
    assert bits(tensors) == before


def without(key):
    return lambda rest: rest.pop(key)


def put(*path):
    *keys, last, value = path

    def change(rest):
        for key in keys:
            rest = rest[key]
        rest[last] = value

    return change


STATE = "the optimiser's state"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("groups"), f"{STATE} is not as it was written"),
        (put("state", []), f"{STATE} is not as it was written"),
        (put("optimizer", "Adam"), "a state of another optimiser; found Adam, expected SGD"),
        (
            put("groups", []),
            f"{STATE} has another number of parameter groups; found 0, expected 1",
        ),
        (put("groups", 0, []), f"group 0 of {STATE} is not as it was written"),
        (
            put("groups", 0, "params", ["weight"]),
            f"group 0 of {STATE} has other parameters; found a difference in 'bias'",
        ),
        (
            put("groups", 0, "params", ["bias", "weight"]),
            f"group 0 of {STATE} has other parameters; found another order",
        ),
        (
            put("groups", 0, "options", "lr", {"object": "x"}),
            f"{STATE}, group 0, 'lr', is not as it was written",
        ),
        (
            put("groups", 0, "options", "lr", {"dtype": "load"}),
            f"{STATE}, group 0, 'lr', is not as it was written",
        ),
        (
            put("groups", 0, "options", "lr", {"tensor": "none"}),
            f"{STATE}, group 0, 'lr', is not as it was written",
        ),
        (put("state", "other", {}), f"{STATE} of 'other' is not as it was written"),
        (put("state", "bias", 1), f"{STATE} of 'bias' is not as it was written"),
        (
            put("state", "bias", {}),
            "the optimiser's tensor 'state.bias.momentum_buffer' is not as it was written",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    model, tensors, rest = saved()
    change(rest)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        restore(optimizer, names_of(model), tensors, rest)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert not optimizer.state


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": True}, {"capturable": True}])
def test_on_a_gpu_each_tensor_comes_back_to_its_device(options):
    refuse_unknown(torch.optim.Adam(network().cuda().parameters(), **options))
    states = []
    for steps in (3, 2):
        model = network().cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **options)
        train(model, optimizer, X[:steps].cuda())
        states.append((model, optimizer))
    (model, optimizer), (other, target) = states
    tensors, rest = flatten(optimizer, names_of(model))
    restore(target, names_of(other), {k: v.cpu() for k, v in tensors.items()}, rest)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for key, value in optimizer.state[ours].items():
            back = target.state[theirs][key]
            assert (back.device, back.stride()) == (value.device, value.stride())
            assert torch.equal(back, value)
