"""The authors' files, under their own names, become models that give the authors' outputs."""

from pathlib import Path

import pytest
import torch
from originals import Goldens

import segzoo
from segzoo.model import build
from segzoo.model.load import find_spec
from segzoo.runs.convert import convert, converters_of
from segzoo.zoo.registry import find

GOLDENS = Goldens(Path(__file__).parent / "goldens")
SHAPE = {"u2net": "1x3x96x96", "u2netp": "1x3x96x96", "u2netp_3ch": "1x3x64x64"}


@pytest.mark.parametrize(
    ("case", "model", "num_classes", "zipped"),
    [
        ("u2netp", "u2netp", None, False),  # as u2net.pth was published: before torch 1.6
        pytest.param("u2netp_3ch", "u2netp", 3, True, marks=pytest.mark.slow),
        pytest.param("u2net", "u2net", None, False, marks=pytest.mark.slow),
    ],
)
def test_the_authors_file_gives_the_authors_maps(tmp_path, case, model, num_classes, zipped):
    torch.save(GOLDENS.state(case), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    done = convert(tmp_path / "a.pth", to=model, out=tmp_path / "out", num_classes=num_classes)
    assert (done.layout, done.left_out) == ("official", ())

    loaded = segzoo.load(f"local-dir:{tmp_path / 'out'}")
    shape = SHAPE[case]
    with torch.inference_mode():
        maps = [m.sigmoid() for m in loaded(GOLDENS.input(shape), all_heads=True)]
    for number, got in enumerate(maps):
        off = GOLDENS.deviation(case, shape, f"d{number}", got)
        assert off <= GOLDENS.tolerance(case, shape)
    # The picture goes in as their own code has it, and the map comes out so.
    assert loaded.preprocess.size == (320, 320)
    assert loaded.preprocess.rescale == "image_max"
    assert loaded.postprocess.normalize == ("none" if num_classes else "minmax")


@pytest.mark.parametrize("model", ["u2net", "u2netp"])
def test_every_name_is_mapped_in_both_sizes(model):
    """The authors make their parameters in the order of ours."""
    converter = converters_of(find(model))["official"]
    rows = [name for name, *_ in GOLDENS.manifest(model)["params"]]
    with torch.device("meta"):
        state = build.build(find_spec(model)[1]).state_dict()
    assert [converter.renamed(name) for name in rows] == [
        n for n in state if "num_batches" not in n
    ]
