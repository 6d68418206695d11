"""torchvision's networks as segzoo's: the same bits, its own files, its numbers of parameters."""

import subprocess
import sys

import pytest
import safetensors.torch
import torch
import torchvision.models.segmentation as theirs
from segzoo_torchvision import convert
from segzoo_torchvision.model import network
from segzoo_torchvision.spec import TABLE

import segzoo
from segzoo.errors import WeightsMismatchError
from segzoo.model import configured
from segzoo.model.load import find_spec

NETWORKS = [(family, backbone) for family, row in TABLE.items() for backbone in row]
NETWORKS.append(("lraspp", "mobilenet_v3_large"))
LAYOUTS = {"deeplabv3": convert.DEEPLABV3, "fcn": convert.FCN, "lraspp": convert.LRASPP}


def made_by_torchvision(family, backbone, *, aux=True, num_classes=21):
    options = {} if family == "lraspp" else {"aux_loss": aux}
    make = getattr(theirs, f"{family}_{backbone}")
    return make(weights=None, weights_backbone=None, num_classes=num_classes, **options)


def lived_in(network):
    """With statistics of normalisations that a few steps would leave."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize(("family", "backbone"), NETWORKS)
def test_logits_are_torchvisions_to_the_bit(family, backbone):
    torch.manual_seed(0)
    original = lived_in(made_by_torchvision(family, backbone))
    options = {} if family == "lraspp" else {"aux": True}
    ours = network(family, encoder=backbone, **options).eval()
    ours.load_state_dict(original.state_dict())  # strictly
    x = torch.randn(1, 3, 65, 48)
    with torch.no_grad():
        wanted = original(x)
        logits = ours(x)
        heads = ours(x, all_heads=True)
    assert torch.equal(logits, wanted["out"])
    if "aux" in wanted:
        assert torch.equal(heads[0], logits) and torch.equal(heads[1], wanted["aux"])


@pytest.mark.parametrize(("family", "backbone"), NETWORKS)
@pytest.mark.parametrize("aux", [True, False])
def test_the_layout_of_a_file_is_told_by_its_names(family, backbone, aux):
    with torch.device("meta"):
        names = [*made_by_torchvision(family, backbone, aux=aux).state_dict()]
    found = {
        (of, name): layout.options
        for of, layouts in LAYOUTS.items()
        for name, layout in layouts.items()
        if layout.detects(names)
    }
    options = {} if family == "lraspp" else {"encoder": backbone, "aux": aux}
    assert [(of, [*found.values()]) for of, _ in found] == [(family, [options])]


def test_a_file_of_torchvisions_state_dict_loads_strictly(tmp_path):
    torch.manual_seed(0)
    original = lived_in(made_by_torchvision("deeplabv3", "mobilenet_v3_large", num_classes=5))
    file = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(original.state_dict(), file)
    options = {"encoder": "mobilenet_v3_large", "num_classes": 5}
    model = segzoo.load("tv_deeplabv3", weights=file, **options)
    x = torch.randn(1, 3, 32, 40)
    with torch.no_grad():
        assert torch.equal(model(x), original(x)["out"])
    with pytest.raises(WeightsMismatchError):
        segzoo.load("tv_deeplabv3", weights=file, aux=False, **options)


@pytest.mark.slow
def test_a_pickle_of_torchvisions_is_converted(tmp_path):
    """As published files are; those were not tried."""
    from segzoo.cli.main import run

    torch.manual_seed(0)
    original = lived_in(made_by_torchvision("lraspp", "mobilenet_v3_large"))
    torch.save(original.state_dict(), tmp_path / "lraspp.pth")
    line = ["convert", str(tmp_path / "lraspp.pth"), "--to", "tv_lraspp"]
    assert run([*line, "-o", str(tmp_path / "ours")]) == 0
    model = segzoo.load(f"local-dir:{tmp_path / 'ours'}")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), original(x)["out"])


STATED = {
    "deeplabv3": ("DeepLabV3_ResNet50_Weights", "DeepLabV3_ResNet101_Weights"),
    "fcn": ("FCN_ResNet50_Weights", "FCN_ResNet101_Weights"),
    "lraspp": ("LRASPP_MobileNet_V3_Large_Weights",),
}


def test_parameters_are_those_that_torchvision_states():
    stated = {
        family: [getattr(theirs, name).DEFAULT.meta["num_params"] for name in names]
        for family, names in STATED.items()
    }
    for family in ("deeplabv3", "fcn"):
        rows = [TABLE[family][backbone][0] for backbone in ("resnet50", "resnet101")]
        assert rows == stated[family]
    mobile = theirs.DeepLabV3_MobileNet_V3_Large_Weights.DEFAULT.meta["num_params"]
    assert TABLE["deeplabv3"]["mobilenet_v3_large"][0] == mobile
    assert [find_spec("tv_lraspp")[1].num_parameters] == stated["lraspp"]


@pytest.mark.parametrize(("family", "backbone"), [n for n in NETWORKS if n[0] != "lraspp"])
@pytest.mark.parametrize("aux", [True, False])
def test_a_variant_has_the_parameters_that_it_states(family, backbone, aux):
    spec = find_spec(f"tv_{family}")[1]
    variant = configured.variant_of(spec, {"encoder": backbone, "aux": aux})
    with torch.device("meta"):
        made = network(family, encoder=backbone, aux=aux)
    assert sum(p.numel() for p in made.parameters()) == variant.num_parameters
    names = made.state_dict().keys()
    assert all(any(name.startswith(p) for name in names) for p in (*variant.head, *variant.stem))


def test_listing_imports_neither_torchvision_nor_torch():
    code = (
        "import sys; from segzoo.cli.main import run; code = run(['list', 'tv_*']);"
        "assert not {'torch', 'torchvision'} & sys.modules.keys(); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tv_") == 3
