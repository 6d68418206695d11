"""The networks against the original code's numbers, on the module that users get.

The goldens hold the outputs of the authors' code (github.com/xuebinqin/U-2-Net at ac7e1c8) and of
one write-up of it (`u2net_seed`, whose pooling rounds down), run in float64 on weights that a
formula recreates (tests/support/filler.py); the seven maps are probabilities.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
from originals import Goldens

import segzoo
from segzoo.model import build, profile
from segzoo.model.load import find_spec

GOLDENS = Goldens(Path(__file__).parent / "goldens")

#        case          model     options of segzoo.load
CASES = {
    "u2net": ("u2net", {}),
    "u2netp": ("u2netp", {}),
    "u2netp_3ch": ("u2netp", {"num_classes": 3}),
    "u2net_seed": ("u2net", {"pool": "floor"}),
}


@cache
def filled(case, base):
    model, options = CASES[case]
    return GOLDENS.filled(segzoo.load(model, pretrained=False, **options).network, case, base)


RUNS = sorted(
    {(case, *key.split("/")[:2]) for case in CASES for key in GOLDENS.manifest(case)["outputs"]}
)


@pytest.mark.parametrize(("case", "base", "shape"), RUNS)
def test_every_map_equals_the_original_code(case, base, shape):
    rows = GOLDENS.manifest(case)
    with torch.inference_mode():
        maps = [m.sigmoid() for m in filled(case, base)(GOLDENS.input(shape), all_heads=True)]

    # A fair bound: three times what the original itself loses in float32.
    own_error = rows["fillers"][base][shape]["fp32_vs_fp64_max_abs_diff"]
    tolerance = max(1e-5, 3 * own_error)
    keys = [key for key in rows["outputs"] if key.startswith(f"{base}/{shape}/")]
    assert len(keys) == (1 if case == "u2net_seed" else 7)
    for key in keys:
        output = key.rpartition("/")[2]
        got = maps[0 if output == "out" else int(output[1:])]
        GOLDENS.assert_close(case, shape, output, got, tolerance, base)


@pytest.mark.parametrize("case", CASES)
def test_parameters_and_macs(case):
    rows = GOLDENS.manifest(case)
    model, wanted = CASES[case]
    _, spec = find_spec(model)
    options = {name: value for name, value in wanted.items() if name in spec.options}
    num_classes = wanted.get("num_classes")
    for shape, macs in rows["macs"].items():
        *_, whole = profile.stages(
            lambda: build.build(spec, num_classes=num_classes, options=options),
            tuple(map(int, shape.split("x"))),
        )
        assert whole.parameters == rows["param_count"]["trainable"]
        assert whole.macs == macs


def test_numbers_of_the_paper():
    """Section 4.3 and table 1: 176.3 MB and 4.7 MB in float32."""
    sizes = {name: find_spec(name)[1].num_parameters for name in ("u2net", "u2netp")}
    assert sizes == {"u2net": 44_009_869, "u2netp": 1_131_181}


def test_side_outputs_in_training_and_on_request():
    network = segzoo.load("u2netp").network
    x = torch.rand(2, 3, 33, 47)
    with torch.inference_mode():
        alone = network(x)
        heads = network(x, all_heads=True)
    assert alone.shape == (2, 1, 33, 47)
    assert torch.equal(alone, heads[0])
    assert [h.shape for h in heads] == [alone.shape] * 7
    assert len(network.train()(x)) == 7
