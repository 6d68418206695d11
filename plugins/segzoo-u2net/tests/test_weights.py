"""The embedded weights: what the spec says of them is so."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from segzoo_u2net.spec import U2NETP

import segzoo
from segzoo.model.load import find_spec
from segzoo.model.served import Request, serve
from segzoo.predict.artefacts.accepted import LIMITS
from segzoo.predict.runtimes import processor
from segzoo.testing import assert_weights_hold, check_weights


@pytest.mark.parametrize("tag", ["duts", "tuned"])
def test_the_file_is_the_declared_one_and_small(tag):
    record = U2NETP.weights[tag]
    package, _, path = record.bundled.partition(":")
    content = files(package).joinpath(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == record.sha256
    assert len(content) < 10 * 2**20


def test_the_card_says_data_licence_and_baseline():
    record = find_spec("u2netp")[1].weights["duts"]
    assert record.license == "Apache-2.0"
    assert [(data.name, data.license) for data in record.trained_on] == [("DUTS-TR", "not stated")]
    assert {metric.name for metric in record.metrics} == {
        "max F-beta",
        "max F-beta of the mean curve",
        "MAE",
    }
    assert "centred blob has max F-beta 0.591" in record.notes


@pytest.mark.parametrize(("name", "size"), [("u2netp", (320, 320)), ("u2netp.duts", (176, 176))])
def test_a_bright_disc_on_dark_ground_is_found(name, size):
    """Not a measurement: only that weights, sizes and preprocessing fit together."""
    y, x = np.mgrid[:200, :300]
    disc = (y - 90) ** 2 + (x - 160) ** 2 < 55**2
    picture = np.where(disc[..., None], (220, 60, 40), (40, 70, 60)).astype(np.uint8)
    model = segzoo.load(name, pretrained=True)
    found = model.predict(Image.fromarray(picture)).mask == 255
    iou = (found & disc).sum() / (found | disc).sum()
    assert iou > 0.7
    assert model.preprocess.size == size
    assert all(p.dtype.is_floating_point and p.element_size() == 4 for p in model.parameters())


@pytest.mark.parametrize("tag", [tag for tag, each in U2NETP.weights.items() if each.bundled])
def test_the_weights_hold_their_golden_too(tag):
    assert_weights_hold("u2netp", tag)
    assert not any(result.skipped for result in check_weights("u2netp", tag))


def test_all_of_them_fit_into_a_small_wheel():
    folder = files("segzoo_u2net") / "weights"
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 14_000_000


def test_a_round_picture_in_the_dark_has_its_field_of_view():
    y, x = np.mgrid[:584, :565]
    disc = (y - 290) ** 2 + (x - 280) ** 2 < 265**2
    picture = np.where(disc[..., None], (190, 100, 50), (6, 6, 6)).astype(np.uint8)
    found = segzoo.load("u2netp.drive_fov").predict(picture).mask == 255
    assert (found & disc).sum() / (found | disc).sum() > 0.9


def test_what_comes_without_a_tag_knows_what_the_authors_weights_know():
    """The declared numbers of the two, on the same pictures by the same protocol."""
    official, tuned = U2NETP.weights["official"], U2NETP.weights[U2NETP.default_weights]
    stated = {(m.name, m.split, m.protocol): m.value for m in official.metrics}
    for metric in tuned.metrics:
        assert abs(metric.value - stated[metric.name, metric.split, metric.protocol]) < 0.005


def test_int8_is_small_loses_little_and_finds_a_bright_disc():
    pytest.importorskip("onnxruntime")
    graph = U2NETP.weights["tuned"].graphs["int8"]
    package, _, path = graph.bundled.partition(":")
    content = files(package).joinpath(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == graph.sha256
    assert len(content) < 2 * 10**6
    lost = {metric.name: metric.value for metric in graph.metrics}
    assert lost["max F-beta lost"] <= LIMITS["max_f"]
    assert lost["MAE gained"] <= LIMITS["mae"]
    if not processor._flags() & processor.PRODUCTS:
        pytest.skip("the processor has no instructions for int8")
    y, x = np.mgrid[:200, :300]
    disc = (y - 90) ** 2 + (x - 160) ** 2 < 55**2
    picture = np.where(disc[..., None], (220, 60, 40), (40, 70, 60)).astype(np.uint8)
    asked = Request(ref="u2netp.tuned", runtime="onnxruntime", precision="int8", device="cpu")
    mask = serve(asked).predictor.predict(picture).mask == 255
    assert (mask & disc).sum() / (mask | disc).sum() > 0.9
