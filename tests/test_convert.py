"""Weights of other programs become models that load; what does not fit leaves nothing behind."""

import hashlib
import json
import os

import pytest
import torch
from fake_plugins import install
from safetensors.torch import load_file, save_file
from tiny import tiny

import segzoo
from segzoo.cli.main import run
from segzoo.errors import (
    IntegrityError,
    OutputError,
    PluginError,
    SegzooError,
    UsageError,
    WeightsMismatchError,
)
from segzoo.keymap import Converter
from segzoo.model import golden
from segzoo.runs.convert import convert

OLD_NAMES = {"stem": "first.conv", "norm": "first.bn", "head": "last"}
# A plugin of one model with three layouts, of a whole network, of a wider one, and of its stem.
CODE = """
from segzoo.keymap import Converter
from tiny import TINY

RULES = (("^first.conv.", "stem."), ("^first.bn.", "norm."), ("^last.", "head."))
CONVERTERS = {
    "theirs": Converter(
        summary="theirs", detect=("^last\\\\.weight$",), absent=("^wide$",), rules=RULES,
        leave_out=("^extra\\\\.",),
    ),
    "wide": Converter(
        summary="theirs, wider", detect=("^last\\\\.weight$", "^wide$"), rules=RULES,
        leave_out=("^wide$",), options={"width": 6},
    ),
    "stem": Converter(
        summary="a stem", detect=("^conv1\\\\.",), rules=(("^conv1\\\\.", "stem."),),
        part="stem.", hashed_name=True,
    ),
    "kernels": Converter(
        summary="in Keras's order", detect=("/kernel$",), rules=(("/kernel$", ".weight"),),
        changes=(("/kernel$", "keras_kernel"),),
    ),
    "same": Converter(summary="as stem", detect=("^both$", "^conv1\\\\."), rules=()),
}
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path_factory, monkeypatch):
    site = tmp_path_factory.mktemp("site")
    info = site / "acme_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tiny\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[segzoo.models]\nacme = acme_tiny:TINY\nbare = acme_tiny:TINY\nodd = acme_tiny:TINY\n"
        "[segzoo.converters]\nacme = acme_tiny:CONVERTERS\nodd = acme_tiny:ODD\n"
    )
    (site / "acme_tiny.py").write_text(CODE + "ODD = {'x': RULES}\n")
    install(monkeypatch, site)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = tiny().eval()
    made.norm.running_mean.uniform_()
    return made


def theirs(network):
    """The network's tensors under the names of another program."""
    state = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = name.partition(".")
        state[f"{OLD_NAMES[module]}.{leaf}"] = tensor
    return state


def same(folder, network):
    x = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        return torch.equal(segzoo.load(folder)(x), network(x))


# --- what is converted ----------------------------------------------------------------------------


def test_a_file_becomes_a_folder_that_loads(network):
    save_file(theirs(network), "net.safetensors")
    done = convert("net.safetensors", to="acme")
    assert same("local-dir:net", network)
    assert (str(done.out), done.model, done.layout, done.kind) == (
        "net",
        "acme",
        "theirs",
        "safetensors",
    )
    with open("net.safetensors", "rb") as file:
        assert done.sha256 == hashlib.sha256(file.read()).hexdigest()
    assert ("first.conv.weight", "stem.weight") in done.names
    assert len(done.names) == len(network.state_dict())
    assert done.notes == ("no licence is recorded: that of the file you converted holds",)
    assert segzoo.load("local-dir:net").weights is None


def test_a_pickle_becomes_a_folder_too(network):
    torch.save({"model": theirs(network), "epoch": 3}, "net.pth")
    done = convert("net.pth", to="acme", out="here/there")
    assert same("here/there", network)
    assert done.left_out == ("epoch",)
    assert done.walls


def test_a_file_of_the_networks_own_names(network):
    save_file(network.state_dict(), "net.safetensors")
    assert convert("net.safetensors", to="bare").layout == "segzoo"
    assert same("local-dir:net", network)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "net."])
def test_what_was_put_around_the_network_is_taken_off(network, prefix):
    save_file({prefix + n: t for n, t in theirs(network).items()}, "net.safetensors")
    convert("net.safetensors", to="acme")
    assert same("local-dir:net", network)


def test_to_a_file(network):
    save_file(theirs(network), "net.safetensors")
    convert("net.safetensors", to="acme", out="mine.safetensors")
    assert load_file("mine.safetensors").keys() == network.state_dict().keys()
    assert segzoo.load("acme", weights="mine.safetensors")


def test_a_layout_says_options_and_a_caller_classes():
    network = tiny(4, 3, width=6)
    save_file(theirs(network) | {"wide": torch.zeros(1)}, "net.safetensors")
    done = convert("net.safetensors", to="acme", num_classes=3, in_channels=4)
    assert (done.layout, done.left_out) == ("wide", ("wide",))
    loaded = segzoo.load("local-dir:net")
    assert (loaded.num_classes, loaded.in_channels) == (3, 4)
    assert loaded.config.options == {"width": 6}


def test_tensors_of_16_bits_are_widened_and_counters_are_made(network):
    state = {n: t.half() for n, t in theirs(network).items() if "num_batches" not in n}
    save_file(state, "net.safetensors")
    done = convert("net.safetensors", to="acme")
    loaded = segzoo.load("local-dir:net").network
    assert loaded.norm.num_batches_tracked == 0
    assert torch.equal(loaded.stem.weight, network.stem.weight.half().float())
    assert done.notes[0] == "stored in 16 bits; widened to float32"


def test_a_part_is_a_start(network):
    save_file(
        {"conv1.weight": network.stem.weight, "conv1.bias": network.stem.bias}, "s.safetensors"
    )
    done = convert("s.safetensors", to="acme", part="stem")
    loaded = segzoo.load("local-dir:s").network
    assert torch.equal(loaded.stem.weight, network.stem.weight)
    assert torch.equal(loaded.head.weight, segzoo.load("acme", seed=0).network.head.weight)
    assert done.notes[0] == (
        "random are 7 tensors, so it is a beginning: segzoo train MODEL --init-from FOLDER"
    )
    assert len(done.names) == 2


def test_a_golden_is_held_against_the_result(network):
    save_file(theirs(network), "net.safetensors")
    golden.write(network, segzoo.load("acme").config, "golden.safetensors")
    done = convert("net.safetensors", to="acme", check="golden.safetensors")
    assert done.deviation == 0
    with torch.no_grad():
        network.head.bias += 0.5
    save_file(theirs(network), "other.safetensors")
    with pytest.raises(WeightsMismatchError) as caught:
        convert("other.safetensors", to="acme", check="golden.safetensors")
    assert str(caught.value).startswith(
        "golden.safetensors: the converted network gives other logits than the golden; nothing "
        "was written; found "
    )
    assert not os.path.exists("other")


def test_what_is_there_is_replaced_when_asked(network):
    save_file(theirs(network), "net.safetensors")
    for out in ("net", "mine.safetensors"):
        convert("net.safetensors", to="acme", out=out)
        with pytest.raises(OutputError) as caught:
            convert("net.safetensors", to="acme", out=out)
        assert str(caught.value) == (
            f"{out}: is already there. Choose another with -o, or add --overwrite"
        )
        convert("net.safetensors", to="acme", out=out, overwrite=True)
    os.mkdir("empty")
    convert("net.safetensors", to="acme", out="empty")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "wishes", "error", "text"),
    [
        pytest.param(
            lambda n: {k: v for k, v in theirs(n).items() if k != "last.bias"},
            {},
            WeightsMismatchError,
            "weights of another network: 1 missing: head.bias",
            id="W10-missing",
        ),
        pytest.param(
            lambda n: theirs(n) | {"more": torch.zeros(1), "extra.x": torch.zeros(1)},
            {},
            WeightsMismatchError,
            "weights of another network: 1 unexpected: more",
            id="W10-unexpected",
        ),
        pytest.param(
            lambda n: theirs(tiny(3, 2)),
            {},
            WeightsMismatchError,
            "weights of another network: 2 of another shape: head.bias (found [2], expected [1]), "
            "head.weight (found [2, 4, 1, 1], expected [1, 4, 1, 1]). If the first side is the "
            "number of classes, add --num-classes 2",
            id="W10-classes",
        ),
        pytest.param(
            lambda n: theirs(tiny(1, 1)),
            {},
            WeightsMismatchError,
            "weights of another network: 1 of another shape: stem.weight (found [4, 1, 3, 3], "
            "expected [4, 3, 3, 3]). If the second side is the input channels, add --in-channels 1",
            id="W10-channels",
        ),
        pytest.param(
            lambda n: {k: v.to(torch.complex64) for k, v in theirs(n).items()},
            {},
            WeightsMismatchError,
            "weights of another network: 9 of another dtype: head.bias (found C64, expected F32)",
            id="W9-complex",
        ),
        pytest.param(
            lambda n: theirs(n) | {"head.bias": torch.zeros(1)},
            {},
            WeightsMismatchError,
            "two of its tensors become 'head.bias'; found 'head.bias' and 'last.bias'",
            id="two-of-a-name",
        ),
        pytest.param(
            lambda n: {"stem/kernel": torch.zeros(3)},
            {},
            WeightsMismatchError,
            "'stem/kernel' has another rank; found [3], expected 4 axes",
            id="rank",
        ),
        pytest.param(
            lambda n: {"conv1.weight": torch.zeros(1), "both": torch.zeros(1)},
            {},
            UsageError,
            "its names are those of several layouts; found stem, same. Say which: --from stem",
            id="several-layouts",
        ),
        pytest.param(
            lambda n: {"conv1.weight": n.stem.weight, "conv1.bias": n.stem.bias},
            {},
            UsageError,
            "it holds the stem of acme alone. For a start for training, add --part stem",
            id="part-unsaid",
        ),
        pytest.param(
            theirs,
            {"part": "stem"},
            UsageError,
            "its layout has no part 'stem'; found the whole network",
            id="no-part",
        ),
        pytest.param(
            lambda n: {"conv1.weight": n.stem.weight},
            {"part": "stem"},
            WeightsMismatchError,
            "weights of another network: 1 missing: stem.bias",
            id="part-of-a-part",
        ),
    ],
)
def test_what_does_not_fit_leaves_nothing(network, make, wishes, error, text):
    save_file({n: t.contiguous() for n, t in make(network).items()}, "net.safetensors")
    with pytest.raises(error) as caught:
        convert("net.safetensors", to="acme", **wishes)
    assert str(caught.value).startswith(f"net.safetensors: {text}")
    assert os.listdir() == ["net.safetensors"]


def test_a_file_named_by_its_hash_must_have_it(network):
    state = {"conv1.weight": network.stem.weight, "conv1.bias": network.stem.bias}
    save_file(state, "net-0123abcd.safetensors")
    with pytest.raises(IntegrityError) as caught:
        convert("net-0123abcd.safetensors", to="acme", part="stem")
    with open("net-0123abcd.safetensors", "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    assert str(caught.value) == (
        f"net-0123abcd.safetensors: its sha256 is another one; found {sha256}, "
        "expected 0123abcd.... Fetch it again"
    )
    os.rename("net-0123abcd.safetensors", f"net-{sha256[:8]}.safetensors")
    convert(f"net-{sha256[:8]}.safetensors", to="acme", part="stem")


def test_layouts_that_are_not_there(network):
    save_file(theirs(network), "net.safetensors")
    with pytest.raises(UsageError) as caught:
        convert("net.safetensors", to="acme", layout="keras")
    assert str(caught.value) == (
        "acme has no layout 'keras'; expected segzoo, theirs, wide, stem, kernels, same"
    )
    with pytest.raises(WeightsMismatchError):
        convert("net.safetensors", to="acme", layout="segzoo")
    with pytest.raises(PluginError) as caught:
        convert("net.safetensors", to="odd")
    assert str(caught.value) == "acme_tiny:ODD['x'] is no Converter; found tuple"


def test_w19_nothing_is_written_of_a_hostile_file():
    class Canary:
        def __reduce__(self):
            return os.system, ("touch canary",)

    torch.save({"a": Canary()}, "net.pth")
    with pytest.raises(SegzooError):
        convert("net.pth", to="acme")
    assert os.listdir() == ["net.pth"]


# --- the command line -----------------------------------------------------------------------------


def test_the_command_says_what_it_did(network, capsys):
    save_file(theirs(network), "net.safetensors")
    assert run(["convert", "net.safetensors", "--to", "acme", "-o", "out"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("net.safetensors: safetensors, sha256 ")
    assert lines[1:3] == ["layout theirs: theirs", "9 tensors, 9 named anew for acme"]
    assert "  first.conv.weight -> stem.weight" in lines
    assert lines[-4:] == [
        "  and 1 more; --json has them all",
        "note: no licence is recorded: that of the file you converted holds",
        "written to out",
        'load it: segzoo.load("local-dir:out")',
    ]


def test_the_command_as_json(network, capsys):
    save_file(theirs(network), "net.safetensors")
    line = ["convert", "net.safetensors", "--to", "acme", "-o", "out.safetensors", "--json"]
    assert run([*line, "--option", "width=4", "--from", "theirs"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == "out.safetensors"
    assert ["last.bias", "head.bias"] in said["names"]
    assert said["deviation"] is None


def test_the_command_fails_in_one_line(capsys):
    with open("net.pth", "wb") as file:
        file.write(b"\x80\x04junk")
    assert run(["convert", "net.pth", "--to", "acme"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "segzoo: net.pth: a Python pickle that torch.save did not write; expected a file of "
        "torch.save. Ask for safetensors, or for its state_dict by torch.save\n"
    )


# --- the declaration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"summary": "a\nb"}, "summary is not one line of text"),
        ({"detect": ()}, "detect is empty"),
        ({"rules": (("(", ""),)}, "'(' is not a regular expression: "),
        ({"changes": (("a", "turn"),)}, "'turn' is not one of keras_kernel"),
    ],
)
def test_a_declaration_that_cannot_be_used(fields, fault):
    with pytest.raises(ValueError) as caught:
        Converter(**{"summary": "a", "detect": ("a",), "rules": ()} | fields)
    assert f"Converter: {fault}" in str(caught.value)
