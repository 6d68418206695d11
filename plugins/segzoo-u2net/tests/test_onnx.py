"""ONNX files, in which normalisation is folded into the convolutions, become our networks.

The authors' own file cannot be shipped: where SEGZOO_U2NETP_ONNX names it, it is compared with what
onnxruntime makes of it.
"""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from secure_site import site
from segzoo_u2net import spec
from segzoo_u2net.model import u2net, u2netp
from torch import nn

import segzoo
from segzoo.base import cache
from segzoo.errors import UnsafeFormatError, UsageError, WeightsFormatError, WeightsMismatchError
from segzoo.runs.convert import convert
from segzoo.weights.onnx import MAX_BYTES, read_onnx

__all__ = ["site"]

FILE = "SEGZOO_U2NETP_ONNX"


def with_norms(network):
    """The network with normalisations that do something, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.1, 0.1),
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network.eval()


def folded(network):
    """(kernel, bias) of every convolution in the order in which they run, norms folded in."""
    found, norms = [], {}

    def look(module, _, output):
        if isinstance(module, nn.Conv2d):
            found.append(module)
        elif isinstance(module, nn.BatchNorm2d):
            norms[id(found[-1])] = module

    hooks = [m.register_forward_hook(look) for m in network.modules()]
    with torch.inference_mode():
        network(torch.zeros(1, 3, 32, 32), all_heads=True)
    for hook in hooks:
        hook.remove()
    for conv in found:
        kernel, bias = conv.weight.detach(), conv.bias.detach()
        if norm := norms.get(id(conv)):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            kernel = kernel * scale[:, None, None, None]
            bias = (bias - norm.running_mean) * scale + norm.bias
        yield kernel.detach().numpy(), bias.detach().numpy()


def graph(layers, *, nodes=()):
    """An ONNX model of convolutions one after the other, named as an exporter numbers them."""
    initializers, made = [], []
    for number, (kernel, bias) in enumerate(layers):
        names = [str(1967 + 3 * number), str(1968 + 3 * number)]
        initializers += [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for array, name in zip((kernel, bias), names, strict=True)
        ]
        made.append(helper.make_node("Conv", [f"x{number}", *names], [f"x{number + 1}"]))
    value = helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, None)
    last = helper.make_tensor_value_info(f"x{len(made)}", onnx.TensorProto.FLOAT, None)
    body = helper.make_graph([*made, *nodes], "net", [value], [last], initializers)
    return helper.make_model(body)


@pytest.fixture(scope="module")
def small():
    """A U²-Netp, and the ONNX model of its folded convolutions."""
    torch.manual_seed(0)
    network = with_norms(u2netp())
    return network, graph(folded(network))


def same(network, folder):
    ours = segzoo.load(f"local-dir:{folder}").network
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        for found, wanted in zip(ours(x, all_heads=True), network(x, all_heads=True), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_folded_convolutions_give_what_the_network_gave(small, tmp_path):
    network, model = small
    onnx.save(model, tmp_path / "u2netp.onnx")
    done = convert(tmp_path / "u2netp.onnx", to="u2netp", out=tmp_path / "out")
    assert (done.layout, len(done.names)) == ("onnx", 238)
    assert done.kind.startswith("ONNX (opset ")
    same(network, tmp_path / "out")


@pytest.mark.slow
def test_u2net_at_full_width(tmp_path):
    torch.manual_seed(0)
    network = with_norms(u2net())
    onnx.save(graph(folded(network)), tmp_path / "u2net.onnx")
    convert(tmp_path / "u2net.onnx", to="u2net", out=tmp_path / "out")
    same(network, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter's own
def test_what_torchs_exporter_writes(small, tmp_path):
    pytest.importorskip("onnxscript")
    network, _ = small
    x = torch.zeros(1, 3, 64, 64)
    torch.onnx.export(
        network, (x,), tmp_path / "u2netp.onnx", dynamo=True, external_data=False, verbose=False
    )
    convert(tmp_path / "u2netp.onnx", to="u2netp", out=tmp_path / "out")
    same(network, tmp_path / "out")


@pytest.mark.skipif(FILE not in os.environ, reason=f"{FILE} names no file")
def test_the_authors_file(tmp_path):
    """All seven outputs, against onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    file = os.environ[FILE]
    convert(file, to="u2netp", out=tmp_path / "out")
    ours = segzoo.load(f"local-dir:{tmp_path / 'out'}").network
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        for found, wanted in zip(ours(x, all_heads=True), theirs, strict=True):
            assert np.abs(found.sigmoid().numpy() - wanted).max() < 1e-4


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def branching(model):
    body = helper.make_graph([], "then", [], [])
    model.graph.node.append(helper.make_node("If", ["x0"], ["y"], then_branch=body))


def quantised(model):
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(numpy_helper.from_array(np.zeros(kernel.dims, np.int8), kernel.name))


def computed(model):
    model.graph.initializer[0].name = "elsewhere"


def shorter(model):
    model.graph.node.pop()


def another_shape(model):
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(numpy_helper.from_array(np.zeros((64, 3, 5, 5), np.float32), kernel.name))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (outside, UnsafeFormatError, "its tensors lie in another file"),
        (branching, WeightsFormatError, "its graph has branches or loops"),
        (quantised, WeightsFormatError, "holds no floating-point numbers; found int8"),
        (computed, WeightsFormatError, "conv_0.weight is not stored, but computed"),
        (shorter, (UsageError, WeightsMismatchError), "u2netp.onnx"),
        pytest.param(another_shape, WeightsMismatchError, "u2netp.onnx", marks=pytest.mark.slow),
    ],
)
def test_another_file_is_refused(change, error, says, small, tmp_path):
    model = onnx.ModelProto()
    model.CopyFrom(small[1])
    change(model)
    (tmp_path / "u2netp.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(error, match=says):
        convert(tmp_path / "u2netp.onnx", to="u2netp", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "cut",
    [pytest.param(1, marks=pytest.mark.slow), 100, pytest.param(10_000, marks=pytest.mark.slow)],
)
def test_a_file_cut_short_is_refused(cut, small, tmp_path):
    data = small[1].SerializeToString()
    (tmp_path / "u2netp.onnx").write_bytes(data[:-cut])
    with pytest.raises(WeightsFormatError):
        convert(tmp_path / "u2netp.onnx", to="u2netp", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_longer_than_onnx_can_be_is_not_read(tmp_path):
    with open(tmp_path / "u2netp.onnx", "wb+") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: nothing of it is on the disk
        with pytest.raises(WeightsFormatError, match="longer than an ONNX file can be; found 2,14"):
            read_onnx(file, max_bytes=2**40)


# --- weights by their address ---------------------------------------------------------------------


@pytest.fixture
def declared(site, monkeypatch):
    """Lets u2netp.official be other bytes, at a site of the test; gives that."""

    def declare(data, **changes):
        record = replace(
            spec.U2NETP.weights["official"],
            url=site.serve("/download/u2netp.onnx", data),
            sha256=hashlib.sha256(data).hexdigest(),
            **changes,
        )
        weights = {**spec.U2NETP.weights, "official": record}
        monkeypatch.setattr(spec, "U2NETP", replace(spec.U2NETP, weights=weights))
        return site

    return declare


def kept():
    return sorted((cache.home() / "converted" / "u2netp.official").glob("*-*"))


@pytest.mark.slow
def test_what_is_fetched_is_what_the_file_gives(small, declared, tmp_path):
    network, model = small
    site = declared(model.SerializeToString(), converted_sha256=None)
    ours = segzoo.load("u2netp.official")
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        for found, wanted in zip(
            ours.network(x, all_heads=True), network(x, all_heads=True), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    segzoo.load("u2netp.official", local_files_only=True, verify=True)
    assert site.asked == ["/download/u2netp.onnx"]
    onnx.save(model, tmp_path / "u2netp.onnx")
    convert(tmp_path / "u2netp.onnx", to="u2netp", out=tmp_path / "by_hand.safetensors")
    [file] = kept()
    assert file.read_bytes() == (tmp_path / "by_hand.safetensors").read_bytes()


def long_header(model):
    """Says that 2 GB of graph follow."""
    return b"\x08\x07\x3a\xff\xff\xff\xff\x07" + model.SerializeToString()


def cut_short(model):
    return model.SerializeToString()[:-10_000]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (outside, UnsafeFormatError, "its tensors lie in another file"),
        pytest.param(
            *(branching, WeightsFormatError, "its graph has branches or loops"),
            marks=pytest.mark.slow,  # as above, from an address
        ),
        (shorter, WeightsMismatchError, "weights of another network"),
        (long_header, WeightsFormatError, "it cannot be read as ONNX"),
        pytest.param(
            *(cut_short, WeightsFormatError, "it cannot be read as ONNX"), marks=pytest.mark.slow
        ),
    ],
)
def test_what_cannot_be_converted_leaves_nothing(change, error, says, small, declared):
    model = onnx.ModelProto()
    model.CopyFrom(small[1])
    data = change(model) or model.SerializeToString()
    site = declared(data, converted_sha256=None)
    with pytest.raises(error, match=says) as caught:
        segzoo.load("u2netp.official")
    assert caught.value.file == f"{site.url}/download/u2netp.onnx"
    assert kept() == []


@pytest.mark.skipif(FILE not in os.environ, reason=f"{FILE} names no file")
def test_the_authors_file_by_its_address_is_the_same_bits(declared, tmp_path):
    """As the record declares them: so is the hash of what comes of it."""
    record = spec.U2NETP.weights["official"]
    data = Path(os.environ[FILE]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record.sha256
    declared(data)
    segzoo.load("u2netp.official")
    [file] = kept()
    assert file.name == f"{record.sha256[:16]}-{record.converted_sha256}.safetensors"
    convert(os.environ[FILE], to="u2netp", out=tmp_path / "by_hand.safetensors")
    assert file.read_bytes() == (tmp_path / "by_hand.safetensors").read_bytes()


@pytest.mark.parametrize("tag", ["official", "human"])
def test_u2net_is_declared_by_its_address(tag):
    """Its files were not seen: what such a file becomes is the slow test above."""
    record = spec.U2NET.weights[tag]
    assert record.url.startswith("https://github.com/danielgatis/rembg/releases/download/")
    assert record.converted_sha256 is None
    assert record.license == "Apache-2.0"
    assert "was not seen" in record.notes
    assert spec.U2NET.default_weights == "official"
