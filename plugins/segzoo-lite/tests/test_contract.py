"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

MODELS = ("lite0", "lite2")


@pytest.mark.parametrize("model", MODELS)
def test_contract(model):
    assert_keeps_contract(f"segzoo-lite/{model}")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_whole_contract(model):
    assert_keeps_contract(f"segzoo-lite/{model}", slow=True)
