"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

LIGHT = ["unet_dice", "unet_slim", "unet_slim_3x"]
OTHERS = [
    "unet",
    "unet_canvas",
    "unet_mrgiovanni",
    "unet_paper",
    "unet_strided",
    "unet_vggblock",
    "unet_wide",
    "unet_zhixuhao",
]


@pytest.mark.parametrize("model", LIGHT)
def test_contract(model):
    assert_keeps_contract(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", LIGHT + OTHERS)
def test_the_whole_contract(model):
    assert_keeps_contract(model, slow=True)
