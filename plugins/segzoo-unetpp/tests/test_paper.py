"""The networks against the original codes' numbers, on the module that users get.

The goldens hold what pytorch-nested-unet at 557ea02 (`unetpp`, `unetpp_single`) and the authors'
Keras network at 2659ddc (`unetpp_official`) give in float64 on weights that a formula recreates
(tests/support/filler.py), and what their losses give.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from originals import Goldens
from segzoo_unetpp.model import mean_logits

import segzoo
from segzoo.errors import ConfigError
from segzoo.model import build, configured, profile
from segzoo.model.load import find_spec

GOLDENS = Goldens(Path(__file__).parent / "goldens")
README = Path(__file__).parents[1] / "README.md"

#        case               model              options of segzoo.load
CASES = {
    "unetpp": ("unetpp", {}),
    "unetpp_single": ("unetpp", {"num_classes": 2, "deep_supervision": False}),
    "unetpp_official": ("unetpp_official", {}),
}
MODELS = ("unetpp", "unetpp_official")


@cache
def filled(case, base):
    model, options = CASES[case]
    return GOLDENS.filled(segzoo.load(model, pretrained=False, **options).network, case, base)


@pytest.mark.parametrize("base", ["mix", "sin"])
@pytest.mark.parametrize("case", CASES)
def test_every_head_equals_the_original_code(case, base):
    rows = GOLDENS.manifest(case)
    own_error = rows["fillers"][base]["1x3x64x64"]
    with torch.inference_mode():
        heads = filled(case, base)(GOLDENS.input("1x3x64x64"), all_heads=True)

    if case == "unetpp_single":
        outputs = {"out": heads[0]}
    else:
        outputs = {f"head{number}": head for number, head in zip((4, 3, 2, 1), heads, strict=True)}
    # The original's own loss in float32, times three, is a fair bound; 1e-5 at least.
    tolerance = max(1e-5, 3 * own_error["fp32_vs_fp64_max_abs_diff"])
    if case == "unetpp_official":  # Keras gives probabilities; the logits before them are kept too
        outputs |= {f"{name}_logits": head for name, head in outputs.items()}
        outputs |= {name: head.sigmoid() for name, head in outputs.items() if len(name) == 5}
        tolerance = max(tolerance, 3 * own_error["logits_fp32_vs_fp64_max_abs_diff"])

    keys = {key for key in rows["outputs"] if key.startswith(base)}
    assert keys == {f"{base}/1x3x64x64/{name}" for name in outputs}
    for name, got in outputs.items():
        GOLDENS.assert_close(case, "1x3x64x64", name, got, tolerance, base)


@pytest.mark.parametrize("case", CASES)
def test_parameters_and_macs(case):
    rows = GOLDENS.manifest(case)
    model, wanted = CASES[case]
    _, spec = find_spec(model)
    options = {name: value for name, value in wanted.items() if name in spec.options}
    *_, whole = profile.stages(
        lambda: build.build(spec, num_classes=wanted.get("num_classes"), options=options),
        (1, 3, 64, 64),
    )
    assert whole.parameters == rows["param_count"]["trainable"]
    if "macs" in rows:  # the Keras case has none
        assert whole.macs == rows["macs"]["1x3x64x64"]


def test_the_authors_own_count():
    """Their code says "Total params: 9,041,601" of one gray channel and the deepest head alone."""
    network = segzoo.load("unetpp_official", in_channels=1, deep_supervision=False).network
    assert sum(p.numel() for p in network.parameters()) == 9_041_601


# --- depth, width, modes --------------------------------------------------------------------------


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("width", [1, 8, 32])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("model", MODELS)
def test_what_the_spec_says_of_every_depth_and_width(model, depth, width, deep_supervision):
    _, spec = find_spec(model)
    options = {"depth": depth, "width": width, "deep_supervision": deep_supervision}
    defaults = {name: option.default for name, option in spec.options.items()}
    said = configured.variant_of(spec, defaults | options)
    with torch.device("meta"):
        network = build.build(spec, options=options)
    assert said.num_parameters == sum(p.numel() for p in network.parameters())
    assert said.preprocess.multiple_of == 2**depth
    if deep_supervision and width == 32:
        row = next(r for r in README.read_text().splitlines() if r.startswith(f"| {depth} |"))
        assert f"{said.num_parameters:,}" in row


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("case", ["unetpp", "unetpp_official"])
def test_a_shallower_network_is_a_part_of_the_deep_one(case, depth):
    deep = filled(case, "mix")
    shallow = segzoo.load(case, depth=depth).network
    state = deep.state_dict()
    assert shallow.state_dict().keys() < state.keys()
    shallow.load_state_dict({name: state[name] for name in shallow.state_dict()})
    x = GOLDENS.input("1x3x32x48")
    with torch.inference_mode():
        heads, all_heads = shallow(x, all_heads=True), deep(x, all_heads=True)
    assert len(heads) == depth
    for got, want in zip(heads, all_heads[-depth:], strict=True):
        assert torch.equal(got, want)


def test_without_deep_supervision_the_head_is_the_deepest():
    """So weights trained with one head are no weights of a shallower network."""
    names = {depth: _heads(deep_supervision=False, depth=depth) for depth in (2, 4)}
    assert names == {2: ["2"], 4: ["4"]}
    assert _heads(depth=3) == ["1", "2", "3"]


def _heads(**options):
    return list(segzoo.load("unetpp", width=1, **options).network.heads)


def test_a_size_that_cannot_be_halved_so_often_is_refused():
    network = segzoo.load("unetpp", width=1).network
    message = (
        "UNet++ of depth 4 takes sizes that are multiples of 16, not 48x40; "
        "pad the input, as predict does"
    )
    with pytest.raises(ValueError) as error:
        network(torch.zeros(1, 3, 48, 40))
    assert str(error.value) == message
    assert segzoo.load("unetpp", width=1, depth=3).network(torch.zeros(1, 3, 48, 40)).ndim == 4


def test_wrong_options_are_told_together():
    with pytest.raises(ConfigError) as error:
        segzoo.load("unetpp", depth=5, width=0, deep_supervision=1, mode="slow", dropout=0.5)
    for fault in (
        "depth is 5, above 4",
        "width is 0, below 1",
        "deep_supervision is 1 (int), not a value of type bool",
        "mode is 'slow', not one of 'fast', 'accurate', 'accurate_multilabel'",
        "'dropout' is not an option",
    ):
        assert fault in str(error.value)


X = GOLDENS.input("2x3x16x32")


@pytest.mark.parametrize("model", MODELS)
def test_heads_in_training_and_on_request(model):
    network = segzoo.load(model, width=2, seed=0).network
    with torch.inference_mode():
        alone, heads = network(X), network(X, all_heads=True)
    assert alone.shape == (2, 1, 16, 32)
    assert torch.equal(alone, heads[0])
    assert [h.shape for h in heads] == [alone.shape] * 4
    assert len(network.train()(X)) == 4
    single = segzoo.load(model, width=2, deep_supervision=False).network.train()
    assert single(X).shape == alone.shape
    assert len(single(X, all_heads=True)) == 1


@pytest.mark.parametrize(
    ("mode", "num_classes", "probabilities"),
    [
        ("accurate", 1, torch.sigmoid),
        ("accurate", 3, lambda logits: logits.softmax(1)),
        ("accurate_multilabel", 3, torch.sigmoid),
    ],
)
def test_the_accurate_mode_is_the_mean_of_the_heads(mode, num_classes, probabilities):
    options = {"width": 2, "num_classes": num_classes, "seed": 0}
    fast = segzoo.load("unetpp", **options).network
    accurate = segzoo.load("unetpp", mode=mode, **options).network
    with torch.inference_mode():
        for head in (*fast.heads.values(), *accurate.heads.values()):
            head.weight.mul_(10)  # heads that differ
        heads, (mean, *same) = fast(X, all_heads=True), accurate(X, all_heads=True)
        assert torch.equal(accurate(X), mean)
    assert all(map(torch.equal, heads, same))
    want = torch.stack([probabilities(h) for h in heads]).mean(0)
    assert (want - probabilities(heads[0])).abs().max() > 0.01
    torch.testing.assert_close(probabilities(mean), want, rtol=1e-5, atol=1e-6)
    assert len(accurate.train()(X)) == 4  # the mean itself is not trained


def test_the_mean_of_extreme_heads_is_finite():
    heads = [torch.full((1, 2, 1, 1), value) for value in (1e4, -1e4, 1e4)]
    assert mean_logits(heads, overlap=True).sigmoid().flatten().tolist() == pytest.approx(
        [2 / 3] * 2
    )
    assert mean_logits(heads, overlap=False).softmax(1).flatten().tolist() == [0.5, 0.5]


def test_dropout_is_an_option_of_the_official_network_and_acts_in_training():
    network = segzoo.load("unetpp_official", width=2, seed=0).network.train()
    assert not torch.equal(network(X)[0], network(X)[0])
    network = segzoo.load("unetpp_official", width=2, seed=0, dropout=0.0).network.train()
    assert torch.equal(network(X)[0], network.eval()(X))
