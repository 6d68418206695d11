"""Weights into a network and back: rows W9 to W18 of the bad inputs, and what is good."""

import hashlib
import io
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segzoo_u2net.model import u2netp
from torch import nn

from segzoo.base import cache
from segzoo.errors import (
    IntegrityError,
    OutputError,
    SegzooError,
    UnsafeFormatError,
    UsageError,
    WeightsFormatError,
    WeightsMismatchError,
    WeightsMissingError,
    WeightsValueError,
)
from segzoo.weights.safetensors import (
    CODES,
    DTYPES,
    Given,
    adapt_channels,
    load_network,
    read,
    read_index,
    save,
    within,
)

FLOATS = [dtype for dtype in CODES if dtype.is_floating_point and dtype.itemsize > 1]


class Net(nn.Module):
    """One of each: convolution, normalisation with buffers, a head."""

    def __init__(self, in_channels=3, num_classes=2):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.mid = nn.Conv2d(4, 6, 1)
        self.head = nn.Conv2d(6, num_classes, 1)

    def forward(self, x):
        return self.head(self.mid(self.norm(self.stem(x))))


NAMES = sorted(Net().state_dict())


@pytest.fixture
def trained():
    network = Net()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
        network.norm.running_mean.normal_()
        network.norm.num_batches_tracked.fill_(7)
    return network


@pytest.fixture
def file(trained, tmp_path):
    save(trained, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def changed(network, path, **tensors):
    """A file of the network's state with some tensors replaced, added or (None) left out."""
    state = {**network.state_dict(), **{n.replace("__", "."): t for n, t in tensors.items()}}
    safetensors.torch.save_file({n: t for n, t in state.items() if t is not None}, path)
    return path


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert tensor.shape == second[name].shape, name
        assert raw(tensor) == raw(second[name]), name


def raw(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def sha256_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def settle(path):
    """Wait until the file is old enough to be stamped, as if its time of change were long ago."""
    age = time.time() - os.stat(path).st_ctime
    time.sleep(max(0.0, 2.1 - age))


# Loading


def test_a_network_gets_its_weights(trained, file):
    network, replaced, _ = load_network(Net, file)
    assert replaced == ()
    assert_same(network.state_dict(), trained.state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.eval()(x), trained.eval()(x))


def test_the_u2netp_that_is_installed(tmp_path):
    first = u2netp()
    save(first, tmp_path / "a.safetensors")
    second, _, _ = load_network(u2netp, tmp_path / "a.safetensors")
    assert_same(first.state_dict(), second.state_dict())


def test_a_loaded_network_can_be_trained(file):
    network, _, _ = load_network(Net, file)
    assert network.training
    before = network.head.weight.detach().clone()
    network(torch.randn(2, 3, 8, 8)).square().mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad
    assert not torch.equal(before, network.head.weight)


def test_the_mode_and_requires_grad_are_as_built(file):
    def build():
        network = Net().eval()
        network.mid.requires_grad_(False)
        return network

    network, _, _ = load_network(build, file)
    assert not network.training
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"mid.weight", "mid.bias"}
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())


def test_no_parameter_is_initialised_to_be_overwritten(file):
    devices = []

    def build():
        network = Net()
        devices.append(network.head.weight.device.type)
        return network

    state = torch.random.get_rng_state()
    load_network(build, file)
    assert devices == ["meta"]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_saving_one_loaded_tensor_does_not_save_all(file):
    network, _, _ = load_network(Net, file)
    kept = io.BytesIO()
    torch.save(network.head.bias, kept)
    assert network.head.bias.untyped_storage().nbytes() == 8
    assert len(kept.getvalue()) < 2000


class WithBuffers(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.arange(5.0), persistent=False)


class WithAttribute(Net):
    def __init__(self):
        super().__init__()
        self.sizes = {"all": [torch.tensor([3.0, 4.0])]}


class LooksAtValues(Net):
    def __init__(self):
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]


def test_buffers_that_are_not_saved_have_their_values(trained, file):
    network, _, _ = load_network(WithBuffers, file)
    assert network.grid.tolist() == [0, 1, 2, 3, 4]
    assert_same(network.state_dict(), trained.state_dict())


def test_tensors_that_are_mere_attributes_have_their_values(trained, file):
    network, _, _ = load_network(WithAttribute, file)
    assert network.sizes["all"][0].tolist() == [3, 4]
    assert_same(network.state_dict(), trained.state_dict())


def test_a_builder_that_looks_at_values_builds_on_the_cpu(trained, file):
    network, _, _ = load_network(LooksAtValues, file)
    assert network.rates == [0, 0.5, 1]
    assert_same(network.state_dict(), trained.state_dict())


def test_a_builder_that_fails_says_why(file):
    def build():
        raise RuntimeError("no such encoder")

    with pytest.raises(RuntimeError, match="no such encoder"):
        load_network(build, file)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_tied_parameters_are_saved_under_each_name_and_tied_again(tmp_path):
    network = Tied()
    save(network, tmp_path / "a.safetensors")
    assert sorted(read(tmp_path / "a.safetensors")) == sorted(network.state_dict())
    loaded, _, _ = load_network(Tied, tmp_path / "a.safetensors")
    assert loaded.second.weight is loaded.first.weight
    assert len(list(loaded.parameters())) == 3
    assert_same(loaded.state_dict(), network.state_dict())


def test_tied_parameters_with_two_values_are_refused(tmp_path):
    state = Tied().state_dict()
    save({**state, "second.weight": state["first.weight"] + 1}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsMismatchError) as caught:
        load_network(Tied, tmp_path / "a.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/a.safetensors: the network has one parameter as 'first.weight' and "
        "'second.weight'; the file has different values for them"
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_declared_half_is_widened(dtype, trained, tmp_path):
    path = tmp_path / "half.safetensors"
    save(trained, path, dtype=dtype)
    network, _, _ = load_network(Net, path, given=Given(dtype=dtype))
    for name, tensor in trained.state_dict().items():
        stored = tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
        assert network.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(network.state_dict()[name], stored.to(tensor.dtype))


def test_declared_halves_may_stand_beside_float32(trained, tmp_path):
    path = changed(trained, tmp_path / "a.safetensors", mid__weight=trained.mid.weight.half())
    network, _, _ = load_network(Net, path, given=Given(dtype="float16"))
    assert torch.equal(network.mid.weight, trained.mid.weight.half().float())


@pytest.mark.parametrize(("dtype", "code"), [("float16", "F16"), ("bfloat16", "BF16")])
def test_a_half_that_is_not_declared_is_refused(dtype, code, trained, tmp_path):
    save(trained, tmp_path / "half.safetensors", dtype=dtype)
    with pytest.raises(WeightsMismatchError) as caught:
        load_network(Net, tmp_path / "half.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/half.safetensors: weights of another network: 10 of another dtype: "
        + ", ".join(f"{n} (found {code}, expected F32)" for n in NAMES[:5])
        + " and 5 more. Save its floating-point tensors as float32"
    )


# Another head, another stem


def test_the_head_is_replaced_when_its_shape_differs(trained, file):
    network, replaced, _ = load_network(lambda: Net(num_classes=5), file, replace=("head",))
    assert replaced == ("head.bias", "head.weight")
    assert network.head.weight.shape == (5, 6, 1, 1)
    assert network.head.weight.std() > 0
    state = trained.state_dict()
    for name in NAMES:
        if name not in replaced:
            assert torch.equal(network.state_dict()[name], state[name])


def test_the_new_head_is_what_its_builder_draws(file):
    def build():
        torch.manual_seed(3)
        return Net(num_classes=5)

    network, _, _ = load_network(build, file, replace=("head",))
    assert torch.equal(network.head.weight, build().head.weight)


def test_a_head_that_fits_is_not_replaced(trained, file):
    network, replaced, _ = load_network(Net, file, replace=("head",), adapt=("stem",))
    assert replaced == ()
    assert_same(network.state_dict(), trained.state_dict())


def test_a_prefix_ends_at_a_dot(file):
    with pytest.raises(WeightsMismatchError, match=r"2 of another shape: head\.bias"):
        load_network(lambda: Net(num_classes=5), file, replace=("hea",))


@pytest.mark.parametrize("in_channels", [1, 2, 4, 7])
def test_the_stem_is_adapted(in_channels, trained, file):
    network, replaced, _ = load_network(lambda: Net(in_channels), file, adapt=("stem",))
    assert replaced == ("stem.weight",)
    assert torch.equal(network.stem.bias, trained.stem.bias)
    old, new = trained.stem.weight, network.stem.weight
    assert isinstance(new, nn.Parameter)
    for channel in range(in_channels):
        expected = old.sum(1) if in_channels == 1 else old[:, channel % 3] * 3 / in_channels
        torch.testing.assert_close(new[:, channel], expected)


def test_a_gray_picture_gives_what_it_gave_as_rgb():
    weight, gray = torch.randn(4, 3, 3, 3), torch.randn(1, 1, 9, 9)
    expected = nn.functional.conv2d(gray.expand(1, 3, 9, 9), weight)
    torch.testing.assert_close(nn.functional.conv2d(gray, adapt_channels(weight, 1)), expected)
    back = adapt_channels(adapt_channels(weight, 1), 3)
    torch.testing.assert_close(nn.functional.conv2d(gray.expand(1, 3, 9, 9), back), expected)


def test_a_stem_that_is_no_convolution_starts_afresh(tmp_path):
    save(nn.Linear(3, 4), tmp_path / "a.safetensors")
    network, replaced, _ = load_network(
        lambda: nn.Linear(5, 4), tmp_path / "a.safetensors", adapt=("weight",)
    )
    assert replaced == ("weight",)
    assert network.weight.std() > 0


def test_a_stored_stem_without_channels_starts_afresh(trained, tmp_path):
    path = changed(trained, tmp_path / "a.safetensors", stem__weight=torch.zeros(4, 0, 3, 3))
    network, replaced, _ = load_network(Net, path, adapt=("stem",))
    assert replaced == ("stem.weight",)
    assert network.stem.weight.std() > 0


def test_the_heads_of_u2netp(tmp_path):
    path = tmp_path / "a.safetensors"
    save(u2netp(), path)
    network, replaced, _ = load_network(
        lambda: u2netp(in_channels=1, num_classes=3),
        path,
        replace=("heads", "fuse"),
        adapt=("encoder.0.conv_in.0",),
    )
    assert len(replaced) == 2 * 6 + 2 + 1
    assert network.eval()(torch.randn(1, 1, 32, 32)).shape == (1, 3, 32, 32)


# Weights of another network


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        pytest.param(torch.float64, "F64", id="W9 float64"),
        pytest.param(torch.int8, "I8", id="W9 int8"),
        pytest.param(torch.complex64, "C64", id="W9 complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_another_dtype_is_refused(dtype, code, trained, tmp_path):
    tensor = trained.mid.weight.detach().to(dtype)
    path = changed(trained, tmp_path / "a.safetensors", mid__weight=tensor)
    Net().load_state_dict(read(path))  # what torch makes of it: it fits
    with pytest.raises(WeightsMismatchError) as caught:
        load_network(Net, path, given=Given(dtype="float16"))
    assert str(caught.value) == (
        f"{path}: weights of another network: 1 of another dtype: mid.weight (found {code}, "
        "expected F32). Save its floating-point tensors as float32"
    )
    assert caught.value.exit_code == 3


def test_w10_everything_that_differs_is_told_at_once(trained, tmp_path):
    path = changed(
        trained,
        tmp_path / "a.safetensors",
        mid__weight=trained.mid.weight.detach().transpose(0, 1).contiguous(),
        mid__bias=trained.mid.bias.detach().double(),
        head__weight=torch.zeros(21, 6, 1, 1),
        head__bias=torch.zeros(21),
        norm__bias=None,
        norm__weight=None,
        **{f"extra{i}": torch.zeros(1) for i in range(1200)},
    )
    with pytest.raises(WeightsMismatchError) as caught:
        load_network(lambda: Net(num_classes=19), path)
    assert str(caught.value) == (
        f"{path}: weights of another network: 2 missing: norm.bias, norm.weight; "
        "1,200 unexpected: extra0, extra1, extra10, extra100, extra1000 and 1,195 more; "
        "3 of another shape: head.bias (found [21], expected [19]), "
        "head.weight (found [21, 6, 1, 1], expected [19, 6, 1, 1]), "
        "mid.weight (found [4, 6, 1, 1], expected [6, 4, 1, 1]); "
        "1 of another dtype: mid.bias (found F64, expected F32). "
        "If the first side is the number of classes, load with num_classes=21"
    )


@pytest.mark.parametrize(
    ("build", "next_step"),
    [
        (
            lambda: Net(num_classes=9),
            "If the first side is the number of classes, load with num_classes=2",
        ),
        (
            lambda: Net(in_channels=4),
            "If the second side is the input channels, load with in_channels=3",
        ),
        (lambda: Net(in_channels=4, num_classes=9), ""),
    ],
)
def test_w10_the_hint(build, next_step, file):
    with pytest.raises(WeightsMismatchError) as caught:
        load_network(build, file)
    assert caught.value.next_step == next_step


def test_w15_names_of_a_file_are_printed_harmless_and_short(tmp_path):
    state = {"x" * 1000: torch.zeros(1), "a": torch.zeros(1)}
    save(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsMismatchError, match=f"2 unexpected: a, {'x' * 77}[.]{{3}}$"):
        load_network(nn.Identity, tmp_path / "a.safetensors")


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes as Linux does")
def test_w18_too_much_is_refused_from_the_header(trained, tmp_path):
    path = tmp_path / "a.safetensors"
    save(trained, path)
    header, _ = json.JSONDecoder().raw_decode(path.read_bytes()[8:].decode("latin-1"))
    end = max(info["data_offsets"][1] for info in header.values())
    size = 10 * 2**30
    header["extra"] = {"dtype": "U8", "shape": [10, 2**30], "data_offsets": [end, end + size]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end + size)  # sparse: zeros that take no room

    def bytes_read():
        return int(Path("/proc/self/io").read_text().split()[1])

    load_network(Net, save_at(trained, tmp_path / "warm.safetensors"))
    before, start = bytes_read(), time.perf_counter()
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: extra$"):
        load_network(Net, path)
    assert time.perf_counter() - start < 1
    assert bytes_read() - before < 100_000


def save_at(network, path):
    save(network, path)
    return path


# Values, hashes, stamps


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"mid__bias": torch.tensor([0, NAN, 0, NAN, 1, INF])},
            "1 with NaN or infinity: mid.bias (3)",
            id="W11 NaN and Inf",
        ),
        pytest.param(
            {"mid__bias": torch.tensor([0, INF, 0, -INF, 1, 0])},
            "1 with NaN or infinity: mid.bias (2)",
            id="W11 Inf and -Inf",
        ),
        pytest.param(
            {"norm__running_var": torch.tensor([1.0, -1e-9, 1, -2])},
            "1 with negative values: norm.running_var (2)",
            id="W11 negative running_var",
        ),
        pytest.param(
            {
                "norm__running_var": torch.tensor([1.0, NAN, -1, 1]),
                "stem__weight": torch.full((4, 3, 3, 3), NAN),
            },
            "2 with NaN or infinity: norm.running_var (1), stem.weight (108); "
            "1 with negative values: norm.running_var (1)",
            id="W11 all",
        ),
    ],
)
def test_values_that_no_network_can_use(values, message, trained, tmp_path):
    path = changed(trained, tmp_path / "a.safetensors", **values)
    for refused in (lambda: load_network(Net, path), lambda: read(path)):
        with pytest.raises(WeightsValueError) as caught:
            refused()
        assert str(caught.value) == (
            f"{path}: tensors that no network can use: {message}. "
            "To use them all the same, give allow_nonfinite=True"
        )
        assert caught.value.exit_code == 3
    loaded, _, _ = load_network(Net, path, allow_nonfinite=True)
    for name, tensor in values.items():
        assert raw(loaded.state_dict()[name.replace("__", ".")]) == raw(tensor)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex64, torch.float8_e5m2])
@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_bad_value_is_found_wherever_it_stands(dtype, size, value, tmp_path):
    tensor = torch.zeros(size)
    tensor[size * 2 // 3] = value
    safetensors.torch.save_file({"a": tensor.to(dtype)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsValueError, match=r"1 with NaN or infinity: a \(1\)"):
        read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", FLOATS)
def test_finite_values_whose_sum_is_not_are_taken(dtype, tmp_path):
    tensor = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    save({"a": tensor}, tmp_path / "a.safetensors")
    assert torch.equal(read(tmp_path / "a.safetensors")["a"], tensor)


def test_w13_a_declared_hash_is_checked(file):
    good = sha256_of(file)
    assert sorted(read(file, sha256=good)) == NAMES
    assert sorted(read(file, sha256=good.upper())) == NAMES
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        load_network(Net, file, sha256=good)
    assert str(caught.value) == (
        f"{file}: its sha256 is not the declared one; found {sha256_of(file)}, "
        f"expected {good}. Fetch it again"
    )
    assert caught.value.exit_code == 3


def test_every_flipped_byte_is_refused(tmp_path):
    """With a declared hash no change of one byte passes, in header or body."""
    path = tmp_path / "a.safetensors"
    good = save(nn.Linear(3, 2), path, metadata={"a": "b"})
    data = path.read_bytes()
    chance = random.Random(0)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(SegzooError):
            load_network(lambda: nn.Linear(3, 2), path, sha256=good)


def test_a_stamp_spares_the_hash_and_the_look_at_the_values(trained, tmp_path, monkeypatch):
    path = changed(trained, tmp_path / "a.safetensors", mid__bias=torch.full((6,), NAN))
    good = sha256_of(path)
    settle(path)
    read(path, allow_nonfinite=True)
    stamp = cache.read_stamp(path, os.stat(path))
    assert stamp == cache.Stamp(good, False)
    with pytest.raises(WeightsValueError):  # the values were never looked at
        read(path)

    # A stamp is believed: this one says of the file what a fresh look would not.
    lie = cache.Stamp("0" * 64, True)
    assert cache.write_stamp(path, os.stat(path), lie, began=time.time())
    assert sorted(read(path, sha256="0" * 64)) == NAMES
    with pytest.raises(IntegrityError, match=f"found {'0' * 64}, expected {good}"):
        read(path, sha256=good)
    # And it is not believed by who verifies.
    with pytest.raises(IntegrityError, match=f"found {good}, expected {'0' * 64}"):
        read(path, sha256="0" * 64, verify=True)
    with pytest.raises(WeightsValueError):
        read(path, sha256=good, verify=True)


def test_only_what_was_checked_is_stamped(trained, file, tmp_path):
    path = changed(trained, tmp_path / "a.safetensors", mid__bias=torch.full((6,), NAN))
    good = sha256_of(file)
    read(file, sha256=good)
    assert cache.read_stamp(file, os.stat(file)) is None  # it has just been written
    settle(path)
    with pytest.raises(WeightsValueError):
        read(path)
    with pytest.raises(IntegrityError):
        read(path, sha256="0" * 64, allow_nonfinite=True)
    assert cache.read_stamp(path, os.stat(path)) is None

    read(file, sha256=good)
    assert cache.read_stamp(file, os.stat(file)) == cache.Stamp(good, True)
    with file.open("r+b") as writer:
        writer.seek(-1, os.SEEK_END)
        writer.write(b"\x01")
    with pytest.raises(IntegrityError):
        read(file, sha256=good)


def test_a_home_that_cannot_be_used_does_not_stop_a_load(file, monkeypatch):
    monkeypatch.setenv("SEGZOO_HOME", "/proc/segzoo-test")
    assert sorted(read(file)) == NAMES


# Files that change


def test_w14_a_file_cut_while_it_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save(nn.Linear(100, 100), path)
    size = os.stat(path).st_size

    def build():  # runs between the header and the body
        os.truncate(path, size - 100)
        return nn.Linear(100, 100)

    with pytest.raises(WeightsFormatError) as caught:
        load_network(build, path)
    assert str(caught.value) == (
        f"{path}: the file became shorter while it was read; expected {size:,} bytes. "
        "Load it when it is complete"
    )


@pytest.mark.parametrize("change", ["longer", "overwritten"])
def test_w14_a_file_changed_while_it_is_read(change, file):
    def build():
        time.sleep(0.05)  # a tick of the file system's clock
        with file.open("ab" if change == "longer" else "r+b") as writer:
            writer.write(b"more")
        return Net()

    with pytest.raises(WeightsFormatError) as caught:
        load_network(build, file)
    assert str(caught.value) == (
        f"{file}: the file changed while it was read. Load it when it is complete"
    )


def test_w14_a_file_cut_after_it_was_loaded(trained, file):
    network, _, _ = load_network(Net, file)
    os.truncate(file, 0)
    assert_same(network.state_dict(), trained.state_dict())


def test_w14_a_file_cut_again_and_again(tmp_path):
    """Another thread cuts and mends the file: tensors as they were, or a clean error, no signal."""
    path = tmp_path / "a.safetensors"
    state = {"a": torch.arange(3_000_000, dtype=torch.int32)}
    save(state, path)
    data, done = path.read_bytes(), threading.Event()

    def disturb():
        while not done.is_set():
            os.truncate(path, len(data) // 2)
            path.write_bytes(data)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(100):
            try:
                assert [*read(path)] == ["a"]
            except WeightsFormatError:
                pass
    finally:
        done.set()
        thread.join()
    assert_same(read(path), state)


def test_a_disk_that_fails_below_the_header(trained, tmp_path, monkeypatch):
    class Failing(io.FileIO):  # what a reader meets when a sector is broken
        def readinto(self, buffer):
            if self.tell() > 1000:  # the header is in the first block
                raise OSError(5, "Input/output error")
            return super().readinto(buffer)

    path = tmp_path / "a.safetensors"
    save(nn.Linear(100, 100), path)
    monkeypatch.setattr(
        "segzoo.weights.safetensors.open_regular", lambda path: io.BufferedReader(Failing(path))
    )
    with pytest.raises(WeightsFormatError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: cannot be read: Input/output error"


def test_a_file_is_read_in_groups_of_tensors(trained, tmp_path, monkeypatch):
    """Whatever the size of a group: of one tensor each, of some, of all."""
    path = tmp_path / "a.safetensors"
    digest = save(trained, path)
    for chunk in (0, 1, 300, 2**30):
        monkeypatch.setattr("segzoo.weights.safetensors.CHUNK", chunk)
        assert_same(read(path, sha256=digest, verify=True), trained.state_dict())


def test_tensors_begin_where_kernels_take_them_whole(tmp_path):
    """At multiples of 16 bytes: elsewhere a matrix product adds up in another order."""
    path = tmp_path / "a.safetensors"
    sizes = [1, 2, 3, 5, 7, 129, 2**16 + 1]
    save({f"t{i}": torch.ones(n) for i, n in enumerate(sizes * 3)}, path)
    assert {tensor.data_ptr() % 16 for tensor in read(path).values()} == {0}


def test_loading_takes_a_files_memory_once(tmp_path):
    """128 MiB of tensors: less than half as much again while they are read."""
    path = tmp_path / "a.safetensors"
    save({f"t{i}": torch.zeros(2**18) for i in range(128)}, path)
    program = f"""
import resource
from segzoo.weights.safetensors import read
read({str(path)!r}, allow_nonfinite=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    empty = program.replace(f"read({str(path)!r}, allow_nonfinite=True)", "pass")

    def kib(code):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert kib(program) - kib(empty) < 1.5 * 128 * 1024


def test_more_memory_than_there_is(tmp_path):
    """A sparse file of 8 TiB, in a process that may have one."""
    path = tmp_path / "a.safetensors"
    info = {"dtype": "F64", "shape": [2**20, 2**20], "data_offsets": [0, 2**43]}
    text = json.dumps({"a": info}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    try:
        os.truncate(path, 8 + len(text) + 2**43)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    program = f"""
import resource, torch
from segzoo.weights.safetensors import read
from segzoo.errors import WeightsFormatError
resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))
try:
    read({str(path)!r})
except WeightsFormatError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == (f"{path}: its tensors need 8192.0 GiB, more memory than there is\n"), (
        done.stderr
    )


# What is not safetensors, what is not a file


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def write_pickle(canary, path):
    path.write_bytes(pickle.dumps(canary))


def write_torch(canary, path):
    torch.save({"a": canary}, path)


def write_old_torch(canary, path):
    torch.save({"a": canary}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        pytest.param(write_pickle, "a Python pickle", id="W12 pickle"),
        pytest.param(write_torch, "a zip archive", id="W12 torch"),
        pytest.param(write_old_torch, "a Python pickle", id="W12 old torch"),
    ],
)
def test_what_torch_saves_is_never_opened(write, kind, tmp_path):
    path = tmp_path / "model.safetensors"
    write(Canary(tmp_path / "canary"), path)
    for load in (lambda: load_network(Net, path), lambda: read(path)):
        with pytest.raises(UnsafeFormatError, match=f"not safetensors; found {kind}"):
            load()
    assert not (tmp_path / "canary").exists()


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(WeightsMissingError) as caught:
        load_network(Net, tmp_path / "gone.safetensors")
    assert str(caught.value) == f"{tmp_path}/gone.safetensors: the file does not exist"


def test_a_bad_file_is_refused_before_the_network_is_built(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(WeightsFormatError, match="truncated header"):
        load_network(lambda: pytest.fail("it was built"), tmp_path / "a.safetensors")


@pytest.fixture
def hub(tmp_path):
    """The cache of the Hub: models--a--b/snapshots/REVISION/ links into models--a--b/blobs/."""
    repo = tmp_path / "models--a--b"
    folder = repo / "snapshots" / ("0" * 40)
    (repo / "blobs").mkdir(parents=True)
    (folder / "small").mkdir(parents=True)
    (repo / "blobs" / "e3b0").write_bytes(b"x")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_bytes(b"x")
    (tmp_path / "models--c--d" / "blobs").mkdir(parents=True)
    (tmp_path / "models--c--d" / "blobs" / "e3b0").write_bytes(b"x")
    return folder


def test_w17_links_of_the_hub_into_its_blobs_are_allowed(hub):
    (hub / "model.safetensors").symlink_to("../../blobs/e3b0")
    (hub / "small" / "model.safetensors").symlink_to("../../../blobs/e3b0")
    for folder in (hub, hub / "small"):
        path = within(folder, "model.safetensors")
        assert path == folder / "model.safetensors"
        assert path.read_bytes() == b"x"


def test_w17_a_blob_that_models_share_is_allowed(hub, tmp_path):
    (tmp_path / "blobs" / "ab").mkdir(parents=True)
    (tmp_path / "blobs" / "ab" / "abcd").write_bytes(b"x")
    (hub.parents[1] / "blobs" / "e3b1").symlink_to("../../blobs/ab/abcd")
    (hub / "model.safetensors").symlink_to("../../blobs/e3b1")
    assert within(hub, "model.safetensors").read_bytes() == b"x"


def test_w17_a_link_within_the_folder_is_allowed(tmp_path):
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "model.safetensors").symlink_to("real")
    assert within(tmp_path, "model.safetensors") == tmp_path / "model.safetensors"


def test_w17_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    assert within(tmp_path / "link", "a") == tmp_path / "link" / "a"


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../../secret",
        "../../refs/main",
        "../../../models--c--d/blobs/e3b0",
        "../../blobs/../../secret",
        "../../blobs/gone/../../../secret",
        "small/../../../refs/main",
        "/dev/zero",
    ],
)
def test_w17_a_link_out_of_the_folder_is_refused(target, hub, tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    (hub / "model.safetensors").symlink_to(target)
    with pytest.raises(UnsafeFormatError) as caught:
        within(hub, "model.safetensors")
    assert str(caught.value) == (
        f"{hub}/model.safetensors: a link out of its folder. Give the file that is meant by itself"
    )


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkdir, "a folder"), (os.mkfifo, "a named pipe")],
    ids=["W17 folder", "W17 pipe"],
)
def test_w17_what_is_not_a_file_is_refused(make, kind, tmp_path):
    make(tmp_path / "model.safetensors")
    path = tmp_path / "model.safetensors"
    for refused in (lambda: within(tmp_path, path.name), lambda: read(path)):
        with pytest.raises(UnsafeFormatError) as caught:
            refused()
        assert str(caught.value) == f"{path}: not a file of weights; found {kind}, expected a file"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "/a", "a\\b", "C:a", "a\0", "a\nb", "./a"]
)
def test_w17_only_plain_names(name, tmp_path):
    with pytest.raises(WeightsFormatError, match="is not the plain name of a file"):
        within(tmp_path, name)


def test_within_a_missing_file_and_a_loop(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(WeightsMissingError, match="cannot be opened: No such file or directory"):
        within(tmp_path, "gone")
    with pytest.raises(WeightsMissingError, match="cannot be opened: Too many levels"):
        within(tmp_path, "loop")


# Several files


def shards(folder, network, split=5):
    """Two files and their index."""
    state, names = network.state_dict(), NAMES
    places = {n: f"part-{1 + (i >= split)}.safetensors" for i, n in enumerate(names)}
    for shard in set(places.values()):
        save({n: state[n] for n in names if places[n] == shard}, folder / shard)
    return write_index(folder, places)


def write_index(folder, places):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def test_several_files_are_one_network(trained, tmp_path):
    index = shards(tmp_path, trained)
    assert read_index(index) == {
        n: tmp_path / f"part-{1 + (i >= 5)}.safetensors" for i, n in enumerate(NAMES)
    }
    network, replaced, _ = load_network(Net, index)
    assert replaced == ()
    assert_same(network.state_dict(), trained.state_dict())
    assert_same(read(index), trained.state_dict())


def test_several_files_have_no_hash_of_their_own(trained, tmp_path):
    index = shards(tmp_path, trained)
    with pytest.raises(UsageError) as caught:
        read(index, sha256="0" * 64)
    assert str(caught.value) == f"{index}: an index of several files has no sha256 of its own"


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        pytest.param(
            "../other.safetensors",
            "the index: '../other.safetensors' is not the plain name of a file",
            id="W16 ../other",
        ),
        pytest.param(
            "/etc/passwd", "the index: '/etc/passwd' is not the plain name", id="W16 absolute"
        ),
        pytest.param(
            "part-3.safetensors",
            "the index names a file that is missing: 'part-3.safetensors'. "
            "Fetch all files of the set again",
            id="W16 missing",
        ),
        pytest.param("", "the index: '' is not the plain name of a file", id="W16 empty"),
        pytest.param(3, "the index has no usable 'weight_map'", id="W16 number"),
    ],
)
def test_an_index_names_files_beside_it_alone(shard, message, trained, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    save(trained, tmp_path / "other.safetensors")
    index = shards(folder, trained)
    places = json.loads(index.read_text())["weight_map"]
    write_index(folder, {**places, NAMES[0]: shard})
    with pytest.raises(WeightsFormatError) as caught:
        load_network(Net, index)
    assert str(caught.value).startswith(f"{index}: {message}")
    assert caught.value.exit_code == 3


def test_w16_a_shard_that_is_a_link_out_of_the_folder(trained, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    index = shards(folder, trained)
    (folder / "part-2.safetensors").rename(tmp_path / "outside")
    (folder / "part-2.safetensors").symlink_to("../outside")
    with pytest.raises(UnsafeFormatError, match=r"part-2\.safetensors: a link out of its folder"):
        load_network(Net, index)


def test_w16_one_shard_under_two_names(trained, tmp_path):
    index = shards(tmp_path, trained)
    (tmp_path / "part-2.safetensors").unlink()
    (tmp_path / "part-2.safetensors").symlink_to("part-1.safetensors")
    with pytest.raises(WeightsFormatError) as caught:
        load_network(Net, index)
    assert str(caught.value) == (
        f"{tmp_path}/part-2.safetensors: the file and its index disagree on tensor '{NAMES[0]}'"
    )


def test_w16_one_tensor_in_two_shards(trained, tmp_path):
    index = shards(tmp_path, trained)
    text = index.read_text()
    first = f'"{NAMES[0]}": "part-1.safetensors"'
    index.write_text(text.replace(first, f'{first}, "{NAMES[0]}": "part-2.safetensors"'))
    with pytest.raises(WeightsFormatError) as caught:
        read(index)
    assert str(caught.value) == (
        f"{index}: the index is not valid JSON: the key '{NAMES[0]}' stands twice"
    )


def test_w16_an_index_and_a_shard_that_disagree(trained, tmp_path):
    index = shards(tmp_path, trained)
    places = json.loads(index.read_text())["weight_map"]
    write_index(tmp_path, {n: p for n, p in places.items() if n != "head.bias"})
    with pytest.raises(WeightsFormatError, match=r"disagree on tensor 'head\.bias'"):
        read(index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the index is not valid JSON: Expecting value"),
        ("{}", "the index has no usable 'weight_map'; expected tensor names and files"),
        ('{"weight_map": {}}', "the index has no usable 'weight_map'"),
        ('{"weight_map": "all"}', "the index has no usable 'weight_map'"),
        ('{"a": NaN}', "the index is not valid JSON: NaN is not a number of JSON"),
        ("[" * 1000, "the index is nested too deeply; found 1,000 levels, expected at most 4"),
        (" " * 2**20 + "{}", "the index is too long; expected at most 1,048,576 bytes"),
    ],
)
def test_w16_what_is_no_index(text, message, tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(WeightsFormatError) as caught:
        load_network(Net, path)
    assert str(caught.value).startswith(f"{path}: {message}")


# Saving


def test_saving_twice_gives_the_same_bytes(trained, tmp_path):
    metadata = {"b": "2", "a": "ü"}
    first = save(trained, tmp_path / "a", metadata=metadata)
    shuffled = dict(reversed(trained.state_dict().items()))
    second = save(shuffled, tmp_path / "b", metadata=dict(reversed(metadata.items())))
    assert first == second == sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_saved_is_as_the_library_reads_it(trained, tmp_path):
    save(trained, tmp_path / "a", metadata={"made": "here"})
    assert_same(safetensors.torch.load_file(tmp_path / "a"), trained.state_dict())
    with safetensors.safe_open(tmp_path / "a", "pt") as opened:
        assert opened.metadata() == {"made": "here"}


def test_what_the_library_saves_is_read(tmp_path):
    state = {code: torch.randint(0, 2, (3, 5)).to(dtype) for code, dtype in DTYPES.items()} | {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "ü": torch.ones(7).bool(),
    }
    safetensors.torch.save_file(state, tmp_path / "a")
    assert_same(read(tmp_path / "a"), safetensors.torch.load_file(tmp_path / "a"))
    assert_same(read(tmp_path / "a"), state)


def test_tensors_that_lie_unaligned_are_read(tmp_path):
    body = b"\x01" + torch.tensor([1.5, -2.0]).numpy().tobytes()
    text = json.dumps(
        {
            "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
        }
    ).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + body)
    tensors = read(tmp_path / "a")
    assert tensors["a"].tolist() == [1]
    assert tensors["b"].tolist() == [1.5, -2.0]
    assert tensors["b"].data_ptr() % 4 == 0


def test_the_layout_is_the_librarys(trained, tmp_path):
    """Byte for byte, with and without metadata of its one key."""
    for metadata in (None, {"made": "here"}):
        save(trained, tmp_path / "a", metadata=metadata)
        theirs = safetensors.torch.save(trained.state_dict(), metadata)
        assert (tmp_path / "a").read_bytes() == theirs


def test_files_of_the_writer_before_are_read(tmp_path):
    """It escaped letters in names, and put float16 and bfloat16 by name among each other."""
    body = bytes(range(12))
    text = json.dumps(
        {
            "\u00fc": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "a": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]},
            "c": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        }
    ).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + body)
    assert b"\\u00fc" in text
    found = read(tmp_path / "a")
    assert b"".join(t.view(torch.uint8).numpy().tobytes() for t in found.values()) == body
    assert [t.dtype for t in found.values()] == [torch.float32, torch.float16, torch.bfloat16]


def test_strided_and_grown_tensors_are_saved_as_they_look(tmp_path):
    state = {
        "t": torch.arange(6.0).reshape(2, 3).t(),
        "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "one": torch.ones(1).expand(4),
        "grad": torch.ones(2, requires_grad=True),
    }
    save(state, tmp_path / "a")
    for name, tensor in read(tmp_path / "a").items():
        assert torch.equal(tensor, state[name])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N", "S"], exclude_characters="/\\"), min_size=1),
        st.tuples(
            st.sampled_from([*CODES]),
            st.lists(st.integers(0, 5), max_size=4),
            st.integers(0, 2**32),
        ),
        max_size=6,
    )
)
def test_a_round_trip_keeps_every_bit(tmp_path, described):
    state = {}
    for name, (dtype, shape, seed) in described.items():
        size = torch.Size(shape).numel() * dtype.itemsize
        data = torch.tensor(list(random.Random(seed).randbytes(size)), dtype=torch.uint8)
        if dtype.is_floating_point or dtype.is_complex:
            data &= 0b10111011  # no exponent of all ones, whatever the type and byte order
        data = data & 1 if dtype == torch.bool else data
        state[name] = data.view(dtype).view(shape)
    save(state, tmp_path / "a")
    assert_same(read(tmp_path / "a"), state)
    assert_same(safetensors.torch.load_file(tmp_path / "a"), state)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_saving_in_another_type(dtype, trained, tmp_path):
    save(trained, tmp_path / "a", dtype=dtype)
    for name, tensor in read(tmp_path / "a").items():
        expected = trained.state_dict()[name]
        if expected.is_floating_point():
            expected = expected.to(getattr(torch, dtype))
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize(
    ("state", "dtype", "message"),
    [
        ({"a": torch.tensor([NAN])}, None, "1 with NaN or infinity: a (1)"),
        ({"a": torch.tensor([1e5])}, "float16", "1 with NaN or infinity: a (1)"),
        (
            {"norm.running_var": torch.tensor([-1.0])},
            None,
            "1 with negative values: norm.running_var (1)",
        ),
    ],
)
def test_bad_values_are_not_saved(state, dtype, message, tmp_path):
    with pytest.raises(WeightsValueError) as caught:
        save(state, tmp_path / "a", dtype=dtype)
    assert str(caught.value) == (
        f"{tmp_path}/a: tensors that no network can use: {message}. Nothing was written"
    )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "'a' cannot be saved; found int, expected a dense tensor with values"),
        (
            torch.zeros(1, device="meta"),
            "'a' cannot be saved; found torch.strided on meta, expected a dense tensor with values",
        ),
        (
            torch.eye(2).to_sparse(),
            "'a' cannot be saved; found torch.sparse_coo on cpu, expected a dense tensor with",
        ),
        (
            torch.zeros(1, dtype=torch.complex128),
            "'a' cannot be saved; found torch.complex128, expected one of F64, F32, F16",
        ),
    ],
)
def test_what_safetensors_cannot_hold(value, message, tmp_path):
    with pytest.raises(UsageError) as caught:
        save({"a": value}, tmp_path / "a")
    assert str(caught.value).startswith(message)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["../a", "", "a\nb", "x" * 1025, "__metadata__"])
def test_what_could_not_be_read_again_is_not_written(name, tmp_path):
    with pytest.raises(WeightsFormatError):
        save({name: torch.zeros(1)}, tmp_path / "a")
    assert [*tmp_path.iterdir()] == []


def test_an_earlier_file_stays_whole_until_the_new_one_is(trained, file):
    before = file.read_bytes()
    with pytest.raises(WeightsValueError):
        save({"a": torch.tensor([NAN])}, file)
    assert file.read_bytes() == before
    save({"a": torch.zeros(1)}, file)
    assert sorted(read(file)) == ["a"]


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("gone/a", "No such file or directory"),
        ("folder", "it is a folder"),
        ("file/a", "Not a directory"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written(path, cause, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        save({"a": torch.zeros(1)}, tmp_path / path)
    assert str(caught.value) == f"{tmp_path / path}: cannot be written: {cause}"
    assert caught.value.exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path):
    """A process that may write no file above 100,000 bytes stands for the full disk."""
    program = f"""
import resource, signal, torch
from segzoo.errors import ResourceError
from segzoo.weights.safetensors import save
save({{"a": torch.zeros(9)}}, {str(tmp_path / "a")!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save({{"a": torch.zeros(1_000_000)}}, {str(tmp_path / "a")!r})
except ResourceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    told = f"{tmp_path}/a: cannot be written: File too large. Free some space\n"
    assert done.stdout == told, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert read(tmp_path / "a")["a"].tolist() == [0] * 9


def test_a_saved_file_may_be_read_as_other_new_files_may(tmp_path):
    umask = os.umask(0o022)
    try:
        save({"a": torch.zeros(1)}, tmp_path / "a")
    finally:
        os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


# Fuzz: whatever a header says that passes, its tensors can be made


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(8, len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.choice(b'0123456789[]{},":FI6UB')
            case 1:
                del data[at : at + chance.randint(1, 6)]
            case 2:
                data[at:at] = chance.choice([b"0", b"1,", b",0", b'"F16"', b"9" * 10, b" "])
    body = chance.randrange(64) if chance.random() < 0.3 else 0
    end = data.rindex(b"}") + 1 if b"}" in data[8:] else len(data)
    data[:8] = (end - 8).to_bytes(8, "little") if chance.random() < 0.9 else data[:8]
    return bytes(data[: len(data) - body])


def fuzz(count, path):
    shapes = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int16), "c": torch.zeros(0)}
    save(shapes, path, metadata={"k": "v"})
    data, chance, passed = path.read_bytes(), random.Random(5), 0
    for _ in range(count):
        path.write_bytes(mutated(data, chance))
        try:
            for tensor in read(path).values():
                assert torch.isfinite(tensor.float()).all()
            passed += 1
        except SegzooError as error:
            assert "\n" not in str(error)
    return passed


def test_mutated_files(tmp_path):
    assert 0 < fuzz(1_000, tmp_path / "a") < 900


@pytest.mark.stress
def test_a_hundred_thousand_mutated_files(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzz(100_000, tmp_path / "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
