"""The networks and losses against their sources' own numbers, on the module that users get.

The goldens hold the outputs of the sources' code, run in float64 on weights that a formula
recreates (tests/support/filler.py): logits, or probabilities where a sigmoid ends the source's
network.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from originals import Goldens
from segzoo_unet import loss
from segzoo_unet.model import (
    CANVAS,
    CANVAS_TOP_LEFT,
    DICE,
    MRGIOVANNI,
    PAPER,
    SLIM,
    SLIM_3X,
    STRIDED,
    UNET,
    VGGBLOCK,
    ZHIXUHAO,
    UNet,
)
from torch import nn

import segzoo
from segzoo.model import build, configured, profile
from segzoo.model.load import find_spec
from segzoo.predict.preprocess import network_size

GOLDENS = Goldens(Path(__file__).parent / "goldens")

#                         model              options of segzoo.load
CASES = {  # those with parameters in common stand together
    "unet_milesial": ("unet", {}),
    "unet_milesial_bilinear": ("unet", {"bilinear": True}),
    "unet_vggblock": ("unet_vggblock", {}),
    "pytorch_unet": ("unet_strided", {}),
    "valid_unet": ("unet_canvas", {"placement": "top_left"}),
    "unet_zhixuhao": ("unet_zhixuhao", {}),
    "unet_paper": ("unet_paper", {}),
    "unet_paper_caffe": ("unet_paper", {"released": True}),
    "keras_unet": ("unet_dice", {}),
    "unet_mrgiovanni": ("unet_mrgiovanni", {}),
    "tfslim_unet_1x": ("unet_slim", {}),
    "tfslim_unet_3x": ("unet_slim_3x", {}),
}
SIGMOID = {"unet_mrgiovanni", "unet_zhixuhao", "keras_unet", "pytorch_unet"}  # of the output "out"


@lru_cache(maxsize=1)
def network_of(case):
    model, options = CASES[case]
    return segzoo.load(model, pretrained=False, **options).network


@lru_cache(maxsize=1)
def filled(case, base):
    return GOLDENS.filled(network_of(case), case, base)


# The sine's outputs hardly depend on the deep weights (see filler.py): a second look, if asked.
RUNS = [
    pytest.param(case, base, shape, marks=[pytest.mark.slow] if base == "sin" else [])
    for case in CASES
    for base in ("mix", "sin")
    for shape in GOLDENS.manifest(case)["fillers"][base]
]


@pytest.mark.parametrize(("case", "base", "shape"), RUNS)
def test_outputs_equal_the_source(case, base, shape):
    rows = GOLDENS.manifest(case)
    with torch.inference_mode():
        logits = filled(case, base)(GOLDENS.input(shape))

    # The source's own loss in float32, times three, is a fair bound; logits are ten times coarser.
    own_error = rows["fillers"][base][shape]["fp32_vs_fp64_max_abs_diff"]
    tolerance = max(1e-5, 3 * own_error)
    keys = [key for key in rows["outputs"] if key.startswith(f"{base}/{shape}/")]
    assert len(keys) == (2 if "logits" in str(keys) else 1)
    for key in keys:
        output = key.rpartition("/")[2]
        probable = output == "out" and case in SIGMOID
        got, bound = (logits.sigmoid(), tolerance) if probable else (logits, 10 * tolerance)
        GOLDENS.assert_close(case, shape, output, got, bound, base)


@pytest.mark.parametrize("case", CASES)
def test_parameters_and_macs(case):
    rows = GOLDENS.manifest(case)
    model, options = CASES[case]
    _, spec = find_spec(model)
    assert (
        configured.variant_of(spec, options_of(spec) | options).num_parameters
        == (rows["param_count"]["trainable"])
    )
    for shape, macs in rows.get("macs", {}).items():
        size = tuple(map(int, shape.split("x")))
        *_, whole = profile.stages(lambda: build.build(spec, options=options), size)
        assert whole.parameters == rows["param_count"]["trainable"]
        assert whole.macs == macs


def options_of(spec):
    return {name: option.default for name, option in spec.options.items()}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        *(
            (model, {option: on, "width": width})
            for model, option in (("unet", "bilinear"), ("unet_paper", "released"))
            for on in (False, True)
            for width in (1, 2, 5, 48, 96)
        ),
        *(
            (model, {"width": width})
            for model in ("unet_vggblock", "unet_mrgiovanni", "unet_wide")
            for width in (1, 9, 40)
        ),
        *(
            ("unet_dice", {"dropout": dropout, "batch_norm": batch_norm})
            for dropout in (False, True)
            for batch_norm in (False, True)
        ),
    ],
)
def test_variants_count_their_parameters(model, options):
    _, spec = find_spec(model)
    assert parameters(spec, options=options) == (
        configured.variant_of(spec, options_of(spec) | options).num_parameters
    )


def parameters(spec, **wishes):
    with torch.device("meta"):
        return sum(p.numel() for p in build.build(spec, **wishes).parameters())


def test_numbers_of_the_unet_plus_plus_repository():
    """MrGiovanni/UNetPlusPlus at 2659ddc, comments of U_Net and wU_Net, for one channel."""
    models = ("unet_mrgiovanni", "unet_wide")
    counts = [parameters(find_spec(model)[1], in_channels=1) for model in models]
    assert counts == [7_759_521, 9_282_246]


# --- geometry -------------------------------------------------------------------------------------


def narrow(variant, **changes):
    """A variant with one or two channels where it has 64: its geometry without its weight."""
    torch.manual_seed(0)
    return UNet(replace(variant, width=2, **changes), 1, 1).eval()


def test_the_paper_takes_sides_of_16_m_plus_12_from_188():
    """Section 2: every pooling must see an even side. Figure 1: 572 gives 388, so 92 are eaten."""
    network = narrow(PAPER)
    with torch.inference_mode():
        for side in range(170, 225):
            x = torch.zeros(1, 1, side, 188)
            sides = [side]  # before each pooling, after the two convolutions of a stage
            for _ in range(4):
                sides.append((sides[-1] - 4) / 2)
            if side >= 188 and all(s % 1 == 0 for s in sides):
                assert (side - 12) % 16 == 0
                assert network(x).shape == (1, 1, side - 184, 4)
            else:
                with pytest.raises(ValueError, match=rf"^x of height {side} and width 188: "):
                    network(x)
        assert network(torch.zeros(1, 1, 572, 188)).shape == (1, 1, 388, 4)
    with pytest.raises(ValueError) as caught:
        network(torch.zeros(1, 1, 188, 200))
    assert str(caught.value) == (
        "x of height 188 and width 200: this U-Net takes sides of 188 + 16 * n"
    )


def test_the_preprocessing_of_the_paper_asks_for_nothing_else():
    preprocess = find_spec("unet_paper")[1].preprocess
    for side in range(1, 200):
        x, _ = network_size(side, 1, preprocess)
        assert x >= max(188, side + 184)
        assert (x - 12) % 16 == 0


def test_tiles_of_the_paper_are_the_whole():
    """Figure 2, overlap-tile: what a tile gives is what the whole picture gives there."""
    network = narrow(PAPER)
    x = torch.rand(1, 1, 236, 220)
    with torch.inference_mode():
        whole, tile = network(x), network(x[..., 32 : 32 + 188, 16 : 16 + 204])
    torch.testing.assert_close(tile, whole[..., 32 : 32 + 4, 16 : 16 + 20], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "least"),
    [(UNET, 16), (VGGBLOCK, 16), (ZHIXUHAO, 16), (STRIDED, 1), (SLIM, 1), (CANVAS, 140)],
)
def test_other_variants_take_any_side_from_their_least(variant, least):
    network = narrow(variant)
    eaten = 8 if variant is CANVAS else 0
    with torch.inference_mode():
        for side in range(least, least + 17):
            x = torch.rand(1, 1, side, least + 7)
            assert network(x).shape == (1, 1, side - eaten, least + 7 - eaten)
    if least > 1:
        with pytest.raises(ValueError) as caught:
            network(torch.rand(1, 1, least, least - 1))
        assert str(caught.value) == (
            f"x of height {least} and width {least - 1}: this U-Net takes sides of at least {least}"
        )


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (17, 3), (33, 40)])
def test_three_times_the_size(size):
    h, w = size
    with torch.inference_mode():
        assert narrow(SLIM_3X)(torch.rand(2, 1, h, w)).shape == (2, 1, 3 * h, 3 * w)


def test_the_canvas_is_centred_unless_the_article_is_wanted():
    """Mirrored kernels on a mirrored picture give the mirrored map, if the canvas has a centre."""
    x = torch.rand(1, 1, 156, 156, dtype=torch.float64)
    for variant, centred in ((CANVAS, True), (CANVAS_TOP_LEFT, False)):
        network, mirrored = narrow(variant).double(), narrow(variant).double()
        mirrored.load_state_dict(
            {k: v.flip(-2, -1) if v.ndim == 4 else v for k, v in network.state_dict().items()}
        )
        with torch.inference_mode():
            difference = mirrored(x.flip(-2, -1)).flip(-2, -1) - network(x)
        assert (difference.abs().max() < 1e-9) == centred


def test_the_canvas_needs_what_its_preprocessing_gives():
    preprocess = find_spec("unet_canvas")[1].preprocess
    assert preprocess.remainder == CANVAS.least
    assert network_size(1, 1, preprocess)[0] >= CANVAS.least


@pytest.mark.parametrize("model", ["unet", "unet_paper"])
@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 1), (3, 2), (4, 21), (3, 1)])
def test_pictures_of_any_size_give_masks_of_theirs(model, in_channels, num_classes):
    loaded = segzoo.load(model, width=2, in_channels=in_channels, num_classes=num_classes)
    pictures = [torch.zeros(*size, 3).byte().numpy() for size in ((1, 1), (1, 40), (37, 53))]
    masks = [prediction.mask for prediction in loaded.predict(pictures)]
    assert [mask.shape for mask in masks] == [picture.shape[:2] for picture in pictures]


# --- dropout, normalisation, initial values -------------------------------------------------------


def dropouts(network):
    return {n: m.p for n, m in network.named_modules() if isinstance(m, nn.Dropout)}


def test_dropout_stands_where_the_sources_have_it():
    """Section 3.1 of the paper: at the end of the contracting path. The article on `unet_dice` has
    0.25 after the first pooling, 0.5 after the others, the concatenations and the last block."""
    deep = {"encoder.3.block.dropout2": 0.5, "encoder.4.block.dropout2": 0.5}
    stages = [f"encoder.{i}" for i in range(5)] + [f"decoder.{i}" for i in range(4)]

    def everywhere(first, second):
        pairs = ((f"{s}.block.dropout{n}", p) for s in stages for n, p in ((1, first), (2, second)))
        return dict(pairs)

    assert dropouts(narrow(PAPER)) == dropouts(narrow(ZHIXUHAO)) == deep
    assert dropouts(narrow(MRGIOVANNI)) == everywhere(0.5, 0.5)
    assert dropouts(narrow(STRIDED)) == everywhere(0.3, 0.4)
    assert dropouts(narrow(UNET)) == dropouts(narrow(DICE)) == {}
    entries = {f"{s}.block.entry_dropout": 0.5 for s in stages[1:]}
    entries |= {"encoder.1.block.entry_dropout": 0.25, "decoder.3.block.dropout2": 0.5}
    assert dropouts(build.build(find_spec("unet_dice")[1], options={"dropout": True})) == entries


def test_options_of_unet_dice_keep_the_names_of_its_parameters():
    _, spec = find_spec("unet_dice")
    with torch.device("meta"):
        plain, dropout, norm = (
            set(build.build(spec, options=options).state_dict())
            for options in ({}, {"dropout": True}, {"batch_norm": True})
        )
    assert plain == dropout
    assert plain < norm
    assert all(".entry_norm." in name for name in norm - plain)


def test_initial_weights_are_those_of_he_where_nothing_is_normalised():
    """A Gaussian of variance 2 / N, with N the inputs of one output; biases zero."""
    torch.manual_seed(0)
    network = UNet(replace(PAPER, width=16), 3, 2)
    inputs = {
        "encoder.1.block.conv1": 9 * 16,
        "encoder.4.block.conv2": 9 * 256,
        "decoder.0.up.conv": 256,
        "decoder.0.block.conv1": 9 * 256,
    }
    for name, n in inputs.items():
        module = network.get_submodule(name)
        assert module.weight.std().item() == pytest.approx((2 / n) ** 0.5, rel=0.03)
        assert module.bias.abs().max() == 0


# --- losses ---------------------------------------------------------------------------------------


def keras_losses():
    stored = GOLDENS.tensors("losses_keras")
    return GOLDENS.manifest("losses_keras")["results"], {k: v.double() for k, v in stored.items()}


def logit(probabilities):
    """As the sources clamp: no logit beyond 100."""
    return probabilities.logit().clamp(-100, 100)


def test_dice_equals_keras():
    results, stored = keras_losses()
    truth, given = (stored[name].permute(0, 3, 1, 2) for name in ("y_true", "y_pred"))

    def dice(p, t, factory=loss.dice):
        return factory()(logit(p), {"target": t}).item()

    nothing = torch.zeros_like(truth)
    assert dice(given, truth) == pytest.approx(results["dice_coef_loss"], abs=1e-7)
    assert 1 + dice(given, truth) == pytest.approx(results["unetpp_dice_coef_loss"], abs=1e-7)
    assert dice(nothing, nothing) == pytest.approx(-results["empty_both_dice"], abs=1e-7)
    assert dice(given, nothing) == pytest.approx(-results["empty_truth_dice"], abs=1e-7)
    both = dice(given, truth, loss.bce_dice)
    # Keras adds 1e-7 inside its logarithms.
    assert both == pytest.approx(results["unetpp_bce_dice_loss_mean"], abs=1e-6)


def test_cross_entropy_equals_keras():
    results, stored = keras_losses()
    logits = stored["probs"].permute(0, 3, 1, 2).clamp(1e-7, 1 - 1e-7).log()  # as Keras does
    value = loss.cross_entropy()(logits, {"target": stored["labels"].long()})
    assert value.item() == pytest.approx(results["categorical_crossentropy_mean"], abs=1e-6)


LOSSES = (loss.cross_entropy, loss.bce, loss.dice, loss.bce_dice)


def batch_for(factory, *, seed=0, size=(6, 7)):
    """Logits (2, 3, H, W) and a batch, the target of the loss's own kind."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    shape = (2, *size) if factory is loss.cross_entropy else (2, 3, *size)
    target = torch.randint(3 if factory is loss.cross_entropy else 2, shape, generator=generator)
    return logits, {"target": target}


def value_and_gradient(factory, logits, batch):
    logits = logits.clone().requires_grad_()
    value = factory()(logits, batch)
    value.backward()
    return value.detach(), logits.grad


@pytest.mark.parametrize("factory", LOSSES)
def test_ignored_pixels_change_nothing(factory):
    logits, batch = batch_for(factory)
    batch["target"][..., :3, :] = 255
    value, gradient = value_and_gradient(factory, logits, batch)
    other = logits.clone()
    other[..., :3, :] = torch.randn(other[..., :3, :].shape, dtype=other.dtype) * 50
    assert torch.equal(factory()(other, batch), value)
    assert not gradient[..., :3, :].any()
    assert gradient[..., 3:, :].all()
    cut = {"target": batch["target"][..., 3:, :]}
    torch.testing.assert_close(factory()(logits[..., 3:, :], cut), value)


@pytest.mark.parametrize("factory", LOSSES)
def test_nothing_counted_gives_zero(factory):
    logits, batch = batch_for(factory)
    ignored = {"target": torch.full_like(batch["target"], 255)}
    for empty in (ignored, batch | {"weight": torch.zeros(2, 6, 7, dtype=torch.float64)}):
        value, gradient = value_and_gradient(factory, logits, empty)
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("factory", LOSSES)
def test_a_weight_counts_a_pixel_so_often(factory):
    logits, batch = batch_for(factory, size=(1, 5))
    times = torch.tensor([1, 3, 0, 2, 1])
    weight = times.expand(2, 1, 5).double()
    repeated = {"target": batch["target"].repeat_interleave(times, dim=-1)}
    torch.testing.assert_close(
        factory()(logits, batch | {"weight": weight}),
        factory()(logits.repeat_interleave(times, dim=-1), repeated),
    )


@pytest.mark.parametrize("factory", LOSSES)
def test_classes_have_no_order(factory):
    logits, batch = batch_for(factory)
    order = torch.tensor([2, 0, 1])
    target = batch["target"]
    moved = order.argsort()[target] if target.ndim == 3 else target[:, order]
    value = factory()(logits, batch)
    torch.testing.assert_close(factory()(logits[:, order], {"target": moved}), value)


@pytest.mark.parametrize("factory", LOSSES)
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float32, 1e4), (torch.bfloat16, 1e4), (torch.bfloat16, 1)]
)
def test_losses_stay_finite(factory, dtype, size):
    logits, batch = batch_for(factory)
    value, gradient = value_and_gradient(factory, (size * logits).to(dtype), batch)
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert gradient.isfinite().all()


@pytest.mark.parametrize("factory", LOSSES[1:])
def test_one_class_takes_a_target_without_its_channel(factory):
    logits, batch = batch_for(factory)
    one, target = logits[:, :1], batch["target"][:, :1]
    assert torch.equal(factory()(one, {"target": target[:, 0]}), factory()(one, {"target": target}))
