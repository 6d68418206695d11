"""What SMP and timm save: how it is known, and how tensors of encoders are called."""

from dataclasses import replace

from segzoo_lite import convert as lite

from segzoo.keymap import Converter, SavedFolder

SMP = SavedFolder(
    summary="segmentation-models-pytorch",
    keys=("_model_class", "encoder_name", "classes"),
    arguments="segzoo_smp.checkpoint:arguments",
)
TIMM = SavedFolder(summary="timm", keys=("architecture", "pretrained_cfg"))

OUR_FILES = r"^(encoder|decoder|segmentation_head)\."  # of whole networks of SMP

# Of a whole classifier, of which SMP keeps the encoder.
CLASSIFIER = Converter(
    summary="a classifier of SMP or timm",
    detect=(r"\.",),
    absent=(OUR_FILES, r"^_(conv_stem|blocks|fc)\."),
    rules=(),
    part="encoder.",
    excerpt=True,
)
EFFICIENTNET = replace(
    CLASSIFIER,
    summary="SMP's EfficientNet",
    detect=(r"^_blocks\.\d+\._se_reduce\.",),
    absent=(OUR_FILES,),
)


def ported(port: Converter, stages: tuple[int, ...]) -> Converter:
    """The port of EfficientNet-Lite for the encoder that SMP makes of timm's network."""
    return replace(port, rules=lite.timm_names(stages), leave_out=(), part="encoder.", excerpt=True)


ENCODERS = {
    "lite0": ported(lite.LITE0["port"], lite.LITE0_STAGES),
    "lite2": ported(lite.LITE2["port"], lite.LITE2_STAGES),
    "efficientnet": EFFICIENTNET,
    "classifier": CLASSIFIER,
}
