"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract


def test_contract():
    assert_keeps_contract("tv_lraspp")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tv_deeplabv3", "tv_fcn"])
def test_contract_of_the_large_ones(model):
    assert_keeps_contract(model)
