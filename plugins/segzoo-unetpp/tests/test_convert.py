"""Files of the two other codes become models that give those codes' outputs."""

from pathlib import Path

import pytest
import torch
from originals import Goldens, write_keras2

import segzoo
from segzoo.runs.convert import convert

GOLDENS = Goldens(Path(__file__).parent / "goldens")
SHAPE = "1x3x64x64"


@pytest.mark.parametrize(
    ("case", "layout", "wishes", "outputs"),
    [
        ("unetpp", "nested_unet", {}, ("head4", "head3", "head2", "head1")),
        ("unetpp_single", "nested_unet_single", {"num_classes": 2}, ("out",)),
    ],
)
def test_a_file_of_pytorch_nested_unet(tmp_path, case, layout, wishes, outputs):
    torch.save(GOLDENS.state(case), tmp_path / "model.pth")
    done = convert(tmp_path / "model.pth", to="unetpp", out=tmp_path / "out", **wishes)
    assert (done.layout, done.left_out) == (layout, ())
    loaded = segzoo.load(f"local-dir:{tmp_path / 'out'}")
    assert loaded.config.options["deep_supervision"] == (len(outputs) == 4)
    with torch.inference_mode():
        heads = loaded(GOLDENS.input(SHAPE), all_heads=True)
    for output, got in zip(outputs, heads, strict=True):
        assert GOLDENS.deviation(case, SHAPE, output, got) <= 10 * GOLDENS.tolerance(case, SHAPE)


def test_a_file_of_the_authors_keras_code(tmp_path):
    case = "unetpp_official"
    write_keras2(tmp_path / "model.h5", GOLDENS.keras(case))
    done = convert(tmp_path / "model.h5", to="unetpp_official", out=tmp_path / "out")
    assert done.layout == "keras"
    loaded = segzoo.load(f"local-dir:{tmp_path / 'out'}")
    with torch.inference_mode():
        heads = loaded(GOLDENS.input(SHAPE), all_heads=True)
    for number, got in zip((4, 3, 2, 1), heads, strict=True):
        off = GOLDENS.deviation(case, SHAPE, f"head{number}", got.sigmoid())
        assert off <= GOLDENS.tolerance(case, SHAPE)
