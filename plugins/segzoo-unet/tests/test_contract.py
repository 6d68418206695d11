"""The promises that every plugin keeps."""

import pytest

from segzoo.testing import assert_keeps_contract

MODELS = [
    "unet",
    "unet_canvas",
    "unet_dice",
    "unet_mrgiovanni",
    "unet_paper",
    "unet_slim",
    "unet_slim_3x",
    "unet_strided",
    "unet_vggblock",
    "unet_wide",
    "unet_zhixuhao",
]


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", MODELS)
def test_contract(model, slow):
    assert_keeps_contract(model, slow=slow)
