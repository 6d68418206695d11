"""The scores of training/measure.py against PySODMetrics' own numbers."""

import importlib.util
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("measure", HERE.parent / "training" / "measure.py")
measure = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure)

RESULTS = json.loads((HERE / "goldens" / "metrics_sod.json").read_text())["results"]
PAIRS = load_file(HERE / "goldens" / "metrics_sod.safetensors")
WHOLE = "ALL_AS_ONE_DATASET"


@pytest.mark.parametrize("name", RESULTS)
def test_scores_equal_the_library(name):
    chosen = [key for key in RESULTS if key != WHOLE] if name == WHOLE else [name]
    pairs = [(PAIRS[f"{key}/pred"] / 255, PAIRS[f"{key}/gt"] > 128) for key in chosen]
    scores = measure.saliency_scores(pairs)
    assert scores["mae"] == pytest.approx(RESULTS[name]["mae"], abs=1e-9)
    for key in ("max_f", "max_f_of_mean"):
        assert scores[key] == pytest.approx(RESULTS[name][key], abs=1e-9)
