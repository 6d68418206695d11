"""The network against the article's own numbers, on the module that users get.

The goldens hold what the article's Keras code gives in float64 on weights that a formula recreates
(tests/support/filler.py): logits and probabilities for a picture of 224x224; what its loading makes
of a picture and a trimap; and its loss.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from originals import Goldens
from PIL import Image
from safetensors.torch import save_file
from segzoo_fcn_vgg16.spec import CLASSES
from torch import nn

import segzoo
from segzoo.engine import recipes
from segzoo.errors import ConfigError, WeightsMismatchError, WeightsMissingError
from segzoo.model import build, profile
from segzoo.model.load import find_spec
from segzoo.pictures import codec, palettes
from segzoo.pictures.resample import resize
from segzoo.predict.preprocess import prepare
from segzoo.zoo import registry

GOLDENS = Goldens(Path(__file__).parent / "goldens")
MODEL = "fcn_vgg16"
SHAPE = "1x3x224x224"


@cache
def filled():
    """The network, its parameters recreated.

    With the formula's other filler, the sine, this network resonates: the original itself loses
    four thousandths of a logit in float32. So it has one.
    """
    return GOLDENS.filled(segzoo.load(MODEL, pretrained=False).network, MODEL)


def test_the_output_equals_the_article():
    own_error = GOLDENS.manifest(MODEL)["fillers"]["mix"][SHAPE]
    with torch.inference_mode():
        logits = filled()(GOLDENS.input("1x3x224x224"))

    # The original's own loss in float32, times three, is a fair bound; 1e-5 at least.
    for output, got, error in (
        ("logits", logits, own_error["logits_fp32_vs_fp64_max_abs_diff"]),
        ("out", logits.softmax(1), own_error["fp32_vs_fp64_max_abs_diff"]),
    ):
        GOLDENS.assert_close(MODEL, SHAPE, output, got, max(1e-5, 3 * error))


def test_parameters_and_macs():
    rows = GOLDENS.manifest(MODEL)
    _, spec = find_spec(MODEL)
    *_, whole = profile.stages(lambda: build.build(spec), (1, 3, 224, 224))
    assert whole.parameters == rows["param_count"]["trainable"] == spec.num_parameters
    assert whole.macs == rows["macs"][SHAPE]
    trained = [p.numel() for n, p in filled().named_parameters() if not n.startswith(spec.frozen)]
    assert sum(trained) == rows["param_count"]["trainable_in_source"]


def test_a_size_that_cannot_be_halved_five_times_is_refused():
    with pytest.raises(ValueError) as caught:
        filled()(torch.zeros(1, 3, 64, 50))
    assert str(caught.value) == (
        "this FCN takes sizes that are multiples of 32, not 64x50; pad the input, as predict does"
    )


# --- pictures -------------------------------------------------------------------------------------


def shrunk(preprocess):
    """The goldens have 12x12 where the article has 224x224; 12 is not a multiple of 32."""
    return replace(preprocess, size=(12, 12), multiple_of=1)


@pytest.mark.parametrize(
    ("given", "wanted"), [("image", "image_out"), ("image_40x50", "image_40x50_down_12")]
)
def test_pixels_of_the_article_equal_its_own(given, wanted):
    stored = GOLDENS.tensors("preproc_fcn")
    picture = codec.read(Image.fromarray(stored[given].numpy()))
    model = segzoo.load(MODEL, pixels="0..255")
    x, _ = prepare(picture, shrunk(model.preprocess), 3)
    deviation = np.abs(x - stored[wanted].permute(2, 0, 1).numpy()).max()
    print(f"{wanted}: largest deviation {deviation:.1e} of 255")
    assert deviation <= 2e-4  # of float32 positions, there; they are float64 here


def test_pixels_are_by_default_what_the_backbone_was_trained_with():
    config = timm.get_pretrained_cfg("vgg16.tv_in1k")
    preprocess = segzoo.load(MODEL).preprocess
    assert (preprocess.mean, preprocess.std) == (config.mean, config.std)
    assert preprocess.size == config.input_size[1:] == (224, 224)

    raw = GOLDENS.tensors("preproc_fcn")["image_resized"].permute(2, 0, 1).numpy()
    picture = codec.read(Image.fromarray(GOLDENS.tensors("preproc_fcn")["image"].numpy()))
    x, _ = prepare(picture, shrunk(preprocess), 3)
    per_channel = [np.reshape(values, (3, 1, 1)) for values in (config.mean, config.std)]
    assert np.abs(x - (raw / 255 - per_channel[0]) / per_channel[1]).max() <= 1e-5


def test_pixels_are_an_option_that_is_kept(tmp_path):
    segzoo.load(MODEL, pixels="0..255").save_pretrained(tmp_path)
    again = segzoo.load(f"local-dir:{tmp_path}")
    assert again.config.options == {"pixels": "0..255"}
    assert again.preprocess.rescale == "none"
    with pytest.raises(ConfigError, match=r"pixels is 'caffe', not one of 'imagenet', '0\.\.255'"):
        segzoo.load(MODEL, pixels="caffe")


def test_trimaps_keep_their_classes():
    """The article's bilinear trimaps hold a hundred values; to the nearest pixel, three."""
    stored = GOLDENS.tensors("preproc_fcn")
    assert len(np.unique(stored["anno_resized"].numpy())) == 100
    trimap = stored["trimap"].numpy()[..., 0]
    nearest = resize(trimap, (12, 12), axes=(0, 1), interpolation="nearest")
    assert np.array_equal(nearest, stored["anno_nearest"].numpy()[..., 0])
    table = palettes.OXFORD_PET
    assert (table.classes, table.values) == (CLASSES, {1: 0, 2: 1, 3: 2})


# --- training -------------------------------------------------------------------------------------


def test_the_loss_equals_keras():
    results, stored = GOLDENS.manifest("losses_keras")["results"], GOLDENS.tensors("losses_keras")
    logits = stored["probs"].permute(0, 3, 1, 2).clamp(1e-7, 1 - 1e-7).log()  # as Keras does
    loss = registry.resolve(find_spec(MODEL)[1].tasks["multiclass"].loss)()
    value = loss(logits, {"target": stored["labels"].long()})
    assert value.item() == pytest.approx(results["sparse_cce_mean"], abs=1e-6)


def test_the_recipe_is_the_articles():
    name, recipe = recipes.of_spec(find_spec(MODEL)[1])
    assert name == "seed"
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.size) == (5, 16, 1e-3, (224, 224))
    assert recipe.optimizer == ("adam", {"eps": 1e-7})
    assert recipe.frozen == ("backbone.",)
    assert recipes.overridden(recipe, ["frozen=none"]).frozen == ()


def test_the_decoder_begins_with_glorots_values():
    network = segzoo.load(MODEL, seed=0).network
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not name.startswith("backbone"):
            fan = 9 * sum(module.weight.shape[:2])
            assert module.weight.abs().max().item() == pytest.approx((6 / fan) ** 0.5, rel=0.03)
            assert not module.bias.any()


# --- weights of the backbone ----------------------------------------------------------------------


def test_who_asks_for_weights_is_told_what_there_is(tmp_path):
    with pytest.raises(WeightsMissingError) as caught:
        segzoo.load(MODEL, pretrained=True)
    assert str(caught.value) == (
        "fcn_vgg16 has no weights; found none. Give a file with weights=FILE (--weights FILE), "
        "or start from random values with pretrained=False (--random-init), "
        "or take one that has some: segzoo list --pretrained"
    )
    vgg = timm.create_model("vgg16", num_classes=2, mlp_ratio=1 / 4096)
    save_file(vgg.state_dict(), tmp_path / "vgg16.safetensors")
    with pytest.raises(WeightsMismatchError, match="missing: backbone"):
        segzoo.load(MODEL, weights=tmp_path / "vgg16.safetensors")
