"""Parameters and multiply-accumulates per stage."""

import pytest
import torch
from torch import nn

from segzoo.errors import PluginError
from segzoo.model import build, profile
from segzoo.predict.preprocess import input_size
from segzoo.spec import ModelSpec, Postprocess, Preprocess, TaskDefaults
from segzoo.zoo import registry

SPEC = ModelSpec(
    summary="a builder that looks at values",
    builder="test_profile:by_value",
    tasks={"binary": TaskDefaults(loss="tiny:loss", postprocess=Postprocess())},
    preprocess=Preprocess(),
    num_classes=1,
    num_parameters=28,
)


def by_value(in_channels: int, num_classes: int) -> nn.Module:
    """As timm's drop path, whose rates are taken from a tensor."""
    rate = torch.linspace(0, 0.5, 3)[1].item()
    return nn.Sequential(nn.Conv2d(in_channels, num_classes, 3, padding=1), nn.Dropout(rate))


def test_a_builder_that_cannot_do_without_values(monkeypatch):
    monkeypatch.setattr(registry, "resolve", lambda path: by_value)
    with torch.device("meta"), pytest.raises(PluginError, match="cannot be called on meta"):
        build.build(SPEC)
    whole = profile.stages(lambda: build.build(SPEC), (1, 3, 6, 5))[-1]
    assert whole == ("", "Sequential", 28, 27 * 30)


class Walks(nn.Module):
    """Goes through its child's children and never calls the child, as an FCN with VGG16 does."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(2, 4, 1)))
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.backbone:
            x = layer(x)
        return self.head(x)


def test_a_child_whose_children_are_called_has_their_operations():
    rows = {stage.name: stage.macs for stage in profile.stages(Walks, (1, 3, 5, 7))}
    assert rows == {"backbone": (3 * 2 + 2 * 4) * 35, "head": 4 * 35, "": 18 * 35}


def test_the_size_that_is_counted_for():
    assert input_size(Preprocess(size=(320, 200), resize="stretch")) == (320, 200)
    assert input_size(Preprocess()) == (256, 256)
    assert input_size(Preprocess(multiple_of=32), (33, 64)) == (64, 64)
    assert input_size(Preprocess(margin=92, multiple_of=16, remainder=12)) == (444, 444)


def test_our_models_say_their_multiply_adds():
    """`segzoo check` counts them. Those of thousands of encoders are counted when asked for."""
    ours = [row for row in registry.rows() if row.entry.distribution.startswith("segzoo-")]
    silent = {row.entry.distribution for row in ours if row.spec.macs is None}
    assert len(ours) > 19 and silent == {"segzoo-smp"}
