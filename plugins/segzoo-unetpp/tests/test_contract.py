"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

OFFICIAL = pytest.param("unetpp_official", marks=pytest.mark.slow)


@pytest.mark.parametrize("model", ["unetpp", OFFICIAL])
def test_contract(model):
    assert_keeps_contract(model)
