"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract


@pytest.mark.parametrize("model", ["unetpp", "unetpp_official"])
def test_contract(model):
    assert_keeps_contract(model)
