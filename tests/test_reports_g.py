"""What people met on the way from their files to a network, and what they are told."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells import QUIET, cells_in, trained
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import TINY, tiny
from torch import nn

import segzoo
from segzoo.checks.results import judged
from segzoo.cli.main import run
from segzoo.engine.one_value import refuse_single_values
from segzoo.errors import (
    ConfigError,
    UsageError,
    WeightsFormatError,
    WeightsMismatchError,
    WeightsValueError,
)
from segzoo.predict.preprocess import Geometry, at_picture
from segzoo.runs.convert import convert
from segzoo.runs.training import train
from segzoo.saved import config as configs
from segzoo.spec import Postprocess, Recipe


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def network(seed=0):
    torch.manual_seed(seed)
    return tiny().eval()


def under(prefix, state):
    return {prefix + name: tensor.clone() for name, tensor in state.items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def converted(file="net.safetensors", **wishes):
    done = convert(file, to=TINY, out="out.safetensors", overwrite=True, **wishes)
    return done, load_file("out.safetensors")


# --- C3: what training programs put before the names, and beside them -----------------------------

PREFIXES = ["module.", "_orig_mod.", "model.", "net.", "module.model._orig_mod.", "a.b.c.d."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_c3_any_prefix_that_makes_all_names_fit_is_taken_off_and_said(prefix, capsys):
    state = network().state_dict()
    save_file(under(prefix, state), "net.safetensors")
    done, found = converted()
    assert equal(found, state)
    kept = prefix.replace("_orig_mod.", "")
    assert done.prefix == kept
    assert (f"{prefix}head.bias", "head.bias") in done.names

    line = ["convert", "net.safetensors", "--to", "tiny:TINY", "-o", "said.safetensors"]
    assert run(line) == 0
    said = capsys.readouterr().out
    assert (f"'{kept}' was taken off the names in the file" in said) == bool(kept)


def test_c3_as_torch_itself_wraps_a_network():
    plain = network()
    state = plain.state_dict()
    averaged = torch.optim.swa_utils.AveragedModel(plain)  # with a counter beside it
    part = network()
    part.stem = torch.compile(part.stem)
    for wrapped in (nn.DataParallel(plain), torch.compile(plain), averaged, part):
        save_file(under("", wrapped.state_dict()), "net.safetensors")
        assert set(wrapped.state_dict()) != set(state)
        assert equal(converted()[1], state)


@pytest.mark.parametrize("prefix", ["module.", "model.", "a.b.c.d."])
def test_c3_load_takes_it_off_too(prefix):
    state = network().state_dict()
    save_file(under(prefix, state), "net.safetensors")
    with pytest.warns(UserWarning, match=f"'{prefix}' was taken off the names in the file"):
        model = segzoo.load(TINY, weights="net.safetensors")
    assert equal(model.network.state_dict(), state)
    assert model.notes == (f"tiny: '{prefix}' was taken off the names in the file",)

    save_file(under(prefix, state) | {"loss.weight": torch.ones(1)}, "net.safetensors")
    with pytest.raises(WeightsMismatchError) as caught:
        segzoo.load(TINY, weights="net.safetensors")
    assert caught.value.next_step == (
        "Its names begin otherwise: segzoo convert FILE --to MODEL makes a model of such a file"
    )


def test_c3_foreign_tensors_are_named_and_left_out_when_asked():
    state = network().state_dict()
    beside = {
        "loss.weight": torch.ones(1),
        "iou.confmat": torch.ones(2, 2),
        "net.extra": torch.ones(1),
    }
    save_file(under("net.", state) | beside, "net.safetensors")
    with pytest.raises(WeightsMismatchError) as caught:
        converted()
    assert str(caught.value) == (
        "net.safetensors: weights of another network: 3 unexpected: iou.confmat, loss.weight, "
        "net.extra. All of the network's are there; if these are of a loss or a metric, add "
        "--leave-out 'iou.*' --leave-out 'loss.*' --leave-out net.extra"
    )
    done, found = converted(leave_out=["iou.*", "loss.*", "net.extra"])
    assert equal(found, state)
    assert sorted(done.left_out) == sorted(beside)
    with pytest.raises(WeightsMismatchError, match="2 unexpected"):
        converted(leave_out=["iou.*"])
    with pytest.raises(WeightsMismatchError, match=r"1 missing: head\.bias"):
        converted(leave_out=["iou.*", "loss.*", "net.extra", "*.head.bias"])


@pytest.mark.parametrize(
    "names",
    [
        ("state_dict", "state_dict_ema"),  # timm
        ("model", "model_ema"),  # torchvision's references
    ],
)
def test_c3_ema_chooses_the_averages(names):
    plain, means = network().state_dict(), network(1).state_dict()
    torch.save({names[0]: plain, names[1]: under("module.", means), "epoch": 3}, "net.pth")
    done, found = converted("net.pth")
    assert equal(found, plain)
    assert f"it holds averages too ({names[1]}); --ema takes them" in done.notes
    done, found = converted("net.pth", averaged=True)
    assert equal(found, means)
    assert names[0] in done.left_out


def test_c3_averages_below_a_prefix_of_their_own():
    plain, means = network().state_dict(), network(1).state_dict()
    save_file(under("model.", plain) | under("ema_model.module.", means), "net.safetensors")
    done, found = converted()
    assert equal(found, plain)
    assert any("--ema takes them" in note for note in done.notes)
    assert equal(converted(averaged=True)[1], means)


def test_c3_no_averages_where_they_are_asked_for():
    torch.save({"state_dict": network().state_dict(), "epoch": 3, "scheme": 1}, "net.pth")
    with pytest.raises(WeightsFormatError) as caught:
        converted("net.pth", averaged=True)
    assert str(caught.value) == (
        "net.pth: it holds no averages of the weights; found state_dict, epoch, scheme, expected "
        "an entry or a prefix with 'ema' in its name. Convert it without --ema"
    )


def test_c3_two_networks_are_not_guessed_between():
    one, other = network().state_dict(), network(1).state_dict()
    save_file(under("student.", one) | under("teacher.", other), "net.safetensors")
    with pytest.raises(UsageError) as caught:
        converted()
    assert str(caught.value) == (
        "net.safetensors: it holds several networks of these names; found 'student.', 'teacher.'. "
        "Say which one is not meant: --leave-out 'teacher.*'"
    )
    assert equal(converted(leave_out=["teacher.*"])[1], one)


def test_c3_what_is_missing_is_said_by_its_own_name():
    state = network().state_dict()
    state.pop("head.bias")
    save_file(under("model.", state), "net.safetensors")
    with pytest.raises(WeightsMismatchError) as caught:
        converted()
    assert str(caught.value) == (
        "net.safetensors: weights of another network: 1 missing: head.bias"
    )


# --- C2: other floats than float32 ----------------------------------------------------------------


@pytest.fixture(params=[torch.float64, torch.bfloat16])
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def test_c2_the_default_dtype_of_torch_changes_no_network(default_dtype):
    torch.set_default_dtype(torch.float32)
    plain, drawn = network(), segzoo.load(TINY, seed=0)
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    wanted = drawn.predict(picture).probability
    save_file(plain.state_dict(), "net.safetensors")
    torch.set_default_dtype(default_dtype)
    loaded = segzoo.load(TINY, weights="net.safetensors")
    assert equal(loaded.network.state_dict(), plain.state_dict())
    again = segzoo.load(TINY, seed=0)
    assert equal(again.network.state_dict(), drawn.network.state_dict())
    assert np.array_equal(again.predict(picture).probability, wanted)
    assert equal(converted()[1], plain.state_dict())
    found = judged("a promise", lambda: str(torch.get_default_dtype()), "")
    assert found.detail == "torch.float32"
    assert torch.get_default_dtype() == default_dtype


def test_c2_nor_a_training(default_dtype):
    torch.set_default_dtype(torch.float32)
    cells_in(Path("cells"))
    words = "folder:cells?values=0,255"
    wanted = trained(words, run="plain").model.state_dict()
    torch.set_default_dtype(default_dtype)
    assert equal(trained(words).model.state_dict(), wanted)


@pytest.mark.parametrize(
    ("dtype", "made"),
    [(torch.float64, "narrowed"), (torch.float16, "widened"), (torch.bfloat16, "widened")],
)
def test_c2_a_file_of_other_floats_is_made_float32_with_a_note(dtype, made):
    plain = network().to(dtype).state_dict()
    save_file(plain, "net.safetensors")
    wanted = {n: t.float() if t.is_floating_point() else t for n, t in plain.items()}
    done, found = converted()
    assert equal(found, wanted)
    bits = 8 * dtype.itemsize
    assert done.notes[0] == f"stored in {bits} bits; {made} to float32"
    note = f"the file is of {str(dtype)[6:]}; {made} to float32"
    with pytest.warns(UserWarning, match=note):
        model = segzoo.load(TINY, weights="net.safetensors")
    assert equal(model.network.state_dict(), wanted)
    assert model.notes == (f"tiny: {note}",)


def test_c2_what_float32_cannot_hold_is_refused():
    state = network().double().state_dict()
    state["head.bias"] = state["head.bias"] * 0 + 1e300
    save_file(state, "net.safetensors")
    for use in (lambda: segzoo.load(TINY, weights="net.safetensors"), converted):
        with pytest.raises(WeightsValueError, match=r"with NaN or infinity: head\.bias \(1\)"):
            use()
    assert not Path("out.safetensors").exists()


# --- C1: normalisation over one value -------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "crop", "found"),
    [
        ("smp_deeplabv3plus", {"encoder": "resnet18"}, 32, r"\[1, 256, 1, 1\] at decoder\.aspp"),
        ("unet", {"width": 1}, 16, r"\[1, 16, 1, 1\] at encoder\.4\.block\.norm1"),
    ],
)
def test_c1_one_value_is_said_before_the_first_step(model, options, crop, found):
    cells_in(Path("cells"))
    changes = ["steps=1", "epochs=none", "batch_size=1", f"crop={crop}", "warmup=0"]
    with pytest.raises(ConfigError, match=found) as caught:
        train(model, "folder:cells?values=0,255", changes=changes, settings=QUIET, **options)
    assert f"with batch_size=1, crop={crop},{crop}" in caught.value.found
    assert caught.value.problem == (
        "a normalisation has one value per channel to take the mean and the variance of"
    )
    assert not Path("run").exists()


class Normed(nn.Module):
    """A network that normalises what is left of a picture after a pool."""

    def __init__(self, norm, looks):
        super().__init__()
        self.stem, self.norm, self.looks = nn.Conv2d(3, 4, 1), norm, looks

    def forward(self, x):
        pooled = self.norm(F.adaptive_avg_pool2d(self.stem(x), 1))
        if self.looks:
            assert pooled.sum().item() is not None  # which no network of shapes alone can answer
        return (self.stem(x) + pooled)[:, :1]


SGD = {"steps": 1, "optimizer": ("sgd", {}), "lr": 0.1, "crop": (16, 16)}
RECIPE = Recipe(batch_size=2, accumulate=2, **SGD)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(4, 4)])
def test_c1_every_normalisation_that_refuses_one_value(norm):
    parts = [{"image": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)}]
    made = Normed(norm, looks=False).train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    drawn = torch.get_rng_state()
    with pytest.raises(ConfigError) as caught:
        refuse_single_values(made, parts, RECIPE)
    assert caught.value.found.endswith("at norm, with batch_size=2, accumulate=2, crop=16,16")
    assert "a smaller accumulate" in caught.value.next_step
    assert equal(made.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not made.norm._forward_pre_hooks
    refuse_single_values(Normed(nn.BatchNorm2d(4), looks=False).eval(), parts, RECIPE)


def test_c1_a_network_that_looks_at_values_is_told_of_it_by_its_first_step():
    cells_in(Path("cells"))
    made = Normed(nn.BatchNorm2d(4), looks=True)
    recipe = Recipe(batch_size=1, **SGD)
    words = "folder:cells?values=0,255"
    with pytest.raises(ConfigError, match="with batch_size=1, crop=16,16"):
        train(made, words, recipe=recipe, num_classes=1, settings=QUIET)


# --- E2: the map as U²-Net's authors save it ------------------------------------------------------

MINMAX = Postprocess(normalize="minmax")
LEVELS = dataclasses.replace(MINMAX, resize="levels")


def as_the_authors(logits, height, width):
    """Lines of u2net_test.py, as far as they change a number: normPRED and save_output."""
    d = torch.sigmoid(torch.from_numpy(logits))
    ma, mi = torch.max(d), torch.min(d)
    dn = (d - mi) / (ma - mi)
    im = Image.fromarray(dn.squeeze().numpy() * 255).convert("RGB")
    return np.array(im.resize((width, height), resample=Image.BILINEAR))[..., 0]


@pytest.mark.parametrize("size", [(480, 640), (100, 50), (320, 320), (1, 7), (401, 33)])
def test_e2_levels_are_the_authors_bytes(size):
    logits = np.random.default_rng(3).normal(0, 3, (1, 40, 40)).astype(np.float32)
    logits = F.interpolate(torch.from_numpy(logits)[None], 320, mode="bicubic")[0].numpy()
    found = at_picture(logits, Geometry(size, (320, 320), (0, 0), (320, 320)), LEVELS)
    wanted = as_the_authors(logits, *size)
    assert found.dtype == np.float32
    assert found.shape == (1, *size)
    # a sigmoid of numpy's may differ in its last bit from torch's, and then a level by one
    off = np.abs(np.rint(found[0] * 255) - wanted)
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3
    ours = at_picture(logits, Geometry(size, (320, 320), (0, 0), (320, 320)), MINMAX)
    assert (np.abs(ours * 255 - wanted).max() > 1) == (size != (320, 320))


def test_e2_padding_is_no_part_of_the_levels():
    logits = np.full((2, 8, 8), 50, np.float32)  # of two classes
    logits[:, 2:6] = np.arange(32, dtype=np.float32).reshape(4, 8) / 8 - 2
    letterbox = Geometry((8, 16), (4, 8), (2, 0), (8, 8))
    found = at_picture(logits, letterbox, LEVELS)
    assert (found.min(), found.max()) == (0, 1)
    np.testing.assert_array_equal(np.rint(found[1] * 255), as_the_authors(logits[1, 2:6], 8, 16))


def test_e2_levels_are_saved_and_bounded():
    model = segzoo.load("u2netp", seed=0)
    model.config = dataclasses.replace(model.config, postprocess=LEVELS)
    model.save_pretrained("levels")
    assert segzoo.load("local-dir:levels").postprocess == LEVELS
    file = Path("levels/config.json")
    said = json.loads(file.read_text("utf-8"))
    for name, value in (("resize", "lanczos"), ("resize", 7), ("scale", 17)):
        strange = {**said, "postprocess": {**said["postprocess"], name: value}}
        file.write_text(json.dumps(strange), "utf-8")
        with pytest.raises(ConfigError, match=name):
            configs.read(file)


# --- E3: files and folders of other libraries -----------------------------------------------------


def test_e3_a_folder_of_smps_is_named_and_converted(capsys):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.FPN("resnet18", encoder_weights=None, in_channels=4, classes=3).eval()
    theirs.save_pretrained("theirs")
    with pytest.raises(ConfigError) as caught:
        segzoo.load("local-dir:theirs")
    assert str(caught.value) == (
        "theirs: segmentation-models-pytorch wrote this folder, not segzoo. Run: segzoo convert "
        "theirs -o FOLDER, and give that folder"
    )
    assert run(["convert", "theirs", "-o", "ours"]) == 0
    assert "smp_fpn" in capsys.readouterr().out
    ours = segzoo.load("local-dir:ours")
    x = torch.rand(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x))
    assert run(["convert", "theirs", "--to", "unet", "-o", "other"]) == 2
    assert "the folder holds another model; found smp_fpn" in capsys.readouterr().err


def test_e3_what_ours_cannot_do_is_refused_by_name(capsys):
    smp = pytest.importorskip("segmentation_models_pytorch")
    settings = {"encoder_depth": 4, "decoder_channels": (64, 32, 16, 8)}
    smp.Unet("resnet18", encoder_weights=None, **settings).save_pretrained("theirs")
    assert run(["convert", "theirs", "-o", "ours"]) == 2
    assert capsys.readouterr().err == (
        "segzoo: theirs: segzoo builds smp_unet without encoder_depth=4, "
        "decoder_channels=[64, 32, 16, 8]\n"
    )
    assert not Path("ours").exists()


def test_e3_other_folders_and_files(capsys):
    Path("timm").mkdir()
    Path("timm/config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
    with pytest.raises(ConfigError, match="timm: timm wrote this folder, not segzoo"):
        segzoo.load("local-dir:timm")
    assert run(["convert", "timm"]) == 2
    assert "timm wrote it, which holds no network of segzoo" in capsys.readouterr().err
    Path("unknown").mkdir()
    assert run(["convert", "unknown"]) == 2
    assert "a folder, and no plugin knows what wrote it" in capsys.readouterr().err
    assert run(["convert", "net.onnx"]) == 2
    assert "nothing says whose weights they are. Add --to MODEL" in capsys.readouterr().err
    Path("net.onnx").write_bytes(b"\x08\x07")
    with pytest.raises(UsageError, match=r"segzoo convert net\.onnx --to MODEL"):
        segzoo.load("net.onnx")
