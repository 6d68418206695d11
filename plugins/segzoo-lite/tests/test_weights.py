"""The embedded weights: what the spec says of them is so."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from segzoo_lite.spec import LITE0, LITE2

import segzoo
from segzoo.model import choice
from segzoo.model.served import Request, serve
from segzoo.predict.artefacts.accepted import LIMITS
from segzoo.predict.runtimes import processor
from segzoo.testing import assert_weights_hold, check_weights

SPECS = {"lite0": LITE0, "lite2": LITE2}
MOST_BYTES = {"lite0": 8 * 10**6, "lite2": 12 * 10**6}
EMBEDDED = [(name, tag) for name, spec in SPECS.items() for tag in spec.weights]


@pytest.mark.parametrize(("name", "tag"), EMBEDDED)
def test_the_file_is_the_declared_one_and_small(name, tag):
    record = SPECS[name].weights[tag]
    package, _, path = record.bundled.partition(":")
    content = files(package).joinpath(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.sha256
    assert len(content) < MOST_BYTES[name]


def test_int8_is_small_and_loses_no_more_than_may_be_lost():
    graph = LITE0.weights["fine"].graphs["int8"]
    package, _, path = graph.bundled.partition(":")
    assert files(package).joinpath(path).stat().st_size < 4 * 10**6
    lost = {metric.name: metric.value for metric in graph.metrics}
    assert lost["max F-beta lost"] <= LIMITS["max_f"]
    assert lost["MAE gained"] <= LIMITS["mae"]


def test_in_int8_a_bright_disc_is_found_without_anything_being_made():
    pytest.importorskip("onnxruntime")
    if not processor._flags() & processor.PRODUCTS:
        pytest.skip("the processor has no instructions for int8")
    asked = Request(ref="lite0.fine", runtime="onnxruntime", precision="int8", device="cpu")
    picture, disc = bright_disc()
    found = serve(asked).predictor.predict(picture).mask == 255
    assert (found & disc).sum() / (found | disc).sum() > 0.9


@pytest.mark.parametrize(("name", "tag"), EMBEDDED)
def test_the_card_says_all_data_that_the_weights_have_seen(name, tag):
    record = SPECS[name].weights[tag]
    assert [data.name for data in record.trained_on] == ["DUTS-TR", "ImageNet-1K"]
    assert record.trained_on[1] == SPECS[name].backbone["imagenet"].trained_on[0]


def bright_disc():
    y, x = np.mgrid[:200, :300]
    disc = (y - 90) ** 2 + (x - 160) ** 2 < 55**2
    picture = np.where(disc[..., None], (220, 60, 40), (40, 70, 60)).astype(np.uint8)
    return Image.fromarray(picture), disc


@pytest.mark.parametrize("name", SPECS)
def test_a_bright_disc_on_dark_ground_is_found(name):
    """Not a measurement: only that weights, sizes and preprocessing fit together."""
    picture, disc = bright_disc()
    found = segzoo.load(name, pretrained=True).predict(picture).mask == 255
    assert (found & disc).sum() / (found | disc).sum() > 0.9


@pytest.mark.parametrize(("name", "tag"), EMBEDDED)
def test_the_weights_hold_their_golden_too(name, tag):
    assert_weights_hold(name, tag)
    assert not any(result.skipped for result in check_weights(name, tag))


def test_they_are_what_cutout_takes_by_their_record():
    assert choice.best().ref == f"lite2.{LITE2.default_weights}" == "lite2.fine_352"


@pytest.mark.parametrize("ref", ["lite0.fine", "lite2.fine_352"])
def test_the_graph_gives_torchs_probabilities(ref):
    """For one picture and for two, of several sizes."""
    pytest.importorskip("onnxruntime")
    from segzoo.model.served import Request, serve
    from segzoo.predict.artefacts.parity import compare

    network, graph = (
        serve(Request(ref=ref, device="cpu", runtime=runtime)).predictor
        for runtime in ("torch", "onnxruntime")
    )
    found = compare(
        network.runtime,
        graph.runtime,
        preprocess=network.preprocess,
        postprocess=network.postprocess,
        in_channels=3,
    )
    assert len(found) == 3
    assert max(case.difference for case in found) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tag"), [("lite0", "fine"), ("lite2", "fine_352")])
def test_the_graph_is_made_of_the_weights_by_one_call(tmp_path, name, tag):
    """Byte for byte by the versions that it was made with; by others, as large and as good."""
    pytest.importorskip("onnxscript")
    from segzoo.model.origin import bundled_file
    from segzoo.model.shipping import write

    graph = SPECS[name].weights[tag].graphs["fp32"]
    wanted = bundled_file(graph.bundled)
    sha256 = write(f"{name}.{tag}", tmp_path / "again.onnx")
    size = (tmp_path / "again.onnx").stat().st_size
    assert sha256 == graph.sha256 or abs(size - wanted.stat().st_size) < 10**5
    answers = (np.load(file.with_suffix(".npy")) for file in (tmp_path / "again.onnx", wanted))
    np.testing.assert_allclose(*answers, atol=1e-3)
