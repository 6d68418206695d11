"""Files of other codes, under their own names, become models that give those codes' outputs."""

from pathlib import Path

import pytest
import torch
from originals import Goldens, write_keras2, write_keras3, write_keras_zip

import segzoo
from segzoo.runs.convert import convert

GOLDENS = Goldens(Path(__file__).parent / "goldens")
SLOW = pytest.mark.slow


def torch_file(folder, case):
    """milesial's train.py adds the values of its masks to the tensors."""
    torch.save({**GOLDENS.state(case), "mask_values": [0, 1]}, folder / "a.pth")
    return folder / "a.pth"


def keras2(folder, case):
    """Of a session that had built another network before."""
    write_keras2(folder / "a.h5", GOLDENS.keras(case), first=23)
    return folder / "a.h5"


def keras3(folder, case):
    write_keras3(folder / "a.weights.h5", GOLDENS.keras(case))
    return folder / "a.weights.h5"


def keras_zip(folder, case):
    write_keras_zip(folder / "a.keras", GOLDENS.keras(case), folder)
    return folder / "a.keras"


@pytest.mark.parametrize(
    ("case", "write", "model", "layout"),
    [
        pytest.param("unet_milesial", torch_file, "unet", "milesial", marks=SLOW),
        pytest.param("unet_milesial_bilinear", torch_file, "unet", "milesial_bilinear", marks=SLOW),
        ("unet_vggblock", torch_file, "unet_vggblock", "nested_unet"),
        ("keras_unet", keras2, "unet_dice", "keras"),
        pytest.param("keras_unet", keras_zip, "unet_dice", "keras", marks=SLOW),
        pytest.param("keras_unet", keras3, "unet_dice", "keras", marks=SLOW),
        pytest.param("unet_zhixuhao", keras2, "unet_zhixuhao", "keras", marks=SLOW),
        pytest.param("unet_mrgiovanni", keras2, "unet_mrgiovanni", "keras", marks=SLOW),
    ],
)
def test_a_file_of_another_code_gives_its_outputs(tmp_path, case, write, model, layout):
    done = convert(write(tmp_path, case), to=model, out=tmp_path / "out")
    assert done.layout == layout
    loaded = segzoo.load(f"local-dir:{tmp_path / 'out'}")
    shape = next(iter(GOLDENS.manifest(case)["fillers"]["mix"]))
    with torch.inference_mode():
        logits = loaded(GOLDENS.input(shape))
    tolerance = GOLDENS.tolerance(case, shape)
    if write is torch_file:  # those end with logits
        assert GOLDENS.deviation(case, shape, "out", logits) <= 10 * tolerance
        assert done.left_out == ("mask_values",)
    else:
        assert GOLDENS.deviation(case, shape, "out", logits.sigmoid()) <= tolerance
        assert GOLDENS.deviation(case, shape, "logits", logits) <= 10 * tolerance
