"""transformers' networks as segzoo's: the same bits, its own folders, refusals, articles' sizes."""

import json
import subprocess
import sys
from importlib.util import find_spec as find_spec_of

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

import segzoo
from segzoo.cli.main import run
from segzoo.errors import ConfigError, SegzooError, WeightsMismatchError
from segzoo.model import configured
from segzoo.model.load import find_spec
from segzoo.pictures.codec import read
from segzoo.predict.preprocess import prepare

if find_spec_of("transformers") is None:  # a library that is there and broken is a failure
    pytest.skip("transformers is not installed", allow_module_level=True)

import transformers as theirs
from segzoo_transformers import checkpoint, encoders, model

NETWORKS = [("segformer", e) for e in encoders.MIX] + [("upernet", e) for e in encoders.UPERNET]
QUICK = ("mit_b0", "mit_b2", "convnext_base", "swin_base")
ALL = [pytest.param(f, e, marks=() if e in QUICK else pytest.mark.slow) for f, e in NETWORKS]
TRIED = ("mit_b1", "mit_b2", "mit_b5", "convnext_tiny", "convnext_base", "swin_tiny", "swin_base")
SIZE = (72, 97)  # no multiple of anything


@pytest.fixture
def small(monkeypatch):
    """Rows of the table that hold smaller networks, so that they are made in a second."""
    convnext = encoders.ConvNext((1, 2, 2, 1), (16, 24, 32, 48))
    swin = encoders.Swin((2, 2, 2, 2), 24, (1, 2, 3, 6), 7)
    for table in (encoders.CONVNEXT, encoders.UPERNET):
        monkeypatch.setitem(table, "convnext_tiny", convnext)
    for table in (encoders.SWIN, encoders.UPERNET):
        monkeypatch.setitem(table, "swin_tiny", swin)
    wide = encoders.upernet
    narrow = {"hidden_size": 32, "auxiliary_channels": 16}
    monkeypatch.setattr(encoders, "upernet", lambda encoder: wide(encoder) | narrow)


def made_by_transformers(family, encoder, *, num_classes=5, in_channels=3, **more):
    """The library's own network, with statistics of normalisations that a few steps would leave."""
    settings = {"num_labels": num_classes} | more
    if family == "segformer":
        config = theirs.SegformerConfig(
            num_channels=in_channels, **encoders.segformer(encoder) | settings
        )
        network = theirs.SegformerForSemanticSegmentation(config)
    else:
        backbone = encoders.backbone(encoder)
        kinds = {"convnext": theirs.ConvNextConfig, "swin": theirs.SwinConfig}
        make = kinds[backbone.pop("model_type")]
        config = theirs.UperNetConfig(
            backbone_config=make(num_channels=in_channels, **backbone),
            **encoders.upernet(encoder) | settings,
        )
        network = theirs.UperNetForSemanticSegmentation(config)
    for name, tensor in [*network.named_buffers(), *network.named_parameters()]:
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("relative_position_bias_table", "layer_scale_parameter")):
            torch.nn.init.normal_(tensor)  # which begins with next to nothing
    return network.eval()


@pytest.fixture
def saved(tmp_path):
    """Of a network its folder of `save_pretrained`, an x, and the logits that it gives."""

    def of(family, encoder):
        torch.manual_seed(0)
        network = made_by_transformers(family, encoder)
        network.save_pretrained(tmp_path / encoder)
        x = torch.randn(2, 3, *SIZE)
        heads = []
        if family == "upernet":  # its auxiliary head's logits go into a loss and nowhere else
            network.auxiliary_head.register_forward_hook(lambda *given: heads.append(given[-1]))
        with torch.no_grad():
            logits = network(x).logits
        return tmp_path / encoder, x, [brought_to(SIZE, y) for y in (logits, *heads)]

    return of


def brought_to(size, logits):
    """As the library itself brings them to the size of targets."""
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def converted(folder, out, *more):
    assert run(["convert", str(folder), "-o", str(out), *more]) == 0
    return segzoo.load(f"local-dir:{out}")


# --- the same bits --------------------------------------------------------------------------------


def check_the_bits(family, encoder, saved, out):
    folder, x, wanted = saved(family, encoder)
    ours = converted(folder, out)
    assert ours.config.model == f"hf_{family}"
    assert ours.config.options["encoder"] == encoder
    assert (ours.config.num_classes, ours.config.in_channels) == (5, 3)
    with torch.no_grad():
        assert torch.equal(ours(x), wanted[0])
        if family == "upernet":
            found = ours.network(x, all_heads=True)
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("family", "encoder"),
    [("segformer", "mit_b0"), ("upernet", "convnext_tiny"), ("upernet", "swin_tiny")],
)
def test_a_folder_that_transformers_saved_gives_the_same_bits(
    family, encoder, small, saved, tmp_path
):
    check_the_bits(family, encoder, saved, tmp_path / "ours")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "encoder"), [n for n in NETWORKS if n[1] in TRIED])
def test_networks_of_full_size_give_the_same_bits(family, encoder, saved, tmp_path):
    check_the_bits(family, encoder, saved, tmp_path / "ours")


@pytest.mark.parametrize(("family", "encoder"), ALL)
def test_every_network_of_transformers_has_a_file_that_converts(family, encoder):
    """By names and shapes, of the file that the library would write."""
    from transformers.core_model_loading import revert_weight_conversion

    from segzoo.runs.convert import _network_of
    from segzoo.weights.mapping import converters_of, layouts_of

    with torch.device("meta"):
        network = made_by_transformers(family, encoder, num_classes=150)
    file = revert_weight_conversion(network, network.state_dict())
    entry, spec = find_spec(f"hf_{family}")
    known = converters_of(entry)
    [layout] = layouts_of([*file], known)
    assert layout == ("segzoo" if encoder in encoders.CONVNEXT else "transformers")
    built = {"num_classes": None, "in_channels": None, "encoder": encoder}
    with torch.device("meta"):
        ours = _network_of(entry, spec, built).builder().state_dict()
    named = {name: tensor.shape for name, tensor in file.items()}
    if layout in known:
        named = {
            known[layout].renamed(n): s for n, s in named.items() if not known[layout].leaves_out(n)
        }
    assert named == {name: tensor.shape for name, tensor in ours.items()}


def test_a_swin_as_it_was_published(small, saved, tmp_path):
    """With a buffer that was stored then, and without a normalisation that nothing comes of."""
    folder, x, wanted = saved("upernet", "swin_tiny")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    old = {n: t for n, t in tensors.items() if "swin.layernorm" not in n}
    assert len(tensors) - len(old) == 2
    tables = [n for n in old if n.endswith("relative_position_bias_table")]
    assert len(tables) == 8
    for name in tables:
        old[name.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.int64)
    (tmp_path / "old").mkdir()
    safetensors.torch.save_file(old, tmp_path / "old/model.safetensors")
    (tmp_path / "old/config.json").write_bytes((folder / "config.json").read_bytes())
    with torch.no_grad():
        assert torch.equal(converted(tmp_path / "old", tmp_path / "ours")(x), wanted[0])


def test_the_picture_is_prepared_as_transformers_does_it():
    """But for its rounding to whole levels, along rows and along columns, before it normalises."""
    picture = np.random.default_rng(0).integers(0, 256, (700, 300, 3), np.uint8)
    wanted = theirs.SegformerImageProcessor()(picture, return_tensors="np")["pixel_values"][0]
    declared = find_spec("hf_segformer")[1].preprocess
    found, _ = prepare(read(picture), declared, 3)
    levels = np.abs(found - wanted) * np.reshape(declared.std, (3, 1, 1)) * 255
    assert found.shape == wanted.shape == (3, 512, 512)
    assert levels.max() < 1 and levels.mean() < 0.4  # of 255


# --- folders --------------------------------------------------------------------------------------


def test_names_of_classes_come_along(tmp_path):
    names = [f"class {number}" for number in range(12)]
    network = made_by_transformers("segformer", "mit_b0", num_classes=12)
    network.config.id2label = dict(enumerate(names))
    network.save_pretrained(tmp_path / "theirs")
    file = tmp_path / "theirs/config.json"
    said = json.loads(file.read_text("utf-8"))
    said["id2label"] = dict(sorted(said["id2label"].items()))  # by text, as releases of 2022 wrote
    assert [*said["id2label"]][:3] == ["0", "1", "10"]
    file.write_text(json.dumps(said))
    ours = converted(tmp_path / "theirs", tmp_path / "ours", "--option", "image_size=640")
    assert ours.config.classes == tuple(names)
    assert ours.config.preprocess.size == (640, 640)


def test_an_encoder_is_a_start_for_training(tmp_path, capsys):
    config = theirs.SegformerConfig(**encoders.segformer("mit_b1"))
    torch.manual_seed(0)
    classifier = theirs.SegformerForImageClassification(config)
    classifier.save_pretrained(tmp_path)
    assert run(["convert", str(tmp_path), "-o", str(tmp_path / "a")]) == 2
    assert "a classifier's; for its encoder as a start" in capsys.readouterr().err
    line = ["--to", "hf_segformer", "--part", "segformer", "--option", "encoder=mit_b1"]
    ours = converted(tmp_path / "model.safetensors", tmp_path / "ours", *line)
    mine, wanted = ours.network.segformer.state_dict(), classifier.segformer.state_dict()
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in mine.items())


def test_a_file_of_another_encoder_is_refused(saved, tmp_path):
    file = saved("segformer", "mit_b0")[0] / "model.safetensors"
    from segzoo.runs.convert import convert

    with pytest.raises(WeightsMismatchError):
        convert(file, to="hf_segformer", out=tmp_path / "a", options={"encoder": "mit_b1"})
    assert not (tmp_path / "a").exists()


def config_of(family, encoder, **more):
    """What config.json says of a network, with changes."""
    with torch.device("meta"):
        network = made_by_transformers(family, encoder)
    said = json.loads(network.config.to_json_string(use_diff=True))
    return {"architectures": [type(network).__name__], **said, **more}


SEGFORMER = "SegformerForSemanticSegmentation"


@pytest.mark.parametrize(
    ("family", "encoder", "changes", "message"),
    [
        (
            "segformer",
            "mit_b0",
            {"auto_map": {"AutoModel": "modeling_x.X"}},
            "it names code to be run (auto_map), and segzoo runs none of a folder's",
        ),
        (
            "segformer",
            "mit_b0",
            {"architectures": ["BiRefNet"]},
            "architectures is ['BiRefNet'], of which segzoo has no network; it has "
            "SegformerForSemanticSegmentation and UperNetForSemanticSegmentation",
        ),
        ("segformer", "mit_b0", {"architectures": None}, "architectures is None, of which"),
        (
            "segformer",
            "mit_b0",
            {"hidden_act": "relu", "sr_ratios": [8, 4, 2, 2]},
            "segzoo builds hf_segformer with encoder=mit_b0 without sr_ratios=[8, 4, 2, 2], "
            "hidden_act='relu'",
        ),
        ("segformer", "mit_b0", {"id2label": {"1": "a"}}, "id2label does not name the classes"),
        (
            "upernet",
            "swin_tiny",
            {"pool_scales": [1, 2]},
            "segzoo builds hf_upernet with encoder=swin_tiny without pool_scales=[1, 2]",
        ),
        ("upernet", "swin_tiny", {"backbone_config": None}, "its backbone_config is missing"),
        (
            "upernet",
            "swin_tiny",
            {"backbone_config": {"model_type": "resnet"}},
            "without backbone_config.model_type='resnet'",
        ),
    ],
)
def test_what_segzoo_does_not_offer_is_refused(family, encoder, changes, message):
    said = config_of(family, encoder)
    assert checkpoint.arguments(said)[1]["encoder"] == encoder
    with pytest.raises(ValueError) as caught:
        checkpoint.arguments(said | changes)
    assert message in str(caught.value)


def test_a_folder_with_code_is_refused_before_anything_is_read(tmp_path, capsys):
    said = {"architectures": ["BiRefNet"], "auto_map": {"AutoModel": "birefnet.BiRefNet"}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    (tmp_path / "birefnet.py").write_text("raise SystemExit('it ran')")
    assert run(["convert", str(tmp_path), "-o", str(tmp_path / "ours")]) == 2
    assert "names code to be run (auto_map)" in capsys.readouterr().err
    with pytest.raises(SegzooError) as caught:
        segzoo.load(f"local-dir:{tmp_path}")
    assert "transformers wrote this folder, not segzoo" in str(caught.value)


# What of the config classes changes nothing of what a loaded network gives, or is judged by the
# names and shapes of its tensors, or as an option.
WITHOUT_EFFECT = {
    "attention_probs_dropout_prob",
    "auxiliary_loss_weight",
    "backbone_config",
    "classifier_dropout_prob",
    "drop_path_rate",
    "encoder_stride",
    "hidden_dropout_prob",
    "image_size",
    "initializer_range",
    "layer_scale_init_value",
    "loss_ignore_index",
    "num_channels",
    "semantic_loss_ignore_index",
    "use_auxiliary_head",
}


@pytest.mark.parametrize(
    ("kind", "judged", "without_effect"),
    [
        ("SegformerConfig", encoders.segformer("mit_b0"), WITHOUT_EFFECT),
        ("UperNetConfig", encoders.upernet("swin_tiny"), WITHOUT_EFFECT),
        ("SwinConfig", encoders.backbone("swin_tiny"), WITHOUT_EFFECT),
        # of ConvNeXt the epsilon of a normalisation before a classifier
        ("ConvNextConfig", encoders.backbone("convnext_tiny"), {*WITHOUT_EFFECT, "layer_norm_eps"}),
    ],
)
def test_every_setting_of_the_library_is_judged(kind, judged, without_effect):
    """One that a later release brings fails here, before a folder is loaded wrongly."""
    own = {n for n in vars(getattr(theirs, kind))["__annotations__"] if not n.startswith("_")}
    own -= {"model_type", "sub_configs_defaults", "sub_configs"}
    assert own <= judged.keys() | without_effect
    assert not judged.keys() & without_effect


# --- specs ----------------------------------------------------------------------------------------

# Parameters in millions and multiply-adds in billions as articles state them: SegFormer's table 1
# (ADE20K, 512x512; B5 at 640x640), ConvNeXt's of UPerNet (512x2048; from L on 640x2560).
STATED = {
    "mit_b0": (3.8, 8.4, 1),
    "mit_b1": (13.7, 15.9, 1),
    "mit_b2": (27.5, 62.4, 1),
    "mit_b3": (47.3, 79.0, 1),
    "mit_b4": (64.1, 95.7, 1),
    "convnext_tiny": (60, 939, 4),
    "convnext_small": (82, 1027, 4),
    "convnext_base": (122, 1170, 4),
    "convnext_large": (235, 2458, 6.25),
    "convnext_xlarge": (391, 3335, 6.25),
}


def variant(family, encoder, **more):
    spec = find_spec(f"hf_{family}")[1]
    options = {name: option.default for name, option in spec.options.items()}
    return configured.variant_of(spec, options | {"encoder": encoder} | more)


@pytest.mark.parametrize("encoder", STATED)
def test_sizes_are_those_of_the_articles(encoder):
    millions, billions, pictures = STATED[encoder]
    found = variant("segformer" if encoder in encoders.MIX else "upernet", encoder)
    assert found.num_parameters / 1e6 == pytest.approx(millions, rel=0.015)
    assert pictures * found.macs / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(("family", "encoder"), ALL)
def test_a_variant_has_the_parameters_that_it_states(family, encoder):
    for options in [{"aux": True}, {"aux": False}] if family == "upernet" else [{}]:
        said = variant(family, encoder, **options)
        with torch.device("meta"):
            network = getattr(model, family)(encoder=encoder, **options)
        assert sum(p.numel() for p in network.parameters()) == said.num_parameters
        names = network.state_dict().keys()
        assert all(any(name.startswith(p) for name in names) for p in (*said.head, *said.stem))


def test_pictures_of_any_size():
    assert variant("segformer", "mit_b0").preprocess.size == (512, 512)
    free = variant("upernet", "swin_tiny", image_size=0)
    assert (free.preprocess.size, free.preprocess.multiple_of) == (None, 32)
    assert free.macs < variant("upernet", "swin_tiny").macs
    assert variant("segformer", "mit_b0", image_size=640).macs is None
    loaded = segzoo.load("hf_segformer", image_size=0, num_classes=3, seed=0)
    assert loaded.predict(np.zeros((37, 53, 3), np.uint8)).mask.shape == (37, 53)
    with pytest.raises(ConfigError, match=r"image_size is -1, below 0"):
        segzoo.load("hf_segformer", image_size=-1)


def test_listing_imports_neither_transformers_nor_torch():
    code = (
        "import sys; from segzoo.cli.main import run; code = run(['list', 'hf_*']);"
        "assert not {'torch', 'transformers'} & sys.modules.keys(); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hf_") == 2
