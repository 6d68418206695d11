"""The port's file becomes a start for training: its entries stand in the order of timm's."""

import re

import pytest
import timm
import torch
from segzoo_lite import convert as key_maps

import segzoo
from segzoo.runs.convert import convert

FILES = {
    "lite0": ("tf_efficientnet_lite0", (1, 2, 2, 3, 3, 4, 1)),
    "lite2": ("tf_efficientnet_lite2", (1, 3, 3, 4, 4, 5, 1)),
}
# The port's names of timm's layers, outside the blocks and in them.
OUTSIDE = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
OTHERS = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def as_the_port(name, stages):
    """What the port calls a tensor of timm's classifier."""
    block = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, leaf = name.split(".")
        return f"{OUTSIDE[layer]}.{leaf}"
    stage, number, layer, leaf = block.groups()
    count = sum(stages[: int(stage)]) + int(number)
    return f"_blocks.{count}.{(FIRST if stage == '0' else OTHERS)[layer]}.{leaf}"


@pytest.mark.parametrize("model", ["lite0", pytest.param("lite2", marks=pytest.mark.slow)])
def test_the_ports_file(model, tmp_path):
    encoder, stages = FILES[model]
    torch.manual_seed(0)
    theirs = timm.create_model(encoder).eval()
    tensors = {as_the_port(name, stages): t for name, t in theirs.state_dict().items()}
    torch.save(tensors, tmp_path / "encoder.pth")
    done = convert(tmp_path / "encoder.pth", to=model, part="backbone", out=tmp_path / "start")
    assert done.layout == "port"
    assert {name.split(".")[0] for name in done.left_out} == {"_conv_head", "_bn1", "_fc"}
    network = segzoo.load(f"local-dir:{tmp_path / 'start'}").network
    x = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        coarsest = network.backbone(x)[-1]
        torch.testing.assert_close(
            theirs.bn2(theirs.conv_head(coarsest)), theirs.forward_features(x)
        )


def test_one_port_is_not_the_other():
    for model, (encoder, stages) in FILES.items():
        names = [as_the_port(name, stages) for name in timm.create_model(encoder).state_dict()]
        known = {"lite0": key_maps.LITE0["port"], "lite2": key_maps.LITE2["port"]}
        assert [name for name, key_map in known.items() if key_map.detects(names)] == [model]
