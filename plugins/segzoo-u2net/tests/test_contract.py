"""U²-Net and U²-Netp keep segzoo's contract."""

import pytest

from segzoo.testing import assert_keeps_contract


@pytest.mark.parametrize("name", [pytest.param("u2net", marks=pytest.mark.slow), "u2netp"])
def test_contract(name):
    assert_keeps_contract(f"segzoo-u2net/{name}")
