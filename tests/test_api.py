"""`segzoo.load` and its kin, on a tiny model and on an installed one."""

import copy
import dataclasses
import json
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import tiny
import torch

import segzoo
from segzoo.errors import (
    ConfigError,
    DependencyMissingError,
    IntegrityError,
    PluginMissingError,
    UnknownModelError,
    UsageError,
    WeightsMismatchError,
    WeightsMissingError,
)
from segzoo.spec import Option

X = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A saved model whose plugin is installed, in the way of SEGZOO_MODELS."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    model = segzoo.load("tiny", seed=3, width=5)
    return model, model.save_pretrained(tmp_path / "saved")


def test_what_load_returns():
    model = segzoo.load(tiny.TINY, seed=0)
    assert type(model.network) is tiny.Tiny
    assert not model.training
    assert model.task == "binary"
    assert (model.in_channels, model.num_classes, model.classes) == (3, 1, ())
    assert torch.equal(model(X), model.network(X))


def test_a_seed_gives_the_same_values_and_leaves_the_callers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two = segzoo.load(tiny.TINY, seed=1), segzoo.load(tiny.TINY, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one(X), two(X))
    assert not torch.equal(one(X), segzoo.load(tiny.TINY, seed=2)(X))


def test_every_way_to_name_a_model(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "my_net=tiny:TINY")
    for ref in ("my_net", "My-Net", "SEGZOO_MODELS/my_net", "tiny:TINY", tiny.TINY):
        assert isinstance(segzoo.load(ref).network, tiny.Tiny)


def test_num_classes_chooses_a_task_that_suits():
    model = segzoo.load(tiny.TINY, num_classes=4)
    assert model.task == "multiclass"
    assert model.postprocess.activation == "softmax"
    assert model(X).shape == (1, 4, 9, 7)
    assert segzoo.load(tiny.TINY, task="multiclass", num_classes=2).task == "multiclass"


def test_every_wrong_wish_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        segzoo.load(tiny.TINY, num_classes=0, in_channels=True, task="boxes", wdith=3, width="3")
    message = str(caught.value)
    assert "'wdith' is not an option (did you mean 'width'?); it has width" in message
    with pytest.raises(ConfigError, match=r"'num_class' .* \(did you mean 'num_classes'\?\)"):
        segzoo.load(tiny.TINY, num_class=3)
    assert "width is '3' (str), not a value of type int" in message
    assert "task='boxes' is not one of 'binary', 'multiclass'" in message
    assert "num_classes=0 is not a whole number from 1 to 256" in message
    assert "in_channels=True is not a whole number from 1 to 1024" in message


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0, "width is 0, below 1"),
        (True, "width is True (bool), not a value of type int"),
        (1.5, "width is 1.5 (float), not a value of type int"),
        (10**10, "width is 10000000000, above 1e+09"),
    ],
)
def test_option_values(value, says):
    with pytest.raises(ConfigError, match="tiny: ") as caught:
        segzoo.load(tiny.TINY, width=value)
    assert says in str(caught.value)


def test_an_absurd_network_is_refused_before_memory_is_taken():
    spec = dataclasses.replace(tiny.TINY, options={"width": Option(default=4, max=10**12)})
    for width, count in ((10**9, "31,000,000,001"), (10**11, "3,100,000,000,001")):
        with pytest.raises(ConfigError) as caught:
            segzoo.load(spec, width=width)
        assert str(caught.value) == (
            f"tiny: these options ask for a network of {count} parameters; "
            "expected at most 20,000,000,000"
        )


def test_an_absurd_network_is_not_made_for_weights_either(saved):
    """Four terabytes: the file and the folder are compared with shapes alone."""
    _, folder = saved
    spec = dataclasses.replace(tiny.TINY, options={"width": Option(default=10**11)})
    with pytest.raises(WeightsMismatchError, match=r"expected \[1, 100000000000, 1, 1\]"):
        segzoo.load(spec, weights=folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["options"]["width"] = 10**9  # the most that the spec allows
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").unlink()
    with pytest.raises(WeightsMismatchError, match=r"expected \[1, 1000000000, 1, 1\]"):
        segzoo.load(str(folder))


def test_without_weights_the_message_says_what_can_be_done(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    for call in (lambda: segzoo.load("tiny", pretrained=True), lambda: segzoo.load("tiny.first")):
        with pytest.raises(WeightsMissingError) as caught:
            call()
        assert str(caught.value).startswith("tiny has no weights")
        assert "found none" in str(caught.value)
        assert "weights=FILE" in str(caught.value)


def test_saved_and_loaded_again(saved):
    model, folder = saved
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    for ref in (str(folder), f"local-dir:{folder}"):
        again = segzoo.load(ref)
        assert again.config.options == {"width": 5}
        assert torch.equal(again(X), model(X))
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "tiny"
    assert config["plugin"]["distribution"] == "SEGZOO_MODELS"
    assert set(safetensors.torch.load_file(folder / "model.safetensors")) == set(
        model.network.state_dict()
    )


def test_a_file_of_weights(saved):
    model, folder = saved
    file = folder / "model.safetensors"
    assert torch.equal(segzoo.load("tiny", weights=file, width=5)(X), model(X))
    with pytest.raises(WeightsMismatchError):
        segzoo.load("tiny", weights=file)  # width 4
    with pytest.raises(UsageError, match="a saved model's folder has its own weights"):
        segzoo.load(str(folder), weights=file)
    with pytest.raises(UsageError, match="not both"):
        segzoo.load("tiny", weights=file, pretrained=True)


def test_the_folder_of_a_plugin_that_is_gone(saved, monkeypatch):
    """Row P9."""
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    config["plugin"] = {"distribution": "segzoo-foo", "version": "0.3"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "manifest.json").unlink()
    with pytest.raises(PluginMissingError) as caught:
        segzoo.load(str(folder))
    assert "made with segzoo-foo 0.3, which does not offer 'tiny' here" in str(caught.value)
    assert "pip install" not in str(caught.value)
    assert "That name is the file's claim, and no plugin known here has it" in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_folder_of_a_spec_that_no_plugin_offers(tmp_path):
    model = segzoo.load(tiny.TINY, seed=0)
    folder = model.save_pretrained(tmp_path / "x")
    with pytest.raises(PluginMissingError, match="was made from a spec that no plugin offers"):
        segzoo.load(str(folder))
    again = segzoo.load(tiny.TINY, weights=folder / "model.safetensors")
    assert torch.equal(again(X), model(X))


def test_a_folder_whose_weights_were_changed(saved):
    _, folder = saved
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError):
        segzoo.load(str(folder))


def test_no_folder_shadows_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "SEGZOO_MODELS" / "tiny").mkdir(parents=True)
    assert isinstance(segzoo.load("tiny").network, tiny.Tiny)
    assert isinstance(segzoo.load("SEGZOO_MODELS/tiny").network, tiny.Tiny)
    with pytest.raises(ConfigError, match=r"config\.json: there is no such file"):
        segzoo.load("./tiny")


def test_another_head_is_made_anew_and_said(saved):
    model, folder = saved
    with pytest.warns(UserWarning, match=r"asked for were 3 and 3; .* head\.bias, head\.weight"):
        other = segzoo.load(str(folder), num_classes=3)
    assert other(X).shape[1] == 3
    assert torch.equal(other.network.stem.weight, model.network.stem.weight)
    assert other.notes


def test_another_stem_is_adapted_and_said(saved):
    model, folder = saved
    with pytest.warns(UserWarning, match=r"stem\.weight"):
        other = segzoo.load(str(folder), in_channels=1)
    gray = X.mean(1, keepdim=True)
    torch.testing.assert_close(other(gray), model(gray.expand(-1, 3, -1, -1)))


def test_a_model_without_a_declared_head_keeps_its_classes(saved):
    _, folder = saved
    spec = dataclasses.replace(tiny.TINY, head=())
    with pytest.raises(ConfigError, match="declares no head that could be replaced"):
        segzoo.load(spec, weights=folder / "model.safetensors", width=5, num_classes=2)


def test_a_part_of_the_network_from_the_weights_of_the_whole(tmp_path):
    whole = segzoo.load("unetpp", width=4, seed=0)
    folder = whole.save_pretrained(tmp_path / "whole")
    x = torch.rand(1, 3, 32, 32)
    heads = whole(x, all_heads=True)
    for depth in (1, 2, 3):
        part = segzoo.load(str(folder), depth=depth)
        assert torch.equal(part(x), heads[4 - depth])
        assert len(part.state_dict()) < len(whole.state_dict())
    part = segzoo.load("unetpp", weights=folder / "model.safetensors", width=4, depth=2)
    again = segzoo.load(str(part.save_pretrained(tmp_path / "part")))
    assert torch.equal(again(x), part(x))
    with pytest.raises(ConfigError, match="the weights have no depth=3; found depth=2"):
        segzoo.load(str(tmp_path / "part"), depth=3)


@pytest.mark.parametrize("module", ["no_such_module", "no_such.module", "json.no_such"])
def test_a_missing_library_is_named(module):
    spec = dataclasses.replace(tiny.TINY, requires={module: "segzoo-foo[mamba]"})
    with pytest.raises(DependencyMissingError) as caught:
        segzoo.load(spec)
    assert str(caught.value) == (
        "tiny needs segzoo-foo[mamba]. Run: pip install 'segzoo-foo[mamba]'"
    )


def test_a_variant_changes_the_spec():
    spec = dataclasses.replace(tiny.TINY, variant="variants:by_width")
    model = segzoo.load(spec, width=8)
    assert model.spec.num_parameters == sum(p.numel() for p in model.parameters())
    assert model.preprocess.size == (8, 8)


def test_a_model_is_an_ordinary_module():
    model = segzoo.load(tiny.TINY, seed=0)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(X), model(X))
        assert twin.config == model.config
    outer = torch.nn.Sequential(model, torch.nn.Sigmoid())
    assert torch.equal(outer(X), model(X).sigmoid())


def test_predict_takes_what_people_have(tmp_path):
    model = segzoo.load(tiny.TINY, seed=0)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    one = model.predict(picture)
    assert one.mask.shape == (20, 30)
    assert set(np.unique(one.mask)) <= {0, 255}
    assert one.probability.dtype == np.float32
    several = model.predict([picture, picture[:7]])
    assert [p.mask.shape for p in several] == [(20, 30), (7, 30)]
    np.testing.assert_array_equal(several[0].mask, one.mask)


def test_the_device_is_checked_first():
    with pytest.raises(segzoo.SegzooError, match="device"):
        segzoo.load(tiny.TINY, device="quantum")


def test_list_models_and_info(monkeypatch):
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY,broken=nowhere:X")
    assert "tiny" in segzoo.list_models()
    assert "broken" not in segzoo.list_models()
    assert segzoo.list_models("TI*") == ["tiny"]
    assert segzoo.list_models(plugin="segzoo_models") == ["tiny"]
    assert "tiny" not in segzoo.list_models(task="saliency")
    assert "tiny" not in segzoo.list_models(pretrained=True)
    with pytest.raises(UsageError, match="no task 'boxes'; expected binary, multiclass"):
        segzoo.list_models(task="boxes")
    info = segzoo.model_info("tiny")
    assert info["name"] == "tiny"
    assert info["preprocess"]["rescale"] == "255"
    json.dumps(info)


def test_unknown_names_get_a_suggestion(monkeypatch):
    """Row C1."""
    monkeypatch.setenv("SEGZOO_MODELS", "tiny=tiny:TINY")
    with pytest.raises(UnknownModelError, match=r"no model 'tinny'\. Did you mean 'tiny'\?"):
        segzoo.load("tinny")


@pytest.mark.parametrize("name", ["u2netp", "U2NetP", "segzoo-u2net/u2netp", "u2netp.duts"])
def test_pretrained_weights_of_the_zoo(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = segzoo.load(name, pretrained="." not in name)
    assert model.weights.license == "Apache-2.0"
    assert sum(p.numel() for p in model.parameters()) == 1_131_181
