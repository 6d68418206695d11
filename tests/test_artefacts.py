"""Artefacts: exported once, compared with torch, kept; used without torch, and judged anew."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import segzoo
from segzoo.base import cache
from segzoo.cli.main import run
from segzoo.errors import (
    DependencyMissingError,
    IntegrityError,
    PluginError,
    UsageError,
)
from segzoo.model.served import Request, found_by, serve
from segzoo.predict.artefacts import graph, ready, speed, store
from segzoo.predict.artefacts.identity import Identity, identified
from segzoo.predict.artefacts.measured import measured_here
from segzoo.predict.artefacts.parity import TOLERANCE, compare
from segzoo.predict.runtimes.onnxruntime import OnnxRuntime
from segzoo.predict.runtimes.torch import TorchRuntime

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SUPPORT = Path(__file__).parent / "support"
MODELS = {"shrinking": "shrinking_spec:ANY", "fixed": "shrinking_spec:FIXED"}
INSTALLED = ",".join(f"{name}={value}" for name, value in MODELS.items())
WITHOUT_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "onnxscript"):
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Block())
sys.argv = ["segzoo", *sys.argv[1:]]
from segzoo.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", INSTALLED)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def warmed(tmp_path_factory):
    """Saved models, and a home in which both are ready for onnxruntime: two exports for all."""
    root = tmp_path_factory.mktemp("warmed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGZOO_MODELS", INSTALLED)
        patch.setenv("SEGZOO_HOME", str(root / "home"))
        for name in MODELS:
            segzoo.load(name, seed=1).save_pretrained(root / name)
            assert run(["warm", str(root / name), "--runtime", "onnxruntime"]) == 0
    return root


@pytest.fixture
def home(warmed, monkeypatch, tmp_path):
    """A copy of that home, for this test alone."""
    shutil.copytree(warmed / "home", tmp_path / "home")
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def photo(name="photo.png", size=(37, 50)):
    values = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(values).resize((size[1], size[0])).save(name)
    return name


def request(warmed, model="shrinking", **options):
    return Request(ref=str(warmed / model), pretrained=True, **options)


def kept_of(warmed, model="shrinking"):
    """The identity of a saved model, and its artefact."""
    identity = found_by(request(warmed, model)).subject.identity
    return identity, store.read(identity)


# --- made once, used without torch ----------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_kept_artefact_is_used_without_torch_and_gives_torchs_masks(warmed, home, model):
    photo()
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", str(warmed / model), "photo.png"]
    environment = os.environ | {"PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        [*command, "-o", "out", "--as", "probability", "--runtime", "onnxruntime", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["runtime"], said["precision"], said["device"]) == ("onnxruntime", "fp32", "cpu")
    assert said["written"] == 1
    assert (
        run(["predict", str(warmed / model), "photo.png", "-o", "torch", "--as=probability"]) == 0
    )
    found, wanted = (np.asarray(Image.open(f"{d}/photo.png")) for d in ("out", "torch"))
    assert len(np.unique(wanted)) > 10
    assert np.abs(found.astype(int) - wanted).max() <= 65535 * TOLERANCE["fp32"]


def test_what_cannot_be_kept_is_no_success(warmed, home, capsys):
    shutil.rmtree(home / "artefacts")
    (home / "artefacts").touch()  # where a folder would be
    assert run(["warm", str(warmed / "shrinking"), "--runtime", "onnxruntime"]) == 2
    assert "what was made could not be kept. Free some space" in capsys.readouterr().err


def test_without_an_artefact_torch_is_needed(warmed, home):
    """So the block above does block."""
    shutil.rmtree(home / "artefacts")
    photo()
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", str(warmed / "fixed"), "photo.png"]
    environment = os.environ | {"PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        [*command, "-o", "out", "--runtime", "onnxruntime"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode != 0
    assert "was imported" in done.stderr


def test_stages_of_one_pixel_and_other_sizes_were_compared(warmed, home):
    _, artefact = kept_of(warmed)
    from segzoo.predict.artefacts.identity import version_of

    parity = store.parity_of(artefact, "onnxruntime", "fp32", version_of("onnxruntime"))
    assert [case.shape for case in parity.cases] == [
        (1, 3, 8, 8),
        (2, 3, 96, 160),
        (1, 3, 256, 208),
    ]
    assert parity.difference <= 1e-5


def test_an_exported_network_says_nothing_of_source_files(warmed, home):
    _, artefact = kept_of(warmed)
    content = store.graph_of(artefact)
    assert b".py" not in content
    model = onnx.ModelProto.FromString(content)
    onnx.checker.check_model(model, full_check=True)
    assert {i.name for i in model.graph.input} == {"x"}


def test_it_is_made_anew_where_a_byte_is_changed(warmed, home, capsys):
    _, artefact = kept_of(warmed)
    file = store.home_of(artefact.identity) / f"{artefact.sha256}.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    told = []
    served = serve(request(warmed, runtime="onnxruntime", tell=told.append))
    assert told == ["making shrinking ready for onnxruntime in fp32, once"]
    assert isinstance(served.predictor.runtime, OnnxRuntime)
    told.clear()
    serve(request(warmed, runtime="onnxruntime", tell=told.append))
    assert told == []


# --- what does not hold is as if it were not there ------------------------------------------------


def cut(folder, artefact):
    file = folder / f"{artefact.sha256}.onnx"
    file.write_bytes(file.read_bytes()[:-1])


def removed(folder, artefact):
    (folder / f"{artefact.sha256}.onnx").unlink()


def linked_to_a_pipe(folder, artefact):
    removed(folder, artefact)
    os.mkfifo(folder / f"{artefact.sha256}.onnx")


def edit(folder, name, **changes):
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(record | changes))


def half_a_record(folder, artefact):
    text = (folder / "artefact.json").read_text()
    (folder / "artefact.json").write_text(text[: len(text) // 2])


def another_opset_of_a_wrong_type(folder, artefact):
    edit(folder, "artefact.json", opset="18")


def a_field_too_many(folder, artefact):
    edit(folder, "artefact.json", more=1)


def a_hash_that_leads_elsewhere(folder, artefact):
    edit(folder, "artefact.json", sha256="../../../etc/passwd")


def of_other_weights(folder, artefact):
    record = json.loads((folder / "artefact.json").read_text())
    edit(folder, "artefact.json", identity=record["identity"] | {"weights": "0" * 64})


def never_compared(folder, artefact):
    (folder / "onnxruntime-fp32.json").unlink()


def compared_by_another_version(folder, artefact):
    edit(folder, "onnxruntime-fp32.json", version="0.1")


def compared_on_another_graph(folder, artefact):
    edit(folder, "onnxruntime-fp32.json", sha256="0" * 64)


def too_different(folder, artefact):
    case = {"shape": [1, 3, 8, 8], "difference": 2e-4}
    edit(folder, "onnxruntime-fp32.json", cases=[case])


def compared_on_nothing(folder, artefact):
    edit(folder, "onnxruntime-fp32.json", cases=[])


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        removed,
        linked_to_a_pipe,
        half_a_record,
        another_opset_of_a_wrong_type,
        a_field_too_many,
        a_hash_that_leads_elsewhere,
        of_other_weights,
        never_compared,
        compared_by_another_version,
        compared_on_another_graph,
        too_different,
        compared_on_nothing,
    ],
)
def test_an_artefact_that_does_not_hold_is_not_used(damage, warmed, home):
    identity, artefact = kept_of(warmed, "fixed")
    assert ready.from_kept(identity, "onnxruntime", "fp32") is not None
    damage(store.home_of(identity), artefact)
    assert ready.from_kept(identity, "onnxruntime", "fp32") is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another owner")
@pytest.mark.parametrize("name", ["artefact.json", "onnxruntime-fp32.json", ".onnx"])
def test_a_file_of_another_user_is_not_trusted(name, warmed, home):
    identity, artefact = kept_of(warmed, "fixed")
    folder = store.home_of(identity)
    os.chown(folder / (f"{artefact.sha256}.onnx" if name == ".onnx" else name), 12345, 12345)
    assert ready.from_kept(identity, "onnxruntime", "fp32") is None


def test_a_graph_that_opens_files_is_not_used_even_with_its_hash(warmed, home):
    """As whoever hands over a cache could write both."""
    import hashlib

    identity, artefact = kept_of(warmed, "fixed")
    model = onnx.ModelProto.FromString(store.graph_of(artefact))
    outside(model.graph.initializer[0])
    content = model.SerializeToString()
    forged = dataclasses.replace(
        artefact, sha256=hashlib.sha256(content).hexdigest(), size=len(content)
    )
    store.write(forged, content)
    edit(store.home_of(identity), "onnxruntime-fp32.json", sha256=forged.sha256)
    with pytest.raises(IntegrityError, match="a tensor lies in another file"):
        store.graph_of(forged)
    assert ready.from_kept(identity, "onnxruntime", "fp32") is None


# --- what a graph may refer to --------------------------------------------------------------------


def test_the_table_of_messages_is_that_of_onnx():
    """Every field of ONNX's own description that leads to a tensor is looked into."""
    leads = {"TensorProto", "SparseTensorProto"}
    kinds = dict(onnx.ModelProto.DESCRIPTOR.file.message_types_by_name)
    while True:
        more = {
            name
            for name, kind in kinds.items()
            for field in kind.fields
            if field.message_type is not None and field.message_type.name in leads
        }
        if more <= leads:
            break
        leads |= more
    wanted = {
        name: {
            field.number: field.message_type.name
            for field in kinds[name].fields
            if field.message_type is not None and field.message_type.name in leads
        }
        for name in leads
    }
    assert {name: dict(fields) for name, fields in graph.INSIDE.items()} == wanted
    numbers = {f.name: f.number for f in kinds["TensorProto"].fields}
    assert (numbers["external_data"], numbers["data_location"]) == (13, 14)


def outside(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "12")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def small(nodes=(), tensors=(), **parts):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy")
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"]), *nodes], "g", [x], [y], [*tensors]
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], **parts)


def a_tensor():
    return numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "k")


def in_an_initializer():
    outside(tensor := a_tensor())
    return small(tensors=[tensor])


def in_a_constant():
    outside(tensor := a_tensor())
    return small([helper.make_node("Constant", [], ["k"], value=tensor)])


def in_a_branch():
    outside(tensor := a_tensor())
    then = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=tensor)], "then", [], []
    )
    return small([helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=then)])


def in_a_sparse_one():
    model = small()
    outside(model.graph.sparse_initializer.add().values)
    return model


def in_a_function():
    outside(tensor := a_tensor())
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("", "f", ["x"], ["y"], [node], [helper.make_opsetid("", 18)])
    return small(functions=[function])


def named_alone():
    tensor = a_tensor()
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    return small(tensors=[tensor])


@pytest.mark.parametrize(
    "make",
    [in_an_initializer, in_a_constant, in_a_branch, in_a_sparse_one, in_a_function, named_alone],
)
def test_a_tensor_in_another_file_is_found(make):
    assert graph.fault_of(make().SerializeToString()) == "a tensor lies in another file"


def test_openvino_would_open_it(tmp_path):
    """Why graphs are looked through: it does for bytes too, relative to the current folder."""
    import openvino

    (tmp_path / "secret.bin").write_bytes(np.full(3, 7, np.float32).tobytes())
    outside(tensor := a_tensor())
    model = small(tensors=[tensor])
    model.graph.node[0].CopyFrom(helper.make_node("Conv", ["x", "k"], ["y"]))
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 1, 1])
    )
    core = openvino.Core()
    read = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    assert read(np.ones((1, 3, 1, 1), np.float32))[0].item() == 21
    assert graph.fault_of(model.SerializeToString()) != ""


def test_operators_of_others_are_found():
    """Some open files: EPContext of com.microsoft does."""
    foreign = helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft")
    found = graph.fault_of(small([foreign]).SerializeToString())
    assert found == "an operator is not one of ONNX's own"


def test_a_plain_graph_passes():
    assert graph.fault_of(small(tensors=[a_tensor()]).SerializeToString()) == ""


@pytest.mark.parametrize("content", [b"\xff" * 40, b"hello, this is text", b"\x0b\x0c", b"\x3a"])
def test_what_is_no_protobuf_is_said(content):
    assert graph.fault_of(content) == "it is no ONNX file, or is damaged"


def test_graphs_within_graphs_end():
    """A model, a graph, a node, its attribute, that one's graph, and so on; without an end."""
    content = b""
    for number in ([6, 5, 1] * 40) + [7]:
        size, rest = len(content), len(content) >> 7
        length = bytes([size & 0x7F | 0x80, rest]) if rest else bytes([size])
        content = bytes([number << 3 | 2]) + length + content
    assert graph.fault_of(content) == "it is nested too deeply"


# --- what an artefact depends on ------------------------------------------------------------------

OTHER = {
    "model": "other",
    "weights": "1" * 64,
    "plugin": "other 1",
    "code": "2" * 64,
    "options": {"width": 5},
    "in_channels": 4,
    "num_classes": 2,
    "size": (24, 33),
    "activation": "softmax",
    "versions": {"torch": "1"},
    "export": 0,
}


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Identity)])
def test_each_part_of_an_identity_makes_another_artefact(field, warmed, home):
    identity, artefact = kept_of(warmed, "fixed")
    assert artefact is not None
    other = dataclasses.replace(identity, **{field: OTHER[field]})
    assert other.key != identity.key
    assert store.read(other) is None


def test_an_option_and_weights_that_were_not_seen(warmed, home, tmp_path):
    seen, _ = kept_of(warmed)
    wider = found_by(Request(ref="shrinking", seed=1, options={"width": 5})).subject.identity
    assert (wider.options, wider.weights[:7]) == ({"width": 5}, "values:")
    assert store.read(wider) is None
    segzoo.load("shrinking", seed=2).save_pretrained(tmp_path / "other")
    other = found_by(Request(ref=str(tmp_path / "other"), pretrained=True)).subject.identity
    assert dataclasses.replace(other, weights=seen.weights) == seen
    assert store.read(other) is None


def test_the_code_of_a_plugin_counts_without_its_version(warmed, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    (tmp_path / "mine" / "model.py").write_text("width = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = segzoo.load("shrinking")
    spec = dataclasses.replace(model.spec, builder="mine.model:build")
    before = identified(spec, model.config, "0" * 64, None)
    assert before == identified(spec, model.config, "0" * 64, None)
    (tmp_path / "mine" / "model.py").write_text("width = 4\n")
    after = identified(spec, model.config, "0" * 64, None)
    assert before.code != after.code
    assert "mine" not in sys.modules


def test_weights_that_were_changed_by_hand_are_told_as_by_load(warmed, home, tmp_path):
    shutil.copytree(warmed / "fixed", tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    asked = Request(ref=str(tmp_path / "copy"), pretrained=True, runtime="onnxruntime")
    with pytest.raises(IntegrityError, match="sha256 is not the declared one"):
        serve(asked)


# --- compared with torch --------------------------------------------------------------------------


def test_a_network_that_answers_otherwise_is_refused(warmed, home):
    identity, _ = kept_of(warmed)
    never_compared(store.home_of(identity), None)
    found = found_by(request(warmed)).subject
    other = segzoo.load(str(warmed / "shrinking")).network
    other.last.bias.data += 0.01
    with pytest.raises(PluginError, match="other probabilities than torch; found a difference of"):
        ready.runtime_for(dataclasses.replace(found, network=lambda: other), "onnxruntime", "fp32")
    assert ready.from_kept(identity, "onnxruntime", "fp32") is None


def test_logits_of_another_shape_and_of_nan_are_seen(warmed):
    model = segzoo.load(str(warmed / "shrinking"))
    settings = {
        "preprocess": model.preprocess,
        "postprocess": model.postprocess,
        "in_channels": 3,
    }
    reference = TorchRuntime(model.network)
    with pytest.raises(PluginError, match="another shape"):
        compare(reference, lambda x: (reference(x)[0][..., 1:],), **settings)
    cases = compare(reference, lambda x: (reference(x)[0] * np.nan,), **settings)
    assert {case.difference for case in cases} == {1.0}


class Branching(torch.nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True) if x.sum() > 0 else -x.mean(1, keepdim=True)


def test_what_cannot_be_exported_says_so(home):
    from segzoo.predict.artefacts.export import to_onnx

    x = np.ones((2, 3, 16, 24), np.float32)
    with pytest.raises(PluginError, match="torch cannot export mine: ") as caught:
        to_onnx(Branching(), x, any_size=True, model="mine")
    assert caught.value.next_step == "Give --runtime torch"


# --- runtimes -------------------------------------------------------------------------------------


def test_both_runtimes_give_torchs_logits_and_survive_pickling(warmed, home):
    served = {
        name: serve(request(warmed, runtime=name)).predictor.runtime
        for name in ("torch", "onnxruntime", "openvino")
    }
    x = np.random.default_rng(0).random((3, 3, 40, 24), np.float32)
    (wanted,) = served["torch"](x)
    for name in ("onnxruntime", "openvino"):
        runtime = pickle.loads(pickle.dumps(served[name]))
        (found,), (again,) = runtime(x), runtime(x[:1])
        assert (found.dtype, found.shape) == (np.float32, wanted.shape)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        np.testing.assert_allclose(again, wanted[:1], atol=1e-4)
        np.testing.assert_allclose(found, wanted, atol=1e-4)  # it is not written over
        with pytest.raises(UsageError, match="no side outputs"):
            runtime(x, all_heads=True)
        with pytest.raises(PluginError, match="failed for an input"):
            runtime(x[:, :2])


@pytest.mark.parametrize(("precision", "found"), [("fp32", "f32"), ("bf16", "bf16")])
def test_openvino_computes_in_the_precision_that_was_asked_for(precision, found, warmed, home):
    import openvino

    if found.upper() not in [
        c.replace("FP32", "F32")
        for c in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ]:
        pytest.skip("this processor does not compute in it")
    runtime = serve(request(warmed, runtime="openvino", precision=precision)).predictor.runtime
    compiled = runtime.session.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == found


def test_torch_in_bf16_is_near_and_is_not_the_same(warmed):
    x = np.random.default_rng(0).random((1, 3, 40, 24), np.float32)
    served = (serve(request(warmed, precision=p)) for p in ("fp32", "bf16"))
    full, low = (s.predictor.runtime(x)[0] for s in served)
    assert low.dtype == np.float32
    assert 0 < np.abs(full - low).max() < 1


OUT_OF_MEMORY = """
import resource
import numpy as np
from onnx import TensorProto, helper
from segzoo.predict.runtimes.{module} import {name}
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1, None, None]) for n in "xy")
nodes = [helper.make_node("Concat", ["x"] * 64, ["w"], axis=1),
         helper.make_node("ReduceMean", ["w"], ["y"], axes=[1])]
graph = helper.make_graph(nodes, "g", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
runtime = {name}(model.SerializeToString)
runtime(np.ones((1, 1, 8, 8), np.float32))
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30),) * 2)
try:
    runtime(np.ones((1, 1, 4096, 4096), np.float32))
except MemoryError as error:
    print("memory:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_lack_of_memory_is_a_memory_error():
    code = OUT_OF_MEMORY.format(module="onnxruntime", name="OnnxRuntime")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("memory: "), done.stderr[-500:]


# --- auto -----------------------------------------------------------------------------------------


def test_auto_takes_what_is_ready_for_a_handful_and_makes_nothing(warmed, home):
    assert serve(request(warmed, runtime="auto", pictures=3, device="cpu")).runtime == "onnxruntime"
    shutil.rmtree(home / "artefacts")
    assert serve(request(warmed, runtime="auto", pictures=3, device="cpu")).runtime == "torch"
    assert not (home / "artefacts").exists()


def test_auto_measures_once_for_each_model_and_precision(warmed, home, monkeypatch):
    told = []

    def auto(model, precision="fp32"):
        asked = request(warmed, model, runtime="auto", device="cpu", pictures=None)
        asked = dataclasses.replace(asked, precision=precision, tell=told.append)
        served = serve(asked)
        assert served.precision == precision
        return served.runtime, [line for line in told if "measuring" in line]

    first, lines = auto("fixed")
    [line] = lines
    said = r"measuring which runtime is the fastest for fixed with the weights [0-9a-f]{8}, once"
    assert re.fullmatch(said, line)
    again, lines = auto("fixed")
    assert (again, len(lines)) == (first, 1)
    [kept] = measured_here()
    assert kept.fastest == first
    assert kept.seconds.keys() == {"torch", "onnxruntime", "openvino"}
    assert kept.seconds[first] == min(kept.seconds.values())
    _, lines = auto("shrinking")  # another model
    assert len(lines) == 2
    monkeypatch.setattr(speed, "threads", lambda: 7)  # as with another OMP_NUM_THREADS
    _, lines = auto("fixed")
    assert len(lines) == 3


def test_auto_is_torch_for_side_outputs_and_other_devices(warmed, home):
    assert serve(request(warmed, runtime="auto", all_heads=True, device="cpu")).runtime == "torch"


def test_what_was_measured_is_shown_by_the_doctor(warmed, home, capsys):
    identity, _ = kept_of(warmed, "fixed")
    from segzoo.predict.artefacts.measured import Speed, this_machine

    here = {
        "model": "fixed",
        "threads": 1,
        "precision": "fp32",
        "versions": {},
        "seconds": {"torch": 0.0456, "openvino": 0.0204},
    }
    store.write_record(Speed(machine=this_machine(), **here), identity, "speed-a.json")
    store.write_record(Speed(machine="another", **here), identity, "speed-b.json")
    run(["doctor"])
    shown = capsys.readouterr().out
    assert next(line.split() for line in shown.split("\n") if line.startswith("fixed ")) == [
        *("fixed", "fp32", "46", "ms", "-", "20", "ms")
    ]


# --- the command line, and Python -----------------------------------------------------------------


def failing(capsys, *arguments):
    code = run([*map(str, arguments)])
    return code, capsys.readouterr().err


def test_what_does_not_go_together_is_said_before_any_work(warmed, home, capsys):
    model, name = warmed / "fixed", photo()
    line = ("predict", model, name, "-o", "out", "--runtime", "onnxruntime")
    assert failing(capsys, *line, "--device", "cuda") == (
        2,
        "segzoo: onnxruntime runs on the CPU; found the device 'cuda'. "
        "Leave --device out, or give --runtime torch\n",
    )
    assert failing(capsys, *line, "--precision", "bf16") == (
        2,
        "segzoo: onnxruntime does not compute in bf16; expected fp32, int8. "
        "Give --runtime torch or openvino\n",
    )
    assert failing(capsys, *line, "--heads", "all") == (
        2,
        "segzoo: an exported network gives no side outputs. Give --runtime torch\n",
    )
    assert not Path("out").exists()


@pytest.mark.parametrize(("name", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_library_that_is_missing_is_said_with_its_line(name, extra, warmed, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyMissingError) as caught:
        serve(request(warmed, runtime=name))
    assert str(caught.value) == (
        f"the runtime {name} needs {name}. Run: pip install 'segzoo-core[{extra}]'"
    )


def test_warm_says_what_was_compared(warmed, home, capsys):
    assert run(["warm", str(warmed / "fixed"), "--runtime", "onnxruntime", "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert (record["runtime"], record["precision"], record["opset"]) == ("onnxruntime", "fp32", 18)
    assert record["cases"] == [[1, 3, 24, 32], [2, 3, 24, 32], [1, 3, 24, 32]]
    assert 0 <= record["difference"] <= 1e-4
    assert run(["warm", str(warmed / "fixed"), "--runtime", "torch"]) == 2
    assert "torch needs nothing made for it" in capsys.readouterr().err


def test_a_loaded_model_is_exported_as_it_is_now(warmed, home, monkeypatch):
    model = segzoo.load(str(warmed / "fixed"))
    model.network.last.bias.data += 1
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    wanted = model.predict(picture).probability
    found = model.predictor(runtime="onnxruntime").predict(picture).probability
    assert np.abs(found - wanted).max() <= TOLERANCE["fp32"]
    unchanged = segzoo.load(str(warmed / "fixed")).predict(picture).probability
    assert np.abs(unchanged - wanted).max() > 0.1


def test_a_home_that_cannot_be_written_costs_the_keeping_alone(warmed, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "file" / "below"))
    told = []
    served = serve(request(warmed, "fixed", runtime="onnxruntime", tell=told.append))
    assert served.runtime == "onnxruntime"
    assert len(told) == 2
    assert "cannot be kept for the next time" in told[1]
    x = np.zeros((1, 3, 24, 32), np.float32)
    runtime = served.predictor.runtime
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(runtime))(x)[0], runtime(x)[0])


def test_artefacts_are_named_among_what_is_kept(warmed, home, capsys):
    assert run(["cache", "list"]) == 0
    assert "networks made ready for runtimes" in capsys.readouterr().out
    assert cache.home() == home
