"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

MODELS = ["unetpp", "unetpp_official"]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_contract(model):
    assert_keeps_contract(model)
