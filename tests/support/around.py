"""What may stand around a network in an exported file, and a config that says so."""

from segzoo.saved.config import Config
from segzoo.spec import Postprocess

SIZES = ((1, 1), (24, 32), (97, 60), (13, 50))
SIZE = {"size": (24, 32), "resize": "stretch"}
BOX = {"size": (24, 32), "resize": "letterbox"}
MASKS = Postprocess(activation="none")
KINDS = [
    {"interpolation": interpolation, "antialias": antialias, "border": border}
    for interpolation in ("bilinear", "bicubic", "nearest")
    for antialias in ("none", "triangle", "gaussian")
    for border in ("edge", "zero")
]


def config_of(preprocess, postprocess, channels):
    return Config(
        model="nothing",
        distribution="",
        version="",
        in_channels=channels,
        num_classes=channels,
        task="multilabel",
        preprocess=preprocess,
        postprocess=postprocess,
    )
