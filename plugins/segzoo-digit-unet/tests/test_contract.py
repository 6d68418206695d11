"""The promises that every plugin keeps, the slow ones too: this network is small."""

import pytest

from segzoo.testing import assert_keeps_contract


@pytest.mark.parametrize("model", ["digit_unet"])
def test_contract(model):
    assert_keeps_contract(model, slow=True)
