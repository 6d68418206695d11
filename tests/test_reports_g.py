"""What people met on the way from their files to a network, and what they are told."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY, tiny
from torch import nn

import segzoo
from segzoo.cli.main import run
from segzoo.errors import UsageError, WeightsFormatError, WeightsMismatchError
from segzoo.runs.convert import convert


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
