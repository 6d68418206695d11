"""The networks and losses against their sources' own numbers, on the module that users get.

The goldens hold the outputs of the sources' code, run in float64 on weights that a formula recreates
(goldens/filler.py): logits, or probabilities where a sigmoid ends the source's network.
"""

import importlib.util
import json
from functools import cache, lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import segzoo
from segzoo import build, profile
from segzoo.api import find_spec
from segzoo_unet import loss

GOLDENS = Path(__file__).parent / "goldens"

#                        model              options of segzoo.load
CASES = {
    "unet_milesial": ("unet", {}),
    "unet_milesial_bilinear": ("unet", {"bilinear": True}),
    "unet_vggblock": ("unet_vggblock", {}),
    "unet_mrgiovanni": ("unet_mrgiovanni", {}),
    "unet_zhixuhao": ("unet_zhixuhao", {}),
    "unet_paper": ("unet_paper", {}),
    "unet_paper_caffe": ("unet_paper", {"released": True}),
    "keras_unet": ("unet_dice", {}),
    "pytorch_unet": ("unet_strided", {}),
    "tfslim_unet_1x": ("unet_slim", {}),
    "tfslim_unet_3x": ("unet_slim_3x", {}),
    "valid_unet": ("unet_canvas", {"placement": "top_left"}),
}
SIGMOID = {"unet_mrgiovanni", "unet_zhixuhao", "keras_unet", "pytorch_unet"}  # of the output "out"


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


filler = _module(GOLDENS / "filler.py")


@cache
def values(kind, shape, k, stride, base):
    """One parameter; many are the same from case to case."""
    return torch.from_numpy(filler.fill(kind, shape, k, stride, filler=base))


def manifest(case):
    return json.loads((GOLDENS / f"{case}.json").read_text())


@lru_cache(maxsize=1)
def filled(case, base):
    """The network of a case, its parameters recreated; `params` lists them in order of creation."""
    model, options = CASES[case]
    network = segzoo.load(model, pretrained=False, **options).network
    state = {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}
    rows = manifest(case)["params"]
    assert len(state) == len(rows)
    for k, (tensor, (_, shape, kind, stride)) in enumerate(zip(state.values(), rows, strict=True)):
        assert list(tensor.shape) == shape
        tensor.copy_(values(kind, tuple(shape), k, stride, base))
    return network


RUNS = [
    (case, base, shape)
    for case in CASES
    for base in ("mix", "sin")
    for shape in manifest(case)["fillers"][base]
]


@pytest.mark.parametrize(("case", "base", "shape"), RUNS)
def test_outputs_equal_the_source(case, base, shape):
    rows = manifest(case)
    stored = load_file(GOLDENS / f"{case}.safetensors")
    x = torch.from_numpy(filler.image(*map(int, shape.split("x"))))
    with torch.inference_mode():
        logits = filled(case, base)(x)

    # The source's own loss in float32, times three, is a fair bound; logits are ten times coarser.
    own_error = rows["fillers"][base][shape]["fp32_vs_fp64_max_abs_diff"]
    tolerance = max(1e-5, 3 * own_error)
    keys = [key for key in rows["outputs"] if key.startswith(f"{base}/{shape}/")]
    assert len(keys) == (2 if "logits" in str(keys) else 1)
    for key in keys:
        probable = key.endswith("/out") and case in SIGMOID
        got, bound = (logits.sigmoid(), tolerance) if probable else (logits, 10 * tolerance)
        facts = rows["outputs"][key]
        assert list(got.shape) == facts["shape"]
        assert abs(got.double().sum().item() - facts["sum"]) <= bound * got.numel()
        step, side = facts.get("stride", 1), facts.get("corner")
        parts = {"": got, ".grid": got[:, :, ::step, ::step]}
        if side:
            parts |= {".tl": got[:, :, :side, :side], ".br": got[:, :, -side:, -side:]}
        have = [suffix for suffix in parts if key + suffix in stored]
        assert have == ([""] if facts["stored"] == "full" else list(parts)[1:])
        for suffix in have:
            torch.testing.assert_close(parts[suffix], stored[key + suffix], rtol=0, atol=bound)
