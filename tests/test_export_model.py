"""Models as one file: what the graph holds is what segzoo does around the network."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from around import BOX, KINDS, MASKS, SIZE, SIZES, config_of

import segzoo
from segzoo.cli.main import run
from segzoo.errors import ConfigError, PluginError
from segzoo.export import exporting, formats, program
from segzoo.export.exporting import export_model, target_of
from segzoo.export.formats import ONNX
from segzoo.export.whole import whole_graph
from segzoo.predict.predictor import Predictor
from segzoo.spec import ExporterSpec, Postprocess, Preprocess
from segzoo.zoo import registry

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGZOO_MODELS", "shrinking=shrinking_spec:ANY")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("preprocess", "postprocess", "message"),
    [
        (
            Preprocess(custom="my.module:prepare"),
            Postprocess(),
            "preprocess.custom=my.module:prepare is Python, which no graph can hold",
        ),
        (
            Preprocess(),
            Postprocess(resize="levels"),
            "postprocess.resize='levels' rounds as Pillow does, which ONNX has no operator for",
        ),
        (Preprocess(mean=(1, 2)), Postprocess(), "preprocess.mean does not fit"),
    ],
)
def test_what_no_graph_can_hold_is_refused_with_its_name(preprocess, postprocess, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        whole_graph(None, config_of(preprocess, postprocess, 3))


# --- the verb -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGZOO_MODELS", "shrinking=shrinking_spec:ANY")
        folder = tmp_path_factory.mktemp("saved") / "model"
        segzoo.load("shrinking", seed=1).save_pretrained(folder)
        return str(folder)


def test_a_model_is_written_with_what_was_compared_and_runs_elsewhere(saved, tmp_path, capsys):
    import onnxruntime

    assert run(["export", saved, "-o", "a.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 250x203" in shown and "a.onnx.json" in shown
    record = json.loads((tmp_path / "a.onnx.json").read_text())
    assert [each["pictures"] for each in record["compared"]] == [
        [1, 64, 64],
        [2, 97, 160],
        [1, 250, 203],
    ]
    assert all(each["difference"] <= 1e-4 for each in record["compared"])
    model = onnx.load(tmp_path / "a.onnx")
    assert [each.version for each in model.opset_import if not each.domain] == [record["opset"]]
    session = onnxruntime.InferenceSession("a.onnx", providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(3).integers(0, 256, (41, 90, 3), np.uint8)
    mask, likely = session.run(["mask", "probabilities"], {"pictures": picture[None]})
    wanted = segzoo.load(saved).predict(picture)
    np.testing.assert_allclose(likely[0, 0], wanted.probability, rtol=0, atol=1e-4)
    assert (mask[0] == wanted.mask)[np.abs(wanted.probability - 0.5) > 1e-4].all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.onnx", "--format", "onx"], "no format 'onx'. Did you mean 'onnx'?"),
        (
            ["-o", "a.pt"],
            "a file of the format onnx ends in .onnx; found a.pt. Give -o a.onnx",
        ),
        (["-o", "no/a.onnx"], "no: there is no such folder"),
        (
            ["-o", "there.onnx"],
            "there.onnx: is there already. Choose another name or give --overwrite",
        ),
        (["-o", "b.onnx"], "b.onnx.json: is there already. Choose another name or give"),
        (["-o", "folder.onnx", "--overwrite"], "folder.onnx: is a folder. Choose another name"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_made(words, message, tmp_path, capsys):
    (tmp_path / "there.onnx").write_bytes(b"old")
    (tmp_path / "b.onnx.json").write_bytes(b"old")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.iterdir())
    assert run(["export", "no_such_model", *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.onnx").read_bytes() == b"old"


def test_a_model_without_weights_is_refused(tmp_path, capsys):
    assert run(["export", "shrinking", "-o", "a.onnx"]) == 2
    assert "weights" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named(monkeypatch, capsys):
    lacking = replace(ONNX, requires={"no_such_onnx": "no-such-onnx>=1"})
    monkeypatch.setattr(formats, "ONNX", lacking)
    assert run(["export", "shrinking", "-o", "a.onnx"]) == 2
    message = "the format onnx needs no-such-onnx>=1. Run: pip install 'no-such-onnx>=1'"
    assert message in capsys.readouterr().err


def words(network, config):
    return {".txt": config.model.encode(), ".more": b"more"}


class Far(torch.nn.Module):
    """Logits that went far away and back: float32 rounds them to 1/32."""

    def __init__(self, network, by=3e5):
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x):
        return self.network(x) + self.by - self.by


@pytest.fixture
def answers(monkeypatch, tmp_path):
    """What runs the files of a plugin's format is put in; with the target."""
    own = {"made_words:make": words}
    monkeypatch.setattr(
        registry,
        "resolve",
        lambda path, before=registry.resolve: own[path] if path in own else before(path),
    )
    spec = ExporterSpec(
        summary="words", suffix=".txt", make="made_words:make", run="made_words:run"
    )

    def put(predict, off=0.0):
        def run(pictures):
            found = predict(list(pictures))
            likely = np.stack([f.probability[None] for f in found]) + np.float32(off)
            return likely, (likely[:, 0] > 0.5).astype(np.uint8) * 255

        own["made_words:run"] = lambda files: run
        return exporting.Target(tmp_path / "a.txt", "words", spec)

    return put


def test_a_format_of_a_plugin_is_held_to_torchs_answers(answers, tmp_path):
    """Its files are written where they answer as torch does, and else nothing is."""
    model = segzoo.load("shrinking", seed=1)
    target = answers(model.predict, off=0.01)
    with pytest.raises(PluginError, match=r"shrinking as words gives other probabilities than"):
        export_model(model, target)
    assert list(tmp_path.iterdir()) == []

    done = export_model(model, answers(model.predict))
    assert {file.name for file in done.files} == {"a.txt", "a.more", "a.txt.json"}
    assert (tmp_path / "a.txt").read_bytes() == b"shrinking"
    with pytest.raises(segzoo.SegzooError, match="is there already"):
        export_model(model, target)


def test_what_rounding_moves_in_torch_too_is_no_other_answer(answers, tmp_path):
    model, far = segzoo.load("shrinking", seed=1), segzoo.load("shrinking", seed=1)
    far.network = Far(far.network)
    done = export_model(far, answers(model.predict))
    rounding = max(each.rounding for each in done.compared)
    assert 1e-3 < rounding < 1 / 64
    record = json.loads((tmp_path / "a.txt.json").read_bytes())
    assert max(each["rounding"] for each in record["compared"]) == rounding
    assert all(each["difference"] < 1e-5 for each in record["compared"])
    with pytest.raises(PluginError, match=r"a difference of 0\.0[34]"):
        export_model(far, answers(model.predict, off=0.04), overwrite=True)
    far.network = Far(model.network, by=float("nan"))
    with pytest.raises(PluginError, match="not finite"):
        export_model(far, answers(model.predict), overwrite=True)


@pytest.mark.slow
def test_openvinos_own_form_gives_torchs_masks(saved, tmp_path):
    pytest.importorskip("openvino")
    assert run(["export", saved, "--format", "openvino", "-o", "a.xml"]) == 0
    assert {"a.xml", "a.bin", "a.xml.json"} == {file.name for file in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite0", "u2netp", "unet", "unetpp", "fcn_vgg16", "digit_unet"])
def test_a_model_of_each_family_is_exported(name, tmp_path):
    model = segzoo.load(name, seed=0)
    done = export_model(model, target_of(tmp_path / "a.onnx", "onnx"))
    assert max(each.difference for each in done.compared) <= 1e-4


# --- programs of torch.export ---------------------------------------------------------------------


class Nothing(torch.nn.Module):
    def forward(self, x):
        return x * 1.0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@pytest.mark.parametrize("place", [SIZE, BOX], ids=["stretch", "letterbox"])
def test_what_stands_in_nodes_is_the_same_in_torch(place, kind):
    """Each step, as torch runs it; what torch.export makes of it is compared when it is written."""
    preprocess = Preprocess(**place, **kind, rescale="image_max", multiple_of=5)
    post = Postprocess(normalize="minmax")
    predictor = Predictor(
        lambda x, all_heads=False: (x,),
        preprocess=preprocess,
        postprocess=post,
        in_channels=1,
        num_classes=1,
    )
    whole = program.Whole(Nothing(), config_of(preprocess, post, 1))
    random = np.random.default_rng(0)
    for size in SIZES:
        pictures = random.integers(0, 256, (2, *size, 3), np.uint8)
        likely, _ = whole(torch.from_numpy(pictures))
        for one, wanted in zip(likely.numpy(), predictor.predict(list(pictures)), strict=True):
            np.testing.assert_allclose(one[0], wanted.probability, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch 2.10, of its own
def test_a_program_is_written_and_runs_without_segzoo(saved, tmp_path):
    assert run(["export", saved, "--format", "pt2", "-o", "a.pt2"]) == 0
    record = json.loads((tmp_path / "a.pt2.json").read_text())
    assert all(each["difference"] <= 1e-4 for each in record["compared"])
    assert record["opset"] is None
    content = (tmp_path / "a.pt2").read_bytes()
    assert not any(word in content for word in (b"shrinking.py", str(tmp_path).encode()))
    np.save("picture.npy", np.random.default_rng(3).integers(0, 256, (1, 41, 90, 3), np.uint8))
    code = """
import sys, numpy, torch
program = torch.export.load("a.pt2").module()
likely, mask = program(torch.from_numpy(numpy.load("picture.npy")))
assert not any(name.startswith(("segzoo", "shrinking")) for name in sys.modules)
numpy.save("likely.npy", likely.detach().numpy())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    wanted = segzoo.load(saved).predict(np.load("picture.npy")[0])
    np.testing.assert_allclose(np.load("likely.npy")[0, 0], wanted.probability, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("field", "value"), [("resize", "letterbox"), ("antialias", "gaussian")])
def test_sizes_that_torch_cannot_follow_are_refused_by_name(field, value):
    preprocess = Preprocess(**SIZE | {field: value})
    with pytest.raises(ConfigError, match=f"preprocess.{field}='{value}' makes sizes that"):
        program.make(Nothing(), config_of(preprocess, MASKS, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite0", "u2netp", "unet", "unetpp", "fcn_vgg16"])
def test_a_model_of_each_family_is_a_program(name, tmp_path):
    model = segzoo.load(name, seed=0)
    done = export_model(model, target_of(tmp_path / "a.pt2", "pt2"))
    assert max(each.difference for each in done.compared) <= 1e-4


@pytest.mark.slow
def test_a_program_that_holds_for_some_sizes_alone_is_refused(tmp_path):
    """torch.export takes it that digit_unet always cuts off what it had padded."""
    model = segzoo.load("digit_unet", seed=0)
    with pytest.raises(PluginError, match=r"program that torch made fails .* Give --fo"):
        export_model(model, target_of(tmp_path / "a.pt2", "pt2"))
    assert not [*tmp_path.iterdir()]
