"""Goldens: what a network gave when its weights were published, and whether it gives it now."""

import dataclasses
from importlib.resources import files

import pytest
import safetensors.torch
import tiny
import torch

import segzoo
from segzoo.errors import PluginError, WeightsFormatError, WeightsMismatchError, WeightsValueError
from segzoo.model import golden
from segzoo.predict.preprocess import network_size
from segzoo.spec import Preprocess


@pytest.fixture
def model():
    return segzoo.load(tiny.TINY, seed=3)


@pytest.fixture
def file(model, tmp_path):
    golden.write(model.network, model.config, tmp_path / "golden.safetensors")
    return tmp_path / "golden.safetensors"


def test_what_is_written(model, file):
    stored = safetensors.torch.load_file(file)
    assert sorted(stored) == ["input", "logits"]
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert stored["input"].shape == (1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.network(stored["input"]), stored["logits"])
    assert golden.deviation(model.network, file) < 1e-6


def test_the_same_network_writes_the_same_bytes(model, file, tmp_path):
    sha256 = golden.write(model.network, model.config, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()
    assert sha256 == golden.write(model.network, model.config, tmp_path / "again")


@pytest.mark.parametrize(
    ("preprocess", "size"),
    [
        (Preprocess(), (64, 64)),
        (Preprocess(size=(320, 200), resize="stretch"), (64, 64)),
        (Preprocess(multiple_of=48), (96, 96)),
        (Preprocess(multiple_of=16, remainder=12, margin=92), (252, 252)),
        (Preprocess(mode="L"), (64, 64)),
    ],
)
def test_the_input_is_one_that_the_network_takes(preprocess, size, model):
    config = dataclasses.replace(model.config, preprocess=preprocess, in_channels=5)
    x = golden.golden_input(config)
    assert x.shape == (1, 5, *size)
    whole = dataclasses.replace(preprocess, size=None, resize="none")
    inner = [side - 2 * preprocess.margin for side in size]
    assert network_size(*inner, whole) == size
    assert x.abs().max() <= 2
    assert len({tuple(plane.ravel().tolist()) for plane in x[0]}) == 5


def test_a_change_of_the_network_is_seen(model, file):
    with torch.no_grad():
        model.network.head.bias += 3e-4
    most = safetensors.torch.load_file(file)["logits"].abs().max().item()
    assert most > 1
    assert golden.deviation(model.network, file) == pytest.approx(3e-4 / most, rel=0.01)


def test_large_logits_are_compared_by_their_size(model, tmp_path):
    with torch.no_grad():
        model.network.head.bias += 1e4
    golden.write(model.network, model.config, tmp_path / "a")
    with torch.no_grad():
        model.network.head.bias += 1
    assert golden.deviation(model.network, tmp_path / "a") == pytest.approx(1e-4, rel=0.01)


def test_a_network_that_gives_nan_is_as_far_off_as_can_be(model, file, tmp_path):
    with torch.no_grad():
        model.network.head.bias.fill_(float("nan"))
    assert golden.deviation(model.network, file) == float("inf")
    with pytest.raises(WeightsValueError, match="1 with NaN or infinity: logits"):
        golden.write(model.network, model.config, tmp_path / "nan")
    assert not (tmp_path / "nan").exists()


def test_a_network_in_training_mode_and_half_precision_is_left_as_it_is(model, file):
    model.network.train().half()
    assert golden.deviation(model.network, file) < 1e-2  # its values were rounded
    assert model.network.training
    assert {p.dtype for p in model.network.parameters()} == {torch.float16}


GOOD = {"input": torch.zeros(1, 3, 8, 8), "logits": torch.zeros(1, 1, 8, 8)}


@pytest.mark.parametrize(
    "tensors",
    [
        {"input": GOOD["input"]},
        {"logits": GOOD["logits"]},
        GOOD | {"more": torch.zeros(1)},
        GOOD | {"input": torch.zeros(2, 3, 8, 8)},
        GOOD | {"input": torch.zeros(3, 8, 8)},
        GOOD | {"input": torch.zeros(1, 3, 0, 8)},
        GOOD | {"input": torch.zeros(1, 3, 1, 4096)},
        GOOD | {"input": torch.zeros(1, 3, 8, 8, dtype=torch.float64)},
        GOOD | {"logits": torch.zeros(1, 1, 8, 8, dtype=torch.float16)},
    ],
)
def test_what_is_no_golden(tensors, model, tmp_path):
    path = tmp_path / "a"
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(WeightsFormatError) as caught:
        golden.deviation(model.network, path)
    assert str(caught.value).startswith(f"{path}: this is not a golden; found ")
    assert str(caught.value).endswith(
        "expected input [1, C, h, w] of at most 2048 a side and logits, both float32"
    )


def test_a_golden_of_another_network(model, tmp_path):
    safetensors.torch.save_file(GOOD | {"logits": torch.zeros(1, 2, 8, 8)}, tmp_path / "a")
    with pytest.raises(WeightsMismatchError) as caught:
        golden.deviation(model.network, tmp_path / "a")
    assert str(caught.value) == (
        f"{tmp_path}/a: the network gives logits of another shape; "
        "found [1, 1, 8, 8], expected [1, 2, 8, 8]"
    )
    safetensors.torch.save_file(GOOD | {"input": torch.zeros(1, 4, 8, 8)}, tmp_path / "b")
    with pytest.raises(PluginError, match=r"the network failed for an input \(1, 4, 8, 8\)"):
        golden.deviation(model.network, tmp_path / "b")


def test_the_golden_of_embedded_weights_lies_beside_them():
    weights = files("segzoo_u2net").joinpath("weights/u2netp.duts.safetensors")
    path = golden.beside(weights)
    assert path.name == "u2netp.duts.golden.safetensors"
    assert golden.deviation(segzoo.load("u2netp.duts").network, path) <= golden.TOLERANCE
