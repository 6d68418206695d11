"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract


@pytest.mark.slow
def test_contract():
    assert_keeps_contract("segzoo-fcn-vgg16/fcn_vgg16")


@pytest.mark.slow
def test_the_whole_contract():
    assert_keeps_contract("segzoo-fcn-vgg16/fcn_vgg16", slow=True)
