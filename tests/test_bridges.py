"""Every network of a plugin that bridges to a library was compared with the library's own."""

import json
from pathlib import Path

import pytest

import segzoo

FOUND = Path(__file__).parents[1] / "bench/results/parity_of_bridges.json"
PREFIXES = ("tv_", "smp_", "hf_")
LEAST = 1e-5  # of the largest logit: what another order of a sum changes


@pytest.mark.skipif(not FOUND.exists(), reason="bench/ belongs to a checkout")
def test_every_network_of_a_bridge_is_the_librarys():
    rows = json.loads(FOUND.read_text("utf-8"))["rows"]
    offered = {name for name in segzoo.list_models() if name.startswith(PREFIXES)}
    assert {row["model"] for row in rows} == offered
    assert all(row["difference"] <= LEAST * row["largest_logit"] for row in rows)
    assert all(row["tensors"] > 0 and row["largest_logit"] > 0.01 for row in rows)
