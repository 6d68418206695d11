"""int8 and bfloat16 that are used because of what was measured with them on pictures."""

import dataclasses
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import segzoo
from segzoo.cli.main import run
from segzoo.errors import DeviceError, PluginError, UsageError
from segzoo.model import shipping
from segzoo.model.served import Request, found_by, serve
from segzoo.predict.artefacts import accepted, parity, ready, store
from segzoo.predict.artefacts.accepted import Accepted
from segzoo.predict.artefacts.graph import fault_of
from segzoo.predict.artefacts.quantized import ENOUGH, quantize
from segzoo.predict.runtimes import processor
from segzoo.predict.runtimes.onnxruntime import OnnxRuntime

pytest.importorskip("onnxruntime")

WORDS = "arrays:set.npz?values=0,1&val=0.3"
HAS_INT8 = bool(processor._flags() & processor.PRODUCTS)
needs_int8 = pytest.mark.skipif(not HAS_INT8, reason="the processor has no instructions for int8")


def likely(logits):
    return 1 / (1 + np.exp(-logits))


# --- in eight bits --------------------------------------------------------------------------------


def network(offset):
    """Four convolutions; what the second is given of one channel lies above `offset`."""
    random = np.random.default_rng(0)
    before = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    first = random.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
    second = random.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
    second[:, 0] = 1.0 * np.eye(3)[1][:, None] * np.eye(3)[1]
    bias = np.zeros(8, np.float32)
    bias[0] = offset
    under = -offset * second[:, 0].sum((1, 2))
    last = random.normal(0, 0.1, (1, 8, 1, 1)).astype(np.float32)
    tensors = {
        "network.before.weight": before,
        "network.first.weight": first,
        "first.bias": bias,
        "network.second.weight": second,
        "second.bias": under.astype(np.float32),
        "network.last.weight": last,
    }
    nodes = [
        helper.make_node("Conv", ["x", "network.before.weight"], ["w"], "before", pads=[1] * 4),
        helper.make_node("Relu", ["w"], ["v"], "carried before"),
        helper.make_node(
            "Conv", ["v", "network.first.weight", "first.bias"], ["a"], "first", pads=[1] * 4
        ),
        helper.make_node("Relu", ["a"], ["b"], "carried"),
        helper.make_node(
            "Conv", ["b", "network.second.weight", "second.bias"], ["c"], "second", pads=[1] * 4
        ),
        helper.make_node("Relu", ["c"], ["d"], "carried too"),
        helper.make_node("Conv", ["d", "network.last.weight"], ["logits"], "last"),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 24, 32])
        for name, channels in (("x", 3), ("logits", 1))
    )
    values = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


@needs_int8
@pytest.mark.parametrize(("offset", "kept"), [(0.0, ()), (400.0, ("second",))])
def test_layers_that_lose_by_eight_bits_stay_in_float32(offset, kept):
    """A channel that is large and almost constant has no steps left for what it says."""
    random = np.random.default_rng(1)
    pictures = [random.normal(0, 1, (1, 3, 24, 32)).astype(np.float32) for _ in range(16)]
    graph = network(offset)
    made = quantize(graph, pictures, likely)
    assert made.kept == kept
    assert made.difference <= ENOUGH
    assert not fault_of(made.graph)
    model = onnx.ModelProto.FromString(made.graph)
    assert {each.domain for each in model.opset_import} <= {"", "ai.onnx"}
    stored = {t.name: t.data_type for t in model.graph.initializer}
    eight = sum(kind == TensorProto.INT8 and "weight" in name for name, kind in stored.items())
    assert eight >= 1
    x = random.normal(0, 1, (2, 3, 24, 32)).astype(np.float32)
    found, wanted = (
        likely(OnnxRuntime(lambda g=g: g, precision)(x)[0])
        for g, precision in ((made.graph, "int8"), (graph, "fp32"))
    )
    assert 0 < np.abs(found - wanted).mean() < 5 * ENOUGH


def test_what_the_tools_do_not_take_is_said():
    with pytest.raises(PluginError, match="onnxruntime cannot make int8 of this network: "):
        quantize(b"no graph", [np.zeros((1, 3, 8, 8), np.float32)], likely)


# --- measured, kept, used -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A saved model and a data set, and a home in which its int8 was accepted."""
    root = tmp_path_factory.mktemp("measured")
    random = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGZOO_MODELS", "fixed=shrinking_spec:FIXED")
        patch.setenv("SEGZOO_HOME", str(root / "home"))
        patch.chdir(root)
        segzoo.load("fixed", seed=1).save_pretrained("model")
        images = random.integers(0, 256, (30, 6, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)
        masks = random.integers(0, 2, (30, 3, 4), np.uint8).repeat(8, 1).repeat(8, 2)
        np.savez("set.npz", images=images, masks=masks)
        if HAS_INT8:
            words = ["warm", "./model", "--precision", "int8", "--data", WORDS]
            assert run([*words, "--runtime", "onnxruntime"]) == 0
    return root


@pytest.fixture
def home(measured, monkeypatch, tmp_path):
    """A copy of that home, for this test alone, in the folder of the model and the data."""
    monkeypatch.setenv("SEGZOO_MODELS", "fixed=shrinking_spec:FIXED")
    if (measured / "home").exists():
        shutil.copytree(measured / "home", tmp_path / "home")
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(measured)
    return tmp_path / "home"


def asked(**options):
    return Request(ref="./model", pretrained=True, device="cpu", **options)


def record():
    identity = found_by(asked()).subject.identity
    return accepted.accepted_of(identity, "onnxruntime", "int8")


@needs_int8
def test_what_was_accepted_is_used_and_says_what_it_lost(home, tmp_path, capsys):
    kept = record()
    assert kept is not None and not kept.fault
    assert kept.exact.keys() == kept.found.keys() == {"iou", "mean_iou"}
    assert kept.lost["iou"] <= 0.005
    assert 0 < kept.pictures < 30
    Image.fromarray(np.load("set.npz")["images"][0]).save(tmp_path / "photo.png")
    line = ["predict", "./model", str(tmp_path / "photo.png"), "--as", "probability", "--json"]
    for number, words in enumerate((["onnxruntime", "--precision", "int8"], ["onnxruntime"])):
        out = ["-o", str(tmp_path / str(number)), "--runtime", *words]
        capsys.readouterr()
        assert run([*line, *out]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["runtime"], said["precision"]) == ("onnxruntime", ("int8", "fp32")[number])
    low, full = (np.asarray(Image.open(tmp_path / d / "photo.png")).astype(int) for d in "01")
    assert 0 < np.abs(low - full).max() < 65535 * 0.1


@needs_int8
@pytest.mark.parametrize("runtime", ["auto", None])
def test_without_a_runtime_the_one_with_int8_is_taken(runtime, home):
    served = serve(asked(runtime=runtime, precision="int8", pictures=1))
    assert (served.runtime, served.precision) == ("onnxruntime", "int8")


@needs_int8
def test_more_that_is_lost_than_may_be_is_refused_and_nothing_is_kept(home, monkeypatch, capsys):
    before = record()
    monkeypatch.setattr(accepted, "LIMITS", {"iou": -1.0, "mean_iou": 1.0})
    assert record() is None  # a record is held to the limits again whenever it is read
    line = ["warm", "./model", "--precision", "int8", "--data", WORDS, "--runtime", "onnxruntime"]
    assert run(line) != 0
    said = capsys.readouterr().err
    assert "fixed loses too much in int8: onnxruntime loses " in said
    assert "of iou (at most -1.0)" in said
    monkeypatch.undo()
    assert before is not None


def a_byte_changed(folder):
    [file] = folder.glob("*.int8")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def half_written(folder):
    [file] = folder.glob("*.int8")
    file.write_bytes(file.read_bytes()[:-20])


def without_a_graph(folder):
    [file] = folder.glob("*.int8")
    file.unlink()


def of_another_version(folder):
    file = folder / "accepted-onnxruntime-int8.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": "0.1"}))


def better_than_it_is(folder):
    """A record that says it lost less of a metric that nobody measures for this."""
    file = folder / "accepted-onnxruntime-int8.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"exact": {"beauty": 1.0}, "found": {"beauty": 1.0}}))


@needs_int8
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (a_byte_changed, "its bytes are not those that were measured"),
        (half_written, "its bytes are not those that were measured"),
        (without_a_graph, "it cannot be read"),
        (of_another_version, None),
        (better_than_it_is, None),
    ],
)
def test_what_does_not_hold_is_not_used(damage, told, home):
    damage(store.home_of(found_by(asked()).subject.identity))
    lines = []
    with pytest.raises(UsageError, match="nothing in int8 is here of fixed"):
        serve(asked(runtime="onnxruntime", precision="int8", tell=lines.append))
    assert [told in line for line in lines] == ([True] if told else [])


def failing(capsys, *words):
    capsys.readouterr()
    assert run([*words]) == 2
    return capsys.readouterr().err


def test_int8_that_was_never_made_says_how_it_is(home, capsys):
    photo = str(home.parent / "photo.png")
    Image.new("RGB", (9, 9)).save(photo)
    line = ["predict", "fixed", photo, "-o", str(home.parent / "out"), "--precision", "int8"]
    assert "torch does not compute in int8; expected fp32, bf16. Give --runtime onnxruntime" in (
        failing(capsys, *line)
    )
    line = [*line, "--runtime", "onnxruntime", "--weights", "model/model.safetensors"]
    if not HAS_INT8:
        return
    (store.home_of(record().identity) / "accepted-onnxruntime-int8.json").unlink()
    said = failing(capsys, *line)
    assert "nothing in int8 is here of fixed with these weights for onnxruntime." in said
    assert "segzoo warm fixed --precision int8 --data WORDS; or give --precision fp32" in said


def test_what_cannot_be_measured_is_said(home, capsys):
    line = ["warm", "./model", "--data", "arrays:set.npz?values=0,1"]
    assert "Add val=0.1 to the words of --data, or give --val" in failing(
        capsys, *line, "--precision", "int8"
    )
    assert "fp32 loses nothing that could be measured" in failing(capsys, *line)
    assert "--val goes with --data" in failing(capsys, "warm", "./model", "--val", WORDS)


def test_a_processor_without_int8_is_told_and_nothing_falls_back(home, monkeypatch):
    monkeypatch.setattr(processor, "_flags", lambda: {"avx2", "fma"})
    if HAS_INT8:
        with pytest.raises(DeviceError, match=r"no instructions for int8 \(VNNI\)"):
            serve(asked(runtime="onnxruntime", precision="int8"))
    with pytest.raises(DeviceError, match="Give --precision fp32"):
        _ = OnnxRuntime(lambda: network(0.0), "int8").session


def test_a_device_and_side_outputs_are_not_for_int8(home):
    for options in ({"device": "cuda"}, {"all_heads": True}):
        request = dataclasses.replace(
            asked(runtime="auto", precision="int8"), **{"device": "cpu"} | options
        )
        with pytest.raises(UsageError):
            serve(request)


def test_bf16_that_differs_is_used_where_little_is_lost(home, monkeypatch):
    """The difference alone refuses it; what was measured on pictures lets it in."""
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the processor does not compute in it")
    monkeypatch.setitem(parity.TOLERANCE, "bf16", -1.0)
    request = asked(runtime="openvino", precision="bf16")
    with pytest.raises(PluginError, match="segzoo warm fixed --precision bf16 --data WORDS"):
        serve(request)
    assert not ready.is_ready(found_by(asked()).subject, "openvino", "bf16")
    line = ["warm", "./model", "--precision", "bf16", "--data", WORDS, "--runtime", "openvino"]
    assert run(line) == 0
    assert ready.is_ready(found_by(asked()).subject, "openvino", "bf16")
    assert serve(request).predictor.runtime.precision == "bf16"


# --- shipped --------------------------------------------------------------------------------------


@needs_int8
def test_a_graph_in_int8_is_written_for_a_plugin_with_what_it_lost(home, tmp_path, monkeypatch):
    identity = found_by(asked()).subject.identity
    monkeypatch.setattr(shipping, "Request", lambda ref: asked())
    written = shipping.write_int8("./model", tmp_path / "a.onnx")
    assert written.keys() == {"onnxruntime"}
    found = written["onnxruntime"]
    assert isinstance(found, Accepted) and found.identity == identity
    assert (tmp_path / "a.onnx").stat().st_size == found.size
    assert np.load(tmp_path / "a.npy").shape == (1, 3, 4)
    os.unlink(store.home_of(identity) / "accepted-onnxruntime-int8.json")
    with pytest.raises(UsageError, match="nothing in int8 was measured of "):
        shipping.write_int8("./model", tmp_path / "b.onnx")
