"""The table of encoders against SMP and timm themselves."""

import importlib.util
import json
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import segzoo_smp
import timm
import torch
from segzoo_smp.spec import TABLE, spec_of

from segzoo.model import build, configured
from segzoo.model.load import find_spec
from segzoo.zoo import registry

PLUGIN = Path(__file__).parents[1]
DECODERS = tuple(smp.MODEL_ARCHITECTURES_MAPPING)
FILE = Path(segzoo_smp.__file__).with_name("encoders.json")
SAMPLE = ("mit_b0", "tu-mobilenetv3_small_050", "tu-vit_tiny_patch16_224")


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_table = _module(PLUGIN / "tools/make_table.py")
made_with = json.loads(FILE.read_text("utf-8"))["made_with"]
same_versions = pytest.mark.skipif(
    made_with != {"segmentation-models-pytorch": smp.__version__, "timm": timm.__version__},
    reason=f"the table was made with {made_with}; tools/make_table.py makes it anew",
)


def test_every_decoder_of_smp_is_a_model():
    entries = [e for e in registry.entries() if e.distribution == "segzoo-smp"]
    assert {e.name for e in entries} == {f"smp_{decoder}" for decoder in DECODERS}
    assert len(DECODERS) == 12
    for decoder in DECODERS:
        spec = find_spec(f"smp_{decoder}")[1]
        assert spec.builder == f"segzoo_smp.model:{decoder}"
        assert spec.variant == f"segzoo_smp.spec:{decoder}_fields"


@same_versions
def test_every_encoder_has_a_row_and_every_pair_an_answer():
    assert [*TABLE] == [*make_table.names()]
    for encoder, row in TABLE.items():
        refused = [decoder for decoders in row.get("refused", {}).values() for decoder in decoders]
        fits = [decoder for decoder in DECODERS if decoder in row]
        assert sorted(refused + fits) == sorted(DECODERS), encoder
    for decoder in DECODERS:
        choices = find_spec(f"smp_{decoder}")[1].options["encoder"].choices
        assert [*choices] == [encoder for encoder, row in TABLE.items() if decoder in row]


def test_a_refusal_says_why():
    """An assertion without words is told by its line, not by its name."""
    reasons = {reason for row in TABLE.values() for reason in row.get("refused", {})}
    assert [reason for reason in reasons if " " not in reason] == []
    assert "assert output_stride == 32" in reasons


@same_versions
def test_a_sample_of_rows_is_as_it_would_be_made_now():
    for encoder, row in make_table.rows_of(SAMPLE):
        assert json.loads(json.dumps(row)) == TABLE[encoder], encoder


@same_versions
@pytest.mark.slow
@pytest.mark.parametrize("encoder", [*TABLE][::12])
def test_rows_are_as_they_would_be_made_now(encoder):
    [(_, row)] = make_table.rows_of([encoder])
    assert json.loads(json.dumps(row)) == TABLE[encoder]


@same_versions
def test_the_table_is_written_as_it_is_read():
    assert make_table.dumped(TABLE) == FILE.read_text("utf-8")


def test_the_file_that_the_wheel_carries_is_not_larger_than_it_must_be():
    assert FILE.stat().st_size < 2e6


# --- what the rows say, on networks with values --------------------------------------------------

# Every hundredth pair, with encoders that a small machine can hold.
PAIRS = [(d, e) for e, row in TABLE.items() for d in DECODERS if d in row and row[d][0] < 60e6]


def check_for_real(decoder, encoder):
    spec = find_spec(f"smp_{decoder}")[1]
    options = {name: option.default for name, option in spec.options.items()}
    spec = configured.variant_of(spec, options | {"encoder": encoder})
    network = build.build(spec, options={"encoder": encoder}).eval()
    assert sum(p.numel() for p in network.parameters()) == spec.num_parameters
    step = spec.preprocess.multiple_of
    side = -(-64 // step) * step
    height, width = spec.preprocess.size or (side, side + step)
    with torch.inference_mode():
        logits = network(torch.rand(1, 3, height, width))
    assert logits.shape == (1, 1, height, width)
    assert logits.isfinite().all()


@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize(("decoder", "encoder"), PAIRS[::83])
def test_pairs_work(decoder, encoder):
    check_for_real(decoder, encoder)


@pytest.mark.parametrize("decoder", [d for d in DECODERS if d != "dpt"])
def test_a_pair_of_each_decoder_works(decoder):
    check_for_real(decoder, "tu-mobilenetv3_small_050")


def test_a_refused_pair_is_refused_by_smp():
    for decoder, encoder in (("unet", "tu-vit_tiny_patch16_224"), ("unetplusplus", "mit_b0")):
        [reason] = [r for r, decoders in TABLE[encoder]["refused"].items() if decoder in decoders]
        with pytest.raises(ValueError) as caught:
            smp.create_model(decoder, encoder, encoder_weights=None)
        assert str(caught.value) == reason


def test_an_encoder_that_is_missing_in_the_table_is_no_default():
    with pytest.raises(ValueError, match=r"the default is 'vit', not a choice; there are 978, "):
        spec_of("unet", "none", find_spec("smp_unet")[1].paper, encoder="vit")
