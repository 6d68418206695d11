"""Graphs that come with weights: tried once on a machine, then used without torch."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from segzoo.base import cache
from segzoo.errors import IntegrityError, UsageError
from segzoo.model import origin, served
from segzoo.model.served import Request, found_by
from segzoo.predict.artefacts import ready, shipped, store
from segzoo.predict.artefacts.identity import Identity
from segzoo.predict.artefacts.ready import Exportable
from segzoo.predict.artefacts.shipped import Shipped
from segzoo.predict.artefacts.speed import quick_runtime
from segzoo.predict.runtimes import offered
from segzoo.predict.runtimes.onnxruntime import OnnxRuntime
from segzoo.spec import Postprocess, Preprocess

pytest.importorskip("onnxruntime")

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
IDENTITY = Identity(
    model="tripled",
    weights="0" * 64,
    plugin="mine 1.0",
    code="0" * 64,
    in_channels=1,
    num_classes=1,
    size=None,
    activation="sigmoid",
    export=1,
)


class TorchIsNeeded(Exception):
    pass


def tripled(*, elsewhere=False):
    """A graph that gives three times x."""
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1, None, None]) for n in "xy"
    )
    three = numpy_helper.from_array(np.full((1, 1, 1, 1), 3, np.float32), "three")
    if elsewhere:
        entry = three.external_data.add()
        entry.key, entry.value = "location", "secret.bin"
    body = helper.make_graph(
        [helper.make_node("Mul", ["x", "three"], ["y"])], "g", [x], [y], [three]
    )
    opset = helper.make_opsetid("", 18)
    return helper.make_model(body, opset_imports=[opset], ir_version=9).SerializeToString()


@pytest.fixture
def graph(tmp_path):
    """A graph as a plugin ships it, with torch's answers beside it."""
    path = tmp_path / "weights" / "tripled.onnx"
    path.parent.mkdir()
    path.write_bytes(tripled())
    answers = shipped.sample(3 * shipped.probe_input(1, None))
    assert answers.shape == (1, 8, 8)
    np.save(shipped.answers_beside(path), answers)
    return Shipped(path, hashlib.sha256(path.read_bytes()).hexdigest())


def subject_of(graph, told=None):
    def network():
        raise TorchIsNeeded

    return Exportable(
        identity=IDENTITY,
        network=network,
        preprocess=Preprocess(mode="L"),
        postprocess=Postprocess(),
        shipped={"fp32": graph},
        tell=(told if told is not None else []).append,
    )


def tries(monkeypatch):
    """How often a shipped graph is compared."""
    done, real = [], shipped.compared
    monkeypatch.setattr(shipped, "compared", lambda *a, **k: done.append(1) or real(*a, **k))
    return done


def test_it_is_tried_once_and_then_used(graph, monkeypatch):
    done = tries(monkeypatch)
    for _ in range(2):
        runtime = ready.runtime_for(subject_of(graph), "onnxruntime", "fp32")
        x = np.ones((2, 1, 5, 7), np.float32)
        np.testing.assert_array_equal(runtime(x)[0], 3 * x)
    assert len(done) == 1
    [record] = store.all_records(store.Parity, "shipped-onnxruntime-fp32.json")
    assert record.cases == (store.Case(shape=(1, 1, 64, 64), difference=0.0),)


def test_a_home_that_cannot_be_written_costs_a_try_each_time(graph, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGZOO_HOME", str(tmp_path / "file" / "below"))
    done = tries(monkeypatch)
    for _ in range(2):
        ready.runtime_for(subject_of(graph), "onnxruntime", "fp32")
    assert len(done) == 2


# --- what does not hold is not used ---------------------------------------------------------------


def a_byte_changed(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def half_written(path):
    path.write_bytes(path.read_bytes()[:-20])


def a_folder(path):
    path.unlink()
    path.mkdir()


def without_answers(path):
    path.with_suffix(".npy").unlink()


def answers_of_objects(path):
    np.save(path.with_suffix(".npy"), np.array([{}]), allow_pickle=True)


def answers_cut_short(path):
    answers = path.with_suffix(".npy")
    answers.write_bytes(answers.read_bytes()[:-4])


def answers_of_another_shape(path):
    np.save(path.with_suffix(".npy"), np.zeros((1, 8, 9), np.float32))


def other_answers(path):
    answers = np.load(path.with_suffix(".npy"))
    answers[0, 0, 0] += 0.01
    np.save(path.with_suffix(".npy"), answers)


def answers_of_nan(path):
    np.save(path.with_suffix(".npy"), np.full((1, 8, 8), np.nan, np.float32))


DIFFERS = "onnxruntime gives other probabilities than torch did; found a difference"


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (a_byte_changed, "its bytes are not those that the plugin declares"),
        (half_written, "its bytes are not those that the plugin declares"),
        (a_folder, None),
        (without_answers, "torch's answers cannot be read"),
        (answers_of_objects, "torch's answers cannot be read"),
        (answers_cut_short, "torch's answers cannot be read"),
        (answers_of_another_shape, "logits of another shape than torch"),
        (other_answers, DIFFERS),
        (
            answers_of_nan,
            DIFFERS,
        ),
    ],
)
def test_what_is_damaged_is_said_and_torch_is_asked(damage, why, graph):
    damage(graph.path)
    told = []
    with pytest.raises(TorchIsNeeded):
        ready.runtime_for(subject_of(graph, told), "onnxruntime", "fp32")
    assert told[-1] == "making tripled ready for onnxruntime in fp32, once"
    said = [line for line in told if line.startswith("the graph that comes with tripled is not")]
    assert [why in line for line in said] == ([True] if why else [])


def test_a_graph_that_opens_files_is_refused_with_its_hash_too(graph):
    graph.path.write_bytes(tripled(elsewhere=True))
    forged = Shipped(graph.path, hashlib.sha256(graph.path.read_bytes()).hexdigest())
    with pytest.raises(IntegrityError, match="a tensor lies in another file"):
        shipped.shipped_graph(forged)
    with pytest.raises(TorchIsNeeded):
        ready.runtime_for(subject_of(forged), "onnxruntime", "fp32")


def test_what_was_found_to_differ_is_not_tried_again_by_the_same_version(graph, monkeypatch):
    other_answers(graph.path)
    done = tries(monkeypatch)
    for _ in range(2):
        with pytest.raises(TorchIsNeeded):
            ready.runtime_for(subject_of(graph), "onnxruntime", "fp32")
    assert len(done) == 1
    assert not ready.is_ready(subject_of(graph), "onnxruntime", "fp32")
    file = store.home_of(IDENTITY) / "shipped-onnxruntime-fp32.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": "0.1"}))
    assert ready.is_ready(subject_of(graph), "onnxruntime", "fp32")


@pytest.mark.parametrize("holds", [True, False])
def test_of_int8_the_mean_difference_counts(holds, graph, monkeypatch):
    """What is off at one pixel is how a runtime rounds; off everywhere, it is another network."""
    monkeypatch.setattr("segzoo.predict.runtimes.onnxruntime.refuse_without_int8", lambda: None)
    answers = np.load(graph.path.with_suffix(".npy"))
    answers[0, 0, 0] += 9
    answers += 0 if holds else 9
    np.save(graph.path.with_suffix(".npy"), answers)
    subject = dataclasses.replace(subject_of(graph), shipped={"int8": graph})
    if holds:
        assert ready.runtime_for(subject, "onnxruntime", "int8")
        return
    with pytest.raises(UsageError, match="nothing in int8 is here of tripled"):
        ready.runtime_for(subject, "onnxruntime", "int8")


# --- which runtime is taken -----------------------------------------------------------------------


def test_the_quick_runtime_is_one_for_which_nothing_is_made(graph, monkeypatch):
    assert quick_runtime(subject_of(graph), "fp32") == "onnxruntime"
    assert quick_runtime(dataclasses.replace(subject_of(graph), shipped={}), "fp32") == "torch"
    monkeypatch.setattr("segzoo.predict.artefacts.speed.installed", lambda precision: [])
    assert quick_runtime(subject_of(graph), "fp32") == "torch"


def test_without_a_library_that_runs_it_that_is_said_once(graph, monkeypatch):
    told = []
    served._say_what_would_be_quicker(subject_of(graph, told), "fp32")
    assert told == []
    monkeypatch.setattr(offered, "installed", lambda precision: [])
    for _ in range(2):
        served._say_what_would_be_quicker(subject_of(graph, told), "fp32")
    assert told == [
        "with onnxruntime tripled starts in a fraction of the time and memory, without torch: "
        "pip install 'segzoo-core[onnx]'"
    ]
    assert (cache.home() / "told" / "onnxruntime").exists()


def test_other_channels_or_classes_are_another_network():
    pytest.importorskip("segzoo_lite")
    found = origin.find("lite0.fine")
    assert served._shipped_with(found, found.config).keys() >= {"fp32"}
    for change in ({"num_classes": 2, "classes": ()}, {"in_channels": 1}, {"options": {"a": 1}}):
        assert served._shipped_with(found, dataclasses.replace(found.config, **change)) == {}


def test_the_first_cut_out_ever_imports_no_torch(tmp_path):
    pytest.importorskip("segzoo_lite")
    values = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "cutout", "photo.png", "--device", "cpu", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"SEGZOO_HOME": str(tmp_path / "home")},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["model"], said["runtime"], said["written"]) == ("lite2.fine_352", "onnxruntime", 1)
    with Image.open(tmp_path / "photo-cutout.png") as image:
        assert (image.mode, image.size) == ("RGBA", (80, 60))


def test_the_bytes_of_the_graph_of_the_light_network_are_the_declared_ones():
    pytest.importorskip("segzoo_lite")
    subject = found_by(Request(ref="lite0.fine")).subject
    graph = shipped.shipped_graph(subject.shipped["fp32"])
    assert len(graph) < 7 * 10**6
    x = shipped.probe_input(3, (320, 320))
    case = shipped.compared(OnnxRuntime(lambda: graph), subject.shipped["fp32"], x, "sigmoid")
    assert case.difference <= 2e-5
    assert Path(subject.shipped["fp32"].path).name == "lite0.fine.fp32.onnx"


# --- writing one ----------------------------------------------------------------------------------


def test_tensors_of_halves_take_half_the_bytes_and_mean_the_same():
    import onnx
    import torch

    from segzoo.predict.artefacts.export import to_onnx

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 40, 1)
    )
    for tensor in network[:2].state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    network[1].running_mean.uniform_(-1, 1)
    network.eval()
    x = np.random.default_rng(0).random((2, 3, 8, 12), np.float32)
    content = to_onnx(network, x, any_size=False, small=True)
    stored = {t.name: t for t in onnx.ModelProto.FromString(content).graph.initializer}
    assert stored["network.0.weight.half"].data_type == TensorProto.FLOAT16
    assert stored["network.2.weight"].data_type == TensorProto.FLOAT
    wanted = network(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(OnnxRuntime(lambda: content)(x)[0], wanted, atol=1e-5)


def test_a_session_keeps_no_copy_of_the_graph():
    shipped_with = found_by(Request(ref="lite0.fine")).subject.shipped["fp32"]
    content = shipped.shipped_graph(shipped_with)
    before = sys.getrefcount(content)
    session = OnnxRuntime(lambda: content).session
    assert session is not None
    assert sys.getrefcount(content) == before


def test_only_the_first_run_gives_back_what_it_freed(monkeypatch):
    from segzoo.predict.runtimes import onnxruntime

    times = []
    monkeypatch.setattr(onnxruntime, "give_back", lambda: times.append(1))
    graph = found_by(Request(ref="lite0.fine")).subject.shipped["fp32"]
    runtime = OnnxRuntime(lambda: shipped.shipped_graph(graph))
    for _ in range(2):
        runtime(shipped.probe_input(3, (320, 320)))
        assert len(times) == 2  # once for the session


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library does not keep it")
def test_what_is_free_is_given_back():
    code = """
import re
import numpy as np
from segzoo.base.memory import give_back

def resident():
    return int(re.search(r"VmRSS:\\s*(\\d+)", open("/proc/self/status").read())[1])

many = [np.ones(10_000) for _ in range(500)]  # 39 MiB; the last of them holds the others up
last = many.pop()
many.clear()
before = resident()
give_back()
assert before - resident() > 30_000, (before, resident())
"""
    subprocess.run([sys.executable, "-c", code], check=True)
