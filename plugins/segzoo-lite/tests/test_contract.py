"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

MODELS = ("lite0", "lite2")


def test_contract():
    assert_keeps_contract("segzoo-lite/lite0")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_whole_contract(model):
    assert_keeps_contract(f"segzoo-lite/{model}", slow=True)
