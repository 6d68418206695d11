"""The promises that every plugin keeps: each decoder with a light encoder, and with five more."""

from dataclasses import replace

import pytest

from segzoo.model import configured
from segzoo.model.load import find_spec
from segzoo.testing import assert_keeps_contract

# One light encoder, then five of as many kinds as the decoder takes.
CNNS = ("resnet18", "mobilenet_v2", "tu-convnext_atto", "tu-regnety_002")
ENCODERS = {
    "smp_deeplabv3": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_deeplabv3plus": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_dpt": (
        "tu-vit_tiny_patch16_224",
        "tu-vit_small_patch32_224",
        "tu-deit_tiny_distilled_patch16_224",
        "tu-swin_tiny_patch4_window7_224",
        "tu-convnext_atto",
        "tu-resnet18",
    ),
    "smp_fpn": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_linknet": ("tu-mobilenetv3_small_050", *CNNS, "vgg11"),
    "smp_manet": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_pan": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_pspnet": ("tu-mobilenetv3_small_050", *CNNS, "vgg11"),
    "smp_segformer": ("mit_b0", *CNNS, "tu-swin_tiny_patch4_window7_224"),
    "smp_unet": ("tu-mobilenetv3_small_050", *CNNS, "mit_b0"),
    "smp_unetplusplus": ("tu-mobilenetv3_small_050", *CNNS, "vgg11"),
    "smp_upernet": ("tu-mobilenetv3_small_050", *CNNS, "tu-swin_tiny_patch4_window7_224"),
}


def with_encoder(model, encoder):
    """The spec of a model as if this encoder were its default."""
    _, spec = find_spec(model)
    options = {name: option.default for name, option in spec.options.items()}
    variant = configured.variant_of(spec, options | {"encoder": encoder})
    chosen = replace(spec.options["encoder"], default=encoder)
    return replace(variant, options=dict(spec.options) | {"encoder": chosen})


@pytest.mark.parametrize("model", ["smp_deeplabv3plus", "smp_unet"])
def test_contract(model):
    assert_keeps_contract(with_encoder(model, ENCODERS[model][0]))


@pytest.mark.slow
def test_contract_of_what_is_installed():
    assert_keeps_contract("segzoo-smp/smp_segformer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "encoder"),
    [(m, encoder) for m, encoders in ENCODERS.items() for encoder in encoders[1:]],
)
def test_five_encoders_of_each_decoder(model, encoder):
    assert_keeps_contract(with_encoder(model, encoder))


@pytest.mark.slow
@pytest.mark.parametrize("model", ENCODERS)
def test_the_whole_contract(model):
    assert_keeps_contract(with_encoder(model, ENCODERS[model][0]), slow=True)
