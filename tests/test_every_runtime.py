"""Every model of this repository, with its default options, in the runtimes that need no torch."""

import pytest

import segzoo
from segzoo.predict.artefacts import store
from segzoo.predict.artefacts.parity import TOLERANCE
from segzoo.predict.artefacts.store import Artefact, Parity

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

QUICK = {"u2netp", "unetpp", "unet_slim", "digit_unet"}  # others take a minute or several


def of(name):
    return pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [of(name) for name in segzoo.list_models()])
def test_a_model_gives_torchs_probabilities(name):
    """For stages of one pixel, for two pictures at once, and for sizes that are no squares."""
    model = segzoo.load(name, seed=0)
    for runtime in ("onnxruntime", "openvino"):
        model.predictor(runtime=runtime)  # refused where it differs
    [artefact] = store.all_records(Artefact, "artefact.json")
    found = {p.runtime: p for p in store.all_records(Parity, "*-fp32.json")}
    assert found.keys() == {"onnxruntime", "openvino"}
    for parity in found.values():
        assert parity.sha256 == artefact.sha256
        assert [case.shape[0] for case in parity.cases] == [1, 2, 1]
        assert parity.within(TOLERANCE["fp32"])
        sizes = {case.shape[2:] for case in parity.cases}
        assert len(sizes) == (3 if model.preprocess.size is None else 1)
