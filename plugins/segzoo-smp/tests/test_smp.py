"""SMP's networks as segzoo's: files of its own, options, refusals, nothing downloaded."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from segzoo_smp.checkpoint import arguments_of
from segzoo_smp.spec import TABLE

import segzoo
from segzoo.errors import ConfigError, WeightsMismatchError
from segzoo.model import build, configured
from segzoo.model.load import find_spec
from segzoo.spec import Preprocess

DECODERS = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
README = Path(__file__).parents[1] / "README.md"
LIGHT = {"dpt": "tu-vit_tiny_patch16_224", "segformer": "mit_b0"}  # else:
SMALL = "tu-mobilenetv3_small_050"


def variant(decoder, **options):
    spec = find_spec(f"smp_{decoder}")[1]
    defaults = {name: option.default for name, option in spec.options.items()}
    return configured.variant_of(spec, defaults | options)


# --- SMP's own files ------------------------------------------------------------------------------


def saved_by_smp(folder, decoder, **settings):
    """What SMP's save_pretrained writes of a network with values that a few steps would leave."""
    torch.manual_seed(0)
    network = smp.create_model(decoder, encoder_weights=None, **settings)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    network.save_pretrained(folder)
    return network.eval()


@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens:UserWarning")
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_that_smp_wrote_loads_to_the_same_bits(decoder, tmp_path, monkeypatch):
    encoder = LIGHT.get(decoder, SMALL)
    theirs = saved_by_smp(tmp_path, decoder, encoder_name=encoder, classes=5, in_channels=4)

    def refused(*_args, **_options):
        raise AssertionError("a download")

    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", refused)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", refused)
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", refused)
    name, options = arguments_of(tmp_path / "config.json")
    assert (name, options) == (
        f"smp_{decoder}",
        {"encoder": encoder, "in_channels": 4, "num_classes": 5} | more(decoder),
    )
    model = segzoo.load(name, weights=tmp_path / "model.safetensors", **options)

    assert type(model.network) is type(theirs)
    side = 224 if decoder == "dpt" else 128  # the one size that DPT has there
    x = torch.rand(1, 4, side, side)
    state = theirs.state_dict()
    assert state.keys() == model.network.state_dict().keys()
    assert all(torch.equal(value, state[n]) for n, value in model.network.state_dict().items())
    with torch.inference_mode():
        want = theirs(x)
        torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-5)
        # Where a tensor lies in memory can change the order of a sum: as a file, or by itself.
        assert torch.equal(copy.deepcopy(model)(x), want)


def more(decoder):
    return {
        "upernet": {"decoder_channels": 256},
        "segformer": {"decoder_segmentation_channels": 256},
    }.get(decoder, {})


def test_a_swin_of_another_size(tmp_path):
    """As SMP's own upernet-swin-tiny on the Hub, in small: windows follow `img_size`."""
    encoder = "tu-swin_tiny_patch4_window7_224"
    settings = {"decoder_channels": 32, "img_size": 256}
    theirs = saved_by_smp(tmp_path, "upernet", encoder_name=f"{encoder}.ms_in1k", **settings)
    name, options = arguments_of(tmp_path / "config.json")
    assert (name, options["encoder"]) == ("smp_upernet", encoder)
    assert {key: options[key] for key in settings} == settings
    x = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        want = theirs(x)
        model = segzoo.load(name, weights=tmp_path / "model.safetensors", **options)
        assert torch.equal(copy.deepcopy(model)(x), want)
        assert model(x[..., :64, :96]).shape == (1, 1, 64, 96)  # and yet any size
        other = segzoo.load(
            name, weights=tmp_path / "model.safetensors", **options | {"img_size": 0}
        )
        assert not torch.allclose(other(x), want, atol=1e-3)


def test_what_segzoo_does_not_offer_is_said_together(tmp_path):
    settings = {"encoder_name": SMALL, "decoder_attention_type": "scse", "encoder_depth": 4}
    saved_by_smp(tmp_path, "unet", decoder_channels=(128, 64, 32, 16), **settings)
    file = tmp_path / "config.json"
    with pytest.raises(ValueError) as caught:
        arguments_of(file)
    assert str(caught.value) == (
        f"{file}: segzoo builds smp_unet without encoder_depth=4, "
        "decoder_channels=[128, 64, 32, 16], decoder_attention_type='scse'"
    )
    with pytest.raises(WeightsMismatchError):
        segzoo.load("smp_unet", encoder=SMALL, weights=tmp_path / "model.safetensors")
    file.write_text(json.dumps({"model": "unet"}))
    with pytest.raises(ValueError) as caught:
        arguments_of(file)
    assert str(caught.value) == f"{file}: it is not the config.json of a network that SMP saved"


def test_our_own_folder_comes_back(tmp_path):
    model = segzoo.load("smp_fpn", encoder=SMALL, num_classes=3, seed=0)
    again = segzoo.load(f"local-dir:{model.save_pretrained(tmp_path)}")
    assert again.config.options == {"encoder": SMALL}
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(x), again(x))


def test_another_number_of_classes_keeps_all_but_the_head(tmp_path):
    saved_by_smp(tmp_path, "linknet", encoder_name=SMALL, classes=5)
    file = tmp_path / "model.safetensors"
    folder = segzoo.load("smp_linknet", encoder=SMALL, num_classes=5, weights=file).save_pretrained(
        tmp_path / "ours"
    )
    with pytest.warns(UserWarning, match="made anew or adapted"):
        model = segzoo.load(f"local-dir:{folder}", num_classes=2, in_channels=1)
    assert model(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


# --- encoders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decoder", "encoder", "message"),
    [
        (
            "unet",
            "tu-vit_tiny_patch16_224",
            "encoder is 'tu-vit_tiny_patch16_224', which SMP refuses (Unsupported model "
            "downsampling pattern); ",
        ),
        (
            "unetplusplus",
            "mit_b0",
            "encoder is 'mit_b0', which SMP refuses (UnetPlusPlus is not support "
            "encoder_name=mit_b0); ",
        ),
        ("dpt", "resnet34", "Encoder name must start with 'tu-', got resnet34); "),
        ("unet", "resnet35", "encoder is 'resnet35', not a choice; "),
        (
            "unet",
            "tu-resnet18.a1_in1k",
            "encoder is 'tu-resnet18.a1_in1k', not a choice; there are 978, such as tu-resnet18, ",
        ),
        (
            "unet",
            "timm-mobilenetv3_large_100",
            "encoder is 'timm-mobilenetv3_large_100', an old name of SMP's for "
            "'tu-tf_mobilenetv3_large_100'",
        ),
        (
            "unet",
            "timm-regnetx_002",
            "encoder is 'timm-regnetx_002', an old name of SMP's for 'tu-regnetx_002'",
        ),
        ("unet", 34, "encoder is 34 (int), not a value of type str"),
        ("unet", None, "encoder is None (NoneType), not a value of type str"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_with_the_reason(decoder, encoder, message):
    with pytest.raises(ConfigError) as caught:
        segzoo.load(f"smp_{decoder}", encoder=encoder, depth=4)
    text = str(caught.value)
    assert message in text
    assert "'depth' is not an option; it has encoder" in text  # every fault at once
    assert "\n" not in text
    if message.endswith("; "):
        choices = find_spec(f"smp_{decoder}")[1].options["encoder"].choices
        assert f"there are {len(choices)}, such as " in text
        named = text.partition("such as ")[2].partition(";")[0].split(", ")
        assert 1 < len(named) <= 5
        assert set(named) <= set(choices)


@pytest.mark.parametrize(
    ("decoder", "encoder", "mean", "std", "multiple_of", "size"),
    [
        ("unet", "resnet34", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32, None),
        ("unet", "xception", (0.5,) * 3, (0.5,) * 3, 32, None),
        ("deeplabv3", "resnet34", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 8, None),
        ("deeplabv3plus", "resnet34", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 16, None),
        ("pan", "resnet34", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 128, None),
        ("fpn", "dpn68", (0.486275, 0.458824, 0.407843), (0.234824,) * 3, 32, None),
        ("dpt", "tu-vit_tiny_patch16_224", (0.5,) * 3, (0.5,) * 3, 32, None),
        ("dpt", "tu-beit_base_patch16_224", (0.5,) * 3, (0.5,) * 3, 224, (224, 224)),
    ],
)
def test_preprocessing_follows_the_encoder(decoder, encoder, mean, std, multiple_of, size):
    assert variant(decoder, encoder=encoder).preprocess == Preprocess(
        mean=mean,
        std=std,
        multiple_of=multiple_of,
        size=size,
        resize="stretch" if size else "none",
    )


def test_statistics_of_timms_encoders_are_those_of_smp_itself():
    for encoder in ("tu-resnet18", "tu-vit_tiny_patch16_224", "tu-convnext_atto"):
        theirs = smp.encoders.get_preprocessing_params(encoder)
        assert theirs["input_space"] == "RGB"
        assert [theirs["mean"], theirs["std"]] == TABLE[encoder]["statistics"]
        assert [*timm.get_pretrained_cfg(encoder[3:]).mean] == theirs["mean"]


def test_unused_parameters_are_not_trained():
    """PSPNet looks at the first three stages alone."""
    assert variant("pspnet", encoder="resnet34").frozen == ("encoder.layer3.", "encoder.layer4.")
    assert variant("unet", encoder="resnet34").frozen == ()


@pytest.mark.parametrize("width", [1, 512, 768])
@pytest.mark.parametrize("encoder", ["mit_b0", "resnet18", "vgg11", "tu-convnext_atto"])
@pytest.mark.parametrize(
    ("decoder", "option"),
    [("upernet", "decoder_channels"), ("segformer", "decoder_segmentation_channels")],
)
def test_parameters_follow_the_width_of_the_decoder(decoder, option, encoder, width):
    options = {"encoder": encoder, option: width}
    said = variant(decoder, **options).num_parameters
    with torch.device("cpu" if encoder == "mit_b0" else "meta"):  # which cannot be built there
        network = build.build(find_spec(f"smp_{decoder}")[1], options=options)
    assert said == sum(p.numel() for p in network.parameters())


@pytest.mark.slow
def test_an_encoder_of_one_size_predicts_any():
    model = segzoo.load("smp_dpt", encoder="tu-beit_base_patch16_224")
    picture = np.zeros((37, 53, 3), np.uint8)
    assert model.predict(picture).mask.shape == (37, 53)


# --- the specs ------------------------------------------------------------------------------------


def test_specs_are_read_without_smp():
    code = (
        "import sys, segzoo_smp.spec; "
        "print({'torch', 'timm', 'segmentation_models_pytorch'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_recipes_crop_what_the_default_network_takes():
    for decoder in DECODERS:
        spec = find_spec(f"smp_{decoder}")[1]
        assert next(iter(spec.recipes)) == "adamw"
        for recipe in spec.recipes.values():
            assert all(side % spec.preprocess.multiple_of == 0 for side in recipe.crop)
    recipes = {decoder: find_spec(f"smp_{decoder}")[1].recipes for decoder in DECODERS}
    assert [d for d, r in recipes.items() if "voc" in r] == ["pspnet", "deeplabv3plus"]


def test_the_readme_counts_as_the_table_does():
    text = README.read_text("utf-8")
    for decoder in DECODERS:
        spec = find_spec(f"smp_{decoder}")[1]
        encoder = spec.options["encoder"]
        row = next(line for line in text.splitlines() if f"`smp_{decoder}`" in line)
        for part in (encoder.default, f"{len(encoder.choices):,}", f"{spec.num_parameters:,}"):
            assert f" {part} |" in row.replace("`", "")
