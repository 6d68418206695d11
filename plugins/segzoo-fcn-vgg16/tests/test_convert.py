"""torchvision's and timm's VGG16 become a start for training, with the backbone they hold."""

import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

import segzoo
from segzoo.errors import IntegrityError, UsageError
from segzoo.runs import subject
from segzoo.runs.convert import convert
from segzoo.runs.request import Wishes


@pytest.fixture(scope="module")
def vgg():
    """timm's network, its classifier made small."""
    torch.manual_seed(0)
    return timm.create_model("vgg16", num_classes=2, mlp_ratio=1 / 4096).eval()


def is_backbone(folder, vgg):
    loaded = segzoo.load(f"local-dir:{folder}").network
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        return torch.equal(loaded.backbone(x), vgg.forward_features(x))


def test_timms_file(tmp_path, vgg):
    save_file(vgg.state_dict(), tmp_path / "model.safetensors")
    out = tmp_path / "fcn-imagenet"
    done = convert(tmp_path / "model.safetensors", to="fcn_vgg16", part="backbone", out=out)
    assert done.layout == "timm"
    assert is_backbone(out, vgg)
    assert {name.split(".")[0] for name in done.left_out} == {"pre_logits", "head"}
    assert "--init-from" in done.notes[0]


def test_torchvisions_file_and_its_hash(tmp_path, vgg):
    """Its names, written as it has them: the first digits of the sha256 are in the file's name."""
    features = {n: t for n, t in vgg.state_dict().items() if n.startswith("features.")}
    classifier = {
        f"classifier.{number}.{leaf}": torch.zeros(1)
        for number in (0, 3, 6)
        for leaf in ("weight", "bias")
    }
    path = tmp_path / "vgg16.pth"
    torch.save(features | classifier, path, _use_new_zipfile_serialization=False)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    wrong = path.rename(tmp_path / "vgg16-397923af.pth")
    with pytest.raises(IntegrityError) as caught:
        convert(wrong, to="fcn_vgg16", part="backbone", out=tmp_path / "out")
    assert caught.value.problem == "its sha256 is another one"
    right = wrong.rename(tmp_path / f"vgg16-{sha256[:8]}.pth")
    with pytest.raises(UsageError) as caught:
        convert(right, to="fcn_vgg16", out=tmp_path / "out")
    assert str(caught.value) == (
        f"{right}: it holds the backbone of fcn_vgg16 alone. "
        "For a start for training, add --part backbone"
    )
    assert not (tmp_path / "out").exists()
    done = convert(right, to="fcn_vgg16", part="backbone", out=tmp_path / "out")
    assert (done.layout, len(done.left_out)) == ("torchvision", 6)
    assert is_backbone(tmp_path / "out", vgg)


def test_training_takes_it_as_a_start(tmp_path, vgg):
    """What `segzoo train fcn_vgg16 --init-from` does first."""
    save_file(vgg.state_dict(), tmp_path / "model.safetensors")
    out = tmp_path / "out"
    convert(tmp_path / "model.safetensors", to="fcn_vgg16", part="backbone", out=out)
    wishes = Wishes(init_from=out)
    assert subject.reference_of("fcn_vgg16", wishes) == (f"local-dir:{out}", None)
