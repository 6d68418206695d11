"""Running networks in PyTorch: modes, heads, failures, devices; batches give the same masks."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from segzoo.errors import DeviceError, PluginError, UsageError
from segzoo.predict.predictor import Predictor
from segzoo.predict.runtimes.torch import TorchRuntime, device_of, devices
from segzoo.spec import Postprocess, Preprocess

X = np.random.default_rng(0).random((2, 3, 9, 7), np.float32)


class Small(nn.Module):
    """Convolutions, a norm, dropout, and a side output before them."""

    def __init__(self, num_classes=1):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Conv2d(8, num_classes, 3, padding=1)
        self.side = nn.Conv2d(3, num_classes, 1)

    def forward(self, x, *, all_heads=False):
        logits = self.head(self.body(x))
        return (logits, self.side(x)) if self.training or all_heads else logits


class Plain(nn.Module):
    """A network without parameters that returns what its function makes of x."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_logits_are_those_of_the_network():
    network = Small().eval()
    (logits,) = TorchRuntime(network)(X)
    assert logits.dtype == np.float32
    with torch.no_grad():
        expected = network(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_a_training_network_is_evaluated_and_trains_on():
    network = Small()
    network.train()
    network.body[3].eval()  # a part that somebody keeps out of training
    modes = {name: module.training for name, module in network.named_modules()}
    once, again = TorchRuntime(network)(X)[0], TorchRuntime(network)(X)[0]
    np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(once, TorchRuntime(Small().eval())(X)[0], atol=1e-6)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert network.body[1].num_batches_tracked == 0


def test_the_mode_comes_back_after_a_failure():
    network = Plain(lambda x: x.no_such_thing).train()
    with pytest.raises(PluginError):
        TorchRuntime(network)(X)
    assert network.training


def test_no_gradient_is_recorded():
    seen = []
    TorchRuntime(Plain(lambda x: seen.append(torch.is_inference_mode_enabled()) or x))(X)
    assert seen == [True]


def test_all_heads():
    final, side = TorchRuntime(Small().eval())(X, all_heads=True)
    np.testing.assert_allclose(final, TorchRuntime(Small().eval())(X)[0], atol=1e-6)
    assert side.shape == final.shape
    with pytest.raises(UsageError) as caught:
        TorchRuntime(Plain(lambda x: x))(X, all_heads=True)
    assert str(caught.value) == "Plain has no side outputs. Ask for the final prediction alone"


def test_a_mapping_gives_its_logits_first():
    runtime = TorchRuntime(Plain(lambda x: {"side": x + 1, "logits": x}))
    np.testing.assert_array_equal(runtime(X)[0], X)
    np.testing.assert_array_equal(runtime(X)[1], X + 1)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            {"out": 1},
            "the network returned a mapping without 'logits'; found 'out'",
        ),
        (
            None,
            "the network returned something else than logits; found a NoneType, "
            "expected a tensor (N, num_classes, H, W)",
        ),
    ],
)
def test_something_else_than_logits(returned, message):
    with pytest.raises(PluginError) as caught:
        TorchRuntime(Plain(lambda x: returned))(X)
    assert str(caught.value) == message


def test_a_network_that_views_its_memory_in_the_usual_order_runs():
    (logits,) = TorchRuntime(Plain(lambda x: x.view(2, 3, 63).view(2, 3, 9, 7)))(X)
    np.testing.assert_array_equal(logits, X)


def test_a_network_that_fails():
    def fail(x):
        raise ValueError("odd sizes\nare not for me")

    with pytest.raises(PluginError) as caught:
        TorchRuntime(Plain(fail))(X)
    assert str(caught.value) == (
        "the network failed for an input (2, 3, 9, 7): ValueError: odd sizes are not for me"
    )
    assert isinstance(caught.value.__cause__, ValueError)


def test_memory_that_is_not_there():
    with pytest.raises(MemoryError):  # the CPU's allocator itself
        TorchRuntime(Plain(lambda x: torch.empty(1 << 50)))(X)

    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryError):
        TorchRuntime(Plain(full))(X)


def test_the_networks_own_precision_is_kept():
    (logits,) = TorchRuntime(Small().eval().to(torch.bfloat16))(X)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, TorchRuntime(Small().eval())(X)[0], atol=0.05)


def test_a_runtime_can_be_pickled_and_copied():
    runtime = TorchRuntime(Small().eval())
    for other in (pickle.loads(pickle.dumps(runtime)), copy.deepcopy(runtime)):
        np.testing.assert_array_equal(other(X)[0], runtime(X)[0])


def test_batches_of_one_and_of_eight_give_the_same_masks():
    """Convolutions may add up in another order for another batch: 1e-6 of a probability."""
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (40, 30, 3), np.uint8) for _ in range(11)]
    one, eight = (
        Predictor(
            TorchRuntime(Small().eval()),
            preprocess=Preprocess(size=(24, 32), resize="stretch"),
            postprocess=Postprocess(),
            in_channels=3,
            num_classes=1,
            batch_size=batch_size,
        ).predict(images)
        for batch_size in (1, 8)
    )
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-6)
        sure = np.abs(a.probability - 0.5) > 1e-6
        np.testing.assert_array_equal(a.mask[sure], b.mask[sure])


# --- devices -------------------------------------------------------------------------------------


def test_cpu_and_auto():
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto") == torch.device(devices()[0][0])
    assert devices()[0][-1] == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "CPU", "cpu:0", "meta", "c\nu"])
def test_a_device_that_nobody_knows(name):
    with pytest.raises(DeviceError) as caught:
        device_of(name)
    shown = name.replace("\n", "\\n")
    assert str(caught.value) == (
        f"no device is called '{shown}'; expected auto, cpu, cuda, cuda:1 or mps"
    )


@pytest.mark.skipif(torch.version.cuda is not None or torch.version.hip is not None, reason="CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_says_why(name):
    with pytest.raises(DeviceError) as caught:
        device_of(name)
    assert str(caught.value) == (
        f"the device '{name}' is not there; found {', '.join(devices()[0])}. "
        f"torch {torch.__version__} is built without CUDA; see https://pytorch.org/get-started"
    )


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="MPS is there")
def test_mps_that_is_not_there():
    with pytest.raises(DeviceError, match=r"^the device 'mps' is not there; found .*cpu$"):
        device_of("mps")


@pytest.mark.gpu
def test_on_a_gpu():
    assert device_of("cuda") == torch.device("cuda")
    assert device_of("auto") == torch.device("cuda:0")
    (logits,) = TorchRuntime(Small().eval().to(device_of("auto")))(X)
    np.testing.assert_allclose(logits, TorchRuntime(Small().eval())(X)[0], atol=1e-3)
    with pytest.raises(DeviceError, match=r"'cuda:99' is not there; found cuda:0"):
        device_of("cuda:99")
