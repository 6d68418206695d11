"""The licence gate: `list --license` and `load(..., require_license=)`."""

import dataclasses

import pytest
import tiny

import segzoo
from segzoo.errors import LicenseError
from segzoo.spec import Dataset, Weights
from segzoo.zoo import licenses

OURS = Dataset(name="ours", license="CC0-1.0")
THEIRS = Dataset(name="theirs", license="not stated")


def weights(license="MIT", *data):
    return Weights(bundled="x:y", sha256="0" * 64, license=license, trained_on=data)


@pytest.mark.parametrize(
    ("license", "data", "wanted", "faults"),
    [
        ("MIT", (), "permissive", []),
        ("apache-2.0", (OURS,), "Permissive", []),
        ("", (), "permissive", ["the weights' is not stated"]),
        ("GPL-3.0", (OURS,), "permissive", ["the weights' is 'GPL-3.0'"]),
        ("MIT", (OURS, THEIRS), "permissive", ["that of the data set 'theirs' is 'not stated'"]),
        ("GPL-3.0", (THEIRS,), "gpl-3.0", []),
        ("MIT", (OURS,), "Apache-2.0", ["the weights' is 'MIT'"]),
    ],
)
def test_why_weights_do_not_pass(license, data, wanted, faults):
    assert licenses.faults(license, data, wanted) == faults


def test_a_model_is_offered_for_the_weights_that_pass():
    spec = dataclasses.replace(tiny.TINY, weights={"a": weights("MIT", OURS)}, default_weights="a")
    assert licenses.offers(spec, "permissive")
    spec = dataclasses.replace(spec, weights={"a": weights("MIT", OURS, THEIRS)})
    assert not licenses.offers(spec, "permissive")
    with pytest.raises(LicenseError) as caught:
        licenses.refuse_others("permissive", "tiny.a", "MIT", [OURS, THEIRS])
    assert "that of the data set 'theirs' is 'not stated'" in str(caught.value)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Makes folders of a saved model whose config says a licence and data."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")

    def save(license, *data):
        model = segzoo.load("tiny", seed=0)
        model.config = dataclasses.replace(model.config, license=license, trained_on=data)
        return str(model.save_pretrained(tmp_path / "saved"))

    return save


def test_a_saved_model_is_judged_by_what_its_config_says(saved):
    folder = saved("MIT", OURS)
    assert segzoo.load(folder, require_license="permissive").config.license == "MIT"
    segzoo.load(folder, require_license="MIT")
    with pytest.raises(LicenseError) as caught:
        segzoo.load(folder, require_license="Apache-2.0")
    assert str(caught.value) == (
        f"{folder} is not under the licence asked for: the weights' is 'MIT'; "
        "expected Apache-2.0. See: segzoo list --license Apache-2.0"
    )
    assert caught.value.exit_code == 2


def test_silence_is_no_licence(saved, tmp_path):
    folder = saved("")
    with pytest.raises(LicenseError, match="the weights' is not stated; expected one of 0BSD, "):
        segzoo.load(folder, require_license="permissive")
    with pytest.raises(LicenseError, match="the weights' is not stated"):
        segzoo.load("tiny", weights=f"{folder}/model.safetensors", require_license="permissive")


def test_random_values_are_nobodys(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    segzoo.load("tiny", require_license="permissive")


def test_the_zoos_own_weights(monkeypatch):
    record = segzoo.load("u2netp", pretrained=True).weights
    if licenses.faults(record.license, record.trained_on, "permissive"):
        with pytest.raises(LicenseError, match="of the data set"):
            segzoo.load("u2netp", pretrained=True, require_license="permissive")
        assert "u2netp" not in segzoo.list_models(license="permissive")
    else:
        segzoo.load("u2netp", pretrained=True, require_license="permissive")
        assert "u2netp" in segzoo.list_models(license="permissive")
    segzoo.load("u2netp", pretrained=True, require_license=record.license)
